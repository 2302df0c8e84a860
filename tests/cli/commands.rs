//! The commands: their output, their errors, and their files.
//!
//! Every run is checked for what holds for all runs: no panic, no backtrace (they are enabled here), no escape codes without a terminal,
//! and nothing on stdout after a failure.

use crate::program::program;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use zilch::data::folder::FILES;
use zilch::network::{read_weights, write_weights};
use zilch::{Network, Weights};

const DEVICES: [&str; 2] = ["cpu", "gpu"];
const TRAIN: usize = 60;
const TEST: usize = 22;
const CLASSES: u8 = 4;
/// A network that fits the data of [`Sandbox`].
const LAYERS: &str = "30,8,6,4";

/// The result of a run of zilch.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command, and checks what holds for every run.
fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("zilch starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    let ran = Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
    check_manners(&ran);
    ran
}

fn check_manners(ran: &Ran) {
    for bad in ["panicked", "backtrace", "RUST_BACKTRACE", "\u{1b}"] {
        assert!(!ran.err.contains(bad) && !ran.out.contains(bad), "{bad:?} in {ran:?}");
    }
}

fn assert_says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

/// Runs a command that must succeed, and returns stdout.
fn done(args: &[&str]) -> String {
    let ran = run(program().args(args));
    assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
    ran.out
}

/// As [`done`], for one JSON document on stdout.
fn done_json(args: &[&str]) -> Value {
    serde_json::from_str(&done(args)).expect("one JSON document")
}

/// The final message of a run: the last line of stderr, the only one that starts with "zilch: ".
fn message(ran: &Ran) -> String {
    let last = ran.err.lines().last().unwrap_or_default();
    assert_eq!(ran.err.lines().filter(|l| l.starts_with("zilch: ")).count(), 1, "one message: {ran:?}");
    assert!(last.starts_with("zilch: "), "the message is the last line: {ran:?}");
    last.to_owned()
}

/// Runs a command that must fail with this exit code and these words in its message.
fn fails(command: &mut Command, code: i32, words: &[&str]) {
    let ran = run(command);
    assert_eq!(ran.code, Some(code), "{command:?}: {ran:?}");
    assert_eq!(ran.out, "", "{command:?}");
    assert_says(&message(&ran), words);
}

/// A temporary folder with a small data set in `data`: images of 6×5 pixels in 4 classes.
struct Sandbox(TempDir);

impl Sandbox {
    fn new() -> Self {
        let sandbox = Sandbox(tempfile::tempdir().expect("a folder"));
        sandbox.fill("data", 0);
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path as an argument.
    fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes the four files of a data set to a new folder. `salt` changes the pixels.
    fn fill(&self, name: &str, salt: usize) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).expect("made");
        for (files, samples, salt) in [(&FILES[..2], TRAIN, salt), (&FILES[2..], TEST, salt + 1000)] {
            let labels: Vec<u8> = (0..samples).map(|s| (s * 7 % usize::from(CLASSES)) as u8).collect();
            // Every class has a bright stripe, every pixel has noise.
            let pixel = |s: usize, p: usize| {
                let noise = ((s + salt) * 131 + p * 37 + (s + salt) * p * 11) % 97;
                (noise + if p % usize::from(CLASSES) == usize::from(labels[s]) { 150 } else { 0 }) as u8
            };
            let pixels = (0..samples).flat_map(|s| (0..30).map(move |p| (s, p))).map(|(s, p)| pixel(s, p)).collect();
            fs::write(folder.join(files[0]), idx(&[samples as u32, 6, 5], pixels)).expect("written");
            fs::write(folder.join(files[1]), idx(&[samples as u32], labels)).expect("written");
        }
    }

    /// `train` on the data in `data`, with further arguments, which are split at spaces.
    fn train(&self, args: &str) -> Command {
        let mut command = program();
        command.args(["train", "--preset", "paper", "--data", &self.arg("data"), "--layers", LAYERS, "--lr", "0.05"]);
        command.args(args.split_whitespace());
        command
    }

    /// Trains to the end and returns the JSON document.
    fn trained(&self, args: &str) -> Value {
        let ran = run(self.train(args).arg("--json"));
        assert_eq!(ran.code, Some(0), "{args}: {ran:?}");
        serde_json::from_str(&ran.out).expect("one JSON document")
    }

    /// The SHA-256 of the weights of a training.
    fn sha(&self, args: &str) -> String {
        self.trained(args)["weights_sha256"].as_str().expect("there").to_owned()
    }
}

fn idx(sizes: &[u32], data: Vec<u8>) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|n| n.to_be_bytes()));
    file.extend(data);
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).expect("in memory");
    gz.finish().expect("in memory")
}

/// Every name in a folder, with the file's bytes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| {
            let path = entry.expect("listed").path();
            (path.file_name().expect("named").to_string_lossy().into_owned(), fs::read(&path).expect("read"))
        })
        .collect();
    all.sort();
    all
}

fn names(folder: &Path) -> Vec<String> {
    contents(folder).into_iter().map(|(name, _)| name).collect()
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn set(names: &str) -> BTreeSet<&str> {
    names.split_whitespace().collect()
}

/// The rows of a metrics.csv as pairs (epoch, updates).
fn rows(folder: &Path) -> Vec<(u64, u64)> {
    let csv = fs::read_to_string(folder.join("metrics.csv")).expect("there");
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("epoch,updates,seconds,train_energy,test_error"));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            assert_eq!(cells.len(), 5, "{line}");
            // Infinity is accepted: a network that is about to diverge may have infinite energy.
            assert!(cells[2..].iter().all(|c| c.parse::<f64>().is_ok_and(|v| v >= 0.0)), "{line}");
            (cells[0].parse().expect("a number"), cells[1].parse().expect("a number"))
        })
        .collect()
}

/// The first adapter.
fn adapter() -> Value {
    let info = done_json(&["info", "--json"]);
    info["adapters"].get(0).expect("these tests need a GPU adapter; a software adapter is enough").clone()
}

// ---- the output of each command ------------------------------------------------------------------------------

#[test]
fn help_and_version_go_to_stdout() {
    assert_says(&done(&["--help"]), &["compare", "train", "eval", "plan", "tune", "info", "Exit codes: 0 done", "130"]);
    assert_eq!(done(&["--version"]), format!("zilch {}\n", env!("CARGO_PKG_VERSION")));
    for command in ["compare", "train", "eval", "plan", "tune", "info"] {
        assert_says(&done(&[command, "--help"]), &["Usage", command]);
    }
}

#[test]
fn info_describes_the_machine() {
    let text = done(&["info"]);
    assert_says(&text, &["zilch ", "CPU", "threads", "products", "GPU", "driver", "MiB per binding"]);
    let info = done_json(&["info", "--json"]);
    assert_eq!(keys(&info), set("adapters host tune"));
    assert_eq!(keys(&info["host"]), set("zilch system cpu cores threads simd products"));
    let expected = "name backend kind software driver driver_info max_buffer max_binding workgroup_memory \
                    workgroup_threads storage_buffers subgroup timestamps float16 cooperative_matrix";
    assert_eq!(keys(&adapter()), set(expected));
    assert_says(&text, &[adapter()["name"].as_str().expect("a name")]);
}

#[test]
fn plan_prints_steps_cost_and_properties() {
    for (rule, words) in [
        ("bp", &["BP of 30-8-6-4", "backprop ε^1", "local plasticity  no", "1.00 × BP"][..]),
        ("il", &["IL of", "frontier schedule", "t = 20", "γ = 0.1", "full autonomy     no"][..]),
        ("zil", &["Z-IL of", "γ = 1", "local plasticity  yes", "full autonomy     no"][..]),
        ("fazil", &["Fa-Z-IL of", "full schedule", "gate φ^0", "full autonomy     yes"][..]),
    ] {
        assert_says(&done(&["plan", "--rule", rule, "--layers", LAYERS]), words);
    }
}

#[test]
fn compare_prints_a_table_and_a_document() {
    let args = ["compare", "--layers", LAYERS, "--batch", "5", "--seconds", "0.01"];
    let text = done(&args);
    assert_says(&text, &["30-8-6-4, batch 5", "CPU · ", "GPU · ", "Fa-Z-IL", "repeats bit for bit", "bit-identical"]);
    let software = adapter()["software"] == json!(true);
    assert_eq!(text.contains("emulates a GPU"), software, "a software GPU is marked as one");

    let document = done_json(&[&args[..], &["--json"]].concat());
    assert_eq!(keys(&document), set("network host results"));
    assert_eq!(document["network"], json!({ "layers": [30, 8, 6, 4], "batch": 5, "activation": "sigmoid" }));
    let results = document["results"].as_array().expect("a list");
    let arms = ["bp frontier", "il frontier", "zil frontier", "zil full", "fazil frontier", "fazil full"];
    for (r, (device, arm)) in results.iter().zip(DEVICES.iter().flat_map(|d| arms.map(|a| (d, a)))) {
        let contract = "device device_name software rule schedule coords median_us q1_us q3_us updates first_update_ms \
                        flop_per_update divergence";
        let more = "driver device_median_us dispatches updates_per_submission";
        assert_eq!(keys(r), set(&format!("{contract} {more}")));
        assert_eq!(keys(&r["divergence"]), set("max_abs relative bit_identical"));
        assert_eq!(r["device"], *device);
        assert_eq!(format!("{} {}", r["rule"].as_str().unwrap(), r["schedule"].as_str().unwrap()), arm);
        assert_eq!((&r["coords"], &r["software"]), (&json!("error"), &json!(*device == "gpu" && software)));
        let number = |key: &str| r[key].as_f64().expect("a number");
        assert!(
            number("q1_us") > 0.0 && number("q1_us") <= number("median_us") && number("median_us") <= number("q3_us")
        );
        assert!(number("updates") >= 5.0 && number("first_update_ms") > 0.0 && number("flop_per_update") > 0.0);
        let same = !arm.starts_with("il");
        assert_eq!(r["divergence"]["bit_identical"], json!(same), "{r}");
        assert_eq!(r["divergence"]["max_abs"] == json!(0.0), same, "{r}");
    }
    assert_eq!(results.len(), 12);
}

#[test]
fn compare_takes_the_rules_devices_and_schedule_asked_for() {
    let args = ["compare", "--layers", "12,5", "--batch", "3", "--seconds", "0.01", "--json", "--threads", "1"];
    let document = done_json(&[&args[..], &["--rules", "fazil", "--devices", "cpu", "--schedule", "full"]].concat());
    let results = document["results"].as_array().expect("a list");
    assert_eq!(results.len(), 1);
    assert_eq!((&results[0]["rule"], &results[0]["device"]), (&json!("fazil"), &json!("cpu")));
    assert_eq!(document["host"]["threads"], json!(1));
}

#[test]
fn train_writes_its_folder_and_eval_reads_it() {
    let box_ = Sandbox::new();
    for device in DEVICES {
        let out = box_.path(device);
        let ran = run(&mut box_.train(&format!("--epochs 3 --device {device} --out {}", out.display())));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_says(&ran.out, &["test error", "train energy", "updates         9 in", "weights sha256", "written to"]);
        assert_says(&ran.err, &["30-8-6-4 on data with", "(Z-IL): 9 updates of 20 samples", "epoch   3 · 9 updates"]);
        assert_eq!(names(&out), ["metrics.csv", "run.json", "weights.safetensors"]);
        assert_eq!(rows(&out), [(1, 3), (2, 6), (3, 9)]);

        let json: Value = serde_json::from_slice(&fs::read(out.join("run.json")).expect("there")).expect("JSON");
        let expected = "settings arguments folder version host driver software parameters updates seconds weights_sha256 test_error best \
                        ended_early held_out_error last_epoch stopped";
        assert_eq!(keys(&json), set(expected));
        let expected = "layers activation bias input_activation pixels targets init_gain subset tasks epoch_updates hold_out rule schedule coords gamma steps td phi own lr mean batch \
                        loss optimizer weight_decay momentum betas lr_schedule layer_lr warmup length seed shuffle init init_sha256 device device_name precision threads data data_sha256";
        assert_eq!(keys(&json["settings"]), set(expected));
        assert_eq!(keys(&json["settings"]["data_sha256"]), FILES.into_iter().collect());
        assert_eq!((&json["stopped"], &json["updates"], &json["parameters"]), (&json!(null), &json!(9), &json!(312)));
        let (network, weights) = read_weights(&out.join("weights.safetensors")).expect("our own file");
        assert_eq!((network.input_first(), weights.sha256()), (vec![30, 8, 6, 4], text(&json["weights_sha256"])));

        let weights = out.join("weights.safetensors");
        let weights = weights.to_str().expect("UTF-8");
        let args = ["eval", "--weights", weights, "--data", &box_.arg("data"), "--device", device];
        assert_says(&done(&args), &["30-8-6-4 on data", "test error", "of 22)", "energy"]);
        let eval = done_json(&[&args[..], &["--json"]].concat());
        let expected = "weights weights_sha256 layers activation rule data subset device device_name driver software samples errors \
                        test_error energy";
        assert_eq!(keys(&eval), set(expected));
        assert_eq!((&eval["samples"], &eval["weights_sha256"]), (&json!(TEST), &json["weights_sha256"]));
        assert_eq!(eval["test_error"], json["test_error"], "eval sees what training saw");
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

#[test]
fn train_and_eval_take_the_built_in_digits() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run").to_str().expect("UTF-8").to_owned();
    let args =
        ["train", "--preset", "paper", "--data", "digits", "--layers", "784,16,10", "--lr", "0.002", "--device", "cpu"];
    let json = done_json(&[&args[..], &["--epochs", "2", "--out", &out, "--json"]].concat());
    assert_eq!(json["settings"]["data"], json!("digits"));
    let eval = done(&["eval", "--weights", &format!("{out}/weights.safetensors"), "--data", "digits"]);
    assert_says(&eval, &["784-16-10 on digits"]);
}

#[test]
fn reproduce_writes_a_page_and_its_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("results");
    let reproduce = |args: &[&str]| {
        let mut command = program();
        command.arg("reproduce").args(args).arg("--out").arg(&out);
        command
    };
    fails(&mut reproduce(&["table2"]), 2, &["--data DIR", "MNIST", "--data digits"]);
    fails(&mut reproduce(&["page"]), 4, &["results", "no result here"]);
    fails(&mut reproduce(&["table2", "--data", "digits", "--threads", "0"]), 2, &["--threads", "1 to 1024"]);
    assert!(!out.exists(), "a refused run leaves no files");
    let ran = run(&mut reproduce(&["table2", "--data", "digits", "--quick"]));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_says(&ran.out, &["# The paper, reproduced", "## Table 2", "Fa-Z-IL"]);
    let record = fs::read(out.join("table2.json")).expect("written");
    assert_eq!(serde_json::from_slice::<Value>(&record).expect("JSON")["experiment"], json!("table2"));
    fails(&mut reproduce(&["table2", "--data", "digits"]), 2, &["another experiment", "another --out"]);
    assert_eq!(fs::read(out.join("table2.json")).expect("there"), record);
}

#[test]
fn gzipped_files_are_the_same_data() {
    let box_ = Sandbox::new();
    let plain = box_.trained("--device cpu --updates 2");
    for file in FILES {
        let path = box_.path("data").join(file);
        fs::write(path.with_file_name(format!("{file}.gz")), gzip(&fs::read(&path).expect("read"))).expect("written");
        fs::remove_file(path).expect("removed");
    }
    let zipped = box_.trained("--device cpu --updates 2");
    assert_eq!(zipped["weights_sha256"], plain["weights_sha256"]);
    assert_eq!(zipped["settings"]["data_sha256"], plain["settings"]["data_sha256"]);
}

#[test]
fn an_adapter_is_found_by_part_of_its_name() {
    let name = text(&adapter()["name"]);
    let part = name.split_whitespace().next().expect("a word").to_uppercase();
    let box_ = Sandbox::new();
    let json = box_.trained(&format!("--updates 1 --device {part}"));
    assert_eq!(json["settings"]["device_name"], json!(name));
}

// ---- bit-identical results -------------------------------------------------------------------------------------

#[test]
fn bp_zil_and_fazil_train_the_same_weights_on_each_device() {
    let box_ = Sandbox::new();
    for device in DEVICES {
        for options in ["", "--bias --mean --activation tanh --input-activation"] {
            let options = format!("--updates 7 --device {device} {options}");
            let bp = box_.sha(&format!("--rule bp {options}"));
            for rule in
                ["zil", "zil --schedule full", "fazil", "fazil --schedule frontier --td 2", "fazil --phi feedback"]
            {
                assert_eq!(box_.sha(&format!("--rule {rule} {options}")), bp, "{rule} {options}");
            }
            assert_ne!(box_.sha(&format!("--rule il {options}")), bp, "il is another rule");
            assert_ne!(box_.sha(&format!("--rule zil --gamma 0.5 {options}")), bp, "γ ≠ 1 breaks C3");
        }
    }
}

#[test]
fn a_run_is_repeatable_and_every_setting_changes_it() {
    let box_ = Sandbox::new();
    for device in DEVICES {
        let run = |args: &str| box_.sha(&format!("--device {device} --epochs 2 {args}"));
        let first = run("");
        assert_eq!(run(""), first);
        assert_eq!(run("--seed 0 --batch 20 --rule zil"), first, "these are the defaults");
        let others = [run("--seed 1"), run("--no-shuffle"), run("--batch 10"), run("--mean"), run("--bias")];
        let all: BTreeSet<&String> = others.iter().chain([&first]).collect();
        assert_eq!(all.len(), 6, "each option changes the weights");
    }
}

#[test]
fn a_training_can_be_continued_from_its_weights() {
    let box_ = Sandbox::new();
    for device in DEVICES {
        let at = |name: &str| box_.arg(&format!("{name}-{device}"));
        let both = box_.sha(&format!("--device {device} --no-shuffle --epochs 2"));
        box_.trained(&format!("--device {device} --no-shuffle --epochs 1 --out {}", at("first")));
        let init = format!("{}/weights.safetensors", at("first"));
        assert_eq!(box_.sha(&format!("--device {device} --no-shuffle --epochs 1 --init {init}")), both);
        assert_ne!(box_.sha(&format!("--device {device} --no-shuffle --epochs 1")), both);
    }
}

#[test]
fn epochs_and_updates_are_counted_in_whole_batches() {
    let box_ = Sandbox::new();
    for (n, (args, expected)) in [
        ("--epochs 2", &[(1, 3), (2, 6)][..]),
        ("--updates 4", &[(1, 3), (2, 4)][..]),
        ("--updates 3", &[(1, 3)][..]),
        ("--updates 1", &[(1, 1)][..]),
        ("--epochs 2 --batch 25", &[(1, 2), (2, 4)][..]), // the last 10 of 60 are left out
        ("--epochs 1 --batch 60", &[(1, 1)][..]),
    ]
    .into_iter()
    .enumerate()
    {
        let out = box_.path(&format!("out{n}"));
        let json = box_.trained(&format!("{args} --device cpu --out {}", out.display()));
        assert_eq!(rows(&out), expected, "{args}");
        assert_eq!(json["updates"], json!(expected.last().expect("a row").1));
        assert_eq!(json["epochs"].as_array().map(Vec::len), Some(expected.len()));
    }
}

// ---- the folder of a run ---------------------------------------------------------------------------------------

#[test]
fn the_same_settings_may_write_again_and_others_may_not() {
    let box_ = Sandbox::new();
    let out = box_.path("out");
    let train = |args: &str| box_.train(&format!("--device cpu --updates 2 {args} --out {}", out.display()));
    assert_eq!(run(&mut train("")).code, Some(0));
    let weights = fs::read(out.join("weights.safetensors")).expect("there");
    assert_eq!(run(&mut train("")).code, Some(0));
    assert_eq!(fs::read(out.join("weights.safetensors")).expect("there"), weights, "the same bytes");

    let before = contents(&out);
    let words = ["--out", "other settings", "Choose another folder"];
    for other in ["--seed 1", "--rule bp", "--mean", "--gamma 0.9", "--threads 1"] {
        fails(&mut train(other), 2, &words);
    }
    // A data folder of the same name with other images is another data set.
    fs::rename(box_.path("data"), box_.path("old")).expect("renamed");
    box_.fill("data", 5);
    fails(&mut train(""), 2, &words);
    assert_eq!(contents(&out), before, "nothing was touched");
}

#[test]
fn an_out_folder_with_other_content_is_left_alone() {
    let box_ = Sandbox::new();
    let out = box_.path("full");
    fs::create_dir(&out).expect("made");
    fs::write(out.join("thesis.tex"), b"ten years of work").expect("written");
    let train = |out: &str| box_.train(&format!("--device cpu --updates 1 --out {out}"));
    fails(&mut train(&box_.arg("full")), 2, &["--out", "not empty", "thesis.tex"]);
    assert_eq!(contents(&out), [("thesis.tex".to_owned(), b"ten years of work".to_vec())]);
    fails(&mut train(&box_.arg("full/thesis.tex")), 2, &["thesis.tex", "this is a file"]);
    fails(&mut train(&box_.arg("full/thesis.tex/deep")), 2, &["deep", "is a file"]);
    let empty = run(box_.train("--device cpu --updates 1").args(["--out", ""]));
    assert_eq!((empty.code, empty.out.as_str()), (Some(2), ""), "{empty:?}");
    assert_says(&empty.err, &["--out"]);
}

#[test]
fn a_refused_run_leaves_no_folder() {
    let box_ = Sandbox::new();
    let out = box_.arg("new");
    for (args, code) in [
        ("--batch 61", 2),
        ("--device nosuchadapter", 3),
        ("--layers 31,8,4", 4),
        ("--layers 30,16777216,16777216,4 --device cpu", 3),
        ("--layers 30,16777216,16777216,4 --device gpu", 3),
    ] {
        let args = format!("--out {out} {args}");
        let ran =
            run(program().args(["train", "--preset", "paper", "--data", &box_.arg("data")]).args(with_layers(&args)));
        assert_eq!(ran.code, Some(code), "{args}: {ran:?}");
        assert!(!box_.path("new").exists(), "{args}");
    }
}

/// The arguments, with [`LAYERS`] unless they say otherwise.
fn with_layers(args: &str) -> Vec<String> {
    let layers = if args.contains("--layers") { String::new() } else { format!(" --layers {LAYERS}") };
    (args.to_owned() + &layers).split_whitespace().map(str::to_owned).collect()
}

// ---- divergence and interruption -------------------------------------------------------------------------------

#[test]
fn a_diverging_training_names_layer_and_update_and_keeps_finite_weights() {
    let box_ = Sandbox::new();
    for device in DEVICES {
        let out = box_.path(device);
        let data = box_.arg("data");
        let ran = run(program()
            .args([
                "train",
                "--preset",
                "paper",
                "--data",
                &data,
                "--layers",
                LAYERS,
                "--lr",
                "1e6",
                "--activation",
                "identity",
            ])
            .args(["--device", device, "--json", "--out"])
            .arg(&out));
        assert_eq!(ran.code, Some(5), "{ran:?}");
        let json: Value = serde_json::from_str(&ran.out).expect("the usual answer");
        let made = json["updates"].as_u64().expect("a number");
        let words = [&format!("update {}, the weights of layer", made + 1)[..], "NaN or infinity", "smaller --lr"];
        assert_says(&message(&ran), &words);
        assert_says(&text(&json["stopped"]), &words);
        let (_, weights) = read_weights(&out.join("weights.safetensors")).expect("finite weights");
        assert_eq!(weights.sha256(), text(&json["weights_sha256"]));
        assert_eq!(names(&out), ["metrics.csv", "run.json", "weights.safetensors"]);
        assert_eq!(rows(&out), [(made.div_ceil(3).max(1), made)].as_slice());

        // They are the weights of a training that stops before the diverging update.
        if made > 0 {
            let args = ["--lr", "1e6", "--activation", "identity", "--device", device, "--json"];
            let stopped = done_json(
                &[
                    &[
                        "train",
                        "--preset",
                        "paper",
                        "--data",
                        &data,
                        "--layers",
                        LAYERS,
                        "--updates",
                        &made.to_string(),
                    ][..],
                    &args,
                ]
                .concat(),
            );
            assert_eq!(stopped["weights_sha256"], json["weights_sha256"]);
        }
    }
}

/// Starts a command, interrupts it (Ctrl-C) when stderr has a line that starts with `when`, and waits for its end.
#[cfg(unix)]
fn interrupt(command: &mut Command, when: &str) -> Ran {
    signal(command, when, "-INT")
}

/// As [`interrupt`], with any signal.
#[cfg(unix)]
fn signal(command: &mut Command, when: &str, signal: &str) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zilch starts");
    // stdout is read in parallel with stderr: a document larger than the pipe's buffer would otherwise block the process.
    let mut out = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        out.read_to_string(&mut text).map(|_| text).expect("UTF-8")
    });
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut err: Vec<String> = Vec::new();
    while !err.last().is_some_and(|l| l.starts_with(when)) {
        err.push(lines.next().expect("more output").expect("UTF-8"));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs").success());
    err.extend(lines.map(|l| l.expect("UTF-8")));
    let code = child.wait().expect("it ends").code();
    let ran = Ran { code, out: reader.join().expect("read"), err: err.join("\n") };
    check_manners(&ran);
    ran
}

/// Whether this process and its children ignore SIGHUP, for example because of nohup.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(unix)]
#[test]
fn an_interrupted_training_keeps_its_weights() {
    let box_ = Sandbox::new();
    // The warning of a cluster (SIGTERM) and a closed terminal (SIGHUP) have the same effect as Ctrl-C.
    let kinds = DEVICES.map(|device| (device, "-INT"));
    for (device, kind) in kinds.into_iter().chain([("cpu", "-TERM"), ("cpu", "-HUP")]) {
        if kind == "-HUP" && hangup_is_ignored() {
            eprintln!("not run: SIGHUP, because these tests run under nohup");
            continue;
        }
        let out = box_.path(&format!("{device}{kind}"));
        let mut command = box_.train(&format!("--device {device} --epochs 1000000000 --json --out {}", out.display()));
        let ran = signal(&mut command, "epoch   2", kind);
        assert_eq!(ran.code, Some(130), "{:?}", ran.err);
        assert_says(&message(&ran), &["interrupted after", "of 3000000000 updates"]);

        let json: Value = serde_json::from_str(&ran.out).expect("the usual answer");
        let (_, weights) = read_weights(&out.join("weights.safetensors")).expect("whole");
        assert_eq!(json["weights_sha256"], json!(weights.sha256()));
        let epochs = ran.err.lines().filter(|l| l.starts_with("epoch")).count();
        assert!(epochs >= 2);
        assert_eq!(rows(&out).len(), epochs, "every printed epoch is in the file");
        // The checkpoint, and the results so far.
        let state = format!("state-{}.safetensors", json["updates"]);
        let expected = ["checkpoint.json", "metrics-1.csv", "metrics.csv", "run.json", &state, "weights.safetensors"];
        assert_eq!(names(&out), expected);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_prints_nothing() {
    let args = ["compare", "--layers", "30,8,4", "--seconds", "3000", "--devices", "cpu"];
    let ran = interrupt(program().args(args), "measuring");
    assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{ran:?}");
    assert_says(&message(&ran), &["interrupted"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let box_ = Sandbox::new();
    let data = box_.arg("data");
    let train = [
        "train",
        "--preset",
        "paper",
        "--data",
        &data,
        "--layers",
        LAYERS,
        "--updates",
        "1",
        "--device",
        "cpu",
        "--json",
    ];
    for args in [&["info"][..], &["info", "--json"], &["plan"], &["--help"], &train] {
        for closed in ["stdout", "stderr"] {
            let mut child =
                program().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zilch starts");
            let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
            let (mut open, shut): (Box<dyn Read>, Box<dyn Read>) =
                if closed == "stdout" { (Box::new(err), Box::new(out)) } else { (Box::new(out), Box::new(err)) };
            drop(shut);
            let mut text = String::new();
            open.read_to_string(&mut text).expect("UTF-8");
            let status = child.wait().expect("it ends");
            assert_eq!(status.code(), Some(0), "{args:?} with {closed} closed: {text}");
            assert!(!text.contains("panicked"), "{text}");
        }
    }
}

// ---- usage -----------------------------------------------------------------------------------------------------

#[test]
fn options_out_of_range_are_usage_errors() {
    let box_ = Sandbox::new();
    for (args, words) in [
        ("--batch 0", &["--batch", "1 to 60", "0 given"][..]),
        ("--batch 61", &["--batch", "1 to 60", "61 given"]),
        ("--gamma 0", &["--gamma", "positive"]),
        ("--gamma -1", &["--gamma", "positive", "-1"]),
        ("--gamma inf", &["--gamma", "positive"]),
        ("--gamma 1e60", &["--gamma", "float32", "1e60"]),
        ("--td 0 --rule fazil", &["--td", "1 to", "0 given"]),
        ("--steps 10001 --rule il", &["--steps", "at most 10000"]),
        ("--steps 3 --rule zil", &["--steps", "il", "fazil"]),
        ("--epochs 0", &["--epochs", "at least 1"]),
        ("--updates 0", &["--updates", "at least 1"]),
        ("--threads 0", &["--threads", "1 to 1024", "0 given"]),
        ("--threads 1000000", &["--threads", "1 to 1024", "1000000 given"]),
    ] {
        fails(&mut box_.train(&format!("--device cpu {args}")), 2, words);
    }
    let data = box_.arg("data");
    for lr in ["0", "-0.1", "nan", "inf", "1e-60", "1e60"] {
        let args = ["train", "--preset", "paper", "--data", &data, "--layers", LAYERS, "--device", "cpu", "--lr", lr];
        fails(program().args(args), 2, &["--lr", "positive"]);
    }
    for layers in
        ["30", "30,0,4", "30,x,4", "30,-2,4", "30,,4", "", "30,16777217,4", "30,99999999999999999999,4", "3e1,4"]
    {
        for command in [&["train", "--preset", "paper", "--data", &data][..], &["compare"], &["plan"]] {
            fails(program().args(command).args(["--layers", layers]), 2, &["layer"]);
        }
    }
    let deep = vec!["2"; 300].join(",");
    fails(program().args(["plan", "--layers", &deep]), 2, &["at most 256 layers", "299 given"]);
    fails(program().args(["plan", "--batch", "0"]), 2, &["--batch"]);
    fails(program().args(["compare", "--batch", "0"]), 2, &["--batch"]);
    fails(program().args(["compare", "--batch", "1048577"]), 2, &["--batch", "1048576"]);
    for seconds in ["0", "-1", "nan", "1e9"] {
        fails(program().args(["compare", &format!("--seconds={seconds}")]), 2, &["--seconds", "at most 3600"]);
    }
    fails(program().args(["compare", "--seconds", "-1"]), 2, &["--seconds", "-1.0 given"]);
    fails(program().args(["compare", "--seconds", "1e300"]), 2, &["--seconds", "; 1e300 given"]);
    fails(program().args(["tune", "--seconds", "-1"]), 2, &["--seconds", "-1.0 given"]);
    fails(program().args(["compare", "--rules", "il", "--steps", "10001"]), 2, &["--steps"]);
}

#[test]
fn errors_of_the_grammar_list_what_is_valid() {
    for (args, words) in [
        (&[][..], &["Usage", "compare"][..]),
        (&["juggle"], &["juggle", "--help"]),
        (&["train"], &["--data", "--help"]),
        (&["eval", "--data", "digits"], &["--weights"]),
        (&["train", "--preset", "paper", "--data", "digits", "--rule", "hebian"], &["hebian", "bp, il, zil, fazil"]),
        (
            &["train", "--preset", "paper", "--data", "digits", "--activation", "softplus"],
            &["gelu", "sigmoid", "leaky-relu"],
        ),
        (
            &["train", "--preset", "paper", "--data", "digits", "--epochs", "1", "--updates", "1"],
            &["--epochs", "--updates"],
        ),
        (&["train", "--preset", "paper", "--data", "digits", "--epochs", "-1"], &["-1"]),
        (&["train", "--preset", "paper", "--data", "digits", "--seed", "x"], &["--seed", "x"]),
        (
            &["train", "--data", "digits", "--updates", "1e3"],
            &["'1e3' for '--updates", "expected a whole number", "--help"],
        ),
        (&["train", "--data", "digits", "--batch="], &["--batch", "expected a whole number"]),
        (&["compare", "--rules", "bp,hebian"], &["hebian", "fazil"]),
        (&["compare", "--frobnicate"], &["--frobnicate"]),
    ] {
        let ran = run(program().args(args));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert_says(&ran.err, words);
    }
}

// ---- devices ---------------------------------------------------------------------------------------------------

#[test]
fn an_unknown_adapter_is_refused_with_a_list_of_adapters() {
    let (box_, name) = (Sandbox::new(), text(&adapter()["name"]));
    let words = ["no adapter is called \"nosuch\"", &name, "--device takes auto, cpu, gpu"];
    fails(&mut box_.train("--device nosuch"), 3, &words);
    fails(program().args(["compare", "--devices", "cpu,nosuch"]), 3, &words);
    fails(
        box_.train("--device gpu").env("WGPU_ADAPTER_NAME", "nosuch"),
        3,
        &[&words[..], &["WGPU_ADAPTER_NAME"]].concat(),
    );
    let weights = box_.path("w.safetensors");
    let network = Network::parse(LAYERS).expect("a network");
    write_weights(&weights, &network, &Weights::init(&network, 3)).expect("written");
    let args = ["eval", "--data", &box_.arg("data"), "--device", "nosuch", "--weights"];
    fails(program().args(args).arg(weights), 3, &words);
}

/// Linux has no DX12, so that with this backend there is no adapter.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_the_message_says_what_to_install() {
    let box_ = Sandbox::new();
    let words = ["WGPU_BACKEND is set to \"dx12\"", "nstall", "Vulkan", "CPU device"];
    let info = run(program().arg("info").env("WGPU_BACKEND", "dx12"));
    assert_eq!(info.code, Some(0), "{info:?}");
    assert_says(&info.out, &[&["none found"][..], &words].concat());
    let json = run(program().args(["info", "--json"]).env("WGPU_BACKEND", "dx12"));
    assert_eq!(serde_json::from_str::<Value>(&json.out).expect("JSON")["adapters"], json!([]));
    let words = [&["no GPU adapter was found"][..], &words].concat();
    fails(program().args(["compare", "--devices", "gpu"]).env("WGPU_BACKEND", "dx12"), 3, &words);
    fails(box_.train("--device gpu").env("WGPU_BACKEND", "dx12"), 3, &words);

    let auto = run(box_.train("--updates 1 --json --device auto").env("WGPU_BACKEND", "dx12"));
    assert_eq!(auto.code, Some(0), "{auto:?}");
    let json: Value = serde_json::from_str(&auto.out).expect("JSON");
    assert_eq!(json["settings"]["device"], json!("cpu"));
}

#[test]
fn a_network_beyond_memory_is_refused_with_the_numbers() {
    // 2^48 weights take a petabyte, which must not be allocated.
    let layers = ["--layers", "784,16777216,16777216,10"];
    for device in DEVICES {
        let words = ["784-16777216-16777216-10", "needs", "offers", "MiB", "smaller --layers"];
        fails(
            program().args(["train", "--preset", "paper", "--data", "digits", "--device", device]).args(layers),
            3,
            &words,
        );
        fails(program().args(["compare", "--devices", device]).args(layers), 3, &words);
    }
    // A small network and a batch of terabytes.
    let batch = ["--layers", "784,200000,2,10", "--batch", "1048576"];
    fails(program().args(["compare", "--devices", "cpu"]).args(batch), 3, &["needs", "offers", "smaller --batch"]);
    let batch = ["--layers", "784,2000,2,10", "--batch", "1048576"];
    fails(program().args(["compare", "--devices", "gpu"]).args(batch), 3, &["needs", "offers", "smaller --batch"]);
}

#[test]
fn a_network_beyond_an_adapter_s_limit_is_refused_with_the_numbers() {
    let adapter = adapter();
    let number = |key: &str| adapter[key].as_u64().expect("a number");
    let limit = number("max_binding").min(number("max_buffer"));
    let width = limit / (4 * 784) + 1;
    let layers = format!("784,{width},10");
    let needed = (4 * width * 784).div_ceil(1 << 20);
    let matrix = format!("θ^2 ({width} × 784) of 784-{width}-10");
    let words = [&matrix[..], &format!("needs {needed} MiB"), &format!("offers {} MiB", limit >> 20), "CPU device"];
    fails(
        program().args(["train", "--preset", "paper", "--data", "digits", "--device", "gpu", "--layers", &layers]),
        3,
        &words,
    );
    fails(program().args(["compare", "--devices", "gpu", "--layers", &layers]), 3, &words);

    // Only the larger mini-batches of the evaluation exceed the limit. It must be refused before the first epoch.
    let width = limit / (4 * 256) + 1;
    let box_ = Sandbox::new();
    let args =
        ["train", "--preset", "paper", "--data", &box_.arg("data"), "--batch", "1", "--device", "gpu", "--layers"];
    fails(program().args(args).arg(format!("30,{width},4")), 3, &["needs", "offers", "MiB"]);
}

// ---- data ------------------------------------------------------------------------------------------------------

#[test]
fn bad_data_files_are_refused_with_file_and_values() {
    let [images, labels, test_images, test_labels] = FILES;
    let bomb = gzip(&[&idx(&[TRAIN as u32, 6, 5], Vec::new())[..], &vec![0; 20_000_000]].concat());
    let huge = gzip(&idx(&[100_000_000, 6, 5], vec![0; 1000]));
    let many = |n: usize, sizes: &[u32]| idx(sizes, vec![1; n]);
    // The file to damage, its new bytes (`None`: no file), and the words of the message.
    type Case<'a> = (&'a str, Option<Vec<u8>>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        (images, None, &["there is no file", "MNIST", "--data digits"]),
        (test_labels, None, &["there is no file", "t10k-labels-idx1-ubyte.gz"]),
        (images, Some(Vec::new()), &["only 0 bytes", "0x00000803"]),
        (images, Some(idx(&[60, 6], Vec::new())), &["0x00000802", "2 sizes instead of 3"]),
        (images, Some(b"PNG, or something".to_vec()), &["not IDX", "0x00000803"]),
        (labels, Some(many(1800, &[60, 6, 5])), &["0x00000803", "0x00000801"]),
        (images, Some(many(1799, &[60, 6, 5])), &["cut short", "1815", "1816"]),
        (images, Some(many(1801, &[60, 6, 5])), &["too long", "1816", "1817"]),
        (images, Some(many(0, &[0, 6, 5])), &["0 × 6 × 5", "at least one"]),
        (images, Some(many(10, &[u32::MAX, u32::MAX, u32::MAX])), &["at most"]),
        (images, Some(many(1770, &[59, 6, 5])), &["59 images"]),
        (labels, Some(many(61, &[61])), &["61 labels", "60 images"]),
        (test_images, Some(many(TEST * 36, &[TEST as u32, 6, 6])), &["6×5", "6×6", "one size"]),
        (images, Some(bomb), &["too long"]),
        (images, Some(huge), &["= 3000000016 bytes", "can inflate to"]),
        (images, Some(gzip(&many(1800, &[60, 6, 5]))[..40].to_vec()), &["corrupt gzip"]),
        (
            labels,
            Some([vec![0, 0, 8, 1, 0, 0, 0, 60], vec![3; 59], vec![4]].concat()),
            &["label 4", "4 output units", "59"],
        ),
    ];
    for (n, (file, bytes, words)) in cases.into_iter().enumerate() {
        let box_ = Sandbox::new();
        let path = box_.path("data").join(file);
        match bytes {
            None => fs::remove_file(&path).expect("removed"),
            Some(bytes) => fs::write(&path, bytes).expect("written"),
        }
        let out = box_.path("out");
        fails(box_.train("--device cpu --updates 1 --out").arg(&out), 4, &[&["data"][..], words].concat());
        assert!(!out.exists(), "case {n}");
    }
}

#[test]
fn a_missing_data_folder_is_refused() {
    let box_ = Sandbox::new();
    let train = |data: &str| {
        let mut command = program();
        command.args(["train", "--preset", "paper", "--device", "cpu", "--layers", LAYERS, "--data", data]);
        command
    };
    fails(&mut train(&box_.arg("nowhere")), 4, &["nowhere", "no such folder", FILES[0], "--data digits"]);
    fails(&mut train(&box_.arg(&format!("data/{}", FILES[0]))), 4, &["not a folder"]);
    fails(&mut train(""), 4, &["no such folder"]);
}

#[test]
fn layers_that_do_not_fit_the_images_are_refused_with_both_sizes() {
    let box_ = Sandbox::new();
    let train = |layers: &str| {
        let mut command = program();
        command.args([
            "train",
            "--preset",
            "paper",
            "--device",
            "cpu",
            "--data",
            &box_.arg("data"),
            "--layers",
            layers,
        ]);
        command
    };
    fails(&mut train("784,8,4"), 4, &["6×5 = 30 pixels", "784 inputs", "begins with 30"]);
    fails(&mut train("8x8,2c3,4"), 4, &["6×5 = 30 pixels", "64 inputs", "begins with 6x5"]);
    fails(&mut train("30,8,3"), 4, &["label 3", "3 output units", "at least 4"]);
}

// ---- weights ---------------------------------------------------------------------------------------------------

/// The bytes of a safetensors file with one 30→4 matrix, whose first value is `first`.
fn by_hand(first: f32) -> Vec<u8> {
    let header = json!({
        "__metadata__": { "layers": "30,4", "activation": "sigmoid" },
        "theta.1": { "dtype": "F32", "shape": [4, 30], "data_offsets": [0, 480] },
    })
    .to_string();
    let numbers = [first].into_iter().chain([0.25; 119]).flat_map(f32::to_le_bytes);
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(numbers).collect()
}

#[test]
fn bad_weights_files_are_refused() {
    let box_ = Sandbox::new();
    let good = by_hand(0.5);
    let cases: Vec<(Option<Vec<u8>>, &[&str])> = vec![
        (None, &["cannot be opened"]),
        (Some(Vec::new()), &["not a safetensors file"]),
        (Some(b"PK\x03\x04 a zip file, by its first bytes".to_vec()), &["not a safetensors file"]),
        (Some(good[..good.len() - 1].to_vec()), &["cut short"]),
        (Some([&good[..], b"!"].concat()), &["bytes after its end"]),
        (Some(by_hand(f32::NAN)), &["theta.1[0, 0] is NaN", "finite"]),
        (Some(by_hand(f32::NEG_INFINITY)), &["theta.1[0, 0] is -inf", "finite"]),
        (Some([&u64::MAX.to_le_bytes()[..], b"{}"].concat()), &["not a safetensors file", "18446744073709551615"]),
    ];
    let path = box_.path("w.safetensors");
    let eval = |data: &str| {
        let mut command = program();
        command.args(["eval", "--device", "cpu", "--data", data, "--weights"]).arg(&path);
        command
    };
    let data = box_.arg("data");
    for (bytes, words) in cases {
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).expect("written");
        }
        let words = [&["w.safetensors"][..], words].concat();
        fails(&mut eval(&data), 4, &words);
        let init = box_.arg("w.safetensors");
        let train =
            ["train", "--preset", "paper", "--data", &data, "--layers", "30,4", "--device", "cpu", "--init", &init];
        fails(program().args(train), 4, &words);
    }
    fs::write(&path, &good).expect("written");
    assert_eq!(run(&mut eval(&data)).code, Some(0), "the unmodified file is valid");
    fails(&mut eval("digits"), 4, &["28×28 = 784 pixels", "30 inputs"]);
    fails(&mut box_.train(&format!("--init {}", path.display())), 4, &["layers 30,4", "30,8,6,4"]);
    let train = ["train", "--preset", "paper", "--data", &data, "--layers", "30,4", "--init"];
    fails(program().args(train).arg(&path).args(["--activation", "tanh"]), 4, &["sigmoid", "tanh"]);
    fails(program().args(train).arg(&path).arg("--bias"), 4, &["no biases", "with biases"]);
    fails(program().args(["eval", "--data", &data, "--weights", &data]), 4, &["not a regular file"]);
}

/// A run that is stopped early must not replace the finished run in its folder.
#[cfg(unix)]
#[test]
fn an_interrupted_rerun_keeps_the_finished_run() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("run");
    let train = |updates: &str| {
        let mut command = program();
        command
            .args(["train", "--preset", "paper", "--data", "digits", "--device", "cpu", "--updates", updates, "--out"])
            .arg(&out);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    // The long run can be interrupted. Editing the record of a short run makes it look like the finished long run.
    assert!(train("20").output().expect("runs").status.success());
    let run = out.join("run.json");
    let text = std::fs::read_to_string(&run).expect("run.json").replace("\"updates\": 20", "\"updates\": 100000000");
    std::fs::write(&run, text).expect("run.json");
    let before = std::fs::read(out.join("weights.safetensors")).expect("weights");
    let child = train("100000000").spawn().expect("runs");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    let output = child.wait_with_output().expect("the end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("keeps the finished run that it holds"), "{stderr}");
    assert_eq!(before, std::fs::read(out.join("weights.safetensors")).expect("weights"));
}

/// Options that do not apply to the rule or the device are refused, and `plan` does not print them.
#[test]
fn options_that_do_not_apply_are_refused() {
    let zilch = |args: &str| program().args(args.split_whitespace()).output().expect("the binary runs");
    for refused in [
        "plan --rule bp --gamma 0.3",
        "plan --rule zil --steps 3",
        "compare --rules bp,zil --steps 3 --devices cpu",
        "train --data digits --device= --updates 1",
    ] {
        assert_eq!(zilch(refused).status.code(), Some(2), "{refused}");
    }
    let threads = "--threads is for the CPU device";
    for (refused, words) in [
        ("plan --rule zil --phi feedback", "--phi (the signal that φ of fazil detects) does not apply"),
        ("plan --rule il --td 4", "--td (t_d of φ of fazil) does not apply"),
        ("compare --devices cpu,cpu", "twice"),
        ("compare --devices cpu --rules bp,il,bp", "--rules names bp twice"),
        ("compare --devices gpu --threads 2", threads),
        ("train --data digits --device gpu --threads 2 --updates 1", threads),
        ("train --data digits --device auto --threads 0 --updates 1", "1 to 1024"),
    ] {
        let output = zilch(refused);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{refused}: {stderr}");
        assert!(stderr.contains(words), "{refused}: {stderr}");
    }
    let auto = zilch("train --data digits --device Auto --threads 2 --updates 1");
    assert!(auto.status.success(), "{}", String::from_utf8_lossy(&auto.stderr));
    let plan = String::from_utf8_lossy(&zilch("plan --rule bp").stdout).into_owned();
    assert!(!plan.contains("γ") && !plan.contains("coordinates"), "{plan}");
}

/// `reproduce` writes its page beside the folder, and must not replace any other file.
#[test]
fn reproduce_replaces_no_file_of_the_users() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let notes = dir.path().join("run.1.md");
    std::fs::write(&notes, "my notes").expect("notes");
    for out in [dir.path().join("run.1"), dir.path().join("..")] {
        let output = program()
            .args(["reproduce", "table2", "--quick", "--data", "digits", "--out"])
            .arg(&out)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(std::fs::read_to_string(notes).expect("notes"), "my notes");
}

// ---- tiles ---------------------------------------------------------------------------------------------------

/// zilch with this tune file.
fn with_tune(file: &Path) -> Command {
    let mut command = program();
    command.env("ZILCH_TUNE", file);
    command
}

/// The arguments of a very short tuning of the network that fits the data of [`Sandbox`].
const TUNE: [&str; 7] = ["tune", "--layers", LAYERS, "--batch", "20", "--seconds", "0.001"];

/// `tune` measures and stores tiles. `info` counts them, and later runs use them with bit-identical weights.
#[test]
fn tune_stores_tiles_and_changes_no_bit() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("caches").join("tune.json");
    let tuned = run(with_tune(&file).args(TUNE).arg("--json"));
    assert_eq!(tuned.code, Some(0), "{tuned:?}");
    let document: Value = serde_json::from_str(&tuned.out).expect("one JSON document");
    assert_eq!(keys(&document), set("network device_name driver software file products"));
    assert_eq!(document["file"], json!(file.to_str().expect("UTF-8")));
    let products = document["products"].as_array().expect("products");
    // Three predictions, two feedbacks, three updates.
    assert_eq!(products.len(), 8);
    for product in products {
        assert_eq!(keys(product), set("shape default winner speedup tiles"));
        assert_eq!(keys(&product["shape"]), set("product m n k"));
        assert!(product["speedup"].as_f64().is_some_and(|s| s >= 1.0), "{product}");
        assert!(product["tiles"].as_array().is_some_and(|t| t.len() == 6), "{product}");
    }
    let info = run(with_tune(&file).args(["info", "--json"]));
    let info: Value = serde_json::from_str(&info.out).expect("one JSON document");
    assert_eq!((keys(&info["tune"]), &info["tune"]["products"][0]), (set("file products"), &json!(8)));
    assert_says(&run(with_tune(&file).arg("info")).out, &["tiles ", "tune.json", "measured  for 8 products of"]);

    // The weights are the same with any tile in the file, and without the file.
    let train = |file: &Path| {
        let ran = run(sandbox.train("--device gpu --updates 9 --json").env("ZILCH_TUNE", file));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(!ran.err.contains("tune file"), "{ran:?}");
        serde_json::from_str::<Value>(&ran.out).expect("one JSON document")["weights_sha256"].clone()
    };
    let untuned = train(&sandbox.path("none.json"));
    assert_eq!(train(&file), untuned);
    let mut contents: Value = serde_json::from_slice(&fs::read(&file).expect("read")).expect("JSON");
    for (i, entry) in contents["entries"].as_array_mut().expect("entries").iter_mut().enumerate() {
        entry["tile"] = json!(["64x64/64", "128x128/256", "64x32/64"][i % 3]);
    }
    fs::write(&file, contents.to_string()).expect("written");
    assert_eq!(train(&file), untuned);
    // An entry for other shaders, and one with an unknown tile, are ignored.
    contents["entries"][0]["shaders"] = json!("others");
    contents["entries"][1]["tile"] = json!("512x512/1");
    fs::write(&file, contents.to_string()).expect("written");
    assert_eq!(train(&file), untuned);
    assert_says(&run(with_tune(&file).arg("info")).out, &["measured  for 6 products of"]);
    // After another measurement each product counts once.
    let text = run(with_tune(&file).args(TUNE));
    assert_says(
        &text.out,
        &["predict 20×8 of 30", "128x128/256", "× default", "default", "of 8 products", "tune.json"],
    );
    assert_says(&run(with_tune(&file).arg("info")).out, &["measured  for 8 products of"]);
}

/// A file that is not a tune file is reported once, does no harm to a run, and is not overwritten.
#[test]
fn an_invalid_tune_file_is_reported_once_and_not_overwritten() {
    let sandbox = Sandbox::new();
    let sha = sandbox.sha("--device gpu --updates 3");
    let file = sandbox.path("thesis.json");
    let good = json!({ "zilch_tune": 1, "entries": [] }).to_string();
    for bad in ["", "{}", "[1, 2]", "my thesis", &good[..good.len() - 1], "{\"zilch_tune\": 2, \"entries\": []}"] {
        fs::write(&file, bad).expect("written");
        fails(with_tune(&file).args(TUNE), 2, &["thesis.json", "not a tune file", "ZILCH_TUNE"]);
        assert_eq!(fs::read_to_string(&file).expect("there"), bad);
        let ran = run(sandbox.train("--device gpu --updates 3 --json").env("ZILCH_TUNE", &file));
        assert_eq!((ran.code, ran.err.matches("not a tune file").count()), (Some(0), 1), "{ran:?}");
        assert_eq!(serde_json::from_str::<Value>(&ran.out).expect("JSON")["weights_sha256"], json!(sha));
        assert_says(&run(with_tune(&file).arg("info")).out, &["GPU", "tiles ", "not a tune file"]);
        let ran = run(sandbox.train("--device cpu --updates 3").env("ZILCH_TUNE", &file));
        assert!(ran.code == Some(0) && !ran.err.contains("tune file"), "the CPU has no tiles: {ran:?}");
    }
    fs::write(&file, &good).expect("written");
    assert_says(&run(with_tune(&file).arg("info")).out, &["measured  for 0 products"]);
    fails(with_tune(&sandbox.path("data")).args(TUNE), 2, &["not a regular file"]);
}

#[test]
fn tune_refuses_what_it_cannot_measure_or_remember() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("tune.json");
    fails(with_tune(&file).args(["tune", "--device", "cpu"]), 2, &["--device", "gpu"]);
    for seconds in ["0", "-1", "NaN", "inf", "3601"] {
        fails(with_tune(&file).args(["tune", &format!("--seconds={seconds}")]), 2, &["--seconds must be positive"]);
    }
    fails(with_tune(&file).args(["tune", "--batch", "0"]), 2, &["--batch must lie in"]);
    fails(with_tune(&file).args(["tune", "--layers", "5"]), 2, &["at least an input and an output"]);
    fails(with_tune(&file).args(["tune", "--layers", "16777216,16777216"]), 3, &["needs", "offers", "MiB"]);
    let mut nowhere = program();
    for name in ["ZILCH_TUNE", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"] {
        nowhere.env_remove(name);
    }
    fails(nowhere.args(TUNE), 2, &["no folder", "ZILCH_TUNE"]);
    assert!(!file.exists(), "nothing was measured");
}

#[cfg(unix)]
#[test]
fn an_interrupted_tuning_remembers_nothing() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("tune.json");
    let ran = interrupt(with_tune(&file).args(["tune", "--seconds", "60"]), "1 of");
    assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{ran:?}");
    assert_says(&message(&ran), &["interrupted", "nothing was stored"]);
    assert!(!file.exists(), "nothing was stored");
}

// ---- precision -----------------------------------------------------------------------------------------------

/// Mixed precision runs on adapters with matrix units. Other adapters and the CPU refuse it instead of computing in float32.
#[test]
fn mixed_precision_is_never_replaced_by_another() {
    let sandbox = Sandbox::new();
    let cpu = &["--precision mixed", "GPU", "float32"];
    fails(&mut sandbox.train("--device cpu --precision mixed"), 2, cpu);
    fails(program().args(["compare", "--precision", "mixed"]), 2, cpu);
    assert_eq!(sandbox.trained("--device cpu --updates 1")["settings"]["precision"], json!("float32"));
    for device in ["gpu", "auto"] {
        let mut command = sandbox.train(&format!("--device {device} --updates 3 --precision mixed --json"));
        let ran = run(&mut command);
        if ran.code == Some(0) {
            let document: Value = serde_json::from_str(&ran.out).expect("one JSON document");
            assert_eq!(document["settings"]["precision"], json!("mixed"));
            assert_says(&text(&document["driver"]), &["mixed precision"]);
        } else {
            eprintln!("mixed precision was only refused, not run: this adapter has no matrix units");
            assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{ran:?}");
            assert_says(&message(&ran), &["--precision mixed", "zilch info", "float32"]);
        }
    }
}
