//! The comparison of rules and devices: the time of one weight update, and its distance from BP's update.
//!
//! An arm is one rule with one schedule on one device. The rounds of all arms are interleaved, so that a drift in the
//! machine's speed affects all arms alike. Every time is the median over rounds, with its quartiles.

use crate::data::{Data, Dataset};
use crate::device::{BlockingSession, Device, Resident};
use crate::error::{Error, Result};
use crate::lower::Program;
use crate::memory;
use crate::network::{Init, Network, Weights};
use crate::plan::{Loss, Plan};
use crate::random::{Random, Stream};
use crate::rules::{Coords, Optimizer, Options, Rule, Schedule};
use crate::statistics::quartiles;
use ndarray::Array2;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The settings of a comparison.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The network.
    pub network: Network,
    /// Batch size: samples per weight update.
    pub batch: usize,
    /// The rules.
    pub rules: Vec<Rule>,
    /// One schedule for all rules; `None` measures each rule with every schedule listed in the field `compared` of its
    /// definition.
    pub schedule: Option<Schedule>,
    /// The coordinates of inference.
    pub coords: Coords,
    /// The number of inference steps: t_c of IL and T of Fa-Z-IL.
    pub steps: Option<u32>,
    /// γ of the rules that take it; `None` is each rule's default.
    pub gamma: Option<f64>,
    /// The learning rate; `None` is the default.
    pub alpha: Option<f64>,
    /// Whether weight changes are averaged over the batch instead of summed.
    pub mean: bool,
    /// The loss.
    pub loss: Loss,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// The distribution of the weights.
    pub init: Init,
    /// Seconds of measurement per arm.
    pub seconds: f64,
    /// Seed of the weights and of the order of samples.
    pub seed: u64,
}

/// The distance between one update of a rule and BP's, from the same weights and batch on the same device.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Divergence {
    /// Largest |θ − θ_BP| after the update.
    pub max_abs: f64,
    /// `max_abs` relative to the largest |Δθ| of BP's update.
    pub relative: f64,
    /// Whether the new weights are bit-identical.
    pub bit_identical: bool,
}

/// One row of the comparison: a rule with a schedule on a device.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// `cpu` or `gpu`.
    pub device: &'static str,
    /// The processor or adapter.
    pub device_name: String,
    /// The driver, or the threads and SIMD instruction set.
    pub driver: String,
    /// Whether the device is a software GPU.
    pub software: bool,
    /// The rule.
    pub rule: Rule,
    /// Its schedule.
    pub schedule: Schedule,
    /// The coordinates of inference.
    pub coords: Coords,
    /// Microseconds of wall-clock time per update: the median over rounds.
    pub median_us: f64,
    /// First quartile.
    pub q1_us: f64,
    /// Third quartile.
    pub q3_us: f64,
    /// Microseconds per update by the device's clock, the median over rounds; `None` if the device has no clock.
    pub device_median_us: Option<f64>,
    /// The number of timed updates.
    pub updates: u64,
    /// Milliseconds from the creation of the session to the end of its first update.
    pub first_update_ms: f64,
    /// Floating-point operations per update.
    pub flop_per_update: u64,
    /// Kernel launches per update, including the one that gathers the batch.
    pub dispatches: usize,
    /// Updates per submission to a GPU, over the timed rounds.
    pub updates_per_submission: Option<f64>,
    /// The distance from BP's update.
    pub divergence: Divergence,
}

/// The measurement of one rule on one device.
struct Arm {
    options: Options,
    plan: Plan,
    device: Device,
    session: BlockingSession,
    first_update_ms: f64,
    divergence: Divergence,
    /// Updates per round.
    round: usize,
    /// Microseconds per update by the wall clock, by round.
    wall: Vec<f64>,
    /// Microseconds per update by the device's clock, by round.
    clock: Vec<f64>,
    updates: u64,
    submissions: u64,
    spent: f64,
}

/// The target duration of a round.
const ROUND_SECONDS: f64 = 0.02;
/// The target duration of a round on a GPU. It is longer than on the CPU, so that the synchronisation at the end is
/// amortised over many updates.
const GPU_ROUND_SECONDS: f64 = 0.4;
/// Maximum size of the random images in bytes, unless one batch is larger.
const RANDOM_BYTES: usize = 1 << 26;
/// Minimum number of rounds per arm.
pub(crate) const MIN_ROUNDS: usize = 5;

impl Comparison {
    /// A comparison of the paper's rules with their defaults, with two seconds per arm. Use it for struct update.
    pub fn new(network: Network, batch: usize) -> Comparison {
        Comparison {
            network,
            batch,
            rules: Rule::PAPER.to_vec(),
            schedule: None,
            coords: Coords::Error,
            steps: None,
            gamma: None,
            alpha: None,
            mean: false,
            loss: Loss::Squared,
            optimizer: Optimizer::Sgd,
            init: Init::Uniform,
            seconds: 2.0,
            seed: 0,
        }
    }

    /// Runs the comparison on these devices and reports each step to `watch`.
    ///
    /// # Errors
    /// Those of [`Options::plan`], [`Device::fits`] and [`Device::session`]; [`crate::Error::Gpu`] when a device fails;
    /// [`crate::Error::Interrupted`] when `stop` is set.
    pub fn run(&self, devices: &[Device], stop: &AtomicBool, watch: &mut dyn FnMut(&str)) -> Result<Vec<Measured>> {
        for options in self.arms() {
            let plan = options.plan(&options.rule.suited(self.network.clone()))?;
            for device in devices {
                device.fits(&plan, self.batch, false)?;
            }
        }
        let data = Arc::new(self.data()?);
        let weights = Weights::drawn(&self.network, self.seed, self.init);
        let order = self.order(data.train.len());
        let mut arms = Vec::new();
        for device in devices {
            let resident = device.upload(&data)?;
            watch(&format!("preparing {}", device.name()));
            let after_bp = self.after_one_update(device, &resident, &weights, &order)?;
            for options in self.arms() {
                // Checks the memory again, since the sessions of previous arms now occupy a part of it.
                device.fits(&options.plan(&options.rule.suited(self.network.clone()))?, self.batch, false)?;
                arms.push(self.arm(device, &resident, &options, &weights, &order, &after_bp)?);
            }
        }
        watch("measuring");
        let mut active = true;
        while active {
            active = false;
            for arm in arms.iter_mut().filter(|a| a.spent < self.seconds || a.wall.len() < MIN_ROUNDS) {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted("interrupted; nothing was written".into()));
                }
                arm.round(&order, &weights, self.batch, self.seconds / MIN_ROUNDS as f64)?;
                active = true;
            }
        }
        Ok(arms.into_iter().map(|arm| arm.measured(self.batch)).collect())
    }

    /// The plan of the first row.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let options = self.arms().into_iter().next().ok_or_else(|| Error::usage("a comparison needs a rule"))?;
        options.plan(&options.rule.suited(self.network.clone()))
    }

    /// The options of a rule, without a schedule.
    fn options(&self, rule: Rule) -> Options {
        let defaults = Options::new(rule);
        Options {
            coords: self.coords,
            steps: self.steps.filter(|_| rule.takes("steps")),
            gamma: self.gamma.filter(|_| rule.takes("gamma")),
            alpha: self.alpha.unwrap_or(defaults.alpha),
            mean: self.mean,
            loss: self.loss,
            optimizer: self.optimizer,
            ..defaults
        }
    }

    /// The options of every row: each rule with the requested schedule, or else with those in `compared` of its
    /// definition.
    fn arms(&self) -> Vec<Options> {
        let mut arms = Vec::new();
        for &rule in &self.rules {
            let schedules = match self.schedule.filter(|_| rule.takes("schedule")) {
                Some(one) => vec![one],
                None => rule.compared.to_vec(),
            };
            arms.extend(schedules.into_iter().map(|s| Options { schedule: Some(s), ..self.options(rule) }));
        }
        arms
    }

    /// The synthetic digits if their size matches the network, else random images of the network's input size.
    fn data(&self) -> Result<Data> {
        let data = Data::open(crate::data::DIGITS)?;
        if data.fits(&self.network).is_ok() && data.train.len() >= self.batch {
            return Ok(data);
        }
        // The number of images decreases with their size, to bound the memory.
        let samples = (RANDOM_BYTES / self.network.inputs()).clamp(1, 1024).max(self.batch);
        let bytes = samples as u64 * self.network.inputs() as u64;
        memory::check(|| format!("random images for {}", self.network), bytes, "choose smaller --layers")?;
        let mut random = Random::new(self.seed, Stream::Test, 0);
        let images = Array2::from_shape_simple_fn((samples, self.network.inputs()), || random.below(256) as u8);
        let classes = self.network.outputs().min(256) as u64;
        let labels = (0..samples).map(|_| random.below(classes) as u8).collect();
        // Nothing is evaluated, so one test sample is enough.
        let (first, label) = (images.slice(ndarray::s![..1, ..]).to_owned(), vec![0]);
        let set = |images, labels| Dataset::new(Path::new("random images"), images, labels, 1, self.network.inputs());
        Ok(Data {
            train: set(images, labels)?,
            test: set(first, label)?,
            name: "random images".into(),
            checksums: Vec::new(),
        })
    }

    /// A random order of the samples, cut to whole batches. Every round cycles through it.
    fn order(&self, samples: usize) -> Vec<u32> {
        let mut order = Random::new(self.seed, Stream::Shuffle, 0).permutation(samples);
        order.truncate(samples / self.batch * self.batch);
        order
    }

    /// The weights after one update of BP.
    fn after_one_update(&self, device: &Device, data: &Resident, weights: &Weights, order: &[u32]) -> Result<Weights> {
        let mut session = device.session(
            &self.options(Rule::BP).plan(&self.network)?.without_reads_of_states(),
            self.batch,
            data,
            weights,
        )?;
        session.run(&order[..self.batch])?;
        session.weights()
    }

    /// Creates the session of an arm, times its first update, and measures the distance from BP's update.
    fn arm(
        &self,
        device: &Device,
        data: &Resident,
        options: &Options,
        weights: &Weights,
        order: &[u32],
        after_bp: &Weights,
    ) -> Result<Arm> {
        let plan = options.plan(&options.rule.suited(self.network.clone()))?;
        let start = Instant::now();
        let mut session = device.session(&plan.without_reads_of_states(), self.batch, data, weights)?;
        session.run(&order[..self.batch])?;
        let first_update_ms = start.elapsed().as_secs_f64() * 1e3;
        let after = session.weights()?;
        let (max_abs, _) = after.max_abs_difference(after_bp);
        let (update, _) = after_bp.max_abs_difference(weights);
        let relative = if max_abs == 0.0 { 0.0 } else { max_abs / update };
        let divergence = Divergence { max_abs, relative, bit_identical: after.bit_identical(after_bp) };
        Ok(Arm {
            options: options.clone(),
            plan,
            device: device.clone(),
            session,
            first_update_ms,
            divergence,
            round: 1,
            wall: Vec::new(),
            clock: Vec::new(),
            updates: 0,
            submissions: 0,
            spent: 0.0,
        })
    }
}

impl Arm {
    /// Runs and times a round of updates of about `longest` seconds or less. The first rounds are a warm-up in which the number of
    /// updates per round is determined.
    fn round(&mut self, order: &[u32], weights: &Weights, batch: usize, longest: f64) -> Result<()> {
        let target = if self.device.kind() == "gpu" { GPU_ROUND_SECONDS } else { ROUND_SECONDS }.min(longest);
        let round: Vec<u32> = order.iter().copied().cycle().take(self.round * batch).collect();
        let submissions = self.session.submissions();
        let start = Instant::now();
        let clock = self.session.run_timed(&round)?;
        let took = start.elapsed().as_secs_f64();
        if self.wall.is_empty() && took < target / 2.0 {
            let more = (target / took.max(1e-7)).clamp(1.5, 8.0);
            self.round = (self.round as f64 * more).ceil() as usize;
            return Ok(());
        }
        let per_update = 1e6 / self.round as f64;
        self.wall.push(took * per_update);
        self.clock.extend(clock.map(|seconds| seconds * per_update));
        self.updates += self.round as u64;
        self.submissions += self.session.submissions() - submissions;
        self.spent += took;
        // Every round starts from the same weights. Long training on a few batches would saturate the network and produce
        // subnormal values, which are slow on some machines.
        self.session.load(weights);
        Ok(())
    }

    fn measured(mut self, batch: usize) -> Measured {
        let [q1, median, q3] = quartiles(&mut self.wall);
        // This cannot fail: the session was compiled from the same plan.
        let plan = self.plan.carried().unwrap_or(Cow::Borrowed(&self.plan));
        let (products, others) = Program::new(&plan).count();
        let dispatches = products + others + 1;
        Measured {
            device: self.device.kind(),
            device_name: self.device.name(),
            driver: self.device.driver(),
            software: self.device.software(),
            rule: self.options.rule,
            schedule: self.options.schedule(),
            coords: self.options.coords,
            median_us: median,
            q1_us: q1,
            q3_us: q3,
            device_median_us: (!self.clock.is_empty()).then(|| quartiles(&mut self.clock)[1]),
            updates: self.updates,
            first_update_ms: self.first_update_ms,
            flop_per_update: self.plan.cost(batch).flops,
            dispatches,
            updates_per_submission: (self.submissions > 0).then(|| self.updates as f64 / self.submissions as f64),
            divergence: self.divergence,
        }
    }
}
