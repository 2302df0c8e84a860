//! Table 3: how often φ detects the moment t = l, and whether training with φ gives BP's weights.
//!
//! The dynamics of Z-IL are simulated up to step T in trained networks. Over samples, layers and neurons it counts:
//!
//! * *live*: neurons with ε^l_l ≠ 0, which have an error to learn from;
//! * S1: the share of live neurons whose φ fires at t = l and at no other moment in 0 ..= T;
//! * S2: the share of all spikes that occur at t = l.

mod page;

use super::figure3::ALPHA;
use crate::experiment::Summary;
use crate::results::{length, within};
use crate::{BATCH, Checked, Context, Experiment, Folder, Record, Results, SEEDS, load, parallel};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::data::Set;
use zilch::device::cpu::CpuDevice;
use zilch::error::Result;
use zilch::network::{Network, Weights};
use zilch::plan::activation::Activation;
use zilch::plan::{Op, Plan};
use zilch::random::{Random, Stream};
use zilch::rules::Options;
use zilch::rules::builder::Chain;
use zilch::rules::{Coords, Phi, Rule, Schedule};
use zilch::train::{Length, Training};

/// The values of t_d in the columns of the table.
pub const TDS: [usize; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 16];
/// The last moment T that is simulated.
pub const LAST: usize = 64;
/// The published values, in percent.
pub const PAPER: [f64; 9] = [93.4, 92.4, 99.6, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0];

/// Success rate of φ.
#[derive(Debug)]
pub struct Table3;

impl Experiment for Table3 {
    fn name(&self) -> &'static str {
        "table3"
    }

    fn help(&self) -> &'static str {
        "Success rate of φ"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context)?)
    }

    fn section(&self, dir: &Path) -> Result<Option<String>> {
        Ok(load(dir, "table3")?.map(|record| page::section(&record)))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        let row = |record: Record<Raw>| {
            let found = [0, 3].map(|i| record.results.found(i));
            let near = (found[0] - 93.4).abs() < 2.0 && (found[1] - 100.0).abs() < 0.5;
            Summary {
                paper: "Song et al. 2020",
                what: "φ finds t = l at t_d = 1, 4".into(),
                published: "93.4, 100.0 %".into(),
                ours: format!("{:.2}, {:.2} %", found[0], found[1]),
                spread: "pooled".into(),
                verdict: if near { "as published" } else { "differs" }.into(),
            }
        };
        Ok(load(dir, "table3")?.map(row).into_iter().collect())
    }
}

/// The arithmetic for ε.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// float32, ε = x − μ, as in the paper.
    #[serde(rename = "float32, value coordinates")]
    Value32,
    /// float32, with ε stored as state.
    #[serde(rename = "float32, error coordinates")]
    Error32,
    /// float64, ε = x − μ.
    #[serde(rename = "float64, value coordinates")]
    Value64,
}

/// Counts over samples, layers and neurons. Lists have one entry per t_d.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spikes {
    /// The number of weight layers; 0 for all networks together.
    pub lmax: usize,
    /// The arithmetic.
    pub condition: Condition,
    /// The number of neurons.
    pub neurons: u64,
    /// Neurons with ε^l_l ≠ 0.
    pub live: u64,
    /// Neurons whose φ fired at t = l and at no other moment.
    pub only: Vec<u64>,
    /// Neurons whose φ fired at t = l.
    pub right: Vec<u64>,
    /// The total number of spikes.
    pub spikes: Vec<u64>,
}

impl Spikes {
    /// S1 of column `i`, in percent.
    pub fn s1(&self, i: usize) -> f64 {
        100.0 * self.only[i] as f64 / self.live.max(1) as f64
    }

    /// S2 of column `i`, in percent.
    pub fn s2(&self, i: usize) -> f64 {
        100.0 * self.right[i] as f64 / self.spikes[i].max(1) as f64
    }

    fn add(&mut self, other: &Spikes) {
        self.neurons += other.neurons;
        self.live += other.live;
        for i in 0..TDS.len() {
            self.only[i] += other.only[i];
            self.right[i] += other.right[i];
            self.spikes[i] += other.spikes[i];
        }
    }
}

/// A whole training with Fa-Z-IL, compared with BP's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Activation of the hidden layers.
    pub activation: Activation,
    /// The quantity that φ observes.
    pub phi: Phi,
    /// The coordinates of ε.
    pub coords: Coords,
    /// t_d.
    pub td: u32,
    /// T.
    pub steps: u32,
    /// The number of weight layers.
    pub lmax: usize,
    /// Weight updates.
    pub updates: u64,
    /// Whether the weights are bitwise equal to BP's.
    pub bit_identical: bool,
    /// Σ_l ‖θ^l − θ^l_BP‖₂. `None` if a value was NaN or infinite.
    pub distance: Option<f64>,
    /// Misclassified test samples.
    pub errors: u64,
    /// Misclassified test samples of BP.
    pub bp_errors: u64,
    /// The number of test samples.
    pub samples: u64,
}

/// The results of both parts of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// The number of updates in the training of the networks.
    pub updates: u64,
    /// Spike counts of φ in trained networks: for each network and condition, and summed over all networks.
    pub spikes: Vec<Spikes>,
    /// Whole trainings with φ.
    pub claims: Vec<Claim>,
}

impl Results for Raw {
    fn check(&self) -> Checked {
        for spikes in &self.spikes {
            for (what, counts) in [("only", &spikes.only), ("right", &spikes.right), ("spikes", &spikes.spikes)] {
                length(&format!("\"{what}\" of lmax {}", spikes.lmax), counts, TDS.len())?;
            }
        }
        self.claims.iter().try_for_each(|claim| within("a distance", &claim.distance, [0.0, f64::MAX]))
    }
}

impl Raw {
    /// S1 of column `i` in percent, of all networks together in the paper's arithmetic.
    pub fn found(&self, i: usize) -> f64 {
        let pooled = self.spikes.iter().find(|s| s.lmax == 0 && s.condition == Condition::Value32);
        pooled.map_or(0.0, |s| s.s1(i))
    }
}

fn run(context: &Context<'_>) -> Result<Raw> {
    let updates = if context.quick { 1_000 } else { 192_000 };
    let batches = if context.quick { 5 } else { 20 };
    let networks = context.networks()?;
    let mut spikes = Vec::new();
    for (i, network) in networks.iter().enumerate() {
        let trained = train(context, network, &Options::new(Rule::BP), updates)?.weights;
        for condition in [Condition::Value32, Condition::Error32, Condition::Value64] {
            spikes.push(measure(context, network, &trained, condition, batches)?);
            (context.watch)(0.3 * (i + 1) as f64 / networks.len() as f64, "phi");
        }
    }
    for condition in [Condition::Value32, Condition::Error32, Condition::Value64] {
        let mut of = spikes.iter().filter(|s| s.condition == condition);
        if let Some(mut all) = of.next().cloned() {
            of.for_each(|s| all.add(s));
            all.lmax = 0;
            spikes.push(all);
        }
    }
    Ok(Raw { updates, spikes, claims: claims(context, &networks[2], updates)? })
}

/// The outcome of a training.
struct Trained {
    weights: Weights,
    errors: u64,
    finite: bool,
}

fn train(context: &Context<'_>, network: &Network, options: &Options, updates: u64) -> Result<Trained> {
    let options = Options { alpha: ALPHA, ..options.clone() };
    let training = Training {
        options: options.clone(),
        batch: BATCH,
        seed: SEEDS[0],
        ..Training::new(network.clone(), Length::Updates(updates))
    };
    training.check(&context.data)?;
    let samples = context.data.train.len();
    let init = Weights::init(network, SEEDS[0]);
    let mut session = CpuDevice::new(Some(1))?.session(&options.plan(network)?, BATCH, context.data.clone(), &init)?;
    let (mut left, mut epoch) = (updates as usize * BATCH, 0);
    let mut finite = true;
    while left > 0 && finite {
        let mut order = training.order(samples, epoch);
        order.truncate(left);
        for part in order.chunks(256 * BATCH) {
            context.check()?;
            session.run(part);
        }
        finite = session.not_finite().is_none();
        left -= order.len();
        epoch += 1;
    }
    Ok(Trained { weights: session.weights(), errors: session.score(Set::Test).errors, finite })
}

/// Z-IL with the full schedule. Inference continues after the last weight update up to step `last`. No step is hoisted
/// out of the loop.
fn trajectory(network: &Network, coords: Coords, last: usize) -> Result<Plan> {
    let lmax = network.lmax();
    let options = Options { coords, schedule: Some(Schedule::Full), alpha: ALPHA, ..Options::new(Rule::ZIL) };
    let mut p = Chain::new(network, &options);
    p.predict_all();
    for t in 0..=last {
        let mut steps = vec![(0..lmax).filter(|_| t > 0).map(|l| p.predict(l)).collect()];
        steps.extend(p.errors(0..lmax));
        let mut both: Vec<Op> = (1..lmax).map(|l| p.infer(l)).collect();
        both.extend((t < lmax).then(|| p.learn(t)));
        steps.push(both);
        p.learning(t, steps);
    }
    Ok(p.plan)
}

/// Counts the spikes of φ on training samples.
fn measure(
    context: &Context<'_>,
    network: &Network,
    weights: &Weights,
    condition: Condition,
    batches: usize,
) -> Result<Spikes> {
    let coords = if condition == Condition::Error32 { Coords::Error } else { Coords::Value };
    let plan = trajectory(network, coords, LAST)?;
    let mut samples = Random::new(SEEDS[0], Stream::Test, 3).permutation(context.data.train.len());
    samples.truncate(batches * BATCH);
    // active[l][t] stores whether ε^l_t ≠ 0, for every sample and unit.
    let mut active: Vec<Vec<Vec<bool>>> = vec![vec![Vec::new(); LAST + 1]; network.lmax()];
    let device = CpuDevice::new(Some(1))?;
    for t in 0..=LAST {
        context.check()?;
        let until = plan.until(t);
        for batch in samples.chunks_exact(BATCH) {
            let data = context.data.clone();
            let read: Box<dyn Fn(usize) -> Option<ndarray::Array2<f64>>> = if condition == Condition::Value64 {
                let mut session = device.session_f64(&until, BATCH, data, weights)?;
                session.run(batch);
                let eps = |l| plan.find("eps", l);
                Box::new(move |l| session.slot(eps(l)?))
            } else {
                let mut session = device.session(&until, BATCH, data, weights)?;
                session.run(batch);
                let eps = |l| plan.find("eps", l);
                Box::new(move |l| session.slot(eps(l)?))
            };
            for (l, moments) in active.iter_mut().enumerate() {
                moments[t].extend(read(l).into_iter().flatten().map(|e| e != 0.0));
            }
        }
    }
    Ok(count(network.lmax(), condition, &active))
}

fn count(lmax: usize, condition: Condition, active: &[Vec<Vec<bool>>]) -> Spikes {
    let none = vec![0; TDS.len()];
    let mut sum =
        Spikes { lmax, condition, neurons: 0, live: 0, only: none.clone(), right: none.clone(), spikes: none };
    for (l, moments) in active.iter().enumerate() {
        for unit in 0..moments[0].len() {
            sum.neurons += 1;
            sum.live += u64::from(moments[l][unit]);
            for (i, &td) in TDS.iter().enumerate() {
                let fired = |t: usize| moments[t][unit] && (t.saturating_sub(td)..t).all(|s| !moments[s][unit]);
                let spikes = (0..moments.len()).filter(|&t| fired(t)).count() as u64;
                let right = fired(l);
                sum.spikes[i] += spikes;
                sum.right[i] += u64::from(right);
                sum.only[i] += u64::from(right && spikes == 1);
            }
        }
    }
    sum
}

/// The claim in the paper's text, tested by whole trainings: which φ, t_d and coordinates give BP's weights.
fn claims(context: &Context<'_>, network: &Network, updates: u64) -> Result<Vec<Claim>> {
    let mut todo = Vec::new();
    for activation in [Activation::Sigmoid, Activation::Relu] {
        for phi in [Phi::Error, Phi::Feedback] {
            for (coords, td, steps) in [
                (Coords::Error, 1, 4),
                (Coords::Error, 4, 4),
                (Coords::Error, 1, 16),
                (Coords::Error, 4, 16),
                (Coords::Value, 1, 16),
                (Coords::Value, 4, 16),
            ] {
                todo.push((activation, phi, coords, td, steps));
            }
        }
    }
    // Trainings with many inference steps per sample take the most time, so they get a quarter of the updates.
    let length = |steps: u32| if steps > 4 { updates / 4 } else { updates };
    let references: Vec<(Activation, u64)> =
        [Activation::Sigmoid, Activation::Relu].into_iter().flat_map(|a| [(a, length(4)), (a, length(16))]).collect();
    let network_of = |activation| network.clone().with_activation(activation);
    let references = parallel(context, &references, |&(a, n)| {
        train(context, &network_of(a), &Options::new(Rule::BP), n).map(|t| ((a, n), t))
    })?;
    let done = std::sync::atomic::AtomicUsize::new(0);
    parallel(context, &todo, |&(activation, phi, coords, td, steps)| {
        let options = Options { phi, coords, td, steps: Some(steps), ..Options::new(Rule::FAZIL) };
        let updates = length(steps);
        let trained = train(context, &network_of(activation), &options, updates)?;
        let n = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        (context.watch)(0.3 + 0.7 * n as f64 / todo.len() as f64, "Fa-Z-IL trainings");
        let key = (activation, updates);
        let Some((_, bp)) = references.iter().find(|(k, _)| *k == key) else {
            return Err(zilch::Error::usage("a reference training is missing"));
        };
        Ok(Claim {
            activation,
            phi,
            coords,
            td,
            steps,
            lmax: network.lmax(),
            updates,
            bit_identical: trained.weights.bit_identical(&bp.weights),
            distance: trained.finite.then(|| trained.weights.distance(&bp.weights)),
            errors: trained.errors,
            bp_errors: bp.errors,
            samples: context.data.test.len() as u64,
        })
    })
}
