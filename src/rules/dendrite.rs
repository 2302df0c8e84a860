//! Segregated dendrites (Guerguiev, Lillicrap & Richards, eLife 2017). A unit's basal dendrite receives the layer before it, and its
//! apical dendrite receives the output over fixed random weights Y. The unit learns from the difference between its apical plateau
//! potentials in a forward phase and in a target phase; no error is sent. This is the rate mode, of steady states; with
//! `--mode spikes` units fire ([`super::dendrite_spikes`]).
//!
//! ```text
//! C^l = k (θ^{l+1} r^{l+1} + b^l),  r^l = σ(C^l)                       k = g_B / (g_L + g_B) = 0.6 / 0.7
//! C_t^0 = (g_B V^0 + 8 y − 8 (1 − y)) / (g_L + g_B + 1),  r_t^0 = σ(C_t^0)   with the teacher's conductances; V^0 = θ^1 r^1 + b^0
//! Δθ^{l+1} = α ((σ(Y^l r_t^0) − σ(Y^l r^0)) k σ′(C^l)) r^{l+1}ᵀ
//! Δθ^1 = α ((r_t^0 − r^0) k σ′(C^0)) r^1ᵀ
//! ```
//!
//! Rates are fractions of the largest rate. Y^l [n^l, n^0] is uniform in ± s √(6 / (n^0 + n^l)), s = `--feedback-scale`.

use super::{Choice, Definition, FEEDBACK_SCALE, Loss, Options, Values};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Plan, Stage, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static DENDRITE: Definition = Definition {
    name: "dendrite",
    title: "Segregated dendrites",
    source: "Guerguiev, Lillicrap & Richards 2017",
    rule_options: &[FEEDBACK_SCALE, MODE, PHASE],
    own_network: true,
    rates: true,
    losses: &[Loss::Squared],
    activation: Some(Sigmoid),
    plan,
    ..Definition::PLAIN
};

const MODE: Choice = Choice {
    name: "mode",
    help: "steady rates, or spikes that are drawn every millisecond",
    values: Values::Names(&["rates", "spikes"]),
    default: 0.0,
};

const PHASE: Choice = Choice {
    name: "phase",
    help: "milliseconds of each phase with --mode spikes, of which the last 20 count",
    values: Values::Whole(1, 500),
    default: 50.0,
};

/// Conductances of the leak and of the basal dendrite, and the reversal potential of the teacher's synapses.
pub(super) const LEAK: f64 = 0.1;
pub(super) const BASAL: f64 = 0.6;
pub(super) const TEACHER: f64 = 8.0;
/// The share k of the basal potential that reaches the soma.
pub(super) const SHARE: f64 = BASAL / (LEAK + BASAL);

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    if options.rule_option("mode") == 1.0 {
        return super::dendrite_spikes::plan(network, options);
    }
    if options.rule_option(PHASE.name) != PHASE.default {
        return Err(Error::usage(
            "--phase applies to --mode spikes only, because steady rates have no duration; leave it out, or add --mode spikes",
        ));
    }
    let mut p = Chain::new(network, options);
    let rates: Vec<SlotId> = (0..network.lmax()).map(|l| p.units("rate", "r", l)).collect();
    for l in (0..network.lmax()).rev() {
        let from = rates.get(l + 1).copied().unwrap_or(p.h(l + 1));
        let send = What::Send { projection: l, weights: Some(p.theta(l + 1)), direction: Direction::Forward, from };
        let rate = Expr::f(Sigmoid, Expr::Const(SHARE) * arriving());
        p.plan.moment(Stage::Prediction, vec![vec![op("predict", send, [(p.mu(l), arriving()), (rates[l], rate)])]]);
    }
    p.plan.output = rates[0];

    let taught = p.units("taught", "r_t", 0);
    let y = Expr::Slot(p.x(0));
    let teacher = Expr::Const(TEACHER) * y.clone() - Expr::Const(TEACHER) * (Expr::Const(1.0) - y);
    let soma = (Expr::Const(BASAL) * p.mu(0) + teacher) / (LEAK + BASAL + 1.0);
    p.learning(0, vec![vec![each("teach", 0, [(taught, Expr::f(Sigmoid, soma))])]]);

    let pre: Vec<SlotId> = (1..=network.lmax()).map(|l| rates.get(l).copied().unwrap_or(p.h(l))).collect();
    compare(&mut p, 1, &rates, &pre, [rates[0], taught], taught);
    Ok(p.plan)
}

/// Moment t, in which every layer learns. `rates` are the forward phase's rates of each layer below the input. `pre` are the
/// outputs of layers 1 to lmax. `heard` are the output's signals that apical dendrites receive in the forward phase and in the target
/// phase. `taught` are the output's rates in the target phase.
pub(super) fn compare(p: &mut Chain, t: usize, rates: &[SlotId], pre: &[SlotId], heard: [SlotId; 2], taught: SlotId) {
    let scale = p.options.rule_option("feedback-scale");
    let slope = |l: usize| Expr::Const(SHARE) * (Expr::Slot(rates[l]) * (Expr::Const(1.0) - rates[l]));
    let mut steps = vec![Vec::new(), Vec::new(), Vec::new()];
    steps[1].push(each("error", 0, [(p.eps(0), (Expr::Slot(taught) - rates[0]) * slope(0))]));
    for l in 1..p.lmax() {
        let name = format!("layer {l} from the output");
        let direct = p.plan.project(name, 0, l, Connection::Dense { bias: false });
        let weights = Some(p.random(direct, format!("Y^{l}"), scale, l as u64));
        let plateau = |from, to| {
            let send = What::Send { projection: direct, weights, direction: Direction::Forward, from };
            op("plateau", send, [(to, Expr::f(Sigmoid, arriving()))])
        };
        let [before, after] = [("plateau", "α_f"), ("plateau_taught", "α_t")].map(|(n, s)| p.units(n, s, l));
        steps[0].extend([plateau(heard[0], before), plateau(heard[1], after)]);
        steps[1].push(each("error", l, [(p.eps(l), (Expr::Slot(after) - before) * slope(l))]));
    }
    steps[2] = (0..p.lmax())
        .map(|l| {
            let epilogue = p.descend(p.theta(l + 1), arriving());
            op("learn", What::OuterProduct { projection: l, post: p.eps(l), pre: pre[l] }, epilogue)
        })
        .collect();
    p.learning(t, steps);
}
