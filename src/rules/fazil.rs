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
//! a ReLU) fires late instead, on an ε that is not δ.
//!
//! With `--phi feedback` the unit looks at the current that feedback brings it instead of at its ε:
//!
//! ```text
//! φ^l_{i,t} = 1  where g^l_{i,t−1} ≠ 0 and g^l_{i,t−2} = … = g^l_{i,t−1−t_d} = 0,   g^l_t = θ^lᵀ ε^{l−1}_t
//! ```
//!
//! (on layer 0 the current is the teacher's, and φ looks at ε^0). It is as local: g^l_i is what unit i
//! sums up for Eq. (7) anyway. And it holds where f′ = 0. *Proof.* By Lemma A.3 ε^{l−1}_t = 0 for
//! t < l−1, so g^l_t = 0 there, and g^l_{l−1} = θ^lᵀ δ^{l−1}. Where that is not 0, φ fires at t = l, on
//! ε^l_l = f′(y^l) ∘ g^l_{l−1} = δ^l, **also if f′ = 0**: then it fires on ε = 0, learns nothing, as BP
//! does, and has fired. It cannot fire again before the current has been silent for t_d steps, hence
//! never if T < l + 1 + t_d. What is left is g^l_{i,l−1} = 0 exactly, for which δ^{l−1} of that sample must
//! vanish on the whole layer (every unit of it with f′ = 0) or cancel to the last bit.
//!
//! `full` is the algorithm: its plan is the same at every t and names no clock. `frontier` works on
//! layer t alone, where Lemma A.3 puts the first spike. It equals `full` bit for bit as long as no spike
//! is late, and leaves late ones out; but it is then the schedule that knows which layer is live.

use super::{Moment, Options, predicted};
use crate::network::Network;
use crate::plan::{Schedule, Step};

pub(super) fn steps(network: &Network, options: &Options) -> Vec<Step> {
    let lmax = network.lmax();
    let last = match options.schedule() {
        Schedule::Full => options.steps(network),
        Schedule::Frontier => options.steps(network).min(lmax - 1),
    };
    let mut steps = super::prediction(network, options.sigma);
    steps.extend((0..=last).map(|t| {
        let mut moment = Moment::at(t);
        moment.gated = Some(options.phi);
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
        moment.step()
    }));
    steps
}
