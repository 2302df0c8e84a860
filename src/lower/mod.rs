//! Lowering of a plan to kernel launches, which both devices execute.
//!
//! A [`Plan`] states what is computed. A [`Program`] states an order of kernel launches that computes it. A program is
//! independent of the device and of the rule. Lowering depends only on the slots that each op reads and writes. All of
//! its transformations are exact:
//!
//! * **Value numbering.** Detects slots with equal values, such as copies and products of unchanged operands. The
//!   difference of equal values is 0. A value that a slot already holds is not recomputed.
//! * **Kernel fusion.** An elementwise assignment moves into the op that computes its operands, if nothing between them
//!   reads or writes its target. In error coordinates, for example, ε + Δx is computed in the op that computes Δx.
//!   [`Expr::Stored`] forbids fusion on devices whose compilers may contract arithmetic ([`Merging::Forbidden`]).
//! * **Liveness.** Values that nothing reads are not stored.
//! * **Renaming** (double buffering). A value that a later launch still reads is not overwritten: the new value goes to
//!   another half of the slot. A copy needs no launch, because it shares the storage of the original.
//! * **Sinking.** A weight update moves into a later launch of weight updates, if nothing between them reads the new
//!   weights.
//! * **Zeros.** Products and sums with a slot known to be 0 everywhere are omitted, so an inactive layer costs nothing.
//! * **Ranges.** A comparison is folded to a constant if the value ranges of its operands decide it.
//! * **Speculation** ([`Program::speculate`]). A second program with fewer products is valid if every value
//!   that can leave its resting constant does so in all units.
//! * **Repetition** is kept as a loop: a relaxation of 500 steps needs the memory of one or two steps.

mod allocate;
mod fuse;
mod insert_maps;
pub mod passes;
mod print;
mod split;
mod users;
mod value_numbering;
mod work_count;

use crate::plan::expr::{Code, Expr, SlotId};
use crate::plan::{Assign, Direction, Domain, Draw, Plan, Reduction};
use passes::{LOWERING, Lowering};
pub use print::after;
use std::collections::HashSet;
use value_numbering::Assumed;

/// The storage of a value: one half of a slot. A slot has as many halves as it has simultaneously live values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The slot.
    pub slot: SlotId,
    /// Index of the half.
    pub half: usize,
}

/// Limits of one launch on a device. Lowering never exceeds them. A device rejects a plan whose single ops exceed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether an [`Expr::Stored`] may be computed in the launch that computes its value.
    pub merging: Merging,
    /// Maximum number of slot families that a launch accesses.
    pub names: usize,
    /// Maximum number of slots that the assignments of one job access.
    pub leaves: usize,
    /// Maximum number of slots that the assignments of one job write.
    pub writes: usize,
}

impl Limits {
    /// Limits that every device satisfies. WebGPU has eight storage buffers, and two are reserved.
    pub const COMMON: Limits = Limits { merging: Merging::Forbidden, names: 6, leaves: 14, writes: 8 };
}

/// Whether a device may compute an [`Expr::Stored`] in the launch that computes its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// Allowed. The compiler never contracts two roundings into one: the CPU.
    Harmless,
    /// Not allowed. The compiler may contract them: a GPU.
    Forbidden,
}

/// How a job computes s for its assignments.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// s = W·from + b, or Wᵀ·from.
    Send {
        /// The projection.
        projection: usize,
        /// The weights W.
        weights: Place,
        /// Direction of use.
        direction: Direction,
        /// The place that is sent.
        from: Place,
    },
    /// There is no s: elementwise work on slots of this domain.
    Map(Domain),
    /// s = Σ_batch post ⊗ pre.
    OuterProduct {
        /// The projection.
        projection: usize,
        /// The place of the postsynaptic values, of the target population.
        post: Place,
        /// The place of the presynaptic values, of the source population.
        pre: Place,
    },
    /// s = a reduction.
    Reduce {
        /// The place that is reduced.
        from: Place,
        /// The kind of reduction.
        how: Reduction,
    },
    /// s = random numbers.
    Draw(Draw),
}

/// The part of a launch that executes one op.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// How s is computed.
    pub work: Work,
    /// The formulas that are evaluated with s (the epilogue).
    pub code: Code<Place>,
    /// Per assignment, the rule's name for the op from which it came: infer, learn …
    pub names: Vec<&'static str>,
}

/// The kinds of launch, in their order within a step. Weight updates run last, because products read the old weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Random numbers.
    Draw,
    /// Products W·from.
    Forward,
    /// Products Wᵀ·from.
    Backward,
    /// Fixed maps over grids, in either direction.
    FixedMap,
    /// Elementwise work on units.
    Units,
    /// Reductions over units, or over rows of weights.
    Reduce,
    /// Reductions over the batch, to one value per unit.
    Pool,
    /// Elementwise work on connections.
    Connections,
    /// Weight updates (products over the batch).
    OuterProduct,
}

/// One kernel launch over independent jobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kind of its jobs.
    pub kind: Kind,
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// A sequence of launches that is repeated `times` times.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// Number of repetitions.
    pub times: u32,
    /// The launches, in order. Each launch sees the writes of all earlier launches.
    pub launches: Vec<Launch>,
}

/// The launches of one weight update, after the batch has been gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The passes, in order.
    pub passes: Vec<Pass>,
    /// Number of halves of each slot; 0 if no launch accesses the slot.
    pub halves: Vec<usize>,
    /// The place of each slot's value after the update.
    pub last: Vec<Place>,
}

/// The places of slots that are observed while a program runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    /// Number of passes that have run at that point.
    pub(crate) passes: usize,
    /// The place of each observed slot.
    pub(crate) places: Vec<Place>,
}

/// A program that a device may try first: see [`Program::speculate`].
#[derive(Debug, Clone, PartialEq)]
pub struct Speculation {
    /// The plan, extended by its guards.
    pub plan: Plan,
    /// The program.
    pub program: Program,
    /// Conditions that must hold after the launches before `commit`.
    pub guards: Vec<Guard>,
    /// Index of the first launch that writes a persistent slot.
    pub commit: usize,
}

/// A condition: all values of a place equal this constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// The place.
    pub place: Place,
    /// The constant.
    pub value: f64,
}

impl Kind {
    /// Whether it is a matrix product.
    pub fn is_product(self) -> bool {
        matches!(self, Kind::Forward | Kind::Backward | Kind::OuterProduct)
    }
}

impl Work {
    /// Places that are read as a whole array, and not elementwise.
    pub fn reads(&self) -> Vec<Place> {
        match *self {
            Work::Send { weights, from, .. } => vec![weights, from],
            Work::OuterProduct { post, pre, .. } => vec![post, pre],
            Work::Reduce { from, .. } => vec![from],
            Work::Map(_) | Work::Draw(_) => Vec::new(),
        }
    }
}

impl Job {
    /// All places that it writes.
    pub fn writes(&self) -> &[Place] {
        &self.code.leaves[..self.code.outs.len()]
    }

    /// All places that it reads. A written place is included only if its old value is used.
    pub fn reads(&self) -> Vec<Place> {
        let leaves = self.code.leaves.iter().enumerate();
        let read = leaves.filter(|(i, _)| self.code.reads(*i)).map(|(_, place)| *place);
        read.chain(self.work.reads()).collect()
    }
}

impl Program {
    /// Lowers a plan within [`Limits::COMMON`], for any device.
    pub fn new(plan: &Plan) -> Self {
        Program::lower(plan, &Limits::COMMON)
    }

    /// Lowers a plan for a device with these limits.
    pub fn lower(plan: &Plan, limits: &Limits) -> Self {
        Program::looked_at(plan, limits, &[], &[]).0
    }

    /// As [`Program::lower`], but the slots `seen` can be observed after the moments `looks`. These moments are in
    /// ascending order and run once.
    pub(crate) fn looked_at(plan: &Plan, limits: &Limits, looks: &[usize], seen: &[SlotId]) -> (Self, Vec<Look>) {
        log::debug!("lowering the plan of {}: {} moments", plan.task.rule, plan.moments.len());
        let lowered = Lowering::new(plan, limits, (looks, seen)).run(&LOWERING);
        (lowered.program, lowered.looked)
    }

    /// A program that is valid if all guards hold, and that has fewer products than the one from [`Program::lower`].
    /// The result is `None` if there is no such program, or if slots of units may be read after an update.
    ///
    /// It considers every assignment `slot ← select(c, a, b)` whose slot is known to be b everywhere or is written for
    /// the first time. It assumes that c is true everywhere, so that the whole slot becomes a. This holds in fully
    /// autonomous Z-IL: when ε leaves 0 in a layer, it does so in every unit, and none of them can fire again within
    /// the next t_d moments. Computations that then cannot change a weight are removed.
    ///
    /// The guards are slots of the returned plan; all other slots have the same ids as in `plan`. A guard holds the
    /// values that were assumed to be constant. All guards are written before any persistent slot.
    ///
    /// `than` is the program from [`Program::lower`]. A speculative program that does not have fewer products is
    /// discarded.
    pub fn speculate(plan: &Plan, limits: &Limits, than: &Program) -> Option<Speculation> {
        let chooses = |end: &Assign| matches!(&end.expr, Expr::Select(abc) if matches!(abc[1..], [Expr::Const(_), _]));
        if !plan.ops().any(|op| op.epilogue.iter().any(chooses)) {
            return None;
        }
        let mut plan = plan.clone();
        plan.slots.iter_mut().for_each(|slot| slot.observed = slot.persistent);
        let repeats = plan.moments.iter().any(|moment| moment.times != 1);
        if !plan.states_unread || plan.moments.is_empty() || repeats {
            return None;
        }
        let ahead = &LOWERING[..2];
        let bold = Lowering { bold: true, ..Lowering::new(&plan, limits, (&[], &[])) }.run(ahead);
        let (mut segments, assumed) = (bold.segments, bold.assumed);
        if assumed.is_empty() {
            return None;
        }
        let mut guards = Vec::new();
        for (k, Assumed { at: (step, op, end), value }) in assumed.into_iter().enumerate() {
            let Assign { to, expr } = segments[0].steps[step].get(op)?.epilogue.get(end)?.clone();
            let home = plan.slot(to).home;
            // Guards are only checked on domains with values per sample.
            if !matches!(home, Domain::Units(_) | Domain::Samples(_)) {
                return None;
            }
            let guard = plan.declare("guard", format!("guard {k}"), home);
            plan.slots[guard.0].observed = true;
            segments[0].steps[step][op].epilogue.push(Assign { to: guard, expr });
            guards.push((guard, value));
        }
        // A second round also fuses assignments that read a copy.
        let rest = Lowering { segments, hops: 2, ..Lowering::new(&plan, limits, (&[], &[])) };
        let program = rest.run(&LOWERING[2..]).program;
        let launches = &program.passes.first()?.launches;
        let writes = |job: &Job, like: &dyn Fn(SlotId) -> bool| job.writes().iter().any(|place| like(place.slot));
        let lasts = |slot: SlotId| plan.slot(slot).persistent;
        let all: HashSet<SlotId> = guards.iter().map(|(guard, _)| *guard).collect();
        let guards_it = |slot: SlotId| all.contains(&slot);
        let commit = launches.iter().position(|l| l.jobs.iter().any(|job| writes(job, &lasts)))?;
        let late = launches[commit..].iter().any(|l| l.jobs.iter().any(|job| writes(job, &guards_it)));
        let guards: Vec<Guard> =
            guards.iter().map(|&(slot, value)| Guard { place: program.last[slot.0], value }).collect();
        let less = |a: &Program, b: &Program| a.count().0 < b.count().0;
        let worthwhile = !late && program.passes.len() == 1 && less(&program, than);
        worthwhile.then_some(Speculation { plan, program, guards, commit })
    }

    /// The same program for a plan with additional slots, which it does not access.
    pub(crate) fn with_slots(mut self, plan: &Plan) -> Self {
        self.halves.resize(plan.slots.len(), 0);
        self.last.extend((self.last.len()..plan.slots.len()).map(|s| Place { slot: SlotId(s), half: 0 }));
        self
    }

    /// All launches in order; those of a repeated pass appear once.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> + '_ {
        self.passes.iter().flat_map(|pass| &pass.launches)
    }

    /// The number of launches per update: matrix products, and all others.
    pub fn count(&self) -> (usize, usize) {
        let mut count = (0, 0);
        for pass in &self.passes {
            let products = pass.launches.iter().filter(|l| l.kind.is_product()).count();
            count.0 += products * pass.times as usize;
            count.1 += (pass.launches.len() - products) * pass.times as usize;
        }
        count
    }
}
