//! The CPU device. It runs the same kind of lowered program as the GPU, with CPU kernels.
//!
//! Where to start reading: `update.rs` runs one weight update, `job.rs` one job of a launch. `product.rs` has the
//! matrix products. `epilogue.rs` applies the epilogue of a job to the result: with a fused kernel of
//! `fused_kernels.rs` if one matches, otherwise with the expression evaluator of `evaluate.rs`. `change.rs` sums weight
//! changes over the mini-batch.
//!
//! A session allocates all its memory at the start; an update allocates nothing.

mod activation;
mod change;
mod element;
mod epilogue;
mod eval;
mod evaluate;
mod examples;
mod fixed_maps;
mod fused_kernels;
mod gather;
mod job;
mod limits;
mod math;
mod matrix;
mod parallel;
mod parallel_tuning;
mod product;
mod score;
mod speculative;
mod storage;
mod thread_pool;
mod update;
mod vector;
mod weight_matrix;

use crate::data::{Data, Set, Targets};
use crate::device::{
    Backend, Compiled, Device, NEVER, Pending, Regression, Resident, SavedSlot, Score, Usage, check_weights,
    host_bytes, kept_for, persistent_slots, ready, runnable, stop_within,
};
use crate::error::{Error, Result};
use crate::files::counted;
use crate::lower::{Limits, Look, Merging, Place, Program, Work};
use crate::memory;
use crate::plan::augment::Augment;
use crate::plan::expr::{ParamId, SlotId};
use crate::plan::{Direction, Domain, Initial, Plan, Weights};
use crate::random::Counter;
pub use activation::activate;
use eval::Eval;
use examples::Examples;
use fused_kernels::Kernels;
use gather::Changed;
use job::{CpuLaunch, Shared};
use limits::{Lowered, SMALLER, check_sizes, eval_bytes, training};
pub use limits::{model, threads_of};
use matrix::Matrix;
use ndarray::{Array1, Array2, ArrayView2, Axis, CowArray, Ix2};
use parallel::Parallel;
use parallel_tuning::ParallelTuning;
use speculative::Speculative;
use std::any::Any;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use storage::{Index, Shard};
use thread_pool::ThreadPool;
use update::{Phase, Update, run_per_sample, stages};
use weight_matrix::{SMALL, WeightMatrix};

/// Batch size of evaluation.
const EVAL_BATCH: usize = 256;
/// What a launch may contain on this device. Rust never contracts a multiplication and an addition to an FMA, so kernel
/// fusion does not change rounding.
const LIMITS: Limits =
    Limits { merging: Merging::Harmless, names: usize::MAX, leaves: job::MAX_LEAVES, writes: parallel::MAX_WRITES };

/// The CPU, with its thread pool.
#[derive(Clone)]
pub struct CpuDevice {
    pool: Arc<ThreadPool>,
}

impl CpuDevice {
    /// A device with `threads` threads. `None` means one per core, or fewer if the address space is limited.
    ///
    /// # Errors
    /// [`Error::Usage`] when the count is zero or too large, or the threads cannot be started; [`Error::Limit`] when they cannot be
    /// started for lack of memory.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let asked = threads.is_some();
        let threads = threads_of(threads)?;
        // Results do not depend on the thread count, so it may be reduced.
        let threads = if asked { threads } else { memory::threads(threads) };
        let pool = ThreadPool::new(threads).map_err(|e| memory::no_threads(threads, &e))?;
        Ok(CpuDevice { pool: Arc::new(pool) })
    }

    /// Number of threads, the calling thread included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// The vector instruction set that kernels run with.
    pub fn simd() -> String {
        // pulp prints a level (V4, V3, Neon, Scalar …) followed by its feature tokens.
        let name = format!("{:?}", pulp::Arch::new());
        match name.split(['(', ' ', '{']).next().unwrap_or_default() {
            "V4" => "AVX-512".into(),
            "V3" => "AVX2 + FMA".into(),
            other => other.to_owned(),
        }
    }

    /// A description of the matrix products, for reports.
    pub fn products() -> &'static str {
        "zilch register tiles over panels of 32 columns"
    }

    /// Checks and lowers a plan; `evaluated` makes the evaluator run every epilogue.
    fn lower(&self, plan: &Plan, batch: usize, evaluated: bool) -> Result<Arc<Lowered>> {
        Ok(Arc::new(Lowered::new(&*runnable(plan, batch)?, evaluated)))
    }

    /// A float32 session that trains with `plan` on `data`.
    ///
    /// # Errors
    /// [`Error::Limit`] when it needs more memory than is available; [`Error::Usage`] and [`Error::Data`] when plan, batch size, weights
    /// and data do not match.
    pub fn session(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession> {
        CpuSession::new(self, self.lower(plan, batch, false)?, batch, data, weights)
    }

    /// As [`CpuDevice::session`] in float64; the reference for tests.
    ///
    /// # Errors
    /// As [`CpuDevice::session`].
    pub fn session_f64(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession64> {
        CpuSession64::new(self, self.lower(plan, batch, false)?, batch, data, weights)
    }

    /// As [`CpuDevice::session`], but the evaluator runs every epilogue. Tests compare the fused kernels with it.
    ///
    /// # Errors
    /// As [`CpuDevice::session`].
    pub fn session_evaluated(
        &self,
        plan: &Plan,
        batch: usize,
        data: Arc<Data>,
        weights: &Weights,
    ) -> Result<CpuSession> {
        CpuSession::new(self, self.lower(plan, batch, true)?, batch, data, weights)
    }

    /// Runs one update of a new session on the first `batch` samples. Calls `look` after each of the moments `looks`
    /// with the values of the unit slots `seen`; `None` for a slot that the update does not store. `looks` are indices
    /// in ascending order, of moments that run once.
    ///
    /// # Errors
    /// As [`CpuDevice::session`].
    pub(crate) fn update_looked_at(
        &self,
        plan: &Plan,
        (batch, data, weights): (usize, &Arc<Data>, &Weights),
        (looks, seen): (&[usize], &[SlotId]),
        look: &mut dyn FnMut(Vec<Option<Array2<f64>>>),
    ) -> Result<()> {
        // `runnable` inserts explicit fixed maps. Moments and slots of the rule's plan keep their indices.
        let lowered = Arc::new(Lowered::looked_at(&*runnable(plan, batch)?, looks, seen));
        let mut session = CpuSession::new(self, lowered, batch, Arc::clone(data), weights)?;
        let _awake = self.pool.wake(self.threads());
        let order: Vec<u32> = (0..batch as u32).collect();
        session.update_batch(Some((&order[..], &[][..])), true, &NEVER, look);
        Ok(())
    }
}

impl Backend for CpuDevice {
    fn name(&self) -> String {
        model()
    }

    fn kind(&self) -> &'static str {
        "cpu"
    }

    fn driver(&self) -> String {
        format!("{}, {}", counted(self.threads(), "thread"), CpuDevice::simd())
    }

    fn reopen(&self) -> Pending<'_, Device> {
        ready(Ok(Device::from(self.clone())))
    }

    fn upload(&self, data: &Arc<Data>) -> Result<Resident> {
        Ok(Resident::new(Arc::clone(data)))
    }

    fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>> {
        let lowered = self.lower(plan, run.batch, false)?;
        let session = lowered.bytes::<f32>(run.batch, 0, self.threads());
        let eval = if run.trains { eval_bytes::<f32>(&lowered, self.threads()) } else { 0 };
        // The host holds either the initial weights or the copy of a checkpoint, never both.
        let host = host_bytes(&lowered.plan, run.trains).saturating_sub(run.held);
        let needed = session.saturating_add(eval).saturating_add(host);
        memory::check(|| training(&lowered.plan, run.batch), needed, SMALLER)?;
        Ok(Arc::new(CpuCompiled { device: self.clone(), lowered, batch: run.batch }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A plan compiled for the CPU.
struct CpuCompiled {
    device: CpuDevice,
    lowered: Arc<Lowered>,
    batch: usize,
}

impl Compiled for CpuCompiled {
    fn plan(&self) -> &Plan {
        &self.lowered.plan
    }

    fn session(&self, data: &Resident, weights: &Weights, held: u64) -> Result<Box<dyn crate::device::Session>> {
        let (data, lowered) = (data.get::<Data>()?, Arc::clone(&self.lowered));
        let bytes = lowered.bytes::<f32>(self.batch, data.train.len(), self.device.threads());
        // A checkpoint needs memory for all persistent slots, after the `held` bytes are released.
        let kept = host_bytes(&lowered.plan, true);
        let needed = bytes.saturating_add(kept.saturating_sub(held));
        memory::check(|| training(&lowered.plan, self.batch), needed, SMALLER)?;
        let session = CpuSession::new(&self.device, lowered, self.batch, data, weights)?;
        Ok(Box::new(CpuSession { kept, ..session }))
    }
}

/// Training session in float32.
pub type CpuSession = Session<f32>;
/// Training session in float64.
pub type CpuSession64 = Session<f64>;

/// A network in training on the CPU.
#[allow(private_bounds, reason = "the two precisions are a closed set, named by CpuSession and CpuSession64")]
pub struct Session<T: Kernels> {
    /// All threads, for kernels that are split over the pool.
    exec: Parallel,
    /// The calling thread only, for kernels on one shard.
    serial: Parallel,
    pool: Arc<ThreadPool>,
    /// The compiled plan, used for updates and for evaluation.
    lowered: Arc<Lowered>,
    plan: Plan,
    last: Vec<Place>,
    index: Index,
    stages: Vec<Phase<T>>,
    /// Observation points: the number of stages after which to observe, and the places to read.
    looks: Vec<(usize, Vec<Place>)>,
    /// The speculative program, which is tried before the general one.
    speculative: Option<Speculative<T>>,
    batch: usize,
    data: Arc<Data>,
    /// Channels, rows and columns of the data set's images.
    grid: [usize; 3],
    /// The mini-batch. A small network has one shard per thread, and threads synchronise only for weight changes and other operations
    /// across samples. A larger network has a single shard, and each kernel is split over the threads.
    shards: Vec<Shard<T>>,
    tuning: ParallelTuning,
    state: State<T>,
    /// The state at the last [`Session::save`].
    saved: State<T>,
    saved_updates: u64,
    updates: u64,
    /// The values of the plan's parameters at the last update.
    params: Vec<T>,
    /// Scratch for the bias gradient Σ_batch ε, [1, n].
    sums: Matrix<T>,
    /// The slots that are kept per training example.
    examples: Vec<Examples<T>>,
    /// Buffers for evaluation, allocated at the first one.
    eval: Option<Eval<T>>,
    /// Host bytes that must stay free for checkpoints.
    kept: u64,
}

/// Persistent slots and other slots without a sample axis, by [`Index`].
#[derive(Clone)]
struct State<T> {
    connections: Vec<WeightMatrix<T>>,
    vectors: Vec<Matrix<T>>,
}

#[allow(private_bounds, reason = "the two precisions are a closed set, named by CpuSession and CpuSession64")]
impl<T: Kernels> Session<T> {
    fn new(
        device: &CpuDevice,
        lowered: Arc<Lowered>,
        batch: usize,
        data: Arc<Data>,
        weights: &Weights,
    ) -> Result<Self> {
        let Lowered { plan, program, speculation, all, evaluated, looks, .. } = &*lowered;
        check_weights(plan, weights)?;
        data.fits(plan)?;
        plan.check_kind(data.train.kind())?;
        let samples = data.train.len();
        let grid =
            plan.images().map_or(Ok([1; 3]), |(_, images)| images.augment.grid(data.train.form(), images.form))?;
        let needed = lowered.bytes::<T>(batch, samples, device.threads());
        memory::check(|| training(plan, batch), needed, SMALLER)?;
        check_sizes(plan, program)?;
        let index = Index::new(all);
        let parts = parts(plan, batch, device.threads());
        let examples = examples::examples(plan, &index, samples);
        let shards: Vec<_> = parts.into_iter().map(|part| Shard::new(plan, all, &index, part)).collect();
        let backward = backward(plan, all);
        let state = State::new(plan, &backward, &index, weights);
        let widest = plan.populations.iter().map(|p| p.n).max().unwrap_or(1);
        let (mut all_stages, mut seen, mut done) = (Vec::new(), Vec::new(), 0);
        for Look { passes, places } in looks {
            all_stages.extend(stages(plan, &program.passes[done..*passes], &index, *evaluated));
            seen.push((all_stages.len(), places.clone()));
            done = *passes;
        }
        all_stages.extend(stages(plan, &program.passes[done..], &index, *evaluated));
        Ok(Session {
            exec: Parallel::on_pool(&device.pool, if shards.len() > 1 { shards.len() } else { device.threads() }),
            serial: Parallel::serial(),
            pool: Arc::clone(&device.pool),
            plan: plan.clone(),
            stages: all_stages,
            looks: seen,
            speculative: speculation.as_ref().map(|speculation| Speculative::new(speculation, &index)),
            last: program.last.clone(),
            index,
            batch,
            data,
            grid,
            shards,
            tuning: ParallelTuning::new(),
            saved: state.clone(),
            state,
            saved_updates: 0,
            updates: 0,
            params: vec![T::ZERO; plan.params.len().max(1)],
            sums: Matrix::zeros(1, widest),
            examples,
            eval: None,
            kept: 0,
            lowered,
        })
    }

    /// Runs one weight update per `batch` samples of `order`, in order.
    ///
    /// # Panics
    /// When `order` contains an index beyond the training set.
    pub fn run(&mut self, order: &[u32]) {
        self.run_until(order, &NEVER);
    }

    /// As [`Session::run`], until `stop` is set; see [`crate::device::Session::run_until`].
    ///
    /// # Panics
    /// As [`Session::run`].
    pub(crate) fn run_until(&mut self, order: &[u32], stop: &AtomicBool) -> Option<usize> {
        let mut completed = 0;
        let within = stop_within(order, self.batch, stop);
        let pool = Arc::clone(&self.pool);
        // A large network always uses all threads. For a small network, `ParallelTuning` measures whether several
        // threads are faster than one.
        let small = self.shards.len() > 1;
        let mut awake = None;
        let mut rest = order;
        while rest.len() >= self.batch {
            let shared = self.tuning.shared;
            let threads = if shared { self.exec.threads() } else { 1 };
            if awake.as_ref().is_none_or(|(were, _)| *were != threads) {
                awake = Some((threads, pool.wake(threads)));
            }
            let updates = if small { self.tuning.left() } else { usize::MAX }.min(rest.len() / self.batch);
            let (now, later) = rest.split_at(updates * self.batch);
            let start = Instant::now();
            for (i, samples) in now.chunks_exact(self.batch).enumerate() {
                let next = rest.get((i + 1) * self.batch..(i + 2) * self.batch).unwrap_or_default();
                if stop.load(Ordering::Relaxed) {
                    return Some(completed);
                }
                if !self.update(samples, next, shared, within) {
                    return None;
                }
                completed += 1;
            }
            if small {
                self.tuning.record(updates, start.elapsed());
            }
            rest = later;
        }
        Some(completed)
    }

    /// Refuses an order with an index beyond the training set.
    pub(crate) fn check_order(&self, order: &[u32]) -> Result<()> {
        let samples = self.data.train.len();
        match order.iter().find(|&&s| s as usize >= samples) {
            Some(bad) => {
                Err(Error::usage(format!("sample index {bad} is out of range: the set has {samples} samples")))
            }
            None => Ok(()),
        }
    }

    /// One weight update on `samples`. `next` are the samples of the following update, for prefetching. Returns `false`
    /// if `stop` was set before the end.
    fn update(&mut self, samples: &[u32], next: &[u32], shared: bool, stop: &AtomicBool) -> bool {
        self.examples.iter().for_each(|examples| examples.put(samples, &mut self.shards));
        let completed = self.update_batch(Some((samples, next)), shared, stop, &mut |_| {});
        if completed {
            self.examples.iter_mut().for_each(|examples| examples.take(samples, &self.shards));
        }
        completed
    }

    /// One update on a batch that is gathered from `order`, or already in its slots (`None`). `look` gets the values at each
    /// observation point.
    fn update_batch(
        &mut self,
        order: Option<(&[u32], &[u32])>,
        shared: bool,
        stop: &AtomicBool,
        look: &mut dyn FnMut(Vec<Option<Array2<f64>>>),
    ) -> bool {
        let Session {
            exec,
            serial,
            plan,
            stages,
            looks,
            speculative,
            data,
            grid,
            shards,
            index,
            state,
            params,
            sums,
            updates,
            ..
        } = self;
        let augment = plan.images().map_or(Augment::NONE, |(_, images)| images.augment);
        let counter = Counter::new(plan.task.seed, *updates);
        for (i, param) in params.iter_mut().enumerate().take(plan.params.len()) {
            *param = T::from_f64(plan.value(ParamId(i), *updates + 1, self.batch));
        }
        let mut update = Update {
            exec: if shared { exec } else { serial },
            serial,
            plan,
            data: &data.train,
            input: index.of(Place { slot: plan.input(), half: 0 }),
            target: index.of(Place { slot: plan.target(), half: 0 }),
            order,
            changed: (!augment.is_none()).then_some(Changed { augment, grid: *grid, counter }),
            params,
            counter,
            normal: None,
            updates: *updates,
            stop,
        };
        *updates += 1;
        if let Some(speculative) = speculative
            && speculative.is_tried()
        {
            if !speculative.ahead.iter().all(|stage| update.stage(stage, shards, state, sums)) {
                return false;
            }
            if speculative.holds(shards) {
                return speculative.commit.iter().all(|stage| update.stage(stage, shards, state, sums));
            }
        }
        let mut done = 0;
        for (at, places) in looks {
            if !stages[done..*at].iter().all(|stage| update.stage(stage, shards, state, sums)) {
                return false;
            }
            look(places.iter().map(|place| units(plan, index, shards, *place)).collect());
            done = *at;
        }
        stages[done..].iter().all(|stage| update.stage(stage, shards, state, sums))
    }

    /// One weight update on a batch given as arrays: the activity s_in of the input layer, and the targets.
    ///
    /// # Panics
    /// When the shapes are not [batch, n^lmax] and [batch, n^0].
    pub fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) {
        self.step_fed(&[(self.plan.input(), inputs.view()), (self.plan.target(), targets.view())]);
    }

    /// As [`Session::step`], with one array per slot.
    fn step_fed(&mut self, feeds: &[(SlotId, ArrayView2<'_, f32>)]) {
        for &(slot, ref numbers) in feeds {
            let at = self.index.of(Place { slot, half: 0 });
            for shard in &mut self.shards {
                let rows = numbers.slice(ndarray::s![shard.samples.clone(), ..]);
                rows.outer_iter().enumerate().for_each(|(i, row)| shard.slots[at].fill_row(i, row));
            }
        }
        // Waking threads takes longer than the update of a small network.
        let shared = self.shards.len() == 1;
        let pool = Arc::clone(&self.pool);
        let _awake = pool.wake(if shared { pool.threads() } else { 1 });
        self.update_batch(None, shared, &NEVER, &mut |_| {});
    }

    /// Weight updates completed.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Sets the count of completed updates.
    pub(crate) fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    /// θ^l and b^l.
    fn theta(&self, l: usize) -> Option<&WeightMatrix<T>> {
        let slot = self.plan.theta(l)?;
        Some(&self.state.connections[self.index.of(Place { slot, half: 0 })])
    }

    /// The weights, rounded to float32.
    pub fn weights(&self) -> Weights {
        let all = || (1..=self.plan.matrices()).filter_map(|l| self.theta(l));
        let bias = all().filter_map(|c| c.bias.as_ref());
        Weights {
            theta: all().map(WeightMatrix::weights).collect(),
            bias: bias.map(|b| b.to_array().row(0).mapv(|v| v as f32)).collect(),
        }
    }

    /// θ^1, θ^2, … in float64, [n^{l−1}, n^l], and b^1, b^2, …
    pub fn weights_f64(&self) -> (Vec<Array2<f64>>, Vec<Array1<f64>>) {
        let all = || (1..=self.plan.matrices()).filter_map(|l| self.theta(l));
        let bias = all().filter_map(|c| c.bias.as_ref());
        (all().map(WeightMatrix::weights_f64).collect(), bias.map(|b| b.to_array().row(0).to_owned()).collect())
    }

    /// Replaces the weights and resets the other persistent slots; [`Session::restore`] then returns to this state.
    pub fn load(&mut self, weights: &Weights) {
        // Overwrites in place, because there may be no memory for a second copy.
        for (at, slot) in self.index.slots().iter().enumerate() {
            if let Domain::Connections(_) = self.plan.slot(*slot).home {
                let (w, b) = initial(&self.plan, *slot, weights);
                self.state.connections[at].fill(w.view(), b.as_deref());
            }
        }
        self.state.vectors.iter_mut().for_each(|vector| vector.data_mut().fill(T::ZERO));
        for (s, slot) in self.plan.slots.iter().enumerate().filter(|(_, slot)| slot.persistent && !slot.per_example) {
            let place = Place { slot: SlotId(s), half: 0 };
            if matches!(slot.home, Domain::Units(_)) && self.index.slots().contains(&place.slot) {
                let at = self.index.of(place);
                self.shards.iter_mut().for_each(|shard| shard.slots[at].data_mut().fill(T::ZERO));
            }
        }
        self.save();
    }

    /// Copies the weights and the other persistent slots, for [`Session::restore`].
    pub fn save(&mut self) {
        self.examples.iter_mut().for_each(Examples::save);
        self.saved.connections.clone_from(&self.state.connections);
        self.saved.vectors.clone_from(&self.state.vectors);
        self.saved_updates = self.updates;
        self.speculative.iter_mut().for_each(Speculative::save);
    }

    /// Returns to the state of the last [`Session::save`].
    pub fn restore(&mut self) {
        self.state.connections.clone_from(&self.saved.connections);
        self.state.vectors.clone_from(&self.saved.vectors);
        self.examples.iter_mut().for_each(Examples::restore);
        self.updates = self.saved_updates;
        self.speculative.iter_mut().for_each(Speculative::restore);
    }

    /// The first layer l whose θ^l or b^l holds a NaN or infinity, and which of the two it is.
    pub fn not_finite(&self) -> Option<(usize, &'static str)> {
        (1..=self.plan.matrices()).find_map(|l| match self.theta(l)?.finite() {
            (false, _) => Some((l, "the weights")),
            (_, false) => Some((l, "the biases")),
            _ => None,
        })
    }

    /// The values of a slot at the end of the last update; see [`crate::device::Session::slot`] for the shapes. `None` for a slot
    /// that the program does not store.
    pub fn slot(&self, slot: SlotId) -> Option<Array2<f64>> {
        let speculative = self.speculative.as_ref().filter(|speculative| speculative.held);
        let place = speculative.map_or(self.last[slot.0], |speculative| speculative.last[slot.0]);
        if !self.index.has(place) {
            return None;
        }
        let at = self.index.of(place);
        match self.plan.slot(slot).home {
            Domain::Connections(_) => Some(self.state.connections[at].weights_f64()),
            Domain::Vector(_) | Domain::BatchScalar(_) => Some(self.state.vectors[at].to_array()),
            Domain::Units(_) | Domain::Samples(_) => units(&self.plan, &self.index, &self.shards, place),
        }
    }

    /// See [`crate::device::Session::persistent`].
    pub fn persistent(&self) -> Vec<SavedSlot> {
        let kept = |(slot, key, at)| {
            let i = self.index.of(Place { slot, half: 0 });
            let row = |m: &Matrix<T>| m.to_array().mapv(|v| v as f32);
            match self.plan.slot(slot).home {
                Domain::Connections(_) => {
                    let of = &self.state.connections[i];
                    let bias = of.bias.as_ref().map(|b| row(b).row(0).to_owned());
                    SavedSlot { key, at, numbers: of.weights(), bias }
                }
                _ => SavedSlot { key, at, numbers: row(&self.state.vectors[i]), bias: None },
            }
        };
        persistent_slots(&self.plan).map(kept).collect()
    }

    /// See [`crate::device::Session::examples`].
    pub fn examples(&self) -> Vec<Array2<f32>> {
        self.examples.iter().map(Examples::numbers).collect()
    }

    /// See [`crate::device::Session::put_examples`].
    pub fn put_examples(&mut self, numbers: &[Array2<f32>]) {
        self.examples.iter_mut().zip(numbers).for_each(|(examples, numbers)| examples.fill(numbers));
    }

    /// See [`crate::device::Session::put`].
    pub fn put(&mut self, kept: &[SavedSlot]) {
        for (slot, key, at) in persistent_slots(&self.plan) {
            let Some(SavedSlot { numbers, bias, .. }) = kept_for(&self.plan, slot, key, at, kept) else { continue };
            let i = self.index.of(Place { slot, half: 0 });
            match self.plan.slot(slot).home {
                Domain::Connections(_) => {
                    self.state.connections[i].fill(numbers.view(), bias.as_ref());
                }
                _ => self.state.vectors[i] = Matrix::from_array(numbers.view()),
            }
        }
    }

    /// Numbers of jobs (with a fused kernel, evaluated): first of jobs on units, then of jobs on connections.
    pub fn kernels(&self) -> [(usize, usize); 2] {
        fn walk<T: Kernels>(stage: &Phase<T>, count: &mut [(usize, usize); 2]) {
            let mut launch = |launch: &CpuLaunch<T>| {
                for job in &launch.jobs {
                    let (by_hand, evaluated) =
                        &mut count[usize::from(matches!(job.about.home, Domain::Connections(_)))];
                    // A plain step θ ← fma(α, s, θ) is part of the product kernel.
                    *if job.epilogue.evaluated() && !job.is_step { evaluated } else { by_hand } += 1;
                }
            };
            match stage {
                Phase::PerSample(lists) => lists.iter().flat_map(|(_, l)| l).for_each(&mut launch),
                Phase::Combined(l) => launch(l),
                Phase::Repeat(_, stages) => stages.iter().for_each(|s| walk(s, count)),
            }
        }
        let mut count = [(0, 0); 2];
        self.stages.iter().for_each(|stage| walk(stage, &mut count));
        count
    }

    /// Refuses the first evaluation when there is no memory for it.
    pub(crate) fn check_score(&self) -> Result<()> {
        if self.eval.is_some() {
            return Ok(());
        }
        // Memory for a checkpoint must remain free after the evaluation buffers are allocated.
        let bytes = eval_bytes::<T>(&self.lowered, self.exec.threads()).saturating_add(self.kept);
        memory::check(|| format!("evaluating {} on the CPU", self.plan.task.network), bytes, SMALLER)
    }

    /// Predicts every sample of a set, and sums errors and energy.
    pub fn score(&mut self, set: Set) -> Score {
        self.score_until(set, &NEVER).unwrap_or_default()
    }

    /// As [`Session::score`], but returns `None` if `stop` was set before the end.
    pub(crate) fn score_until(&mut self, set: Set, stop: &AtomicBool) -> Option<Score> {
        let data = Arc::clone(&self.data);
        let set_of = data.set(set);
        let order: Vec<u32> = (0..set_of.len() as u32).collect();
        let held_to = self.plan.labels().map_or([0.0, 1.0], |(_, held_to)| held_to);
        let about = (self.plan.task.loss, held_to);
        let mut score = Score { regression: Regression::of(set_of), ..Score::default() };
        let done = self.predict(set, &order, stop, |eval, samples| {
            let mu = &eval.shard.slots[eval.output];
            match set_of.targets() {
                Targets::Labels(labels) => {
                    let labels = samples.iter().map(|&s| labels[s as usize]);
                    score::score(mu, labels, about, &mut score);
                }
                Targets::Values(values) => {
                    let values = samples.iter().map(|&s| values.row(s as usize));
                    score::score_values(mu, values, &mut score);
                }
            }
        });
        done.then_some(score)
    }

    /// The activities of each layer for these samples of a set, from the output to the last hidden layer: [samples, n^l] for
    /// l = 0, 1, …, lmax − 1. `None` for no samples, or if some layer stores no activity in the forward pass.
    pub fn activities(&mut self, set: Set, samples: &[u32]) -> Option<Vec<Array2<f64>>> {
        let sent = (1..self.plan.layers).map(|l| self.plan.sent(l));
        let slots = std::iter::once(Some(self.plan.output)).chain(sent).collect::<Option<Vec<SlotId>>>()?;
        let mut parts: Vec<Vec<Array2<f64>>> = vec![Vec::new(); slots.len()];
        self.predict(set, samples, &NEVER, |eval, samples| {
            for (part, slot) in parts.iter_mut().zip(&slots) {
                part.extend(eval.read(*slot, samples.len()));
            }
        });
        let whole = |part: Vec<Array2<f64>>| {
            let views: Vec<_> = part.iter().map(|part| part.view()).collect();
            ndarray::concatenate(Axis(0), &views).ok()
        };
        parts.into_iter().map(whole).collect()
    }

    /// The network's output for each row of inputs; see [`crate::device::Session::predict`].
    ///
    /// # Panics
    /// When the rows are not n^lmax wide.
    pub fn predictions(&mut self, inputs: &Array2<f32>) -> Array2<f32> {
        let mut outputs = Array2::zeros((inputs.nrows(), self.plan.outputs()));
        let batches =
            inputs.axis_chunks_iter(Axis(0), EVAL_BATCH).zip(outputs.axis_chunks_iter_mut(Axis(0), EVAL_BATCH));
        let put = |_: &Parallel, eval: &mut Eval<T>, (rows, _): &(ArrayView2<'_, f32>, _)| {
            let at = eval.at(eval.plan.input());
            rows.outer_iter().enumerate().for_each(|(i, row)| eval.shard.slots[at].fill_row(i, row));
        };
        self.evaluate(batches, put, &NEVER, |eval, (_, mut answers)| {
            let mu = &eval.shard.slots[eval.output];
            answers.indexed_iter_mut().for_each(|((i, j), answer)| *answer = mu.get(i, j).to_f64() as f32);
        });
        outputs
    }

    /// Predicts samples of a set, and calls `look` with each batch. Returns whether all were predicted before `stop` was set.
    fn predict(&mut self, set: Set, order: &[u32], stop: &AtomicBool, look: impl FnMut(&Eval<T>, &[u32])) -> bool {
        let data = Arc::clone(&self.data);
        let put = |exec: &Parallel, eval: &mut Eval<T>, samples: &&[u32]| {
            let at = (eval.at(eval.plan.input()), eval.at(eval.plan.target()));
            let Eval { plan, shard, .. } = eval;
            gather::gather(exec, data.set(set), (samples, &[]), plan, at, None, shard);
        };
        self.evaluate(order.chunks(EVAL_BATCH), put, stop, look)
    }

    /// Runs the forward pass of each batch: `put` fills the input, `look` reads the result. Returns `false` if `stop`
    /// was set before the end.
    fn evaluate<B>(
        &mut self,
        batches: impl Iterator<Item = B>,
        put: impl Fn(&Parallel, &mut Eval<T>, &B),
        stop: &AtomicBool,
        mut look: impl FnMut(&Eval<T>, B),
    ) -> bool {
        let lowered = &self.lowered;
        let eval = self.eval.get_or_insert_with(|| Eval::new(lowered));
        let pool = Arc::clone(&self.pool);
        let _awake = pool.wake(pool.threads());
        // Evaluation takes over the weights and vectors of the update. Their indices differ, because evaluation has its
        // own program.
        let state = State {
            connections: eval.take(&self.index, &mut self.state.connections),
            vectors: eval.take(&self.index, &mut self.state.vectors),
        };
        let mut done = true;
        for batch in batches {
            put(&self.exec, eval, &batch);
            let shared = Shared {
                connections: &state.connections,
                vectors: &state.vectors,
                params: &self.params,
                counter: Counter::evaluation(),
            };
            done = run_per_sample(&self.exec, &mut eval.shard, shared, &eval.launches, stop);
            if !done {
                break;
            }
            look(eval, batch);
        }
        eval.give(&self.index, state.connections, &mut self.state.connections);
        eval.give(&self.index, state.vectors, &mut self.state.vectors);
        done
    }
}

impl crate::device::Session for CpuSession {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn run_until<'a>(&'a mut self, order: &'a [u32], stop: &'a AtomicBool) -> Pending<'a, Option<usize>> {
        ready(self.check_order(order).map(|()| CpuSession::run_until(self, order, stop)))
    }

    fn run_timed<'a>(&'a mut self, order: &'a [u32]) -> Pending<'a, Option<f64>> {
        ready(self.check_order(order).map(|()| {
            self.run(order);
            None
        }))
    }

    fn step<'a>(&'a mut self, feeds: &'a [(SlotId, ArrayView2<'a, f32>)]) -> Pending<'a, ()> {
        self.step_fed(feeds);
        ready(Ok(()))
    }

    fn predict<'a>(&'a mut self, inputs: &'a Array2<f32>) -> Pending<'a, Array2<f32>> {
        ready(Ok(self.predictions(inputs)))
    }

    fn score_until<'a>(&'a mut self, set: Set, stop: &'a AtomicBool) -> Pending<'a, Option<Score>> {
        ready(self.check_score().map(|()| CpuSession::score_until(self, set, stop)))
    }

    fn weights(&self) -> Pending<'_, Weights> {
        ready(Ok(CpuSession::weights(self)))
    }

    fn not_finite(&self) -> Pending<'_, Option<(usize, &'static str)>> {
        ready(Ok(CpuSession::not_finite(self)))
    }

    fn slot(&self, slot: SlotId) -> Pending<'_, Option<Array2<f64>>> {
        ready(Ok(CpuSession::slot(self, slot)))
    }

    fn persistent(&self) -> Pending<'_, Vec<SavedSlot>> {
        ready(Ok(CpuSession::persistent(self)))
    }

    fn examples(&self) -> Pending<'_, Vec<Array2<f32>>> {
        ready(Ok(CpuSession::examples(self)))
    }

    fn load(&mut self, weights: &Weights) {
        CpuSession::load(self, weights);
    }

    fn put(&mut self, kept: &[SavedSlot]) {
        CpuSession::put(self, kept);
    }

    fn put_examples(&mut self, values: &[Array2<f32>]) {
        CpuSession::put_examples(self, values);
    }

    fn save(&mut self) {
        CpuSession::save(self);
    }

    fn restore(&mut self) {
        CpuSession::restore(self);
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl<T: Kernels> State<T> {
    /// The state before the first update.
    fn new(plan: &Plan, backward: &[Option<usize>], index: &Index, weights: &Weights) -> Self {
        let connections = |slot: &SlotId| match plan.slot(*slot).home {
            Domain::Connections(_) => {
                let (w, b) = initial(plan, *slot, weights);
                WeightMatrix::new(w.view(), b.as_deref(), backward[slot.0])
            }
            _ => WeightMatrix::default(),
        };
        let vector = |slot: &SlotId| match plan.slot(*slot).home {
            Domain::Vector(p) => Matrix::zeros(1, plan.populations[p].n),
            Domain::BatchScalar(_) => Matrix::zeros(1, 1),
            _ => Matrix::default(),
        };
        State {
            connections: index.slots().iter().map(connections).collect(),
            vectors: index.slots().iter().map(vector).collect(),
        }
    }
}

/// The values of a place of units or samples, for the whole batch; `None` for a place that the program does not store.
fn units<T: Kernels>(plan: &Plan, index: &Index, shards: &[Shard<T>], place: Place) -> Option<Array2<f64>> {
    if !index.has(place) {
        return None;
    }
    let (at, transposed) = (index.of(place), matches!(plan.slot(place.slot).home, Domain::Samples(_)));
    let part = |shard: &Shard<T>| {
        let m = storage::of_samples(&shard.slots[at], if transposed { 1 } else { shard.samples.len() });
        if transposed { m.reversed_axes() } else { m }
    };
    let parts: Vec<Array2<f64>> = shards.iter().map(part).collect();
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &parts).ok()
}

/// As [`Plan::initial`], but borrows the weights instead of copying them.
fn initial<'a>(
    plan: &Plan,
    slot: SlotId,
    weights: &'a Weights,
) -> (CowArray<'a, f32, Ix2>, Option<Cow<'a, Array1<f32>>>) {
    if let Initial::Weights(l) = plan.slot(slot).start {
        return (weights.theta[l - 1].view().into(), weights.bias.get(l - 1).map(Cow::Borrowed));
    }
    let (w, b) = plan.initial(slot, weights);
    (w.into(), b.map(Cow::Owned))
}

/// Per slot of connections: the maximum number of grid positions over its backward products, or `None` if there are
/// none.
fn backward(plan: &Plan, program: &Program) -> Vec<Option<usize>> {
    let mut backward = vec![None; plan.slots.len()];
    for job in program.launches().flat_map(|launch| &launch.jobs) {
        if let Work::Send { projection, weights, direction: Direction::Backward, .. } = job.work {
            let places = Some(plan.populations[plan.projections[projection].to].places);
            backward[weights.slot.0] = backward[weights.slot.0].max(places);
        }
    }
    backward
}

/// Minimum number of samples per shard. With fewer samples, half of a register tile would be unused.
const SHARD: usize = 8;

/// How a batch is split into shards: nearly equal parts, one per thread, for a small network; otherwise one part.
fn parts(plan: &Plan, batch: usize, threads: usize) -> Vec<std::ops::Range<usize>> {
    let small = plan.parameters() <= SMALL;
    let shards = if small { (batch / SHARD).clamp(1, threads) } else { 1 };
    (0..shards).map(|s| s * batch / shards..(s + 1) * batch / shards).collect()
}
