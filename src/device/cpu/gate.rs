//! φ of Section 4: a unit fires where ε ≠ 0, or with `feedback` where a spike of layer l−1 reaches it, after
//! at least t_d silent steps; twin of `shaders/gate.wgsl`.
#![allow(unsafe_code, reason = "threads write disjoint bands of two slots")]

use super::matrix::PANEL;
use super::real::Real;
use super::state::{Exec, Layer, Parts, numbers, vector};
use crate::program::Gate;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// `quiet` counts a unit's silent steps, up to t_d. Before t = 0 the network rests, so a unit that is
/// looked at for the first time counts as silent for t_d steps.
///
/// `spike` holds, for each sample, t + 1 of the layer's last spike (0 for none); `lower` is layer l−1's.
pub(crate) fn gate<T: Real>(exec: &Exec, job: Gate, layer: &mut Layer<T>, lower: Option<&[AtomicU32]>, td: u32) {
    let Layer { eps, gated, quiet, spike, .. } = layer;
    let shape = eps.shape();
    let stamp = job.t as u32 + 1;
    if job.first {
        spike.iter_mut().for_each(|spike| *spike.get_mut() = 0);
    }
    let (gated, quiet) = (Parts::new(gated.data_mut()), Parts::new(quiet));
    let bands = exec.bands(8 * numbers(shape));
    exec.each(bands, |i| {
        let band = shape.band(i, bands);
        // SAFETY: both slots outlive this call, and each band of each is taken by one task.
        let (gated, quiet) = unsafe { (gated.get(&band), quiet.get(&band)) };
        let eps = eps.data()[band.range()].as_chunks::<PANEL>().0.iter();
        let mut rows = eps.zip(gated.as_chunks_mut::<PANEL>().0).zip(quiet.as_chunks_mut::<PANEL>().0);
        vector(
            exec.arch,
            #[inline(always)]
            || {
                for (sample, ((eps, gated), quiet)) in band.pieces().flat_map(|p| p.rows).zip(&mut rows) {
                    // Spikes that reach the whole layer at t; layer 0 is driven by the teacher.
                    let reached = |lower: &[AtomicU32]| job.t > 0 && lower[sample].load(Relaxed) + 1 == stamp;
                    let arrival = lower.map_or(job.first, reached);
                    let silent = if job.first { [td; PANEL] } else { *quiet };
                    let (mut fired, mut count) = ([T::ZERO; PANEL], [0; PANEL]);
                    let mut any = false;
                    for i in 0..PANEL {
                        let active = if job.feedback { arrival } else { eps[i] != T::ZERO };
                        let fires = active & (silent[i] >= td);
                        fired[i] = if fires { eps[i] } else { T::ZERO };
                        count[i] = if active { 0 } else { (silent[i] + 1).min(td) };
                        any |= fires;
                    }
                    (*gated, *quiet) = (fired, count);
                    if any {
                        spike[sample].store(stamp, Relaxed);
                    }
                }
            },
        );
    });
}
