//! The folder of a run, `--out DIR`: its weights, its metrics, and every option that led to them.

use super::metrics::{EpochRow, METRICS_FILE, is_log, metrics_csv, parse_metrics};
use crate::error::{Error, Result};
use crate::files::{Links, few, is_temporary, read_bounded, write_with};
use crate::network::write_with_links;
use crate::network::{Network, Weights};
use crate::train::Trained;
use crate::train::checkpoint::{CHECKPOINT_FILE, is_state};
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the weights in a run's folder.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// The name of the weights of the best epoch, in the folder of a run with checkpoints.
pub const BEST_FILE: &str = "best.safetensors";
/// The name of the curves over epochs, in the folder of a run with probes.
pub const CURVES_FILE: &str = "curves.svg";
/// The name of the record of a run in its folder.
pub const RUN_FILE: &str = "run.json";

/// The most bytes of a `run.json` that are looked at.
const MAX_RUN_FILE: u64 = 1 << 24;

/// The folder that a run writes its files to, each of them whole or not at all.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    settings: Value,
    /// What [`RunFolder::abandon`] takes back.
    made: Made,
    /// Whether it holds the files of an earlier run that was trained to its end.
    finished: bool,
    /// Held for as long as the run writes here, where a folder can be locked.
    lock: Option<Arc<fs::File>>,
}

/// The option that names the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// `--out`, for a run that begins.
    Out,
    /// `--resume`, for one that goes on.
    Resume,
}

/// How much of a run's folder is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// Nothing: it holds an earlier run with equal settings.
    Nothing,
    /// The first `run.json`.
    Run,
    /// The folder and the first `run.json`.
    Folder,
}

impl RunFolder {
    /// Takes the folder `dir`, making it (and those above it) when absent, for a run with these `settings`.
    ///
    /// The folder may be empty, or hold an earlier run with equal settings, whose files the new ones then
    /// replace one by one. A first `run.json` is written at once: what cannot be written is found out before
    /// training, and an interrupted run can be started again.
    ///
    /// # Errors
    /// [`Error::Usage`] when the folder holds anything else; [`Error::Io`] when `dir` is no folder or cannot be
    /// made, read or written.
    pub fn create(dir: &Path, settings: &Value) -> Result<Self> {
        RunFolder::open(dir, settings, Asked::Out)
    }

    /// Takes the folder of a run that goes on from the checkpoint in it. Its `run.json` may be missing or damaged: a checkpoint holds
    /// all that a run needs.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn resume(dir: &Path, settings: &Value) -> Result<Self> {
        RunFolder::open(dir, settings, Asked::Resume)
    }

    fn open(dir: &Path, settings: &Value, asked: Asked) -> Result<Self> {
        if dir.as_os_str().is_empty() {
            return Err(Error::usage("--out needs the name of a folder; it is empty"));
        }
        let new = make(dir).map_err(|e| Error::io(dir, e))?;
        let lock = lock(dir)?;
        let (temporary, names): (Vec<String>, Vec<String>) =
            entries(dir).map_err(|e| Error::io(dir, e))?.into_iter().partition(|name| is_temporary(name));
        let made = match (new, names.is_empty()) {
            (true, _) => Made::Folder,
            (false, true) => Made::Run,
            (false, false) => Made::Nothing,
        };
        let mut folder = RunFolder { path: dir.to_owned(), settings: settings.clone(), made, finished: false, lock };
        folder.refuse_what_is_no_file(&names, asked)?;
        let first = match asked {
            _ if names.is_empty() => None,
            Asked::Resume if read_json(&dir.join(RUN_FILE)).is_none() => None,
            _ => Some(folder.earlier_run(&names)?),
        };
        let first = first.unwrap_or_else(|| Value::Object(Map::new()));
        // A process that was killed left them, perhaps before its first `run.json`. The lock says that nobody writes them now.
        for name in &temporary {
            let _ = fs::remove_file(dir.join(name));
        }
        folder.finished = first.get("stopped").is_some_and(Value::is_null);
        folder.write_run(&first)?;
        Ok(folder)
    }

    /// Whether it holds an earlier run with equal settings that was trained to its end: one that is stopped
    /// early must not replace it.
    pub fn holds_finished_run(&self) -> bool {
        self.finished
    }

    /// Takes back what [`RunFolder::create`] made, for a run that failed before it had anything to write: the
    /// folder would otherwise stand in the way of the next try. An earlier run's files stay.
    pub fn abandon(&self) {
        // With a checkpoint it can go on; and what is another run's by now is left alone.
        if self.is_ours().is_err() || self.path.join(CHECKPOINT_FILE).exists() {
            return;
        }
        // The failure that brought us here is the one to report.
        if self.made != Made::Nothing {
            let _ = fs::remove_file(self.path.join(RUN_FILE));
        }
        if self.made == Made::Folder {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Checks that its name still leads to the folder that was taken: it may have been moved, and another run may have made one of that
    /// name. (Where folders can be told apart.)
    ///
    /// # Errors
    /// [`Error::Io`] when it does not.
    pub fn is_ours(&self) -> Result<()> {
        let Some(taken) = &self.lock else { return Ok(()) };
        if same_file(taken, &self.path) {
            return Ok(());
        }
        let why = "this is not the folder that the run began with any more: it was moved, removed or replaced";
        Err(Error::io(&self.path, io::Error::new(ErrorKind::NotFound, why)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json`: the object `run`, with the settings under `settings`. (Anything but an object is
    /// written under `run`.)
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; [`Error::Usage`] when it would be larger than what is read back.
    pub fn write_run(&self, run: &Value) -> Result<()> {
        self.is_ours()?;
        let mut object = match run {
            Value::Object(object) => object.clone(),
            other => Map::from_iter([("run".to_owned(), other.clone())]),
        };
        object.insert("settings".to_owned(), self.settings.clone());
        let path = self.path.join(RUN_FILE);
        let mut text = serde_json::to_vec_pretty(&object).map_err(|e| Error::io(&path, e.into()))?;
        text.push(b'\n');
        if text.len() as u64 > MAX_RUN_FILE {
            return Err(Error::usage(format!(
                "the settings of this run take {} bytes in run.json, which has at most {MAX_RUN_FILE}: make --tasks or --layers shorter",
                text.len()
            )));
        }
        write_with(&path, Links::Refused, |out| out.write_all(&text))
    }

    /// Writes `metrics.csv`: a header, and one line per epoch, with the test error of every task and the held-out error, where there
    /// are such, and what was probed then. A number is written with the fewest digits that read back as the same number.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write_metrics(&self, trained: &Trained) -> Result<()> {
        self.is_ours()?;
        let text = metrics_csv(&trained.rows());
        write_with(&self.path.join(METRICS_FILE), Links::Refused, |out| out.write_all(text.as_bytes()))
    }

    /// Writes `curves.svg`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write_curves(&self, svg: &str) -> Result<()> {
        write_with(&self.path.join(CURVES_FILE), Links::Refused, |out| out.write_all(svg.as_bytes()))
    }

    /// Writes `best.safetensors`: the weights of the best epoch so far.
    ///
    /// # Errors
    /// As [`crate::network::write_weights`].
    pub fn write_best(&self, network: &Network, weights: &Weights) -> Result<()> {
        self.is_ours()?;
        write_with_links(&self.path.join(BEST_FILE), Links::Refused, network, weights)
    }

    /// Writes `weights.safetensors`.
    ///
    /// # Errors
    /// As [`crate::network::write_weights`].
    pub fn write_weights(&self, network: &Network, weights: &Weights) -> Result<()> {
        self.is_ours()?;
        write_with_links(&self.path.join(WEIGHTS_FILE), Links::Refused, network, weights)
    }

    /// Refuses a folder where the name of one of the run's files belongs to a link, a pipe, a folder or a device.
    fn refuse_what_is_no_file(&self, names: &[String], asked: Asked) -> Result<()> {
        let ours = |name: &&String| {
            [RUN_FILE, METRICS_FILE, CURVES_FILE, WEIGHTS_FILE, BEST_FILE, CHECKPOINT_FILE].contains(&name.as_str())
                || is_state(name)
                || is_log(name)
        };
        for name in names.iter().filter(ours) {
            let path = self.path.join(name);
            let found = fs::symlink_metadata(&path).map_err(|e| Error::io(&path, e))?;
            if !found.is_file() {
                let what = if found.is_symlink() {
                    "a link, which zilch does not write through"
                } else {
                    "not a regular file"
                };
                let (option, advice) = match asked {
                    Asked::Out => ("--out", "Remove it, or choose another folder"),
                    Asked::Resume => ("--resume", "Put the run's own file in its place, or remove it"),
                };
                let dir = self.path.display();
                return Err(Error::usage(format!("{option} {dir}: {name} in it is {what}. {advice}")));
            }
        }
        Ok(())
    }

    /// The `run.json` of an earlier run with equal settings in this folder, which holds `names`.
    fn earlier_run(&self, names: &[String]) -> Result<Value> {
        let run = read_json(&self.path.join(RUN_FILE));
        let theirs = run.as_ref().and_then(|r| r.get("settings"));
        if let (Some(run), true) = (&run, theirs == Some(&reread(&self.settings))) {
            return Ok(run.clone());
        }
        let holds = if theirs.is_some() { " of a run with other settings" } else { "" };
        Err(Error::usage(format!(
            "--out {}: the folder is not empty; it holds {}{holds}. Choose another folder, or remove this one",
            self.path.display(),
            few(names)
        )))
    }
}

/// The record of a run with these settings that was trained to its end, if that is what a folder holds: its `run.json`, with the
/// epochs of its `metrics.csv` as [`metrics_json`] has them.
pub fn finished_run(dir: &Path, settings: &Value) -> Option<Value> {
    let mut run = read_json(&dir.join(RUN_FILE))?;
    let finished = run.get("stopped").is_some_and(Value::is_null);
    if !finished || run.get("settings") != Some(&reread(settings)) {
        return None;
    }
    let bytes = read_bounded(&dir.join(METRICS_FILE), u64::MAX, Links::Refused).ok()?;
    let rows = parse_metrics(std::str::from_utf8(&bytes).ok()?).ok()?;
    run.as_object_mut()?.extend(metrics_json(&rows));
    Some(run)
}

/// What `--json` prints of epochs beside the contents of `run.json`: `epochs`, `tested`, `held_out` and `probes`, a list each, with an
/// element per epoch.
pub fn metrics_json(rows: &[EpochRow]) -> Map<String, Value> {
    let tested: Vec<_> = rows.iter().map(|row| &row.tested).filter(|errors| !errors.is_empty()).collect();
    let held: Vec<f64> = rows.iter().filter_map(|row| row.held).collect();
    let probed: Vec<_> = rows.iter().map(|row| &row.probed).filter(|probed| !probed.is_empty()).collect();
    let lists = serde_json::json!({
        "epochs": rows.iter().map(|row| row.metrics).collect::<Vec<_>>(),
        "tested": (!tested.is_empty()).then_some(tested),
        "held_out": (!held.is_empty()).then_some(held),
        "probes": probed,
    });
    if let Value::Object(lists) = lists { lists } else { Map::new() }
}

/// Makes the folder unless it is there, and tells whether it did.
fn make(dir: &Path) -> io::Result<bool> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(false),
        Ok(_) => Err(io::Error::new(ErrorKind::NotADirectory, "this is a file, and --out takes a folder")),
        Err(error) if error.kind() == ErrorKind::NotFound => fs::create_dir_all(dir).map(|()| true),
        Err(error) => Err(error),
    }
}

/// Takes the folder for this process alone. A file system that knows no locks keeps nobody away.
///
/// # Errors
/// [`Error::Usage`] when another process has it.
pub fn lock(dir: &Path) -> Result<Option<Arc<fs::File>>> {
    let Ok(file) = fs::File::open(dir) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(Arc::new(file))),
        Err(fs::TryLockError::WouldBlock) => Err(Error::usage(format!(
            "another zilch is writing into {}; wait for its end, or choose another --out",
            dir.display()
        ))),
        Err(fs::TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether a path leads to an open file.
#[cfg(unix)]
fn same_file(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    place(file.metadata()).is_some_and(|taken| place(fs::metadata(path)) == Some(taken))
}

/// Taken to be so: this system opens no folders.
#[cfg(not(unix))]
fn same_file(_file: &fs::File, _path: &Path) -> bool {
    true
}

/// The names in the folder, sorted.
fn entries(dir: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names = fs::read_dir(dir)?.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// The JSON in a regular file of bearable size, if that is what is there.
fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read_bounded(path, MAX_RUN_FILE, Links::Refused).ok()?).ok()
}

/// The settings as they come back from a file. Reading may round a number's last bit, so settings are
/// compared after both have been through it.
fn reread(settings: &Value) -> Value {
    serde_json::from_str(&settings.to_string()).unwrap_or_else(|_| settings.clone())
}
