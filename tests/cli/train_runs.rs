//! `zilch train` over several runs: options from a file, several seeds, early stopping, a time limit, and results in another folder when
//! `--out` is lost.

use crate::program::{ZILCH, program};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const RUN: &str = "--data digits --layers 784,16,10 --batch 50 --lr 0.01 --device cpu --threads 1";

fn zilch(folder: &Path, args: &str) -> Command {
    let mut command = program();
    command
        .args(args.split_whitespace())
        .current_dir(folder)
        .env("TMPDIR", folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ran(folder: &Path, args: &str) -> Output {
    let output = zilch(folder, args).output().expect("zilch starts");
    assert!(!text(&output.stderr).contains("panicked"), "{args}: {output:?}");
    output
}

/// The document that a run prints.
fn document(folder: &Path, args: &str) -> Value {
    let output = ran(folder, &format!("{args} --json"));
    assert_eq!(output.status.code(), Some(0), "{args}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one document")
}

/// The stderr of a run that must be refused.
fn refused(folder: &Path, args: &str) -> String {
    let output = ran(folder, args);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args}: {output:?}");
    text(&output.stderr)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn options_come_from_a_file_unless_the_command_line_has_them() {
    let dir = folder();
    let dir = dir.path();
    let toml = "# A network\nlayers = [784, 16, 10]\nrule = \"bp\"\ndata = \"digits\"\nbatch = 50\nlr = 0.01\nbias = true\nmean = false\n\
                optimizer = \"adam\"\nepochs = 2\nlayer_lr = [1, 0.5]\ndevice = \"cpu\"\nthreads = 1\n";
    fs::write(dir.join("run.toml"), toml).expect("written");
    let typed = "--rule bp --bias --mean=false --optimizer adam --layer-lr 1,0.5";
    let from_file = document(dir, "train --config run.toml");
    let from_line = document(dir, &format!("train {RUN} {typed} --epochs 2"));
    assert_eq!(from_file["weights_sha256"], from_line["weights_sha256"]);
    assert_eq!(from_file["settings"], from_line["settings"]);
    // The command line overrides the file, including options of the file that conflict with it.
    let changed = document(dir, "train --config run.toml --updates 30 --lr 0.02 --layer-lr 1,1");
    let from_line = document(
        dir,
        &format!("train {RUN} {typed} --updates 30 --lr 0.02 --layer-lr 1,1").replace("--lr 0.01 ", "").replacen(
            "--layer-lr 1,0.5 ",
            "",
            1,
        ),
    );
    assert_eq!(changed["settings"], from_line["settings"]);
    assert_eq!(changed["weights_sha256"], from_line["weights_sha256"]);
    // The run.json of a run, with paths relative to the folder in which the run was started.
    fs::create_dir(dir.join("other")).expect("made");
    document(dir, "train --config run.toml --seed 5 --out first");
    let again = document(&dir.join("other"), "train --config ../first/run.json --out second");
    let first: Value = serde_json::from_slice(&fs::read(dir.join("first/run.json")).expect("there")).expect("JSON");
    assert_eq!(again["weights_sha256"], first["weights_sha256"]);
    assert_ne!(again["weights_sha256"], from_file["weights_sha256"], "another seed");
    assert!(dir.join("other/second/weights.safetensors").exists());
    // The run can be resumed after its file is removed.
    let whole = document(dir, "train --config run.toml --updates 40 --epoch-updates 1");
    fs::write(dir.join("long.toml"), format!("{toml}checkpoint-every = 10\n").replace("epochs = 2", "updates = 40"))
        .expect("written");
    let out = dir.join("kept");
    let mut child = zilch(dir, "train --config long.toml --epoch-updates 1 --out kept").spawn().expect("starts");
    wait_for(&mut child, "epoch  20");
    child.kill().expect("killed");
    child.wait().expect("ended");
    fs::remove_file(dir.join("long.toml")).expect("removed");
    let rest = document(dir, &format!("train --resume {}", out.display()));
    assert_eq!(rest["weights_sha256"], whole["weights_sha256"]);
}

#[test]
fn files_of_options_are_refused_with_the_nearest_name() {
    let dir = folder();
    let dir = dir.path();
    for (text, says) in [
        ("epochz = 3", "did you mean epochs?"),
        ("optimzer = \"adam\"", "did you mean optimizer?"),
        ("zzzz = 3", "there is no option \"zzzz\""),
        ("resume = \"x\"", "belongs on the command line"),
        ("config = \"x\"", "belongs on the command line"),
        ("lr = true", "lr takes a string, a number, or a list"),
        ("bias = 1", "bias takes true or false"),
        ("lr = \"fast\"", "invalid value 'fast'"),
        ("updates = \"1e3\"", "expected a whole number"),
        ("[train]\nlr = 1", "there is no option \"train\"; options stand at the top of the file"),
        ("[lr]\nvalue = 1", "options stand at the top of the file"),
        ("Lrr = 1", "did you mean lr?"),
        ("hidden = [32]", "--layers"),
        ("lr = 0.1\nlearning-rate = 0.2", "cannot be used multiple times"),
        ("lr = [[1]]", "lr takes a string, a number, or a list"),
        ("ok = 1\nlr = = 2", "line 2 is not TOML"),
        ("lr = 0.1\nlr = 0.2", "line 2 is not TOML"),
        ("epochs = 2\nupdates = 3\ndata = \"digits\"", "cannot be used with"),
        ("rule = \"bp\"", "--data"),
    ] {
        fs::write(dir.join("run.toml"), text).expect("written");
        let err = refused(dir, "train --config run.toml");
        assert!(err.contains(says) && err.contains("run.toml"), "{text}: {err}");
    }
    for (text, says) in
        [("[1]", "not the run.json"), ("{", "not a run.json"), ("{\"arguments\": [\"--lrr=1\"]}", "another version")]
    {
        fs::write(dir.join("run.json"), text).expect("written");
        let err = refused(dir, "train --config run.json");
        assert!(err.contains(says), "{text}: {err}");
    }
    for (args, says) in [("train --config nowhere.toml", "nowhere.toml"), ("train --config .", "regular file")] {
        let output = ran(dir, args);
        assert_eq!(output.status.code(), Some(4), "{args}: {output:?}");
        assert!(text(&output.stderr).contains(says), "{args}: {output:?}");
    }
}

#[test]
fn several_seeds_are_trained_by_one_command() {
    let dir = folder();
    let dir = dir.path();
    let run = format!("train {RUN} --rule zil --epochs 2");
    let all = document(dir, &format!("{run} --seed 3 --seeds 3 --out seeds"));
    let one = |seed: u64| document(dir, &format!("{run} --seed {seed}"));
    let runs = all["seeds"].as_array().expect("runs");
    assert_eq!(runs.len(), 3);
    for (i, of) in runs.iter().enumerate() {
        assert_eq!(of["weights_sha256"], one(3 + i as u64)["weights_sha256"]);
        assert!(dir.join(format!("seeds/seed-{}/weights.safetensors", 3 + i)).exists());
    }
    let errors: Vec<f64> = runs.iter().map(|run| run["test_error"].as_f64().expect("an error")).collect();
    let mean = errors.iter().sum::<f64>() / 3.0;
    let sd = (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
    let printed = |name: &str| all["test_error"][name].as_f64().expect("a number");
    assert!((printed("mean") - mean).abs() < 1e-12 && (printed("sd") - sd).abs() < 1e-12, "{all}");
    // The same command with more seeds trains only the new ones.
    let output = ran(dir, &format!("{run} --seed 3 --seeds 4 --out seeds"));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert_eq!(err.matches("is already trained").count(), 3, "{err}");
    assert!(out.contains("mean and sample standard deviation of 4 seeds"), "{out}");
    assert!(refused(dir, &format!("{run} --seed {} --seeds 2", u64::MAX)).contains("largest seed"));
    document(dir, &format!("{run} --out one"));
    assert!(refused(dir, &format!("{run} --seeds 2 --out one")).contains("holds a run"));
    let single = document(dir, &format!("{run} --seeds 1"));
    assert!(single["test_error"]["sd"].is_null(), "one value has no standard deviation");
}

#[test]
fn patience_stops_a_run_that_does_not_improve() {
    let dir = folder();
    let dir = dir.path();
    // With this learning rate nothing changes: the first epoch is the best.
    let run =
        "train --data digits --layers 784,16,10 --batch 50 --lr 1e-30 --epochs 50 --device cpu --patience 3 --out run";
    let all = document(dir, run);
    assert_eq!(all["epochs"].as_array().expect("epochs").len(), 4);
    assert_eq!((&all["ended_early"], &all["best"]["epoch"]), (&Value::Bool(true), &1.into()));
    assert!(all["stopped"].is_null() && dir.join("run/best.safetensors").exists());
    assert!(!dir.join("run/checkpoint.json").exists(), "the run is complete");
    // With held-out samples their error counts. A run that improves is not stopped.
    let learns = format!("train {RUN} --rule bp --epochs 4 --hold-out 5 --patience 4");
    let all = document(dir, &learns);
    let held: Vec<f64> = all["held_out"].as_array().expect("errors").iter().map(|e| e.as_f64().expect("one")).collect();
    let best = held.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(all["best"]["error"].as_f64(), Some(best));
    assert_eq!((held.len(), &all["ended_early"]), (4, &Value::Bool(false)));
    assert!(refused(dir, &format!("train {RUN} --patience 0")).contains("at least 1"));
    // Epochs of different tasks cannot be compared. A stop in the last epoch is not early.
    fs::write(
        dir.join("tasks.json"),
        r#"{"tasks": [{"classes": [0, 1], "epochs": 1}, {"classes": [2, 3], "epochs": 1}]}"#,
    )
    .expect("written");
    let tasks = format!("train {RUN} --tasks tasks.json --patience 2").replace("--batch 50", "--batch 5");
    assert!(refused(dir, &tasks).contains("another task in each"));
    let all = document(
        dir,
        "train --data digits --layers 784,16,10 --batch 50 --lr 1e-30 --epochs 3 --device cpu --patience 2",
    );
    assert_eq!(all["ended_early"], Value::Bool(false));
}

#[test]
fn a_run_stopped_by_max_time_can_be_resumed() {
    let dir = folder();
    let dir = dir.path();
    let run = "train --data digits --layers 784,64,10 --rule il --batch 20 --lr 0.002 --updates 1500 --device cpu --threads 1";
    let whole = document(dir, run);
    let output = ran(dir, &format!("{run} --max-time 1s --out run"));
    let mut err = text(&output.stderr);
    // A fast machine may finish before the time is over.
    let mut times = 0;
    while err.contains("--max-time is over") {
        assert!(err.contains("Continue with: zilch train --resume run"), "{err}");
        let next = ran(dir, "train --resume run --max-time 1s");
        assert!([Some(0), Some(130)].contains(&next.status.code()), "{next:?}");
        (err, times) = (text(&next.stderr), times + 1);
        assert!(times < 1000);
    }
    let end: Value = serde_json::from_slice(&fs::read(dir.join("run/run.json")).expect("there")).expect("JSON");
    assert_eq!(end["weights_sha256"], whole["weights_sha256"]);
    assert!(refused(dir, &format!("{run} --max-time 5")).contains("is not a time"));
    // A run that is stopped by an early signal can also be continued.
    let mut child = zilch(dir, &format!("{run} --out early")).spawn().expect("starts");
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill");
    assert!(status.success());
    if child.wait().expect("ended").code() == Some(130) {
        // If the signal came before the first update, there is no checkpoint, and the same command starts again.
        let again = if dir.join("early/checkpoint.json").exists() {
            "train --resume early"
        } else {
            &format!("{run} --out early")
        };
        assert_eq!(document(dir, again)["weights_sha256"], whole["weights_sha256"]);
    }
}

/// Reads stderr of a process until it contains `what`.
fn wait_for(child: &mut Child, what: &str) {
    let mut text = String::new();
    for line in BufReader::new(child.stderr.as_mut().expect("piped")).lines() {
        text += &line.expect("UTF-8");
        if text.contains(what) {
            return;
        }
    }
    panic!("{what} is missing in: {text}");
}

/// The folder of a run is removed during training. The results go to another folder, the message names both, and the run can be resumed
/// there.
#[cfg(unix)]
#[test]
fn results_are_written_to_another_folder() {
    let dir = folder();
    let dir = dir.path();
    let run = "train --data digits --layers 784,64,10 --rule il --batch 20 --lr 0.002 --updates 2000 --epoch-updates 100 --device cpu --threads 1";
    let whole = document(dir, run);
    for interrupted in [false, true] {
        let mut child = zilch(dir, &format!("{run} --out run --checkpoint-every 50")).spawn().expect("starts");
        wait_for(&mut child, "epoch   2");
        // Moved first, because removing fails if a file is written meanwhile.
        fs::rename(dir.join("run"), dir.join("gone")).expect("moved");
        fs::remove_dir_all(dir.join("gone")).expect("removed");
        if interrupted {
            let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
            assert!(status.success());
        }
        let output = child.wait_with_output().expect("ended");
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        assert_eq!(err.matches("this checkpoint was not written").count(), 1, "reported once: {err}");
        for what in ["the best weights were not written", "the metrics were not written"] {
            assert!(err.matches(what).count() <= 1, "reported once: {err}");
        }
        let other = out.lines().find_map(|line| line.strip_prefix("written to")).expect("a place").trim().to_owned();
        assert!(err.contains(&format!("The results are in {other} instead")), "{err}");
        assert!(Path::new(&other).starts_with(dir) && !dir.join("run").exists(), "{other}");
        let end = if interrupted {
            assert!(err.contains(&format!("zilch train --resume {other}")), "{err}");
            document(dir, &format!("train --resume {other}"))
        } else {
            serde_json::from_slice(&fs::read(Path::new(&other).join("run.json")).expect("there")).expect("JSON")
        };
        assert_eq!(end["weights_sha256"], whole["weights_sha256"], "interrupted: {interrupted}");
    }
}

/// The folder of a run is moved, and another folder takes its name. The run does not write to that one.
#[cfg(unix)]
#[test]
fn a_run_does_not_write_to_another_folder_with_its_name() {
    let dir = folder();
    let dir = dir.path();
    let run = "train --data digits --layers 784,64,10 --rule il --batch 20 --lr 0.002 --updates 1000 --epoch-updates 100 --device cpu --threads 1";
    let mut child = zilch(dir, &format!("{run} --out run --checkpoint-every 50")).spawn().expect("starts");
    wait_for(&mut child, "epoch   2");
    fs::rename(dir.join("run"), dir.join("moved")).expect("moved");
    fs::create_dir(dir.join("run")).expect("made");
    fs::write(dir.join("run/weights.safetensors"), "somebody's").expect("written");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("The results are in"), "{output:?}");
    assert_eq!(fs::read_to_string(dir.join("run/weights.safetensors")).expect("there"), "somebody's");
}

/// Runs under `ulimit -f`, in blocks of 512 bytes. It must make no difference whether `trap` ignores SIGXFSZ.
#[cfg(unix)]
fn with_small_files(dir: &Path, blocks: u32, trap: &str, args: &str) -> (Option<i32>, String, String) {
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -f {blocks}; {trap} exec \"$0\" {args}"), ZILCH])
        .current_dir(dir)
        .env("TMPDIR", dir)
        .env("HOME", dir)
        .output()
        .expect("sh");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// If no file can be written anywhere, the failure is reported, and stdout names no folder.
#[cfg(unix)]
#[test]
fn results_that_cannot_be_written_are_reported() {
    for trap in ["trap '' XFSZ;", ""] {
        let dir = folder();
        let dir = dir.path();
        // 8 KiB per file: settings fit, weights do not.
        let (code, out, err) = with_small_files(dir, 16, trap, &format!("train {RUN} --epochs 1 --out run"));
        assert_eq!(code, Some(1), "{err}");
        assert!(out.contains("test error") && !out.contains("written to"), "{out}");
        assert!(
            err.contains("The results could not be written to any other folder") && err.contains("ulimit -f"),
            "{err}"
        );
        let tries = fs::read_dir(dir).expect("there").filter(|e| e.as_ref().expect("one").file_name() != "run").count();
        assert_eq!(tries, 0, "failed attempts leave no folder");
        assert!(!dir.join("run/weights.safetensors").exists());
    }
}

/// A checkpoint beyond `ulimit -f` is reported like a full disk, and the training continues.
#[cfg(unix)]
#[test]
fn a_file_size_limit_is_reported_like_a_full_disk() {
    let dir = folder();
    let dir = dir.path();
    let whole = document(dir, &format!("train {RUN} --optimizer adam --epochs 2"));
    // 100 KiB per file: weights fit, the state of Adam does not.
    let run = format!("train {RUN} --optimizer adam --epochs 2 --checkpoint-every 50 --out run");
    let (code, out, err) = with_small_files(dir, 200, "", &run);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err.matches("this checkpoint was not written").count(), 1, "{err}");
    assert!(err.contains("ulimit -f") && out.contains("written to"), "{out}{err}");
    let end: Value = serde_json::from_slice(&fs::read(dir.join("run/run.json")).expect("there")).expect("JSON");
    assert_eq!(end["weights_sha256"], whole["weights_sha256"]);
    // A run that is stopped there cannot write its checkpoint anywhere, and says so.
    let run = format!("train {RUN} --optimizer adam --epochs 100000 --max-time 1s --out stopped");
    let (code, _, err) = with_small_files(dir, 200, "", &run);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("The results could not be written to any other folder"), "{err}");
}

/// Four samples of four pixels in two classes, as files.
fn tiny(dir: &Path) -> String {
    let file = |name: &str, sizes: &[u32], data: &[u8]| {
        let sizes = sizes.iter().flat_map(|n| n.to_be_bytes());
        let magic = [0, 0, 8, (sizes.clone().count() / 4) as u8];
        fs::write(dir.join("tiny").join(name), [&magic[..], &sizes.collect::<Vec<_>>(), data].concat())
            .expect("written");
    };
    fs::create_dir(dir.join("tiny")).expect("made");
    for set in ["train", "t10k"] {
        file(
            &format!("{set}-images-idx3-ubyte"),
            &[4, 2, 2],
            &[0, 200, 30, 90, 255, 1, 80, 7, 0, 190, 40, 95, 250, 0, 70, 3],
        );
        file(&format!("{set}-labels-idx1-ubyte"), &[4], &[0, 1, 0, 1]);
    }
    "tiny".into()
}

/// The record of a run stays small after any number of epochs, and the run can be resumed.
#[test]
fn a_run_of_very_many_epochs_can_be_resumed() {
    let dir = folder();
    let dir = dir.path();
    let data = tiny(dir);
    let run = format!("train --data {data} --layers 4,2 --batch 4 --epochs 100000000 --device cpu --threads 1");
    let first = ran(dir, &format!("{run} --probe energy --max-time 2s --checkpoint-every 1000 --out big"));
    assert_eq!(first.status.code(), Some(130), "{}", text(&first.stderr));
    let lines = || fs::read_to_string(dir.join("big/metrics.csv")).expect("metrics").lines().count();
    let (before, record) = (lines(), fs::metadata(dir.join("big/run.json")).expect("a record").len());
    assert!(before > 1000 && record < 1 << 16, "{before} lines, {record} bytes");
    let again = ran(dir, "train --resume big --max-time 1s");
    assert_eq!(again.status.code(), Some(130), "{}", text(&again.stderr));
    assert!(lines() > before && text(&again.stderr).contains("continues after"), "{}", text(&again.stderr));
    let found: Value = serde_json::from_slice(&ran(dir, "runs big --json").stdout).expect("JSON");
    assert_eq!(found["runs"][0]["epochs"], lines() - 1);
}

/// A killed process may leave a temporary file. It blocks neither the next run nor an experiment in the folder.
#[test]
fn temporary_files_of_a_killed_process_block_nothing() {
    let dir = folder();
    let dir = dir.path();
    fs::create_dir(dir.join("k")).expect("made");
    fs::write(dir.join("k/.zilch-1-0.tmp"), "{").expect("written");
    document(dir, &format!("train {RUN} --updates 3 --out k"));
    assert!(!dir.join("k/.zilch-1-0.tmp").exists());
    fs::create_dir_all(dir.join("r/table2")).expect("made");
    fs::write(dir.join("r/table2/.zilch-1-0.tmp"), "{").expect("written");
    let output = ran(dir, "reproduce table2 --quick --data digits --out r");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// A checkpoint contains all that a run needs: it can be resumed without `run.json` and without the weights of the best epoch. Links
/// are refused by name.
#[cfg(unix)]
#[test]
fn a_checkpoint_is_enough_to_resume() {
    let dir = folder();
    let dir = dir.path();
    let run = format!("train {RUN} --rule il --updates 3000 --epoch-updates 100");
    let whole = document(dir, &run);
    let mut child = zilch(dir, &format!("{run} --checkpoint-every 50 --out run")).spawn().expect("starts");
    wait_for(&mut child, "epoch   2");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    let first = child.wait_with_output().expect("ended");
    assert_eq!(first.status.code(), Some(130), "{}", text(&first.stderr));
    let copy = |name: &str| {
        let copied = Command::new("cp").args(["-r", "run", name]).current_dir(dir).status().expect("cp");
        assert!(copied.success());
        dir.join(name)
    };
    for (name, damage) in [("missing", None), ("damaged", Some("{"))] {
        let run = copy(name);
        fs::remove_file(run.join("run.json")).expect("there");
        damage.map_or(Ok(()), |text| fs::write(run.join("run.json"), text)).expect("written");
        let _ = fs::remove_file(run.join("best.safetensors"));
        let rest = ran(dir, &format!("train --resume {name} --json"));
        assert_eq!(rest.status.code(), Some(0), "{name}: {}", text(&rest.stderr));
        let end: Value = serde_json::from_slice(&rest.stdout).expect("a document");
        assert_eq!((&end["weights_sha256"], &end["best"]), (&whole["weights_sha256"], &whole["best"]), "{name}");
        let epochs = end["epochs"].as_array().expect("epochs").len();
        assert_eq!(epochs, whole["epochs"].as_array().expect("epochs").len());
    }
    for name in ["run.json", "checkpoint.json", "weights.safetensors"] {
        let run = copy(&format!("link-{name}"));
        fs::remove_file(run.join(name)).expect("there");
        std::os::unix::fs::symlink("nowhere", run.join(name)).expect("linked");
        let refused = ran(dir, &format!("train --resume link-{name}"));
        let err = text(&refused.stderr);
        assert!(!refused.status.success() && err.contains(name) && err.contains("link"), "{name}: {err}");
        assert!(!err.contains("--out"), "{name}: {err}");
    }
}

/// A training plans once and lowers twice: the plan, and its moments of prediction for the evaluation. This holds on each device, with
/// and without checkpoints, with a held-out set.
#[test]
fn a_training_plans_once_and_lowers_once() {
    let dir = folder();
    let dir = dir.path();
    for device in ["cpu", "gpu"] {
        let run = format!(
            "train --data digits --layers 784,16,10 --device {device} --updates 60 --epoch-updates 20 --hold-out 2"
        );
        for line in [format!("{run} --checkpoint-every 25 --out {device}"), run] {
            let output = zilch(dir, &line).env("RUST_LOG", "zilch=debug").output().expect("zilch runs");
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            let log = text(&output.stderr);
            let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
            assert_eq!((count("planning zil for"), count("lowering the plan of zil")), (1, 2), "{line}");
        }
    }
}
