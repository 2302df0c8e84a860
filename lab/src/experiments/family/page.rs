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
use zilch::plan::locality::{COLUMNS, Column};
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
        "\nThis page lists every experiment that one command reproduces, with its published result and the result obtained here. It is \
         generated from the JSON files of `{folder}` by `zilch reproduce page`, and a test checks that it is up to date.\n\n\
         The page [results.md](results.md) describes the experiments of Song et al. in detail. The others were run by `zilch reproduce \
         family --data DIR` on {} on {}. A command below, with `--data DIR --seed {}`, repeats one of them. The column *ours* is the test \
         error after the last epoch, the mean over seeds; {PLUS_MINUS} over seeds. If a paper trained longer, or selected its learning \
         rates on the test set, our result is not corrected for that.\n\n",
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
    let mut text = String::from("\nDifferences from the papers, and the commands:\n\n");
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
        "MNIST, `{}`, with other learning rates for the rules that need them; {} seeds, {PLUS_MINUS}. Angle: between the updates of the rule and of BP after the last epoch, without weight decay, \
         for the weight matrix next to the output and for the one next to the input; – if the rule trains another network than BP. Time: of one update relative to BP's, the median of {} rounds in which every rule was timed once, {} on one thread.\n\n",
        common(FIELD),
        SEEDS.len(),
        record.results.times.len(),
        record.host["cpu"].as_str().unwrap_or("CPU"),
    );
    let headings: Vec<&str> = asked().iter().map(|column| column.heading).collect();
    text += &format!("| rule | test error | time ÷ BP | angle to BP | {} |\n", headings.join(" | "));
    text += &format!("| --- |{}\n", " --- |".repeat(3 + headings.len()));
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

/// The properties in the table: all but autonomy, which the other columns imply.
fn asked() -> &'static [Column] {
    &COLUMNS[..7]
}

/// Biological plausibility of a rule, one cell per property. ✓ marks a property that is easier to realise in a brain.
fn asks(rule: Rule) -> Result<String> {
    let network = rule.suited(zilch::Network::parse("16,12,10,8,6")?);
    let properties = zilch::Options::new(rule).plan(&network)?.properties();
    let cells = asked()
        .iter()
        .zip(properties.list())
        .map(|(column, (_, verdict))| if column.marks(verdict) { " ✓ |" } else { "   |" });
    Ok(cells.collect())
}
