//! `zilch runs`, `doctor`, `completions` and `man`: finding and listing runs, examining the files of a machine (simulated in a folder),
//! completion scripts and manual pages.

use crate::program::program;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use zilch::device::gpu::AdapterSummary;
use zilch_cli::doctor::{Checked, Finding, Level, System, check, examine};
use zilch_cli::runs::{State, brief, differing, find, group};

/// Every command.
const COMMANDS: [&str; 15] = [
    "compare",
    "train",
    "eval",
    "plan",
    "trace",
    "draw",
    "rules",
    "evolve",
    "reproduce",
    "tune",
    "info",
    "runs",
    "doctor",
    "completions",
    "man",
];

/// Exit code, stdout and stderr of a run, which must not panic.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("zilch starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    for bad in ["panicked", "\u{1b}"] {
        assert!(!out.contains(bad) && !err.contains(bad), "{bad:?} in {out}{err}");
    }
    (output.status.code(), out, err)
}

fn done(args: &[&str]) -> String {
    let (code, out, err) = run(program().args(args));
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    out
}

fn done_json(args: &[&str]) -> Value {
    serde_json::from_str(&done(args)).expect("one JSON document")
}

fn fails(args: &[&str], code: i32, words: &[&str]) {
    let (got, out, err) = run(program().args(args));
    assert_eq!((got, out.as_str()), (Some(code), ""), "{args:?}: {err}");
    says(&err, words);
}

fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// A folder of runs.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn arg(&self) -> &str {
        self.0.path().to_str().expect("UTF-8")
    }

    /// Writes a file, and creates its folders.
    fn file(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    /// Writes a finished run with these test errors in percent. NaN is written as null.
    fn finished(&self, name: &str, settings: &Value, errors: &[f64]) {
        self.file(&format!("{name}/run.json"), &record(settings, errors.len(), json!(null)).to_string());
        self.file(&format!("{name}/metrics.csv"), &metrics(errors));
    }

    /// The JSON document of `zilch runs` with these further arguments.
    fn runs(&self, args: &[&str]) -> Value {
        done_json(&[&["runs", self.arg(), "--json"], args].concat())
    }
}

fn settings(lr: f64, seed: u64) -> Value {
    json!({
        "layers": [784, 32, 10], "rule": "zil", "lr": lr, "seed": seed, "mean": false, "gamma": null, "threads": null,
        "data": "digits", "length": { "epochs": 3 }, "own": { "beta": "0.5" }
    })
}

fn record(settings: &Value, epochs: usize, stopped: Value) -> Value {
    json!({ "settings": settings, "updates": 10 * epochs, "seconds": 1.25, "stopped": stopped })
}

/// The metrics.csv of epochs with these test errors in percent.
fn metrics(errors: &[f64]) -> String {
    let line =
        |(i, error): (usize, &f64)| format!("{},{},0.5,{},{}\n", i + 1, 10 * (i + 1), 1.0 / error, error / 100.0);
    "epoch,updates,seconds,train_energy,test_error\n".to_owned()
        + &errors.iter().enumerate().map(line).collect::<String>()
}

fn folders(document: &Value, root: &str) -> Vec<String> {
    let all = document["runs"].as_array().expect("runs").iter();
    let name =
        |run: &Value| run["folder"].as_str().expect("a name").trim_start_matches(root).trim_matches('/').to_owned();
    all.map(name).collect()
}

/// Trained runs: the settings that differ are found, and runs are grouped over seeds.
#[test]
fn trained_runs_are_listed_and_grouped_over_seeds() {
    let folder = Folder::new();
    let train = |lr: &str, seed: &str| {
        let out = folder.path(&format!("{lr}/{seed}"));
        let out = out.to_str().expect("UTF-8");
        let about =
            ["--data", "digits", "--layers", "784,7,10", "--updates", "40", "--epoch-updates", "20", "--device", "cpu"];
        done(&[&["train", "--preset", "paper", "--lr", lr, "--seed", seed, "--out", out], &about[..]].concat());
        let metrics = fs::read_to_string(folder.path(&format!("{lr}/{seed}/metrics.csv"))).expect("there");
        metrics.trim_end().rsplit(',').next().and_then(|error| error.parse().ok()).expect("an error")
    };
    let errors: Vec<f64> =
        [("0.01", "1"), ("0.01", "2"), ("0.01", "3"), ("0.1", "1"), ("0.1", "2")].map(|(lr, s)| train(lr, s)).into();
    let svg = folder.path("all.svg");
    let found = folder.runs(&["--out", svg.to_str().expect("UTF-8")]);
    assert_eq!(found["differ"], json!(["lr", "seed"]), "nothing else differs");
    assert_eq!((&found["shared"]["rule"], &found["shared"]["batch"]), (&json!("zil"), &json!(20)));
    assert_eq!(folders(&found, folder.arg()), ["0.01/1", "0.01/2", "0.01/3", "0.1/1", "0.1/2"]);
    let group = &found["groups"][0];
    let mean = errors[..3].iter().sum::<f64>() / 3.0;
    let sd = (errors[..3].iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let close = |v: &Value, want: f64| assert!((v.as_f64().expect("a number") - want).abs() < 1e-12, "{v} for {want}");
    close(&group["mean"], mean);
    close(&group["sd"], sd);
    assert_eq!((&group["settings"], &group["n"]), (&json!({ "lr": 0.01 }), &json!(3)));
    assert_eq!(found["groups"][1]["n"], json!(2));
    says(&fs::read_to_string(svg).expect("drawn"), &["<svg", "test error, %", "lr 0.01 (3 runs)", "lr 0.1 (2 runs)"]);
    let text = done(&["runs", folder.arg()]);
    says(&text, &["5 runs, all with", "rule zil", "layers 784-7-10", "finished", "last test error over finished runs"]);
    assert!(!text.lines().next().expect("a line").contains(" lr "), "settings that differ are not shared: {text}");
}

/// Every state of a run, and the effect of its checkpoint.
#[test]
fn states_are_distinguished() {
    let folder = Folder::new();
    let only = |seed| json!({ "settings": settings(0.1, seed) }).to_string();
    let kept = json!({
        "progress": { "updates": 77, "seconds": 3.5 },
        "state": "state-77.safetensors"
    });
    folder.finished("a", &settings(0.1, 0), &[30.0, 20.0, 25.0]);
    folder.file("b/run.json", &only(1));
    folder.file("c/run.json", &only(2));
    folder.file("c/checkpoint.json", &kept.to_string());
    folder.file("c/state-77.safetensors", "");
    // An incomplete last line is ignored, and the longer of two logs counts.
    folder.file("c/metrics-1.csv", &metrics(&[50.0]));
    folder.file("c/metrics-2.csv", &(metrics(&[50.0, 40.0]) + "3,30,0.5,0."));
    folder.file(
        "d/run.json",
        &record(&settings(0.1, 3), 1, json!("interrupted after 10 updates. Continue with: zilch")).to_string(),
    );
    folder.file("d/metrics.csv", &metrics(&[60.0]));
    folder.file("d/metrics-1.csv", &metrics(&[60.0, 40.0]));
    folder.file("d/checkpoint.json", &kept.to_string());
    folder.file("d/state-77.safetensors", "");
    folder.file("e/run.json", &record(&settings(0.1, 4), 1, json!("training diverged")).to_string());
    folder.file("e/metrics.csv", &metrics(&[60.0]));
    // Its state file is missing: it cannot be resumed.
    folder.file("f/run.json", &only(5));
    folder.file("f/checkpoint.json", &kept.to_string());
    folder.file("f/metrics-1.csv", &metrics(&[50.0, 40.0]));
    let found = folder.runs(&[]);
    let column =
        |name: &str| found["runs"].as_array().expect("runs").iter().map(|r| r[name].clone()).collect::<Vec<_>>();
    let open = "under way or died";
    assert_eq!(
        column("state"),
        [
            "finished",
            open,
            open,
            "stopped: interrupted after 10 updates. Continue with: zilch",
            "stopped: training diverged",
            open
        ]
    );
    assert_eq!(column("goes_on"), [false, false, true, true, false, false]);
    assert_eq!(column("updates"), [30, 0, 77, 77, 10, 77]);
    assert_eq!(column("epochs"), [3, 0, 2, 2, 1, 2]);
    assert_eq!((&found["runs"][0]["error"], &found["runs"][0]["best"]), (&json!(0.25), &json!(0.2)));
    assert_eq!((&found["runs"][1]["error"], &found["runs"][1]["seconds"]), (&json!(null), &json!(null)));
    // One of six runs is finished.
    assert_eq!((&found["groups"][0]["n"], &found["groups"][0]["sd"]), (&json!(1), &json!(null)));
    says(
        &done(&["runs", folder.arg()]),
        &["stopped: interrupted after 10 updates; continue with --resume", "1 of 6", "–"],
    );
}

/// A run with a live process is listed as under way, and listing does not disturb it.
#[test]
#[cfg(target_os = "linux")]
fn a_run_under_way_is_recognised() {
    let folder = Folder::new();
    let out = folder.path("run");
    let mut command = program();
    command.args(["train", "--data", "digits", "--updates", "100000000", "--device", "cpu", "--threads", "1", "--out"]);
    let mut child = command.arg(&out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("zilch starts");
    while !out.join("run.json").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "the run goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
    let (during, alive) = (find(&[folder.path("")]).expect("found"), child.try_wait().expect("a child").is_none());
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(alive);
    let after = find(&[folder.path("")]).expect("found");
    // File systems with other device numbers are not recognised in /proc/locks.
    assert!([State::UnderWay, State::Open].contains(&during.runs[0].state), "{:?}", during.runs[0].state);
    assert_eq!(after.runs[0].state, State::Open, "its process is gone");
}

/// Folders without a valid run are skipped and reported. Links are not followed, and pipes do not block.
#[test]
fn invalid_runs_are_skipped_and_reported() {
    let folder = Folder::new();
    folder.finished("good", &settings(0.1, 0), &[30.0]);
    folder.file("broken/run.json", "{ \"settings\": ");
    folder.file("foreign/run.json", "{ \"settings\": { \"model\": \"gpt\" }, \"epochs\": [] }");
    folder.file("list/run.json", "[1, 2, 3]");
    folder.file("wrong/run.json", &json!({ "settings": settings(0.1, 1), "updates": "many" }).to_string());
    folder.file("deep/run.json", &("[".repeat(100_000) + &"]".repeat(100_000)));
    fs::create_dir_all(folder.path("dir/run.json")).expect("made");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path(""), folder.path("good/loop")).expect("a link");
        fs::create_dir_all(folder.path("linked")).expect("made");
        std::os::unix::fs::symlink(folder.path("good/run.json"), folder.path("linked/run.json")).expect("a link");
        fs::create_dir_all(folder.path("pipe")).expect("made");
        assert!(Command::new("mkfifo").arg(folder.path("pipe/run.json")).status().expect("mkfifo").success());
    }
    let bottom: String = (0..20).map(|i| format!("{i}/")).collect();
    folder.finished(&format!("low/{bottom}"), &settings(0.1, 2), &[30.0]);
    let (code, out, err) = run(program().args(["runs", folder.arg(), folder.arg(), "--json"]));
    assert_eq!(code, Some(0), "{err}");
    let found: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(folders(&found, folder.arg()), ["good"], "listed once, although the folder was named twice");
    let skipped = found["skipped"].as_array().expect("a list").len();
    assert_eq!(skipped, if cfg!(unix) { 9 } else { 7 }, "{found:#}");
    assert_eq!(err.lines().count(), skipped, "one line for each: {err}");
    says(&err, &["broken", "another program", "not a record of a run", "not a regular file", "16 levels"]);
}

/// Null is shown as NaN and sorts last in every column.
#[test]
fn nan_and_missing_values_sort_last() {
    let folder = Folder::new();
    folder.finished("a", &settings(0.1, 0), &[30.0, f64::NAN]);
    folder.finished("b", &settings(0.2, 1), &[20.0, 40.0]);
    folder.finished("c", &settings(0.3, 2), &[10.0, 15.0]);
    folder.finished("d", &json!({ "layers": [3, 2], "rule": "bp", "seed": 3 }), &[]);
    let order = |column: &str| folders(&folder.runs(&["--sort", column]), folder.arg());
    assert_eq!(order("error"), ["c", "b", "a", "d"]);
    assert_eq!(order("best"), ["c", "b", "a", "d"]);
    assert_eq!(order("lr"), ["a", "b", "c", "d"]);
    assert_eq!(order("folder"), ["a", "b", "c", "d"]);
    assert_eq!(order("epochs"), ["d", "a", "b", "c"]);
    assert_eq!(order("rule"), ["d", "a", "b", "c"]);
    let text = done(&["runs", folder.arg(), "--sort", "error"]);
    let row = |name: &str| text.lines().find(|l| l.starts_with(&format!("{}/{name} ", folder.arg()))).expect("a row");
    says(row("a"), &["NaN", "30.00 %"]);
    says(row("d"), &["–"]);
}

/// Runs with different seeds form a group. Threads do not separate runs, a repeated run is one sample, and `--by` changes the groups.
#[test]
fn runs_are_grouped() {
    let folder = Folder::new();
    for (name, lr, seed, error) in [("a", 0.1, 0, 10.0), ("b", 0.1, 1, 20.0), ("c", 0.2, 0, 30.0)] {
        folder.finished(name, &settings(lr, seed), &[99.0, error]);
    }
    let mut again = settings(0.1, 1);
    again["threads"] = json!(2);
    folder.finished("again", &again, &[99.0, 20.0]);
    let mut other = settings(0.1, 2);
    other["own"]["beta"] = json!("0.7");
    folder.finished("other", &other, &[99.0, 50.0]);
    let found = find(&[folder.path("")]).expect("found");
    assert_eq!(differing(&found.runs), ["beta", "lr", "threads", "seed"]);
    let members = |by: &[&str]| -> Vec<(usize, usize)> {
        let by: Vec<String> = by.iter().map(|name| (*name).to_owned()).collect();
        group(&found.runs, &by)
            .iter()
            .map(|group| (group.runs.len(), group.errors.map_or(0, |errors| errors.n)))
            .collect()
    };
    assert_eq!(members(&[]), [(3, 2), (1, 1), (1, 1)], "a, again and b; c; other");
    assert_eq!(members(&["lr"]), [(4, 3), (1, 1)]);
    assert_eq!(members(&["seed"]), [(2, 2), (2, 1), (1, 1)]);
    let spread = group(&found.runs, &[])[0].errors.expect("errors");
    assert!((spread.mean - 0.15).abs() < 1e-12 && (spread.sample_sd.expect("two") - 0.005f64.sqrt()).abs() < 1e-12);
    assert_eq!((spread.min, spread.max), (0.1, 0.2));
    let by_both = folder.runs(&["--by", "lr,beta"]);
    assert_eq!(by_both["groups"].as_array().map(Vec::len), Some(3));
}

/// Many options that only some rules have share a column, and none is lost.
#[test]
fn options_of_single_rules_share_a_column() {
    let folder = Folder::new();
    let with = |name: &str, own: Value| {
        let mut settings = settings(0.1, 0);
        (settings["rule"], settings["own"]) = (json!(name), own);
        folder.finished(name, &settings, &[10.0]);
    };
    with("ep", json!({ "beta": "0.5", "free": "20" }));
    with("kh", json!({ "k": "2", "delta": "0.4" }));
    let text = done(&["runs", folder.arg()]);
    let header = text.lines().find(|line| line.starts_with("folder")).expect("a header");
    let names: Vec<&str> = header.split_whitespace().take(3).collect();
    assert_eq!(names, ["folder", "rule", "others"]);
    says(&text, &["beta 0.5, free 20", "delta 0.4, k 2"]);
    // A few of them have a column each.
    with("kh", json!({ "k": "2" }));
    let text = done(&["runs", folder.arg()]);
    assert!(text.contains("beta  free  k") && !text.contains("others"), "{text}");
}

#[test]
fn values_are_brief_and_stay_distinct() {
    assert_eq!(brief(&json!([784, 32, 10])), "784-32-10");
    assert_eq!(brief(&json!({ "epochs": 10 })), "10 epochs");
    assert_eq!(brief(&json!(null)), "–");
    assert_eq!(brief(&json!("ab12".repeat(16))), "ab12ab12");
    let long = |end: &str| brief(&json!("x".repeat(60) + end));
    assert_ne!(long("a"), long("b"), "a checksum distinguishes them");
    assert!(long("a").chars().count() <= 36);
    assert!(!brief(&json!("\u{1b}[31m")).contains('\u{1b}'));
}

/// Thousands of runs, one with an odd name, and their plot.
#[test]
fn thousands_of_runs_are_listed_and_drawn() {
    let folder = Folder::new();
    for i in 0..2000u64 {
        folder.finished(
            &format!("{}/{i}", i % 7),
            &settings(0.001 * (i / 5) as f64, i % 5),
            &[50.0, 40.0 + (i % 9) as f64],
        );
    }
    let mut odd = settings(0.5, 9);
    odd["data"] = json!("<a & \"b\">\u{1b}");
    folder.finished("odd \u{7}", &odd, &[f64::NAN]);
    let svg = folder.path("all.svg");
    let text = done(&["runs", folder.arg(), "--out", svg.to_str().expect("UTF-8"), "--sort", "best"]);
    says(&text, &["2001 runs", "drawn to"]);
    let svg = fs::read_to_string(svg).expect("drawn");
    says(&svg, &["and 361 more", "(5 runs)"]);
    assert!(!svg.contains("<a &") && !svg.contains('\u{1b}') && !svg.contains("NaN"), "valid SVG");
}

#[test]
fn invalid_arguments_of_runs_are_refused() {
    let folder = Folder::new();
    let svg = folder.path("x.svg");
    let svg = svg.to_str().expect("UTF-8");
    says(&done(&["runs", folder.arg()]), &["no runs"]);
    assert_eq!(folder.runs(&["--sort", "lr"])["runs"], json!([]));
    fails(&["runs"], 2, &["DIR"]);
    fails(&["runs", folder.path("none").to_str().expect("UTF-8")], 4, &["this is not a folder"]);
    folder.file("a/run.json", &json!({ "settings": settings(0.1, 0) }).to_string());
    folder.file("b/run.json", &json!({ "settings": settings(0.2, 0) }).to_string());
    fails(&["runs", folder.arg(), "--by", "speed"], 2, &["--by", "\"speed\"", "lr"]);
    fails(&["runs", folder.arg(), "--sort", "speed"], 2, &["--sort", "\"speed\"", "best", "lr"]);
    fails(&["runs", folder.arg(), "--out", svg], 2, &["no curves to draw"]);
    assert!(!Path::new(svg).exists());
    folder.finished("c", &settings(0.1, 0), &[1.0]);
    fails(&["runs", folder.arg(), "--out", folder.path("no/x.svg").to_str().expect("UTF-8")], 1, &["x.svg"]);
}

/// A Linux machine simulated in a folder.
struct Machine {
    folder: Folder,
    env: Vec<(&'static str, String)>,
    refused: bool,
}

const LIB: &str = "usr/lib/x86_64-linux-gnu";
const ICD: &str = "usr/share/vulkan/icd.d";

impl Machine {
    /// A machine with a Vulkan loader and Mesa's software driver.
    fn new() -> Self {
        let machine = Machine { folder: Folder::new(), env: Vec::new(), refused: false };
        machine.file(&format!("{LIB}/libvulkan.so.1"), "");
        machine.driver("lvp_icd.x86_64", "libvulkan_lvp.so");
        machine
    }

    fn file(&self, name: &str, text: &str) {
        self.folder.file(name, text);
    }

    /// Adds a driver's manifest and the library that it names.
    fn driver(&self, name: &str, library: &str) {
        self.file(&format!("{ICD}/{name}.json"), &manifest(library));
        self.file(&format!("{LIB}/{library}"), "");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path(name)).expect("removed");
    }

    fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.push((name, value.to_owned()));
        self
    }

    /// Makes the machine a Docker container.
    fn container(self) -> Self {
        self.file(".dockerenv", "");
        self
    }

    fn examined(&self, adapters: &[AdapterSummary]) -> Vec<Finding> {
        let env: Vec<(&str, &str)> = self.env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        examine(&System::at(&self.folder.path(""), &env, self.refused), adapters)
    }
}

fn manifest(library: &str) -> String {
    json!({ "file_format_version": "1.0.0", "ICD": { "library_path": library, "api_version": "1.3.0" } }).to_string()
}

fn adapter(name: &str, software: bool) -> AdapterSummary {
    AdapterSummary {
        name: name.into(),
        backend: "Vulkan".into(),
        kind: if software { "software" } else { "discrete" }.into(),
        software,
        driver: "driver".into(),
        driver_info: "1.0".into(),
        max_buffer: 1 << 30,
        max_binding: 1 << 27,
        workgroup_memory: 1 << 15,
        workgroup_threads: 256,
        storage_buffers: 8,
        subgroup: (8, 32),
        timestamps: true,
        float16: false,
        cooperative_matrix: Vec::new(),
    }
}

fn llvmpipe() -> Vec<AdapterSummary> {
    vec![adapter("llvmpipe (LLVM 15.0.6, 256 bits)", true)]
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().expect("findings")
}

/// Asserts that there is a finding with this level and topic, and with these words in its text or advice.
fn has(findings: &[Finding], level: Level, topic: &str, words: &[&str]) {
    let fits = |f: &&Finding| {
        let text = format!("{} {}", f.found, f.advice);
        f.level == level && f.topic == topic && words.iter().all(|word| text.contains(word))
    };
    assert!(findings.iter().any(|f| fits(&f)), "{level:?} {topic} {words:?} is missing in: {findings:#?}");
}

fn lacks(findings: &[Finding], topic: &str) {
    assert!(findings.iter().all(|f| f.topic != topic), "{topic} in {findings:#?}");
}

#[test]
fn a_sound_machine_has_no_faults() {
    let machine = Machine::new();
    machine.file("dev/dri/renderD128", "");
    machine.file("sys/class/drm/renderD128/device/vendor", "0x1002\n");
    machine.driver("radeon_icd.x86_64", "libvulkan_radeon.so");
    machine.file("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n");
    let findings = machine.examined(&[adapter("AMD Radeon", false), llvmpipe().remove(0)]);
    assert_eq!(worst(&findings), Level::Ok, "{findings:#?}");
    has(&findings, Level::Ok, "hardware", &["/dev/dri/renderD128", "AMD"]);
    has(&findings, Level::Ok, "loader", &["libvulkan.so.1"]);
    has(&findings, Level::Ok, "memory", &["7812 MiB"]);
    for topic in ["container", "nvidia", "WSL", "conda", "settings", "permissions"] {
        lacks(&findings, topic);
    }
    // The same machine without an adapter for its GPU.
    let findings = machine.examined(&llvmpipe());
    assert_eq!(worst(&findings), Level::Problem);
    has(&findings, Level::Problem, "adapters", &["emulates"]);
}

#[test]
fn without_a_gpu_none_is_expected() {
    let findings = Machine::new().examined(&llvmpipe());
    assert_eq!(worst(&findings), Level::Note, "{findings:#?}");
    has(&findings, Level::Note, "adapters", &["emulates", "--device cpu is faster"]);
    has(&findings, Level::Ok, "hardware", &["none is expected"]);
    // The display adapter of a virtual machine is not a GPU.
    let machine = Machine::new();
    machine.file("dev/dri/renderD128", "");
    machine.file("sys/class/drm/renderD128/device/vendor", "0x1af4\n");
    assert_eq!(worst(&machine.examined(&llvmpipe())), Level::Note);
}

#[test]
fn a_missing_loader_is_reported() {
    let machine = Machine::new();
    machine.remove(&format!("{LIB}/libvulkan.so.1"));
    has(&machine.examined(&[]), Level::Note, "loader", &["libvulkan.so.1"]);
    machine.file("dev/dri/renderD128", "");
    let findings = machine.examined(&[]);
    has(&findings, Level::Problem, "loader", &["libvulkan.so.1"]);
    has(&findings, Level::Problem, "adapters", &["no GPU adapter", "RUST_LOG=wgpu_hal=debug"]);
    // With a Vulkan adapter the loader must exist.
    has(&machine.examined(&llvmpipe()), Level::Ok, "loader", &[]);
    // The loader may be in any folder that the system's settings name.
    machine.file("opt/vk/lib/libvulkan.so.1", "");
    has(&machine.examined(&[]), Level::Problem, "loader", &[]);
    machine.file("etc/ld.so.conf.d/vk.conf", "# ours\n/opt/vk/lib\n");
    has(&machine.examined(&[]), Level::Ok, "loader", &["/opt/vk/lib/libvulkan.so.1"]);
    machine.remove("etc/ld.so.conf.d/vk.conf");
    let machine = machine.env("LD_LIBRARY_PATH", "/elsewhere:/opt/vk/lib/");
    has(&machine.examined(&[]), Level::Ok, "loader", &["/opt/vk/lib/libvulkan.so.1"]);
}

#[test]
fn manifests_of_drivers_are_read() {
    let machine = Machine::new().env("HOME", "/me").env("XDG_DATA_DIRS", "/opt/data:/usr/share/");
    machine.driver("gone", "libvulkan_gone.so");
    machine.remove(&format!("{LIB}/libvulkan_gone.so"));
    machine.file(&format!("{ICD}/broken.json"), "{ \"ICD\": ");
    machine.file(&format!("{ICD}/empty.json"), "{}");
    machine.file(
        &format!("{ICD}/old.json"),
        &json!({ "ICD": { "library_path": "/lib32/x.so", "library_arch": "32" } }).to_string(),
    );
    machine.file("etc/vulkan/icd.d/absolute.json", &manifest("/opt/driver.so"));
    machine.file("opt/driver.so", "");
    machine.file("opt/data/vulkan/icd.d/beside.json", &manifest("../../lib/beside.so"));
    machine.file("opt/data/lib/beside.so", "");
    machine.file("me/.local/share/vulkan/icd.d/mine.json", &manifest("/nowhere/mine.so"));
    let findings = machine.examined(&[adapter("a GPU", false)]);
    let topic = "drivers";
    has(&findings, Level::Warning, topic, &["gone.json", "libvulkan_gone.so, which does not exist"]);
    has(&findings, Level::Warning, topic, &["broken.json", "not JSON"]);
    has(&findings, Level::Warning, topic, &["empty.json", "names no library"]);
    has(&findings, Level::Warning, topic, &["mine.json", "/nowhere/mine.so"]);
    has(&findings, Level::Ok, topic, &["old.json", "32-bit"]);
    has(&findings, Level::Ok, topic, &["absolute.json", "/opt/driver.so"]);
    has(&findings, Level::Ok, topic, &["beside.json", "beside.so"]);
    has(&findings, Level::Ok, topic, &["lvp_icd", "libvulkan_lvp.so"]);
    assert_eq!(worst(&findings), Level::Warning, "a GPU works nevertheless");
}

#[test]
fn variables_that_name_drivers_are_reported() {
    for name in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        let machine = Machine::new().env(name, "/none/a.json:/none/b.json");
        machine.file("dev/dri/renderD128", "");
        let findings = machine.examined(&[]);
        has(&findings, Level::Note, "drivers", &[name, "is set"]);
        has(&findings, Level::Warning, "drivers", &["/none/b.json", "cannot be read"]);
        has(&findings, Level::Problem, "drivers", &[name, "no usable driver", "unset"]);
        assert!(!findings.iter().any(|f| f.found.contains("lvp_icd")), "the usual folders do not count");
    }
    let machine = Machine::new().env("VK_DRIVER_FILES", "/usr/share/vulkan/icd.d");
    has(&machine.examined(&llvmpipe()), Level::Ok, "drivers", &["lvp_icd"]);
    let machine = Machine::new();
    machine.remove(&format!("{ICD}/lvp_icd.x86_64.json"));
    has(&machine.examined(&[]), Level::Note, "drivers", &["no Vulkan driver is installed"]);
}

#[test]
fn a_container_without_the_graphics_capability_is_reported() {
    let bare = || {
        let machine = Machine::new().container();
        machine.file("dev/nvidia0", "");
        machine.file("dev/nvidiactl", "");
        machine
    };
    let findings = bare().env("NVIDIA_DRIVER_CAPABILITIES", "compute,utility").examined(&llvmpipe());
    has(&findings, Level::Problem, "nvidia", &["compute,utility, without graphics", "NVIDIA_DRIVER_CAPABILITIES=all"]);
    has(&findings, Level::Ok, "container", &["/.dockerenv"]);
    has(&bare().examined(&[]), Level::Problem, "nvidia", &["is unset", "NVIDIA_DRIVER_CAPABILITIES=all"]);
    for list in ["all", "compute,graphics"] {
        let findings = bare().env("NVIDIA_DRIVER_CAPABILITIES", list).examined(&[]);
        has(&findings, Level::Problem, "nvidia", &["nvidia-container-toolkit"]);
    }
    // With both files there is no fault, whatever the variable says.
    let machine = bare().env("NVIDIA_DRIVER_CAPABILITIES", "compute");
    machine.file("etc/vulkan/icd.d/nvidia_icd.json", &manifest("libGLX_nvidia.so.0"));
    has(&machine.examined(&[]), Level::Problem, "nvidia", &["driver lacks libGLX_nvidia.so.0"]);
    machine.file(&format!("{LIB}/libGLX_nvidia.so.0"), "");
    let findings = machine.examined(&[adapter("NVIDIA H100", false)]);
    has(&findings, Level::Ok, "nvidia", &["installed"]);
    assert!(worst(&findings) < Level::Problem);
}

#[test]
fn nvidia_without_its_vulkan_driver_is_reported_outside_of_containers_too() {
    let machine = Machine::new();
    machine.file("dev/nvidia0", "");
    has(&machine.examined(&[]), Level::Problem, "nvidia", &["nvidia_icd.json and libGLX_nvidia.so.0", "libnvidia-gl"]);
    // With another GPU that works, it is only a warning.
    has(&machine.examined(&[adapter("Intel Arc", false)]), Level::Warning, "nvidia", &[]);
    // A file whose name only starts like that of a device is not one.
    let machine = Machine::new();
    machine.file("dev/nvidia-caps-note", "");
    lacks(&machine.examined(&[]), "nvidia");
}

#[test]
fn containers_are_recognised_by_many_signs() {
    let machine = Machine::new();
    lacks(&machine.examined(&[]), "container");
    machine.file("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n");
    has(&machine.examined(&[]), Level::Ok, "container", &["kubepods"]);
    let machine = Machine::new();
    machine.file("run/.containerenv", "");
    has(&machine.examined(&[]), Level::Ok, "container", &["/run/.containerenv"]);
    has(&Machine::new().env("container", "podman").examined(&[]), Level::Ok, "container", &["container"]);
}

#[test]
fn a_gpu_without_a_device_file_is_reported() {
    let machine = Machine::new();
    machine.file("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n");
    machine.file("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n");
    has(&machine.examined(&[]), Level::Problem, "hardware", &["NVIDIA", "kernel driver"]);
    let machine = machine.container();
    let findings = machine.examined(&llvmpipe());
    has(&findings, Level::Note, "hardware", &["NVIDIA", "--gpus all"]);
    assert_eq!(worst(&findings), Level::Note, "the GPU of the host need not be available in the container");
    let machine = Machine::new();
    machine.file("dev/kfd", "");
    has(&machine.examined(&[]), Level::Problem, "hardware", &["/dev/kfd", "--device /dev/dri"]);
}

#[test]
fn linux_inside_windows_is_reported() {
    let machine = Machine::new();
    machine.file("proc/version", "Linux version 5.15.90.1-microsoft-standard-WSL2\n");
    has(&machine.examined(&llvmpipe()), Level::Note, "WSL", &["without /dev/dxg", "wsl --update"]);
    machine.file("dev/dxg", "");
    has(&machine.examined(&llvmpipe()), Level::Problem, "WSL", &["dzn", "DX12"]);
    machine.driver("dzn_icd.x86_64", "libvulkan_dzn.so");
    has(
        &machine.examined(&llvmpipe()),
        Level::Problem,
        "WSL",
        &["hidden by wgpu", "WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1"],
    );
    has(&machine.examined(&[adapter("Microsoft Direct3D12 (a GPU)", false)]), Level::Ok, "WSL", &[]);
    lacks(&Machine::new().examined(&[]), "WSL");
}

#[test]
fn conda_that_shadows_the_system_is_reported() {
    let machine = Machine::new().env("CONDA_PREFIX", "/opt/conda");
    lacks(&machine.examined(&llvmpipe()), "conda");
    machine.file("opt/conda/lib/libvulkan.so.1", "");
    has(&machine.examined(&llvmpipe()), Level::Note, "conda", &["does not put it first"]);
    let machine = machine.env("LD_LIBRARY_PATH", "/opt/conda/lib/");
    has(&machine.examined(&llvmpipe()), Level::Warning, "conda", &["/opt/conda/lib", "conda deactivate"]);
    machine.file("dev/dri/renderD128", "");
    has(&machine.examined(&llvmpipe()), Level::Problem, "conda", &["LD_LIBRARY_PATH"]);
}

#[test]
fn a_device_without_permission_is_reported() {
    let mut machine = Machine::new();
    machine.file("dev/dri/renderD128", "");
    machine.file("etc/group", "root:x:0:\n");
    lacks(&machine.examined(&[]), "permissions");
    machine.refused = true;
    has(&machine.examined(&[]), Level::Problem, "permissions", &["/dev/dri/renderD128"]);
    has(&machine.container().examined(&[]), Level::Problem, "permissions", &["--group-add"]);
}

#[test]
fn variables_that_hide_adapters_are_reported() {
    let machine = Machine::new().env("WGPU_BACKEND", "gl").env("VK_LOADER_DRIVERS_SELECT", "*lvp*");
    let findings = machine.examined(&[]);
    has(&findings, Level::Note, "settings", &["WGPU_BACKEND", "unset"]);
    has(&findings, Level::Note, "settings", &["VK_LOADER_DRIVERS_SELECT"]);
    let machine = Machine::new().env("WGPU_ADAPTER_NAME", "RTX");
    has(&machine.examined(&llvmpipe()), Level::Warning, "settings", &["no adapter has that name"]);
    has(&machine.examined(&[adapter("NVIDIA rtx 9", false)]), Level::Note, "settings", &["selects that adapter"]);
}

#[test]
fn little_memory_is_reported() {
    let machine = Machine::new();
    machine.file("proc/meminfo", "MemAvailable: 300000 kB\n");
    has(&machine.examined(&llvmpipe()), Level::Warning, "memory", &["292 MiB"]);
    machine.file("proc/meminfo", "MemAvailable: 30000000 kB\n");
    machine.file("sys/fs/cgroup/memory.max", "1073741824\n");
    machine.file("sys/fs/cgroup/memory.current", "973741824\n");
    has(&machine.examined(&llvmpipe()), Level::Warning, "memory", &["95 MiB", "container"]);
    machine.file("sys/fs/cgroup/memory.max", "max\n");
    has(&machine.examined(&llvmpipe()), Level::Ok, "memory", &["29296 MiB"]);
}

/// The check passes the CPU, and fails for a missing adapter, wrong results and a timeout.
#[test]
fn a_check_passes_only_correct_devices() {
    let all = check(&["no such adapter".into()], Duration::from_secs(600));
    let cpu = &all[0];
    assert!(cpu.is_ok() && cpu.off == Some(0.0) && cpu.device == "cpu", "{cpu:?}");
    assert!(
        !all[1].is_ok() && all[1].failure.as_ref().is_some_and(|why| why.contains("no such adapter")),
        "{:?}",
        all[1]
    );
    let broken = [
        Checked { same_bits: Some(false), ..cpu.clone() },
        Checked { off: Some(1.0), ..cpu.clone() },
        Checked { off: Some(f64::NAN), ..cpu.clone() },
        Checked { failure: Some("lost".into()), ..cpu.clone() },
    ];
    assert!(broken.iter().all(|checked| !checked.is_ok()));
    assert!(cpu.allowed < 1e-4, "the limit must be far below the size of an update: {}", cpu.allowed);
    let late = check(&[], Duration::ZERO);
    assert!(late[0].failure.as_ref().is_some_and(|why| why.contains("no answer")), "{late:?}");
}

/// `zilch doctor` on the machine that runs the tests, which has a working adapter.
#[test]
fn the_doctor_passes_the_machine_of_the_tests() {
    let folder = Folder::new();
    folder.file("tune.json", "no tune file");
    let (code, out, err) = run(program().args(["doctor", "--json"]).env("ZILCH_TUNE", folder.path("tune.json")));
    let found: Value = serde_json::from_str(&out).expect("one JSON document");
    let checks = found["checks"].as_array().expect("checks");
    assert!(checks.len() > 1 && checks.iter().all(|check| check["same_bits"] == json!(true)), "{found:#}");
    assert!(checks.iter().skip(1).all(|check| check["off"].as_f64() <= check["allowed"].as_f64()), "{found:#}");
    assert_eq!(code, Some(if found["ok"] == json!(true) { 0 } else { 3 }), "{err}");
    let tiles = found["findings"].as_array().expect("findings").iter().find(|f| f["topic"] == "tiles").expect("tiles");
    assert_eq!(tiles["level"], "warning", "{tiles}");
    // Without drivers only the CPU is left.
    let (_, out, _) =
        run(program().arg("doctor").env("VK_DRIVER_FILES", "/none.json").env("VK_ICD_FILENAMES", "/none.json"));
    says(&out, &["ok        CPU", "ok        check       cpu: Z-IL is bit-identical to BP"]);
    if cfg!(target_os = "linux") {
        says(&out, &["wgpu finds no GPU adapter", "VK_DRIVER_FILES is set", "/none.json"]);
    }
}

/// The script for every shell contains every command, and options of single rules.
#[test]
fn completions_hold_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = done(&["completions", shell]);
        says(&script, &COMMANDS);
        says(&script, &["lr-schedule", "resume", "feedback-scale"]);
        if shell == "bash" {
            let folder = Folder::new();
            folder.file("zilch.bash", &script);
            if let Ok(status) = Command::new("bash").arg("-n").arg(folder.path("zilch.bash")).status() {
                assert!(status.success(), "bash reads it");
            }
        }
    }
    fails(&["completions", "tcsh"], 2, &["tcsh", "bash"]);
    fails(&["completions"], 2, &["SHELL"]);
}

/// The main page names every command. A folder gets one page per command, which groff formats without warnings.
#[test]
fn the_manual_holds_every_command() {
    let page = done(&["man"]);
    says(&page, &[".TH zilch 1", "SYNOPSIS"]);
    says(&page, &COMMANDS.map(|name| format!("zilch\\-{name}")).each_ref().map(String::as_str));
    let folder = Folder::new();
    let dir = folder.path("new/man1");
    says(&done(&["man", "--out", dir.to_str().expect("UTF-8")]), &["16 pages"]);
    for name in COMMANDS {
        let path = dir.join(format!("zilch-{name}.1"));
        says(&fs::read_to_string(&path).expect("a page"), &["SYNOPSIS"]);
        let groff = Command::new("groff").args(["-man", "-ww", "-Tutf8", "-Kutf8"]).arg(&path).output();
        if let Ok(output) = groff {
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
        }
    }
    assert!(fs::read_to_string(dir.join("zilch-train.1")).expect("a page").contains("checkpoint"));
    fails(&["man", "--out", dir.join("zilch.1").to_str().expect("UTF-8")], 2, &["zilch.1", "this is a file"]);
}
