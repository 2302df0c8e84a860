//! `zilch rules`

use super::args::{MNIST, RulesArgs};
use super::table::{option, table};
use super::{Answer, json};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use zilch::named::Named;
use zilch::plan::locality::{COLUMNS, Properties};
use zilch::rules::Preset;
use zilch::words::of_value;
use zilch::{Network, Options, Result, Rule};

/// The network for which the properties are derived. It has three hidden layers, so that rules with special first and last layers also
/// have an ordinary one between them.
const LAYERS: &str = "16,12,10,8,6";

pub(crate) fn run(args: &RulesArgs) -> Result<Answer> {
    if args.settings {
        return settings(args.json);
    }
    let network = Network::parse(LAYERS)?;
    let judge = |rule: &Rule| Ok((*rule, Options::new(*rule).plan(&rule.suited(network.clone()))?.properties()));
    let judged = Rule::all().iter().map(judge).collect::<Result<Vec<(Rule, Properties)>>>()?;
    if args.json {
        let rules: Vec<Value> = judged.iter().map(|(rule, properties)| entry(*rule, properties)).collect();
        return Ok(json(&json!({ "rules": rules }))?.into());
    }
    let header: Vec<&str> = ["rule", "title"].into_iter().chain(COLUMNS.iter().map(|column| column.short)).collect();
    let row = |(rule, properties): &(Rule, Properties)| {
        let mark = |marked: bool| if marked { "✓" } else { "·" }.to_owned();
        let cells = COLUMNS.iter().zip(properties.list()).map(|(column, (_, verdict))| mark(column.marks(verdict)));
        [rule.name().to_owned(), rule.title().to_owned()].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = judged.iter().map(row).collect();
    let others: Vec<String> = Rule::all().iter().filter_map(others).collect();
    let mut text = table(&header, &rows, 2);
    text += "\n✓ marks a property that is easier to realise in a brain. The properties are derived from the plan of one update\n\
             with default options; `zilch plan --rule RULE` gives the reasons\n\n";
    for column in COLUMNS {
        text += &format!("{:<12} {}\n", column.short, column.meaning);
    }
    text += &format!("\nother names, which --rule takes too: {}\n", others.join(" · "));
    Ok(text.into())
}

/// A rule and its other names; none if it has no other.
fn others(rule: &Rule) -> Option<String> {
    let names = of_value(Rule::kind(), rule.name());
    (!names.is_empty()).then(|| format!("{} {}", rule.name(), names.join(", ")))
}

/// The recommended settings of every rule, for the layers that MNIST has by default.
fn settings(as_json: bool) -> Result<Answer> {
    let of = |rule: &Rule| {
        let defaults = rule.defaults(Preset::Recommended);
        let network = defaults.network(MNIST[0], MNIST[1])?;
        let layers = ("layers", network.to_string().replace('-', ","));
        let default = |(name, value): &(&str, String)| {
            rule.rule_options.iter().any(|choice| choice.name == *name && choice.write(choice.default) == *value)
        };
        let words = defaults.words(*rule, &network).into_iter().filter(|word| !default(word));
        Ok((rule.name(), [layers].into_iter().chain(words).collect()))
    };
    let all: Vec<(&str, Vec<(&str, String)>)> = Rule::all().iter().map(of).collect::<Result<_>>()?;
    if as_json {
        let entry = |(name, words): (&str, Vec<(&str, String)>)| {
            (name.to_owned(), json!(words.into_iter().collect::<BTreeMap<_, _>>()))
        };
        return Ok(json(&Value::Object(all.into_iter().map(entry).collect()))?.into());
    }
    let shared: Vec<(&str, String)> =
        all[0].1.iter().filter(|word| all.iter().all(|(_, words)| words.contains(word))).cloned().collect();
    let line = |words: &mut dyn Iterator<Item = &(&str, String)>| -> String {
        words.map(|(name, value)| option(name, value)).collect::<Vec<_>>().join(" ")
    };
    let mut text = format!("all rules\n  {}\n", line(&mut shared.iter()));
    for (name, words) in &all {
        text += &format!("{name}\n  {}\n", line(&mut words.iter().filter(|word| !shared.contains(word))));
    }
    Ok(text.into())
}

fn entry(rule: Rule, properties: &Properties) -> Value {
    json!({ "name": rule.name(), "title": rule.title(), "source": rule.source, "other_names": of_value(Rule::kind(), rule.name()), "properties": properties })
}
