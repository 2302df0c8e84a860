//! Eq. (7): x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (ε^{l−1} θ^l)), and BP's Eq. (4); twin of `shaders/infer.wgsl`.

use super::activation::{f, f_prime, for_activation};
use super::matrix::clear_padding;
use super::real::Real;
use super::state::{BLOCK, Exec, Layer, Params, blocks, numbers};
use crate::activation::Activation;
use crate::program::Infer;

/// `layer` is l, `lower` is l−1, `params` is θ^l; `drive` the activation of layer l.
pub(crate) fn infer<T: Real>(
    exec: &Exec,
    job: Infer,
    layer: &mut Layer<T>,
    lower: &mut Layer<T>,
    params: &Params<T>,
    drive: Activation,
    gamma: T,
) {
    let Layer { eps: eps_lower, eps_t, .. } = lower;
    params.prepare(exec, eps_lower, eps_t);
    let (eps_lower, eps_t) = (&*eps_lower, &*eps_t);
    let Layer { x, dx, eps, h, .. } = layer;
    let [even, odd] = h;
    let (now, next) = if job.h_in == 0 { (&*even, odd) } else { (&*odd, even) };
    let (shape, work) = (x.shape(), 2 * numbers(x.shape()) * eps_lower.cols as u64);
    if job.backprop {
        exec.share(shape, work, [eps.data_mut()], |band, [eps]| {
            // g in the slot of δ, which is a product of it.
            params.feedback(exec.arch, band, eps, eps_lower, eps_t);
            for_activation!(drive, ACT => blocks(
                exec.arch,
                [eps],
                [&now.data()[band.range()]],
                #[inline(always)]
                |[mut eps], [h]| {
                    for i in 0..BLOCK {
                        eps[i] = f_prime(ACT, h[i]) * eps[i];
                    }
                    [eps]
                },
            ));
        });
        return;
    }
    let write = [x.data_mut(), dx.data_mut(), eps.data_mut(), next.data_mut()];
    exec.share(shape, work, write, |band, [x, dx, eps, next]| {
        // g in the slot of Δx, which is made of it.
        params.feedback(exec.arch, band, dx, eps_lower, eps_t);
        let h = &now.data()[band.range()];
        for_activation!(drive, ACT => blocks(
            exec.arch,
            [&mut *x, &mut *dx],
            [&*eps, h],
            #[inline(always)]
            |[mut x, g], [eps, h]| {
                let mut dx = g;
                for i in 0..BLOCK {
                    dx[i] = gamma * f_prime(ACT, h[i]).fma(g[i], -eps[i]);
                    x[i] = x[i] + dx[i];
                }
                [x, dx]
            },
        ));
        if job.carry {
            blocks(
                exec.arch,
                [eps],
                [dx],
                #[inline(always)]
                |[mut eps], [dx]| {
                    for i in 0..BLOCK {
                        eps[i] = eps[i] + dx[i];
                    }
                    [eps]
                },
            );
        }
        if job.h_out.is_some() {
            for_activation!(drive, ACT => blocks(
                exec.arch,
                [&mut *next],
                [x],
                #[inline(always)]
                |[mut next], [x]| {
                    for i in 0..BLOCK {
                        next[i] = f(ACT, x[i]);
                    }
                    [next]
                },
            ));
            clear_padding(band, next);
        }
    });
}
