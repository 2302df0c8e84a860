//! Devices: back ends compile plans, and sessions train with what was compiled.
//!
//! A back end knows kernels and no learning rule. [`Backend::compile`] lowers a [`Plan`] once and checks limits and memory.
//! A session of the result runs thousands of weight updates and lowers nothing. Calls that may wait for a device return a
//! future ([`Pending`]); [`Device`] and [`BlockingSession`] block on it.

mod blocking;
pub mod cpu;
pub mod gpu;

pub use blocking::{BlockingSession, Device};

use crate::data::{Data, Dataset, Set};
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

/// The result of a call that may wait for the device. The CPU completes it at once.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + 'a>>;

/// A future that is complete already.
pub(crate) fn ready<'a, T: 'a>(answer: Result<T>) -> Pending<'a, T> {
    Box::pin(std::future::ready(answer))
}

/// A data set in the form that a back end uses, for example in GPU memory.
#[derive(Clone)]
pub struct Resident(Arc<dyn Any + Send + Sync>);

impl Resident {
    /// Wraps a back end's own representation of a data set.
    pub fn new<T: Any + Send + Sync>(data: Arc<T>) -> Resident {
        Resident(data)
    }

    /// The representation given to [`Resident::new`].
    ///
    /// # Errors
    /// [`Error::Usage`] when it is that of another kind of back end.
    pub fn get<T: Any + Send + Sync>(&self) -> Result<Arc<T>> {
        let data = Arc::clone(&self.0).downcast::<T>();
        data.map_err(|_| Error::usage("the data set was uploaded to another device"))
    }
}

/// How a plan will be run; the memory estimate depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Samples of one weight update.
    pub batch: usize,
    /// Whether evaluations and checkpoints are needed besides the updates.
    pub trains: bool,
    /// Bytes of the checkpoint's arrays that the host already holds.
    pub held: u64,
}

impl Usage {
    /// Updates with mini-batches of `batch` samples, and nothing else.
    pub fn updates(batch: usize) -> Usage {
        Usage { batch, trains: false, held: 0 }
    }

    /// Training, with evaluations and checkpoints.
    pub fn training(batch: usize) -> Usage {
        Usage { batch, trains: true, held: 0 }
    }
}

/// A device that compiles and runs plans.
pub trait Backend: Send + Sync {
    /// The name shown in reports.
    fn name(&self) -> String;

    /// `cpu` or `gpu`.
    fn kind(&self) -> &'static str;

    /// GPU: driver and version, with the precision unless it is float32. CPU: thread count and vector unit.
    fn driver(&self) -> String;

    /// Whether it is a software GPU, whose timings say nothing about real GPUs.
    fn software(&self) -> bool {
        false
    }

    /// Whether the device can be lost and reopened.
    fn can_be_lost(&self) -> bool {
        false
    }

    /// Opens the same device again after it was lost: [`Error::NoDevice`] when it is gone or cannot be opened.
    fn reopen(&self) -> Pending<'_, Device>;

    /// Makes a data set available to the device: [`Error::Limit`] or [`Error::Gpu`] when it does not fit.
    fn upload(&self, data: &Arc<Data>) -> Result<Resident>;

    /// Lowers a plan and checks limits and memory, before any memory is allocated for weights. [`Error::Limit`] says what is needed
    /// and what is available. [`Error::Usage`] for a plan or a batch size that the device cannot run.
    fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>>;

    /// Access to the concrete back end.
    fn as_any(&self) -> &dyn Any;
}

/// A plan that a back end has lowered.
pub trait Compiled: Send + Sync {
    /// The plan as the device runs it, with the operations that lowering added.
    fn plan(&self) -> &Plan;

    /// Starts training on a data set from `weights`. The host already holds `held` bytes of the checkpoint's arrays, `weights`
    /// included. [`Error::Limit`] when memory is insufficient; [`Error::Usage`] and [`Error::Data`] when data or weights do not
    /// match the plan; [`Error::Gpu`] when the device fails.
    fn session(&self, data: &Resident, weights: &Weights, held: u64) -> Result<Box<dyn Session>>;
}

/// A network in training on a device. A failing device gives [`Error::Gpu`]; methods list only their other errors.
pub trait Session: Send + Sync {
    /// The plan as the device runs it, with the operations that lowering added.
    fn plan(&self) -> &Plan;

    /// Samples of one weight update.
    fn batch(&self) -> usize;

    /// Runs one weight update per mini-batch of `order` (sample indices), in order, until `stop` is set. Returns the number of
    /// updates completed. If `order` is a single mini-batch, `stop` also interrupts the update itself: the result is then `None`, and
    /// the weights are partly updated until [`Session::restore`]. [`Error::Usage`] when `order` contains an invalid sample index.
    fn run_until<'a>(&'a mut self, order: &'a [u32], stop: &'a AtomicBool) -> Pending<'a, Option<usize>>;

    /// As [`Session::run_until`] without `stop`. Returns the seconds by the device's clock, or `None` if it has no clock.
    fn run_timed<'a>(&'a mut self, order: &'a [u32]) -> Pending<'a, Option<f64>>;

    /// Runs one weight update on a batch given as arrays, [batch, n] for each fed slot. The values are used as given: no scaling,
    /// no augmentation. The caller has checked the shapes.
    fn step<'a>(&'a mut self, feeds: &'a [(SlotId, ArrayView2<'a, f32>)]) -> Pending<'a, ()>;

    /// The outputs, [samples, n^0], for inputs [samples, n^lmax] in the form that the input layer sends. The caller has checked the
    /// shapes.
    fn predict<'a>(&'a mut self, inputs: &'a Array2<f32>) -> Pending<'a, Array2<f32>>;

    /// Predicts every sample of a set, and sums errors and energy. `None` if `stop` was set before the end. [`Error::Limit`]
    /// when there is no memory for the first evaluation.
    fn score_until<'a>(&'a mut self, set: Set, stop: &'a AtomicBool) -> Pending<'a, Option<Score>>;

    /// The weights.
    fn weights(&self) -> Pending<'_, Weights>;

    /// The first layer l whose θ^l or b^l holds a NaN or infinity, and which of the two it is.
    fn not_finite(&self) -> Pending<'_, Option<(usize, &'static str)>>;

    /// The values of a slot at the end of the last update. Shapes: [batch, n] per sample and unit (for a grid
    /// [batch, positions · n], position by position), [batch, 1] per sample, [1, n] per unit, [n_to, n_from] for connections.
    /// `None` for a slot that is not stored. Only slots that are [observed](crate::plan::Slot::observed) are guaranteed to hold the
    /// final value of the plan.
    fn slot(&self, slot: SlotId) -> Pending<'_, Option<Array2<f64>>>;

    /// All persistent slots: weights, feedback weights and optimiser state. The persistent state of units in a stream
    /// ([`Plan::streaming`]) is not included.
    fn persistent(&self) -> Pending<'_, Vec<SavedSlot>>;

    /// The slots that are kept per training example, [samples, n] each, in the order of the plan.
    fn examples(&self) -> Pending<'_, Vec<Array2<f32>>>;

    /// Replaces the weights, resets all other persistent slots to their initial values (slots kept per training example stay).
    /// [`Session::restore`] then returns to this state.
    fn load(&mut self, weights: &Weights);

    /// Sets persistent slots, which are found by key and index. Entries that the plan does not have, or that have another shape,
    /// are ignored. The saved copy stays.
    fn put(&mut self, kept: &[SavedSlot]);

    /// Sets the slots that are kept per training example. Arrays of another shape are ignored.
    fn put_examples(&mut self, values: &[Array2<f32>]);

    /// Copies the persistent slots on the device, for [`Session::restore`].
    fn save(&mut self);

    /// Returns to the state of the last [`Session::save`].
    fn restore(&mut self);

    /// Weight updates completed.
    fn updates(&self) -> u64;

    /// Sets the count of completed updates. Schedules and random streams continue from it.
    fn set_updates(&mut self, updates: u64);

    /// Command buffer submissions so far: 0 on the CPU.
    fn submissions(&self) -> u64 {
        0
    }

    /// The tiles of an update's matrix products: empty on the CPU.
    fn tiles(&self) -> &[TileUse] {
        &[]
    }

    /// Access to the concrete session.
    fn as_any(&self) -> &dyn Any;

    /// Mutable access to the concrete session.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

/// Host bytes needed besides a session: the initial weights or, if it `trains`, all persistent slots for a checkpoint, whichever is
/// larger.
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
    let kept = || persistent_slots(plan).map(|(slot, ..)| 4 * numbers(plan.slot(slot).home)).sum();
    if trains { weights.max(kept()) } else { weights }
}

/// The persistent slots of a plan, each with its key and the index of its population or projection.
fn persistent_slots(plan: &Plan) -> impl Iterator<Item = (SlotId, &'static str, usize)> + '_ {
    plan.slots.iter().enumerate().filter(|(_, slot)| slot.persistent).filter_map(|(s, slot)| match slot.home {
        Domain::Connections(at) | Domain::Vector(at) | Domain::BatchScalar(at) => {
            Some((SlotId(s), plan.key(SlotId(s)), at))
        }
        _ => None,
    })
}

/// The entry of `kept` for this slot, if it has the slot's shape.
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

/// Checks that hold for every back end. Returns the plan as devices run it, with im2col and pooling as separate operations.
fn runnable(plan: &Plan, batch: usize) -> Result<Cow<'_, Plan>> {
    check_batch(batch)?;
    plan.check()?;
    if plan.streaming && batch != 1 {
        let rule = &plan.task.rule;
        return Err(Error::usage(format!(
            "--rule {rule} simulates a single stream in time, so --batch must be 1; {batch} given"
        )));
    }
    let carried = plan.carried()?;
    if let Cow::Owned(plan) = &carried {
        plan.check()?;
    }
    Ok(carried)
}

/// Refuses weights whose shapes differ from the plan's.
fn check_weights(plan: &Plan, weights: &Weights) -> Result<()> {
    if plan.takes(weights) {
        return Ok(());
    }
    Err(Error::usage(format!("the shapes of these weights do not match the network {}", plan.task.network)))
}

/// The next chunk size, after `done` of `chunk` items took `took`, such that one chunk takes about `target`. A last, incomplete
/// chunk is too short to measure and changes nothing.
pub(crate) fn next_chunk(chunk: usize, done: usize, took: Duration, target: Duration, most: usize) -> usize {
    if done < chunk && took < target {
        return chunk;
    }
    let ratio = (target.as_secs_f64() / took.as_secs_f64().max(1e-6)).clamp(0.25, 4.0);
    ((done as f64 * ratio) as usize).clamp(1, most)
}

/// The largest mini-batch.
pub const MAX_BATCH: usize = 1 << 20;

/// A stop flag that is never set.
pub(crate) static NEVER: AtomicBool = AtomicBool::new(false);

/// The flag that may interrupt an update before it is complete. An order of several updates is not interrupted within one:
/// each is short, and the updates before it would be lost.
fn stop_within<'a>(order: &[u32], batch: usize, stop: &'a AtomicBool) -> &'a AtomicBool {
    if order.len() < 2 * batch { stop } else { &NEVER }
}

/// Refuses a batch size of 0 or above [`MAX_BATCH`].
///
/// # Errors
/// [`Error::Usage`].
pub fn check_batch(batch: usize) -> Result<()> {
    if batch == 0 || batch > MAX_BATCH {
        return Err(Error::usage(format!("--batch must lie in 1 to {MAX_BATCH}; {batch} given")));
    }
    Ok(())
}

/// A host copy of a persistent slot.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSlot {
    /// The key of the slot's family.
    pub key: &'static str,
    /// The index of its population or projection.
    pub at: usize,
    /// [n_to, n_from] for connections, [1, n] per unit, [1, 1] for a batch scalar.
    pub numbers: Array2<f32>,
    /// The biases beside connections, `[n_to]`, if their units have biases.
    pub bias: Option<Array1<f32>>,
}

/// Errors and energy of a network on a set.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Score {
    /// Samples evaluated.
    pub samples: u64,
    /// Samples whose largest output is not at their label; 0 for real targets.
    pub errors: u64,
    /// The loss, summed over samples: ½ Σ_i (target_i − μ^0_i)², or the cross-entropy, as the plan's loss has it.
    pub energy: f64,
    /// What the error of real targets is measured by; `None` for labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regression: Option<Regression>,
}

/// What the error of real targets is measured by.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Regression {
    /// Target columns.
    pub columns: u64,
    /// Σ (target − mean)² over samples and columns, with the mean of each column.
    pub spread: f64,
}

impl Regression {
    /// That of a set with real targets.
    pub(crate) fn of(set: &Dataset) -> Option<Regression> {
        set.spread().map(|spread| Regression { columns: set.classes() as u64, spread })
    }
}

impl Score {
    /// Fraction of misclassified samples, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.samples.max(1) as f64
    }

    /// What a training lowers: the fraction of misclassified samples, or the mean squared error of real targets.
    pub fn error(&self) -> f64 {
        match self.regression {
            None => self.error_rate(),
            Some(Regression { columns, .. }) => 2.0 * self.energy / (self.samples * columns).max(1) as f64,
        }
    }

    /// R² of real targets, 1 − Σ (target − μ)² / Σ (target − mean)², pooled over the columns. Without any spread it is 1 for exact
    /// outputs, otherwise 0.
    pub fn r2(&self) -> Option<f64> {
        self.regression.map(|Regression { spread, .. }| match 2.0 * self.energy {
            squares if spread > 0.0 => 1.0 - squares / spread,
            squares => f64::from(u8::from(squares == 0.0)),
        })
    }

    /// Energy per sample.
    pub fn mean_energy(&self) -> f64 {
        self.energy / self.samples.max(1) as f64
    }
}
