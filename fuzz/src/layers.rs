//! Files of layers, `--layers FILE.json`: an input is one, a list or a run.json. What is accepted is told and read again, and some of the
//! rules plan for it.

use super::bytes::part;
use std::path::Path;
use zilch::network::parse_layers;
use zilch::{Network, Options, Rule};

/// More layers or parameters than that are planned too slowly for a fuzzer.
const MOST_LAYERS: usize = 12;

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    let network = match parse_layers(path, bytes) {
        Ok(network) => network,
        Err(error) => return assert!(!error.to_string().is_empty(), "a refusal without words"),
    };
    let told = serde_json::to_vec(&network.told()).expect("JSON");
    for again in [Network::parse(&network.notation().join(",")), parse_layers(path, &told)] {
        assert!(
            again.is_ok_and(|again| again == network),
            "{} is read as another network",
            network.notation().join(",")
        );
    }
    let _ = (network.parameters(), network.inputs(), network.outputs());
    if network.lmax() > MOST_LAYERS {
        return;
    }
    let rules = Rule::all();
    let rule = rules[usize::from(part(bytes)) % rules.len()];
    // Not every rule takes every network.
    let Ok(plan) = Options::new(rule).plan(&rule.suited(network)) else { return };
    plan.cost(2);
}
