//! `--seeds N`: the same run with several seeds, and the mean and standard deviation of their errors. Each seed has its
//! own subfolder of `--out`. If the command is repeated, finished seeds are skipped and the interrupted seed is
//! continued.

use super::super::args::TrainArgs;
use super::super::progress::say;
use super::super::signals::{self, Leave};
use super::super::table::{energy, table};
use super::super::{Answer, Deadline, json, stop_flag};
use super::config::Arguments;
use super::{ReadyRun, go_ready};
use serde_json::{Value, json as value};
use std::sync::atomic::Ordering;
use zilch::statistics::Statistics;
use zilch::train::checkpoint::{CHECKPOINT_FILE, Manifest};
use zilch::train::{RUN_FILE, finished_run, value_text};
use zilch::{Error, Result};

/// Trains with `seeds` consecutive seeds, starting with `--seed`.
pub(super) fn run(args: &TrainArgs, arguments: &Arguments, seeds: u64, deadline: &Deadline) -> Result<Answer> {
    if args.seed.checked_add(seeds).is_none() {
        return Err(Error::usage("--seed plus --seeds is beyond the largest seed"));
    }
    if let Some(dir) = args.out.as_ref().filter(|dir| dir.join(RUN_FILE).exists()) {
        return Err(Error::usage(format!(
            "--out {}: the folder holds a run, but --seeds creates a subfolder per seed; choose another folder",
            dir.display()
        )));
    }
    let (mut results, mut failure) = (Vec::new(), None);
    let text = |results: &[Value]| if args.json { json(&document(results)) } else { Ok(listed(results)) };
    for seed in args.seed..args.seed + seeds {
        if stop_flag().load(Ordering::Relaxed) {
            failure = Some(again(Error::Interrupted("interrupted before it started".into()), seed, args.out.is_some()));
            break;
        }
        // A signal during preparation may end the process at once. It then prints the results of the earlier seeds.
        if !results.is_empty() {
            signals::finished(text(&results)?);
        }
        signals::free(Leave { why: format!("seed {seed}: interrupted before the first update"), ..Leave::default() });
        let (result, failed) = one(args, &arguments.of_seed(seed), seed, deadline)?;
        results.push(result);
        let Some(error) = failed else { continue };
        // Divergence of a seed is a result; the other seeds are still trained.
        let diverged = matches!(error, Error::Diverged { .. });
        let message = format!("seed {seed}: {error}");
        failure = Some(again(error, seed, args.out.is_some()));
        if !diverged {
            break;
        }
        say(&message);
    }
    Ok(Answer { text: text(&results)?, failure })
}

/// The error of a seed, with the advice to repeat the whole command instead of resuming the single run.
fn again(error: Error, seed: u64, kept: bool) -> Error {
    let Error::Interrupted(why) = error else { return error };
    let why = why.split(". Continue with").next().unwrap_or_default();
    let how = if kept { ". Repeat the command to continue" } else { "" };
    Error::Interrupted(format!("seed {seed}: {why}{how}"))
}

/// Trains with one seed. Returns its document and its error, if any.
fn one(args: &TrainArgs, arguments: &Arguments, seed: u64, deadline: &Deadline) -> Result<(Value, Option<Error>)> {
    let out = args.out.as_ref().map(|dir| dir.join(format!("seed-{seed}")));
    let args = TrainArgs { seed, out, seeds: None, ..args.clone() };
    let mut ready = ReadyRun::new(&args)?;
    let found = args.out.as_deref().filter(|dir| dir.exists());
    if let Some(run) = found.and_then(|dir| finished_run(dir, &ready.settings)) {
        say(&format!("seed {seed} is already trained"));
        return Ok((run, None));
    }
    let from = found.filter(|dir| dir.join(CHECKPOINT_FILE).exists()).map(Manifest::read).transpose()?;
    from.as_ref().map_or(Ok(()), |manifest| ready.resume_from(manifest))?;
    let ran = go_ready(&args, arguments, &ready, from, deadline)?;
    Ok((ran.document(), ran.failure))
}

/// The name of the test error of these runs: a fraction of classes, or the mean squared error of real targets.
fn measured(results: &[Value]) -> &'static str {
    let values = results.iter().any(|run| run.get("test_mse").is_some());
    if values { "test_mse" } else { "test_error" }
}

/// The final test errors of the finished runs.
fn errors(results: &[Value]) -> Vec<f64> {
    let name = measured(results);
    results.iter().filter(|run| run["stopped"].is_null()).filter_map(|run| run[name].as_f64()).collect()
}

fn document(results: &[Value]) -> Value {
    let error = Statistics::of(&errors(results));
    let error = error.map(|s| value!({ "n": s.n, "mean": s.mean, "sd": s.sample_sd }));
    let mut document = value!({ "seeds": results });
    document[measured(results)] = value!(error);
    document
}

/// A table with one row per seed, and the mean error.
fn listed(results: &[Value]) -> String {
    let values = measured(results) == "test_mse";
    let row = |run: &Value| {
        let last = run["epochs"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
        let percent = |v: &Value| v.as_f64().map_or("–".into(), |v| value_text(v, values));
        vec![
            run["settings"]["seed"].to_string(),
            percent(&last["test_error"]),
            percent(&run["best"]["error"]),
            last["train_energy"].as_f64().map_or("–".into(), energy),
            run["updates"].to_string(),
            run["stopped"].as_str().map_or("finished", |_| "stopped").into(),
        ]
    };
    let head = ["seed", if values { "test MSE" } else { "test error" }, "best epoch", "train energy", "updates", "run"];
    let mut text = table(&head, &results.iter().map(row).collect::<Vec<_>>(), 0);
    if let Some(error) = Statistics::of(&errors(results)) {
        let what = match error.n {
            1 => "of 1 seed".to_owned(),
            n => format!("mean and sample standard deviation of {n} seeds"),
        };
        text += &match values {
            true => format!("test MSE        {:.4}, {what}\n", error.scaled(1.0)),
            false => format!("test error      {:.2} %, {what}\n", error.scaled(100.0)),
        };
    }
    for dir in results.iter().filter_map(|run| run["written_to"].as_str()) {
        text += &format!("written to      {dir}\n");
    }
    text
}
