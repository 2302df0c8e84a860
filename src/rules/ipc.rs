//! Incremental predictive coding (Salvatori et al., ICLR 2024): weights learn at every inference step, before the values have settled.
//!
//! ```text
//! t = 0 .. T−1:   ε_t by (5);   x_{t+1} by (7) and Δθ by (9) together, both from values of time t
//! ```
//!
//! T is `--steps`: an update makes T steps of the optimiser on one mini-batch. Inference is that of IL, with the options of
//! `settle.rs`. With T = 1 only θ^1 learns, because every other ε is still 0.

use super::{Defaults, Definition, Options, settle};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::Plan;

pub(super) static IPC: Definition = Definition {
    name: "ipc",
    title: "iPC",
    source: "Salvatori et al. 2024",
    takes: &["gamma", "steps", "coords"],
    rule_options: settle::OPTIONS,
    gamma: 0.1,
    steps: |_| 20,
    convolutions: true,
    plan,
    recommended: Defaults { steps: Some(8), ..Defaults::RECOMMENDED },
    ..Definition::PLAIN
};

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    if options.steps(network) == 0 {
        return Err(Error::usage("ipc learns at each inference step, so --steps must be at least 1"));
    }
    settle::plan(network, options, settle::Learning::Every)
}
