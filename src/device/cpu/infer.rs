//! Eq. (7): x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (ε^{l−1} θ^l)), and BP's Eq. (4); twin of `shaders/infer.wgsl`.

use super::activation::{f, f_prime, for_activation};
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
        for_activation!(drive, ACT => exec.rows([eps.data_mut()], [g, h], #[inline(always)] |[eps], [g, h]| {
            for i in 0..g.len() {
                eps[i] = f_prime(ACT, h[i]) * g[i];
            }
        }));
        return;
    }
    for_activation!(drive, ACT => exec.rows([x.data_mut(), dx.data_mut(), eps.data_mut()], [g, h], #[inline(always)] |[x, dx, eps], [g, h]| {
        for i in 0..g.len() {
            dx[i] = gamma * f_prime(ACT, h[i]).fma(g[i], -eps[i]);
            x[i] = x[i] + dx[i];
            if job.carry {
                eps[i] = eps[i] + dx[i];
            }
        }
    }));
    if job.h_out.is_some() {
        for_activation!(drive, ACT => exec.rows([next.data_mut()], [x.data()], #[inline(always)] |[next], [x]| {
            for i in 0..x.len() {
                next[i] = f(ACT, x[i]);
            }
        }));
        next.clear_padding();
    }
}
