//! The CPU selects hand-written kernels by the form of an op's formulas. A formula in another form still gives correct results, but is
//! evaluated node by node, which is slower, and no other test fails. So `tests/fixtures/kernels.json` records the kernels of each rule
//! and setting: how many jobs of an update are hand-written and how many evaluated, on units and on weights. Recorded at the commit
//! before the engine's folders were created. `ZILCH_RECORD_KERNELS=FILE` writes a new list.

use crate::common::{cpu_device, data, weights};
use crate::networks::SKIPS;
use std::collections::BTreeMap;
use zilch::rules::{Loss, Optimizer};
use zilch::{Activation, Coords, Network, Options, Rule, Schedule};

type Kernels = BTreeMap<String, [(usize, usize); 2]>;

/// A setting of a rule, with its name.
fn settings(rule: Rule) -> Vec<(String, Options)> {
    let plain = Options { alpha: 0.01, ..Options::new(rule) };
    let mut all = vec![("plain".to_owned(), plain.clone())];
    for schedule in [Schedule::Full, Schedule::Frontier].into_iter().filter(|_| rule.takes("schedule")) {
        for coords in [Coords::Error, Coords::Value] {
            let options = Options { schedule: Some(schedule), coords, ..plain.clone() };
            all.push((format!("{}, {}", schedule.name(), coords.name()), options));
        }
    }
    for optimizer in [Optimizer::Momentum, Optimizer::Adam, Optimizer::Adamw] {
        all.push((optimizer.name().to_owned(), Options { optimizer, ..plain.clone() }));
    }
    if rule.losses.contains(&Loss::CrossEntropy) {
        all.push(("cross-entropy".to_owned(), Options { loss: Loss::CrossEntropy, ..plain.clone() }));
    }
    all.push(("mean".to_owned(), Options { mean: true, ..plain }));
    all
}

/// The kernels of every rule, for every kind of network that it accepts.
fn kernels() -> Kernels {
    let mut found = Kernels::new();
    let device = cpu_device(1);
    for rule in Rule::all() {
        for layers in ["12,9,7,5", "1x6x6,3c3p1,m2,4c3,7,5", SKIPS] {
            for activation in [Activation::Sigmoid, Activation::Relu, Activation::Gelu] {
                let network = Network::parse(layers).expect("layers").with_activation(activation).with_bias(true);
                let taken = (rule.convolutions || !network.convolves()) && (rule.graphs || network.graph().is_none());
                if !taken || rule.activation.is_some_and(|only| only != activation) {
                    continue;
                }
                let (data, weights) = (data(&network, 4, 1, 7), weights(&network, 8));
                for (name, options) in settings(*rule) {
                    // A rule may refuse a setting, for example an optimiser for its own weights.
                    let Ok(plan) = options.plan(&network) else { continue };
                    let session = device.session(&plan, if plan.streaming { 1 } else { 4 }, data.clone(), &weights);
                    let count = session.expect("a session").kernels();
                    found.insert(format!("{} {name}, {activation}, {layers}", rule.name()), count);
                }
            }
        }
    }
    found
}

#[test]
fn no_rule_falls_back_to_the_evaluator() {
    let found = kernels();
    if let Some(path) = std::env::var_os("ZILCH_RECORD_KERNELS") {
        let lines: Vec<String> = found
            .iter()
            .map(|(name, count)| {
                let count = serde_json::to_string(count).expect("JSON");
                format!("{}: {count}", serde_json::to_string(name).expect("JSON"))
            })
            .collect();
        std::fs::write(path, format!("{{\n{}\n}}\n", lines.join(",\n"))).expect("written");
        return;
    }
    let list =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/kernels.json")).expect("the list");
    let recorded: Kernels = serde_json::from_str(&list).expect("the recorded list");
    let missing: Vec<&String> = recorded.keys().filter(|name| !found.contains_key(*name)).collect();
    assert!(missing.is_empty(), "recorded, but no longer run: {missing:?}");
    let fell = |(name, now): (&String, &[(usize, usize); 2])| {
        let Some(then) = recorded.get(name) else { return Some(format!("{name} is not recorded")) };
        let worse = now.iter().zip(then).any(|(now, then)| now.1 > then.1);
        worse.then(|| format!("{name}: {now:?}, and {then:?} before"))
    };
    let fell: Vec<String> = found.iter().filter_map(fell).collect();
    assert!(fell.is_empty(), "evaluated, and no longer run by a hand-written kernel:\n{}", fell.join("\n"));
    // Both hand-written kernels and the evaluator must occur.
    let sum = |of: fn(&(usize, usize)) -> usize| -> usize { found.values().flatten().map(of).sum() };
    assert!(found.len() > 300 && sum(|count| count.0) > 1000 && sum(|count| count.1) > 100, "{} settings", found.len());
}
