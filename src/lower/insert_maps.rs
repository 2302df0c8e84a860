//! What fixed maps carry, written out: a plan as devices run it.
//!
//! A rule is written as if weights ran straight from layer to layer. Where the weights of a projection begin at a population to
//! which fixed maps lead (patches, pooling, [`Connection::Flat`]), what it sends is carried there first, and what comes back
//! through it is carried back: so that every rule has convolutions, though none names one. [`Plan::carried`] puts these steps
//! before the step that needs them. They write slots of their own and read the rest as the step begins, so that inference and
//! learning of a moment stay in one step.

use crate::error::{Error, Result};
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Domain, Moment, Op, Plan, What, op};
use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Names of slots in which numbers are on their way: several may be at one population.
const FORTH: [&str; 4] = ["carried", "carried_b", "carried_c", "carried_d"];
/// The same on the way back.
const BACK: [&str; 4] = ["returned", "returned_b", "returned_c", "returned_d"];

impl Plan {
    /// The fixed maps that lead from one population to another, in order: none if they are the same.
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

    /// The population whose units a projection begins with, before fixed maps carried them.
    pub(crate) fn sender(&self, projection: usize) -> usize {
        let (mut at, mut left) = (self.projections[projection].from, self.projections.len());
        while let (Some(map), 1..) = (self.projections.iter().find(|p| p.to == at && p.kind.is_map()), left) {
            (at, left) = (map.from, left - 1);
        }
        at
    }

    /// The same plan with what fixed maps carry as ops of its own: what devices run. Its slots are the plan's, under their
    /// numbers, and more.
    ///
    /// # Errors
    /// [`Error::Usage`] where it cannot be told which of the numbers that a rule sends decide where errors go back through a
    /// maximum, and where one place would have to hold too many numbers on their way.
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

    /// The slots that are sent forward, by the projection that they go through.
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

/// A number on its way: what it was, through which projection and which weights it went, and whether back.
type Way = (SlotId, usize, Option<SlotId>, bool);

/// Steps before a step.
#[derive(Default)]
struct Before {
    /// What is carried there, by how many maps it has gone through.
    ahead: Vec<Vec<Op>>,
    /// What is carried back, likewise.
    back: Vec<Vec<Op>>,
}

struct Carrier<'a> {
    /// As the rule wrote it.
    short: &'a Plan,
    /// With what was carried so far.
    plan: Plan,
    /// The slot of each number on its way.
    slots: BTreeMap<Way, SlotId>,
    /// Those that hold what they would be given again, with the slot of which they were made.
    fresh: BTreeMap<SlotId, SlotId>,
    /// What the rule sends forward through each projection.
    sent: BTreeMap<usize, BTreeSet<SlotId>>,
}

impl Carrier<'_> {
    fn moment(&mut self, moment: &Moment) -> Result<()> {
        // A part of the plan may be run by itself, and a repetition reads what the one before it left.
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

    /// An op with everything at its place.
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
                let here = op.ends.first().and_then(|end| units(end.to));
                let start = self.short.projections[projection].from;
                let Some(here) = here.filter(|here| *here != start) else { return Ok(op.clone()) };
                let returned = self.back((from, projection, weights), here, before)?;
                let mut op = op.clone();
                for end in &mut op.ends {
                    end.expr = end.expr.map(&mut |e| (*e == Expr::Arriving).then_some(Expr::Slot(returned)));
                }
                return Ok(Op { what: What::Map(Domain::Units(here)), ..op });
            }
            _ => return Ok(op.clone()),
        };
        Ok(Op { what, ..op.clone() })
    }

    /// Whether the projection has weights: what goes through a map by itself is where it belongs.
    fn carries(&self, projection: usize) -> bool {
        self.short.projections[projection].kind.has_weights()
    }

    /// The slot that has what `slot` holds, carried to a population.
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

    /// The slot that has what comes back through weights, at the population `to` from which maps lead to them.
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
            // What was sent decides through which of them an error goes back.
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

    /// What units of population `at` send forward through a projection: the one slot of which the rule does so.
    fn decider(&self, projection: usize, at: usize) -> Result<SlotId> {
        let here = |slot: &&SlotId| self.short.slot(**slot).home == Domain::Units(at);
        let all: Vec<SlotId> = self.sent.get(&projection).into_iter().flatten().filter(here).copied().collect();
        match (all.first(), all.len()) {
            (Some(slot), 1) => Ok(*slot),
            (_, several) => {
                let name = &self.short.projections[projection].name;
                let why = format!(
                    "errors come back through a maximum on the way of {name}, and {several} kinds of numbers are sent \
                     forward through it: none, or no one, says which units were the largest; use averages (a2) instead of m2"
                );
                Err(self.refuse(&why))
            }
        }
    }

    /// The slot of a number on its way, at a population.
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
            return Err(
                self.refuse(&format!("more than {most} kinds of numbers are carried to {place}; part the rule"))
            );
        };
        let symbol = self.plan.slot(of).symbol.clone();
        let symbol = if back { format!("{symbol} back at {population}") } else { format!("{symbol} at {population}") };
        let slot = self.plan.declare(name, symbol, home);
        self.slots.insert(way, slot);
        Ok(slot)
    }

    fn lost(&self, slot: SlotId, to: usize) -> Error {
        let (symbol, to) = (&self.short.slot(slot).symbol, &self.short.populations[to].name);
        self.refuse(&format!("no fixed maps lead from where {symbol} lives to {to}"))
    }

    fn refuse(&self, why: &str) -> Error {
        Error::usage(format!("the plan of {} cannot run: {why}", self.short.task.rule))
    }
}

/// The ops of a stage.
fn at(stages: &mut Vec<Vec<Op>>, stage: usize) -> &mut Vec<Op> {
    if stages.len() <= stage {
        stages.resize_with(stage + 1, Vec::new);
    }
    &mut stages[stage]
}

/// Adds an op that is not there yet.
fn once(ops: &mut Vec<Op>, op: Op) {
    if !ops.contains(&op) {
        ops.push(op);
    }
}
