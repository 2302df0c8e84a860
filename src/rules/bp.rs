//! Backpropagation in an ANN: the reference every other rule is held against.
//!
//! ```text
//! (1)  y^l = θ^{l+1} f(y^{l+1}),  y^{lmax} = s_in
//! (4)  δ^0 = s_out − y^0,  δ^l = f′(y^l) ∘ (θ^lᵀ δ^{l−1})
//! (3)  Δθ^{l+1} = α δ^l f(y^{l+1})ᵀ
//! ```
//!
//! It uses the ops of the predictive coding rules where the arithmetic is the same, so that a device
//! runs one kernel for both: y is x after the forward pass, δ^0 is ε^0, and δ^l lies in the slot of ε^l.
//! All δ are made before any θ moves, for Eq. (4) reads the old θ.

use crate::network::Network;
use crate::plan::{Op, Stage, Step};

pub(super) fn steps(network: &Network) -> Vec<Step> {
    let lmax = network.lmax();
    let mut steps = super::prediction(network, 0.0);
    steps.push(Step { stage: Stage::Learning(0), ops: vec![Op::Error(0)] });
    steps.extend((1..lmax).map(|l| Step { stage: Stage::Learning(l), ops: vec![Op::Backprop(l)] }));
    steps.push(Step { stage: Stage::Learning(lmax), ops: (0..lmax).map(Op::Learn).collect() });
    steps
}
