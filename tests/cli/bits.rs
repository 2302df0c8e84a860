//! The bits of trained weights, recorded at commit 98c2939, before rules, projections and devices were taken apart: each
//! line of `tests/fixtures/bits.json` is a training of the synthetic digits and the SHA-256 of what it ends on. Those with
//! convolutions were recorded at commit 3b7710f, before patches were read in place.
//!
//! The CPU's are held here, at one thread and at two. Those of lavapipe (Mesa 22.3.6) hang on a driver's compiler and are
//! kept for whoever has it: `ZILCH_BITS_LAVAPIPE=1 cargo test --release --test cli bits::`.

use crate::program::program;
use serde_json::Value;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The hash that `zilch train` prints.
fn hash(device: &[&str], args: &str) -> String {
    let output = program()
        .args(["train", "--data", "digits", "--json", "--device"])
        .args(device)
        .args(args.split(' '))
        .output()
        .expect("zilch runs");
    let result: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{args}: {}", String::from_utf8_lossy(&output.stderr)));
    result["weights_sha256"].as_str().expect("a hash").to_owned()
}

fn recorded() -> Vec<Value> {
    serde_json::from_str(include_str!("../fixtures/bits.json")).expect("the recorded list")
}

#[test]
fn the_cpu_ends_on_the_recorded_bits() {
    let list = recorded();
    let rows: Vec<(&str, &str)> = list
        .iter()
        .map(|row| (row["args"].as_str().expect("arguments"), row["cpu"].as_str().expect("a hash")))
        .collect();
    let hashes: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.1).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((args, want)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for threads in ["1", "2"] {
                        if hash(&["cpu", "--threads", threads], args) != *want {
                            wrong.lock().expect("no panic").push(format!("{threads} threads: {args}"));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), 2 * list.len(), wrong.join("\n"));
    // Rules that must agree are recorded once each; the list would be no test if all were the same.
    assert!(hashes.len() > 50, "only {} different networks", hashes.len());
}

#[test]
fn lavapipe_ends_on_the_recorded_bits_where_asked_for() {
    if std::env::var_os("ZILCH_BITS_LAVAPIPE").is_none() {
        eprintln!("not run: the bits of a driver's compiler; ZILCH_BITS_LAVAPIPE=1 runs it");
        return;
    }
    for row in recorded() {
        if let (Some(args), Some(want)) = (row["args"].as_str(), row["lavapipe"].as_str()) {
            assert_eq!(hash(&["gpu"], args), want, "{args}");
        }
    }
}
