//! Finding runs, and reading what their folders tell. Nothing is written and no lock is taken: a run that begins meanwhile is not
//! disturbed.

use super::{Epoch, Run, State, is_plain};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use zilch::error::{Error, Result};
use zilch::files::{Links, read_bounded, shown};
use zilch::train::checkpoint::CHECKPOINT_FILE;
use zilch::train::{EpochMetrics, METRICS_FILE, RUN_FILE, is_log, read_epochs};

/// Folders below a given one that are looked into, one in the other.
pub const MAX_DEPTH: usize = 16;
/// The most bytes of a file that are looked at.
const MOST_BYTES: u64 = 1 << 26;

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Runs, by their folders' names.
    pub runs: Vec<Run>,
    /// What was there and could not be read, or is no run's.
    pub skipped: Vec<Skipped>,
}

/// A file or folder that was left out.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Skipped {
    /// Where it is.
    #[serde(serialize_with = "zilch::files::words::lossy")]
    pub path: PathBuf,
    /// Why it was left out.
    pub why: String,
}

/// What `run.json` holds, as far as it matters here.
#[derive(Deserialize)]
struct Record {
    settings: Map<String, Value>,
    updates: Option<u64>,
    seconds: Option<f64>,
    /// Missing until the run has an end; null where it was trained to its own.
    #[serde(default, deserialize_with = "there")]
    stopped: Option<Option<String>>,
}

/// What `checkpoint.json` holds, as far as it matters here.
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

/// Tells null from what is missing.
fn there<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Every run in and below these folders. Links are not followed; what cannot be read is told and left out.
///
/// # Errors
/// [`Error::Data`] when one of `folders` is no folder.
pub fn find(folders: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    let locked = locked();
    for folder in folders {
        if !folder.is_dir() {
            return Err(Error::data(folder, "this is no folder; runs are looked for in folders and below them"));
        }
        let mut waiting = vec![(folder.clone(), 0)];
        while let Some((dir, depth)) = waiting.pop() {
            let below = look(&dir, &mut seen, &locked, &mut found);
            if depth < MAX_DEPTH {
                waiting.extend(below.into_iter().map(|dir| (dir, depth + 1)));
            } else if !below.is_empty() {
                found.skip(&dir, format!("folders below it are not looked into: it lies {MAX_DEPTH} deep"));
            }
        }
    }
    found.runs.sort_by(|a, b| a.folder.cmp(&b.folder));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Looks into one folder, and returns the folders in it.
fn look(
    dir: &Path,
    seen: &mut BTreeSet<PathBuf>,
    locked: &BTreeSet<(u64, u64, u64)>,
    found: &mut Found,
) -> Vec<PathBuf> {
    // The same folder may be reached from two given ones.
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

/// The run of a folder, or why it is none.
fn run(
    dir: &Path,
    path: &Path,
    locked: &BTreeSet<(u64, u64, u64)>,
    found: &mut Found,
) -> std::result::Result<Run, String> {
    let record: Record = read(path)?;
    if !["layers", "rule", "seed"].iter().all(|name| record.settings.contains_key(*name)) {
        return Err("its settings are not those of a training; it is another program's".into());
    }
    let under_way = id(dir).is_some_and(|id| locked.contains(&id));
    let state = match record.stopped {
        Some(None) => State::Finished,
        _ if under_way => State::UnderWay,
        Some(Some(why)) => State::Stopped(why),
        None => State::Open,
    };
    let mut run = Run {
        folder: dir.to_owned(),
        settings: flat(record.settings),
        epochs: epochs(dir, state != State::Finished, found),
        updates: record.updates.unwrap_or(0),
        seconds: record.seconds.unwrap_or(f64::NAN),
        state,
        goes_on: false,
    };
    let kept = dir.join(CHECKPOINT_FILE);
    // A finished run may have one of its next time.
    if run.state != State::Finished && fs::symlink_metadata(&kept).is_ok() {
        match read::<FoundCheckpoint>(&kept) {
            Ok(kept) => run.take(dir, kept),
            Err(why) => found.skip(&kept, why),
        }
    }
    Ok(run)
}

impl Run {
    /// What the checkpoint tells: it may be newer than `run.json`, or all there is.
    fn take(&mut self, dir: &Path, kept: FoundCheckpoint) {
        let name = Path::new(&kept.state).file_name().is_some_and(|name| name == kept.state.as_str());
        self.goes_on = name && is_plain(&dir.join(&kept.state));
        let KeptProgress { updates, seconds } = kept.progress;
        if updates > self.updates {
            self.updates = updates;
            self.seconds = seconds.unwrap_or(f64::NAN);
        }
    }
}

/// The epochs of a run: those of `metrics.csv`, or of a log that has more where the run has not ended.
fn epochs(dir: &Path, logs: bool, found: &mut Found) -> Vec<Epoch> {
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
    let of = |row: EpochMetrics| Epoch { epoch: row.epoch, train_energy: row.train_energy, test_error: row.test_error };
    epochs.into_iter().map(of).collect()
}

/// Settings with those of the rule's own beside the others.
fn flat(mut settings: Map<String, Value>) -> BTreeMap<String, Value> {
    if let Some(Value::Object(own)) = settings.remove("own") {
        for (name, value) in own {
            // A name that both have stays apart.
            let name = if settings.contains_key(&name) { format!("own {name}") } else { name };
            settings.insert(name, value);
        }
    }
    settings.into_iter().collect()
}

/// The JSON of a regular file of bearable size, or why there is none.
fn read<T: DeserializeOwned>(path: &Path) -> std::result::Result<T, String> {
    let bytes = read_bounded(path, MOST_BYTES, Links::Refused).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| format!("it is no record of a run ({})", shown(&e.to_string())))
}

/// Device and inode of every file that a process of this machine has locked, as Linux lists them. To try the lock would keep a run
/// from beginning at that moment.
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

/// Device and inode of a folder.
#[cfg(unix)]
fn id(dir: &Path) -> Option<(u64, u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = fs::metadata(dir).ok()?;
    // As Linux packs the two numbers of a device.
    let (dev, inode) = (found.dev(), found.ino());
    let major = ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff);
    let minor = (dev & 0xff) | ((dev >> 12) & 0xffff_ff00);
    Some((major, minor, inode))
}

/// Nothing: this system lists no locks.
#[cfg(not(unix))]
fn id(_dir: &Path) -> Option<(u64, u64, u64)> {
    None
}
