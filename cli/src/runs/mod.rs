//! Runs on disk: finding the folders written by `zilch train --out`, the settings that differ, and statistics over seeds.

mod find;
mod picture;

pub use find::{Found, MAX_DEPTH, Skipped, find, flat};
pub use picture::{panels, picture};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use zilch::files::hex;
use zilch::files::shown;
use zilch::statistics::Statistics;
use zilch::train::EpochMetrics;
use zilch_lab::shell::quoted;

/// A run, read from its folder.
#[derive(Debug, Clone)]
pub struct Run {
    /// The folder.
    pub folder: PathBuf,
    /// The settings, including the rule's own options.
    pub settings: BTreeMap<String, Value>,
    /// The finished epochs.
    pub epochs: Vec<Epoch>,
    /// What its test error measures.
    pub metric: Metric,
    /// The number of updates.
    pub updates: u64,
    /// The training time in seconds; NaN if unknown.
    pub seconds: f64,
    /// Whether and how it has ended.
    pub state: State,
    /// Whether it has a checkpoint that `zilch train --resume` can continue from.
    pub goes_on: bool,
    /// When it ended, or when its `run.json` was written last; `None` if unknown.
    pub date: Option<Timestamp>,
    /// The arguments of `zilch train`; empty if unknown.
    pub arguments: Vec<OsString>,
    /// The folder in which it was started, which its relative paths begin at.
    pub started_in: PathBuf,
    /// The error of always answering the most frequent class of the test set; `None` if the run does not say it.
    pub chance: Option<f64>,
}

/// The metrics of an epoch. JSON can represent neither NaN nor infinity. The files have null for both, which is read as
/// NaN.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// The index of the epoch, from 1.
    pub epoch: u64,
    /// The mean energy per training sample.
    pub train_energy: f64,
    /// The value of the run's [`Metric`] on the test set.
    pub test_error: f64,
}

/// What the test error of a run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// The fraction of misclassified samples, from 0 to 1.
    Fraction,
    /// The mean squared error of real targets.
    Mse,
}

impl Metric {
    /// The metric of an epoch.
    pub fn of(row: &EpochMetrics) -> Metric {
        if row.test_r2.is_some() { Metric::Mse } else { Metric::Fraction }
    }
}

/// What a run is in one word or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// The training is complete.
    Finished,
    /// The training is complete, and the network is no better than a constant answer.
    AtChance,
    /// The training ended in NaN or infinite weights.
    Diverged,
    /// A signal or a time limit ended the training.
    Interrupted,
    /// Another failure ended the training.
    Stopped,
    /// A process on this machine trains.
    UnderWay,
    /// The training has not ended, and it is unknown whether a process still runs it.
    Open,
}

impl Status {
    /// The status as text.
    pub fn name(self) -> &'static str {
        match self {
            Status::Finished => "finished",
            Status::AtChance => "at chance",
            Status::Diverged => "diverged",
            Status::Interrupted => "interrupted",
            Status::Stopped => "stopped",
            Status::UnderWay => "under way",
            Status::Open => "under way or died",
        }
    }
}

/// A test error above chance − `NEAR` counts as nothing learned.
const NEAR: f64 = 0.01;
/// The same for runs that do not say what chance is. Classes are then taken to be equally frequent, which they are not
/// exactly.
const NEAR_EQUAL: f64 = 0.02;

/// Whether and how a run has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The training is complete.
    Finished,
    /// The training stopped early, for this reason.
    Stopped(String),
    /// A process on this machine writes to the folder.
    UnderWay,
    /// The training has not ended, and it is unknown whether a process still runs it.
    Open,
}

impl Run {
    /// The folder, with control characters escaped.
    pub fn title(&self) -> String {
        shown(&self.folder.display().to_string())
    }

    /// The test error after the last epoch, if any.
    pub fn last(&self) -> Option<f64> {
        self.epochs.last().map(|epoch| epoch.test_error)
    }

    /// The smallest test error of all epochs; NaN if all errors are NaN.
    pub fn best(&self) -> Option<f64> {
        // `f64::min` ignores a NaN operand.
        self.epochs.iter().map(|epoch| epoch.test_error).reduce(f64::min)
    }

    /// The value of a setting; null if the run does not have it.
    pub fn setting(&self, name: &str) -> &Value {
        self.settings.get(name).unwrap_or(&Value::Null)
    }

    /// What the run is in one word or two.
    pub fn status(&self) -> Status {
        match &self.state {
            State::Finished if self.is_at_chance() => Status::AtChance,
            State::Finished => Status::Finished,
            State::UnderWay => Status::UnderWay,
            State::Open => Status::Open,
            // The texts of `Error::Diverged` and `Error::Interrupted`.
            State::Stopped(why) if why.starts_with("training diverged") => Status::Diverged,
            State::Stopped(why) if why.starts_with("interrupted") || why.starts_with("--max-time") => {
                Status::Interrupted
            }
            State::Stopped(_) => Status::Stopped,
        }
    }

    /// Whether the last test error is that of a constant answer.
    fn is_at_chance(&self) -> bool {
        let Some(error) = self.last().filter(|_| self.metric == Metric::Fraction) else { return false };
        let (chance, near) = match self.chance {
            Some(chance) => (chance, NEAR),
            None => (self.classes().map_or(0.0, |classes| 1.0 - 1.0 / classes), NEAR_EQUAL),
        };
        chance > near && error > chance - near
    }

    /// The number of classes, according to the settings: those of the subset, else one per output.
    fn classes(&self) -> Option<f64> {
        let chosen =
            self.setting("subset").get("classes").and_then(Value::as_array).map(|classes| classes.len() as f64);
        let last = || self.setting("layers").as_array()?.last().cloned();
        let outputs = || last().and_then(|last| last.as_f64().or_else(|| last.as_str()?.parse().ok()));
        chosen.or_else(outputs).filter(|classes| *classes >= 1.0)
    }

    /// The date in UTC, as in 2026-11-30 21:05; "–" if unknown.
    pub fn when(&self) -> String {
        self.date.map_or("–".into(), |date| date.strftime("%Y-%m-%d %H:%M").to_string())
    }

    /// The command that trains this run, for a shell; `None` if its arguments are unknown.
    pub fn command(&self) -> Option<String> {
        // "--lr=0.1" is written as people type it. A value that begins with a dash would be read as an option.
        let word = |word: &OsString| match word.to_str().and_then(|word| word.split_once('=')) {
            Some((name, value)) if name.starts_with("--") && !value.starts_with('-') => {
                format!(" {} {}", quoted(name), quoted(value))
            }
            _ => format!(" {}", quoted(word)),
        };
        let words: String = self.arguments.iter().map(word).collect();
        (!words.is_empty()).then(|| format!("zilch train{words}"))
    }

    /// A key of the settings that determine the results, with or without the seed.
    fn key(&self, seed: bool) -> String {
        let counts = |name: &str| name != THREADS && (seed || name != SEED);
        let settings: BTreeMap<_, _> = self.settings.iter().filter(|(name, v)| counts(name) && !v.is_null()).collect();
        // Settings read from JSON can always be written as JSON.
        serde_json::to_string(&settings).unwrap_or_default()
    }
}

/// The name of the seed among the settings.
pub const SEED: &str = "seed";
/// The name of the number of threads, which does not change any result.
const THREADS: &str = "threads";

impl State {
    /// The state as text. With `goes_on` (see [`Run::goes_on`]) it mentions `--resume`.
    pub fn words(&self, goes_on: bool) -> String {
        let words = match self {
            State::Finished => "finished".into(),
            State::Stopped(why) => format!("stopped: {why}"),
            State::UnderWay => "under way".into(),
            State::Open => "under way or died".into(),
        };
        match self {
            State::Stopped(_) | State::Open if goes_on => words + "; continue with --resume",
            _ => words,
        }
    }
}

/// The names of the settings that differ between runs, the seed last.
pub fn differing(runs: &[Run]) -> Vec<String> {
    let Some(first) = runs.first() else { return Vec::new() };
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let differs = |name: &&String| runs.iter().any(|run| run.setting(name) != first.setting(name));
    let mut names: Vec<String> = names.into_iter().filter(differs).cloned().collect();
    names.sort_by_key(|name| name == SEED);
    names
}

/// Runs that differ only in the seed (and the number of threads, which does not change results), or that agree in chosen settings.
#[derive(Debug, Clone)]
pub struct Group {
    /// The names and values of the settings in which this group differs from the others.
    pub settings: Vec<(String, Value)>,
    /// The indices of its runs in the list.
    pub runs: Vec<usize>,
    /// Statistics of the final test errors of its finished runs, with repetitions of a run counted once; none if no run
    /// is finished.
    pub errors: Option<Statistics>,
}

impl Group {
    /// The settings in which this group differs from the others, in one line.
    pub fn label(&self) -> String {
        if self.settings.is_empty() {
            return "all".into();
        }
        let parts: Vec<String> =
            self.settings.iter().map(|(name, v)| format!("{} {}", shown(name), brief(v))).collect();
        parts.join(", ")
    }
}

/// Groups runs by the settings `by`, or by all settings except the seed if `by` is empty. Groups are in the order of their first runs.
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

/// Statistics of the last test errors of finished runs. A run without epochs counts as NaN.
fn last_errors<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<Statistics> {
    // A repeated run has bit-identical results, so it is not a second sample.
    let mut seen = BTreeSet::new();
    let finished = runs.filter(|run| run.state == State::Finished && seen.insert(run.key(true)));
    Statistics::of(&finished.map(|run| run.last().unwrap_or(f64::NAN)).collect::<Vec<_>>())
}

/// The maximum length of a value that is not abbreviated, in characters.
const LONGEST: usize = 36;
/// The maximum length of a list of `--layers` words that is not abbreviated, in characters.
const LONGEST_WORDS: usize = 120;

/// A setting's value in a few characters. Layer sizes are shown as 784-32-10, other layers as `--layers` takes them, and checksums by
/// their first 8 digits. Longer values are cut and end in a checksum, so that different values stay distinct.
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

/// Whether `path` is a regular file and not a link.
fn is_plain(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_file())
}
