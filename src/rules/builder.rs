//! The plan of a chain of layers, and constructors of the ops that rules consist of.
//!
//! Each constructor is one equation of the mathematics in [`crate`]; a rule composes them. Population l is
//! layer l (0 is the output, lmax the input), and projection l connects layer l+1 to layer l through θ^{l+1}. In a network with
//! convolutions the source of θ^{l+1} is the result of fixed maps (im2col, pooling) of layer l+1. Ops are written as if the source were
//! the layer itself: [`Plan::carried`] inserts the maps. In a graph population l is level l, and `unroll_graph` replaces it
//! by one population per vertex.
//!
//! | constructor | equation |
//! | --- | --- |
//! | [`Chain::predict`] | μ^l ← θ^{l+1} f(x^{l+1}) + b^{l+1} |
//! | [`Chain::settle`] | x^l ← μ^l |
//! | [`Chain::error`] | ε^l ← x^l − μ^l, or in error coordinates ε^l ← (ε^l + Δx^l) − (μ^l − μ^l at the last ε^l) |
//! | [`Chain::gate`] | φ^l ∘ ε^l, where φ^l is 1 for units whose ε left 0 after t_d silent steps |
//! | [`Chain::infer`] | x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (θ^lᵀ ε^{l−1})) |
//! | [`Chain::backprop`] | ε^l ← f′(x^l) ∘ (θ^lᵀ ε^{l−1}) |
//! | [`Chain::learn`] | θ^{l+1} ← θ^{l+1} + α ε^l f(x^{l+1})ᵀ, b^{l+1} likewise, by the plan's optimiser |

use crate::network::Network;
use crate::network::graph::Graph;
use crate::plan::activation::Activation;
use crate::plan::expr::{Expr, ParamId, SlotId, arriving};
use crate::plan::{
    Assign, Connection, Direction, Domain, Draw, Initial, Op, Plan, Population, Reduction, Role, Slot, Stage, Value,
    What,
};
pub use crate::plan::{each, op};
use crate::rules::Coords;
use crate::rules::{Loss, Optimizer, Options};
use std::collections::HashMap;

/// A plan under construction, on a chain of layers.
#[derive(Debug)]
pub struct Chain {
    /// The plan so far.
    pub plan: Plan,
    /// The network of the plan.
    pub network: Network,
    /// The rule and all its options.
    pub options: Options,
    /// α, which the optimiser's epilogue multiplies by.
    pub alpha: ParamId,
    /// γ of Eq. (7).
    pub gamma: ParamId,
    /// 1 − β₁ⁿ and 1 − β₂ⁿ after n steps of Adam, in slots; only for rules that make several steps per update.
    counted: Option<[SlotId; 2]>,
    /// Whether value nodes of hidden layers hold values after f: μ^l = f(θ^{l+1} x^{l+1} + b^{l+1}).
    after: bool,
    layers: Vec<Layer>,
    /// θ^1, θ^2, …
    theta: Vec<SlotId>,
    /// Cache of [`Plan::find`]: slots by name and layer.
    found: HashMap<(&'static str, usize), SlotId>,
}

/// The slots of one layer, and the state of its ε at this point of the plan.
#[derive(Debug, Clone, Copy)]
struct Layer {
    /// Value nodes x^l; for layer 0 the clamped target.
    x: SlotId,
    /// f(x^l); for the input layer s_in.
    h: SlotId,
    mu: SlotId,
    /// μ^l at the time of the last ε^l.
    was: SlotId,
    eps: SlotId,
    dx: SlotId,
    /// Whether ε^l can be advanced from its last value, and whether x^l has moved since then.
    known: bool,
    moved: bool,
    /// Whether φ^l has been evaluated before.
    gated: bool,
}

impl Chain {
    /// A plan with the network's populations, projections, slots and θ, and no moments yet.
    pub fn new(network: &Network, options: &Options) -> Chain {
        let lmax = network.lmax();
        let layer = |l: usize| {
            let places = network.places(l);
            Population { name: format!("layer {l}"), n: network.n(l) / places, places }
        };
        let populations: Vec<Population> = (0..=lmax).map(layer).collect();
        let none = SlotId(0);
        let mut plan = Plan {
            task: options.task(network),
            populations,
            projections: Vec::new(),
            families: Vec::new(),
            slots: Vec::new(),
            params: Vec::new(),
            feeds: Vec::new(),
            output: none,
            moments: Vec::new(),
            states_unread: false,
            streaming: false,
            layers: lmax,
            unrolled: false,
        };
        let (mut theta, mut maps) = (Vec::new(), Vec::new());
        for l in 1..=lmax {
            let kind = Connection::Dense { bias: network.bias };
            // The results of fixed maps are populations too, numbered after the layers.
            let from = network.maps(l).iter().enumerate().fold(l, |at, (i, map)| {
                let name = format!("layer {l} after {} maps", i + 1);
                plan.populations.push(Population { name, n: map.n, places: map.places });
                maps.push((at, plan.populations.len() - 1, map.kind));
                plan.populations.len() - 1
            });
            let p = plan.project(format!("layer {l} to {}", l - 1), from, l - 1, kind);
            theta.push(plan.keep("theta", format!("θ^{l}"), Domain::Connections(p), Initial::Weights(l)));
        }
        for (from, to, kind) in maps {
            plan.project(format!("{} to {to}", plan.populations[from].name), from, to, kind);
        }
        plan.set_role("x", Role::Values);
        let mut layers: Vec<Layer> = (0..=lmax).map(|l| Layer::declare(&mut plan, l)).collect();
        plan.feeds = options.feeds(network, [layers[lmax].h, layers[0].x]);
        plan.output = layers[0].mu;
        let alpha = plan.param("α", Value::Rate);
        let gamma = plan.param("γ", Value::Fixed(options.gamma()));
        let after = options.rule_option("nodes") == 1.0;
        if after {
            // Value nodes after f are sent as they are.
            layers[1..lmax].iter_mut().for_each(|layer| layer.h = layer.x);
        }
        Chain {
            plan,
            network: network.clone(),
            options: options.clone(),
            alpha,
            gamma,
            counted: None,
            after,
            layers,
            theta,
            found: HashMap::new(),
        }
    }

    /// The index of the input layer.
    pub fn lmax(&self) -> usize {
        self.theta.len()
    }

    /// The slot of ε^l.
    pub fn eps(&self, l: usize) -> SlotId {
        self.layers[l].eps
    }

    /// The slot of μ^l.
    pub fn mu(&self, l: usize) -> SlotId {
        self.layers[l].mu
    }

    /// The slot of x^l; for layer 0 the target.
    pub fn x(&self, l: usize) -> SlotId {
        self.layers[l].x
    }

    /// The slot of f(x^l).
    pub fn h(&self, l: usize) -> SlotId {
        self.layers[l].h
    }

    /// The slot of θ^l, for l from 1.
    pub fn theta(&self, l: usize) -> SlotId {
        self.theta[l - 1]
    }

    /// The activation applied to layer l where it drives the layer below.
    pub fn drive(&self, l: usize) -> Activation {
        if self.after && l < self.lmax() { Activation::Identity } else { self.network.drive(l) }
    }

    /// Whether value nodes of hidden layers hold values after f (`--nodes post`).
    pub fn after(&self) -> bool {
        self.after
    }

    /// Replaces the target by another slot of layer 0.
    pub fn aim(&mut self, goal: SlotId) {
        self.layers[0].x = goal;
    }

    /// The next ε^l is computed as x^l − μ^l, in any coordinates.
    pub fn refresh(&mut self, l: usize) {
        self.layers[l].known = false;
    }

    /// f′(x^l), as an expression on layer l.
    pub fn slope(&self, l: usize) -> Expr {
        Expr::slope(self.drive(l), self.x(l), self.h(l))
    }

    /// A slot of layer l [batch · places, n], which an update writes before it reads it. Declares it at the first call.
    pub fn units(&mut self, name: &'static str, symbol: &str, l: usize) -> SlotId {
        self.find(name, l).unwrap_or_else(|| self.plan.declare(name, format!("{symbol}^{l}"), Domain::Units(l)))
    }

    /// [`Plan::find`] with a cache, because it searches all slots.
    fn find(&mut self, name: &'static str, at: usize) -> Option<SlotId> {
        let known = self.found.get(&(name, at)).copied();
        let slot = known.or_else(|| self.plan.find(name, at))?;
        self.found.insert((name, at), slot);
        Some(slot)
    }

    /// s = θ^{l+1} f(x^{l+1}) + b^{l+1}, arriving at layer l.
    fn forward(&self, l: usize) -> What {
        let weights = Some(self.theta[l]);
        What::Send { projection: l, weights, direction: Direction::Forward, from: self.h(l + 1) }
    }

    /// s = Wᵀ ε^k arriving at layer l, for weights W of a projection from layer l to layer k, such as θ^l or B^l.
    pub fn backward(&self, l: usize, weights: SlotId) -> What {
        let projection = match self.plan.slot(weights).home {
            Domain::Connections(p) => p,
            _ => l - 1, // a plan that the check refuses
        };
        let from = self.eps(self.plan.projections[projection].to);
        What::Send { projection, weights: Some(weights), direction: Direction::Backward, from }
    }

    /// μ^l ← θ^{l+1} f(x^{l+1}) + b^{l+1} (Eqs. 1 and 5).
    pub fn predict(&mut self, l: usize) -> Op {
        let mut epilogue = vec![(self.mu(l), arriving())];
        if self.after && l > 0 {
            let (f, bend) = (self.network.activation, self.bend(l));
            let made = Expr::f(f, arriving());
            epilogue = vec![(self.mu(l), made.clone()), (bend, Expr::slope(f, arriving(), made))];
        }
        op("predict", self.forward(l), epilogue)
    }

    /// The slot of f′ of the prediction's argument, if value nodes hold values after f.
    pub fn bend(&mut self, l: usize) -> SlotId {
        self.units("bend", "f′", l)
    }

    /// x^l ← μ^l, and f(x^l): value nodes start at their predictions (C1; y^l of BP).
    pub fn settle(&mut self, l: usize) -> Op {
        let layer = &mut self.layers[l];
        (layer.known, layer.moved) = (false, false);
        let Layer { x, h, mu, .. } = *layer;
        let sent = (h != x).then(|| (h, Expr::f(self.drive(l), mu)));
        each("settle", l, [(x, mu.into())].into_iter().chain(sent))
    }

    /// x^l ← x^l + σ N(0, 1) on these layers, which breaks C1 on purpose. Two steps.
    pub fn perturb(&mut self, layers: std::ops::Range<usize>, sigma: f64) -> Vec<Vec<Op>> {
        let noise: Vec<SlotId> = layers.clone().map(|l| self.units("noise", "ξ", l)).collect();
        let draw = |&to: &SlotId| op("perturb", What::Draw(Draw::Normal { sd: sigma }), [(to, arriving())]);
        let add = |(l, &noise): (usize, &SlotId)| {
            let moved = Expr::Slot(self.x(l)) + noise;
            let sent = (self.h(l) != self.x(l)).then(|| (self.h(l), Expr::f(self.drive(l), moved.clone())));
            each("perturb", l, [(self.x(l), moved)].into_iter().chain(sent))
        };
        vec![noise.iter().map(draw).collect(), layers.zip(&noise).map(add).collect()]
    }

    /// ε^l ← x^l − μ^l, in the plan's coordinates (Eqs. 5 and 8).
    pub fn error(&mut self, l: usize) -> Op {
        let carried = self.options.coords == Coords::Error;
        let layer = &mut self.layers[l];
        let moved = std::mem::replace(&mut layer.moved, false);
        let known = std::mem::replace(&mut layer.known, true);
        let Layer { x, mu, was, eps, dx, .. } = *layer;
        let mut epilogue = if known && carried {
            let step = if moved { dx.into() } else { Expr::Const(0.0) };
            vec![(eps, (Expr::Slot(eps) + step) - (Expr::Stored(mu) - Expr::Stored(was)))]
        } else {
            vec![(eps, Expr::Slot(x) - Expr::Stored(mu))]
        };
        if carried {
            epilogue.push((was, mu.into()));
        }
        each("error", l, epilogue)
    }

    /// [`Chain::error`] for a layer whose μ^l has not been predicted again since the last ε^l.
    pub fn error_of_moved(&mut self, l: usize) -> Op {
        let Layer { known, moved, eps, dx, .. } = self.layers[l];
        if !(known && moved && self.options.coords == Coords::Error) {
            return self.error(l);
        }
        self.layers[l].moved = false;
        each("error", l, [(eps, Expr::Slot(eps) + dx)])
    }

    /// The steps that update ε of these layers. With cross-entropy ε^0 is s_out − softmax(μ^0), computed anew each time.
    pub fn errors(&mut self, layers: impl IntoIterator<Item = usize>) -> Vec<Vec<Op>> {
        let layers: Vec<usize> = layers.into_iter().collect();
        if self.options.loss == Loss::Squared || !layers.contains(&0) {
            return vec![layers.into_iter().map(|l| self.error(l)).collect()];
        }
        let [mu, target, eps] = [self.mu(0), self.x(0), self.eps(0)];
        let (top, sum) = (self.sample("top", 0), self.sample("sum", 0));
        let share = self.units("share", "e", 0);
        let reduce = |from, how, to| op("softmax", What::Reduce { from, how }, [(to, arriving())]);
        let mut ops: Vec<Op> = layers.into_iter().filter(|l| *l > 0).map(|l| self.error(l)).collect();
        ops.insert(0, each("error", 0, [(eps, Expr::Slot(target) - Expr::Slot(share) / sum)]));
        vec![
            vec![reduce(mu, Reduction::Max, top)],
            vec![each("softmax", 0, [(share, (Expr::Stored(mu) - top).max(-87.0).exp())])],
            vec![reduce(share, Reduction::Sum, sum)],
            ops,
        ]
    }

    /// A slot of one value per sample at layer l, shape `[batch]`. Declares it at the first call.
    pub fn sample(&mut self, name: &'static str, l: usize) -> SlotId {
        self.find(name, l).unwrap_or_else(|| self.plan.declare(name, format!("{name}^{l}"), Domain::Samples(l)))
    }

    /// φ^l ∘ ε^l, where φ^l is 1 if `active` after at least t_d silent steps. Before the first evaluation the network was at rest, so
    /// every unit then counts as silent for t_d steps.
    fn gate_by(&mut self, l: usize, active: Expr) -> Op {
        let td = f64::from(self.options.td);
        let (gated, quiet) = (self.units("phi", "φ", l), self.units("quiet", "quiet", l));
        let first = !std::mem::replace(&mut self.layers[l].gated, true);
        let silent = if first { Expr::Const(td) } else { quiet.into() };
        let long = silent.clone().less(td).select(0.0, 1.0);
        let fires = active.clone() * long;
        let count = (silent + 1.0).min(td);
        each("gate", l, [(gated, fires.select(self.eps(l), 0.0)), (quiet, active.select(0.0, count))])
    }

    /// The gate by the paper's φ: a unit is active if its ε ≠ 0 (Section 4).
    pub fn gate(&mut self, l: usize) -> Op {
        let quiet = Expr::Slot(self.eps(l)).equals(0.0);
        self.gate_by(l, quiet.select(0.0, 1.0))
    }

    /// The gate by feedback spikes: a unit is active if a unit of layer l−1 fired one moment before. Layer 0, which the teacher
    /// drives, is active at the first evaluation. Reads the result of [`Chain::spikes`].
    pub fn gate_feedback(&mut self, l: usize) -> Op {
        let first = !self.layers[l].gated;
        let active = match l {
            0 => Expr::Const(f64::from(u8::from(first))),
            // Nothing has fired before the first moment.
            _ => self.find("spike", l - 1).map_or(Expr::Const(0.0), Expr::Slot),
        };
        let mut gate = self.gate_by(l, active.clone());
        // All units of a layer receive the same spikes, so one value per sample tells whether they fire now.
        let (quiet, td) = (self.units("quiet", "quiet", l), f64::from(self.options.td));
        let silent = if first { Expr::Const(td) } else { quiet.into() };
        let fired = self.units("fired", "fired", l);
        gate.epilogue.push(Assign { to: fired, expr: active * silent.less(td).select(0.0, 1.0) });
        gate
    }

    /// Whether any unit of layer l fired at this moment, one value per sample.
    pub fn spikes(&mut self, l: usize) -> Op {
        let (fired, spike) = (self.units("fired", "fired", l), self.sample("spike", l));
        op("spikes", What::Reduce { from: fired, how: Reduction::Max }, [(spike, arriving())])
    }

    /// x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (θ^lᵀ ε^{l−1})) (Eq. 7).
    pub fn infer(&mut self, l: usize) -> Op {
        let step = Expr::fma(self.slope(l), arriving(), -Expr::Slot(self.eps(l)));
        self.step_by(l, self.theta(l), Expr::Param(self.gamma) * step)
    }

    /// x^l ← x^l + Δx^l, for a Δx^l computed from Wᵀ ε^{l−1} and the slots of layer l.
    pub fn step_by(&mut self, l: usize, weights: SlotId, dx: Expr) -> Op {
        self.move_by(l, self.backward(l, weights), dx)
    }

    /// x^l ← x^l + Δx^l, for any op `what` that arrives at layer l.
    pub fn move_by(&mut self, l: usize, what: What, dx: Expr) -> Op {
        self.layers[l].moved = true;
        let (x, h) = (self.x(l), self.h(l));
        let moved = Expr::Slot(x) + dx.clone();
        // A unit that did not move keeps its f(x) bit for bit, whichever kernel computed it.
        let after = dx.clone().equals(0.0).select(h, Expr::f(self.drive(l), moved.clone()));
        let sent = (h != x).then_some((h, after));
        op("infer", what, [(x, moved), (self.layers[l].dx, dx)].into_iter().chain(sent))
    }

    /// B^l [n^{l−1}, n^l], random feedback weights of θ^l's shape, uniform in ± `scale` √(6 / (n^{l−1} + n^l)). The key of the random
    /// numbers is (seed, l). In a convolution n^{l−1} stands for the fan-out of a unit, kernel² · channels. They are fixed unless the
    /// rule changes them.
    pub fn feedback(&mut self, l: usize, scale: f64) -> SlotId {
        let network = &self.network;
        let fans = match network.graph() {
            // For a graph, the bound of the level; `unroll_graph` rescales it for each matrix.
            Some(_) => self.units_of(l - 1),
            None => network.fan_out(l) + network.shape(l).1,
        };
        self.random_of(l - 1, format!("B^{l}"), scale, (l as u64, fans))
    }

    /// Random weights on any projection; `index` is the key of their random numbers.
    pub fn random(&mut self, projection: usize, symbol: String, scale: f64, index: u64) -> SlotId {
        let fans = self.units_of(projection);
        self.random_of(projection, symbol, scale, (index, fans))
    }

    fn random_of(&mut self, projection: usize, symbol: String, scale: f64, (index, fans): (u64, usize)) -> SlotId {
        let start = Initial::Uniform { bound: scale * (6.0 / fans as f64).sqrt(), index };
        self.plan.keep("feedback", symbol, Domain::Connections(projection), start)
    }

    /// The sum of the units at both ends of a projection.
    fn units_of(&self, projection: usize) -> usize {
        let of = &self.plan.projections[projection];
        [of.to, of.from].map(|p| self.plan.populations[p].n).into_iter().sum()
    }

    /// ε^l ← f′(x^l) ∘ (θ^lᵀ ε^{l−1}): Eq. (4) of backpropagation; δ^l is stored in the slot of ε^l.
    pub fn backprop(&mut self, l: usize) -> Op {
        self.backprop_through(l, self.theta(l))
    }

    /// ε^l ← f′(x^l) ∘ (Wᵀ ε^k), for any weights W of a projection from layer l to layer k.
    pub fn backprop_through(&mut self, l: usize, weights: SlotId) -> Op {
        self.layers[l].known = false; // no later ε can be advanced from a δ
        let delta = self.slope(l) * arriving();
        op("backprop", self.backward(l, weights), [(self.eps(l), delta)])
    }

    /// θ^{l+1} ← θ^{l+1} + α ε^l f(x^{l+1})ᵀ, and b^{l+1} likewise (Eqs. 3 and 9), by the plan's optimiser.
    pub fn learn(&mut self, l: usize) -> Op {
        self.learn_from(l, self.eps(l))
    }

    /// [`Chain::learn`] with `post`, another slot of layer l, in place of ε^l.
    pub fn learn_from(&mut self, l: usize, post: SlotId) -> Op {
        let epilogue = self.descend(self.theta[l], arriving());
        op("learn", What::OuterProduct { projection: l, post, pre: self.h(l + 1) }, epilogue)
    }

    /// Whether changes at several moments may be applied one by one: true for plain steps if no edges share weights.
    fn at_once(&self) -> bool {
        self.options.plain() && !self.network.graph().is_some_and(Graph::shares)
    }

    /// [`Chain::learn`] for rules that change θ^{l+1} at several moments. `post` is φ^l ∘ ε^l or another slot of layer l. Plain steps are
    /// applied immediately; for other optimisers the changes are summed until [`Chain::apply`].
    pub fn learn_again(&mut self, l: usize, post: SlotId, first: bool) -> Op {
        if self.at_once() {
            return self.learn_from(l, post);
        }
        let sum = self.gathered(l);
        let expr = if first { arriving() } else { Expr::Slot(sum) + arriving() };
        op("learn", What::OuterProduct { projection: l, post, pre: self.h(l + 1) }, [(sum, expr)])
    }

    /// Applies the sums of [`Chain::learn_again`] for these layers; empty if each change was applied immediately.
    pub fn apply(&mut self, learnt: impl Iterator<Item = usize>) -> Vec<Op> {
        if self.at_once() {
            return Vec::new();
        }
        let apply = |l: usize| {
            let sum = self.gathered(l);
            let epilogue = self.descend(self.theta[l], sum.into());
            op("apply", What::Map(Domain::Connections(l)), epilogue)
        };
        learnt.map(apply).collect()
    }

    fn gathered(&mut self, l: usize) -> SlotId {
        let home = Domain::Connections(l);
        self.find("change", l).unwrap_or_else(|| self.plan.declare("change", format!("Δθ^{}", l + 1), home))
    }

    /// The epilogue by which weights follow `change`, a direction in which the loss decreases.
    pub fn descend(&mut self, weights: SlotId, change: Expr) -> Vec<(SlotId, Expr)> {
        // Layers may have factors of their learning rate; the last factor is that of θ^1.
        let factor = match self.plan.slot(weights).home {
            // For a graph, `unroll_graph` inserts the factor of each matrix.
            Domain::Connections(at) if at < self.lmax() && self.network.graph().is_none() => {
                self.options.layer_lr.iter().rev().nth(at).copied()
            }
            _ => None,
        };
        let alpha = factor.map_or(self.alpha, |factor| self.plan.param("α", Value::Scaled(factor)));
        self.descend_at(alpha, weights, change)
    }

    /// [`Chain::descend`] with the learning rate `alpha`.
    pub fn descend_at(&mut self, alpha: ParamId, weights: SlotId, change: Expr) -> Vec<(SlotId, Expr)> {
        let Slot { home, .. } = *self.plan.slot(weights);
        let Domain::Connections(at) = home else { return Vec::new() };
        let (alpha, w, decay) = (Expr::Param(alpha), Expr::Slot(weights), self.options.weight_decay());
        let [momentum, beta1, beta2] = self.options.averages();
        let optimizer = self.options.optimizer;
        let fixed = |value| Expr::Const(value);
        // With plain steps, --mean is a factor 1/batch of α.
        let averaged = self.options.mean && !self.options.plain();
        let share = averaged.then(|| self.plan.param("share", Value::Share));
        let change = share.map_or(change.clone(), |share| change * share);
        // Learned feedback weights have their own optimiser state, under other names.
        let own = usize::from(!matches!(self.plan.slot(weights).start, Initial::Weights(_)));
        let mut state = |names: [&'static str; 2], symbol: &str| {
            let name = names[own];
            let known = self.find(name, at);
            known.unwrap_or_else(|| self.plan.keep(name, format!("{symbol}^{}", at + 1), home, Initial::Zero))
        };
        // Weight decay is the gradient of ½ λ |θ|², except for adamw, which shrinks θ by α λ separately.
        let coupled = decay != 0.0 && optimizer != Optimizer::Adamw;
        let change = if coupled { Expr::fma(fixed(-decay), w.clone(), change) } else { change };
        match optimizer {
            Optimizer::Sgd => vec![(weights, Expr::fma(alpha, change, w))],
            Optimizer::Momentum => {
                let m = state(["momentum", "feedback_momentum"], "m");
                let moved = Expr::fma(fixed(momentum), m, change);
                vec![(weights, Expr::fma(alpha, moved.clone(), w)), (m, moved)]
            }
            Optimizer::Adam | Optimizer::Adamw => {
                let m = state(["mean", "feedback_mean"], "m");
                let v = state(["square", "feedback_square"], "v");
                let [unbias1, unbias2] = match self.counted {
                    Some(counted) => counted.map(|share| Expr::Const(1.0) / share),
                    None => [beta1, beta2].map(|beta| Expr::Param(self.plan.param("unbias", Value::Unbias(beta)))),
                };
                let mean = Expr::fma(fixed(beta1), m, fixed(1.0 - beta1) * change.clone());
                let square = Expr::fma(fixed(beta2), v, fixed(1.0 - beta2) * (change.clone() * change));
                let size = (square.clone() * unbias2).sqrt() + EPSILON;
                let step = (mean.clone() * unbias1) / size;
                let step = if decay != 0.0 && !coupled { Expr::fma(fixed(-decay), w.clone(), step) } else { step };
                vec![(weights, Expr::fma(alpha, step, w)), (m, mean), (v, square)]
            }
        }
    }

    /// The step in which Adam counts, before each of several optimiser steps per update. Empty for optimisers that
    /// do not count.
    pub fn count(&mut self) -> Vec<Op> {
        if !self.options.counts() {
            return Vec::new();
        }
        let [_, beta1, beta2] = self.options.averages();
        // Both slots have one name, so that they share a GPU buffer.
        let keep = |plan: &mut Plan, at: usize| {
            plan.keep("unbias", format!("1 − β{}ⁿ", at + 1), Domain::BatchScalar(at), Initial::Zero)
        };
        let plan = &mut self.plan;
        let counted = *self.counted.get_or_insert_with(|| [keep(plan, 0), keep(plan, 1)]);
        let one = |(at, beta): (usize, f64)| {
            let share = counted[at];
            let next = Expr::fma(beta, share, 1.0 - beta);
            op("count", What::Map(Domain::BatchScalar(at)), [(share, next)])
        };
        [beta1, beta2].into_iter().enumerate().map(one).collect()
    }

    /// The forward pass: μ^l from the input to the output, and x^l = μ^l on every hidden layer (C1).
    pub fn predict_all(&mut self) {
        for l in (0..self.lmax()).rev() {
            let mut steps = vec![vec![self.predict(l)]];
            if l > 0 {
                steps.push(vec![self.settle(l)]);
            }
            self.plan.moment(Stage::Prediction, steps);
        }
    }

    /// A backward pass from ε^0: at moment l, `back` constructs the op that computes ε^l; at the end every weight learns.
    pub fn backward_pass(&mut self, mut back: impl FnMut(&mut Chain, usize) -> Op) {
        let lmax = self.lmax();
        let errors = self.errors([0]);
        self.learning(0, errors);
        for l in 1..lmax {
            let op = back(self, l);
            self.learning(l, vec![vec![op]]);
        }
        let learn = (0..lmax).map(|l| self.learn(l)).collect();
        self.learning(lmax, vec![learn]);
    }

    /// Adds learning moment t.
    pub fn learning(&mut self, t: usize, steps: Vec<Vec<Op>>) {
        self.plan.moment(Stage::Learning(t), steps);
    }
}

/// ε of Adam, which is added to √v.
pub const EPSILON: f64 = 1e-8;

impl Layer {
    fn declare(plan: &mut Plan, l: usize) -> Layer {
        let mut slot = |name, symbol: &str, observed: bool| {
            let id = plan.declare(name, format!("{symbol}^{l}"), Domain::Units(l));
            plan.slots[id.0].observed = observed;
            id
        };
        Layer {
            x: slot("x", "x", true),
            h: slot("h", "f(x)", false),
            mu: slot("mu", "μ", true),
            was: slot("was", "μ before", false),
            eps: slot("eps", "ε", true),
            dx: slot("dx", "Δx", false),
            known: false,
            moved: false,
            gated: false,
        }
    }
}
