//! `zilch reproduce`: the reduced runs, resuming, interrupting, and refusals.

use crate::program::program;
use std::path::Path;
use std::process::{Command, Output};
use zilch::Rule;
use zilch_lab::experiments::figure3::Outcome;
use zilch_lab::load;

fn reproduce(args: &[&str], out: &Path) -> Output {
    program().arg("reproduce").args(args).arg("--out").arg(out).output().expect("the binary runs")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A reduced run of all experiments on the synthetic digits writes all files, and the page has every section. A second run repeats only
/// missing and damaged trials.
#[test]
fn quick_run_of_everything_then_resume() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let done = reproduce(&["all", "--quick", "--data", "digits"], &out);
    assert!(done.status.success(), "{}", err(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    for section in ["## Table 2", "## Figure 3", "## Table 3", "## Table 4", "**BP's, bit for bit**", "reduced version"]
    {
        assert!(text.contains(section), "{section} is missing in:\n{text}");
    }
    assert_eq!(text, std::fs::read_to_string(out.with_file_name("results.md")).expect("the page"));
    for file in ["table2.json", "table3.json", "table4.json", "figure3.json", "figure3-c2-c3.svg", "figure3-c1.svg"] {
        assert!(out.join(file).exists(), "{file}");
    }

    let trial = |name: &str| out.join("figure3").join(name);
    let [deleted, damaged, kept] =
        ["t2-gamma0.5", "sigma0.1", "t3-gamma1"].map(|v| trial(&format!("lmax3-seed1482555873-{v}.json")));
    let read = |p: &Path| serde_json::from_slice::<Outcome>(&std::fs::read(p).expect("outcome")).expect("outcome");
    let before = [&deleted, &damaged].map(|p| read(p));
    std::fs::remove_file(&deleted).expect("delete");
    std::fs::write(&damaged, &std::fs::read(&damaged).expect("trial")[..50]).expect("damage");
    let untouched = std::fs::metadata(&kept).and_then(|m| m.modified()).expect("time");
    let again = reproduce(&["figure3", "--quick", "--data", "digits"], &out);
    assert!(again.status.success(), "{}", err(&again));
    for (path, before) in [&deleted, &damaged].into_iter().zip(before) {
        let after = read(path);
        assert_eq!(after, Outcome { seconds: after.seconds, ..before }, "the same training gives the same numbers");
    }
    assert_eq!(untouched, std::fs::metadata(&kept).and_then(|m| m.modified()).expect("time"), "not repeated");

    let other = reproduce(&["figure3", "--data", "digits"], &out);
    assert_eq!(other.status.code(), Some(2), "a full run must not go into a reduced run's folder");
    assert!(err(&other).contains("another experiment"), "{}", err(&other));
}

#[test]
fn no_data_says_how_to_get_mnist() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let failed = reproduce(&["table2"], &dir.path().join("r"));
    assert_eq!(failed.status.code(), Some(2));
    assert!(err(&failed).contains("MNIST") && err(&failed).contains("--data digits"), "{}", err(&failed));
    let empty = reproduce(&["page"], &dir.path().join("r"));
    assert_eq!(empty.status.code(), Some(4), "{}", err(&empty));
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_finished_trials_and_says_how_to_continue() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let child = program()
        .args(["reproduce", "figure3", "--data", "digits", "--out"])
        .arg(&out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let finished = || {
        std::fs::read_dir(out.join("figure3")).map_or(0, |d| {
            d.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().contains("bp.json"))).count()
        })
    };
    for _ in 0..600 {
        if finished() >= 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let kept = finished();
    assert!(kept >= 1, "no training finished in a minute");
    let asked = std::time::Instant::now();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("the end");
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    assert!(asked.elapsed().as_secs() < 30, "stops within seconds");
    assert!(err(&output).contains("Continue with") && err(&output).contains("figure3"), "{}", err(&output));
    assert!(finished() >= kept);
}

/// The reduced run of `family` trains every anchor and every rule. The command in each record gives the same result on the command line.
/// The page has a row for each, and a second run repeats nothing.
#[test]
fn quick_run_of_the_family_then_resume() {
    use zilch_lab::experiments::family::{ANCHORS, FIELD, Raw, has_angle};
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let done = reproduce(&["family", "--quick", "--data", "digits"], &out);
    assert!(done.status.success(), "{}", err(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(text, std::fs::read_to_string(dir.path().join("museum.md")).expect("the museum"));
    let family = load::<Raw>(&out, "family").expect("family.json").expect("family.json").results;
    for anchor in ANCHORS {
        assert!(text.contains(&format!("(`{}`)", anchor.name)), "{}", anchor.name);
        let outcome = family.anchors.iter().find(|o| o.name == anchor.name).expect("trained");
        assert!(outcome.stopped.is_none() && outcome.updates == 40, "{outcome:?}");
    }
    for (settings, rule) in FIELD.iter().zip(Rule::all()) {
        assert_eq!(settings.rule, rule.name(), "every rule, in their order");
        let outcome = family.field.iter().find(|o| o.name == settings.rule).expect("trained");
        assert!(outcome.stopped.is_none() && outcome.updates == 40, "{outcome:?}");
        assert_eq!(has_angle(settings), !outcome.angles.is_empty(), "{outcome:?}");
        let train = format!("train {} --data digits --seed 1 --device cpu --threads 1 --json", outcome.command);
        let ran = program().args(train.split_whitespace()).output().expect("the binary runs");
        assert!(ran.status.success(), "{train}: {}", err(&ran));
        let run: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!((run["test_error"].as_f64(), outcome.seed), (outcome.errors.last().copied(), 1), "{train}");
    }
    assert_eq!(FIELD.len(), Rule::all().len());
    let trial = out.join("family").join("ep-seed1.json");
    let before = std::fs::metadata(&trial).and_then(|m| m.modified()).expect("time");
    assert!(reproduce(&["family", "--quick", "--data", "digits"], &out).status.success());
    assert_eq!(before, std::fs::metadata(&trial).and_then(|m| m.modified()).expect("time"), "not repeated");
}

/// The reduced runs of the other experiments.
#[test]
fn quick_runs_of_the_other_experiments() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    for (experiment, page, says) in [
        ("prospective", "prospective.md", "| 0.1 | 0.93810 | 0.78714 |"),
        ("pcx", "pcx.md", "| iPC | 98.45 ± 0.09 |"),
        ("lenet", "lenet.md", "| DFA | – | "),
        ("identify", "identify.md", "| everything; Z-IL or SGD | 50.0 ± 0.0 % | 50.0 ± 0.0 % | 50.0 % |"),
    ] {
        let done = reproduce(&[experiment, "--quick", "--data", "digits"], &out);
        assert!(done.status.success(), "{}", err(&done));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(text, std::fs::read_to_string(dir.path().join(page)).expect("the page"));
        assert!(text.contains(says) && text.contains("reduced version"), "{text}");
    }
    assert!(out.join("prospective-conditions.svg").exists() && out.join("prospective-epochs.svg").exists());
}
