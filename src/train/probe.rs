//! Probes: what a rule does to a network in training, layer by layer, beside its test error.
//!
//! At the end of an epoch, on the first batch of the training set, its images as they are, and from the weights as they are then:
//!
//! * the angle between the rule's step and backpropagation's, for each θ^l, in degrees: arccos (Δθ · Δθ_BP / |Δθ| |Δθ_BP|). Both are
//!   plain steps without weight decay, whatever the run's optimiser and rates, at a rate of 2⁻²⁰ and in float64: a step that small
//!   hardly changes what a rule reads that moves its weights more than once an update, and float64 still resolves it beside θ.
//!   A rule with a network of its own has no such angle, and asking for one is refused;
//! * the energy ½ Σ ε² a sample of each layer, after the rule's last moment;
//! * the root of the mean ε² of each layer, then;
//! * the angle between μ^0 after a plain step at a rate of 0.001 less μ^0 before, and the target less μ^0 before: *target alignment*
//!   (Song et al. 2024), the mean over samples, μ^0 as the rule predicts it. The step has the layers' rates of the run.

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
    /// What can be measured.
    Probe {
        /// The angle between the rule's step and BP's.
        Alignment = "alignment",
        /// ½ Σ ε² a sample.
        Energy = "energy",
        /// The size of ε.
        Eps = "eps",
        /// The angle between what the rule's step does to the output and what the target asks for.
        Target = "target",
    }
}

/// What was measured after an epoch: for each probe asked for, a number a layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Probed {
    /// The probe.
    pub probe: Probe,
    /// The number of the first layer: 1 for θ^1, 0 for ε^0.
    pub first: usize,
    /// By layer. An angle is missing where one of the steps is 0.
    pub values: Vec<Option<f64>>,
}

/// The rate of the step that the output is asked about: one that float32 shows beside weights.
const RATE: f64 = 1e-3;

/// The rate of the steps that are compared: 2⁻²⁰.
const SMALL_RATE: f64 = 1.0 / (1 << 20) as f64;

/// Refuses probes that say nothing about a rule.
///
/// # Errors
/// [`Error::Usage`], which names the rule and the probes that it has.
pub(crate) fn check(probes: &[Probe], rule: Rule) -> Result<()> {
    if !(probes.contains(&Probe::Alignment) && rule.own_network) {
        return Ok(());
    }
    let others = [Probe::Energy, Probe::Eps, Probe::Target].map(Probe::name).join(", ");
    Err(Error::usage(format!(
        "--probe alignment compares a rule's step with BP's on the same network, and --rule {} trains another network than BP would \
         with these weights, so that there is no such angle; remove alignment, or choose from --probe {others}",
        rule.name()
    )))
}

/// What measures, and what it measures on.
pub(crate) struct Prober {
    probes: Vec<Probe>,
    compared: Option<Compared>,
    stepped: Option<Stepped>,
    /// The samples of the batch.
    order: Vec<u32>,
}

/// The rule and BP in float64, on the CPU whatever the run's device, for the angles between their steps.
struct Compared {
    rule: CpuSession64,
    bp: CpuSession64,
    /// What examples have for themselves before they were ever shown.
    fresh: Vec<Array2<f32>>,
}

/// The rule in float32, as it is trained, for what it leaves in its slots.
struct Stepped {
    plan: Plan,
    rule: BlockingSession,
    /// What predicts as the rule does, for the angle to the target.
    predictor: Option<BlockingSession>,
    fresh: Vec<Array2<f32>>,
}

impl Prober {
    /// `options` are the run's, with what they know of its epochs.
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
            compared: aligned.then(|| Compared::new(training, options, device, data, batch)).transpose()?,
            stepped: others.then(|| Stepped::new(training, options, device, resident, batch)).transpose()?,
            probes: training.probes.clone(),
            order: (0..batch as u32).collect(),
        })
    }

    /// Measures from what the training session holds; nothing where `stop` was set before it was done.
    pub(crate) fn measure(&mut self, training: &BlockingSession, stop: &AtomicBool) -> Result<Option<Vec<Probed>>> {
        let kept = training.lasting()?;
        let updates = training.updates();
        let aligned = match &mut self.compared {
            Some(compared) => compared.angles(&kept, training, &self.order, stop)?,
            None => Some(Vec::new()),
        };
        let Some(aligned) = aligned else { return Ok(None) };
        let turned = match &mut self.stepped {
            Some(stepped) => stepped.step(kept, updates, &self.order, stop)?,
            None => Some(None),
        };
        let Some(turned) = turned else { return Ok(None) };
        let errors = |probe: Probe, number: fn(f64, f64, f64) -> f64| match &self.stepped {
            Some(stepped) => stepped.errors(probe, number),
            None => Ok(Probed { probe, first: 0, values: Vec::new() }),
        };
        let measure = |probe: &Probe| {
            Ok(match probe {
                Probe::Alignment => Probed { probe: *probe, first: 1, values: aligned.clone() },
                Probe::Energy => errors(*probe, |squares, rows, _| 0.5 * squares / rows)?,
                Probe::Target => Probed { probe: *probe, first: 0, values: vec![turned] },
                Probe::Eps => errors(*probe, |squares, rows, cols| (squares / (rows * cols)).sqrt())?,
            })
        };
        self.probes.iter().map(measure).collect::<Result<_>>().map(Some)
    }
}

impl Compared {
    fn new(training: &Training, options: &Options, device: &Device, data: &Arc<Data>, batch: usize) -> Result<Self> {
        // A layer's rate does not turn its step.
        let options = Options { layer_lr: Vec::new(), ..options.direction(SMALL_RATE) };
        let bp = Options { loss: options.loss, alpha: options.alpha, mean: options.mean, ..Options::new(Rule::BP) };
        let host = device.as_cpu().map_or_else(|| CpuDevice::new(None), |cpu| Ok(cpu.clone()))?;
        let start = training.start();
        let session =
            |options: Options| host.session_f64(&options.plan(&training.network)?, batch, Arc::clone(data), &start);
        let rule = session(options)?;
        Ok(Compared { fresh: rule.examples(), rule, bp: session(bp)? })
    }

    /// The angles between both steps from what the training session holds, of which `kept` is all that lasts; nothing where `stop` was
    /// set before they were known.
    fn angles(
        &mut self,
        kept: &[SavedSlot],
        training: &BlockingSession,
        order: &[u32],
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Option<f64>>>> {
        let before = training.weights()?;
        // Weights after the rule's update and after BP's in float64, and three times a layer.
        let numbers = |theta: &Vec<Array2<f32>>| -> [u64; 2] {
            let sizes = || theta.iter().map(|theta| theta.len() as u64);
            [sizes().sum(), sizes().max().unwrap_or(0)]
        };
        let [all, largest] = numbers(&before.theta);
        memory::check(
            || "probing".into(),
            8 * (2 * all + 3 * largest),
            "choose smaller --layers, or leave out --probe alignment",
        )?;
        // Whatever was measured before does not show: the update is the run's next one, of examples that are new.
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

impl Stepped {
    fn new(training: &Training, options: &Options, device: &Device, resident: &Resident, batch: usize) -> Result<Self> {
        let plan = options.direction(RATE).plan(&training.network)?;
        let start = training.start();
        let rule = device.session(&plan, batch, resident, &start)?;
        let predictor = training.probes.contains(&Probe::Target);
        Ok(Stepped {
            fresh: rule.examples()?,
            rule,
            predictor: predictor.then(|| device.session(&plan.prediction(), batch, resident, &start)).transpose()?,
            plan,
        })
    }

    /// Makes the rule's step from `kept`, what lasts of the training session, and measures how the output turned; nothing where `stop`
    /// was set before it was done.
    fn step(
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
        self.turned(&kept, order, stop)
    }

    /// The angle between the step of the output and what the target asks for, the mean over samples; `kept` is what was before the
    /// rule's update. Nothing at all where `stop` was set before it was known.
    fn turned(&mut self, kept: &[SavedSlot], order: &[u32], stop: &AtomicBool) -> Result<Option<Option<f64>>> {
        let Some(predictor) = &mut self.predictor else { return Ok(Some(None)) };
        let update = predictor.updates();
        let mut predicted = |from: &[SavedSlot]| -> Result<Option<Array2<f64>>> {
            // With the same random numbers, where there are some.
            predictor.set_updates(update);
            predictor.put(from);
            match predictor.run_until(order, stop)? {
                Some(1) => Ok(Some(predictor.slot(self.plan.output)?.unwrap_or_default())),
                _ => Ok(None),
            }
        };
        let (Some(before), Some(after)) = (predicted(kept)?, predicted(&self.rule.lasting()?)?) else {
            return Ok(None);
        };
        let target = self.rule.slot(self.plan.target())?.unwrap_or_default();
        let rows = before.outer_iter().zip(after.outer_iter()).zip(target.outer_iter());
        let angles: Vec<f64> =
            rows.filter_map(|((before, after), target)| angle(&(&after - &before), &(&target - &before))).collect();
        let mean = angles.iter().sum::<f64>() / angles.len() as f64;
        Ok(Some(Some(mean).filter(|mean| mean.is_finite())))
    }

    /// A number out of Σ ε², samples and units of each layer.
    fn errors(&self, probe: Probe, number: impl Fn(f64, f64, f64) -> f64) -> Result<Probed> {
        let eps = |l: usize| -> Result<Option<f64>> {
            let slot: Option<SlotId> = self.plan.find("eps", l);
            let Some(eps) = slot.map(|slot| self.rule.slot(slot)).transpose()?.flatten() else { return Ok(None) };
            let squares = eps.iter().map(|e| e * e).sum();
            Ok(Some(number(squares, eps.nrows() as f64, eps.ncols() as f64)).filter(|value| value.is_finite()))
        };
        let values = (0..self.plan.layers).map(eps).collect::<Result<_>>()?;
        Ok(Probed { probe, first: 0, values })
    }
}

/// The angle between the steps from `before` to `a` and to `b`, for each θ^l, in degrees: 2 arcsin (½ |â − b̂|), which is exactly 0
/// for equal steps.
fn angles(before: &Weights, a: &[Array2<f64>], b: &[Array2<f64>]) -> Vec<Option<f64>> {
    let step = |to: &[Array2<f64>], l: usize| &to[l] - &before.theta[l].mapv(f64::from);
    (0..before.theta.len()).map(|l| angle(&step(a, l), &step(b, l))).collect()
}

/// The angle between two arrays of numbers, in degrees; none where one of them is 0.
pub fn angle<D: ndarray::Dimension>(a: &ndarray::Array<f64, D>, b: &ndarray::Array<f64, D>) -> Option<f64> {
    let [la, lb] = [a, b].map(|m| m.iter().map(|v| v * v).sum::<f64>().sqrt());
    let chord = a.iter().zip(b).map(|(a, b)| a / la - b / lb).map(|v| v * v).sum::<f64>().sqrt();
    // NaN is no angle either.
    (la > 0.0 && lb > 0.0 && chord.is_finite()).then(|| (2.0 * (chord / 2.0).min(1.0).asin()).to_degrees())
}
