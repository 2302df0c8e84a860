//! Error-based predictive coding (Goemaere et al. 2026): the errors are the state, and the values are computed from them.
//!
//! ```text
//! e^l = 0;  then T times:   x^l = θ^{l+1} f(x^{l+1}) + e^l  from the input to the output,  μ^0 = θ^1 f(x^1)
//!                           δ^0 = s_out − μ^0,  δ^l = f′(x^l) ∘ (θ^lᵀ δ^{l−1})
//!                           e^l ← e^l + λ (δ^l − e^l)
//! then, with the x of the last e:   Δθ^{l+1} = α e^l f(x^{l+1})ᵀ,   Δθ^1 = α ε^0 f(x^1)ᵀ
//! ```
//!
//! λ is `--gamma`, T is `--steps`. The fixed points are those of IL, but the output's error reaches every layer in each step, and does
//! not fade with depth. The price is that of BP: δ travels back through all layers in one step, which is not local in time. With
//! T = 1, e^l is exactly λ δ^l, and θ^{lmax} next to the input learns exactly λ times what BP teaches it. `--energy-scale on`
//! therefore divides the weight changes from e^l by min(1, λT). Δθ^1 comes from ε^0, which λ does not scale, so it is not divided.
//! For small λT all layers then learn what BP teaches them.

use super::{Choice, Definition, Options, Values, prediction};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Moment, Op, Plan, Role, Stage, What};
use crate::rules::builder::{each, op};

pub(super) static EPC: Definition = Definition {
    name: "epc",
    title: "ePC",
    source: "Goemaere et al. 2026",
    takes: &["gamma", "steps"],
    rule_options: &[SCALE],
    gamma: 0.1,
    steps: |_| 5,
    convolutions: true,
    plan,
    ..Definition::PLAIN
};

const SCALE: Choice = Choice {
    name: "energy-scale",
    help: "divide changes of all layers but θ^1 by min(1, γ T), so that short inference does not mean small steps",
    values: Values::Names(&["off", "on"]),
    default: 0.0,
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let (lmax, steps) = (network.lmax(), options.steps(network));
    if steps == 0 {
        return Err(Error::usage("epc has no error before its first step, so --steps must be at least 1"));
    }
    let mut p = prediction(network, options);
    let lambda = Expr::Param(p.gamma);
    let delta: Vec<SlotId> = (0..lmax).map(|l| if l == 0 { p.eps(0) } else { p.units("delta", "δ", l) }).collect();
    let zero = |l: usize| each("begin", l, [(p.eps(l), Expr::Const(0.0))]);
    let mut start = vec![(1..lmax).map(zero).collect()];
    start.extend(p.errors([0]));
    p.learning(0, start);
    p.plan.set_role("eps", Role::Values);

    let mut body: Vec<Vec<Op>> = Vec::new();
    for l in 1..lmax {
        let weights = Some(p.theta(l));
        let back = What::Send { projection: l - 1, weights, direction: Direction::Backward, from: delta[l - 1] };
        body.push(vec![op("backprop", back, [(delta[l], p.slope(l) * arriving())])]);
    }
    let follow = |l: usize| {
        let e = Expr::Slot(p.eps(l));
        each("infer", l, [(p.eps(l), Expr::fma(lambda.clone(), Expr::Slot(delta[l]) - e.clone(), e))])
    };
    body.push((1..lmax).map(follow).collect());
    for l in (1..lmax).rev() {
        body.push(vec![p.predict(l)]);
        let x = Expr::Slot(p.mu(l)) + p.eps(l);
        body.push(vec![each("settle", l, [(p.x(l), x.clone()), (p.h(l), Expr::f(p.drive(l), x))])]);
    }
    body.push(vec![p.predict(0)]);
    p.refresh(0);
    body.extend(p.errors([0]));
    body.retain(|ops| !ops.is_empty());
    if lmax > 1 {
        p.plan.moments.push(Moment { stage: Stage::Learning(0), steps: body, times: steps as u32 });
    }

    let scale = (options.gamma() * steps as f64).min(1.0);
    if options.rule_option("energy-scale") == 1.0 && scale < 1e-30 {
        return Err(Error::usage(format!(
            "--energy-scale on divides by γ T, and γ T = {scale:e} is too small; choose a larger --gamma"
        )));
    }
    let scaled = options.rule_option("energy-scale") == 1.0;
    let mut learn = |l: usize| {
        // ε^0 has its full size from the first step on.
        let change = if scaled && l > 0 { arriving() * (1.0 / scale) } else { arriving() };
        let epilogue = p.descend(p.theta(l + 1), change);
        op("learn", What::OuterProduct { projection: l, post: p.eps(l), pre: p.h(l + 1) }, epilogue)
    };
    let learn = (0..lmax).map(&mut learn).collect();
    p.learning(steps, vec![learn]);
    Ok(p.plan)
}
