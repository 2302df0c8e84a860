//! One update of a rule, moment by moment: how large ε is in each layer, and which units' φ fires.

use crate::data::Data;
use crate::device::cpu::CpuDevice;
use crate::error::Result;
use crate::network::Weights;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Moment, Op, Plan, Role, Stage, What};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An update, moment by moment.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Trace {
    /// The rule and its network, as a plan's headline.
    pub title: String,
    /// The moments.
    pub moments: Vec<usize>,
    /// By layer from the output, then moment: the root of the mean ε², before x and θ move.
    pub eps: Vec<Vec<f64>>,
    /// By layer, then moment: the share of units and samples whose φ fires on an ε that is not 0; nothing without φ.
    pub spikes: Option<Vec<Vec<f64>>>,
}

impl Trace {
    /// Makes one update of `plan` on the first `batch` samples, on the CPU, and looks at it at each of its moments.
    ///
    /// # Errors
    /// Those of [`CpuDevice::session`].
    pub fn new(plan: &Plan, batch: usize, data: &Arc<Data>, weights: &Weights) -> Result<Trace> {
        let layers = plan.layers;
        let (looked, looks, moments) = looked_at(plan);
        let slots = |name: &str| (0..layers).map(|l| plan.find(name, l)).collect::<Vec<_>>();
        let (eps, phi) = (slots("eps"), slots("phi"));
        let mut trace = Trace {
            title: plan.task.title.clone(),
            eps: vec![Vec::new(); layers],
            spikes: phi.first().is_some_and(Option::is_some).then(|| vec![Vec::new(); layers]),
            moments,
        };
        let seen: Vec<SlotId> = eps.iter().chain(&phi).flatten().copied().collect();
        let look = &mut |values: Vec<Option<Array2<f64>>>| {
            let mean = |a: &Array2<f64>, f: fn(f64) -> f64| a.iter().map(|v| f(*v)).sum::<f64>() / a.len() as f64;
            let of: BTreeMap<SlotId, Array2<f64>> =
                seen.iter().zip(values).filter_map(|(slot, value)| Some((*slot, value?))).collect();
            let value = |slots: &[Option<SlotId>], l: usize| slots[l].and_then(|slot| of.get(&slot));
            for l in 0..layers {
                trace.eps[l].push(value(&eps, l).map_or(0.0, |e| mean(e, |v| v * v).sqrt()));
                if let Some(spikes) = &mut trace.spikes {
                    spikes[l].push(value(&phi, l).map_or(0.0, |p| mean(p, |v| f64::from(u8::from(v != 0.0)))));
                }
            }
        };
        CpuDevice::new(Some(1))?.update_looked_at(&looked, (batch, data, weights), (&looks, &seen), look)?;
        Ok(trace)
    }
}

/// The same plan with its moments parted where they are looked at: before x and θ move. The numbers of the parts after which
/// somebody looks, and the times t at which that is.
fn looked_at(plan: &Plan) -> (Plan, Vec<usize>, Vec<usize>) {
    let mut looked = Plan { moments: Vec::new(), ..plan.clone() };
    let phi = plan.family_of("phi");
    looked.slots.iter_mut().filter(|slot| Some(slot.family) == phi).for_each(|slot| slot.observed = true);
    let (mut looks, mut times) = (Vec::new(), Vec::new());
    // What an optimiser does after the last moment is no moment of the nodes.
    let dynamic = |moment: &&Moment| {
        moment.steps.iter().flatten().any(|op| !matches!(op.what, What::Map(Domain::Connections(_))))
    };
    for (m, moment) in plan.moments.iter().enumerate() {
        let next = plan.moments.get(m + 1).filter(dynamic).map(|next| next.stage);
        let (Stage::Learning(t), true, true) = (moment.stage, dynamic(&moment), next != Some(moment.stage)) else {
            looked.moments.push(moment.clone());
            continue;
        };
        let infers = |op: &Op| op.writes().any(|to| plan.role(to) == Role::Values);
        let moves = |ops: &Vec<Op>| ops.iter().any(|op| op.changes_weights() || infers(op));
        let still = moment.steps.iter().position(moves).unwrap_or(moment.steps.len());
        let (before, after) = moment.steps.split_at(still);
        let part = |steps: &[Vec<Op>]| Moment { stage: moment.stage, steps: steps.to_vec(), times: 1 };
        looks.push(looked.moments.len());
        times.push(t);
        looked.moments.extend([part(before), part(after)]);
        // Of a repetition the first time is looked at.
        let rest = Moment { times: moment.times.saturating_sub(1), ..moment.clone() };
        looked.moments.extend((rest.times > 0).then_some(rest));
    }
    (looked, looks, times)
}
