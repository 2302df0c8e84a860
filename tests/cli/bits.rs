//! The bits of trained weights, recorded at commit 98c2939, before rules, projections and devices were separated. Each line of
//! `tests/fixtures/bits.json` is a training on the synthetic digits and the SHA-256 of its final weights. Those with convolutions were
//! recorded at commit 3b7710f, before patches were read in place (without im2col).
//!
//! The CPU is tested with one and two threads. The bits of lavapipe (Mesa 22.3.6) depend on its compiler and are tested only on request:
//! `ZILCH_BITS_LAVAPIPE=1 cargo test --release --test cli bits::`.

use crate::program::program;
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use zilch::data::digits;
use zilch::data::folder::FILES;

/// Writes the synthetic digits as MNIST files. They are needed hundreds of times, and reading them takes a fifth of the time of
/// generating them.
fn files(folder: &Path) {
    let digits = digits::generate().expect("digits");
    let sets = [&digits.train, &digits.test].into_iter().flat_map(|set| {
        let (count, images) = (set.len() as u32, set.images().as_slice().expect("one piece"));
        [(vec![count, 28, 28], images), (vec![count], set.labels())]
    });
    for (name, (sizes, bytes)) in FILES.iter().zip(sets) {
        let header = [0, 0, 8, sizes.len() as u8].into_iter().chain(sizes.iter().flat_map(|n| n.to_be_bytes()));
        std::fs::write(folder.join(name), [&header.collect::<Vec<u8>>(), bytes].concat()).expect("written");
    }
}

/// The hash that `zilch train` prints. The number of test images does not change any weight.
fn hash(data: &Path, device: &[&str], args: &str) -> String {
    let output = program()
        .args(["train", "--preset", "paper", "--json", "--test-per-class", "1", "--data"])
        .arg(data)
        .arg("--device")
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
    let data = tempfile::tempdir().expect("a folder");
    files(data.path());
    // The first training also with the built-in data set.
    assert_eq!(hash(Path::new("digits"), &["cpu"], rows[0].0), rows[0].1);
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((args, want)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for threads in ["1", "2"] {
                        if hash(data.path(), &["cpu", "--threads", threads], args) != *want {
                            wrong.lock().expect("no panic").push(format!("{threads} threads: {args}"));
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), 2 * list.len(), wrong.join("\n"));
    // Rules that must agree have equal hashes. The list would test nothing if all hashes were equal.
    assert!(hashes.len() > 50, "only {} different networks", hashes.len());
}

#[test]
fn lavapipe_ends_on_the_recorded_bits_on_request() {
    if std::env::var_os("ZILCH_BITS_LAVAPIPE").is_none() {
        eprintln!("not run: these bits depend on the driver's compiler; ZILCH_BITS_LAVAPIPE=1 runs the test");
        return;
    }
    for row in recorded() {
        if let (Some(args), Some(want)) = (row["args"].as_str(), row["lavapipe"].as_str()) {
            assert_eq!(hash(Path::new("digits"), &["gpu"], args), want, "{args}");
        }
    }
}
