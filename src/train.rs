//! Training: epochs of weight updates on a device, watched for numbers that are not finite.

use crate::checkpoint::{Checkpoint, Progress};
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
        self.go_on(device, data, None, stop, watch, None)
    }

    /// As [`Training::run`], from a checkpoint on if there is one, to the same bits as if it had never stopped; `keep` is given
    /// checkpoints on the way, and one when the run is interrupted.
    ///
    /// # Errors
    /// Those of [`Training::run`].
    pub fn go_on(
        &self,
        device: &Device,
        data: &Arc<Data>,
        from: Option<Checkpoint>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(Event),
        keep: Option<Keep<'_>>,
    ) -> Result<Trained> {
        let shown = self.shown(data)?;
        shown.iter().try_for_each(|data| self.check(data))?;
        let plan = self.plan(&shown)?;
        if plan.alone {
            let rule = self.options.rule.name();
            return Err(Error::usage(format!("{rule} learns from a stream in time, and a data set has no time")));
        }
        device.fits(&plan, self.batch, true)?;
        let stage = Stage { training: self, device, plan: plan.unread(), shown: &shown };
        let first = self.turn(0);
        let prober =
            (!self.probes.is_empty()).then(|| Prober::new(self, device, &shown[first], &device.upload(&shown[first])?));
        let mut prober = prober.transpose()?;
        let mut run = Run::begin(&stage, from, keep)?;
        let mut beside = self.held.as_ref().map(|held| stage.beside(held)).transpose()?;
        let mut stopped = None;
        run.check(shown[run.turn].train.len())?;
        // An epoch that was stopped while it was evaluated has no updates left, and is evaluated.
        while (run.progress.updates < run.total || run.progress.within > 0) && stopped.is_none() {
            run.take_turn(&stage, self.turn(run.progress.epoch))?;
            let order = self.order(shown[run.turn].train.len(), run.progress.epoch);
            stopped = run.epoch(&order, stop, watch)?;
            if matches!(stopped, Some(Error::Interrupted(_))) {
                run.keep_now()?;
                break;
            }
            let row = run.evaluate()?;
            if self.tasks.as_ref().is_some_and(|tasks| tasks.test == Tested::Every) {
                match run.test_every(&stage, stop)? {
                    Some(errors) => run.progress.tested.push(errors),
                    // Nothing of the epoch is told: it is evaluated when the run goes on. A diverged one does not.
                    None if stopped.is_none() => {
                        stopped = Some(run.interrupted());
                        run.keep_now()?;
                        break;
                    }
                    None => break,
                }
            }
            watch(Event::Epoch(row));
            run.progress.metrics.push(row);
            if let Some(beside) = &mut beside {
                beside.continue_from(&run.session)?;
                run.progress.held.push(beside.score(Set::Test)?.error_rate());
            }
            if let Some(prober) = &mut prober {
                let probed = prober.measure(&run.session)?;
                run.progress.probed.push(probed);
            }
            (run.progress.epoch, run.progress.within) = (run.progress.epoch + 1, 0);
            run.keep_best()?;
        }
        let weights = run.session.weights()?;
        let Progress { metrics, tested, held, probed, updates, seconds, .. } = run.progress;
        Ok(Trained { weights, metrics, tested, held, probed, updates, seconds, stopped })
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

/// A training under way.
struct Run<'t, 'k> {
    training: &'t Training,
    /// On what is shown now.
    session: Session,
    /// Which of the tasks that is.
    turn: usize,
    /// Sessions of other tasks, which may come again.
    waiting: BTreeMap<usize, Session>,
    progress: Progress,
    /// Updates until the next look.
    chunk: usize,
    total: u64,
    keep: Option<Keep<'k>>,
    /// When the last checkpoint was kept, in updates and in time.
    kept: (u64, Instant),
}

impl<'t, 'k> Run<'t, 'k> {
    /// From the beginning, or from a checkpoint.
    fn begin(stage: &Stage<'t>, from: Option<Checkpoint>, keep: Option<Keep<'k>>) -> Result<Self> {
        let training = stage.training;
        let Checkpoint { progress, kept, mut examples } = from.unwrap_or_default();
        let turn = training.turn(progress.epoch);
        let mut open = |turn: usize| -> Result<Session> {
            let mut session = stage.session(turn)?;
            session.put_examples(&examples.remove(&turn).unwrap_or_default());
            Ok(session)
        };
        let mut session = open(turn)?;
        let others: Vec<usize> = (0..stage.shown.len()).filter(|t| *t != turn).collect();
        let mut waiting = BTreeMap::new();
        let remembers = stage.shown.len() <= KEPT && stage.plan.slots.iter().any(|slot| slot.remembered);
        if progress.updates > 0 && remembers {
            for other in others {
                waiting.insert(other, open(other)?);
            }
        }
        if progress.updates > 0 {
            session.put(&kept);
            session.set_updates(progress.updates);
        }
        session.save();
        let kept = (progress.updates, Instant::now());
        let total = training.total(stage.shown);
        Ok(Run { training, session, turn, waiting, progress, chunk: 16, total, keep, kept })
    }

    /// Whether what a checkpoint says of itself can be.
    fn check(&self, samples: usize) -> Result<()> {
        let Progress { epoch, within, updates, metrics, .. } = &self.progress;
        let fits = *updates <= self.total
            && *within <= self.training.updates_per_epoch(samples)
            && metrics.len() as u64 == *epoch
            && metrics.last().map_or(0, |row| row.updates).checked_add(*within) == Some(*updates);
        if fits {
            Ok(())
        } else {
            Err(Error::usage("the checkpoint says of itself what cannot be: it is of another run, or was edited"))
        }
    }

    /// Keeps a checkpoint.
    fn keep_now(&mut self) -> Result<()> {
        if let Some(keep) = &mut self.keep {
            let checkpoint = Checkpoint::of(&self.session, self.turn, &self.waiting, self.progress.clone())?;
            (keep.with)(&checkpoint);
            self.kept = (self.progress.updates, Instant::now());
        }
        Ok(())
    }

    /// Updates until one is due; 0 when it is.
    fn until_due(&self) -> u64 {
        match self.keep.as_ref().and_then(|keep| keep.every) {
            Some(Every::Updates(n)) => n.saturating_sub(self.progress.updates - self.kept.0),
            Some(Every::Time(time)) if self.kept.1.elapsed() >= time => 0,
            _ => u64::MAX,
        }
    }

    /// Hands over the weights, if the last epoch was better than all before it.
    fn keep_best(&mut self) -> Result<()> {
        // Errors of different tasks cannot be compared.
        let of_task = self.training.tasks.as_ref().is_some_and(|tasks| tasks.test == Tested::Current);
        let Some(keep) = self.keep.as_mut().filter(|keep| keep.every.is_some() && !of_task) else { return Ok(()) };
        let Progress { metrics, tested, held, best, .. } = &mut self.progress;
        let tested = tested.last().map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64);
        let last = held.last().copied().or(tested).or(metrics.last().map(|row| row.test_error));
        if let Some(error) = last.filter(|error| best.is_none_or(|best| *error < best)) {
            (keep.best)(&self.session.weights()?);
            *best = Some(error);
        }
        Ok(())
    }

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
        Error::Interrupted(format!("interrupted after {} of {} updates", self.progress.updates, self.total))
    }

    /// Makes the updates of one epoch, or what is left of the total; returns why it had to stop, if it did.
    fn epoch(&mut self, order: &[u32], stop: &AtomicBool, watch: &mut dyn FnMut(Event)) -> Result<Option<Error>> {
        let batch = self.training.batch;
        let mut left = order.get(self.progress.within as usize * batch..).unwrap_or_default();
        while !left.is_empty() && self.progress.updates < self.total {
            if stop.load(Ordering::Relaxed) {
                return Ok(Some(self.interrupted()));
            }
            if self.until_due() == 0 {
                self.keep_now()?;
            }
            let rest = (self.total - self.progress.updates).min((left.len() / batch) as u64);
            let updates = (self.chunk as u64).min(rest).min(self.until_due().max(1));
            let (now, later) = left.split_at(updates as usize * batch);
            let start = Instant::now();
            self.session.run(now)?;
            if self.session.not_finite()?.is_some() {
                return self.find_divergence(now).map(Some);
            }
            self.session.save();
            let took = start.elapsed().as_secs_f64();
            self.progress.seconds += took;
            self.progress.updates += updates;
            self.progress.within += updates;
            watch(Event::Updates(self.progress.updates, self.total, self.progress.seconds));
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
                self.progress.seconds += start.elapsed().as_secs_f64();
                return Ok(Error::Diverged { update: self.progress.updates + 1, layer, what });
            }
            self.session.save();
            self.progress.updates += 1;
        }
        Ok(Error::Gpu(
            "a number that was not finite did not come back when the same updates were repeated: the device does not \
             compute reliably. The weights kept are the repeated ones"
                .into(),
        ))
    }

    fn evaluate(&mut self) -> Result<EpochMetrics> {
        let train = self.session.score(Set::Train)?;
        let test = self.session.score(Set::Test)?;
        Ok(EpochMetrics {
            epoch: self.progress.epoch + 1,
            updates: self.progress.updates,
            seconds: self.progress.seconds,
            train_energy: train.mean_energy(),
            test_error: test.error_rate(),
        })
    }
}
