//! `zilch reproduce page`: an input is the records of experiments, a line each, its name before its JSON. Pages and pictures are made of
//! them as the command makes them.

use super::scratch::Scratch;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use zilch::Result;
use zilch_lab::Experiment;
use zilch_lab::experiment::record_names;
use zilch_lab::experiments::prospective::one_at_a_time;
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020};
use zilch_lab::paper::{page, readme_block};

/// Every record that a page is made of.
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

/// The pages and pictures of a folder, as far as it has something of theirs: the others are only looked for.
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
        ends(readme_block(dir));
    }
}

/// What is refused is refused with words.
fn ends<T: Debug>(made: Result<T>) {
    if let Err(error) = made {
        assert!(!error.to_string().is_empty(), "a refusal without words");
    }
}
