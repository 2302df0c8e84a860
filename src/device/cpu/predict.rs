//! Eq. (5): μ^l = f(x^{l+1}) θ^{l+1}ᵀ + b^{l+1}; twin of `shaders/predict.wgsl`.

use super::activation::{f, for_activation};
use super::matrix::PAD;
use super::real::Real;
use super::state::{Exec, Layer, Params};
use crate::activation::Activation;
use crate::program::Predict;

/// `layer` is l, `upper` is l+1, `params` is θ^{l+1} and b^{l+1}; `drive` the activation of layer l.
pub(crate) fn predict<T: Real>(
    exec: &Exec,
    job: Predict,
    layer: &mut Layer<T>,
    upper: &Layer<T>,
    params: &Params<T>,
    drive: Activation,
) {
    params.predict(exec, &mut layer.mu, &upper.h[job.h_in]);
    if let Some(bias) = &params.bias {
        let (ld, bias) = (layer.mu.ld, bias.data());
        exec.run(
            #[inline(always)]
            || {
                for row in layer.mu.data_mut().chunks_exact_mut(ld) {
                    for (mu, b) in row.iter_mut().zip(bias) {
                        *mu = *mu + *b;
                    }
                }
            },
        );
    }
    if job.settle {
        let Layer { mu, x, h, .. } = layer;
        for_activation!(drive, ACT => exec.blocks(
            [x.data_mut(), h[0].data_mut()],
            [mu.data()],
            #[inline(always)]
            |[_, mut h], [mu]| {
                for i in 0..PAD {
                    h[i] = f(ACT, mu[i]);
                }
                [mu, h]
            },
        ));
        h[0].clear_padding();
    }
}
