//! Probes: what a rule does to a network in training, layer by layer, beside its test error.
//!
//! At the end of an epoch, on the first batch of the training set, its images as they are, and from the weights as they are then:
//!
//! * the angle between the rule's step and backpropagation's, for each θ^l, in degrees: arccos (Δθ · Δθ_BP / |Δθ| |Δθ_BP|). Both are
//!   plain steps at a rate of 0.001, whatever the run's optimiser and rate;
//! * the energy ½ Σ ε² a sample of each layer, after the rule's last moment;
//! * the root of the mean ε² of each layer, then;
//! * the angle between μ^0 after that step less μ^0 before, and the target less μ^0 before: *target alignment* (Song et al. 2024),
//!   the mean over samples, μ^0 as the rule predicts it.

use crate::data::Data;
use crate::data::augment::Augment;
use crate::device::{Device, Kept, Resident, Session};
use crate::draw::{Panel, curves};
use crate::error::{Error, Result};
use crate::files::EpochMetrics;
use crate::memory;
use crate::network::Weights;
use crate::plan::{Plan, SlotId};
use crate::rules::{Options, Rule};
use crate::train::Training;
use ndarray::Array2;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// The angle between the rule's step and BP's.
    Alignment,
    /// ½ Σ ε² a sample.
    Energy,
    /// The size of ε.
    Eps,
    /// The angle between what the rule's step does to the output and what the target asks for.
    Target,
}

impl Probe {
    /// Every probe.
    const ALL: [Probe; 4] = [Probe::Alignment, Probe::Energy, Probe::Eps, Probe::Target];

    /// The probe of that name.
    pub fn named(name: &str) -> Option<Probe> {
        Probe::ALL.into_iter().find(|probe| probe.name() == name)
    }

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Probe::Alignment => "alignment",
            Probe::Energy => "energy",
            Probe::Eps => "eps",
            Probe::Target => "target",
        }
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

/// The rate of the steps that are compared.
const RATE: f64 = 1e-3;

/// The two sessions that measurements are made with.
pub(crate) struct Prober {
    probes: Vec<Probe>,
    plan: Plan,
    rule: Session,
    bp: Session,
    /// What predicts as the rule does, for the angle to the target.
    predictor: Option<Session>,
    /// The samples of the batch.
    order: Vec<u32>,
    /// What examples have for themselves before they were ever shown.
    fresh: Vec<Array2<f32>>,
}

impl Prober {
    pub(crate) fn new(training: &Training, device: &Device, data: &Arc<Data>, resident: &Resident) -> Result<Self> {
        // A rate of its own: steps that float32 shows beside weights, whatever the run's.
        // Every update would change them otherwise, and curves over epochs would show that, too.
        let options = Options { alpha: RATE, augment: Augment::NONE, ..training.options.direction() };
        let bp = Options { loss: options.loss, alpha: options.alpha, mean: options.mean, ..Options::new(Rule::BP) };
        let (plan, bp) = (options.plan(&training.network)?, bp.plan(&training.network)?);
        let batch = training.batch.min(data.train.len());
        let start = training.start();
        let rule = device.session(&plan, batch, resident, &start)?;
        Ok(Prober {
            probes: training.probes.clone(),
            fresh: rule.examples()?,
            rule,
            bp: device.session(&bp, batch, resident, &start)?,
            predictor: training
                .probes
                .contains(&Probe::Target)
                .then(|| device.session(&plan.prediction(), batch, resident, &start))
                .transpose()?,
            plan,
            order: (0..batch as u32).collect(),
        })
    }

    /// Measures from what the training session holds; nothing where `stop` was set before it was done.
    pub(crate) fn measure(&mut self, training: &Session, stop: &AtomicBool) -> Result<Option<Vec<Probed>>> {
        let kept = training.lasting()?;
        // Weights from before and after the rule's update, and after BP's; and three of a layer in float64.
        let network = &self.plan.network;
        let layer = |l: usize| {
            let (to, from) = network.shape(l + 1);
            to as u64 * from as u64
        };
        let bytes = 3 * 4 * network.parameters() + 3 * 8 * (0..network.matrices()).map(layer).max().unwrap_or(0);
        memory::check(|| "probing".into(), bytes, "choose smaller --layers, or leave out --probe")?;
        let before = training.weights()?;
        // Whatever was measured before does not show: the update is the run's next one, of examples that are new.
        for session in [&mut self.rule, &mut self.bp].into_iter().chain(&mut self.predictor) {
            session.set_updates(training.updates());
            session.put_examples(&self.fresh);
        }
        for session in [&mut self.rule, &mut self.bp] {
            session.put(&kept);
            if session.run_until(&self.order, stop)? != Some(1) {
                return Ok(None);
            }
        }
        let turned = match self.probes.contains(&Probe::Target) {
            true => self.turned(&kept, stop)?,
            false => Some(None),
        };
        let Some(turned) = turned else { return Ok(None) };
        drop(kept);
        let (rule, bp) = (self.rule.weights()?, self.bp.weights()?);
        let measure = |probe: &Probe| {
            Ok(match probe {
                Probe::Alignment => Probed { probe: *probe, first: 1, values: angles(&before, &rule, &bp) },
                Probe::Energy => self.errors(*probe, |squares, rows, _| 0.5 * squares / rows)?,
                Probe::Target => Probed { probe: *probe, first: 0, values: vec![turned] },
                Probe::Eps => self.errors(*probe, |squares, rows, cols| (squares / (rows * cols)).sqrt())?,
            })
        };
        self.probes.iter().map(measure).collect::<Result<_>>().map(Some)
    }

    /// The angle between the step of the output and what the target asks for, the mean over samples; `kept` is what was before the
    /// rule's update. Nothing at all where `stop` was set before it was known.
    fn turned(&mut self, kept: &[Kept], stop: &AtomicBool) -> Result<Option<Option<f64>>> {
        let Some(predictor) = &mut self.predictor else { return Ok(Some(None)) };
        let update = predictor.updates();
        let mut predicted = |from: &[Kept]| -> Result<Option<Array2<f64>>> {
            // With the same random numbers, where there are some.
            predictor.set_updates(update);
            predictor.put(from);
            match predictor.run_until(&self.order, stop)? {
                Some(1) => Ok(Some(predictor.slot(self.plan.output)?.unwrap_or_default())),
                _ => Ok(None),
            }
        };
        let (Some(before), Some(after)) = (predicted(kept)?, predicted(&self.rule.lasting()?)?) else {
            return Ok(None);
        };
        let target = self.rule.slot(self.plan.target)?.unwrap_or_default();
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
        let values = (0..self.plan.network.predicting()).map(eps).collect::<Result<_>>()?;
        Ok(Probed { probe, first: 0, values })
    }
}

/// The angle between the steps from `before` to `a` and to `b`, for each θ^l, in degrees: 2 arcsin (½ |â − b̂|), which is exactly 0
/// for equal steps.
fn angles(before: &Weights, a: &Weights, b: &Weights) -> Vec<Option<f64>> {
    let step = |to: &Weights, l: usize| to.theta[l].mapv(f64::from) - before.theta[l].mapv(f64::from);
    (0..before.theta.len()).map(|l| angle(&step(a, l), &step(b, l))).collect()
}

/// The angle between two arrays of numbers, in degrees; none where one of them is 0.
pub(crate) fn angle<D: ndarray::Dimension>(a: &ndarray::Array<f64, D>, b: &ndarray::Array<f64, D>) -> Option<f64> {
    let [la, lb] = [a, b].map(|m| m.iter().map(|v| v * v).sum::<f64>().sqrt());
    let chord = a.iter().zip(b).map(|(a, b)| a / la - b / lb).map(|v| v * v).sum::<f64>().sqrt();
    // NaN is no angle either.
    (la > 0.0 && lb > 0.0 && chord.is_finite()).then(|| (2.0 * (chord / 2.0).min(1.0).asin()).to_degrees())
}

/// Test error and probes over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to draw.
pub fn picture(metrics: &[EpochMetrics], probed: &[Vec<Probed>]) -> Result<String> {
    let first = probed.first().ok_or_else(|| Error::usage("no epoch was finished, so there are no curves to draw"))?;
    let over = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        metrics.iter().enumerate().filter_map(|(e, m)| Some((m.epoch as f64, value(e)?))).collect()
    };
    let error = over(&|e| Some(100.0 * metrics[e].test_error));
    let mut panels = vec![Panel {
        title: "test error, %".into(),
        log: false,
        x: "epoch",
        curves: vec![("test".into(), error)],
        bars: Vec::new(),
    }];
    for (i, Probed { probe, first, values }) in first.iter().enumerate() {
        let (title, symbol) = match probe {
            Probe::Alignment => ("angle to BP's step, °", "θ"),
            Probe::Energy => ("energy a sample", "ε"),
            Probe::Eps => ("root of the mean ε²", "ε"),
            Probe::Target => ("angle of the output's step to the target, °", "output"),
        };
        let curve = |l: usize| (format!("{symbol}^{}", first + l), over(&|e| *probed.get(e)?.get(i)?.values.get(l)?));
        let (log, curves) =
            (!matches!(probe, Probe::Alignment | Probe::Target), (0..values.len()).map(curve).collect());
        panels.push(Panel { title: title.into(), log, x: "epoch", curves, bars: Vec::new() });
    }
    curves(&panels)
}
