//! One launch of a program on the CPU: what arrives, and the ends of it.

use super::connections::Connections;
use super::ends::{Ends, Landing, MAX_PARAMS, Read};
use super::exec::{Exec, MAX_WRITES, numbers};
use super::known::Kernels;
use super::matrix::{Band, Matrix, PANEL};
use super::product;
use super::slots::{Index, Shard};
use super::vector::vector;
use crate::expr::{Code, Node};
use crate::plan::{Direction, Draw, Home, Plan, Reduction};
use crate::program::{Job, Kind, Launch, Place, Work};
use crate::random::Counter;
use std::cell::RefCell;

/// Slots that the ends of one job may touch.
pub(crate) const MAX_LEAVES: usize = 16;

/// Slots that a hand-written kernel reads, at most.
const KNOWN_READS: usize = 4;

thread_local! {
    /// Where s lands that no slot holds; grown once.
    static ARRIVED: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// A thread's scratch of so many numbers.
pub(crate) fn with_scratch<T: Kernels, R>(numbers: usize, task: impl FnOnce(&mut [T]) -> R) -> R {
    ARRIVED.with_borrow_mut(|scratch| {
        let words = (numbers * size_of::<T>()).div_ceil(size_of::<f64>());
        if scratch.len() < words {
            scratch.resize(words, 0.0);
        }
        task(&mut bytemuck::cast_slice_mut(scratch)[..numbers])
    })
}

/// A job ready to run.
pub(crate) struct Ready<T> {
    pub(crate) work: Work,
    pub(crate) ends: Ends<T>,
    /// Where its ends are evaluated.
    pub(crate) home: Home,
    /// The matrices of its leaves, those written first; so many are written, and so many there are. (In place: a job is read
    /// anew at every launch, and each pointer followed is a cache line more.)
    leaves: [usize; MAX_WRITES + MAX_LEAVES],
    written: usize,
    touched: usize,
    /// What kind of leaf those are that are only read.
    kinds: Vec<Home>,
    /// Of what is sent, reduced or multiplied: the matrices read as a whole.
    whole: [usize; 2],
    /// The rule's numbers it reads, and how many.
    params: [u32; MAX_PARAMS],
    named: usize,
    /// Of a product: whether it adds biases, and the population whose slots it may need turned.
    biased: bool,
    sender: usize,
    /// Whether the ends are a plain step, θ ← fma(α, s, θ), which a product over the batch makes itself.
    pub(crate) is_step: bool,
}

/// A launch ready to run.
pub(crate) struct ReadyLaunch<T> {
    pub(crate) kind: Kind,
    pub(crate) jobs: Vec<Ready<T>>,
}

/// What jobs read besides slots of their samples.
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    /// By [`Index`]: weights and other slots of connections.
    pub(crate) connections: &'a [Connections<T>],
    /// By [`Index`]: a number a unit, [1, n].
    pub(crate) vectors: &'a [Matrix<T>],
    /// The rule's numbers at this update.
    pub(crate) params: &'a [T],
    /// Random numbers of this update.
    pub(crate) counter: Counter,
}

impl<T: Kernels> Ready<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, job: &Job, evaluated: bool) -> Self {
        let home = plan.slot(job.code.leaves[0].slot).home;
        let whole = job.work.reads();
        let at = |i: usize| whole.get(i).map_or(0, |place| index.of(*place));
        let kinds = job.code.leaves[job.code.outs.len()..].iter().map(|place| plan.slot(place.slot).home).collect();
        Ready {
            work: job.work.clone(),
            ends: Ends::new(plan, home, &job.code, evaluated),
            home,
            leaves: std::array::from_fn(|i| job.code.leaves.get(i).map_or(0, |place| index.of(*place))),
            written: job.code.outs.len(),
            touched: job.code.leaves.len(),
            named: job.code.params.len(),
            kinds,
            whole: [at(0), at(1)],
            params: std::array::from_fn(|i| job.code.params.get(i).map_or(0, |p| p.0 as u32)),
            biased: matches!(job.work, Work::Send { projection, direction: Direction::Forward, .. } if plan.biased(projection)),
            sender: if let Work::Send { projection, .. } = job.work { plan.projections[projection].to } else { 0 },
            is_step: is_step(&job.code),
        }
    }

    /// Asks for the cache lines of the job itself.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        let (start, lines) = (std::ptr::from_ref(self).cast::<u8>(), size_of::<Self>().div_ceil(64));
        (0..lines).for_each(|line| product::fetch(start.wrapping_add(64 * line)));
    }

    pub(crate) fn writes(&self) -> &[usize] {
        &self.leaves[..self.written]
    }

    pub(crate) fn reads(&self) -> &[usize] {
        &self.leaves[self.written..self.touched]
    }

    /// The matrices that are read as a whole.
    pub(crate) fn whole(&self) -> [usize; 2] {
        self.whole
    }

    /// The rule's numbers that its ends read, in their order.
    pub(crate) fn params(&self, all: &[T]) -> [T; MAX_PARAMS] {
        let mut params = [T::ZERO; MAX_PARAMS];
        for (to, i) in params.iter_mut().zip(self.params).take(self.named) {
            *to = all[i as usize];
        }
        params
    }

    /// Runs a job that no other sample has part in, on one part of the batch.
    pub(crate) fn run(&self, exec: &Exec, shard: &mut Shard<T>, shared: Shared<'_, T>) {
        let count = self.writes().len();
        let Shard { slots, hands, .. } = shard;
        for (hand, at) in hands.iter_mut().zip(self.writes()) {
            std::mem::swap(hand, &mut slots[*at]);
        }
        match self.work {
            Work::Send { direction, .. } => self.send(exec, shard, shared, direction),
            Work::Reduce { how, .. } => reduce(how, &slots[self.whole[0]], &mut hands[0]),
            Work::Draw(Draw::Uniform { stream }) => draw(shared.counter, stream, shard.samples.start, &mut hands[0]),
            Work::Each(_) => self.elements(exec, &mut hands[..count], slots, shared),
            // Drawn, or made, where samples meet.
            Work::Draw(Draw::Normal { .. }) | Work::Change { .. } => {}
        }
        let Shard { slots, hands, .. } = shard;
        for (hand, at) in hands.iter_mut().zip(self.writes()) {
            std::mem::swap(hand, &mut slots[*at]);
        }
    }

    /// A product, and its ends while a band of it is at hand.
    fn send(&self, exec: &Exec, shard: &mut Shard<T>, shared: Shared<'_, T>, direction: Direction) {
        let [weights, from] = self.whole;
        let (weights, forward) = (&shared.connections[weights], direction == Direction::Forward);
        let Shard { slots, hands, turned, .. } = shard;
        let (written, turned) = (&mut hands[..self.writes().len()], &mut turned[self.sender]);
        let (slots, from) = (&slots[..], &slots[from]);
        if !forward {
            weights.prepare(exec, from, turned);
        }
        let turned = &*turned;
        let shape = written[0].shape();
        let work = 2 * numbers(shape) * from.cols as u64;
        let params = self.params(shared.params);
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
        exec.share(shape, work, written, |band, writes| match self.ends.landing {
            Landing::Slot(w) => {
                product(band, writes[w]);
                self.end(exec, band, writes, &mut [], slots, shared, &params);
            }
            _ => with_scratch(band.range().len(), |s| {
                if !shape.cols.is_multiple_of(PANEL) {
                    s.fill(T::ZERO);
                }
                product(band, s);
                self.end(exec, band, writes, s, slots, shared, &params);
            }),
        });
    }

    /// Ends alone.
    fn elements(&self, exec: &Exec, written: &mut [Matrix<T>], slots: &[Matrix<T>], shared: Shared<'_, T>) {
        let shape = written[0].shape();
        let params = self.params(shared.params);
        let work = self.ends.code.nodes.len() as u64 * numbers(shape);
        exec.share(shape, work, written, |band, writes| {
            self.end(exec, band, writes, &mut [], slots, shared, &params);
        });
    }

    /// The ends on one band.
    #[allow(clippy::too_many_arguments, reason = "the operands of one kernel")]
    fn end(
        &self,
        exec: &Exec,
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
                *to = &slots[at].data()[band.range()];
            }
            kernel(exec.arch, writes, s, &reads[..self.reads().len()], params);
            return self.ends.clear_padding(band, writes);
        }
        let mut reads = [Read::Element(&[][..]); MAX_LEAVES];
        for ((to, &at), kind) in reads.iter_mut().zip(self.reads()).zip(&self.kinds) {
            *to = match (self.home, kind) {
                (Home::Units(_), Home::Vector(_)) => Read::Vector(shared.vectors[at].data()),
                (Home::Units(_), Home::Samples(_)) => Read::Sample(slots[at].data()),
                // At home, or of the same shape: samples' of another population, the other side of an identity.
                _ => Read::Element(&slots[at].data()[band.range()]),
            };
        }
        self.ends.run(exec.arch, band, writes, s, &reads[..self.reads().len()], params);
    }
}

impl<T: Kernels> ReadyLaunch<T> {
    pub(crate) fn new(plan: &Plan, index: &Index, launch: &Launch, evaluated: bool) -> Self {
        let jobs = launch.jobs.iter().map(|job| Ready::new(plan, index, job, evaluated)).collect();
        ReadyLaunch { kind: launch.kind, jobs }
    }

    /// Whether samples meet in it.
    pub(crate) fn meets(&self) -> bool {
        let normal = |job: &Ready<T>| matches!(job.work, Work::Draw(Draw::Normal { .. }));
        matches!(self.kind, Kind::Change | Kind::Connections)
            || self.jobs.iter().any(|job| normal(job) || matches!(job.home, Home::Vector(_)))
    }
}

fn is_step(code: &Code<Place>) -> bool {
    let step = [Node::Param(0), Node::Arriving, Node::Leaf(0), Node::Fma(0, 1, 2)];
    code.nodes == step && code.outs == [3] && code.leaves.len() == 1
}

/// s += b, `[n]` to each row.
fn add_bias<T: Kernels>(exec: &Exec, band: &Band, s: &mut [T], bias: &[T]) {
    let mut rows = s.chunks_exact_mut(PANEL);
    vector(
        exec.arch,
        #[inline(always)]
        || {
            for piece in band.pieces() {
                let bias = &bias[piece.q * PANEL..][..PANEL];
                for row in rows.by_ref().take(piece.rows.len()) {
                    for (s, b) in row.iter_mut().zip(bias) {
                        *s = *s + *b;
                    }
                }
            }
        },
    );
}

/// A number a sample, [1, rows], out of [rows, n].
fn reduce<T: Kernels>(how: Reduction, from: &Matrix<T>, to: &mut Matrix<T>) {
    for i in 0..from.rows {
        let values = (0..from.cols).map(|j| from.get(i, j));
        let value = match how {
            Reduction::Sum => values.fold(T::ZERO, |sum, v| sum + v),
            Reduction::Max => values.reduce(|a, b| if b > a { b } else { a }).unwrap_or(T::ZERO),
            Reduction::Argmax => {
                let best = (1..from.cols).fold(0, |best, j| if from.get(i, j) > from.get(i, best) { j } else { best });
                T::from_f64(best as f64)
            }
            Reduction::Top(k) => top(values, k),
        };
        to.set(0, i, value);
    }
}

/// The k-th largest: the largest of those that at least k − 1 others reach.
fn top<T: Kernels>(values: impl Iterator<Item = T> + Clone, k: u32) -> T {
    let enough = |v: &T| values.clone().filter(|w| w >= v).count() as u32 >= k;
    let most = values.clone().filter(enough).reduce(|a, b| if b > a { b } else { a });
    most.or_else(|| values.clone().reduce(|a, b| if b < a { b } else { a })).unwrap_or(T::ZERO)
}

/// Uniform numbers for a part of the batch that begins at sample `first`.
fn draw<T: Kernels>(counter: Counter, stream: u32, first: usize, to: &mut Matrix<T>) {
    for i in 0..to.rows {
        for j in 0..to.cols {
            let index = ((first + i) * to.cols + j) as u32;
            to.set(i, j, T::from_f64(f64::from(counter.uniform(stream, index))));
        }
    }
}
