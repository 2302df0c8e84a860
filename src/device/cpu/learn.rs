//! Eqs. (3) and (9): θ^{l+1} ← θ^{l+1} + α ε^lᵀ f(x^{l+1}), b^{l+1} ← b^{l+1} + α Σ_batch ε^l;
//! twin of `shaders/learn.wgsl`.

use super::real::Real;
use super::state::{Exec, Layer, Params};
use crate::program::Learn;

/// `layer` is l, `upper` is l+1, `params` is θ^{l+1} and b^{l+1}.
pub(crate) fn learn<T: Real>(
    exec: &Exec,
    job: Learn,
    layer: &Layer<T>,
    upper: &Layer<T>,
    params: &mut Params<T>,
    alpha: T,
) {
    let eps = if job.gated { &layer.gated } else { &layer.eps };
    params.learn(exec, alpha, eps, &upper.h[job.h_in]);
    let Some(bias) = &mut params.bias else { return };
    // The batch is summed sample by sample, in the order of the weights' own sums.
    let sum = &mut params.bias_sum;
    exec.run(
        #[inline(always)]
        || {
            sum.data_mut().fill(T::ZERO);
            for row in eps.data().chunks_exact(eps.ld) {
                for (s, e) in sum.data_mut().iter_mut().zip(row) {
                    *s = *s + *e;
                }
            }
            for (b, s) in bias.data_mut().iter_mut().zip(sum.data()) {
                *b = alpha.fma(*s, *b);
            }
        },
    );
}
