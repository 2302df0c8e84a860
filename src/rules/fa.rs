//! Feedback alignment (Lillicrap, Cownden, Tweed & Akerman, Nature Communications 2016): BP whose errors travel back over fixed
//! random weights instead of θᵀ. The forward weights align with them, so that the network learns nevertheless.
//!
//! ```text
//! ε^0 = s_out − μ^0,   ε^l = f′(x^l) ∘ (B^lᵀ ε^{l−1}),   Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ
//! ```
//!
//! B^l [n^{l−1}, n^l] is uniform in ± s √(6 / (n^{l−1} + n^l)), s = `--feedback-scale`. In a convolution n^l stands for the fan-in
//! and n^{l−1} for the fan-out of a unit, kernel² · channels each.

use super::{Definition, FEEDBACK_SCALE, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::Plan;

pub(super) static FA: Definition = Definition {
    name: "fa",
    title: "FA",
    source: "Lillicrap, Cownden, Tweed & Akerman 2016",
    rule_options: &[FEEDBACK_SCALE],
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    p.backward_pass(|p, l| {
        let b = p.feedback(l, options.rule_option("feedback-scale"));
        p.backprop_through(l, b)
    });
    Ok(p.plan)
}
