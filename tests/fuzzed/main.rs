//! The fuzzer's inputs as an ordinary test: every input in `fuzz/corpus` and `fuzz/crashes` goes through its target. None may panic or
//! exceed the memory limit of the fuzzer. `fuzz/README.md` explains how inputs get there.

#[allow(unreachable_pub, reason = "it is also the library of the fuzzer")]
#[path = "../../fuzz/src/lib.rs"]
mod fuzzed;
#[path = "../common/repository.rs"]
mod repository;

use flate2::{Compression, write::GzEncoder};
use fuzzed::{TARGETS, Target, arguments, bounded::Bounded, checkpoint, tiny};
use repository::repository;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use zilch::network::{read_pixels, write_weights};
use zilch::rules::RuleFile;
use zilch::train::MetricsLog;
use zilch::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest};
use zilch::train::{Every, Keep};
use zilch::{Network, Rule, Weights};

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// A folder of `fuzz/`.
fn folder(kind: &str, target: &str) -> PathBuf {
    repository().join("fuzz").join(kind).join(target)
}

/// The inputs of a folder, in the order of their names.
fn inputs(folder: &Path) -> BTreeSet<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path()).collect()
}

fn every_input_returns(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let corpus = inputs(&folder("corpus", name));
    assert!(!corpus.is_empty(), "{name} has no inputs");
    for input in corpus.into_iter().chain(inputs(&folder("crashes", name))) {
        let bytes = fs::read(&input).expect("an input");
        // The panic message must name the input.
        if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
            panic!("{} panics", input.display());
        }
    }
}

#[test]
fn inputs_of_idx_return() {
    every_input_returns("idx");
}

#[test]
fn inputs_of_weights_return() {
    every_input_returns("weights");
}

#[test]
fn inputs_of_checkpoint_return() {
    every_input_returns("checkpoint");
}

#[test]
fn inputs_of_plan_return() {
    every_input_returns("plan");
    for input in inputs(&folder("corpus", "plan")) {
        fuzzed::plan::sample(&fs::read(input).expect("an input"));
    }
}

#[test]
fn inputs_of_arguments_return() {
    every_input_returns("arguments");
}

#[test]
fn inputs_of_cifar_return() {
    every_input_returns("cifar");
}

#[test]
fn inputs_of_csv_return() {
    every_input_returns("csv");
}

#[test]
fn inputs_of_npy_return() {
    every_input_returns("npy");
}

#[test]
fn inputs_of_config_return() {
    every_input_returns("config");
}

#[test]
fn inputs_of_runs_return() {
    every_input_returns("runs");
}

#[test]
fn inputs_of_tasks_return() {
    every_input_returns("tasks");
}

#[test]
fn inputs_of_rules_return() {
    every_input_returns("rules");
}

#[test]
fn inputs_of_layers_return() {
    every_input_returns("layers");
}

#[test]
fn inputs_of_pages_return() {
    every_input_returns("pages");
}

#[test]
fn every_target_has_a_test_and_a_binary() {
    let [tests, manifest] = ["tests/fuzzed/main.rs", "fuzz/Cargo.toml"]
        .map(|file| fs::read_to_string(repository().join(file)).expect("a file"));
    for Target { name, .. } in TARGETS {
        assert!(tests.contains(&format!("every_input_returns(\"{name}\")")), "{name} has no test");
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} has no binary");
    }
    let here: BTreeSet<String> = ["corpus", "crashes"]
        .iter()
        .flat_map(|kind| inputs(&folder(kind, "")))
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert!(here.is_subset(&known), "{here:?} are not all targets");
}

/// Writes a seed to the corpus of a target.
fn seed(target: &str, name: &str, bytes: &[u8]) {
    let folder = folder("corpus", target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("seed-{name}")), bytes).expect("a seed");
}

#[test]
#[ignore = "it writes seeds and the dictionary of the command line, from which the fuzzer then makes the corpus: `sh scripts/fuzz.sh --merge`"]
fn write_seeds() {
    idx_seeds();
    csv_seeds();
    npy_seeds();
    weights_seeds();
    for settings in [
        json!({}),
        json!({ "rule": "kp", "optimizer": "adam" }),
        json!({ "rule": "zil", "tasks": {} }),
        json!({ "rule": "ep", "own": { "free": "2", "nudged": "1" } }),
        json!({ "rule": "ep", "own": { "free": "1", "nudged": "1" }, "tasks": {} }),
    ] {
        seed(
            "checkpoint",
            &settings.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), ""),
            &checkpointed(&settings),
        );
    }
    rules_seeds();
    tasks_seeds();
    layers_seeds();
    runs_seeds();
    pages_seeds();
    for (i, rule) in (0u8..).zip(Rule::all()) {
        seed("plan", rule.name(), &[6, i + 1, 2, 4, 3, 2, 3, i % 2, i % 7, 0, 0, 0, 0]);
        seed(
            "plan",
            &format!("{}-broken", rule.name()),
            &[[7, i + 1, 1, 4, 3, 2, i % 2, i % 7, 0, 0, 0].as_slice(), &[i + 3; 9]].concat(),
        );
    }
    arguments_seeds();
    let record = |label: u8| (0..3073).map(|i| if i == 0 { label } else { i as u8 }).collect::<Vec<u8>>();
    seed("cifar", "two", &[record(3), record(9)].concat());
    seed("cifar", "label", &record(10));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&record(3)).expect("memory");
    seed("cifar", "one-gz", &gzip.finish().expect("memory"));
    seed(
        "config",
        "toml",
        b"# A run\nrule = \"il\"\nlayers = [4, 3, 2]\nlr = 0.1\nbias = true\ndiscount = 0.5\nbatch = 2\n",
    );
    seed("config", "wrong", b"rlue = \"il\"\n[table]\nresume = 1979-05-27\nlayers = [[4], 3]\n");
    let run = json!({ "folder": "/", "arguments": ["--layers=4,3,2", "--rule=zil", "--bias", "--out=x", "--seed=3"] });
    seed("config", "run", run.to_string().as_bytes());
}

/// A `.npy` file of these elements.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
}

/// A zip archive with one stored file per entry.
fn stored(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut all, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let size = (bytes.len() as u32).to_le_bytes();
        let about = [[20, 0, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(), &crc.sum().to_le_bytes()[..], &size, &size].concat();
        let name_length = (name.len() as u16).to_le_bytes();
        let at = (all.len() as u32).to_le_bytes();
        all.extend([b"PK\x03\x04".as_slice(), &about, &name_length, &[0, 0], name.as_bytes(), bytes].concat());
        directory.extend(
            [b"PK\x01\x02".as_slice(), &[20, 0], &about, &name_length, &[0; 12], &at, name.as_bytes()].concat(),
        );
    }
    let (count, size, at) = (
        (entries.len() as u16).to_le_bytes(),
        (directory.len() as u32).to_le_bytes(),
        (all.len() as u32).to_le_bytes(),
    );
    [&all[..], &directory, b"PK\x05\x06\0\0\0\0", &count, &count, &size, &at, &[0, 0]].concat()
}

fn csv_seeds() {
    let text = "a,b,class\n1,2.5,x\n-3,1e2,y\n0.1,4,x\n5,7,y\n";
    for (name, choice, text) in [
        ("plain", 0, text.to_owned()),
        ("targets", 2, text.replace('x', "1").replace('y', "0.5")),
        ("label", 1 | 4 | 32, text.to_owned()),
        ("semicolons", 16 | 64, text.replace(',', ";").replace('.', ",")),
        ("quoted", 8 | 128, text.replace('x', "\"x \"\"1\"\"\"").replace('\n', "\r\n")),
        ("missing", 0, text.replace("2.5", "")),
    ] {
        seed("csv", name, &[&[choice], text.as_bytes()].concat());
    }
}

fn npy_seeds() {
    let floats: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (x, y) = (npy("<f4", "(4, 2)", &floats), npy("|u1", "(4,)", &[0, 1, 1, 0]));
    let pixels = npy("|u1", "(4, 2, 2, 3)", &[7; 48]);
    seed("npy", "f4", &x);
    seed("npy", "i2", &npy(">i2", "(3,)", &[0, 1, 255, 254, 1, 0]));
    seed("npy", "one", &npy("<f8", "()", &[0; 8]));
    seed("npy", "object", &npy("|O", "(3,)", &[0; 24]));
    seed("npy", "archive", &stored(&[("x.npy", &x), ("y.npy", &y)]));
    seed("npy", "both", &stored(&[("x.npy", &pixels), ("y.npy", &y), ("x_test.npy", &pixels), ("y_test.npy", &y)]));
    seed("npy", "regression", &stored(&[("x_train.npy", &pixels), ("y_train.npy", &npy("<f4", "(4, 2)", &floats))]));
}

fn idx_seeds() {
    let file = |sizes: &[u32], data: &[u8]| -> Vec<u8> {
        let sizes = sizes.iter().flat_map(|n| n.to_be_bytes());
        [0, 0, 8, (sizes.clone().count() / 4) as u8].into_iter().chain(sizes).chain(data.iter().copied()).collect()
    };
    let digits = zilch::data::Data::open("digits").expect("digits").train;
    let images = digits.images().as_slice().expect("one piece");
    for (name, plain) in [
        ("digits", file(&[2, 28, 28], &images[..2 * 28 * 28])),
        ("images", file(&[3, 2, 4], &images[300..324])),
        ("labels", file(&[9], &digits.labels()[..9])),
    ] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&plain).expect("memory");
        seed("idx", name, &plain);
        seed("idx", &format!("{name}-gz"), &gzip.finish().expect("memory"));
    }
}

fn weights_seeds() {
    let place = tempfile::tempdir().expect("a folder");
    let path = place.path().join("weights");
    let plain = Network::parse("4,3,2").expect("layers");
    let mut full = plain.clone().with_bias(true);
    full.input_activation = true;
    (full.pixels, full.targets) = (read_pixels("0.5,0.5"), Some([-1.0, 1.0]));
    for (name, network) in [("plain", plain), ("full", full)] {
        write_weights(&path, &network, &Weights::init(&network, 1)).expect("written");
        seed("weights", name, &fs::read(&path).expect("weights"));
    }
}

/// The two files of a checkpoint from the middle of a training.
fn checkpointed(settings: &Value) -> Vec<u8> {
    let place = tempfile::tempdir().expect("a folder");
    let training = checkpoint::training(settings);
    let mut with = |checkpoint: &Checkpoint| {
        if checkpoint.progress.updates == 8 {
            let about = Manifest::begin(settings, vec!["--data".into()], "none");
            checkpoint.write(place.path(), &about, &mut MetricsLog::new(place.path())).expect("written");
        }
    };
    let keep = Keep { every: Some(Every::Updates(1)), with: &mut with, best: &mut |_: &Weights| () };
    let stop = AtomicBool::new(false);
    training.go_on(&tiny::CPU, &tiny::DATA, None, &stop, &mut |_| (), Some(keep)).expect("trained");
    let manifest = Manifest::read(place.path()).expect("a manifest");
    let manifest = Manifest { folder: "/".into(), ..manifest };
    let text = serde_json::to_vec(&manifest).expect("JSON");
    assert!(place.path().join(CHECKPOINT_FILE).exists() && !text.contains(&b'\n'), "a manifest is a line");
    [text, b"\n".to_vec(), fs::read(place.path().join(&manifest.state)).expect("a state")].concat()
}

fn rules_seeds() {
    for rule in Rule::all().iter().filter(|rule| !rule.rule_options.is_empty()) {
        let own = || rule.rule_options.iter().map(|choice| (choice.name.to_owned(), choice.write(choice.default)));
        let file = RuleFile {
            rule: *rule,
            rule_options: own().collect(),
            mathematics: "x".into(),
            found: json!({ "seed": 1 }),
        };
        seed("rules", rule.name(), &serde_json::to_vec(&file).expect("JSON"));
    }
}

fn tasks_seeds() {
    for (name, tasks) in [
        ("one", json!({ "tasks": [{ "classes": [0, 2], "epochs": 1 }] })),
        (
            "turns",
            json!({ "tasks": [{ "classes": [0, 2], "labels": [1, 0], "epochs": 2, "skip": 1 }, { "per_class": 2, "epochs": 1 }], "test": "every" }),
        ),
        (
            "current",
            json!({ "tasks": [{ "classes": [1], "test_per_class": 1, "epochs": 3 }, { "epochs": 1 }], "test": "current" }),
        ),
    ] {
        seed("tasks", name, tasks.to_string().as_bytes());
    }
}

fn layers_seeds() {
    for (i, layers) in fuzzed::plan::DRAWN.iter().chain(&["4,3,2"]).enumerate() {
        let told = Network::parse(layers).expect("layers").to_json();
        seed("layers", &i.to_string(), json!(told).to_string().as_bytes());
        if i % 4 == 0 {
            seed("layers", &format!("{i}-run"), json!({ "settings": { "layers": told } }).to_string().as_bytes());
        }
    }
}

fn runs_seeds() {
    let run = |lr: f64, errors: &[f64], stopped: Value| {
        let settings = json!({ "layers": [4, 3, 2], "rule": "local", "seed": 1, "lr": lr, "own": { "oja": "1" }, "subset": { "classes": [1], "test_per_class": 1 } });
        let run = json!({ "settings": settings, "updates": 12, "seconds": 1.5, "stopped": stopped });
        let row = |(i, e): (usize, &f64)| format!("\nm{},6,0.5,{},{e},0.3,NaN,,1e-9", i + 1, 10.0 * e);
        let rows: String = errors.iter().enumerate().map(row).collect();
        format!("{run}\nmepoch,updates,seconds,train_energy,test_error,test_error_1,held_out_error,eps_0,eps_1{rows}")
    };
    let two = format!("{}\n{}", run(0.1, &[0.5, 0.25], Value::Null), run(0.01, &[0.75], json!("it was interrupted")));
    for (name, words) in
        [("table", "-"), ("document", "- --json"), ("picture", "- --out"), ("by", "- --by=lr,seed --sort=error")]
    {
        seed("runs", name, format!("{words}\n{two}").as_bytes());
    }
    let open = json!({ "settings": { "layers": [4, 3, 2], "rule": "zil", "seed": 1 } });
    let kept = json!({ "progress": { "updates": 8, "seconds": 1.0 }, "state": "state-8.safetensors" });
    let log = "lepoch,updates,seconds,train_energy,test_error\nl1,6,0.5,inf,0.5";
    seed("runs", "open", format!("- --out\n{open}\nc{kept}\ns\n{log}\n{two}").as_bytes());
}

/// Each committed record, shortened, alone and with that of `family`, whose page reads all records.
fn pages_seeds() {
    let results = repository().join("docs/results");
    let small = |name: &str| {
        let text = fs::read(results.join(format!("{name}.json"))).expect("a record");
        let mut record: Value = serde_json::from_slice(&text).expect("JSON");
        shorten(&mut record["results"], 2);
        (record["host"], record["data_sha256"]) = (json!({ "cpu": "any", "threads": 1 }), json!([]));
        format!("{name} {record}")
    };
    let there = |name: &String| results.join(format!("{name}.json")).exists();
    let names: Vec<String> = fuzzed::pages::records().into_iter().filter(there).collect();
    for name in &names {
        seed("pages", name, small(name).as_bytes());
        if name != "family" {
            seed("pages", &format!("family-{name}"), format!("{}\n{}", small("family"), small(name)).as_bytes());
        }
    }
}

/// Shortens long lists. Lists of a few numbers have a fixed length and stay.
fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::Array(list) => {
            if list.len() > 9 || list.iter().any(Value::is_object) {
                list.truncate(most);
            }
            list.iter_mut().for_each(|item| shorten(item, most));
        }
        Value::Object(object) => object.values_mut().for_each(|item| shorten(item, most)),
        _ => {}
    }
}

fn arguments_seeds() {
    let here = repository();
    let pages = ["README.md", "docs/rules.md", "docs/prospective.md"]
        .map(|page| fs::read_to_string(here.join(page)).expect("a page"));
    let lines = pages.iter().flat_map(|page| page.lines()).filter_map(|line| line.strip_prefix("zilch "));
    for (i, line) in lines.enumerate() {
        seed("arguments", &i.to_string(), line.split_whitespace().collect::<Vec<_>>().join("\n").as_bytes());
    }
    for rule in Rule::all() {
        let own =
            rule.rule_options.iter().map(|choice| format!("\n--{}\n{}", choice.name, choice.write(choice.default)));
        let line = format!("plan\n--layers\n4,3,2\n--rule\n{}{}", rule.name(), own.collect::<String>());
        seed("arguments", rule.name(), line.as_bytes());
    }
    let text: String = arguments::known().iter().map(|word| format!("\"{word}\"\n")).collect();
    fs::write(here.join("fuzz/dictionaries/arguments.dict"), text).expect("the dictionary");
}
