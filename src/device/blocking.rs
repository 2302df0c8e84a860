//! Devices and sessions that wait for what they are asked for: the edge at which futures end.

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

/// Waits for an answer.
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
    /// A device of any back end.
    pub fn new(backend: impl Backend + 'static) -> Device {
        Device(Arc::new(backend))
    }

    /// The device a user means: `cpu`; `gpu` for the first adapter, a software one if there is no other;
    /// `auto` for the first real GPU, else the CPU; or part of an adapter's name.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when there is no such adapter; [`Error::Usage`] for an absurd number of threads.
    pub fn open(wanted: &str, threads: Option<usize>) -> Result<Device> {
        Device::open_with(wanted, threads, Precision::Float32)
    }

    /// As [`Device::open`], with matrix products in this precision. No device stands in for one that does not have it.
    ///
    /// # Errors
    /// As [`Device::open`]; in mixed precision also [`Error::Usage`] for the CPU, [`Error::NoDevice`] for a GPU without the
    /// matrix units, and [`Error::Gpu`] for one whose units compute wrongly.
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
                "--precision mixed is a GPU's; the CPU computes in float32: add --device gpu (train) or --devices gpu (compare)",
            )),
            false => CpuDevice::new(threads).map(Device::from),
        };
        let wanted = wanted.trim();
        match wanted.to_ascii_lowercase().as_str() {
            "" => Err(Error::usage("--device is empty; it takes auto, cpu, gpu or part of an adapter's name")),
            "cpu" => cpu(),
            "gpu" => Device::open_gpu(None, mixed).await,
            // The CPU stands in where there is no GPU, or a software one; not for one that fails to open.
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
        Err(Error::NoDevice("this zilch was built without its feature \"gpu\": use the CPU device".into()))
    }

    /// The back end.
    pub fn backend(&self) -> &dyn Backend {
        &*self.0
    }

    /// The CPU, if it is that.
    pub fn as_cpu(&self) -> Option<&CpuDevice> {
        self.0.as_any().downcast_ref()
    }

    /// The GPU, if it is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<&GpuDevice> {
        self.0.as_any().downcast_ref()
    }

    /// The name for reports.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// `cpu` or `gpu`.
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// Whether it is a software GPU, whose times say nothing about GPUs.
    pub fn software(&self) -> bool {
        self.0.software()
    }

    /// Driver and version, with the precision if it is not float32; or threads and vector unit.
    pub fn driver(&self) -> String {
        self.0.driver()
    }

    /// Whether it can be lost, and opened anew.
    pub fn can_be_lost(&self) -> bool {
        self.0.can_be_lost()
    }

    /// The same device opened anew, after it was lost.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when it is not there any more, or cannot be opened.
    pub fn reopen(&self) -> Result<Device> {
        wait(self.0.reopen())
    }

    /// Puts a data set where the device can use it.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Gpu`] when it does not fit.
    pub fn upload(&self, data: &Arc<Data>) -> Result<Resident> {
        self.0.upload(data)
    }

    /// Lowers a plan and settles limits and memory: what sessions are made of.
    ///
    /// # Errors
    /// Those of [`Backend::compile`].
    pub fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>> {
        self.0.compile(plan, run)
    }

    /// Whether a session of `plan` with batches of `batch` fits the device, with evaluations and checkpoints if it `trains`.
    ///
    /// # Errors
    /// Those of [`Backend::compile`].
    pub fn fits(&self, plan: &Plan, batch: usize, trains: bool) -> Result<()> {
        self.compile(plan, Usage { trains, ..Usage::updates(batch) }).map(|_| ())
    }

    /// Starts training by `plan` in batches of `batch`, from `weights`.
    ///
    /// # Errors
    /// Those of [`Backend::compile`] and [`Compiled::session`].
    pub fn session(&self, plan: &Plan, batch: usize, data: &Resident, weights: &Weights) -> Result<BlockingSession> {
        let held = host_bytes(plan, false);
        let compiled = self.compile(plan, Usage { held, ..Usage::updates(batch) })?;
        compiled.session(data, weights, held).map(BlockingSession)
    }
}

/// Whether a GPU's driver may be opened here.
fn gpu_can_be_opened() -> bool {
    #[cfg(feature = "gpu")]
    return gpu_has_space().is_ok();
    #[cfg(not(feature = "gpu"))]
    return false;
}

/// Whether there is a GPU that is no program.
async fn has_real_gpu() -> bool {
    #[cfg(feature = "gpu")]
    return gpu::adapters_async().await.iter().any(|adapter| !adapter.software);
    #[cfg(not(feature = "gpu"))]
    return false;
}

/// Memory below which no driver is opened, and the least stack of its threads: some drivers end the process where they find none.
#[cfg(feature = "gpu")]
const GPU_SPACE: u64 = 768 << 20;
#[cfg(feature = "gpu")]
const GPU_STACK: u64 = 1 << 20;

/// Refuses to open a GPU's driver where this process's limits leave too little for one.
#[cfg(feature = "gpu")]
fn gpu_has_space() -> Result<()> {
    let advice = "choose --device cpu (train) or --devices cpu (compare)";
    if memory::own_room().is_some_and(|bytes| bytes < GPU_SPACE) {
        memory::check(|| "opening a GPU".into(), GPU_SPACE, advice)?;
    }
    match memory::stack() {
        Some(bytes) if bytes < GPU_STACK => Err(Error::Limit {
            what: "a thread of a GPU's driver".into(),
            needed: GPU_STACK >> 10,
            available: bytes >> 10,
            unit: "KiB",
            holder: "the stack a thread may have (ulimit -s)".into(),
            advice: format!("{advice}, or raise the limit (ulimit -s)"),
        }),
        _ => Ok(()),
    }
}

/// A [`Session`] that waits for its device.
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
    /// The CPU's session, if it is one.
    pub fn as_cpu_mut(&mut self) -> Option<&mut CpuSession> {
        self.0.as_any_mut().downcast_mut()
    }

    /// A GPU's session, if it is one.
    #[cfg(feature = "gpu")]
    pub fn as_gpu(&self) -> Option<&GpuSession> {
        self.0.as_any().downcast_ref()
    }

    /// The same, to be changed.
    #[cfg(feature = "gpu")]
    pub fn as_gpu_mut(&mut self) -> Option<&mut GpuSession> {
        self.0.as_any_mut().downcast_mut()
    }

    /// Makes one weight update for every batch of samples that `order` names, in order.
    ///
    /// # Errors
    /// Those of [`Session::run_until`].
    pub fn run(&mut self, order: &[u32]) -> Result<()> {
        self.run_until(order, &NEVER).map(|_| ())
    }

    /// See [`Session::run_until`].
    ///
    /// # Errors
    /// Those of [`Session::run_until`]; [`Error::Usage`] where the plan takes arrays that a data set does not have.
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

    /// Refuses updates from a data set where the plan takes arrays.
    fn check_feeds(&self) -> Result<()> {
        let named = self.0.plan().feeds.iter().find_map(|feed| match &feed.source {
            Source::Array(name) => Some(name),
            _ => None,
        });
        named.map_or(Ok(()), |name| {
            let rule = &self.0.plan().task.rule;
            Err(Error::usage(format!("the plan of {rule} takes an array \"{name}\", which a data set does not have")))
        })
    }

    /// Makes one weight update on a batch that is given as arrays and not taken from the data set: what the input layer sends,
    /// [batch, n^lmax], and what the output is held to, [batch, n^0]. They are neither scaled nor changed.
    ///
    /// # Errors
    /// As [`BlockingSession::step_with`].
    pub fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> Result<()> {
        self.step_with(&[("input", inputs.view()), ("target", targets.view())])
    }

    /// As [`BlockingSession::step`], with an array for each feed of the plan: `input`, `target`, and the plan's own by their names.
    ///
    /// # Errors
    /// [`Error::Usage`] when one is missing, unknown or of another shape, or examples have states of their own; [`Error::Gpu`]
    /// when the device fails.
    pub fn step_with(&mut self, arrays: &[(&str, ArrayView2<'_, f32>)]) -> Result<()> {
        let (plan, batch) = (self.0.plan(), self.0.batch());
        if plan.slots.iter().any(|slot| slot.per_example) {
            return Err(Error::usage(
                "this rule keeps a state for each example, and a batch of numbers has no examples",
            ));
        }
        let names: Vec<&str> = plan.feeds.iter().map(|feed| feed.source.name()).collect();
        if let Some((unknown, _)) = arrays.iter().find(|(name, _)| !names.contains(name)) {
            return Err(Error::usage(format!("the plan takes no array \"{unknown}\": it takes {}", names.join(", "))));
        }
        let mut feeds = Vec::new();
        for feed in &plan.feeds {
            let (name, shape) = (feed.source.name(), (batch, plan.width(feed.slot)));
            let Some((_, array)) = arrays.iter().find(|(given, _)| *given == name) else {
                return Err(Error::usage(format!("the plan takes an array \"{name}\", and none was given")));
            };
            if array.dim() != shape {
                let given = array.dim();
                return Err(Error::usage(format!("a batch of {batch} takes {name}s {shape:?}; {given:?} given")));
            }
            feeds.push((feed.slot, array.view()));
        }
        wait(self.0.step(&feeds))
    }

    /// What the network answers to inputs that are given as numbers: [samples, n^0] for what the input layer sends, [samples, n^lmax],
    /// of any number of samples.
    ///
    /// # Errors
    /// [`Error::Usage`] when the inputs have another width; [`Error::Gpu`] when the device fails.
    pub fn predict(&mut self, inputs: &Array2<f32>) -> Result<Array2<f32>> {
        let plan = self.0.plan();
        if inputs.ncols() != plan.inputs() {
            return Err(Error::usage(format!(
                "the network {} takes inputs of {} numbers; {} given",
                plan.task.network,
                plan.inputs(),
                inputs.ncols()
            )));
        }
        wait(self.0.predict(inputs))
    }

    /// Predicts every sample of a set, and counts errors and energy.
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

    /// See [`Session::lasting`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn lasting(&self) -> Result<Vec<SavedSlot>> {
        wait(self.0.lasting())
    }

    /// See [`Session::examples`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn examples(&self) -> Result<Vec<Array2<f32>>> {
        wait(self.0.examples())
    }

    /// Goes on where another session of the same plan is: with all that lasts, but for what examples have for themselves.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn continue_from(&mut self, other: &BlockingSession) -> Result<()> {
        self.put(&other.lasting()?);
        self.set_updates(other.updates());
        self.save();
        Ok(())
    }
}

/// What asks nothing of the device is the session's own.
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

/// A GPU, opened and asked by callers that wait.
#[cfg(feature = "gpu")]
impl GpuDevice {
    /// Opens the adapter that `name` is part of, or the first; `checked` keeps the shaders' run-time
    /// checks, which releases do without.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when there is no such adapter, or it cannot be opened.
    pub fn open(name: Option<&str>, checked: bool) -> Result<Self> {
        wait(GpuDevice::open_async(name, checked))
    }

    /// As [`GpuDevice::open`], with matrix products in [`Precision::Mixed`], checked against float64.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::NoDevice`] where the adapter has no such matrix units; [`Error::Gpu`]
    /// where they do not compute what they should.
    pub fn open_mixed(name: Option<&str>, checked: bool) -> Result<Self> {
        wait(GpuDevice::open_mixed_async(name, checked))
    }

    /// As [`GpuDevice::open_mixed`] with units 8 or 16 wide, but emulates them: the same operands and the same sums,
    /// though in another order, on adapters without such units too. Slower than float32, and meant for tests.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::Usage`] for another width; [`Error::Limit`] where the adapter has too little
    /// workgroup memory.
    pub fn open_emulated(name: Option<&str>, checked: bool, width: u32) -> Result<Self> {
        wait(GpuDevice::open_emulated_async(name, checked, width))
    }

    /// The worst error of one prediction, feedback and update, see [`GpuDevice::cross_check_async`].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn cross_check(&self) -> Result<f64> {
        wait(self.cross_check_async())
    }
}

/// What is worth knowing about every adapter, the fastest kind first.
#[cfg(feature = "gpu")]
pub fn adapters() -> Vec<gpu::AdapterSummary> {
    wait(gpu::adapters_async())
}
