//! Eq. (5): ε^l = x^l − μ^l, or in error coordinates ε^l ← (ε^l + Δx^l) − (μ^l − μ^l_{t−1});
//! twin of `shaders/error.wgsl`.

use super::real::Real;
use super::state::{Exec, Layer};
use crate::program::ErrorNode;

/// Layer 0 holds the clamped target in x.
pub(crate) fn error<T: Real>(exec: &Exec, job: ErrorNode, layer: &mut Layer<T>) {
    let Layer { x, mu, mu_prev, dx, eps, .. } = layer;
    let (x, mu, dx) = (x.data(), mu.data(), dx.data());
    exec.rows(
        [eps.data_mut(), mu_prev.data_mut()],
        [x, mu, dx],
        #[inline(always)]
        |[eps, mu_prev], [x, mu, dx]| {
            for i in 0..mu.len() {
                eps[i] = if job.carry {
                    let dx = if job.moved { dx[i] } else { T::ZERO };
                    (eps[i] + dx) - (mu[i] - mu_prev[i])
                } else {
                    x[i] - mu[i]
                };
                mu_prev[i] = mu[i];
            }
        },
    );
}
