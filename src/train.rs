//! Training: epochs of weight updates on a device, watched for numbers that are not finite.

use crate::data::tasks::{Tasks, Tested};
use crate::data::{Data, Dataset, Set};
use crate::device::{Device, Session, next_chunk};
use crate::error::{Error, Result};
use crate::files::EpochMetrics;
use crate::network::{Init, Network, Weights};
use crate::plan::Plan;
use crate::probe::{Probe, Probed, Prober};
use crate::random::{Random, Stream};
use crate::rules::{Options, Rule};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most updates between two looks for NaN and infinity.
const CHECK_EVERY: usize = 512;
/// How long the updates between two looks should take, so that a run can be watched and interrupted.
const LOOK: Duration = Duration::from_millis(250);

/// Tasks whose sessions are kept while others have their turn.
const KEPT: usize = 8;

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
    /// What drawn weights are multiplied by.
    pub init_gain: f64,
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
    /// Why it ended early: [`Error::Diverged`] or [`Error::Interrupted`].
    pub stopped: Option<Error>,
}

/// What a watcher is told.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// So many of so many updates are made, in so many seconds.
    Updates(u64, u64, f64),
    /// An epoch has been evaluated.
    Epoch(EpochMetrics),
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
            init_gain: 1.0,
            init: None,
            epoch_updates: None,
            tasks: None,
            held: None,
            probes: Vec::new(),
        }
    }

    /// Weight updates of one epoch of so many samples: an incomplete last batch is dropped.
    fn updates_per_epoch(&self, samples: usize) -> u64 {
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
                let epochs = tasks.tasks.iter().map(|task| task.epochs);
                let round: u64 = epochs.clone().sum();
                let all: u64 = epochs.enumerate().map(|(i, epochs)| epochs.saturating_mul(one(i))).sum();
                let rest: u64 = (0..n % round).map(|epoch| one(self.turn(epoch))).sum();
                (n / round).saturating_mul(all).saturating_add(rest)
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
        let mut options = self.options.clone();
        options.lr_schedule.total = self.total(shown);
        options.epoch = shown.first().map_or(0, |data| self.updates_per_epoch(data.train.len()));
        options.plan(&self.network)
    }

    /// The weights before the first update.
    pub fn start(&self) -> Weights {
        let drawn = || {
            let mut weights = Weights::drawn(&self.network, self.seed, self.initial.unwrap_or(self.options.rule.init));
            if self.init_gain != 1.0 {
                let gain = self.init_gain as f32;
                weights.theta.iter_mut().for_each(|theta| theta.mapv_inplace(|w| gain * w));
            }
            weights
        };
        self.init.clone().unwrap_or_else(drawn)
    }

    /// Checks that the data fit the network and the batch.
    ///
    /// # Errors
    /// [`Error::Data`] when they do not fit the network; [`Error::Usage`] when a batch is larger than the set.
    pub fn check(&self, data: &Data) -> Result<()> {
        data.fits(&self.network)?;
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
        watch: &mut dyn FnMut(Event),
    ) -> Result<Trained> {
        let shown = self.shown(data)?;
        shown.iter().try_for_each(|data| self.check(data))?;
        let plan = self.plan(&shown)?;
        device.fits(&plan, self.batch, true)?;
        let stage = Stage { training: self, device, plan: plan.unread(), shown: &shown };
        let first = self.turn(0);
        let prober =
            (!self.probes.is_empty()).then(|| Prober::new(self, device, &shown[first], &device.upload(&shown[first])?));
        let mut prober = prober.transpose()?;
        let mut run = Run {
            training: self,
            session: stage.session(first)?,
            turn: first,
            waiting: BTreeMap::new(),
            made: 0,
            seconds: 0.0,
            chunk: 16,
            total: self.total(&shown),
        };
        let mut beside = self.held.as_ref().map(|held| stage.beside(held)).transpose()?;
        let (mut metrics, mut probed, mut tested, mut held) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut stopped = None;
        let mut epoch = 0;
        while run.made < run.total && stopped.is_none() {
            run.take_turn(&stage, self.turn(epoch))?;
            let order = self.order(shown[run.turn].train.len(), epoch);
            epoch += 1;
            stopped = run.epoch(&order, stop, watch)?;
            if !matches!(stopped, Some(Error::Interrupted(_))) {
                let row = run.evaluate(epoch)?;
                watch(Event::Epoch(row));
                metrics.push(row);
                if self.tasks.as_ref().is_some_and(|tasks| tasks.test == Tested::Every) {
                    match run.test_every(&stage, stop)? {
                        Some(errors) => tested.push(errors),
                        None => stopped = Some(run.interrupted()),
                    }
                }
                if let Some(beside) = &mut beside {
                    beside.continue_from(&run.session)?;
                    held.push(beside.score(Set::Test)?.error_rate());
                }
                if let Some(prober) = &mut prober {
                    probed.push(prober.measure(&run.session)?);
                }
            }
        }
        Ok(Trained {
            weights: run.session.weights()?,
            metrics,
            tested,
            held,
            probed,
            updates: run.made,
            seconds: run.seconds,
            stopped,
        })
    }
}

/// What sessions are made of.
struct Stage<'a> {
    training: &'a Training,
    device: &'a Device,
    plan: Plan,
    shown: &'a [Arc<Data>],
}

impl Stage<'_> {
    /// A session on what is shown in a turn.
    fn session(&self, turn: usize) -> Result<Session> {
        let resident = self.device.upload(&self.shown[turn])?;
        self.device.session(&self.plan, self.training.batch, &resident, &self.training.start())
    }
}

impl Stage<'_> {
    /// A session that is tested on held-out samples.
    fn beside(&self, held: &Dataset) -> Result<Session> {
        let data = Data { train: held.clone(), test: held.clone(), ..Data::clone(&self.shown[0]) };
        data.fits(&self.training.network)?;
        let resident = self.device.upload(&Arc::new(data))?;
        self.device.session(&self.plan, self.training.batch, &resident, &self.training.start())
    }
}

/// A training under way.
struct Run<'a> {
    training: &'a Training,
    /// On what is shown now.
    session: Session,
    /// Which of the tasks that is.
    turn: usize,
    /// Sessions of other tasks, which may come again.
    waiting: BTreeMap<usize, Session>,
    made: u64,
    seconds: f64,
    /// Updates until the next look.
    chunk: usize,
    total: u64,
}

impl Run<'_> {
    /// Goes on with another task, from the same weights and all else that lasts.
    fn take_turn(&mut self, stage: &Stage<'_>, turn: usize) -> Result<()> {
        if turn != self.turn {
            let mut next = self.waiting(stage, turn)?;
            next.continue_from(&self.session)?;
            let before = std::mem::replace(&mut self.session, next);
            let last = std::mem::replace(&mut self.turn, turn);
            // Tasks that never come again need no session.
            if stage.shown.len() <= KEPT {
                self.waiting.insert(last, before);
            }
        }
        Ok(())
    }

    fn waiting(&mut self, stage: &Stage<'_>, turn: usize) -> Result<Session> {
        self.waiting.remove(&turn).map_or_else(|| stage.session(turn), Ok)
    }

    /// The test error of every task; nothing when told to stop.
    fn test_every(&mut self, stage: &Stage<'_>, stop: &AtomicBool) -> Result<Option<Vec<f64>>> {
        let mut errors = Vec::new();
        for turn in 0..stage.shown.len() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if turn == self.turn {
                errors.push(self.session.score(Set::Test)?.error_rate());
                continue;
            }
            let mut other = self.waiting(stage, turn)?;
            other.continue_from(&self.session)?;
            errors.push(other.score(Set::Test)?.error_rate());
            if stage.shown.len() <= KEPT {
                self.waiting.insert(turn, other);
            }
        }
        Ok(Some(errors))
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted(format!("interrupted after {} of {} updates", self.made, self.total))
    }

    /// Makes the updates of one epoch, or what is left of the total; returns why it had to stop, if it did.
    fn epoch(&mut self, order: &[u32], stop: &AtomicBool, watch: &mut dyn FnMut(Event)) -> Result<Option<Error>> {
        let batch = self.training.batch;
        let mut left = order;
        while !left.is_empty() && self.made < self.total {
            if stop.load(Ordering::Relaxed) {
                return Ok(Some(self.interrupted()));
            }
            let updates = (self.chunk as u64).min((left.len() / batch) as u64).min(self.total - self.made);
            let (now, later) = left.split_at(updates as usize * batch);
            let start = Instant::now();
            self.session.run(now)?;
            if self.session.not_finite()?.is_some() {
                return self.find_divergence(now).map(Some);
            }
            self.session.save();
            let took = start.elapsed().as_secs_f64();
            self.seconds += took;
            self.made += updates;
            watch(Event::Updates(self.made, self.total, self.seconds));
            self.chunk = next_chunk(self.chunk, updates as usize, start.elapsed(), LOOK, CHECK_EVERY);
            left = later;
        }
        Ok(None)
    }

    /// Repeats the last updates one by one from the saved weights, which gives the same bits, to find the
    /// one that was not finite; leaves the weights before it.
    fn find_divergence(&mut self, order: &[u32]) -> Result<Error> {
        self.session.restore();
        let start = Instant::now();
        for samples in order.chunks_exact(self.training.batch) {
            self.session.run(samples)?;
            if let Some((layer, what)) = self.session.not_finite()? {
                self.session.restore();
                self.seconds += start.elapsed().as_secs_f64();
                return Ok(Error::Diverged { update: self.made + 1, layer, what });
            }
            self.session.save();
            self.made += 1;
        }
        Ok(Error::Gpu(
            "a number that was not finite did not come back when the same updates were repeated: the device does not \
             compute reliably. The weights kept are the repeated ones"
                .into(),
        ))
    }

    fn evaluate(&mut self, epoch: u64) -> Result<EpochMetrics> {
        let train = self.session.score(Set::Train)?;
        let test = self.session.score(Set::Test)?;
        Ok(EpochMetrics {
            epoch,
            updates: self.made,
            seconds: self.seconds,
            train_energy: train.mean_energy(),
            test_error: test.error_rate(),
        })
    }
}
