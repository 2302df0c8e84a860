//! A trace of one update: per moment and layer, the size of ε and the fraction of units whose φ fires.

use crate::data::Data;
use crate::device::cpu::CpuDevice;
use crate::error::Result;
use crate::network::Weights;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Moment, Op, Plan, Stage, What};
use ndarray::Array2;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The trace of one update.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Trace {
    /// The rule and its network, as in the headline of a plan.
    pub title: String,
    /// The times t of the moments.
    pub moments: Vec<usize>,
    /// By layer from the output, then by moment: the root mean square of ε before x and θ change.
    pub eps: Vec<Vec<f64>>,
    /// By layer, then by moment: the fraction of φ values that are not 0, over units and samples; `None` for a rule without φ.
    pub spikes: Option<Vec<Vec<f64>>>,
}

impl Trace {
    /// Runs one update of `plan` on the first `batch` samples on the CPU, and observes it at each of its moments.
    ///
    /// # Errors
    /// Those of [`CpuDevice::session`].
    pub fn new(plan: &Plan, batch: usize, data: &Arc<Data>, weights: &Weights) -> Result<Trace> {
        let layers = plan.layers;
        let (observed, after, moments) = split_moments(plan);
        let slots = |name: &str| (0..layers).map(|l| plan.find(name, l)).collect::<Vec<_>>();
        let (eps, phi) = (slots("eps"), slots("phi"));
        let mut trace = Trace {
            title: plan.task.title.clone(),
            eps: vec![Vec::new(); layers],
            spikes: phi.first().is_some_and(Option::is_some).then(|| vec![Vec::new(); layers]),
            moments,
        };
        let read: Vec<SlotId> = eps.iter().chain(&phi).flatten().copied().collect();
        let observe = &mut |values: Vec<Option<Array2<f64>>>| {
            let mean = |a: &Array2<f64>, f: fn(f64) -> f64| a.iter().map(|v| f(*v)).sum::<f64>() / a.len() as f64;
            let of: BTreeMap<SlotId, Array2<f64>> =
                read.iter().zip(values).filter_map(|(slot, value)| Some((*slot, value?))).collect();
            let value = |slots: &[Option<SlotId>], l: usize| slots[l].and_then(|slot| of.get(&slot));
            for l in 0..layers {
                trace.eps[l].push(value(&eps, l).map_or(0.0, |e| mean(e, |v| v * v).sqrt()));
                if let Some(spikes) = &mut trace.spikes {
                    spikes[l].push(value(&phi, l).map_or(0.0, |p| mean(p, |v| f64::from(u8::from(v != 0.0)))));
                }
            }
        };
        CpuDevice::new(Some(1))?.update_looked_at(&observed, (batch, data, weights), (&after, &read), observe)?;
        Ok(trace)
    }
}

/// Splits the moments of a plan at the point of observation, just before x and θ change. Returns the plan, the indices of the
/// moments after which to observe, and their times t.
fn split_moments(plan: &Plan) -> (Plan, Vec<usize>, Vec<usize>) {
    let mut observed = Plan { moments: Vec::new(), ..plan.clone() };
    let phi = plan.family_of("phi");
    observed.slots.iter_mut().filter(|slot| Some(slot.family) == phi).for_each(|slot| slot.observed = true);
    let (mut after_moments, mut times) = (Vec::new(), Vec::new());
    // The optimiser's steps after the last moment change only weights, and are not observed.
    let dynamic = |moment: &&Moment| {
        moment.steps.iter().flatten().any(|op| !matches!(op.what, What::Map(Domain::Connections(_))))
    };
    for (m, moment) in plan.moments.iter().enumerate() {
        let next = plan.moments.get(m + 1).filter(dynamic).map(|next| next.stage);
        let (Stage::Learning(t), true, true) = (moment.stage, dynamic(&moment), next != Some(moment.stage)) else {
            observed.moments.push(moment.clone());
            continue;
        };
        let (before, after) = split_steps(plan, &moment.steps);
        let part = |steps| Moment { stage: moment.stage, steps, times: 1 };
        after_moments.push(observed.moments.len());
        times.push(t);
        observed.moments.extend([part(before), part(after)]);
        // Only the first repetition of a moment is observed.
        let rest = Moment { times: moment.times.saturating_sub(1), ..moment.clone() };
        observed.moments.extend((rest.times > 0).then_some(rest));
    }
    (observed, after_moments, times)
}

/// Splits the steps of a moment before the first op that changes weights or moves the state. Ops of the same step that do neither
/// come before it, unless such an op reads what they write: all reads of a step see its beginning.
fn split_steps(plan: &Plan, steps: &[Vec<Op>]) -> (Vec<Vec<Op>>, Vec<Vec<Op>>) {
    let first = steps.iter().position(|ops| ops.iter().any(|op| plan.moves(op))).unwrap_or(steps.len());
    let (mut before, mut after) = (steps[..first].to_vec(), steps[first..].to_vec());
    if let Some(ops) = after.first_mut() {
        let (moving, still): (Vec<Op>, Vec<Op>) = ops.iter().cloned().partition(|op| plan.moves(op));
        let written: BTreeSet<SlotId> = still.iter().flat_map(Op::writes).collect();
        if !still.is_empty() && moving.iter().flat_map(Op::reads).all(|slot| !written.contains(&slot)) {
            *ops = moving;
            before.push(still);
        }
    }
    (before, after)
}
