//! Runs on the disk: what `zilch train --out` left below some folders, in what they differ, and what several seeds come to.

mod find;
mod picture;

pub use find::{Found, MAX_DEPTH, Skipped, find};
pub use picture::picture;

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use zilch::files::hex;
use zilch::files::shown;
use zilch::statistics::Statistics;

/// A run, as its folder tells.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// Its settings, those of the rule's own among them.
    pub settings: BTreeMap<String, Value>,
    /// Its epochs so far.
    pub epochs: Vec<Epoch>,
    /// Updates made.
    pub updates: u64,
    /// Seconds spent on them; NaN where that is not known.
    pub seconds: f64,
    /// How it ended, if it did.
    pub state: State,
    /// Whether it has a checkpoint that `zilch train --resume` goes on from.
    pub goes_on: bool,
}

/// What an epoch came to. JSON has no NaN and no infinity: both are null there, and NaN here.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: u64,
    /// The mean energy of a training sample.
    pub train_energy: f64,
    /// The share of test samples that are misclassified, from 0 to 1.
    pub test_error: f64,
}

/// How a run ended, if it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It was trained to its end.
    Finished,
    /// It was stopped, for this reason.
    Stopped(String),
    /// A process on this machine writes into the folder.
    UnderWay,
    /// It has no end yet, and whether a process still works on it cannot be told.
    Open,
}

impl Run {
    /// The folder, fit for a terminal.
    pub fn title(&self) -> String {
        shown(&self.folder.display().to_string())
    }

    /// The test error after the last epoch, if there was one.
    pub fn last(&self) -> Option<f64> {
        self.epochs.last().map(|epoch| epoch.test_error)
    }

    /// The smallest test error of all epochs; NaN where all are.
    pub fn best(&self) -> Option<f64> {
        // The smaller one of a number and NaN is the number.
        self.epochs.iter().map(|epoch| epoch.test_error).reduce(f64::min)
    }

    /// A setting; null where the run has none of that name.
    pub fn setting(&self, name: &str) -> &Value {
        self.settings.get(name).unwrap_or(&Value::Null)
    }

    /// The settings that make its bits, with or without the seed.
    fn key(&self, seed: bool) -> String {
        let counts = |name: &str| name != THREADS && (seed || name != SEED);
        let settings: BTreeMap<_, _> = self.settings.iter().filter(|(name, v)| counts(name) && !v.is_null()).collect();
        // Names and values of JSON always are JSON.
        serde_json::to_string(&settings).unwrap_or_default()
    }
}

/// The setting that several runs of one kind differ in.
pub const SEED: &str = "seed";
/// The setting that shows in no run's bits.
const THREADS: &str = "threads";

impl State {
    /// In words; `goes_on` is of the run.
    pub fn words(&self, goes_on: bool) -> String {
        let words = match self {
            State::Finished => "finished".into(),
            State::Stopped(why) => format!("stopped: {why}"),
            State::UnderWay => "under way".into(),
            State::Open => "under way or died".into(),
        };
        match self {
            State::Stopped(_) | State::Open if goes_on => words + "; goes on with --resume",
            _ => words,
        }
    }
}

/// The names of settings in which runs differ, the seed last.
pub fn differing(runs: &[Run]) -> Vec<String> {
    let Some(first) = runs.first() else { return Vec::new() };
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs = |name: &&String| runs.iter().any(|run| run.setting(name) != first.setting(name));
    let mut names: Vec<String> = names.into_iter().filter(differs).cloned().collect();
    names.sort_by_key(|name| name == SEED);
    names
}

/// Runs that differ in nothing but their seed (and in threads, which show in no bits), or that agree in what was asked for.
#[derive(Debug, Clone)]
pub struct Group {
    /// What tells it from other groups: names and values of settings.
    pub settings: Vec<(String, Value)>,
    /// Its runs, by their number in the list.
    pub runs: Vec<usize>,
    /// The last test errors of its finished runs, a repeated one counted once; none, where no run is finished.
    pub errors: Option<Statistics>,
}

impl Group {
    /// What tells it from other groups, in a line.
    pub fn label(&self) -> String {
        if self.settings.is_empty() {
            return "all".into();
        }
        let parts: Vec<String> =
            self.settings.iter().map(|(name, v)| format!("{} {}", shown(name), brief(v))).collect();
        parts.join(", ")
    }
}

/// Puts runs together, in the order of their first ones: by the settings `by`, or by all but the seed where there are none.
pub fn group(runs: &[Run], by: &[String]) -> Vec<Group> {
    let named: Vec<String> = if by.is_empty() {
        differing(runs).into_iter().filter(|name| name != SEED && name != THREADS).collect()
    } else {
        by.to_vec()
    };
    let settings = |run: &Run| named.iter().map(|name| (name.clone(), run.setting(name).clone())).collect::<Vec<_>>();
    let key = |run: &Run| if by.is_empty() { run.key(false) } else { format!("{:?}", settings(run)) };
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let place = *places.entry(key(run)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { settings: settings(run), runs: Vec::new(), errors: None });
        }
        groups[place].runs.push(i);
    }
    for group in &mut groups {
        group.errors = last_errors(group.runs.iter().map(|&i| &runs[i]));
    }
    groups
}

/// The last test errors of finished runs; NaN is that of a run without a number.
fn last_errors<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<Statistics> {
    // The same run twice makes the same bits twice: it is no second sample.
    let mut seen = BTreeSet::new();
    let finished = runs.filter(|run| run.state == State::Finished && seen.insert(run.key(true)));
    Statistics::of(&finished.map(|run| run.last().unwrap_or(f64::NAN)).collect::<Vec<_>>())
}

/// The longest value that is shown whole.
const LONGEST: usize = 36;
/// The longest list of words that is shown whole, as `--layers` takes it.
const LONGEST_WORDS: usize = 120;

/// A setting's value in a few characters: sizes as 784-32-10, other layers as `--layers` takes them, checksums by their beginning, what is long by its beginning and
/// its checksum, so that two values never look alike.
pub fn brief(value: &Value) -> String {
    let mut longest = LONGEST;
    let text = match value {
        Value::Null => "–".to_owned(),
        Value::String(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => text[..8].to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) if !all.is_empty() && all.iter().all(Value::is_u64) => {
            all.iter().map(Value::to_string).collect::<Vec<_>>().join("-")
        }
        Value::Array(all) if !all.is_empty() && all.iter().all(|item| item.is_u64() || item.is_string()) => {
            longest = LONGEST_WORDS;
            let word = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            all.iter().map(word).collect::<Vec<_>>().join(",")
        }
        Value::Object(one) if one.len() == 1 => {
            one.iter().map(|(name, v)| format!("{} {name}", brief(v))).collect::<String>()
        }
        other => other.to_string(),
    };
    if text.chars().count() <= longest {
        return shown(&text);
    }
    let sum = hex(&Sha256::digest(value.to_string().as_bytes()));
    let start: String = text.chars().take(LONGEST - 12).collect();
    format!("{}… {}", shown(&start), &sum[..8])
}

/// Whether a file lies there and is no link.
fn is_plain(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}
