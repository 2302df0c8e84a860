//! Direct feedback alignment (Nøkland, NeurIPS 2016): every hidden layer gets the error of the output at once, over fixed
//! random weights of its own, instead of what the layer below it has made of that error.
//!
//! ```text
//! ε^0 = s_out − μ^0,   ε^l = f′(x^l) ∘ (B^lᵀ ε^0),   Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ
//! ```
//!
//! B^l [n^0, n^l] is uniform in ± s √(6 / (n^0 + n^l)), s = `--feedback-scale`. No layer waits for another: all ε^l, l > 0, are
//! made in one step. Every unit of a convolution has feedback of its own, at every place: n^l counts them all.

use super::{Definition, FEEDBACK_SCALE, Options, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::{Connection, Plan, Population};

pub(super) static DFA: Definition = Definition {
    name: "dfa",
    title: "DFA",
    source: "Nøkland 2016",
    own: &[FEEDBACK_SCALE],
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
        let b = p.random(direct, format!("B^{l}"), options.own("feedback-scale"), l as u64);
        back.push(p.backprop_through(l, b));
    }
    p.learning(1, vec![back]);
    let learn = (0..network.lmax()).map(|l| p.learn(l)).collect();
    p.learning(2, vec![learn]);
    Ok(p.plan)
}

/// The population that has the units of layer `l` at one place: the layer, or one beside it.
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
