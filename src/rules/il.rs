//! Inference learning (Algorithm 1): t_c steps of inference, then one update of every weight.
//!
//! ```text
//! for t = 0 .. t_c:   ε_t by (5);   if t = t_c: Δθ by (9) and stop;   x_{t+1} by (7)
//! ```
//!
//! t counts the inference steps so far; the weights learn at t = t_c. With t_c = 0 only θ^1 learns, because every
//! other ε is still 0.
//!
//! The `frontier` schedule computes the same trajectory with fewer ops. Under C1, x^l first moves in the step l−1 → l, and
//! μ^l first differs at t = l+1. Moment t therefore steps only layers 1 ..= t+1 and predicts only
//! layers 0 .. t. All values are the same as under `full`.
//!
//! Its own options change how the value nodes settle: `settle.rs`.

use super::{Definition, MomentLayers, Options, Schedule, check_moments, predicted, prediction, settle};
use crate::error::Result;
use crate::network::Network;
use crate::plan::Plan;

pub(super) static IL: Definition = Definition {
    name: "il",
    title: "IL",
    source: "Whittington & Bogacz 2017; Song et al. 2020, Algorithm 1",
    takes: &["gamma", "steps", "schedule", "coords", "sigma"],
    rule_options: settle::OPTIONS,
    gamma: 0.1,
    steps: |_| 20,
    convolutions: true,
    graphs: true,
    plan,
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    if options.varied() {
        return settle::plan(network, options, settle::Learning::Last);
    }
    let (lmax, tc) = (network.lmax(), options.steps(network));
    check_moments(network, options, tc, "steps")?;
    let mut p = prediction(network, options);
    for t in 0..=tc {
        let mut moment = MomentLayers::default();
        match options.schedule() {
            Schedule::Full => {
                moment.predict = predicted(network, t, options.sigma == 0.0, true);
                moment.error = (0..lmax).collect();
                moment.infer = (1..lmax).collect();
            }
            Schedule::Frontier => {
                moment.predict = (0..t.min(lmax - 1)).collect();
                moment.error = if t == 0 { (0..lmax).collect() } else { (0..lmax.min(t + 1)).collect() };
                moment.infer = (1..lmax.min(t + 2)).collect();
            }
        }
        if t == tc {
            moment.infer.clear();
            moment.learn = (0..lmax).collect();
        }
        moment.add(&mut p, t, &mut |p, l| p.learn(l));
    }
    Ok(p.plan)
}
