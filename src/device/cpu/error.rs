//! Eq. (5): ε^l = x^l − μ^l, or in error coordinates ε^l ← (ε^l + Δx^l) − (μ^l − μ^l_{t−1});
//! twin of `shaders/error.wgsl`.

use super::matrix::{Band, Matrix};
use super::real::Real;
use super::state::{BLOCK, Exec, Layer, blocks, numbers};
use crate::program::ErrorNode;

/// Layer 0 holds the clamped target in x.
pub(crate) fn error<T: Real>(exec: &Exec, job: ErrorNode, layer: &mut Layer<T>) {
    let Layer { x, mu, mu_prev, dx, eps, .. } = layer;
    // Where no predictions have been made since, Δμ is 0.
    let last = if layer.mu_used { &*mu } else { &*mu_prev };
    let (shape, work) = (x.shape(), 4 * numbers(x.shape()));
    exec.share(shape, work, [eps.data_mut()], |band, [eps]| {
        error_band(exec, job, band, eps, &mu.data()[band.range()], [x, last, dx]);
    });
    layer.mu_used = true;
}

/// A band of it, from μ^l in that band and from x^l, μ^l_{t−1} and Δx^l.
pub(crate) fn error_band<T: Real>(
    exec: &Exec,
    job: ErrorNode,
    band: &Band,
    eps: &mut [T],
    mu: &[T],
    [x, last, dx]: [&Matrix<T>; 3],
) {
    if !job.carry {
        return blocks(
            exec.arch,
            [eps],
            [&x.data()[band.range()], mu],
            #[inline(always)]
            |[mut eps], [x, mu]| {
                for i in 0..BLOCK {
                    eps[i] = x[i] - mu[i];
                }
                [eps]
            },
        );
    }
    // On layer 0, which never moves, there is no Δx.
    let dx = if job.moved { &dx.data()[band.range()] } else { mu };
    blocks(
        exec.arch,
        [eps],
        [mu, &last.data()[band.range()], dx],
        #[inline(always)]
        |[mut eps], [mu, last, dx]| {
            let dx = if job.moved { dx } else { [T::ZERO; BLOCK] };
            for i in 0..BLOCK {
                eps[i] = (eps[i] + dx[i]) - (mu[i] - last[i]);
            }
            [eps]
        },
    );
}
