//! x^l ← x^l + σ N(0, 1): condition C1 broken on purpose (Section 5.1 of the paper).
//!
//! It has no shader twin: the ablation is an experiment of the CPU, and the GPU refuses such a plan.

use super::activation::{f, for_activation};
use super::matrix::clear_padding;
use super::real::Real;
use super::state::{BLOCK, Exec, Layer, blocks};
use crate::activation::Activation;
use crate::random::Random;

/// Noise for a part of a layer's batch, drawn in the order of its samples and units.
pub(crate) fn perturb<T: Real>(exec: &Exec, layer: &mut Layer<T>, drive: Activation, sigma: f64, random: &mut Random) {
    let Layer { x, h, .. } = layer;
    for i in 0..x.rows {
        for j in 0..x.cols {
            x.set(i, j, x.get(i, j) + T::from_f64(sigma * random.normal()));
        }
    }
    for_activation!(drive, ACT => blocks(
        exec.arch,
        [h[0].data_mut()],
        [x.data()],
        #[inline(always)]
        |[mut h], [x]| {
            for i in 0..BLOCK {
                h[i] = f(ACT, x[i]);
            }
            [h]
        },
    ));
    let band = x.shape().whole();
    clear_padding(&band, h[0].data_mut());
}
