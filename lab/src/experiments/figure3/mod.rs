//! Figure 3: ablations of the conditions C1, C2 and C3.
//!
//! The experiment uses three networks and three seeds. For each combination of network and seed it trains BP once as
//! the reference, and every variant of Z-IL. For C2 and C3 all weights are updated at t ∈ {l, 0, 1, 2, 3, 4, 16, 64}
//! with γ ∈ {0.01, 0.1, 0.5, 1, 5, 10}. For C1 x_0 is drawn around μ_0 with σ ∈ {0, 10⁻⁴, …, 100}. The divergence of
//! the test error is the mean over epochs of |err − err_BP|. The divergence of the weights is Σ_l ‖θ^l − θ^l_BP‖₂ after
//! the last epoch.
//!
//! The outcome of each training is one file, so that a resumed run does not repeat finished trainings.

mod page;

use crate::experiment::{Figure, Summary};
use crate::results::{times, within};
use crate::{BATCH, Checked, Context, Experiment, Folder, Results, SEEDS, load, parallel};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use zilch::data::Set;
use zilch::device::cpu::{CpuDevice, CpuSession};
use zilch::error::{Error, Result};
use zilch::network::{Network, Weights};
use zilch::rules::Options;
use zilch::rules::{Coords, Rule, Schedule};
use zilch::train::{Length, Training};

/// Ablations of C1, C2 and C3.
#[derive(Debug)]
pub struct Figure3;

impl Experiment for Figure3 {
    fn name(&self) -> &'static str {
        "figure3"
    }

    fn help(&self) -> &'static str {
        "Ablations of C1, C2 and C3"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context, folder)?)
    }

    fn section(&self, dir: &Path) -> Result<Option<String>> {
        Ok(load(dir, "figure3")?.map(|record| page::section(&record, dir)))
    }

    fn figures(&self, dir: &Path) -> Result<Vec<Figure>> {
        let record = load::<Vec<Outcome>>(dir, "figure3")?;
        record.map_or(Ok(Vec::new()), |record| page::figures(&record.results))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        let Some(record) = load::<Vec<Outcome>>(dir, "figure3")? else { return Ok(Vec::new()) };
        let [same, all] = identical(&record.results, true);
        Ok(vec![Summary {
            paper: "Song et al. 2020",
            what: "Z-IL ends on BP's weights".into(),
            published: "equal".into(),
            ours: format!("{same} of {all}, bit for bit"),
            spread: "exact".into(),
            verdict: if all == same { "as published" } else { "differs" }.into(),
        }])
    }
}

/// Update moments in the ablation of C2. `None` is t = l.
pub const MOMENTS: [Option<u32>; 8] = [None, Some(0), Some(1), Some(2), Some(3), Some(4), Some(16), Some(64)];
/// Integration steps γ in the ablation of C3.
pub const GAMMAS: [f64; 6] = [0.01, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Standard deviations σ in the ablation of C1.
pub const SIGMAS: [f64; 8] = [0.0, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0];
/// Learning rate.
pub const ALPHA: f64 = 0.001;
/// Updates between two checks for an interrupt.
const LOOK: usize = 256;

/// One training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The number of weight layers.
    pub lmax: usize,
    /// The seed of weights, sample order and noise.
    pub seed: u64,
    /// The variant that is trained.
    pub kind: Kind,
}

/// A variant of the training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Backpropagation.
    Bp,
    /// Inference with step γ. All weights are updated at the moment t (`None`: θ^{l+1} at t = l).
    Moment {
        /// The moment t of the weight update.
        t: Option<u32>,
        /// The integration step γ.
        gamma: f64,
        /// The coordinates of ε.
        coords: Coords,
    },
    /// Z-IL with x_0 drawn around μ_0.
    Noise {
        /// The standard deviation σ.
        sigma: f64,
    },
}

/// The outcome of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The training.
    pub variant: Variant,
    /// Misclassified test samples after each epoch. After an overflow, 90 % of the test samples.
    pub errors: Vec<u32>,
    /// The number of test samples.
    pub samples: u32,
    /// Σ_l ‖θ^l − θ^l_BP‖₂ at the end. `None` after an overflow, which counts as infinite.
    pub distance: Option<f64>,
    /// Whether the final weights are bitwise equal to BP's.
    pub bit_identical: bool,
    /// The epoch, from 1, in which a value became NaN or infinite.
    pub overflow: Option<u32>,
    /// SHA-256 of the final weights.
    pub weights_sha256: String,
    /// Seconds on one thread.
    pub seconds: f64,
    /// The version of zilch.
    pub version: String,
}

impl Outcome {
    /// Mean over epochs of |err − err_BP|.
    pub fn error_divergence(&self, bp: &Outcome) -> f64 {
        let pairs = self.errors.iter().zip(&bp.errors);
        let sum: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        sum / self.errors.len().max(1) as f64 / f64::from(self.samples.max(1))
    }
}

impl Kind {
    /// Whether C1, C2 and C3 hold, in error coordinates.
    fn is_exact(self) -> bool {
        self == Kind::Moment { t: None, gamma: 1.0, coords: Coords::Error } || self == Kind::Noise { sigma: 0.0 }
    }
}

/// The number of trainings whose final weights are bitwise equal to BP's, and the total. `exact` selects the trainings
/// in which C1, C2 and C3 hold; otherwise the trainings that violate a condition are counted.
pub fn identical(outcomes: &[Outcome], exact: bool) -> [usize; 2] {
    let mine = |o: &&Outcome| o.variant.kind != Kind::Bp && o.variant.kind.is_exact() == exact;
    [outcomes.iter().filter(mine).filter(|o| o.bit_identical).count(), outcomes.iter().filter(mine).count()]
}

impl Results for Vec<Outcome> {
    fn check(&self) -> Checked {
        for outcome in self {
            if outcome.errors.iter().any(|errors| *errors > outcome.samples) {
                return Err(format!("a training has more errors than its {} test samples", outcome.samples));
            }
            within("a distance", &outcome.distance, [0.0, f64::MAX])?;
            times("\"seconds\"", [&outcome.seconds])?;
        }
        Ok(())
    }
}

/// All trainings of the figure, with the references first.
pub fn variants(quick: bool) -> Vec<Variant> {
    let seeds: &[u64] = if quick { &SEEDS[..1] } else { &SEEDS };
    let mut kinds = vec![Kind::Bp];
    for t in MOMENTS {
        kinds.extend(GAMMAS.map(|gamma| Kind::Moment { t, gamma, coords: Coords::Error }));
    }
    kinds.push(Kind::Moment { t: None, gamma: 1.0, coords: Coords::Value });
    kinds.extend(SIGMAS.map(|sigma| Kind::Noise { sigma }));
    let mut all = Vec::new();
    for &seed in seeds {
        for lmax in 2..=4 {
            all.extend(kinds.iter().map(|&kind| Variant { lmax, seed, kind }));
        }
    }
    all
}

/// The number of epochs of each training.
pub fn epochs(quick: bool) -> u64 {
    if quick { 1 } else { 64 }
}

impl Variant {
    /// The file name of the outcome.
    pub fn file(&self) -> String {
        let what = match self.kind {
            Kind::Bp => "bp".into(),
            Kind::Moment { t, gamma, coords } => {
                let t = t.map_or("l".into(), |t| t.to_string());
                let coords = if coords == Coords::Value { "-value" } else { "" };
                format!("t{t}-gamma{gamma}{coords}")
            }
            Kind::Noise { sigma } => format!("sigma{sigma}"),
        };
        format!("lmax{}-seed{}-{what}.json", self.lmax, self.seed)
    }

    /// The options of the rule.
    fn options(&self) -> Options {
        let base = |rule| Options { alpha: ALPHA, seed: self.seed, ..Options::new(rule) };
        match self.kind {
            Kind::Bp => base(Rule::BP),
            Kind::Moment { t: None, gamma, coords } => Options { gamma: Some(gamma), coords, ..base(Rule::ZIL) },
            Kind::Moment { t: Some(t), gamma, coords } => {
                Options { gamma: Some(gamma), steps: Some(t), coords, ..base(Rule::IL) }
            }
            Kind::Noise { sigma } => Options { sigma, schedule: Some(Schedule::Full), ..base(Rule::ZIL) },
        }
    }

    /// Estimated cost in microseconds per update. It determines the order of work and the estimate of the remaining
    /// time.
    fn weight(&self, network: &Network) -> f64 {
        let flops = self.options().plan(network).map_or(0.0, |p| p.cost(BATCH).flops as f64);
        let noise = if matches!(self.kind, Kind::Noise { sigma } if sigma > 0.0) { 40.0 } else { 0.0 };
        8.0 + flops / 80e3 + noise
    }
}

/// Runs every training whose outcome is not in the folder yet, on all threads. Returns all outcomes in the order of
/// [`variants`].
///
/// # Errors
/// [`Error::Interrupted`] when stopped; finished trainings are kept. [`Error::Io`] when an outcome cannot be written.
fn run(context: &Context<'_>, folder: &Folder) -> Result<Vec<Outcome>> {
    let networks = context.networks()?;
    let all = variants(context.quick);
    let network = |v: &Variant| &networks[v.lmax - 2];
    let total: f64 = all.iter().map(|v| v.weight(network(v))).sum();
    let done = AtomicU64::new(0);
    let report = |v: &Variant| {
        let units = (v.weight(network(v)) * 1e3) as u64;
        let sum = done.fetch_add(units, Ordering::Relaxed) + units;
        (context.watch)(sum as f64 / 1e3 / total, &v.file());
    };

    let (references, rest): (Vec<Variant>, Vec<Variant>) = all.iter().partition(|v| v.kind == Kind::Bp);
    let reference = |v: &Variant| folder.path(&format!("lmax{}-seed{}-bp.safetensors", v.lmax, v.seed));
    parallel(context, &references, |v| {
        let weights = zilch::network::read_weights_for(&reference(v), network(v));
        let known = folder.read::<Outcome>(&v.file()).filter(|o| o.variant == *v);
        if !weights.is_ok_and(|w| known.is_some_and(|o| o.weights_sha256 == w.sha256())) {
            let (outcome, weights) = train(context, network(v), v, None)?;
            zilch::network::write_weights(&reference(v), network(v), &weights)?;
            folder.write(&v.file(), &outcome)?;
        }
        report(v);
        Ok(())
    })?;

    let mut order = rest;
    order.sort_by(|a, b| b.weight(network(b)).total_cmp(&a.weight(network(a))));
    parallel(context, &order, |v| {
        if folder.read::<Outcome>(&v.file()).is_none_or(|o| o.variant != *v) {
            let bp = zilch::network::read_weights_for(&reference(v), network(v))?;
            let (outcome, _) = train(context, network(v), v, Some(&bp))?;
            folder.write(&v.file(), &outcome)?;
        }
        report(v);
        Ok(())
    })?;
    let missing = |v: &Variant| Error::io(&folder.path(&v.file()), std::io::ErrorKind::NotFound.into());
    all.iter().map(|v| folder.read(&v.file()).ok_or_else(|| missing(v))).collect()
}

/// Runs one training on one thread.
fn train(
    context: &Context<'_>,
    network: &Network,
    variant: &Variant,
    bp: Option<&Weights>,
) -> Result<(Outcome, Weights)> {
    let start = std::time::Instant::now();
    let (data, epochs) = (&context.data, epochs(context.quick));
    let training = Training {
        options: variant.options(),
        batch: BATCH,
        seed: variant.seed,
        ..Training::new(network.clone(), Length::Epochs(epochs))
    };
    training.check(data)?;
    let init = Weights::init(network, variant.seed);
    let plan = training.options.plan(network)?;
    let mut session = CpuDevice::new(Some(1))?.session(&plan, BATCH, data.clone(), &init)?;
    let samples = data.test.len() as u32;
    let mut errors = Vec::new();
    let mut overflow = None;
    for epoch in 0..epochs {
        if overflow.is_none() && !run_epoch(context, &mut session, &training.order(data.train.len(), epoch))? {
            overflow = Some(epoch as u32 + 1);
        }
        let wrong = if overflow.is_some() { samples * 9 / 10 } else { session.score(Set::Test).errors as u32 };
        errors.push(wrong);
    }
    let weights = session.weights();
    let outcome = Outcome {
        variant: *variant,
        errors,
        samples,
        distance: if overflow.is_some() { None } else { Some(bp.map_or(0.0, |bp| weights.distance(bp))) },
        bit_identical: bp.is_none_or(|bp| weights.bit_identical(bp)),
        overflow,
        weights_sha256: weights.sha256(),
        seconds: start.elapsed().as_secs_f64(),
        version: env!("CARGO_PKG_VERSION").into(),
    };
    Ok((outcome, weights))
}

/// Runs the updates of an epoch. Returns `false` when a weight is NaN or infinite.
fn run_epoch(context: &Context<'_>, session: &mut CpuSession, order: &[u32]) -> Result<bool> {
    for samples in order.chunks(LOOK * BATCH) {
        context.check()?;
        session.run(samples);
        if session.not_finite().is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}
