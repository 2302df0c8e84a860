//! Rules, tasks, records of runs and metrics: an input is a file.

use super::tiny::{DATA, network};
use serde_json::Value;
use std::path::Path;
use zilch::data::tasks::{Subset, Tasks};
use zilch::files::{RuleFile, parse_metrics};
use zilch::train::{Length, Training};
use zilch::{Options, Rule};

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    if let Ok(file) = RuleFile::parse(path, bytes) {
        let own = file.numbers().expect("numbers that were read before");
        // What it says may contradict itself.
        let _ = Options { own, ..Options::new(file.rule) }.plan(&network(file.rule));
    }
    if let Ok(tasks) = Tasks::parse(path, bytes) {
        for length in [Length::Epochs(10), Length::Updates(10)] {
            let training =
                Training { tasks: Some(tasks.clone()), batch: 2, ..Training::new(network(Rule::ZIL), length) };
            let planned = training.shown(&DATA).and_then(|shown| Ok((training.plan(&shown)?, shown)));
            planned.map(|(_, shown)| training.total(&shown)).ok();
        }
        tasks.at(u64::MAX);
    }
    if let Ok(rows) = std::str::from_utf8(bytes).map_err(|e| e.to_string()).and_then(parse_metrics) {
        assert!(rows.iter().zip(1..).all(|(row, epoch)| row.metrics.epoch == epoch));
    }
    if let Ok(run) = serde_json::from_slice::<Value>(bytes) {
        record(&run);
    }
}

/// What `zilch eval` asks a record for, and `zilch reproduce` a piece.
fn record(run: &Value) {
    let subset = serde_json::from_value::<Subset>(run["settings"]["subset"].clone());
    let _ = subset.map(|subset| subset.of(&DATA));
    let Some(rule) = run["settings"]["rule"].as_str().and_then(Rule::named) else { return };
    for choice in rule.own {
        let _ = run["settings"]["own"][choice.name].as_str().map(|text| choice.read(text));
    }
}
