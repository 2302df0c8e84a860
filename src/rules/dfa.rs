//! Direct feedback alignment (Nøkland, NeurIPS 2016): every hidden layer receives the output's error directly, over its own fixed
//! random weights, instead of the error that was propagated through the layers below.
//!
//! ```text
//! ε^0 = s_out − μ^0,   ε^l = f′(x^l) ∘ (B^lᵀ ε^0),   Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ
//! ```
//!
//! B^l [n^0, n^l] is uniform in ± s √(6 / (n^0 + n^l)), s = `--feedback-scale`. All ε^l, l > 0, are computed in one step, because no
//! layer waits for another. In a convolution every unit at every place has its own feedback weights: n^l counts them all.

use super::{Definition, FEEDBACK_SCALE, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::{Connection, Plan, Population};

pub(super) static DFA: Definition = Definition {
    name: "dfa",
    title: "DFA",
    source: "Nøkland 2016",
    rule_options: &[FEEDBACK_SCALE],
    convolutions: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let errors = p.errors([0]);
    p.learning(0, errors);
    let mut back = Vec::new();
    for l in 1..network.lmax() {
        let at = flat(&mut p.plan, l);
        let direct = p.plan.project(format!("layer {l} from the output"), at, 0, Connection::Dense { bias: false });
        let b = p.random(direct, format!("B^{l}"), options.rule_option("feedback-scale"), l as u64);
        back.push(p.backprop_through(l, b));
    }
    p.learning(1, vec![back]);
    let learn = (0..network.lmax()).map(|l| p.learn(l)).collect();
    p.learning(2, vec![learn]);
    Ok(p.plan)
}

/// The population of layer `l`'s units as one place: the layer itself, or a flattened copy.
fn flat(plan: &mut Plan, l: usize) -> usize {
    let Population { n, places, .. } = plan.populations[l];
    if places == 1 {
        return l;
    }
    let at = plan.populations.len();
    plan.populations.push(Population { name: format!("layer {l} at one place"), n: n * places, places: 1 });
    plan.project(format!("layer {l} to one place"), l, at, Connection::Flat);
    at
}
