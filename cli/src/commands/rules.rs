//! `zilch rules`

use super::args::RulesArgs;
use super::table::table;
use super::{Answer, json};
use serde_json::{Value, json};
use zilch::plan::locality::{NAMES, Properties};
use zilch::{Network, Options, Result, Rule};

/// The network that rules are judged on: two hidden layers of their own, and one more that no rule can overlook.
const LAYERS: &str = "16,12,10,8,6";

pub(crate) fn run(args: &RulesArgs) -> Result<Answer> {
    let network = Network::parse(LAYERS)?;
    let judge = |rule: &Rule| Ok((*rule, Options::new(*rule).plan(&rule.suited(network.clone()))?.properties()));
    let judged = Rule::all().iter().map(judge).collect::<Result<Vec<(Rule, Properties)>>>()?;
    if args.json {
        let rules: Vec<Value> = judged.iter().map(|(rule, properties)| entry(*rule, properties)).collect();
        return Ok(json(&json!({ "rules": rules }))?.into());
    }
    let header: Vec<&str> = ["rule", "title"].into_iter().chain(NAMES.iter().map(|(_, short)| *short)).collect();
    let row = |(rule, properties): &(Rule, Properties)| {
        let yes = |holds: bool| if holds { "yes" } else { "·" }.to_owned();
        let cells = properties.list().into_iter().map(|(_, verdict)| yes(verdict.holds));
        [rule.name().to_owned(), rule.title().to_owned()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = judged.iter().map(row).collect();
    let mut text = table(&header, &rows, 2);
    text += "\nread off the plan of one update, with the rule's defaults; `zilch plan --rule RULE` says why\n\n";
    for (_, short, meaning) in NAMES.iter().zip(MEANINGS).map(|((name, short), meaning)| (name, short, meaning)) {
        text += &format!("{short:<10} {meaning}\n");
    }
    Ok(text.into())
}

/// What the columns mean, in the order of [`NAMES`].
const MEANINGS: [&str; 9] = [
    "every change of a weight reads only what nodes at its two ends hold",
    "weights are used in both directions, or follow others",
    "units need the slope of their own activation",
    "what is sent can be negative, other than a unit's own output",
    "learning runs passes that prediction does not",
    "something must say at which moment to learn",
    "one number for the sample is read beyond the next layer, or one for all samples",
    "learning runs the same node dynamics as prediction",
    "that, and no clock",
];

fn entry(rule: Rule, properties: &Properties) -> Value {
    json!({ "name": rule.name(), "title": rule.title(), "source": rule.source, "properties": properties })
}
