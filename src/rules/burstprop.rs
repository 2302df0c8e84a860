//! Burstprop (Payeur, Guerguiev, Zenke, Richards & Naud, Nature Neuroscience 2021), the rate version. A unit sends
//! events forward and bursts back through the same output (multiplexing). Plasticity depends on the fraction of events
//! that are bursts.
//!
//! ```text
//! e^l = σ(θ^{l+1} e^{l+1} + b^l)
//! layer 0:  p = p0,  p_t = p0 ((y − e) (1 − e) + 1)
//! hidden:   u = Y^lᵀ b^{l−1},  q = σ(u) e,  r = R^l q,  p = σ(u (1 − e) − r);   p_t likewise from u_t = Y^lᵀ b_t^{l−1}
//! b = p e,  b_t = p_t e
//! Δθ^{l+1} = α ((p_t − p) e) e^{l+1}ᵀ,   ΔR^l = ρ (u (1 − e) − r) qᵀ            ρ = --recurrent-lr
//! ```
//!
//! Y^l has the shape of θ^l, and is random and fixed. The recurrent weights R^l keep the burst probability near ½ while
//! no target is given. p0 applies to the output only. In a hidden unit Δθ depends on p_t − p of the same unit, which is
//! 0 without an error, for any p0, Y and R.

use super::bursts::{event_rates, learn_events, p0};
use super::{Choice, Defaults, Definition, FEEDBACK_SCALE, Loss, Options, Values};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, arriving};
use crate::plan::{Connection, Direction, Domain, Initial, Plan, What};
use crate::rules::builder::{each, op};

pub(super) static BURSTPROP: Definition = Definition {
    name: "burstprop",
    title: "Burstprop",
    source: "Payeur, Guerguiev, Zenke, Richards & Naud 2021",
    rule_options: &[P0, FEEDBACK_SCALE, RECURRENT_LR],
    own_network: true,
    rates: true,
    losses: &[Loss::Squared],
    activation: Some(Sigmoid),
    plan,
    recommended: Defaults { rule_options: &[("p0", 0.5)], ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const P0: Choice = p0(0.2, 0.999);

const RECURRENT_LR: Choice = Choice {
    name: "recurrent-lr",
    help: "learning rate of the recurrent weights R",
    values: Values::Number(0.0, 1e3),
    default: 1e-4,
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let (mut p, e) = event_rates(network, options);
    let (p0, lr) = (Expr::Const(options.rule_option("p0")), Expr::Const(options.rule_option("recurrent-lr")));
    let slots: Vec<_> =
        (0..network.lmax()).map(|l| ["burst", "burst_taught"].map(|name| p.units(name, name, l))).collect();
    let still = |l: usize| Expr::Const(1.0) - e[l];
    // The maximum keeps the probability non-negative for every target y.
    let taught = (p0.clone() * ((Expr::Slot(p.x(0)) - e[0]) * still(0) + 1.0)).max(0.0);
    let epilogue =
        [(slots[0][0], p0.clone() * e[0]), (slots[0][1], taught.clone() * e[0]), (p.eps(0), (taught - p0) * e[0])];
    p.learning(0, vec![vec![each("burst", 0, epilogue)]]);
    let mut settle = Vec::new();
    for l in 1..network.lmax() {
        let y = p.feedback(l, options.rule_option("feedback-scale"));
        let lateral = p.plan.project(format!("within layer {l}"), l, l, Connection::Dense { bias: false });
        let start = Initial::Uniform { bound: 0.01, index: 1000 + l as u64 };
        let recurrent = p.plan.keep("recurrent", format!("R^{l}"), Domain::Connections(lateral), start);
        let [u, u_taught, q, v, v_taught] =
            ["down", "down_taught", "early", "apical", "apical_taught"].map(|name| p.units(name, name, l));
        let down = |from, to| {
            let send = What::Send { projection: l - 1, weights: Some(y), direction: Direction::Backward, from };
            op("down", send, [(to, arriving())])
        };
        let early = Expr::f(Sigmoid, u) * e[l];
        let send = What::Send { projection: lateral, weights: Some(recurrent), direction: Direction::Forward, from: q };
        let damped = |u| Expr::Slot(u) * still(l) - arriving();
        let probability = |v| Expr::f(Sigmoid, Expr::Slot(v));
        let epilogue = [
            (slots[l][0], probability(v) * e[l]),
            (slots[l][1], probability(v_taught) * e[l]),
            (p.eps(l), (probability(v_taught) - probability(v)) * e[l]),
        ];
        p.learning(
            l,
            vec![
                vec![down(slots[l - 1][0], u), down(slots[l - 1][1], u_taught)],
                vec![each("early", l, [(q, early)])],
                vec![op("damp", send, [(v, damped(u)), (v_taught, damped(u_taught))])],
                vec![each("burst", l, epilogue)],
            ],
        );
        let what = What::OuterProduct { projection: lateral, post: v, pre: q };
        settle.push(op("settle", what, [(recurrent, Expr::fma(lr.clone(), arriving(), recurrent))]));
    }
    let learn = (0..network.lmax()).map(|l| learn_events(&mut p, &e, l));
    let learn = learn.collect::<Vec<_>>().into_iter().chain(settle).collect();
    p.learning(network.lmax(), vec![learn]);
    Ok(p.plan)
}
