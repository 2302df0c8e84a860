//! Eq. (5): μ^l = f(x^{l+1}) θ^{l+1}ᵀ + b^{l+1}; twin of `shaders/predict.wgsl`.

use super::activation::{f, for_activation};
use super::error::error_band;
use super::matrix::{Band, PANEL, clear_padding};
use super::real::Real;
use super::state::{BLOCK, Exec, Layer, Params, blocks, numbers, vector};
use crate::activation::Activation;
use crate::program::{ErrorNode, Predict};

/// `layer` is l, `upper` is l+1, `params` is θ^{l+1} and b^{l+1}; `drive` the activation of layer l. With `then`,
/// the error nodes follow while the predictions are at hand; that is for layers that do not settle.
pub(crate) fn predict<T: Real>(
    exec: &Exec,
    job: Predict,
    then: Option<ErrorNode>,
    layer: &mut Layer<T>,
    upper: &Layer<T>,
    params: &Params<T>,
    drive: Activation,
) {
    let (shape, input) = (layer.mu.shape(), &upper.h[job.h_in]);
    let work = 2 * numbers(shape) * input.cols as u64;
    let product = |band: &Band, mu: &mut [T]| {
        params.predict(exec.arch, band, mu, input);
        if let Some(bias) = &params.bias {
            add_bias(exec, band, mu, bias.data());
        }
    };
    layer.new_predictions();
    if let Some(error) = then {
        let Layer { x, mu, mu_prev, dx, eps, .. } = layer;
        exec.share(shape, work, [mu.data_mut(), eps.data_mut()], |band, [mu, eps]| {
            product(band, mu);
            error_band(exec, error, band, eps, mu, [x, mu_prev, dx]);
        });
        layer.mu_used = true;
        return;
    }
    if !job.settle {
        return exec.share(shape, work, [layer.mu.data_mut()], |band, [mu]| product(band, mu));
    }
    let write = [layer.mu.data_mut(), layer.x.data_mut(), layer.h[0].data_mut()];
    exec.share(shape, work, write, |band, [mu, x, h]| {
        product(band, mu);
        for_activation!(drive, ACT => blocks(
            exec.arch,
            [x, &mut *h],
            [mu],
            #[inline(always)]
            |[_, mut h], [mu]| {
                for i in 0..BLOCK {
                    h[i] = f(ACT, mu[i]);
                }
                [mu, h]
            },
        ));
        clear_padding(band, h);
    });
}

/// μ += b, [n^l] to each row.
fn add_bias<T: Real>(exec: &Exec, band: &Band, mu: &mut [T], bias: &[T]) {
    let mut rows = mu.chunks_exact_mut(PANEL);
    vector(
        exec.arch,
        #[inline(always)]
        || {
            for piece in band.pieces() {
                let bias = &bias[piece.q * PANEL..][..PANEL];
                for row in rows.by_ref().take(piece.rows.len()) {
                    for (mu, b) in row.iter_mut().zip(bias) {
                        *mu = *mu + *b;
                    }
                }
            }
        },
    );
}
