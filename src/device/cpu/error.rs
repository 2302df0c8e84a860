//! Eq. (5): ε^l = x^l − μ^l, or in error coordinates ε^l ← (ε^l + Δx^l) − (μ^l − μ^l_{t−1});
//! twin of `shaders/error.wgsl`.

use super::matrix::{Band, Matrix};
use super::real::Real;
use super::state::{BLOCK, Exec, Layer, blocks, numbers};
use crate::program::ErrorNode;

/// Layer 0 holds the clamped target in x.
pub(crate) fn error<T: Real>(exec: &Exec, job: ErrorNode, layer: &mut Layer<T>) {
    let Layer { x, mu, mu_prev, dx, eps, .. } = layer;
    let (shape, work) = (x.shape(), 4 * numbers(x.shape()));
    exec.share(shape, work, [eps.data_mut(), mu_prev.data_mut()], |band, write| {
        error_band(exec, job, band, write, &mu.data()[band.range()], (x, dx));
    });
}

/// A band of it; `write` is ε^l and μ^l_{t−1}.
pub(crate) fn error_band<T: Real>(
    exec: &Exec,
    job: ErrorNode,
    band: &Band,
    write: [&mut [T]; 2],
    mu: &[T],
    (x, dx): (&Matrix<T>, &Matrix<T>),
) {
    if !job.carry {
        return blocks(
            exec.arch,
            write,
            [&x.data()[band.range()], mu],
            #[inline(always)]
            |[mut eps, _], [x, mu]| {
                for i in 0..BLOCK {
                    eps[i] = x[i] - mu[i];
                }
                [eps, mu]
            },
        );
    }
    // On layer 0, which never moves, there is no Δx.
    let dx = if job.moved { &dx.data()[band.range()] } else { mu };
    blocks(
        exec.arch,
        write,
        [mu, dx],
        #[inline(always)]
        |[mut eps, mu_prev], [mu, dx]| {
            let dx = if job.moved { dx } else { [T::ZERO; BLOCK] };
            for i in 0..BLOCK {
                eps[i] = (eps[i] + dx[i]) - (mu[i] - mu_prev[i]);
            }
            [eps, mu]
        },
    );
}
