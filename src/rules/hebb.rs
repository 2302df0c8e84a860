//! Hebb's rule and Oja's rule (J. Math. Biol. 1982; for many units Int. J. Neural Syst. 1989): hidden layers learn from their activity
//! alone, and the output learns from its own error.
//!
//! ```text
//! hebb:  Δθ^{l+1} = α ζ h^l h^{l+1}ᵀ                     ζ = --hidden-lr, l ≥ 1
//! oja:   Δθ^{l+1} = α ζ h^l (h^{l+1} − θ^{l+1}ᵀ h^l)ᵀ
//! both:  Δθ^1 = α ε^0 h^1ᵀ
//! ```
//!
//! Hebb's weights grow without bound. Oja's term subtracts the part of the input that the units already reconstruct, and the
//! rows of θ converge to a basis of the input's principal subspace. Biases of hidden layers keep their initial values.

use super::{Choice, Defaults, Definition, Options, Values, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Plan, What};
use crate::rules::builder::{Chain, op};

pub(super) static HEBB: Definition = Definition {
    name: "hebb",
    title: "Hebb",
    source: "Hebb 1949",
    rule_options: &[HIDDEN_LR],
    plan: |network, options| plan(network, options, false),
    recommended: Defaults { hidden: &[512], activation: Activation::Relu, hidden_lr: 0.001, ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

pub(super) static OJA: Definition = Definition {
    name: "oja",
    title: "Oja",
    source: "Oja 1989",
    rule_options: &[HIDDEN_LR],
    plan: |network, options| plan(network, options, true),
    recommended: Defaults { hidden: &[512], activation: Activation::Relu, hidden_lr: 0.1, ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const HIDDEN_LR: Choice = Choice {
    name: "hidden-lr",
    help: "learning rate of the hidden layers, as a multiple of --lr (adam and adamw undo it: see --layer-lr)",
    values: Values::Number(0.0, 1e3),
    default: 0.1,
};

fn plan(network: &Network, options: &Options, oja: bool) -> Result<Plan> {
    let mut p = prediction(network, options);
    let mut steps = p.errors([0]);
    let mut learn = vec![p.learn(0)];
    for l in 1..network.lmax() {
        let pre = if oja { residual(&mut p, l, &mut steps) } else { p.h(l + 1) };
        let change = Expr::Const(options.rule_option("hidden-lr")) * arriving();
        let epilogue = weights_alone(&mut p, l, change);
        learn.push(op("learn", What::OuterProduct { projection: l, post: p.h(l), pre }, epilogue));
    }
    steps.push(learn);
    p.learning(0, steps);
    Ok(p.plan)
}

/// h^{l+1} − θ^{l+1}ᵀ h^l: the part of layer l+1 that layer l does not reconstruct.
pub(super) fn residual(p: &mut Chain, l: usize, steps: &mut [Vec<crate::plan::Op>]) -> SlotId {
    let rest = p.units("untold", "h − θᵀh", l + 1);
    let send =
        What::Send { projection: l, weights: Some(p.theta(l + 1)), direction: Direction::Backward, from: p.h(l) };
    steps[0].push(op("tell", send, [(rest, Expr::Slot(p.h(l + 1)) - arriving())]));
    rest
}

/// The epilogue that applies a change to θ^{l+1} but not to b^l.
pub(super) fn weights_alone(p: &mut Chain, l: usize, change: Expr) -> Vec<(SlotId, Expr)> {
    let epilogue = p.descend(p.theta(l + 1), change);
    epilogue.into_iter().map(|(to, expr)| (to, Expr::Weight.select(expr, to))).collect()
}
