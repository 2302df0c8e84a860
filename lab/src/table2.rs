//! Table 2: the properties of the rules, computed and not asserted.
//!
//! Equivalence is run: the rule and BP train from the same weights on the same batches, and every bit of
//! the final weights is compared. The other three properties are read off the rule's plan.

use super::{BATCH, Context, Results};
use serde::{Deserialize, Serialize};
use zilch::device::cpu::CpuDevice;
use zilch::error::Result;
use zilch::network::{Network, Weights};
use zilch::plan::Plan;
use zilch::plan::locality::Verdict;
use zilch::rules::Options;
use zilch::rules::{Rule, Schedule};
use zilch::train::{Length, Training};

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// Whether its weights are BP's, bit for bit.
    pub equivalence: Verdict,
    /// Σ_l ‖θ^l − θ^l_BP‖₂ at the end.
    pub distance: f64,
    /// See [`zilch::plan::locality::Properties`].
    pub local_plasticity: Verdict,
    /// See [`zilch::plan::locality::Properties`].
    pub partial_autonomy: Verdict,
    /// See [`zilch::plan::locality::Properties`].
    pub full_autonomy: Verdict,
}

/// What the paper's table says, in the order of the columns.
pub fn paper(rule: Rule) -> [bool; 4] {
    let rows = [[true, false, false, false], [false, true, true, false], [true, true, true, false], [true; 4]];
    let at = Rule::PAPER.iter().position(|r| *r == rule);
    at.map_or([false; 4], |at| rows[at])
}

impl Row {
    /// The verdicts in the order of the columns.
    pub fn verdicts(&self) -> [&Verdict; 4] {
        [&self.equivalence, &self.local_plasticity, &self.partial_autonomy, &self.full_autonomy]
    }
}

impl Results for Vec<Row> {}

/// Updates that equivalence is judged by.
pub fn updates(quick: bool) -> u64 {
    if quick { 300 } else { 30_000 }
}

/// The whole table, on the network with two hidden layers.
///
/// # Errors
/// Those of the plans and of training.
pub fn run(context: &Context<'_>) -> Result<Vec<Row>> {
    let network = &context.networks()?[1];
    let bp = trained(context, network, &plan(network, Rule::BP)?)?;
    Rule::PAPER
        .into_iter()
        .enumerate()
        .map(|(i, rule)| {
            (context.watch)(i as f64 / 4.0, rule.title());
            judge(context, (rule, network), &plan(network, rule)?, &bp)
        })
        .collect()
}

/// The plan that a rule is judged by: the paper's semantics, every layer at every t.
fn plan(network: &Network, rule: Rule) -> Result<Plan> {
    Options { schedule: Some(Schedule::Full), ..Options::new(rule) }.plan(network)
}

/// The row of any plan: `bp` is what backpropagation made of the same weights and batches.
///
/// # Errors
/// Those of training.
pub fn judge(context: &Context<'_>, (rule, network): (Rule, &Network), plan: &Plan, bp: &Weights) -> Result<Row> {
    let weights = trained(context, network, plan)?;
    let updates = updates(context.quick);
    let (holds, distance) = (weights.bit_identical(bp), weights.distance(bp));
    let why = if holds {
        format!("after {updates} updates every bit of θ is BP's")
    } else {
        format!("after {updates} updates θ is {distance:.2} from BP's")
    };
    let properties = plan.properties();
    Ok(Row {
        rule,
        equivalence: Verdict { holds, why },
        distance,
        local_plasticity: properties.local_plasticity,
        partial_autonomy: properties.partial_autonomy,
        full_autonomy: properties.full_autonomy,
    })
}

/// The weights that a plan trains, from seed 0.
///
/// # Errors
/// Those of the device.
pub fn trained(context: &Context<'_>, network: &Network, plan: &Plan) -> Result<Weights> {
    let order =
        Training { batch: BATCH, seed: 0, ..Training::new(network.clone(), Length::Updates(updates(context.quick))) };
    order.check(&context.data)?;
    let samples = context.data.train.len();
    let device = CpuDevice::new(Some(1))?;
    let mut session = device.session(plan, BATCH, context.data.clone(), &Weights::init(network, 0))?;
    let (mut left, mut epoch) = (updates(context.quick) as usize * BATCH, 0);
    while left > 0 {
        context.check()?;
        let mut samples = order.order(samples, epoch);
        samples.truncate(left);
        session.run(&samples);
        left -= samples.len();
        epoch += 1;
    }
    Ok(session.weights())
}
