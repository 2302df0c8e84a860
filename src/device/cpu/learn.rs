//! Eqs. (3) and (9): θ^{l+1} ← θ^{l+1} + α ε^lᵀ f(x^{l+1}), b^{l+1} ← b^{l+1} + α Σ_batch ε^l;
//! twin of `shaders/learn.wgsl`.
#![allow(unsafe_code, reason = "threads write disjoint bands of the weights")]

use super::Shard;
use super::matrix::{Matrix, Shape};
use super::product::Columns;
use super::real::Real;
use super::state::{Exec, Layer, Params, Parts, numbers, vector};
use crate::program::Learn;

/// Layers learnt in one go; more are learnt in several.
const JOBS: usize = 8;

/// One copy of a weight matrix, to be written in bands.
#[derive(Clone, Copy)]
struct Target<T> {
    job: Learn,
    /// Of θᵀ, or of the second copy θ.
    shape: Shape,
    turned: bool,
    data: Parts<T>,
}

/// `params[l]` is θ^{l+1} and b^{l+1}.
///
/// The batch is summed sample by sample, through the shards in order.
pub(crate) fn learn<T: Real>(exec: &Exec, jobs: &[Learn], shards: &[Shard<T>], params: &mut [Params<T>], alpha: T) {
    for jobs in jobs.chunks(JOBS) {
        let mut targets = [const { None }; 2 * JOBS];
        for (i, job) in jobs.iter().enumerate() {
            let Params { theta_t, theta, .. } = &mut params[job.layer];
            let target = |m: &mut Matrix<T>, turned| Target {
                job: *job,
                shape: m.shape(),
                turned,
                data: Parts::new(m.data_mut()),
            };
            targets[2 * i] = Some(target(theta_t, true));
            targets[2 * i + 1] = theta.as_mut().map(|theta| target(theta, false));
        }
        learn_targets(exec, &targets, shards, alpha);
        for job in jobs {
            learn_bias(exec, *job, shards, &mut params[job.layer], alpha);
        }
    }
}

/// Every thread takes a band of every matrix.
fn learn_targets<T: Real>(exec: &Exec, targets: &[Option<Target<T>>], shards: &[Shard<T>], alpha: T) {
    let batch: usize = shards.iter().map(|shard| shard.samples.len()).sum();
    let work = targets.iter().flatten().map(|t| 2 * numbers(t.shape) * batch as u64).sum();
    let bands = exec.bands(work);
    exec.each(bands, |i| {
        for target in targets.iter().flatten() {
            let band = target.shape.band(i, bands);
            let operands = |s: usize| {
                let (eps, h) = post_and_pre(target.job, &shards[s].layers);
                if target.turned { (h, eps) } else { (eps, h) }
            };
            // SAFETY: the matrices outlive this call, and each band of each is taken by one task.
            let theta = unsafe { target.data.get(&band) };
            T::columns(exec.arch, Columns { theta, band: &band, operands, shards: shards.len(), alpha });
        }
    });
}

/// ε^l or φ^l ∘ ε^l, and f(x^{l+1}).
fn post_and_pre<T>(job: Learn, layers: &[Layer<T>]) -> (&Matrix<T>, &Matrix<T>) {
    let (layer, upper) = (&layers[job.layer], &layers[job.layer + 1]);
    (if job.gated { &layer.gated } else { &layer.eps }, &upper.h[job.h_in])
}

fn learn_bias<T: Real>(exec: &Exec, job: Learn, shards: &[Shard<T>], params: &mut Params<T>, alpha: T) {
    let Some(bias) = &mut params.bias else { return };
    let sum = &mut params.bias_sum;
    vector(
        exec.arch,
        #[inline(always)]
        || {
            sum.data_mut().fill(T::ZERO);
            for shard in shards {
                let eps = post_and_pre(job, &shard.layers).0;
                for (q, sum) in sum.data_mut().chunks_exact_mut(super::matrix::PANEL).enumerate() {
                    for row in eps.panel(q).chunks_exact(super::matrix::PANEL) {
                        for (s, e) in sum.iter_mut().zip(row) {
                            *s = *s + *e;
                        }
                    }
                }
            }
            for (b, s) in bias.data_mut().iter_mut().zip(sum.data()) {
                *b = alpha.fma(*s, *b);
            }
        },
    );
}
