//! Kolen-Pollack learning (Kolen & Pollack 1994; Akrout et al., NeurIPS 2019): feedback weights learn from the same Hebbian
//! product as the forward weights, and so converge to them without any weight transport.
//!
//! ```text
//! ε^l = f′(x^l) ∘ (B^lᵀ ε^{l−1})
//! θ^{l+1} ← (1 − λ) θ^{l+1} + α ε^l f(x^{l+1})ᵀ,   B^{l+1} ← (1 − λ) B^{l+1} + α ε^l f(x^{l+1})ᵀ
//! ```
//!
//! Both get the same product, so every update shrinks B − θ by the factor 1 − λ, whatever is learned. λ = `--decay` also applies
//! to θ^{lmax} and the biases, in addition to any `--weight-decay`.

use super::{Choice, Definition, FEEDBACK_SCALE, Options, Values, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Plan, What};
use crate::rules::builder::{Chain, op};

pub(super) static KP: Definition = Definition {
    name: "kp",
    title: "Kolen-Pollack",
    source: "Kolen & Pollack 1994; Akrout et al. 2019",
    rule_options: &[FEEDBACK_SCALE, DECAY],
    decay: Some(DECAY.name),
    convolutions: true,
    plan,
    ..Definition::PLAIN
};

const DECAY: Choice = Choice {
    name: "decay",
    help: "λ, the fraction of itself that every weight loses at each update",
    values: Values::Number(0.0, 1.0),
    default: 2e-4,
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let lmax = network.lmax();
    let b: Vec<SlotId> = (1..lmax).map(|l| p.feedback(l, options.rule_option("feedback-scale"))).collect();
    let errors = p.errors([0]);
    p.learning(0, errors);
    for l in 1..lmax {
        let back = p.backprop_through(l, b[l - 1]);
        p.learning(l, vec![vec![back]]);
    }
    let learn = (0..lmax).map(|l| {
        // The input receives no feedback, so θ^{lmax} has no feedback counterpart.
        let both = [Some(p.theta(l + 1)), b.get(l).copied()];
        let epilogue: Vec<_> =
            both.into_iter().flatten().flat_map(|w| decayed(&mut p, w, options.rule_option("decay"))).collect();
        op("learn", What::OuterProduct { projection: l, post: p.eps(l), pre: p.h(l + 1) }, epilogue)
    });
    let learn = learn.collect();
    p.learning(lmax, vec![learn]);
    Ok(p.plan)
}

/// The optimiser's step of W, minus λ W.
fn decayed(p: &mut Chain, weights: SlotId, decay: f64) -> Vec<(SlotId, Expr)> {
    let mut epilogue = p.descend(weights, arriving());
    for (_, end) in epilogue.iter_mut().filter(|(to, _)| *to == weights) {
        *end = Expr::fma(Expr::Const(-decay), weights, end.clone());
    }
    epilogue
}
