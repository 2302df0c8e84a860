//! Probes: optional measurements per layer after each epoch of a training.
//!
//! A probe is measured at the end of an epoch, on the first batch of the training set without augmentation, from the current weights.
//!
//! * `alignment`: the angle between the update Δθ^l of the rule and that of backpropagation, per weight matrix, in degrees:
//!   arccos (Δθ · Δθ_BP / |Δθ| |Δθ_BP|). Both are plain SGD steps without weight decay, whatever optimiser and learning rates the run
//!   has. The learning rate is 2⁻²⁰ and the precision float64. So small a step hardly disturbs a rule that updates its weights several
//!   times per batch, and float64 still resolves it relative to θ. A rule that trains another network than BP has no such angle, and
//!   the probe is refused.
//! * `energy`: the energy ½ Σ ε² per sample of each layer, after the last moment of the rule.
//! * `eps`: the root mean square of ε in each layer, at the same moment.
//! * `target`: *target alignment* (Song et al. 2024), the angle between the change of μ^0 by a plain step at learning rate 0.001 and
//!   the direction from μ^0 to the target, both taken from μ^0 before the step. It is the mean over samples; μ^0 is the rule's
//!   prediction. The step uses the learning rate factors per layer of the run.

use crate::data::Data;
use crate::device::cpu::{CpuDevice, CpuSession64};
use crate::device::{BlockingSession, Device, Resident, SavedSlot};
use crate::error::{Error, Result};
use crate::memory;
use crate::named::named;
use crate::network::Weights;
use crate::plan::{Plan, SlotId};
use crate::rules::{Options, Rule};
use crate::train::Training;
use ndarray::Array2;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

named! {
    /// A quantity to measure.
    Probe {
        /// The angle between the weight updates of the rule and of BP, per weight matrix.
        Alignment = "alignment",
        /// ½ Σ ε² per sample, per layer.
        Energy = "energy",
        /// The root mean square of ε, per layer.
        Eps = "eps",
        /// The angle between the change of the output by the rule's update and the direction to the target.
        Target = "target",
    }
}

/// The values of one probe after an epoch, one per layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Probed {
    /// The probe.
    pub probe: Probe,
    /// The index of the first layer: 1 for θ^1, 0 for ε^0.
    pub first: usize,
    /// By layer. An angle is `None` if one of the updates is 0.
    pub values: Vec<Option<f64>>,
}

/// The learning rate of the `target` probe, large enough for float32 to resolve the step relative to the weights.
const RATE: f64 = 1e-3;

/// The learning rate of the `alignment` probe: 2⁻²⁰.
const SMALL_RATE: f64 = 1.0 / (1 << 20) as f64;

/// Refuses probes that are undefined for a rule.
///
/// # Errors
/// [`Error::Usage`], which names the rule and the probes that are defined for it.
pub(crate) fn check(probes: &[Probe], rule: Rule) -> Result<()> {
    if !(probes.contains(&Probe::Alignment) && rule.own_network) {
        return Ok(());
    }
    let others = [Probe::Energy, Probe::Eps, Probe::Target].map(Probe::name).join(", ");
    Err(Error::usage(format!(
        "--probe alignment compares the updates of a rule and of BP on the same network, but --rule {} trains another network than BP \
         would with these weights; remove alignment, or choose from --probe {others}",
        rule.name()
    )))
}

/// The sessions that measure the probes of a training.
pub(crate) struct Prober {
    probes: Vec<Probe>,
    alignment: Option<Alignment>,
    step: Option<Step>,
    /// The sample indices of the batch.
    order: Vec<u32>,
}

/// The rule and BP in float64 for the `alignment` probe. They run on the CPU, whatever the device of the run.
struct Alignment {
    rule: CpuSession64,
    bp: CpuSession64,
    /// The initial per-example slots, [samples, n] each.
    fresh: Vec<Array2<f32>>,
}

/// The rule in float32 for the probes that read its slots after an update.
struct Step {
    plan: Plan,
    rule: BlockingSession,
    /// Predicts as the rule does; for the `target` probe.
    predictor: Option<BlockingSession>,
    fresh: Vec<Array2<f32>>,
}

impl Prober {
    /// `options` are those of the run, completed by the lengths of its epochs.
    pub(crate) fn new(
        training: &Training,
        options: &Options,
        device: &Device,
        data: &Arc<Data>,
        resident: &Resident,
    ) -> Result<Self> {
        let batch = training.batch.min(data.train.len());
        let aligned = training.probes.contains(&Probe::Alignment);
        let others = training.probes.iter().any(|probe| *probe != Probe::Alignment);
        Ok(Prober {
            alignment: aligned.then(|| Alignment::new(training, options, device, data, batch)).transpose()?,
            step: others.then(|| Step::new(training, options, device, resident, batch)).transpose()?,
            probes: training.probes.clone(),
            order: (0..batch as u32).collect(),
        })
    }

    /// Measures all probes from the state of the training session; `None` when `stop` was set before the end.
    pub(crate) fn measure(&mut self, training: &BlockingSession, stop: &AtomicBool) -> Result<Option<Vec<Probed>>> {
        let kept = training.persistent()?;
        let updates = training.updates();
        let aligned = match &mut self.alignment {
            Some(alignment) => alignment.angles(&kept, training, &self.order, stop)?,
            None => Some(Vec::new()),
        };
        let Some(aligned) = aligned else { return Ok(None) };
        let to_target = match &mut self.step {
            Some(step) => step.measure(kept, updates, &self.order, stop)?,
            None => Some(None),
        };
        let Some(to_target) = to_target else { return Ok(None) };
        let errors = |probe: Probe, value: fn(f64, f64, f64) -> f64| match &self.step {
            Some(step) => step.errors(probe, value),
            None => Ok(Probed { probe, first: 0, values: Vec::new() }),
        };
        let measure = |probe: &Probe| {
            Ok(match probe {
                Probe::Alignment => Probed { probe: *probe, first: 1, values: aligned.clone() },
                Probe::Energy => errors(*probe, |squares, rows, _| 0.5 * squares / rows)?,
                Probe::Target => Probed { probe: *probe, first: 0, values: vec![to_target] },
                Probe::Eps => errors(*probe, |squares, rows, cols| (squares / (rows * cols)).sqrt())?,
            })
        };
        self.probes.iter().map(measure).collect::<Result<_>>().map(Some)
    }
}

impl Alignment {
    fn new(training: &Training, options: &Options, device: &Device, data: &Arc<Data>, batch: usize) -> Result<Self> {
        // A learning rate factor per layer does not change the angle of that layer.
        let options = Options { layer_lr: Vec::new(), ..options.direction(SMALL_RATE) };
        let bp = Options { loss: options.loss, alpha: options.alpha, mean: options.mean, ..Options::new(Rule::BP) };
        let host = device.as_cpu().map_or_else(|| CpuDevice::new(None), |cpu| Ok(cpu.clone()))?;
        let start = training.start();
        let session =
            |options: Options| host.session_f64(&options.plan(&training.network)?, batch, Arc::clone(data), &start);
        let rule = session(options)?;
        Ok(Alignment { fresh: rule.examples(), rule, bp: session(bp)? })
    }

    /// The angles between both updates from the state of the training session, whose persistent slots are `kept`; `None` when `stop`
    /// was set before the end.
    fn angles(
        &mut self,
        kept: &[SavedSlot],
        training: &BlockingSession,
        order: &[u32],
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Option<f64>>>> {
        let before = training.weights()?;
        // The weights after both updates in float64, and three temporaries of the size of a layer.
        let sizes = |theta: &Vec<Array2<f32>>| -> [u64; 2] {
            let each = || theta.iter().map(|theta| theta.len() as u64);
            [each().sum(), each().max().unwrap_or(0)]
        };
        let [all, largest] = sizes(&before.theta);
        memory::check(
            || "probing".into(),
            8 * (2 * all + 3 * largest),
            "choose smaller --layers, or remove --probe alignment",
        )?;
        // Earlier measurements have no effect: the update is the next one of the run, from fresh per-example slots.
        self.rule.put_examples(&self.fresh);
        for session in [&mut self.rule, &mut self.bp] {
            session.set_updates(training.updates());
            session.put(kept);
            if session.run_until(order, stop) != Some(1) {
                return Ok(None);
            }
        }
        let (rule, bp) = (self.rule.weights_f64().0, self.bp.weights_f64().0);
        Ok(Some(angles(&before, &rule, &bp)))
    }
}

impl Step {
    fn new(training: &Training, options: &Options, device: &Device, resident: &Resident, batch: usize) -> Result<Self> {
        let plan = options.direction(RATE).plan(&training.network)?;
        let start = training.start();
        let rule = device.session(&plan, batch, resident, &start)?;
        let predictor = training.probes.contains(&Probe::Target);
        Ok(Step {
            fresh: rule.examples()?,
            rule,
            predictor: predictor.then(|| device.session(&plan.prediction(), batch, resident, &start)).transpose()?,
            plan,
        })
    }

    /// Runs the update of the rule from `kept`, the persistent slots of the training session, and measures the angle to the target.
    /// The outer `None` means that `stop` was set before the end, the inner one that there is no such angle.
    fn measure(
        &mut self,
        kept: Vec<SavedSlot>,
        updates: u64,
        order: &[u32],
        stop: &AtomicBool,
    ) -> Result<Option<Option<f64>>> {
        for session in [Some(&mut self.rule), self.predictor.as_mut()].into_iter().flatten() {
            session.set_updates(updates);
            session.put_examples(&self.fresh);
        }
        self.rule.put(&kept);
        if self.rule.run_until(order, stop)? != Some(1) {
            return Ok(None);
        }
        self.angle_to_target(&kept, order, stop)
    }

    /// The angle between the change of the output and the direction to the target, the mean over samples. `kept` are the persistent
    /// slots before the update. The result is as of [`Step::measure`].
    fn angle_to_target(&mut self, kept: &[SavedSlot], order: &[u32], stop: &AtomicBool) -> Result<Option<Option<f64>>> {
        let Some(predictor) = &mut self.predictor else { return Ok(Some(None)) };
        let update = predictor.updates();
        let mut predicted = |from: &[SavedSlot]| -> Result<Option<Array2<f64>>> {
            // Both predictions use the same random numbers.
            predictor.set_updates(update);
            predictor.put(from);
            match predictor.run_until(order, stop)? {
                Some(1) => Ok(Some(predictor.slot(self.plan.output)?.unwrap_or_default())),
                _ => Ok(None),
            }
        };
        let (Some(before), Some(after)) = (predicted(kept)?, predicted(&self.rule.persistent()?)?) else {
            return Ok(None);
        };
        let target = self.rule.slot(self.plan.target())?.unwrap_or_default();
        let rows = before.outer_iter().zip(after.outer_iter()).zip(target.outer_iter());
        let angles: Vec<f64> =
            rows.filter_map(|((before, after), target)| angle(&(&after - &before), &(&target - &before))).collect();
        let mean = angles.iter().sum::<f64>() / angles.len() as f64;
        Ok(Some(Some(mean).filter(|mean| mean.is_finite())))
    }

    /// The values of a probe, each from Σ ε², the samples and the units of a layer.
    fn errors(&self, probe: Probe, value: impl Fn(f64, f64, f64) -> f64) -> Result<Probed> {
        let eps = |l: usize| -> Result<Option<f64>> {
            let slot: Option<SlotId> = self.plan.find("eps", l);
            let Some(eps) = slot.map(|slot| self.rule.slot(slot)).transpose()?.flatten() else { return Ok(None) };
            let squares = eps.iter().map(|e| e * e).sum();
            Ok(Some(value(squares, eps.nrows() as f64, eps.ncols() as f64)).filter(|value| value.is_finite()))
        };
        let values = (0..self.plan.layers).map(eps).collect::<Result<_>>()?;
        Ok(Probed { probe, first: 0, values })
    }
}

/// The angle between the updates from `before` to `a` and from `before` to `b`, per weight matrix, in degrees.
fn angles(before: &Weights, a: &[Array2<f64>], b: &[Array2<f64>]) -> Vec<Option<f64>> {
    let step = |to: &[Array2<f64>], l: usize| &to[l] - &before.theta[l].mapv(f64::from);
    (0..before.theta.len()).map(|l| angle(&step(a, l), &step(b, l))).collect()
}

/// The angle between two arrays as vectors, in degrees; `None` if one of them is 0. It is 2 arcsin (½ |â − b̂|), which is exactly 0
/// for equal arrays.
pub fn angle<D: ndarray::Dimension>(a: &ndarray::Array<f64, D>, b: &ndarray::Array<f64, D>) -> Option<f64> {
    let [la, lb] = [a, b].map(|m| m.iter().map(|v| v * v).sum::<f64>().sqrt());
    let chord = a.iter().zip(b).map(|(a, b)| a / la - b / lb).map(|v| v * v).sum::<f64>().sqrt();
    // `is_finite` also excludes NaN.
    (la > 0.0 && lb > 0.0 && chord.is_finite()).then(|| (2.0 * (chord / 2.0).min(1.0).asin()).to_degrees())
}
