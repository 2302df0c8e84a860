//! `zilch reproduce page`: an input is the records of experiments, a line each, its name before its JSON. Pages and pictures are made of
//! them as the command makes them.

use super::scratch::Scratch;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use zilch::Result;
use zilch_lab::figure3;
use zilch_lab::identify_page::identify_page;
use zilch_lab::lenet::lenet_page;
use zilch_lab::museum::museum;
use zilch_lab::page::{figure3_svg, load, page, readme_block};
use zilch_lab::pcx::pcx_page;
use zilch_lab::prospective::Prospective;
use zilch_lab::prospective_page::{one_at_a_time, prospective_page, prospective_svg};
use zilch_lab::superspike::{SuperSpike, superspike_page, superspike_svg};

/// Every record that a page is made of.
pub const RECORDS: [&str; 15] = [
    "table2",
    "figure3",
    "table3",
    "table4",
    "family",
    "prospective",
    "identify",
    "superspike",
    "lenet-mnist",
    "lenet-fashion-mnist",
    "lenet",
    "pcx-mnist",
    "pcx-fashion-mnist",
    "pcx-cifar-10",
    "pcx",
];

thread_local! {
    static FOLDER: Scratch = Scratch::new();
}

pub fn run(bytes: &[u8]) {
    let mut records: BTreeMap<&[u8], &[u8]> = BTreeMap::new();
    for line in bytes.split(|b| *b == b'\n') {
        if let Some(end) = line.iter().position(|b| *b == b' ') {
            records.insert(&line[..end], &line[end + 1..]);
        }
    }
    FOLDER.with(|folder| {
        for name in RECORDS {
            folder.put(&format!("results/{name}.json"), records.get(name.as_bytes()).copied());
        }
        let has = |name: &str| records.contains_key(name.as_bytes());
        pages(&folder.path().join("results"), &has);
    });
}

/// The pages and pictures of a folder, as far as it has something of theirs: the others are only looked for.
fn pages(dir: &Path, has: &dyn Fn(&str) -> bool) {
    if has("figure3") {
        ends(
            load::<Vec<figure3::Outcome>>(dir, "figure3").and_then(|r| r.map(|r| figure3_svg(&r.results)).transpose()),
        );
    }
    if has("prospective") {
        ends(load::<Prospective>(dir, "prospective").and_then(|r| r.map(|r| prospective_svg(&r.results)).transpose()));
        ends(prospective_page(dir));
        ends(one_at_a_time(dir));
    }
    if has("superspike") {
        ends(load::<SuperSpike>(dir, "superspike").and_then(|r| r.map(|r| superspike_svg(&r.results)).transpose()));
        ends(superspike_page(dir));
    }
    if has("identify") {
        ends(identify_page(dir));
    }
    if has("family") {
        ends(museum(dir));
    }
    let any = |start: &str| RECORDS.iter().any(|name| name.starts_with(start) && has(name));
    if any("pcx") {
        ends(pcx_page(dir));
    }
    if any("lenet") {
        ends(lenet_page(dir));
    }
    if any("table") || has("figure3") {
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
