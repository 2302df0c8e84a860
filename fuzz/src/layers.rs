//! Files of layers, `--layers FILE.json`. An input is such a file: a list or a run.json. An accepted network is written and read again,
//! and a rule plans for it.

use super::bytes::part;
use std::path::Path;
use zilch::network::parse_layers;
use zilch::{Network, Options, Rule};

/// Networks with more layers are too slow to plan for a fuzzer.
const MOST_LAYERS: usize = 12;

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    let network = match parse_layers(path, bytes) {
        Ok(network) => network,
        Err(error) => return assert!(!error.to_string().is_empty(), "an error without a message"),
    };
    let written = serde_json::to_vec(&network.to_json()).expect("JSON");
    for again in [Network::parse(&network.notation().join(",")), parse_layers(path, &written)] {
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
    // Not every rule accepts every network.
    let Ok(plan) = Options::new(rule).plan(&rule.suited(network)) else { return };
    plan.cost(2);
}
