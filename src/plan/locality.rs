//! Biological plausibility of a plan, derived from its ops alone. A rule declares none of these properties itself.

use crate::plan::expr::{Expr, SlotId};
use crate::plan::{Assign, Connection, Direction, Domain, Draw, Moment, Op, Plan, Reduction, Role, Stage, What};
use std::collections::{BTreeMap, BTreeSet};

/// Verdict on a property, with its reason.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// Whether the plan has the property.
    pub holds: bool,
    /// The reason, naming the deciding op or slot.
    pub why: String,
}

/// The paper's Table 2 without the equivalence to backpropagation, which has to be measured, and further properties.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Properties {
    /// Every Δθ depends only on values held at the two ends of the weight.
    pub local_plasticity: Verdict,
    /// Some weights are used in both directions (weight transport), or are computed from weights used in the other
    /// direction.
    pub weight_transport: Verdict,
    /// Units need the derivative f′ of their own activation.
    pub derivative: Verdict,
    /// A projection sends a value that can be negative and is not a unit's own output.
    pub signed_errors: Verdict,
    /// Learning runs passes that prediction does not run.
    pub phases: Verdict,
    /// An external clock must select the moments at which weights learn.
    pub clock: Verdict,
    /// A value per sample is read beyond the neighbouring population, or a value for the whole batch is read.
    pub global_signal: Verdict,
    /// Learning runs the same node dynamics as prediction.
    pub partial_autonomy: Verdict,
    /// Partial autonomy, and nothing depends on the time t.
    pub full_autonomy: Verdict,
}

/// A property as tables show it.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// The name of the property in JSON and in [`Properties`].
    pub name: &'static str,
    /// The column heading. It names what is easier to realise in a brain.
    pub heading: &'static str,
    /// A shorter heading, for a terminal.
    pub short: &'static str,
    /// The meaning of the heading, in one line.
    pub meaning: &'static str,
    /// Whether the property itself is the easier case; otherwise its absence is.
    easier: bool,
}

impl Column {
    /// Whether a table marks this verdict: what the heading says is true of the plan.
    pub fn marks(&self, verdict: &Verdict) -> bool {
        verdict.holds == self.easier
    }
}

/// A column from its name, whether the property itself is the easier case, its two headings and its meaning.
const fn column(
    name: &'static str,
    easier: bool,
    [heading, short]: [&'static str; 2],
    meaning: &'static str,
) -> Column {
    Column { name, heading, short, meaning, easier }
}

/// The properties in order. In every table a mark stands for what is easier to realise in a brain.
pub const COLUMNS: [Column; 9] = [
    column(
        "local_plasticity",
        true,
        ["local"; 2],
        "a weight change reads only values of the nodes at the two ends of the weight",
    ),
    column(
        "weight_transport",
        false,
        ["no weight transport", "no transport"],
        "no weight is used in both directions, and none copies another weight",
    ),
    column("derivative", false, ["no f′"; 2], "no unit needs the derivative of its activation"),
    column("signed_errors", false, ["unsigned"; 2], "a unit sends no signed value other than its output"),
    column("phases", false, ["one phase"; 2], "learning runs no pass that prediction does not run"),
    column("clock", false, ["no clock"; 2], "no global signal determines the step at which weights change"),
    column(
        "global_signal",
        false,
        ["no global signal", "no global"],
        "no value per sample is read beyond the next layer, and no value is shared by all samples",
    ),
    column(
        "partial_autonomy",
        true,
        ["partial autonomy", "partial"],
        "learning runs the same node dynamics as prediction",
    ),
    column("full_autonomy", true, ["full autonomy", "autonomy"], "partial autonomy, and no clock"),
];

impl Properties {
    /// All properties with their names.
    pub fn list(&self) -> [(&'static str, &Verdict); 9] {
        let all = [
            &self.local_plasticity,
            &self.weight_transport,
            &self.derivative,
            &self.signed_errors,
            &self.phases,
            &self.clock,
            &self.global_signal,
            &self.partial_autonomy,
            &self.full_autonomy,
        ];
        std::array::from_fn(|i| (COLUMNS[i].name, all[i]))
    }
}

fn verdict(holds: bool, why: impl Into<String>) -> Verdict {
    Verdict { holds, why: why.into() }
}

impl Plan {
    /// Derives the properties from the plan's ops.
    pub fn properties(&self) -> Properties {
        Properties {
            local_plasticity: self.local_plasticity(),
            weight_transport: self.weight_transport(),
            derivative: self.derivative(),
            signed_errors: self.signed_errors(),
            phases: self.phases(),
            clock: self.clock(),
            global_signal: self.global_signal(),
            partial_autonomy: self.partial_autonomy(),
            full_autonomy: self.full_autonomy(),
        }
    }

    fn symbol(&self, slot: SlotId) -> &str {
        &self.slot(slot).symbol
    }

    fn learning(&self) -> impl Iterator<Item = &Op> + '_ {
        let learning = |stage: Stage| matches!(stage, Stage::Learning(_));
        self.moments.iter().filter(move |m| learning(m.stage)).flat_map(|m| m.steps.iter().flatten())
    }

    /// The populations to which a slot belongs: one, or the two ends of a weight.
    fn ends_of(&self, slot: SlotId) -> Vec<usize> {
        match self.slot(slot).home {
            Domain::Units(p) | Domain::Vector(p) | Domain::Samples(p) | Domain::BatchScalar(p) => vec![p],
            Domain::Connections(p) => vec![self.sender(p), self.projections[p].to],
        }
    }

    /// Per projection, whether prediction sends forward through it. If so, it belongs to the network itself.
    fn predicting(&self) -> Vec<bool> {
        let prediction = self.moments.iter().filter(|m| m.stage == Stage::Prediction);
        let through = |op: &Op| match op.what {
            What::Send { projection, direction: Direction::Forward, .. } => Some(projection),
            _ => None,
        };
        let mut own = vec![false; self.projections.len()];
        prediction
            .flat_map(|m| m.steps.iter().flatten())
            .filter_map(through)
            .for_each(|p| own.get_mut(p).into_iter().for_each(|own| *own = true));
        own
    }

    /// Whether a learning op only relays: no assignment that depends on s also reads the old value of its own target. A
    /// relayed value is not held by any node of the network. `own` is [`Plan::predicting`].
    fn relays(&self, op: &Op, own: &[bool]) -> bool {
        let What::Send { direction, projection, .. } = op.what else { return false };
        // A partial sum belongs to the op that consumes it.
        if op.writes().all(|to| self.role(to) == Role::Relay) {
            return false;
        }
        // An identity lets a unit read another unit's value as its own.
        if self.projections[projection].kind == Connection::Identity {
            return false;
        }
        let arrives = |e: &Expr| e.any(|e| *e == Expr::Arriving);
        let takes_up = op.epilogue.iter().any(|end| arrives(&end.expr) && end.expr.slots().contains(&end.to));
        // A forward sum through the network's own projections is its prediction, held by the receiving unit.
        let predicts = direction == Direction::Forward && own[projection];
        // A sum from the same layer is held in that layer.
        let lateral = self.sender(projection) == self.projections[projection].to;
        !takes_up && !predicts && !lateral
    }

    /// Traces all inputs of each weight update back to values held by nodes: value nodes x, their predictions, and
    /// error nodes ε computed from both. Relayed values ([`Plan::relays`]) are replaced by the slots from which they
    /// were computed, and so are values computed from relayed ones elementwise.
    fn local_plasticity(&self) -> Verdict {
        // Per relayed slot, the slots from which it was computed.
        let mut relayed: BTreeMap<SlotId, Vec<SlotId>> = BTreeMap::new();
        let own = self.predicting();
        for op in self.learning() {
            if let What::OuterProduct { projection, .. } = op.what {
                if let Some(verdict) = self.far(op, projection, &relayed) {
                    return verdict;
                }
                continue;
            }
            let relays = self.relays(op, &own);
            let made: Vec<_> =
                op.epilogue.iter().map(|end| (end, [op.what.reads(), end.expr.slots()].concat())).collect();
            let follows = |reads: &[SlotId]| reads.iter().any(|slot| relayed.contains_key(slot));
            let now: Vec<_> = made
                .into_iter()
                .map(|(end, reads)| {
                    let elementwise = !matches!(op.what, What::Send { .. });
                    let passes_on = elementwise && !reads.contains(&end.to) && follows(&reads);
                    (end.to, (relays || passes_on).then_some(reads))
                })
                .collect();
            for (to, reads) in now {
                match reads {
                    Some(reads) => relayed.insert(to, reads),
                    None => relayed.remove(&to),
                };
            }
        }
        // In a graph, θ is numbered per matrix, and layers have numbers of their own.
        let graph = self.unrolled;
        let epilogue = if graph {
            "every Δθ reads only nodes of the two layers that its weights join"
        } else {
            "every Δθ^{l+1} reads only nodes of layers l and l+1"
        };
        verdict(true, epilogue)
    }

    /// The verdict on a weight update that depends on a value held outside the two ends of its projection.
    fn far(&self, op: &Op, projection: usize, relayed: &BTreeMap<SlotId, Vec<SlotId>>) -> Option<Verdict> {
        let (from, to) = (self.sender(projection), self.projections[projection].to);
        let own = |slot: SlotId| {
            self.slot(slot).home == Domain::Connections(projection)
                || self.ends_of(slot).iter().all(|p| *p == from || *p == to)
        };
        let far = trace(op, relayed).into_iter().find(|s| !own(*s))?;
        let (theta, slot) = (self.symbol(op.epilogue.first()?.to), self.symbol(far));
        let theta = theta.trim_start_matches('Δ');
        let held = if self.unrolled {
            let [to, from] = [to, from].map(|p| &self.populations[p].name);
            format!("held outside {to} and {from}, which {theta} joins")
        } else {
            format!("held outside layers {to} and {from}")
        };
        Some(verdict(false, format!("Δ{theta} needs {slot}, {held}")))
    }

    /// Prediction is the fixed point of the inference dynamics with the output left free. If states accumulate all
    /// sends of a plan, it runs the same dynamics in both stages. A relay does not run in prediction.
    fn partial_autonomy(&self) -> Verdict {
        let own = self.predicting();
        match self.learning().find(|op| self.relays(op, &own)) {
            Some(op) => {
                let at = op.epilogue.first().map_or(String::new(), |end| format!(" {}", self.symbol(end.to)));
                verdict(false, format!("{}{at} runs in learning only: a control must switch to it", op.name))
            }
            None => verdict(true, "prediction and learning run the same node dynamics"),
        }
    }

    fn full_autonomy(&self) -> Verdict {
        let (partial, clock) = (self.partial_autonomy(), self.clock());
        match (partial.holds, clock.holds) {
            (false, _) => partial,
            (_, true) => verdict(false, clock.why),
            _ => clock_free(self, &clock),
        }
    }

    /// The symbol of a projection's weights: those used in a forward send, else the first slot of the projection.
    fn weights_of(&self, projection: usize) -> &str {
        let through = |op: &Op| match op.what {
            What::Send { projection: p, weights, direction: Direction::Forward, .. } if p == projection => weights,
            _ => None,
        };
        let there = || self.slots.iter().find(|slot| slot.home == Domain::Connections(projection));
        let sent = self.ops().find_map(through).map(|slot| self.slot(slot));
        sent.or_else(there).map_or("a weight", |slot| &slot.symbol)
    }

    /// Whether some weights learn only at some of the learning moments.
    fn clock(&self) -> Verdict {
        // Optimiser updates from accumulated gradients are not node dynamics.
        let nodes = |op: &Op| !matches!(op.what, What::Map(Domain::Connections(_)));
        let moments: Vec<(usize, &Moment)> = self
            .moments
            .iter()
            .filter_map(|m| if let Stage::Learning(t) = m.stage { Some((t, m)) } else { None })
            .filter(|(_, m)| m.steps.iter().flatten().any(nodes))
            .collect();
        let own = self.predicting();
        // Per projection, the moments at which it learns.
        let mut learns: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (t, moment) in &moments {
            let changes =
                |op: &Op| if let What::OuterProduct { projection, .. } = op.what { Some(projection) } else { None };
            let changed: BTreeSet<usize> = moment.steps.iter().flatten().filter_map(changes).collect();
            changed.into_iter().for_each(|p| learns.entry(p).or_default().push(*t));
        }
        // Projections without weights do not learn and need no clock.
        let weighted = (0..self.projections.len()).filter(|p| self.projections[*p].kind.has_weights());
        for projection in weighted {
            let when = learns.get(&projection).map_or(&[][..], Vec::as_slice);
            if when.len() < moments.len() && (!when.is_empty() || own[projection]) {
                let when: Vec<String> = when.iter().map(ToString::to_string).collect();
                let theta = self.weights_of(projection);
                let when = if when.is_empty() { "at no t".into() } else { format!("only at t = {}", when.join(", ")) };
                return verdict(true, format!("{theta} learns {when}: a clock must say when"));
            }
        }
        verdict(false, "the same ops run at every t")
    }

    /// Finds a slot used in both directions, or a backward slot computed elementwise from other weights that are sent
    /// through.
    fn weight_transport(&self) -> Verdict {
        let mut ways: BTreeMap<SlotId, [bool; 2]> = BTreeMap::new();
        let mut made_of: BTreeMap<SlotId, Vec<SlotId>> = BTreeMap::new();
        for op in self.ops() {
            if let What::Send { weights: Some(w), direction, .. } = op.what {
                ways.entry(w).or_default()[usize::from(direction == Direction::Backward)] = true;
            }
            if let What::Map(Domain::Connections(_)) = op.what {
                for end in &op.epilogue {
                    made_of.entry(end.to).or_default().extend(end.expr.slots());
                }
            }
        }
        for (&slot, &[forward, backward]) in &ways {
            if forward && backward {
                return verdict(true, format!("{} is used in both directions", self.symbol(slot)));
            }
            let copied = made_of.get(&slot).into_iter().flatten().find(|of| **of != slot && ways.contains_key(of));
            if let (true, Some(of)) = (backward, copied) {
                return verdict(true, format!("{} follows {}", self.symbol(slot), self.symbol(*of)));
            }
        }
        verdict(false, "no weights are used in both directions")
    }

    fn derivative(&self) -> Verdict {
        let slope = Expr::is_slope;
        // Ops of prediction count too: they may compute factors that learning uses.
        match self.ops().find(|op| op.epilogue.iter().any(|end| end.expr.any(slope))) {
            Some(op) => verdict(true, format!("{} multiplies by f′", op.name)),
            None => verdict(false, "no op contains f′"),
        }
    }

    /// Whether learning sends a value that can be negative. A unit's own output is exempt: prediction sends it too.
    fn signed_errors(&self) -> Verdict {
        let outputs: BTreeSet<SlotId> =
            self.moments.iter().filter(|m| m.stage == Stage::Prediction).flat_map(sent).collect();
        let positive = self.never_negative();
        let signed = |slot: &SlotId| !outputs.contains(slot) && !positive.contains(slot);
        let learning = self.moments.iter().filter(|m| matches!(m.stage, Stage::Learning(_)));
        match learning.flat_map(sent).find(signed) {
            Some(slot) => verdict(true, format!("{} is sent and can be negative", self.symbol(slot))),
            None => verdict(false, "every sent value is a unit's own output or cannot be negative"),
        }
    }

    /// The slots that no op can make negative. Starts from all written slots, and removes slots until nothing changes.
    fn never_negative(&self) -> BTreeSet<SlotId> {
        let epilogue = || self.ops().flat_map(|op| op.epilogue.iter().map(move |end| (op, end)));
        let mut positive: BTreeSet<SlotId> = epilogue().map(|(_, end)| end.to).collect();
        // Pixels and one-hot targets are non-negative. No activation f maps a non-negative number to a negative one.
        if let Some((target, [off, _])) = self.labels()
            && off >= 0.0
        {
            positive.insert(target);
        }
        if let Some((input, images)) = self.images()
            && images.scale.as_ref().is_none_or(|scale| scale.pairs().iter().all(|[mean, _]| *mean <= 0.0))
        {
            positive.insert(input);
        }
        loop {
            let made = |(op, end): &(&Op, &Assign)| {
                let arrives = match op.what {
                    What::Reduce { how: Reduction::Argmax | Reduction::Squares, .. }
                    | What::Draw(Draw::Uniform { .. }) => true,
                    What::Reduce { from, .. } => positive.contains(&from),
                    _ => false,
                };
                !end.expr.is_never_negative(&|slot| positive.contains(&slot), arrives)
            };
            let gone: Vec<SlotId> =
                epilogue().filter(made).map(|(_, end)| end.to).filter(|s| positive.contains(s)).collect();
            if gone.is_empty() {
                return positive;
            }
            gone.iter().for_each(|slot| {
                positive.remove(slot);
            });
        }
    }

    /// Whether learning runs its own passes or phases: backward passes, forward passes of states that prediction does
    /// not send, or weight updates that compare a state with a copy from before its last change.
    fn phases(&self) -> Verdict {
        let own = self.predicting();
        if let Some(op) = self.learning().find(|op| self.relays(op, &own)) {
            return verdict(true, format!("{} runs in a separate pass after prediction", op.name));
        }
        let predicts: BTreeSet<SlotId> =
            self.moments.iter().filter(|m| m.stage == Stage::Prediction).flat_map(sent).collect();
        let other = self.learning().find_map(|op| match op.what {
            What::Send { projection, direction: Direction::Forward, from, .. } => {
                (own[projection] && !predicts.contains(&from)).then_some(from)
            }
            _ => None,
        });
        if let Some(other) = other {
            return verdict(
                true,
                format!("learning sends {} forward, which prediction does not send", self.symbol(other)),
            );
        }
        match self.kept_from_before() {
            Some(slot) => {
                verdict(true, format!("weight updates compare with {}, kept from an earlier phase", self.symbol(slot)))
            }
            None => verdict(false, "learning continues prediction without a separate pass or phase"),
        }
    }

    /// A copy of a state that a weight update reads after the state itself has changed.
    fn kept_from_before(&self) -> Option<SlotId> {
        // Per copy, its source slot and the number of writes to the source when the copy was made.
        let mut copies: BTreeMap<SlotId, (SlotId, usize)> = BTreeMap::new();
        let mut writes = vec![0; self.slots.len()];
        for op in self.learning() {
            let moved = |slot: &SlotId| copies.get(slot).is_some_and(|(of, then)| writes[of.0] > *then);
            if let What::OuterProduct { post, pre, .. } = op.what
                && let Some(kept) = [post, pre].into_iter().find(moved)
            {
                return Some(kept);
            }
            for end in &op.epilogue {
                writes[end.to.0] += 1;
                match end.expr {
                    Expr::Slot(of) if matches!(op.what, What::Map(_)) => copies.insert(end.to, (of, writes[of.0])),
                    _ => copies.remove(&end.to),
                };
            }
        }
        None
    }

    /// Whether learning reads a value per sample in a population without a projection to or from its source, or reads a
    /// value for the whole batch.
    fn global_signal(&self) -> Verdict {
        let near = |a: usize, b: usize| {
            let joins = |p: usize| {
                let (from, to) = (self.sender(p), self.projections[p].to);
                [(from, to), (to, from)].contains(&(a, b))
            };
            a == b || (0..self.projections.len()).any(joins)
        };
        for op in self.learning() {
            let Some(end) = op.epilogue.first() else { continue };
            let here = self.ends_of(end.to);
            for slot in op.reads() {
                if let Domain::BatchScalar(_) = self.slot(slot).home {
                    let (to, slot) = (self.symbol(end.to), self.symbol(slot));
                    return verdict(true, format!("{} {to} reads {slot}, one value for the whole batch", op.name));
                }
                if let Domain::Samples(p) = self.slot(slot).home
                    && !here.iter().any(|h| near(*h, p))
                {
                    let (to, slot) = (self.symbol(end.to), self.symbol(slot));
                    return verdict(
                        true,
                        format!(
                            "{} {to} reads {slot}, one value per sample from a layer that is no neighbour",
                            op.name
                        ),
                    );
                }
            }
        }
        verdict(
            false,
            "values per sample are read in their own or a neighbouring layer only, and no value is shared by the whole batch",
        )
    }
}

/// The verdict on a plan in which every moment learns.
fn clock_free(plan: &Plan, clock: &Verdict) -> Verdict {
    let chooses = |e: &Expr| matches!(e, Expr::Select(_));
    let gates =
        |slot: SlotId| plan.learning().any(|op| op.epilogue.iter().any(|end| end.to == slot && end.expr.any(chooses)));
    let gated = plan.learning().any(|op| matches!(op.what, What::OuterProduct { post, .. } if gates(post)));
    let how = if gated { "; φ alone decides when to learn" } else { ", and all layers learn at each" };
    verdict(true, clock.why.clone() + how)
}

/// The slots held by nodes on which an op depends.
fn trace(op: &Op, relayed: &BTreeMap<SlotId, Vec<SlotId>>) -> Vec<SlotId> {
    let (mut held, mut seen, mut open) = (Vec::new(), Vec::new(), op.reads());
    while let Some(slot) = open.pop() {
        if seen.contains(&slot) {
            continue;
        }
        seen.push(slot);
        match relayed.get(&slot) {
            Some(of) => open.extend(of),
            None => held.push(slot),
        }
    }
    held
}

/// The slots that the ops of a moment send through projections.
fn sent(moment: &Moment) -> impl Iterator<Item = SlotId> + '_ {
    let sent = |op: &Op| if let What::Send { from, .. } = op.what { Some(from) } else { None };
    moment.steps.iter().flatten().filter_map(sent)
}
