//! Inference learning (Algorithm 1): t_c steps of inference, then one update of every weight.
//!
//! ```text
//! for t = 0 .. t_c:   ε_t by (5);   if t = t_c: Δθ by (9) and stop;   x_{t+1} by (7)
//! ```
//!
//! t counts the x-steps already made when the weights learn: t_c = 0 trains θ^1 alone, every other ε
//! being still 0.
//!
//! The `frontier` schedule keeps the whole trajectory: under C1, x^l first moves in the step l−1 → l and
//! μ^l first differs at t = l+1, so at moment t only the cone of layers 1 ..= t+1 is stepped and
//! layers 0 .. t are predicted. Both are the same numbers, computed less often.

use super::{Moment, Options, predicted};
use crate::network::Network;
use crate::plan::{Schedule, Step};

pub(super) fn steps(network: &Network, options: &Options) -> Vec<Step> {
    let (lmax, tc) = (network.lmax(), options.steps(network));
    let mut steps = super::prediction(network, options.sigma);
    steps.extend((0..=tc).map(|t| {
        let mut moment = Moment::at(t);
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
        moment.step()
    }));
    steps
}
