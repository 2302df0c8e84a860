//! Training: epochs of weight updates on a device, watched for numbers that are not finite and for devices that fail.

pub mod checkpoint;
mod metrics;
pub mod probe;
mod recovery;
mod run;
mod run_folder;

use crate::data::tasks::{Tasks, Tested};
use crate::data::{Data, Dataset};
use crate::device::{self, Compiled, Device};
use crate::error::{Error, Result};
use crate::network::{Init, Network, Weights};
use crate::plan::Plan;
use crate::random::{Random, Stream};
use crate::rules::{Options, Rule};
use crate::train::checkpoint::Checkpoint;
use crate::train::probe::{Probe, Probed};
pub use metrics::{EpochMetrics, EpochRow, METRICS_FILE, MetricsLog, MetricsMark, is_log, parse_metrics, read_epochs};
pub use recovery::LastGood;
use run::{Attempt, Good};
pub use run_folder::{BEST_FILE, CURVES_FILE, RUN_FILE, RunFolder, WEIGHTS_FILE, finished_run, lock, metrics_json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How long to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Passes over the training set.
    Epochs(u64),
    /// Weight updates.
    Updates(u64),
}

/// A training to be made.
#[derive(Debug, Clone)]
pub struct Training {
    /// The network.
    pub network: Network,
    /// The rule and its options.
    pub options: Options,
    /// Samples of one weight update.
    pub batch: usize,
    /// How long to train.
    pub length: Length,
    /// Seed of the initial weights and of the order of the samples.
    pub seed: u64,
    /// Whether every epoch has its own random order (else the file's).
    pub shuffle: bool,
    /// How the initial weights are drawn; `None` is the rule's own way.
    pub initial: Option<Init>,
    /// What drawn weights are multiplied by, from the input's to the output's; one number is for all, none is 1.
    pub init_gain: Vec<f64>,
    /// Weights to start from, instead of drawn ones.
    pub init: Option<Weights>,
    /// The most updates of an epoch; an epoch is a whole pass where nothing is said.
    pub epoch_updates: Option<u64>,
    /// What is shown when, if it is not all of the data at all times.
    pub tasks: Option<Tasks>,
    /// Samples that are not shown, and tested after each epoch beside the test set.
    pub held: Option<Dataset>,
    /// What is measured after each epoch besides.
    pub probes: Vec<Probe>,
    /// Epochs without a better error after which to stop: of held-out samples, where there are some, else of the test set.
    pub patience: Option<u64>,
}

/// What a training made.
#[derive(Debug)]
pub struct Trained {
    /// The final weights: the last finite ones if it was stopped.
    pub weights: Weights,
    /// A row an epoch (the last one may be part of an epoch).
    pub metrics: Vec<EpochMetrics>,
    /// The test error of each task after each epoch, where every task is tested.
    pub tested: Vec<Vec<f64>>,
    /// The error on held-out samples after each epoch, where there are some.
    pub held: Vec<f64>,
    /// What was probed after each epoch, in the order of `metrics`.
    pub probed: Vec<Vec<Probed>>,
    /// Weight updates made.
    pub updates: u64,
    /// Seconds spent on updates, without evaluation.
    pub seconds: f64,
    /// The best epoch, from 1, and its error: on held-out samples, where there are some, else on the test set. None where every
    /// epoch has another task.
    pub best: Option<(u64, f64)>,
    /// Whether it ended because its patience did.
    pub early: bool,
    /// Why it ended before that: [`Error::Diverged`] or [`Error::Interrupted`].
    pub stopped: Option<Error>,
}

impl Trained {
    /// A row per epoch, with all that was measured after it.
    pub fn rows(&self) -> Vec<EpochRow> {
        let row = |(i, metrics): (usize, &EpochMetrics)| EpochRow {
            metrics: *metrics,
            tested: self.tested.get(i).cloned().unwrap_or_default(),
            held: self.held.get(i).copied(),
            probed: self.probed.get(i).cloned().unwrap_or_default(),
        };
        self.metrics.iter().enumerate().map(row).collect()
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// So many of so many updates are made, in so many seconds.
    Updates(u64, u64, f64),
    /// An epoch has been evaluated.
    Epoch(&'a EpochRow),
    /// The device failed, and was opened anew.
    Reopened {
        /// How it failed.
        error: &'a Error,
        /// Updates after which the training goes on.
        updates: u64,
        /// The device as it is now.
        device: &'a Device,
    },
}

impl Training {
    /// A training by Z-IL with the paper's settings, in batches of 20, from seed 0: to be changed by `..Training::new(…)`.
    pub fn new(network: Network, length: Length) -> Training {
        Training {
            network,
            options: Options::new(Rule::ZIL),
            batch: 20,
            length,
            seed: 0,
            shuffle: true,
            initial: None,
            init_gain: Vec::new(),
            init: None,
            epoch_updates: None,
            tasks: None,
            held: None,
            probes: Vec::new(),
            patience: None,
        }
    }

    /// Weight updates of one epoch of so many samples: an incomplete last batch is dropped.
    pub fn updates_per_epoch(&self, samples: usize) -> u64 {
        ((samples / self.batch) as u64).min(self.epoch_updates.unwrap_or(u64::MAX))
    }

    /// What is shown: the data, or those of each task.
    ///
    /// # Errors
    /// Those of [`Tasks::of`]; [`Error::Usage`] for a task that does not fit the network or the batch.
    pub fn shown(&self, data: &Arc<Data>) -> Result<Vec<Arc<Data>>> {
        let Some(tasks) = &self.tasks else { return Ok(vec![Arc::clone(data)]) };
        let shown = tasks.of(data)?;
        for (i, data) in shown.iter().enumerate() {
            let classes = data.train.classes().max(data.test.classes());
            if classes > self.network.outputs() {
                return Err(Error::usage(format!(
                    "task {}: its labels go up to {}, and the network {} has {} outputs",
                    i + 1,
                    classes - 1,
                    self.network,
                    self.network.outputs()
                )));
            }
            if data.train.len() < self.batch {
                return Err(Error::usage(format!(
                    "task {} shows {} images, fewer than a --batch of {}",
                    i + 1,
                    data.train.len(),
                    self.batch
                )));
            }
        }
        Ok(shown)
    }

    /// Which of them is shown in an epoch, from 0.
    fn turn(&self, epoch: u64) -> usize {
        self.tasks.as_ref().map_or(0, |tasks| tasks.at(epoch))
    }

    /// Weight updates in all, on what [`Training::shown`] gave.
    pub fn total(&self, shown: &[Arc<Data>]) -> u64 {
        let one = |turn: usize| self.updates_per_epoch(shown[turn].train.len());
        match (self.length, &self.tasks) {
            (Length::Updates(n), _) => n,
            (Length::Epochs(n), None) => n.saturating_mul(one(0)),
            (Length::Epochs(n), Some(tasks)) => {
                let rounds = n / tasks.round();
                let mut left = n % tasks.round();
                let (mut all, mut rest) = (0u64, 0u64);
                for (i, task) in tasks.tasks.iter().enumerate() {
                    let last = left.min(task.epochs);
                    all = all.saturating_add(task.epochs.saturating_mul(one(i)));
                    rest = rest.saturating_add(last.saturating_mul(one(i)));
                    left -= last;
                }
                rounds.saturating_mul(all).saturating_add(rest)
            }
        }
    }

    /// The samples of epoch `epoch` (from 0), in the order they are shown.
    pub fn order(&self, samples: usize, epoch: u64) -> Vec<u32> {
        let mut order = if self.shuffle {
            Random::new(self.seed, Stream::Shuffle, epoch).permutation(samples)
        } else {
            (0..samples as u32).collect()
        };
        order.truncate(self.updates_per_epoch(samples) as usize * self.batch);
        order
    }

    /// The plan of one update, on what is shown: what changes over a run needs to know the whole run.
    ///
    /// # Errors
    /// Those of [`Options::plan`].
    pub fn plan(&self, shown: &[Arc<Data>]) -> Result<Plan> {
        self.options_on(shown).plan(&self.network)
    }

    /// The options with what they take from the whole run: its updates, and those of an epoch.
    fn options_on(&self, shown: &[Arc<Data>]) -> Options {
        let mut options = self.options.clone();
        options.lr_schedule.total = self.total(shown);
        options.epoch = shown.first().map_or(0, |data| self.updates_per_epoch(data.train.len()));
        options
    }

    /// The weights before the first update.
    pub fn start(&self) -> Weights {
        let drawn = || {
            let mut weights = Weights::drawn(&self.network, self.seed, self.initial.unwrap_or(self.options.rule.init));
            weights.scale(&self.init_gain);
            weights
        };
        self.init.clone().unwrap_or_else(drawn)
    }

    /// Checks what can be checked without data.
    ///
    /// # Errors
    /// [`Error::Usage`] for a length of zero, for initial weights that do not fit the network or are scaled twice, for a patience that
    /// could compare nothing, and for a probe that is named twice or says nothing about the rule.
    pub fn check_settings(&self) -> Result<()> {
        let refuse = |why: &str| Err(Error::usage(why));
        if matches!(self.length, Length::Epochs(0) | Length::Updates(0)) {
            return refuse("--epochs and --updates must be at least 1");
        }
        if self.epoch_updates == Some(0) {
            return refuse("--epoch-updates must be at least 1");
        }
        if self.patience == Some(0) {
            return refuse("--patience must be at least 1 epoch");
        }
        if self.patience.is_some() && self.tasks.as_ref().is_some_and(|tasks| tasks.test == Tested::Current) {
            return refuse(
                "--patience compares epochs, and these --tasks test another task in each: add \"test\": \"every\" to the file, or leave \
                 --patience out",
            );
        }
        if let Some((_, probe)) = self.probes.iter().enumerate().find(|(i, probe)| self.probes[..*i].contains(probe)) {
            return refuse(&format!("--probe names {} twice", probe.name()));
        }
        probe::check(&self.probes, self.options.rule)?;
        self.check_start()
    }

    /// Checks the initial weights.
    fn check_start(&self) -> Result<()> {
        let (network, gains) = (&self.network, &self.init_gain);
        if let Some(bad) = gains.iter().find(|gain| !((**gain as f32).is_finite() && **gain >= 0.0)) {
            return Err(Error::usage(format!("--init-gain must be zero or a positive float32 number; {bad:e} given")));
        }
        if gains.len() > 1 && gains.len() != network.matrices() {
            return Err(Error::usage(format!(
                "--init-gain takes one number for all weights, or one for each of the {} layers of weights of {network}; {} given",
                network.matrices(),
                gains.len()
            )));
        }
        let Some(init) = &self.init else { return Ok(()) };
        if gains.iter().any(|gain| *gain != 1.0) {
            return Err(Error::usage("--init-gain is for weights that are drawn, and --init names a file"));
        }
        if !init.fits(network) || init.not_finite().is_some() {
            return Err(Error::usage(format!(
                "the weights to start from are not finite weights of a network {network}"
            )));
        }
        Ok(())
    }

    /// Checks that the data fit the network and the batch, and that images can be changed as the options say.
    ///
    /// # Errors
    /// [`Error::Data`] when they do not fit the network; [`Error::Usage`] when a batch is larger than the set, or its images
    /// cannot be changed as the options say.
    pub fn check(&self, data: &Data) -> Result<()> {
        data.fits(&self.network)?;
        self.options.augment.grid(data.train.form(), self.network.grid(self.network.lmax()))?;
        if self.batch == 0 || self.batch > data.train.len() {
            return Err(Error::usage(format!(
                "--batch must lie in 1 to {}, the number of training samples; {} given",
                data.train.len(),
                self.batch
            )));
        }
        Ok(())
    }

    /// Trains on `device`, telling `watch` how it goes, until done or `stop` is set.
    ///
    /// A run that makes a number that is not finite, or is stopped, is no error of this function: what
    /// was learned before is in [`Trained`], with the reason.
    ///
    /// # Errors
    /// Those of [`Training::check`], [`Options::plan`], [`Device::fits`] and [`Device::session`]; [`Error::Gpu`] when the
    /// device fails.
    pub fn run(
        &self,
        device: &Device,
        data: &Arc<Data>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event<'_>),
    ) -> Result<Trained> {
        self.go_on(device, data, None, stop, watch, None)
    }

    /// As [`Training::run`], from a checkpoint on if there is one, to the same bits as if it had never stopped; `keep` is given
    /// checkpoints on the way, and one when the run is interrupted.
    ///
    /// A GPU that fails is opened anew, three times in a run, and the training goes on from the last good state, of which the host
    /// has a copy that is at most 20 s of training old; the bits are those of a run that nothing happened to. Before a fourth failure
    /// becomes this function's error, `keep` is given that state.
    ///
    /// # Errors
    /// Those of [`Training::run`].
    pub fn go_on(
        &self,
        device: &Device,
        data: &Arc<Data>,
        from: Option<Checkpoint>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event<'_>),
        keep: Option<Keep<'_>>,
    ) -> Result<Trained> {
        let shown = self.shown(data)?;
        let held = from.as_ref().map_or(0, Checkpoint::bytes);
        self.prepare(self.planned()?, device, shown, held)?.run(from, stop, watch, keep)
    }

    /// The plan of one update, before any data are known: what can be refused without them is.
    ///
    /// # Errors
    /// Those of [`Training::check_settings`] and [`Options::plan`].
    pub fn planned(&self) -> Result<Plan> {
        self.check_settings()?;
        let plan = self.options.plan_of_run(&self.network)?.without_reads_of_states();
        if plan.streaming {
            let rule = self.options.rule.name();
            return Err(Error::usage(format!("{rule} learns from a stream in time, and a data set has no time")));
        }
        Ok(plan)
    }

    /// Everything checked and the plan compiled, once for the whole run: the plan is that of [`Training::planned`], the data those of
    /// [`Training::shown`]; the host holds `held` bytes already of what a checkpoint has.
    ///
    /// # Errors
    /// Those of [`Training::check`] and [`crate::device::Backend::compile`]; [`Error::Usage`] where the schedule of the learning rate
    /// does not fit the length of the run.
    pub fn prepare(&self, mut plan: Plan, device: &Device, shown: Vec<Arc<Data>>, held: u64) -> Result<Prepared> {
        shown.iter().try_for_each(|data| self.check(data))?;
        let options = self.options_on(&shown);
        options.check_schedule()?;
        let rates = &mut plan.task.rates;
        (rates.schedule, rates.epoch) = (options.lr_schedule, options.epoch);
        let compiled = device.compile(&plan, device::Usage { held, ..device::Usage::training(self.batch) })?;
        Ok(Prepared { training: self.clone(), device: device.clone(), shown, plan, compiled })
    }
}

/// A training that can begin: its data fit, and its plan is compiled.
pub struct Prepared {
    /// What is trained.
    pub training: Training,
    /// By what.
    pub device: Device,
    /// What is shown: see [`Training::shown`].
    pub shown: Vec<Arc<Data>>,
    /// The plan of one update.
    pub plan: Plan,
    compiled: Arc<dyn Compiled>,
}

impl Prepared {
    /// Weight updates of the whole run.
    pub fn total(&self) -> u64 {
        self.training.total(&self.shown)
    }

    /// Trains, see [`Training::go_on`].
    ///
    /// # Errors
    /// Those of [`Compiled::session`]; [`Error::Gpu`] when the device fails.
    pub fn run(
        &self,
        from: Option<Checkpoint>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event<'_>),
        keep: Option<Keep<'_>>,
    ) -> Result<Trained> {
        let (mut keep, mut good) = (keep, Good { last: LastGood::new(from), begun: false, told: 0 });
        let (mut device, mut compiled) = (self.device.clone(), Arc::clone(&self.compiled));
        loop {
            let stage = Attempt { training: &self.training, device: &device, compiled: &*compiled, shown: &self.shown };
            let error = match run::attempt(&stage, &mut good, stop, watch, keep.as_mut()) {
                Err(error @ Error::Gpu(_)) if good.begun && device.can_be_lost() => error,
                other => return other,
            };
            match good.last.reopen(&mut || device.reopen(), error, stop) {
                Ok((anew, error)) => {
                    device = anew;
                    compiled = device.compile(&self.plan, device::Usage::training(self.training.batch))?;
                    watch(Event::Reopened { error: &error, updates: good.last.updates(), device: &device });
                }
                Err(error) => {
                    if let (Some(keep), Some(checkpoint)) = (&mut keep, &good.last.checkpoint) {
                        (keep.with)(checkpoint);
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// When to keep a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After so many updates.
    Updates(u64),
    /// After so much time.
    Time(Duration),
}

/// What is done with checkpoints.
pub struct Keep<'a> {
    /// When; where nothing is said, only when the run is interrupted.
    pub every: Option<Every>,
    /// Keeps one. What goes wrong with it is its own affair: the training goes on.
    pub with: &'a mut dyn FnMut(&Checkpoint),
    /// Keeps the weights of the best epoch so far, by held-out samples where there are some, else by the test set; not called
    /// where `every` says nothing.
    pub best: &'a mut dyn FnMut(&Weights),
}
