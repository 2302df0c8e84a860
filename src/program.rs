//! A plan lowered to kernel launches: what both devices execute.
//!
//! A [`Plan`] says what happens at each moment; a [`Program`] says in which order kernels may run so that
//! it happens, without naming a device. Lowering decides four things, each of them exact:
//!
//! * **Order.** Within a step inference runs before learning, and f(x_{t+1}) goes to the other half of a
//!   double buffer, so that both read time-t values (`maths`: Δx^l needs the old θ^l, Δθ^{l+1} the old x).
//! * **Liveness.** An activation that nothing reads is not stored.
//! * **Carrying.** In error coordinates, where μ^l is not computed again before the next ε^l,
//!   ε_{t+1} = (ε_t + Δx) − (μ − μ) is formed where Δx is made.
//! * **Sinking.** Weight updates that nothing reads before a later one are made with it, in one launch.

use crate::plan::{Coords, Op, Plan, Stage};
use std::collections::HashSet;

/// Which half of the double buffer of f(x^l): 0 is what the forward pass writes.
pub type Half = usize;

/// μ^l ← f(x^{l+1}) θ^{l+1}ᵀ + b^{l+1}; with `settle`, also x^l ← μ^l and f(x^l).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Predict {
    /// l
    pub layer: usize,
    /// Where f(x^{l+1}) is read.
    pub h_in: Half,
    /// Whether the value nodes take the prediction (f(x^l) then goes to half 0).
    pub settle: bool,
}

/// x^l ← x^l + σ N(0, 1), and f(x^l).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Perturb {
    /// l
    pub layer: usize,
}

/// ε^l ← x^l − μ^l, or with `carry` ε^l ← (ε^l + Δx^l) − (μ^l − μ^l_{t−1}).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorNode {
    /// l
    pub layer: usize,
    /// Whether ε is advanced instead of computed anew.
    pub carry: bool,
    /// Whether x^l moved since ε^l was last computed (else Δx^l counts as 0).
    pub moved: bool,
}

/// φ^l and φ^l ∘ ε^l.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// l
    pub layer: usize,
    /// Whether this is the first look at the sample: every unit then counts as silent for t_d steps.
    pub first: bool,
    /// Whether the spikes of layer l−1 are looked at instead of ε.
    pub feedback: bool,
    /// The moment t.
    pub t: usize,
}

/// Eq. (7) on one layer, or Eq. (4) with `backprop`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Infer {
    /// l
    pub layer: usize,
    /// Eq. (4) instead of (7): ε^l ← f′(x^l) ∘ (ε^{l−1} θ^l), x^l stays.
    pub backprop: bool,
    /// Where f(x^l) is read, for f′.
    pub h_in: Half,
    /// Where f(x^l_{t+1}) goes, if anything reads it.
    pub h_out: Option<Half>,
    /// Whether ε^l ← ε^l + Δx^l is formed here.
    pub carry: bool,
}

/// θ^{l+1} ← θ^{l+1} + α ε^lᵀ f(x^{l+1}), and the biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learn {
    /// l
    pub layer: usize,
    /// Whether φ^l masks ε^l.
    pub gated: bool,
    /// Where f(x^{l+1}) is read.
    pub h_in: Half,
}

/// One kernel launch, over one or more layers whose work is independent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pass {
    /// Predictions (a matrix product).
    Predict(Vec<Predict>),
    /// Noise on the value nodes.
    Perturb(Vec<Perturb>),
    /// Error nodes (elementwise; a launch of its own on a GPU, so that μ has been through memory).
    Error(Vec<ErrorNode>),
    /// φ (elementwise).
    Gate(Vec<Gate>),
    /// Inference or backpropagation (a matrix product with an elementwise end).
    Infer(Vec<Infer>),
    /// Weight updates (a matrix product).
    Learn(Vec<Learn>),
}

/// The launches of one weight update, after the batch has been gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The launches, in order; each sees what all before it wrote.
    pub passes: Vec<Pass>,
}

impl Program {
    /// Lowers a plan.
    pub fn new(plan: &Plan) -> Self {
        let mut lower = Lower::new(plan);
        for index in 0..plan.steps.len() {
            lower.step(index);
        }
        let mut passes = lower.passes;
        sink_learning(&mut passes);
        Program { passes }
    }

    /// The forward pass alone: μ^0 for a batch, as the plan's prediction stage makes it.
    pub fn prediction(lmax: usize) -> Self {
        let passes = (0..lmax).rev().map(|l| Pass::Predict(vec![Predict { layer: l, h_in: 0, settle: l > 0 }]));
        Program { passes: passes.collect() }
    }

    /// Launches of matrix products and of everything else.
    pub fn launches(&self) -> (usize, usize) {
        let product = |p: &&Pass| matches!(p, Pass::Predict(_) | Pass::Infer(_) | Pass::Learn(_));
        let products = self.passes.iter().filter(product).count();
        (products, self.passes.len() - products)
    }
}

/// The state of lowering: where each layer's live f(x) is, and what has happened to its ε.
struct Lower<'a> {
    plan: &'a Plan,
    passes: Vec<Pass>,
    /// Half that holds f(x^l), by layer.
    half: Vec<Half>,
    /// Whether ε^l has been computed, by layer.
    known: Vec<bool>,
    /// Whether μ^l has been computed since, by layer.
    predicted: Vec<bool>,
    /// The last step that reads f(x^l), by layer.
    last_read: Vec<Option<usize>>,
    /// Whether x^l moved since, by layer.
    moved: Vec<bool>,
    /// Whether φ^l has been looked at, by layer.
    gated: Vec<bool>,
    /// (step, layer) of `Error` ops already carried by an `Infer`.
    carried: HashSet<(usize, usize)>,
}

impl<'a> Lower<'a> {
    fn new(plan: &'a Plan) -> Self {
        let layers = plan.network.lmax() + 1;
        let mut last_read = vec![None; layers];
        for (index, step) in plan.steps.iter().enumerate() {
            for op in &step.ops {
                match *op {
                    Op::Predict(l) | Op::Learn(l) | Op::LearnGated(l) => last_read[l + 1] = Some(index),
                    Op::Infer(l) | Op::Backprop(l) => last_read[l] = Some(index),
                    _ => {}
                }
            }
        }
        Lower {
            plan,
            passes: Vec::new(),
            half: vec![0; layers],
            known: vec![false; layers],
            predicted: vec![false; layers],
            last_read,
            moved: vec![false; layers],
            gated: vec![false; layers],
            carried: HashSet::new(),
        }
    }

    fn step(&mut self, index: usize) {
        let ops = &self.plan.steps[index].ops;
        let of = |wanted: fn(&Op) -> bool| ops.iter().copied().filter(wanted).collect::<Vec<_>>();
        let t = if let Stage::Learning(t) = self.plan.steps[index].stage { t } else { 0 };
        let settles = |l: usize| ops.contains(&Op::Settle(l));

        let predict = of(|op| matches!(op, Op::Predict(_)));
        self.push(predict, Pass::Predict, |s, l| {
            if settles(l) {
                s.half[l] = 0;
                s.moved[l] = false;
                s.known[l] = false;
            }
            s.predicted[l] = true;
            Some(Predict { layer: l, h_in: s.half[l + 1], settle: settles(l) })
        });
        let perturb = of(|op| matches!(op, Op::Perturb(_)));
        self.push(perturb, Pass::Perturb, |_, l| Some(Perturb { layer: l }));
        let error = of(|op| matches!(op, Op::Error(_)));
        self.push(error, Pass::Error, |s, l| s.error(index, l));
        let gate = of(|op| matches!(op, Op::Gate(_) | Op::GateFeedback(_)));
        self.push(gate, Pass::Gate, |s, l| {
            let first = !std::mem::replace(&mut s.gated[l], true);
            Some(Gate { layer: l, first, feedback: ops.contains(&Op::GateFeedback(l)), t })
        });

        // Learning reads the halves of time t, so they change hands only after it has been lowered.
        let before = self.half.clone();
        let infer = of(|op| matches!(op, Op::Infer(_) | Op::Backprop(_)));
        self.push(infer, Pass::Infer, |s, l| Some(s.infer(index, l)));
        let learn = of(|op| matches!(op, Op::Learn(_) | Op::LearnGated(_)));
        self.push(learn, Pass::Learn, |_, l| {
            let gated = ops.contains(&Op::LearnGated(l));
            Some(Learn { layer: l, gated, h_in: before[l + 1] })
        });
    }

    /// Adds one pass with a job for each op, if any is left to do.
    fn push<J>(&mut self, ops: Vec<Op>, pass: fn(Vec<J>) -> Pass, job: impl Fn(&mut Self, usize) -> Option<J>) {
        let jobs: Vec<J> = ops.into_iter().filter_map(|op| job(self, op.layer())).collect();
        if !jobs.is_empty() {
            self.passes.push(pass(jobs));
        }
    }

    fn error(&mut self, index: usize, l: usize) -> Option<ErrorNode> {
        let moved = std::mem::replace(&mut self.moved[l], false);
        let known = std::mem::replace(&mut self.known[l], true);
        self.predicted[l] = false;
        let carry = known && self.plan.coords == Coords::Error;
        (!self.carried.contains(&(index, l))).then_some(ErrorNode { layer: l, carry, moved })
    }

    fn infer(&mut self, index: usize, l: usize) -> Infer {
        let ops = &self.plan.steps[index].ops;
        let h_in = self.half[l];
        if ops.contains(&Op::Backprop(l)) {
            self.known[l] = false; // the slot holds δ now, which no later ε can be carried from
            return Infer { layer: l, backprop: true, h_in, h_out: None, carry: false };
        }
        let read_later = self.last_read[l].is_some_and(|last| last > index);
        let h_out = read_later.then_some(1 - h_in);
        if h_out.is_some() {
            self.half[l] = 1 - h_in;
        }
        self.moved[l] = true;
        let carried_to = self.carries(index, l);
        if let Some(step) = carried_to {
            self.carried.insert((step, l));
        }
        Infer { layer: l, backprop: false, h_in, h_out, carry: carried_to.is_some() }
    }

    /// The later step whose `Error(l)` can be formed by the `Infer(l)` of step `index`, if one can.
    fn carries(&self, index: usize, l: usize) -> Option<usize> {
        let reads_now = |op: &Op| match *op {
            Op::Infer(k) | Op::Backprop(k) => k == l + 1,
            Op::Learn(k) | Op::LearnGated(k) => k == l,
            _ => false,
        };
        let now = &self.plan.steps[index].ops;
        if self.plan.coords != Coords::Error || self.predicted[l] || !self.known[l] || now.iter().any(reads_now) {
            return None;
        }
        for (step, s) in self.plan.steps.iter().enumerate().skip(index + 1) {
            for op in &s.ops {
                match *op {
                    Op::Error(k) if k == l => return Some(step),
                    Op::Predict(k) if k == l => return None,
                    Op::Infer(k) | Op::Backprop(k) if k == l || k == l + 1 => return None,
                    Op::Gate(k) | Op::Learn(k) | Op::LearnGated(k) if k == l => return None,
                    _ => {}
                }
            }
        }
        None
    }
}

/// Moves each learning pass into the next one wherever no pass between them reads the new weights or
/// overwrites what the update reads.
fn sink_learning(passes: &mut Vec<Pass>) {
    let mut i = 0;
    while i < passes.len() {
        let next = (i + 1..passes.len()).find(|&k| matches!(passes[k], Pass::Learn(_)));
        if let (Pass::Learn(jobs), Some(k)) = (&passes[i], next)
            && jobs.iter().all(|job| passes[i + 1..=k].iter().all(|p| !conflicts(job, p)))
        {
            if let (Pass::Learn(mut jobs), Pass::Learn(later)) = (passes.remove(i), &mut passes[k - 1]) {
                jobs.append(later);
                *later = jobs;
            }
        } else {
            i += 1;
        }
    }
}

/// Whether `pass` must not come before the update of `job`.
fn conflicts(job: &Learn, pass: &Pass) -> bool {
    let l = job.layer;
    match pass {
        Pass::Predict(jobs) => jobs.iter().any(|p| p.layer == l || p.settle && p.layer == l + 1),
        Pass::Perturb(jobs) => jobs.iter().any(|p| p.layer == l + 1),
        Pass::Error(jobs) => jobs.iter().any(|e| e.layer == l),
        Pass::Gate(jobs) => jobs.iter().any(|g| g.layer == l),
        Pass::Infer(jobs) => jobs.iter().any(|i| {
            i.layer == l && (i.carry || i.backprop) || i.layer == l + 1 // reads θ^{l+1}, may write f(x^{l+1})
        }),
        Pass::Learn(jobs) => jobs.iter().any(|other| other.layer == l),
    }
}
