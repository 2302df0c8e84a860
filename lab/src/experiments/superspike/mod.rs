//! The demonstration of SuperSpike (Zenke & Ganguli 2018). The inputs repeat the same Poisson spike trains, and a
//! network with one hidden layer learns output spikes that draw a picture. The layers have half of the published sizes
//! (200, 256 and 200), so that a run takes minutes.
//!
//! The published picture shows Oxford; the picture here is made of the built-in digits. Each row of the picture is the
//! target of one output: the darker a pixel, the more probable a spike. The error is the van Rossum distance as in the
//! paper: the mean over outputs of ∫ d² dt. Here d is the difference of the two spike trains, filtered by two
//! exponentials of 5 and 10 ms, and normalised by the integral for a single spike.

mod page;

use crate::experiment::{Figure, Input, Page, Summary};
use crate::results::{length, times, within};
use crate::{Checked, Context, Experiment, Folder, Results, blank, load, parallel};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::data::digits;
use zilch::device::cpu::{CpuDevice, CpuSession};
use zilch::error::{Error, Result};
use zilch::network::{Network, Weights};
use zilch::plan::activation::Activation;
use zilch::random::{Random, Stream};
use zilch::rules::superspike::{DT, MEMBRANE, SYNAPSE};
use zilch::rules::{Options, Rule};

/// Spiking units that learn to draw a picture.
#[derive(Debug)]
pub struct SuperSpike;

impl Experiment for SuperSpike {
    fn name(&self) -> &'static str {
        "superspike"
    }

    fn help(&self) -> &'static str {
        "Spiking units that learn to draw a picture with their spikes: SuperSpike, Zenke & Ganguli (2018)"
    }

    // The input is spikes instead of images.
    fn input(&self) -> Input {
        Input::Own
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context, folder)?)
    }

    fn page(&self) -> Option<Page> {
        Some(page::PAGE)
    }

    fn figures(&self, dir: &Path) -> Result<Vec<Figure>> {
        load(dir, "superspike")?.map_or(Ok(Vec::new()), |record| page::figures(&record.results))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        Ok(load(dir, "superspike")?.and_then(|record| page::summary(&record.results)).into_iter().collect())
    }
}

/// The kinds of feedback weights, through which hidden units receive the error. The trainings compare these kinds.
pub const WAYS: [&str; 3] = ["symmetric", "random", "uniform"];

/// Layer sizes, half of the published ones. The pattern lasts 1.89 s.
const LAYERS: [usize; 3] = [100, 128, 100];
const STEPS: usize = 18_900;
/// Layer sizes, steps and repetitions of the reduced version: the fewest at which hidden units spike and the feedback weights make a
/// difference.
const QUICK: ([usize; 3], usize, usize) = ([50, 64, 50], 3000, 3);
/// Repetitions of the pattern, and seeds.
const PASSES: usize = 53;
const SEEDS: [u64; 1] = [1];
/// Spike rates of the inputs and of the darkest pixels in Hz, and the learning rate in mV.
const INPUT_HZ: f64 = 10.0;
const DARK_HZ: f64 = 60.0;
const ALPHA: f64 = 0.5;
/// Initial weights are normal with this standard deviation in mV, divided by √n.
const START: f64 = 50.0;
/// The digits of the picture.
const DIGITS: [u64; 5] = [2, 0, 1, 8, 9];
/// Minimum steps between two target spikes. A unit cannot produce shorter intervals because of its refractory period.
const APART: usize = 60;

/// A spike train: (unit, step).
pub type Spikes = Vec<(u32, u32)>;

/// The outcome of a training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The kind of feedback weights.
    pub way: String,
    /// The seed.
    pub seed: u64,
    /// Van Rossum error of every pass, per unit and second.
    pub errors: Vec<f64>,
    /// Spikes of the outputs in each pass.
    pub spikes: Vec<u64>,
    /// Mean computing time of one step in seconds.
    pub seconds_a_step: f64,
    /// Output spikes in the first and in the last pass. Only one run stores them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rasters: Vec<Spikes>,
}

/// The results of the experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Raw {
    /// Layer sizes, input first.
    pub layers: Vec<usize>,
    /// Steps of 0.1 ms in the pattern.
    pub steps: usize,
    /// The target spikes.
    pub target: Spikes,
    /// The outcomes of all trainings.
    pub runs: Vec<Run>,
}

/// The maximum length of a pattern in steps, and the maximum error, that a figure can show.
const MOST_STEPS: usize = 1 << 24;
const LARGEST: f64 = 1e9;

impl Run {
    /// As [`Results::check`], for a network of these layers and this number of steps.
    fn check(&self, layers: &[usize], steps: usize) -> Checked {
        within("an error", &self.errors, [0.0, LARGEST])?;
        times("\"seconds_a_step\"", [&self.seconds_a_step])?;
        self.rasters.iter().try_for_each(|spikes| drawable(spikes, layers, steps))
    }
}

/// Refuses spikes of units or steps that do not exist.
fn drawable(spikes: &Spikes, layers: &[usize], steps: usize) -> Checked {
    let outputs = layers.last().copied().unwrap_or(0);
    match spikes.iter().find(|(unit, step)| *unit as usize >= outputs || *step as usize >= steps) {
        None => Ok(()),
        Some((unit, step)) => {
            Err(format!("unit {unit} spikes at step {step}, and there are {outputs} outputs and {steps} steps"))
        }
    }
}

impl Results for Raw {
    fn check(&self) -> Checked {
        length("\"layers\"", &self.layers, LAYERS.len())?;
        if self.layers.contains(&0) || !(1..=MOST_STEPS).contains(&self.steps) {
            return Err(format!("there are no units in a layer, or not 1 to {MOST_STEPS} steps"));
        }
        drawable(&self.target, &self.layers, self.steps)?;
        self.runs.iter().try_for_each(|run| run.check(&self.layers, self.steps))
    }
}

/// Runs the experiment. Trainings that are already in the folder are not repeated.
fn run(context: &Context<'_>, folder: &Folder) -> Result<Raw> {
    let (layers, steps, passes) = if context.quick { QUICK } else { (LAYERS, STEPS, PASSES) };
    let layers = layers.to_vec();
    let target = picture(layers[2], steps);
    let seeds = if context.quick { &SEEDS[..1] } else { &SEEDS[..] };
    let all: Vec<(&str, u64)> = seeds.iter().flat_map(|seed| WAYS.map(|way| (way, *seed))).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let runs = parallel(context, &all, |&(way, seed)| {
        let file = format!("{way}-{seed}.json");
        let known = folder.read::<Run>(&file).filter(|known| known.check(&layers, steps).is_ok());
        if let Some(known) = known {
            return Ok(known);
        }
        let told = |pass: usize| {
            let made = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
            (context.watch)(made as f64 / (all.len() * passes) as f64, way);
            log::info!("{way}, seed {seed}: pass {pass}");
            context.check()
        };
        let run = learn(&layers, steps, passes, &target, (way, seed), &told)?;
        folder.write(&file, &run)?;
        Ok(run)
    })?;
    Ok(Raw { layers, steps, target, runs })
}

/// The digits of the picture side by side, as target spikes: one unit per row of the picture.
fn picture(rows: usize, steps: usize) -> Spikes {
    let side = digits::SIDE;
    let images: Vec<[u8; digits::PIXELS]> = DIGITS.map(|digit| digits::image(digit + 10)).to_vec();
    let mut random = Random::new(0, Stream::Test, 90);
    let mut spikes = Vec::new();
    for unit in 0..rows {
        let row = unit * side / rows;
        let mut last: Option<usize> = None;
        for step in 0..steps {
            let col = step * side * images.len() / steps;
            let dark = f64::from(images[col / side][row * side + col % side]) / 255.0;
            let spike = random.uniform() < dark * DARK_HZ * DT / 1000.0;
            if spike && last.is_none_or(|last| step >= last + APART) {
                spikes.push((unit as u32, step as u32));
                last = Some(step);
            }
        }
    }
    spikes
}

/// One array per step, with 1 for units that spike and 0 for the others.
fn by_step(spikes: &Spikes, units: usize, steps: usize) -> Vec<Array2<f32>> {
    let mut all = vec![Array2::zeros((1, units)); steps];
    for (unit, step) in spikes {
        all[*step as usize][(0, *unit as usize)] = 1.0;
    }
    all
}

/// Trains a network for this number of passes.
fn learn(
    layers: &[usize],
    steps: usize,
    passes: usize,
    target: &Spikes,
    (way, seed): (&str, u64),
    told: &dyn Fn(usize) -> Result<()>,
) -> Result<Run> {
    let network = Network::new(layers)?.with_activation(Activation::Identity);
    let rule = Rule::SUPERSPIKE;
    let place = WAYS.iter().position(|w| *w == way).unwrap_or(0) as f64;
    let mut options = Options { alpha: ALPHA, seed, ..Options::new(rule) };
    options.rule_options.insert("sent-back".into(), place);
    let plan = options.plan(&network)?;
    let mut random = Random::new(seed, Stream::Weights, 0);
    let theta = (1..=network.lmax()).map(|l| {
        let sd = START / (network.n(l) as f64).sqrt();
        Array2::from_shape_simple_fn((network.n(l - 1), network.n(l)), || (sd * random.normal()) as f32)
    });
    let weights = Weights { theta: theta.collect(), bias: Vec::new() };
    let mut session: CpuSession = CpuDevice::new(Some(1))?.session(&plan, 1, blank(&network)?, &weights)?;
    let mut random = Random::new(0, Stream::Test, 91);
    let mut poisson = || if random.uniform() < INPUT_HZ * DT / 1000.0 { 1.0 } else { 0.0 };
    let inputs: Vec<Array2<f32>> =
        (0..steps).map(|_| Array2::from_shape_simple_fn((1, layers[0]), &mut poisson)).collect();
    let targets = by_step(target, network.outputs(), steps);
    let mut rossum = VanRossum::new(network.outputs());
    let mut run =
        Run { way: way.into(), seed, errors: Vec::new(), spikes: Vec::new(), seconds_a_step: 0.0, rasters: Vec::new() };
    let start = std::time::Instant::now();
    for pass in 0..passes {
        told(pass)?;
        let mut said = Spikes::new();
        let mut error = 0.0;
        for (step, (input, target)) in inputs.iter().zip(&targets).enumerate() {
            session.step(input, target);
            let output =
                session.slot(plan.output).ok_or_else(|| Error::usage("the slot of the output is not stored"))?;
            said.extend((0..).zip(output.row(0)).filter(|(_, s)| **s > 0.0).map(|(unit, _)| (unit, step as u32)));
            error += rossum.step(target.iter().zip(output.row(0)).map(|(t, s)| f64::from(*t) - s));
        }
        run.errors.push(error / (steps as f64 * DT / 1000.0));
        run.spikes.push(said.len() as u64);
        if (pass == 0 || pass + 1 == passes) && (way, seed) == (WAYS[0], SEEDS[0]) {
            run.rasters.push(said);
        }
    }
    run.seconds_a_step = start.elapsed().as_secs_f64() / (steps * passes) as f64;
    Ok(run)
}

/// The van Rossum distance of the spike trains of all units, updated step by step.
struct VanRossum {
    trace: Vec<f64>,
    mean: Vec<f64>,
    /// ∫ d² dt of a single spike, in ms, by which distances are divided.
    alone: f64,
}

impl VanRossum {
    fn new(units: usize) -> VanRossum {
        let mut one = VanRossum { trace: vec![0.0], mean: vec![0.0], alone: 1.0 };
        let alone = (0..10_000).map(|t| one.step(std::iter::once(if t == 0 { 1.0 } else { 0.0 }))).sum();
        VanRossum { trace: vec![0.0; units], mean: vec![0.0; units], alone }
    }

    /// The contribution of a step to the distance, as the mean over units.
    fn step(&mut self, errors: impl Iterator<Item = f64>) -> f64 {
        let mut sum = 0.0;
        for ((trace, mean), error) in self.trace.iter_mut().zip(&mut self.mean).zip(errors) {
            *trace = *trace * (-DT / SYNAPSE).exp() + error;
            *mean += (*trace - *mean) * (DT / MEMBRANE);
            sum += *mean * *mean * DT;
        }
        sum / self.alone / self.mean.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spike_alone_is_one() {
        let mut rossum = VanRossum::new(2);
        let mut total = 0.0;
        // One of two units misses a spike; the error of the other is 0.
        for t in 0..5000 {
            total += rossum.step([if t == 3 { 1.0 } else { 0.0 }, 0.0].into_iter());
        }
        assert!((total - 0.5).abs() < 1e-9, "{total}");
    }

    #[test]
    fn the_picture_can_be_drawn_by_units_that_rest() {
        let spikes = picture(40, 3000);
        assert!(spikes.len() > 40, "{}", spikes.len());
        for pair in spikes.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert!(pair[1].1 - pair[0].1 >= APART as u32);
        }
        assert_eq!(by_step(&spikes, 40, 3000).iter().map(|s| s.sum()).sum::<f32>(), spikes.len() as f32);
    }
}
