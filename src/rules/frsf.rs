//! Fixed random-magnitude sign-concordant feedback (Liao, Leibo & Poggio, AAAI 2016): BP whose errors travel back over weights
//! with fixed random magnitudes and the signs of θᵀ.
//!
//! ```text
//! ε^l = f′(x^l) ∘ (B^lᵀ ε^{l−1}),   B^l = |R^l| ∘ sign(θ^l)
//! ```
//!
//! R^l [n^{l−1}, n^l] is uniform in ± s √(6 / (n^{l−1} + n^l)), s = `--feedback-scale`. In a convolution n^l stands for the fan-in
//! and n^{l−1} for the fan-out of a unit, kernel² · channels each.

use super::{Definition, FEEDBACK_SCALE, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::expr::Expr;
use crate::plan::{Domain, Plan, What};
use crate::rules::builder::op;

pub(super) static FRSF: Definition = Definition {
    name: "frsf",
    title: "frSF",
    source: "Liao, Leibo & Poggio 2016",
    rule_options: &[FEEDBACK_SCALE],
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let mut follow = Vec::new();
    for l in 1..network.lmax() {
        let home = Domain::Connections(l - 1);
        let size = p.feedback(l, options.rule_option("feedback-scale"));
        let b = p.plan.declare("signed", format!("B^{l}"), home);
        let signed = Expr::Slot(size).abs() * Expr::Slot(p.theta(l)).sign();
        follow.push(op("follow", What::Map(home), [(b, signed)]));
    }
    p.learning(0, vec![follow]);
    p.backward_pass(|p, l| {
        let b = p.plan.find("signed", l - 1).unwrap_or(p.theta(l));
        p.backprop_through(l, b)
    });
    Ok(p.plan)
}
