//! φ of Section 4: a unit fires where ε (or its feedback current) ≠ 0 after at least t_d silent steps;
//! twin of `shaders/gate.wgsl`.

use super::matrix::PAD;
use super::real::Real;
use super::state::{Exec, Layer};
use crate::program::Gate;

/// `quiet` counts a unit's silent steps, up to t_d. Before t = 0 the network rests, so a unit that is
/// looked at for the first time counts as silent for t_d steps.
pub(crate) fn gate<T: Real>(exec: &Exec, job: Gate, layer: &mut Layer<T>, td: u32) {
    let Layer { eps, gated, quiet, feedback, .. } = layer;
    let signal = if job.feedback { feedback.data() } else { eps.data() };
    let heard = job.arrived || !job.feedback;
    let (eps, signal) = (eps.data().as_chunks::<PAD>().0, signal.as_chunks::<PAD>().0);
    let (gated, quiet) = (gated.data_mut().as_chunks_mut::<PAD>().0, quiet.as_chunks_mut::<PAD>().0);
    exec.run(
        #[inline(always)]
        || {
            for (((eps, signal), gated), quiet) in eps.iter().zip(signal).zip(gated).zip(quiet) {
                let silent = if job.first { [td; PAD] } else { *quiet };
                let (mut fired, mut count) = ([T::ZERO; PAD], [0; PAD]);
                for i in 0..PAD {
                    let active = heard & (signal[i] != T::ZERO);
                    fired[i] = if active & (silent[i] >= td) { eps[i] } else { T::ZERO };
                    count[i] = if active { 0 } else { (silent[i] + 1).min(td) };
                }
                (*gated, *quiet) = (fired, count);
            }
        },
    );
}
