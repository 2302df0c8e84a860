//! Checkpoints: a training that is stopped anywhere goes on to the bits of one that was not; and what is damaged is told.

use crate::common::{cpu, dataset, gpu, net};
use sha2::Digest;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::tasks::{Subset, Task, Tasks, Tested};
use zilch::data::{Data, Dataset};
use zilch::device::Device;
use zilch::rules::{Optimizer, Ramp};
use zilch::train::MetricsLog;
use zilch::train::checkpoint::{CHECKPOINT_FILE, Checkpoint, Manifest, sealed};
use zilch::train::probe::Probe;
use zilch::train::{Event, Every, Keep, Length, Trained, Training};
use zilch::{Activation, Rule, Weights};

fn data() -> Arc<Data> {
    let network = net(&[11, 9, 7, 3], Activation::Tanh, true);
    let set = |samples, seed| dataset(&network, samples, seed, |r| r.below(256) as u8);
    Arc::new(Data { train: set(43, 70), test: set(17, 71), name: "random".into(), checksums: Vec::new() })
}

/// A training by a rule: 8 updates an epoch of 5 samples, 27 in all, so that it ends within an epoch.
fn training(name: &str, change: impl FnOnce(&mut Training)) -> Training {
    let rule = Rule::named(name).expect("a rule");
    let network = rule.suited(net(&[11, 9, 7, 3], Activation::Tanh, true));
    let mut training = Training { batch: 5, seed: 3, ..Training::new(network, Length::Updates(27)) };
    training.options = zilch::Options { alpha: 0.02, seed: 3, ..zilch::Options::new(rule) };
    change(&mut training);
    training
}

/// Trains, from a checkpoint if there is one, and keeps one after every so many updates, each through its files.
fn train(training: &Training, device: &Device, from: Option<Checkpoint>, every: u64) -> (Trained, Vec<Checkpoint>) {
    let data = data();
    let shown = training.shown(&data).expect("data");
    let plan = training.plan(&shown).expect("a plan");
    let folder = tempfile::tempdir().expect("a folder");
    let mut kept = Vec::new();
    let mut log = MetricsLog::new(folder.path());
    let mut with = |checkpoint: &Checkpoint| {
        checkpoint.write(folder.path(), &manifest(), &mut log).expect("written");
        let manifest = Manifest::read(folder.path()).expect("a manifest");
        kept.push(Checkpoint::read(folder.path(), &manifest, &plan, &samples(training)).expect("a state"));
    };
    let keep = Keep { every: Some(Every::Updates(every)), with: &mut with, best: &mut |_: &Weights| () };
    let stop = AtomicBool::new(false);
    let trained = training.go_on(device, &data, from, &stop, &mut |_| (), Some(keep)).expect("trained");
    (trained, kept)
}

/// Of a run of no particular settings.
fn manifest() -> Manifest {
    Manifest::begin(&serde_json::Value::Null, Vec::new(), "none")
}

/// Training samples of each task.
fn samples(training: &Training) -> Vec<usize> {
    training.shown(&data()).expect("data").iter().map(|data| data.train.len()).collect()
}

fn equal(a: &Trained, b: &Trained, what: &str) {
    assert!(a.weights.bit_identical(&b.weights), "{what}: {:e}", a.weights.distance(&b.weights));
    let rows =
        |t: &Trained| t.metrics.iter().map(|m| (m.epoch, m.updates, m.test_error, m.train_energy)).collect::<Vec<_>>();
    assert_eq!(rows(a), rows(b), "{what}");
    assert_eq!((&a.tested, &a.held, &a.probed, a.updates), (&b.tested, &b.held, &b.probed, b.updates), "{what}");
}

/// For every rule, through files, from every update but the last: 26 points.
#[test]
fn every_rule_goes_on_to_the_same_bits_from_any_point() {
    for rule in Rule::all() {
        let optimizer = if rule.name() == "kp" { Optimizer::Momentum } else { Optimizer::Adam };
        let training = training(rule.name(), |t| {
            t.options.optimizer = optimizer;
            t.options.lr_schedule.ramp = Ramp::Cosine;
        });
        let (whole, kept) = train(&training, &cpu(1), None, 1);
        assert_eq!(kept.iter().map(|c| c.progress.updates).collect::<Vec<_>>(), (1..27).collect::<Vec<_>>());
        for checkpoint in &kept {
            let what = format!("{} from update {}", rule.name(), checkpoint.progress.updates);
            let (rest, _) = train(&training, &cpu(1), Some(checkpoint.clone()), 1000);
            equal(&rest, &whole, &what);
        }
        // The control: other weights end elsewhere.
        let mut other = kept[12].clone();
        other.kept[0].numbers[(0, 0)] += 0.25;
        let (rest, _) = train(&training, &cpu(1), Some(other), 1000);
        assert!(!rest.weights.bit_identical(&whole.weights), "{}: the control", rule.name());
    }
}

/// On GPUs, at another number of threads, and with all that a training can have besides.
#[test]
fn devices_threads_tasks_and_probes_go_on() {
    let task = |classes: &[u8], epochs| Task {
        subset: Subset { classes: Some(classes.to_vec()), ..Subset::default() },
        epochs,
    };
    let tasks = Tasks { tasks: vec![task(&[0, 1], 1), task(&[2, 1], 2)], test: Tested::Every };
    for name in ["zil", "ep", "ipc"] {
        let optimizer = if name == "ep" { Optimizer::Sgd } else { Optimizer::Adamw };
        let plain = training(name, |t| t.options.optimizer = optimizer);
        let turns = training(name, |t| {
            t.tasks = Some(tasks.clone());
            t.batch = 4;
        });
        let held = training(name, |t| {
            let Data { train, .. } = &*data();
            let rows: Vec<usize> = (0..12).collect();
            let images = train.images().select(ndarray::Axis(0), &rows);
            let labels = rows.iter().map(|i| train.labels()[*i]).collect();
            t.held = Some(Dataset::new(Path::new("held"), images, labels, 1, 11).expect("a set"));
            t.probes = vec![Probe::Energy, Probe::Target];
            t.epoch_updates = Some(5);
        });
        for (training, what) in [(&plain, "plain"), (&turns, "tasks"), (&held, "held and probed")] {
            for device in [cpu(1), gpu()] {
                let (whole, kept) = train(training, &device, None, 5);
                for checkpoint in kept {
                    let what = format!("{name}, {what}, {} from {}", device.kind(), checkpoint.progress.updates);
                    let (rest, _) = train(training, &device, Some(checkpoint.clone()), 1000);
                    equal(&rest, &whole, &what);
                    if device.kind() == "cpu" {
                        let (rest, _) = train(training, &cpu(2), Some(checkpoint), 1000);
                        equal(&rest, &whole, &format!("{what} with two threads"));
                    }
                }
            }
        }
    }
}

#[test]
fn damage_is_told() {
    let training = training("bp", |_| ());
    let (_, kept) = train(&training, &cpu(1), None, 20);
    let plan = training.plan(&training.shown(&data()).expect("data")).expect("a plan");
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let says = |result: zilch::Result<Checkpoint>, words: &str| {
        let error = result.expect_err("refused");
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.exit_code(), 4);
    };
    let read = || Manifest::read(dir).and_then(|manifest| Checkpoint::read(dir, &manifest, &plan, &samples(&training)));
    says(read(), "No such file");
    kept[0].write(dir, &manifest(), &mut MetricsLog::new(dir)).expect("written");
    assert!(read().is_ok());
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .expect("there")
            .map(|e| e.expect("one").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(), [CHECKPOINT_FILE, "metrics-1.csv", "state-20.safetensors"]);
    // Every bit counts, and a state that is cut off is no state.
    let state = dir.join("state-20.safetensors");
    let whole = std::fs::read(&state).expect("the state");
    for at in [0, 9, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        std::fs::write(&state, &bytes).expect("written");
        says(read(), "damaged");
        std::fs::write(&state, &whole[..at]).expect("written");
        says(read(), "damaged");
    }
    std::fs::write(&state, &whole).expect("written");
    assert!(read().is_ok());
    let path = dir.join(CHECKPOINT_FILE);
    let text = std::fs::read_to_string(&path).expect("the manifest");
    // What it says of the progress is sealed, too; an edit with a new seal may still name no file of another folder.
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    };
    for (from, to) in [("\"updates\":20", "\"updates\":16"), ("\"within\":4", "\"within\":0"), ("state-20", "state-21")]
    {
        std::fs::write(&path, changed(from, to)).expect("written");
        says(read(), "edited");
    }
    let mut unsealed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    unsealed.as_object_mut().expect("an object").remove("sha256");
    std::fs::write(&path, unsealed.to_string()).expect("written");
    says(read(), "no SHA-256 of itself");
    let other = sealed(serde_json::from_str(&changed("state-20.", "../state-20.")).expect("JSON"));
    std::fs::write(&path, other.to_string()).expect("written");
    says(read(), "names no state");
    std::fs::write(&path, &text[..text.len() / 2]).expect("written");
    says(read(), "not the manifest");
    std::fs::write(&path, &text).expect("written");
    let log = dir.join("metrics-1.csv");
    let metrics = std::fs::read_to_string(&log).expect("the log");
    std::fs::write(&log, metrics.replacen("\n2,", "\n3,", 1)).expect("written");
    says(read(), "metrics-1.csv");
    std::fs::write(&log, metrics).expect("written");
    assert!(read().is_ok());
    std::fs::remove_file(&state).expect("removed");
    says(read(), "state-20.safetensors");
    Manifest::remove(dir);
    assert_eq!(names(), Vec::<String>::new());
}

/// A checkpoint of this training, after 20 updates, in a folder.
fn in_folder(training: &Training) -> (tempfile::TempDir, Checkpoint, MetricsLog) {
    let (_, kept) = train(training, &cpu(1), None, 20);
    let folder = tempfile::tempdir().expect("a folder");
    let mut log = MetricsLog::new(folder.path());
    kept[0].write(folder.path(), &manifest(), &mut log).expect("written");
    (folder, kept[0].clone(), log)
}

/// Writes bytes in the place of a folder's state, with a manifest that is sealed anew.
fn replace_state(dir: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let state = dir.join("state-20.safetensors");
    let mut bytes = std::fs::read(&state).expect("the state");
    change(&mut bytes);
    std::fs::write(&state, &bytes).expect("written");
    let path = dir.join(CHECKPOINT_FILE);
    let text = std::fs::read_to_string(&path).expect("the manifest");
    let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    value["state_sha256"] = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect::<String>().into();
    std::fs::write(&path, sealed(value).to_string()).expect("written");
}

/// NaN in a weight, and states of examples of another shape, are no checkpoint of this run, whatever SHA-256 it has.
#[test]
fn a_state_of_other_numbers_or_shapes_is_refused() {
    let training = training("ep", |_| ());
    let plan = training.plan(&training.shown(&data()).expect("data")).expect("a plan");
    let (folder, kept, mut log) = in_folder(&training);
    let dir = folder.path();
    let says = |words: &str| {
        let manifest = Manifest::read(dir).expect("a manifest");
        let error = Checkpoint::read(dir, &manifest, &plan, &samples(&training)).expect_err("refused");
        assert!(error.exit_code() == 4 && error.to_string().contains(words), "{error}");
    };
    for value in [f32::NAN, f32::INFINITY] {
        let mut bad = kept.clone();
        let theta = bad.kept.iter_mut().find(|kept| kept.key == "theta").expect("weights");
        theta.numbers[(1, 2)] = value;
        bad.write(dir, &manifest(), &mut log).expect("written");
        says("NaN or infinity");
    }
    let with_examples = |change: &dyn Fn(&mut Vec<ndarray::Array2<f32>>), log: &mut MetricsLog| {
        let mut bad = kept.clone();
        change(bad.examples.get_mut(&0).expect("states of examples"));
        bad.write(dir, &manifest(), log).expect("written");
    };
    let (rows, columns) = kept.examples[&0][0].dim();
    with_examples(&|all| all[0] = ndarray::Array2::zeros((rows - 1, columns)), &mut log);
    says("shape");
    with_examples(&|all| all[0] = ndarray::Array2::zeros((rows, columns + 1)), &mut log);
    says("shape");
    with_examples(&|all| all.clear(), &mut log);
    says("per-example states");
    kept.write(dir, &manifest(), &mut log).expect("written");
    // A type that is not float32.
    replace_state(dir, |bytes| {
        let at = bytes.windows(3).position(|w| w == b"F32").expect("a type");
        bytes[at] = b'I';
    });
    says("state-20.safetensors");
}

/// A pipe in the place of a file of the checkpoint is not waited for, and a device not read; links are not followed.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_read() {
    let training = training("bp", |_| ());
    let plan = training.plan(&training.shown(&data()).expect("data")).expect("a plan");
    for name in ["state-20.safetensors", "metrics-1.csv", CHECKPOINT_FILE] {
        for device in [false, true] {
            let (folder, _, _) = in_folder(&training);
            let at = folder.path().join(name);
            std::fs::remove_file(&at).expect("removed");
            if device {
                std::os::unix::fs::symlink("/dev/zero", &at).expect("linked");
            } else {
                assert!(std::process::Command::new("mkfifo").arg(&at).status().expect("mkfifo").success());
            }
            let read = Manifest::read(folder.path())
                .and_then(|manifest| Checkpoint::read(folder.path(), &manifest, &plan, &samples(&training)));
            let error = read.expect_err("refused");
            assert!(error.exit_code() == 4 && error.to_string().contains(name), "{error}");
        }
    }
}

/// A manifest that cannot be replaced leaves no state behind, however often it is tried, and the checkpoint before stays.
#[test]
fn a_checkpoint_that_cannot_be_kept_leaves_nothing() {
    let training = training("bp", |_| ());
    let (_, kept) = train(&training, &cpu(1), None, 5);
    let folder = tempfile::tempdir().expect("a folder");
    let names = || {
        let entries = std::fs::read_dir(folder.path()).expect("there");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("one").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    std::fs::create_dir(folder.path().join(CHECKPOINT_FILE)).expect("in the way");
    let mut log = MetricsLog::new(folder.path());
    for checkpoint in &kept[..2] {
        let error = checkpoint.write(folder.path(), &manifest(), &mut log).expect_err("in the way");
        assert_eq!(error.exit_code(), 1);
    }
    assert_eq!(names(), [CHECKPOINT_FILE, "metrics-1.csv"]);
    std::fs::remove_dir(folder.path().join(CHECKPOINT_FILE)).expect("removed");
    kept[2].write(folder.path(), &manifest(), &mut log).expect("written");
    // The one before stays where a link is in the way of the next manifest's.
    let before = names();
    assert_eq!(before, [CHECKPOINT_FILE, "metrics-1.csv", "state-15.safetensors"]);
    #[cfg(unix)]
    {
        let path = folder.path().join(CHECKPOINT_FILE);
        std::fs::rename(&path, folder.path().join("kept")).expect("moved");
        std::os::unix::fs::symlink(folder.path().join("kept"), &path).expect("linked");
        kept[3].write(folder.path(), &manifest(), &mut log).expect_err("a link");
        std::fs::rename(folder.path().join("kept"), &path).expect("moved back");
        assert_eq!(names(), before);
    }
}

/// What a checkpoint writes does not grow with the epochs before it: only the log does, and it is appended to.
#[test]
fn a_checkpoint_is_as_large_after_any_number_of_epochs() {
    let training = training("bp", |_| ());
    let (folder, mut checkpoint, mut log) = in_folder(&training);
    let length = |name: &str| std::fs::metadata(folder.path().join(name)).expect("there").len();
    let (manifest_before, log_before) = (length(CHECKPOINT_FILE), length("metrics-1.csv"));
    let last = checkpoint.progress.rows.last().expect("a row").clone();
    for epoch in last.metrics.epoch + 1..=5000 {
        let metrics = zilch::train::EpochMetrics { epoch, ..last.metrics };
        checkpoint.progress.push(zilch::train::EpochRow { metrics, ..last.clone() });
    }
    checkpoint.write(folder.path(), &manifest(), &mut log).expect("written");
    assert!(length(CHECKPOINT_FILE) < manifest_before + 64, "{}", length(CHECKPOINT_FILE));
    assert!(length("metrics-1.csv") > 1000 * log_before);
    let found = Manifest::read(folder.path()).expect("a manifest");
    assert_eq!(MetricsLog::read(folder.path(), &found.metrics).expect("rows"), *checkpoint.progress.rows);
}

/// An epoch that was stopped while its tasks were tested is tested when the run goes on, the last one too.
#[test]
fn an_epoch_stopped_in_its_tests_is_tested_later() {
    let task =
        |classes: &[u8]| Task { subset: Subset { classes: Some(classes.to_vec()), ..Subset::default() }, epochs: 1 };
    let tasks = Tasks { tasks: vec![task(&[0, 1]), task(&[2, 1])], test: Tested::Every };
    let training = training("bp", |t| {
        t.tasks = Some(tasks);
        t.batch = 4;
    });
    let (whole, _) = train(&training, &cpu(1), None, 1000);
    let data = data();
    let total = training.total(&training.shown(&data).expect("data"));
    for last in [total, training.total(&training.shown(&data).expect("data")) - 1] {
        let stop = AtomicBool::new(false);
        let mut kept = Vec::new();
        let mut with = |checkpoint: &Checkpoint| kept.push(checkpoint.clone());
        let keep = Keep { every: None, with: &mut with, best: &mut |_: &Weights| () };
        let mut watch = |event: Event| {
            if matches!(event, Event::Updates(made, ..) if made >= last) {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let part = training.go_on(&cpu(1), &data, None, &stop, &mut watch, Some(keep)).expect("trained");
        assert_eq!(part.metrics.len(), part.tested.len(), "rows are whole");
        assert!(part.stopped.is_some() && kept.len() == 1);
        let (rest, _) = train(&training, &cpu(1), kept.pop(), 1000);
        equal(&rest, &whole, &format!("stopped after {last}"));
    }
}

/// An energy that is infinite, for which JSON has no word.
#[test]
fn an_infinite_energy_comes_back() {
    let training = training("bp", |_| ());
    let (_, kept) = train(&training, &cpu(1), None, 20);
    let plan = training.plan(&training.shown(&data()).expect("data")).expect("a plan");
    let folder = tempfile::tempdir().expect("a folder");
    let mut checkpoint = kept[0].clone();
    Arc::make_mut(&mut checkpoint.progress.rows)[0].metrics.train_energy = f64::INFINITY;
    checkpoint.write(folder.path(), &manifest(), &mut MetricsLog::new(folder.path())).expect("written");
    let manifest = Manifest::read(folder.path()).expect("a manifest");
    let back = Checkpoint::read(folder.path(), &manifest, &plan, &samples(&training)).expect("a state");
    assert_eq!(back.progress.rows[0].metrics.train_energy, f64::INFINITY);
    assert_eq!(back.progress, checkpoint.progress);
}
