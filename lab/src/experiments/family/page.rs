//! Generates the museum page from the records alone. It has one table of all reproduced papers, and one that compares
//! all rules at the same training budget.

use super::{ANCHORS, Anchor, FIELD, Raw, SEEDS, probed};
use crate::command::{command, common};
use crate::experiment::{Page, Summary, spread};
use crate::experiments::{EXPERIMENTS, SONG_2020};
use crate::record::{Record, folder_name, load};
use crate::trial::Outcome;
use std::path::Path;
use zilch::error::Result;
use zilch::rules::Rule;
use zilch::statistics::{PLUS_MINUS, Statistics, quartiles};

/// The museum page.
pub(super) const PAGE: Page = Page { file: "museum.md", title: "# The museum\n", make: museum };

/// The page of the records in `dir`. `None` without `family.json`.
fn museum(dir: &Path) -> Result<Option<String>> {
    let Some(family) = load::<Raw>(dir, "family")? else { return Ok(None) };
    let mut text = PAGE.title.to_owned() + &introduction(&family, &folder_name(dir));
    text += "| paper | experiment | published | ours | spread | verdict |\n| --- | --- | --- | --- | --- | --- |\n";
    text += &others(dir)?;
    for anchor in ANCHORS {
        text += &line(&summary(anchor, &family.results.anchors), anchor.name);
    }
    text += &differences();
    text += "\n## Every rule under one budget\n\n";
    text += &field(&family)?;
    text += "\nThe command of each, with `--data DIR --seed S`:\n\n";
    for settings in FIELD {
        text += &format!("* `zilch train {}`\n", command(&probed(settings)));
    }
    Ok(Some(text))
}

fn introduction(family: &Record<Raw>, folder: &str) -> String {
    format!(
        "\nEvery experiment that one command repeats, what was published and what comes out. This page is made from the JSON files of \
         `{folder}` by `zilch reproduce page`; a test holds it to them.\n\nThe experiments of Song et al. are in detail in [results.md](results.md). The \
         others were run by `zilch reproduce family --data DIR` on {} on {}; a command below, with `--data DIR --seed {}`, is \
         one of them. Ours is the test error after the last epoch, the mean over seeds; {PLUS_MINUS} over them. Where a paper \
         trained longer, or chose its rates on the test set, nothing is made up for it.\n\n",
        family.data,
        family.made(),
        SEEDS[0],
    )
}

/// The rows of the other experiments. Those of Song et al. (2020) come first.
fn others(dir: &Path) -> Result<String> {
    let is_first = |name: &str| SONG_2020.iter().any(|first| first.name() == name);
    let rest = EXPERIMENTS.iter().filter(|experiment| !is_first(experiment.name()));
    let mut text = String::new();
    for experiment in SONG_2020.iter().chain(rest) {
        let command = format!("zilch reproduce {}", experiment.name());
        text.extend(experiment.summary(dir)?.iter().map(|row| line(row, &command)));
    }
    Ok(text)
}

/// A row of the table. `how` is the command that reproduces it.
fn line(row: &Summary, how: &str) -> String {
    let Summary { paper, what, published, ours, spread, verdict } = row;
    format!("| {paper} | {what} (`{how}`) | {published} | {ours} | {spread} | {verdict} |\n")
}

/// The differences from the papers.
fn differences() -> String {
    let mut text = String::from("\nWhat is otherwise than in the paper, and the command:\n\n");
    for anchor in ANCHORS {
        let Anchor { paper, what, seen, differs, settings, .. } = anchor;
        text += &format!("* {paper}, {what} ({seen}): {differs}.\n  `zilch train {}`\n", command(settings));
    }
    text
}

/// The row of a published experiment.
fn summary(anchor: &Anchor, outcomes: &[Outcome]) -> Summary {
    let mine: Vec<&Outcome> = outcomes.iter().filter(|o| o.name == anchor.name).collect();
    let [low, high] = anchor.published;
    let (ours, spread, verdict) = match (last(&mine), stopped(&mine)) {
        (_, Some(why)) => ("–".into(), String::new(), why),
        (Some(errors), _) => {
            let percent = errors.scaled(100.0);
            (format!("{:.2} %", percent.mean), spread(&[percent], 2, "seeds"), anchor.verdict(percent.mean))
        }
        _ => ("not run".into(), String::new(), String::new()),
    };
    Summary {
        paper: anchor.paper,
        what: anchor.what.into(),
        published: if low == high { format!("{low:.2} %") } else { format!("{low:.1} to {high:.1} %") },
        ours,
        spread,
        verdict,
    }
}

/// Statistics of the final test errors.
fn last(outcomes: &[&Outcome]) -> Option<Statistics> {
    Statistics::of(&outcomes.iter().filter_map(|o| o.errors.last().copied()).collect::<Vec<_>>())
}

fn stopped(outcomes: &[&Outcome]) -> Option<String> {
    outcomes.iter().find_map(|o| o.stopped.clone())
}

/// The table of all rules.
fn field(record: &Record<Raw>) -> Result<String> {
    let mut text = format!(
        "MNIST, `{}`, and rates of its own where a rule needs them; {} seeds, {PLUS_MINUS}. Angle: between the rule's step and BP's after the last epoch, without weight decay, at the \
         layer next to the output and at the one next to the input; – where the rule's network is not the one that BP would train. Time: of an update beside BP's, the median of {} turns in which every rule had its own, {} on one thread.\n\n",
        common(FIELD),
        SEEDS.len(),
        record.results.times.len(),
        record.host["cpu"].as_str().unwrap_or("CPU"),
    );
    text += "| rule | test error | time ÷ BP | angle to BP | local | no weight transport | no f′ | unsigned | one phase | no clock | no global signal |\n";
    text += &format!("| --- |{}\n", " --- |".repeat(10));
    for (i, settings) in FIELD.iter().enumerate() {
        let mine: Vec<&Outcome> = record.results.field.iter().filter(|o| o.name == settings.rule).collect();
        let error = match (stopped(&mine), last(&mine)) {
            (Some(why), _) => why,
            (None, Some(errors)) => format!("{:.2} %", errors.scaled(100.0)),
            _ => "not run".into(),
        };
        let ratio = ratio(&record.results.times, i).map_or("–".into(), |ratio| format!("{ratio:.2}"));
        let rule = settings.rule()?;
        let title = format!("{} (`{}`)", rule.title(), rule.name());
        text += &format!("| {title} | {error} | {ratio} | {} |{}\n", angle(&mine), asks(rule)?);
    }
    Ok(text)
}

/// The median over rounds of a rule's time divided by that of BP, which is entry 0 of each round.
fn ratio(times: &[Vec<f64>], rule: usize) -> Option<f64> {
    let mut ratios: Vec<f64> = times.iter().filter_map(|turn| Some(turn.get(rule)? / turn.first()?)).collect();
    (!ratios.is_empty()).then(|| quartiles(&mut ratios)[1])
}

/// The mean angles of θ^1 and of the weights next to the input.
fn angle(outcomes: &[&Outcome]) -> String {
    let mean = |pick: &dyn Fn(&Outcome) -> Option<f64>| {
        let angles: Vec<f64> = outcomes.iter().filter_map(|o| pick(o)).collect();
        Statistics::of(&angles).map(|s| s.mean)
    };
    let first = mean(&|o| o.angles.first().copied().flatten());
    let last = mean(&|o| o.angles.last().copied().flatten());
    match (first, last) {
        (Some(first), Some(last)) => format!("{first:.0}°, {last:.0}°"),
        _ => "–".into(),
    }
}

/// Biological plausibility of a rule, one cell per property. ✓ marks a property that is easier to realise in a brain.
fn asks(rule: Rule) -> Result<String> {
    let network = rule.suited(zilch::Network::parse("16,12,10,8,6")?);
    let properties = zilch::Options::new(rule).plan(&network)?.properties();
    let list = properties.list();
    let cells = list.iter().take(7).enumerate().map(|(i, (_, verdict))| {
        let good = if i == 0 { verdict.holds } else { !verdict.holds };
        if good { " ✓ |" } else { "   |" }
    });
    Ok(cells.collect())
}
