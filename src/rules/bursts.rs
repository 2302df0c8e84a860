//! The forward pass of the burst rules: event rates, which are sigmoids of the weighted input.

use super::{Choice, Options, Values};
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Op, Stage, What};
use crate::rules::builder::{Chain, op};

/// The option p0, from 0.001 to `most`. With p0 = 0 no event is a burst, and with p0 = 1 every event is one: bursts would then carry
/// no information, and logit(p0) would be infinite.
pub(super) const fn p0(default: f64, most: f64) -> Choice {
    Choice {
        name: "p0",
        help: "fraction of the output's events that are bursts, without a teacher",
        values: Values::Number(0.001, most),
        default,
    }
}

/// e^l = σ(θ^{l+1} e^{l+1} + b^l) of every layer, the output included. The last slot is the input itself.
pub(super) fn event_rates(network: &Network, options: &Options) -> (Chain, Vec<SlotId>) {
    let mut p = Chain::new(network, options);
    let mut events: Vec<SlotId> = (0..network.lmax()).map(|l| p.units("events", "e", l)).collect();
    events.push(p.h(network.lmax()));
    for l in (0..network.lmax()).rev() {
        let weights = Some(p.theta(l + 1));
        let send = What::Send { projection: l, weights, direction: Direction::Forward, from: events[l + 1] };
        let epilogue = [(events[l], Expr::f(Sigmoid, arriving()))];
        p.plan.moment(Stage::Prediction, vec![vec![op("predict", send, epilogue)]]);
    }
    p.plan.output = events[0];
    (p, events)
}

/// θ^{l+1} ← θ^{l+1} + α ε^l e^{l+1}ᵀ
pub(super) fn learn_events(p: &mut Chain, events: &[SlotId], l: usize) -> Op {
    let epilogue = p.descend(p.theta(l + 1), arriving());
    op("learn", What::OuterProduct { projection: l, post: p.eps(l), pre: events[l + 1] }, epilogue)
}
