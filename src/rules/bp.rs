//! Backpropagation in an ANN: the reference for every other rule.
//!
//! ```text
//! (1)  y^l = θ^{l+1} f(y^{l+1}),  y^{lmax} = s_in
//! (4)  δ^0 = s_out − y^0,  δ^l = f′(y^l) ∘ (θ^lᵀ δ^{l−1})
//! (3)  Δθ^{l+1} = α δ^l f(y^{l+1})ᵀ
//! ```
//!
//! It uses the ops of the predictive coding rules where the arithmetic is the same, so that a device
//! runs one kernel for both: y is x after the forward pass, δ^0 is ε^0, and δ^l is stored in the slot of ε^l.
//! All δ are computed before any θ moves, because Eq. (4) reads the old θ.

use super::{Definition, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::Plan;

pub(super) static BP: Definition = Definition {
    name: "bp",
    title: "BP",
    source: "Rumelhart, Hinton & Williams 1986; Song et al. 2020, Eqs. 1–4",
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    p.backward_pass(|p, l| p.backprop(l));
    Ok(p.plan)
}
