//! Eq. (5): ε^l = x^l − μ^l, or in error coordinates ε^l ← (ε^l + Δx^l) − (μ^l − μ^l_{t−1});
//! twin of `shaders/error.wgsl`.

use super::matrix::PAD;
use super::real::Real;
use super::state::{Exec, Layer};
use crate::program::ErrorNode;

/// Layer 0 holds the clamped target in x.
pub(crate) fn error<T: Real>(exec: &Exec, job: ErrorNode, layer: &mut Layer<T>) {
    let Layer { x, mu, mu_prev, dx, eps, .. } = layer;
    if !job.carry {
        exec.blocks(
            [eps.data_mut(), mu_prev.data_mut()],
            [x.data(), mu.data()],
            #[inline(always)]
            |[mut eps, _], [x, mu]| {
                for i in 0..PAD {
                    eps[i] = x[i] - mu[i];
                }
                [eps, mu]
            },
        );
        return;
    }
    exec.blocks(
        [eps.data_mut(), mu_prev.data_mut()],
        [mu.data(), dx.data()],
        #[inline(always)]
        |[mut eps, mu_prev], [mu, dx]| {
            let dx = if job.moved { dx } else { [T::ZERO; PAD] };
            for i in 0..PAD {
                eps[i] = (eps[i] + dx[i]) - (mu[i] - mu_prev[i]);
            }
            [eps, mu]
        },
    );
}
