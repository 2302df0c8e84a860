//! Untrusted input: paths that are not Unicode, files with terminal escapes, edited records, and messages about wrong words and files.

use crate::program::program;
use crate::repository::repository;
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Characters that a terminal acts on: an escape sequence, its 8-bit form, a bell, and a text direction override.
const ESCAPES: &str = "\u{1b}[2J\u{9b}K\u{7}\u{202e}";
const ESCAPED: &str = "\\u{1b}[2J\\u{9b}K\\u{7}\\u{202e}";
const RUN: &str = "--layers 784,4,10 --batch 50 --device cpu --threads 1";

fn zilch(folder: &Path) -> Command {
    let mut command = program();
    command.current_dir(folder).env("TMPDIR", folder);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("the output is UTF-8")
}

/// Whether a terminal acts on this character.
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Exit code, stdout and stderr of a run, which must not panic and must not print characters that a terminal acts on.
fn ran(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("zilch starts");
    let (out, err) = (text(&stdout), text(&stderr));
    assert!(!err.contains("panicked") && !out.contains(acts) && !err.contains(acts), "{command:?}: {out}{err:?}");
    (status.code(), out, err)
}

fn words(args: &str) -> impl Iterator<Item = &str> {
    args.split_whitespace()
}

/// The output of a run that must succeed.
fn done(folder: &Path, args: &str) -> String {
    let (code, out, err) = ran(zilch(folder).args(words(args)));
    assert_eq!(code, Some(0), "{args}: {err}");
    out
}

/// The stderr of a run that must fail with this exit code and these words.
fn fails(folder: &Path, args: &str, code: i32, said: &[&str]) -> String {
    let (got, out, err) = ran(zilch(folder).args(words(args)));
    assert_eq!((got, out.as_str()), (Some(code), ""), "{args}: {err}");
    for word in said {
        assert!(err.contains(word), "{args}: {word:?} is missing in: {err}");
    }
    err
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.as_ref().parent().expect("a folder")).expect("made");
    fs::write(path, bytes).expect("written");
}

/// The bytes of a safetensors file with one 784→10 matrix and this header.
fn weights(header: &str) -> Vec<u8> {
    let numbers = [0.01f32; 7840].into_iter().flat_map(f32::to_le_bytes);
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(numbers).collect()
}

fn header(layers: &str, activation: &str) -> String {
    json!({
        "__metadata__": { "layers": layers, "activation": activation },
        "theta.1": { "dtype": "F32", "shape": [10, 784], "data_offsets": [0, 31360] },
    })
    .to_string()
}

// ---- paths that are not Unicode --------------------------------------------------------------------------------

#[cfg(unix)]
mod bytes {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::ffi::OsStrExt;

    /// `c\xff`
    fn odd() -> &'static OsStr {
        OsStr::from_bytes(b"c\xff")
    }

    fn with(name: &str, value: &Path) -> OsString {
        let mut word = OsString::from(name);
        word.push(value);
        word
    }

    /// A folder whose name is not Unicode.
    fn odd_folder(dir: &TempDir) -> PathBuf {
        let place = dir.path().join(odd());
        fs::create_dir(&place).expect("made");
        place
    }

    #[test]
    fn a_training_in_a_folder_with_any_name_writes_its_files() {
        let dir = folder();
        let place = odd_folder(&dir);
        let args = format!("train --data digits {RUN} --updates 3");
        let (code, out, err) = ran(zilch(&place).args(words(&args)).arg("--out").arg(odd()));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("written to      c\u{fffd}"), "{out}");
        let run: Value =
            serde_json::from_slice(&fs::read(place.join(odd()).join("run.json")).expect("there")).expect("JSON");
        assert!(run["folder"].as_str().expect("a text").ends_with("c\u{fffd}"), "{run}");
        // An argument keeps its bytes, so that --config can read it again.
        let out = json!([&b"--out=c"[..], &[0xff]].concat());
        assert!(run["arguments"].as_array().expect("a list").contains(&out), "{run}");
        let (code, out, err) = ran(zilch(&place).args(words(&args)).arg("--json"));
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<Value>(&out).expect("a document");
        // `zilch runs` finds it, and skips a broken run.
        write(place.join("broken").join(odd()).join("run.json"), "{");
        let (code, out, err) = ran(zilch(dir.path()).args(["runs", "--json"]).arg(&place));
        assert_eq!(code, Some(0), "{err}");
        let found: Value = serde_json::from_str(&out).expect("a document");
        assert_eq!(
            (found["runs"].as_array().map(Vec::len), found["skipped"].as_array().map(Vec::len)),
            (Some(1), Some(1))
        );
        let (code, out, err) = ran(zilch(dir.path()).arg("runs").arg(&place));
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("1 run") && err.contains("is skipped"), "{out}{err}");
    }

    /// A run with data, weights and settings in paths that are not Unicode is killed and resumed. Its weights are bit-identical.
    #[test]
    fn a_run_with_any_names_can_be_resumed() {
        let dir = folder();
        let place = odd_folder(&dir);
        // The four files of a small data set.
        let data = place.join(OsStr::from_bytes(b"d\xfe"));
        for (name, n) in [("train", 200u32), ("t10k", 20)] {
            let head = |magic: u32, sizes: &[u32]| -> Vec<u8> {
                [magic].iter().chain(sizes).flat_map(|v| v.to_be_bytes()).collect()
            };
            let pixels = (0..n * 784).map(|i| (i * 37 % 251) as u8);
            let labels = (0..n).map(|i| (i % 10) as u8);
            write(
                data.join(format!("{name}-images-idx3-ubyte")),
                head(0x803, &[n, 28, 28]).into_iter().chain(pixels).collect::<Vec<u8>>(),
            );
            write(
                data.join(format!("{name}-labels-idx1-ubyte")),
                head(0x801, &[n]).into_iter().chain(labels).collect::<Vec<u8>>(),
            );
        }
        let file = |name: &[u8], bytes: &[u8]| {
            let path = place.join(OsStr::from_bytes(name));
            write(&path, bytes);
            path
        };
        let init = file(b"w\xff.safetensors", &weights(&header("784,10", "sigmoid")));
        let layers = file(b"l\xff.json", b"[784, 10]");
        let rule = file(b"r\xff.json", br#"{"rule": "local", "own": {"oja": "0.001"}}"#);
        let tasks = file(b"t\xff.json", br#"{"tasks": [{"epochs": 4}]}"#);
        let train = |out: &str, updates: &str| {
            let mut command = zilch(&place);
            command
                .args(["train", "--preset=paper"])
                .arg(with("--data=", &data))
                .arg(with("--init=", &init))
                .arg(with("--layers=", &layers));
            command.arg(with("--rule=", &rule)).arg(with("--tasks=", &tasks));
            command.args(["--out", out, "--updates", updates, "--batch", "5", "--device", "cpu", "--threads", "1"]);
            command.args(["--checkpoint-every", "10", "--epoch-updates", "10", "--json"]);
            command
        };
        let (code, whole, err) = ran(&mut train("whole", "3000"));
        assert_eq!(code, Some(0), "{err}");
        let mut child = train("kept", "3000").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        assert!(lines.any(|line| line.expect("a line").starts_with("epoch  20")), "it trains");
        child.kill().expect("killed");
        child.wait().expect("ended");
        let (code, rest, err) = ran(zilch(dir.path()).args(["train", "--json", "--resume"]).arg(place.join("kept")));
        assert_eq!(code, Some(0), "{err}");
        let sum = |out: &str| serde_json::from_str::<Value>(out).expect("a document")["weights_sha256"].clone();
        assert_eq!(sum(&rest), sum(&whole));
    }

    /// A shell reads the printed command and gets the same folder.
    #[test]
    fn the_command_that_continues_names_the_folder() {
        let dir = folder();
        for name in [&b"#a b"[..], b"~", b"=x!{a,b}[x]^`id`$y", b"a\nb", b"it's", b"-o", b"c\xff", b"e\x1b7"] {
            let name = OsStr::from_bytes(name);
            let args = format!("train --data digits {RUN} --epochs 100000 --max-time 1s");
            let mut out = OsString::from("--out=");
            out.push(name);
            let (code, _, err) = ran(zilch(dir.path()).args(words(&args)).arg(out));
            assert_eq!(code, Some(130), "{name:?}: {err}");
            let (_, command) = err.split_once("Continue with: zilch ").expect("the command");
            // The shell only needs to parse the last word.
            let word = command.trim_end().strip_prefix("train --resume ").expect("the folder");
            let echo = Command::new("bash").args(["-c", &format!("printf %s {word}")]).current_dir(dir.path()).output();
            let read = echo.expect("bash starts").stdout;
            assert_eq!(dir.path().join(OsStr::from_bytes(&read)), dir.path().join(name), "{word}");
        }
    }

    #[test]
    fn reproduce_takes_any_name() {
        let dir = folder();
        let place = odd_folder(&dir);
        let (code, _, err) = ran(zilch(&place).args(["reproduce", "page", "--out"]).arg(odd()));
        assert_eq!(code, Some(4), "{err}");
    }
}

// ---- text from files -------------------------------------------------------------------------------------------

/// Files of every kind with control characters in their text. Messages print them escaped.
#[test]
fn text_from_files_is_printed_escaped() {
    let dir = folder();
    let dir = dir.path();
    let quoted = ESCAPES.replace('\u{1b}', "\\u001b").replace('\u{9b}', "\\u009b").replace('\u{7}', "\\u0007");
    write(dir.join("w.safetensors"), weights(&header("784,10", ESCAPES)));
    write(dir.join("layers.safetensors"), weights(&header(&format!("784,{ESCAPES}"), "sigmoid")));
    let more = format!("\"{quoted}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[31360,31360]}},\"theta.1\"");
    write(dir.join("names.safetensors"), weights(&header("784,10", "sigmoid").replace("\"theta.1\"", &more)));
    write(dir.join("tasks.json"), format!("{{\"{quoted}\": 1}}"));
    write(dir.join("rule.json"), format!("{{\"rule\": \"{quoted}\", \"own\": {{}}}}"));
    write(dir.join("own.json"), format!("{{\"rule\": \"local\", \"own\": {{\"{quoted}\": \"1\"}}}}"));
    write(dir.join("layers.json"), format!("[784, \"{quoted}\", 10]"));
    write(dir.join("graph.json"), format!("[784, \"16={quoted}\", \"16+{quoted}\", 10]"));
    write(dir.join("run.toml"), format!("\"{quoted}\" = 1\n"));
    write(dir.join("value.toml"), format!("data = \"digits\"\ndevice = \"{quoted}\"\nupdates = 1\n"));
    write(dir.join("rule.toml"), format!("data = \"digits\"\nrule = \"{quoted}\"\n"));
    write(dir.join("run.json"), format!("{{\"arguments\": [\"--{quoted}\"]}}"));
    write(dir.join("kept/checkpoint.json"), manifest(&["--data=digits".into(), format!("--rule={ESCAPES}")]));
    write(dir.join("other/checkpoint.json"), manifest(&["--data=digits".into(), "--updates=3".into()]));
    write(dir.join("results/table2.json"), format!("\"{quoted}\""));
    let train = format!("train --data digits {RUN} --updates 1");
    // clap removes control characters from quoted options.
    let by_clap = |args: &str| ["run.json", "rule.toml", "--resume"].iter().any(|word| args.contains(word));
    for (args, code) in [
        ("eval --data digits --weights w.safetensors".to_owned(), 4),
        ("eval --data digits --weights layers.safetensors".into(), 4),
        ("eval --data digits --weights names.safetensors".into(), 4),
        (format!("{train} --tasks tasks.json"), 4),
        (format!("{train} --rule rule.json"), 4),
        (format!("{train} --rule own.json"), 4),
        ("plan --layers layers.json".into(), 4),
        ("plan --layers graph.json".into(), 4),
        ("train --config run.toml".into(), 2),
        ("train --config value.toml".into(), 3),
        ("train --config rule.toml".into(), 2),
        ("train --config run.json".into(), 2),
        ("train --resume kept".into(), 4),
        ("reproduce page --out results".into(), 4),
    ] {
        let err = fails(dir, &args, code, &[]);
        assert!(err.contains("\\u{1b}") || by_clap(&args), "{args}: {err}");
    }
    fails(dir, "train --resume other", 2, &["changed since it was started"]);
}

/// A manifest with control characters in all of its texts.
fn manifest(arguments: &[String]) -> String {
    let whole = json!({
        "version": ESCAPES, "driver": ESCAPES, "settings": { ESCAPES: 1 }, "arguments": arguments, "folder": "/",
        "state": "state-1.safetensors", "state_sha256": "", "metrics": { "file": "", "bytes": 0, "sha256": "" },
        "progress": { "epoch": 0, "within": 1, "updates": 1, "seconds": 0.1 }
    });
    zilch::train::checkpoint::sealed(whole).to_string()
}

#[test]
fn settings_of_runs_are_shown_escaped() {
    let dir = folder();
    for (i, name) in ["a", "b"].iter().enumerate() {
        let settings =
            json!({ "layers": [784, 10], "rule": ESCAPES, "seed": i, ESCAPES: i, "own": { "x\u{1b}": name } });
        let run = json!({ "settings": settings, "stopped": ESCAPES, "updates": 1, "epochs": [] });
        write(dir.path().join(name).join("run.json"), run.to_string());
    }
    write(dir.path().join("c/run.json"), format!("{{\"settings\": {{}}, \"{ESCAPES}\": }}"));
    let out = done(dir.path(), "runs .");
    assert!(out.contains(ESCAPED) && out.contains("x\\u{1b}"), "{out}");
    assert!(done(dir.path(), "runs . --by seed").contains("x\\u{1b}"));
    fails(dir.path(), "runs . --sort nothing", 2, &[ESCAPED]);
    // JSON keeps every character, with the escapes of JSON.
    let found: Value = serde_json::from_str(&done(dir.path(), "runs . --json")).expect("JSON");
    assert_eq!(found["shared"]["rule"], ESCAPES);
    assert_eq!(found["runs"][0]["settings"][ESCAPES], 0);
}

/// Arguments are also escaped, since scripts may take them from files.
#[test]
fn arguments_are_printed_escaped() {
    let dir = folder();
    for args in [
        vec!["train", "--data", ESCAPES],
        vec!["train", ESCAPES],
        vec!["plan", "--layers", ESCAPES],
        vec!["plan", "--rule", ESCAPES],
        vec!["train", "--data", "digits", "--init", ESCAPES],
        vec!["train", "--data", "digits", "--device", ESCAPES, "--updates", "1"],
        vec!["runs", ESCAPES],
        vec!["eval", "--weights", ESCAPES, "--data", "digits"],
    ] {
        let (code, out, err) = ran(zilch(dir.path()).args(&args));
        assert!(matches!(code, Some(2..=4)) && out.is_empty(), "{args:?}: {err}");
    }
}

// ---- records ---------------------------------------------------------------------------------------------------

/// The committed record with this name, for editing.
fn record(name: &str) -> Value {
    let path = repository().join("docs/results").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON")
}

/// An edited record with invalid values is refused. The message names the file.
#[test]
fn records_with_invalid_values_are_refused() {
    let cases: &[(&str, &str, Value)] = &[
        ("table2", "/results", json!({})),
        ("table2", "/results/0/rule", json!("nosuch")),
        ("table3", "/results/spikes/0/only", json!([1])),
        ("table3", "/results/spikes/0/right", json!([])),
        ("table3", "/results/spikes/1/spikes", json!([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])),
        ("table3", "/results/spikes/0/live", json!(-1)),
        ("table3", "/results/claims/0/distance", json!(-1.0)),
        ("table4", "/results/0/rows/0/quartiles_us", json!([1, 2])),
        ("table4", "/results/0/rows/0/quartiles_us", json!([-1, 2, 3])),
        ("table4", "/results/0/rows/0/quartiles_us", json!([1, null, 3])),
        ("figure3", "/results/0/errors", json!([u32::MAX])),
        ("figure3", "/results/0/distance", json!(-1e300)),
        ("figure3", "/wall_seconds", json!(-5)),
        ("superspike", "/results/layers", json!([])),
        ("superspike", "/results/layers", json!([100, 128, 0])),
        ("superspike", "/results/steps", json!(0)),
        ("superspike", "/results/steps", json!(u64::MAX)),
        ("superspike", "/results/target/0", json!([100, 5])),
        ("superspike", "/results/target/0", json!([0, u32::MAX])),
        ("superspike", "/results/runs/0/errors", json!([1e308, -1e308])),
        ("superspike", "/results/runs/0/rasters", json!([[[4_000_000_000_u32, 1]]])),
        ("identify", "/results/confusion", json!([])),
        ("identify", "/results/confusion/0", json!([1, 2])),
        ("identify", "/results/confusion/0/0", json!(u64::MAX)),
        ("identify", "/results/accuracies/0/layers", json!([])),
        ("identify", "/results/control/kinds", json!(0)),
        ("identify", "/results/specimens/0/error", json!(1e308)),
        ("family", "/results/anchors/0/errors", json!([1e308])),
        ("family", "/results/field/0/angles", json!([-1e308])),
        ("family", "/results/times/0/0", json!(-1)),
        ("prospective", "/results/cells/0/score", json!(1e308)),
        ("prospective", "/results/curves/0/errors", json!([-1e308, 1e308])),
        ("prospective", "/results/alignment/0/angles", json!([1e308])),
        ("prospective", "/results/alignment/0/depth", json!(u64::MAX)),
        ("prospective", "/results/interference/0/lowest", json!(-1e308)),
        ("pcx-mnist", "/results/0/errors", json!([2.0])),
        ("pcx-mnist", "/results/0/seconds", json!(-1)),
        ("lenet-mnist", "/results/0/errors", json!([-2.0])),
        ("lenet-mnist", "/results/0/seconds", json!(1e300)),
    ];
    for (name, place, value) in cases {
        let dir = folder();
        let mut edited = record(name);
        *edited.pointer_mut(place).unwrap_or_else(|| panic!("{name} has {place}")) = value.clone();
        write(dir.path().join(format!("results/{name}.json")), edited.to_string());
        fails(
            dir.path(),
            "reproduce page --out results",
            4,
            &[&format!("{name}.json"), "not a result of zilch reproduce"],
        );
    }
}

/// Records with empty lists or missing fields give a page or are refused, and never cause a panic.
#[test]
fn incomplete_records_do_no_harm() {
    for name in [
        "table2",
        "table3",
        "table4",
        "figure3",
        "superspike",
        "identify",
        "family",
        "prospective",
        "pcx-mnist",
        "lenet-mnist",
    ] {
        let whole = record(name);
        let mut edits = Vec::new();
        let mut empty = whole.clone();
        match &mut empty["results"] {
            Value::Array(list) => list.clear(),
            Value::Object(fields) => {
                for key in fields.keys().cloned().collect::<Vec<_>>() {
                    let mut without = whole.clone();
                    without["results"].as_object_mut().expect("an object").remove(&key);
                    edits.push(without);
                }
                fields.values_mut().filter_map(Value::as_array_mut).for_each(Vec::clear);
            }
            other => panic!("{other}"),
        }
        edits.push(empty);
        for key in whole.as_object().expect("a record").keys() {
            let mut without = whole.clone();
            without.as_object_mut().expect("a record").remove(key);
            edits.push(without);
        }
        for (i, edited) in edits.iter().enumerate() {
            let dir = folder();
            write(dir.path().join(format!("results/{name}.json")), edited.to_string());
            let (code, _, err) = ran(zilch(dir.path()).args(["reproduce", "page", "--out", "results"]));
            assert!(matches!(code, Some(0 | 4)), "{name}, edit {i}: {err}");
        }
    }
}

#[test]
fn a_page_contains_no_control_characters_from_its_record() {
    let dir = folder();
    let mut edited = record("table2");
    edited["data"] = ESCAPES.into();
    write(dir.path().join("results/table2.json"), edited.to_string());
    let page = done(dir.path(), "reproduce page --out results");
    assert!(page.contains(ESCAPED), "{page}");
    assert_eq!(fs::read_to_string(dir.path().join("results.md")).expect("the page"), page);
}

// ---- messages --------------------------------------------------------------------------------------------------

#[test]
fn a_missing_file_is_reported_with_its_path_and_exit_code_4() {
    let dir = folder();
    let dir = dir.path();
    fs::create_dir(dir.join("folder.json")).expect("made");
    fs::create_dir(dir.join("folder.safetensors")).expect("made");
    let train = format!("train --data digits {RUN} --updates 1");
    for (args, path) in [
        (format!("{train} --tasks none.json"), "none.json"),
        (format!("{train} --tasks folder.json"), "folder.json"),
        ("train --config none.toml".into(), "none.toml"),
        ("train --config folder.json".into(), "folder.json"),
        (format!("{train} --rule none.json"), "none.json"),
        (format!("{train} --rule folder.json"), "folder.json"),
        ("plan --rule none.json".into(), "none.json"),
        ("eval --rule none.json --weights none.safetensors --data digits".into(), "none.json"),
        ("plan --layers none.json".into(), "none.json"),
        ("plan --layers folder.json".into(), "folder.json"),
        ("compare --layers none.json".into(), "none.json"),
        (format!("{train} --init none.safetensors"), "none.safetensors"),
        (format!("{train} --init folder.safetensors"), "folder.safetensors"),
        ("eval --data digits --weights none.safetensors".into(), "none.safetensors"),
        ("draw --weights folder.safetensors --out x.svg".into(), "folder.safetensors"),
        ("train --resume none".into(), "none"),
        ("train --resume folder.json".into(), "folder.json"),
        ("train --data none".into(), "none"),
        ("runs none".into(), "none"),
    ] {
        let err = fails(dir, &args, 4, &["zilch: ", path]);
        assert_eq!(err.lines().count(), 1, "{args}: {err}");
    }
    write(dir.join("rule.toml"), "data = \"digits\"\nrule = \"none.json\"\n");
    fails(dir, "train --config rule.toml", 4, &["none.json"]);
}

#[test]
fn misspelt_words_are_refused_with_a_suggestion() {
    let dir = folder();
    let dir = dir.path();
    let train = format!("train --data digits {RUN} --updates 1");
    write(dir.join("w.safetensors"), weights(&header("784,10", "sigmoid")));
    for (args, code, said) in [
        (format!("{train} --init xaver"), 4, &["uniform, xavier, he, orthogonal, normal", "did you mean xavier?"][..]),
        (format!("{train} --init Kaimin"), 4, &["uniform, xavier, he, orthogonal, normal", "did you mean he?"]),
        ("train --data colors".into(), 4, &["Did you mean --data colours?"]),
        ("train --data Digits".into(), 4, &["Did you mean --data digits?"]),
        ("trace --data digit".into(), 4, &["Did you mean --data digits?"]),
        ("plan --layers +784,10".into(), 2, &["a plus sign joins the terms of a sum"]),
        (format!("{train} --layer-lr -1,1"), 2, &["--layer-lr takes factors that are zero or positive; -1 given"]),
        (format!("{train} --init-gain 1,-1"), 2, &["--init-gain must be zero or a positive"]),
        ("train --data=".into(), 4, &["--data: there is no such folder: the name is empty"]),
        ("reproduce page --out w.safetensors".into(), 4, &["w.safetensors: this is not a folder"]),
        ("plan --layers 784,+32,10".into(), 2, &["a plus sign joins the terms of a sum"]),
    ] {
        fails(dir, &args, code, said);
    }
    fails(dir, "draw --weights w.safetensors --out x.svg --units 0", 2, &["--units must be at least 1"]);
}

/// `--augment` refuses images of one pixel and layers without image dimensions.
#[test]
fn augmentation_needs_images() {
    let dir = folder();
    for (name, n) in [("train", 20u32), ("t10k", 10)] {
        let head = |magic: u32, sizes: &[u32]| -> Vec<u8> {
            [magic].iter().chain(sizes).flat_map(|v| v.to_be_bytes()).collect()
        };
        let of = |count: u32| (0..count).map(|i| (i % 10) as u8);
        write(
            dir.path().join(format!("data/{name}-images-idx3-ubyte")),
            head(0x803, &[n, 1, 1]).into_iter().chain(of(n)).collect::<Vec<u8>>(),
        );
        write(
            dir.path().join(format!("data/{name}-labels-idx1-ubyte")),
            head(0x801, &[n]).into_iter().chain(of(n)).collect::<Vec<u8>>(),
        );
    }
    let train =
        |layers: &str| format!("train --data data --layers {layers} --batch 5 --updates 1 --device cpu --augment flip");
    fails(dir.path(), &train("1x1,10"), 2, &["--augment flip needs images", "have 1×1 pixels; remove the option"]);
    fails(dir.path(), &train("1,10"), 2, &["--augment flip needs images", "begin --layers with their size"]);
}

#[test]
fn a_divergence_suggests_options_that_apply_and_are_unset() {
    let dir = folder();
    let train = "train --preset paper --data digits --layers 784,8,10 --batch 20 --updates 200 --device cpu --threads 1 --activation identity --lr 1e6";
    for (args, said, not) in [
        ("--rule bp", "Try a smaller --lr, or --mean\n", "--gamma"),
        ("--rule bp --mean", "Try a smaller --lr\n", "--mean"),
        ("--rule il", "Try a smaller --lr or --gamma, or --mean\n", "--phi"),
        ("--rule il --mean --gamma 0.1", "Try a smaller --lr or --gamma\n", "--mean"),
        ("--rule fazil --mean", "Try a smaller --lr or --gamma; or --phi feedback: ", "--mean"),
    ] {
        let (code, _, err) = ran(zilch(dir.path()).args(words(train)).args(words(args)));
        assert_eq!(code, Some(5), "{args}: {err}");
        assert!(err.contains(said) && !err.contains(not), "{args}: {err}");
    }
}

#[test]
fn bad_headers_of_weights_are_refused_with_the_bad_word() {
    let dir = folder();
    let dir = dir.path();
    let two = header("784,10", "sigmoid");
    let twice =
        two.replacen('{', &format!("{{{},", &two[two.find("\"theta.1\"").expect("a tensor")..two.len() - 1]), 1);
    let meta = two.replace("\"activation\":", "\"activation\":\"tanh\",\"activation\":");
    for (bytes, said) in [
        (weights(&header("28x28,6c,10", "sigmoid")), &["28x28,6c,10", "\"6c\" is not a size"][..]),
        (weights(&header("28x28,6c99,10", "sigmoid")), &["6c99 does not fit"]),
        (weights(&header("28x28,6c5", "sigmoid")), &["the number of outputs"]),
        (weights(&header("28x28,4294967295c28s1p27,10", "sigmoid")), &["4294967295c28"]),
        (weights(&twice), &["\"theta.1\" twice"]),
        (weights(&meta), &["\"activation\" twice"]),
    ] {
        write(dir.join("w.safetensors"), bytes);
        for args in [
            "eval --data digits --weights w.safetensors".to_owned(),
            format!("train --data digits {RUN} --updates 1 --init w.safetensors"),
            "draw --weights w.safetensors --out x.svg".into(),
        ] {
            fails(dir, &args, 4, &[&["w.safetensors"][..], said].concat());
        }
    }
}

#[test]
fn a_large_file_of_options_is_refused_and_not_truncated() {
    let dir = folder();
    let text = format!("data = \"digits\"\nupdates = 1\n#{}\n", " ".repeat(1 << 24));
    write(dir.path().join("large.toml"), text);
    fails(dir.path(), "train --config large.toml", 4, &["large.toml", "more than 16777216 bytes"]);
}

#[test]
fn options_of_another_rule_in_a_file_are_ignored() {
    let dir = folder();
    let dir = dir.path();
    write(
        dir.join("ep.toml"),
        "data = \"digits\"\nlayers = [784, 8, 10]\nupdates = 2\ndevice = \"cpu\"\nrule = \"ep\"\nbeta = 0.5\nfree = 4\nlr = 0.01\n",
    );
    write(
        dir.join("fazil.toml"),
        "data = \"digits\"\nlayers = [784, 8, 10]\nupdates = 2\ndevice = \"cpu\"\nrule = \"fazil\"\nphi = \"feedback\"\ntd = 2\ncoords = \"value\"\n",
    );
    write(
        dir.join("tanh.toml"),
        "data = \"digits\"\nlayers = [784, 8, 10]\nupdates = 2\ndevice = \"cpu\"\nrule = \"bp\"\nactivation = \"tanh\"\n",
    );
    for (args, said) in [
        (
            "train --config ep.toml --rule bp",
            &["--beta, --free ignored", "for --rule ep, and it does not apply to --rule bp"][..],
        ),
        ("train --config fazil.toml --rule zil", &["--phi, --td ignored"]),
        ("train --config tanh.toml --rule ep", &["--activation ignored"]),
        ("train --config ep.toml --rule ep", &[]),
    ] {
        let (code, _, err) = ran(zilch(dir).args(words(args)));
        assert_eq!(code, Some(0), "{args}: {err}");
        assert_eq!(err.contains("ignored"), !said.is_empty(), "{args}: {err}");
        said.iter().for_each(|word| assert!(err.contains(word), "{args}: {err}"));
    }
    // An option on the command line that does not apply is an error.
    fails(dir, "train --config ep.toml --rule bp --gamma 0.1", 2, &["--gamma"]);
}

/// Writing output to a full disk fails with exit code 1 and does not panic.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let dir = folder();
    for args in
        ["--help", "--version", "help", "train --help", "completions bash", "man", "rules", "info", "plan", "runs ."]
    {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("the device");
        let output =
            zilch(dir.path()).args(words(args)).stdout(full).stderr(Stdio::piped()).output().expect("zilch starts");
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args}: {err}");
        assert!(err.contains("zilch: standard output: ") && !err.contains("panicked"), "{args}: {err}");
    }
}
