//! What runs plans: the CPU, and any GPU that wgpu can drive.
//!
//! A device knows kernels and no rule. It lowers a [`Plan`] once, and then makes thousands
//! of weight updates from it.

pub mod cpu;
pub mod gpu;

use crate::data::{Data, Set};
use crate::error::{Error, Result};
use crate::memory;
use crate::plan::expr::SlotId;
use crate::plan::{Home, Plan, Weights};
use cpu::{CpuDevice, CpuSession};
use gpu::{GpuData, GpuDevice, GpuSession, Precision, TileUse};
use ndarray::{Array1, Array2};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A device that runs plans.
#[derive(Clone)]
pub enum Device {
    /// The CPU.
    Cpu(CpuDevice),
    /// A GPU, or a program that imitates one.
    Gpu(GpuDevice),
}

/// A data set where a device can use it at once.
#[derive(Clone)]
pub enum Resident {
    /// In main memory.
    Cpu(Arc<Data>),
    /// In a GPU's memory.
    Gpu(Arc<GpuData>),
}

/// A network in training on a device.
pub enum Session {
    /// On the CPU.
    Cpu(Box<CpuSession>),
    /// On a GPU.
    Gpu(Box<GpuSession>),
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Device {
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
        let mixed = precision == Precision::Mixed;
        let cpu = || match mixed {
            true => Err(Error::usage(
                "--precision mixed is a GPU's; the CPU computes in float32: add --device gpu (train) or --devices gpu (compare)",
            )),
            false => CpuDevice::new(threads).map(Device::Cpu),
        };
        let gpu = |name| {
            gpu_has_space()?;
            if mixed { GpuDevice::open_mixed(name, false) } else { GpuDevice::open(name, false) }
        };
        let wanted = wanted.trim();
        match wanted.to_ascii_lowercase().as_str() {
            "" => Err(Error::usage("--device is empty; it takes auto, cpu, gpu or part of an adapter's name")),
            "cpu" => cpu(),
            "gpu" => gpu(None).map(Device::Gpu),
            // The CPU stands in where there is no GPU, or a software one; not for one that fails to open.
            "auto" if !mixed && gpu_has_space().is_err() => cpu(),
            "auto" => match gpu(None) {
                Ok(gpu) if mixed || !gpu.summary().software => Ok(Device::Gpu(gpu)),
                Err(error) if mixed || gpu::adapters().iter().any(|adapter| !adapter.software) => Err(error),
                _ => cpu(),
            },
            _ => gpu(Some(wanted)).map(Device::Gpu),
        }
    }

    /// The name for reports.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu(_) => cpu::model(),
            Device::Gpu(gpu) => gpu.summary().name.clone(),
        }
    }

    /// `cpu` or `gpu`.
    pub fn kind(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Gpu(_) => "gpu",
        }
    }

    /// Whether it is a software GPU, whose times say nothing about GPUs.
    pub fn software(&self) -> bool {
        matches!(self, Device::Gpu(gpu) if gpu.summary().software)
    }

    /// Driver and version, with the precision if it is not float32; or threads and vector unit.
    pub fn driver(&self) -> String {
        match self {
            Device::Cpu(cpu) => format!("{} threads, {}", cpu.threads(), CpuDevice::simd()),
            Device::Gpu(gpu) => match gpu.precision() {
                Precision::Float32 => gpu.summary().full_driver(),
                Precision::Mixed => format!("{}, mixed precision", gpu.summary().full_driver()),
            },
        }
    }

    /// Whether it can be lost, and opened anew.
    pub fn can_be_lost(&self) -> bool {
        matches!(self, Device::Gpu(_))
    }

    /// The same device opened anew, after it was lost.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when it is not there any more, or cannot be opened.
    pub fn reopen(&self) -> Result<Device> {
        match self {
            Device::Cpu(cpu) => Ok(Device::Cpu(cpu.clone())),
            Device::Gpu(gpu) => gpu.reopen().map(Device::Gpu),
        }
    }

    /// Puts a data set where the device can use it.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Gpu`] when it does not fit.
    pub fn upload(&self, data: &Arc<Data>) -> Result<Resident> {
        match self {
            Device::Cpu(_) => Ok(Resident::Cpu(Arc::clone(data))),
            Device::Gpu(gpu) => gpu.upload(data).map(Resident::Gpu),
        }
    }

    /// Whether a session of `plan` with batches of `batch` fits the device, with evaluations and checkpoints if it `trains`:
    /// told from the sizes alone, before any memory is taken for weights.
    ///
    /// # Errors
    /// [`Error::Limit`] with what is needed and what there is; [`Error::Usage`] for a batch of zero or an absurd one.
    pub fn fits(&self, plan: &Plan, batch: usize, trains: bool) -> Result<()> {
        self.fits_beside(plan, batch, trains, 0)
    }

    /// As [`Device::fits`], where the host holds `held` bytes already of what a checkpoint has.
    ///
    /// # Errors
    /// As [`Device::fits`].
    pub(crate) fn fits_beside(&self, plan: &Plan, batch: usize, trains: bool, held: u64) -> Result<()> {
        check_batch(batch)?;
        match self {
            Device::Cpu(cpu) => cpu.fits(plan, batch, trains, held),
            Device::Gpu(gpu) => {
                gpu.fits_training(plan, batch, trains)?;
                let what = || format!("the host's part of training {}", plan.task.network);
                // A device can be lost: the last copy of what it holds stays until the next one is whole.
                let copies = if trains { 2 } else { 1 };
                let needed = (copies * host_bytes(plan, trains)).saturating_sub(held);
                memory::check(what, needed, "choose smaller --layers")
            }
        }
    }

    /// Starts training by `plan` in batches of `batch`, from `weights`.
    ///
    /// # Errors
    /// [`Error::Limit`] when the network does not fit the device; [`Error::Usage`] when the plan, the
    /// batch or the data do not fit the device; [`Error::Gpu`] when the device fails.
    pub fn session(&self, plan: &Plan, batch: usize, data: &Resident, weights: &Weights) -> Result<Session> {
        self.session_beside(plan, batch, data, weights, host_bytes(plan, false))
    }

    /// As [`Device::session`], where the host holds `held` bytes already of what a checkpoint has, `weights` among them.
    ///
    /// # Errors
    /// As [`Device::session`].
    pub(crate) fn session_beside(
        &self,
        plan: &Plan,
        batch: usize,
        data: &Resident,
        weights: &Weights,
        held: u64,
    ) -> Result<Session> {
        match (self, data) {
            (Device::Cpu(cpu), Resident::Cpu(data)) => {
                cpu.session_to_keep(plan, batch, Arc::clone(data), weights, held).map(|s| Session::Cpu(Box::new(s)))
            }
            (Device::Gpu(gpu), Resident::Gpu(data)) => {
                gpu.session(plan, batch, Arc::clone(data), weights).map(|s| Session::Gpu(Box::new(s)))
            }
            _ => Err(Error::usage("the data set was uploaded to another device")),
        }
    }
}

/// Memory below which no driver is opened, and the least stack of its threads: some drivers end the process where they find none.
const GPU_SPACE: u64 = 768 << 20;
const GPU_STACK: u64 = 1 << 20;

/// Refuses to open a GPU's driver where this process's limits leave too little for one.
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

/// Bytes that the host has beside a session: the weights that it begins with; or what lasts, of one that `trains`, as a
/// checkpoint has it, where that is more.
fn host_bytes(plan: &Plan, trains: bool) -> u64 {
    let weights = 4 * plan.parameters();
    let numbers = |home| match home {
        Home::Connections(p) => {
            let of = &plan.projections[p];
            let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n as u64);
            to * from + to
        }
        home => plan.extent(home) as u64,
    };
    let kept = || lasting(plan).map(|(slot, ..)| 4 * numbers(plan.slot(slot).home)).sum();
    if trains { weights.max(kept()) } else { weights }
}

/// The slots of a plan that last, with their places.
fn lasting(plan: &Plan) -> impl Iterator<Item = (SlotId, &'static str, usize)> + '_ {
    plan.slots.iter().enumerate().filter(|(_, slot)| slot.lasting).filter_map(|(s, slot)| match slot.home {
        Home::Connections(at) | Home::Vector(at) | Home::One(at) => Some((SlotId(s), slot.name, at)),
        _ => None,
    })
}

/// What of `kept` belongs into a slot, if its shape is right.
fn kept_for<'a>(plan: &Plan, slot: SlotId, name: &str, at: usize, kept: &'a [Kept]) -> Option<&'a Kept> {
    let shape = match plan.slot(slot).home {
        Home::Connections(p) => {
            let of = &plan.projections[p];
            (plan.populations[of.to].n, plan.populations[of.from].n)
        }
        home => (1, plan.extent(home)),
    };
    kept.iter().find(|k| k.name == name && k.at == at && k.numbers.dim() == shape)
}

/// Checks what every session is given; the plan as devices run it.
fn check_session<'a>(plan: &'a Plan, batch: usize, weights: &Weights) -> Result<Cow<'a, Plan>> {
    check_batch(batch)?;
    plan.check()?;
    if plan.alone && batch != 1 {
        let rule = &plan.task.rule;
        return Err(Error::usage(format!(
            "--rule {rule} simulates one stream in time: batches are of 1, and not of {batch}"
        )));
    }
    if !plan.takes(weights) {
        return Err(Error::usage(format!("these weights are not those of a network {}", plan.task.network)));
    }
    let carried = plan.carried()?;
    if let Cow::Owned(plan) = &carried {
        plan.check()?;
    }
    Ok(carried)
}

/// How many units of work to take at a time next, if `done` of the `chunk` asked for took so long and one
/// piece should last `target`; the end of a run is too small to learn from.
pub(crate) fn next_chunk(chunk: usize, done: usize, took: Duration, target: Duration, most: usize) -> usize {
    if done < chunk && took < target {
        return chunk;
    }
    let ratio = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.25, 4.0);
    ((done as f64 * ratio) as usize).clamp(1, most)
}

/// The largest batch.
pub const MAX_BATCH: usize = 1 << 20;

/// For work that nobody stops.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// What stops the updates of an order within one of them. Of several none is: they are short, and what those before it made would
/// be lost.
fn stop_within<'a>(order: &[u32], batch: usize, stop: &'a AtomicBool) -> &'a AtomicBool {
    if order.len() < 2 * batch { stop } else { &NEVER }
}

/// Refuses a batch of zero, and one beyond [`MAX_BATCH`].
///
/// # Errors
/// [`Error::Usage`].
pub fn check_batch(batch: usize) -> Result<()> {
    if batch == 0 || batch > MAX_BATCH {
        return Err(Error::usage(format!("--batch must lie in 1 to {MAX_BATCH}; {batch} given")));
    }
    Ok(())
}

impl Session {
    /// Makes one weight update for every batch of samples that `order` names, in order.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn run(&mut self, order: &[u32]) -> Result<()> {
        match self {
            Session::Cpu(s) => {
                s.check_order(order)?;
                s.run(order);
                Ok(())
            }
            Session::Gpu(s) => s.run(order),
        }
    }

    /// As [`Session::run`], until `stop` is set. Returns the updates that were made. An order of a single update may be stopped within
    /// it: nothing is returned then, and the weights are half changed until [`Session::restore`].
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_until(&mut self, order: &[u32], stop: &AtomicBool) -> Result<Option<usize>> {
        match self {
            Session::Cpu(s) => {
                s.check_order(order)?;
                Ok(s.run_until(order, stop))
            }
            Session::Gpu(s) => s.run_until(order, stop),
        }
    }

    /// As [`Session::run`]; returns the seconds it took by the device's own clock, where it has one.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_timed(&mut self, order: &[u32]) -> Result<Option<f64>> {
        match self {
            Session::Cpu(s) => {
                s.check_order(order)?;
                s.run(order);
                Ok(None)
            }
            Session::Gpu(s) => s.run_timed(order),
        }
    }

    /// The tiles of an update's matrix products (none on the CPU).
    pub fn tiles(&self) -> &[TileUse] {
        match self {
            Session::Cpu(_) => &[],
            Session::Gpu(s) => s.tiles(),
        }
    }

    /// Submissions made so far (0 on the CPU).
    pub fn submissions(&self) -> u64 {
        match self {
            Session::Cpu(_) => 0,
            Session::Gpu(s) => s.updates().1,
        }
    }

    /// The weights.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn weights(&self) -> Result<Weights> {
        match self {
            Session::Cpu(s) => Ok(s.weights()),
            Session::Gpu(s) => s.weights(),
        }
    }

    /// Replaces the weights, and forgets what was saved.
    pub fn load(&mut self, weights: &Weights) {
        match self {
            Session::Cpu(s) => s.load(weights),
            Session::Gpu(s) => s.load(weights),
        }
    }

    /// Keeps a copy of the weights on the device, for [`Session::restore`].
    pub fn save(&mut self) {
        match self {
            Session::Cpu(s) => s.save(),
            Session::Gpu(s) => s.save(),
        }
    }

    /// Goes back to the weights of the last [`Session::save`].
    pub fn restore(&mut self) {
        match self {
            Session::Cpu(s) => s.restore(),
            Session::Gpu(s) => s.restore(),
        }
    }

    /// The first layer l whose θ^l or b^l is not finite, and which of them it is.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn not_finite(&self) -> Result<Option<(usize, &'static str)>> {
        match self {
            Session::Cpu(s) => Ok(s.not_finite()),
            Session::Gpu(s) => s.not_finite(),
        }
    }

    /// What a slot held at the end of the last update: [batch, n] (of a grid the units of all places, place after place), [batch, 1] for a number a sample, [1, n] for one a unit,
    /// and [n_to, n_from] for connections. Nothing for one that is kept nowhere. Only slots that are
    /// [observed](crate::plan::Slot::observed) are sure to hold what the plan says last.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn slot(&self, slot: SlotId) -> Result<Option<Array2<f64>>> {
        match self {
            Session::Cpu(s) => Ok(s.slot(slot)),
            Session::Gpu(s) => s.slot(slot),
        }
    }

    /// Everything that lasts from update to update: weights, feedback weights, what an optimiser remembers. The state of units
    /// that lasts in a stream ([`crate::plan::Plan::alone`]) is not of it.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn lasting(&self) -> Result<Vec<Kept>> {
        match self {
            Session::Cpu(s) => Ok(s.lasting()),
            Session::Gpu(s) => s.lasting(),
        }
    }

    /// Puts numbers into slots that last, found by name and place; those that the plan does not have, or of another shape,
    /// are left aside. What was saved stays.
    pub fn put(&mut self, kept: &[Kept]) {
        match self {
            Session::Cpu(s) => s.put(kept),
            Session::Gpu(s) => s.put(kept),
        }
    }

    /// What each training example has for itself, [samples, n] of each such slot in the plan's order.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn examples(&self) -> Result<Vec<Array2<f32>>> {
        match self {
            Session::Cpu(s) => Ok(s.examples()),
            Session::Gpu(s) => s.examples(),
        }
    }

    /// Puts that back; what has another shape is left aside.
    pub fn put_examples(&mut self, numbers: &[Array2<f32>]) {
        match self {
            Session::Cpu(s) => s.put_examples(numbers),
            Session::Gpu(s) => s.put_examples(numbers),
        }
    }

    /// Weight updates made so far.
    pub fn updates(&self) -> u64 {
        match self {
            Session::Cpu(s) => s.updates(),
            Session::Gpu(s) => s.updates().0,
        }
    }

    /// Goes on counting from so many updates: what changes over a run goes on from there.
    pub fn set_updates(&mut self, updates: u64) {
        match self {
            Session::Cpu(s) => s.set_updates(updates),
            Session::Gpu(s) => s.set_updates(updates),
        }
    }

    /// Goes on where another session of the same plan is: with all that lasts, but for what examples have for themselves.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn continue_from(&mut self, other: &Session) -> Result<()> {
        self.put(&other.lasting()?);
        self.set_updates(other.updates());
        self.save();
        Ok(())
    }

    /// Makes one weight update on a batch that is given as numbers and not taken from the data set: what the input layer sends,
    /// [batch, n^lmax], and what the output is held to, [batch, n^0]. They are neither scaled nor changed.
    ///
    /// # Errors
    /// [`Error::Usage`] when the shapes are not those of the batch, or examples have states of their own; [`Error::Gpu`] when the
    /// device fails.
    pub fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) -> Result<()> {
        let (plan, batch) = self.about();
        let wanted = [(batch, plan.inputs()), (batch, plan.outputs())];
        if [inputs.dim(), targets.dim()] != wanted {
            return Err(Error::usage(format!(
                "a batch of {batch} takes inputs {:?} and targets {:?}; {:?} and {:?} given",
                wanted[0],
                wanted[1],
                inputs.dim(),
                targets.dim()
            )));
        }
        if plan.slots.iter().any(|slot| slot.remembered) {
            return Err(Error::usage(
                "this rule keeps a state for each example, and a batch of numbers has no examples",
            ));
        }
        match self {
            Session::Cpu(s) => {
                s.step(inputs, targets);
                Ok(())
            }
            Session::Gpu(s) => s.step(inputs, targets),
        }
    }

    /// What the network answers to inputs that are given as numbers: [samples, n^0] for what the input layer sends, [samples, n^lmax],
    /// of any number of samples.
    ///
    /// # Errors
    /// [`Error::Usage`] when the inputs have another width; [`Error::Gpu`] when the device fails.
    pub fn predict(&mut self, inputs: &Array2<f32>) -> Result<Array2<f32>> {
        let (plan, _) = self.about();
        if inputs.ncols() != plan.inputs() {
            return Err(Error::usage(format!(
                "the network {} takes inputs of {} numbers; {} given",
                plan.task.network,
                plan.inputs(),
                inputs.ncols()
            )));
        }
        match self {
            Session::Cpu(s) => Ok(s.predictions(inputs)),
            Session::Gpu(s) => s.predictions(inputs),
        }
    }

    /// The plan, and the samples of a batch.
    fn about(&self) -> (&Plan, usize) {
        match self {
            Session::Cpu(s) => s.about(),
            Session::Gpu(s) => s.about(),
        }
    }

    /// Predicts every sample of a set, and counts errors and energy.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails; [`Error::Limit`] when there is no memory for a first evaluation.
    pub fn score(&mut self, set: Set) -> Result<Score> {
        Ok(self.score_until(set, &NEVER)?.unwrap_or_default())
    }

    /// As [`Session::score`]; nothing where `stop` was set before it was done.
    ///
    /// # Errors
    /// As [`Session::score`].
    pub fn score_until(&mut self, set: Set, stop: &AtomicBool) -> Result<Option<Score>> {
        match self {
            Session::Cpu(s) => {
                s.check_score()?;
                Ok(s.score_until(set, stop))
            }
            Session::Gpu(s) => s.score_until(set, stop),
        }
    }
}

/// What a slot that lasts holds, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The slot's name.
    pub name: &'static str,
    /// Its population or projection.
    pub at: usize,
    /// [n_to, n_from] of connections, [1, n] of a number a unit.
    pub numbers: Array2<f32>,
    /// Beside connections, where their units have biases, `[n_to]`.
    pub bias: Option<Array1<f32>>,
}

/// How well a network predicts a set.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Score {
    /// Samples predicted.
    pub samples: u64,
    /// Samples whose largest output is not their label.
    pub errors: u64,
    /// Σ over samples of ½ Σ_i (s_out,i − μ^0_i)².
    pub energy: f64,
}

impl Score {
    /// Share of wrong samples, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.samples.max(1) as f64
    }

    /// Energy per sample.
    pub fn mean_energy(&self) -> f64 {
        self.energy / self.samples.max(1) as f64
    }
}
