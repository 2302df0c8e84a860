//! A learning rule as data: the [`Plan`] of one weight update.
//!
//! A plan declares *populations* of units, *projections* between them, and *slots*: named arrays that it keeps. It is
//! then a list of [`Moment`]s, each a list of steps, each a list of [`Op`]s on slots. **A step's reads see its
//! beginning, and its writes are committed together.** That simultaneity is what makes Z-IL exact: inference and
//! learning of a moment stand in one step, and an executor that let Δθ^l precede Δx^l would not compute
//! backpropagation.
//!
//! There are five kinds of op, and elementwise mathematics in them is data too ([`Expr`]):
//!
//! | op | meaning |
//! | --- | --- |
//! | [`What::Send`] | s = W·from, or Wᵀ·from, through a projection; then its ends, in the population where s arrives |
//! | [`What::Map`] | ends on the slots of one population, or of one projection |
//! | [`What::OuterProduct`] | s = Σ_batch post ⊗ pre, sample after sample; then its ends, on the projection's own slots |
//! | [`What::Reduce`] | s = a sum, maximum … over units, over the batch, over a row of weights |
//! | [`What::Draw`] | s = random numbers, keyed by seed, stream, update and place |
//!
//! Because a plan is data it can be printed ([`Plan`]'s `Display`), counted ([`Plan::cost`]), judged
//! ([`Plan::properties`]) and checked ([`Plan::check`]) without running it. Rules on a chain of layers are written with
//! [`crate::rules::builder`].

pub mod activation;
pub mod augment;
pub mod equations;
pub mod expr;
mod feed;
pub mod locality;
mod pixels;
mod task;
mod validate;
mod weights;
pub mod window;

use crate::random::{Counter, Random, Stream};
pub use expr::{Expr, ParamId, SlotId};
pub use feed::{Feed, Images, Interface, Source};
use ndarray::{Array1, Array2};
pub use pixels::Pixels;
use std::borrow::Cow;
use std::fmt;
pub use task::{Loss, LrSchedule, Ramp, Rates, Task};
pub use weights::Weights;
pub use window::{Grid, Window};

/// Units of one kind: a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Population {
    /// Its name in messages.
    pub name: String,
    /// Units; of a grid, at each place.
    pub n: usize,
    /// Places whose units share weights; 1 for a layer that is no grid.
    pub places: usize,
}

/// Connections from one population to another. "Forward" is from `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Its name in messages.
    pub name: String,
    /// The population whose units send, when used forward.
    pub from: usize,
    /// The population whose units receive.
    pub to: usize,
    /// How the two are connected.
    pub kind: Connection,
}

/// How a projection connects its populations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// Every unit with every unit: slots of the projection are [n_to, n_from], and with `bias` `[n_to]` beside them.
    Dense {
        /// Whether each receiving unit has a bias, which a forward product adds.
        bias: bool,
    },
    /// Unit i with unit i. It has no weights.
    Identity,
    /// A fixed map: each place gets the window of the senders below it, (row, column, channel) with the channel fastest, and 0
    /// from outside the grid.
    Patches(Window),
    /// A fixed map: each place gets the mean of the window below it, channel by channel.
    Average(Window),
    /// The same with the largest number of the window. Backward an error goes to the first among the largest of what was sent,
    /// which a backward [`What::Send`] names as its weights.
    Maximum(Window),
    /// A fixed map: the units of all places, place after place, become one place's.
    Flat,
    /// A fixed map: as many units as the receivers are, from this one on, of senders of one place.
    Part {
        /// The number of the first.
        start: usize,
    },
}

impl Connection {
    /// Whether its slots are weights.
    pub fn has_weights(self) -> bool {
        matches!(self, Connection::Dense { .. })
    }

    /// Whether it is a fixed map over a grid.
    pub fn is_map(self) -> bool {
        !matches!(self, Connection::Dense { .. } | Connection::Identity)
    }
}

/// Where a slot lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// A number a sample and unit of a population, [batch · places, n].
    Units(usize),
    /// A number a unit of a population, `[n]`; the same for all samples and places.
    Vector(usize),
    /// A number a sample, `[batch]`, at a population.
    Samples(usize),
    /// A number a connection of a projection, [n_to, n_from], and one a bias, `[n_to]`.
    Connections(usize),
    /// A number for the whole batch, `[1]`, at a population.
    BatchScalar(usize),
}

impl Domain {
    /// The population or projection.
    pub fn place(self) -> usize {
        match self {
            Domain::Units(p)
            | Domain::Vector(p)
            | Domain::Samples(p)
            | Domain::Connections(p)
            | Domain::BatchScalar(p) => p,
        }
    }
}

/// What a slot that lasts holds before the first update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// 0 everywhere.
    Zero,
    /// θ^l of the network's weights, with b^l; the number is l.
    Weights(usize),
    /// Uniform in ± the bound, keyed by the plan's seed, [`crate::random::Stream::Feedback`] and this number; biases 0.
    Uniform {
        /// The largest magnitude.
        bound: f64,
        /// The index within the stream.
        index: u64,
    },
    /// The magnitude of a normal number around 0, keyed alike; biases 0.
    Magnitude {
        /// Standard deviation of the normal number.
        sd: f64,
        /// The index within the stream.
        index: u64,
    },
}

/// The number of a family in [`Plan::families`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId(pub usize);

/// Slots of one kind, at most one in each population or projection: the x^l of all layers. Devices put a family into one buffer where
/// it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What checkpoints, callers and generated shaders know its slots by: a word in small ASCII letters, of no other family.
    pub key: &'static str,
    /// What its slots are for.
    pub role: Role,
}

/// What the slots of a family are for, as far as anybody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The state that inference moves: value nodes (Eq. 7), or the errors of ePC.
    Values,
    /// A sum on its way to a unit, part of what a later op brings there.
    Relay,
    /// Anything else.
    Other,
}

/// An array that a rule keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its family.
    pub family: FamilyId,
    /// How a person reads it: "ε^1". It decides nothing.
    pub symbol: String,
    /// Where it lives.
    pub home: Domain,
    /// Whether it is kept from one update to the next (else an update must write it before it reads it).
    pub persistent: bool,
    /// What it holds at first, if it lasts.
    pub start: Initial,
    /// Whether each training example has its own: an update finds what the last one with the same example left, zeros before
    /// the first. Evaluation finds zeros.
    pub per_example: bool,
    /// Whether it can be read after an update ([`crate::device::Session::slot`]), and so is always stored.
    pub observed: bool,
}

/// What is done to one slot: `to` ← `expr`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    /// The slot that is written.
    pub to: SlotId,
    /// Out of what: s, and slots of the same population or projection as the step began.
    pub expr: Expr,
}

/// Which way a projection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// s = W·from + b, arriving at `to`.
    Forward,
    /// s = Wᵀ·from, arriving at `from`.
    Backward,
}

/// A reduction: over units (of all places) to a number a sample, over the batch to a number a unit, over a row of weights to a number a unit
/// that receives, or to a single number. Where the result lives says which. All but [`Reduction::Sum`] and
/// [`Reduction::Max`] go over units only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Σ, one after the other.
    Sum,
    /// Σ of squares, in an order of the device's own.
    Squares,
    /// The largest.
    Max,
    /// The number of the largest, the first among equals.
    Argmax,
    /// The k-th largest, counting equals; the least one where there are fewer.
    Top(u32),
}

/// Random numbers. Those of [`Draw::Uniform`] and [`Draw::Bell`] have the same bits on every device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Uniform in [0, 1), multiples of 2⁻²⁴.
    Uniform {
        /// Tells the uses of one update apart.
        stream: u32,
    },
    /// Mean 0, variance 1, nearly normal: a sum of four uniform numbers, within ± 2 √3.
    Bell {
        /// Tells the uses of one update apart.
        stream: u32,
    },
    /// Normal around 0; drawn on the host, so by the CPU device only.
    Normal {
        /// Its standard deviation.
        sd: f64,
    },
}

/// The kinds of op.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// s = W·from or Wᵀ·from for each sample.
    Send {
        /// The projection.
        projection: usize,
        /// W: one of its slots (ignored by an identity); backward through [`Connection::Maximum`], the units that were sent.
        weights: Option<SlotId>,
        /// Which way.
        direction: Direction,
        /// What is sent.
        from: SlotId,
    },
    /// Ends alone.
    Map(Domain),
    /// s = Σ_batch post ⊗ pre, and Σ_batch post for the biases.
    OuterProduct {
        /// The projection.
        projection: usize,
        /// A slot of its receiving population.
        post: SlotId,
        /// A slot of its sending population.
        pre: SlotId,
    },
    /// s = a reduction of `from`.
    Reduce {
        /// What is reduced.
        from: SlotId,
        /// How.
        how: Reduction,
    },
    /// s = random numbers.
    Draw(Draw),
}

/// One operation: something arrives, and ends are evaluated where it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// What the rule calls it: predict, infer, learn …
    pub name: &'static str,
    /// What arrives, from where.
    pub what: What,
    /// What is written; the first one names the op's layer in print.
    pub ends: Vec<Assign>,
}

impl Op {
    /// Every slot the op reads, each once.
    pub fn reads(&self) -> Vec<SlotId> {
        let mut reads = self.what.reads();
        for slot in self.ends.iter().flat_map(|end| end.expr.slots()) {
            if !reads.contains(&slot) {
                reads.push(slot);
            }
        }
        reads
    }

    /// Every slot it writes.
    pub fn writes(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.ends.iter().map(|end| end.to)
    }

    /// Whether it changes weights.
    pub fn changes_weights(&self) -> bool {
        matches!(self.what, What::OuterProduct { .. })
    }
}

impl What {
    /// The slots that are read as a whole, and not element by element.
    pub fn reads(&self) -> Vec<SlotId> {
        match self {
            What::Send { weights, from, .. } => weights.iter().copied().chain([*from]).collect(),
            What::OuterProduct { post, pre, .. } if post == pre => vec![*post],
            What::OuterProduct { post, pre, .. } => vec![*post, *pre],
            What::Reduce { from, .. } => vec![*from],
            What::Map(_) | What::Draw(_) => Vec::new(),
        }
    }
}

/// An op out of its parts.
pub fn op(name: &'static str, what: What, ends: impl IntoIterator<Item = (SlotId, Expr)>) -> Op {
    Op { name, what, ends: ends.into_iter().map(|(to, expr)| Assign { to, expr }).collect() }
}

/// Elementwise work on a layer.
pub fn each(name: &'static str, l: usize, ends: impl IntoIterator<Item = (SlotId, Expr)>) -> Op {
    op(name, What::Map(Domain::Units(l)), ends)
}

/// The stage a moment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the target is shown. Evaluation makes these moments alone.
    Prediction,
    /// As the last, but in training only (noise that breaks C1).
    Disturbance,
    /// With input and target clamped, at inference moment t.
    Learning(usize),
}

/// A moment of a plan: steps one after the other, made `times` times.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// When it happens.
    pub stage: Stage,
    /// Each a list of ops that happen together.
    pub steps: Vec<Vec<Op>>,
    /// How often; more than once for a relaxation.
    pub times: u32,
}

/// A number that a rule names, as one update needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Always the same.
    Fixed(f64),
    /// The learning rate α, by its schedule; divided by the batch size where updates are averaged and weights make plain
    /// steps.
    Rate,
    /// The same times a factor: the rate of one layer.
    Scaled(f64),
    /// 1 ÷ the batch size.
    Share,
    /// 1 or −1, drawn anew for each update from this stream.
    Sign(u32),
    /// 1 ÷ (1 − βⁿ) at update n = 1, 2, …: Adam's correction of a mean that began at 0.
    Unbias(f64),
    /// How far a target is moved from the prediction towards what is right, a number of at most 1 that grows from epoch to
    /// epoch; away from it where it is negative.
    Nudge {
        /// In the first epoch.
        size: f64,
        /// What each epoch adds.
        step: f64,
        /// 1 or −1; 0 for 1 and −1 in turn, an epoch each.
        sign: i8,
    },
    /// 1 ÷ the same.
    PerNudge {
        /// In the first epoch.
        size: f64,
        /// What each epoch adds.
        step: f64,
        /// As above.
        sign: i8,
    },
}

/// A named number of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    /// Its symbol: "α".
    pub name: &'static str,
    /// What it is.
    pub value: Value,
}

/// Everything one weight update does, on any device.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What it is about.
    pub task: Task,
    /// The units.
    pub populations: Vec<Population>,
    /// Their connections.
    pub projections: Vec<Projection>,
    /// The kinds of arrays it keeps.
    pub families: Vec<Family>,
    /// The arrays it keeps.
    pub slots: Vec<Slot>,
    /// The numbers it names.
    pub params: Vec<Param>,
    /// The slots that are filled from data before each update.
    pub feeds: Vec<Feed>,
    /// What the network answers, after the moments of prediction, [batch, n^0].
    pub output: SlotId,
    /// What it does.
    pub moments: Vec<Moment>,
    /// Whether nobody will read slots of units after an update: a device may then leave out what only that would need.
    pub states_unread: bool,
    /// Whether a batch is one stream of samples in time, of which each finds what the last one left: batches are of one.
    pub streaming: bool,
    /// Populations 0 .. `layers` are those that predict something: all layers but the input; of a graph, all vertices but the
    /// input.
    pub layers: usize,
    /// Whether populations are the vertices of a graph, and not layers of a chain.
    pub unrolled: bool,
}

/// The most units a layer may have, so that every index fits 32 bits.
pub const MAX_WIDTH: usize = 1 << 24;

/// What a plan costs on a batch, counted from its ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Cost {
    /// Floating-point operations of the matrix products (2 a multiply-add) and, per unit, of the rest.
    pub flops: u64,
    /// Bytes of float32 moved if every op reads its operands and writes its result once.
    pub bytes: u64,
    /// Matrix products, one a layer and op.
    pub products: u64,
}

impl Plan {
    /// Every op, in order; those of a moment that is made several times once.
    pub fn ops(&self) -> impl Iterator<Item = &Op> + '_ {
        self.moments.iter().flat_map(|m| m.steps.iter().flatten())
    }

    /// The declaration of a slot.
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0]
    }

    /// The family of that key.
    pub fn family_of(&self, key: &str) -> Option<FamilyId> {
        self.families.iter().position(|family| family.key == key).map(FamilyId)
    }

    /// The family of that key, made if there is none.
    fn family(&mut self, key: &'static str) -> FamilyId {
        self.family_of(key).unwrap_or_else(|| {
            self.families.push(Family { key, role: Role::Other });
            FamilyId(self.families.len() - 1)
        })
    }

    /// The key of a slot's family.
    pub fn key(&self, slot: SlotId) -> &'static str {
        self.families[self.slot(slot).family.0].key
    }

    /// What a slot's family is for.
    pub fn role(&self, slot: SlotId) -> Role {
        self.families[self.slot(slot).family.0].role
    }

    /// Says what the slots of a key are for.
    pub fn set_role(&mut self, key: &'static str, role: Role) {
        let family = self.family(key);
        self.families[family.0].role = role;
    }

    /// The slot of a family at a population or projection.
    pub fn member(&self, family: FamilyId, at: usize) -> Option<SlotId> {
        self.slots.iter().position(|slot| slot.family == family && slot.home.place() == at).map(SlotId)
    }

    /// The slot of that key at a population or projection.
    pub fn find(&self, key: &str, at: usize) -> Option<SlotId> {
        self.member(self.family_of(key)?, at)
    }

    /// Declares a slot that an update writes before it reads it.
    pub fn declare(&mut self, key: &'static str, symbol: String, home: Domain) -> SlotId {
        let family = self.family(key);
        self.slots.push(Slot {
            family,
            symbol,
            home,
            persistent: false,
            start: Initial::Zero,
            per_example: false,
            observed: false,
        });
        SlotId(self.slots.len() - 1)
    }

    /// Declares a slot that is kept from one update to the next.
    pub fn keep(&mut self, key: &'static str, symbol: String, home: Domain, start: Initial) -> SlotId {
        let family = self.family(key);
        self.slots.push(Slot { family, symbol, home, persistent: true, start, per_example: false, observed: true });
        SlotId(self.slots.len() - 1)
    }

    /// Declares a slot of units that each training example has for itself.
    pub fn remember(&mut self, key: &'static str, symbol: String, population: usize) -> SlotId {
        let slot = self.keep(key, symbol, Domain::Units(population), Initial::Zero);
        self.slots[slot.0].per_example = true;
        slot
    }

    /// Declares a projection.
    pub fn project(&mut self, name: String, from: usize, to: usize, kind: Connection) -> usize {
        self.projections.push(Projection { name, from, to, kind });
        self.projections.len() - 1
    }

    /// Names a number; the same name and value are one.
    pub fn param(&mut self, name: &'static str, value: Value) -> ParamId {
        let param = Param { name, value };
        let known = self.params.iter().position(|p| *p == param);
        ParamId(known.unwrap_or_else(|| {
            self.params.push(param);
            self.params.len() - 1
        }))
    }

    /// Adds a moment.
    pub fn moment(&mut self, stage: Stage, steps: Vec<Vec<Op>>) {
        let steps: Vec<_> = steps.into_iter().filter(|ops| !ops.is_empty()).collect();
        self.moments.push(Moment { stage, steps, times: 1 });
    }

    /// The projection whose trained weights are θ^l, and their slot.
    pub fn theta(&self, l: usize) -> Option<SlotId> {
        self.slots.iter().position(|s| s.start == Initial::Weights(l)).map(SlotId)
    }

    /// The number of trained weight matrices.
    pub fn matrices(&self) -> usize {
        let number = |slot: &Slot| if let Initial::Weights(l) = slot.start { l } else { 0 };
        self.slots.iter().map(number).max().unwrap_or(0)
    }

    /// The shape of θ^l, [n_to, n_from], and whether biases lie beside it.
    pub fn matrix(&self, l: usize) -> Option<([usize; 2], bool)> {
        let Domain::Connections(p) = self.slot(self.theta(l)?).home else { return None };
        let shape = [self.projections[p].to, self.projections[p].from].map(|at| self.populations[at].n);
        Some((shape, self.biased(p)))
    }

    /// Whether these weights have the shapes of the plan's.
    pub fn takes(&self, weights: &Weights) -> bool {
        let all = self.matrices();
        let fits = |l: usize| {
            let Some((shape, biased)) = self.matrix(l) else { return false };
            let bias = weights.bias.get(l - 1).map(|b| b.len());
            weights.theta[l - 1].shape() == shape && bias == biased.then_some(shape[0])
        };
        weights.theta.len() == all && (1..=all).all(fits)
    }

    /// Weights of the plan's shapes, all 0.
    pub fn zero_weights(&self) -> Weights {
        let all = || (1..=self.matrices()).filter_map(|l| self.matrix(l));
        let bias = all().filter(|(_, biased)| *biased).map(|([to, _], _)| Array1::zeros(to));
        Weights { theta: all().map(|(shape, _)| Array2::zeros(shape)).collect(), bias: bias.collect() }
    }

    /// Numbers of all trained weights and biases.
    pub fn parameters(&self) -> u64 {
        let all = (1..=self.matrices()).filter_map(|l| self.matrix(l));
        all.map(|([to, from], biased)| to as u64 * (from as u64 + u64::from(biased))).sum()
    }

    /// What layer l ≥ 1 sends to the next one when a network predicts: its activity. Nothing where the network is no chain.
    pub fn sent(&self, l: usize) -> Option<SlotId> {
        if self.unrolled {
            return None;
        }
        let predicted = self.moments.iter().filter(|m| m.stage == Stage::Prediction);
        let ops = predicted.flat_map(|m| m.steps.iter().flatten());
        let sent = |op: &Op| match op.what {
            What::Send { projection, direction: Direction::Forward, from, .. } if projection + 1 == l => Some(from),
            _ => None,
        };
        ops.filter_map(sent).next_back().map(|slot| self.carried_from(slot))
    }

    /// The slot that fixed maps brought here, or the slot itself.
    fn carried_from(&self, slot: SlotId) -> SlotId {
        let from = self.ops().find_map(|op| match op.what {
            What::Send { projection, direction: Direction::Forward, from, .. } => {
                let carries = self.projections[projection].kind.is_map() && op.writes().any(|to| to == slot);
                carries.then_some(from)
            }
            _ => None,
        });
        from.map_or(slot, |from| self.carried_from(from))
    }

    /// What a slot of connections holds before the first update: [n_to, n_from], and `[n_to]` if there are biases.
    pub fn initial(&self, slot: SlotId, weights: &Weights) -> (Array2<f32>, Option<Array1<f32>>) {
        let Domain::Connections(at) = self.slot(slot).home else { return (Array2::zeros((0, 0)), None) };
        let [to, from] = [self.projections[at].to, self.projections[at].from].map(|p| self.populations[p].n);
        let bias = self.biased(at).then(|| Array1::zeros(to));
        match self.slot(slot).start {
            Initial::Zero => (Array2::zeros((to, from)), bias),
            Initial::Weights(l) => (weights.theta[l - 1].clone(), weights.bias.get(l - 1).cloned()),
            Initial::Uniform { bound, index } => {
                let mut random = Random::new(self.task.seed, Stream::Feedback, index);
                let number = || random.range(-bound, bound) as f32;
                (Array2::from_shape_simple_fn((to, from), number), bias)
            }
            Initial::Magnitude { sd, index } => {
                let mut random = Random::new(self.task.seed, Stream::Feedback, index);
                let number = || (sd * random.normal()).abs() as f32;
                (Array2::from_shape_simple_fn((to, from), number), bias)
            }
        }
    }

    /// Units of a population, at a place, or rows of a projection's matrix.
    pub fn extent(&self, home: Domain) -> usize {
        match home {
            Domain::Units(p) | Domain::Vector(p) => self.populations[p].n,
            Domain::Samples(_) | Domain::BatchScalar(_) => 1,
            Domain::Connections(p) => self.populations[self.projections[p].to].n,
        }
    }

    /// Whether the projection's receiving units have biases.
    pub fn biased(&self, projection: usize) -> bool {
        self.projections[projection].kind == Connection::Dense { bias: true }
    }

    /// The same plan, stopped before inference and learning of moment `t`: its ε are those of time t.
    pub fn until(&self, t: usize) -> Plan {
        let mut plan = self.clone();
        plan.moments.retain(|m| !matches!(m.stage, Stage::Learning(u) if u > t));
        if let Some(last) = plan.moments.last_mut().filter(|m| m.stage == Stage::Learning(t)) {
            last.steps.iter_mut().for_each(|ops| ops.retain(|op| !self.moves(op)));
            last.steps.retain(|ops| !ops.is_empty());
            // Of a repeated moment, it is the first time.
            last.times = 1;
        }
        plan.without_unwritten();
        plan
    }

    /// Whether an op changes weights, or moves the state of inference ([`Role::Values`]).
    pub(crate) fn moves(&self, op: &Op) -> bool {
        op.changes_weights() || op.writes().any(|to| self.role(to) == Role::Values)
    }

    /// Leaves out ops that read what nothing wrote, once other ops were taken out.
    fn without_unwritten(&mut self) {
        let mut written: Vec<bool> = self.slots.iter().map(|s| s.persistent).collect();
        self.feeds.iter().for_each(|feed| written[feed.slot.0] = true);
        for ops in self.moments.iter_mut().flat_map(|m| &mut m.steps) {
            ops.retain(|op| op.reads().iter().all(|s| written[s.0]));
            ops.iter().flat_map(Op::writes).for_each(|to| written[to.0] = true);
        }
        self.moments.iter_mut().for_each(|m| m.steps.retain(|ops| !ops.is_empty()));
    }

    /// The moments of prediction alone: what evaluation runs.
    pub fn prediction(&self) -> Plan {
        let mut plan = self.clone();
        plan.moments.retain(|m| m.stage == Stage::Prediction);
        plan.slots.iter_mut().for_each(|s| s.observed = false);
        plan.slots[plan.output.0].observed = true;
        plan
    }

    /// The same plan, of whose units nothing will be read after an update.
    pub fn without_reads_of_states(&self) -> Plan {
        Plan { states_unread: true, ..self.clone() }
    }

    /// The value of a number at update `n` (from 1) on batches of `batch`.
    pub fn value(&self, param: ParamId, n: u64, batch: usize) -> f64 {
        match self.params[param.0].value {
            Value::Fixed(value) => value,
            Value::Rate => self.task.rates.at(n, batch),
            Value::Scaled(factor) => factor * self.task.rates.at(n, batch),
            Value::Share => 1.0 / batch as f64,
            Value::Sign(stream) => {
                let counter = Counter::new(self.task.seed, n - 1);
                if counter.uniform(stream, 0) < 0.5 { 1.0 } else { -1.0 }
            }
            Value::Unbias(beta) => 1.0 / (1.0 - beta.powf(n as f64)),
            Value::Nudge { size, step, sign } => self.nudge(n, size, step, sign),
            Value::PerNudge { size, step, sign } => 1.0 / self.nudge(n, size, step, sign),
        }
    }

    /// β of a nudge at update `n`.
    fn nudge(&self, n: u64, size: f64, step: f64, sign: i8) -> f64 {
        let epoch = self.task.rates.epoch_of(n);
        let size = (size + step * epoch as f64).min(1.0);
        match sign {
            0 if epoch.is_multiple_of(2) => size,
            0 => -size,
            sign => f64::from(sign) * size,
        }
    }

    /// What the plan costs on `batch` samples.
    pub fn cost(&self, batch: usize) -> Cost {
        // What cannot be carried is refused elsewhere.
        let plan = self.carried().unwrap_or(Cow::Borrowed(self));
        plan.cost_as_written(batch)
    }

    fn cost_as_written(&self, batch: usize) -> Cost {
        let mut cost = Cost::default();
        for moment in &self.moments {
            for op in moment.steps.iter().flatten() {
                let one = self.op_cost(op, batch as u64);
                let times = u64::from(moment.times);
                cost.flops = cost.flops.saturating_add(one.flops.saturating_mul(times));
                cost.bytes = cost.bytes.saturating_add(one.bytes.saturating_mul(times));
                cost.products += one.products * times;
            }
        }
        cost
    }

    fn op_cost(&self, op: &Op, batch: u64) -> Cost {
        let units = |slot: SlotId| match self.slot(slot).home {
            Domain::Units(p) => batch * (self.populations[p].places * self.populations[p].n) as u64,
            Domain::Vector(p) => self.populations[p].n as u64,
            Domain::Samples(_) => batch,
            Domain::BatchScalar(_) => 1,
            Domain::Connections(p) => self.connections(p),
        };
        let per_unit: u64 = op.ends.first().map_or(0, |end| units(end.to) * unique_flops(&op.ends));
        let product = |p: usize, twice: u64, operands: u64| Cost {
            flops: (2 * batch * self.populations[self.projections[p].to].places as u64)
                .saturating_mul(self.connections(p)),
            bytes: 4 * (operands + twice * self.connections(p)),
            products: 1,
        };
        match op.what {
            What::Send { projection, from, .. } if self.projections[projection].kind.has_weights() => {
                let arrives = op.ends.first().map_or(0, |end| units(end.to));
                let cost = product(projection, 1, units(from) + arrives);
                Cost { flops: cost.flops.saturating_add(per_unit), ..cost }
            }
            // The end of a plain step is part of its product: fma(α, s, θ).
            What::OuterProduct { projection, post, pre } => product(projection, 2, units(post) + units(pre)),
            _ => {
                let slots = op.reads().len() as u64 + op.ends.len() as u64;
                let numbers = op.ends.first().map_or(0, |end| units(end.to));
                Cost { flops: per_unit, bytes: 4 * slots * numbers, products: 0 }
            }
        }
    }

    fn connections(&self, projection: usize) -> u64 {
        let Projection { from, to, .. } = self.projections[projection];
        (self.populations[from].n as u64).saturating_mul(self.populations[to].n as u64)
    }
}

/// Arithmetic of the ends on one number, what they share once.
fn unique_flops(ends: &[Assign]) -> u64 {
    let mut seen: Vec<&Expr> = Vec::new();
    fn walk<'a>(e: &'a Expr, seen: &mut Vec<&'a Expr>) -> u64 {
        if seen.contains(&e) {
            return 0;
        }
        seen.push(e);
        let parts: u64 = e.parts().iter().map(|p| walk(p, seen)).sum();
        let inner: u64 = e.parts().iter().map(Expr::flops).sum();
        parts + e.flops() - inner
    }
    ends.iter().map(|end| walk(&end.expr, &mut seen)).sum()
}

impl fmt::Display for Plan {
    /// The paper's Fig. 2 as text: a line a moment, an op with the layers it runs on.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.task.title)?;
        for moment in &self.moments {
            match moment.stage {
                Stage::Prediction | Stage::Disturbance => write!(out, "  predict  ")?,
                Stage::Learning(t) => write!(out, "  t = {t:<4} ")?,
            }
            let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
            for op in moment.steps.iter().flatten() {
                // The first slot that is written, and every weight.
                let weight = |end: &Assign| !matches!(self.slot(end.to).start, Initial::Zero);
                let shown = op.ends.iter().enumerate().filter(|(i, end)| *i == 0 || weight(end));
                let targets = shown.map(|(_, end)| self.slot(end.to).symbol.clone());
                match groups.last_mut() {
                    Some((name, list)) if *name == op.name => list.extend(targets),
                    _ => groups.push((op.name, targets.collect())),
                }
            }
            let groups: Vec<String> = groups.iter().map(|(name, list)| format!("{name} {}", list.join(" "))).collect();
            let times = if moment.times > 1 { format!("  ({} times)", moment.times) } else { String::new() };
            writeln!(out, "{}{times}", groups.join(" · "))?;
        }
        Ok(())
    }
}
