//! Every rule learns with its recommended settings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use zilch::Rule;
use zilch::data::Data;
use zilch::device::Device;
use zilch::rules::Preset;
use zilch::train::{Event, Length, Training};

/// The test error that every rule has to reach on the built-in digits, within the default length.
const LEARNT: f64 = 0.1;

/// `zilch train --data digits --rule R` reaches 10 % for every rule. A training ends with the first epoch that does.
#[test]
fn every_rule_learns_the_digits_with_its_recommended_settings() {
    let data = Arc::new(Data::open("digits").expect("digits"));
    let device = Device::open("cpu", None).expect("the CPU");
    let mut failed = Vec::new();
    for rule in Rule::all() {
        let training =
            Training::with_preset(Preset::Recommended, *rule, data.ends(), Length::Epochs(10)).expect("settings");
        let (stop, mut errors) = (AtomicBool::new(false), Vec::new());
        let ran = training.run(&device, &data, &stop, &mut |event| {
            if let Event::Epoch(row) = event {
                errors.push(row.metrics.test_error);
                stop.store(row.metrics.test_error <= LEARNT, Ordering::Relaxed);
            }
        });
        ran.unwrap_or_else(|e| panic!("{}: {e}", rule.name()));
        if errors.iter().all(|error| *error > LEARNT) {
            failed.push(format!("{}: {errors:?}", rule.name()));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The negative control: the paper's settings do not learn the digits in one epoch.
#[test]
fn the_paper_s_settings_learn_more_slowly() {
    let data = Arc::new(Data::open("digits").expect("digits"));
    let device = Device::open("cpu", None).expect("the CPU");
    let training = Training::with_preset(Preset::Paper, Rule::ZIL, [784, 10], Length::Epochs(1)).expect("settings");
    let trained = training.run(&device, &data, &AtomicBool::new(false), &mut |_| {}).expect("trained");
    assert!(trained.metrics[0].test_error > 2.0 * LEARNT, "{:?}", trained.metrics);
}
