//! φ of Section 4: a unit fires where ε (or its feedback current) ≠ 0 after at least t_d silent steps;
//! twin of `shaders/gate.wgsl`.

use super::real::Real;
use super::state::{Exec, Layer};
use crate::program::Gate;

/// `quiet` counts a unit's silent steps, up to t_d. Before t = 0 the network rests, so a unit that is
/// looked at for the first time counts as silent for t_d steps.
pub(crate) fn gate<T: Real>(exec: &Exec, job: Gate, layer: &mut Layer<T>, td: u32) {
    let Layer { eps, gated, quiet, feedback, .. } = layer;
    let signal = if job.feedback { feedback.data() } else { eps.data() };
    let heard = job.arrived || !job.feedback;
    let (eps, gated, quiet) = (eps.data(), gated.data_mut(), &mut quiet[..]);
    exec.run(
        #[inline(always)]
        || {
            for i in 0..eps.len() {
                let silent = if job.first { td } else { quiet[i] };
                let active = heard && signal[i] != T::ZERO;
                gated[i] = if active && silent >= td { eps[i] } else { T::ZERO };
                quiet[i] = if active { 0 } else { (silent + 1).min(td) };
            }
        },
    );
}
