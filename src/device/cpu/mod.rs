//! The CPU device: the same program as the GPU's, by kernels of its own.
//!
//! What to read first: `update.rs` is one update; `work.rs` runs one job of a launch, `product.rs` makes what arrives, `ends.rs` what is made of it,
//! by `fused_kernels.rs` where there is a hand-written kernel and by `evaluate.rs` where there is none. `change.rs` is where the
//! samples of a batch meet.
//!
//! A session owns all its memory from the start: an update allocates nothing.

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

use crate::data::{Data, Set};
use crate::device::{
    Backend, Compiled, Device, NEVER, Pending, Resident, SavedSlot, Score, Usage, check_weights, host_bytes, kept_for,
    lasting, ready, runnable, stop_within,
};
use crate::error::{Error, Result};
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
use update::{Phase, Update, run_apart, stages};
use weight_matrix::{SMALL, WeightMatrix};

/// Samples that an evaluation predicts at a time.
const EVAL_BATCH: usize = 256;
/// What a launch may do here. A Rust compiler never merges two roundings into one.
const LIMITS: Limits =
    Limits { merging: Merging::Harmless, names: usize::MAX, leaves: job::MAX_LEAVES, writes: parallel::MAX_WRITES };

/// The CPU, with the threads that large kernels may use.
#[derive(Clone)]
pub struct CpuDevice {
    team: Arc<ThreadPool>,
}

impl CpuDevice {
    /// A device of `threads` threads; `None` for one a core, or fewer where the address space is limited.
    ///
    /// # Errors
    /// [`Error::Usage`] when the number is zero or absurd, or the threads cannot be started; [`Error::Limit`] where that is for
    /// want of memory.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let asked = threads.is_some();
        let threads = threads_of(threads)?;
        // The bits do not depend on how many there are.
        let threads = if asked { threads } else { memory::threads(threads) };
        let team = ThreadPool::new(threads).map_err(|e| memory::no_threads(threads, &e))?;
        Ok(CpuDevice { team: Arc::new(team) })
    }

    /// Threads that large kernels may use.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// The vector unit the kernels were compiled for and run on.
    pub fn simd() -> String {
        // pulp names a level (V4, V3, Neon, Scalar …) and then its feature tokens.
        let name = format!("{:?}", pulp::Arch::new());
        match name.split(['(', ' ', '{']).next().unwrap_or_default() {
            "V4" => "AVX-512".into(),
            "V3" => "AVX2 + FMA".into(),
            other => other.to_owned(),
        }
    }

    /// The matrix products in use.
    pub fn products() -> &'static str {
        "zilch register tiles over panels of 32 columns"
    }

    /// Lowers a plan for batches of `batch`; `evaluated` where every end is the evaluator's.
    fn lower(&self, plan: &Plan, batch: usize, evaluated: bool) -> Result<Arc<Lowered>> {
        Ok(Arc::new(Lowered::new(&*runnable(plan, batch)?, evaluated)))
    }

    /// A session that trains by `plan` on `data`, in float32.
    ///
    /// # Errors
    /// [`Error::Limit`] when it needs more memory than the machine has free; [`Error::Usage`] and
    /// [`Error::Data`] for a plan, batch, weights or data that do not fit.
    pub fn session(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession> {
        CpuSession::new(self, self.lower(plan, batch, false)?, batch, data, weights)
    }

    /// The same in float64: the yardstick of the tests.
    ///
    /// # Errors
    /// As [`CpuDevice::session`].
    pub fn session_f64(&self, plan: &Plan, batch: usize, data: Arc<Data>, weights: &Weights) -> Result<CpuSession64> {
        CpuSession64::new(self, self.lower(plan, batch, false)?, batch, data, weights)
    }

    /// As [`CpuDevice::session`], every end by the evaluator: what the hand-written kernels are held to.
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

    /// One update of a new session on the first samples. Tells `look` what these slots of units hold after these moments of the plan,
    /// which are in order and made once each; nothing of a slot that the update keeps nowhere.
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
        // What is carried has the moments and the slots of what the rule wrote.
        let lowered = Arc::new(Lowered::looked_at(&*runnable(plan, batch)?, looks, seen));
        let mut session = CpuSession::new(self, lowered, batch, Arc::clone(data), weights)?;
        let _awake = self.team.gather(self.threads());
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
        format!("{} threads, {}", self.threads(), CpuDevice::simd())
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
        // Weights to begin with, or what is kept of it: never both.
        let host = host_bytes(&lowered.plan, run.trains).saturating_sub(run.held);
        let needed = session.saturating_add(eval).saturating_add(host);
        memory::check(|| training(&lowered.plan, run.batch), needed, SMALLER)?;
        Ok(Arc::new(CpuCompiled { device: self.clone(), lowered, batch: run.batch }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A plan lowered for the CPU.
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
        // There must be memory for all that lasts, once what is held of it is gone.
        let kept = host_bytes(&lowered.plan, true);
        let needed = bytes.saturating_add(kept.saturating_sub(held));
        memory::check(|| training(&lowered.plan, self.batch), needed, SMALLER)?;
        let session = CpuSession::new(&self.device, lowered, self.batch, data, weights)?;
        Ok(Box::new(CpuSession { kept, ..session }))
    }
}

/// Training in float32.
pub type CpuSession = Session<f32>;
/// Training in float64.
pub type CpuSession64 = Session<f64>;

/// A network in training on the CPU.
#[allow(private_bounds, reason = "the two precisions are a closed set, named by CpuSession and CpuSession64")]
pub struct Session<T: Kernels> {
    /// All threads, for kernels that are shared out.
    exec: Parallel,
    /// The calling thread, for kernels on one shard.
    alone: Parallel,
    team: Arc<ThreadPool>,
    /// What it was made of: evaluation is, too.
    lowered: Arc<Lowered>,
    plan: Plan,
    last: Vec<Place>,
    index: Index,
    stages: Vec<Phase<T>>,
    /// After how many stages somebody looks, at which places.
    looks: Vec<(usize, Vec<Place>)>,
    /// What is tried first.
    bold: Option<Speculative<T>>,
    batch: usize,
    data: Arc<Data>,
    /// Channels, rows and columns of its images.
    grid: [usize; 3],
    /// The batch. A small network has a shard a thread: samples meet only where weights are learnt. A larger
    /// one has a single shard, and its kernels are shared out instead.
    shards: Vec<Shard<T>>,
    sharing: ParallelTuning,
    state: State<T>,
    /// The state at the last [`Session::save`].
    saved: State<T>,
    saved_updates: u64,
    updates: u64,
    /// The rule's numbers, as they were at the last update.
    params: Vec<T>,
    /// Room for Σ_batch ε, [1, n].
    sums: Matrix<T>,
    /// What each training example has for itself.
    examples: Vec<Examples<T>>,
    /// For evaluation, made when it is first asked for.
    eval: Option<Eval<T>>,
    /// Bytes that the host must have room for beside it.
    kept: u64,
}

/// What lasts from update to update, and what samples share: by [`Index`].
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
        let Lowered { plan, program, bold, all, evaluated, looks, .. } = &*lowered;
        check_weights(plan, weights)?;
        data.fits(plan)?;
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
            exec: Parallel::team(&device.team, if shards.len() > 1 { shards.len() } else { device.threads() }),
            alone: Parallel::alone(),
            team: Arc::clone(&device.team),
            plan: plan.clone(),
            stages: all_stages,
            looks: seen,
            bold: bold.as_ref().map(|bold| Speculative::new(bold, &index)),
            last: program.last.clone(),
            index,
            batch,
            data,
            grid,
            shards,
            sharing: ParallelTuning::new(),
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

    /// Makes one weight update for every `batch` samples that `order` names, in order.
    ///
    /// # Panics
    /// When `order` names a sample that is not in the training set.
    pub fn run(&mut self, order: &[u32]) {
        self.run_until(order, &NEVER);
    }

    /// As [`Session::run`], until `stop` is set, see [`crate::device::Session::run_until`].
    ///
    /// # Panics
    /// As [`Session::run`].
    pub(crate) fn run_until(&mut self, order: &[u32], stop: &AtomicBool) -> Option<usize> {
        let mut made = 0;
        let within = stop_within(order, self.batch, stop);
        let team = Arc::clone(&self.team);
        // Of larger networks every update is shared out; of small ones, where that pays on this machine, today.
        let small = self.shards.len() > 1;
        let mut awake = None;
        let mut rest = order;
        while rest.len() >= self.batch {
            let shared = self.sharing.shared;
            let threads = if shared { self.exec.threads() } else { 1 };
            if awake.as_ref().is_none_or(|(were, _)| *were != threads) {
                awake = Some((threads, team.gather(threads)));
            }
            let updates = if small { self.sharing.left() } else { usize::MAX }.min(rest.len() / self.batch);
            let (now, later) = rest.split_at(updates * self.batch);
            let start = Instant::now();
            for (i, samples) in now.chunks_exact(self.batch).enumerate() {
                let next = rest.get((i + 1) * self.batch..(i + 2) * self.batch).unwrap_or_default();
                if stop.load(Ordering::Relaxed) {
                    return Some(made);
                }
                if !self.update(samples, next, shared, within) {
                    return None;
                }
                made += 1;
            }
            if small {
                self.sharing.took(updates, start.elapsed());
            }
            rest = later;
        }
        Some(made)
    }

    /// Refuses an order that names a sample which is not there.
    pub(crate) fn check_order(&self, order: &[u32]) -> Result<()> {
        let samples = self.data.train.len();
        match order.iter().find(|&&s| s as usize >= samples) {
            Some(bad) => Err(Error::usage(format!("sample {bad} was asked for; the set has {samples}"))),
            None => Ok(()),
        }
    }

    /// One weight update on these samples, before one on the `next` ones. Returns whether it was made, and not stopped within it.
    fn update(&mut self, samples: &[u32], next: &[u32], shared: bool, stop: &AtomicBool) -> bool {
        self.examples.iter().for_each(|examples| examples.put(samples, &mut self.shards));
        let made = self.update_batch(Some((samples, next)), shared, stop, &mut |_| {});
        if made {
            self.examples.iter_mut().for_each(|examples| examples.take(samples, &self.shards));
        }
        made
    }

    /// One on a batch that is gathered from `order`, or is in its slots already. Whoever looks meanwhile is told what there is.
    fn update_batch(
        &mut self,
        order: Option<(&[u32], &[u32])>,
        shared: bool,
        stop: &AtomicBool,
        look: &mut dyn FnMut(Vec<Option<Array2<f64>>>),
    ) -> bool {
        let Session {
            exec,
            alone,
            plan,
            stages,
            looks,
            bold,
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
            exec: if shared { exec } else { alone },
            alone,
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
        if let Some(bold) = bold
            && bold.is_tried()
        {
            if !bold.ahead.iter().all(|stage| update.stage(stage, shards, state, sums)) {
                return false;
            }
            if bold.holds(shards) {
                return bold.commit.iter().all(|stage| update.stage(stage, shards, state, sums));
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

    /// One weight update on a batch given as arrays: what the input layer sends, and what the output is held to.
    ///
    /// # Panics
    /// When the shapes are not [batch, n^lmax] and [batch, n^0].
    pub fn step(&mut self, inputs: &Array2<f32>, targets: &Array2<f32>) {
        self.step_fed(&[(self.plan.input(), inputs.view()), (self.plan.target(), targets.view())]);
    }

    /// The same with an array for each of these slots.
    fn step_fed(&mut self, feeds: &[(SlotId, ArrayView2<'_, f32>)]) {
        for &(slot, ref numbers) in feeds {
            let at = self.index.of(Place { slot, half: 0 });
            for shard in &mut self.shards {
                let rows = numbers.slice(ndarray::s![shard.samples.clone(), ..]);
                rows.outer_iter().enumerate().for_each(|(i, row)| shard.slots[at].fill_row(i, row));
            }
        }
        // A small network's step is over before a thread is awake.
        let shared = self.shards.len() == 1;
        let team = Arc::clone(&self.team);
        let _awake = team.gather(if shared { team.threads() } else { 1 });
        self.update_batch(None, shared, &NEVER, &mut |_| {});
    }

    /// Weight updates made so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Goes on counting from so many updates.
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

    /// θ^1, θ^2, … in float64, [n^{l−1}, n^l], and the biases.
    pub fn weights_f64(&self) -> (Vec<Array2<f64>>, Vec<Array1<f64>>) {
        let all = || (1..=self.plan.matrices()).filter_map(|l| self.theta(l));
        let bias = all().filter_map(|c| c.bias.as_ref());
        (all().map(WeightMatrix::weights_f64).collect(), bias.map(|b| b.to_array().row(0).to_owned()).collect())
    }

    /// Replaces the weights, puts back what else lasts, and forgets what was saved.
    pub fn load(&mut self, weights: &Weights) {
        // Into the same memory: there may be no room for more.
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

    /// Keeps a copy of the weights and of what else lasts, for [`Session::restore`].
    pub fn save(&mut self) {
        self.examples.iter_mut().for_each(Examples::save);
        self.saved.connections.clone_from(&self.state.connections);
        self.saved.vectors.clone_from(&self.state.vectors);
        self.saved_updates = self.updates;
        self.bold.iter_mut().for_each(Speculative::save);
    }

    /// Goes back to the last [`Session::save`].
    pub fn restore(&mut self) {
        self.state.connections.clone_from(&self.saved.connections);
        self.state.vectors.clone_from(&self.saved.vectors);
        self.examples.iter_mut().for_each(Examples::restore);
        self.updates = self.saved_updates;
        self.bold.iter_mut().for_each(Speculative::restore);
    }

    /// The first layer l whose θ^l or b^l is not finite, and which of them it is.
    pub fn not_finite(&self) -> Option<(usize, &'static str)> {
        (1..=self.plan.matrices()).find_map(|l| match self.theta(l)?.finite() {
            (false, _) => Some((l, "the weights")),
            (_, false) => Some((l, "the biases")),
            _ => None,
        })
    }

    /// What a slot held at the end of the last update: [batch, n] (of a grid the units of all places, place after place), [batch, 1] for a number a sample, [1, n] for one a unit,
    /// and [n_to, n_from] for connections. Nothing for one that the program keeps nowhere.
    pub fn slot(&self, slot: SlotId) -> Option<Array2<f64>> {
        let bold = self.bold.as_ref().filter(|bold| bold.held);
        let place = bold.map_or(self.last[slot.0], |bold| bold.last[slot.0]);
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

    /// See [`crate::device::Session::lasting`].
    pub fn lasting(&self) -> Vec<SavedSlot> {
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
        lasting(&self.plan).map(kept).collect()
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
        for (slot, key, at) in lasting(&self.plan) {
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

    /// Jobs of an update whose epilogues are hand-written kernels, and those that the evaluator computes: on units, and on weights.
    pub fn kernels(&self) -> [(usize, usize); 2] {
        fn walk<T: Kernels>(stage: &Phase<T>, count: &mut [(usize, usize); 2]) {
            let mut launch = |launch: &CpuLaunch<T>| {
                for job in &launch.jobs {
                    let (by_hand, evaluated) =
                        &mut count[usize::from(matches!(job.about.home, Domain::Connections(_)))];
                    // A plain step is part of its product.
                    *if job.ends.evaluated() && !job.is_step { evaluated } else { by_hand } += 1;
                }
            };
            match stage {
                Phase::Apart(lists) => lists.iter().flat_map(|(_, l)| l).for_each(&mut launch),
                Phase::Meeting(l) => launch(l),
                Phase::Repeat(_, stages) => stages.iter().for_each(|s| walk(s, count)),
            }
        }
        let mut count = [(0, 0); 2];
        self.stages.iter().for_each(|stage| walk(stage, &mut count));
        count
    }

    /// Refuses a first evaluation for which there is no memory.
    pub(crate) fn check_score(&self) -> Result<()> {
        if self.eval.is_some() {
            return Ok(());
        }
        // What is kept of it afterwards must have room, too.
        let bytes = eval_bytes::<T>(&self.lowered, self.exec.threads()).saturating_add(self.kept);
        memory::check(|| format!("evaluating {} on the CPU", self.plan.task.network), bytes, SMALLER)
    }

    /// Predicts every sample of a set, and counts errors and energy.
    pub fn score(&mut self, set: Set) -> Score {
        self.score_until(set, &NEVER).unwrap_or_default()
    }

    /// As [`Session::score`]; nothing where `stop` was set before it was done.
    pub(crate) fn score_until(&mut self, set: Set, stop: &AtomicBool) -> Option<Score> {
        let data = Arc::clone(&self.data);
        let labels = data.set(set).labels();
        let order: Vec<u32> = (0..labels.len() as u32).collect();
        let held_to = self.plan.labels().map_or([0.0, 1.0], |(_, held_to)| held_to);
        let about = (self.plan.task.loss, held_to);
        let mut score = Score::default();
        let done = self.predict(set, &order, stop, |eval, samples| {
            let labels = samples.iter().map(|&s| labels[s as usize]);
            score::score(&eval.shard.slots[eval.output], labels, about, &mut score);
        });
        done.then_some(score)
    }

    /// What the units of each layer say when these samples of a set are predicted, output first and without the input:
    /// [samples, n^l] for l = 0, 1, …, lmax − 1. Nothing for no samples, or where a layer says nothing.
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

    /// What the network answers to each row of inputs, see [`crate::device::Session::predict`].
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

    /// Predicts samples of a set, and shows every batch of them to `look`. Returns whether all were, before `stop` was set.
    fn predict(&mut self, set: Set, order: &[u32], stop: &AtomicBool, look: impl FnMut(&Eval<T>, &[u32])) -> bool {
        let data = Arc::clone(&self.data);
        let put = |exec: &Parallel, eval: &mut Eval<T>, samples: &&[u32]| {
            let at = (eval.at(eval.plan.input()), eval.at(eval.plan.target()));
            let Eval { plan, shard, .. } = eval;
            gather::gather(exec, data.set(set), (samples, &[]), plan, at, None, shard);
        };
        self.evaluate(order.chunks(EVAL_BATCH), put, stop, look)
    }

    /// Makes the prediction of each batch, which `put` puts into place, and shows it to `look`. Returns whether all were made, before
    /// `stop` was set.
    fn evaluate<B>(
        &mut self,
        batches: impl Iterator<Item = B>,
        put: impl Fn(&Parallel, &mut Eval<T>, &B),
        stop: &AtomicBool,
        mut look: impl FnMut(&Eval<T>, B),
    ) -> bool {
        let lowered = &self.lowered;
        let eval = self.eval.get_or_insert_with(|| Eval::new(lowered));
        let team = Arc::clone(&self.team);
        let _awake = team.gather(team.threads());
        // The evaluation's places of what lasts are those of the update's program.
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
            done = run_apart(&self.exec, &mut eval.shard, shared, &eval.launches, stop);
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

    fn lasting(&self) -> Pending<'_, Vec<SavedSlot>> {
        ready(Ok(CpuSession::lasting(self)))
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
    /// As it is before the first update.
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

/// What a place of units or samples holds, of the whole batch; nothing for one that the program keeps nowhere.
fn units<T: Kernels>(plan: &Plan, index: &Index, shards: &[Shard<T>], place: Place) -> Option<Array2<f64>> {
    if !index.has(place) {
        return None;
    }
    let (at, turned) = (index.of(place), matches!(plan.slot(place.slot).home, Domain::Samples(_)));
    let part = |shard: &Shard<T>| {
        let m = storage::of_samples(&shard.slots[at], if turned { 1 } else { shard.samples.len() });
        if turned { m.reversed_axes() } else { m }
    };
    let parts: Vec<Array2<f64>> = shards.iter().map(part).collect();
    let parts: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &parts).ok()
}

/// As [`Plan::initial`], without a copy of weights that are there.
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

/// By slot, the most places that a program sends through it backward from, if it does.
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

/// Samples that a shard has at least: fewer would leave a register tile half empty.
const SHARD: usize = 8;

/// How a batch is cut up: not at all, or for small networks in nearly equal parts, one a thread.
fn parts(plan: &Plan, batch: usize, threads: usize) -> Vec<std::ops::Range<usize>> {
    let small = plan.parameters() <= SMALL;
    let shards = if small { (batch / SHARD).clamp(1, threads) } else { 1 };
    (0..shards).map(|s| s * batch / shards..(s + 1) * batch / shards).collect()
}
