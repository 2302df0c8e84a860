//! A plan lowered to kernel launches: what both devices execute.
//!
//! A [`Plan`] says what happens; a [`Program`] says in which order kernels may run so that it happens, without naming a
//! device or a rule. Lowering asks only which slots an op reads and writes. Each of its decisions is exact:
//!
//! * **Numbering.** Two slots that hold the same value are known to (a copy, a product of unchanged things): their
//!   difference is 0, and what a slot holds already is not computed again.
//! * **Moving ends.** An elementwise end moves into the op that makes what it reads, when nothing else reads or writes in
//!   between. In error coordinates ε + Δx is so formed where Δx is made. [`Expr::Stored`] forbids it to devices whose
//!   compilers may merge arithmetic ([`Merging::Forbidden`]).
//! * **Liveness.** What nothing reads is not stored.
//! * **Renaming.** What is still read by a later launch is not overwritten: the new value goes to another half of the
//!   slot. Copies are no work: the copy is the place of the original.
//! * **Sinking.** Changes of weights that nothing reads before a later launch of such are made with it.
//! * **Zeros.** What is known to be 0 everywhere is not sent, multiplied or added: a layer at rest costs nothing.
//! * **Ranges.** A comparison that the range of a slot decides is decided.
//! * **Speculation** ([`Program::speculate`]). A program that holds if what can leave its rest does so everywhere.
//! * **Repetition** stays repetition: a relaxation of 500 steps takes the memory of one or two.

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

/// Where a value is: a slot's half. A slot has as many halves as values of it are alive at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The slot.
    pub slot: SlotId,
    /// Its half.
    pub half: usize,
}

/// What one launch of a device can do. A plan that asks for more by itself is refused by the device; lowering asks for
/// no more than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Whether what is stored may be computed where it is made.
    pub merging: Merging,
    /// Different names among the slots that a launch touches.
    pub names: usize,
    /// Slots that the ends of one job touch.
    pub leaves: usize,
    /// Slots that they write.
    pub writes: usize,
}

impl Limits {
    /// What every device can do: WebGPU's eight storage buffers, two of which are taken.
    pub const COMMON: Limits = Limits { merging: Merging::Forbidden, names: 6, leaves: 14, writes: 8 };
}

/// Whether a device may compute an [`Expr::Stored`] in the launch that makes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merging {
    /// Its compiler never merges two roundings into one: the CPU.
    Harmless,
    /// It might: a GPU.
    Forbidden,
}

/// What a job brings to its ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// s = W·from + b, or Wᵀ·from.
    Send {
        /// The projection.
        projection: usize,
        /// W
        weights: Place,
        /// Which way.
        direction: Direction,
        /// What is sent.
        from: Place,
    },
    /// Nothing: elementwise work on slots of this home.
    Map(Domain),
    /// s = Σ_batch post ⊗ pre.
    OuterProduct {
        /// The projection.
        projection: usize,
        /// Of its receiving units.
        post: Place,
        /// Of its sending units.
        pre: Place,
    },
    /// s = a reduction.
    Reduce {
        /// What is reduced.
        from: Place,
        /// How.
        how: Reduction,
    },
    /// s = random numbers.
    Draw(Draw),
}

/// One op's part of a launch.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// What arrives.
    pub work: Work,
    /// What is made of it.
    pub code: Code<Place>,
    /// What the rule calls the op that each end came from: infer, learn …
    pub names: Vec<&'static str>,
}

/// The kinds of launch, in the order in which those of one step run: changes of weights last, for products read the old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Random numbers.
    Draw,
    /// Products W·from.
    Forward,
    /// Products Wᵀ·from.
    Backward,
    /// What fixed maps over grids carry, either way.
    FixedMap,
    /// Elementwise work on units.
    Units,
    /// Reductions over units, or over the rows of weights.
    Reduce,
    /// Reductions over the batch, to a number a unit.
    Pool,
    /// Elementwise work on connections.
    Connections,
    /// Changes of weights (products over the batch).
    OuterProduct,
}

/// One kernel launch, over jobs that are independent of each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// Their kind.
    pub kind: Kind,
    /// The jobs.
    pub jobs: Vec<Job>,
}

/// Launches made so many times in a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Pass {
    /// How often.
    pub times: u32,
    /// The launches, in order; each sees what all before it wrote.
    pub launches: Vec<Launch>,
}

/// The launches of one weight update, after the batch has been gathered.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// In order.
    pub passes: Vec<Pass>,
    /// Halves of each slot; 0 for one that nothing touches.
    pub halves: Vec<usize>,
    /// Where each slot's value is after the update.
    pub last: Vec<Place>,
}

/// Where slots are that somebody looks at while a program runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    /// The passes made before.
    pub(crate) passes: usize,
    /// A place of each slot.
    pub(crate) places: Vec<Place>,
}

/// What a device may try first: see [`Program::speculate`].
#[derive(Debug, Clone, PartialEq)]
pub struct Speculation {
    /// The plan with its guards.
    pub plan: Plan,
    /// The program.
    pub program: Program,
    /// What must hold when it has run up to `commit`.
    pub guards: Vec<Guard>,
    /// The launch from which on it writes what lasts.
    pub commit: usize,
}

/// A place all of whose numbers must be this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Where.
    pub place: Place,
    /// The number.
    pub value: f64,
}

impl Kind {
    /// Whether it is a matrix product.
    pub fn is_product(self) -> bool {
        matches!(self, Kind::Forward | Kind::Backward | Kind::OuterProduct)
    }
}

impl Work {
    /// What is read as a whole.
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
    /// Every place it writes.
    pub fn writes(&self) -> &[Place] {
        &self.code.leaves[..self.code.outs.len()]
    }

    /// Every place it reads; those it writes only where their old value matters.
    pub fn reads(&self) -> Vec<Place> {
        let leaves = self.code.leaves.iter().enumerate();
        let read = leaves.filter(|(i, _)| self.code.reads(*i)).map(|(_, place)| *place);
        read.chain(self.work.reads()).collect()
    }
}

impl Program {
    /// Lowers a plan, for any device.
    pub fn new(plan: &Plan) -> Self {
        Program::lower(plan, &Limits::COMMON)
    }

    /// Lowers a plan for a device of these limits.
    pub fn lower(plan: &Plan, limits: &Limits) -> Self {
        Program::looked_at(plan, limits, &[], &[]).0
    }

    /// The same for somebody who looks at these slots after some of the moments, given in order and each made once.
    pub(crate) fn looked_at(plan: &Plan, limits: &Limits, looks: &[usize], seen: &[SlotId]) -> (Self, Vec<Look>) {
        log::debug!("lowering the plan of {}: {} moments", plan.task.rule, plan.moments.len());
        let lowered = Lowering::new(plan, limits, (looks, seen)).run(&LOWERING);
        (lowered.program, lowered.looked)
    }

    /// A program that is right if each guard holds, and does less than that of [`Program::lower`]: nothing, if there is none,
    /// or somebody wants to read slots of units after an update.
    ///
    /// It assumes of every end `slot ← select(c, a, b)`, where the slot is known to be b everywhere or is written for the first
    /// time, that c is true everywhere, so that all of it becomes a. In fully autonomous Z-IL that is: when ε leaves 0 in a layer, it does so in every unit, so
    /// that none of them can fire again before t_d moments are over. What then cannot change a weight is not computed.
    ///
    /// The guards are slots of the returned plan, which has all others of `plan` under their numbers. They hold what was
    /// assumed to be constant, and all are written before anything that lasts.
    ///
    /// `than` is what [`Program::lower`] made: what does not make fewer products is not worth a trial.
    pub fn speculate(plan: &Plan, limits: &Limits, than: &Program) -> Option<Speculation> {
        let chooses = |end: &Assign| matches!(&end.expr, Expr::Select(abc) if matches!(abc[1..], [Expr::Const(_), _]));
        if !plan.ops().any(|op| op.ends.iter().any(chooses)) {
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
            let Assign { to, expr } = segments[0].steps[step].get(op)?.ends.get(end)?.clone();
            let home = plan.slot(to).home;
            // Guards are looked at where samples are by themselves.
            if !matches!(home, Domain::Units(_) | Domain::Samples(_)) {
                return None;
            }
            let guard = plan.declare("guard", format!("guard {k}"), home);
            plan.slots[guard.0].observed = true;
            segments[0].steps[step][op].ends.push(Assign { to: guard, expr });
            guards.push((guard, value));
        }
        // A second time takes along the ends that read a copy.
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

    /// The same for a plan that has more slots, which it does not touch.
    pub(crate) fn with_slots(mut self, plan: &Plan) -> Self {
        self.halves.resize(plan.slots.len(), 0);
        self.last.extend((self.last.len()..plan.slots.len()).map(|s| Place { slot: SlotId(s), half: 0 }));
        self
    }

    /// Every launch once, in order.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> + '_ {
        self.passes.iter().flat_map(|pass| &pass.launches)
    }

    /// Launches of matrix products and of everything else that an update makes.
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
