//! Memory that is limited from outside: what does not fit is refused with exit code 3 and a reason, and what fits runs. An
//! allocation that fails would end the process with a backtrace instead.
#![cfg(target_os = "linux")]

use std::process::{Command, Output, Stdio};

/// KiB of address space that some commands are given.
const LIMITS: [u32; 4] = [150_000, 300_000, 500_000, 1_000_000];

/// Runs zilch with so many KiB of address space.
fn limited(kib: u32, args: &[&str]) -> Output {
    let script = "ulimit -v \"$0\" && exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, &kib.to_string(), env!("CARGO_BIN_EXE_zilch")]).args(args);
    command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command.output().expect("a shell starts")
}

/// What it ended with: 0, or a refusal that names the limit, and nothing else.
fn code(kib: u32, args: &[&str]) -> i32 {
    let output = limited(kib, args);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("{kib} KiB, {args:?}: ended by a signal: {err}"));
    for bad in ["panicked", "memory allocation", "RUST_BACKTRACE"] {
        assert!(!err.contains(bad), "{kib} KiB, {args:?}: {err}");
    }
    match code {
        0 => {}
        3 => {
            let last = err.lines().last().unwrap_or_default();
            assert!(last.starts_with("zilch: ") && last.contains(" MiB, but "), "{err}");
            assert!(last.contains("the address space this process may have (ulimit -v)"), "{err}");
            assert!(output.stdout.is_empty(), "nothing is answered: {output:?}");
        }
        other => panic!("{kib} KiB, {args:?}: exit code {other}: {err}"),
    }
    code
}

/// `zilch train` of a network with so many units in each of two layers.
fn train(kib: u32, units: usize, more: &[&str]) -> i32 {
    let layers = format!("784,{units},{units},10");
    let args = ["train", "--data", "digits", "--device", "cpu", "--updates", "1", "--layers", &layers];
    code(kib, &[&args[..], more].concat())
}

#[test]
fn what_does_not_fit_the_address_space_is_refused_and_what_fits_runs() {
    for kib in LIMITS {
        assert_eq!(train(kib, 32, &[]), 0, "{kib} KiB");
        assert_eq!(train(kib, 16_000, &[]), 3, "{kib} KiB");
    }
    // 44 MiB beside the program itself.
    assert_eq!(train(300_000, 1500, &[]), 0);
    // More threads than there is space for: their stacks are taken, and their networks run or are refused.
    train(300_000, 700, &["--threads", "32"]);
}

#[test]
fn around_the_edge_a_network_is_trained_or_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().to_str().expect("UTF-8");
    let more = ["--out", out, "--optimizer", "adam", "--checkpoint-every", "1"];
    let codes: Vec<i32> = (48..128).step_by(8).map(|mib| train(mib * 1024, 700, &more)).collect();
    assert!(codes.contains(&0) && codes.contains(&3), "the edge is among them: {codes:?}");
}

#[test]
fn every_command_is_refused_alike() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().to_str().expect("UTF-8");
    assert_eq!(train(1_000_000, 1200, &["--out", out]), 0);
    let weights = dir.path().join("weights.safetensors");
    let weights = weights.to_str().expect("UTF-8");
    let eval = ["eval", "--weights", weights, "--data", "digits", "--device", "cpu"];
    let trace = ["trace", "--data", "digits", "--layers", "784,1200,1200,10"];
    let compare =
        ["compare", "--devices", "cpu", "--layers", "784,600,600,10", "--rules", "bp,zil", "--seconds", "0.001"];
    for args in [&eval[..], &trace, &compare] {
        assert_eq!(code(1_000_000, args), 0, "{args:?}");
        assert_eq!(code(50_000, args), 3, "{args:?}");
    }
}

#[test]
fn a_gpu_is_not_opened_where_its_driver_has_no_space() {
    let args = |device| ["train", "--data", "digits", "--updates", "1", "--layers", "784,32,10", "--device", device];
    assert_eq!(code(300_000, &args("gpu")), 3);
    assert_eq!(code(300_000, &args("auto")), 0, "the CPU stands in");
}
