//! A rule of three local terms (Shervani-Tabar & Rosenbaum, Nature Communications 2023): errors travel over fixed random weights, as
//! in feedback alignment, and a search finds the coefficients of the terms that change a synapse.
//!
//! ```text
//! ε^0 = s_out − μ^0,   ε^l = f′(x^l) ∘ (B^lᵀ ε^{l−1})
//! Δθ^{l+1} = α (c0 ε^l h^{l+1}ᵀ − c2 ε^l ε^{l+1}ᵀ + c9 h^l (h^{l+1} − θ^{l+1}ᵀ h^l)ᵀ)
//! ```
//!
//! c0 = `--gradient`, c2 = `--error-error`, c9 = `--oja`: the three of ten terms that the published search keeps. With 1, 0, 0 the
//! rule is feedback alignment, to the bit. The term of c2 needs an error of the sending layer, so θ^{lmax} omits it. The output
//! layer omits the term of c9. Biases learn from the term of c0 alone.

use super::hebb::residual;
use super::{Choice, Defaults, Definition, FEEDBACK_SCALE, Options, Values, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::expr::{Expr, arriving};
use crate::plan::{Domain, Op, Plan, What};
use crate::rules::builder::op;

pub(super) static LOCAL: Definition = Definition {
    name: "local",
    title: "Three local terms",
    source: "Shervani-Tabar & Rosenbaum 2023",
    rule_options: &[C0, C2, C9, FEEDBACK_SCALE],
    plan,
    recommended: Defaults { rule_options: &[("oja", 0.001)], ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const C0: Choice = Choice {
    name: "gradient",
    help: "coefficient of error times activity",
    values: Values::Number(-1e3, 1e3),
    default: 1.0,
};

const C2: Choice = Choice {
    name: "error-error",
    help: "coefficient of error times error",
    values: Values::Number(-1e3, 1e3),
    default: 0.0,
};

const C9: Choice =
    Choice { name: "oja", help: "coefficient of Oja's rule", values: Values::Number(-1e3, 1e3), default: 0.0 };

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = prediction(network, options);
    let (c0, c2, c9) =
        (options.rule_option("gradient"), options.rule_option("error-error"), options.rule_option("oja"));
    let errors = p.errors([0]);
    p.learning(0, errors);
    for l in 1..network.lmax() {
        let b = p.feedback(l, options.rule_option("feedback-scale"));
        let back = p.backprop_through(l, b);
        p.learning(l, vec![vec![back]]);
    }
    let mut steps: Vec<Vec<Op>> = vec![Vec::new(); 4];
    for l in 0..network.lmax() {
        let errors_meet = c2 != 0.0 && l + 1 < network.lmax();
        let oja = c9 != 0.0 && l > 0;
        let first = if c0 == 1.0 { arriving() } else { Expr::Const(c0) * arriving() };
        let change = What::OuterProduct { projection: l, post: p.eps(l), pre: p.h(l + 1) };
        if !errors_meet && !oja {
            let epilogue = p.descend(p.theta(l + 1), first);
            steps[3].push(op("learn", change, epilogue));
            continue;
        }
        // The terms are summed in a slot; the last op adds its term and applies the sum.
        let sum = p.plan.declare("change", format!("Δθ^{}", l + 1), Domain::Connections(l));
        steps[1].push(op("gather", change, [(sum, first)]));
        let gather = |c: f64| Expr::Weight.select(Expr::Slot(sum) + Expr::Const(c) * arriving(), sum);
        if errors_meet {
            let change = What::OuterProduct { projection: l, post: p.eps(l), pre: p.eps(l + 1) };
            steps[2].push(op("gather", change, [(sum, gather(-c2))]));
        }
        let op = if oja {
            let rest = residual(&mut p, l, &mut steps);
            let epilogue = p.descend(p.theta(l + 1), gather(c9));
            op("learn", What::OuterProduct { projection: l, post: p.h(l), pre: rest }, epilogue)
        } else {
            let epilogue = p.descend(p.theta(l + 1), sum.into());
            op("learn", What::Map(Domain::Connections(l)), epilogue)
        };
        steps[3].push(op);
    }
    p.learning(network.lmax(), steps);
    Ok(p.plan)
}
