//! The museum: every reproduced paper in one table, and every rule under one budget in another, made from the records alone.

use super::family::{ANCHORS, Anchor, BUDGET, Entry, FIELD, Family};
use super::figure3::{Kind, Outcome as Training};
use super::identify::{Identify, KINDS};
use super::page::{Record, load};
use super::pcx;
use super::piece::Outcome;
use super::prospective::{Cell, EXPERIMENTS, Prospective, at_best, winner};
use super::superspike::{Run, SuperSpike, WAYS};
use super::table2::{Row, paper as table2_paper};
use super::table3::{Condition, Table3};
use super::table4::Timing;
use std::path::Path;
use zilch::error::{Error, Result};
use zilch::rules::{Coords, Rule};

/// The first line of the page.
pub const MUSEUM_TITLE: &str = "# The museum\n";

/// Mean and half of the range.
struct Spread {
    mean: f64,
    half: f64,
    seeds: usize,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Spread> {
        let (low, high) = (values.iter().copied().reduce(f64::min)?, values.iter().copied().reduce(f64::max)?);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Spread { mean, half: (high - low) / 2.0, seeds: values.len() })
    }

    /// A test error in per cent.
    fn error(&self) -> String {
        format!("{:.2} %", 100.0 * self.mean)
    }

    fn width(&self) -> String {
        if self.seeds < 2 { "one seed".into() } else { format!("± {:.2} of {} seeds", 100.0 * self.half, self.seeds) }
    }
}

/// The page of what lies in `dir`, if `family.json` is there.
///
/// # Errors
/// [`Error::Data`] when a record is there and cannot be read.
pub fn museum(dir: &Path) -> Result<Option<String>> {
    let Some(family) = load::<Family>(dir, "family")? else { return Ok(None) };
    let mut text = String::from(MUSEUM_TITLE);
    text += &format!(
        "\nEvery experiment that one command repeats, what was published and what comes out. This page is made from the JSON files of \
         `{}` by `zilch reproduce page`; a test holds it to them.\n\nThe experiments of Song et al. are in detail in [results.md](results.md). The \
         others were run by `zilch reproduce family --data DIR` on {} on {} ({}{}); a command below, with `--data DIR --seed {}`, is \
         one of them. Ours is the test error after the last epoch, the mean over seeds; spread is half of their range. Where a paper \
         trained longer, or chose its rates on the test set, nothing is made up for it.\n\n",
        dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        family.data,
        family.date,
        family.host["cpu"].as_str().unwrap_or("a CPU"),
        if family.quick { ", the reduced version: its numbers mean nothing" } else { "" },
        super::family::SEEDS[0],
    );
    text += "| paper | experiment | published | ours | spread | verdict |\n| --- | --- | --- | --- | --- | --- |\n";
    song(dir, &mut text)?;
    settled(dir, &mut text)?;
    told_and_fired(dir, &mut text)?;
    for anchor in ANCHORS {
        text += &row(anchor, &family.results.anchors);
    }
    text += "\nWhat is otherwise than in the paper, and the command:\n\n";
    for anchor in ANCHORS {
        let words: Vec<&str> = anchor.command.split_whitespace().collect();
        text += &format!(
            "* {}, {} ({}): {}.\n  `zilch train {}`\n",
            anchor.paper,
            anchor.what,
            anchor.seen,
            anchor.differs,
            words.join(" ")
        );
    }
    text += "\n## Every rule under one budget\n\n";
    text += &field(&family)?;
    text += "\nThe command of each, with `--data DIR --seed S`:\n\n";
    for entry in FIELD {
        text += &format!("* `zilch train {}`\n", entry.whole());
    }
    Ok(Some(text))
}

/// The rows of the paper that zilch began with.
fn song(dir: &Path, text: &mut String) -> Result<()> {
    let mut row = |what: &str, command: &str, published: &str, ours: String, spread: &str, verdict: &str| {
        *text += &format!(
            "| Song et al. 2020 | {what} (`zilch reproduce {command}`) | {published} | {ours} | {spread} | {verdict} |\n"
        );
    };
    if let Some(table2) = load::<Vec<Row>>(dir, "table2")? {
        let cells =
            table2.results.iter().flat_map(|r| r.verdicts().into_iter().zip(table2_paper(r.rule)).collect::<Vec<_>>());
        let agree = cells.filter(|(verdict, paper)| verdict.holds == *paper).count();
        let verdict = if agree == 16 { "as published" } else { "differs" };
        row("properties of four rules", "table2", "16 verdicts", format!("{agree} of 16 agree"), "exact", verdict);
    }
    if let Some(figure3) = load::<Vec<Training>>(dir, "figure3")? {
        let exact = |o: &&Training| {
            matches!(o.variant.kind, Kind::Moment { t: None, gamma, coords: Coords::Error } if gamma == 1.0)
                || o.variant.kind == Kind::Noise { sigma: 0.0 }
        };
        let all = figure3.results.iter().filter(exact).count();
        let same = figure3.results.iter().filter(exact).filter(|o| o.bit_identical).count();
        let verdict = if all == same { "as published" } else { "differs" };
        row("Z-IL ends on BP's weights", "figure3", "equal", format!("{same} of {all} to the bit"), "exact", verdict);
    }
    if let Some(table3) = load::<Table3>(dir, "table3")? {
        let pooled = table3.results.spikes.iter().find(|s| s.lmax == 0 && s.condition == Condition::Value32);
        let found = [0, 3].map(|i| pooled.map_or(0.0, |s| s.s1(i)));
        let near = (found[0] - 93.4).abs() < 2.0 && (found[1] - 100.0).abs() < 0.5;
        let ours = format!("{:.2}, {:.2} %", found[0], found[1]);
        let verdict = if near { "as published" } else { "differs" };
        row("φ finds t = l at t_d = 1, 4", "table3", "93.4, 100.0 %", ours, "pooled", verdict);
    }
    if let Some(table4) = load::<Vec<Timing>>(dir, "table4")? {
        let small = table4.results.iter().find(|t| t.device == "cpu" && t.refused.is_none());
        let median = |rule: Rule| {
            let row = small.and_then(|t| t.rows.iter().find(|r| r.rule == rule));
            row.map_or(f64::NAN, |r| r.quartiles_us[1])
        };
        let ratio = median(Rule::ZIL) / median(Rule::BP);
        let verdict = if ratio <= 3.6 / 3.1 { "as published, or better" } else { "slower" };
        row("time of Z-IL ÷ BP on a CPU", "table4", "1.16", format!("{ratio:.2}"), "median", verdict);
    }
    Ok(())
}

/// The rows of prospective configuration, and of the benchmark of Pinchetti et al.
fn settled(dir: &Path, text: &mut String) -> Result<()> {
    if let Some(record) = load::<Prospective>(dir, "prospective")? {
        for (experiment, &(at, pc, bp)) in EXPERIMENTS.iter().flat_map(|e| e.published.iter().map(move |p| (e, p))) {
            // At the best rate, or at that of the published figure.
            let shown = |c: &&Cell| experiment.published_at.is_none_or(|lr| c.lr == lr);
            let cells: Vec<Cell> = record.results.cells.iter().filter(shown).cloned().collect();
            let rate = experiment.published_at.map_or(String::new(), |lr| format!(", α {lr}"));
            let of = |rule: &str| {
                let score = |c: &Cell| c.score;
                Spread::of(&at_best(&cells, (experiment.name, rule, at), &score, &score)?.1)
            };
            let (Some(ours_pc), Some(ours_bp)) = (of("pc"), of("bp")) else { continue };
            let theirs = if pc < bp {
                "PC"
            } else if bp < pc {
                "BP"
            } else {
                "–"
            };
            let verdict = match winner(&cells, (experiment.name, at), false) {
                who if who == theirs => "as published".into(),
                "–" => format!("nobody better, {theirs} published"),
                who => format!("{who} better, {theirs} published"),
            };
            *text += &format!(
                "| Song et al. 2024 | Fig. {}, {} {at}{rate}, PC and BP (`zilch reproduce prospective`) | {:.1}, {:.1} % | {}, {} | ± {:.2}, {:.2} of {} seeds | {verdict} |\n",
                experiment.figure,
                experiment.axis,
                100.0 * pc,
                100.0 * bp,
                ours_pc.error(),
                ours_bp.error(),
                100.0 * ours_pc.half,
                100.0 * ours_bp.half,
                ours_pc.seeds
            );
        }
    }
    let records = pcx::records(dir)?;
    for method in pcx::METHODS {
        let Some((mean, sd, seeds)) = pcx::last_epoch(&records, method.data, method.name) else { continue };
        let (published, theirs) = method.published;
        let verdict = match mean - published {
            d if d.abs() <= 3.0 * sd.max(theirs) => "as published".into(),
            d if d > 0.0 => format!("better by {d:.2} points"),
            d => format!("short by {:.2} points", -d),
        };
        *text += &format!(
            "| Pinchetti et al. 2025 | {}, {}, accuracy (`zilch reproduce pcx`) | {published:.2} % | {mean:.2} % | ± {sd:.2} of {seeds} seeds | {verdict} |\n",
            method.name, method.data
        );
    }
    Ok(())
}

/// The rows of what has no test error: which rule made a network, and spikes in time.
fn told_and_fired(dir: &Path, text: &mut String) -> Result<()> {
    if let Some(record) = load::<Identify>(dir, "identify")? {
        let everything = record.results.accuracies.first().and_then(|a| Spread::of(&a.layers));
        if let (Some(all), Some(control)) = (everything, Spread::of(&record.results.control.layers)) {
            *text += &format!(
                "| Nayebi et al. 2020 | which of {} kinds of training made a layer; Z-IL or BP, which cannot be told (`zilch reproduce identify`) | in no text; 50 % | {:.1} %; {:.1} % | \
                 ± {:.1}, {:.1} of {} splits | {} |\n",
                KINDS.len(),
                100.0 * all.mean,
                100.0 * control.mean,
                100.0 * all.half,
                100.0 * control.half,
                all.seeds,
                if control.mean == 0.5 {
                    "chance, where nothing differs"
                } else {
                    "not at chance where nothing differs"
                }
            );
        }
    }
    if let Some(record) = load::<SuperSpike>(dir, "superspike")? {
        let left = |way: &str| {
            let runs = record.results.runs.iter().filter(|run| run.way == way);
            let ratio = |run: &Run| Some(run.errors.last()? / run.errors.first()?);
            Spread::of(&runs.filter_map(ratio).collect::<Vec<_>>())
        };
        if let [Some(symmetric), Some(random), Some(uniform)] = WAYS.map(left) {
            let falls = [&symmetric, &random, &uniform].iter().all(|of| of.mean < 1.0);
            *text += &format!(
                "| Zenke & Ganguli 2018 | SuperSpike, van Rossum's error, last pass ÷ first: symmetric, random, uniform feedback (`zilch reproduce superspike`) | falls | \
                 {:.2}, {:.2}, {:.2} | ± {:.2}, {:.2}, {:.2} of {} seeds | {} |\n",
                symmetric.mean,
                random.mean,
                uniform.mean,
                symmetric.half,
                random.half,
                uniform.half,
                symmetric.seeds,
                if falls { "as published" } else { "differs" }
            );
        }
    }
    Ok(())
}

fn row(anchor: &Anchor, outcomes: &[Outcome]) -> String {
    let mine: Vec<&Outcome> = outcomes.iter().filter(|o| o.name == anchor.name).collect();
    let [low, high] = anchor.published;
    let published = if low == high { format!("{low:.2} %") } else { format!("{low:.1} to {high:.1} %") };
    let (ours, spread, verdict) = match (last(&mine), stopped(&mine)) {
        (_, Some(why)) => ("–".into(), String::new(), why),
        (Some(errors), _) => (errors.error(), errors.width(), anchor.verdict(errors.mean)),
        _ => ("not run".into(), String::new(), String::new()),
    };
    format!(
        "| {} | {} (`{}`) | {published} | {ours} | {spread} | {verdict} |\n",
        anchor.paper, anchor.what, anchor.name
    )
}

/// The last test errors.
fn last(outcomes: &[&Outcome]) -> Option<Spread> {
    Spread::of(&outcomes.iter().filter_map(|o| o.errors.last().copied()).collect::<Vec<_>>())
}

fn stopped(outcomes: &[&Outcome]) -> Option<String> {
    outcomes.iter().find_map(|o| o.stopped.clone())
}

/// The table of all rules: what README shows.
///
/// # Errors
/// [`Error::Usage`] when a rule has no plan.
pub fn field(family: &Record<Family>) -> Result<String> {
    let mut text = format!(
        "MNIST, `{BUDGET}`, and rates of its own where a rule needs them; {} seeds. Angle: between the rule's step and BP's after the last epoch, without weight decay, at the \
         layer next to the output and at the one next to the input; – where the rule's network is not the one that BP would train. Time: of an update beside BP's, the median of {} turns in which every rule had its own, {} on one thread.\n\n",
        super::family::SEEDS.len(),
        family.results.times.len(),
        family.host["cpu"].as_str().unwrap_or("CPU"),
    );
    text += "| rule | test error | time ÷ BP | angle to BP | local | no weight transport | no f′ | unsigned | one phase | no clock | no global signal |\n";
    text += &format!("| --- |{}\n", " --- |".repeat(10));
    let outcomes = &family.results.field;
    let of = |rule: &str| outcomes.iter().filter(|o| o.name == rule).collect::<Vec<_>>();
    for (i, entry) in FIELD.iter().enumerate() {
        let mine = of(entry.rule);
        let error = match (stopped(&mine), last(&mine)) {
            (Some(why), _) => why,
            (None, Some(errors)) => format!("{} {}", errors.error(), errors.width().replace(" of 3 seeds", "")),
            _ => "not run".into(),
        };
        let ratio = ratio(&family.results.times, i).map_or("–".into(), |ratio| format!("{ratio:.2}"));
        text += &format!("| {} | {error} | {ratio} | {} |{}\n", title(entry)?, angle(&mine), asks(entry)?);
    }
    Ok(text)
}

/// The median, over turns, of a rule's time beside that of BP, the first of the field.
fn ratio(times: &[Vec<f64>], rule: usize) -> Option<f64> {
    let mut ratios: Vec<f64> = times.iter().filter_map(|turn| Some(turn.get(rule)? / turn.first()?)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied()
}

fn title(entry: &Entry) -> Result<String> {
    let rule = Rule::named(entry.rule).ok_or_else(|| Error::usage(format!("there is no rule {}", entry.rule)))?;
    Ok(format!("{} (`{}`)", rule.title(), rule.name()))
}

/// The mean angle at θ^1, and at the layer next to the input.
fn angle(outcomes: &[&Outcome]) -> String {
    let mean = |pick: &dyn Fn(&Outcome) -> Option<f64>| {
        let angles: Vec<f64> = outcomes.iter().filter_map(|o| pick(o)).collect();
        Spread::of(&angles).map(|s| s.mean)
    };
    let first = mean(&|o| o.angles.first().copied().flatten());
    let last = mean(&|o| o.angles.last().copied().flatten());
    match (first, last) {
        (Some(first), Some(last)) => format!("{first:.0}°, {last:.0}°"),
        _ => "–".into(),
    }
}

/// What a rule asks of a brain, a cell a property: ✓ where it asks nothing.
fn asks(entry: &Entry) -> Result<String> {
    let rule = Rule::named(entry.rule).ok_or_else(|| Error::usage(format!("there is no rule {}", entry.rule)))?;
    let network = rule.suited(zilch::Network::parse("16,12,10,8,6")?);
    let properties = zilch::Options::new(rule).plan(&network)?.properties();
    let list = properties.list();
    let cells = list.iter().take(7).enumerate().map(|(i, (_, verdict))| {
        let good = if i == 0 { verdict.holds } else { !verdict.holds };
        if good { " ✓ |" } else { "   |" }
    });
    Ok(cells.collect())
}
