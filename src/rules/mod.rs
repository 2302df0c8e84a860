//! The learning rules: each turns a network and its options into a [`Plan`].
//!
//! A rule knows the mathematics and no device. Schedules are decided here, because what may be left out
//! follows from the mathematics:
//!
//! * `full` steps every layer at every t. One product is hoisted: while x^{lmax} is clamped and
//!   θ^{lmax} has not moved, μ^{lmax−1} is what the forward pass made it.
//! * `frontier` leaves out what provably cannot change the update. Under C1 the disturbance climbs one
//!   layer a step (Lemma A.3), so x^l is still y^l for every t < l.

mod bp;
mod fazil;
mod il;
mod zil;

use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::{Coords, Op, Phi, Plan, Rule, Schedule, Stage, Step};

/// Everything that can be chosen about a rule.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Options {
    /// The learning rule.
    pub rule: Rule,
    /// Its schedule; `None` is the rule's own default (see [`Options::schedule`]).
    pub schedule: Option<Schedule>,
    /// What the error nodes carry.
    pub coords: Coords,
    /// γ of Eq. (7); `None` is 0.1 for IL and 1 for the others (C3).
    pub gamma: Option<f64>,
    /// t_c of IL (default 20), or T of Fa-Z-IL (default lmax).
    pub steps: Option<u32>,
    /// What φ of Fa-Z-IL looks at.
    pub phi: Phi,
    /// t_d of φ.
    pub td: u32,
    /// Learning rate α.
    pub alpha: f64,
    /// Average over the batch instead of summing.
    pub mean: bool,
    /// Standard deviation of the noise on x_0 that breaks C1; 0 keeps C1.
    pub sigma: f64,
    /// Seed of that noise.
    pub seed: u64,
}

impl Options {
    /// The paper's settings of a rule: α = 0.001, sums over the batch, t_d = 4, error coordinates.
    pub fn new(rule: Rule) -> Self {
        Options {
            rule,
            schedule: None,
            coords: Coords::Error,
            gamma: None,
            steps: None,
            phi: Phi::Error,
            td: 4,
            alpha: 0.001,
            mean: false,
            sigma: 0.0,
            seed: 0,
        }
    }

    /// γ, with the rule's default.
    pub fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(if self.rule == Rule::Il { 0.1 } else { 1.0 })
    }

    /// The schedule, with the rule's default: `frontier` where it is exact by proof (BP, IL, Z-IL with
    /// C1), `full` for Fa-Z-IL and wherever C1 is broken.
    pub fn schedule(&self) -> Schedule {
        self.schedule.unwrap_or(if self.rule == Rule::Fazil || self.sigma != 0.0 {
            Schedule::Full
        } else {
            Schedule::Frontier
        })
    }

    /// t_c of IL or T of Fa-Z-IL, with the rule's default.
    pub fn steps(&self, network: &Network) -> usize {
        self.steps.map_or(if self.rule == Rule::Il { 20 } else { network.lmax() }, |s| s as usize)
    }

    /// The plan of one weight update of `network`.
    ///
    /// # Errors
    /// [`Error::Usage`] when an option is out of range or contradicts another.
    pub fn plan(&self, network: &Network) -> Result<Plan> {
        self.check()?;
        let steps = match self.rule {
            Rule::Bp => bp::steps(network),
            Rule::Il => il::steps(network, self),
            Rule::Zil => zil::steps(network, self),
            Rule::Fazil => fazil::steps(network, self),
        };
        Ok(Plan {
            network: network.clone(),
            rule: self.rule,
            schedule: self.schedule(),
            coords: self.coords,
            gamma: self.gamma(),
            alpha: self.alpha,
            mean: self.mean,
            phi: self.phi,
            td: self.td,
            sigma: self.sigma,
            seed: self.seed,
            steps,
        })
    }

    fn check(&self) -> Result<()> {
        let positive = |name: &str, value: f64| {
            // Devices compute in float32, where 1e-60 is 0 and 1e60 infinite.
            if (value as f32).is_finite() && value as f32 > 0.0 {
                Ok(())
            } else {
                Err(Error::usage(format!("{name} must be a positive float32 number; {value:e} given")))
            }
        };
        positive("--lr", self.alpha)?;
        positive("--gamma", self.gamma())?;
        if self.td == 0 || self.td > MAX_STEPS {
            return Err(Error::usage(format!("--td must lie in 1 to {MAX_STEPS}; {} given", self.td)));
        }
        if self.steps.is_some_and(|s| s > MAX_STEPS) {
            return Err(Error::usage(format!("--steps may be at most {MAX_STEPS}; {} given", self.steps.unwrap_or(0))));
        }
        if self.gamma.is_some() && self.rule == Rule::Bp {
            return Err(Error::usage("--gamma is the step of inference, and bp makes none; leave it out"));
        }
        if self.steps.is_some() && !matches!(self.rule, Rule::Il | Rule::Fazil) {
            return Err(Error::usage(format!(
                "--steps is t_c of il or T of fazil; {} makes its own number of steps (lmax)",
                self.rule.name()
            )));
        }
        if !(self.sigma.is_finite() && self.sigma >= 0.0) {
            return Err(Error::usage(format!("sigma must be zero or positive; {} given", self.sigma)));
        }
        if self.sigma != 0.0 && (self.rule == Rule::Bp || self.schedule() == Schedule::Frontier) {
            return Err(Error::usage("breaking C1 (sigma > 0) needs il, zil or fazil with the full schedule"));
        }
        Ok(())
    }
}

/// The most inference steps an update may make.
pub const MAX_STEPS: u32 = 10_000;

/// The forward pass: μ^l from the input down to the output, and x^l = μ^l on every hidden layer (C1).
fn prediction(network: &Network, sigma: f64) -> Vec<Step> {
    let mut steps: Vec<Step> = (0..network.lmax())
        .rev()
        .map(|l| Step {
            stage: Stage::Prediction,
            ops: if l == 0 { vec![Op::Predict(0)] } else { vec![Op::Predict(l), Op::Settle(l)] },
        })
        .collect();
    if sigma != 0.0 && network.lmax() > 1 {
        let ops = (1..network.lmax()).map(Op::Perturb).collect();
        steps.push(Step { stage: Stage::Prediction, ops });
    }
    steps
}

/// What one learning step works on, before it is turned into ops.
struct Moment {
    t: usize,
    predict: Vec<usize>,
    error: Vec<usize>,
    gate: Vec<usize>,
    infer: Vec<usize>,
    learn: Vec<usize>,
    gated: Option<Phi>,
}

impl Moment {
    /// Moment `t`, doing nothing yet.
    fn at(t: usize) -> Self {
        let none = Vec::new;
        Moment { t, predict: none(), error: none(), gate: none(), infer: none(), learn: none(), gated: None }
    }

    /// The step, its ops in the order μ, ε, φ, x, θ.
    fn step(self) -> Step {
        let learn = if self.gated.is_some() { Op::LearnGated } else { Op::Learn };
        let gate = if self.gated == Some(Phi::Feedback) { Op::GateFeedback } else { Op::Gate };
        let ops = (self.predict.into_iter().map(Op::Predict))
            .chain(self.error.into_iter().map(Op::Error))
            .chain(self.gate.into_iter().map(gate))
            .chain(self.infer.into_iter().map(Op::Infer))
            .chain(self.learn.into_iter().map(learn))
            .collect();
        Step { stage: Stage::Learning(self.t), ops }
    }
}

/// Layers whose μ_t must be computed anew under the full schedule: none at t = 0 when C1 holds, since
/// the forward pass has just made them, and never the input-side one while `hoist` says that θ^{lmax}
/// has not moved since.
fn predicted(network: &Network, t: usize, c1: bool, hoist: bool) -> Vec<usize> {
    let all = if hoist { network.lmax() - 1 } else { network.lmax() };
    if t == 0 && c1 { Vec::new() } else { (0..all).collect() }
}
