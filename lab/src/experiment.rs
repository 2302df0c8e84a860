//! The interface of an experiment: its name, its inputs, its run, and the pages and figures generated from its record.

use super::record::{Folder, Record, load};
use super::settings::Settings;
use super::{Context, Results};
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;
use zilch::data::Data;
use zilch::error::Result;
use zilch::statistics::Statistics;

/// An experiment of `zilch reproduce`. Each is implemented in one file or folder of `experiments/` and listed in
/// `experiments/mod.rs`.
pub trait Experiment: Debug + Sync {
    /// The name on the command line, and of the record.
    fn name(&self) -> &'static str;

    /// A one-line description.
    fn help(&self) -> &'static str;

    /// The data that it accepts.
    fn input(&self) -> Input {
        Input::Any
    }

    /// The permitted number of seeds, for experiments in which it can be chosen.
    fn seeds(&self) -> Option<Seeds> {
        None
    }

    /// The number of seeds of a run: the requested number up to the maximum, or one in the reduced version.
    fn seeds_of(&self, context: &Context<'_>) -> u64 {
        let most = self.seeds().map_or(1, |seeds| seeds.most);
        if context.quick { 1 } else { context.seeds.min(most) }
    }

    /// The name of the record for a data set. Each data set that the experiment knows has a record of its own.
    fn record_name(&self, data: &str) -> String {
        match self.input() {
            Input::Known(names) if names.contains(&data) => format!("{}-{data}", self.name()),
            _ => self.name().into(),
        }
    }

    /// Runs the experiment. Trials that are already in the folder are not repeated. The last step is
    /// [`Folder::record`].
    ///
    /// # Errors
    /// Those of training and of writing; [`zilch::Error::Interrupted`] when stopped.
    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()>;

    /// All settings whose commands its page shows.
    fn settings(&self) -> Vec<Settings> {
        Vec::new()
    }

    /// The page of this experiment, if it has one.
    fn page(&self) -> Option<Page> {
        None
    }

    /// The section on the page of Song et al. (2020), generated from the record in `dir`. `None` without a record or a
    /// section.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when the record cannot be read.
    fn section(&self, _dir: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    /// The figures, generated from the record in `dir`: file names and SVG.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when the record cannot be read.
    fn figures(&self, _dir: &Path) -> Result<Vec<Figure>> {
        Ok(Vec::new())
    }

    /// The rows in the table of all experiments, generated from the records in `dir`.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when a record cannot be read.
    fn summary(&self, _dir: &Path) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }
}

/// The data that an experiment accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Any images.
    Any,
    /// Any images. Data sets of these names have their own settings, published figures and record.
    Known(&'static [&'static str]),
    /// None: the experiment generates its data.
    Own,
}

/// The permitted number of seeds.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The maximum.
    pub most: u64,
    /// The reason for the maximum. It follows "at most 7" in a message.
    pub why: &'static str,
}

/// The page of an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// The file name, relative to the folder that contains the records' folder.
    pub file: &'static str,
    /// The title, which is the first line.
    pub title: &'static str,
    /// Generates the page from the records in a folder. `None` without records.
    pub make: fn(&Path) -> Result<Option<String>>,
}

/// A figure's file name and its SVG.
pub type Figure = (&'static str, String);

/// One row in the table of all experiments.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The paper.
    pub paper: &'static str,
    /// The quantity that was measured.
    pub what: String,
    /// The published value.
    pub published: String,
    /// The value measured here.
    pub ours: String,
    /// The spread of the results.
    pub spread: String,
    /// The comparison of the measured value with the published one.
    pub verdict: String,
}

/// The cell "spread" of a row whose numbers are means: their sample standard deviations in the same order, and the
/// number of samples.
pub(super) fn spread(means: &[Statistics], decimals: usize, what: &str) -> String {
    let n = means.iter().map(|mean| mean.n).min().unwrap_or(0);
    let all: Option<Vec<String>> = means.iter().map(|mean| Some(format!("{:.decimals$}", mean.sample_sd?))).collect();
    match all {
        Some(all) => format!("± {} of {n} {what}", all.join(", ")),
        None => format!("one {}", what.trim_end_matches('s')),
    }
}

/// The folder in `out` with an experiment's trials. The record is written beside it.
///
/// # Errors
/// Those of [`Folder::open`].
pub fn folder(experiment: &dyn Experiment, data: &Data, quick: bool, out: &Path) -> Result<Folder> {
    let name = experiment.record_name(&data.name);
    let checksums: Vec<&String> = data.checksums.iter().map(|(_, sum)| sum).collect();
    let identity = json!({ "experiment": name, "quick": quick, "data_sha256": checksums });
    Folder::open(out, &name, &identity)
}

/// The names of all records that an experiment can produce.
pub fn record_names(experiment: &dyn Experiment) -> Vec<String> {
    let known = if let Input::Known(names) = experiment.input() { names } else { &[] };
    let own = std::iter::once(experiment.name().to_owned());
    known.iter().map(|data| experiment.record_name(data)).chain(own).collect()
}

/// The records of an experiment in `dir`.
///
/// # Errors
/// [`zilch::Error::Data`] when a record exists but cannot be read.
pub fn records<T: Results>(experiment: &dyn Experiment, dir: &Path) -> Result<Vec<Record<T>>> {
    let all: Vec<Option<Record<T>>> =
        record_names(experiment).iter().map(|name| load(dir, name)).collect::<Result<_>>()?;
    Ok(all.into_iter().flatten().collect())
}
