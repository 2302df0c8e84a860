//! Burst-dependent cortico-cortical networks (Greedy, Zhu, Pemberton, Mellor & Costa, NeurIPS 2022). Bursts are sent back through Y,
//! events through Q. Q learns to cancel the bursts of a network without a teacher, so that learning needs only one phase.
//!
//! ```text
//! e^l = σ(θ^{l+1} e^{l+1} + b^l)
//! layer 0:  b_t = p0 ((y − e) (1 − e) + 1) e
//! hidden:   a = Y^lᵀ b_t^{l−1} − Q^lᵀ e^{l−1},   p = σ(logit(p0) + a (1 − e) / (p0 (1 − p0))),   b_t = p e
//! Δθ^{l+1} = α (b_t − p0 e) e^{l+1}ᵀ,   ΔQ^l = κ e^{l−1} a_fᵀ                    κ = --q-lr
//! ```
//!
//! a_f is the value of a without a teacher. Y^l is random and fixed. Q^l starts at p0 Y^l, where it cancels Y from the start.
//!
//! The published code has p = σ(4 a (1 − e)) and p0 = ½. For another p0 that p would still be ½ at rest (a = 0), and (p − p0) e would
//! teach without an error. Here logit(p0) is added inside σ, so that p is p0 at rest. The factor is 1 over the slope of σ
//! there, p0 (1 − p0), which gives 4 at p0 = ½. For small a, p − p0 is then a (1 − e). To first order in the error, every layer
//! then learns p0 times what BP would teach it with the error sent back over Y. With 4 for every p0, the l-th layer from the
//! output would learn (4 p0 (1 − p0))^l times that.

use super::bursts::{event_rates, learn_events, p0};
use super::{Choice, Definition, FEEDBACK_SCALE, Loss, Options, Values};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Domain, Initial, Plan, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static BURSTCCN: Definition = Definition {
    name: "burstccn",
    title: "BurstCCN",
    source: "Greedy, Zhu, Pemberton, Mellor & Costa 2022",
    rule_options: &[P0, FEEDBACK_SCALE, Q_LR],
    own_network: true,
    rates: true,
    losses: &[Loss::Squared],
    activation: Some(Sigmoid),
    plan,
    ..Definition::PLAIN
};

/// Near 1 a hidden unit has no room to burst more often: networks learn about as well at 0.95 as at ½, but hardly at 0.99.
const P0: Choice = p0(0.5, 0.95);

const Q_LR: Choice = Choice {
    name: "q-lr",
    help: "learning rate of Q, the weights that cancel bursts",
    values: Values::Number(0.0, 1e3),
    default: 0.0,
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let (mut p, e) = event_rates(network, options);
    let (p0, lr) = (Expr::Const(options.rule_option("p0")), options.rule_option("q-lr"));
    let taught: Vec<SlotId> = (0..network.lmax()).map(|l| p.units("burst_taught", "b_t", l)).collect();
    let free: Vec<SlotId> = (0..network.lmax()).map(|l| p.units("burst", "b_f", l)).collect();
    // A probability is never negative; the maximum states that for any y.
    let p_taught = p0.clone() * ((Expr::Slot(p.x(0)) - e[0]) * (Expr::Const(1.0) - e[0]) + 1.0);
    let b = p_taught.max(0.0) * e[0];
    let post = b.clone() - p0.clone() * e[0];
    p.learning(0, vec![vec![each("burst", 0, [(taught[0], b), (free[0], p0.clone() * e[0]), (p.eps(0), post)])]]);
    let mut cancel = Vec::new();
    for l in 1..network.lmax() {
        let (y, q) = weights(&mut p, l, options);
        let [here, apical, apical_free] = ["cancelled", "apical_taught", "apical"].map(|name| p.units(name, name, l));
        let down = |weights, from, epilogue: [(SlotId, Expr); 1]| {
            let send = What::Send { projection: l - 1, weights: Some(weights), direction: Direction::Backward, from };
            op("down", send, epilogue)
        };
        let probability = |a: SlotId| burst_probability(options.rule_option("p0"), a, e[l]);
        let mut epilogue =
            vec![(taught[l], probability(apical) * e[l]), (p.eps(l), (probability(apical) - p0.clone()) * e[l])];
        let mut second = vec![down(y, taught[l - 1], [(apical, arriving() - here)])];
        if lr != 0.0 {
            second.push(down(y, free[l - 1], [(apical_free, arriving() - here)]));
            epilogue.push((free[l], probability(apical_free) * e[l]));
            let what = What::OuterProduct { projection: l - 1, post: e[l - 1], pre: apical_free };
            let follow = Expr::fma(Expr::Const(lr), arriving(), q);
            // Q learns no biases.
            cancel.push(op("cancel", what, [(q, Expr::Weight.select(follow, q))]));
        }
        p.learning(l, vec![vec![down(q, e[l - 1], [(here, arriving())])], second, vec![each("burst", l, epilogue)]]);
    }
    let learn = (0..network.lmax()).map(|l| learn_events(&mut p, &e, l)).collect::<Vec<_>>();
    p.learning(network.lmax(), vec![learn.into_iter().chain(cancel).collect()]);
    Ok(p.plan)
}

/// σ(logit(p0) + a (1 − e) / (p0 (1 − p0))). The term logit(p0) is omitted where it is 0.
fn burst_probability(p0: f64, a: SlotId, e: SlotId) -> Expr {
    let (rest, gain) = ((p0 / (1.0 - p0)).ln(), 1.0 / (p0 * (1.0 - p0)));
    let drive = (Expr::Const(gain) * a) * (Expr::Const(1.0) - e);
    Expr::f(Sigmoid, if rest == 0.0 { drive } else { drive + rest })
}

/// Y^l and Q^l = p0 Y^l.
fn weights(p: &mut Chain, l: usize, options: &Options) -> (SlotId, SlotId) {
    let y = p.feedback(l, options.rule_option("feedback-scale"));
    let Initial::Uniform { bound, index } = p.plan.slot(y).start else { return (y, y) };
    let start = Initial::Uniform { bound: options.rule_option("p0") * bound, index };
    let q = p.plan.keep("cancelling", format!("Q^{l}"), Domain::Connections(l - 1), start);
    (y, q)
}
