//! BrainProp (Pozzi, Bohte & Roelfsema, NeurIPS 2020; AGREL before it): the network chooses one output, and the only teaching
//! signal is whether the choice was right. Feedback starts at the chosen output alone. A global factor per sample, the reward
//! prediction error δ, scales the learning of all layers.
//!
//! ```text
//! s = argmax_i μ^0_i              (a random output, with probability --explore)
//! δ = r − μ^0_s                   r = 1 if s is the label, else 0
//! g^0_i = 1 where i = s, else 0   g^l = f′(x^l) ∘ (θ^lᵀ g^{l−1})
//! Δθ^{l+1} = α δ g^l f(x^{l+1})ᵀ
//! ```
//!
//! This is BP of ½ (r − μ^0_s)², the error of one output at a time: δ g^l is BP's δ^l, since δ is one scalar per sample. θ^1
//! learns the same bits as BP of that error; in the layers above, the products are rounded in another order.

use super::{Choice, Defaults, Definition, Loss, Options, Values, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation;
use crate::plan::expr::{Expr, arriving};
use crate::plan::{Direction, Draw, Plan, Reduction, What};
use crate::rules::builder::{each, op};

pub(super) static BRAINPROP: Definition = Definition {
    name: "brainprop",
    title: "BrainProp",
    source: "Pozzi, Bohte & Roelfsema 2020",
    rule_options: &[EXPLORE],
    rates: true,
    losses: &[Loss::Squared],
    plan,
    recommended: Defaults { activation: Activation::Relu, ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const EXPLORE: Choice = Choice {
    name: "explore",
    help: "probability with which an output is chosen at random",
    values: Values::Number(0.0, 1.0),
    default: 0.02,
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let [best, any, luck, chosen] = ["best", "any", "luck", "chosen"].map(|name| p.sample(name, 0));
    let (scores, draws) = (p.units("score", "u", 0), p.units("draw", "v", 0));
    let reduce = |from, how, to| op("choose", What::Reduce { from, how }, [(to, arriving())]);
    let draw = |stream, to| op("draw", What::Draw(Draw::Uniform { stream }), [(to, arriving())]);
    let explore = Expr::Slot(luck).less(options.rule_option("explore"));
    // One value per sample, the draw of unit 0, decides whether to explore.
    let first = Expr::Unit.equals(0.0).select(draws, 0.0);
    let is_chosen = Expr::Unit.equals(chosen);
    let error = Expr::Slot(p.x(0)) - Expr::Stored(p.mu(0));
    let gates: Vec<_> = (0..network.lmax()).map(|l| p.units("attended", "g", l)).collect();
    let rpe = p.sample("rpe", 0);
    p.learning(
        0,
        vec![
            vec![draw(0, scores), draw(1, draws)],
            vec![each("draw", 0, [(draws, first)]), reduce(p.mu(0), Reduction::Argmax, best)],
            vec![reduce(scores, Reduction::Argmax, any), reduce(draws, Reduction::Sum, luck)],
            vec![op("choose", What::Map(crate::plan::Domain::Samples(0)), [(chosen, explore.select(any, best))])],
            vec![each(
                "error",
                0,
                [(p.eps(0), is_chosen.clone().select(error, 0.0)), (gates[0], is_chosen.select(1.0, 0.0))],
            )],
            vec![reduce(p.eps(0), Reduction::Sum, rpe)],
        ],
    );
    for l in 1..network.lmax() {
        let from = gates[l - 1];
        let send = What::Send { projection: l - 1, weights: Some(p.theta(l)), direction: Direction::Backward, from };
        let gate = p.slope(l) * arriving();
        p.learning(l, vec![vec![op("attend", send, [(gates[l], gate.clone()), (p.eps(l), gate * rpe)])]]);
    }
    let learn = (0..network.lmax()).map(|l| p.learn(l)).collect();
    p.learning(network.lmax(), vec![learn]);
    Ok(p.plan)
}
