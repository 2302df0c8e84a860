//! φ of Section 4: a unit fires where ε ≠ 0, or with `feedback` where a spike of layer l−1 reaches it, after
//! at least t_d silent steps; twin of `shaders/gate.wgsl`.

use super::matrix::PAD;
use super::real::Real;
use super::state::{Exec, Layer};
use crate::program::Gate;

/// `quiet` counts a unit's silent steps, up to t_d. Before t = 0 the network rests, so a unit that is
/// looked at for the first time counts as silent for t_d steps.
///
/// `spike` holds, for each sample, t + 1 of the layer's last spike (0 for none); `lower` is layer l−1's.
pub(crate) fn gate<T: Real>(exec: &Exec, job: Gate, layer: &mut Layer<T>, lower: Option<&[u32]>, td: u32) {
    let Layer { eps, gated, quiet, spike, .. } = layer;
    let ld = eps.ld;
    let rows = eps.data().chunks_exact(ld).zip(gated.data_mut().chunks_exact_mut(ld)).zip(quiet.chunks_exact_mut(ld));
    let stamp = job.t as u32 + 1;
    exec.run(
        #[inline(always)]
        || {
            for (i, ((eps, gated), quiet)) in rows.enumerate() {
                // Spikes that reach the whole layer at t; layer 0 is driven by the teacher.
                let arrival = lower.map_or(job.first, |lower| job.t > 0 && lower[i] + 1 == stamp);
                let units = eps.as_chunks::<PAD>().0.iter().zip(gated.as_chunks_mut::<PAD>().0);
                let mut any = false;
                for ((eps, gated), quiet) in units.zip(quiet.as_chunks_mut::<PAD>().0) {
                    let silent = if job.first { [td; PAD] } else { *quiet };
                    let (mut fired, mut count) = ([T::ZERO; PAD], [0; PAD]);
                    for i in 0..PAD {
                        let active = if job.feedback { arrival } else { eps[i] != T::ZERO };
                        let fires = active & (silent[i] >= td);
                        fired[i] = if fires { eps[i] } else { T::ZERO };
                        count[i] = if active { 0 } else { (silent[i] + 1).min(td) };
                        any |= fires;
                    }
                    (*gated, *quiet) = (fired, count);
                }
                if any || job.first {
                    spike[i] = if any { stamp } else { 0 };
                }
            }
        },
    );
}
