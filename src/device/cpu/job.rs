//! One launch of a program on the CPU: jobs, each a sum or product s followed by its epilogue.

use super::epilogue::{Epilogue, MAX_PARAMS, Read, SumTarget};
use super::fixed_maps::FixedMap;
use super::fused_kernels::Kernels;
use super::matrix::{Band, Matrix, Shape};
use super::parallel::{MAX_WRITES, Parallel, numbers};
use super::product;
use super::storage::{Index, Shard};
use super::vector::vector;
use super::weight_matrix::WeightMatrix;
use crate::lower::{Job, Kind, Launch, Place, Work};
use crate::plan::expr::{Code, Node, ParamId};
use crate::plan::{Direction, Domain, Draw, Plan, Reduction};
use crate::random::Counter;
use std::cell::RefCell;
use std::cmp::Ordering;

/// Maximum number of slots that the epilogue of one job reads or writes.
pub(crate) const MAX_LEAVES: usize = 16;

/// Maximum number of slots that a fused kernel reads.
const FUSED_READS: usize = 4;

thread_local! {
    /// Per-thread scratch for a sum s that is not computed in place in a slot. It grows to the largest size and is then
    /// reused.
    static SCRATCH: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Calls `task` with `numbers` values of this thread's scratch.
pub(crate) fn with_scratch<T: Kernels, R>(numbers: usize, task: impl FnOnce(&mut [T]) -> R) -> R {
    SCRATCH.with_borrow_mut(|scratch| {
        let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
        if scratch.len() < words {
            scratch.resize(words, 0.0);
        }
        task(&mut bytemuck::cast_slice_mut(scratch)[..numbers])
    })
}

/// Flag of an entry of [`CpuJob::params`]: the entry is the [`Index`] of a batch scalar, not of a parameter of the
/// rule.
const SCALAR: u32 = 1 << 31;

/// Turns the batch scalars that an epilogue reads into parameters, so that the epilogue matches a fused kernel.
fn scalars_to_params(plan: &Plan, home: Domain, code: &Code<Place>) -> (Code<Place>, Vec<Place>) {
    let one = |place: &Place| matches!(plan.slot(place.slot).home, Domain::BatchScalar(_));
    let scalars: Vec<Place> = code.leaves[code.outs.len()..].iter().filter(|place| one(place)).copied().collect();
    if !matches!(home, Domain::Units(_)) || code.params.len() + scalars.len() > MAX_PARAMS {
        return (code.clone(), Vec::new());
    }
    let mut new = code.clone();
    new.leaves.retain(|place| !scalars.contains(place));
    for node in &mut new.nodes {
        if let Node::Leaf(i) = *node {
            let place = code.leaves[i];
            let at = |list: &[Place]| list.iter().position(|other| *other == place);
            *node = match at(&scalars) {
                Some(k) => Node::Param(code.params.len() + k),
                None => Node::Leaf(at(&new.leaves).unwrap_or(i)),
            };
        }
    }
    // Dummy ids: batch scalars are not looked up among the plan's parameters.
    new.params.extend((0..scalars.len()).map(|k| ParamId(usize::MAX - k)));
    (new, scalars)
}

/// A job ready to run. When a launch starts, its jobs are usually no longer in the cache. All fields that a fused
/// kernel needs are therefore stored contiguously; each pointer would cost one more cache miss.
pub(crate) struct CpuJob<T> {
    pub(crate) epilogue: Epilogue<T>,
    /// The matrices that are read as a whole: operands of a product or reduction.
    operands: [u32; 2],
    /// For a product: the source population of a backward product (the product may need its slot transposed), the
    /// direction, and whether biases are added.
    sender: u32,
    forward: bool,
    biased: bool,
    action: Action,
    /// Counts of written leaves, of all leaves, and of parameters read.
    written: u8,
    touched: u8,
    named: u8,
    /// Whether the epilogue is a plain step θ ← fma(α, s, θ), which the product over the batch includes.
    pub(crate) is_step: bool,
    /// The matrices of the epilogue's leaves, the written ones first.
    leaves: [u32; MAX_WRITES + MAX_LEAVES],
    /// The parameters that the epilogue reads.
    params: [u32; MAX_PARAMS],
    /// Data that fused kernels do not need.
    pub(crate) about: Box<About>,
}

/// The kind of work, in one byte.
#[derive(Clone, Copy)]
enum Action {
    Product,
    /// Through a fixed map.
    FixedMap,
    Elements,
    /// A rare kind of work: see [`About::work`].
    Rare,
}

/// What the evaluator and rare kinds of work need to know about a job.
pub(crate) struct About {
    pub(crate) work: Work,
    /// The domain of the epilogue.
    pub(crate) home: Domain,
    /// Rows per sample in that domain.
    places: usize,
    /// The domains of the leaves that are only read.
    pub(crate) kinds: Vec<Domain>,
    /// The fixed map of its projection, if any.
    map: Option<FixedMap>,
}

/// A launch ready to run.
pub(crate) struct CpuLaunch<T> {
    pub(crate) kind: Kind,
    pub(crate) jobs: Vec<CpuJob<T>>,
}

/// Data without a sample axis that jobs read.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    /// By [`Index`]: weights and other slots of connections.
    pub(crate) connections: &'a [WeightMatrix<T>],
    /// By [`Index`]: per unit, [1, n], and batch scalars, [1, 1].
    pub(crate) vectors: &'a [Matrix<T>],
    /// The values of the plan's parameters at this update.
    pub(crate) params: &'a [T],
    /// The counter-based random number generator of this update.
    pub(crate) counter: Counter,
}

impl<T: Kernels> CpuJob<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, job: &Job, evaluated: bool) -> Self {
        let home = plan.slot(job.code.leaves[0].slot).home;
        let (code, scalars) = scalars_to_params(plan, home, &job.code);
        let operands = job.work.reads();
        let at = |place: Option<&Place>| place.map_or(0, |place| index.of(*place) as u32);
        let kinds = code.leaves[code.outs.len()..].iter().map(|place| plan.slot(place.slot).home).collect();
        let (action, sender, forward, biased) = match job.work {
            Work::Send { projection, direction, .. } => {
                let forward = direction == Direction::Forward;
                let action =
                    if plan.projections[projection].kind.is_map() { Action::FixedMap } else { Action::Product };
                (action, plan.projections[projection].to as u32, forward, forward && plan.biased(projection))
            }
            Work::Map(_) => (Action::Elements, 0, false, false),
            _ => (Action::Rare, 0, false, false),
        };
        CpuJob {
            epilogue: Epilogue::new(plan, home, &code, evaluated),
            operands: [at(operands.first()), at(operands.get(1))],
            sender,
            forward,
            biased,
            action,
            written: code.outs.len() as u8,
            touched: code.leaves.len() as u8,
            named: code.params.len() as u8,
            is_step: is_step(&code),
            leaves: std::array::from_fn(|i| at(code.leaves.get(i))),
            params: std::array::from_fn(|i| {
                let one = i.checked_sub(code.params.len() - scalars.len()).and_then(|k| scalars.get(k));
                one.map_or_else(|| code.params.get(i).map_or(0, |p| p.0 as u32), |one| SCALAR | index.of(*one) as u32)
            }),
            about: Box::new(About {
                work: job.work.clone(),
                home,
                places: if let Domain::Units(p) = home { plan.populations[p].places } else { 1 },
                kinds,
                map: FixedMap::of(plan, &job.work),
            }),
        }
    }

    /// Prefetches the cache lines of the job itself.
    #[inline(always)]
    pub(crate) fn prefetch(&self) {
        let (start, lines) = (std::ptr::from_ref(self).cast::<u8>(), size_of::<Self>().div_ceil(64));
        (0..lines).for_each(|line| product::prefetch(start.wrapping_add(64 * line)));
    }

    /// Whether the result is a per-unit vector or a batch scalar, which have no sample axis. Weights are not included.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self.about.home, Domain::Vector(_) | Domain::BatchScalar(_))
    }

    pub(crate) fn writes(&self) -> &[u32] {
        &self.leaves[..usize::from(self.written)]
    }

    pub(crate) fn reads(&self) -> &[u32] {
        &self.leaves[usize::from(self.written)..usize::from(self.touched)]
    }

    /// The operands that are read as a whole.
    pub(crate) fn operands(&self) -> [usize; 2] {
        self.operands.map(|at| at as usize)
    }

    /// The parameters that the epilogue reads, followed by the batch scalars.
    pub(crate) fn params(&self, all: &[T], vectors: &[Matrix<T>]) -> [T; MAX_PARAMS] {
        let mut params = [T::ZERO; MAX_PARAMS];
        for (to, i) in params.iter_mut().zip(self.params).take(usize::from(self.named)) {
            *to = if i & SCALAR == 0 { all[i as usize] } else { vectors[(i ^ SCALAR) as usize].get(0, 0) };
        }
        params
    }

    /// Runs a job that treats each sample separately, on one shard.
    pub(crate) fn run(&self, exec: &Parallel, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        if let Action::Rare = self.action {
            return self.rare(shard, shared);
        }
        let shape = shard.slots[self.writes()[0] as usize].shape();
        let Shard { slots, outputs, .. } = shard;
        for (output, at) in outputs.iter_mut().zip(self.writes()) {
            std::mem::swap(output, &mut slots[*at as usize].lines);
        }
        match self.action {
            Action::Product => self.product(exec, shape, shard, shared),
            Action::FixedMap => self.fixed_map(exec, shape, shard),
            _ => self.elements(exec, shape, shard, shared),
        }
        let Shard { slots, outputs, .. } = shard;
        for (output, at) in outputs.iter_mut().zip(self.writes()) {
            std::mem::swap(output, &mut slots[*at as usize].lines);
        }
    }

    /// Runs the rare kinds of work.
    fn rare(&self, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let at = self.writes()[0] as usize;
        let mut to = std::mem::take(&mut shard.slots[at]);
        match self.about.work {
            Work::Reduce { how, .. } => reduce(how, &shard.slots[self.operands()[0]], &mut to),
            Work::Draw(Draw::Uniform { stream }) => {
                draw(|index| shared.counter.uniform(stream, index), shard.samples.start * self.about.places, &mut to);
            }
            Work::Draw(Draw::Bell { stream }) => {
                draw(|index| shared.counter.bell(stream, index), shard.samples.start * self.about.places, &mut to);
            }
            // `update.rs` and `change.rs` run normal draws and outer products across all shards; `run` handles the
            // others.
            Work::Draw(Draw::Normal { .. }) | Work::OuterProduct { .. } | Work::Send { .. } | Work::Map(_) => {}
        }
        shard.slots[at] = to;
    }

    /// A matrix product. The epilogue runs on each band while it is in the cache.
    fn product(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let [weights, from] = self.operands();
        let (weights, forward) = (&shared.connections[weights], self.forward);
        let Shard { slots, outputs, transposed, .. } = shard;
        let (written, transposed) = (&mut outputs[..self.writes().len()], &mut transposed[self.sender as usize]);
        let (slots, from) = (&slots[..], &slots[from]);
        if !forward {
            weights.prepare(exec, from, transposed);
        }
        let transposed = &*transposed;
        let work = 2 * numbers(shape) * from.cols as u64;
        let params = self.params(shared.params, shared.vectors);
        let bias = weights.bias.as_ref().filter(|_| self.biased);
        let product = |band: &Band, s: &mut [T]| {
            if forward {
                weights.forward(exec.arch, band, s, from);
            } else {
                weights.backward(exec.arch, band, s, from, transposed);
            }
            if let Some(bias) = bias {
                add_bias(exec, band, s, bias.data());
            }
        };
        exec.share_rows(shape, work, written, |band, writes| match self.epilogue.sum_target {
            SumTarget::Slot(w) => {
                product(band, writes[usize::from(w)]);
                self.run_epilogue(exec, band, writes, &mut [], slots, shared, &params);
            }
            _ => with_scratch(band.range().len(), |s| {
                if !shape.cols.is_multiple_of(shape.wide) {
                    s.fill(T::ZERO);
                }
                product(band, s);
                self.run_epilogue(exec, band, writes, s, slots, shared, &params);
            }),
        });
    }

    /// A fixed map, which has no epilogue.
    fn fixed_map(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>) {
        let Some(map) = &self.about.map else { return };
        let Shard { slots, outputs, .. } = shard;
        let [forward_input, from] = self.operands().map(|at| &slots[at]);
        if slots[self.writes()[0] as usize].patches.is_some() {
            return map.pad(exec, (shape, &mut outputs[0]), from);
        }
        map.run(exec, self.forward, (shape, &mut outputs[0]), from, forward_input);
    }

    /// An epilogue without a product.
    fn elements(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let Shard { slots, outputs, .. } = shard;
        let (written, slots) = (&mut outputs[..self.writes().len()], &slots[..]);
        let params = self.params(shared.params, shared.vectors);
        let work = u64::from(self.epilogue.nodes) * numbers(shape);
        exec.share(shape, work, written, |band, writes| {
            self.run_epilogue(exec, band, writes, &mut [], slots, shared, &params);
        });
    }

    /// Runs the epilogue on one band.
    #[allow(clippy::too_many_arguments, reason = "the operands of one kernel")]
    fn run_epilogue(
        &self,
        exec: &Parallel,
        band: &Band,
        writes: &mut [&mut [T]],
        s: &mut [T],
        slots: &[Matrix<T>],
        shared: Shared<'_, T>,
        params: &[T],
    ) {
        if self.epilogue.is_stored() {
            return;
        }
        if let Some(kernel) = self.epilogue.kernel() {
            let mut reads = [&[][..]; FUSED_READS];
            for (to, &at) in reads.iter_mut().zip(self.reads()) {
                *to = &slots[at as usize].data()[band.range()];
            }
            kernel(exec.arch, writes, s, &reads[..self.reads().len()], params);
            return self.epilogue.zero_padding(band, writes);
        }
        let mut reads = [Read::Element(&[][..]); MAX_LEAVES];
        for ((to, &at), kind) in reads.iter_mut().zip(self.reads()).zip(&self.about.kinds) {
            let at = at as usize;
            *to = match (self.about.home, kind) {
                (Domain::Units(_), Domain::Vector(_)) => Read::Vector(shared.vectors[at].data()),
                (Domain::Units(_), Domain::Samples(_)) => Read::Sample(slots[at].data(), self.about.places),
                (Domain::Vector(_), Domain::BatchScalar(_)) => Read::One(slots[at].get(0, 0)),
                (Domain::Units(_) | Domain::Samples(_), Domain::BatchScalar(_)) => {
                    Read::One(shared.vectors[at].get(0, 0))
                }
                // The epilogue's own domain, or one of the same shape: per-sample values of another population, or the
                // population at the other end of an identity projection.
                _ => Read::Element(&slots[at].data()[band.range()]),
            };
        }
        self.epilogue.run(exec.arch, band, writes, s, &reads[..self.reads().len()], params, true);
    }
}

impl<T: Kernels> CpuLaunch<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, launch: &Launch, evaluated: bool) -> Self {
        let jobs = launch.jobs.iter().map(|job| CpuJob::new(plan, index, job, evaluated)).collect();
        CpuLaunch { kind: launch.kind, jobs }
    }

    /// Whether the launch must run across shards: it combines samples, writes values without a sample axis, or draws
    /// normal values.
    pub(crate) fn combines_samples(&self) -> bool {
        let normal = |job: &CpuJob<T>| matches!(job.about.work, Work::Draw(Draw::Normal { .. }));
        matches!(self.kind, Kind::OuterProduct | Kind::Connections)
            || self.jobs.iter().any(|job| normal(job) || job.is_shared())
    }
}

/// Whether the epilogue is θ ← fma(α, s, θ).
pub(crate) fn is_step(code: &Code<Place>) -> bool {
    let step = [Node::Param(0), Node::Arriving, Node::Leaf(0), Node::Fma(0, 1, 2)];
    code.nodes == step && code.outs == [3] && code.leaves.len() == 1
}

/// s += b for each row of s; b is `[n]`.
fn add_bias<T: Kernels>(exec: &Parallel, band: &Band, s: &mut [T], bias: &[T]) {
    let mut rest = s;
    vector(
        exec.arch,
        #[inline(always)]
        || {
            for piece in band.pieces() {
                let bias = &bias[piece.q * piece.wide..][..piece.wide];
                let (part, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
                rest = after;
                for row in part.chunks_exact_mut(piece.wide) {
                    for (s, b) in row.iter_mut().zip(bias) {
                        *s = *s + *b;
                    }
                }
            }
        },
    );
}

/// Reduces [samples · positions, n] to one value per sample, [1, samples], in the order of positions and units.
fn reduce<T: Kernels>(how: Reduction, from: &Matrix<T>, to: &mut Matrix<T>) {
    if how == Reduction::Squares {
        return squares(from, to);
    }
    if from.rows == to.cols {
        return (0..from.rows).for_each(|i| to.set(0, i, reduced(how, (0..from.cols).map(|j| from.get(i, j)))));
    }
    let places = from.rows / to.cols.max(1);
    for i in 0..to.cols {
        let numbers = (i * places..(i + 1) * places).flat_map(|row| (0..from.cols).map(move |j| from.get(row, j)));
        to.set(0, i, reduced(how, numbers));
    }
}

/// The sum of squares per sample, with eight accumulators, so that consecutive additions are independent. (Padding
/// columns are 0.)
fn squares<T: Kernels>(from: &Matrix<T>, to: &mut Matrix<T>) {
    const PARTS: usize = 8;
    let (panels, places) = (from.cols.div_ceil(from.wide), from.rows / to.cols.max(1));
    for i in 0..to.cols {
        let mut parts = [T::ZERO; PARTS];
        for row in i * places..(i + 1) * places {
            for q in 0..panels {
                for numbers in from.row(q, row).as_chunks::<PARTS>().0 {
                    for (part, v) in parts.iter_mut().zip(numbers) {
                        *part = *part + *v * *v;
                    }
                }
            }
        }
        let [a, b, c, d, e, f, g, h] = parts;
        to.set(0, i, ((a + b) + (c + d)) + ((e + f) + (g + h)));
    }
}

/// Reduces values in order.
pub(crate) fn reduced<T: Kernels>(how: Reduction, values: impl Iterator<Item = T> + Clone) -> T {
    match how {
        Reduction::Sum => values.fold(T::ZERO, |sum, v| sum + v),
        Reduction::Squares => values.fold(T::ZERO, |sum, v| sum + v * v),
        Reduction::Max => values.reduce(|a, b| if b > a { b } else { a }).unwrap_or(T::ZERO),
        Reduction::Argmax => {
            let better = |best: (usize, T), v: (usize, T)| if v.1 > best.1 { v } else { best };
            T::from_f64(values.enumerate().reduce(better).map_or(0, |(j, _)| j) as f64)
        }
        Reduction::Top(k) => top(values, k),
    }
}

/// The k-th largest value, or the smallest if there are fewer than k. NaNs do not count.
fn top<T: Kernels>(values: impl Iterator<Item = T> + Clone, k: u32) -> T {
    let mut numbers: Vec<T> = values.clone().filter(|v| v.partial_cmp(v).is_some()).collect();
    let place = k.max(1) as usize - 1;
    if place >= numbers.len() {
        return values.reduce(|a, b| if b < a { b } else { a }).unwrap_or(T::ZERO);
    }
    let (_, kth, _) = numbers.select_nth_unstable_by(place, |a, b| b.partial_cmp(a).unwrap_or(Ordering::Equal));
    let kth = *kth;
    // 0 and −0 compare as equal; the result is the first of them in `values`.
    let mut values = values;
    values.find(|v| *v == kth).unwrap_or(kth)
}

/// Fills a shard whose first row is row `first` of the batch with random numbers.
fn draw<T: Kernels>(number: impl Fn(u32) -> f32, first: usize, to: &mut Matrix<T>) {
    for i in 0..to.rows {
        for j in 0..to.cols {
            let index = ((first + i) * to.cols + j) as u32;
            to.set(i, j, T::from_f64(f64::from(number(index))));
        }
    }
}
