//! Krotov & Hopfield (PNAS 2019), for p = 2: hidden units compete without a teacher. The unit with the largest drive moves towards the
//! input, the unit with the k-th largest drive moves away from it. The output learns from its own error on the hidden activity.
//!
//! ```text
//! Q^l = θ^{l+1} a^{l+1} + b^l,  a^l = (max(Q^l, 0) / max Q^l)^n                   n = --power
//! g = 1 for the largest Q, −Δ for the k-th largest, else 0
//! D = Σ_batch g a^{l+1}ᵀ − (Σ_batch g Q) θ^{l+1},   Δθ^{l+1} = α D / max |D|
//! Δθ^1 = α ε^0 a^1ᵀ
//! ```
//!
//! Biases of hidden layers keep their initial values. The published readout reads max(Q, 0)^n and is trained afterwards. Here it learns
//! at the same time as the hidden units, so their activity is divided by the winner's.

use super::hebb::weights_alone;
use super::{Choice, Defaults, Definition, Optimizer, Options, Values};
use crate::error::Result;
use crate::network::{Init, Network};
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Domain, Plan, Reduction, Stage, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static KH: Definition = Definition {
    name: "kh",
    title: "Krotov-Hopfield",
    source: "Krotov & Hopfield 2019",
    rule_options: &[K, DELTA, POWER],
    own_network: true,
    activation: Some(Sigmoid),
    plan,
    recommended: Defaults {
        hidden: &[500],
        init: Init::Normal,
        output_gain: 0.01,
        optimizer: Optimizer::Sgd,
        lr: 0.1,
        hidden_lr: 10.0,
        rule_options: &[("power", 3.0)],
        ..Defaults::RECOMMENDED
    },
    ..Definition::PLAIN
};

const K: Choice = Choice {
    name: "k",
    help: "which unit moves away from the input: the one with the k-th largest drive",
    values: Values::Whole(2, 1000),
    default: 2.0,
};

const DELTA: Choice = Choice {
    name: "delta",
    help: "strength Δ with which the k-th unit moves away from the input",
    values: Values::Number(0.0, 1e3),
    default: 0.4,
};

const POWER: Choice =
    Choice { name: "power", help: "exponent n of max(Q, 0)", values: Values::Whole(1, 8), default: 1.0 };

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = Chain::new(network, options);
    for l in (0..network.lmax()).rev() {
        let weights = Some(p.theta(l + 1));
        let send = What::Send { projection: l, weights, direction: Direction::Forward, from: p.h(l + 1) };
        let mut steps = vec![vec![op("predict", send, [(p.mu(l), arriving())])]];
        if l > 0 {
            let most = p.sample("most", l);
            let what = What::Reduce { from: p.mu(l), how: Reduction::Max };
            steps.push(vec![op("compete", what, [(most, arriving())])]);
            let some = Expr::Const(0.0).less(most);
            let up = some.select(Expr::Stored(p.mu(l)).max(0.0) / most, 0.0);
            let power = (1..options.rule_option("power") as u32).fold(up.clone(), |power, _| power * up.clone());
            steps.push(vec![each("settle", l, [(p.h(l), power)])]);
        }
        p.plan.moment(Stage::Prediction, steps);
    }
    let mut steps = p.errors([0]);
    steps.resize(7, Vec::new());
    for l in 1..network.lmax() {
        compete(&mut p, l, options, &mut steps);
    }
    steps[6].push(p.learn(0));
    p.learning(0, steps);
    Ok(p.plan)
}

/// Adds the ops of a hidden layer to the seven steps.
fn compete(p: &mut Chain, l: usize, options: &Options, steps: &mut [Vec<crate::plan::Op>]) {
    let (most, kth) = (p.sample("most", l), p.sample("runner_up", l));
    let [g, driven] = ["turn", "driven"].map(|name| p.units(name, name, l));
    let mut declare =
        |name: &'static str, symbol: &str, home| -> SlotId { p.plan.declare(name, format!("{symbol}^{l}"), home) };
    let pull = declare("pull", "Σ g Q", Domain::Vector(l));
    let change = declare("change", "D", Domain::Connections(l));
    let size = declare("size", "|D|", Domain::Connections(l));
    let row = declare("largest_of_row", "max |D|", Domain::Vector(l));
    let largest = declare("largest", "max |D|", Domain::BatchScalar(l));
    let (q, theta) = (p.mu(l), p.theta(l + 1));
    let reduce = |from, how, to| op("reduce", What::Reduce { from, how }, [(to, arriving())]);
    steps[0].push(reduce(q, Reduction::Top(options.rule_option("k") as u32), kth));
    let away = Expr::Slot(q).equals(kth).select(-options.rule_option("delta"), 0.0);
    let turns = Expr::Slot(q).equals(most).select(1.0, away);
    steps[1].push(each("compete", l, [(g, turns.clone()), (driven, turns * q)]));
    steps[2].push(reduce(driven, Reduction::Sum, pull));
    let what = What::OuterProduct { projection: l, post: g, pre: p.h(l + 1) };
    let d = arriving() - Expr::Slot(pull) * theta;
    steps[3].push(op("turn", what, [(change, d.clone()), (size, d.abs())]));
    steps[4].push(reduce(size, Reduction::Max, row));
    steps[5].push(reduce(row, Reduction::Max, largest));
    let scale = Expr::Slot(largest).equals(0.0).select(1.0, largest);
    let epilogue = weights_alone(p, l, Expr::Slot(change) / scale);
    steps[6].push(op("learn", What::Map(Domain::Connections(l)), epilogue));
}
