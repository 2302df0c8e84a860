//! `Fit`: a training. Python calls it once per epoch. Python may read and change the network between epochs.

use crate::error::{OrRaise, signals, usage};
use crate::network::{Core, Opened, inputs, take_weights, targets};
use ndarray::Array2;
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::CString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use zilch::data::{Data, Dataset, Set};
use zilch::device::BlockingSession;
use zilch::rules::Loss;
use zilch::train::checkpoint::{Checkpoint, Progress};
use zilch::train::{LastGood, Length, Training};
use zilch::{Error, Network, Plan, Weights};

/// The target duration of the updates between two checks for Ctrl-C and divergence.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// The maximum number of updates between two such checks.
const CHECK_EVERY: usize = 512;

/// The training data.
#[allow(clippy::large_enum_variant, reason = "a training holds only one")]
enum Examples {
    /// Images and labels, which are uploaded to the device.
    Images { samples: usize, validated: bool },
    /// Arrays of float32, from which one batch at a time is passed to the device.
    Arrays { inputs: Array2<f32>, targets: Array2<f32>, labelled: bool, validation: Option<(Array2<f32>, Array2<f32>)> },
}

impl Examples {
    fn samples(&self) -> usize {
        match self {
            Examples::Images { samples, .. } => *samples,
            Examples::Arrays { inputs, .. } => inputs.nrows(),
        }
    }

    /// Refuses float arrays for a rule that keeps per-example state.
    fn check(&self, plan: &Plan) -> zilch::Result<()> {
        if matches!(self, Examples::Images { .. }) || !plan.slots.iter().any(|slot| slot.per_example) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} keeps a state per example, which works only for pixels and labels: give x as uint8 and y as labels, for validation too",
            plan.task.rule
        )))
    }
}

/// The inputs from which a session is created.
struct Source {
    opened: Opened,
    plan: Plan,
    data: Arc<Data>,
    batch: usize,
}

impl Source {
    /// A session that continues from a checkpoint. `weights` are used if the checkpoint has none.
    fn session(&self, from: &Checkpoint, weights: &Weights) -> zilch::Result<BlockingSession> {
        let resident = self.opened.device.upload(&self.data)?;
        let mut session = self.opened.device.session(&self.plan, self.batch, &resident, weights)?;
        session.put_examples(from.examples.get(&0).map_or(&[], Vec::as_slice));
        session.put(&from.kept);
        session.set_updates(from.progress.updates);
        session.save();
        Ok(session)
    }
}

/// A running training.
#[pyclass(module = "zilch_pc._core")]
pub(crate) struct Fit {
    session: BlockingSession,
    source: Source,
    training: Training,
    examples: Examples,
    loss: Loss,
    /// The progress within the current epoch.
    progress: Progress,
    /// The host's copy of the last good state.
    good: LastGood,
    /// Updates until the next check.
    chunk: usize,
    /// The revision of the network at the last synchronisation with this training.
    revision: u64,
    /// Pending warnings about lost devices.
    warnings: Vec<String>,
}

/// The mean energy and the error on a set.
#[derive(Clone, Copy)]
struct Scored {
    energy: f64,
    error: Option<f64>,
}

/// The scores on the training data and on the validation data.
type Scores = [Option<Scored>; 2];

/// The score of given outputs.
fn scored(outputs: &Array2<f32>, targets: &Array2<f32>, loss: Loss, labelled: bool) -> Scored {
    let (mut energy, mut errors) = (0.0, 0u64);
    for (mu, target) in outputs.outer_iter().zip(targets.outer_iter()) {
        let largest = |row: ndarray::ArrayView1<'_, f32>| {
            (0..row.len()).fold(0, |best, j| if row[j] > row[best] { j } else { best })
        };
        let top = largest(mu);
        errors += u64::from(top != largest(target) || mu.iter().any(|v| !v.is_finite()));
        let (mu, target) = (mu.mapv(f64::from), target.mapv(f64::from));
        energy += match loss {
            Loss::Squared => 0.5 * (&target - &mu).mapv(|d| d * d).sum(),
            Loss::CrossEntropy => {
                let sum: f64 = mu.iter().map(|v| (v - mu[top]).exp()).sum();
                target.iter().zip(&mu).map(|(t, v)| t * (sum.ln() - (v - mu[top]))).sum()
            }
        };
    }
    let samples = outputs.nrows().max(1) as f64;
    Scored { energy: energy / samples, error: labelled.then_some(errors as f64 / samples) }
}

/// A data set of uint8 pixels and labels that fits the network.
fn dataset(network: &Network, x: &PyReadonlyArray2<'_, u8>, y: &PyReadonlyArray1<'_, u8>) -> zilch::Result<Dataset> {
    let set = Dataset::new(Path::new("x"), x.as_array().to_owned(), y.as_array().to_vec(), 1, x.as_array().ncols())?;
    set.fits(network)?;
    Ok(set)
}

/// The arguments of a training.
#[derive(FromPyObject)]
pub(crate) struct Terms {
    epochs: u64,
    batch: usize,
    shuffle: bool,
    seed: u64,
    /// The index of the first epoch, which keys the order of samples.
    epoch: u64,
    /// The maximum number of updates per epoch.
    epoch_updates: Option<u64>,
}

impl Fit {
    /// Starts a training on the network's device, from the learned state of the network.
    fn begin(py: Python<'_>, core: &Core, data: Data, examples: Examples, terms: &Terms) -> PyResult<Fit> {
        let &Terms { epochs, batch, shuffle, seed, epoch, epoch_updates } = terms;
        let samples = examples.samples();
        core.work(py, move |state| {
            if batch == 0 || batch > samples {
                return Err(Error::usage(format!(
                    "batch must be 1 to {samples}, the number of samples; {batch} given"
                )));
            }
            state.refresh()?;
            let base = Training::new(state.network.clone(), Length::Epochs(epochs));
            let mut training = Training { options: state.options.clone(), batch, seed, shuffle, epoch_updates, ..base };
            let each = training.updates_per_epoch(samples);
            training.options.epoch = each;
            training.options.lr_schedule.total = state.updates.saturating_add(epochs.saturating_mul(each));
            let plan = training.options.plan(&state.network)?.without_reads_of_states();
            examples.check(&plan)?;
            state.opened.device.fits(&plan, batch, true)?;
            let source = Source { opened: state.opened.clone(), plan, data: Arc::new(data), batch };
            let progress = Progress { epoch, updates: state.updates, ..Progress::default() };
            let from = Checkpoint { progress, kept: state.kept.clone(), ..Checkpoint::default() };
            let session = source.session(&from, &state.weights)?;
            let (loss, revision) = (training.options.loss, state.revision);
            let (progress, good) = (from.progress, LastGood::new(None));
            let mut fit = Fit {
                session,
                source,
                training,
                examples,
                loss,
                progress,
                good,
                chunk: 16,
                revision,
                warnings: Vec::new(),
            };
            if fit.source.opened.device.can_be_lost() {
                fit.copy()?;
            }
            Ok(fit)
        })
    }

    /// Makes one update per batch of `order`.
    fn run(&mut self, order: &[u32]) -> zilch::Result<()> {
        let Examples::Arrays { inputs, targets, .. } = &self.examples else { return self.session.run(order) };
        for samples in order.chunks_exact(self.training.batch) {
            let rows: Vec<usize> = samples.iter().map(|s| *s as usize).collect();
            let pick = |from: &Array2<f32>| from.select(ndarray::Axis(0), &rows);
            self.session.step(&pick(inputs), &pick(targets))?;
        }
        Ok(())
    }

    /// Makes the updates of `order` and then checks the weights for NaN and infinity. Returns the divergence, if there is one.
    fn chunk(&mut self, order: &[u32]) -> zilch::Result<Option<Error>> {
        let start = Instant::now();
        self.run(order)?;
        if self.session.not_finite()?.is_some() {
            return self.divergence(order).map(Some);
        }
        self.session.save();
        let updates = order.len() / self.training.batch;
        self.count(updates as u64);
        self.progress.seconds += start.elapsed().as_secs_f64();
        let ratio = (CHECK_INTERVAL.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-6)).clamp(0.25, 4.0);
        if updates == self.chunk {
            self.chunk = ((self.chunk as f64 * ratio) as usize).clamp(1, CHECK_EVERY);
        }
        Ok(None)
    }

    /// Counts finished updates.
    fn count(&mut self, updates: u64) {
        self.progress.updates += updates;
        self.progress.within += updates;
    }

    /// Repeats the updates one by one, with bit-identical results, to find the first update that produces a NaN or
    /// infinite weight. Afterwards the weights are those before that update.
    fn divergence(&mut self, order: &[u32]) -> zilch::Result<Error> {
        self.session.restore();
        for samples in order.chunks_exact(self.training.batch) {
            self.run(samples)?;
            if let Some((layer, what)) = self.session.not_finite()? {
                self.session.restore();
                let of = &self.training.network;
                return Ok(self.training.options.diverged(of, self.progress.updates + 1, (layer, what)));
            }
            self.session.save();
            self.count(1);
        }
        Ok(Error::Gpu(
            "a NaN or infinity in the weights did not recur when the same updates were repeated: the device is not reliable"
                .into(),
        ))
    }

    /// Makes the remaining updates of the current epoch. Returns the failure that stopped them, if any.
    fn finish_epoch(&mut self) -> zilch::Result<Option<Error>> {
        let order = self.training.order(self.examples.samples(), self.progress.epoch);
        let batch = self.training.batch;
        loop {
            signals()?;
            let left = order.get(self.progress.within as usize * batch..).unwrap_or_default();
            if left.is_empty() {
                return Ok(None);
            }
            if let Some(stopped) = self.chunk(&left[..(self.chunk * batch).min(left.len())])? {
                return Ok(Some(stopped));
            }
            if self.source.opened.device.can_be_lost() && self.good.is_older(LastGood::WITHIN) {
                self.copy()?;
            }
        }
    }

    /// Copies the learned state to the host.
    fn copy(&mut self) -> zilch::Result<()> {
        // Per-example slots are needed only to restore a device that can be lost.
        let checkpoint = match self.source.opened.device.can_be_lost() {
            true => Checkpoint::of(&self.session, 0, &Default::default(), self.progress.clone())?,
            false => Checkpoint {
                progress: self.progress.clone(),
                kept: self.session.persistent()?,
                ..Checkpoint::default()
            },
        };
        self.good.keep(checkpoint);
        Ok(())
    }

    /// Finishes the epoch, scores it, and copies the learned state. The inner error is the failure that stopped the updates.
    fn attempt(&mut self) -> zilch::Result<zilch::Result<Scores>> {
        if let Some(stopped) = self.finish_epoch()? {
            return Ok(Err(stopped));
        }
        let scores = [self.score(Set::Train)?, self.score(Set::Test)?];
        self.copy()?;
        Ok(Ok(scores))
    }

    /// As [`Fit::attempt`], but reopens a lost device and repeats the updates since the last copy.
    fn attempt_with_recovery(&mut self) -> zilch::Result<Scores> {
        loop {
            match self.attempt() {
                Ok(done) => return done,
                Err(error @ Error::Gpu(_)) if self.source.opened.device.can_be_lost() => self.recover(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Reopens the device that failed with `error`, and restores the last good state.
    fn recover(&mut self, error: Error) -> zilch::Result<()> {
        let opened = &mut self.source.opened;
        let mut open = || {
            opened.reopen()?;
            Ok(opened.device.clone())
        };
        let (_, error) = match self.good.reopen(&mut open, error, &AtomicBool::new(false)) {
            Ok(reopened) => reopened,
            Err(error) => {
                // Tries once more to reopen the device, for the next call on the network.
                let _ = opened.reopen();
                return Err(error);
            }
        };
        if let Some(good) = &self.good.checkpoint {
            let mut weights = Weights::zeros(&self.training.network);
            take_weights(&mut weights, &good.kept);
            self.session = self.source.session(good, &weights)?;
            self.progress = good.progress.clone();
        }
        let updates = self.progress.updates;
        self.warnings.push(format!("{error}. The device was reopened; training continues after {updates} updates"));
        Ok(())
    }

    /// Continues with another learning rate, in a new session with the state of the present one.
    fn change_lr(&mut self, alpha: f64) -> zilch::Result<()> {
        self.training.options.alpha = alpha;
        self.source.plan.task.rates.alpha = alpha;
        let now = Checkpoint::of(&self.session, 0, &Default::default(), self.progress.clone())?;
        let mut weights = Weights::zeros(&self.training.network);
        take_weights(&mut weights, &now.kept);
        self.session = self.source.session(&now, &weights)?;
        Ok(())
    }

    /// The score on the training or validation data; `None` without validation data.
    fn score(&mut self, set: Set) -> zilch::Result<Option<Scored>> {
        let (loss, session) = (self.loss, &mut self.session);
        match &self.examples {
            Examples::Images { validated: false, .. } if set == Set::Test => Ok(None),
            Examples::Images { .. } => {
                let score = session.score(set)?;
                Ok(Some(Scored { energy: score.mean_energy(), error: Some(score.error_rate()) }))
            }
            Examples::Arrays { inputs, targets, labelled, validation } => {
                let of =
                    if set == Set::Train { Some((inputs, targets)) } else { validation.as_ref().map(|(x, y)| (x, y)) };
                let Some((x, y)) = of else { return Ok(None) };
                Ok(Some(scored(&session.predict(x)?, y, loss, *labelled)))
            }
        }
    }
}

#[pymethods]
impl Fit {
    /// A training on images [samples, inputs] of uint8 and labels [samples].
    #[staticmethod]
    fn on_images(
        py: Python<'_>,
        core: &Bound<'_, Core>,
        x: PyReadonlyArray2<'_, u8>,
        y: PyReadonlyArray1<'_, u8>,
        validation: Option<(PyReadonlyArray2<'_, u8>, PyReadonlyArray1<'_, u8>)>,
        terms: Terms,
    ) -> PyResult<Fit> {
        let network = core.get().lock(py)?.network.clone();
        let train = dataset(&network, &x, &y).or_raise(py)?;
        let validated = validation.is_some();
        let test = match &validation {
            Some((x, y)) => dataset(&network, x, y).or_raise(py)?,
            None => {
                let first = train.images().row(0).to_owned().insert_axis(ndarray::Axis(0));
                Dataset::new(Path::new("x"), first, train.labels()[..1].to_vec(), 1, train.pixels()).or_raise(py)?
            }
        };
        let samples = train.len();
        let data = Data { train, test, name: "arrays".into(), checksums: Vec::new() };
        Fit::begin(py, core.get(), data, Examples::Images { samples, validated }, &terms)
    }

    /// A training on inputs [samples, inputs] of float32 or uint8 and targets [samples, outputs] of float32.
    #[staticmethod]
    fn on_arrays(
        py: Python<'_>,
        core: &Bound<'_, Core>,
        x: &Bound<'_, PyAny>,
        y: PyReadonlyArray2<'_, f32>,
        labelled: bool,
        validation: Option<(Bound<'_, PyAny>, PyReadonlyArray2<'_, f32>)>,
        terms: Terms,
    ) -> PyResult<Fit> {
        let network = core.get().lock(py)?.network.clone();
        let given = inputs(&network, x)?;
        let samples = given.nrows();
        let targets = crate::network::targets(&network, &y, samples)?;
        let validation = match validation {
            Some((x, y)) => {
                let x = inputs(&network, &x)?;
                let y = self::targets(&network, &y, x.nrows())?;
                Some((x, y))
            }
            None => None,
        };
        if u32::try_from(samples).is_err() {
            return Err(usage(py, format!("x has {samples} samples; at most {} are possible", u32::MAX)));
        }
        if !core.get().lock(py)?.options.augment.is_none() {
            return Err(usage(
                py,
                "augment works only on pixels: give x as uint8 and y as labels, for validation too, or remove it",
            ));
        }
        let width = network.inputs();
        let set = Dataset::new(Path::new("x"), Array2::zeros((1, width)), vec![0], 1, width).or_raise(py)?;
        let data = Data { train: set.clone(), test: set, name: "arrays".into(), checksums: Vec::new() };
        let examples = Examples::Arrays { inputs: given, targets, labelled, validation };
        Fit::begin(py, core.get(), data, examples, &terms)
    }

    /// Trains for one epoch and returns its row of metrics. After KeyboardInterrupt or another error, `end_epoch` still
    /// passes the learned state to the network.
    fn epoch<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let this = &mut *self;
        let done = py.detach(move || this.attempt_with_recovery()).or_raise(py);
        for warning in self.warnings.drain(..) {
            let category = py.import("zilch_pc.errors")?.getattr("LostWarning")?;
            PyErr::warn(py, &category, &CString::new(warning)?, 2)?;
        }
        let [train, test] = done?;
        let row = PyDict::new(py);
        row.set_item("epoch", self.progress.epoch + 1)?;
        row.set_item("updates", self.progress.updates)?;
        row.set_item("seconds", self.progress.seconds)?;
        row.set_item("train_loss", train.map(|s| s.energy))?;
        row.set_item("train_error", train.and_then(|s| s.error))?;
        row.set_item("validation_loss", test.map(|s| s.energy))?;
        row.set_item("validation_error", test.and_then(|s| s.error))?;
        Ok(row)
    }

    /// Passes the learned state to the network and starts the next epoch. Returns whether the last epoch made an update.
    fn end_epoch(&mut self, py: Python<'_>, core: &Bound<'_, Core>) -> PyResult<bool> {
        let this = &mut *self;
        core.get().work(py, move |state| {
            let before = state.updates;
            // After Ctrl-C or a divergence the session has made more updates than the copy. If the device is lost, the
            // updates since the copy are lost.
            if this.good.checkpoint.is_none() || this.good.updates() != this.progress.updates {
                match this.copy() {
                    Err(Error::Gpu(_)) => {}
                    other => other?,
                }
            }
            (this.progress.epoch, this.progress.within) = (this.progress.epoch + 1, 0);
            if let Some(good) = &mut this.good.checkpoint {
                let Progress { updates, seconds, .. } = good.progress;
                good.progress = Progress { updates, seconds, ..this.progress.clone() };
                state.learn(good, &this.source.opened);
            }
            if !this.source.opened.device.can_be_lost() {
                this.good.checkpoint = None;
            }
            this.revision = state.revision;
            Ok(state.updates > before)
        })
    }

    /// Copies changes made to the network since the last epoch into the session.
    fn take_changes(&mut self, py: Python<'_>, core: &Bound<'_, Core>) -> PyResult<()> {
        let this = &mut *self;
        core.get().work(py, move |state| {
            if state.options.alpha != this.training.options.alpha {
                this.change_lr(state.options.alpha)?;
            }
            if state.revision != this.revision {
                state.sync()?;
                state.put_into(&mut this.session);
                (this.revision, this.progress.updates) = (state.revision, state.updates);
                if let Some(good) = &mut this.good.checkpoint {
                    good.kept.clone_from(&state.kept);
                    good.progress.updates = state.updates;
                }
            }
            Ok(())
        })
    }
}
