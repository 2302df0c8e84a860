//! Validation of a plan: whether devices can run it.

use crate::error::{Error, Result};
use crate::plan::activation::Activation;
use crate::plan::expr::{Code, Expr, MAX_NODES, SlotId, Unary};
use crate::plan::{
    Connection, Direction, Domain, Family, Feed, Initial, MAX_WIDTH, Op, Plan, Population, Reduction, What,
};
use std::collections::{HashMap, HashSet};

/// The maximum number of populations, projections and slots of a plan.
const MOST: usize = 1 << 16;

impl Plan {
    /// Checks the plan: every op reads and writes declared slots, in allowed domains and with matching shapes. No slot
    /// is written twice in a step, or read before it is written.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the rule, the op and the slot.
    pub fn check(&self) -> Result<()> {
        self.declarations()?;
        let slots = self.slots.len();
        let mut written: Vec<bool> = self.slots.iter().map(|s| s.persistent).collect();
        self.feeds.iter().for_each(|feed| written[feed.slot.0] = true);
        // Per slot, the number of the last step that wrote it.
        let (mut steps, mut writer) = (0, vec![0; slots]);
        for moment in &self.moments {
            if moment.times == 0 {
                return Err(self.refuse("a moment", "has times = 0; it must run at least once"));
            }
            for ops in &moment.steps {
                steps += 1;
                for op in ops {
                    if let Some(bad) = op.reads().into_iter().chain(op.writes()).find(|s| s.0 >= slots) {
                        return Err(self.refuse(op.name, &format!("uses slot {}, which is not declared", bad.0)));
                    }
                    self.op(op)?;
                    if let Some(early) = op.reads().into_iter().find(|s| !written[s.0]) {
                        let symbol = &self.slot(early).symbol;
                        return Err(self.refuse(op.name, &format!("reads {symbol} before any op writes it")));
                    }
                    for to in op.writes() {
                        if std::mem::replace(&mut writer[to.0], steps) == steps {
                            let symbol = &self.slot(to).symbol;
                            return Err(self.refuse(
                                op.name,
                                &format!("writes {symbol}, which is written twice in the same step"),
                            ));
                        }
                    }
                }
                ops.iter().flat_map(Op::writes).for_each(|to| written[to.0] = true);
                self.weights_last(ops)?;
            }
        }
        if !written[self.output.0] {
            let symbol = &self.slot(self.output).symbol;
            return Err(self.refuse("the plan", &format!("never writes its output {symbol}")));
        }
        Ok(())
    }

    fn refuse(&self, op: &str, why: &str) -> Error {
        Error::usage(format!("the plan of {} cannot run: {op} {why}", self.task.rule))
    }

    fn declarations(&self) -> Result<()> {
        let refuse = |what: &str, why: &str| Err(self.refuse(what, why));
        if self.populations.len().max(self.projections.len()).max(self.slots.len()) > MOST {
            return refuse("it", &format!("declares more than {MOST} populations, projections or slots"));
        }
        // Kernels divide by these sizes.
        let outside = |p: &&Population| p.n.checked_mul(p.places).is_none_or(|n| !(1..=MAX_WIDTH).contains(&n));
        if let Some(p) = self.populations.iter().find(outside) {
            let why = format!("has {} units at {} places; their product must be 1 to {MAX_WIDTH}", p.n, p.places);
            return refuse(&p.name, &why);
        }
        for p in &self.projections {
            let Some((from, to)) = self.populations.get(p.from).zip(self.populations.get(p.to)) else {
                return refuse(&p.name, "connects populations that are not declared");
            };
            if p.kind == Connection::Identity && from.n != to.n {
                return refuse(
                    &p.name,
                    &format!("is an identity from {} to {} units; the two counts must be equal", from.n, to.n),
                );
            }
            if let Some(why) = misfit(p.kind, from, to) {
                return refuse(&p.name, &why);
            }
        }
        let mut led = HashSet::new();
        if let Some(p) = self.projections.iter().find(|p| p.kind.is_map() && !led.insert(p.to)) {
            return refuse(&p.name, "is a second fixed map into the same population; at most one is allowed");
        }
        let theta = self.slots.iter().filter(|slot| matches!(slot.start, Initial::Weights(_))).count();
        let mut keys = HashSet::new();
        if let Some(family) = self.families.iter().find(|family| !keys.insert(family.key)) {
            return refuse(family.key, "is the key of two families; keys must be unique");
        }
        let kind = |home: Domain| std::mem::discriminant(&home);
        let mut kinds: HashMap<_, HashSet<_>> = HashMap::new();
        for slot in &self.slots {
            kinds.entry(slot.family).or_default().insert(kind(slot.home));
        }
        let (mut places, mut starts) = (HashSet::new(), HashSet::new());
        for slot in &self.slots {
            let there = match slot.home {
                Domain::Units(p) | Domain::Vector(p) | Domain::Samples(p) | Domain::BatchScalar(p) => {
                    p < self.populations.len()
                }
                Domain::Connections(p) => {
                    matches!(self.projections.get(p), Some(p) if p.kind.has_weights())
                }
            };
            if slot.per_example && !(slot.persistent && matches!(slot.home, Domain::Units(_))) {
                return refuse(&slot.symbol, "is kept per example, so it must be a persistent slot of units");
            }
            let grid = matches!(slot.home, Domain::Units(p) if self.populations.get(p).is_some_and(|p| p.places > 1));
            if slot.per_example && grid {
                return refuse(
                    &slot.symbol,
                    "is kept per example in a population with several places, which is not supported",
                );
            }
            let Some(Family { key: name, .. }) = self.families.get(slot.family.0) else {
                return refuse(&slot.symbol, "belongs to a family that is not declared");
            };
            if !there {
                return refuse(
                    &slot.symbol,
                    "belongs to a population or projection that is not declared, or to a projection without weights",
                );
            }
            let word = name.starts_with(|c: char| c.is_ascii_lowercase())
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if !word || name.contains("__") {
                return refuse(
                    &slot.symbol,
                    &format!("has the key \"{name}\"; a key is a word of lower-case ASCII letters"),
                );
            }
            if kinds.get(&slot.family).is_some_and(|kinds| kinds.len() > 1) {
                return refuse(
                    &slot.symbol,
                    &format!("shares the key \"{name}\" with a slot of another kind of domain"),
                );
            }
            if !places.insert((slot.family, slot.home)) {
                return refuse(&slot.symbol, &format!("is a second slot with the key \"{name}\" in the same domain"));
            }
            if let Initial::Weights(l) = slot.start {
                let Domain::Connections(p) = slot.home else {
                    return refuse(&slot.symbol, "starts as weights, so it must be a slot of a projection");
                };
                let first = starts.insert(l);
                let fits = first && (1..=theta).contains(&l) && self.projections[p].kind.has_weights();
                if !fits || !slot.persistent {
                    return refuse(
                        &slot.symbol,
                        &format!(
                            "starts as θ^{l}; weights are numbered 1 to {theta}, and each number needs one persistent slot"
                        ),
                    );
                }
            }
        }
        self.epilogue()
    }

    /// Checks the feeds and the output.
    fn epilogue(&self) -> Result<()> {
        let layer = |slot: SlotId| match self.slots.get(slot.0).map(|slot| slot.home) {
            Some(Domain::Units(p)) if self.populations[p].places == 1 => Some(self.populations[p].n),
            _ => None,
        };
        for (i, feed) in self.feeds.iter().enumerate() {
            let what = feed.source.name();
            if layer(feed.slot).is_none() {
                return Err(self.refuse(&format!("the feed \"{what}\""), "must fill a slot of units at a single place"));
            }
            let same = |other: &Feed| other.source.name() == what;
            if self.feeds[..i].iter().any(|other| other.slot == feed.slot || same(other)) {
                return Err(
                    self.refuse(&format!("the feed \"{what}\""), "repeats the slot or the name of another feed")
                );
            }
        }
        let Some(((_, _), (target, _))) = self.images().zip(self.labels()) else {
            return Err(self.refuse("the plan", "needs a feed of pixels and a feed of labels"));
        };
        if layer(self.output).is_none() || layer(self.output) != layer(target) {
            let units = layer(target).unwrap_or(0);
            return Err(
                self.refuse("its output", &format!("must be a slot of {units} units, as many as its labels have"))
            );
        }
        Ok(())
    }

    /// The domain in which the assignments of an op are evaluated.
    fn arrives_at(&self, op: &Op) -> Result<Domain> {
        let refuse = |why: &str| Err(self.refuse(op.name, why));
        let units = |slot: SlotId, at: usize| self.slot(slot).home == Domain::Units(at);
        match op.what {
            What::Send { projection, weights, direction, from } => {
                let Some(of) = self.projections.get(projection) else {
                    return refuse("sends through a projection that is not declared");
                };
                let (start, end) = if direction == Direction::Forward { (of.from, of.to) } else { (of.to, of.from) };
                if of.kind.is_map() {
                    return self.through_map(op, end, start);
                }
                let forward = direction == Direction::Forward;
                let is_there = if forward { self.leads(from, start) } else { units(from, start) };
                if !is_there {
                    let symbol = &self.slot(from).symbol;
                    return refuse(&format!("sends {symbol}, which is not a slot of the sending units of {}", of.name));
                }
                match weights.map(|w| self.slot(w)) {
                    // Edges of a graph may share weights.
                    Some(w) if !matches!(w.home, Domain::Connections(p) if self.alike(p, projection)) => {
                        return refuse(&format!("sends through {}, which is not a slot of {}", w.symbol, of.name));
                    }
                    None if of.kind != Connection::Identity => {
                        return refuse(&format!("sends through {} without naming weights", of.name));
                    }
                    _ => {}
                }
                // Errors may be written directly to a population from which fixed maps lead to the weights.
                let written = op.epilogue.first().map(|first| first.to).filter(|to| !forward && self.leads(*to, end));
                Ok(written.map_or(Domain::Units(end), |to| self.slot(to).home))
            }
            What::OuterProduct { projection, post, pre } => {
                let Some(of) = self.projections.get(projection) else {
                    return refuse("changes a projection that is not declared");
                };
                if !of.kind.has_weights() {
                    return refuse(&format!("changes {}, which has no weights", of.name));
                }
                if !units(post, of.to) || !self.leads(pre, of.from) {
                    let [post, pre] = [post, pre].map(|s| &self.slot(s).symbol);
                    return refuse(&format!("multiplies {post} and {pre}, which are not the two ends of {}", of.name));
                }
                Ok(Domain::Connections(projection))
            }
            What::Reduce { from, how } => {
                let to = op.epilogue.first().map(|end| self.slot(end.to).home);
                let simple = matches!(how, Reduction::Sum | Reduction::Max);
                let into = match (self.slot(from).home, to) {
                    (Domain::Units(p), Some(Domain::Vector(q))) if p == q && simple => to,
                    (Domain::Units(p), _) if how != Reduction::Top(0) => Some(Domain::Samples(p)),
                    (Domain::Samples(p) | Domain::Vector(p), Some(Domain::BatchScalar(q))) if p == q && simple => to,
                    (Domain::Connections(p), Some(Domain::Vector(q))) if self.projections[p].to == q && simple => to,
                    _ => None,
                };
                into.map_or_else(
                    || refuse(&format!("cannot reduce {} into the domain of the slot that it writes, or asks for the 0th largest value", self.slot(from).symbol)),
                    Ok,
                )
            }
            What::Map(home) => Ok(home),
            What::Draw(_) => match op.epilogue.first().map(|end| self.slot(end.to).home) {
                Some(home @ Domain::Units(_)) => Ok(home),
                _ => refuse("draws random numbers into a slot that is not a slot of units"),
            },
        }
    }

    /// Whether a slot holds units of population `to`, or units from which fixed maps lead to it.
    fn leads(&self, slot: SlotId, to: usize) -> bool {
        matches!(self.slot(slot).home, Domain::Units(p) if self.route(p, to).is_some())
    }

    /// Whether two projections have weights of the same shape.
    fn alike(&self, p: usize, q: usize) -> bool {
        let shape =
            |p: usize| self.projections.get(p).map(|p| (self.populations[p.from].n, self.populations[p.to].n, p.kind));
        p == q || shape(p) == shape(q)
    }

    /// The domain to which an op delivers its result through a fixed map from population `start` to `end`.
    fn through_map(&self, op: &Op, end: usize, start: usize) -> Result<Domain> {
        let What::Send { projection, weights, direction, from } = op.what else { return Ok(Domain::Units(end)) };
        let of = &self.projections[projection];
        let refuse = |why: String| Err(self.refuse(op.name, &why));
        if self.slot(from).home != Domain::Units(start) {
            let symbol = &self.slot(from).symbol;
            return refuse(format!("sends {symbol}, which is not a slot of the sending units of {}", of.name));
        }
        let decides = matches!(of.kind, Connection::Maximum(_)) && direction == Direction::Backward;
        match weights.map(|w| self.slot(w)) {
            Some(w) if !decides => refuse(format!("names the weights {} for {}, which has none", w.symbol, of.name)),
            Some(w) if w.home != Domain::Units(end) => refuse(format!(
                "sends back through {} and names {}, which is not a slot of its sending units",
                of.name, w.symbol
            )),
            None if decides => refuse(format!(
                "sends back through {}, and must name the slot that was sent forward as its weights",
                of.name
            )),
            _ => Ok(Domain::Units(end)),
        }
    }

    fn op(&self, op: &Op) -> Result<()> {
        let home = self.arrives_at(op)?;
        let refuse = |why: String| Err(self.refuse(op.name, &why));
        if op.epilogue.is_empty() {
            return refuse("has no assignments".into());
        }
        let map = |projection: usize| self.projections[projection].kind.is_map();
        let alone = matches!(op.what, What::Reduce { .. } | What::Draw(_))
            || matches!(op.what, What::Send { projection, .. } if map(projection));
        if alone && (op.epilogue.len() != 1 || op.epilogue[0].expr != Expr::Arriving) {
            return refuse("may only store its result; compute with it in a later step".into());
        }
        if nodes(op) > MAX_NODES {
            return refuse(format!(
                "has assignments of more than {MAX_NODES} nodes, too many for a shader; split the op"
            ));
        }
        for end in &op.epilogue {
            let to = self.slot(end.to);
            if to.home != home {
                return refuse(format!("writes {}, which is not in the domain of its result", to.symbol));
            }
            for slot in end.expr.slots().into_iter().map(|s| self.slot(s)) {
                let seen = match (home, slot.home) {
                    (a, b) if a == b => true,
                    (Domain::Units(p), Domain::Vector(q)) => p == q,
                    (_, Domain::BatchScalar(_)) | (Domain::Units(_), Domain::Samples(_)) => true,
                    (Domain::Connections(p), Domain::Vector(q)) => self.projections[p].to == q,
                    (Domain::Connections(p), Domain::Connections(q)) => self.alike(p, q),
                    (Domain::Samples(_), Domain::Samples(_)) => true,
                    _ => false,
                };
                if !seen {
                    return refuse(format!(
                        "reads {} for {}, which is in a domain that cannot read it",
                        slot.symbol, to.symbol
                    ));
                }
            }
            if end.expr.any(|e| matches!(e, Expr::Unary(Unary::Slope(Activation::Gelu), _))) {
                return refuse("computes f′ of gelu from f(x), which does not determine it; use Expr::slope, which computes it from x".into());
            }
            let arrives = end.expr.any(|e| *e == Expr::Arriving);
            if arrives && matches!(op.what, What::Map(_)) {
                return refuse(format!("is elementwise and has no s, but the formula of {} contains s", to.symbol));
            }
            if !matches!(home, Domain::Units(_) | Domain::Vector(_)) && end.expr.any(|e| *e == Expr::Unit) {
                return refuse(format!("uses the index of a unit for {}, which is not a slot of units", to.symbol));
            }
            if !matches!(home, Domain::Connections(_)) && end.expr.any(|e| *e == Expr::Weight) {
                return refuse(format!(
                    "tells weights from biases for {}, which is not a slot of connections",
                    to.symbol
                ));
            }
            if end.expr.any(|e| matches!(e, Expr::Param(p) if p.0 >= self.params.len())) {
                return refuse(format!("uses a parameter for {} that is not declared", to.symbol));
            }
        }
        Ok(())
    }

    /// Checks that no other op of a step reads weights that the step changes: weights are stored once and updated in
    /// place.
    fn weights_last(&self, ops: &[Op]) -> Result<()> {
        let moves = |op: &Op| op.changes_weights() || matches!(op.what, What::Map(Domain::Connections(_)));
        let moving: Vec<&Op> = ops.iter().filter(|op| moves(op)).collect();
        // By slot, the ops that read it, in order.
        let mut readers: HashMap<SlotId, Vec<usize>> = HashMap::new();
        for (i, op) in moving.iter().enumerate() {
            let slots = op.epilogue.iter().flat_map(|end| end.expr.slots());
            slots.for_each(|slot| readers.entry(slot).or_default().push(i));
        }
        for (i, op) in moving.iter().enumerate() {
            for to in op.writes() {
                if let Some(other) = readers.get(&to).and_then(|all| all.iter().find(|j| **j != i)) {
                    let (symbol, other) = (&self.slot(to).symbol, moving[*other].name);
                    let why = format!("changes {symbol}, which {other} reads in the same step; put them in two steps");
                    return Err(self.refuse(op.name, &why));
                }
            }
        }
        Ok(())
    }
}

/// The reason why a projection does not fit its two populations, if there is one.
fn misfit(kind: Connection, from: &Population, to: &Population) -> Option<String> {
    let [ours, theirs] = [from, to].map(|p| [p.n, p.places]);
    let shown = |[n, places]: [usize; 2]| format!("{n} units at {places} places");
    let window = match kind {
        Connection::Dense { .. } | Connection::Identity => {
            let why = format!(
                "connects {} places with {}; both populations must have the same number of places",
                ours[1], theirs[1]
            );
            return (ours[1] != theirs[1]).then_some(why);
        }
        Connection::Part { start } => {
            let fits = ours[1] == 1 && theirs[1] == 1 && start.checked_add(theirs[0]).is_some_and(|end| end <= ours[0]);
            let why =
                format!("takes {} from {}, starting at unit {start}; they do not fit", shown(theirs), shown(ours));
            return (!fits).then_some(why);
        }
        Connection::Flat => {
            let flat = from.n.checked_mul(from.places).map(|n| [n, 1]);
            let why = format!(
                "flattens {} to {}; the result must hold all these units at one place",
                shown(ours),
                shown(theirs)
            );
            return (flat != Some(theirs)).then_some(why);
        }
        Connection::Patches(window) | Connection::Average(window) | Connection::Maximum(window) => window,
    };
    let patches = matches!(kind, Connection::Patches(_));
    let units = if patches { window.patch() } else { Some(window.channels as usize) };
    let wanted = units.zip(window.places()).map(|(n, [rows, columns])| [n, rows * columns]);
    match (window.senders(), wanted) {
        _ if !patches && window.padding > 0 => Some("pools a grid with zero padding, which is not supported".into()),
        (Some(senders), Some(wanted)) if senders == ours && wanted == theirs => None,
        (Some(senders), Some(wanted)) => {
            let (senders, wanted, ours, theirs) = (shown(senders), shown(wanted), shown(ours), shown(theirs));
            Some(format!("is a window from {senders} to {wanted}, but connects {ours} with {theirs}"))
        }
        _ => Some("has a window that does not fit its grid".into()),
    }
}

/// Number of nodes in an op's formulas; shared subexpressions count once.
fn nodes(op: &Op) -> usize {
    let all: usize = op.epilogue.iter().map(|end| end.expr.nodes()).sum();
    if all <= MAX_NODES || all > 16 * MAX_NODES {
        return all;
    }
    let epilogue: Vec<(SlotId, Expr)> = op.epilogue.iter().map(|end| (end.to, end.expr.clone())).collect();
    Code::new(&epilogue, &|slot| slot).nodes.len()
}
