//! What an experiment is: how it is named, what it takes, how it is run, and what is made of its record.

use super::record::{Folder, Record, load};
use super::settings::Settings;
use super::{Context, Results};
use serde_json::json;
use std::fmt::Debug;
use std::path::Path;
use zilch::data::Data;
use zilch::error::Result;
use zilch::statistics::Statistics;

/// An experiment of `zilch reproduce`. A file in `experiments/` has all of one, and `experiments/mod.rs` lists it.
pub trait Experiment: Debug + Sync {
    /// Its name on the command line and of its record.
    fn name(&self) -> &'static str;

    /// What it is, in a line.
    fn help(&self) -> &'static str;

    /// Which data it takes.
    fn input(&self) -> Input {
        Input::Any
    }

    /// How many seeds it can be run with, where that may be chosen.
    fn seeds(&self) -> Option<Seeds> {
        None
    }

    /// How many seeds it is run with: as many as wanted and possible, one of the reduced version.
    fn seeds_of(&self, context: &Context<'_>) -> u64 {
        let most = self.seeds().map_or(1, |seeds| seeds.most);
        if context.quick { 1 } else { context.seeds.min(most) }
    }

    /// The name of its record on data of some name: one for each data set that it knows.
    fn record_name(&self, data: &str) -> String {
        match self.input() {
            Input::Known(names) if names.contains(&data) => format!("{}-{data}", self.name()),
            _ => self.name().into(),
        }
    }

    /// Runs it; what is in the folder already is not made again. Ends with [`Folder::record`].
    ///
    /// # Errors
    /// Those of training and of writing; [`zilch::Error::Interrupted`] when stopped.
    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()>;

    /// Every setting whose command its page shows.
    fn settings(&self) -> Vec<Settings> {
        Vec::new()
    }

    /// Its own page, if it has one.
    fn page(&self) -> Option<Page> {
        None
    }

    /// Its section of the page of Song et al. (2020), made from the record in `dir`; none without a record, or a section.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when the record cannot be read.
    fn section(&self, _dir: &Path) -> Result<Option<String>> {
        Ok(None)
    }

    /// Its figures, made from the record in `dir`: file names and SVG.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when the record cannot be read.
    fn figures(&self, _dir: &Path) -> Result<Vec<Figure>> {
        Ok(Vec::new())
    }

    /// Its rows of the table of all experiments, made from the records in `dir`.
    ///
    /// # Errors
    /// [`zilch::Error::Data`] when a record cannot be read.
    fn summary(&self, _dir: &Path) -> Result<Vec<Summary>> {
        Ok(Vec::new())
    }
}

/// Which data an experiment takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Any images.
    Any,
    /// Any images; those of a data set of these names have settings, published figures and a record of their own.
    Known(&'static [&'static str]),
    /// None: it makes its own.
    Own,
}

/// How many seeds an experiment can be run with.
#[derive(Debug, Clone, Copy)]
pub struct Seeds {
    /// The most.
    pub most: u64,
    /// Why no more, as the end of "at most 7".
    pub why: &'static str,
}

/// A page of an experiment.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Its file, beside the folder of the records.
    pub file: &'static str,
    /// Its first line.
    pub title: &'static str,
    /// Makes it from the records of a folder; none, where there are none.
    pub make: fn(&Path) -> Result<Option<String>>,
}

/// A figure's file name and its SVG.
pub type Figure = (&'static str, String);

/// A row of the table of all experiments.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The paper.
    pub paper: &'static str,
    /// What was measured.
    pub what: String,
    /// What was published.
    pub published: String,
    /// What comes out here.
    pub ours: String,
    /// How far results lie apart.
    pub spread: String,
    /// Ours beside what was published.
    pub verdict: String,
}

/// The cell "spread" of a row whose numbers are means: their sample standard deviations, in the same order, and of how many numbers.
pub(super) fn spread(means: &[Statistics], decimals: usize, what: &str) -> String {
    let n = means.iter().map(|mean| mean.n).min().unwrap_or(0);
    let all: Option<Vec<String>> = means.iter().map(|mean| Some(format!("{:.decimals$}", mean.sample_sd?))).collect();
    match all {
        Some(all) => format!("± {} of {n} {what}", all.join(", ")),
        None => format!("one {}", what.trim_end_matches('s')),
    }
}

/// The folder of an experiment's trials in `out`, and of its record beside it.
///
/// # Errors
/// Those of [`Folder::open`].
pub fn folder(experiment: &dyn Experiment, data: &Data, quick: bool, out: &Path) -> Result<Folder> {
    let name = experiment.record_name(&data.name);
    let checksums: Vec<&String> = data.checksums.iter().map(|(_, sum)| sum).collect();
    let identity = json!({ "experiment": name, "quick": quick, "data_sha256": checksums });
    Folder::open(out, &name, &identity)
}

/// The names of all records that an experiment can have.
pub fn record_names(experiment: &dyn Experiment) -> Vec<String> {
    let known = if let Input::Known(names) = experiment.input() { names } else { &[] };
    let own = std::iter::once(experiment.name().to_owned());
    known.iter().map(|data| experiment.record_name(data)).chain(own).collect()
}

/// The records of an experiment in `dir`.
///
/// # Errors
/// [`zilch::Error::Data`] when one is there and cannot be read.
pub fn records<T: Results>(experiment: &dyn Experiment, dir: &Path) -> Result<Vec<Record<T>>> {
    let all: Vec<Option<Record<T>>> =
        record_names(experiment).iter().map(|name| load(dir, name)).collect::<Result<_>>()?;
    Ok(all.into_iter().flatten().collect())
}
