//! Generates the page and the figures of SuperSpike from the record only.

use super::{DT, Raw, Run, WAYS};
use crate::Record;
use crate::draw::{Panel, Raster, curves, raster};
use crate::experiment::{Figure, Page, Summary, spread};
use crate::record::{folder_name, load};
use std::path::Path;
use zilch::error::Result;
use zilch::statistics::{PLUS_MINUS, Statistics};

/// The page.
pub(super) const PAGE: Page =
    Page { file: "superspike.md", title: "# SuperSpike: spikes that draw a picture\n", make: page };

/// Descriptions of the feedback weights, in the order of [`WAYS`].
const OVER: [&str; 3] = ["θᵀ, the transpose of the learned weights", "fixed random weights", "weights of 1"];

/// The page of the records in `dir`. `None` without `superspike.json`.
fn page(dir: &Path) -> Result<Option<String>> {
    let Some(record) = load::<Raw>(dir, "superspike")? else { return Ok(None) };
    let folder = folder_name(dir);
    let text = PAGE.title.to_owned() + &introduction(&record, &folder) + &table(&record.results);
    Ok(Some(text + &closing(&record.results, &folder)))
}

fn introduction(record: &Record<Raw>, folder: &str) -> String {
    let r = &record.results;
    let seconds = r.steps as f64 * DT / 1000.0;
    let passes = r.runs.first().map_or(0, |run| run.errors.len());
    let per_unit = r.target.len() as f64 / r.layers.last().copied().unwrap_or(1) as f64 / seconds;
    format!(
        "\nZenke & Ganguli, \"SuperSpike: Supervised learning in multilayer spiking neural networks\" (Neural Computation 2018): {} leaky \
         integrate-and-fire units learn to spike where a picture is dark, {per_unit:.1} times per second. {} inputs repeat the same Poisson spike trains of \
         {seconds:.2} s, {passes} times ({:.0} s in total, {} million steps), and there are {} hidden units. Run by `zilch reproduce superspike` on {}. This page \
         is generated from `{folder}/superspike.json` by `zilch reproduce page`, and a test checks that it is up to date.\n\n\
         The error is the van Rossum distance per unit and second, divided by that of a single spike: without any spike it would be about the spike rate of the target.\n\n",
        r.layers.last().copied().unwrap_or(0),
        r.layers.first().copied().unwrap_or(0),
        seconds * passes as f64,
        r.steps as f64 * passes as f64 / 1e6,
        r.layers.get(1).copied().unwrap_or(0),
        record.made(),
    )
}

/// The table of errors in the first and in the last pass.
fn table(r: &Raw) -> String {
    let mut text = String::from(
        "| feedback to hidden units | weights | first pass | last pass | last ÷ first |\n| --- | --- | --- | --- | --- |\n",
    );
    for (way, over) in WAYS.iter().zip(OVER) {
        let cell = |of: fn(&Run) -> Option<f64>| over_seeds(r, way, of).map_or("–".into(), |s| format!("{s:.2}"));
        let (first, last) = (cell(|run| run.errors.first().copied()), cell(|run| run.errors.last().copied()));
        text += &format!("| {way} | {over} | {first} | {last} | {} |\n", cell(left));
    }
    text
}

/// Statistics over the seeds with one kind of feedback.
fn over_seeds(r: &Raw, way: &str, of: fn(&Run) -> Option<f64>) -> Option<Statistics> {
    let all: Vec<f64> = r.runs.iter().filter(|run| run.way == way).filter_map(of).collect();
    Statistics::of(&all)
}

/// The error of the last pass divided by the error of the first pass.
fn left(run: &Run) -> Option<f64> {
    Some(run.errors.last()? / run.errors.first()?)
}

fn closing(r: &Raw, folder: &str) -> String {
    format!(
        "\n{} The paper reports that on simple tasks the error falls with all three kinds of feedback, and that hard tasks need \
         symmetric feedback. It trains networks of twice these sizes on this kind of picture for 1,000 s, the last 600 s with a tenth of the learning rate.\n\n\
         ![errors]({folder}/superspike-errors.svg)\n\n![spikes]({folder}/superspike-spikes.svg)\n\n\
         The target, and the output spikes of a network with symmetric feedback in the first and in the last pass. Time runs from left to right.\n",
        match r.runs.iter().map(|run| run.seed).collect::<std::collections::BTreeSet<_>>().len() {
            1 => "One seed.".to_owned(),
            n => format!("{PLUS_MINUS} over {n} seeds."),
        }
    )
}

/// The row in the table of all experiments.
pub(super) fn summary(r: &Raw) -> Option<Summary> {
    let [symmetric, random, uniform] = WAYS.map(|way| over_seeds(r, way, left));
    let all = [symmetric?, random?, uniform?];
    let means: Vec<String> = all.iter().map(|s| format!("{:.2}", s.mean)).collect();
    Some(Summary {
        paper: "Zenke & Ganguli 2018",
        what: "SuperSpike, van Rossum's error, last pass ÷ first: symmetric, random, uniform feedback".into(),
        published: "falls".into(),
        ours: means.join(", "),
        spread: spread(&all, 2, "seeds"),
        verdict: if all.iter().all(|s| s.mean < 1.0) { "as published" } else { "differs" }.into(),
    })
}

/// The figures.
///
/// # Errors
/// [`zilch::Error::Usage`] when one cannot be drawn.
pub(super) fn figures(r: &Raw) -> Result<Vec<Figure>> {
    let curve = |way: &str| {
        let runs: Vec<&Run> = r.runs.iter().filter(|run| run.way == way).collect();
        let passes = runs.iter().map(|run| run.errors.len()).min().unwrap_or(0);
        let at = |p: usize| runs.iter().map(|run| run.errors[p]).collect::<Vec<f64>>();
        (way.to_owned(), (0..passes).filter_map(|p| Some((p as f64 + 1.0, Statistics::of(&at(p))?.mean))).collect())
    };
    let errors = Panel {
        title: "van Rossum's error, a unit and second".into(),
        log: false,
        x: "pass",
        curves: WAYS.iter().map(|way| curve(way)).collect(),
        bars: Vec::new(),
    };
    let rows = r.layers.last().copied().unwrap_or(1);
    let mut rasters = vec![Raster { title: "target".into(), spikes: &r.target }];
    let shown = r.runs.iter().find(|run| !run.rasters.is_empty());
    for (said, title) in shown.iter().flat_map(|run| &run.rasters).zip(["first pass", "last pass"]) {
        rasters.push(Raster { title: title.into(), spikes: said });
    }
    let seconds = r.steps as f64 * DT / 1000.0;
    Ok(vec![
        ("superspike-errors.svg", curves(&[errors])?),
        ("superspike-spikes.svg", raster(&rasters, rows, (r.steps, seconds))),
    ])
}
