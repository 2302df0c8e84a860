//! Difference target propagation (Lee, Zhang, Fischer & Bengio, ECML 2015): targets instead of errors travel back, through a
//! network G that learns to invert the forward network; the reconstruction error of G is subtracted.
//!
//! ```text
//! ĥ^1 = h^1 + η θ^1ᵀ ε^0                              η = --target-rate, ε^0 = s_out − μ^0
//! ĥ^{l+1} = (h^{l+1} − G(h^l)) + G(ĥ^l)                G(a) = f(V^{l+1} a + c^{l+1})
//! Δθ^{l+1} = α (f′(x^l) ∘ (ĥ^l − h^l)) h^{l+1}ᵀ         Δθ^1 = α ε^0 h^1ᵀ
//! ΔV^{l+1} = α_V (f′ ∘ (h̃ − G(F̃))) F̃ᵀ                  h̃ = h^{l+1} + ξ, F̃ = f(θ^{l+1} h̃ + b^l)
//! ```
//!
//! α_V = α · `--inverse-lr`, and ξ has standard deviation `--noise`. With `--inverse difference` V follows the loss of Ernoult et al.
//! (ICML 2022), −2 ⟨ξ, G(F(h + ξ)) − G(F(h))⟩ + |G(F(h) + ζ) − G(F(h))|², halved, where ζ is noise with the same standard deviation.
//! This turns the Jacobian of G into the transpose of F's, so that the updates approach BP's. V and θ learn in the same update; the published code alternates epochs.

use super::{Choice, Defaults, Definition, Options, Values, prediction};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::activation::Activation;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Domain, Draw, Initial, Op, Plan, Value, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static DTP: Definition = Definition {
    name: "dtp",
    title: "Difference target propagation",
    source: "Lee, Zhang, Fischer & Bengio 2015",
    rule_options: &[INVERSE, TARGET_RATE, INVERSE_LR, NOISE],
    plan,
    recommended: Defaults { rule_options: &[("inverse", 1.0), ("inverse-lr", 1.0)], ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

const INVERSE: Choice = Choice {
    name: "inverse",
    help: "loss of the inverse network: reconstruction, or differences (Ernoult et al. 2022)",
    values: Values::Names(&["reconstruction", "difference"]),
    default: 0.0,
};

const TARGET_RATE: Choice = Choice {
    name: "target-rate",
    help: "step size η of the first target down the gradient of the loss",
    values: Values::Number(0.0, 1e3),
    default: 0.33,
};

const INVERSE_LR: Choice = Choice {
    name: "inverse-lr",
    help: "learning rate of the inverse network, as a multiple of --lr",
    values: Values::Number(0.0, 1e3),
    default: 0.3,
};

const NOISE: Choice = Choice {
    name: "noise",
    help: "standard deviation of the noise from which the inverse network learns",
    values: Values::Number(0.0, 1e3),
    default: 0.36,
};

/// G^{l+1}, the inverse from layer l to layer l+1.
#[derive(Clone, Copy)]
struct Inverse {
    /// The projection, from layer l to layer l+1.
    projection: usize,
    v: SlotId,
    l: usize,
}

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    if network.activation == Activation::Gelu {
        return Err(Error::usage(
            "dtp computes f′ from f(x), which is not possible for gelu; choose another --activation",
        ));
    }
    let mut p = prediction(network, options);
    let inverses: Vec<Inverse> = (1..network.lmax() - 1).map(|l| inverse(&mut p, network, l)).collect();
    let targets: Vec<SlotId> = (0..network.lmax()).map(|l| p.units("target", "ĥ", l)).collect();
    let errors = p.errors([0]);
    p.learning(0, errors);
    if network.lmax() > 1 {
        let rate = options.rule_option("target-rate");
        let first = Expr::Slot(p.h(1)) + Expr::Const(rate) * arriving();
        let send =
            What::Send { projection: 0, weights: Some(p.theta(1)), direction: Direction::Backward, from: p.eps(0) };
        p.learning(1, vec![vec![op("target", send, [(targets[1], first)])]]);
    }
    for g in &inverses {
        let l = g.l;
        let (here, there) = (p.units("inverse", "G(h)", l + 1), p.units("inverse_target", "G(ĥ)", l + 1));
        let back = vec![g.back(&p, p.h(l), here), g.back(&p, targets[l], there)];
        let difference = (Expr::Slot(p.h(l + 1)) - here) + there;
        p.learning(l + 1, vec![back, vec![each("target", l + 1, [(targets[l + 1], difference)])]]);
    }
    let mut learn = vec![p.learn(0)];
    let mut errors = Vec::new();
    for (l, target) in targets.iter().enumerate().skip(1) {
        let error = p.slope(l) * (Expr::Slot(*target) - p.h(l));
        errors.push(each("error", l, [(p.eps(l), error)]));
        learn.push(p.learn(l));
    }
    let mut steps = vec![errors];
    let difference = options.rule_option("inverse") as usize == 1;
    let mut teach = Vec::new();
    for g in &inverses {
        let (before, last) = if difference { g.differences(&mut p) } else { g.reconstruct(&mut p) };
        for (k, ops) in before.into_iter().enumerate() {
            steps.resize(steps.len().max(k + 2), Vec::new());
            steps[k + 1].extend(ops);
        }
        teach.push(last);
    }
    steps.push(learn.into_iter().chain(teach).collect());
    p.learning(network.lmax(), steps);
    Ok(p.plan)
}

fn inverse(p: &mut Chain, network: &Network, l: usize) -> Inverse {
    let kind = Connection::Dense { bias: true };
    let projection = p.plan.project(format!("layer {l} back to {}", l + 1), l, l + 1, kind);
    let bound = (6.0 / (network.n(l) + network.n(l + 1)) as f64).sqrt();
    let start = Initial::Uniform { bound, index: 2000 + l as u64 };
    let v = p.plan.keep("inverse_weights", format!("V^{}", l + 1), Domain::Connections(projection), start);
    Inverse { projection, v, l }
}

impl Inverse {
    /// `to` ← f(V a + c)
    fn back(&self, p: &Chain, a: SlotId, to: SlotId) -> Op {
        let send =
            What::Send { projection: self.projection, weights: Some(self.v), direction: Direction::Forward, from: a };
        op("invert", send, [(to, Expr::f(p.drive(self.l + 1), arriving()))])
    }

    /// `to` ← f(θ^{l+1} a + b^l)
    fn forth(&self, p: &Chain, a: SlotId, to: SlotId) -> Op {
        let weights = Some(p.theta(self.l + 1));
        let send = What::Send { projection: self.l, weights, direction: Direction::Forward, from: a };
        op("retrace", send, [(to, Expr::f(p.drive(self.l), arriving()))])
    }

    fn draw(stream: u32, to: SlotId) -> Op {
        op("draw", What::Draw(Draw::Bell { stream }), [(to, arriving())])
    }

    /// The epilogue by which V learns, at its own learning rate.
    fn follow(&self, p: &mut Chain, change: Expr) -> Vec<(SlotId, Expr)> {
        let factor = p.options.rule_option("inverse-lr");
        let alpha = p.plan.param("α of V", Value::Scaled(factor));
        p.descend_at(alpha, self.v, change)
    }

    /// V learns to reconstruct; returns the steps before, and the last op.
    fn reconstruct(&self, p: &mut Chain) -> (Vec<Vec<Op>>, Op) {
        let (l, above) = (self.l, self.l + 1);
        let noise = Expr::Const(p.options.rule_option("noise"));
        let (xi, noisy) = (p.units("noise", "ξ", above), p.units("noisy", "h̃", above));
        let (forth, back) = (p.units("retraced", "F̃", l), p.units("reconstruction", "G(F̃)", above));
        let wrong = p.units("inverse_error", "ε of V", above);
        let moved = Expr::Slot(p.h(above)) + noise * xi;
        let error = Expr::slope(p.drive(above), back, back) * (Expr::Slot(noisy) - back);
        let steps = vec![
            vec![Self::draw(above as u32, xi)],
            vec![each("noise", above, [(noisy, moved)])],
            vec![self.forth(p, noisy, forth)],
            vec![self.back(p, forth, back)],
            vec![each("error", above, [(wrong, error)])],
        ];
        let what = What::OuterProduct { projection: self.projection, post: wrong, pre: forth };
        (steps, op("learn", what, self.follow(p, arriving())))
    }

    /// V learns the transpose of F's Jacobian; returns the steps before, and the last op.
    fn differences(&self, p: &mut Chain) -> (Vec<Vec<Op>>, Op) {
        let (l, above) = (self.l, self.l + 1);
        let noise = Expr::Const(p.options.rule_option("noise"));
        let [xi, noisy, g0, g1, g2, post0, post1, post2] =
            ["noise", "noisy", "g_rest", "g_above", "g_below", "post_rest", "post_above", "post_below"]
                .map(|name| p.units(name, name, above));
        let [eta, f1, f2] = ["noise_below", "f_above", "f_below"].map(|name| p.units(name, name, l));
        let f0 = p.h(l);
        let shift = |g: SlotId| Expr::Slot(g) - g0;
        let slope = |g: SlotId, p: &Chain| Expr::slope(p.drive(above), g, g);
        let sized = noise.clone() * xi;
        let steps = vec![
            vec![Self::draw(above as u32, xi), Self::draw(1000 + l as u32, eta)],
            vec![
                each("noise", above, [(noisy, Expr::Slot(p.h(above)) + sized.clone())]),
                each("noise", l, [(f2, Expr::Slot(f0) + noise * eta)]),
            ],
            vec![self.forth(p, noisy, f1), self.back(p, f0, g0), self.back(p, f2, g2)],
            vec![self.back(p, f1, g1)],
            vec![each(
                "error",
                above,
                [
                    (post1, sized.clone() * slope(g1, p)),
                    (post0, (shift(g2) - sized) * slope(g0, p)),
                    (post2, -shift(g2) * slope(g2, p)),
                ],
            )],
        ];
        let sum = p.plan.declare("inverse_change", format!("ΔV^{above}"), Domain::Connections(self.projection));
        let change = |post, pre| What::OuterProduct { projection: self.projection, post, pre };
        let mut steps = steps;
        steps.push(vec![op("gather", change(post1, f1), [(sum, arriving())])]);
        steps.push(vec![op("gather", change(post0, f0), [(sum, Expr::Slot(sum) + arriving())])]);
        let epilogue = self.follow(p, Expr::Slot(sum) + arriving());
        (steps, op("learn", change(post2, f2), epilogue))
    }
}
