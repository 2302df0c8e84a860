//! Kernel fusion: elementwise assignments move into the ops that compute their operands.

use super::split::Segment;
use super::users::Users;
use super::{Limits, Merging};
use crate::plan::expr::{Expr, SlotId};
use crate::plan::{Assign, Domain, FamilyId, Op, Plan, What};
use std::collections::BTreeSet;

/// Whether an assignment is a copy that can be replaced by an alias. Both slots must have the same domain, and neither
/// may be observed or persistent.
pub(super) fn is_alias(plan: &Plan, end: &Assign) -> bool {
    let Expr::Slot(from) = end.expr else { return false };
    let (to, from) = (plan.slot(end.to), plan.slot(from));
    to.home == from.home && !to.persistent && !to.observed && !from.persistent
}

/// Moves elementwise assignments into the ops that compute their operands, as an epilogue.
pub(super) fn move_ends(plan: &Plan, segment: &mut Segment, limits: &Limits) {
    let Segment { steps, moved, .. } = segment;
    let mut users = Users::new(plan.slots.len());
    for k in 0..steps.len() {
        for (b, op) in steps[k].iter().enumerate() {
            users.add((k, b), op);
        }
        for b in 0..steps[k].len() {
            if !matches!(steps[k][b].what, What::Map(Domain::Units(_))) {
                continue;
            }
            let mut e = 0;
            while e < steps[k][b].epilogue.len() {
                let Some((j, a, end)) = destination(plan, steps, &users, (k, b, e), limits) else {
                    e += 1;
                    continue;
                };
                let name = moved.remove(&(k, end.to)).unwrap_or(steps[k][b].name);
                moved.insert((j, end.to), name);
                users.remove((k, b), &steps[k][b]);
                users.remove((j, a), &steps[j][a]);
                steps[j][a].epilogue.push(end);
                steps[k][b].epilogue.remove(e);
                users.add((k, b), &steps[k][b]);
                users.add((j, a), &steps[j][a]);
            }
        }
    }
    // Remove ops without assignments. They read and write nothing, so this can wait until all moves are done.
    steps.iter_mut().for_each(|ops| ops.retain(|op| !op.epilogue.is_empty()));
}

/// Maximum distance in steps to the producing op. No moment of a rule has more steps.
const REACH: usize = 64;

/// The earlier op into which an assignment can move, and the assignment rewritten for it.
fn destination(
    plan: &Plan,
    steps: &[Vec<Op>],
    users: &Users,
    (k, b, e): (usize, usize, usize),
    limits: &Limits,
) -> Option<(usize, usize, Assign)> {
    let (op, end) = (&steps[k][b], &steps[k][b].epilogue[e]);
    let What::Map(home) = op.what else { return None };
    if is_alias(plan, end) {
        return None;
    }
    // The latest step that writes one of the operands, and the first op of this step that does so.
    let leaves = end.expr.slots();
    let (j, a) =
        leaves.iter().filter_map(|slot| users.last_write(*slot, k)).max_by_key(|(j, a)| (*j, usize::MAX - a))?;
    if j + REACH < k {
        return None;
    }
    let maker = &steps[j][a];
    let here = match maker.what {
        What::Map(at) => at == home,
        // Fixed maps take no epilogue.
        What::Send { projection, .. } if plan.projections[projection].kind.is_map() => false,
        What::Send { .. } => maker.epilogue.first().is_some_and(|end| plan.slot(end.to).home == home),
        _ => false,
    };
    let other_maker = |slot: &SlotId| users.writes(*slot, j, j).any(|(_, i)| i != a);
    if !here || leaves.iter().any(other_maker) {
        return None;
    }
    // The move makes the write earlier, which no other op may observe.
    let to = end.to;
    let read = users.reads(to, j, k).any(|at| at != (j, a) && at != (k, b));
    let written = users.writes(to, j, k).any(|at| at != (k, b));
    let kept = op.epilogue.iter().enumerate().all(|(i, other)| i == e || !other.expr.slots().contains(&to));
    if read || written || !kept {
        return None;
    }
    let mut merged = false;
    let expr = end.expr.map(&mut |leaf| {
        let (slot, stored) = match leaf {
            Expr::Slot(slot) => (slot, false),
            Expr::Stored(slot) => (slot, true),
            _ => return None,
        };
        let made = maker.epilogue.iter().find(|end| end.to == *slot)?;
        merged |= stored;
        Some(made.expr.clone())
    });
    let end = Assign { to, expr };
    let allowed = !merged || limits.merging == Merging::Harmless;
    (allowed && has_room(plan, maker, &end, limits)).then_some((j, a, end))
}

/// Whether an op can take one more assignment within the limits.
fn has_room(plan: &Plan, op: &Op, end: &Assign, limits: &Limits) -> bool {
    let epilogue = || op.epilogue.iter().chain([end]);
    let mut leaves: Vec<SlotId> = epilogue().map(|end| end.to).collect();
    let writes = leaves.len();
    for slot in epilogue().flat_map(|end| end.expr.slots()) {
        if !leaves.contains(&slot) {
            leaves.push(slot);
        }
    }
    let touched = leaves.iter().copied().chain(op.what.reads());
    let names: BTreeSet<FamilyId> = touched.map(|slot| plan.slot(slot).family).collect();
    let nodes: usize = epilogue().map(|end| end.expr.nodes()).sum();
    nodes <= crate::plan::expr::MAX_NODES
        && names.len() <= limits.names
        && leaves.len() <= limits.leaves
        && writes <= limits.writes
}
