//! The training loop: updates, evaluations, checkpoints, and continuation after a device failure.

use super::{Event, Every, Keep, LastGood, Trained, Training};
use crate::data::tasks::Tested;
use crate::data::{Data, Dataset, Set};
use crate::device::{BlockingSession, Compiled, Device, NEVER, next_chunk};
use crate::error::{Error, Result};
use crate::files::counted;
use crate::memory;
use crate::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Progress};
use crate::train::probe::Prober;
use crate::train::{EpochMetrics, EpochRow};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The most updates between two checks for NaN and infinity.
const CHECK_EVERY: usize = 512;
/// The target duration of the updates between two checks. It keeps a run observable and interruptible.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// The most tasks of which inactive sessions are kept in memory.
const MAX_WAITING: usize = 8;

/// What a session is created from.
pub(super) struct Attempt<'a> {
    pub(super) training: &'a Training,
    pub(super) device: &'a Device,
    /// The plan, compiled for the device.
    pub(super) compiled: &'a dyn Compiled,
    pub(super) shown: &'a [Arc<Data>],
}

impl Attempt<'_> {
    /// A session on the data of a task, with the initial weights.
    fn session(&self, turn: usize) -> Result<BlockingSession> {
        let (start, held) = (self.training.start(), 4 * self.compiled.plan().parameters());
        Ok(self.compiled.session(&self.device.upload(&self.shown[turn])?, &start, held)?.into())
    }

    /// As [`Attempt::session`], with the weights of a checkpoint if it has some. They are moved out of it.
    fn go_on(&self, turn: usize, from: &mut Checkpoint) -> Result<BlockingSession> {
        let held = from.bytes();
        let Some(weights) = from.take_weights(self.compiled.plan()) else { return self.session(turn) };
        Ok(self.compiled.session(&self.device.upload(&self.shown[turn])?, &weights, held)?.into())
    }

    /// A session whose test set is the held-out samples.
    fn held_out(&self, held: &Dataset) -> Result<BlockingSession> {
        let Data { name, checksums, .. } = &*self.shown[0];
        let (name, checksums) = (name.clone(), checksums.clone());
        memory::check(
            || "the held-out images".into(),
            2 * (held.len() * held.inputs().row_bytes()) as u64,
            "hold out fewer",
        )?;
        let data = Data { train: held.clone(), test: held.clone(), name, checksums };
        data.fits(&self.training.network)?;
        let (start, held) = (self.training.start(), 4 * self.compiled.plan().parameters());
        Ok(self.compiled.session(&self.device.upload(&Arc::new(data))?, &start, held)?.into())
    }
}

/// The recovery state of a training, which outlives a lost device.
pub(super) struct Good {
    /// The state to continue from.
    pub(super) last: LastGood,
    /// Whether the first session was created. A failure before that is permanent (too large or wrong) and is not retried.
    pub(super) begun: bool,
    /// The last epoch that was reported.
    pub(super) reported: u64,
}

/// Trains until the device is lost or the training ends, from the host's copy if there is one.
pub(super) fn attempt(
    stage: &Attempt<'_>,
    good: &mut Good,
    stop: &AtomicBool,
    watch: &mut dyn FnMut(Event<'_>),
    keep: Option<&mut Keep<'_>>,
) -> Result<Trained> {
    let Attempt { training, device, shown, .. } = *stage;
    let first = training.turn(0);
    let prober = (!training.probes.is_empty()).then(|| {
        Prober::new(training, &training.options_on(shown), device, &shown[first], &device.upload(&shown[first])?)
    });
    let mut prober = prober.transpose()?;
    let mut run = TrainingRun::begin(stage, good, keep)?;
    let mut held_out = training.held.as_ref().map(|held| stage.held_out(held)).transpose()?;
    let (mut stopped, mut early) = (None, run.is_stale() && run.progress.updates < run.total);
    run.check(shown[run.turn].train.len())?;
    // An epoch that was interrupted during its evaluation has no updates left, and only its evaluation is repeated.
    while (run.progress.updates < run.total || run.progress.within > 0) && stopped.is_none() && !early {
        run.take_turn(stage, training.turn(run.progress.epoch))?;
        let order = training.order(shown[run.turn].train.len(), run.progress.epoch);
        stopped = run.epoch(&order, stop, watch)?;
        if matches!(stopped, Some(Error::Interrupted(_))) {
            run.keep_now()?;
            break;
        }
        let Some(row) = run.evaluate(stage, &mut held_out, &mut prober, stop)? else {
            // An interrupted evaluation is not reported; it is repeated when the run resumes. A diverged run cannot resume.
            if stopped.is_none() {
                stopped = Some(run.interrupted());
                run.keep_now()?;
            }
            break;
        };
        run.progress.push(row.clone());
        run.keep_best()?;
        run.copy(LastGood::AT_END)?;
        run.report(&row, watch);
        early = run.is_stale() && run.progress.updates < run.total;
    }
    let weights = run.session.weights()?;
    let best = run.best();
    let Progress { rows, updates, seconds, .. } = run.progress;
    let early = early && stopped.is_none();
    let (metrics, tested, held, probed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut trained = Trained { weights, metrics, tested, held, probed, updates, seconds, best, early, stopped };
    for EpochRow { metrics, tested, held, probed } in Arc::unwrap_or_clone(rows) {
        trained.metrics.push(metrics);
        trained.tested.extend((!tested.is_empty()).then_some(tested));
        trained.held.extend(held);
        trained.probed.extend(prober.is_some().then_some(probed));
    }
    Ok(trained)
}

/// A running training.
struct TrainingRun<'t, 'k, 'f> {
    training: &'t Training,
    /// The session on the data of the current task.
    session: BlockingSession,
    /// The index of the current task.
    turn: usize,
    /// Sessions of other tasks, by task index.
    waiting: BTreeMap<usize, BlockingSession>,
    progress: Progress,
    /// Updates until the next check.
    chunk: usize,
    total: u64,
    keep: Option<&'k mut Keep<'f>>,
    /// When the last checkpoint was stored, in updates and in time.
    kept: (u64, Instant),
    /// The host's copy; `None` if the device cannot be lost.
    good: Option<&'k mut Good>,
    /// Updates of the checkpoint from which the run starts; `None` after a device was reopened.
    from: Option<u64>,
}

impl<'t, 'k, 'f> TrainingRun<'t, 'k, 'f> {
    /// Starts from the beginning or from a checkpoint.
    fn begin(stage: &Attempt<'t>, good: &'k mut Good, keep: Option<&'k mut Keep<'f>>) -> Result<Self> {
        let training = stage.training;
        let can_be_lost = stage.device.can_be_lost();
        let from = if can_be_lost { good.last.checkpoint.clone() } else { good.last.checkpoint.take() };
        let mut from = from.unwrap_or_default();
        let turn = training.turn(from.progress.epoch);
        let mut session = stage.go_on(turn, &mut from)?;
        let Checkpoint { progress, kept, mut examples } = from;
        session.put_examples(&examples.remove(&turn).unwrap_or_default());
        let mut open = |turn: usize| -> Result<BlockingSession> {
            let mut session = stage.session(turn)?;
            session.put_examples(&examples.remove(&turn).unwrap_or_default());
            Ok(session)
        };
        let others: Vec<usize> = (0..stage.shown.len()).filter(|t| *t != turn).collect();
        let mut waiting = BTreeMap::new();
        let keeps_examples =
            stage.shown.len() <= MAX_WAITING && stage.compiled.plan().slots.iter().any(|slot| slot.per_example);
        if progress.updates > 0 && keeps_examples {
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
        let from = (!good.begun).then_some(progress.updates);
        good.begun = true;
        let good = can_be_lost.then_some(good);
        Ok(TrainingRun { training, session, turn, waiting, progress, chunk: 1, total, keep, kept, good, from })
    }

    /// Checks that the counts of a checkpoint are consistent with each other and with the run.
    fn check(&self, samples: usize) -> Result<()> {
        let Progress { epoch, within, updates, rows, .. } = &self.progress;
        let fits = *updates <= self.total
            && *within <= self.training.updates_per_epoch(samples)
            && rows.len() as u64 == *epoch
            && rows.last().map_or(0, |row| row.metrics.updates).checked_add(*within) == Some(*updates);
        if fits {
            Ok(())
        } else {
            let why = "its counts of epochs and updates contradict each other or the run: it belongs to another run, or was edited";
            Err(Error::data(Path::new(CHECKPOINT_FILE), why))
        }
    }

    /// Stores a checkpoint now.
    fn keep_now(&mut self) -> Result<()> {
        if let Some(keep) = &mut self.keep {
            let checkpoint = Checkpoint::of(&self.session, self.turn, &self.waiting, self.progress.clone())?;
            (keep.with)(&checkpoint);
            self.kept = (self.progress.updates, Instant::now());
            if let Some(good) = &mut self.good {
                good.last.keep(checkpoint);
            }
        }
        Ok(())
    }

    /// Reports an epoch, unless it was already reported before a device was lost.
    fn report(&mut self, row: &EpochRow, watch: &mut dyn FnMut(Event<'_>)) {
        let reported = self.good.as_mut().map(|good| &mut good.reported);
        if let Some(reported) = reported {
            if row.metrics.epoch <= *reported {
                return;
            }
            *reported = row.metrics.epoch;
        }
        watch(Event::Epoch(row));
    }

    /// Copies the state of a device that can be lost to the host, if the last copy is at least as old as `age`.
    fn copy(&mut self, age: Duration) -> Result<()> {
        if let Some(good) = self.good.as_mut().filter(|good| good.last.is_older(age)) {
            good.last.keep(Checkpoint::of(&self.session, self.turn, &self.waiting, self.progress.clone())?);
        }
        Ok(())
    }

    /// Updates until the next checkpoint is due; 0 when it is due.
    fn until_due(&self) -> u64 {
        match self.keep.as_ref().and_then(|keep| keep.every) {
            Some(Every::Updates(n)) => n.saturating_sub(self.progress.updates - self.kept.0),
            Some(Every::Time(time)) if self.kept.1.elapsed() >= time => 0,
            _ => u64::MAX,
        }
    }

    /// The error of the last finished epoch: on the held-out samples, the mean over all tasks, or on the test set. `None` when the
    /// test set changes with the task, since errors of different tasks are not comparable.
    fn error(&self) -> Option<f64> {
        let last = self.progress.rows.last()?;
        match &self.training.tasks {
            _ if self.training.held.is_some() => last.held,
            Some(tasks) if tasks.test == Tested::Current => None,
            Some(_) => Some(last.tested.iter().sum::<f64>() / last.tested.len().max(1) as f64),
            None => Some(last.metrics.test_error),
        }
    }

    /// The best epoch, counted from 1, and its error. Ties go to the earliest epoch.
    fn best(&self) -> Option<(u64, f64)> {
        self.progress.best_epoch.zip(self.progress.best)
    }

    /// Whether the last `patience` epochs brought no lower error.
    fn is_stale(&self) -> bool {
        let best = self.best().map_or(0, |(epoch, _)| epoch);
        self.training.patience.is_some_and(|patience| self.progress.epoch.saturating_sub(best) >= patience)
    }

    /// Records the last epoch if its error is the lowest so far, and passes its weights to `keep.best` if they are wanted.
    fn keep_best(&mut self) -> Result<()> {
        let best = self.progress.best;
        let Some(error) = self.error().filter(|error| best.is_none_or(|best| *error < best)) else { return Ok(()) };
        (self.progress.best, self.progress.best_epoch) = (Some(error), Some(self.progress.epoch));
        let wanted = self.training.patience.is_some();
        if let Some(keep) = self.keep.as_mut().filter(|keep| keep.every.is_some() || wanted) {
            (keep.best)(&self.session.weights()?);
        }
        Ok(())
    }

    /// Switches to another task and keeps the persistent slots.
    fn take_turn(&mut self, stage: &Attempt<'_>, turn: usize) -> Result<()> {
        if turn != self.turn {
            let mut next = self.waiting(stage, turn)?;
            next.continue_from(&self.session)?;
            let before = std::mem::replace(&mut self.session, next);
            let last = std::mem::replace(&mut self.turn, turn);
            if stage.shown.len() <= MAX_WAITING {
                self.waiting.insert(last, before);
            }
        }
        Ok(())
    }

    /// Takes the session of a task out of the waiting ones, or creates it.
    fn waiting(&mut self, stage: &Attempt<'_>, turn: usize) -> Result<BlockingSession> {
        self.waiting.remove(&turn).map_or_else(|| stage.session(turn), Ok)
    }

    /// Whether every task is tested after each epoch.
    fn tests_every(&self) -> bool {
        self.training.tasks.as_ref().is_some_and(|tasks| tasks.test == Tested::Every)
    }

    /// The test error of every task; `None` when `stop` was set.
    fn test_every(&mut self, stage: &Attempt<'_>, stop: &AtomicBool) -> Result<Option<Vec<f64>>> {
        let mut errors = Vec::new();
        for turn in 0..stage.shown.len() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if turn == self.turn {
                let Some(score) = self.session.score_until(Set::Test, stop)? else { return Ok(None) };
                errors.push(score.error());
                continue;
            }
            let mut other = self.waiting(stage, turn)?;
            other.continue_from(&self.session)?;
            let Some(score) = other.score_until(Set::Test, stop)? else { return Ok(None) };
            errors.push(score.error());
            if stage.shown.len() <= MAX_WAITING {
                self.waiting.insert(turn, other);
            }
        }
        Ok(Some(errors))
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted(format!("interrupted after {} of {}", self.progress.updates, counted(self.total, "update")))
    }

    /// Runs the remaining updates of the current epoch, up to the total of the run. Returns the failure that stopped it, if any.
    fn epoch(&mut self, order: &[u32], stop: &AtomicBool, watch: &mut dyn FnMut(Event<'_>)) -> Result<Option<Error>> {
        let batch = self.training.batch;
        let mut left = order.get(self.progress.within as usize * batch..).unwrap_or_default();
        while !left.is_empty() && self.progress.updates < self.total {
            if stop.load(Ordering::Relaxed) {
                return Ok(Some(self.interrupted()));
            }
            if self.until_due() == 0 {
                self.keep_now()?;
            } else {
                self.copy(LastGood::WITHIN)?;
            }
            let rest = (self.total - self.progress.updates).min((left.len() / batch) as u64);
            let updates = (self.chunk as u64).min(rest).min(self.until_due().max(1));
            let now = &left[..updates as usize * batch];
            let start = Instant::now();
            let Some(done) = self.session.run_until(now, stop)? else {
                self.session.restore();
                return Ok(Some(self.interrupted()));
            };
            let (now, later) = left.split_at(done * batch);
            if self.session.not_finite()?.is_some() {
                return self.find_divergence(now).map(Some);
            }
            self.session.save();
            let took = start.elapsed().as_secs_f64();
            self.progress.seconds += took;
            self.progress.updates += done as u64;
            self.progress.within += done as u64;
            watch(Event::Updates(self.progress.updates, self.total, self.progress.seconds));
            self.chunk = next_chunk(self.chunk, done, start.elapsed(), CHECK_INTERVAL, CHECK_EVERY);
            left = later;
        }
        Ok(None)
    }

    /// Repeats the last updates one by one from the saved state, to the same bits, and finds the first that produces a NaN or
    /// infinite weight. Leaves the weights before that update.
    fn find_divergence(&mut self, order: &[u32]) -> Result<Error> {
        self.session.restore();
        let start = Instant::now();
        for samples in order.chunks_exact(self.training.batch) {
            self.session.run(samples)?;
            if let Some((layer, what)) = self.session.not_finite()? {
                self.session.restore();
                self.progress.seconds += start.elapsed().as_secs_f64();
                let of = &self.training.network;
                return Ok(self.training.options.diverged(of, self.progress.updates + 1, (layer, what)));
            }
            self.session.save();
            self.progress.updates += 1;
        }
        Ok(Error::Gpu(
            "a NaN or infinity in the weights did not recur when the same updates were repeated: the device is not \
             reliable. The weights kept are those of the repetition"
                .into(),
        ))
    }

    /// Evaluates the finished epoch; `None` when `stop` was set before the end.
    fn evaluate(
        &mut self,
        stage: &Attempt<'_>,
        held_out: &mut Option<BlockingSession>,
        prober: &mut Option<Prober>,
        stop: &AtomicBool,
    ) -> Result<Option<EpochRow>> {
        // The pending evaluation of a resumed run ignores `stop`. Otherwise a job with a short time limit could never get past it.
        let stop = if self.from == Some(self.progress.updates) { &NEVER } else { stop };
        let Some(train) = self.session.score_until(Set::Train, stop)? else { return Ok(None) };
        let Some(test) = self.session.score_until(Set::Test, stop)? else { return Ok(None) };
        let metrics = EpochMetrics {
            epoch: self.progress.epoch + 1,
            updates: self.progress.updates,
            seconds: self.progress.seconds,
            train_energy: train.mean_energy(),
            test_error: test.error(),
            test_r2: test.r2(),
        };
        let mut row = EpochRow { metrics, tested: Vec::new(), held: None, probed: Vec::new() };
        if self.tests_every() {
            let Some(tested) = self.test_every(stage, stop)? else { return Ok(None) };
            row.tested = tested;
        }
        if let Some(held_out) = held_out {
            held_out.continue_from(&self.session)?;
            let Some(score) = held_out.score_until(Set::Test, stop)? else { return Ok(None) };
            row.held = Some(score.error());
        }
        if let Some(prober) = prober {
            let Some(probed) = prober.measure(&self.session, stop)? else { return Ok(None) };
            row.probed = probed;
        }
        Ok(Some(row))
    }
}
