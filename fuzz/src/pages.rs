//! `zilch reproduce page`. An input is the records of experiments, one per line: the name, a space and the JSON. Pages and figures are
//! built from them like in the command.

use super::scratch::Scratch;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use zilch::Result;
use zilch_lab::Experiment;
use zilch_lab::experiment::record_names;
use zilch_lab::experiments::prospective::one_at_a_time;
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020};
use zilch_lab::paper::{page, summary};

/// The names of all records that pages are built from.
pub fn records() -> Vec<String> {
    EXPERIMENTS.iter().flat_map(|experiment| record_names(*experiment)).collect()
}

thread_local! {
    static FOLDER: Scratch = Scratch::new();
}

pub fn run(bytes: &[u8]) {
    let mut given: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for line in bytes.split(|b| *b == b'\n') {
        if let Some(end) = line.iter().position(|b| *b == b' ') {
            given.insert(&line[..end], &line[end + 1..]);
        }
    }
    FOLDER.with(|folder| {
        for name in records() {
            folder.put(&format!("results/{name}.json"), given.get(name.as_bytes()).copied());
        }
        let has = |name: &str| given.contains_key(name.as_bytes());
        pages(&folder.path().join("results"), &has);
    });
}

/// Builds the pages and figures for which the folder has a record. The others would only find no files.
fn pages(dir: &Path, has: &dyn Fn(&str) -> bool) {
    let any = |experiment: &&dyn Experiment| record_names(*experiment).iter().any(|name| has(name));
    for experiment in EXPERIMENTS.iter().copied().filter(any) {
        ends(experiment.figures(dir));
        ends(experiment.section(dir));
        ends(experiment.summary(dir));
        ends(experiment.page().map(|page| (page.make)(dir)).transpose());
    }
    if has("prospective") {
        ends(one_at_a_time(dir));
    }
    if SONG_2020.iter().any(any) {
        ends(page(dir));
        ends(summary(dir));
    }
}

/// Asserts that an error has a message.
fn ends<T: Debug>(result: Result<T>) {
    if let Err(error) = result {
        assert!(!error.to_string().is_empty(), "an error without a message");
    }
}
