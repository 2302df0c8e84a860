//! A network with what it has learned, on a device.

use crate::error::{OrRaise, signals, usage};
use crate::options::{self, Made};
use crate::own;
use ndarray::{Array1, Array2, Axis};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zilch::data::{Data, Dataset};
use zilch::device::{BlockingSession, Device, SavedSlot};
use zilch::network;
use zilch::plan::Pixels;
use zilch::plan::expr::SlotId;
use zilch::plan::{Domain, Initial, Slot, Stage};
use zilch::train::checkpoint::Checkpoint;
use zilch::{Network, Options, Plan, Weights};

/// About as many products as predictions are made in one piece, between looks at Ctrl-C.
const PIECE: usize = 1 << 29;

/// Devices that are open, by what was asked for: threads and shaders are made once a process.
static DEVICES: Mutex<Option<HashMap<Asked, Opened>>> = Mutex::new(None);
/// How often a device was opened anew.
static REOPENED: AtomicU64 = AtomicU64::new(0);

/// A device as it is asked for, and the process that opened it: threads do not outlive a fork.
type Asked = (String, Option<usize>, u32);

/// An open device.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) device: Device,
    asked: Asked,
    /// How often any had been opened anew then.
    reopened: u64,
}

impl Opened {
    /// The device of a name, with so many threads.
    pub(crate) fn new(wanted: &str, threads: Option<usize>) -> zilch::Result<Opened> {
        let asked = (wanted.to_owned(), threads, std::process::id());
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        if let Some(opened) = devices.get(&asked) {
            return Ok(opened.clone());
        }
        let device = Device::open(wanted, threads)?;
        let opened = Opened { device, asked: asked.clone(), reopened: REOPENED.load(Ordering::Relaxed) };
        devices.insert(asked, opened.clone());
        Ok(opened)
    }

    /// Opens a device anew that was lost, unless another network did so.
    pub(crate) fn again(&mut self) -> zilch::Result<()> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        match devices.get(&self.asked) {
            Some(newer) if newer.reopened > self.reopened => self.clone_from(newer),
            _ => {
                self.device = self.device.reopen()?;
                self.reopened = REOPENED.fetch_add(1, Ordering::Relaxed) + 1;
                devices.insert(self.asked.clone(), self.clone());
            }
        }
        Ok(())
    }

    /// Whether there is a newer one, or it was opened by the process that this one was forked from.
    fn is_old(&self) -> bool {
        if self.asked.2 != std::process::id() {
            return true;
        }
        // Few are ever lost.
        self.reopened != REOPENED.load(Ordering::Relaxed)
            && DEVICES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|devices| devices.get(&self.asked).is_some_and(|newest| newest.reopened > self.reopened))
    }
}

/// A slot that lasts, as Python has it: its name, its place, [n_to, n_from], and biases.
type Lasting<'py> = (String, usize, Bound<'py, PyArray2<f32>>, Option<Bound<'py, PyArray1<f32>>>);

/// A session that predicts and makes single steps.
struct Live {
    session: BlockingSession,
    plan: Plan,
    batch: usize,
    /// Whether its slots can be read.
    read: bool,
    /// Whether it has learned what the host does not know yet.
    ahead: bool,
}

/// All of a network.
pub(crate) struct State {
    pub(crate) network: Network,
    pub(crate) options: Options,
    pub(crate) opened: Opened,
    pub(crate) weights: Weights,
    /// All that lasts, weights included; nothing before the first update.
    pub(crate) kept: Vec<SavedSlot>,
    pub(crate) updates: u64,
    /// Counts what was set and learned.
    pub(crate) revision: u64,
    live: Option<Live>,
}

/// A network, its rule, its device, and what it has learned.
#[pyclass(frozen, module = "zilch_pc._core")]
pub(crate) struct Core(Mutex<State>);

impl State {
    /// In a process that was forked off the device is opened anew: its threads stayed behind. One that was lost was opened anew for
    /// another network.
    fn revive(&mut self) -> zilch::Result<()> {
        if !self.opened.is_old() {
            return Ok(());
        }
        let (wanted, threads, process) = self.opened.asked.clone();
        let forked = process != std::process::id();
        // What lies in main memory was copied with it.
        if !forked || self.live.as_ref().is_some_and(|live| live.session.as_gpu().is_none()) {
            self.sync()?;
        }
        let old = std::mem::replace(&mut self.opened, Opened::new(&wanted, threads)?);
        let old = (old, self.live.take());
        if forked {
            // Dropping them would wait for threads that are not there.
            std::mem::forget(old);
        }
        Ok(())
    }

    /// Opens the device anew that failed so, and says what was lost with it.
    fn lost(&mut self, why: &str) -> zilch::Error {
        let unread = self.live.take().filter(|live| live.ahead).map_or(0, |live| live.session.updates() - self.updates);
        let after = self.updates;
        let what = match unread {
            0 => "Nothing that was learned is lost with it".to_owned(),
            n => format!("The network is as it was after {after} updates: {n} more had not been read yet"),
        };
        match self.opened.again() {
            Ok(()) => zilch::Error::Gpu(format!("{why}. {what}. The device was opened anew: try again")),
            Err(error) => zilch::Error::Gpu(format!("{why}. {what}. It cannot be opened anew: {error}")),
        }
    }

    /// Brings the host's copy up to date.
    pub(crate) fn sync(&mut self) -> zilch::Result<()> {
        if let Some(live) = self.live.as_mut().filter(|live| live.ahead) {
            (self.weights, self.kept) = (live.session.weights()?, live.session.lasting()?);
            self.updates = live.session.updates();
            live.ahead = false;
        }
        Ok(())
    }

    /// The same, and fit for this process.
    pub(crate) fn now(&mut self) -> zilch::Result<()> {
        self.revive()?;
        self.sync()
    }

    /// Takes what a training learned, on the device as it is now.
    pub(crate) fn learn(&mut self, learned: &Checkpoint, opened: &Opened) {
        take_weights(&mut self.weights, &learned.kept);
        self.kept.clone_from(&learned.kept);
        (self.updates, self.live) = (learned.progress.updates, None);
        self.revision += 1;
        self.opened.clone_from(opened);
    }

    /// Puts what was learned into a new session.
    pub(crate) fn put_into(&self, session: &mut BlockingSession) {
        session.put(&self.kept);
        session.set_updates(self.updates);
        session.save();
    }

    /// A session of a plan on no data to speak of, with all that was learned.
    fn open(&self, plan: &Plan, batch: usize) -> zilch::Result<BlockingSession> {
        let inputs = self.network.inputs();
        let set = Dataset::new(Path::new("arrays"), Array2::zeros((1, inputs)), vec![0], 1, inputs)?;
        let data = Data { train: set.clone(), test: set, name: "arrays".into(), checksums: Vec::new() };
        self.opened.device.fits(plan, batch, true)?;
        let resident = self.opened.device.upload(&Arc::new(data))?;
        let mut session = self.opened.device.session(plan, batch, &resident, &self.weights)?;
        self.put_into(&mut session);
        Ok(session)
    }

    /// The session for steps of `batch` samples, made if there is none.
    fn live(&mut self, batch: usize, read: bool) -> zilch::Result<&mut Live> {
        let fits = self.live.as_ref().is_some_and(|live| live.batch == batch && live.read == read);
        if !fits {
            self.sync()?;
            self.live = None;
            let plan = self.options.plan(&self.network)?;
            let plan = if read { plan } else { plan.without_reads_of_states() };
            let session = self.open(&plan, batch)?;
            self.live = Some(Live { session, plan, batch, read, ahead: false });
        }
        self.live.as_mut().ok_or_else(|| zilch::Error::usage("there is no session"))
    }

    /// The outputs for inputs as the input layer sends them.
    fn predict(&mut self, inputs: &Array2<f32>) -> zilch::Result<Array2<f32>> {
        self.revive()?;
        let (batch, read) = self.live.as_ref().map_or((1, false), |live| (live.batch, live.read));
        let rows = (PIECE / self.network.parameters().max(1) as usize).max(1).next_multiple_of(256);
        let n = self.network.outputs();
        let session = &mut self.live(batch, read)?.session;
        if inputs.nrows() <= rows {
            return session.predict(inputs);
        }
        let mut outputs = Array2::zeros((inputs.nrows(), n));
        for (from, mut to) in inputs.axis_chunks_iter(Axis(0), rows).zip(outputs.axis_chunks_iter_mut(Axis(0), rows)) {
            signals()?;
            to.assign(&session.predict(&from.to_owned())?);
        }
        Ok(outputs)
    }

    /// One update; what was computed, if it is to be read.
    fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>, read: bool) -> zilch::Result<Vec<Held>> {
        self.revive()?;
        let live = self.live(inputs.nrows(), read)?;
        live.session.step(inputs, targets)?;
        live.ahead = true;
        let found = if read { held(&live.session, &live.plan, true)? } else { Vec::new() };
        self.revision += 1;
        Ok(found)
    }

    /// What units hold at each time t of an update that is not made.
    fn times(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> zilch::Result<Vec<(usize, Vec<Held>)>> {
        self.revive()?;
        self.sync()?;
        let plan = self.options.plan(&self.network)?;
        let mut times = Vec::new();
        for moment in &plan.moments {
            let Stage::Learning(t) = moment.stage else { continue };
            let until = plan.until(t);
            let mut session = self.open(&until, inputs.nrows())?;
            session.step(inputs, targets)?;
            times.push((t, held(&session, &until, false)?));
        }
        Ok(times)
    }
}

/// The weights among what lasts.
pub(crate) fn take_weights(weights: &mut Weights, kept: &[SavedSlot]) {
    for kept in kept.iter().filter(|kept| kept.key == "theta") {
        if let Some(theta) = weights.theta.get_mut(kept.at) {
            theta.clone_from(&kept.numbers);
        }
        if let (Some(to), Some(from)) = (weights.bias.get_mut(kept.at), &kept.bias) {
            to.clone_from(from);
        }
    }
}

/// A slot as it was read.
struct Held {
    name: &'static str,
    at: usize,
    numbers: Array2<f64>,
}

/// The slots of a session that can be read, weights aside; those that last only if `all`.
fn held(session: &BlockingSession, plan: &Plan, all: bool) -> zilch::Result<Vec<Held>> {
    let mut list = Vec::new();
    // θ is among the weights.
    let shown =
        |slot: &Slot| slot.observed && if all { !matches!(slot.start, Initial::Weights(_)) } else { !slot.persistent };
    for (s, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| shown(slot)) {
        let at = match slot.home {
            Domain::Units(at) | Domain::Vector(at) | Domain::Samples(at) | Domain::BatchScalar(at) => at,
            // θ^{l+1} brings layer l + 1 to layer l.
            Domain::Connections(at) => at + 1,
        };
        if let Some(numbers) = session.slot(SlotId(s))? {
            list.push(Held { name: plan.key(SlotId(s)), at, numbers });
        }
    }
    Ok(list)
}

/// Slots as Python reads them: {name: {layer: numbers}}.
fn shown<'py>(py: Python<'py>, held: Vec<Held>) -> PyResult<Bound<'py, PyDict>> {
    let slots = PyDict::new(py);
    for Held { name, at, numbers } in held {
        let by_layer = match slots.get_item(name)? {
            Some(known) => known.cast_into::<PyDict>()?,
            None => PyDict::new(py),
        };
        by_layer.set_item(at, numbers.mapv(|v| v as f32).into_pyarray(py))?;
        slots.set_item(name, by_layer)?;
    }
    Ok(slots)
}

/// Inputs as the input layer sends them: pixels are shifted and scaled as the network wants them.
pub(crate) fn inputs(network: &Network, given: &Bound<'_, PyAny>) -> PyResult<Array2<f32>> {
    let mut inputs = match given.extract::<PyReadonlyArray2<'_, u8>>() {
        Ok(bytes) => bytes.as_array().mapv(|p| f32::from(p) / 255.0),
        Err(_) => given.extract::<PyReadonlyArray2<'_, f32>>()?.as_array().to_owned(),
    };
    if inputs.ncols() != network.inputs() {
        return Err(usage(
            given.py(),
            format!(
                "x has {} numbers a sample, and the network {network} has {} inputs",
                inputs.ncols(),
                network.inputs()
            ),
        ));
    }
    if let Some(scale) = &network.pixels {
        let plane = network.inputs() / scale.pairs().len();
        for (mut part, [mean, sd]) in inputs.axis_chunks_iter_mut(Axis(1), plane).zip(scale.pairs()) {
            part.mapv_inplace(|v| (v - mean) / sd);
        }
    }
    if network.input_activation {
        inputs.mapv_inplace(|v| zilch::device::cpu::activate(network.activation, v));
    }
    Ok(inputs)
}

/// Targets, of as many samples.
pub(crate) fn targets(network: &Network, given: &PyReadonlyArray2<'_, f32>, samples: usize) -> PyResult<Array2<f32>> {
    let targets = given.as_array().to_owned();
    if targets.dim() != (samples, network.outputs()) {
        return Err(usage(
            given.py(),
            format!(
                "y has shape {:?}, and {samples} samples of the network {network} take ({samples}, {})",
                targets.dim(),
                network.outputs()
            ),
        ));
    }
    Ok(targets)
}

impl Core {
    /// The network, once no other thread works with it. A rule's function must not wait for what waits for its plan.
    pub(crate) fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<MutexGuard<'a, State>> {
        own::no_plan(py)?;
        Ok(self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    /// Does work that needs no Python, with Python free meanwhile. A device that fails is opened anew, for the next time.
    pub(crate) fn work<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&mut State) -> zilch::Result<T>,
    ) -> PyResult<T> {
        let mut guard = self.lock(py)?;
        let state = &mut *guard;
        let done = py.detach(move || match work(state) {
            Err(zilch::Error::Gpu(why)) if state.opened.device.can_be_lost() => Err(state.lost(&why)),
            other => other,
        });
        drop(guard);
        done.or_raise(py)
    }
}

#[pymethods]
impl Core {
    /// A network with drawn weights.
    #[new]
    fn new(
        py: Python<'_>,
        layers: &Bound<'_, PyAny>,
        rule: &Bound<'_, PyAny>,
        device: &str,
        threads: Option<usize>,
        seed: u64,
        options: &Bound<'_, PyDict>,
    ) -> PyResult<Core> {
        let Made { network, options, init, gain, plan } = options::read(py, layers, rule, seed, options)?;
        own::no_plan(py)?;
        let opened = py.detach(|| Opened::new(device, threads)).or_raise(py)?;
        // Before any memory is taken for weights.
        opened.device.fits(&plan, 1, true).or_raise(py)?;
        let mut weights = py.detach(|| Weights::drawn(&network, seed, init));
        weights.scale(&gain);
        let state = State { network, options, opened, weights, kept: Vec::new(), updates: 0, revision: 0, live: None };
        Ok(Core(Mutex::new(state)))
    }

    /// The device's name and kind.
    fn device(&self, py: Python<'_>) -> PyResult<(String, &'static str)> {
        let state = self.lock(py)?;
        Ok((state.opened.device.name(), state.opened.device.kind()))
    }

    /// Units of the layers, input first.
    fn sizes(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        Ok(self.lock(py)?.network.input_first())
    }

    /// Gives the GPU up, as a driver's reset does. For tests of what follows.
    fn lose(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(gpu) = self.lock(py)?.opened.device.as_gpu() {
            gpu.lose();
        }
        Ok(())
    }

    /// Weight updates made.
    fn updates(&self, py: Python<'_>) -> PyResult<u64> {
        self.work(py, |state| state.sync().map(|()| state.updates))
    }

    /// What the output is held to at other classes than the label's, and at its own.
    fn held_to(&self, py: Python<'_>) -> PyResult<[f32; 2]> {
        Ok(self.lock(py)?.network.held_to())
    }

    /// The activation, which some rules choose themselves.
    fn activation(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.lock(py)?.network.activation.name())
    }

    /// θ^l [n^{l−1}, n^l] and b^l of every layer, l from 1.
    #[allow(clippy::type_complexity, reason = "a pair a layer")]
    fn weights<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<(Bound<'py, PyArray2<f32>>, Option<Bound<'py, PyArray1<f32>>>)>> {
        let Weights { theta, bias } = self.work(py, |state| state.sync().map(|()| state.weights.clone()))?;
        let mut bias = bias.into_iter();
        Ok(theta.into_iter().map(|t| (t.into_pyarray(py), bias.next().map(|b| b.into_pyarray(py)))).collect())
    }

    /// Replaces the weights; what else lasts stays.
    fn set_weights(
        &self,
        py: Python<'_>,
        theta: Vec<PyReadonlyArray2<'_, f32>>,
        bias: Vec<PyReadonlyArray1<'_, f32>>,
    ) -> PyResult<()> {
        let theta: Vec<Array2<f32>> = theta.iter().map(|t| t.as_array().to_owned()).collect();
        let bias: Vec<Array1<f32>> = bias.iter().map(|b| b.as_array().to_owned()).collect();
        let weights = Weights { theta, bias };
        self.work(py, |state| {
            if !weights.fits(&state.network) {
                return Err(zilch::Error::usage(format!("these weights are not those of a network {}", state.network)));
            }
            if let Some((l, what)) = weights.not_finite() {
                return Err(zilch::Error::usage(format!("{what} of layer {l} hold NaN or infinity")));
            }
            state.sync()?;
            for kept in state.kept.iter_mut().filter(|kept| kept.key == "theta" && kept.at < weights.theta.len()) {
                kept.numbers = weights.theta[kept.at].clone();
                kept.bias = weights.bias.get(kept.at).cloned();
            }
            (state.weights, state.live) = (weights, None);
            state.revision += 1;
            Ok(())
        })
    }

    /// Everything that lasts beside the weights, for pickling.
    fn lasting<'py>(&self, py: Python<'py>) -> PyResult<(u64, Vec<Lasting<'py>>)> {
        let (updates, kept) = self.work(py, |state| state.sync().map(|()| (state.updates, state.kept.clone())))?;
        let row = |kept: SavedSlot| {
            let bias = kept.bias.map(|b| b.into_pyarray(py));
            (kept.key.to_owned(), kept.at, kept.numbers.into_pyarray(py), bias)
        };
        Ok((updates, kept.into_iter().map(row).collect()))
    }

    /// Puts that back.
    #[allow(clippy::type_complexity, reason = "what pickling kept")]
    fn put_lasting(
        &self,
        py: Python<'_>,
        updates: u64,
        rows: Vec<(String, usize, PyReadonlyArray2<'_, f32>, Option<PyReadonlyArray1<'_, f32>>)>,
    ) -> PyResult<()> {
        let rows: Vec<(String, usize, Array2<f32>, Option<Array1<f32>>)> = rows
            .into_iter()
            .map(|(name, at, numbers, bias)| {
                (name, at, numbers.as_array().to_owned(), bias.map(|b| b.as_array().to_owned()))
            })
            .collect();
        self.work(py, |state| {
            let plan = state.planned()?;
            let known = |key: &str| plan.families.iter().find(|family| family.key == key).map(|family| family.key);
            let kept = rows
                .into_iter()
                .filter_map(|(name, at, numbers, bias)| Some(SavedSlot { key: known(&name)?, at, numbers, bias }));
            (state.kept, state.updates, state.live) = (kept.collect(), updates, None);
            state.revision += 1;
            Ok(())
        })
    }

    /// The outputs for x [samples, inputs] of u8 or float32.
    fn predict<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        Ok(self.work(py, move |state| state.predict(&inputs))?.into_pyarray(py))
    }

    /// One weight update on a batch; its slots, if they are to be read.
    fn step<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        y: PyReadonlyArray2<'py, f32>,
        read: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        let targets = targets(&network, &y, inputs.nrows())?;
        let held = self.work(py, move |state| state.step(&inputs, &targets, read))?;
        shown(py, held)
    }

    /// What units hold at each time t of an update that is not made: [(t, slots)].
    fn times<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        y: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyList>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        let targets = targets(&network, &y, inputs.nrows())?;
        let times = self.work(py, move |state| state.times(&inputs, &targets))?;
        let list = PyList::empty(py);
        for (t, held) in times {
            list.append((t, shown(py, held)?))?;
        }
        Ok(list)
    }

    /// Writes the weights to a safetensors file, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.work(py, |state| {
            state.sync()?;
            network::write_weights(&path, &state.network, &state.weights)
        })
    }

    /// SHA-256 of the weights, as `zilch train` prints it.
    fn sha256(&self, py: Python<'_>) -> PyResult<String> {
        self.work(py, |state| state.sync().map(|()| state.weights.sha256()))
    }

    /// The plan of one update as text.
    fn plan(&self, py: Python<'_>) -> PyResult<String> {
        self.work(py, |state| Ok(state.planned()?.to_string()))
    }
}

impl State {
    /// The plan of one update; a rate that changes over a run is taken at a long one's beginning.
    fn planned(&self) -> zilch::Result<Plan> {
        let mut options = self.options.clone();
        options.lr_schedule.total = options.lr_schedule.total.max(1 << 20);
        options.plan(&self.network)
    }
}

/// Reads a safetensors file: layers input first (sizes, or the notation of convolutions), activation, whether it has biases, pixels, targets, and the weights.
#[pyfunction]
#[allow(clippy::type_complexity, reason = "what the file says")]
pub(crate) fn read_weights<'py>(py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
    let (network, weights) = py.detach(|| network::read_weights(&path)).or_raise(py)?;
    let about = PyDict::new(py);
    match network.convolves() || network.graph().is_some() {
        true => about.set_item("layers", network.notation().join(","))?,
        false => about.set_item("layers", network.input_first())?,
    }
    about.set_item("activation", network.activation.name())?;
    about.set_item("bias", network.bias)?;
    about.set_item("input_activation", network.input_activation)?;
    about.set_item("pixels", network.pixels.as_ref().map(Pixels::numbers))?;
    about.set_item("targets", network.targets)?;
    about.set_item("theta", weights.theta.into_iter().map(|t| t.into_pyarray(py)).collect::<Vec<_>>())?;
    about.set_item("biases", weights.bias.into_iter().map(|b| b.into_pyarray(py)).collect::<Vec<_>>())?;
    Ok(about)
}

/// A synthetic set, or a folder of files: ((x, y), (x_test, y_test)).
#[pyfunction]
#[allow(clippy::type_complexity, reason = "two pairs")]
pub(crate) fn data<'py>(
    py: Python<'py>,
    spec: PathBuf,
) -> PyResult<[(Bound<'py, PyArray2<u8>>, Bound<'py, PyArray1<u8>>); 2]> {
    let Data { train, test, .. } = py.detach(|| Data::open(spec)).or_raise(py)?;
    Ok([train, test].map(|set| (set.images().clone().into_pyarray(py), PyArray1::from_slice(py, set.labels()))))
}
