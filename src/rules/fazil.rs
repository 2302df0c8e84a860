//! Fully autonomous Z-IL (Algorithm 2): inference and learning run at every t, in every layer, and the function φ of
//! each unit decides when its weights learn.
//!
//! ```text
//! φ^l_{i,t} = 1  where ε^l_{i,t} ≠ 0 and ε^l_{i,t−1} = … = ε^l_{i,t−t_d} = 0,  else 0
//! Δθ^{l+1}_{ij} = α φ^l_{i,t} ε^l_{i,t} f(x^{l+1}_{j,t})        at every t = 0 ..= T
//! ```
//!
//! Before t = 0 the network has converged, so every ε counts as silent. By Lemma A.3 ε^l leaves 0 at
//! exactly t = l. There φ fires, and the update is Z-IL's.
//!
//! Some units fire late instead, on an ε that is not δ: units whose ε^l_l happens to be 0 (f′ = 0 in a ReLU or a saturated sigmoid),
//! and deep units whose ε underflows. Inference continues until they fire. This can diverge next to a long skip connection: at γ = 1, once
//! errors have passed, the values of identity units grow about threefold per step, until a value is infinite and a weight becomes
//! 0 · ∞ = NaN. A chain of the same depth stays finite, and so does a graph with `--phi feedback`.
//!
//! With `--phi feedback` a unit detects the spikes that arrive by feedback, not its own ε:
//!
//! ```text
//! φ^l_{i,t} = 1  where φ^{l−1}_{k,t−1} = 1 for some k, and no φ^{l−1}_{k,s} = 1 for t−1−t_d ≤ s < t−1
//! φ^0_{i,t} = 1  at t = 0, when the teacher first appears
//! ```
//!
//! This φ is as local as the paper's: a spike travels along the connection θ^l_{ki} that brings ε^{l−1}_k, one layer per step, and
//! no unit knows t. It also fires at the right moment where the paper's φ does not.
//!
//! *Claim: φ^l_{i,t} = 1 exactly at t = l.* Proof by induction. Layer 0 fires at t = 0 and never again. If layer l−1 fires at
//! t = l−1 alone, then spikes reach layer l at t = l alone, after silence only. ∎
//!
//! By Lemma A.3, ε^l = δ^l at that moment. The update is therefore BP's for every f, also where f′ = 0: such a unit fires on ε = 0,
//! learns nothing, as in BP, and does not fire again. The time at which φ fires depends on neither t_d, nor T, nor rounding.
//! (In value coordinates the ε of that time does depend on rounding.)
//!
//! `full` is the algorithm: its plan is the same at every t and contains no clock. `frontier` works on
//! layer t alone, where Lemma A.3 puts the first spike. It equals `full` bit for bit as long as no spike is late, and omits late
//! spikes. With `frontier` the schedule, and not the unit, decides which layer learns.

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
                // Any θ may move at any t, so no prediction can be hoisted after t = 0.
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
