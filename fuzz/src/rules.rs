//! Rule files, as `zilch evolve` writes them. An input is such a file. An accepted one is written and read again, and some networks
//! compute an update with it.

use super::bytes::part;
use super::plan;
use super::tiny::network;
use std::path::Path;
use zilch::rules::RuleFile;
use zilch::{Network, Options};

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    let file = match RuleFile::parse(path, bytes) {
        Ok(file) => file,
        Err(error) => return assert!(!error.to_string().is_empty(), "an error without a message"),
    };
    let own = file.numbers().expect("numbers that were read before");
    let written = serde_json::to_vec(&file).expect("JSON");
    assert!(RuleFile::parse(path, &written).is_ok_and(|again| again == file), "a written file is read back");
    let options = Options { rule_options: own, ..Options::new(file.rule) };
    let image = Network::parse("2x4x4,3c3p1,m2,5").expect("layers");
    for network in [network(file.rule), file.rule.suited(image)] {
        // Its options may contradict each other, and not every rule accepts images.
        let Ok(plan) = options.plan(&network) else { continue };
        if part(bytes).is_multiple_of(8) {
            plan::use_it(&plan, 4 + usize::from(part(bytes) / 8 % 4));
        }
    }
}
