//! The reports of a run: its settings, its results for `run.json`, and the summary on stdout.

use super::super::args::TrainArgs;
use super::super::table::{energy, time};
use super::ReadyRun;
use super::config::Arguments;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use zilch::Options;
use zilch::data::Data;
use zilch::device::Device;
use zilch::files::{counted, words_json};
use zilch::measure::host::Host;
use zilch::rules::Optimizer;
use zilch::train::probe::{Probe, Probed};
use zilch::train::{Trained, Training, value_text};

/// The maximum number of tasks whose errors the summary lists.
const SHOWN: usize = 12;

/// All options with their defaults resolved. Two runs with equal settings on the same device give the same weights.
pub(super) fn settings(args: &TrainArgs, training: &Training, device: &Device, data: &Data) -> Value {
    let (network, options) = (&training.network, &training.options);
    let takes = |name: &str| options.rule.takes(name);
    let mut settings = json!({
        "layers": network.to_json(),
        "activation": network.activation,
        "bias": network.bias,
        "input_activation": network.input_activation,
        "pixels": network.pixels,
        "targets": network.targets,
        "rule": options.rule,
        // An option that does not apply to the rule is null, so that its value does not distinguish runs.
        "schedule": takes("schedule").then(|| options.schedule()),
        "coords": takes("coords").then_some(options.coords),
        "gamma": takes("gamma").then(|| options.gamma()),
        "steps": takes("steps").then(|| options.steps(network)),
        "phi": takes("phi").then_some(options.phi),
        "td": takes("td").then_some(options.td),
        "own": own(options),
        "lr": options.alpha,
        "mean": options.mean,
        "loss": options.loss,
        "optimizer": options.optimizer,
        "weight_decay": options.weight_decay(),
        "momentum": (options.optimizer == Optimizer::Momentum).then(|| options.averages()[0]),
        "betas": matches!(options.optimizer, Optimizer::Adam | Optimizer::Adamw).then(|| [options.averages()[1], options.averages()[2]]),
        "lr_schedule": options.lr_schedule.ramp,
        "layer_lr": (!options.layer_lr.is_empty()).then_some(&options.layer_lr),
        "warmup": options.lr_schedule.warmup,
        "batch": training.batch,
        "length": training.length,
        "seed": training.seed,
        "shuffle": training.shuffle,
        "init": training.initial,
        "init_gain": training.initial.map(|_| match training.init_gain[..] {
            [] => json!(1.0),
            [gain] => json!(gain),
            _ => json!(training.init_gain),
        }),
        "subset": Some(args.subset.subset()).filter(|subset| !subset.is_all()),
        "tasks": training.tasks,
        "hold_out": args.hold_out,
        "epoch_updates": training.epoch_updates,
        "init_sha256": training.init.as_ref().map(zilch::Weights::sha256),
        "device": device.kind(),
        "device_name": device.name(),
        "precision": args.precision,
        "threads": if device.as_cpu().is_some() { args.threads } else { None },
        "data": data.name,
        "data_sha256": data.checksums.iter().cloned().collect::<BTreeMap<_, _>>(),
    });
    // These options were added later. Without a value they are omitted, so that the settings stay equal to those in
    // folders of older versions.
    if let Some(patience) = training.patience {
        settings["patience"] = json!(patience);
    }
    if !options.augment.is_none() {
        settings["augment"] = json!(options.augment);
    }
    let reading = args.reading.reading();
    if !reading.is_default() {
        settings["reading"] = json!(reading);
    }
    settings
}

/// The names of settings that differ. The number of threads is not compared: it does not change the results.
pub(super) fn changed(old: &Value, new: &Value) -> Vec<String> {
    // The old settings were parsed from a file. The new settings are serialised and parsed too, so that equal values
    // compare as equal.
    let new: Value = serde_json::from_str(&new.to_string()).unwrap_or_default();
    let names = old.as_object().into_iter().chain(new.as_object()).flat_map(|o| o.keys());
    let mut names: Vec<String> = names.filter(|n| *n != "threads" && old[*n] != new[*n]).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// The rule's own options, with defaults resolved, as they are written on the command line.
fn own(options: &Options) -> BTreeMap<&'static str, String> {
    options
        .rule
        .rule_options
        .iter()
        .map(|choice| (choice.name, choice.write(options.rule_option(choice.name))))
        .collect()
}

/// The document of `run.json`. The epochs are not in it but in `metrics.csv`.
pub(super) fn result(ready: &ReadyRun, trained: &Trained, arguments: &Arguments) -> Value {
    let (training, settings, device) = (&ready.run.training, &ready.settings, &ready.run.device);
    let threads = device.as_cpu().map_or(1, |cpu| cpu.threads());
    let last = trained.metrics.last();
    let mut result = json!({
        "settings": settings,
        // One string per argument. Arguments that are not Unicode are approximated here; checkpoint.json stores them
        // exactly.
        "arguments": words_json(&arguments.words),
        "folder": arguments.folder.display().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "host": Host::new(threads),
        "driver": device.driver(),
        "software": device.software(),
        "parameters": training.network.parameters(),
        "updates": trained.updates,
        "seconds": trained.seconds,
        "weights_sha256": trained.weights.sha256(),
        // The errors of the weights above. A run that is stopped within an epoch has not evaluated them.
        "test_error": trained.evaluated().map(|row| row.test_error),
        "held_out_error": trained.evaluated().and(trained.held.last()),
        "last_epoch": last.map(|row| json!({
            "epoch": row.epoch,
            "updates": row.updates,
            "test_error": row.test_error,
            "held_out_error": trained.held.last(),
        })),
        "best": trained.best.map(|(epoch, error)| json!({ "epoch": epoch, "error": error })),
        "ended_early": trained.early,
        "stopped": trained.stopped.as_ref().map(ToString::to_string),
        // The error of always answering the most frequent class of the test set.
        "chance": ready.chance(),
        "date": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    // Only CSV files, arrays and folders of images are prepared.
    if let Some(preparation) = ready.data.train.preparation() {
        result["preparation"] = json!(preparation);
    }
    if ready.data.train.kind().values {
        let r2 = trained.evaluated().and_then(|row| row.test_r2);
        (result["test_mse"], result["test_r2"]) = (result["test_error"].take(), json!(r2));
        if let Some(row) = last {
            let error = result["last_epoch"]["test_error"].take();
            (result["last_epoch"]["test_mse"], result["last_epoch"]["test_r2"]) = (error, json!(row.test_r2));
        }
    }
    result
}

/// A line with the last values of a probe, one per layer.
fn probe(Probed { probe, first, values }: &Probed) -> String {
    let (name, symbol, unit) = match probe {
        Probe::Alignment => ("angle to BP", "θ", "°"),
        Probe::Energy => ("energy", "ε", ""),
        Probe::Eps => ("RMS of ε", "ε", ""),
        Probe::Target => ("angle to target", "", "°"),
    };
    let number = |v: &f64| if unit.is_empty() { format!("{v:.2e}") } else { format!("{v:.2}{unit}") };
    let one = |(i, v): (usize, &Option<f64>)| {
        let place = if symbol.is_empty() { String::new() } else { format!("{symbol}^{} ", first + i) };
        format!("{place}{}", v.as_ref().map_or_else(|| "–".to_owned(), number))
    };
    format!("{name:<15} {}\n", values.iter().enumerate().map(one).collect::<Vec<_>>().join("  "))
}

pub(super) fn summary(trained: &Trained, written: Option<&Path>) -> String {
    let mut text = String::new();
    let values = trained.metrics.iter().any(|row| row.test_r2.is_some());
    if let Some(last) = trained.metrics.last() {
        let since = counted(trained.updates.saturating_sub(last.updates), "update");
        let older = || format!(" after epoch {}, {since} before the weights below", last.epoch);
        let of = trained.evaluated().map_or_else(older, |_| String::new());
        text += &match last.test_r2 {
            None => format!("test error      {:.2} %{of}\n", 100.0 * last.test_error),
            Some(r2) => format!("test MSE        {:.4}{of}\nR²              {r2:.4}\n", last.test_error),
        };
        text += &format!("train energy    {} per sample\n", energy(last.train_energy));
    }
    if let Some(error) = trained.held.last() {
        text += &format!("held-out error  {}\n", value_text(*error, values));
    }
    if let (true, Some((epoch, error))) = (trained.early, trained.best) {
        let of = if trained.tested.is_empty() { "" } else { ", mean over tasks" };
        text += &format!("stopped early   epoch {epoch} was the best: {}{of}\n", value_text(error, values));
    }
    if let Some(errors) = trained.tested.last() {
        let all: Vec<String> = errors.iter().map(|e| format!("{:.2} %", 100.0 * e)).collect();
        let more = all.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!("  … and {more} more") } else { String::new() };
        text += &format!("error per task  {}{rest}\n", all[..all.len() - more].join("  "));
    }
    for probed in trained.probed.last().into_iter().flatten() {
        text += &probe(probed);
    }
    text += &format!("updates         {} in {:.2} s", trained.updates, trained.seconds);
    if trained.updates > 0 && trained.seconds > 0.0 {
        text += &format!(", {} each", time(trained.seconds / trained.updates as f64 * 1e6));
    }
    text.push('\n');
    text += &format!("weights sha256  {}\n", trained.weights.sha256());
    if let Some(dir) = written {
        text += &format!("written to      {}\n", dir.display());
    }
    text
}
