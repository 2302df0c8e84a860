//! Finds runs and reads their folders. It only reads and takes no lock, so that it does not disturb a run that starts
//! at the same time.

use super::{Epoch, Metric, Run, State, is_plain};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use zilch::error::{Error, Result};
use zilch::files::{Links, read_bounded, shown, words_of_json};
use zilch::train::checkpoint::CHECKPOINT_FILE;
use zilch::train::{EpochMetrics, METRICS_FILE, RUN_FILE, is_log, read_epochs};

/// The maximum depth of subfolders that are searched.
pub const MAX_DEPTH: usize = 16;
/// The largest size of a file in bytes.
const MOST_BYTES: u64 = 1 << 26;

/// The result of a search.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The runs, sorted by folder.
    pub runs: Vec<Run>,
    /// Files and folders that could not be read or do not belong to a run.
    pub skipped: Vec<Skipped>,
}

/// A file or folder that was skipped.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Skipped {
    /// Its path.
    #[serde(serialize_with = "zilch::files::words::lossy")]
    pub path: PathBuf,
    /// Why it was skipped.
    pub why: String,
}

/// The fields of `run.json` that are used here.
#[derive(Deserialize)]
struct Record {
    settings: Map<String, Value>,
    updates: Option<u64>,
    seconds: Option<f64>,
    /// Absent until the run ends; null if it finished.
    #[serde(default, deserialize_with = "there")]
    stopped: Option<Option<String>>,
    /// The others are null or of another type in a file of another program; they are then unknown.
    date: Option<Value>,
    arguments: Option<Value>,
    folder: Option<Value>,
    chance: Option<Value>,
}

/// The fields of `checkpoint.json` that are used here.
#[derive(Deserialize)]
struct FoundCheckpoint {
    progress: KeptProgress,
    state: String,
}

#[derive(Deserialize)]
struct KeptProgress {
    updates: u64,
    seconds: Option<f64>,
}

/// Deserializes null as `Some(None)`, to distinguish it from an absent field.
fn there<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Every run in these folders and their subfolders. Symbolic links are not followed. Files and folders that cannot be
/// read are listed in [`Found::skipped`].
///
/// # Errors
/// [`Error::Data`] if one of `folders` is not a folder.
pub fn find(folders: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    let locked = locked();
    for folder in folders {
        if !folder.is_dir() {
            return Err(Error::data(
                folder,
                "this is not a folder; runs are searched for in folders and their subfolders",
            ));
        }
        let mut waiting = vec![(folder.clone(), 0)];
        while let Some((dir, depth)) = waiting.pop() {
            let below = search_folder(&dir, &mut seen, &locked, &mut found);
            if depth < MAX_DEPTH {
                waiting.extend(below.into_iter().map(|dir| (dir, depth + 1)));
            } else if !below.is_empty() {
                found.skip(&dir, format!("its subfolders are not searched: it is {MAX_DEPTH} levels deep"));
            }
        }
    }
    found.runs.sort_by(|a, b| a.folder.cmp(&b.folder));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Searches one folder for a run, and returns its subfolders.
fn search_folder(
    dir: &Path,
    seen: &mut BTreeSet<PathBuf>,
    locked: &BTreeSet<(u64, u64, u64)>,
    found: &mut Found,
) -> Vec<PathBuf> {
    // One of the given folders may lie within another; each folder is searched once.
    if !fs::canonicalize(dir).is_ok_and(|whole| seen.insert(whole)) {
        return Vec::new();
    }
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            found.skip(dir, error.to_string());
            return Vec::new();
        }
    };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let folders = folders.map(|entry| entry.path()).collect();
    let path = dir.join(RUN_FILE);
    if fs::symlink_metadata(&path).is_ok() {
        match run(dir, &path, locked, found) {
            Ok(run) => found.runs.push(run),
            Err(why) => found.skip(&path, why),
        }
    }
    folders
}

impl Found {
    fn skip(&mut self, path: &Path, why: impl Into<String>) {
        self.skipped.push(Skipped { path: path.to_owned(), why: why.into() });
    }
}

/// The run in a folder, or the reason why it is not a run.
fn run(
    dir: &Path,
    path: &Path,
    locked: &BTreeSet<(u64, u64, u64)>,
    found: &mut Found,
) -> std::result::Result<Run, String> {
    let record: Record = read(path)?;
    if !["layers", "rule", "seed"].iter().all(|name| record.settings.contains_key(*name)) {
        return Err("its settings are not those of a training; it belongs to another program".into());
    }
    let under_way = id(dir).is_some_and(|id| locked.contains(&id));
    let state = match record.stopped {
        Some(None) => State::Finished,
        _ if under_way => State::UnderWay,
        Some(Some(why)) => State::Stopped(why),
        None => State::Open,
    };
    let date = record.date.as_ref().and_then(|date| date.as_str()?.parse::<Timestamp>().ok());
    let written = || Timestamp::try_from(fs::symlink_metadata(path).and_then(|found| found.modified()).ok()?).ok();
    let words = record.arguments.as_ref().and_then(Value::as_array).and_then(|words| words_of_json(words));
    let (rows, updates, seconds) = epochs(dir, state != State::Finished, found);
    let metric = rows.last().map_or(Metric::Fraction, Metric::of);
    let of = |row: EpochMetrics| Epoch { epoch: row.epoch, train_energy: row.train_energy, test_error: row.test_error };
    let epochs = rows.into_iter().map(of).collect();
    // A run that was killed has left no other record of its updates than that of its epochs.
    let newer = record.updates.is_none_or(|recorded| updates > recorded);
    let mut run = Run {
        date: date.or_else(written),
        arguments: words.unwrap_or_default(),
        started_in: record.folder.as_ref().and_then(Value::as_str).unwrap_or_default().into(),
        chance: record.chance.as_ref().and_then(Value::as_f64),
        folder: dir.to_owned(),
        settings: flat(record.settings),
        epochs,
        metric,
        updates: record.updates.filter(|_| !newer).unwrap_or(updates),
        seconds: record.seconds.filter(|_| !newer).unwrap_or(seconds),
        state,
        goes_on: false,
    };
    let kept = dir.join(CHECKPOINT_FILE);
    // The checkpoint in the folder of a finished run belongs to a rerun.
    if run.state != State::Finished && fs::symlink_metadata(&kept).is_ok() {
        match read::<FoundCheckpoint>(&kept) {
            Ok(kept) => run.add_checkpoint(dir, kept),
            Err(why) => found.skip(&kept, why),
        }
    }
    Ok(run)
}

impl Run {
    /// Adds the contents of a checkpoint. It may be newer than `run.json`, which has no results until the run ends.
    fn add_checkpoint(&mut self, dir: &Path, kept: FoundCheckpoint) {
        let name = Path::new(&kept.state).file_name().is_some_and(|name| name == kept.state.as_str());
        self.goes_on = name && is_plain(&dir.join(&kept.state));
        let KeptProgress { updates, seconds } = kept.progress;
        if updates > self.updates {
            self.updates = updates;
            self.seconds = seconds.unwrap_or(f64::NAN);
        }
    }
}

/// The epochs of a run, with the updates and seconds until the last one: those of `metrics.csv`, or of a log with more epochs if the run
/// has not finished.
fn epochs(dir: &Path, logs: bool, found: &mut Found) -> (Vec<EpochMetrics>, u64, f64) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let names = entries.filter_map(|name| name.into_string().ok());
    let mut epochs = Vec::new();
    for name in names.filter(|name| name == METRICS_FILE || (logs && is_log(name))) {
        let path = dir.join(name);
        match read_epochs(&path) {
            Ok(rows) if rows.len() > epochs.len() => epochs = rows,
            Ok(_) => {}
            Err(error) => found.skip(&path, error.to_string()),
        }
    }
    let (updates, seconds) = epochs.last().map_or((0, f64::NAN), |row| (row.updates, row.seconds));
    (epochs, updates, seconds)
}

/// The settings as one flat map: the rule's own options, nested under `own` in the file, move to the top level.
pub fn flat(mut settings: Map<String, Value>) -> BTreeMap<String, Value> {
    if let Some(Value::Object(own)) = settings.remove("own") {
        for (name, value) in own {
            // An option with the name of another setting gets the prefix "own".
            let name = if settings.contains_key(&name) { format!("own {name}") } else { name };
            settings.insert(name, value);
        }
    }
    settings.into_iter().collect()
}

/// The JSON of a regular file of at most [`MOST_BYTES`], or why it cannot be read.
fn read<T: DeserializeOwned>(path: &Path) -> std::result::Result<T, String> {
    let bytes = read_bounded(path, MOST_BYTES, Links::Refused).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| format!("it is not a record of a run ({})", shown(&e.to_string())))
}

/// Device (major and minor number) and inode of every file locked by a process of this machine, from `/proc/locks`.
/// Testing a lock by acquiring it could make a run that starts at that moment fail.
fn locked() -> BTreeSet<(u64, u64, u64)> {
    let text =
        if cfg!(target_os = "linux") { fs::read_to_string("/proc/locks").unwrap_or_default() } else { String::new() };
    let file = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "WRITE")?;
        let mut parts = words.get(at + 2)?.split(':');
        let major = u64::from_str_radix(parts.next()?, 16).ok()?;
        let minor = u64::from_str_radix(parts.next()?, 16).ok()?;
        Some((major, minor, parts.next()?.parse().ok()?))
    };
    text.lines().filter_map(file).collect()
}

/// Device (major and minor number) and inode of a folder.
#[cfg(unix)]
fn id(dir: &Path) -> Option<(u64, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(dir).ok()?;
    // The layout in which Linux packs the major and minor number of a device.
    let (dev, inode) = (found.dev(), found.ino());
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
    let minor = (dev & 0xff) | ((dev >> 12) & 0xffff_ff00);
    Some((major, minor, inode))
}

/// None: this system does not list locks.
#[cfg(not(unix))]
fn id(_dir: &Path) -> Option<(u64, u64, u64)> {
    None
}
