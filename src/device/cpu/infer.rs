//! Eq. (7): x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (ε^{l−1} θ^l)), and BP's Eq. (4); twin of `shaders/infer.wgsl`.

use super::activation::{f, f_prime, for_activation};
use super::matrix::PAD;
use super::real::Real;
use super::state::{Exec, Layer, Params};
use crate::activation::Activation;
use crate::program::Infer;

/// `layer` is l, `lower` is l−1, `params` is θ^l; `drive` the activation of layer l.
pub(crate) fn infer<T: Real>(
    exec: &Exec,
    job: Infer,
    layer: &mut Layer<T>,
    lower: &Layer<T>,
    params: &Params<T>,
    drive: Activation,
    gamma: T,
) {
    params.feedback(exec, &mut layer.feedback, &lower.eps);
    let Layer { x, dx, eps, h, feedback, .. } = layer;
    let g = feedback.data();
    let (first, second) = h.split_at_mut(1);
    let (now, next) = if job.h_in == 0 { (&first[0], &mut second[0]) } else { (&second[0], &mut first[0]) };
    let h = now.data();
    if job.backprop {
        for_activation!(drive, ACT => exec.blocks(
            [eps.data_mut()],
            [g, h],
            #[inline(always)]
            |[mut eps], [g, h]| {
                for i in 0..PAD {
                    eps[i] = f_prime(ACT, h[i]) * g[i];
                }
                [eps]
            },
        ));
        return;
    }
    for_activation!(drive, ACT => exec.blocks(
        [x.data_mut(), dx.data_mut(), eps.data_mut()],
        [g, h],
        #[inline(always)]
        |[mut x, mut dx, eps], [g, h]| {
            let mut carried = eps;
            for i in 0..PAD {
                dx[i] = gamma * f_prime(ACT, h[i]).fma(g[i], -eps[i]);
                x[i] = x[i] + dx[i];
                carried[i] = eps[i] + dx[i];
            }
            [x, dx, if job.carry { carried } else { eps }]
        },
    ));
    if job.h_out.is_some() {
        for_activation!(drive, ACT => exec.blocks(
            [next.data_mut()],
            [x.data()],
            #[inline(always)]
            |[mut next], [x]| {
                for i in 0..PAD {
                    next[i] = f(ACT, x[i]);
                }
                [next]
            },
        ));
        next.clear_padding();
    }
}
