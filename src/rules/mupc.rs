//! μPC (Innocenti et al., NeurIPS 2025): predictive coding of residual chains of a hundred layers. The scaling factors a keep the
//! values from growing with width N or depth L (= lmax).
//!
//! ```text
//! μ^l = a^{l+1} (θ^{l+1} f(x^{l+1}) + b^{l+1})  + x^{l+1}  where layers l and l+1 are hidden and of one width
//! x^l ← x^l + (γ / B) (−ε^l + a^l f′(x^l) ∘ (θ^lᵀ ε^{l−1})  + ε^{l−1}  where layers l and l−1 are)
//! Δθ^{l+1} = α a^{l+1} ε^l f(x^{l+1})ᵀ
//! a = 1/√D next to the input of D pixels,  1/N next to the output,  else 1/√(N L)
//! ```
//!
//! θ is drawn from N(0, 1), the default of `--init` for this rule. The authors average the energy over the mini-batch
//! of size B, so the step size of the values x is γ / B. `--mean` averages the weight update. The default of `--steps`
//! is L.

use super::{Defaults, Definition, Options};
use crate::error::Result;
use crate::network::{Init, Network};
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Moment, Op, Plan, Stage, Value, What};
use crate::rules::builder::{Chain, op};

pub(super) static MUPC: Definition = Definition {
    name: "mupc",
    title: "μPC",
    source: "Innocenti et al. 2025",
    takes: &["gamma", "steps"],
    own_network: true,
    init: Init::Normal,
    gamma: 0.5,
    plan,
    recommended: Defaults { init: Init::Normal, lr: 0.1, ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let (lmax, steps) = (network.lmax(), options.steps(network));
    let mut c = Residual::new(network, options);
    for l in (0..lmax).rev() {
        let (skip, predict) = c.predict(l);
        let mut pass = vec![skip, vec![predict]];
        if l > 0 {
            pass.push(vec![c.p.settle(l)]);
        }
        c.p.plan.moment(Stage::Prediction, pass);
    }
    let errors = c.p.errors(0..lmax);
    c.p.learning(0, errors);
    if steps > 0 && lmax > 1 {
        let mut body = c.infer();
        // The layer next to the input keeps its prediction, because the input is clamped.
        let (mut skips, mut predictions) = (Vec::new(), Vec::new());
        for l in 0..lmax - 1 {
            let (skip, predict) = c.predict(l);
            skips.extend(skip);
            predictions.push(predict);
        }
        body.extend([skips, predictions]);
        body.extend(c.p.errors(0..lmax));
        body.retain(|ops| !ops.is_empty());
        c.p.plan.moments.push(Moment { stage: Stage::Learning(0), steps: body, times: steps as u32 });
    }
    let learn = (0..lmax).map(|l| c.learn(l)).collect();
    c.p.learning(steps, vec![learn]);
    Ok(c.p.plan)
}

/// A residual chain under construction.
struct Residual {
    p: Chain,
    /// a^1, a^2, …
    size: Vec<f64>,
    /// By l: the identity projection from layer l+1 to layer l, if there is a skip.
    skip: Vec<Option<usize>>,
}

impl Residual {
    fn new(network: &Network, options: &Options) -> Residual {
        let (lmax, n) = (network.lmax(), |l: usize| network.n(l) as f64);
        let mut p = Chain::new(network, options);
        let size = |l: usize| match l {
            _ if l == lmax => 1.0 / n(lmax).sqrt(),
            1 => 1.0 / n(1),
            _ => 1.0 / (n(l) * lmax as f64).sqrt(),
        };
        let skip = (0..lmax).map(|l| {
            let same = l >= 1 && l + 1 < lmax && network.n(l) == network.n(l + 1);
            same.then(|| p.plan.project(format!("layer {} as it is", l + 1), l + 1, l, Connection::Identity))
        });
        let skip = skip.collect();
        Residual { p, size: (1..=lmax).map(size).collect(), skip }
    }

    /// The op that computes a skip connection, and the slot of its result in the target layer `l`.
    fn over_skip(&mut self, projection: usize, direction: Direction, from: SlotId, l: usize) -> (SlotId, Op) {
        // A backward op is part of inference, and is named accordingly.
        let (name, slot) = match direction {
            Direction::Forward => ("skip", "skipped"),
            Direction::Backward => ("infer", "returned"),
        };
        let to = self.p.units(slot, slot, l);
        let what = What::Send { projection, weights: None, direction, from };
        (to, op(name, what, [(to, arriving())]))
    }

    /// The ops that compute μ^l: the skip, if there is one, and then the prediction.
    fn predict(&mut self, l: usize) -> (Vec<Op>, Op) {
        let mut predict = self.p.predict(l);
        let scaled = Expr::Const(self.size[l]) * arriving();
        let Some(projection) = self.skip[l] else {
            predict.epilogue[0].expr = scaled;
            return (Vec::new(), predict);
        };
        let (skipped, skip) = self.over_skip(projection, Direction::Forward, self.p.x(l + 1), l);
        predict.epilogue[0].expr = scaled + skipped;
        (vec![skip], predict)
    }

    /// The two steps that update x of every hidden layer.
    fn infer(&mut self) -> Vec<Vec<Op>> {
        let rate = self.p.plan.param("1/B", Value::Share);
        let (mut skips, mut moves) = (Vec::new(), Vec::new());
        for l in 1..self.p.lmax() {
            let pull = Expr::Const(self.size[l - 1]) * (self.p.slope(l) * arriving()) - self.p.eps(l);
            let pull = match self.skip[l - 1] {
                None => pull,
                Some(projection) => {
                    let from = self.p.eps(l - 1);
                    let (returned, skip) = self.over_skip(projection, Direction::Backward, from, l);
                    skips.push(skip);
                    pull + returned
                }
            };
            let back = self.p.backward(l, self.p.theta(l));
            moves.push(self.p.move_by(l, back, (Expr::Param(self.p.gamma) * rate) * pull));
        }
        vec![skips, moves]
    }

    fn learn(&mut self, l: usize) -> Op {
        let change = Expr::Const(self.size[l]) * arriving();
        let epilogue = self.p.descend(self.p.theta(l + 1), change);
        op("learn", What::OuterProduct { projection: l, post: self.p.eps(l), pre: self.p.h(l + 1) }, epilogue)
    }
}
