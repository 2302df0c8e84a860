//! Fully autonomous Z-IL (Algorithm 2): inference and learning run at every t, in every layer, and a
//! neuron's own φ decides when its weights learn.
//!
//! ```text
//! φ^l_{i,t} = 1  where ε^l_{i,t} ≠ 0 and ε^l_{i,t−1} = … = ε^l_{i,t−t_d} = 0,  else 0
//! Δθ^{l+1}_{ij} = α φ^l_{i,t} ε^l_{i,t} f(x^{l+1}_{j,t})        at every t = 0 ..= T
//! ```
//!
//! Before t = 0 the network has converged, so every ε counts as silent. By Lemma A.3 ε^l leaves 0 at
//! exactly t = l, where φ fires and the update is Z-IL's. A unit whose ε^l_l happens to be 0 (f′ = 0 in
//! a ReLU or a saturated sigmoid) fires late instead, on an ε that is not δ. So do
//! deep units where ε falls below the smallest number. They do so while inference goes on, and beside a long skip that
//! is no small thing: at γ = 1 what identity units hold grows about threefold a step once errors have passed, until it is infinite and
//! a weight 0 · ∞. A chain of the same depth stays finite, and so does `--phi feedback`.
//!
//! With `--phi feedback` the unit looks at the spikes that feedback brings it instead of at its ε:
//!
//! ```text
//! φ^l_{i,t} = 1  where φ^{l−1}_{k,t−1} = 1 for some k, and no φ^{l−1}_{k,s} = 1 for t−1−t_d ≤ s < t−1
//! φ^0_{i,t} = 1  at t = 0, where the teacher is first seen
//! ```
//!
//! It is as local: a spike travels along the connection θ^l_{ki} that brings ε^{l−1}_k, one layer a step, and
//! no unit knows t. And it holds where the paper's φ does not. *Proof that φ^l_{i,t} = 1 exactly at t = l*, by
//! induction: layer 0 fires at t = 0 and never again; if layer l−1 fires at t = l−1 alone, then spikes reach
//! layer l at t = l alone, after nothing but silence. ∎ By Lemma A.3 that is the moment at which ε^l = δ^l, so
//! that the update is BP's for every f, also where f′ = 0: such a unit fires on ε = 0, learns nothing, as BP
//! does, and has fired. When φ fires hangs on neither t_d, T nor rounding (what ε is then, in value
//! coordinates, does hang on rounding).
//!
//! `full` is the algorithm: its plan is the same at every t and names no clock. `frontier` works on
//! layer t alone, where Lemma A.3 puts the first spike. It equals `full` bit for bit as long as no spike
//! is late, and leaves late ones out; but it is then the schedule that knows which layer is live.

use super::{Definition, MomentLayers, Options, Schedule, check_moments, predicted, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::{Plan, Stage};

pub(super) static FAZIL: Definition = Definition {
    name: "fazil",
    title: "Fa-Z-IL",
    source: "Song et al. 2020, Algorithm 2",
    takes: &["gamma", "steps", "phi", "td", "schedule", "coords", "sigma"],
    schedule: Schedule::Full,
    compared: &[Schedule::Frontier, Schedule::Full],
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let lmax = network.lmax();
    let last = match options.schedule() {
        Schedule::Full => options.steps(network),
        Schedule::Frontier => options.steps(network).min(lmax - 1),
    };
    check_moments(network, options, last, "steps")?;
    let mut p = prediction(network, options);
    let mut learnt = vec![false; lmax];
    for t in 0..=last {
        let mut moment = MomentLayers::default();
        match options.schedule() {
            Schedule::Full => {
                // Any θ may move at any t, so no prediction is hoisted after t = 0.
                moment.predict = predicted(network, t, options.sigma == 0.0, false);
                moment.error = (0..lmax).collect();
                moment.gate = (0..lmax).collect();
                moment.infer = (1..lmax).collect();
                moment.learn = (0..lmax).collect();
            }
            Schedule::Frontier => {
                moment.error = if t == 0 { (0..lmax).collect() } else { vec![t] };
                moment.gate = vec![t];
                moment.infer = if t + 1 < lmax { vec![t + 1] } else { Vec::new() };
                moment.learn = vec![t];
            }
        }
        if t == last {
            moment.infer.clear();
        }
        moment.add(&mut p, t, &mut |p, l| {
            let gated = p.units("phi", "φ", l);
            p.learn_again(l, gated, !std::mem::replace(&mut learnt[l], true))
        });
    }
    let apply = p.apply((0..lmax).filter(|l| learnt[*l]));
    if !apply.is_empty() {
        p.plan.moment(Stage::Learning(last + 1), vec![apply]);
    }
    Ok(p.plan)
}
