//! A training under way: Python asks for one epoch after the other, and can look in between.

use crate::error::{OrRaise, raise, usage};
use crate::network::{Core, inputs, targets};
use ndarray::Array2;
use numpy::{PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zilch::data::{Data, Dataset, Set};
use zilch::device::Session;
use zilch::rules::Loss;
use zilch::train::{Length, Training};
use zilch::{Error, Network};

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

/// A training under way.
#[pyclass(module = "zilch_pc._core")]
pub(crate) struct Fit {
    session: Session,
    training: Training,
    shown: Shown,
    loss: Loss,
    epoch: u64,
    updates: u64,
    seconds: f64,
    chunk: usize,
    /// What of the network was set from outside when this last looked.
    revision: u64,
}

/// Loss and errors on a set.
#[derive(Clone, Copy)]
struct Scored {
    energy: f64,
    error: Option<f64>,
}

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
}

impl Fit {
    /// A session on the network's device, with all that the network has learned.
    fn begin(py: Python<'_>, core: &Core, data: Data, shown: Shown, samples: usize, length: &Terms) -> PyResult<Fit> {
        let mut guard = core.lock(py);
        let state = &mut *guard;
        let length = (length.epochs, length.batch, length.shuffle, length.seed, length.epoch);
        let begun = py.detach(move || -> zilch::Result<Fit> {
            let (epochs, batch, shuffle, seed, epoch) = length;
            if batch == 0 || batch > samples {
                return Err(Error::usage(format!(
                    "batch must lie in 1 to {samples}, the number of samples; {batch} given"
                )));
            }
            state.now()?;
            let options = state.options.clone();
            let training = Training {
                options,
                batch,
                seed,
                shuffle,
                ..Training::new(state.network.clone(), Length::Epochs(epochs))
            };
            let mut options = state.options.clone();
            options.epoch = (samples / batch) as u64;
            options.lr_schedule.total = state.updates.saturating_add(epochs.saturating_mul(options.epoch));
            let plan = options.plan(&state.network)?.unread();
            state.device.fits(&plan, batch, true)?;
            let resident = state.device.upload(&Arc::new(data))?;
            let mut session = state.device.session(&plan, batch, &resident, &state.weights)?;
            state.put_into(&mut session);
            let (loss, updates, revision) = (state.options.loss, state.updates, state.revision);
            Ok(Fit { session, training, shown, loss, epoch, updates, seconds: 0.0, chunk: 16, revision })
        });
        drop(guard);
        begun.or_raise(py)
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

    /// So many updates, looked at for numbers that are none.
    fn chunk(&mut self, order: &[u32]) -> zilch::Result<()> {
        let start = Instant::now();
        self.run(order)?;
        if self.session.not_finite()?.is_some() {
            return Err(self.divergence(order)?);
        }
        self.session.save();
        let updates = order.len() / self.training.batch;
        self.updates += updates as u64;
        self.seconds += start.elapsed().as_secs_f64();
        let ratio = (LOOK.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-6)).clamp(0.25, 4.0);
        if updates == self.chunk {
            self.chunk = ((self.chunk as f64 * ratio) as usize).clamp(1, CHECK_EVERY);
        }
        Ok(())
    }

    /// Repeats updates one by one, to the same bits, up to the one that is not finite; leaves the weights before it.
    fn divergence(&mut self, order: &[u32]) -> zilch::Result<Error> {
        self.session.restore();
        for samples in order.chunks_exact(self.training.batch) {
            self.run(samples)?;
            if let Some((layer, what)) = self.session.not_finite()? {
                self.session.restore();
                return Ok(Error::Diverged { update: self.updates + 1, layer, what });
            }
            self.session.save();
            self.updates += 1;
        }
        Ok(Error::Gpu("a number that was not finite did not come back when the same updates were repeated".into()))
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
        length: Terms,
    ) -> PyResult<Fit> {
        let network = core.get().lock(py).network.clone();
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
        Fit::begin(py, core.get(), data, Shown::Images { samples, validated }, samples, &length)
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
        length: Terms,
    ) -> PyResult<Fit> {
        let network = core.get().lock(py).network.clone();
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
        let width = network.inputs();
        let set = Dataset::new(Path::new("x"), Array2::zeros((1, width)), vec![0], 1, width).or_raise(py)?;
        let data = Data { train: set.clone(), test: set, name: "arrays".into(), checksums: Vec::new() };
        let shown = Shown::Numbers { inputs: given, targets, labelled, validation };
        Fit::begin(py, core.get(), data, shown, samples, &length)
    }

    /// Makes the updates of one epoch. What was learned is kept where this raises KeyboardInterrupt or another error.
    fn epoch(&mut self, py: Python<'_>) -> PyResult<()> {
        let samples = match &self.shown {
            Shown::Images { samples, .. } => *samples,
            Shown::Numbers { inputs, .. } => inputs.nrows(),
        };
        let order = self.training.order(samples, self.epoch);
        let mut left = &order[..];
        while !left.is_empty() {
            py.check_signals()?;
            let (now, later) = left.split_at((self.chunk * self.training.batch).min(left.len()));
            let this = &mut *self;
            py.detach(move || this.chunk(now)).map_err(|e| raise(py, e))?;
            left = later;
        }
        self.epoch += 1;
        py.check_signals()
    }

    /// A row about the epoch that is over.
    fn row<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let this = &mut *self;
        let (train, test) = py
            .detach(move || -> zilch::Result<_> { Ok((this.score(Set::Train)?, this.score(Set::Test)?)) })
            .or_raise(py)?;
        let row = PyDict::new(py);
        row.set_item("epoch", self.epoch)?;
        row.set_item("updates", self.updates)?;
        row.set_item("seconds", self.seconds)?;
        row.set_item("train_loss", train.map(|s| s.energy))?;
        row.set_item("train_error", train.and_then(|s| s.error))?;
        row.set_item("validation_loss", test.map(|s| s.energy))?;
        row.set_item("validation_error", test.and_then(|s| s.error))?;
        Ok(row)
    }

    /// Gives the network what was learned.
    fn give(&mut self, py: Python<'_>, core: &Bound<'_, Core>) -> PyResult<()> {
        let mut guard = core.get().lock(py);
        let (state, session) = (&mut *guard, &self.session);
        let done = py.detach(move || state.learn(session));
        self.revision = guard.revision;
        drop(guard);
        done.or_raise(py)
    }

    /// Takes over weights that were set in between.
    fn look(&mut self, py: Python<'_>, core: &Bound<'_, Core>) {
        let state = core.get().lock(py);
        if state.revision != self.revision {
            state.put_into(&mut self.session);
            self.revision = state.revision;
        }
    }
}
