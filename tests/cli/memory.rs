//! Limited memory (`ulimit`): what does not fit is refused with exit code 3 and a reason, and what fits runs. Most is refused before it
//! is allocated. If an allocation fails anyway, the process exits with the same code and one paragraph, and never aborts.
#![cfg(target_os = "linux")]

use crate::program::ZILCH;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Limits of the address space, in KiB.
const LIMITS: [u32; 4] = [150_000, 300_000, 500_000, 1_000_000];

/// Runs zilch with `kib` KiB of address space.
fn limited(kib: u32, args: &[&str]) -> Output {
    limited_by("-v", kib, args)
}

/// As [`limited`], with another limit of `ulimit`.
fn limited_by(limit: &str, kib: u32, args: &[&str]) -> Output {
    let script = "ulimit \"$0\" \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, limit, &kib.to_string(), ZILCH]).args(args);
    command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command.output().expect("a shell starts")
}

/// The exit code: 0, or 3 with a message that names the limit. Anything else panics.
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
            let foreseen =
                last.contains(" MiB, but ") && last.contains("the address space this process may have (ulimit -v)");
            assert!(last.starts_with("zilch: ") && (foreseen || last.contains("zilch: out of memory: ")), "{err}");
            assert!(output.stdout.is_empty(), "no output: {output:?}");
        }
        other => panic!("{kib} KiB, {args:?}: exit code {other}: {err}"),
    }
    code
}

/// The exit code of `zilch train` with two hidden layers of `units` units.
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
    // 44 MiB in addition to the program itself.
    assert_eq!(train(300_000, 1500, &[]), 0);
    // More threads than fit: their stacks take space, and the network runs or is refused.
    train(300_000, 700, &["--threads", "32"]);
}

#[test]
fn near_the_limit_a_network_is_trained_or_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().to_str().expect("UTF-8");
    let more = ["--out", out, "--optimizer", "adam", "--checkpoint-every", "1"];
    let codes: Vec<i32> = (48..128).step_by(8).map(|mib| train(mib * 1024, 700, &more)).collect();
    assert!(codes.contains(&0) && codes.contains(&3), "the edge is among them: {codes:?}");
}

#[test]
fn every_command_is_refused_below_its_limit() {
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
    assert_eq!(code(300_000, &args("auto")), 0, "falls back to the CPU");
    // Limits of the data segment and the stack, with which some drivers crash the process.
    for (limit, size, says) in [("-d", 150_000, "ulimit -d"), ("-s", 64, "ulimit -s")] {
        for command in [&args("gpu")[..], &["doctor"]] {
            let output = limited_by(limit, size, command);
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{limit} {size} {command:?}: {err}");
            assert!(err.contains(says), "{limit} {size} {command:?}: {err}");
        }
    }
}

/// A network with this many hidden layers of 16 units.
fn deep(layers: usize) -> String {
    format!("784,{}10", "16,".repeat(layers))
}

/// Commands that allocate memory in different ways.
fn commands(weights: &str) -> [Vec<String>; 9] {
    let deep = deep(30);
    [
        "train --data digits --device cpu --layers 784,64,10 --updates 2 --hold-out 5".to_owned(),
        "train --data colours --device cpu --layers 3x32x32,6c5p2,a2,10 --batch 20 --epoch-updates 1 --updates 1 --per-class 20 \
         --test-per-class 20"
            .to_owned(),
        "train --data digits --device cpu --layers 784,64,64,10 --updates 2 --probe alignment,energy,eps,target".to_owned(),
        "train --data digits --device cpu --layers 784,256,10 --updates 2 --threads 4".to_owned(),
        "compare --devices cpu --layers 784,64,10 --rules bp,fazil --seconds 0.001".to_owned(),
        format!("plan --rule fazil --layers {deep}"),
        "trace --data digits --rule zil --layers 784,32,10".to_owned(),
        format!("eval --weights {weights} --data digits --device cpu"),
        "rules".to_owned(),
    ]
    .map(|line| line.split_whitespace().map(str::to_owned).collect())
}

/// Runs all commands with all limits in parallel. Returns the exit codes of each command, in the order of the limits.
fn sweep(limit: &str, sizes: &[u32]) -> Vec<(String, Vec<i32>)> {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().to_str().expect("UTF-8");
    assert_eq!(train(1_000_000, 64, &["--out", out]), 0);
    let all = commands(&format!("{out}/weights.safetensors"));
    let jobs: Vec<(usize, u32)> = (0..all.len()).flat_map(|c| sizes.iter().map(move |size| (c, *size))).collect();
    let (next, codes) = (AtomicUsize::new(0), std::sync::Mutex::new(vec![0; jobs.len()]));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((i, (c, size))) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, *jobs.get(i)?)))
                {
                    let args: Vec<&str> = all[c].iter().map(String::as_str).collect();
                    let output = limited_by(limit, size, &args);
                    let err = String::from_utf8_lossy(&output.stderr);
                    let code = output.status.code();
                    let last = err.lines().last().unwrap_or_default();
                    assert!(
                        code == Some(0) || code == Some(3),
                        "ulimit {limit} {size}, {args:?}: {:?}: {err}",
                        output.status
                    );
                    assert!(code == Some(0) || last.starts_with("zilch: "), "ulimit {limit} {size}, {args:?}: {err}");
                    assert!(!err.contains("panicked"), "ulimit {limit} {size}, {args:?}: {err}");
                    codes.lock().expect("no panic")[i] = code.unwrap_or_default();
                }
            });
        }
    });
    let codes = codes.into_inner().expect("no panic");
    all.iter().zip(codes.chunks(sizes.len())).map(|(args, codes)| (args.join(" "), codes.to_vec())).collect()
}

#[test]
fn no_memory_limit_aborts_a_command() {
    // MiB, denser near the limits of the commands. In less the loader cannot map the program.
    let sizes = [
        24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 85, 90, 99, 110, 120, 140, 160, 180, 200, 220, 260,
        300, 360, 450,
    ];
    for (args, codes) in sweep("-v", &sizes.map(|mib| mib * 1024)) {
        println!("{args}: {codes:?}");
        assert_eq!(codes.last(), Some(&0), "{args}: {codes:?}");
        // A command that fits into less memory also fits into more.
        let first = codes.iter().position(|code| *code == 0).unwrap_or(codes.len());
        assert!(codes[first..].iter().all(|code| *code == 0), "{args}: {sizes:?} MiB: {codes:?}");
    }
    let sizes = [2, 8, 14, 20, 26, 36, 60, 400];
    for (args, codes) in sweep("-d", &sizes.map(|mib| mib * 1024)) {
        assert_eq!(codes.last(), Some(&0), "{args}: {codes:?}");
    }
}

#[test]
fn a_small_stack_is_replaced_by_a_larger_one() {
    // KiB. With less, arguments, environment and loader may not leave enough to start a program.
    for (args, codes) in sweep("-s", &[64, 128]) {
        assert!(codes.iter().all(|code| *code == 0), "{args}: {codes:?}");
    }
    // Without memory for a larger stack. In the smallest address spaces that the loader can start the program in, the heap may be full
    // before the stack is replaced.
    let mut said = String::new();
    for kib in (10_000..60_000).step_by(250) {
        let script = format!("ulimit -s 64 -v {kib} && exec \"$0\" rules");
        let output = Command::new("bash").args(["-c", &script, ZILCH]).output().expect("a shell starts");
        match output.status.code() {
            Some(0) => break,
            Some(3) => said += &String::from_utf8_lossy(&output.stderr),
            code => assert!(code.is_none_or(|code| code >= 126), "{kib}: {output:?}"),
        }
    }
    assert!(said.contains("zilch: the stack is too small (ulimit -s)"), "{said}");
}

/// Resuming a run needs no more memory than starting it: the contents of the checkpoint are counted once.
#[test]
fn resuming_needs_no_more_memory_than_starting() {
    let layers = "784,700,700,10";
    let dir = tempfile::tempdir().expect("a folder");
    let begun = dir.path().join("begun");
    let begin = |out: &str| {
        format!(
            "train --data digits --device cpu --layers {layers} --optimizer adam --epoch-updates 1 --updates 2 --threads 1 --out {out}"
        )
    };
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut least = None;
    for mib in (40..200).step_by(4) {
        let out = dir.path().join(format!("fresh-{mib}"));
        let line = words(&begin(out.to_str().expect("UTF-8")));
        let args: Vec<&str> = line.iter().map(String::as_str).collect();
        if code(mib * 1024, &args) == 0 {
            least = Some(mib);
            break;
        }
    }
    let least = least.expect("it fits into 200 MiB");
    // Stopped by `--max-time` after its first epoch or before.
    let line = words(&format!(
        "{} --max-time 1s",
        begin(begun.to_str().expect("UTF-8")).replace("--updates 2", "--updates 100000")
    ));
    let args: Vec<&str> = line.iter().map(String::as_str).collect();
    assert_eq!(limited(1_000_000, &args).status.code(), Some(130));
    let resume = ["train", "--resume", begun.to_str().expect("UTF-8"), "--max-time", "1s"];
    let output = limited(least * 1024, &resume);
    assert_eq!(output.status.code(), Some(130), "{least} MiB: {}", String::from_utf8_lossy(&output.stderr));
}
