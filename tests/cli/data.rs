//! `--data` with CSV files, arrays and images by class: training, resuming, evaluating, and what is refused.

use crate::program::program;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use zilch::random::{Random, Stream};

fn zilch(folder: &Path, args: &str) -> Command {
    let mut command = program();
    command.args(args.split_whitespace()).current_dir(folder);
    command
}

fn ran(folder: &Path, args: &str) -> Output {
    zilch(folder, args).output().expect("runs")
}

/// The JSON that a command prints.
fn json(folder: &Path, args: &str) -> Value {
    let output = ran(folder, &format!("{args} --json"));
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The message of a command that is refused with this exit code.
fn refused(folder: &Path, args: &str, code: i32) -> String {
    let output = ran(folder, args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

/// 300 points on two arcs, with their arc in words and with two real targets, in units of their own.
fn arcs(rows: usize, seed: u64) -> String {
    let mut random = Random::new(seed, Stream::Test, 0);
    let mut text = "id,east,north,sum,product,arc\n".to_owned();
    for i in 0..rows {
        let (angle, side) = (random.range(0.0, std::f64::consts::PI), (i % 2) as f64);
        let (x, y) = (angle.cos() + side, angle.sin() * (1.0 - 2.0 * side) + 0.25 * side);
        let arc = ["upper", "lower"][i % 2];
        text += &format!("p{i},{},{},{},{},{arc}\n", 1000.0 * x, 0.01 * y, 50.0 * (x + y), x * y);
    }
    text
}

const NETWORK: &str = "--rule zil --activation tanh --bias --lr 0.02 --batch 10 --device cpu --optimizer adam";

#[test]
fn classes_of_a_table_are_learned_resumed_and_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::write(here.join("arcs.csv"), arcs(300, 1)).expect("written");
    let train = format!("train --data arcs.csv --ignore-columns id,sum,product --layers 2,16,2 {NETWORK}");
    let run = json(here, &format!("{train} --epochs 60 --out run"));
    assert!(run["test_error"].as_f64().expect("an error") < 0.1, "{}", run["test_error"]);
    let record: Value = serde_json::from_slice(&fs::read(here.join("run/run.json")).expect("there")).expect("JSON");
    let about = &record["preparation"];
    assert_eq!(about["classes"], serde_json::json!(["lower", "upper"]));
    assert_eq!(about["inputs"]["names"], serde_json::json!(["east", "north"]));
    assert!(about["inputs"]["scale"][0].as_f64() > Some(500.0) && about["inputs"]["scale"][1].as_f64() < Some(0.01));
    assert_eq!((&about["test_part"], &about["split_seed"]), (&serde_json::json!(0.2), &serde_json::json!(0)));
    assert_eq!(record["settings"]["reading"], serde_json::json!({ "ignore_columns": ["id", "sum", "product"] }));

    // Evaluation reads the data as training did, without being told, and sees the same test set.
    let eval = json(here, "eval --weights run/weights.safetensors --data arcs.csv --device cpu");
    assert_eq!((&eval["test_error"], &eval["samples"]), (&run["test_error"], &serde_json::json!(60)));
    // New data are scaled as the training was, and all of them are tested.
    fs::write(here.join("new.csv"), arcs(200, 2)).expect("written");
    let eval = json(here, "eval --weights run/weights.safetensors --data new.csv --device cpu");
    assert_eq!(eval["samples"], 200);
    assert!(eval["test_error"].as_f64().expect("an error") < 0.1, "{}", eval["test_error"]);
    // One point of another scale: by its own statistics it would be at 0.
    fs::write(here.join("one.csv"), "id,east,north,sum,product,arc\n0,0,0.01,0,0,upper\n").expect("written");
    assert_eq!(json(here, "eval --weights run/weights.safetensors --data one.csv --device cpu")["errors"], 0);
    fs::write(here.join("other.csv"), "id,west,north,sum,product,arc\n0,0,0.01,0,0,upper\n").expect("written");
    let message = refused(here, "eval --weights run/weights.safetensors --data other.csv --device cpu", 4);
    assert!(message.contains("west") && message.contains("trained on other data"), "{message}");

    // The split has a seed of its own.
    let with = |split: &str| json(here, &format!("{train} --epochs 1 --split-seed {split}"))["weights_sha256"].clone();
    assert_ne!(with("1"), with("2"));
    assert_eq!(with("3"), with("3"));
}

#[test]
fn a_resumed_run_on_numbers_has_the_same_bits() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::write(here.join("arcs.csv"), arcs(300, 1)).expect("written");
    let train = format!(
        "train --data arcs.csv --ignore-columns id,arc --target-columns sum,product --layers 2,16,2 {NETWORK} --epochs 40"
    );
    let whole = json(here, &train);
    let mut child = zilch(here, &format!("{train} --out run --checkpoint-every 1")).spawn().expect("runs");
    let checkpoint = here.join("run/checkpoint.json");
    for _ in 0..6000 {
        if checkpoint.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("the end");
    assert!(checkpoint.exists(), "it was killed after its first checkpoint and before its end");
    // With other data in the file it is not resumed.
    fs::write(here.join("arcs.csv"), arcs(300, 2)).expect("written");
    let message = refused(here, "train --resume run", 2);
    assert!(message.contains("data_sha256 changed"), "{message}");
    fs::write(here.join("arcs.csv"), arcs(300, 1)).expect("written");
    let resumed = json(here, "train --resume run");
    assert_eq!((&resumed["weights_sha256"], &resumed["test_mse"]), (&whole["weights_sha256"], &whole["test_mse"]));
}

#[test]
fn real_targets_are_tested_by_their_squared_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::write(here.join("arcs.csv"), arcs(300, 1)).expect("written");
    let train = format!(
        "train --data arcs.csv --ignore-columns id,arc --target-columns sum,product --layers 2,16,2 {NETWORK} --epochs 60"
    );
    let run = json(here, &format!("{train} --out run --hold-out 20"));
    let (mse, r2) = (run["test_mse"].as_f64().expect("an error"), run["test_r2"].as_f64().expect("R²"));
    assert!(run["test_error"].is_null() && r2 > 0.9 && mse < 0.2, "MSE {mse}, R² {r2}");
    assert!((run["held_out_error"].as_f64().expect("an error")) < 0.2);
    let csv = fs::read_to_string(here.join("run/metrics.csv")).expect("there");
    assert!(csv.starts_with("epoch,updates,seconds,train_energy,test_mse,test_r2,held_out_error\n"), "{csv}");
    let eval = json(here, "eval --weights run/weights.safetensors --data arcs.csv --device cpu");
    assert_eq!((&eval["test_mse"], &eval["test_r2"]), (&run["test_mse"], &run["test_r2"]));
    let text = ran(here, "eval --weights run/weights.safetensors --data arcs.csv --device cpu").stdout;
    assert!(String::from_utf8_lossy(&text).contains("R²  "), "{text:?}");
    // Lists, pages and pictures of runs show it as the number that it is, and not as a percentage.
    let listed = ran(here, "runs run --out curves.svg").stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    assert!(listed.contains(&format!("{mse:.4}")) && listed.contains("finished") && !listed.contains('%'), "{listed}");
    assert!(fs::read_to_string(here.join("curves.svg")).expect("a picture").contains("test mean squared error"));
    assert!(ran(here, "report run --out page.html").status.success());
    let page = fs::read_to_string(here.join("page.html")).expect("a page");
    assert!(page.contains(&format!(">{mse:.4}<")) && page.contains("test mean squared error"), "{mse}");
    let output = ran(here, &format!("{train} --seeds 2"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("test MSE") && !out.contains('%'), "{out}");
    assert!(err.contains("test MSE") && err.contains("R² 0.9"), "{err}");
    // Z-IL and Fa-Z-IL have the bits of BP with numbers too.
    let sum =
        |rule: &str| json(here, &train.replace("--rule zil", &format!("--rule {rule}")))["weights_sha256"].clone();
    assert_eq!(sum("bp"), sum("zil"));
    assert_eq!(sum("bp"), sum("fazil"));
    assert_ne!(sum("bp"), sum("il"));
    assert!(refused(here, &format!("{train} --loss cross-entropy"), 2).contains("real targets"));
    assert!(refused(here, &format!("{train} --classes 0,1"), 2).contains("needs classes"));
    assert!(refused(here, &format!("{train} --pixels 0.5,0.5"), 2).contains("--scaling"));
    assert!(refused(here, &format!("{train} --augment flip"), 2).contains("--augment"));
}

#[test]
fn every_command_reads_tables() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    fs::write(here.join("arcs.csv"), arcs(300, 1)).expect("written");
    let data = "--data arcs.csv --ignore-columns id,sum,product";
    let trace = json(here, &format!("trace {data} --layers 2,6,2"));
    assert!(trace["eps"].as_array().is_some_and(|rows| !rows.is_empty()));
    let evolve = format!("evolve {data} --layers 2,6,2 --images 40 --generations 1 --population 4 --networks 1");
    assert!(json(here, &evolve)["found"]["test_error"].as_f64().is_some());
    // The sizes of the network follow the data.
    let run = json(here, &format!("train {data} --epochs 1 --device cpu"));
    let layers = run["settings"]["layers"].to_string();
    assert!(layers.starts_with("[2,") && layers.ends_with(",2]"), "{layers}");
}

#[test]
fn data_that_cannot_be_read_are_refused_with_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    let message = refused(here, "train --data nowhere --epochs 1", 4);
    for format in ["MNIST", "CIFAR-10", "CIFAR-100", ".csv", ".npz", "PNG", "digits"] {
        assert!(message.contains(format), "{format}: {message}");
    }
    fs::write(here.join("a.csv"), "a,b,label\n1,2,x\n1,nan,y\n").expect("written");
    let message = refused(here, "train --data a.csv --epochs 1", 4);
    assert!(message.contains("a.csv: line 3, column 2 (b)"), "{message}");
    assert!(refused(here, "train --data digits --label x", 2).contains("--label is for CSV files"));
    assert!(refused(here, "train --data a.csv --label a --target-columns b", 2).contains("cannot be used with"));
    fs::write(here.join("b.csv"), "a,b,label\n1,2,x\n1,3,y\n").expect("written");
    assert!(refused(here, "train --data b.csv --test-part 1.5", 2).contains("between 0 and 1"));
    assert!(refused(here, "train --data a.csv --header maybe", 2).contains("yes or no"));
    fs::write(here.join("a.npz"), b"PK\x03\x04 not an archive").expect("written");
    assert!(refused(here, "train --data a.npz --epochs 1", 4).contains("not a .npz archive"));
}
