//! `Core`: a network with its rule, its device and its learned state.

use crate::custom;
use crate::error::{OrRaise, signals, usage};
use crate::options::{self, Parsed};
use ndarray::{Array1, Array2, Axis};
use numpy::{IntoPyArray, PyArray1, PyArray2, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zilch::data::{Data, Dataset, Inputs, Reading, Targets};
use zilch::device::{BlockingSession, Device, SavedSlot};
use zilch::network;
use zilch::network::Init;
use zilch::plan::Pixels;
use zilch::plan::expr::SlotId;
use zilch::plan::{Connection, Domain, Initial, Op, Slot, Stage};
use zilch::rules::Learning;
use zilch::rules::{LrSchedule, Ramp};
use zilch::train::checkpoint::Checkpoint;
use zilch::{Network, Options, Plan, Weights};

/// Approximate number of multiplications per chunk of a prediction. Ctrl-C is checked between chunks.
const PIECE: usize = 1 << 29;

/// Open devices by request, so that thread pools and shaders are created once per process.
static DEVICES: Mutex<Option<HashMap<Request, Opened>>> = Mutex::new(None);
/// The number of times that devices were reopened, over all devices.
static REOPENED: AtomicU64 = AtomicU64::new(0);

/// Requested device name and thread count, and id of the process that opened the device. The process id is part of the
/// key because threads do not survive a fork.
type Request = (String, Option<usize>, u32);

/// An open device.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) device: Device,
    request: Request,
    /// The value of [`REOPENED`] when it was opened.
    reopened: u64,
}

impl Opened {
    /// Opens the device `wanted` with this number of threads, or returns it if it is already open.
    pub(crate) fn new(wanted: &str, threads: Option<usize>) -> zilch::Result<Opened> {
        let request = (wanted.to_owned(), threads, std::process::id());
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        if let Some(opened) = devices.get(&request) {
            return Ok(opened.clone());
        }
        let device = Device::open(wanted, threads)?;
        let opened = Opened { device, request: request.clone(), reopened: REOPENED.load(Ordering::Relaxed) };
        devices.insert(request, opened.clone());
        Ok(opened)
    }

    /// Reopens a lost device, unless another network has already done so.
    pub(crate) fn reopen(&mut self) -> zilch::Result<()> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = devices.get_or_insert_default();
        match devices.get(&self.request) {
            Some(newer) if newer.reopened > self.reopened => self.clone_from(newer),
            _ => {
                self.device = self.device.reopen()?;
                self.reopened = REOPENED.fetch_add(1, Ordering::Relaxed) + 1;
                devices.insert(self.request.clone(), self.clone());
            }
        }
        Ok(())
    }

    /// Whether the device was reopened after this copy was taken, or was opened by the parent process before a fork.
    fn is_stale(&self) -> bool {
        if self.request.2 != std::process::id() {
            return true;
        }
        // This fast check usually decides, since devices are rarely lost.
        self.reopened != REOPENED.load(Ordering::Relaxed)
            && DEVICES
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .is_some_and(|devices| devices.get(&self.request).is_some_and(|newest| newest.reopened > self.reopened))
    }
}

/// A persistent slot in Python: its key, its population or projection, its values [n_to, n_from], and its biases.
type Persistent<'py> = (String, usize, Bound<'py, PyArray2<f32>>, Option<Bound<'py, PyArray1<f32>>>);

/// A session for predictions and single steps.
struct Live {
    session: BlockingSession,
    plan: Plan,
    batch: usize,
    /// Whether its slots can be read back.
    read: bool,
    /// Whether the session has made updates that are not yet copied to the host.
    ahead: bool,
}

/// The state of a network.
pub(crate) struct State {
    pub(crate) network: Network,
    pub(crate) options: Options,
    /// Default batch size of `fit`: samples per update.
    batch: usize,
    /// The distribution of the initial weights, and its factors.
    init: (Init, Vec<f64>),
    pub(crate) opened: Opened,
    pub(crate) weights: Weights,
    /// The persistent slots, weights included; empty before the first update.
    pub(crate) kept: Vec<SavedSlot>,
    pub(crate) updates: u64,
    /// The number of changes of the weights, by updates and by assignments.
    pub(crate) revision: u64,
    live: Option<Live>,
}

/// A network with its rule, its device and its learned state.
#[pyclass(frozen, module = "zilch_pc._core")]
pub(crate) struct Core(Mutex<State>);

impl State {
    /// Replaces a stale device. In a forked process the device has to be opened again, since its threads exist only in the parent. A
    /// lost device may have been reopened for another network.
    fn refresh_device(&mut self) -> zilch::Result<()> {
        if !self.opened.is_stale() {
            return Ok(());
        }
        let (wanted, threads, process) = self.opened.request.clone();
        let forked = process != std::process::id();
        // A fork copies main memory, so the state of a CPU session stays valid.
        if !forked || self.live.as_ref().is_some_and(|live| live.session.as_gpu().is_none()) {
            self.sync()?;
        }
        let old = std::mem::replace(&mut self.opened, Opened::new(&wanted, threads)?);
        let old = (old, self.live.take());
        if forked {
            // Dropping the device and its sessions would wait for threads that do not exist in this process.
            std::mem::forget(old);
        }
        Ok(())
    }

    /// Reopens the device after the failure `why`. Returns an error that says which updates were lost.
    fn reopen_after(&mut self, why: &str) -> zilch::Error {
        let unread = self.live.take().filter(|live| live.ahead).map_or(0, |live| live.session.updates() - self.updates);
        let after = self.updates;
        let lost = match unread {
            0 => "No update is lost".to_owned(),
            n => format!("The network is in its state after {after} updates: {n} more had not been read back"),
        };
        match self.opened.reopen() {
            Ok(()) => zilch::Error::Gpu(format!("{why}. {lost}. The device was reopened: try again")),
            Err(error) => zilch::Error::Gpu(format!("{why}. {lost}. The device cannot be reopened: {error}")),
        }
    }

    /// Copies the learned state from the session to the host, if the host's copy is out of date.
    pub(crate) fn sync(&mut self) -> zilch::Result<()> {
        if let Some(live) = self.live.as_mut().filter(|live| live.ahead) {
            (self.weights, self.kept) = (live.session.weights()?, live.session.persistent()?);
            self.updates = live.session.updates();
            live.ahead = false;
        }
        Ok(())
    }

    /// As [`State::sync`], after replacing a stale device.
    pub(crate) fn refresh(&mut self) -> zilch::Result<()> {
        self.refresh_device()?;
        self.sync()
    }

    /// Adopts the state after a training, and the device on which the training ended.
    pub(crate) fn learn(&mut self, learned: &Checkpoint, opened: &Opened) {
        take_weights(&mut self.weights, &learned.kept);
        self.kept.clone_from(&learned.kept);
        (self.updates, self.live) = (learned.progress.updates, None);
        self.revision += 1;
        self.opened.clone_from(opened);
    }

    /// Loads the learned state into a new session.
    pub(crate) fn put_into(&self, session: &mut BlockingSession) {
        session.put(&self.kept);
        session.set_updates(self.updates);
        session.save();
    }

    /// A session of a plan with the learned state. Its data set is a placeholder of one sample.
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

    /// The session for this batch size and `read`; creates it if needed.
    fn live(&mut self, batch: usize, read: bool) -> zilch::Result<&mut Live> {
        let fits = self.live.as_ref().is_some_and(|live| live.batch == batch && live.read == read);
        if !fits {
            self.sync()?;
            self.live = None;
            let plan = self.plan_of_steps()?;
            let plan = if read { plan } else { plan.without_reads_of_states() };
            let session = self.open(&plan, batch)?;
            self.live = Some(Live { session, plan, batch, read, ahead: false });
        }
        self.live.as_mut().ok_or_else(|| zilch::Error::usage("there is no session"))
    }

    /// The outputs [samples, outputs] for values of the input layer, after its activation.
    fn predict(&mut self, inputs: &Array2<f32>) -> zilch::Result<Array2<f32>> {
        self.refresh_device()?;
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

    /// Makes one update. Returns the slots if `read` is set.
    fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>, read: bool) -> zilch::Result<Vec<SlotValues>> {
        self.refresh_device()?;
        let live = self.live(inputs.nrows(), read)?;
        live.session.step(inputs, targets)?;
        live.ahead = true;
        let slots = match read {
            true => read_slots(&live.session, &live.plan, |slot| slot.observed && !is_trained(slot))?,
            false => Vec::new(),
        };
        self.revision += 1;
        Ok(slots)
    }

    /// The slots after an update that is not kept: the network does not change.
    fn activity(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> zilch::Result<Vec<SlotValues>> {
        self.refresh()?;
        let plan = self.plan_of_steps()?;
        let mut session = self.open(&plan, inputs.nrows())?;
        session.step(inputs, targets)?;
        read_slots(&session, &plan, |slot| slot.observed && !is_trained(slot))
    }

    /// The slots of a prediction: those that its moments write, and the input.
    fn infer(&mut self, inputs: &Array2<f32>) -> zilch::Result<Vec<SlotValues>> {
        self.refresh()?;
        let mut plan = self.plan_of_steps()?;
        plan.moments.retain(|moment| moment.stage == Stage::Prediction);
        let mut written = vec![false; plan.slots.len()];
        plan.ops().flat_map(Op::writes).chain([plan.input()]).for_each(|slot| written[slot.0] = true);
        for (slot, written) in plan.slots.iter_mut().zip(written) {
            slot.observed = written && matches!(slot.home, Domain::Units(_));
            // States per training example belong to learning.
            slot.per_example = false;
        }
        let mut session = self.open(&plan, inputs.nrows())?;
        // Without moments of learning the targets are not read.
        session.step(inputs, &Array2::zeros((inputs.nrows(), self.network.outputs())))?;
        read_slots(&session, &plan, |slot| slot.observed)
    }

    /// The plan of one update outside of a training. A learning rate schedule spans a training, so single updates have the constant rate.
    fn plan_of_steps(&self) -> zilch::Result<Plan> {
        let mut options = self.options.clone();
        options.lr_schedule = LrSchedule { ramp: Ramp::Constant, total: 0, ..options.lr_schedule };
        if self.options.lr_schedule.ramp != Ramp::Constant {
            options.lr_schedule.warmup = 0;
        }
        options.plan(&self.network)
    }

    /// The slots at each time t of an update, without changing the network.
    fn times(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> zilch::Result<Vec<(usize, Vec<SlotValues>)>> {
        self.refresh()?;
        let plan = self.plan_of_steps()?;
        let mut times = Vec::new();
        for moment in &plan.moments {
            let Stage::Learning(t) = moment.stage else { continue };
            let until = plan.until(t);
            let mut session = self.open(&until, inputs.nrows())?;
            session.step(inputs, targets)?;
            times.push((t, read_slots(&session, &until, |slot| slot.observed && !slot.persistent)?));
        }
        Ok(times)
    }
}

/// Copies the weights out of the persistent slots.
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

/// The values of a slot that were read back.
struct SlotValues {
    name: &'static str,
    at: usize,
    numbers: Array2<f64>,
}

/// Whether a slot holds trained weights, which are returned on their own.
fn is_trained(slot: &Slot) -> bool {
    matches!(slot.start, Initial::Weights(_))
}

/// Reads the slots of a session that `selected` names.
fn read_slots(
    session: &BlockingSession,
    plan: &Plan,
    selected: impl Fn(&Slot) -> bool,
) -> zilch::Result<Vec<SlotValues>> {
    let mut list = Vec::new();
    for (s, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| selected(slot)) {
        let at = match slot.home {
            Domain::Units(at) | Domain::Vector(at) | Domain::Samples(at) | Domain::BatchScalar(at) => at,
            // Projection l holds θ^{l+1}, from layer l + 1 to layer l.
            Domain::Connections(at) => at + 1,
        };
        if let Some(numbers) = session.slot(SlotId(s))? {
            list.push(SlotValues { name: plan.key(SlotId(s)), at, numbers });
        }
    }
    Ok(list)
}

/// Slots as a Python dict: {name: {layer: array}}.
fn slots_dict<'py>(py: Python<'py>, values: Vec<SlotValues>) -> PyResult<Bound<'py, PyDict>> {
    let slots = PyDict::new(py);
    for SlotValues { name, at, numbers } in values {
        let by_layer = match slots.get_item(name)? {
            Some(known) => known.cast_into::<PyDict>()?,
            None => PyDict::new(py),
        };
        by_layer.set_item(at, numbers.mapv(|v| v as f32).into_pyarray(py))?;
        slots.set_item(name, by_layer)?;
    }
    Ok(slots)
}

/// Converts x [samples, inputs] to the values of the input layer: scaled pixels, after the activation of the input if there is one.
pub(crate) fn inputs(network: &Network, given: &Bound<'_, PyAny>) -> PyResult<Array2<f32>> {
    let mut inputs = match given.extract::<PyReadonlyArray2<'_, u8>>() {
        Ok(bytes) => bytes.as_array().mapv(|p| f32::from(p) / 255.0),
        Err(_) => given.extract::<PyReadonlyArray2<'_, f32>>()?.as_array().to_owned(),
    };
    if inputs.ncols() != network.inputs() {
        return Err(usage(
            given.py(),
            format!(
                "x has {} values per sample, but the network {network} has {} inputs",
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

/// Checks the shape of the targets: [samples, outputs].
pub(crate) fn targets(network: &Network, given: &PyReadonlyArray2<'_, f32>, samples: usize) -> PyResult<Array2<f32>> {
    let targets = given.as_array().to_owned();
    if targets.dim() != (samples, network.outputs()) {
        return Err(usage(
            given.py(),
            format!(
                "y has shape {:?}, but the targets of {samples} samples for the network {network} have shape ({samples}, {})",
                targets.dim(),
                network.outputs()
            ),
        ));
    }
    Ok(targets)
}

impl Core {
    /// Waits until no other thread uses the network, and locks it. A call from the function of a custom rule is
    /// refused, since the thread that holds the lock may be waiting for this function.
    pub(crate) fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<MutexGuard<'a, State>> {
        custom::refuse_in_plan(py)?;
        Ok(self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs `work` with the interpreter lock (GIL) released. A device that fails is reopened for the next call.
    pub(crate) fn work<T: Send>(
        &self,
        py: Python<'_>,
        work: impl Send + FnOnce(&mut State) -> zilch::Result<T>,
    ) -> PyResult<T> {
        let mut guard = self.lock(py)?;
        let state = &mut *guard;
        let done = py.detach(move || match work(state) {
            Err(zilch::Error::Gpu(why)) if state.opened.device.can_be_lost() => Err(state.reopen_after(&why)),
            other => other,
        });
        drop(guard);
        done.or_raise(py)
    }
}

#[pymethods]
impl Core {
    /// A network with randomly initialised weights.
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
        let Parsed { network, options, batch, init, gain, plan } = options::read(py, layers, rule, seed, options)?;
        custom::refuse_in_plan(py)?;
        let opened = py.detach(|| Opened::new(device, threads)).or_raise(py)?;
        // The limits are checked before memory is allocated for the weights.
        opened.device.fits(&plan, 1, true).or_raise(py)?;
        let mut weights = py.detach(|| Weights::drawn(&network, seed, init));
        weights.scale(&gain);
        let (kept, updates, revision) = (Vec::new(), 0, 0);
        let init = (init, gain);
        let state = State { network, options, batch, init, opened, weights, kept, updates, revision, live: None };
        Ok(Core(Mutex::new(state)))
    }

    /// The device's name and kind.
    fn device(&self, py: Python<'_>) -> PyResult<(String, &'static str)> {
        let state = self.lock(py)?;
        Ok((state.opened.device.name(), state.opened.device.kind()))
    }

    /// Default batch size of `fit`: samples per update.
    fn batch(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.lock(py)?.batch)
    }

    /// Units per layer, input first.
    fn sizes(&self, py: Python<'_>) -> PyResult<Vec<usize>> {
        Ok(self.lock(py)?.network.input_first())
    }

    /// Channels, rows and columns of the input; none if it is no image.
    fn image(&self, py: Python<'_>) -> PyResult<Option<[usize; 3]>> {
        let state = self.lock(py)?;
        let grid = state.network.grid(state.network.lmax());
        Ok(grid.map(|grid| [grid.channels, grid.height, grid.width]))
    }

    /// For each weight matrix from l = 1 that reads a grid: its positions, its channels, and whether it is a convolution. The columns of
    /// such a matrix are in the order (position, channel).
    fn kernels(&self, py: Python<'_>) -> PyResult<Vec<Option<(usize, usize, bool)>>> {
        let state = self.lock(py)?;
        let network = &state.network;
        if network.graph().is_some() {
            let why =
                "a network with skips or shared weights is no chain of layers, as state dicts of torch describe them";
            return Err(usage(py, why));
        }
        let one = |l: usize| {
            let maps = network.maps(l);
            match maps.last()?.kind {
                Connection::Patches(window) => {
                    let kernel = window.kernel as usize;
                    Some((kernel * kernel, window.channels as usize, true))
                }
                Connection::Flat => {
                    let places = network.places(l);
                    let (n, places) =
                        maps.iter().rev().nth(1).map_or((network.n(l) / places, places), |m| (m.n, m.places));
                    Some((places, n, false))
                }
                _ => None,
            }
        };
        Ok((1..=network.matrices()).map(one).collect())
    }

    /// The recommended settings of the rule from which the network and this batch size differ: names and values.
    fn advice(&self, py: Python<'_>, batch: usize) -> PyResult<Vec<(&'static str, String)>> {
        let state = self.lock(py)?;
        let (options, network, (init, init_gain)) = (&state.options, &state.network, &state.init);
        Ok(Learning { options, network, init: Some(*init), init_gain, batch }.advice())
    }

    /// The learning rate, without its schedule.
    fn lr(&self, py: Python<'_>) -> PyResult<f64> {
        Ok(self.lock(py)?.options.alpha)
    }

    /// Sets the learning rate. A running training takes it over with its next epoch.
    fn set_lr(&self, py: Python<'_>, lr: f64) -> PyResult<()> {
        self.work(py, |state| {
            let options = Options { alpha: lr, ..state.options.clone() };
            let before = std::mem::replace(&mut state.options, options);
            // The plan checks the rate.
            if let Err(error) = state.planned() {
                state.options = before;
                return Err(error);
            }
            state.sync()?;
            state.live = None;
            Ok(())
        })
    }

    /// Drops the GPU as a driver reset would. For tests of the recovery.
    fn lose(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(gpu) = self.lock(py)?.opened.device.as_gpu() {
            gpu.lose();
        }
        Ok(())
    }

    /// Weight updates so far.
    fn updates(&self, py: Python<'_>) -> PyResult<u64> {
        self.work(py, |state| state.sync().map(|()| state.updates))
    }

    /// The target values for the other classes and for the class of the label.
    fn held_to(&self, py: Python<'_>) -> PyResult<[f32; 2]> {
        Ok(self.lock(py)?.network.held_to())
    }

    /// The activation. Some rules choose it themselves.
    fn activation(&self, py: Python<'_>) -> PyResult<&'static str> {
        Ok(self.lock(py)?.network.activation.name())
    }

    /// θ^l [n^{l−1}, n^l] and b^l [n^{l−1}] of every layer, from l = 1.
    #[allow(clippy::type_complexity, reason = "a list of pairs, one per layer")]
    fn weights<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Vec<(Bound<'py, PyArray2<f32>>, Option<Bound<'py, PyArray1<f32>>>)>> {
        let Weights { theta, bias } = self.work(py, |state| state.sync().map(|()| state.weights.clone()))?;
        let mut bias = bias.into_iter();
        Ok(theta.into_iter().map(|t| (t.into_pyarray(py), bias.next().map(|b| b.into_pyarray(py)))).collect())
    }

    /// Replaces the weights. Other persistent slots stay.
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
                return Err(zilch::Error::usage(format!(
                    "the shapes of these weights are not those of the network {}",
                    state.network
                )));
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

    /// The number of updates and the persistent slots, for pickling.
    fn persistent<'py>(&self, py: Python<'py>) -> PyResult<(u64, Vec<Persistent<'py>>)> {
        let (updates, kept) = self.work(py, |state| state.sync().map(|()| (state.updates, state.kept.clone())))?;
        let row = |kept: SavedSlot| {
            let bias = kept.bias.map(|b| b.into_pyarray(py));
            (kept.key.to_owned(), kept.at, kept.numbers.into_pyarray(py), bias)
        };
        Ok((updates, kept.into_iter().map(row).collect()))
    }

    /// Restores the result of [`Core::persistent`].
    #[allow(clippy::type_complexity, reason = "the pickled rows")]
    fn put_persistent(
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

    /// The outputs [samples, outputs] for x [samples, inputs] of uint8 or float32.
    fn predict<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        Ok(self.work(py, move |state| state.predict(&inputs))?.into_pyarray(py))
    }

    /// Makes one weight update on a batch. Returns its slots if `read` is set, else an empty dict.
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
        let slots = self.work(py, move |state| state.step(&inputs, &targets, read))?;
        slots_dict(py, slots)
    }

    /// The slots of an update that is not kept.
    fn activity<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        y: PyReadonlyArray2<'py, f32>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        let targets = targets(&network, &y, inputs.nrows())?;
        let slots = self.work(py, move |state| state.activity(&inputs, &targets))?;
        slots_dict(py, slots)
    }

    /// The slots of a prediction.
    fn infer<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let network = self.lock(py)?.network.clone();
        let inputs = inputs(&network, x)?;
        let slots = self.work(py, move |state| state.infer(&inputs))?;
        slots_dict(py, slots)
    }

    /// The slots at each time t of an update, without changing the network: [(t, slots)].
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
        for (t, slots) in times {
            list.append((t, slots_dict(py, slots)?))?;
        }
        Ok(list)
    }

    /// Writes the weights to a safetensors file, atomically.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        self.work(py, |state| {
            state.sync()?;
            network::write_weights(&path, &state.network, &state.weights)
        })
    }

    /// The SHA-256 of the weights, as `zilch train` prints it.
    fn sha256(&self, py: Python<'_>) -> PyResult<String> {
        self.work(py, |state| state.sync().map(|()| state.weights.sha256()))
    }

    /// The plan of one update as text.
    fn plan(&self, py: Python<'_>) -> PyResult<String> {
        self.work(py, |state| Ok(state.planned()?.to_string()))
    }
}

impl State {
    /// The plan of one update. The learning rate is that at the start of a long run.
    fn planned(&self) -> zilch::Result<Plan> {
        let mut options = self.options.clone();
        options.lr_schedule.total = options.lr_schedule.total.max(1 << 20);
        options.plan(&self.network)
    }
}

/// Reads a safetensors file. Returns a dict of its layers (input first, as sizes or in the notation of the command line),
/// activation, biases, pixel scale, targets and weights.
#[pyfunction]
#[allow(clippy::type_complexity, reason = "the entries of the file")]
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

/// Writes a file as a whole or not at all.
#[pyfunction]
pub(crate) fn write_file(py: Python<'_>, path: PathBuf, bytes: &[u8]) -> PyResult<()> {
    zilch::files::write_whole(&path, |out| out.write_all(bytes)).or_raise(py)
}

/// Loads a data set: [x, y, x_test, y_test] and how its values were prepared, as JSON. x is [samples, n] of uint8 or float32, y labels
/// [samples] of uint8 or targets [samples, columns] of float32. `reading` is a [`Reading`] as JSON.
#[pyfunction]
pub(crate) fn data<'py>(py: Python<'py>, spec: PathBuf, reading: &str) -> PyResult<([Bound<'py, PyAny>; 4], String)> {
    let reading: Reading = serde_json::from_str(reading).map_err(|e| usage(py, e.to_string()))?;
    let Data { train, test, .. } = py.detach(|| Data::read(spec, &reading)).or_raise(py)?;
    let about = serde_json::to_string(&train.preparation()).map_err(|e| usage(py, e.to_string()))?;
    let inputs = |set: &Dataset| match set.inputs() {
        Inputs::Pixels(pixels) => pixels.clone().into_pyarray(py).into_any(),
        Inputs::Numbers(numbers) => numbers.clone().into_pyarray(py).into_any(),
    };
    let targets = |set: &Dataset| match set.targets() {
        Targets::Labels(labels) => PyArray1::from_slice(py, labels).into_any(),
        Targets::Values(values) => values.clone().into_pyarray(py).into_any(),
    };
    Ok(([inputs(&train), targets(&train), inputs(&test), targets(&test)], about))
}
