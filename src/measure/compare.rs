//! The comparison of rules and devices: what one weight update costs, and how far it is from BP's.
//!
//! All arms take turns, round by round, so that a machine that grows slower or faster meanwhile does so
//! for all. Every figure is the median over rounds, with its quartiles.

use crate::data::{Data, Dataset};
use crate::device::{BlockingSession, Device, Resident};
use crate::error::{Error, Result};
use crate::lower::Program;
use crate::memory;
use crate::network::{Network, Weights};
use crate::plan::Plan;
use crate::random::{Random, Stream};
use crate::rules::Options;
use crate::rules::{Coords, Rule, Schedule};
use crate::statistics::quartiles;
use ndarray::Array2;
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What to compare.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The network.
    pub network: Network,
    /// Samples of one weight update.
    pub batch: usize,
    /// The rules, with every option but rule and schedule.
    pub rules: Vec<Rule>,
    /// One schedule for all, or `None` for every schedule that differs.
    pub schedule: Option<Schedule>,
    /// What ε carries.
    pub coords: Coords,
    /// t_c of IL and T of Fa-Z-IL.
    pub steps: Option<u32>,
    /// Seconds of rounds for each arm.
    pub seconds: f64,
    /// Seed of weights and order.
    pub seed: u64,
}

/// How far one update of a rule lies from BP's, from the same weights and batch on the same device.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Divergence {
    /// Largest |θ − θ_BP| after the update.
    pub max_abs: f64,
    /// That, relative to the largest |Δθ| of BP's update.
    pub relative: f64,
    /// Whether every bit of the new weights is the same.
    pub bit_identical: bool,
}

/// One row of the comparison.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// `cpu` or `gpu`.
    pub device: &'static str,
    /// Processor or adapter.
    pub device_name: String,
    /// Driver, or threads and vector unit.
    pub driver: String,
    /// Whether the device only imitates a GPU.
    pub software: bool,
    /// The rule.
    pub rule: Rule,
    /// Its schedule.
    pub schedule: Schedule,
    /// What ε carries.
    pub coords: Coords,
    /// Microseconds of wall-clock time an update: median and quartiles over rounds.
    pub median_us: f64,
    /// First quartile.
    pub q1_us: f64,
    /// Third quartile.
    pub q3_us: f64,
    /// Microseconds an update by the device's own clock, where it has one: median over rounds.
    pub device_median_us: Option<f64>,
    /// Updates timed.
    pub updates: u64,
    /// Milliseconds from making the session to the end of its first update.
    pub first_update_ms: f64,
    /// Floating-point operations an update.
    pub flop_per_update: u64,
    /// Kernel launches an update, the batch's gathering included.
    pub dispatches: usize,
    /// Updates a submission, on a GPU, over the timed rounds.
    pub updates_per_submission: Option<f64>,
    /// Distance from BP's update.
    pub divergence: Divergence,
}

/// One rule on one device, under measurement.
struct Arm {
    options: Options,
    plan: Plan,
    device: Device,
    session: BlockingSession,
    first_update_ms: f64,
    divergence: Divergence,
    /// Updates a round.
    round: usize,
    /// Microseconds an update of each round, on the wall clock and on the device's.
    wall: Vec<f64>,
    clock: Vec<f64>,
    updates: u64,
    submissions: u64,
    spent: f64,
}

/// Rounds are sized to last about this long.
const ROUND_SECONDS: f64 = 0.02;
/// A GPU's rounds last longer, so that a wait for the device is spread over many updates.
const GPU_ROUND_SECONDS: f64 = 0.4;
/// The most bytes of random images made, unless one batch takes more.
const RANDOM_BYTES: usize = 1 << 26;
/// Fewest rounds of an arm, however slow.
const MIN_ROUNDS: usize = 5;

impl Comparison {
    /// Runs the comparison on these devices; `watch` is told which arm is being prepared or measured.
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
        let weights = Weights::init(&self.network, self.seed);
        let order = self.order(data.train.len());
        let mut arms = Vec::new();
        for device in devices {
            let resident = device.upload(&data)?;
            watch(&format!("preparing {}", device.name()));
            let after_bp = self.after_one_update(device, &resident, &weights, &order)?;
            for options in self.arms() {
                // Beside those that are made already.
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
                arm.round(&order, &weights, self.batch)?;
                active = true;
            }
        }
        Ok(arms.into_iter().map(|arm| arm.measured(self.batch)).collect())
    }

    /// The options of every row: each rule's schedules that are worth comparing, unless one was asked for.
    fn arms(&self) -> Vec<Options> {
        let base = |rule: Rule| Options {
            coords: self.coords,
            steps: self.steps.filter(|_| rule.takes("steps")),
            ..Options::new(rule)
        };
        let mut arms = Vec::new();
        for &rule in &self.rules {
            let schedules = match self.schedule.filter(|_| rule.takes("schedule")) {
                Some(one) => vec![one],
                None => rule.compared.to_vec(),
            };
            arms.extend(schedules.into_iter().map(|s| Options { schedule: Some(s), ..base(rule) }));
        }
        arms
    }

    /// The synthetic digits where they fit the network, else random images of its size.
    fn data(&self) -> Result<Data> {
        let data = Data::open(crate::data::DIGITS)?;
        if data.fits(&self.network).is_ok() && data.train.len() >= self.batch {
            return Ok(data);
        }
        // Fewer where images are so large that many would fill the memory.
        let samples = (RANDOM_BYTES / self.network.inputs()).clamp(1, 1024).max(self.batch);
        let bytes = samples as u64 * self.network.inputs() as u64;
        memory::check(|| format!("random images for {}", self.network), bytes, "choose smaller --layers")?;
        let mut random = Random::new(self.seed, Stream::Test, 0);
        let images = Array2::from_shape_simple_fn((samples, self.network.inputs()), || random.below(256) as u8);
        let classes = self.network.outputs().min(256) as u64;
        let labels = (0..samples).map(|_| random.below(classes) as u8).collect();
        // Nothing is tested.
        let (first, label) = (images.slice(ndarray::s![..1, ..]).to_owned(), vec![0]);
        let set = |images, labels| Dataset::new(Path::new("random images"), images, labels, 1, self.network.inputs());
        Ok(Data {
            train: set(images, labels)?,
            test: set(first, label)?,
            name: "random images".into(),
            checksums: Vec::new(),
        })
    }

    /// Samples of a few hundred updates, shown again and again.
    fn order(&self, samples: usize) -> Vec<u32> {
        let mut order = Random::new(self.seed, Stream::Shuffle, 0).permutation(samples);
        order.truncate(samples / self.batch * self.batch);
        order
    }

    fn after_one_update(&self, device: &Device, data: &Resident, weights: &Weights, order: &[u32]) -> Result<Weights> {
        let mut session = device.session(
            &Options::new(Rule::BP).plan(&self.network)?.without_reads_of_states(),
            self.batch,
            data,
            weights,
        )?;
        session.run(&order[..self.batch])?;
        session.weights()
    }

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
    /// Makes a round of updates and times it. The first rounds only find how many updates a round takes:
    /// they are the warm-up.
    fn round(&mut self, order: &[u32], weights: &Weights, batch: usize) -> Result<()> {
        let target = if self.device.kind() == "gpu" { GPU_ROUND_SECONDS } else { ROUND_SECONDS };
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
        // A network trained on a few batches for long would run into saturation, and its numbers into
        // subnormals, which some machines are slow on: every round starts from the same weights.
        self.session.load(weights);
        Ok(())
    }

    fn measured(mut self, batch: usize) -> Measured {
        let [q1, median, q3] = quartiles(&mut self.wall);
        // The session has taken it.
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
