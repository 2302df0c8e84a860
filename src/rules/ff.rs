//! Forward-Forward (Hinton 2022): two forward passes, the first of an image with its label, the second with a wrong
//! label. The label is written into the first pixels of the input. Each hidden layer is trained separately to increase
//! its activity in the first pass and to decrease it in the second.
//!
//! ```text
//! z^l = max(θ^{l+1} n^{l+1} + b^l, 0),  n^l = z^l / (√(Σ z² / units) + 1e−8),  z^lmax = the input with a label
//! G = Σ z² − units,  c = σ(−G) with the right label, −σ(G) with a wrong one
//! Δθ^{l+1} = α Σ over both passes (2 c z^l) n^{l+1}ᵀ
//! m^l ← 0.9 m^l + 0.1 mean_batch z^l;  in the first pass 2 c z also gets + λ 0.4 / units (mean m^l − m^l)   λ = --peer
//! μ^0 = θ^1 n^1 + b^0, Δθ^1 = α ε^0 n^1ᵀ,  on the input with 0.1 in each of the label's pixels
//! ```
//!
//! n is z normalised to a fixed length, so that the next layer cannot infer the goodness G from it. The peer term keeps
//! units from becoming inactive; f′ is taken as 1 in it. The published output layer reads hidden layers 2 and 3; here
//! it reads the last hidden layer only.

use super::{Choice, Definition, Options, Values};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::activation::Activation::{Relu, Sigmoid};
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Domain, Draw, Initial, Op, Plan, Reduction, Stage, Value, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static FF: Definition = Definition {
    name: "ff",
    title: "Forward-Forward",
    source: "Hinton 2022",
    rule_options: &[PEER],
    own_network: true,
    activation: Some(Relu),
    rates: true,
    plan,
    ..Definition::PLAIN
};

const PEER: Choice = Choice {
    name: "peer",
    help: "weight λ of the term that keeps units from becoming inactive",
    values: Values::Number(0.0, 1e3),
    default: 0.03,
};

/// The names of the slots of one pass.
struct Pass {
    z: &'static str,
    square: &'static str,
    power: &'static str,
    n: &'static str,
}

const NEUTRAL: Pass = Pass { z: "z", square: "squared", power: "power", n: "n" };
const RIGHT: Pass = Pass { z: "z_right", square: "squared_right", power: "power_right", n: "n_right" };
const WRONG: Pass = Pass { z: "z_wrong", square: "squared_wrong", power: "power_wrong", n: "n_wrong" };

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let lmax = network.lmax();
    if lmax < 2 || network.inputs() < network.outputs() {
        return Err(Error::usage("--rule ff needs a hidden layer, and an input with at least one pixel per label"));
    }
    let mut p = Chain::new(network, options);
    let labels = network.outputs() as f64;
    let written = |p: &Chain, label: Expr| Expr::Unit.less(labels).select(label, p.h(lmax));
    let label = written(&p, Expr::Const(0.1));
    let steps = NEUTRAL.input(&mut p, lmax, label);
    p.plan.moment(Stage::Prediction, steps);
    for l in (1..lmax).rev() {
        let steps = NEUTRAL.layer(&mut p, l);
        p.plan.moment(Stage::Prediction, steps);
    }
    let head = p.units(NEUTRAL.n, "n", 1);
    let send = What::Send { projection: 0, weights: Some(p.theta(1)), direction: Direction::Forward, from: head };
    p.plan.moment(Stage::Prediction, vec![vec![op("predict", send, [(p.mu(0), arriving())])]]);

    let steps = both_labels(&mut p, lmax, &written);
    p.learning(0, steps);
    for l in (1..lmax).rev() {
        let [right, wrong] = [RIGHT.layer(&mut p, l), WRONG.layer(&mut p, l)];
        let steps = right.into_iter().zip(wrong).map(|(a, b)| [a, b].concat()).collect();
        p.learning(lmax - l, steps);
    }
    let mut steps: Vec<Vec<Op>> = p.errors([0]);
    steps.resize(steps.len().max(6), Vec::new());
    for l in 1..lmax {
        follow(&mut p, l, options, &mut steps);
    }
    let epilogue = p.descend(p.theta(1), arriving());
    steps[5].push(op("learn", What::OuterProduct { projection: 0, post: p.eps(0), pre: head }, epilogue));
    p.learning(lmax, steps);
    Ok(p.plan)
}

/// The input with its label, and with a wrong label. The wrong label is the one with the largest random score.
fn both_labels(p: &mut Chain, lmax: usize, written: &dyn Fn(&Chain, Expr) -> Expr) -> Vec<Vec<Op>> {
    let (right, wrong) = (p.sample("label", 0), p.sample("wrong_label", 0));
    let scores = p.units("score", "u", 0);
    let reduce = |from, to| op("choose", What::Reduce { from, how: Reduction::Argmax }, [(to, arriving())]);
    let draw = op("draw", What::Draw(Draw::Uniform { stream: 0 }), [(scores, arriving())]);
    let others = Expr::Slot(p.x(0)).equals(1.0).select(-1.0, scores);
    let mut steps =
        vec![vec![draw, reduce(p.x(0), right)], vec![each("draw", 0, [(scores, others)])], vec![reduce(scores, wrong)]];
    let [right, wrong] = [(RIGHT, right), (WRONG, wrong)].map(|(pass, label)| {
        let input = written(p, Expr::Unit.equals(label));
        pass.input(p, lmax, input)
    });
    steps.extend(right.into_iter().zip(wrong).map(|(a, b)| [a, b].concat()));
    steps
}

impl Pass {
    /// Writes the label into the input, and normalises its length.
    fn input(&self, p: &mut Chain, lmax: usize, labelled: Expr) -> Vec<Vec<Op>> {
        let [z, square] = [self.z, self.square].map(|name| p.units(name, name, lmax));
        let power = p.sample(self.power, lmax);
        let epilogue = [(z, labelled.clone()), (square, labelled.clone() * labelled)];
        vec![
            vec![each("label", lmax, epilogue)],
            vec![op("power", What::Reduce { from: square, how: Reduction::Sum }, [(power, arriving())])],
            vec![self.normalised(p, lmax)],
        ]
    }

    /// n^l ← z^l / length
    fn normalised(&self, p: &mut Chain, l: usize) -> Op {
        let [z, n] = [self.z, self.n].map(|name| p.units(name, name, l));
        let power = p.sample(self.power, l);
        let units = p.plan.populations[l].n as f64;
        let length = (Expr::Slot(power) / units).sqrt() + 1e-8;
        each("normalise", l, [(n, Expr::Slot(z) / length)])
    }

    /// One hidden layer of the pass.
    fn layer(&self, p: &mut Chain, l: usize) -> Vec<Vec<Op>> {
        let [z, square] = [self.z, self.square].map(|name| p.units(name, name, l));
        let (from, power) = (p.units(self.n, self.n, l + 1), p.sample(self.power, l));
        let weights = Some(p.theta(l + 1));
        let send = What::Send { projection: l, weights, direction: Direction::Forward, from };
        let up = arriving().max(0.0);
        vec![
            vec![op("predict", send, [(z, up.clone()), (square, up.clone() * up)])],
            vec![op("power", What::Reduce { from: square, how: Reduction::Sum }, [(power, arriving())])],
            vec![self.normalised(p, l)],
        ]
    }
}

/// Adds the ops with which θ^{l+1} learns from both passes to the six `steps`.
fn follow(p: &mut Chain, l: usize, options: &Options, steps: &mut [Vec<Op>]) {
    let units = p.plan.populations[l].n as f64;
    let at = Domain::Vector(l);
    let active = p.plan.declare("active", format!("Σ z^{l}"), at);
    // The slot stores m − ½, so that m starts at ½.
    let mean = p.plan.keep("mean_activity", format!("m − ½^{l}"), at, Initial::Zero);
    let all = p.plan.declare("all_active", format!("Σ m^{l}"), Domain::BatchScalar(l));
    let [z_right, z_wrong] = [RIGHT.z, WRONG.z].map(|name| p.units(name, name, l));
    let [power_right, power_wrong] = [RIGHT.power, WRONG.power].map(|name| p.sample(name, l));
    let [right, wrong] = ["post_right", "post_wrong"].map(|name| p.units(name, name, l));
    let share = p.plan.param("share", Value::Share);
    let reduce = |name, from, to| op(name, What::Reduce { from, how: Reduction::Sum }, [(to, arriving())]);
    steps[0].push(reduce("activity", z_right, active));
    let recent = Expr::Const(0.9) * mean + (Expr::Const(0.1) * (Expr::Slot(active) * share) - 0.05);
    steps[1].push(op("activity", What::Map(at), [(mean, recent)]));
    steps[2].push(reduce("activity", mean, all));
    let goodness = |power: SlotId| Expr::Slot(power) - units;
    let twice = |z: SlotId| Expr::Const(2.0) * z;
    let peers = Expr::Const(options.rule_option("peer") * 0.4 / units) * (Expr::Slot(all) / units - mean);
    let up = Expr::f(Sigmoid, -goodness(power_right)) * twice(z_right) + peers;
    let down = -Expr::f(Sigmoid, goodness(power_wrong)) * twice(z_wrong);
    steps[3].push(each("goodness", l, [(right, up)]));
    steps[3].push(each("goodness", l, [(wrong, down)]));
    let sum = p.plan.declare("change", format!("Δθ^{}", l + 1), Domain::Connections(l));
    let [pre_right, pre_wrong] = [RIGHT.n, WRONG.n].map(|n| p.units(n, n, l + 1));
    let change = |post, pre| What::OuterProduct { projection: l, post, pre };
    steps[4].push(op("gather", change(right, pre_right), [(sum, arriving())]));
    let epilogue = p.descend(p.theta(l + 1), Expr::Slot(sum) + arriving());
    steps[5].push(op("learn", change(wrong, pre_wrong), epilogue));
}
