//! Uniform sign-concordant feedback (Liao, Leibo & Poggio, AAAI 2016; Moskovitz et al. 2018): BP whose errors travel back over
//! the signs of θᵀ, all of one magnitude.
//!
//! ```text
//! ε^l = f′(x^l) ∘ (B^lᵀ ε^{l−1}),   B^l = √(2 / (n^{l−1} + n^l)) sign(θ^l)
//! ```
//!
//! In a convolution n^l stands for the fan-in and n^{l−1} for the fan-out of a unit, kernel² · channels each.

use super::{Definition, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::expr::Expr;
use crate::plan::{Domain, Plan, What};
use crate::rules::builder::op;

pub(super) static USF: Definition = Definition {
    name: "usf",
    title: "uSF",
    source: "Liao, Leibo & Poggio 2016",
    convolutions: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let mut follow = Vec::new();
    for l in 1..network.lmax() {
        let fans = network.fan_out(l) + network.shape(l).1;
        let size = (2.0 / fans as f64).sqrt();
        let home = Domain::Connections(l - 1);
        let b = p.plan.declare("feedback", format!("B^{l}"), home);
        let sign = Expr::Slot(p.theta(l)).sign() * size;
        follow.push(op("follow", What::Map(home), [(b, sign)]));
    }
    p.learning(0, vec![follow]);
    p.backward_pass(|p, l| {
        let b = p.plan.find("feedback", l - 1).unwrap_or(p.theta(l));
        p.backprop_through(l, b)
    });
    Ok(p.plan)
}
