//! Relaxed predictive coding (Millidge, Tschantz, Seth & Buckley 2020): inference learning without three features that are
//! implausible in cortex. Each feature can be restored by an option.
//!
//! ```text
//! ε^l = x^l − Ξ^l μ^l                       --errors dense; x^l − μ^l with one-to-one
//! Δx^l = γ (−ε^l + g ∘ (Ψ^lᵀ ε^{l−1}))      g = 1 with --slope off, f′(x^l) with on
//! Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ
//! ΔΨ^{l+1} = α ε^l f(x^{l+1})ᵀ              --feedback learned; ΔΨ = 0 with fixed; Ψ = θ with exact
//! ΔΞ^l = α ε^l μ^lᵀ
//! ```
//!
//! Ψ^l starts uniform in ± √(6 / (n^{l−1} + n^l)). Ξ^l [n^l, n^l] starts as the magnitude of a normal variable of standard deviation
//! 0.05. With all three features restored (`--feedback exact --slope on --errors one-to-one`) the rule is IL in value
//! coordinates with the full schedule. Dense error nodes are not the default, because Ξ follows the gradient of ½ |x − Ξ μ|² and so
//! explains a part of the error that θ would have learned from.

use super::{Choice, Defaults, Definition, Loss, Options, Values, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Domain, Initial, Moment, Op, Plan, Stage, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static RPC: Definition = Definition {
    name: "rpc",
    title: "relaxed PC",
    source: "Millidge, Tschantz, Seth & Buckley 2020",
    takes: &["gamma", "steps"],
    rule_options: &[FEEDBACK, SLOPE, ERRORS],
    losses: &[Loss::Squared],
    gamma: 0.1,
    steps: |_| 20,
    plan,
    recommended: Defaults { hidden: &[256], activation: Activation::Relu, ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const FEEDBACK: Choice = Choice {
    name: "feedback",
    help: "feedback weights: learned, fixed, or θᵀ itself",
    values: Values::Names(&["learned", "fixed", "exact"]),
    default: 0.0,
};
const SLOPE: Choice = Choice {
    name: "slope",
    help: "whether inference multiplies the feedback by f′",
    values: Values::Names(&["off", "on"]),
    default: 0.0,
};
const ERRORS: Choice = Choice {
    name: "errors",
    help: "predictions that an error node receives: its own, or all of its layer over learned weights",
    values: Values::Names(&["one-to-one", "dense"]),
    default: 0.0,
};

/// The relaxed weights: Ψ^1 .., and Ξ^0 .. with their projections; Ξ is empty with one-to-one errors.
struct Relaxed {
    psi: Vec<SlotId>,
    xi: Vec<(usize, SlotId)>,
}

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let (lmax, steps) = (network.lmax(), options.steps(network));
    let mut p = prediction(network, options);
    let exact = options.rule_option("feedback") == 2.0;
    let psi = (1..lmax).map(|l| if exact { p.theta(l) } else { p.feedback(l, 1.0) }).collect();
    let dense = options.rule_option("errors") == 1.0;
    let xi = (0..if dense { lmax } else { 0 }).map(|l| error_connections(&mut p, l)).collect();
    let relaxed = Relaxed { psi, xi };
    let predict: Vec<Op> = (0..lmax).map(|l| p.predict(l)).collect();
    let errors: Vec<Op> = (0..lmax).map(|l| relaxed.error(&p, l)).collect();
    let infer: Vec<Op> = (1..lmax).map(|l| relaxed.infer(&mut p, l)).collect();
    if steps > 0 && lmax > 1 {
        let moment = vec![predict.clone(), errors.clone(), infer];
        p.plan.moments.push(Moment { stage: Stage::Learning(0), steps: moment, times: steps as u32 });
    }
    let mut learn: Vec<Op> = (0..lmax).map(|l| relaxed.learn(&mut p, l)).collect();
    for (l, &(projection, xi)) in relaxed.xi.iter().enumerate() {
        let change = What::OuterProduct { projection, post: p.eps(l), pre: p.mu(l) };
        let epilogue = p.descend(xi, arriving());
        learn.push(op("learn", change, epilogue));
    }
    p.learning(steps, vec![predict, errors, learn]);
    Ok(p.plan)
}

/// Ξ^l [n^l, n^l], from every μ^l to every ε^l.
fn error_connections(p: &mut Chain, l: usize) -> (usize, SlotId) {
    let projection = p.plan.project(format!("errors of layer {l}"), l, l, Connection::Dense { bias: false });
    let start = Initial::Magnitude { sd: 0.05, index: (1 << 32) + l as u64 };
    (projection, p.plan.keep("xi", format!("Ξ^{l}"), Domain::Connections(projection), start))
}

impl Relaxed {
    fn error(&self, p: &Chain, l: usize) -> Op {
        let (eps, x) = (p.eps(l), Expr::Slot(p.x(l)));
        match self.xi.get(l) {
            Some(&(projection, xi)) => {
                let send = What::Send { projection, weights: Some(xi), direction: Direction::Forward, from: p.mu(l) };
                op("error", send, [(eps, x - arriving())])
            }
            None => each("error", l, [(eps, x - Expr::Stored(p.mu(l)))]),
        }
    }

    fn infer(&self, p: &mut Chain, l: usize) -> Op {
        let slope = if p.options.rule_option("slope") == 1.0 { p.slope(l) } else { Expr::Const(1.0) };
        let toward = Expr::fma(slope, arriving(), -Expr::Slot(p.eps(l)));
        p.step_by(l, self.psi[l - 1], Expr::Param(p.gamma) * toward)
    }

    /// The op by which θ^{l+1} learns, and Ψ^{l+1} with it.
    fn learn(&self, p: &mut Chain, l: usize) -> Op {
        let mut learn = p.learn(l);
        if let (Some(&psi), 0.0) = (self.psi.get(l), p.options.rule_option("feedback")) {
            let epilogue = p.descend(psi, arriving());
            learn.epilogue.extend(epilogue.into_iter().map(|(to, expr)| crate::plan::Assign { to, expr }));
        }
        learn
    }
}
