//! Value numbering: finds equal values, constants and value ranges before execution.

use super::Merging;
use super::split::Segment;
use crate::plan::expr::{Binary, Expr, ParamId, SlotId, Unary};
use crate::plan::{Assign, Direction, Domain, Op, Plan, Reduction, What};
use std::collections::HashMap;

/// Assigns value numbers. Two slots with the same number hold the same value.
pub(super) struct Numbering {
    of: Vec<u64>,
    next: u64,
    known: HashMap<Key, u64>,
    /// Value numbers that are known constants.
    constant: HashMap<u64, f64>,
    /// Known ranges of value numbers, as (minimum, maximum).
    range: HashMap<u64, (f64, f64)>,
    merging: Merging,
    /// Whether to speculate that a slot leaves its resting constant wherever it can.
    pub(super) bold: bool,
    pub(super) assumed: Vec<Assumed>,
}

/// Definition of a value: an operation on the value numbers of its operands, or a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Arriving(Arrival),
    Param(ParamId),
    Unit,
    Weight,
    /// A constant, as the bits of its float64.
    Const(u64),
    Unary(Unary, u64),
    Binary(Binary, [u64; 2]),
    Fma([u64; 3]),
    Select([u64; 3]),
}

/// Identity of s. Equal values of s compare equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Arrival {
    /// There is no s.
    Nothing,
    /// A product: projection, value number of the weights, direction, value number of the sent slot.
    Send(usize, Option<u64>, Direction, u64),
    /// A reduction of a value number, to slots of this domain.
    Reduce(Reduction, u64, Option<Domain>),
    /// A value that is unique to one op: an outer product or random numbers.
    Once(u64),
}

/// An assignment assumed to give a constant, as (step, op, assignment).
pub(super) struct Assumed {
    pub(super) at: (usize, usize, usize),
    pub(super) value: f64,
}

impl Numbering {
    pub(super) fn new(plan: &Plan, merging: Merging) -> Self {
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

    pub(super) fn simplify(&mut self, plan: &Plan, segments: &mut [Segment]) {
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

    /// Gives new value numbers to all slots that a repetition writes: they change in every round.
    fn forget(&mut self, segment: &Segment) {
        for to in segment.steps.iter().flatten().flat_map(Op::writes) {
            self.of[to.0] = self.fresh();
        }
    }

    fn step(&mut self, plan: &Plan, k: usize, ops: &mut Vec<Op>) {
        // All ops read the value numbers from before the step. The new numbers take effect at its end.
        let before = std::mem::take(&mut self.of);
        let mut given: Vec<(SlotId, u64)> = Vec::new();
        let mut kept = 0;
        for op in ops.iter_mut() {
            self.silence(plan, op, &before);
            let what = self.what(plan, op, &before);
            let mut left = 0;
            op.epilogue.retain_mut(|end| {
                end.expr = self.simpler(&end.expr, &before);
                if self.merging == Merging::Harmless
                    && let Some(expr) = self.without_keeping(&end.expr, what, &before)
                {
                    end.expr = expr;
                }
                let mut number = self.number(what, &end.expr, &before);
                if let Expr::Const(value) = end.expr {
                    self.constant.insert(number, value);
                } else if let Some(value) = self.leaves_rest(end, &before) {
                    self.assumed.push(Assumed { at: (k, kept, left), value });
                    number = self.number(Arrival::Nothing, &Expr::Const(value), &before);
                    self.constant.insert(number, value);
                } else if let Some(range) = self.range(&end.expr, &before) {
                    self.range.insert(number, range);
                }
                let same = number == before[end.to.0];
                given.push((end.to, number));
                left += usize::from(!same);
                !same
            });
            kept += usize::from(!op.epilogue.is_empty());
        }
        self.of = before;
        given.into_iter().for_each(|(slot, number)| self.of[slot.0] = number);
        ops.retain(|op| !op.epilogue.is_empty());
    }

    /// The constant that a slot is speculated to become. It is at rest at one constant, and its assignment selects that
    /// or another one.
    fn leaves_rest(&self, end: &Assign, before: &[u64]) -> Option<f64> {
        let Expr::Select(parts) = &end.expr else { return None };
        let [_, Expr::Const(moved), Expr::Const(still)] = &parts[..] else { return None };
        let now = before[end.to.0];
        // The slot is at rest, or has not been written yet.
        let rests = self.constant.get(&now) == Some(still) || now == end.to.0 as u64;
        (self.bold && rests && moved != still).then_some(*moved)
    }

    /// The range of a formula's value.
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

    /// Replaces an op whose s is 0 everywhere by an elementwise op without s: a product with a slot that is 0
    /// everywhere, or a reduction of such a slot. (A NaN in the other operand would have produced a NaN here. It is
    /// detected where it is computed.)
    fn silence(&self, plan: &Plan, op: &mut Op, before: &[u64]) {
        let silent = |slot: SlotId| self.constant.get(&before[slot.0]) == Some(&0.0);
        let nothing = match op.what {
            What::Send { projection, direction, from, .. } => {
                silent(from) && !(direction == Direction::Forward && plan.biased(projection))
            }
            What::OuterProduct { projection, post, pre } => silent(post) || silent(pre) && !plan.biased(projection),
            What::Reduce { from, how } => silent(from) && how != Reduction::Argmax,
            What::Map(_) | What::Draw(_) => false,
        };
        if let (true, Some(first)) = (nothing, op.epilogue.first()) {
            let zero = |e: &Expr| (*e == Expr::Arriving).then_some(Expr::Const(0.0));
            op.what = What::Map(plan.slot(first.to).home);
            op.epilogue.iter_mut().for_each(|end| end.expr = end.expr.map(&mut |e| zero(e)));
        }
    }

    fn what(&mut self, plan: &Plan, op: &Op, before: &[u64]) -> Arrival {
        match op.what {
            What::Send { projection, weights, direction, from } => {
                Arrival::Send(projection, weights.map(|w| before[w.0]), direction, before[from.0])
            }
            What::Reduce { from, how } => {
                let into = op.epilogue.first().map(|end| plan.slot(end.to).home);
                Arrival::Reduce(how, before[from.0], into)
            }
            What::Map(_) => Arrival::Nothing,
            What::OuterProduct { .. } | What::Draw(_) => Arrival::Once(self.fresh()),
        }
    }

    /// The value number of a formula: that of its operation applied to the value numbers of its operands.
    fn number(&mut self, what: Arrival, expr: &Expr, before: &[u64]) -> u64 {
        let mut of = |e: &Expr| self.number(what, e, before);
        let key = match expr {
            Expr::Slot(slot) | Expr::Stored(slot) => return before[slot.0],
            Expr::Arriving => Key::Arriving(what),
            Expr::Unary(op, a) => Key::Unary(*op, of(a)),
            Expr::Binary(op, ab) => Key::Binary(*op, [of(&ab[0]), of(&ab[1])]),
            Expr::Fma(abc) => Key::Fma([of(&abc[0]), of(&abc[1]), of(&abc[2])]),
            Expr::Select(abc) => Key::Select([of(&abc[0]), of(&abc[1]), of(&abc[2])]),
            Expr::Const(value) => Key::Const(value.to_bits()),
            Expr::Param(param) => Key::Param(*param),
            Expr::Unit => Key::Unit,
            Expr::Weight => Key::Weight,
        };
        let next = self.next + 1;
        let number = *self.known.entry(key).or_insert(next);
        self.next = self.next.max(number);
        number
    }

    /// Simplifies select(d = 0, h, f(x + d)) to f(x + d) if h = f(x). The result is exact except for the sign of a
    /// zero. It requires that the device computes f identically in all kernels.
    fn without_keeping(&mut self, expr: &Expr, what: Arrival, before: &[u64]) -> Option<Expr> {
        let Expr::Select(parts) = expr else { return None };
        let [Expr::Binary(Binary::Equal, test), Expr::Slot(h), after] = &parts[..] else { return None };
        let Expr::Unary(Unary::F(f), sum) = after else { return None };
        let Expr::Binary(Binary::Add, xd) = &**sum else { return None };
        let still = Expr::f(*f, xd[0].clone());
        let same = test[0] == xd[1] && test[1] == Expr::Const(0.0) && self.number(what, &still, before) == before[h.0];
        same.then(|| after.clone())
    }

    /// The simplified formula. Slots with known constants are replaced by them. a − a becomes 0 for equal value
    /// numbers. v − 0 becomes v (also for −0). Small integer constants are folded.
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

/// Constant folding where all precisions agree: small integers, selections, and zeros. (v + 0 becomes v, and v · 0
/// becomes 0. Both ignore the sign of a zero.)
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
