//! One launch of a program on the CPU: jobs, each a sum or product s followed by its epilogue.

use super::epilogue::{Ends, MAX_PARAMS, Read, SumTarget};
use super::fixed_maps::Map;
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

/// Slots that the epilogue of one job may touch.
pub(crate) const MAX_LEAVES: usize = 16;

/// Slots that a fused kernel reads, at most.
const KNOWN_READS: usize = 4;

thread_local! {
    /// Per-thread scratch for an s that is not computed in a slot; it grows to the largest size and is then reused.
    static ARRIVED: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Calls `task` with `numbers` values of this thread's scratch.
pub(crate) fn with_scratch<T: Kernels, R>(numbers: usize, task: impl FnOnce(&mut [T]) -> R) -> R {
    ARRIVED.with_borrow_mut(|scratch| {
        let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
        if scratch.len() < words {
            scratch.resize(words, 0.0);
        }
        task(&mut bytemuck::cast_slice_mut(scratch)[..numbers])
    })
}

/// Flag of an entry of [`Ready::params`]: the value is a batch scalar, by [`Index`], and not a parameter of the rule.
const ONE: u32 = 1 << 31;

/// Turns the batch scalars that an epilogue reads into parameters, so that fused kernels match it.
fn without_ones(plan: &Plan, home: Domain, code: &Code<Place>) -> (Code<Place>, Vec<Place>) {
    let one = |place: &Place| matches!(plan.slot(place.slot).home, Domain::BatchScalar(_));
    let ones: Vec<Place> = code.leaves[code.outs.len()..].iter().filter(|place| one(place)).copied().collect();
    if !matches!(home, Domain::Units(_)) || code.params.len() + ones.len() > MAX_PARAMS {
        return (code.clone(), Vec::new());
    }
    let mut new = code.clone();
    new.leaves.retain(|place| !ones.contains(place));
    for node in &mut new.nodes {
        if let Node::Leaf(i) = *node {
            let place = code.leaves[i];
            let at = |list: &[Place]| list.iter().position(|other| *other == place);
            *node = match at(&ones) {
                Some(k) => Node::Param(code.params.len() + k),
                None => Node::Leaf(at(&new.leaves).unwrap_or(i)),
            };
        }
    }
    // Dummy ids: batch scalars are not looked up among the plan's parameters.
    new.params.extend((0..ones.len()).map(|k| ParamId(usize::MAX - k)));
    (new, ones)
}

/// A job ready to run. A launch finds it evicted from the cache, so all that a fused kernel needs is compact and in one place:
/// each pointer followed would cost another cache line.
pub(crate) struct Ready<T> {
    pub(crate) ends: Ends<T>,
    /// The matrices that are read as a whole: operands of a product or reduction.
    whole: [u32; 2],
    /// For a product: the population that a backward product sends from (its slot may be needed transposed), the direction, and
    /// whether biases are added.
    sender: u32,
    forward: bool,
    biased: bool,
    act: Act,
    /// Numbers of written leaves, of all leaves, and of parameters read.
    written: u8,
    touched: u8,
    named: u8,
    /// Whether the epilogue is a plain step θ ← fma(α, s, θ), which the product over the batch includes.
    pub(crate) is_step: bool,
    /// The matrices of its leaves, written ones first.
    leaves: [u32; MAX_WRITES + MAX_LEAVES],
    /// The parameters it reads.
    params: [u32; MAX_PARAMS],
    /// What fused kernels do not need.
    pub(crate) about: Box<About>,
}

/// The kind of work, in one byte.
#[derive(Clone, Copy)]
enum Act {
    Send,
    /// Through a fixed map.
    Carry,
    Each,
    /// A rare kind of work: see [`About::work`].
    Rest,
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
    map: Option<Map>,
}

/// A launch ready to run.
pub(crate) struct CpuLaunch<T> {
    pub(crate) kind: Kind,
    pub(crate) jobs: Vec<Ready<T>>,
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

impl<T: Kernels> Ready<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, job: &Job, evaluated: bool) -> Self {
        let home = plan.slot(job.code.leaves[0].slot).home;
        let (code, ones) = without_ones(plan, home, &job.code);
        let whole = job.work.reads();
        let at = |place: Option<&Place>| place.map_or(0, |place| index.of(*place) as u32);
        let kinds = code.leaves[code.outs.len()..].iter().map(|place| plan.slot(place.slot).home).collect();
        let (act, sender, forward, biased) = match job.work {
            Work::Send { projection, direction, .. } => {
                let forward = direction == Direction::Forward;
                let act = if plan.projections[projection].kind.is_map() { Act::Carry } else { Act::Send };
                (act, plan.projections[projection].to as u32, forward, forward && plan.biased(projection))
            }
            Work::Map(_) => (Act::Each, 0, false, false),
            _ => (Act::Rest, 0, false, false),
        };
        Ready {
            ends: Ends::new(plan, home, &code, evaluated),
            whole: [at(whole.first()), at(whole.get(1))],
            sender,
            forward,
            biased,
            act,
            written: code.outs.len() as u8,
            touched: code.leaves.len() as u8,
            named: code.params.len() as u8,
            is_step: is_step(&code),
            leaves: std::array::from_fn(|i| at(code.leaves.get(i))),
            params: std::array::from_fn(|i| {
                let one = i.checked_sub(code.params.len() - ones.len()).and_then(|k| ones.get(k));
                one.map_or_else(|| code.params.get(i).map_or(0, |p| p.0 as u32), |one| ONE | index.of(*one) as u32)
            }),
            about: Box::new(About {
                work: job.work.clone(),
                home,
                places: if let Domain::Units(p) = home { plan.populations[p].places } else { 1 },
                kinds,
                map: Map::of(plan, &job.work),
            }),
        }
    }

    /// Prefetches the cache lines of the job itself.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        let (start, lines) = (std::ptr::from_ref(self).cast::<u8>(), size_of::<Self>().div_ceil(64));
        (0..lines).for_each(|line| product::fetch(start.wrapping_add(64 * line)));
    }

    /// Whether its result has no sample axis (weights aside).
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
    pub(crate) fn whole(&self) -> [usize; 2] {
        self.whole.map(|at| at as usize)
    }

    /// The parameters that the epilogue reads, followed by the batch scalars.
    pub(crate) fn params(&self, all: &[T], vectors: &[Matrix<T>]) -> [T; MAX_PARAMS] {
        let mut params = [T::ZERO; MAX_PARAMS];
        for (to, i) in params.iter_mut().zip(self.params).take(usize::from(self.named)) {
            *to = if i & ONE == 0 { all[i as usize] } else { vectors[(i ^ ONE) as usize].get(0, 0) };
        }
        params
    }

    /// Runs a job that treats each sample separately, on one shard.
    pub(crate) fn run(&self, exec: &Parallel, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        if let Act::Rest = self.act {
            return self.rest(shard, shared);
        }
        let shape = shard.slots[self.writes()[0] as usize].shape();
        let Shard { slots, hands, .. } = shard;
        for (hand, at) in hands.iter_mut().zip(self.writes()) {
            std::mem::swap(hand, &mut slots[*at as usize].lines);
        }
        match self.act {
            Act::Send => self.send(exec, shape, shard, shared),
            Act::Carry => self.carry(exec, shape, shard),
            _ => self.elements(exec, shape, shard, shared),
        }
        let Shard { slots, hands, .. } = shard;
        for (hand, at) in hands.iter_mut().zip(self.writes()) {
            std::mem::swap(hand, &mut slots[*at as usize].lines);
        }
    }

    /// Runs the rare kinds of work.
    fn rest(&self, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let at = self.writes()[0] as usize;
        let mut to = std::mem::take(&mut shard.slots[at]);
        match self.about.work {
            Work::Reduce { how, .. } => reduce(how, &shard.slots[self.whole()[0]], &mut to),
            Work::Draw(Draw::Uniform { stream }) => {
                draw(|index| shared.counter.uniform(stream, index), shard.samples.start * self.about.places, &mut to);
            }
            Work::Draw(Draw::Bell { stream }) => {
                draw(|index| shared.counter.bell(stream, index), shard.samples.start * self.about.places, &mut to);
            }
            // `update.rs` and `change.rs` do the first two, across shards; `run` does the others.
            Work::Draw(Draw::Normal { .. }) | Work::OuterProduct { .. } | Work::Send { .. } | Work::Map(_) => {}
        }
        shard.slots[at] = to;
    }

    /// A matrix product. The epilogue runs on each band while it is in the cache.
    fn send(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let [weights, from] = self.whole();
        let (weights, forward) = (&shared.connections[weights], self.forward);
        let Shard { slots, hands, turned, .. } = shard;
        let (written, turned) = (&mut hands[..self.writes().len()], &mut turned[self.sender as usize]);
        let (slots, from) = (&slots[..], &slots[from]);
        if !forward {
            weights.prepare(exec, from, turned);
        }
        let turned = &*turned;
        let work = 2 * numbers(shape) * from.cols as u64;
        let params = self.params(shared.params, shared.vectors);
        let bias = weights.bias.as_ref().filter(|_| self.biased);
        let product = |band: &Band, s: &mut [T]| {
            if forward {
                weights.forward(exec.arch, band, s, from);
            } else {
                weights.backward(exec.arch, band, s, from, turned);
            }
            if let Some(bias) = bias {
                add_bias(exec, band, s, bias.data());
            }
        };
        exec.share_rows(shape, work, written, |band, writes| match self.ends.landing {
            SumTarget::Slot(w) => {
                product(band, writes[usize::from(w)]);
                self.end(exec, band, writes, &mut [], slots, shared, &params);
            }
            _ => with_scratch(band.range().len(), |s| {
                if !shape.cols.is_multiple_of(shape.wide) {
                    s.fill(T::ZERO);
                }
                product(band, s);
                self.end(exec, band, writes, s, slots, shared, &params);
            }),
        });
    }

    /// A fixed map, which has no epilogue.
    fn carry(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>) {
        let Some(map) = &self.about.map else { return };
        let Shard { slots, hands, .. } = shard;
        let [decides, from] = self.whole().map(|at| &slots[at]);
        if slots[self.writes()[0] as usize].patches.is_some() {
            return map.frame(exec, (shape, &mut hands[0]), from);
        }
        map.run(exec, self.forward, (shape, &mut hands[0]), from, decides);
    }

    /// An epilogue without a product.
    fn elements(&self, exec: &Parallel, shape: Shape, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let Shard { slots, hands, .. } = shard;
        let (written, slots) = (&mut hands[..self.writes().len()], &slots[..]);
        let params = self.params(shared.params, shared.vectors);
        let work = u64::from(self.ends.nodes) * numbers(shape);
        exec.share(shape, work, written, |band, writes| {
            self.end(exec, band, writes, &mut [], slots, shared, &params);
        });
    }

    /// Runs the epilogue on one band.
    #[allow(clippy::too_many_arguments, reason = "the operands of one kernel")]
    fn end(
        &self,
        exec: &Parallel,
        band: &Band,
        writes: &mut [&mut [T]],
        s: &mut [T],
        slots: &[Matrix<T>],
        shared: Shared<'_, T>,
        params: &[T],
    ) {
        if self.ends.landed() {
            return;
        }
        if let Some(kernel) = self.ends.kernel() {
            let mut reads = [&[][..]; KNOWN_READS];
            for (to, &at) in reads.iter_mut().zip(self.reads()) {
                *to = &slots[at as usize].data()[band.range()];
            }
            kernel(exec.arch, writes, s, &reads[..self.reads().len()], params);
            return self.ends.clear_padding(band, writes);
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
                // The epilogue's own domain, or one of the same shape: samples of another population, the other side of an identity.
                _ => Read::Element(&slots[at].data()[band.range()]),
            };
        }
        self.ends.run(exec.arch, band, writes, s, &reads[..self.reads().len()], params, true);
    }
}

impl<T: Kernels> CpuLaunch<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, launch: &Launch, evaluated: bool) -> Self {
        let jobs = launch.jobs.iter().map(|job| Ready::new(plan, index, job, evaluated)).collect();
        CpuLaunch { kind: launch.kind, jobs }
    }

    /// Whether it combines or changes values across samples.
    pub(crate) fn meets(&self) -> bool {
        let normal = |job: &Ready<T>| matches!(job.about.work, Work::Draw(Draw::Normal { .. }));
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

/// One value per sample, [1, samples], from [samples · positions, n], in order of positions and units.
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

/// The sum of squares per sample, with eight accumulators, so that additions do not wait for each other. (Padding columns are 0.)
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
    // 0 and −0 are equal; the result is the one that comes first.
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
