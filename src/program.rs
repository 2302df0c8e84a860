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

use crate::expr::{Binary, Code, Expr, SlotId, Unary};
use crate::plan::{Connection, Direction, Draw, End, Home, Op, Plan, Reduction, What};
use std::collections::{BTreeSet, HashMap};

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
    Each(Home),
    /// s = Σ_batch post ⊗ pre.
    Change {
        /// The projection.
        projection: usize,
        /// Of its receiving units.
        post: Place,
        /// Of its sending units.
        pre: Place,
    },
    /// s = a reduction over units.
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
    /// Elementwise work on units.
    Units,
    /// Reductions over units.
    Reduce,
    /// Elementwise work on connections.
    Connections,
    /// Changes of weights (products over the batch).
    Change,
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
        matches!(self, Kind::Forward | Kind::Backward | Kind::Change)
    }
}

impl Work {
    /// What is read as a whole.
    pub fn reads(&self) -> Vec<Place> {
        match *self {
            Work::Send { weights, from, .. } => vec![weights, from],
            Work::Change { post, pre, .. } => vec![post, pre],
            Work::Reduce { from, .. } => vec![from],
            Work::Each(_) | Work::Draw(_) => Vec::new(),
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
        let mut segments = segments(plan, limits);
        Numbering::new(plan, limits.merging).simplify(plan, &mut segments);
        Program::of(plan, segments, limits, 1)
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
    pub fn speculate(plan: &Plan, limits: &Limits) -> Option<Speculation> {
        let mut plan = plan.clone();
        plan.slots.iter_mut().for_each(|slot| slot.observed = slot.lasting);
        let mut segments = segments(&plan, limits);
        if !plan.unread || segments.len() != 1 || segments[0].times != 1 {
            return None;
        }
        let mut numbering = Numbering::new(&plan, limits.merging);
        numbering.bold = true;
        numbering.simplify(&plan, &mut segments);
        if numbering.assumed.is_empty() {
            return None;
        }
        let mut guards = Vec::new();
        for (k, Assumed { at: (step, op, end), value }) in numbering.assumed.into_iter().enumerate() {
            let End { to, expr } = segments[0].steps[step].get(op)?.ends.get(end)?.clone();
            let home = plan.slot(to).home;
            let guard = plan.declare("guard", format!("guard {k}"), home);
            plan.slots[guard.0].observed = true;
            segments[0].steps[step][op].ends.push(End { to: guard, expr });
            guards.push((guard, value));
        }
        let program = Program::of(&plan, segments, limits, 2);
        let launches = &program.passes.first()?.launches;
        let writes = |job: &Job, like: &dyn Fn(SlotId) -> bool| job.writes().iter().any(|place| like(place.slot));
        let lasts = |slot: SlotId| plan.slot(slot).lasting;
        let guards_it = |slot: SlotId| guards.iter().any(|(guard, _)| *guard == slot);
        let commit = launches.iter().position(|l| l.jobs.iter().any(|job| writes(job, &lasts)))?;
        let late = launches[commit..].iter().any(|l| l.jobs.iter().any(|job| writes(job, &guards_it)));
        let guards: Vec<Guard> =
            guards.iter().map(|&(slot, value)| Guard { place: program.last[slot.0], value }).collect();
        let less = |a: &Program, b: &Program| a.count().0 < b.count().0;
        let worthwhile = !late && program.passes.len() == 1 && less(&program, &Program::lower(&plan, limits));
        worthwhile.then_some(Speculation { plan, program, guards, commit })
    }

    /// Out of simplified segments, whose ends are moved `hops` times: a second one takes those along that read a copy.
    fn of(plan: &Plan, mut segments: Vec<Segment>, limits: &Limits, hops: usize) -> Self {
        for segment in segments.iter_mut() {
            (0..hops).for_each(|_| move_ends(plan, &mut segment.steps, limits));
        }
        let live = liveness(plan, &mut segments);
        let mut placing = Placing::new(plan, live, limits.names);
        let mut passes: Vec<Pass> = Vec::new();
        for (at, segment) in segments.iter().enumerate() {
            placing.segment(at, segment, &mut passes);
        }
        placing.restore_lasting(&mut passes);
        passes.iter_mut().for_each(|pass| sink_changes(plan, &mut pass.launches, limits.names));
        passes.retain(|pass| !pass.launches.is_empty());
        let Placing { halves, place, .. } = placing;
        Program { passes, halves, last: place }
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

/// Steps made so many times in a row.
struct Segment {
    times: u32,
    steps: Vec<Vec<Op>>,
}

/// The plan's moments, those that follow each other joined; identities are elementwise.
fn segments(plan: &Plan, limits: &Limits) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for moment in &plan.moments {
        let parted = |op: &Op| parted(plan, plain(plan, op), limits);
        let steps = moment.steps.iter().map(|ops| ops.iter().flat_map(parted).collect());
        match segments.last_mut() {
            Some(last) if last.times == 1 && moment.times == 1 => last.steps.extend(steps),
            _ => segments.push(Segment { times: moment.times, steps: steps.collect() }),
        }
    }
    segments
}

/// An op through an identity as elementwise work: unit i is unit i's neighbour.
fn plain(plan: &Plan, op: &Op) -> Op {
    let What::Send { projection, direction, from, .. } = op.what else { return op.clone() };
    let of = &plan.projections[projection];
    if of.kind != Connection::Identity {
        return op.clone();
    }
    let at = if direction == Direction::Forward { of.to } else { of.from };
    let arrive = |e: &Expr| (*e == Expr::Arriving).then_some(Expr::Slot(from));
    let ends = op.ends.iter().map(|end| End { to: end.to, expr: end.expr.map(&mut |e| arrive(e)) }).collect();
    Op { name: op.name, what: What::Each(Home::Units(at)), ends }
}

/// An op that touches more than a launch can, as several that bring the same to some of its ends each. Ends that read what
/// others write stay with those.
fn parted(plan: &Plan, op: Op, limits: &Limits) -> Vec<Op> {
    let fits = |ends: &[End]| {
        let part = Op { ends: ends.to_vec(), ..op.clone() };
        touched(plan, &part) <= limits.names && part.ends.len() <= limits.writes
    };
    if fits(&op.ends) {
        return vec![op];
    }
    // Groups of ends that hang together.
    let mut groups: Vec<Vec<End>> = Vec::new();
    for end in &op.ends {
        let linked = |group: &Vec<End>| {
            group.iter().any(|other| other.expr.slots().contains(&end.to) || end.expr.slots().contains(&other.to))
        };
        let (with, mut apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(linked);
        apart.push(with.into_iter().flatten().chain([end.clone()]).collect());
        groups = apart;
    }
    let mut parts: Vec<Vec<End>> = Vec::new();
    for group in groups {
        match parts.last_mut().filter(|last| fits(&[last.as_slice(), group.as_slice()].concat())) {
            Some(last) => last.extend(group),
            None => parts.push(group),
        }
    }
    parts.into_iter().map(|ends| Op { ends, ..op.clone() }).collect()
}

/// Different names among the slots that an op touches.
fn touched(plan: &Plan, op: &Op) -> usize {
    op.reads().into_iter().chain(op.writes()).map(|slot| plan.slot(slot).name).collect::<BTreeSet<_>>().len()
}

/// Numbers values: two slots of one number hold the same.
struct Numbering {
    of: Vec<u64>,
    next: u64,
    known: HashMap<String, u64>,
    /// The numbers that are constants.
    constant: HashMap<u64, f64>,
    /// Between what the numbers lie, where that is known.
    range: HashMap<u64, (f64, f64)>,
    merging: Merging,
    /// Whether it assumes that what can leave its rest does.
    bold: bool,
    assumed: Vec<Assumed>,
}

/// An end that was taken for a constant, by step, op and end.
struct Assumed {
    at: (usize, usize, usize),
    value: f64,
}

impl Numbering {
    fn new(plan: &Plan, merging: Merging) -> Self {
        let slots = plan.slots.len() as u64;
        Numbering {
            of: (0..slots).collect(),
            next: slots,
            known: HashMap::new(),
            constant: HashMap::new(),
            range: HashMap::new(),
            merging,
            bold: false,
            assumed: Vec::new(),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn simplify(&mut self, plan: &Plan, segments: &mut [Segment]) {
        for segment in segments {
            if segment.times > 1 {
                self.forget(segment);
            }
            for (k, ops) in segment.steps.iter_mut().enumerate() {
                self.step(plan, k, ops);
            }
            if segment.times > 1 {
                self.forget(segment);
            }
        }
    }

    /// What a repetition writes is something else every time.
    fn forget(&mut self, segment: &Segment) {
        for to in segment.steps.iter().flatten().flat_map(Op::writes) {
            self.of[to.0] = self.fresh();
        }
    }

    fn step(&mut self, plan: &Plan, k: usize, ops: &mut Vec<Op>) {
        let before = self.of.clone();
        let mut kept = 0;
        for op in ops.iter_mut() {
            self.silence(plan, op, &before);
            let what = self.what(&op.what, &before);
            let mut left = 0;
            op.ends.retain_mut(|end| {
                end.expr = self.simpler(&end.expr, &before);
                if self.merging == Merging::Harmless
                    && let Some(expr) = self.without_keeping(&end.expr, &what, &before)
                {
                    end.expr = expr;
                }
                let mut number = self.number(&what, &end.expr, &before);
                if let Expr::Const(value) = end.expr {
                    self.constant.insert(number, value);
                } else if let Some(value) = self.leaves_rest(end, &before) {
                    self.assumed.push(Assumed { at: (k, kept, left), value });
                    number = self.number("", &Expr::Const(value), &before);
                    self.constant.insert(number, value);
                } else if let Some(range) = self.range(&end.expr, &before) {
                    self.range.insert(number, range);
                }
                let same = number == before[end.to.0];
                self.of[end.to.0] = number;
                left += usize::from(!same);
                !same
            });
            kept += usize::from(!op.ends.is_empty());
        }
        ops.retain(|op| !op.ends.is_empty());
    }

    /// What a slot is assumed to become that is a constant and either stays that or becomes another.
    fn leaves_rest(&self, end: &End, before: &[u64]) -> Option<f64> {
        let Expr::Select(parts) = &end.expr else { return None };
        let [_, Expr::Const(moved), Expr::Const(still)] = &parts[..] else { return None };
        let now = before[end.to.0];
        // At rest, or looked at for the first time.
        let rests = self.constant.get(&now) == Some(still) || now == end.to.0 as u64;
        (self.bold && rests && moved != still).then_some(*moved)
    }

    /// Between what a formula's value lies.
    fn range(&self, e: &Expr, numbers: &[u64]) -> Option<(f64, f64)> {
        let both = |ab: &[Expr]| self.range(&ab[0], numbers).zip(self.range(&ab[1], numbers));
        match e {
            Expr::Const(c) => Some((*c, *c)),
            Expr::Slot(s) | Expr::Stored(s) => {
                let number = &numbers[s.0];
                self.range.get(number).copied().or_else(|| self.constant.get(number).map(|c| (*c, *c)))
            }
            Expr::Select(parts) => both(&parts[1..]).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1))),
            Expr::Binary(Binary::Less | Binary::Equal, _) => Some((0.0, 1.0)),
            Expr::Binary(Binary::Add, ab) => both(&ab[..]).map(|(a, b)| (a.0 + b.0, a.1 + b.1)),
            Expr::Binary(Binary::Min, ab) => both(&ab[..]).map(|(a, b)| (a.0.min(b.0), a.1.min(b.1))),
            Expr::Binary(Binary::Max, ab) => both(&ab[..]).map(|(a, b)| (a.0.max(b.0), a.1.max(b.1))),
            _ => None,
        }
    }

    /// An op by which nothing but zeros arrives brings nothing: a product with a slot that is 0 everywhere, a sum of such. (A
    /// number that is none, on the other side, would have made one that is none: it is found where it is made.)
    fn silence(&self, plan: &Plan, op: &mut Op, before: &[u64]) {
        let silent = |slot: SlotId| self.constant.get(&before[slot.0]) == Some(&0.0);
        let nothing = match op.what {
            What::Send { projection, direction, from, .. } => {
                silent(from) && !(direction == Direction::Forward && plan.biased(projection))
            }
            What::Change { projection, post, pre } => silent(post) || silent(pre) && !plan.biased(projection),
            What::Reduce { from, how } => silent(from) && how != Reduction::Argmax,
            What::Each(_) | What::Draw(_) => false,
        };
        if let (true, Some(first)) = (nothing, op.ends.first()) {
            let zero = |e: &Expr| (*e == Expr::Arriving).then_some(Expr::Const(0.0));
            op.what = What::Each(plan.slot(first.to).home);
            op.ends.iter_mut().for_each(|end| end.expr = end.expr.map(&mut |e| zero(e)));
        }
    }

    /// What arrives, as a text that is the same for the same value.
    fn what(&mut self, what: &What, before: &[u64]) -> String {
        match what {
            What::Send { projection, weights, direction, from } => {
                format!("{projection} {:?} {direction:?} {}", weights.map(|w| before[w.0]), before[from.0])
            }
            What::Reduce { from, how } => format!("{how:?} {}", before[from.0]),
            What::Each(_) => String::new(),
            What::Change { .. } | What::Draw(_) => format!("once {}", self.fresh()),
        }
    }

    /// The number of a formula's value: of its operation on the numbers of its parts.
    fn number(&mut self, what: &str, expr: &Expr, before: &[u64]) -> u64 {
        let parts: Vec<u64> = expr.parts().iter().map(|part| self.number(what, part, before)).collect();
        let key = match expr {
            Expr::Slot(slot) | Expr::Stored(slot) => return before[slot.0],
            Expr::Arriving => format!("arriving {what}"),
            Expr::Unary(op, _) => format!("{op:?} {parts:?}"),
            Expr::Binary(op, _) => format!("{op:?} {parts:?}"),
            Expr::Fma(_) => format!("fma {parts:?}"),
            Expr::Select(_) => format!("select {parts:?}"),
            Expr::Const(value) => format!("const {}", value.to_bits()),
            leaf => format!("{leaf:?}"),
        };
        let next = self.next + 1;
        let number = *self.known.entry(key).or_insert(next);
        self.next = self.next.max(number);
        number
    }

    /// h where d = 0, else f(x + d), is f(x + d) if h is f(x): the sign of a zero aside. Only for a device that computes f
    /// alike in all of its kernels.
    fn without_keeping(&mut self, expr: &Expr, what: &str, before: &[u64]) -> Option<Expr> {
        let Expr::Select(parts) = expr else { return None };
        let [Expr::Binary(Binary::Equal, test), Expr::Slot(h), after] = &parts[..] else { return None };
        let Expr::Unary(Unary::F(f), sum) = after else { return None };
        let Expr::Binary(Binary::Add, xd) = &**sum else { return None };
        let still = Expr::f(*f, xd[0].clone());
        let same = test[0] == xd[1] && test[1] == Expr::Const(0.0) && self.number(what, &still, before) == before[h.0];
        same.then(|| after.clone())
    }

    /// The same formula with constants in the place of slots that hold one, and less to do: a − a is 0 for numbers that are
    /// the same, v − 0 is v (−0 included), and small whole constants are computed.
    fn simpler(&self, expr: &Expr, numbers: &[u64]) -> Expr {
        let number = |e: &Expr| if let Expr::Slot(s) | Expr::Stored(s) = e { Some(numbers[s.0]) } else { None };
        expr.map(&mut |e| {
            if let Some(value) = number(e).and_then(|n| self.constant.get(&n)) {
                return Some(Expr::Const(*value));
            }
            if e.parts().is_empty() {
                return None;
            }
            let parts: Vec<Expr> = e.parts().iter().map(|part| self.simpler(part, numbers)).collect();
            if let (Expr::Binary(Binary::Sub, _), [a, b]) = (e, &parts[..]) {
                if number(a).is_some() && number(a) == number(b) {
                    return Some(Expr::Const(0.0));
                }
                if matches!(b, Expr::Const(c) if c.to_bits() == 0) {
                    return Some(a.clone());
                }
            }
            let mut left = parts.into_iter();
            let mut whole = false;
            let made = e.map(&mut |_| if std::mem::replace(&mut whole, true) { left.next() } else { None });
            if let Expr::Binary(Binary::Less, ab) = &made
                && let Some((a, b)) = self.range(&ab[0], numbers).zip(self.range(&ab[1], numbers))
                && (a.1 < b.0 || a.0 >= b.1)
            {
                return Some(Expr::Const(f64::from(u8::from(a.1 < b.0))));
            }
            Some(folded(made))
        })
    }
}

/// What constants make, where every precision agrees: whole numbers that are small, choices, and zeros. (v + 0 is v, v · 0
/// is 0: for every number, the sign of a zero aside.)
fn folded(e: Expr) -> Expr {
    let whole = |e: &Expr| match e {
        Expr::Const(c) if c.fract() == 0.0 && c.abs() < 4096.0 => Some(*c),
        _ => None,
    };
    let zero = |e: &Expr| matches!(e, Expr::Const(c) if *c == 0.0);
    let truth = |holds: bool| f64::from(u8::from(holds));
    match &e {
        Expr::Unary(Unary::Neg, a) => whole(a).map(|a| Expr::Const(-a)),
        Expr::Binary(Binary::Add, ab) if zero(&ab[0]) => Some(ab[1].clone()),
        Expr::Binary(Binary::Add, ab) if zero(&ab[1]) => Some(ab[0].clone()),
        Expr::Binary(Binary::Mul, ab) if zero(&ab[0]) || zero(&ab[1]) => Some(Expr::Const(0.0)),
        Expr::Binary(op, ab) => whole(&ab[0]).zip(whole(&ab[1])).and_then(|(a, b)| {
            match op {
                Binary::Add => Some(a + b),
                Binary::Sub => Some(a - b),
                Binary::Mul => Some(a * b),
                Binary::Less => Some(truth(a < b)),
                Binary::Equal => Some(truth(a == b)),
                Binary::Min => Some(if b < a { b } else { a }),
                Binary::Max => Some(if b > a { b } else { a }),
                Binary::Div => None,
            }
            .map(Expr::Const)
        }),
        Expr::Fma(abc) if zero(&abc[0]) || zero(&abc[1]) => {
            Some(if zero(&abc[2]) { Expr::Const(0.0) } else { abc[2].clone() })
        }
        Expr::Select(parts) => match whole(&parts[0]) {
            Some(0.0) => Some(parts[2].clone()),
            Some(_) => Some(parts[1].clone()),
            None => None,
        },
        _ => None,
    }
    .unwrap_or(e)
}

/// Whether an end is a copy that needs no work: of a slot of the same home, to one that nobody looks at from outside.
fn is_alias(plan: &Plan, end: &End) -> bool {
    let Expr::Slot(from) = end.expr else { return false };
    let (to, from) = (plan.slot(end.to), plan.slot(from));
    to.home == from.home && !to.lasting && !to.observed && !from.lasting
}

/// Moves elementwise ends into the ops that make what they read.
fn move_ends(plan: &Plan, steps: &mut [Vec<Op>], limits: &Limits) {
    // The last step that wrote each slot, and the steps that read it since.
    for k in 1..steps.len() {
        let mut b = 0;
        while b < steps[k].len() {
            if let What::Each(Home::Units(_)) = steps[k][b].what {
                let mut e = 0;
                while e < steps[k][b].ends.len() {
                    if let Some((j, a, end)) = destination(plan, steps, (k, b, e), limits) {
                        steps[j][a].ends.push(end);
                        steps[k][b].ends.remove(e);
                    } else {
                        e += 1;
                    }
                }
            }
            if steps[k][b].ends.is_empty() {
                steps[k].remove(b);
            } else {
                b += 1;
            }
        }
    }
}

/// How far back an end looks for its maker: more than any rule's moment takes.
const REACH: usize = 64;

/// The earlier op that an end can move to, and the end as it reads there.
fn destination(
    plan: &Plan,
    steps: &[Vec<Op>],
    (k, b, e): (usize, usize, usize),
    limits: &Limits,
) -> Option<(usize, usize, End)> {
    let (op, end) = (&steps[k][b], &steps[k][b].ends[e]);
    let What::Each(home) = op.what else { return None };
    if is_alias(plan, end) {
        return None;
    }
    let leaves = end.expr.slots();
    // The latest op that wrote one of them.
    let writes = |op: &Op, slot: &SlotId| op.writes().any(|to| to == *slot);
    let (j, a) = (k.saturating_sub(REACH)..k)
        .rev()
        .find_map(|j| steps[j].iter().position(|op| leaves.iter().any(|slot| writes(op, slot))).map(|a| (j, a)))?;
    let maker = &steps[j][a];
    let here = match maker.what {
        What::Each(at) => at == home,
        What::Send { .. } => maker.ends.first().is_some_and(|end| plan.slot(end.to).home == home),
        _ => false,
    };
    if !here || steps[j].iter().enumerate().any(|(i, op)| i != a && leaves.iter().any(|slot| writes(op, slot))) {
        return None;
    }
    // Nobody else may see the slot change early.
    let to = end.to;
    let quiet = |op: &Op| !op.reads().contains(&to) && !writes(op, &to);
    let others = |at: usize, own: usize| steps[at].iter().enumerate().all(|(i, op)| i == own || quiet(op));
    let kept = op.ends.iter().enumerate().all(|(i, other)| i == e || !other.expr.slots().contains(&to));
    if writes(maker, &to) || !others(j, a) || !others(k, b) || !kept || !steps[j + 1..k].iter().flatten().all(quiet) {
        return None;
    }
    let mut merged = false;
    let expr = end.expr.map(&mut |leaf| {
        let (slot, stored) = match leaf {
            Expr::Slot(slot) => (slot, false),
            Expr::Stored(slot) => (slot, true),
            _ => return None,
        };
        let made = maker.ends.iter().find(|end| end.to == *slot)?;
        merged |= stored;
        Some(made.expr.clone())
    });
    let end = End { to, expr };
    let allowed = !merged || limits.merging == Merging::Harmless;
    (allowed && has_room(plan, maker, &end, limits)).then_some((j, a, end))
}

/// Whether an op can take one more end.
fn has_room(plan: &Plan, op: &Op, end: &End, limits: &Limits) -> bool {
    let ends = || op.ends.iter().chain([end]);
    let mut leaves: Vec<SlotId> = ends().map(|end| end.to).collect();
    let writes = leaves.len();
    for slot in ends().flat_map(|end| end.expr.slots()) {
        if !leaves.contains(&slot) {
            leaves.push(slot);
        }
    }
    let touched = leaves.iter().copied().chain(op.what.reads());
    let names: BTreeSet<&str> = touched.map(|slot| plan.slot(slot).name).collect();
    let nodes: usize = ends().map(|end| end.expr.nodes()).sum();
    nodes <= crate::expr::MAX_NODES
        && names.len() <= limits.names
        && leaves.len() <= limits.leaves
        && writes <= limits.writes
}

/// What is alive after each step of each segment. Ends that nothing reads are left out.
fn liveness(plan: &Plan, segments: &mut [Segment]) -> Vec<Vec<BTreeSet<SlotId>>> {
    let outside = |s: &usize| plan.slots[*s].lasting || plan.slots[*s].observed;
    let mut live: BTreeSet<SlotId> = (0..plan.slots.len()).filter(outside).map(SlotId).collect();
    let mut after = Vec::new();
    for segment in segments.iter_mut().rev() {
        if segment.times > 1 {
            // What one repetition reads, the one before it must leave.
            live.extend(segment.steps.iter().flatten().flat_map(Op::reads));
        }
        let mut steps = vec![live.clone(); segment.steps.len()];
        for (ops, after) in segment.steps.iter_mut().zip(&mut steps).rev() {
            after.clone_from(&live);
            ops.iter_mut().for_each(|op| op.ends.retain(|end| live.contains(&end.to)));
            ops.retain(|op| !op.ends.is_empty());
            ops.iter().flat_map(Op::writes).for_each(|to| {
                live.remove(&to);
            });
            live.extend(ops.iter().flat_map(Op::reads));
        }
        if segment.times > 1 {
            live.extend(segment.steps.iter().flatten().flat_map(Op::writes));
        }
        after.push(steps);
    }
    after.reverse();
    after
}

/// Gives every value a place.
struct Placing<'a> {
    plan: &'a Plan,
    /// By segment and step.
    live: Vec<Vec<BTreeSet<SlotId>>>,
    place: Vec<Place>,
    halves: Vec<usize>,
    /// Different names among the slots of a launch, at most.
    names: usize,
}

impl<'a> Placing<'a> {
    fn new(plan: &'a Plan, live: Vec<Vec<BTreeSet<SlotId>>>, names: usize) -> Self {
        let place = (0..plan.slots.len()).map(|s| Place { slot: SlotId(s), half: 0 }).collect();
        let mut halves: Vec<usize> = plan.slots.iter().map(|s| usize::from(s.lasting)).collect();
        (halves[plan.input.0], halves[plan.target.0]) = (1, 1);
        Placing { plan, live, place, halves, names }
    }

    /// Lowers a segment; of a repetition as many rounds as bring every value back to where it was.
    fn segment(&mut self, at: usize, segment: &Segment, passes: &mut Vec<Pass>) {
        let mut rounds = Vec::new();
        let mut left = segment.times;
        while left > 0 {
            let before = self.place.clone();
            rounds.clear();
            let most = if segment.times == 1 { 1 } else { left.min(4) };
            let mut made = 0;
            while made < most {
                let mut launches = Vec::new();
                for (k, ops) in segment.steps.iter().enumerate() {
                    self.step(at, k, ops, &mut launches);
                }
                rounds.push(launches);
                made += 1;
                if self.place == before {
                    break;
                }
            }
            let back = self.place == before;
            let times = if back { left / made } else { 1 };
            passes.push(Pass { times, launches: rounds.drain(..).flatten().collect() });
            left -= made * times;
        }
    }

    fn step(&mut self, at: usize, k: usize, ops: &[Op], launches: &mut Vec<Launch>) {
        let mut order: Vec<(Kind, &Op)> = ops.iter().map(|op| (kind(op), op)).collect();
        order.sort_by_key(|(kind, _)| *kind);
        let (before, start) = (self.place.clone(), launches.len());
        let mut after = before.clone();
        let reads: Vec<Vec<SlotId>> = order.iter().map(|(_, op)| op.reads()).collect();
        let wholes: Vec<Vec<SlotId>> = order.iter().map(|(_, op)| op.what.reads()).collect();
        let mut read_now = vec![false; before.len()];
        reads.iter().flatten().for_each(|slot| read_now[slot.0] = true);
        let wanted: Vec<bool> = (0..before.len()).map(|s| self.live[at][k].contains(&SlotId(s))).collect();
        // Copies: slots whose value lies in a place of another slot's.
        let elsewhere =
            |places: &[Place]| -> Vec<usize> { (0..places.len()).filter(|s| places[*s].slot != SlotId(*s)).collect() };
        let borrowed = elsewhere(&before);
        // Copies cost nothing; they come first, for a slot that is copied must then be written elsewhere.
        for op in ops {
            for end in op.ends.iter().filter(|end| is_alias(self.plan, end)) {
                if let Expr::Slot(from) = end.expr {
                    after[end.to.0] = before[from.0];
                }
            }
        }
        let copies = elsewhere(&after);
        for (i, (kind, op)) in order.iter().enumerate() {
            let ends: Vec<&End> = op.ends.iter().filter(|end| !is_alias(self.plan, end)).collect();
            if ends.is_empty() {
                continue;
            }
            for end in &ends {
                // Those that read the old value when this launch runs or later.
                let late = |(j, (other, _)): (usize, &(Kind, &Op))| {
                    *other >= *kind && if j == i { &wholes[j] } else { &reads[j] }.contains(&end.to)
                };
                let mut taken: BTreeSet<usize> = BTreeSet::new();
                if order.iter().enumerate().any(late) && before[end.to.0].slot == end.to {
                    taken.insert(before[end.to.0].half);
                }
                // Copies whose value is still wanted, after this step or by an op of it.
                for &s in copies.iter().chain(&borrowed).filter(|s| **s != end.to.0) {
                    if after[s].slot == end.to && wanted[s] {
                        taken.insert(after[s].half);
                    }
                    if before[s].slot == end.to && read_now[s] {
                        taken.insert(before[s].half);
                    }
                }
                let same = before[end.to.0];
                let stay = same.slot == end.to && !taken.contains(&same.half);
                let half = if stay { same.half } else { (0..).find(|h| !taken.contains(h)).unwrap_or(0) };
                after[end.to.0] = Place { slot: end.to, half };
                self.halves[end.to.0] = self.halves[end.to.0].max(half + 1);
            }
            let job = self.job(op, &ends, &before, &after);
            let room = |launch: &&mut Launch| {
                launch.kind == *kind && names(self.plan, launch.jobs.iter().chain([&job])) <= self.names
            };
            match launches[start..].iter_mut().find(room) {
                Some(launch) => launch.jobs.push(job),
                None => launches.push(Launch { kind: *kind, jobs: vec![job] }),
            }
        }
        self.place = after;
    }

    fn job(&self, op: &Op, ends: &[&End], before: &[Place], after: &[Place]) -> Job {
        let at = |slot: SlotId| before[slot.0];
        let work = match op.what {
            What::Send { projection, weights, direction, from } => {
                let weights = at(weights.unwrap_or(from));
                Work::Send { projection, weights, direction, from: at(from) }
            }
            What::Each(home) => Work::Each(home),
            What::Change { projection, post, pre } => Work::Change { projection, post: at(post), pre: at(pre) },
            What::Reduce { from, how } => Work::Reduce { from: at(from), how },
            What::Draw(draw) => Work::Draw(draw),
        };
        let ends: Vec<(Place, Expr)> = ends.iter().map(|end| (after[end.to.0], end.expr.clone())).collect();
        Job { work, code: Code::new(&ends, &at) }
    }

    /// What lasts must be where the next update looks for it.
    fn restore_lasting(&mut self, passes: &mut Vec<Pass>) {
        let mut jobs = Vec::new();
        for (s, slot) in self.plan.slots.iter().enumerate().filter(|(_, slot)| slot.lasting) {
            let home = Place { slot: SlotId(s), half: 0 };
            let now = std::mem::replace(&mut self.place[s], home);
            if now != home {
                let code = Code::new(&[(home, Expr::Slot(SlotId(s)))], &|_| now);
                jobs.push(Job { work: Work::Each(slot.home), code });
            }
        }
        if !jobs.is_empty() {
            passes.push(Pass { times: 1, launches: vec![Launch { kind: Kind::Units, jobs }] });
        }
    }
}

fn kind(op: &Op) -> Kind {
    match op.what {
        What::Send { direction: Direction::Forward, .. } => Kind::Forward,
        What::Send { direction: Direction::Backward, .. } => Kind::Backward,
        What::Each(Home::Connections(_)) => Kind::Connections,
        What::Each(_) => Kind::Units,
        What::Change { .. } => Kind::Change,
        What::Reduce { .. } => Kind::Reduce,
        What::Draw(_) => Kind::Draw,
    }
}

/// Different names among the slots that jobs touch.
fn names<'a>(plan: &Plan, jobs: impl Iterator<Item = &'a Job>) -> usize {
    let places = jobs.flat_map(|job| job.code.leaves.iter().copied().chain(job.work.reads()));
    places.map(|place| plan.slot(place.slot).name).collect::<BTreeSet<_>>().len()
}

/// Moves each launch of changes into the next one wherever no launch between them reads the new weights or
/// overwrites what the change reads.
fn sink_changes(plan: &Plan, launches: &mut Vec<Launch>, most: usize) {
    let mut i = 0;
    while i < launches.len() {
        let next = (i + 1..launches.len()).find(|&k| launches[k].kind == Kind::Change);
        match next {
            Some(k)
                if launches[i].kind == Kind::Change
                    && !conflict(&launches[i], &launches[i + 1..=k])
                    && names(plan, launches[i].jobs.iter().chain(&launches[k].jobs)) <= most =>
            {
                let mut jobs = launches.remove(i).jobs;
                let later = &mut launches[k - 1].jobs;
                jobs.append(later);
                *later = jobs;
            }
            _ => i += 1,
        }
    }
}

/// Whether one of `later` must not come before the changes.
fn conflict(changes: &Launch, later: &[Launch]) -> bool {
    let reads: Vec<Place> = changes.jobs.iter().flat_map(Job::reads).collect();
    let writes: Vec<Place> = changes.jobs.iter().flat_map(|job| job.writes().to_vec()).collect();
    later.iter().flat_map(|launch| &launch.jobs).any(|job| {
        job.writes().iter().any(|place| reads.contains(place) || writes.contains(place))
            || job.reads().iter().any(|place| writes.contains(place))
    })
}
