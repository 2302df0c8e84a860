//! A training under way: Python asks for one epoch after the other, and can look in between.

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

/// How long the updates between two looks at Ctrl-C should take, and how many they may be.
const LOOK: Duration = Duration::from_millis(250);
const CHECK_EVERY: usize = 512;

/// What is learned from.
#[allow(clippy::large_enum_variant, reason = "a training has one")]
enum Shown {
    /// Images and labels, which lie where the device is.
    Images { samples: usize, validated: bool },
    /// Numbers, a batch of which is handed to the device at a time.
    Numbers {
        inputs: Array2<f32>,
        targets: Array2<f32>,
        labelled: bool,
        validation: Option<(Array2<f32>, Array2<f32>)>,
    },
}

impl Shown {
    fn samples(&self) -> usize {
        match self {
            Shown::Images { samples, .. } => *samples,
            Shown::Numbers { inputs, .. } => inputs.nrows(),
        }
    }

    /// Refuses numbers to a rule that keeps a state for each example of a data set.
    fn suits(&self, plan: &Plan) -> zilch::Result<()> {
        if matches!(self, Shown::Images { .. }) || !plan.slots.iter().any(|slot| slot.per_example) {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} keeps a state for each example, which only pixels and labels have: give x as uint8, y as labels, and validation alike",
            plan.task.rule
        )))
    }
}

/// What sessions are made of.
struct Made {
    opened: Opened,
    plan: Plan,
    data: Arc<Data>,
    batch: usize,
}

impl Made {
    /// A session that goes on from a checkpoint; `weights` are those of a network that has learned nothing.
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

/// A training under way.
#[pyclass(module = "zilch_pc._core")]
pub(crate) struct Fit {
    session: BlockingSession,
    made: Made,
    training: Training,
    shown: Shown,
    loss: Loss,
    /// The epoch under way, which has an order of its own, and how far it is.
    progress: Progress,
    /// What the host has of it.
    good: LastGood,
    chunk: usize,
    /// What of the network was set from outside when this last looked.
    revision: u64,
    /// What is to be told of a device that was lost.
    told: Vec<String>,
}

/// Loss and errors on a set.
#[derive(Clone, Copy)]
struct Scored {
    energy: f64,
    error: Option<f64>,
}

/// Of what is learned from, and of what is only tested.
type Scores = [Option<Scored>; 2];

/// The same of outputs that are at hand.
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

fn dataset(network: &Network, x: &PyReadonlyArray2<'_, u8>, y: &PyReadonlyArray1<'_, u8>) -> zilch::Result<Dataset> {
    let set = Dataset::new(Path::new("x"), x.as_array().to_owned(), y.as_array().to_vec(), 1, x.as_array().ncols())?;
    set.fits(network)?;
    Ok(set)
}

/// How long to train, and in what steps.
#[derive(FromPyObject)]
pub(crate) struct Terms {
    epochs: u64,
    batch: usize,
    shuffle: bool,
    seed: u64,
    /// Epochs made before: each has an order of its own.
    epoch: u64,
    /// The most updates of an epoch.
    epoch_updates: Option<u64>,
}

impl Fit {
    /// A session on the network's device, with all that the network has learned.
    fn begin(py: Python<'_>, core: &Core, data: Data, shown: Shown, terms: &Terms) -> PyResult<Fit> {
        let &Terms { epochs, batch, shuffle, seed, epoch, epoch_updates } = terms;
        let samples = shown.samples();
        core.work(py, move |state| {
            if batch == 0 || batch > samples {
                return Err(Error::usage(format!(
                    "batch must lie in 1 to {samples}, the number of samples; {batch} given"
                )));
            }
            state.now()?;
            let base = Training::new(state.network.clone(), Length::Epochs(epochs));
            let mut training = Training { options: state.options.clone(), batch, seed, shuffle, epoch_updates, ..base };
            let each = training.updates_per_epoch(samples);
            training.options.epoch = each;
            training.options.lr_schedule.total = state.updates.saturating_add(epochs.saturating_mul(each));
            let plan = training.options.plan(&state.network)?.without_reads_of_states();
            shown.suits(&plan)?;
            state.opened.device.fits(&plan, batch, true)?;
            let made = Made { opened: state.opened.clone(), plan, data: Arc::new(data), batch };
            let progress = Progress { epoch, updates: state.updates, ..Progress::default() };
            let from = Checkpoint { progress, kept: state.kept.clone(), ..Checkpoint::default() };
            let session = made.session(&from, &state.weights)?;
            let (loss, revision) = (training.options.loss, state.revision);
            let (progress, good) = (from.progress, LastGood::new(None));
            let mut fit =
                Fit { session, made, training, shown, loss, progress, good, chunk: 16, revision, told: Vec::new() };
            if fit.made.opened.device.can_be_lost() {
                fit.copy()?;
            }
            Ok(fit)
        })
    }

    /// One update for every batch of `order`.
    fn run(&mut self, order: &[u32]) -> zilch::Result<()> {
        let Shown::Numbers { inputs, targets, .. } = &self.shown else { return self.session.run(order) };
        for samples in order.chunks_exact(self.training.batch) {
            let rows: Vec<usize> = samples.iter().map(|s| *s as usize).collect();
            let pick = |from: &Array2<f32>| from.select(ndarray::Axis(0), &rows);
            self.session.step(&pick(inputs), &pick(targets))?;
        }
        Ok(())
    }

    /// So many updates, looked at for numbers that are none; why they had to stop, if they did.
    fn chunk(&mut self, order: &[u32]) -> zilch::Result<Option<Error>> {
        let start = Instant::now();
        self.run(order)?;
        if self.session.not_finite()?.is_some() {
            return self.divergence(order).map(Some);
        }
        self.session.save();
        let updates = order.len() / self.training.batch;
        self.made_so_many(updates as u64);
        self.progress.seconds += start.elapsed().as_secs_f64();
        let ratio = (LOOK.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-6)).clamp(0.25, 4.0);
        if updates == self.chunk {
            self.chunk = ((self.chunk as f64 * ratio) as usize).clamp(1, CHECK_EVERY);
        }
        Ok(None)
    }

    fn made_so_many(&mut self, updates: u64) {
        self.progress.updates += updates;
        self.progress.within += updates;
    }

    /// Repeats updates one by one, to the same bits, up to the one that is not finite; leaves the weights before it.
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
            self.made_so_many(1);
        }
        Ok(Error::Gpu("a number that was not finite did not come back when the same updates were repeated".into()))
    }

    /// Makes the updates that are left of the epoch under way; why they had to stop, if they did.
    fn finish(&mut self) -> zilch::Result<Option<Error>> {
        let order = self.training.order(self.shown.samples(), self.progress.epoch);
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
            if self.made.opened.device.can_be_lost() && self.good.is_older(LastGood::WITHIN) {
                self.copy()?;
            }
        }
    }

    /// The host's copy of what was learned.
    fn copy(&mut self) -> zilch::Result<()> {
        // Only a device that can be lost is ever put back to it.
        let checkpoint = match self.made.opened.device.can_be_lost() {
            true => Checkpoint::of(&self.session, 0, &Default::default(), self.progress.clone())?,
            false => {
                Checkpoint { progress: self.progress.clone(), kept: self.session.lasting()?, ..Checkpoint::default() }
            }
        };
        self.good.keep(checkpoint);
        Ok(())
    }

    /// What is left of the epoch, its scores, and the copy of what was learned; or why it had to stop.
    fn attempt(&mut self) -> zilch::Result<zilch::Result<Scores>> {
        if let Some(stopped) = self.finish()? {
            return Ok(Err(stopped));
        }
        let scores = [self.score(Set::Train)?, self.score(Set::Test)?];
        self.copy()?;
        Ok(Ok(scores))
    }

    /// The same, on a device that may be lost: it is opened anew, and what was not copied yet is made again.
    fn surely(&mut self) -> zilch::Result<Scores> {
        loop {
            match self.attempt() {
                Ok(done) => return done,
                Err(error @ Error::Gpu(_)) if self.made.opened.device.can_be_lost() => self.go_on_after(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens the device anew that failed with `error`, and goes back to the last good state.
    fn go_on_after(&mut self, error: Error) -> zilch::Result<()> {
        let opened = &mut self.made.opened;
        let mut open = || {
            opened.again()?;
            Ok(opened.device.clone())
        };
        let (_, error) = match self.good.reopen(&mut open, error, &AtomicBool::new(false)) {
            Ok(anew) => anew,
            Err(error) => {
                // For what the network is asked next.
                let _ = opened.again();
                return Err(error);
            }
        };
        if let Some(good) = &self.good.checkpoint {
            let mut weights = Weights::zeros(&self.training.network);
            take_weights(&mut weights, &good.kept);
            self.session = self.made.session(good, &weights)?;
            self.progress = good.progress.clone();
        }
        let updates = self.progress.updates;
        self.told.push(format!("{error}. The device was opened anew; the training goes on after {updates} updates"));
        Ok(())
    }

    fn score(&mut self, set: Set) -> zilch::Result<Option<Scored>> {
        let (loss, session) = (self.loss, &mut self.session);
        match &self.shown {
            Shown::Images { validated: false, .. } if set == Set::Test => Ok(None),
            Shown::Images { .. } => {
                let score = session.score(set)?;
                Ok(Some(Scored { energy: score.mean_energy(), error: Some(score.error_rate()) }))
            }
            Shown::Numbers { inputs, targets, labelled, validation } => {
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
    /// A training on images [samples, inputs] of u8 and labels.
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
        Fit::begin(py, core.get(), data, Shown::Images { samples, validated }, &terms)
    }

    /// A training on inputs and targets of float32 (or inputs of u8).
    #[staticmethod]
    fn on_numbers(
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
            return Err(usage(py, format!("{samples} samples are too many; at most {}", u32::MAX)));
        }
        if !core.get().lock(py)?.options.augment.is_none() {
            return Err(usage(
                py,
                "augment changes pixels: give x as uint8 and y as labels, and validation alike, or leave it out",
            ));
        }
        let width = network.inputs();
        let set = Dataset::new(Path::new("x"), Array2::zeros((1, width)), vec![0], 1, width).or_raise(py)?;
        let data = Data { train: set.clone(), test: set, name: "arrays".into(), checksums: Vec::new() };
        let shown = Shown::Numbers { inputs: given, targets, labelled, validation };
        Fit::begin(py, core.get(), data, shown, &terms)
    }

    /// Makes the updates of one epoch; a row about it. What was learned is kept where this raises KeyboardInterrupt or another error.
    fn epoch<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let this = &mut *self;
        let done = py.detach(move || this.surely()).or_raise(py);
        for told in self.told.drain(..) {
            let category = py.import("zilch_pc.errors")?.getattr("LostWarning")?;
            PyErr::warn(py, &category, &CString::new(told)?, 2)?;
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

    /// Gives the network what was learned, and begins the next epoch; whether there was an update in the last one.
    fn give(&mut self, py: Python<'_>, core: &Bound<'_, Core>) -> PyResult<bool> {
        let this = &mut *self;
        core.get().work(py, move |state| {
            let before = state.updates;
            // After Ctrl-C and a divergence more was learned than was copied. What a lost device held is lost.
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
                state.learn(good, &this.made.opened);
            }
            if !this.made.opened.device.can_be_lost() {
                this.good.checkpoint = None;
            }
            this.revision = state.revision;
            Ok(state.updates > before)
        })
    }

    /// Takes over what was set or learned in between.
    fn look(&mut self, py: Python<'_>, core: &Bound<'_, Core>) -> PyResult<()> {
        let this = &mut *self;
        core.get().work(py, move |state| {
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
