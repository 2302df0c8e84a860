//! Zero-divergence inference learning: IL under C1 (x_0 = μ_0), C2 (θ^{l+1} learns at t = l) and
//! C3 (γ = 1).
//!
//! Under C1, x^l rests at y^l for t < l, so ε^l_t = 0 for t < l (Lemma A.3). The step t = l−1 → l adds
//! γ f′(y^l) ∘ (θ^lᵀ ε^{l−1}_{l−1}) to x^l, so ε^l_l = γ^l δ^l (Theorem 3.1). Then
//! Δθ^{l+1} = α ε^l_l f(y^{l+1})ᵀ is γ^l times that of BP, and equals it for γ = 1 (Theorem 3.2).
//!
//! `full` steps every layer at t = 0 ..= lmax−1. `frontier` steps only x^{t+1} at moment t: no op reads
//! a layer below it again before the update ends, and every layer above it still rests. The updates have the
//! same bits, at the cost of backpropagation.

use super::{Definition, MomentLayers, Options, Schedule, predicted, prediction};
use crate::error::Result;
use crate::network::Network;
use crate::plan::Plan;

pub(super) static ZIL: Definition = Definition {
    name: "zil",
    title: "Z-IL",
    source: "Song et al. 2020, C1–C3, Theorems 3.1 and 3.2",
    takes: &["gamma", "schedule", "coords", "sigma"],
    compared: &[Schedule::Frontier, Schedule::Full],
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let lmax = network.lmax();
    let mut p = prediction(network, options);
    for t in 0..lmax {
        let mut moment = MomentLayers { learn: vec![t], ..MomentLayers::default() };
        match options.schedule() {
            Schedule::Full => {
                // θ^{lmax} learns in the last step, after every prediction, so its product can be hoisted.
                moment.predict = predicted(network, t, options.sigma == 0.0, true);
                moment.error = (0..lmax).collect();
                moment.infer = (1..lmax).collect();
            }
            Schedule::Frontier => {
                moment.error = if t == 0 { (0..lmax).collect() } else { vec![t] };
                moment.infer = vec![t + 1];
            }
        }
        if t == lmax - 1 {
            moment.infer.clear();
        }
        moment.add(&mut p, t, &mut |p, l| p.learn(l));
    }
    Ok(p.plan)
}
