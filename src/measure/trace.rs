//! One update of a rule, moment by moment: how large ε is in each layer, and which units' φ fires.

use crate::data::Data;
use crate::device::cpu::CpuDevice;
use crate::error::Result;
use crate::network::Weights;
use crate::plan::{Plan, Stage};
use ndarray::Array2;
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
    /// Makes one update of `plan` on the first `batch` samples, again and again up to each of its moments, on the CPU.
    ///
    /// # Errors
    /// Those of [`CpuDevice::session`].
    pub fn new(plan: &Plan, batch: usize, data: &Arc<Data>, weights: &Weights) -> Result<Trace> {
        let device = CpuDevice::new(Some(1))?;
        let mut moments: Vec<usize> = Vec::new();
        for moment in &plan.moments {
            // What an optimiser does after the last moment is no moment of the nodes.
            let dynamic = moment.steps.iter().flatten().any(|op| op.name != "apply");
            match moment.stage {
                Stage::Learning(t) if dynamic && moments.last() != Some(&t) => moments.push(t),
                _ => {}
            }
        }
        let layers = plan.layers;
        let mut trace = Trace {
            title: plan.task.title.clone(),
            eps: vec![Vec::new(); layers],
            spikes: plan.find("phi", 0).map(|_| vec![Vec::new(); layers]),
            moments,
        };
        let order: Vec<u32> = (0..batch as u32).collect();
        for t in trace.moments.clone() {
            let mut until = plan.until(t);
            for slot in until.slots.iter_mut().filter(|slot| slot.name == "phi") {
                slot.observed = true;
            }
            let mut session = device.session(&until, batch, Arc::clone(data), weights)?;
            session.run(&order);
            let slot = |name, l| until.find(name, l).and_then(|slot| session.slot(slot));
            for l in 0..layers {
                let mean = |a: Array2<f64>, f: fn(f64) -> f64| a.iter().map(|v| f(*v)).sum::<f64>() / a.len() as f64;
                trace.eps[l].push(slot("eps", l).map_or(0.0, |e| mean(e, |v| v * v).sqrt()));
                if let Some(spikes) = &mut trace.spikes {
                    spikes[l].push(slot("phi", l).map_or(0.0, |p| mean(p, |v| f64::from(u8::from(v != 0.0)))));
                }
            }
        }
        Ok(trace)
    }
}
