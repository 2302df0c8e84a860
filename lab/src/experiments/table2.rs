//! Table 2: the properties of the rules, computed from training and from plans.
//!
//! Equivalence is tested by training: the rule and BP train from the same weights on the same mini-batches, and all
//! bits of the final weights are compared. The other three properties follow from an analysis of the rule's plan.

use crate::experiment::Summary;
use crate::paper::{markdown, provenance, strings};
use crate::{BATCH, Context, Experiment, Folder, Record, Results, load};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::device::cpu::CpuDevice;
use zilch::error::Result;
use zilch::network::{Network, Weights};
use zilch::plan::Plan;
use zilch::plan::locality::Verdict;
use zilch::rules::Options;
use zilch::rules::{Rule, Schedule};
use zilch::train::{Length, Training};

/// Properties of the rules.
#[derive(Debug)]
pub struct Table2;

impl Experiment for Table2 {
    fn name(&self) -> &'static str {
        "table2"
    }

    fn help(&self) -> &'static str {
        "Properties of the rules"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context)?)
    }

    fn section(&self, dir: &Path) -> Result<Option<String>> {
        Ok(load::<Vec<Row>>(dir, "table2")?.map(|record| section(&record)))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        let row = |record: Record<Vec<Row>>| {
            let agree = agreement(&record.results);
            Summary {
                paper: "Song et al. 2020",
                what: "properties of four rules".into(),
                published: "16 verdicts".into(),
                ours: format!("{agree} of 16 agree"),
                spread: "exact".into(),
                verdict: if agree == 16 { "as published" } else { "differs" }.into(),
            }
        };
        Ok(load(dir, "table2")?.map(row).into_iter().collect())
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// Whether its weights are bitwise equal to BP's.
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

/// The published verdicts in the order of the columns.
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

/// The number of the 16 verdicts that agree with the paper.
pub fn agreement(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.verdicts().into_iter().zip(paper(row.rule)).filter(|(v, p)| v.holds == *p).count()).sum()
}

/// The number of updates in the test of equivalence.
pub fn updates(quick: bool) -> u64 {
    if quick { 300 } else { 30_000 }
}

/// The whole table, for the network with two hidden layers.
///
/// # Errors
/// Those of the plans and of training.
fn run(context: &Context<'_>) -> Result<Vec<Row>> {
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

/// The plan from which the properties of a rule are derived: the schedule of the paper, which computes every layer at
/// every t.
fn plan(network: &Network, rule: Rule) -> Result<Plan> {
    Options { schedule: Some(Schedule::Full), ..Options::new(rule) }.plan(network)
}

/// The row of a plan. `bp` are the weights after backpropagation from the same weights on the same mini-batches.
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

/// Trains a plan from the weights of seed 0 and returns its weights.
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

fn section(r: &Record<Vec<Row>>) -> String {
    let mark = |b: bool| if b { "✔" } else { "✘" };
    let header = strings(&["", "Equivalence to BP", "Local plasticity", "Partial autonomy", "Full autonomy"]);
    let mut rows = Vec::new();
    let mut agree = true;
    for row in &r.results {
        let published = paper(row.rule);
        agree &= row.verdicts().iter().zip(published).all(|(v, p)| v.holds == p);
        let cells = row.verdicts().map(|v| format!("{} {}", mark(v.holds), v.why));
        rows.push([vec![row.rule.title().to_owned()], cells.to_vec()].concat());
    }
    let found = if agree {
        "Every cell agrees with the paper."
    } else {
        "**Not every cell agrees with the paper**: see the reasons."
    };
    format!(
        "\n## Table 2: properties of the rules\n{}\n\
         The paper: BP ✔✘✘✘, IL ✘✔✔✘, Z-IL ✔✔✔✘, Fa-Z-IL ✔✔✔✔. Equivalence is tested by training (float32,\n\
         error coordinates, every layer at every t). The other properties follow from what the ops of the rule's plan\n\
         read, when they run, and whether prediction runs them too. {found} Equivalence is tested\n\
         over the number of updates in its cells; for Fa-Z-IL with the paper's φ it ends later (Table 3).\n{}",
        provenance(r),
        markdown(&header, &rows)
    )
}
