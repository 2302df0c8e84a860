//! Unrolls a plan on levels over the vertices of a graph.
//!
//! A rule writes its plan for a chain of layers. For a graph ([`crate::network::graph`]) the chain's layer l is level l, and
//! [`unroll_graph`] replaces each op of a level by ops of the level's vertices. Later [`Plan::carried`] inserts the fixed maps.
//!
//! * A slot of units becomes one slot per vertex. A persistent slot of connections becomes one per weight matrix; any other
//!   slot of connections becomes one per edge with weights.
//! * A Send arrives at a vertex as the sum over its edges, in the order of the edges and from left to right, forward and backward.
//!   Each edge reads the slot of the same family at its other end. All edges but the last are summed in earlier steps. The input
//!   always sends the input slot, whatever other vertices send.
//! * An identity vertex has no f: f(x) is x, and f′ is 1.
//! * Shared weights change once per update: each edge writes its own sum, and when all sums are complete, the weights follow
//!   their total, in the order of the edges.
//! * Where a unit reads one value per sample from the level below, it reads the maximum over the vertices that it sends to, at most
//!   the first eight.

use crate::error::{Error, Result};
use crate::network::Network;
use crate::network::graph::Graph;
use crate::plan::expr::{Expr, ParamId, SlotId, arriving};
use crate::plan::{
    Assign, Connection, Direction, Domain, FamilyId, Initial, Moment, Op, Plan, Population, Reduction, Role, Value,
    What,
};
use crate::rules::Options;
use std::collections::{BTreeMap, BTreeSet};

/// Names of slots for partial sums: one step may need several at one vertex.
const PARTIAL: [&str; 4] = ["partial", "partial_b", "partial_c", "partial_d"];
/// The largest number of terms that one op sums, and of vertices that a unit reads.
const TERMS: usize = 8;

/// The plan on the vertices of the graph: populations are vertices, projections are edges. A chain's plan is returned unchanged.
///
/// # Errors
/// [`Error::Usage`] if the rule does something that cannot be unrolled.
pub(super) fn unroll_graph(plan: Plan, network: &Network, options: &Options) -> Result<Plan> {
    let Some(graph) = network.graph() else { return Ok(plan) };
    let mut unroller = Unroller::new(&plan, (network, graph), options)?;
    for moment in &plan.moments {
        unroller.moment(moment)?;
    }
    unroller.end();
    Ok(unroller.plan)
}

/// Where an expression is evaluated: at a vertex, on an edge, or once for the batch.
#[derive(Clone, Copy)]
enum Site {
    Vertex(usize),
    Edge(usize),
    One,
}

/// A change of shared weights that waits for the sums of all edges that use them.
struct Pending {
    /// The epilogue that is applied to the total.
    epilogue: Vec<Assign>,
    /// The slot of each edge's sum, by edge.
    terms: BTreeMap<usize, SlotId>,
}

struct Unroller<'a> {
    /// The plan on levels, as the rule wrote it.
    short: &'a Plan,
    network: &'a Network,
    options: &'a Options,
    graph: &'a Graph,
    /// The unrolled plan so far.
    plan: Plan,
    /// Unrolled slots, by slot of a level and by vertex or edge; 0 for the slots of the batch.
    slots: BTreeMap<(SlotId, usize), SlotId>,
    /// Pending changes, by matrix.
    pending: BTreeMap<usize, Pending>,
    /// The number of partial sums that the current step has at each vertex.
    partial: BTreeMap<usize, usize>,
}

impl<'a> Unroller<'a> {
    fn new(short: &'a Plan, (network, graph): (&'a Network, &'a Graph), options: &'a Options) -> Result<Self> {
        let plan = Plan { moments: Vec::new(), slots: Vec::new(), ..on_vertices(short, network, graph) };
        let (slots, pending, partial) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut unroller = Unroller { short, network, options, graph, plan, slots, pending, partial };
        for factor in &options.layer_lr {
            unroller.plan.param("α", Value::Scaled(*factor));
        }
        unroller.declare()?;
        let at = |slot: SlotId, vertex: usize| unroller.slots.get(&(slot, vertex)).copied();
        let epilogue = at(short.input(), graph.input()).zip(at(short.target(), 0)).zip(at(short.output, 0));
        let Some(((input, target), output)) = epilogue else {
            return Err(unroller.refuse("its input, target or output is not a slot of the first or last level"));
        };
        unroller.plan.feeds = options.feeds(network, [input, target]);
        unroller.plan.output = output;
        (unroller.plan.layers, unroller.plan.unrolled) = (graph.input(), true);
        Ok(unroller)
    }

    /// Declares the slots of every vertex, matrix and edge.
    fn declare(&mut self) -> Result<()> {
        let (short, graph) = (self.short, self.graph);
        let mut of_matrix: BTreeMap<(FamilyId, usize), SlotId> = BTreeMap::new();
        for (s, slot) in short.slots.iter().enumerate() {
            let s = SlotId(s);
            let (Domain::Units(l)
            | Domain::Vector(l)
            | Domain::Samples(l)
            | Domain::BatchScalar(l)
            | Domain::Connections(l)) = slot.home;
            if l > graph.lmax() || matches!(slot.home, Domain::Connections(_)) && l == graph.lmax() {
                return Err(self.refuse(&format!("{} belongs to no level of the network", slot.symbol)));
            }
            if let Domain::BatchScalar(_) = slot.home {
                let made = self.push(s, slot.home, None);
                self.slots.insert((s, 0), made);
                continue;
            }
            for vertex in graph.level(l) {
                if !matches!(slot.home, Domain::Connections(_)) {
                    let made = self.push(s, at(slot.home, vertex), Some(vertex));
                    self.slots.insert((s, vertex), made);
                    continue;
                }
                for (edge, matrix) in weighted(graph, vertex) {
                    let known = of_matrix.get(&(slot.family, matrix)).copied().filter(|_| slot.persistent);
                    let made = match known {
                        Some(made) => made,
                        None => {
                            let home = Domain::Connections(if slot.persistent { self.first(matrix) } else { edge });
                            let made = self.push(s, home, Some(matrix));
                            self.plan.slots[made.0].start = self.start(s, matrix)?;
                            made
                        }
                    };
                    of_matrix.insert((slot.family, matrix), made);
                    self.slots.insert((s, edge), made);
                }
            }
        }
        Ok(())
    }

    /// Declares a copy of the slot `like` in another domain.
    fn push(&mut self, like: SlotId, home: Domain, number: Option<usize>) -> SlotId {
        let mut slot = self.short.slot(like).clone();
        slot.home = home;
        if let Some((symbol, number)) = slot.symbol.rsplit_once('^').zip(number) {
            slot.symbol = format!("{}^{number}", symbol.0);
        }
        self.plan.slots.push(slot);
        SlotId(self.plan.slots.len() - 1)
    }

    /// The initial values of a matrix's slot: the bound of random values follows the matrix's shape, not the level's.
    fn start(&self, slot: SlotId, matrix: usize) -> Result<Initial> {
        let Domain::Connections(at) = self.short.slot(slot).home else { return Ok(Initial::Zero) };
        let of = &self.short.projections[at];
        let level: usize = [of.from, of.to].into_iter().map(|p| self.short.populations[p].n).sum();
        let fans = self.network.fan_out(matrix) + self.network.shape(matrix).1;
        match self.short.slot(slot).start {
            Initial::Zero => Ok(Initial::Zero),
            Initial::Weights(_) => Ok(Initial::Weights(matrix)),
            Initial::Uniform { bound, .. } => {
                let bound = bound * (level as f64 / fans as f64).sqrt();
                Ok(Initial::Uniform { bound, index: matrix as u64 })
            }
            Initial::Magnitude { .. } => {
                Err(self.refuse("it draws weights per level, but a level has several matrices"))
            }
        }
    }

    /// The first edge that uses a matrix, whose projection holds the matrix's slots.
    fn first(&self, matrix: usize) -> usize {
        self.graph.uses(matrix).next().unwrap_or(0)
    }

    fn moment(&mut self, moment: &Moment) -> Result<()> {
        let mut steps = Vec::new();
        for ops in &moment.steps {
            self.partial.clear();
            let (mut before, mut now) = (Vec::new(), Vec::new());
            for op in ops {
                self.op(op, &mut before, &mut now)?;
            }
            steps.extend(before);
            steps.push(now);
            steps.extend(self.settled(false));
        }
        if moment.times > 1 && !self.pending.is_empty() {
            return Err(self.refuse("it repeats a moment in which only some uses of shared weights learn"));
        }
        steps.retain(|ops| !ops.is_empty());
        self.plan.moments.push(Moment { stage: moment.stage, steps, times: moment.times });
        Ok(())
    }

    /// Unrolls an op of a level into ops of its vertices or edges.
    fn op(&mut self, op: &Op, before: &mut Vec<Vec<Op>>, now: &mut Vec<Op>) -> Result<()> {
        let graph = self.graph;
        self.check(op)?;
        match op.what {
            What::Map(Domain::BatchScalar(_)) => {
                let epilogue = self.epilogue(op, Site::One)?;
                now.push(Op { epilogue, ..op.clone() });
            }
            What::Map(Domain::Connections(l)) => {
                for (edge, matrix) in graph.level(l).flat_map(|v| weighted(graph, v)) {
                    self.weights(op, edge, matrix, now)?;
                }
            }
            What::OuterProduct { projection, .. } => {
                for (edge, matrix) in graph.level(projection).flat_map(|v| weighted(graph, v)) {
                    self.weights(op, edge, matrix, now)?;
                }
            }
            What::Map(home @ (Domain::Units(l) | Domain::Vector(l) | Domain::Samples(l))) => {
                for vertex in graph.level(l) {
                    let what = What::Map(at(home, vertex));
                    now.push(Op { name: op.name, what, epilogue: self.epilogue(op, Site::Vertex(vertex))? });
                }
            }
            What::Send { projection, direction, .. } => {
                let l = if direction == Direction::Forward { projection } else { projection + 1 };
                for vertex in graph.level(l) {
                    let op = self.send(op, vertex, before)?;
                    now.push(op);
                }
            }
            What::Reduce { .. } | What::Draw(_) => self.at_level(op, now)?,
        }
        Ok(())
    }

    /// Refuses an op on undeclared slots or places: a plan is validated only after it is unrolled.
    fn check(&self, op: &Op) -> Result<()> {
        let slots = op.reads().into_iter().chain(op.writes()).all(|slot| slot.0 < self.short.slots.len());
        let place = match op.what {
            What::Send { projection, .. } | What::OuterProduct { projection, .. } => projection < self.graph.lmax(),
            What::Map(
                Domain::Units(l)
                | Domain::Vector(l)
                | Domain::Samples(l)
                | Domain::BatchScalar(l)
                | Domain::Connections(l),
            ) => l <= self.graph.lmax(),
            _ => true,
        };
        if slots && place {
            Ok(())
        } else {
            Err(self.refuse(&format!("{} works on a place that is not a level", op.name)))
        }
    }

    /// Unrolls a reduction or a draw.
    fn at_level(&mut self, op: &Op, now: &mut Vec<Op>) -> Result<()> {
        let to = op.epilogue.first().map(|end| self.short.slot(end.to).home);
        let (Some(Domain::Units(l) | Domain::Vector(l) | Domain::Samples(l)), false) = (to, self.keyed(op)) else {
            let from = if let What::Reduce { from, .. } = op.what { Some(self.short.slot(from).home) } else { None };
            // A reduction of a level to one value is unchanged if the level has one vertex.
            let (Some(Domain::Samples(l) | Domain::Vector(l)), Some(Domain::BatchScalar(_))) = (from, to) else {
                return Err(
                    self.refuse(&format!("{} works on a level as a whole, but a level has several vertices", op.name))
                );
            };
            let (What::Reduce { from, how }, 1) = (&op.what, self.graph.level(l).len()) else {
                return Err(self.refuse(&format!("{} reduces several vertices to one value", op.name)));
            };
            let from = self.at_vertex(*from, self.graph.level(l).start)?;
            now.push(Op {
                name: op.name,
                what: What::Reduce { from, how: *how },
                epilogue: self.epilogue(op, Site::One)?,
            });
            return Ok(());
        };
        for vertex in self.graph.level(l) {
            let what = match op.what {
                What::Reduce { from, how } => What::Reduce { from: self.at_vertex(from, vertex)?, how },
                ref what => what.clone(),
            };
            now.push(Op { name: op.name, what, epilogue: self.epilogue(op, Site::Vertex(vertex))? });
        }
        Ok(())
    }

    /// Whether an op would compute the same values for each vertex of its level, or reads the rows of a weight matrix.
    fn keyed(&self, op: &Op) -> bool {
        match op.what {
            What::Draw(crate::plan::Draw::Normal { .. }) => false,
            What::Draw(_) => true,
            What::Reduce { from, how } => {
                how == Reduction::Argmax || matches!(self.short.slot(from).home, Domain::Connections(_))
            }
            _ => false,
        }
    }

    /// Unrolls a Send for one vertex; the sends of all edges but the last go to `before`.
    fn send(&mut self, op: &Op, vertex: usize, before: &mut Vec<Vec<Op>>) -> Result<Op> {
        let What::Send { weights, direction, from, .. } = op.what else { return Ok(op.clone()) };
        let forward = direction == Direction::Forward;
        let graph = self.graph;
        let edges: Vec<usize> =
            if forward { graph.arriving(vertex).collect() } else { graph.leaving(vertex).collect() };
        let mut sends = Vec::new();
        for edge in edges {
            let of = &graph.edges()[edge];
            let from = self.at_vertex(from, if forward { of.from } else { of.to })?;
            let weights = weights.filter(|_| of.weights.is_some()).map(|w| self.at_edge(w, edge)).transpose()?;
            sends.push(What::Send { projection: edge, weights, direction, from });
        }
        let epilogue = self.epilogue(op, Site::Vertex(vertex))?;
        let Some(last) = sends.pop() else {
            return Err(self.refuse(&format!("{} expects input at a vertex to which no edge sends", op.name)));
        };
        if sends.is_empty() {
            return Ok(Op { name: op.name, what: last, epilogue });
        }
        let sum = self.partial(vertex)?;
        for (i, what) in sends.into_iter().enumerate() {
            let expr = if i == 0 { arriving() } else { Expr::Slot(sum) + arriving() };
            stage(before, i).push(Op { name: op.name, what, epilogue: vec![Assign { to: sum, expr }] });
        }
        let whole = |e: &Expr| (*e == Expr::Arriving).then(|| Expr::Slot(sum) + arriving());
        let epilogue =
            epilogue.into_iter().map(|end| Assign { to: end.to, expr: end.expr.map(&mut |e| whole(e)) }).collect();
        Ok(Op { name: op.name, what: last, epilogue })
    }

    /// A slot for a partial sum at a vertex.
    fn partial(&mut self, vertex: usize) -> Result<SlotId> {
        let taken = self.partial.entry(vertex).or_default();
        let Some(name) = PARTIAL.get(*taken) else {
            let most = PARTIAL.len();
            return Err(
                self.refuse(&format!("one step sends more than {most} kinds of values to a vertex; split the step"))
            );
        };
        *taken += 1;
        let home = Domain::Units(vertex);
        self.plan.set_role(name, Role::Relay);
        Ok(self.plan.find(name, vertex).unwrap_or_else(|| self.plan.declare(name, format!("Σ^{vertex}"), home)))
    }

    /// Unrolls an op on the weights of one edge. If other edges share the weights, the change is deferred.
    fn weights(&mut self, op: &Op, edge: usize, matrix: usize, now: &mut Vec<Op>) -> Result<()> {
        let of = &self.graph.edges()[edge];
        let what = match op.what {
            What::OuterProduct { post, pre, .. } => {
                let (post, pre) = (self.at_vertex(post, of.to)?, self.at_vertex(pre, of.from)?);
                What::OuterProduct { projection: edge, post, pre }
            }
            _ => What::Map(Domain::Connections(edge)),
        };
        let persistent = op.writes().filter(|to| self.short.slot(*to).persistent).count();
        if persistent == 0 || self.graph.uses(matrix).nth(1).is_none() {
            now.push(Op { name: op.name, what, epilogue: self.epilogue(op, Site::Edge(edge))? });
            return Ok(());
        }
        if persistent < op.epilogue.len() {
            return Err(self.refuse(&format!("{} writes shared weights and also a slot of each use", op.name)));
        }
        let (term, epilogue) = self.term(op, edge, matrix, what, now)?;
        let pending = self
            .pending
            .entry(matrix)
            .or_insert_with(|| Pending { epilogue: epilogue.clone(), terms: BTreeMap::new() });
        let again = pending.terms.insert(edge, term).is_some();
        if again || pending.epilogue != epilogue {
            let why = if again { "more often than others" } else { "in another way than others" };
            return Err(self.refuse(&format!("weights that several edges share learn at one of them {why}")));
        }
        Ok(())
    }

    /// The slot with the sum of one edge for shared weights, and the epilogue that is applied to the total of all edges.
    fn term(
        &mut self,
        op: &Op,
        edge: usize,
        matrix: usize,
        what: What,
        now: &mut Vec<Op>,
    ) -> Result<(SlotId, Vec<Assign>)> {
        let epilogue = self.epilogue(op, Site::Edge(edge))?;
        if what != What::Map(Domain::Connections(edge)) {
            let home = Domain::Connections(edge);
            let known = self.plan.find("used", edge);
            let to = known.unwrap_or_else(|| self.plan.declare("used", format!("Δθ^{matrix}"), home));
            now.push(Op { name: op.name, what, epilogue: vec![Assign { to, expr: arriving() }] });
            return Ok((to, epilogue));
        }
        let read: BTreeSet<SlotId> = epilogue.iter().flat_map(|end| end.expr.slots()).collect();
        let own: Vec<SlotId> = read.into_iter().filter(|slot| !self.plan.slot(*slot).persistent).collect();
        let [own] = own[..] else {
            return Err(self.refuse(&format!("{} of shared weights does not read exactly one sum per use", op.name)));
        };
        let sum = |e: &Expr| matches!(e, Expr::Slot(s) | Expr::Stored(s) if *s == own).then(arriving);
        let epilogue = epilogue.iter().map(|end| Assign { to: end.to, expr: end.expr.map(&mut |e| sum(e)) }).collect();
        Ok((own, epilogue))
    }

    /// The steps that apply the total to shared weights whose sums are complete; with `last`, to all that still wait.
    fn settled(&mut self, last: bool) -> Vec<Vec<Op>> {
        let full = |matrix: usize, pending: &Pending| pending.terms.len() == self.graph.uses(matrix).count();
        let ready: Vec<usize> =
            self.pending.iter().filter(|(matrix, p)| last || full(**matrix, p)).map(|(matrix, _)| *matrix).collect();
        let mut steps = Vec::new();
        for matrix in ready {
            let Some(Pending { epilogue, terms }) = self.pending.remove(&matrix) else { continue };
            let home = Domain::Connections(self.first(matrix));
            let known = self.plan.find("uses", self.first(matrix));
            let sum = known.unwrap_or_else(|| self.plan.declare("uses", format!("Σ Δθ^{matrix}"), home));
            let terms: Vec<SlotId> = terms.into_values().collect();
            let mut at = 0;
            for few in terms.chunks(TERMS) {
                let whole = few.iter().map(|term| Expr::Slot(*term));
                let before = (at > 0).then_some(Expr::Slot(sum));
                let expr = before.into_iter().chain(whole).reduce(|a, b| a + b).unwrap_or(Expr::Const(0.0));
                stage(&mut steps, at).push(each("apply", home, vec![Assign { to: sum, expr }]));
                at += 1;
            }
            let whole = |e: &Expr| (*e == Expr::Arriving).then_some(Expr::Slot(sum));
            let epilogue =
                epilogue.iter().map(|end| Assign { to: end.to, expr: end.expr.map(&mut |e| whole(e)) }).collect();
            stage(&mut steps, at).push(each("apply", home, epilogue));
        }
        steps
    }

    /// Applies the pending changes to which the remaining edges contribute nothing.
    fn end(&mut self) {
        let steps = self.settled(true);
        if let Some(last) = self.plan.moments.last_mut() {
            last.steps.extend(steps);
        }
    }

    /// The slot at a vertex: of another level the slot of the same family, at the input vertex the input slot.
    fn at_vertex(&self, slot: SlotId, vertex: usize) -> Result<SlotId> {
        let level = self.graph.vertices()[vertex].level;
        let found = self.slots.get(&(slot, vertex)).copied();
        let input = (vertex == self.graph.input()).then(|| self.plan.input());
        let named = || self.slots.get(&(self.short.member(self.short.slot(slot).family, level)?, vertex)).copied();
        found.or(input).or_else(named).ok_or_else(|| self.lost(slot))
    }

    /// The slot of a level's connections on an edge.
    fn at_edge(&self, slot: SlotId, edge: usize) -> Result<SlotId> {
        let level = self.graph.vertices()[self.graph.edges()[edge].to].level;
        let found = self.slots.get(&(slot, edge)).copied();
        let named = || self.slots.get(&(self.short.member(self.short.slot(slot).family, level)?, edge)).copied();
        found.or_else(named).ok_or_else(|| self.lost(slot))
    }

    /// The epilogue of a level's op at a site.
    fn epilogue(&self, op: &Op, place: Site) -> Result<Vec<Assign>> {
        let end = |end: &Assign| {
            let to = match place {
                Site::Vertex(vertex) => self.at_vertex(end.to, vertex)?,
                Site::Edge(edge) => self.at_edge(end.to, edge)?,
                Site::One => self.slots.get(&(end.to, 0)).copied().ok_or_else(|| self.lost(end.to))?,
            };
            let hears = !matches!(self.short.slot(end.to).home, Domain::Samples(_));
            Ok(Assign { to, expr: self.expr(&end.expr, place, hears)? })
        };
        op.epilogue.iter().map(end).collect()
    }

    /// An expression of a level at a site.
    fn expr(&self, expr: &Expr, place: Site, hears: bool) -> Result<Expr> {
        let mut lost = None;
        let mut read = |e: &Expr| {
            let (Expr::Slot(slot) | Expr::Stored(slot)) = e else { return self.rate(e, place) };
            let stored = matches!(e, Expr::Stored(_));
            match self.read(*slot, place, hears) {
                Ok(slots) => {
                    let leaf = |slot: SlotId| if stored { Expr::Stored(slot) } else { Expr::Slot(slot) };
                    slots.into_iter().map(leaf).reduce(|a, b| a.max(b))
                }
                Err(why) => {
                    lost = Some(why);
                    None
                }
            }
        };
        let made = expr.map(&mut read);
        match (lost, place) {
            (Some(why), _) => Err(why),
            (None, Site::Vertex(v)) if self.graph.vertices()[v].holds => Ok(made.linear(self.network.activation)),
            (None, _) => Ok(made),
        }
    }

    /// The slots whose maximum replaces a slot of a level: a single one, except for values read from the level below.
    fn read(&self, slot: SlotId, place: Site, hears: bool) -> Result<Vec<SlotId>> {
        let level = |vertex: usize| self.graph.vertices()[vertex].level;
        let one = |vertex: usize| self.at_vertex(slot, vertex).map(|slot| vec![slot]);
        match (self.short.slot(slot).home, place) {
            (Domain::BatchScalar(_), _) => {
                self.slots.get(&(slot, 0)).map(|slot| vec![*slot]).ok_or_else(|| self.lost(slot))
            }
            (Domain::Units(l) | Domain::Vector(l) | Domain::Samples(l), Site::Vertex(v)) if l == level(v) => one(v),
            (Domain::Vector(_), Site::Edge(edge)) => one(self.graph.edges()[edge].to),
            (Domain::Connections(_), Site::Edge(edge)) => self.at_edge(slot, edge).map(|slot| vec![slot]),
            (Domain::Samples(l), Site::Vertex(v)) if hears && l + 1 == level(v) => {
                let heard: BTreeSet<usize> = self.graph.leaving(v).map(|e| self.graph.edges()[e].to).collect();
                heard.into_iter().take(TERMS).map(|vertex| self.at_vertex(slot, vertex)).collect()
            }
            (Domain::Samples(l), _) if self.graph.level(l).len() == 1 => one(self.graph.level(l).start),
            _ => Err(self.lost(slot)),
        }
    }

    /// The learning rate of a matrix, if `--layer-lr` gives it one (the last factor is that of θ^1).
    fn rate(&self, e: &Expr, place: Site) -> Option<Expr> {
        let (Expr::Param(param), Site::Edge(edge)) = (e, place) else { return None };
        let factor = self.options.layer_lr.iter().rev().nth(self.graph.edges()[edge].weights? - 1)?;
        let scaled = Value::Scaled(*factor);
        let rate = self.short.params[param.0].value == Value::Rate;
        self.plan.params.iter().position(|p| rate && p.value == scaled).map(|p| Expr::Param(ParamId(p)))
    }

    fn lost(&self, slot: SlotId) -> Error {
        let symbol = &self.short.slot(slot).symbol;
        self.refuse(&format!("it reads or writes {symbol} where the level must have a single vertex"))
    }

    fn refuse(&self, why: &str) -> Error {
        let rule = &self.short.task.rule;
        Error::usage(format!(
            "the plan of {rule} cannot be unrolled over a network with skips or shared weights: {why}. Leave out the option that \
             causes it, or choose --layers without skips"
        ))
    }
}

/// The populations and projections of a graph: vertices and edges first, then the results of fixed maps.
fn on_vertices(short: &Plan, network: &Network, graph: &Graph) -> Plan {
    let vertex = |(v, vertex): (usize, &crate::network::graph::Vertex)| {
        let name = vertex.name.as_ref().map_or(format!("layer {v}"), |name| format!("layer {v} ({name})"));
        Population { name, n: vertex.n, places: vertex.places }
    };
    let populations = graph.vertices().iter().enumerate().map(vertex).collect();
    let mut plan = Plan { populations, projections: Vec::new(), ..short.clone() };
    let mut maps = Vec::new();
    for edge in graph.edges() {
        let from = edge.maps.iter().enumerate().fold(edge.from, |at, (i, map)| {
            let name = format!("layer {} after {} maps to {}", edge.from, i + 1, edge.to);
            plan.populations.push(Population { name, n: map.n, places: map.places });
            maps.push((at, plan.populations.len() - 1, map.kind));
            plan.populations.len() - 1
        });
        let dense = Connection::Dense { bias: network.bias };
        let kind = if edge.weights.is_some() { dense } else { Connection::Identity };
        plan.project(format!("layer {} to {}", edge.from, edge.to), from, edge.to, kind);
    }
    for (from, to, kind) in maps {
        plan.project(format!("{} to {to}", plan.populations[from].name), from, to, kind);
    }
    plan
}

/// The edges with weights that arrive at a vertex, and their matrices.
fn weighted(graph: &Graph, vertex: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    graph.arriving(vertex).filter_map(|edge| Some((edge, graph.edges()[edge].weights?)))
}

/// The domain of a level's slot at a vertex.
fn at(home: Domain, vertex: usize) -> Domain {
    match home {
        Domain::Vector(_) => Domain::Vector(vertex),
        Domain::Samples(_) => Domain::Samples(vertex),
        _ => Domain::Units(vertex),
    }
}

fn each(name: &'static str, home: Domain, epilogue: Vec<Assign>) -> Op {
    Op { name, what: What::Map(home), epilogue }
}

/// The ops of a step; missing steps are appended.
fn stage(stages: &mut Vec<Vec<Op>>, stage: usize) -> &mut Vec<Op> {
    if stages.len() <= stage {
        stages.resize_with(stage + 1, Vec::new);
    }
    &mut stages[stage]
}
