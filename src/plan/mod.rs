//! A learning rule as data: the [`Plan`] of one weight update.
//!
//! A plan declares *populations* of units, *projections* between them, and *slots*, which are named arrays. It then
//! lists [`Moment`]s. A moment is a list of steps, and a step is a list of [`Op`]s on slots. **All reads of a step see
//! the values from its start. All its writes are committed together.** Z-IL is exact because of this: inference and
//! learning of a moment run in the same step. An executor that applied Δθ^l before Δx^l would not compute
//! backpropagation.
//!
//! There are five kinds of op. Their elementwise mathematics is data too ([`Expr`]):
//!
//! | op | meaning |
//! | --- | --- |
//! | [`What::Send`] | s = W·from, or Wᵀ·from, through a projection; then its `epilogue`, in the receiving population |
//! | [`What::Map`] | `epilogue` on the slots of one population or one projection |
//! | [`What::OuterProduct`] | s = Σ_batch post ⊗ pre, in sample order; then its `epilogue`, on the projection's slots |
//! | [`What::Reduce`] | s = a sum, maximum … over units, over the batch, or over a row of weights |
//! | [`What::Draw`] | s = random numbers, keyed by seed, stream, update and index |
//!
//! The `epilogue` of an op ([`Op::epilogue`]) is its assignments: elementwise expressions of s and other slots.
//!
//! A plan is data, so it can be used without running it: printed ([`Plan`]'s `Display`), costed ([`Plan::cost`]),
//! analysed ([`Plan::properties`]) and validated ([`Plan::check`]). Use [`crate::rules::builder`] to write rules for a
//! chain of layers.

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
pub use feed::{Feed, Images, Interface, Kind, Source};
use ndarray::{Array1, Array2};
pub use pixels::Pixels;
use std::borrow::Cow;
use std::fmt;
pub use task::{Loss, LrSchedule, Ramp, Rates, Task};
pub use weights::Weights;
pub use window::{Grid, Window};

/// A group of units of one kind, usually a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Population {
    /// Name used in messages.
    pub name: String,
    /// Number of units; on a grid, per place.
    pub n: usize,
    /// Number of places that share weights (grid positions); 1 for a layer without a grid.
    pub places: usize,
}

/// Connections from one population to another. "Forward" means from `from` to `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// Name used in messages.
    pub name: String,
    /// The sending population in the forward direction.
    pub from: usize,
    /// The receiving population in the forward direction.
    pub to: usize,
    /// How the two populations are connected.
    pub kind: Connection,
}

/// How a projection connects its populations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// All-to-all. A slot of the projection has shape `[n_to, n_from]`; with `bias` it also holds a vector `[n_to]`.
    Dense {
        /// Whether each receiving unit has a bias. A forward product adds it.
        bias: bool,
    },
    /// Unit i to unit i. It has no weights.
    Identity,
    /// A fixed map (im2col): each place receives its window of the sending grid, in the order (row, column, channel)
    /// with the channel fastest. Values outside the grid are 0.
    Patches(Window),
    /// A fixed map (average pooling): each place receives the mean of its window, per channel.
    Average(Window),
    /// A fixed map (max pooling): each place receives the maximum of its window, per channel. In the backward pass the
    /// error goes to the first maximum of the window; `weights` of the backward [`What::Send`] names the forward input,
    /// from which it is found.
    Maximum(Window),
    /// A fixed map: the units of all places, in place order, become the units of a single place.
    Flat,
    /// A fixed map: a contiguous range of the senders, as many as there are receivers. Both sides have one place.
    Part {
        /// Index of the first sending unit.
        start: usize,
    },
}

impl Connection {
    /// Whether the projection has weight slots.
    pub fn has_weights(self) -> bool {
        matches!(self, Connection::Dense { .. })
    }

    /// Whether it is a fixed map: it has no weights, and moves, averages or selects values.
    pub fn is_map(self) -> bool {
        !matches!(self, Connection::Dense { .. } | Connection::Identity)
    }
}

/// Where a slot lives. This decides its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Domain {
    /// One value per sample and unit of a population, shape `[batch · places, n]`.
    Units(usize),
    /// One value per unit of a population, shape `[n]`. All samples and places share it.
    Vector(usize),
    /// One value per sample, shape `[batch]`, attached to a population.
    Samples(usize),
    /// One value per connection of a projection, shape `[n_to, n_from]`, and one per bias, shape `[n_to]`.
    Connections(usize),
    /// One value for the whole batch, shape `[1]`, attached to a population.
    BatchScalar(usize),
}

impl Domain {
    /// Index of the population or projection.
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

/// Contents of a persistent slot before the first update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initial {
    /// 0 everywhere.
    Zero,
    /// The network's initial weights θ^l and biases b^l; the field is l.
    Weights(usize),
    /// Uniform in [−bound, bound], keyed by the plan's seed, [`crate::random::Stream::Feedback`] and `index`; biases
    /// are 0.
    Uniform {
        /// Largest magnitude.
        bound: f64,
        /// Index within the stream.
        index: u64,
    },
    /// Absolute value of a normal number with mean 0, keyed in the same way; biases are 0.
    Magnitude {
        /// Standard deviation of the normal number.
        sd: f64,
        /// Index within the stream.
        index: u64,
    },
}

/// Index of a family in [`Plan::families`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId(pub usize);

/// Slots of one kind, at most one per population or projection: for example the x^l of all layers. A device stores a
/// family in one buffer if it fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Identifier in checkpoints, in the API and in generated shaders. It is a word of lower-case ASCII letters, unique
    /// per family.
    pub key: &'static str,
    /// Purpose of its slots.
    pub role: Role,
}

/// Purpose of the slots of a family, as far as it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// State nodes, updated by inference: value nodes (Eq. 7), or the errors of ePC.
    Values,
    /// A partial sum, which a later op includes in the value it delivers to a unit.
    Relay,
    /// Any other purpose.
    Other,
}

/// An array of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// Its family.
    pub family: FamilyId,
    /// Symbol for display, such as "ε^1". It has no effect on the computation.
    pub symbol: String,
    /// Where it lives.
    pub home: Domain,
    /// Whether its value is kept from one update to the next. If not, an update must write the slot before it reads it.
    pub persistent: bool,
    /// Initial value, if it is persistent.
    pub start: Initial,
    /// Whether each training example has its own copy. An update reads the values that the last update on the same
    /// example left, or zeros if there was none. Evaluation reads zeros.
    pub per_example: bool,
    /// Whether it can be read after an update ([`crate::device::Session::slot`]). If so, it is always stored.
    pub observed: bool,
}

/// Assignment to one slot: `to` ← `expr`.
#[derive(Debug, Clone, PartialEq)]
pub struct Assign {
    /// The slot that is written.
    pub to: SlotId,
    /// Formula of s and of slots of the same population or projection, at their values from the start of the step.
    pub expr: Expr,
}

/// Direction in which a projection is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// s = W·from + b, delivered to `to`.
    Forward,
    /// s = Wᵀ·from, delivered to `from`.
    Backward,
}

/// A reduction. The domain of the result selects the axis: over units (of all places) to one value per sample, over the
/// batch to one value per unit, over a row of weights to one value per receiving unit, or to a single value. All kinds
/// except [`Reduction::Sum`] and [`Reduction::Max`] reduce over units only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sum, in sequential order.
    Sum,
    /// Sum of squares. The summation order depends on the device.
    Squares,
    /// Maximum.
    Max,
    /// Index of the maximum; the first one if there are several.
    Argmax,
    /// The k-th largest value, where equal values count separately. It is the minimum if there are fewer than k values.
    Top(u32),
}

/// Random numbers. [`Draw::Uniform`] and [`Draw::Bell`] give the same bits on every device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Uniform in [0, 1), multiples of 2⁻²⁴.
    Uniform {
        /// Distinguishes the draws of one update.
        stream: u32,
    },
    /// Approximately normal with mean 0 and variance 1: a sum of four uniform numbers, within ± 2 √3.
    Bell {
        /// Distinguishes the draws of one update.
        stream: u32,
    },
    /// Normal with mean 0. It is drawn on the host, so only the CPU device supports it.
    Normal {
        /// Standard deviation.
        sd: f64,
    },
}

/// The kinds of op.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// s = W·from or Wᵀ·from, per sample.
    Send {
        /// The projection.
        projection: usize,
        /// The weights W, a slot of the projection; an identity ignores them. In the backward direction of
        /// [`Connection::Maximum`]: the units that were sent forward.
        weights: Option<SlotId>,
        /// Direction of use.
        direction: Direction,
        /// The slot that is sent.
        from: SlotId,
    },
    /// Only the assignments in [`Op::epilogue`]; there is no s.
    Map(Domain),
    /// s = Σ_batch post ⊗ pre, and Σ_batch post for the biases.
    OuterProduct {
        /// The projection.
        projection: usize,
        /// A slot of the receiving population.
        post: SlotId,
        /// A slot of the sending population.
        pre: SlotId,
    },
    /// s = a reduction of `from`.
    Reduce {
        /// The slot that is reduced.
        from: SlotId,
        /// The kind of reduction.
        how: Reduction,
    },
    /// s = random numbers.
    Draw(Draw),
}

/// One operation: it computes s, then evaluates the assignments where s is delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// The rule's name for it: predict, infer, learn …
    pub name: &'static str,
    /// How s is computed.
    pub what: What,
    /// The assignments. The first one names the op's layer when the plan is printed.
    pub epilogue: Vec<Assign>,
}

impl Op {
    /// All slots that the op reads, without duplicates.
    pub fn reads(&self) -> Vec<SlotId> {
        let mut reads = self.what.reads();
        for slot in self.epilogue.iter().flat_map(|end| end.expr.slots()) {
            if !reads.contains(&slot) {
                reads.push(slot);
            }
        }
        reads
    }

    /// All slots that it writes.
    pub fn writes(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.epilogue.iter().map(|end| end.to)
    }

    /// Whether it changes weights.
    pub fn changes_weights(&self) -> bool {
        matches!(self.what, What::OuterProduct { .. })
    }
}

impl What {
    /// Slots that are read as a whole array, and not elementwise.
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

/// Builds an op from its parts.
pub fn op(name: &'static str, what: What, epilogue: impl IntoIterator<Item = (SlotId, Expr)>) -> Op {
    Op { name, what, epilogue: epilogue.into_iter().map(|(to, expr)| Assign { to, expr }).collect() }
}

/// Builds an elementwise op on the units of layer `l`.
pub fn each(name: &'static str, l: usize, epilogue: impl IntoIterator<Item = (SlotId, Expr)>) -> Op {
    op(name, What::Map(Domain::Units(l)), epilogue)
}

/// The stage to which a moment belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the target is shown. Evaluation runs only these moments.
    Prediction,
    /// Like [`Stage::Prediction`], but in training only: noise that breaks condition C1.
    Disturbance,
    /// With input and target clamped, at inference moment t.
    Learning(usize),
}

/// A moment of a plan: steps in sequence, repeated `times` times.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Its stage.
    pub stage: Stage,
    /// Steps in order. The ops of a step run simultaneously.
    pub steps: Vec<Vec<Op>>,
    /// Number of repetitions; more than one for a relaxation.
    pub times: u32,
}

/// Definition of a parameter of a rule. It is evaluated once per update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// A constant.
    Fixed(f64),
    /// The learning rate α from its schedule. It is divided by the batch size if updates are averaged and weights make
    /// plain steps.
    Rate,
    /// The learning rate times a factor: the rate of one layer.
    Scaled(f64),
    /// 1 ÷ the batch size.
    Share,
    /// 1 or −1, drawn from this stream at each update.
    Sign(u32),
    /// 1 ÷ (1 − βⁿ) at update n = 1, 2, …: Adam's bias correction for a mean that starts at 0.
    Unbias(f64),
    /// Nudging factor β: how far the target moves from the prediction towards the correct answer. It grows from epoch
    /// to epoch up to 1. A negative factor moves the target away from the correct answer.
    Nudge {
        /// Value in the first epoch.
        size: f64,
        /// Increment per epoch.
        step: f64,
        /// 1 or −1; 0 alternates 1 and −1, one epoch each.
        sign: i8,
    },
    /// 1 ÷ the factor of [`Value::Nudge`].
    PerNudge {
        /// Value in the first epoch.
        size: f64,
        /// Increment per epoch.
        step: f64,
        /// As in [`Value::Nudge`].
        sign: i8,
    },
}

/// A parameter of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    /// Its symbol: "α".
    pub name: &'static str,
    /// Its definition.
    pub value: Value,
}

/// The complete computation of one weight update, for any device.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The task: rule, network, seed, learning rate and loss.
    pub task: Task,
    /// The populations.
    pub populations: Vec<Population>,
    /// The projections between them.
    pub projections: Vec<Projection>,
    /// The families of its slots.
    pub families: Vec<Family>,
    /// The slots.
    pub slots: Vec<Slot>,
    /// The parameters.
    pub params: Vec<Param>,
    /// The slots that are filled from data before each update.
    pub feeds: Vec<Feed>,
    /// The output of the network after the moments of prediction, `[batch, n^0]`.
    pub output: SlotId,
    /// The moments, in order.
    pub moments: Vec<Moment>,
    /// Whether slots of units are never read after an update. A device may then skip work that only such reads need.
    pub states_unread: bool,
    /// Whether samples form one time series: each sample starts from the state that the last one left. The batch size
    /// is then 1.
    pub streaming: bool,
    /// Populations 0 .. `layers` predict: all layers of a chain except the input, or all vertices of a graph except the
    /// input.
    pub layers: usize,
    /// Whether populations are the vertices of a graph, and not the layers of a chain.
    pub unrolled: bool,
}

/// The largest number of units in a layer. It lets every index fit 32 bits.
pub const MAX_WIDTH: usize = 1 << 24;

/// Cost of a plan on one batch, counted from its ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Cost {
    /// Floating-point operations of the matrix products (2 per multiply-add) and of the elementwise work.
    pub flops: u64,
    /// Bytes of float32 moved if every op reads its operands and writes its result once.
    pub bytes: u64,
    /// Number of matrix products: one per layer and op.
    pub products: u64,
}

impl Plan {
    /// All ops in order. The ops of a repeated moment appear once.
    pub fn ops(&self) -> impl Iterator<Item = &Op> + '_ {
        self.moments.iter().flat_map(|m| m.steps.iter().flatten())
    }

    /// The declaration of a slot.
    pub fn slot(&self, id: SlotId) -> &Slot {
        &self.slots[id.0]
    }

    /// The family with this key.
    pub fn family_of(&self, key: &str) -> Option<FamilyId> {
        self.families.iter().position(|family| family.key == key).map(FamilyId)
    }

    /// The family with this key; it is created if it does not exist.
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

    /// The role of a slot's family.
    pub fn role(&self, slot: SlotId) -> Role {
        self.families[self.slot(slot).family.0].role
    }

    /// Sets the role of the family with this key.
    pub fn set_role(&mut self, key: &'static str, role: Role) {
        let family = self.family(key);
        self.families[family.0].role = role;
    }

    /// The slot of a family at a population or projection.
    pub fn member(&self, family: FamilyId, at: usize) -> Option<SlotId> {
        self.slots.iter().position(|slot| slot.family == family && slot.home.place() == at).map(SlotId)
    }

    /// The slot with this key at a population or projection.
    pub fn find(&self, key: &str, at: usize) -> Option<SlotId> {
        self.member(self.family_of(key)?, at)
    }

    /// Declares a slot that is not persistent: an update writes it before it reads it.
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

    /// Declares a persistent slot, kept from one update to the next.
    pub fn keep(&mut self, key: &'static str, symbol: String, home: Domain, start: Initial) -> SlotId {
        let family = self.family(key);
        self.slots.push(Slot { family, symbol, home, persistent: true, start, per_example: false, observed: true });
        SlotId(self.slots.len() - 1)
    }

    /// Declares a slot of units of which each training example has its own copy.
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

    /// Declares a parameter. The same name and value give the same id.
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

    /// The slot of the trained weights θ^l.
    pub fn theta(&self, l: usize) -> Option<SlotId> {
        self.slots.iter().position(|s| s.start == Initial::Weights(l)).map(SlotId)
    }

    /// The number of trained weight matrices.
    pub fn matrices(&self) -> usize {
        let number = |slot: &Slot| if let Initial::Weights(l) = slot.start { l } else { 0 };
        self.slots.iter().map(number).max().unwrap_or(0)
    }

    /// The shape of θ^l, `[n_to, n_from]`, and whether it has biases.
    pub fn matrix(&self, l: usize) -> Option<([usize; 2], bool)> {
        let Domain::Connections(p) = self.slot(self.theta(l)?).home else { return None };
        let shape = [self.projections[p].to, self.projections[p].from].map(|at| self.populations[at].n);
        Some((shape, self.biased(p)))
    }

    /// Whether these weights have the shapes that the plan needs.
    pub fn takes(&self, weights: &Weights) -> bool {
        let all = self.matrices();
        let fits = |l: usize| {
            let Some((shape, biased)) = self.matrix(l) else { return false };
            let bias = weights.bias.get(l - 1).map(|b| b.len());
            weights.theta[l - 1].shape() == shape && bias == biased.then_some(shape[0])
        };
        weights.theta.len() == all && (1..=all).all(fits)
    }

    /// Zero weights with the plan's shapes.
    pub fn zero_weights(&self) -> Weights {
        let all = || (1..=self.matrices()).filter_map(|l| self.matrix(l));
        let bias = all().filter(|(_, biased)| *biased).map(|([to, _], _)| Array1::zeros(to));
        Weights { theta: all().map(|(shape, _)| Array2::zeros(shape)).collect(), bias: bias.collect() }
    }

    /// The number of trained parameters, weights and biases.
    pub fn parameters(&self) -> u64 {
        let all = (1..=self.matrices()).filter_map(|l| self.matrix(l));
        all.map(|([to, from], biased)| to as u64 * (from as u64 + u64::from(biased))).sum()
    }

    /// The activity that layer l ≥ 1 sends to the next layer in prediction. `None` if the network is not a chain.
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

    /// The slot from which fixed maps produced this one; the slot itself if none did.
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

    /// The initial contents of a slot of connections: `[n_to, n_from]`, and `[n_to]` if there are biases.
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

    /// The number of units of a population per place, or of rows of a projection's matrix; otherwise 1.
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

    /// The same plan, stopped before inference and learning of moment `t`. Its ε are those of time t.
    pub fn until(&self, t: usize) -> Plan {
        let mut plan = self.clone();
        plan.moments.retain(|m| !matches!(m.stage, Stage::Learning(u) if u > t));
        if let Some(last) = plan.moments.last_mut().filter(|m| m.stage == Stage::Learning(t)) {
            last.steps.iter_mut().for_each(|ops| ops.retain(|op| !self.moves(op)));
            last.steps.retain(|ops| !ops.is_empty());
            // A repeated moment is stopped in its first repetition.
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

    /// The moments of prediction only. Evaluation runs this plan.
    pub fn prediction(&self) -> Plan {
        let mut plan = self.clone();
        plan.moments.retain(|m| m.stage == Stage::Prediction);
        plan.slots.iter_mut().for_each(|s| s.observed = false);
        plan.slots[plan.output.0].observed = true;
        plan
    }

    /// The same plan, with the promise that slots of units are not read after an update.
    pub fn without_reads_of_states(&self) -> Plan {
        Plan { states_unread: true, ..self.clone() }
    }

    /// The value of a parameter at update `n` (from 1) with batch size `batch`.
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

    /// The cost of the plan on `batch` samples.
    pub fn cost(&self, batch: usize) -> Cost {
        // An invalid combination of fixed maps is reported elsewhere.
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
        let per_unit: u64 = op.epilogue.first().map_or(0, |end| units(end.to) * unique_flops(&op.epilogue));
        let product = |p: usize, twice: u64, operands: u64| Cost {
            flops: (2 * batch * self.populations[self.projections[p].to].places as u64)
                .saturating_mul(self.connections(p)),
            bytes: 4 * (operands + twice * self.connections(p)),
            products: 1,
        };
        match op.what {
            What::Send { projection, from, .. } if self.projections[projection].kind.has_weights() => {
                let arrives = op.epilogue.first().map_or(0, |end| units(end.to));
                let cost = product(projection, 1, units(from) + arrives);
                Cost { flops: cost.flops.saturating_add(per_unit), ..cost }
            }
            // The assignment of a plain step is part of its product: fma(α, s, θ).
            What::OuterProduct { projection, post, pre } => product(projection, 2, units(post) + units(pre)),
            _ => {
                let slots = op.reads().len() as u64 + op.epilogue.len() as u64;
                let numbers = op.epilogue.first().map_or(0, |end| units(end.to));
                Cost { flops: per_unit, bytes: 4 * slots * numbers, products: 0 }
            }
        }
    }

    fn connections(&self, projection: usize) -> u64 {
        let Projection { from, to, .. } = self.projections[projection];
        (self.populations[from].n as u64).saturating_mul(self.populations[to].n as u64)
    }
}

/// Arithmetic operations of the assignments per element; shared subexpressions count once.
fn unique_flops(epilogue: &[Assign]) -> u64 {
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
    epilogue.iter().map(|end| walk(&end.expr, &mut seen)).sum()
}

impl fmt::Display for Plan {
    /// The paper's Fig. 2 as text: one line per moment, each op with the layers on which it runs.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.task.title)?;
        for moment in &self.moments {
            match moment.stage {
                Stage::Prediction | Stage::Disturbance => write!(out, "  predict  ")?,
                Stage::Learning(t) => write!(out, "  t = {t:<4} ")?,
            }
            let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
            for op in moment.steps.iter().flatten() {
                // Show the first slot that is written, and every weight slot.
                let weight = |end: &Assign| !matches!(self.slot(end.to).start, Initial::Zero);
                let shown = op.epilogue.iter().enumerate().filter(|(i, end)| *i == 0 || weight(end));
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
