//! Splits a plan's moments into segments of steps, and ops into parts that fit one launch.

use super::Limits;
use crate::plan::expr::{Expr, SlotId};
use crate::plan::{Assign, Connection, Direction, Domain, Op, Plan, What};
use std::collections::{BTreeSet, HashMap};

/// A sequence of steps that is repeated `times` times.
pub(super) struct Segment {
    pub(super) times: u32,
    pub(super) steps: Vec<Vec<Op>>,
    /// Whether slots are observed after the segment.
    pub(super) looked_at: bool,
    /// Per step and slot, the name of the op from which fusion moved an assignment there.
    pub(super) moved: HashMap<(usize, SlotId), &'static str>,
}

impl Segment {
    /// The rule's name for the op from which an assignment of a step came.
    pub(super) fn name(&self, step: usize, op: &Op, end: &Assign) -> &'static str {
        self.moved.get(&(step, end.to)).copied().unwrap_or(op.name)
    }
}

/// The segments of a plan. Consecutive unrepeated moments are joined, except after an observed one. Ops through
/// identities become elementwise.
pub(super) fn segments(plan: &Plan, limits: &Limits, looks: &[usize]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (m, moment) in plan.moments.iter().enumerate() {
        let parted = |op: &Op| parted(plan, plain(plan, op), limits);
        let steps = moment.steps.iter().map(|ops| ops.iter().flat_map(parted).collect());
        match segments.last_mut() {
            Some(last) if last.times == 1 && moment.times == 1 && !last.looked_at => last.steps.extend(steps),
            _ => {
                let (steps, moved) = (steps.collect(), HashMap::new());
                segments.push(Segment { times: moment.times, steps, looked_at: false, moved });
            }
        }
        segments.iter_mut().last().into_iter().for_each(|last| last.looked_at = looks.binary_search(&m).is_ok());
    }
    segments
}

/// Converts an op through an identity to an elementwise op: unit i reads unit i of the other population.
fn plain(plan: &Plan, op: &Op) -> Op {
    let What::Send { projection, direction, from, .. } = op.what else { return op.clone() };
    let of = &plan.projections[projection];
    if of.kind != Connection::Identity {
        return op.clone();
    }
    let at = if direction == Direction::Forward { of.to } else { of.from };
    // In a graph, the sum over edges must round alike in every plan, so no compiler may contract it with its terms.
    let read = if plan.unrolled { Expr::Stored(from) } else { Expr::Slot(from) };
    let arrive = |e: &Expr| (*e == Expr::Arriving).then(|| read.clone());
    let epilogue =
        op.epilogue.iter().map(|end| Assign { to: end.to, expr: end.expr.map(&mut |e| arrive(e)) }).collect();
    Op { name: op.name, what: What::Map(Domain::Units(at)), epilogue }
}

/// Splits an op that exceeds the limits of a launch. All parts compute the same s, each for some of the assignments.
/// Assignments stay together if one reads what another writes.
fn parted(plan: &Plan, op: Op, limits: &Limits) -> Vec<Op> {
    let fits = |epilogue: &[Assign]| {
        epilogue.len() <= limits.writes
            && (limits.names == usize::MAX || touched(plan, &op.what, epilogue) <= limits.names)
    };
    if fits(&op.epilogue) {
        return vec![op];
    }
    // Groups of dependent assignments.
    let mut groups: Vec<Vec<Assign>> = Vec::new();
    for end in &op.epilogue {
        let linked = |group: &Vec<Assign>| {
            group.iter().any(|other| other.expr.slots().contains(&end.to) || end.expr.slots().contains(&other.to))
        };
        let (with, mut apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(linked);
        apart.push(with.into_iter().flatten().chain([end.clone()]).collect());
        groups = apart;
    }
    let mut parts: Vec<Vec<Assign>> = Vec::new();
    for group in groups {
        match parts.last_mut().filter(|last| fits(&[last.as_slice(), group.as_slice()].concat())) {
            Some(last) => last.extend(group),
            None => parts.push(group),
        }
    }
    parts.into_iter().map(|epilogue| Op { epilogue, ..op.clone() }).collect()
}

/// Number of slot families that an op with these assignments accesses.
fn touched(plan: &Plan, what: &What, epilogue: &[Assign]) -> usize {
    let slots = epilogue.iter().flat_map(|end| end.expr.slots().into_iter().chain([end.to]));
    slots.chain(what.reads()).map(|slot| plan.slot(slot).family).collect::<BTreeSet<_>>().len()
}
