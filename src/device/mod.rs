//! What runs plans: back ends that compile them, and sessions that train by what was compiled.
//!
//! A back end knows kernels and no rule. [`Backend::compile`] lowers a [`Plan`] once and settles limits and memory; each
//! session of what it returns makes thousands of weight updates and lowers nothing. Whatever waits for a device is a
//! future ([`Pending`]); [`Device`] and [`BlockingSession`] wait for it.

mod blocking;
pub mod cpu;
pub mod gpu;

pub use blocking::{BlockingSession, Device};

use crate::data::{Data, Set};
use crate::error::{Error, Result};
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan, Weights};
use gpu::TileUse;
use ndarray::{Array1, Array2, ArrayView2};
use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a device is asked for and may make its caller wait for. The CPU answers at once.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// An answer that is there already.
pub(crate) fn ready<'a, T: 'a>(answer: Result<T>) -> Pending<'a, T> {
    Box::pin(std::future::ready(answer))
}

/// A data set where the back end that was given it can use it.
#[derive(Clone)]
pub struct Resident(Arc<dyn Any + Send + Sync>);

impl Resident {
    /// What a back end keeps of a data set.
    pub fn new<T: Any + Send + Sync>(data: Arc<T>) -> Resident {
        Resident(data)
    }

    /// What [`Resident::new`] was given.
    ///
    /// # Errors
    /// [`Error::Usage`] when another kind of back end was.
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let data = Arc::clone(&self.0).downcast::<T>();
        data.map_err(|_| Error::usage("the data set was uploaded to another device"))
    }
}

/// How a plan is going to be run: memory is reckoned for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Samples of one weight update.
    pub batch: usize,
    /// Whether evaluations and checkpoints are wanted beside the updates.
    pub trains: bool,
    /// Bytes that the host holds already of what a checkpoint has.
    pub held: u64,
}

impl Usage {
    /// Updates on batches of so many samples, and nothing else.
    pub fn updates(batch: usize) -> Usage {
        Usage { batch, trains: false, held: 0 }
    }

    /// A training, with evaluations and checkpoints.
    pub fn training(batch: usize) -> Usage {
        Usage { batch, trains: true, held: 0 }
    }
}

/// What runs plans.
pub trait Backend: Send + Sync {
    /// The name for reports.
    fn name(&self) -> String;

    /// `cpu` or `gpu`.
    fn kind(&self) -> &'static str;

    /// Driver and version, with the precision if it is not float32; or threads and vector unit.
    fn driver(&self) -> String;

    /// Whether it is a software GPU, whose times say nothing about GPUs.
    fn software(&self) -> bool {
        false
    }

    /// Whether it can be lost, and opened anew.
    fn can_be_lost(&self) -> bool {
        false
    }

    /// The same device opened anew, after it was lost: [`Error::NoDevice`] when it is not there any more, or cannot be opened.
    fn reopen(&self) -> Pending<'_, Device>;

    /// Puts a data set where the device can use it: [`Error::Limit`] or [`Error::Gpu`] when it does not fit.
    fn upload(&self, data: &Arc<Data>) -> Result<Resident>;

    /// Lowers a plan and settles limits and memory, before any is taken for weights: [`Error::Limit`] with what is needed
    /// and what there is; [`Error::Usage`] for a plan or a batch that the device cannot run.
    fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>>;

    /// For what only one kind of back end has.
    fn as_any(&self) -> &dyn Any;
}

/// A plan that a back end has lowered.
pub trait Compiled: Send + Sync {
    /// The plan as the device runs it.
    fn plan(&self) -> &Plan;

    /// Starts training on a data set from `weights`, where the host holds `held` bytes already of what a checkpoint has, `weights`
    /// among them: [`Error::Limit`] when there is no room; [`Error::Usage`] and [`Error::Data`] when data or weights do not fit the
    /// plan; [`Error::Gpu`] when the device fails.
    fn session(&self, data: &Resident, weights: &Weights, held: u64) -> Result<Box<dyn Session>>;
}

/// A network in training on a device. What fails is [`Error::Gpu`], where nothing else is said.
pub trait Session: Send + Sync {
    /// The plan as the device runs it.
    fn plan(&self) -> &Plan;

    /// Samples of one weight update.
    fn batch(&self) -> usize;

    /// Makes one weight update for every batch of samples that `order` names, in order, until `stop` is set. Returns the updates that
    /// were made. An order of a single update may be stopped within it: nothing is returned then, and the weights are half changed
    /// until [`Session::restore`]. [`Error::Usage`] when `order` names a sample that is not there.
    fn run_until<'a>(&'a mut self, order: &'a [u32], stop: &'a AtomicBool) -> Pending<'a, Option<usize>>;

    /// As [`Session::run_until`] without a stop; returns the seconds it took by the device's own clock, where it has one.
    fn run_timed<'a>(&'a mut self, order: &'a [u32]) -> Pending<'a, Option<f64>>;

    /// Makes one weight update on a batch that is given as arrays, [batch, n] for each fed slot. They are neither scaled nor changed.
    /// Shapes were checked.
    fn step<'a>(&'a mut self, feeds: &'a [(SlotId, ArrayView2<'a, f32>)]) -> Pending<'a, ()>;

    /// The output for inputs that are given as numbers: [samples, n^0] for what the input layer sends, [samples, n^lmax]. Shapes were
    /// checked.
    fn predict<'a>(&'a mut self, inputs: &'a Array2<f32>) -> Pending<'a, Array2<f32>>;

    /// Predicts every sample of a set, and counts errors and energy; nothing where `stop` was set before it was done.
    /// [`Error::Limit`] when there is no memory for a first evaluation.
    fn score_until<'a>(&'a mut self, set: Set, stop: &'a AtomicBool) -> Pending<'a, Option<Score>>;

    /// The weights.
    fn weights(&self) -> Pending<'_, Weights>;

    /// The first layer l whose θ^l or b^l holds a NaN or infinity, and which of them it is.
    fn not_finite(&self) -> Pending<'_, Option<(usize, &'static str)>>;

    /// What a slot held at the end of the last update: [batch, n] (of a grid the units of all places, place after place), [batch, 1]
    /// for one value per sample, [1, n] for one per unit, and [n_to, n_from] for connections. Nothing for one that is kept nowhere.
    /// Only slots that are [observed](crate::plan::Slot::observed) are sure to hold what the plan says last.
    fn slot(&self, slot: SlotId) -> Pending<'_, Option<Array2<f64>>>;

    /// Everything that lasts from update to update: weights, feedback weights, state of an optimiser. The state of units that lasts in
    /// a stream ([`Plan::streaming`]) is not of it.
    fn lasting(&self) -> Pending<'_, Vec<SavedSlot>>;

    /// What each training example has for itself, [samples, n] of each such slot in the plan's order.
    fn examples(&self) -> Pending<'_, Vec<Array2<f32>>>;

    /// Replaces the weights, and forgets what was saved.
    fn load(&mut self, weights: &Weights);

    /// Puts values into slots that last, found by name and place; those that the plan does not have, or of another shape, are left
    /// aside. What was saved stays.
    fn put(&mut self, kept: &[SavedSlot]);

    /// Puts back what examples have for themselves; what has another shape is left aside.
    fn put_examples(&mut self, values: &[Array2<f32>]);

    /// Keeps a copy of what lasts on the device, for [`Session::restore`].
    fn save(&mut self);

    /// Goes back to the last [`Session::save`].
    fn restore(&mut self);

    /// Weight updates made so far.
    fn updates(&self) -> u64;

    /// Goes on counting from so many updates: what changes over a run goes on from there.
    fn set_updates(&mut self, updates: u64);

    /// Submissions made so far: none on the CPU.
    fn submissions(&self) -> u64 {
        0
    }

    /// The tiles of an update's matrix products: none on the CPU.
    fn tiles(&self) -> &[TileUse] {
        &[]
    }

    /// For what only one kind of session has.
    fn as_any(&self) -> &dyn Any;

    /// The same, to be changed.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Bytes that the host has beside a session: the weights that it begins with; or what lasts, of one that `trains`, as a
/// checkpoint has it, where that is more.
fn host_bytes(plan: &Plan, trains: bool) -> u64 {
    let weights = 4 * plan.parameters();
    let numbers = |home| match home {
        Domain::Connections(p) => {
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
    plan.slots.iter().enumerate().filter(|(_, slot)| slot.persistent).filter_map(|(s, slot)| match slot.home {
        Domain::Connections(at) | Domain::Vector(at) | Domain::BatchScalar(at) => {
            Some((SlotId(s), plan.key(SlotId(s)), at))
        }
        _ => None,
    })
}

/// What of `kept` belongs into a slot, if its shape is right.
fn kept_for<'a>(plan: &Plan, slot: SlotId, key: &str, at: usize, kept: &'a [SavedSlot]) -> Option<&'a SavedSlot> {
    let shape = match plan.slot(slot).home {
        Domain::Connections(p) => {
            let of = &plan.projections[p];
            (plan.populations[of.to].n, plan.populations[of.from].n)
        }
        home => (1, plan.extent(home)),
    };
    kept.iter().find(|k| k.key == key && k.at == at && k.numbers.dim() == shape)
}

/// Checks what every back end is given; the plan as devices run it.
fn runnable(plan: &Plan, batch: usize) -> Result<Cow<'_, Plan>> {
    check_batch(batch)?;
    plan.check()?;
    if plan.streaming && batch != 1 {
        let rule = &plan.task.rule;
        return Err(Error::usage(format!(
            "--rule {rule} simulates one stream in time: batches are of 1, and not of {batch}"
        )));
    }
    let carried = plan.carried()?;
    if let Cow::Owned(plan) = &carried {
        plan.check()?;
    }
    Ok(carried)
}

/// Refuses weights that are not those of a plan.
fn check_weights(plan: &Plan, weights: &Weights) -> Result<()> {
    if plan.takes(weights) {
        return Ok(());
    }
    Err(Error::usage(format!("these weights are not those of a network {}", plan.task.network)))
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

/// What a slot that lasts holds, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSlot {
    /// The key of the slot's family.
    pub key: &'static str,
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
