//! The folder of a run, `--out DIR`: weights, metrics, and the settings of the run.

use super::metrics::{EpochRow, METRICS_FILE, is_log, metrics_csv, parse_metrics};
use crate::error::{Error, Result};
use crate::files::{Links, few, is_temporary, make_folder, read_bounded, write_with};
use crate::network::write_with_links;
use crate::network::{Network, Weights};
use crate::train::Trained;
use crate::train::checkpoint::{CHECKPOINT_FILE, is_state};
use serde_json::{Map, Value};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// File name of the final weights.
pub const WEIGHTS_FILE: &str = "weights.safetensors";
/// File name of the weights of the best epoch. Only runs with checkpoints or `--patience` write it.
pub const BEST_FILE: &str = "best.safetensors";
/// File name of the plot of metrics over epochs. Only runs with probes write it.
pub const CURVES_FILE: &str = "curves.svg";
/// File name of the JSON record of a run: its settings and results.
pub const RUN_FILE: &str = "run.json";

/// The largest `run.json` that is read or written, in bytes.
const MAX_RUN_FILE: u64 = 1 << 24;

/// The folder of a run. Each file in it is written atomically.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    settings: Value,
    /// The files that [`RunFolder::abandon`] removes.
    created: Created,
    /// Whether the folder holds an earlier run that trained to its end.
    finished: bool,
    /// The lock on the folder, held while the run writes here; `None` where folders cannot be locked.
    lock: Option<Arc<fs::File>>,
}

/// The option that named the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// `--out`: a new run.
    Out,
    /// `--resume`: a run that continues from its checkpoint.
    Resume,
}

/// What [`RunFolder::create`] created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Created {
    /// Nothing: the folder holds an earlier run with equal settings.
    Nothing,
    /// The `run.json`, in an empty folder.
    Run,
    /// The folder and its `run.json`.
    Folder,
}

impl RunFolder {
    /// Opens the folder `dir` for a run with these `settings`, and creates it and its parents if it is missing.
    ///
    /// The folder may be empty, or hold an earlier run with equal settings. The new files then replace the earlier ones one by one.
    /// A first `run.json` is written at once. A folder that cannot be written is thus reported before training, and an interrupted
    /// run can be restarted.
    ///
    /// # Errors
    /// [`Error::Usage`] when `dir` is not a folder, or holds anything else; [`Error::Io`] when it cannot be created, read or written.
    pub fn create(dir: &Path, settings: &Value) -> Result<Self> {
        RunFolder::open(dir, settings, Named::Out)
    }

    /// Opens the folder of a run that continues from its checkpoint. Its `run.json` may be missing or damaged, since the checkpoint
    /// holds everything that the run needs.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn resume(dir: &Path, settings: &Value) -> Result<Self> {
        RunFolder::open(dir, settings, Named::Resume)
    }

    fn open(dir: &Path, settings: &Value, named: Named) -> Result<Self> {
        if dir.as_os_str().is_empty() {
            return Err(Error::usage("--out takes the name of a folder; the name given is empty"));
        }
        let new = make_folder(dir)?;
        let lock = lock(dir)?;
        let (temporary, names): (Vec<String>, Vec<String>) =
            entries(dir).map_err(|e| Error::io(dir, e))?.into_iter().partition(|name| is_temporary(name));
        let created = match (new, names.is_empty()) {
            (true, _) => Created::Folder,
            (false, true) => Created::Run,
            (false, false) => Created::Nothing,
        };
        let mut folder = RunFolder { path: dir.to_owned(), settings: settings.clone(), created, finished: false, lock };
        folder.check_files(&names, named)?;
        let first = match named {
            _ if names.is_empty() => None,
            Named::Resume => folder.resumed_run()?,
            Named::Out => Some(folder.earlier_run(&names)?),
        };
        let first = first.unwrap_or_else(|| Value::Object(Map::new()));
        // A killed process left these files, perhaps before its first `run.json`. The lock guarantees that no process writes them now.
        for name in &temporary {
            let _ = fs::remove_file(dir.join(name));
        }
        folder.finished = first.get("stopped").is_some_and(Value::is_null);
        folder.write_run(&first)?;
        Ok(folder)
    }

    /// Whether the folder holds an earlier run with equal settings that trained to its end. A run that stops early must not
    /// replace it.
    pub fn holds_finished_run(&self) -> bool {
        self.finished
    }

    /// Removes the files that [`RunFolder::create`] created; files of an earlier run are kept. It is called when a run
    /// fails before it has results. Otherwise the folder would block an attempt with other settings.
    pub fn abandon(&self) {
        // A run with a checkpoint can be resumed. A folder that now belongs to another run is not changed.
        if self.is_ours().is_err() || self.path.join(CHECKPOINT_FILE).exists() {
            return;
        }
        // Errors are ignored here, because the failure of the run is the error to report.
        if self.created != Created::Nothing {
            let _ = fs::remove_file(self.path.join(RUN_FILE));
        }
        if self.created == Created::Folder {
            let _ = fs::remove_dir(&self.path);
        }
    }

    /// Checks that the path still names the folder that was opened. The folder may have been moved, and another run may
    /// have created a folder of the same name. The check is available on systems on which folders have an identity
    /// (Unix).
    ///
    /// # Errors
    /// [`Error::Io`] when the path names another folder or none.
    pub fn is_ours(&self) -> Result<()> {
        let Some(taken) = &self.lock else { return Ok(()) };
        if same_file(taken, &self.path) {
            return Ok(());
        }
        let why = "this is no longer the folder in which the run started: it was moved, removed or replaced";
        Err(Error::io(&self.path, io::Error::new(ErrorKind::NotFound, why)))
    }

    /// Replaces the settings of the run in `run.json`, after `store` has written them to the checkpoint. A crash at any point leaves a run
    /// that can be resumed: without `run.json` the checkpoint holds everything.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be written; the errors of `store`.
    pub fn replace_settings(&mut self, settings: &Value, store: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.is_ours()?;
        let path = self.path.join(RUN_FILE);
        fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        store(&self.path)?;
        self.settings = settings.clone();
        self.write_run(&Value::Object(Map::new()))
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `run.json`: the object `run`, with the settings under the key `settings`. A value that is not an object is written
    /// under the key `run`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written; [`Error::Usage`] when it would exceed the limit for reading it back.
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
                "the settings of this run take {} bytes in run.json, and the limit is {MAX_RUN_FILE}: shorten --tasks or --layers",
                text.len()
            )));
        }
        write_with(&path, Links::Refused, |out| out.write_all(&text))
    }

    /// Writes `metrics.csv`: a header and one row per epoch. A row has the metrics of the epoch and, where the run has them, the
    /// test error per task, the held-out error and the probed values. Each value has the fewest digits that parse back to the same float.
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

    /// Refuses a folder in which one of the file names of zilch belongs to a link, a pipe, a folder or a device.
    fn check_files(&self, names: &[String], named: Named) -> Result<()> {
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
                    "a link, and zilch does not write through links here"
                } else {
                    "not a regular file"
                };
                let (option, advice) = match named {
                    Named::Out => ("--out", "Remove it, or choose another folder"),
                    Named::Resume => ("--resume", "Restore the file of the run, or remove it"),
                };
                let dir = self.path.display();
                return Err(Error::usage(format!("{option} {dir}: {name} in it is {what}. {advice}")));
            }
        }
        Ok(())
    }

    /// The `run.json` of a run that continues; `None` if it is missing or damaged, since the checkpoint holds the settings too.
    ///
    /// # Errors
    /// [`Error::Data`] if it has settings other than the checkpoint.
    fn resumed_run(&self) -> Result<Option<Value>> {
        let path = self.path.join(RUN_FILE);
        let run = read_json(&path).filter(|run| run.get("settings").is_some_and(Value::is_object));
        match run.as_ref().and_then(|run| run.get("settings")) {
            Some(theirs) if *theirs != reread(&self.settings) => Err(Error::data(
                &path,
                format!(
                    "--resume: these settings are not those of {CHECKPOINT_FILE} beside it. If they are of another run, restore the file; \
                     if the file is damaged, remove it, and the run continues from {CHECKPOINT_FILE}"
                ),
            )),
            _ => Ok(run),
        }
    }

    /// The `run.json` of an earlier run with equal settings. `names` are the files in the folder.
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

/// The record of a finished run with these settings, if the folder holds one: its `run.json`, extended by the lists of
/// [`metrics_json`].
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

/// The lists over epochs that `--json` adds to the contents of `run.json`: `epochs`, `tested`, `held_out` and `probes`, each with
/// one element per epoch.
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

/// How often a held lock is tried again, every 10 ms. A child process that another thread has forked holds the locks of this process
/// until its program starts.
const LOCK_TRIES: u32 = 20;

/// Locks the folder for this process. Returns `None` on a file system without locks, where nothing prevents concurrent runs.
///
/// # Errors
/// [`Error::Usage`] when another process holds the lock.
pub fn lock(dir: &Path) -> Result<Option<Arc<fs::File>>> {
    let Ok(file) = fs::File::open(dir) else { return Ok(None) };
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(Some(Arc::new(file))),
            Err(fs::TryLockError::Error(_)) => return Ok(None),
            Err(fs::TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    Err(Error::usage(format!(
        "another zilch is writing into {}; wait until it ends, or choose another --out",
        dir.display()
    )))
}

/// Whether `path` names the open file `file`.
#[cfg(unix)]
fn same_file(file: &fs::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: io::Result<fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    place(file.metadata()).is_some_and(|taken| place(fs::metadata(path)) == Some(taken))
}

/// Always true: this system cannot open folders, so that their identity is unknown.
#[cfg(not(unix))]
fn same_file(_file: &fs::File, _path: &Path) -> bool {
    true
}

/// The file names in the folder, sorted.
fn entries(dir: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|e| e.file_name().to_string_lossy().into_owned());
    let mut names = fs::read_dir(dir)?.map(name).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Parses a regular file of at most [`MAX_RUN_FILE`] bytes as JSON.
fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read_bounded(path, MAX_RUN_FILE, Links::Refused).ok()?).ok()
}

/// The settings after a round trip through JSON. Parsing may change the last bit of a float, so settings are compared
/// after both have been parsed.
fn reread(settings: &Value) -> Value {
    serde_json::from_str(&settings.to_string()).unwrap_or_else(|_| settings.clone())
}
