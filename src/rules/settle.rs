//! How value nodes settle before weights learn, or while they learn: the options of `il` and `ipc` beyond Algorithm 1 of Song
//! et al. (2020).
//!
//! ```text
//! t = 0:        x^l = μ^l (forward pass),  u = μ^0,  v^l = 0,  γ_0 = γ
//! at moment t:  ε^l_t = x^l_t − μ^l_t,  ε^0_t = s − μ^0_t,  E_t = ½ Σ_batch Σ_l |ε^l_t|²
//!               v^l ← m v^l − ε^l_t + back^l_t,   x^l_{t+1} = x^l_t + γ_t v^l
//!               γ_{t+1} = γ_t where E_t < E_{t−1}, else d γ_t
//! ```
//!
//! * `--discount d`: γ_t is one rate for the whole mini-batch, multiplied by d whenever the energy does not fall (Song et al. 2024).
//! * `--nodes post`: value nodes after f (Pinchetti et al. 2025), μ^l = f(a^l), a^l = θ^{l+1} x^{l+1} + b^{l+1} on hidden layers;
//!   back^l = θ^lᵀ (f′(a^{l−1}) ∘ ε^{l−1}), Δθ^{l+1} = α (f′(a^l) ∘ ε^l) x^{l+1}ᵀ. Before f, as in Song et al., it is
//!   back^l = f′(x^l) ∘ (θ^lᵀ ε^{l−1}), Δθ^{l+1} = α ε^l f(x^{l+1})ᵀ. These are different energies.
//! * `--node-momentum m`.
//! * `--nudging`: the output is clamped not to the target but near its prediction, s = u + β (target − u), and weight changes are
//!   divided by β. Positive nudging has β > 0, negative nudging β < 0; centred nudging alternates between both per epoch (Pinchetti
//!   et al. 2025).
//!
//! `il` learns only at the last moment, after `--steps` steps of x. (Song et al. 2024 count T moments and learn at the T-th: T − 1
//! steps.)

use super::{Choice, Loss, Options, Schedule, Values, prediction};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::expr::{Expr, ParamId, SlotId, arriving};
use crate::plan::{Direction, Domain, Moment, Op, Plan, Reduction, Stage, Value, What};
use crate::rules::builder::{Chain, each, op};

pub(super) const OPTIONS: &[Choice] = &[
    Choice {
        name: "discount",
        help: "factor of γ whenever the energy of the batch does not fall",
        values: Values::Number(1e-6, 1.0),
        default: 1.0,
    },
    Choice {
        name: "nodes",
        help: "whether value nodes hold values before f or after it",
        values: Values::Names(&["pre", "post"]),
        default: 0.0,
    },
    Choice {
        name: "node-momentum",
        help: "momentum of value nodes: the fraction of the last step that is kept",
        values: Values::Number(0.0, 0.999),
        default: 0.0,
    },
    Choice {
        name: "nudging",
        help: "whether the output is clamped to the target (off), or nudged towards it, away from it, or both in alternate epochs",
        values: Values::Names(&["off", "positive", "negative", "centred"]),
        default: 0.0,
    },
    Choice {
        name: "nudge",
        help: "size β of the nudge in the first epoch",
        values: Values::Number(1e-6, 1.0),
        default: 0.5,
    },
    Choice {
        name: "nudge-step",
        help: "increment of β per epoch, up to 1",
        values: Values::Number(0.0, 1.0),
        default: 0.0,
    },
];

/// The moments at which weights learn.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Learning {
    /// At the last moment.
    Last,
    /// At every moment, from the same state as the values.
    Every,
}

/// The steps that contain ops.
fn filled(mut steps: Vec<Vec<Op>>) -> Vec<Vec<Op>> {
    steps.retain(|ops| !ops.is_empty());
    steps
}

fn sum(from: SlotId, how: Reduction, to: SlotId) -> Op {
    op("energy", What::Reduce { from, how }, [(to, arriving())])
}

/// The number of layers whose energies one op sums.
const SUMMED: usize = 8;

/// The initial value of the previous energy: larger than the energy of any mini-batch.
const HIGHEST: f64 = 3e38;

pub(super) fn plan(network: &Network, options: &Options, learning: Learning) -> Result<Plan> {
    check(network, options)?;
    let (lmax, steps) = (network.lmax(), options.steps(network));
    let every = learning == Learning::Every;
    let mut s = Settling::new(prediction(network, options));
    // Unless weights move meanwhile, the prediction from the input need not be computed again.
    let predicted = if every { lmax } else { lmax - 1 };
    let moves = if predicted == 0 { 0 } else { steps - usize::from(every) };
    let mut first = s.begin();
    if moves > 0 {
        first.extend(s.go(every));
        s.p.learning(0, first);
        if moves > 1 {
            let body = [s.advance(predicted), s.go(every)].concat();
            s.p.plan.moments.push(Moment { stage: Stage::Learning(1), steps: body, times: moves as u32 - 1 });
        }
        first = s.advance(predicted);
    }
    first.push(if every { s.p.count() } else { Vec::new() });
    first.push((0..lmax).map(|l| s.learn(l)).collect());
    s.p.learning(moves, first);
    Ok(s.p.plan)
}

fn check(network: &Network, options: &Options) -> Result<()> {
    let crossed = options.loss == Loss::CrossEntropy;
    if crossed && options.rule_option("nudging") != 0.0 {
        return Err(Error::usage("--nudging interpolates between prediction and target, which needs --loss squared"));
    }
    if crossed && options.rule_option("discount") != 1.0 {
        return Err(Error::usage("--discount compares energies ½ Σ ε², which needs --loss squared"));
    }
    let wide = network.graph().is_some_and(|graph| (0..graph.lmax()).any(|l| graph.level(l).len() > 1));
    if wide && options.rule_option("discount") != 1.0 {
        return Err(Error::usage(
            "--discount sums the energy layer by layer, and does not support networks with skips yet: leave --discount out, or \
             choose --layers without skips",
        ));
    }
    for (name, default) in [("nudge", 0.5), ("nudge-step", 0.0)] {
        if options.rule_option("nudging") == 0.0 && options.rule_option(name) != default {
            return Err(Error::usage(format!(
                "--{name} is for --nudging positive, negative or centred; add one, or leave it out"
            )));
        }
    }
    if options.rule.takes("schedule") && options.schedule == Some(Schedule::Frontier) {
        return Err(Error::usage(
            "the frontier schedule skips what plain il does not need, but --discount, --nodes, --node-momentum and --nudging need every \
             layer: leave --schedule out",
        ));
    }
    Ok(())
}

/// A plan under construction.
struct Settling {
    p: Chain,
    /// v^l of hidden layers; empty without momentum.
    velocity: Vec<SlotId>,
    /// f′ ∘ ε of hidden layers; empty unless value nodes come after f.
    delta: Vec<SlotId>,
    /// β and 1 / β.
    nudge: Option<[ParamId; 2]>,
    energy: Option<Energy>,
}

/// The slots that track the energy of the mini-batch.
struct Energy {
    /// |ε^l|² per sample, by layer.
    parts: Vec<SlotId>,
    /// Their sum per sample, the energy of the mini-batch, and that energy one moment before.
    sample: SlotId,
    now: SlotId,
    last: SlotId,
    /// γ_t
    rate: SlotId,
}

impl Settling {
    fn new(mut p: Chain) -> Settling {
        let (lmax, options) = (p.lmax(), p.options.clone());
        let hidden = 1..lmax;
        let velocity = match options.rule_option("node-momentum") {
            0.0 => Vec::new(),
            _ => hidden.clone().map(|l| p.units("velocity", "v", l)).collect(),
        };
        let delta = match p.after() {
            false => Vec::new(),
            true => hidden.map(|l| p.units("delta", "f′ε", l)).collect(),
        };
        let sign = [None, Some(1), Some(-1), Some(0)][options.rule_option("nudging") as usize];
        let nudge = sign.map(|sign| {
            let (size, step) = (options.rule_option("nudge"), options.rule_option("nudge-step"));
            let beta = p.plan.param("β", Value::Nudge { size, step, sign });
            [beta, p.plan.param("1/β", Value::PerNudge { size, step, sign })]
        });
        let energy = (options.rule_option("discount") != 1.0).then(|| {
            let mut one =
                |name: &'static str, symbol: &str| p.plan.declare(name, symbol.into(), Domain::BatchScalar(0));
            let (now, last, rate) = (one("energy", "E"), one("energy_before", "E before"), one("rate", "γ_t"));
            Energy {
                parts: (0..lmax).map(|l| p.sample("squares", l)).collect(),
                sample: p.sample("energy_sample", 0),
                now,
                last,
                rate,
            }
        });
        Settling { p, velocity, delta, nudge, energy }
    }

    /// What layer l sends back to layer l+1: ε^l, or f′ ∘ ε^l.
    fn sent(&self, l: usize) -> SlotId {
        if l == 0 { self.p.eps(0) } else { self.delta.get(l - 1).copied().unwrap_or_else(|| self.p.eps(l)) }
    }

    /// The steps of moment 0 before anything moves.
    fn begin(&mut self) -> Vec<Vec<Op>> {
        let mut still: Vec<Op> =
            self.velocity.iter().enumerate().map(|(i, v)| each("begin", i + 1, [(*v, Expr::Const(0.0))])).collect();
        if let Some([beta, _]) = self.nudge {
            let goal = self.p.units("goal", "s", 0);
            let (target, u) = (Expr::Slot(self.p.x(0)), Expr::Slot(self.p.mu(0)));
            still.push(each("nudge", 0, [(goal, Expr::fma(beta, target - u.clone(), u))]));
            self.p.aim(goal);
        }
        if let Some(Energy { last, rate, .. }) = self.energy {
            let epilogue = [(last, Expr::Const(HIGHEST)), (rate, Expr::Param(self.p.gamma))];
            still.push(op("begin", What::Map(Domain::BatchScalar(0)), epilogue));
        }
        let mut steps = vec![still];
        if self.p.options.sigma != 0.0 {
            // The noise moved x, so the predictions of the forward pass no longer hold.
            steps.push((0..self.p.lmax() - 1).map(|l| self.p.predict(l)).collect());
        }
        steps.extend(self.errors(self.p.lmax()));
        filled(steps)
    }

    /// ε of every layer and what is computed from it. Layers below `predicted` have a new μ.
    fn errors(&mut self, predicted: usize) -> Vec<Vec<Op>> {
        let lmax = self.p.lmax();
        let mut steps = self.p.errors(0..predicted);
        for l in predicted..lmax {
            let moved = self.p.error_of_moved(l);
            steps.last_mut().into_iter().for_each(|last| last.push(moved.clone()));
        }
        let mut derived = Vec::new();
        for l in 0..lmax {
            let eps = Expr::Slot(self.p.eps(l));
            if let Some(&delta) = l.checked_sub(1).and_then(|i| self.delta.get(i)) {
                derived.push(each("error", l, [(delta, Expr::Slot(self.p.bend(l)) * eps)]));
            }
        }
        if let Some(Energy { parts, .. }) = &self.energy {
            derived.extend(parts.iter().enumerate().map(|(l, to)| sum(self.p.eps(l), Reduction::Squares, *to)));
        }
        steps.push(derived);
        if let Some(Energy { parts, sample, now, .. }) = &self.energy {
            // An op may read only a limited number of slots, so the sum is taken in pieces.
            for (i, few) in parts.chunks(SUMMED).enumerate() {
                let (first, rest) = if i == 0 { (few[0], &few[1..]) } else { (*sample, few) };
                let all = rest.iter().fold(Expr::Slot(first), |all, part| all + *part);
                steps.push(vec![op("energy", What::Map(Domain::Samples(0)), [(*sample, all)])]);
            }
            steps.push(vec![sum(*sample, Reduction::Sum, *now)]);
        }
        steps.retain(|ops| !ops.is_empty());
        steps
    }

    /// The steps that move the values, and with `learn` also the weights.
    fn go(&mut self, learn: bool) -> Vec<Vec<Op>> {
        let lmax = self.p.lmax();
        // With momentum there are two steps, because of the limit on the buffers of a GPU dispatch.
        let mut first: Vec<Op> = (1..lmax).filter_map(|l| self.pull(l)).collect();
        let mut now: Vec<Op> = (1..lmax).map(|l| self.infer(l)).collect();
        if let Some(Energy { now: e, last, rate, .. }) = self.energy {
            let slower = Expr::Slot(rate) * Expr::Const(self.p.options.rule_option("discount"));
            let epilogue = [(rate, Expr::Slot(e).less(last).select(rate, slower)), (last, e.into())];
            now.push(op("slow down", What::Map(Domain::BatchScalar(0)), epilogue));
        }
        let count = if learn { self.p.count() } else { Vec::new() };
        let learns: Vec<Op> = if learn { (0..lmax).map(|l| self.learn(l)).collect() } else { Vec::new() };
        if first.is_empty() {
            now.extend(learns);
        } else {
            first.extend(learns);
        }
        filled(vec![count, first, now])
    }

    /// The next μ of the layers below `predicted`, and every ε.
    fn advance(&mut self, predicted: usize) -> Vec<Vec<Op>> {
        let mut steps = vec![(0..predicted).map(|l| self.p.predict(l)).collect()];
        steps.extend(self.errors(predicted));
        filled(steps)
    }

    /// The force on layer l without momentum: the op that brings the feedback, and the expression.
    fn force(&self, l: usize) -> (What, Expr) {
        let minus = -Expr::Slot(self.p.eps(l));
        let force = if self.p.after() { arriving() + minus } else { Expr::fma(self.p.slope(l), arriving(), minus) };
        let weights = Some(self.p.theta(l));
        (What::Send { projection: l - 1, weights, direction: Direction::Backward, from: self.sent(l - 1) }, force)
    }

    /// v^l ← m v^l + force
    fn pull(&self, l: usize) -> Option<Op> {
        let v = *self.velocity.get(l - 1)?;
        let (back, force) = self.force(l);
        Some(op("pull", back, [(v, Expr::fma(self.p.options.rule_option("node-momentum"), v, force))]))
    }

    fn infer(&mut self, l: usize) -> Op {
        let rate = self.energy.as_ref().map_or(Expr::Param(self.p.gamma), |energy| Expr::Slot(energy.rate));
        let (what, force) = match self.velocity.get(l - 1) {
            Some(v) => (What::Map(Domain::Units(l)), Expr::Slot(*v)),
            None => self.force(l),
        };
        self.p.move_by(l, what, rate * force)
    }

    fn learn(&mut self, l: usize) -> Op {
        let change = self.nudge.map_or(arriving(), |[_, per]| arriving() * per);
        let epilogue = self.p.descend(self.p.theta(l + 1), change);
        op("learn", What::OuterProduct { projection: l, post: self.sent(l), pre: self.p.h(l + 1) }, epilogue)
    }
}
