//! Training: epochs of weight updates on a device, with checks for NaN and infinity and with recovery from device failures.

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
use crate::files::counted;
use crate::network::{Init, Network, Weights};
use crate::plan::Plan;
use crate::random::{Random, Stream};
use crate::rules::{Options, Preset, Rule};
use crate::train::checkpoint::Checkpoint;
use crate::train::probe::{Probe, Probed};
pub use metrics::{
    EpochMetrics, EpochRow, METRICS_FILE, MetricsLog, MetricsMark, is_log, parse_metrics, read_epochs, value_text,
};
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

/// The settings of a training.
#[derive(Debug, Clone)]
pub struct Training {
    /// The network.
    pub network: Network,
    /// The rule and its options.
    pub options: Options,
    /// Batch size: samples per weight update.
    pub batch: usize,
    /// How long to train.
    pub length: Length,
    /// Seed of the initial weights and of the order of the samples.
    pub seed: u64,
    /// Whether each epoch has its own random order of samples. Otherwise the order of the file is used.
    pub shuffle: bool,
    /// Initialisation of the weights; `None` is the rule's default.
    pub initial: Option<Init>,
    /// Factors on the drawn weights, one per weight matrix from the input to the output. A single factor applies to all
    /// matrices; an empty list means 1.
    pub init_gain: Vec<f64>,
    /// Initial weights, instead of drawn ones.
    pub init: Option<Weights>,
    /// The maximum number of updates per epoch; `None` is a full pass.
    pub epoch_updates: Option<u64>,
    /// The tasks to train on in turn; `None` trains on the whole data set in every epoch.
    pub tasks: Option<Tasks>,
    /// Held-out samples, which are evaluated after each epoch in addition to the test set.
    pub held: Option<Dataset>,
    /// Additional measurements after each epoch.
    pub probes: Vec<Probe>,
    /// Early stopping: training stops after this number of epochs without a lower error. The error is measured on the
    /// held-out samples if there are any, else on the test set.
    pub patience: Option<u64>,
}

/// The result of a training.
#[derive(Debug)]
pub struct Trained {
    /// The final weights. After a divergence these are the last finite ones.
    pub weights: Weights,
    /// Metrics per epoch. The last epoch may be incomplete.
    pub metrics: Vec<EpochMetrics>,
    /// The test error of each task after each epoch; empty unless every task is tested.
    pub tested: Vec<Vec<f64>>,
    /// The error on the held-out samples after each epoch; empty if there are none.
    pub held: Vec<f64>,
    /// The probed values after each epoch, in the order of `metrics`; empty without probes.
    pub probed: Vec<Vec<Probed>>,
    /// The number of weight updates.
    pub updates: u64,
    /// Seconds spent on updates, without evaluation.
    pub seconds: f64,
    /// The best epoch, counted from 1, and its error. The error is measured on the held-out samples if there are any,
    /// else on the test set. `None` when the test set changes with the task, since such errors cannot be compared.
    pub best: Option<(u64, f64)>,
    /// Whether early stopping ended the training.
    pub early: bool,
    /// The failure that ended the training: [`Error::Diverged`] or [`Error::Interrupted`].
    pub stopped: Option<Error>,
}

impl Trained {
    /// The metrics of the final weights; `None` if the training was stopped between two evaluations.
    pub fn evaluated(&self) -> Option<&EpochMetrics> {
        self.metrics.last().filter(|row| row.updates == self.updates)
    }

    /// One row per epoch with all its measurements.
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

/// A progress event.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// The updates done, the updates in total, and the seconds spent on updates.
    Updates(u64, u64, f64),
    /// An epoch has been evaluated.
    Epoch(&'a EpochRow),
    /// The device failed and was reopened.
    Reopened {
        /// The failure.
        error: &'a Error,
        /// Updates after which the training continues.
        updates: u64,
        /// The reopened device.
        device: &'a Device,
    },
}

impl Training {
    /// A training by Z-IL with the paper's settings, batch size 20 and seed 0. Use it for struct update: `..Training::new(…)`.
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

    /// A training of `rule` with the defaults of a preset, for a network between these numbers of inputs and outputs.
    ///
    /// # Errors
    /// [`Error::Usage`] if there are no inputs or outputs.
    pub fn with_preset(preset: Preset, rule: Rule, [inputs, outputs]: [usize; 2], length: Length) -> Result<Training> {
        let defaults = rule.defaults(preset);
        let network = defaults.network(inputs, outputs)?;
        Ok(Training {
            options: defaults.options(rule, network.matrices()),
            batch: defaults.batch,
            initial: Some(defaults.init),
            init_gain: defaults.init_gain(network.matrices()),
            ..Training::new(network, length)
        })
    }

    /// Weight updates per epoch for this number of samples. An incomplete last batch is dropped.
    pub fn updates_per_epoch(&self, samples: usize) -> u64 {
        ((samples / self.batch) as u64).min(self.epoch_updates.unwrap_or(u64::MAX))
    }

    /// The data sets to train on: `data` itself, or one per task.
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
                    "task {}: its labels go up to {}, and the network {} has {}",
                    i + 1,
                    classes - 1,
                    self.network,
                    counted(self.network.outputs(), "output")
                )));
            }
            if data.train.len() < self.batch {
                return Err(Error::usage(format!(
                    "task {} shows {}, fewer than a --batch of {}",
                    i + 1,
                    counted(data.train.len(), "image"),
                    self.batch
                )));
            }
        }
        Ok(shown)
    }

    /// The index into [`Training::shown`] for an epoch, counted from 0.
    fn turn(&self, epoch: u64) -> usize {
        self.tasks.as_ref().map_or(0, |tasks| tasks.at(epoch))
    }

    /// Weight updates of the whole run. `shown` is the result of [`Training::shown`].
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

    /// The sample indices of epoch `epoch` (counted from 0) in training order.
    pub fn order(&self, samples: usize, epoch: u64) -> Vec<u32> {
        let mut order = if self.shuffle {
            Random::new(self.seed, Stream::Shuffle, epoch).permutation(samples)
        } else {
            (0..samples as u32).collect()
        };
        order.truncate(self.updates_per_epoch(samples) as usize * self.batch);
        order
    }

    /// The plan of one update. It depends on the data sets `shown` because the learning rate schedule spans the whole run.
    ///
    /// # Errors
    /// Those of [`Options::plan`].
    pub fn plan(&self, shown: &[Arc<Data>]) -> Result<Plan> {
        self.options_on(shown).plan(&self.network)
    }

    /// The options, completed with the number of updates of the run and per epoch.
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

    /// Checks all settings that do not depend on the data.
    ///
    /// # Errors
    /// [`Error::Usage`] for a length of zero, for initial weights that do not fit the network or are scaled
    /// twice, for a patience without comparable errors, and for a probe that is named twice or does not apply to the
    /// rule.
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
                "--init-gain takes one number for all weights, or one for each of the {} weight matrices of {network}; {} given",
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
                "the initial weights must be finite and have the shapes of the network {network}"
            )));
        }
        Ok(())
    }

    /// Checks that the data fit the network and the batch size.
    ///
    /// # Errors
    /// [`Error::Data`] when the data do not fit the network; [`Error::Usage`] when the batch is larger than the training set, or the
    /// augmentation does not fit the images.
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

    /// Trains on `device` until the end or until `stop` is set, and reports progress to `watch`.
    ///
    /// A divergence (NaN or infinity in the weights) or an interruption is not an error of this function. [`Trained`] then holds
    /// the weights learned so far and the reason.
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

    /// As [`Training::run`], but continues from the checkpoint `from` if there is one. The result is bit-identical to
    /// that of an uninterrupted run. `keep` receives checkpoints during the run and on interruption.
    ///
    /// A GPU that fails is reopened, up to three times per run. Training continues from the host's copy of the last
    /// good state, which is at most 20 s of training old. The result is bit-identical to that of a run without failure.
    /// On the fourth failure `keep` receives the last good state, and the failure is returned.
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

    /// The plan of one update before the data are known. It reports every error that does not depend on the data.
    ///
    /// # Errors
    /// Those of [`Training::check_settings`] and [`Options::plan`].
    pub fn planned(&self) -> Result<Plan> {
        self.check_settings()?;
        let plan = self.options.plan_of_run(&self.network)?.without_reads_of_states();
        if plan.streaming {
            let rule = self.options.rule.name();
            return Err(Error::usage(format!(
                "{rule} learns from a continuous stream, and a data set has no time axis"
            )));
        }
        Ok(plan)
    }

    /// Checks everything and compiles the plan, once for the whole run. `plan` is from [`Training::planned`], `shown` from
    /// [`Training::shown`]. `held` is the size in bytes of a checkpoint that the host already holds.
    ///
    /// # Errors
    /// Those of [`Training::check`] and [`crate::device::Backend::compile`]; [`Error::Usage`] when the learning rate schedule
    /// does not fit the length of the run.
    pub fn prepare(&self, mut plan: Plan, device: &Device, shown: Vec<Arc<Data>>, held: u64) -> Result<Prepared> {
        shown.iter().try_for_each(|data| self.check(data))?;
        let options = self.options_on(&shown);
        options.check_schedule()?;
        shown.iter().try_for_each(|data| plan.check_kind(data.train.kind()))?;
        let rates = &mut plan.task.rates;
        (rates.schedule, rates.epoch) = (options.lr_schedule, options.epoch);
        let compiled = device.compile(&plan, device::Usage { held, ..device::Usage::training(self.batch) })?;
        Ok(Prepared { training: self.clone(), device: device.clone(), shown, plan, compiled })
    }
}

/// A training that is checked and compiled, ready to run.
pub struct Prepared {
    /// The settings.
    pub training: Training,
    /// The device that trains.
    pub device: Device,
    /// The data sets, see [`Training::shown`].
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

    /// Trains; see [`Training::go_on`].
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
        let (mut keep, mut good) = (keep, Good { last: LastGood::new(from), begun: false, reported: 0 });
        let (mut device, mut compiled) = (self.device.clone(), Arc::clone(&self.compiled));
        loop {
            let stage = Attempt { training: &self.training, device: &device, compiled: &*compiled, shown: &self.shown };
            let error = match run::attempt(&stage, &mut good, stop, watch, keep.as_mut()) {
                Err(error @ Error::Gpu(_)) if good.begun && device.can_be_lost() => error,
                other => return other,
            };
            match good.last.reopen(&mut || device.reopen(), error, stop) {
                Ok((reopened, error)) => {
                    device = reopened;
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

/// The interval between checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// In weight updates.
    Updates(u64),
    /// In time.
    Time(Duration),
}

/// Callbacks that store checkpoints and the best weights.
pub struct Keep<'a> {
    /// The interval; `None` stores a checkpoint only when the run is interrupted.
    pub every: Option<Every>,
    /// Stores a checkpoint. The callback handles its own errors; training continues after an error.
    pub with: &'a mut dyn FnMut(&Checkpoint),
    /// Stores the weights of the best epoch so far, by the error on the held-out samples if there are any, else on the test set.
    /// It is called only when `every` is set or the training has a `patience`.
    pub best: &'a mut dyn FnMut(&Weights),
}
