//! `--layers` with convolutions and skip connections: trainings, evaluation and reuse of their files, and refusals.

use crate::networks::{BLOCKS, RECURRENT, SKIPS};
use crate::program::program;
use crate::repository::repository;
use std::path::Path;
use std::process::Output;
use zilch::Network;
use zilch::network::read_weights;
use zilch_cli::runs;

fn zilch(args: &[&str]) -> Output {
    program().args(args).output().expect("the binary runs")
}

fn words(args: &str) -> Output {
    zilch(&args.split_whitespace().collect::<Vec<_>>())
}

/// A training of a convolutional network, the evaluation of its weights, and networks that commands refuse.
#[test]
fn the_command_line_takes_the_notation() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let layers = "28x28,6c5p2,a2,8c5s2,m2,12,10";
    let same = |rule: &str, more: &str| -> serde_json::Value {
        let args =
            format!("train --data digits --layers {layers} --rule {rule} --bias --batch 20 --updates 12 --json {more}");
        let ran = words(&format!("{args} --device cpu --activation tanh --test-per-class 3"));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).expect("JSON")
    };
    let (bp, zil) = (same("bp", &format!("--out {}", out.display())), same("zil", ""));
    assert_eq!(bp["weights_sha256"], zil["weights_sha256"]);
    assert_eq!(bp["settings"]["layers"], serde_json::json!(["28x28", "6c5p2", "a2", "8c5s2", "m2", 12, 10]));
    let weights = out.join("weights.safetensors");
    let eval =
        words(&format!("eval --weights {} --data digits --device cpu --test-per-class 3 --json", weights.display()));
    let eval: serde_json::Value = serde_json::from_slice(&eval.stdout).expect("JSON");
    assert_eq!(eval["test_error"], bp["test_error"]);
    for (args, said) in [
        (format!("train --data digits --layers {layers} --rule ff"), "cannot train a network with convolutions yet"),
        (format!("tune --layers {layers}"), "tune measures the products of fully connected layers"),
        (format!("draw --weights {} --out {}", weights.display(), out.join("a.svg").display()), "not drawn yet"),
        ("train --data digits --layers 14x56,6c5,10".into(), "begins with 28x28"),
        ("train --data digits --layers 28x28,6c29,10".into(), "6c29 does not fit"),
    ] {
        let ran = words(&args);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(2) || ran.status.code() == Some(4), "{args}: {:?} {told}", ran.status);
        assert!(told.contains(said), "{args}: {told}");
    }
    let plan = words(&format!("plan --layers {layers} --rule il --steps 2"));
    assert!(plan.status.success() && String::from_utf8_lossy(&plan.stdout).contains("28x28-6c5p2-a2"));
}

/// Trains a graph and writes it. Another run takes its network from the run.json.
#[test]
fn a_run_is_written_and_taken_up_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).to_str().expect("text").to_owned();
    let layers = "28x28=in,in.10:9~u,9~w+in.13:9~u=a,9~w+in.16:9~u,9+a,10";
    let common = [
        "--data",
        "digits",
        "--mean",
        "--batch",
        "50",
        "--lr",
        "0.05",
        "--activation",
        "tanh",
        "--bias",
        "--device",
        "cpu",
    ];
    let train = |layers: &str, more: &[&str]| zilch(&[&["train", "--layers", layers], &common[..], more].concat());
    let said = |out: &Output| String::from_utf8_lossy(&out.stderr).into_owned();
    let whole = train(layers, &["--updates", "20", "--out", &path("whole")]);
    assert!(whole.status.success(), "{}", said(&whole));
    let again = train(&path("whole/run.json"), &["--updates", "20", "--rule", "bp", "--out", &path("bp")]);
    assert!(again.status.success(), "{}", said(&again));
    let [a, b] = ["whole", "bp"]
        .map(|name| read_weights(Path::new(&path(&format!("{name}/weights.safetensors")))).expect("weights"));
    assert!(a.0 == b.0 && a.1.bit_identical(&b.1), "Z-IL is not BP");
    assert_eq!(a.0.notation().join(","), layers);
    let shown = zilch(&["plan", "--layers", layers, "--rule", "fazil"]);
    assert!(shown.status.success(), "{}", said(&shown));
    let traced = zilch(&["trace", "--layers", layers, "--data", "digits", "--batch", "50"]);
    assert!(traced.status.success(), "{}", said(&traced));
    std::fs::write(path("bad.json"), "{\"layers\": [3, [4]]}").expect("written");
    let bad = train(&path("bad.json"), &["--updates", "1"]);
    assert!(!bad.status.success() && said(&bad).contains("[4] is not a layer"), "{}", said(&bad));
    // The output of other commands about it.
    let listed = zilch(&["runs", dir.path().to_str().expect("text")]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(layers), "{}", String::from_utf8_lossy(&listed.stdout));
    let plan = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(plan.contains("layers that weights join") && plan.contains(" (in) to "), "{plan}");
    let evolved = repository().join("assets/rules/evolved.json");
    let ruled = zilch(&["plan", "--layers", layers, "--rule", evolved.to_str().expect("text")]);
    assert_eq!(ruled.status.code(), Some(2));
    assert!(said(&ruled).contains("evolved.json") && !said(&ruled).contains("--rule local"), "{}", said(&ruled));
}

/// `zilch runs` lists layers in the notation of `--layers`.
#[test]
fn runs_lists_layers_in_the_notation_of_layers() {
    for layers in [SKIPS, BLOCKS, RECURRENT, "28x28,6c5p2,a2,16c5,a2,120,84,10"] {
        let told = serde_json::Value::from(Network::parse(layers).expect("layers").to_json());
        assert_eq!(runs::brief(&told), layers);
    }
}
