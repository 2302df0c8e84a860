//! Elementwise ends move into the ops that make what they read.

use super::{Limits, Merging};
use crate::plan::expr::{Expr, SlotId};
use crate::plan::{End, Home, Op, Plan, What};
use std::collections::BTreeSet;

/// Whether an end is a copy that needs no work: of a slot of the same home, to one that nobody looks at from outside.
pub(super) fn is_alias(plan: &Plan, end: &End) -> bool {
    let Expr::Slot(from) = end.expr else { return false };
    let (to, from) = (plan.slot(end.to), plan.slot(from));
    to.home == from.home && !to.lasting && !to.observed && !from.lasting
}

/// Moves elementwise ends into the ops that make what they read.
pub(super) fn move_ends(plan: &Plan, steps: &mut [Vec<Op>], limits: &Limits) {
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
        // What only carries takes no ends.
        What::Send { projection, .. } if plan.projections[projection].kind.is_map() => false,
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
    nodes <= crate::plan::expr::MAX_NODES
        && names.len() <= limits.names
        && leaves.len() <= limits.leaves
        && writes <= limits.writes
}
