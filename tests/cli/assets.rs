//! The files in `assets/` are those that its README lists, and every one of them works.

use crate::program::program;
use crate::repository::repository;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Runs zilch in the top folder of the repository.
fn zilch(args: &str) -> String {
    let output = program().current_dir(repository()).args(args.split(' ')).output().expect("zilch runs");
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn trained(args: &str) -> Value {
    serde_json::from_str(&zilch(&format!("train --device cpu --json {args}"))).expect("JSON")
}

/// The files below a folder, as paths relative to `assets/`. A data set is listed as its folder.
fn files(folder: &Path, name: &str, all: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let of = format!("{name}{}", path.file_name().and_then(|n| n.to_str()).expect("ASCII"));
        match path.is_dir() {
            true if name == "data/" => drop(all.insert(of + "/")),
            true => files(&path, &format!("{of}/"), all),
            false => drop(all.insert(of)),
        }
    }
}

#[test]
fn the_page_lists_every_file() {
    let assets = repository().join("assets");
    let mut there = BTreeSet::new();
    files(&assets, "", &mut there);
    there.remove("README.md");
    let page = fs::read_to_string(assets.join("README.md")).expect("the page");
    let listed = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(there, listed.map(str::to_owned).collect());
}

#[test]
fn bars_and_stripes_need_a_hidden_layer() {
    let run = trained(
        "--data assets/data/bars-and-stripes --layers 16,16,2 --activation tanh --lr 0.05 --batch 7 --epochs 300",
    );
    assert_eq!(run["test_error"], 0.0);
    let none =
        trained("--data assets/data/bars-and-stripes --layers 16,2 --activation tanh --lr 0.05 --batch 7 --epochs 300");
    assert!(none["test_error"].as_f64().expect("an error") > 0.1, "no linear network separates them");
}

#[test]
fn networks_rules_and_tasks_run() {
    for (name, says) in [("lenet-5", "28x28-6c5p2-a2"), ("residual", "128+a-10"), ("recurrent", "32~w+in.27:32~u-10")] {
        let plan = zilch(&format!("plan --layers assets/networks/{name}.json"));
        assert!(plan.lines().next().expect("a title").contains(says), "{plan}");
    }
    assert!(zilch("plan --rule assets/rules/evolved.json").starts_with("Three local terms of "));
    let halves = trained("--data digits --tasks assets/tasks/halves.json --layers 784,16,5 --epochs 4 --lr 0.01");
    assert_eq!(halves["epochs"].as_array().map(Vec::len), Some(4), "{halves}");
    assert!(halves["tested"][3].as_array().is_some_and(|tested| tested.len() == 2), "both tasks are tested: {halves}");
    let drift = trained("--data digits --tasks assets/tasks/drift.json --layers 784,16,10 --epochs 2 --lr 0.01");
    assert_eq!(drift["epochs"].as_array().map(Vec::len), Some(2), "{drift}");
}
