//! Insertion of fixed maps (im2col patches, pooling, flattening) as explicit ops into a plan, which gives the plan that
//! devices run.
//!
//! A rule is written as if weights connected layers directly. The source of a weight matrix may be the result of fixed
//! maps (patches, pooling, [`Connection::Flat`]). In the forward direction the maps are applied before the weights; in
//! the backward direction the transposed maps are applied after the transposed weights. Every rule therefore supports
//! convolutions without mentioning them. [`Plan::carried`] inserts these steps before the step that needs them. The
//! inserted ops write only additional slots, and read the other slots as they are at the start of that step. Inference
//! and learning at the same t therefore stay in one step.

use crate::error::{Error, Result};
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Domain, Moment, Op, Plan, What, op};
use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Keys of slots for intermediate values in the forward direction. A population may need several of these slots.
const FORTH: [&str; 4] = ["carried", "carried_b", "carried_c", "carried_d"];
/// Keys of slots for intermediate values in the backward direction.
const BACK: [&str; 4] = ["returned", "returned_b", "returned_c", "returned_d"];

impl Plan {
    /// The fixed maps on the path from one population to another, in order; empty if they are the same.
    pub(crate) fn route(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let (mut route, mut at) = (Vec::new(), to);
        while at != from {
            let map = self.projections.iter().position(|p| p.to == at && p.kind.is_map())?;
            if route.contains(&map) {
                return None;
            }
            route.push(map);
            at = self.projections[map].from;
        }
        route.reverse();
        Some(route)
    }

    /// The population at which a projection's input originates, before all fixed maps.
    pub(crate) fn sender(&self, projection: usize) -> usize {
        let (mut at, mut left) = (self.projections[projection].from, self.projections.len());
        while let (Some(map), 1..) = (self.projections.iter().find(|p| p.to == at && p.kind.is_map()), left) {
            (at, left) = (map.from, left - 1);
        }
        at
    }

    /// The same plan with all fixed maps as explicit ops, which is the form that devices run. Existing slots keep their
    /// ids. Slots for intermediate values are added.
    ///
    /// # Errors
    /// [`Error::Usage`] if the slot that selects the maximum in the backward pass of a max pooling is ambiguous, or if
    /// one population needs too many intermediate values.
    pub fn carried(&self) -> Result<Cow<'_, Plan>> {
        if !self.projections.iter().any(|p| p.kind.is_map()) {
            return Ok(Cow::Borrowed(self));
        }
        let plan = Plan { moments: Vec::new(), ..self.clone() };
        let (slots, fresh) = (BTreeMap::new(), BTreeMap::new());
        let mut carrier = Carrier { short: self, plan, slots, fresh, sent: self.sent_forward() };
        for moment in &self.moments {
            carrier.moment(moment)?;
        }
        Ok(Cow::Owned(carrier.plan))
    }

    /// The slots that are sent forward, per projection.
    fn sent_forward(&self) -> BTreeMap<usize, BTreeSet<SlotId>> {
        let mut sent: BTreeMap<usize, BTreeSet<SlotId>> = BTreeMap::new();
        for op in self.ops() {
            if let What::Send { projection, direction: Direction::Forward, from, .. } = op.what {
                sent.entry(projection).or_default().insert(from);
            }
        }
        sent
    }
}

/// Key of an intermediate value: source slot, projection, weights, and whether the direction is backward.
type Way = (SlotId, usize, Option<SlotId>, bool);

/// Steps to insert before a step.
#[derive(Default)]
struct Before {
    /// Forward maps, indexed by the number of preceding maps on the path.
    ahead: Vec<Vec<Op>>,
    /// Backward maps, indexed in the same way.
    back: Vec<Vec<Op>>,
}

struct Carrier<'a> {
    /// The plan as the rule wrote it.
    short: &'a Plan,
    /// The plan with the maps inserted so far.
    plan: Plan,
    /// The slot of each intermediate value.
    slots: BTreeMap<Way, SlotId>,
    /// Intermediate slots that are up to date, each with its source slot.
    fresh: BTreeMap<SlotId, SlotId>,
    /// The slots that the rule sends forward through each projection.
    sent: BTreeMap<usize, BTreeSet<SlotId>>,
}

impl Carrier<'_> {
    fn moment(&mut self, moment: &Moment) -> Result<()> {
        // `fresh` is cleared where the plan may be cut into parts, and before repetitions, which must not read values
        // computed before their first run.
        let goes_on = self.plan.moments.last().is_some_and(|last| {
            std::mem::discriminant(&last.stage) == std::mem::discriminant(&moment.stage) && last.times == 1
        });
        if moment.times > 1 || !goes_on {
            self.fresh.clear();
        }
        let mut steps = Vec::new();
        for ops in &moment.steps {
            let mut before = Before::default();
            let ops = ops.iter().map(|op| self.op(op, &mut before)).collect::<Result<Vec<Op>>>()?;
            steps.extend(before.ahead.into_iter().chain(before.back).filter(|ops| !ops.is_empty()));
            let written: BTreeSet<SlotId> = ops.iter().flat_map(Op::writes).collect();
            self.fresh.retain(|slot, made_of| !written.contains(made_of) && !written.contains(slot));
            steps.push(ops);
        }
        self.plan.moments.push(Moment { stage: moment.stage, steps, times: moment.times });
        Ok(())
    }

    /// The op with its operands replaced by intermediate values.
    fn op(&mut self, op: &Op, before: &mut Before) -> Result<Op> {
        let units = |slot: SlotId| match self.short.slot(slot).home {
            Domain::Units(p) => Some(p),
            _ => None,
        };
        let what = match op.what {
            What::Send { projection, weights, direction: Direction::Forward, from } if self.carries(projection) => {
                let from = self.forth(from, self.short.projections[projection].from, before)?;
                What::Send { projection, weights, direction: Direction::Forward, from }
            }
            What::OuterProduct { projection, post, pre } => {
                let pre = self.forth(pre, self.short.projections[projection].from, before)?;
                What::OuterProduct { projection, post, pre }
            }
            What::Send { projection, weights, direction: Direction::Backward, from } if self.carries(projection) => {
                let here = op.epilogue.first().and_then(|end| units(end.to));
                let start = self.short.projections[projection].from;
                let Some(here) = here.filter(|here| *here != start) else { return Ok(op.clone()) };
                let returned = self.back((from, projection, weights), here, before)?;
                let mut op = op.clone();
                for end in &mut op.epilogue {
                    end.expr = end.expr.map(&mut |e| (*e == Expr::Arriving).then_some(Expr::Slot(returned)));
                }
                return Ok(Op { what: What::Map(Domain::Units(here)), ..op });
            }
            _ => return Ok(op.clone()),
        };
        Ok(Op { what, ..op.clone() })
    }

    /// Whether the projection has weights. An op of the rule that sends through a fixed map needs no insertion.
    fn carries(&self, projection: usize) -> bool {
        self.short.projections[projection].kind.has_weights()
    }

    /// The slot that holds the value of `slot` after the fixed maps to population `to`.
    fn forth(&mut self, slot: SlotId, to: usize, before: &mut Before) -> Result<SlotId> {
        let Domain::Units(from) = self.short.slot(slot).home else { return Ok(slot) };
        let route = self.short.route(from, to).ok_or_else(|| self.lost(slot, to))?;
        let mut now = slot;
        for (stage, &map) in route.iter().enumerate() {
            let there = self.slot((now, map, None, false), self.short.projections[map].to)?;
            if let Entry::Vacant(stale) = self.fresh.entry(there) {
                stale.insert(slot);
                let what = What::Send { projection: map, weights: None, direction: Direction::Forward, from: now };
                at(&mut before.ahead, stage).push(op("carry", what, [(there, arriving())]));
            }
            now = there;
        }
        Ok(now)
    }

    /// The slot that holds the sum returned through the weights, after the transposed maps back to population `to`.
    fn back(
        &mut self,
        (from, projection, weights): (SlotId, usize, Option<SlotId>),
        to: usize,
        before: &mut Before,
    ) -> Result<SlotId> {
        let start = self.short.projections[projection].from;
        let route = self.short.route(to, start).ok_or_else(|| self.lost(from, to))?;
        let mut now = self.slot((from, projection, weights, true), start)?;
        let what = What::Send { projection, weights, direction: Direction::Backward, from };
        once(at(&mut before.back, 0), op("return", what, [(now, arriving())]));
        for (stage, &map) in route.iter().rev().enumerate() {
            let of = &self.short.projections[map];
            let (kind, home) = (of.kind, of.from);
            // Max pooling: the forward input selects the unit that receives the error.
            let decides = match kind {
                Connection::Maximum(_) => Some(self.forth(self.decider(projection, to)?, home, before)?),
                _ => None,
            };
            let there = self.slot((now, map, decides, true), home)?;
            let what = What::Send { projection: map, weights: decides, direction: Direction::Backward, from: now };
            once(at(&mut before.back, stage + 1), op("return", what, [(there, arriving())]));
            now = there;
        }
        Ok(now)
    }

    /// The slot of population `at` that the rule sends forward through a projection. It is an error if there are
    /// several.
    fn decider(&self, projection: usize, at: usize) -> Result<SlotId> {
        let here = |slot: &&SlotId| self.short.slot(**slot).home == Domain::Units(at);
        let all: Vec<SlotId> = self.sent.get(&projection).into_iter().flatten().filter(here).copied().collect();
        match (all.first(), all.len()) {
            (Some(slot), 1) => Ok(*slot),
            (_, several) => {
                let name = &self.short.projections[projection].name;
                let why = format!(
                    "the backward pass of {name} crosses a max pooling, and needs exactly one slot that is sent forward through it \
                     to find the maximum; there are {several}. Use average pooling (a2) instead of m2"
                );
                Err(self.refuse(&why))
            }
        }
    }

    /// The slot of an intermediate value at a population. It is declared on first use.
    fn slot(&mut self, way: Way, population: usize) -> Result<SlotId> {
        if let Some(slot) = self.slots.get(&way) {
            return Ok(*slot);
        }
        let (of, _, _, back) = way;
        let home = Domain::Units(population);
        let taken = |name: &&&str| self.plan.find(name, home.place()).is_some();
        let names = if back { BACK } else { FORTH };
        let Some(name) = names.iter().find(|name| !taken(name)) else {
            let place = &self.plan.populations[population].name;
            let most = names.len();
            return Err(self.refuse(&format!(
                "{place} needs more than {most} slots for values on fixed maps; send fewer slots through them"
            )));
        };
        let place = &self.plan.populations[population].name;
        let link = if back { " returned to " } else { " mapped to " };
        // Maps in sequence: the symbol names the original slot and the last population.
        let symbol = self.plan.slot(of).symbol.split(link).next().unwrap_or_default();
        let symbol = format!("{symbol}{link}{place}");
        let slot = self.plan.declare(name, symbol, home);
        self.slots.insert(way, slot);
        Ok(slot)
    }

    fn lost(&self, slot: SlotId, to: usize) -> Error {
        let (symbol, to) = (&self.short.slot(slot).symbol, &self.short.populations[to].name);
        self.refuse(&format!("no fixed maps lead from the population of {symbol} to {to}"))
    }

    fn refuse(&self, why: &str) -> Error {
        Error::usage(format!("the plan of {} cannot run: {why}", self.short.task.rule))
    }
}

/// The ops of a stage; missing stages are added.
fn at(stages: &mut Vec<Vec<Op>>, stage: usize) -> &mut Vec<Op> {
    if stages.len() <= stage {
        stages.resize_with(stage + 1, Vec::new);
    }
    &mut stages[stage]
}

/// Adds an op unless it is already present.
fn once(ops: &mut Vec<Op>, op: Op) {
    if !ops.contains(&op) {
        ops.push(op);
    }
}
