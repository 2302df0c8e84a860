//! One kernel again and again.

use zilch::plan::{Coords, Op, Stage, Step};
use zilch::{Network, Options, Plan, Rule, Schedule};

/// A plan that brings the errors of a network up to t = 0 and then runs `op` so many times.
pub(crate) fn plan(network: &Network, op: Op, times: usize) -> Plan {
    // α and γ small enough that many updates of one batch stay finite.
    let options = Options {
        alpha: 1e-6,
        gamma: Some(1e-3),
        schedule: Some(Schedule::Full),
        coords: Coords::Value,
        ..Options::new(Rule::IL)
    };
    let mut plan = options.plan(network).expect("a plan");
    plan.steps.retain(|step| step.stage == Stage::Prediction);
    plan.steps.push(Step { stage: Stage::Learning(0), ops: (0..network.lmax()).map(Op::Error).collect() });
    plan.steps.extend((1..=times).map(|t| Step { stage: Stage::Learning(t), ops: vec![op] }));
    plan
}
