//! Equilibrium propagation (Scellier & Bengio, Front. Comput. Neurosci. 2017; the symmetric estimate is Laborieux et al. 2021). The
//! network relaxes to a fixed point, is nudged slightly towards the target, and learns from the difference between the two states.
//!
//! ```text
//! s^l ← clip(s^l + ε (θ^{l+1} s^{l+1} + b^l + θ^lᵀ s^{l−1} − s^l), 0, 1)        --free steps, all layers at once
//! then --nudged steps, with  + 2 β (y − s^0)  inside the bracket of layer 0
//! Δθ^{l+1} = (α / β) (s_β^l s_β^{l+1}ᵀ − s_0^l s_0^{l+1}ᵀ)
//! ```
//!
//! Every training example keeps its own state, from which its next free phase starts; it starts at 0, and so does evaluation. The
//! published code draws the sign of β anew for each mini-batch (`--estimator random`); the error of that estimate is O(β). The error
//! of `symmetric`, (s_β s_βᵀ − s_{−β} s_{−β}ᵀ) / 2β, is only O(β²). `scripts/oracle_family.py` shows both.

use super::{Choice, Defaults, Definition, Loss, Options, Values};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Domain, Moment, Op, Plan, Stage, Value, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static EP: Definition = Definition {
    name: "ep",
    title: "Equilibrium propagation",
    source: "Scellier & Bengio 2017",
    rule_options: &[ESTIMATOR, BETA, EPSILON, FREE, NUDGED],
    own_network: true,
    rates: true,
    losses: &[Loss::Squared],
    activation: Some(Sigmoid),
    plan,
    recommended: Defaults {
        lr: 0.0003,
        rule_options: &[("estimator", 2.0), ("free", 30.0), ("nudged", 8.0)],
        ..Defaults::RECOMMENDED
    },
    ..Definition::PLAIN
};

const ESTIMATOR: Choice = Choice {
    name: "estimator",
    help: "nudge: of random sign, towards the target, or in both directions",
    values: Values::Names(&["random", "one-sided", "symmetric"]),
    default: 0.0,
};

const BETA: Choice =
    Choice { name: "beta", help: "strength β of the nudge", values: Values::Number(1e-6, 1e3), default: 0.5 };

const EPSILON: Choice =
    Choice { name: "epsilon", help: "step size ε of the relaxation", values: Values::Number(1e-6, 1.0), default: 0.5 };

const FREE: Choice =
    Choice { name: "free", help: "steps of the free phase", values: Values::Whole(1, 10_000), default: 20.0 };

const NUDGED: Choice =
    Choice { name: "nudged", help: "steps of the nudged phase", values: Values::Whole(1, 10_000), default: 4.0 };

/// The slots of the relaxation, by layer.
struct Relaxation {
    /// s^l, below the input.
    state: Vec<SlotId>,
    /// The drive from the layer above: θ^{l+1} s^{l+1} + b^l.
    drive: Vec<SlotId>,
}

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = Chain::new(network, options);
    let layers = 0..network.lmax();
    let own = |name| options.rule_option(name);
    let r = Relaxation {
        state: layers.clone().map(|l| p.units("state", "s", l)).collect(),
        drive: layers.clone().map(|l| p.units("drive", "d", l)).collect(),
    };
    let particles: Vec<SlotId> =
        layers.clone().map(|l| p.plan.remember("particle", format!("s of the example^{l}"), l)).collect();
    let rest: Vec<SlotId> = layers.clone().map(|l| p.units("rest", "s_0", l)).collect();
    p.plan.output = r.state[0];

    let copy = |name, to: &[SlotId], from: &[SlotId]| -> Vec<Op> {
        layers.clone().map(|l| each(name, l, [(to[l], Expr::Slot(from[l]))])).collect()
    };
    // The input is clamped, so its drive is computed once.
    let last = network.lmax() - 1;
    p.plan.moment(Stage::Prediction, vec![copy("begin", &r.state, &particles), vec![r.driven(&p, last)]]);
    let free = r.step(&p, None);
    p.plan.moments.push(Moment { stage: Stage::Prediction, steps: free, times: own("free") as u32 });
    p.learning(0, vec![[copy("rest", &rest, &r.state), copy("remember", &particles, &r.state)].concat()]);

    let nudge = |p: &mut Chain, t: usize, beta: Expr| {
        let steps = r.step(p, Some(beta));
        p.plan.moments.push(Moment { stage: Stage::Learning(t), steps, times: own("nudged") as u32 });
    };
    let beta = p.plan.param("β", Value::Fixed(own("beta")));
    let sign = p.plan.param("sign", Value::Sign(1 << 16));
    // The factor of the difference, and the β of the nudge.
    let (weight, nudged) = match own("estimator") as usize {
        0 => (Expr::Param(sign) / beta, Expr::Param(beta) * sign),
        1 => (Expr::Const(1.0) / beta, Expr::Param(beta)),
        _ => (Expr::Const(0.5) / beta, Expr::Param(beta)),
    };
    let symmetric = own("estimator") as usize == 2;
    if symmetric {
        nudge(&mut p, 1, -Expr::Param(beta));
        let away: Vec<SlotId> = layers.clone().map(|l| p.units("away", "s_-β", l)).collect();
        p.learning(2, vec![copy("away", &away, &r.state), copy("begin", &r.state, &rest)]);
        nudge(&mut p, 3, nudged);
        contrast(&mut p, 4, (&away, &r.state), &weight);
    } else {
        nudge(&mut p, 1, nudged);
        contrast(&mut p, 2, (&rest, &r.state), &weight);
    }
    Ok(p.plan)
}

/// Every θ^{l+1} learns s^l s^{l+1}ᵀ of the second state minus that of the first.
fn contrast(p: &mut Chain, t: usize, (less, more): (&[SlotId], &[SlotId]), weight: &Expr) {
    let mut steps = [Vec::new(), Vec::new()];
    for l in 0..p.lmax() {
        let pre = |of: &[SlotId], p: &Chain| of.get(l + 1).copied().unwrap_or(p.h(l + 1));
        let first = p.plan.declare("correlation", format!("s s^{}", l + 1), Domain::Connections(l));
        let change = |of: &[SlotId], p: &Chain| What::OuterProduct { projection: l, post: of[l], pre: pre(of, p) };
        steps[0].push(op("correlate", change(less, p), [(first, arriving())]));
        let what = change(more, p);
        let epilogue = p.descend(p.theta(l + 1), (arriving() - first) * weight.clone());
        steps[1].push(op("learn", what, epilogue));
    }
    p.learning(t, steps.into());
}

impl Relaxation {
    /// d^l ← θ^{l+1} s^{l+1} + b^l
    fn driven(&self, p: &Chain, l: usize) -> Op {
        let from = self.state.get(l + 1).copied().unwrap_or(p.h(l + 1));
        let send = What::Send { projection: l, weights: Some(p.theta(l + 1)), direction: Direction::Forward, from };
        op("drive", send, [(self.drive[l], arriving())])
    }

    /// One step of every layer at once.
    fn step(&self, p: &Chain, nudge: Option<Expr>) -> Vec<Vec<Op>> {
        let epsilon = Expr::Const(p.options.rule_option("epsilon"));
        let moved = |l: usize, drive: Expr| {
            let s = self.state[l];
            let pull = drive - s;
            let pull = match &nudge {
                Some(beta) if l == 0 => pull + (Expr::Const(2.0) * beta.clone()) * (Expr::Slot(p.x(0)) - s),
                _ => pull,
            };
            (s, (Expr::Slot(s) + epsilon.clone() * pull).max(0.0).min(1.0))
        };
        let back = |l: usize| {
            let from = self.state[l - 1];
            let weights = Some(p.theta(l));
            let send = What::Send { projection: l - 1, weights, direction: Direction::Backward, from };
            op("relax", send, [moved(l, Expr::Slot(self.drive[l]) + arriving())])
        };
        let relax = std::iter::once(each("relax", 0, [moved(0, Expr::Slot(self.drive[0]))]));
        vec![(0..p.lmax() - 1).map(|l| self.driven(p, l)).collect(), relax.chain((1..p.lmax()).map(back)).collect()]
    }
}
