//! Checkpoints. An input is the manifest on the first line, followed by the bytes of the state file.

use super::tiny::{CPU, DATA, network};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::tasks::{Subset, Task, Tasks, Tested};
use zilch::rules::Optimizer;
use zilch::train::checkpoint::{Checkpoint, Manifest, Progress, sealed};
use zilch::train::{EpochMetrics, EpochRow};
use zilch::train::{Length, Training};
use zilch::{Options, Rule};

pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len());
    let (manifest, state) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    let path = Path::new("checkpoint.json");
    let _ = Manifest::parse(path, manifest);
    // No random input has a valid checksum, so the manifest is sealed here.
    let Ok(value) = serde_json::from_slice(manifest) else { return };
    let Ok(manifest) = Manifest::parse(path, sealed(value).to_string().as_bytes()) else { return };
    let training = training(&manifest.settings);
    let Ok(shown) = training.shown(&DATA) else { return };
    let Ok(plan) = training.plan(&shown) else { return };
    let samples: Vec<usize> = shown.iter().map(|data| data.train.len()).collect();
    let progress = Progress { rows: Arc::new(rows(&manifest.progress)), ..manifest.progress };
    let state = Checkpoint::parse(Path::new(&manifest.state), state, progress, &plan, &samples);
    let Ok(checkpoint) = state else { return };
    // The progress may be contradictory, or the training may diverge.
    let _ = training.go_on(&CPU, &DATA, Some(checkpoint), &AtomicBool::new(false), &mut |_| (), None);
}

/// Rows of a metrics log for the epochs before the checkpoint.
fn rows(progress: &Progress) -> Vec<EpochRow> {
    let updates = progress.updates.saturating_sub(progress.within);
    let row = |epoch: u64| EpochRow {
        metrics: EpochMetrics { epoch, updates, seconds: 0.0, train_energy: 1.0, test_error: 0.5, test_r2: None },
        tested: vec![0.5; 2],
        held: None,
        probed: Vec::new(),
    };
    (1..=progress.epoch.min(12)).map(row).collect()
}

/// The training described by the settings of a manifest.
pub fn training(settings: &serde_json::Value) -> Training {
    let rule = settings["rule"].as_str().and_then(Rule::named).unwrap_or(Rule::ZIL);
    let optimizer = if settings["optimizer"] == "adam" { Optimizer::Adam } else { Optimizer::Sgd };
    let own = rule.rule_options.iter().filter_map(|choice| {
        let text = settings["own"][choice.name].as_str()?;
        Some((choice.name.to_owned(), choice.read(text).ok()?))
    });
    let task = |class| Task { subset: Subset { classes: Some(vec![class, 2]), ..Subset::default() }, epochs: 1 };
    let tasks = Tasks { tasks: vec![task(0), task(1)], test: Tested::Every };
    Training {
        options: Options { optimizer, rule_options: own.collect(), ..Options::new(rule) },
        batch: 2,
        tasks: settings["tasks"].is_object().then_some(tasks),
        ..Training::new(network(rule), Length::Updates(12))
    }
}
