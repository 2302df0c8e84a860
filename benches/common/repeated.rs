//! A plan that repeats one kernel.

use zilch::plan::{Moment, Op, Stage};
use zilch::rules::Coords;
use zilch::rules::builder::Chain;
use zilch::{Network, Options, Plan, Rule};

/// A plan that predicts, computes the errors at t = 0, and then runs `op` `times` times.
pub(crate) fn plan(network: &Network, op: impl Fn(&mut Chain) -> Op, times: u32) -> Plan {
    // α and γ are so small that values stay finite over many updates on one batch.
    let options = Options { alpha: 1e-6, gamma: Some(1e-3), coords: Coords::Value, ..Options::new(Rule::IL) };
    let mut chain = Chain::new(network, &options);
    chain.predict_all();
    let errors = chain.errors(0..network.lmax());
    chain.learning(0, errors);
    let steps = vec![vec![op(&mut chain)]];
    let mut plan = chain.plan;
    plan.moments.push(Moment { stage: Stage::Learning(1), steps, times });
    plan
}
