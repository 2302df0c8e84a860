//! The words that people type: other names of options and values, advice about words that are neither, and messages that name what the
//! user can change.

use crate::program::program;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use zilch::words::OPTIONS;

const RUN: &str = "train --data digits --layers 784,8,10 --updates 3 --device cpu --threads 1";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command line, which is split at spaces, in a folder.
fn run(folder: &Path, args: &str) -> Output {
    let output = program().args(args.split_whitespace()).current_dir(folder).output().expect("zilch starts");
    assert!(!text(&output.stderr).contains("panicked"), "{args}: {output:?}");
    output
}

/// The output of a command that must succeed.
fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn document(folder: &Path, args: &str) -> Value {
    serde_json::from_str(&done(folder, &format!("{args} --json"))).expect("a document")
}

/// The message of a command that must fail with a code.
fn refused(folder: &Path, args: &str, code: i32) -> String {
    let output = run(folder, args);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(code), ""), "{args}: {output:?}");
    text(&output.stderr)
}

#[track_caller]
fn says(text: &str, words: &[&str], not: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    for word in not {
        assert!(!text.contains(word), "{word:?} is in: {text}");
    }
}

#[test]
fn options_and_values_have_other_names() {
    let dir = folder();
    let dir = dir.path();
    let sha = |args: &str| document(dir, &format!("{RUN} {args}"))["weights_sha256"].clone();
    let plain = sha(
        "--lr 0.02 --batch 10 --rule bp --activation relu --optimizer adam --loss cross-entropy --init xavier --bias",
    );
    let others = "--learning-rate 0.02 --batch_size 10 --rule Backprop --act ReLU --optimiser ADAM --criterion CE --init Glorot --biases";
    assert_eq!(sha(others), plain);
    assert_ne!(sha("--learning-rate 0.03 --batch_size 10"), sha("--lr 0.02 --batch 10"), "the value counts");
    // The names of the options of compare and train.
    let train = |args: &str| sha(&format!("--lr 0.02 {args}"));
    assert_eq!(train("--rules Predictive-Coding"), train("--rule il"));
    let compare = "compare --layers 12,5,4 --batch 3 --seconds 0.001 --threads 1";
    let measured =
        document(dir, &format!("{compare} --rule BackProp,ZIL --device CPU --schedule Full --bias --mean --init he"));
    let rules: Vec<&Value> = measured["results"].as_array().expect("rows").iter().map(|row| &row["rule"]).collect();
    assert_eq!(rules, [&json!("bp"), &json!("zil")]);
    // A settings file has them too. The record of a run has the names of zilch.
    fs::write(dir.join("run.toml"), "learning_rate = 0.02\nbatch-size = 10\nrule = \"Backprop\"\nact = \"RELU\"\n")
        .expect("written");
    let from_file = document(dir, &format!("{RUN} --config run.toml"));
    let typed = document(dir, &format!("{RUN} --lr 0.02 --batch 10 --rule bp --activation relu"));
    assert_eq!((&from_file["settings"], &from_file["weights_sha256"]), (&typed["settings"], &typed["weights_sha256"]));
    says(
        &from_file["arguments"].to_string(),
        &["--lr=0.02", "--batch=10", "--activation=RELU"],
        &["learning", "--act="],
    );
    // Options that the command line has by other names leave the file's out.
    assert_eq!(document(dir, &format!("{RUN} --config run.toml --alpha 0.5"))["settings"]["lr"], 0.5);
    says(&done(dir, "rules"), &["other names", "bp backprop, back-propagation", "il pc"], &[]);
}

#[test]
fn words_that_are_no_options_are_answered_with_the_right_one() {
    let dir = folder();
    for (args, words, not) in [
        (
            "train --data digits --hidden 32,32",
            &["--hidden", "tip: write all layers", "--layers 784,32,32,10"][..],
            &["similar", "hidden-lr"][..],
        ),
        ("train --data digits --learning-rat 1", &["did you mean --lr?"], &["target-rate"]),
        ("train --data digits --lrr 1", &["did you mean --lr?"], &[]),
        ("train --data digits -lr 1", &["options have two hyphens: --lr"], &[]),
        ("train digits", &["every value follows its option"], &[]),
        ("train --data digits --gpu", &["--device gpu"], &[]),
        ("train --data digits --xyzzy", &["--xyzzy"], &["tip:"]),
        ("train --data digits --rule backprob", &["'backprob'", "a similar value exists: 'bp'"], &["'brainprop'"]),
        ("train --data digits --rule ZILL", &["similar value exists: 'zil'"], &[]),
        ("train --data digits --activation Relux", &["similar value exists: 'relu'"], &["exists: 'gelu'"]),
        ("train --data digits --batch -5", &["'-5'", "--batch", "expected a whole number"], &["unexpected argument"]),
        ("compare --widths 3", &["--sweep"], &[]),
    ] {
        says(&refused(dir.path(), args, 2), words, not);
    }
    says(&refused(dir.path(), "train --data digits --lr -5", 2), &["--lr must be a positive"], &["unexpected"]);
}

/// Every option in the table of other names is one of a command.
#[test]
fn other_names_are_of_options_that_exist() {
    let dir = folder();
    done(dir.path(), "man --out pages");
    let pages = fs::read_dir(dir.path().join("pages")).expect("pages").map(|page| page.expect("a page").path());
    let all: String = pages.map(|page| fs::read_to_string(page).expect("a page").replace('\\', "")).collect();
    for (name, _) in OPTIONS {
        assert!(all.contains(&format!("--{name}")), "no command has --{name}");
    }
}

/// A run that stops within an epoch says of which weights its errors are.
#[test]
fn errors_of_an_interrupted_run_are_those_of_the_weights_they_are_said_of() {
    let dir = folder();
    let dir = dir.path();
    let train = "train --data digits --per-class 20 --layers 784,32,10 --batch 1 --epochs 100000 --max-time 1s --device cpu --threads 1 --out out";
    // A run may happen to stop between two epochs.
    let mut run = Value::Null;
    for _ in 0..8 {
        let _ = fs::remove_dir_all(dir.join("out"));
        let output = self::run(dir, train);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        run = serde_json::from_slice(&fs::read(dir.join("out/run.json")).expect("a record")).expect("JSON");
        let last = &run["last_epoch"];
        let within = last.is_object() && last["updates"] != run["updates"];
        let summary = text(&output.stdout);
        assert_eq!(summary.contains("before the weights below"), within, "{summary}");
        assert_eq!(run["test_error"].is_null(), within || last.is_null(), "{run}");
        if within {
            break;
        }
        run = Value::Null;
    }
    assert!(run.is_object(), "no run stopped within an epoch");
    let tested = document(dir, "eval --data digits --weights out/weights.safetensors");
    assert_eq!(tested["weights_sha256"], run["weights_sha256"]);
    // A damaged record does not stop the run from continuing, and one of another run is not replaced.
    let record = dir.join("out/run.json");
    let resume = "train --resume out --n-threads 1 --max-time 1s";
    let mut foreign = run.clone();
    foreign["settings"]["lr"] = json!(0.75);
    fs::write(&record, foreign.to_string()).expect("written");
    says(&refused(dir, resume, 4), &["run.json", "--resume", "checkpoint.json"], &["--out", "remove this"]);
    assert_eq!(fs::read_to_string(&record).expect("a record"), foreign.to_string());
    for damaged in ["{}", "{\"settings\": 3}", "[", ""] {
        fs::write(&record, damaged).expect("written");
        assert_eq!(self::run(dir, resume).status.code(), Some(130), "{damaged}");
    }
    says(&refused(dir, "train --resume out --lr 3", 2), &["--lr is given"], &[]);
    // A finished run has evaluated its weights.
    let whole = document(dir, RUN);
    assert_eq!(
        (&whole["test_error"], &whole["updates"]),
        (&whole["last_epoch"]["test_error"], &whole["last_epoch"]["updates"])
    );
    assert!(whole["test_error"].is_f64(), "{whole}");
}

#[test]
fn eval_names_only_options_that_it_has() {
    let dir = folder();
    let dir = dir.path();
    done(dir, &format!("{RUN} --rule bp --activation relu --targets -1,1 --out dense"));
    done(dir, "train --data digits --layers 28x28,2c5,10 --rule bp --updates 1 --batch 5 --device cpu --out image");
    let graph = "--layers 784,8=a,8,8+a,10";
    done(
        dir,
        &format!(
            "train --data digits {graph} --rule zil --schedule full --updates 1 --batch 5 --device cpu --out graph"
        ),
    );
    let not = ["--layers", "--activation", "--targets", "--schedule"];
    for (args, words) in [
        ("digits --weights dense/weights.safetensors --rule ep", &["the rule ep", "relu", "--rule"][..]),
        ("digits --weights dense/weights.safetensors --rule brainprop", &["the rule brainprop", "other targets"]),
        ("digits --weights image/weights.safetensors --rule hebb", &["the rule hebb", "no convolutions"]),
        ("digits --weights graph/weights.safetensors --rule hebb", &["the rule hebb", "no skips"]),
    ] {
        says(&refused(dir, &format!("eval --data {args}"), 2), words, &not);
    }
    let message = refused(dir, "eval --data colours --weights dense/weights.safetensors", 4);
    says(&message, &["3×32×32", "784 inputs", "begins with 3072"], &not);
    // The rule of the run predicts with its network, whatever its schedule.
    let tested = document(dir, "eval --data digits --weights graph/weights.safetensors");
    let trained: Value =
        serde_json::from_slice(&fs::read(dir.join("graph/run.json")).expect("a record")).expect("JSON");
    assert_eq!((&tested["rule"], &tested["test_error"]), (&json!("zil"), &trained["test_error"]));
}

#[test]
fn a_diverged_run_is_not_told_to_try_an_infinite_rate() {
    let dir = folder();
    let output =
        run(dir.path(), "train --data digits --layers 784,8,10 --epochs 1 --device cpu --preset paper --lr 1e30");
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    says(&text(&output.stderr), &["training diverged", "Try a smaller --lr"], &["e29", "learned nothing"]);
}

#[test]
fn pictures_are_written_to_svg_files_only() {
    let dir = folder();
    let dir = dir.path();
    done(dir, &format!("{RUN} --out out"));
    fs::create_dir(dir.join("folder.svg")).expect("made");
    for command in ["draw --weights out/weights.safetensors", "trace --layers 784,8,10", "runs out", "compare --sweep"]
    {
        says(&refused(dir, &format!("{command} --out x.png"), 2), &["--out", "SVG", "x.svg"], &[]);
        says(&refused(dir, &format!("{command} --out folder.svg"), 2), &["--out", "this is a folder"], &[]);
    }
    assert!(!dir.join("x.png").exists());
    done(dir, "draw --weights out/weights.safetensors --out X.SVG");
    assert!(fs::read_to_string(dir.join("X.SVG")).expect("drawn").starts_with("<svg"));
    for rows in ["13", "0", "-3"] {
        let message = refused(dir, &format!("draw --weights out/weights.safetensors --out x.svg --rows {rows}"), 2);
        says(&message, &["--rows", rows], &["give --rows", "unexpected"]);
    }
    fs::write(dir.join("file"), "kept").expect("written");
    for command in ["man", "reproduce superspike --quick"] {
        says(&refused(dir, &format!("{command} --out file/x"), 2), &["file/x", "is a file"], &[]);
    }
}

#[test]
fn one_thing_is_not_called_several() {
    let dir = folder();
    let output =
        run(dir.path(), "train --data digits --layers 784,8,10 --updates 1 --batch 1 --device cpu --threads 1");
    says(&text(&output.stderr), &["1 update of 1 sample\n", "epoch   1 · 1 update · "], &["1 updates", "1 samples"]);
    let measured = done(dir.path(), "compare --devices cpu --threads 1 --rules bp --layers 12,4 --seconds 0.001");
    says(&measured, &["1 thread, "], &["1 threads"]);
}

/// A run that was killed has no record but its epochs, and those have updates.
#[test]
fn a_killed_run_has_the_updates_of_its_epochs() {
    let dir = folder();
    let dir = dir.path();
    let run = document(dir, &format!("{RUN} --out out"));
    let settings = json!({ "settings": run["settings"] });
    fs::write(dir.join("out/run.json"), settings.to_string()).expect("written");
    let listed = document(dir, "runs out");
    let killed = &listed["runs"][0];
    assert_eq!((&killed["updates"], &killed["epochs"]), (&json!(3), &json!(1)), "{listed}");
    assert!(killed["seconds"].is_f64(), "{listed}");
}
