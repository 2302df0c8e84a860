//! Signals during long phases: lowering a plan, loading data, evaluating. Each ends the process with exit code 130 long before the work
//! would be complete, and the learned weights are kept.
#![cfg(unix)]

use crate::program::program;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end on a busy machine.
const LONG: Duration = Duration::from_secs(30);

fn start(folder: &Path, args: &str) -> Child {
    program()
        .args(args.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("zilch starts")
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// The output of a process that was asked to end. Panics if it does not end.
fn ended(mut child: Child, what: &str) -> Output {
    let since = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        if since.elapsed() > LONG {
            child.kill().expect("killed");
            panic!("{what}: did not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output")
}

/// Starts a command, sends a signal after a while, and returns what it ended with.
fn interrupted(folder: &Path, args: &str, after: Duration, signal: &str) -> Output {
    let mut child = start(folder, args);
    std::thread::sleep(after);
    if let Some(status) = child.try_wait().expect("a child") {
        let mut err = String::new();
        let _ = child.stderr.take().expect("piped").read_to_string(&mut err);
        panic!("{args}: over before the signal: {status}: {err}");
    }
    send(&child, signal);
    let output = ended(child, args);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{args}: {err}");
    assert!(
        err.lines().last().is_some_and(|line| line.starts_with("zilch: ") && line.contains("interrupted")),
        "{args}: {err}"
    );
    output
}

/// A network with as many layers as there may be.
fn deep() -> String {
    format!("784,{}10", "8,".repeat(254))
}

#[test]
fn lowering_and_loading_end_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let deepest = deep();
    // Every layer at every moment: lowering takes longer than the delay before the signal.
    let deep = format!("{deepest} --schedule full");
    let after = Duration::from_millis(300);
    for (args, signal) in [
        (format!("plan --rule fazil --layers {deep}"), "-TERM"),
        (format!("train --data digits --rule fazil --layers {deep} --device cpu --out run"), "-INT"),
        (format!("train --data digits --rule fazil --layers {deep} --device cpu --seeds 2 --out runs"), "-TERM"),
        (format!("trace --data digits --rule fazil --layers {deep}"), "-TERM"),
        (format!("compare --devices cpu --rules fazil --layers {deepest}"), "-TERM"),
        ("compare --devices cpu --rules bp,zil --layers 784,64,10 --seconds 1000".to_owned(), "-TERM"),
        ("evolve --data digits --population 1000 --networks 100".to_owned(), "-TERM"),
    ] {
        let output = interrupted(dir, &args, after, signal);
        assert!(output.stdout.is_empty(), "{args}: {output:?}");
    }
    // No file is left that would block the same command.
    for run in ["run", "runs"] {
        assert!(!dir.join(run).join("run.json").exists() && !dir.join(run).join("seed-0").exists(), "{run}");
    }
}

/// The document of a run, and its metrics without the third column, the seconds.
fn result(folder: &Path) -> (Value, Vec<Vec<String>>) {
    let document = serde_json::from_slice(&fs::read(folder.join("run.json")).expect("there")).expect("JSON");
    let metrics = fs::read_to_string(folder.join("metrics.csv")).expect("there");
    let row =
        |line: &str| line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell.to_owned()).collect();
    (document, metrics.lines().skip(1).map(row).collect())
}

/// A run that is stopped during an evaluation and resumed ends with the weights and metrics of an uninterrupted run.
fn evaluation(device: &str, layers: &str, delays: &[u64]) {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let run = format!(
        "train --data digits --layers {layers} --rule bp --batch 1 --epoch-updates 1 --updates 2 --hold-out 100 --device {device}"
    );
    let whole = ended(start(dir, &format!("{run} --out whole")), &run);
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
    let (whole, figures) = result(&dir.join("whole"));
    let mut within = 0;
    for delay in delays {
        let out = dir.join(format!("run-{delay}"));
        let mut child = start(dir, &format!("{run} --out {}", out.display()));
        // After this line nearly all of the time is evaluation.
        let mut lines = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("updates of") {
            line.clear();
            assert!(lines.read_line(&mut line).expect("UTF-8") > 0, "{run}: ended early");
        }
        std::thread::sleep(Duration::from_millis(*delay));
        send(&child, "-TERM");
        let mut rest = String::new();
        let _ = lines.read_to_string(&mut rest);
        let output = ended(child, &run);
        match output.status.code() {
            // Too late, or before the first update.
            Some(0) => {}
            Some(130) if !out.join("checkpoint.json").exists() => {}
            Some(130) => {
                let (stopped, before) = result(&out);
                within += usize::from(stopped["updates"].as_u64() > Some(before.len() as u64));
                let resumed = ended(start(dir, &format!("train --resume {}", out.display())), "resumed");
                assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
                let (end, after) = result(&out);
                assert_eq!(end["weights_sha256"], whole["weights_sha256"], "after {delay} ms");
                assert_eq!(after, figures, "after {delay} ms");
                for figure in ["test_error", "held_out_error", "updates"] {
                    assert_eq!(end[figure], whole[figure], "{figure} after {delay} ms");
                }
            }
            other => panic!("{other:?} after {delay} ms: {rest}"),
        }
    }
    println!("{device}: {within} of {} stopped within an evaluation", delays.len());
}

#[test]
fn a_stopped_evaluation_on_the_cpu_is_repeated() {
    evaluation("cpu", "784,1000,1000,10", &[200, 500, 900]);
}

#[test]
fn a_stopped_evaluation_on_a_gpu_is_repeated() {
    evaluation("gpu", "784,256,10", &[700, 1500]);
}
