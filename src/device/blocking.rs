//! Blocking access: a device and a session that wait for the futures of a back end.

use super::cpu::{CpuDevice, CpuSession};
use super::gpu::Precision;
#[cfg(feature = "gpu")]
use super::gpu::{self, GpuDevice, GpuSession};
use super::{Backend, Compiled, NEVER, Resident, SavedSlot, Score, Session, Usage, host_bytes};
use crate::data::{Data, Set};
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::memory;
use crate::plan::expr::SlotId;
use crate::plan::{Plan, Source, Weights};
use ndarray::{Array2, ArrayView2};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Blocks until a future is complete.
pub(crate) fn wait<T>(pending: impl Future<Output = T>) -> T {
    pollster::block_on(pending)
}

/// A device that runs plans: the CPU, or a GPU.
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<CpuDevice> for Device {
    fn from(cpu: CpuDevice) -> Self {
        Device(Arc::new(cpu))
    }
}

#[cfg(feature = "gpu")]
impl From<GpuDevice> for Device {
    fn from(gpu: GpuDevice) -> Self {
        Device(Arc::new(gpu))
    }
}

impl Device {
    /// Wraps any back end.
    pub fn new(backend: impl Backend + 'static) -> Device {
        Device(Arc::new(backend))
    }

    /// Opens the device that a user names: `cpu`; `gpu` for the first adapter, a software one if there is no other; `auto` for
    /// the first hardware GPU, else the CPU; or part of an adapter's name.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no adapter matches; [`Error::Usage`] for a thread count out of range.
    pub fn open(wanted: &str, threads: Option<usize>) -> Result<Device> {
        Device::open_with(wanted, threads, Precision::Float32)
    }

    /// As [`Device::open`], with matrix products in this precision. A device without it is an error; no other device is chosen instead.
    ///
    /// # Errors
    /// As [`Device::open`]; in mixed precision also [`Error::Usage`] for the CPU, [`Error::NoDevice`] for a GPU without matrix units,
    /// and [`Error::Gpu`] for matrix units whose results are wrong.
    pub fn open_with(wanted: &str, threads: Option<usize>, precision: Precision) -> Result<Device> {
        wait(Device::open_async(wanted, threads, precision))
    }

    /// As [`Device::open_with`], for callers that do not block.
    ///
    /// # Errors
    /// As [`Device::open_with`].
    pub async fn open_async(wanted: &str, threads: Option<usize>, precision: Precision) -> Result<Device> {
        let mixed = precision == Precision::Mixed;
        let cpu = || match mixed {
            true => Err(Error::usage(
                "--precision mixed needs a GPU; the CPU computes in float32. Add --device gpu (train) or --devices gpu (compare)",
            )),
            false => CpuDevice::new(threads).map(Device::from),
        };
        let wanted = wanted.trim();
        match wanted.to_ascii_lowercase().as_str() {
            "" => Err(Error::usage("--device is empty; give auto, cpu, gpu or part of an adapter's name")),
            "cpu" => cpu(),
            "gpu" => Device::open_gpu(None, mixed).await,
            // `auto` falls back to the CPU when there is no GPU, or only a software one. A GPU that fails to open is an error.
            "auto" if !mixed && !gpu_can_be_opened() => cpu(),
            "auto" => match Device::open_gpu(None, mixed).await {
                Ok(gpu) if mixed || !gpu.software() => Ok(gpu),
                Err(error) if mixed || has_real_gpu().await => Err(error),
                _ => cpu(),
            },
            _ => Device::open_gpu(Some(wanted), mixed).await,
        }
    }

    #[cfg(feature = "gpu")]
    async fn open_gpu(name: Option<&str>, mixed: bool) -> Result<Device> {
        gpu_has_space()?;
        let gpu = match mixed {
            true => GpuDevice::open_mixed_async(name, false).await,
            false => GpuDevice::open_async(name, false).await,
        };
        gpu.map(Device::from)
    }

    #[cfg(not(feature = "gpu"))]
    async fn open_gpu(_name: Option<&str>, _mixed: bool) -> Result<Device> {
        Err(Error::NoDevice("this build has no GPU support (the feature \"gpu\" is off); use the CPU device".into()))
    }

    /// The back end.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0
    }

    /// The CPU back end, if this is one.
    pub fn as_cpu(&self) -> Option<&CpuDevice> {
        self.0.as_any().downcast_ref()
    }

    /// The GPU back end, if this is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<&GpuDevice> {
        self.0.as_any().downcast_ref()
    }

    /// The name shown in reports.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// `cpu` or `gpu`.
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// Whether it is a software GPU, whose timings say nothing about real GPUs.
    pub fn software(&self) -> bool {
        self.0.software()
    }

    /// GPU: driver and version, with the precision unless it is float32. CPU: thread count and vector unit.
    pub fn driver(&self) -> String {
        self.0.driver()
    }

    /// Whether the device can be lost and reopened.
    pub fn can_be_lost(&self) -> bool {
        self.0.can_be_lost()
    }

    /// Opens the same device again after it was lost.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when it is gone or cannot be opened.
    pub fn reopen(&self) -> Result<Device> {
        wait(self.0.reopen())
    }

    /// Makes a data set available to the device.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Gpu`] when it does not fit.
    pub fn upload(&self, data: &Arc<Data>) -> Result<Resident> {
        self.0.upload(data)
    }

    /// Lowers a plan and checks limits and memory. Sessions are created from the result.
    ///
    /// # Errors
    /// Those of [`Backend::compile`].
    pub fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>> {
        self.0.compile(plan, run)
    }

    /// Checks that a session of `plan` with mini-batches of `batch` samples fits the device. With `trains`, memory for
    /// evaluations and checkpoints is included.
    ///
    /// # Errors
    /// Those of [`Backend::compile`].
    pub fn fits(&self, plan: &Plan, batch: usize, trains: bool) -> Result<()> {
        self.compile(plan, Usage { trains, ..Usage::updates(batch) }).map(|_| ())
    }

    /// Starts training with `plan` and mini-batches of `batch` samples, from `weights`.
    ///
    /// # Errors
    /// Those of [`Backend::compile`] and [`Compiled::session`].
    pub fn session(&self, plan: &Plan, batch: usize, data: &Resident, weights: &Weights) -> Result<BlockingSession> {
        let held = host_bytes(plan, false);
        let compiled = self.compile(plan, Usage { held, ..Usage::updates(batch) })?;
        compiled.session(data, weights, held).map(BlockingSession)
    }
}

/// Whether the process has enough memory and stack to open a GPU driver.
fn gpu_can_be_opened() -> bool {
    #[cfg(feature = "gpu")]
    return gpu_has_space().is_ok();
    #[cfg(not(feature = "gpu"))]
    return false;
}

/// Whether there is a hardware GPU.
async fn has_real_gpu() -> bool {
    #[cfg(feature = "gpu")]
    return gpu::adapters_async().await.iter().any(|adapter| !adapter.software);
    #[cfg(not(feature = "gpu"))]
    return false;
}

/// Minimum memory for opening a driver, and minimum stack for its threads. With less, some drivers abort the process.
#[cfg(feature = "gpu")]
const GPU_SPACE: u64 = 768 << 20;
#[cfg(feature = "gpu")]
const GPU_STACK: u64 = 1 << 20;

/// Refuses to open a GPU driver when the limits of this process leave too little memory or stack for it.
#[cfg(feature = "gpu")]
fn gpu_has_space() -> Result<()> {
    let advice = "choose --device cpu (train) or --devices cpu (compare)";
    if memory::own_room().is_some_and(|bytes| bytes < GPU_SPACE) {
        memory::check(|| "opening a GPU driver".into(), GPU_SPACE, advice)?;
    }
    match memory::stack() {
        Some(bytes) if bytes < GPU_STACK => Err(Error::Limit {
            what: "a thread of the GPU driver".into(),
            needed: GPU_STACK >> 10,
            available: bytes >> 10,
            unit: "KiB",
            holder: "the stack limit of a thread (ulimit -s)".into(),
            advice: format!("{advice}, or raise the limit (ulimit -s)"),
        }),
        _ => Ok(()),
    }
}

/// A [`Session`] whose calls block until the device is done.
pub struct BlockingSession(Box<dyn Session>);

impl From<Box<dyn Session>> for BlockingSession {
    fn from(session: Box<dyn Session>) -> Self {
        BlockingSession(session)
    }
}

impl From<CpuSession> for BlockingSession {
    fn from(session: CpuSession) -> Self {
        BlockingSession(Box::new(session))
    }
}

#[cfg(feature = "gpu")]
impl From<GpuSession> for BlockingSession {
    fn from(session: GpuSession) -> Self {
        BlockingSession(Box::new(session))
    }
}

impl BlockingSession {
    /// The CPU session, if this is one.
    pub fn as_cpu_mut(&mut self) -> Option<&mut CpuSession> {
        self.0.as_any_mut().downcast_mut()
    }

    /// The GPU session, if this is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<&GpuSession> {
        self.0.as_any().downcast_ref()
    }

    /// The GPU session, mutably, if this is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu_mut(&mut self) -> Option<&mut GpuSession> {
        self.0.as_any_mut().downcast_mut()
    }

    /// Runs one weight update per mini-batch of `order` (sample indices), in order.
    ///
    /// # Errors
    /// Those of [`Session::run_until`].
    pub fn run(&mut self, order: &[u32]) -> Result<()> {
        self.run_until(order, &NEVER).map(|_| ())
    }

    /// See [`Session::run_until`].
    ///
    /// # Errors
    /// Those of [`Session::run_until`]; [`Error::Usage`] when the plan takes arrays that a data set does not provide.
    pub fn run_until(&mut self, order: &[u32], stop: &AtomicBool) -> Result<Option<usize>> {
        self.check_feeds()?;
        wait(self.0.run_until(order, stop))
    }

    /// See [`Session::run_timed`].
    ///
    /// # Errors
    /// As [`BlockingSession::run_until`].
    pub fn run_timed(&mut self, order: &[u32]) -> Result<Option<f64>> {
        self.check_feeds()?;
        wait(self.0.run_timed(order))
    }

    /// Refuses updates from a data set when the plan takes arrays.
    fn check_feeds(&self) -> Result<()> {
        let named = self.0.plan().feeds.iter().find_map(|feed| match &feed.source {
            Source::Array(name) => Some(name),
            _ => None,
        });
        named.map_or(Ok(()), |name| {
            let rule = &self.0.plan().task.rule;
            Err(Error::usage(format!(
                "the plan of {rule} needs an array \"{name}\", which a data set does not provide"
            )))
        })
    }

    /// Runs one weight update on a batch given as arrays instead of samples of the data set: `inputs` [batch, n^lmax],
    /// the activity s_in of the input layer, and `targets` [batch, n^0]. The values are used as given: no scaling, no
    /// augmentation.
    ///
    /// # Errors
    /// As [`BlockingSession::step_with`].
    pub fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> Result<()> {
        self.step_with(&[("input", inputs.view()), ("target", targets.view())])
    }

    /// As [`BlockingSession::step`], with one array per feed of the plan: `input`, `target`, and further feeds by their names.
    ///
    /// # Errors
    /// [`Error::Usage`] when an array is missing, unknown or of the wrong shape, or the plan keeps slots per training example;
    /// [`Error::Gpu`] when the device fails.
    pub fn step_with(&mut self, arrays: &[(&str, ArrayView2<'_, f32>)]) -> Result<()> {
        let (plan, batch) = (self.0.plan(), self.0.batch());
        if plan.slots.iter().any(|slot| slot.per_example) {
            return Err(Error::usage(
                "this rule keeps a state for each training example, and a batch of arrays does not say which examples it holds",
            ));
        }
        let names: Vec<&str> = plan.feeds.iter().map(|feed| feed.source.name()).collect();
        if let Some((unknown, _)) = arrays.iter().find(|(name, _)| !names.contains(name)) {
            return Err(Error::usage(format!(
                "the plan has no feed \"{unknown}\"; its feeds are {}",
                names.join(", ")
            )));
        }
        let mut feeds = Vec::new();
        for feed in &plan.feeds {
            let (name, shape) = (feed.source.name(), (batch, plan.width(feed.slot)));
            let Some((_, array)) = arrays.iter().find(|(given, _)| *given == name) else {
                return Err(Error::usage(format!("the plan needs an array \"{name}\", but none was given")));
            };
            if array.dim() != shape {
                let given = array.dim();
                return Err(Error::usage(format!(
                    "the array \"{name}\" of a batch of {batch} must have shape {shape:?}; {given:?} given"
                )));
            }
            feeds.push((feed.slot, array.view()));
        }
        wait(self.0.step(&feeds))
    }

    /// The outputs, [samples, n^0], for any number of inputs s_in, [samples, n^lmax].
    ///
    /// # Errors
    /// [`Error::Usage`] when the inputs have the wrong width; [`Error::Gpu`] when the device fails.
    pub fn predict(&mut self, inputs: &Array2<f32>) -> Result<Array2<f32>> {
        let plan = self.0.plan();
        if inputs.ncols() != plan.inputs() {
            return Err(Error::usage(format!(
                "the network {} takes inputs of {} values; {} given",
                plan.task.network,
                plan.inputs(),
                inputs.ncols()
            )));
        }
        wait(self.0.predict(inputs))
    }

    /// Predicts every sample of a set, and sums errors and energy.
    ///
    /// # Errors
    /// Those of [`Session::score_until`].
    pub fn score(&mut self, set: Set) -> Result<Score> {
        Ok(self.score_until(set, &NEVER)?.unwrap_or_default())
    }

    /// See [`Session::score_until`].
    ///
    /// # Errors
    /// Those of [`Session::score_until`].
    pub fn score_until(&mut self, set: Set, stop: &AtomicBool) -> Result<Option<Score>> {
        wait(self.0.score_until(set, stop))
    }

    /// The weights.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn weights(&self) -> Result<Weights> {
        wait(self.0.weights())
    }

    /// See [`Session::not_finite`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn not_finite(&self) -> Result<Option<(usize, &'static str)>> {
        wait(self.0.not_finite())
    }

    /// See [`Session::slot`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn slot(&self, slot: SlotId) -> Result<Option<Array2<f64>>> {
        wait(self.0.slot(slot))
    }

    /// See [`Session::persistent`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn persistent(&self) -> Result<Vec<SavedSlot>> {
        wait(self.0.persistent())
    }

    /// See [`Session::examples`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn examples(&self) -> Result<Vec<Array2<f32>>> {
        wait(self.0.examples())
    }

    /// Copies the persistent state and the update count of another session of the same plan; slots kept per training example are not copied.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn continue_from(&mut self, other: &BlockingSession) -> Result<()> {
        self.put(&other.persistent()?);
        self.set_updates(other.updates());
        self.save();
        Ok(())
    }
}

/// Calls that do not wait for the device go directly to the session.
impl std::ops::Deref for BlockingSession {
    type Target = dyn Session;
    fn deref(&self) -> &(dyn Session + 'static) {
        &*self.0
    }
}

impl std::ops::DerefMut for BlockingSession {
    fn deref_mut(&mut self) -> &mut (dyn Session + 'static) {
        &mut *self.0
    }
}

/// Blocking constructors and checks of a GPU.
#[cfg(feature = "gpu")]
impl GpuDevice {
    /// Opens the adapter whose name contains `name`, or the first one. `checked` keeps the run-time checks of shaders, which
    /// release builds leave out.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when no adapter matches, or it cannot be opened.
    pub fn open(name: Option<&str>, checked: bool) -> Result<Self> {
        wait(GpuDevice::open_async(name, checked))
    }

    /// As [`GpuDevice::open`], with matrix products in [`Precision::Mixed`], which are verified against float64.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::NoDevice`] when the adapter has no suitable matrix units; [`Error::Gpu`] when their
    /// results are wrong.
    pub fn open_mixed(name: Option<&str>, checked: bool) -> Result<Self> {
        wait(GpuDevice::open_mixed_async(name, checked))
    }

    /// As [`GpuDevice::open_mixed`], but emulates matrix units of width 8 or 16, so that it runs on adapters without them. Operands
    /// and sums are the same, but the order of summation differs. It is slower than float32 and meant for tests.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::Usage`] for another width; [`Error::Limit`] when the adapter has too little workgroup
    /// memory.
    pub fn open_emulated(name: Option<&str>, checked: bool, width: u32) -> Result<Self> {
        wait(GpuDevice::open_emulated_async(name, checked, width))
    }

    /// The largest error of one prediction, feedback and update; see [`GpuDevice::cross_check_async`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn cross_check(&self) -> Result<f64> {
        wait(self.cross_check_async())
    }
}

/// A summary of every adapter, the fastest kind first.
#[cfg(feature = "gpu")]
pub fn adapters() -> Vec<gpu::AdapterSummary> {
    wait(gpu::adapters_async())
}
