//! A learning rule as data: the [`Plan`] of one weight update.
//!
//! A plan is a list of [`Step`]s, and a step a list of [`Op`]s on named slots of named layers. Within a
//! learning step μ, ε and φ are first brought up to time t; then inference (Eq. 7) and learning (Eq. 9)
//! **both read time-t values and are committed together**. That simultaneity is what makes Z-IL exact:
//! an executor that let Δθ^l precede Δx^l in the same step would not compute backpropagation.
//!
//! Because a plan is data it can be printed ([`Plan`]'s `Display`), counted ([`Plan::cost`]) and judged
//! ([`Plan::properties`]) without running it.

use crate::error::{Error, Result};
use crate::network::Network;
use std::fmt;

/// The four learning rules of Song et al. (2020).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Backpropagation in an ANN (Eqs. 1–4).
    Bp,
    /// Inference learning in a PCN (Algorithm 1).
    Il,
    /// Zero-divergence inference learning (conditions C1–C3).
    Zil,
    /// Fully autonomous Z-IL (Algorithm 2).
    Fazil,
}

impl Rule {
    /// Every rule, in the paper's order.
    pub const ALL: [Rule; 4] = [Rule::Bp, Rule::Il, Rule::Zil, Rule::Fazil];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Bp => "bp",
            Rule::Il => "il",
            Rule::Zil => "zil",
            Rule::Fazil => "fazil",
        }
    }

    /// The paper's name.
    pub fn title(self) -> &'static str {
        match self {
            Rule::Bp => "BP",
            Rule::Il => "IL",
            Rule::Zil => "Z-IL",
            Rule::Fazil => "Fa-Z-IL",
        }
    }
}

/// Which layers a learning step works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Every layer at every t: the paper's semantics.
    Full,
    /// Only what can change the weights.
    Frontier,
}

impl Schedule {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Schedule::Full => "full",
            Schedule::Frontier => "frontier",
        }
    }
}

/// What the error node carries from one t to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coords {
    /// ε is state: ε_{t+1} = (ε_t + Δx_t) − (μ_{t+1} − μ_t), equal to Eq. (5) without its rounding.
    Error,
    /// ε = x − μ, as Eq. (5) is written.
    Value,
}

impl Coords {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Coords::Error => "error",
            Coords::Value => "value",
        }
    }
}

/// What a unit's φ looks at to find the moment t = l.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phi {
    /// Its error node: ε^l ≠ 0 after t_d silent steps (the paper's φ).
    Error,
    /// The spikes that feedback brings it: a unit of layer l−1 fired one step before, after t_d silent steps.
    Feedback,
}

impl Phi {
    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Phi::Error => "error",
            Phi::Feedback => "feedback",
        }
    }
}

/// One operation of a plan, on one layer `l` (0 is the output).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// μ^l ← f(x^{l+1}) θ^{l+1}ᵀ + b^{l+1} (Eq. 5; BP's Eq. 1).
    Predict(usize),
    /// x^l ← μ^l: the value nodes take their predicted values (C1; BP's y^l).
    Settle(usize),
    /// x^l ← x^l + σ N(0, 1): C1 broken on purpose.
    Perturb(usize),
    /// ε^l ← x^l − μ^l (Eq. 5), in the plan's coordinates; x^0 is clamped to s_out.
    Error(usize),
    /// φ^l ← 1 where ε^l ≠ 0 after at least t_d silent steps, else 0 (Section 4).
    Gate(usize),
    /// φ^l ← 1 where a unit of layer l−1 fired one step before and none had for at least t_d steps; on
    /// layer 0, which the teacher drives, where the target is first seen.
    GateFeedback(usize),
    /// x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (ε^{l−1} θ^l)) (Eq. 7).
    Infer(usize),
    /// δ^l ← f′(y^l) ∘ (δ^{l−1} θ^l): backpropagation's Eq. (4), into the slot ε^l.
    Backprop(usize),
    /// θ^{l+1} ← θ^{l+1} + α ε^lᵀ f(x^{l+1}), and b^{l+1} with it (Eqs. 3 and 9).
    Learn(usize),
    /// As [`Op::Learn`], each row of ε^l masked by φ^l: the local learning rate of Algorithm 2.
    LearnGated(usize),
}

/// A named array of a layer, of the network's state or of a value passed between ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// Value nodes x^l and their activation f(x^l), [batch, n^l].
    X(usize),
    /// Predictions μ^l, [batch, n^l].
    Mu(usize),
    /// Error nodes ε^l, or BP's error term δ^l, [batch, n^l].
    Eps(usize),
    /// φ^l with its count of silent steps, [batch, n^l].
    Phi(usize),
    /// Weights θ^l with b^l, [n^{l−1}, n^l].
    Theta(usize),
}

impl Slot {
    /// The layers at which the slot lives: one, or a weight's two ends.
    pub fn layers(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Slot::X(l) | Slot::Mu(l) | Slot::Eps(l) | Slot::Phi(l) => l..=l,
            Slot::Theta(l) => l - 1..=l,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::X(l) => write!(out, "x^{l}"),
            Slot::Mu(l) => write!(out, "μ^{l}"),
            Slot::Eps(l) => write!(out, "ε^{l}"),
            Slot::Phi(l) => write!(out, "φ^{l}"),
            Slot::Theta(l) => write!(out, "θ^{l}"),
        }
    }
}

impl Op {
    /// The layer `l` the op works on; a `Learn` changes θ^{l+1}.
    pub fn layer(self) -> usize {
        match self {
            Op::Predict(l) | Op::Settle(l) | Op::Perturb(l) | Op::Error(l) => l,
            Op::Gate(l) | Op::GateFeedback(l) => l,
            Op::Infer(l) | Op::Backprop(l) | Op::Learn(l) | Op::LearnGated(l) => l,
        }
    }

    /// Every slot the op reads.
    pub fn reads(self) -> Vec<Slot> {
        match self {
            Op::Predict(l) => vec![Slot::X(l + 1), Slot::Theta(l + 1)],
            Op::Settle(l) => vec![Slot::Mu(l)],
            Op::Perturb(l) => vec![Slot::X(l)],
            Op::Error(l) => vec![Slot::X(l), Slot::Mu(l)],
            Op::Gate(l) => vec![Slot::Eps(l)],
            Op::GateFeedback(0) => Vec::new(),
            Op::GateFeedback(l) => vec![Slot::Phi(l - 1)],
            Op::Infer(l) => vec![Slot::X(l), Slot::Eps(l), Slot::Eps(l - 1), Slot::Theta(l)],
            Op::Backprop(l) => vec![Slot::X(l), Slot::Eps(l - 1), Slot::Theta(l)],
            Op::Learn(l) => vec![Slot::Eps(l), Slot::X(l + 1)],
            Op::LearnGated(l) => vec![Slot::Eps(l), Slot::Phi(l), Slot::X(l + 1)],
        }
    }

    /// The slot the op writes.
    pub fn writes(self) -> Slot {
        match self {
            Op::Predict(l) => Slot::Mu(l),
            Op::Settle(l) | Op::Perturb(l) | Op::Infer(l) => Slot::X(l),
            Op::Error(l) | Op::Backprop(l) => Slot::Eps(l),
            Op::Gate(l) | Op::GateFeedback(l) => Slot::Phi(l),
            Op::Learn(l) | Op::LearnGated(l) => Slot::Theta(l + 1),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Op::Predict(_) => "predict",
            Op::Settle(_) => "settle",
            Op::Perturb(_) => "perturb",
            Op::Error(_) => "error",
            Op::Gate(_) | Op::GateFeedback(_) => "gate",
            Op::Infer(_) => "infer",
            Op::Backprop(_) => "backprop",
            Op::Learn(_) | Op::LearnGated(_) => "learn",
        }
    }
}

/// The stage a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the target is shown: the forward pass that fulfils C1.
    Prediction,
    /// With input and target clamped, at inference moment t.
    Learning(usize),
}

/// One step of a plan. Its ops are listed in the order μ, ε, φ, then inference and learning, and the
/// last two are committed together from time-t values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When the step happens.
    pub stage: Stage,
    /// What it does.
    pub ops: Vec<Op>,
}

/// Everything one weight update does, on any device.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The network the plan is for.
    pub network: Network,
    /// The rule that made it.
    pub rule: Rule,
    /// The schedule it was made with.
    pub schedule: Schedule,
    /// What ε carries.
    pub coords: Coords,
    /// Integration step γ of Eq. (7).
    pub gamma: f64,
    /// Learning rate α of Eq. (9), before a division by the batch size when `mean` is set.
    pub alpha: f64,
    /// Whether the update is averaged over the batch instead of summed.
    pub mean: bool,
    /// What φ looks at.
    pub phi: Phi,
    /// t_d of φ: the silent steps before a spike.
    pub td: u32,
    /// Standard deviation of the noise of [`Op::Perturb`].
    pub sigma: f64,
    /// Seed of that noise.
    pub seed: u64,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// What a plan costs on a batch, counted from its ops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Cost {
    /// Floating-point operations of the matrix products (2 a multiply-add) and, per unit, of the rest.
    pub flops: u64,
    /// Bytes of float32 moved if every op reads its operands and writes its result once.
    pub bytes: u64,
    /// Matrix products, one per layer and op.
    pub products: u64,
}

/// A property of the paper's Table 2, with the reason for the verdict.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Verdict {
    /// Whether the plan has the property.
    pub holds: bool,
    /// How it was decided, naming the op or slot that decided it.
    pub why: String,
}

/// What can be read off a plan (the paper's Table 2, less the equivalence, which has to be run).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Every Δθ uses only what nodes at the two ends of the weight hold.
    pub local_plasticity: Verdict,
    /// Learning runs the same node dynamics as prediction.
    pub partial_autonomy: Verdict,
    /// Nothing depends on the time t: no clock says when to learn.
    pub full_autonomy: Verdict,
}

impl Plan {
    /// Every op, in order.
    pub fn ops(&self) -> impl Iterator<Item = Op> + '_ {
        self.steps.iter().flat_map(|s| s.ops.iter().copied())
    }

    /// The same plan, stopped before inference and learning of moment `t`: its ε are those of time t.
    pub fn until(&self, t: usize) -> Plan {
        let mut plan = self.clone();
        plan.steps.retain(|s| s.stage == Stage::Prediction || matches!(s.stage, Stage::Learning(u) if u <= t));
        if let Some(last) = plan.steps.last_mut().filter(|s| s.stage == Stage::Learning(t)) {
            last.ops.retain(|op| !matches!(op, Op::Infer(_) | Op::Learn(_) | Op::LearnGated(_)));
        }
        plan
    }

    /// Checks that a plan, however it was made, is one that devices can run: every op on a layer that has
    /// it, none twice in a step, and no op that would need another's result within the same launch.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the op.
    pub fn check(&self) -> Result<()> {
        let lmax = self.network.lmax();
        let refuse = |op: Op, why: &str| Err(Error::usage(format!("this plan cannot run: {op:?} {why}")));
        // Steps of inference made since ε^l was last computed, by layer.
        let mut unseen = vec![0; lmax + 1];
        for step in &self.steps {
            let has = |op: Op| step.ops.contains(&op);
            for (i, &op) in step.ops.iter().enumerate() {
                let l = op.layer();
                let lowest = usize::from(matches!(op, Op::Settle(_) | Op::Perturb(_) | Op::Infer(_) | Op::Backprop(_)));
                if l < lowest || l >= lmax {
                    return refuse(op, &format!("is outside layers {lowest} to {}", lmax - 1));
                }
                if step.ops[..i].contains(&op) {
                    return refuse(op, "stands twice in one step");
                }
                match op {
                    Op::Settle(l) if !has(Op::Predict(l)) => {
                        return refuse(op, "needs Predict of its layer in its step");
                    }
                    Op::Settle(l) if has(Op::Predict(l - 1)) => {
                        return refuse(op, "and Predict below it need two steps");
                    }
                    Op::Backprop(l) if has(Op::Backprop(l + 1)) || has(Op::Infer(l + 1)) => {
                        return refuse(op, "and the layer above need two steps");
                    }
                    Op::LearnGated(l) if !has(Op::Gate(l)) && !has(Op::GateFeedback(l)) => {
                        return refuse(op, "needs φ of its layer in its step");
                    }
                    Op::Error(l) => unseen[l] = 0,
                    Op::Infer(l) => {
                        unseen[l] += 1;
                        if unseen[l] > 1 && self.coords == Coords::Error {
                            return refuse(op, "follows another without Error between them, in error coordinates");
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What the plan costs on `batch` samples.
    pub fn cost(&self, batch: usize) -> Cost {
        let net = &self.network;
        self.ops().fold(Cost::default(), |cost, op| {
            let l = op.layer();
            let units = (batch * net.n(l)) as u64;
            // (inner length of the product per unit of the result, size of the weights it touches)
            let (inner, flops_per_unit) = match op {
                Op::Predict(l) => (net.n(l + 1), 0),
                Op::Infer(l) => (net.n(l - 1), 6),
                Op::Backprop(l) => (net.n(l - 1), 3),
                Op::Learn(l) | Op::LearnGated(l) => (net.n(l + 1), 0),
                Op::Error(_) => (0, if self.coords == Coords::Error { 3 } else { 1 }),
                Op::Gate(_) | Op::GateFeedback(_) | Op::Perturb(_) => (0, 2),
                Op::Settle(_) => (0, 4),
            };
            let weights = (net.n(l) * inner) as u64;
            let product = inner > 0;
            let bytes = if product {
                let operand = (batch * inner) as u64;
                let twice = if matches!(op, Op::Learn(_) | Op::LearnGated(_)) { 2 } else { 1 };
                4 * (operand + units + twice * weights)
            } else {
                4 * 3 * units
            };
            Cost {
                flops: cost
                    .flops
                    .saturating_add((2 * batch as u64).saturating_mul(weights))
                    .saturating_add(flops_per_unit * units),
                bytes: cost.bytes.saturating_add(bytes),
                products: cost.products + u64::from(product),
            }
        })
    }

    /// Judges local plasticity and autonomy from the ops alone.
    pub fn properties(&self) -> Properties {
        Properties {
            local_plasticity: self.local_plasticity(),
            partial_autonomy: self.partial_autonomy(),
            full_autonomy: self.full_autonomy(),
        }
    }

    /// Traces what every `Learn` reads back to what nodes hold. A value node holds x and its prediction
    /// μ, an error node the ε that [`Op::Error`] computes, with its φ. The δ of [`Op::Backprop`] is held
    /// by no node of the ANN, so its own reads are followed in turn.
    fn local_plasticity(&self) -> Verdict {
        let mut backpropagated = vec![false; self.network.lmax()];
        for op in self.ops() {
            match op {
                Op::Backprop(l) => backpropagated[l] = true,
                Op::Error(l) => backpropagated[l] = false,
                Op::Learn(l) | Op::LearnGated(l) => {
                    let far = trace(op, &backpropagated).into_iter().find(|s| {
                        let ends = s.layers();
                        *s != Slot::Theta(l + 1) && (*ends.start() < l || *ends.end() > l + 1)
                    });
                    if let Some(slot) = far {
                        let theta = l + 1;
                        let why = format!("Δθ^{theta} needs {slot}, held outside layers {l} and {theta}");
                        return Verdict { holds: false, why };
                    }
                }
                _ => {}
            }
        }
        Verdict { holds: true, why: "every Δθ^{l+1} reads only nodes of layers l and l+1".into() }
    }

    /// Prediction is the fixed point of the inference dynamics with the output left free, so a plan that
    /// learns by `Predict`, `Error` and `Infer` runs the same ops in both stages; `Backprop` has no part
    /// in prediction.
    fn partial_autonomy(&self) -> Verdict {
        match self.ops().find(|op| matches!(op, Op::Backprop(_))) {
            Some(op) => Verdict {
                holds: false,
                why: format!(
                    "{} of layer {} runs in learning only: a control must switch to it",
                    op.name(),
                    op.layer()
                ),
            },
            None => Verdict { holds: true, why: "prediction and learning run the same node dynamics".into() },
        }
    }

    fn full_autonomy(&self) -> Verdict {
        let partial = self.partial_autonomy();
        if !partial.holds {
            return partial;
        }
        let moments: Vec<(usize, &Step)> = self
            .steps
            .iter()
            .filter_map(|s| if let Stage::Learning(t) = s.stage { Some((t, s)) } else { None })
            .collect();
        for l in 0..self.network.lmax() {
            let learns = |s: &Step| s.ops.iter().any(|op| matches!(op, Op::Learn(k) | Op::LearnGated(k) if *k == l));
            if !moments.iter().all(|(_, s)| learns(s)) {
                let when: Vec<String> = moments.iter().filter(|(_, s)| learns(s)).map(|(t, _)| t.to_string()).collect();
                let why = format!("θ^{} learns only at t = {}: a clock must say when", l + 1, when.join(", "));
                return Verdict { holds: false, why };
            }
        }
        let gated = moments.iter().any(|(_, s)| s.ops.iter().any(|op| matches!(op, Op::LearnGated(_))));
        let why = if gated {
            "the same ops run at every t; φ alone decides when to learn"
        } else {
            "the same ops run at every t, and all layers learn at each"
        };
        Verdict { holds: true, why: why.into() }
    }
}

/// The node-held slots that `op` depends on, following δ through the layers that passed it on.
fn trace(op: Op, backpropagated: &[bool]) -> Vec<Slot> {
    let mut held = Vec::new();
    let mut open = op.reads();
    while let Some(slot) = open.pop() {
        match slot {
            Slot::Eps(l) if backpropagated[l] => open.extend(Op::Backprop(l).reads()),
            other => held.push(other),
        }
    }
    held
}

impl fmt::Display for Plan {
    /// The paper's Fig. 2 as text: a line a step, an op with the layers it runs on.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} of {} (lmax {})", self.rule.title(), self.network, self.network.lmax())?;
        if self.rule != Rule::Bp {
            let (schedule, coords) = (self.schedule.name(), self.coords.name());
            write!(out, ", {schedule} schedule, {coords} coordinates, γ = {}", self.gamma)?;
        }
        writeln!(out)?;
        for step in &self.steps {
            match step.stage {
                Stage::Prediction => write!(out, "  predict  ")?,
                Stage::Learning(t) => write!(out, "  t = {t:<4} ")?,
            }
            let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
            for op in &step.ops {
                let target = op.writes().to_string();
                match groups.last_mut() {
                    Some((name, list)) if *name == op.name() => list.push(target),
                    _ => groups.push((op.name(), vec![target])),
                }
            }
            let groups: Vec<String> = groups.iter().map(|(name, list)| format!("{name} {}", list.join(" "))).collect();
            writeln!(out, "{}", groups.join(" · "))?;
        }
        Ok(())
    }
}
