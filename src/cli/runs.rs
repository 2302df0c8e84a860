//! `zilch runs`

use super::args::RunsArgs;
use super::progress::say;
use super::table::table;
use super::{Answer, json};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use zilch::files::write_text;
use zilch::runs::{Found, Group, Run, brief, differing, find, group, picture};
use zilch::{Error, Result};

/// Columns that every run has, beside its settings.
const COLUMNS: [&str; 7] = ["folder", "epochs", "updates", "seconds", "error", "best", "state"];
/// The longest reason that the table shows whole.
const LONGEST: usize = 60;

pub(crate) fn run(args: &RunsArgs) -> Result<Answer> {
    let Found { mut runs, skipped } = find(&args.folders)?;
    for skip in &skipped {
        say(&format!("{:?} is left out: {}", skip.path, skip.why));
    }
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    for name in &args.by {
        check("--by", name, names.contains(name) || runs.is_empty(), &runs, &[])?;
    }
    if let Some(column) = &args.sort {
        let known = COLUMNS.contains(&column.as_str()) || names.contains(column) || runs.is_empty();
        check("--sort", column, known, &runs, &COLUMNS)?;
        // Equal ones stay in the order of their folders.
        runs.sort_by(|a, b| compare(&cell(a, column), &cell(b, column)));
    }
    let (differ, groups) = (differing(&runs), group(&runs, &args.by));
    if let Some(path) = &args.out {
        write_text(path, &picture(&runs, &groups)?)?;
    }
    if args.json {
        let document = json!({
            "shared": shared(&runs, &differ),
            "differ": differ,
            "runs": runs.iter().map(|run| document(run, &differ)).collect::<Vec<_>>(),
            "groups": groups.iter().map(|group| of_group(group, &runs)).collect::<Vec<_>>(),
            "skipped": skipped,
        });
        return Ok(json(&document)?.into());
    }
    let mut text = report(&runs, &differ, &groups);
    if let Some(path) = &args.out {
        text += &format!("\ndrawn to {}\n", path.display());
    }
    Ok(text.into())
}

/// Refuses the name of a setting that no run has.
fn check(option: &str, name: &str, known: bool, runs: &[Run], columns: &[&str]) -> Result<()> {
    if known {
        return Ok(());
    }
    let there: Vec<String> = columns.iter().map(|c| (*c).to_owned()).chain(differing(runs)).collect();
    let there = if there.is_empty() { "but these runs do not differ".to_owned() } else { there.join(", ") };
    Err(Error::usage(format!(
        "{option} takes a setting as run.json names it; none of these runs has \"{name}\". There are, among others: {there}"
    )))
}

/// A cell to sort by.
enum Cell {
    Number(f64),
    Text(String),
    /// NaN, null, or nothing there.
    Missing,
}

fn cell(run: &Run, column: &str) -> Cell {
    let number = |v: f64| if v.is_nan() { Cell::Missing } else { Cell::Number(v) };
    match column {
        "folder" => Cell::Text(run.folder.display().to_string()),
        "epochs" => Cell::Number(run.epochs.len() as f64),
        "updates" => Cell::Number(run.updates as f64),
        "seconds" => number(run.seconds),
        "error" => run.last().map_or(Cell::Missing, number),
        "best" => run.best().map_or(Cell::Missing, number),
        "state" => Cell::Text(run.state.words(run.goes_on)),
        setting => match run.setting(setting) {
            Value::Null => Cell::Missing,
            Value::Number(v) => v.as_f64().map_or(Cell::Missing, number),
            // Options of a rule's own are kept as they were typed.
            Value::String(text) => text.parse().map_or_else(|_| Cell::Text(text.clone()), number),
            other => Cell::Text(other.to_string()),
        },
    }
}

/// Numbers, then texts, then what is missing.
fn compare(a: &Cell, b: &Cell) -> Ordering {
    let rank = |cell: &Cell| match cell {
        Cell::Number(_) => 0,
        Cell::Text(_) => 1,
        Cell::Missing => 2,
    };
    match (a, b) {
        (Cell::Number(a), Cell::Number(b)) => a.total_cmp(b),
        (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// The settings that all runs have alike, but for checksums and what is not set.
fn shared(runs: &[Run], differ: &[String]) -> BTreeMap<String, Value> {
    let Some(first) = runs.first() else { return BTreeMap::new() };
    let told = |name: &String, v: &Value| {
        !differ.contains(name) && !name.ends_with("sha256") && !v.is_null() && v != &Value::Bool(false)
    };
    first.settings.iter().filter(|(name, v)| told(name, v)).map(|(name, v)| (name.clone(), v.clone())).collect()
}

fn document(run: &Run, differ: &[String]) -> Value {
    let settings: BTreeMap<&String, &Value> = differ.iter().map(|name| (name, run.setting(name))).collect();
    json!({
        "folder": run.folder.display().to_string(),
        "settings": settings,
        "epochs": run.epochs.len(),
        "updates": run.updates,
        "seconds": run.seconds,
        "error": run.last(),
        "best": run.best(),
        "state": run.state.words(false),
        "goes_on": run.goes_on,
    })
}

fn of_group(group: &Group, runs: &[Run]) -> Value {
    let folders = group.runs.iter().map(|&i| runs[i].folder.display().to_string());
    let spread = group.spread;
    json!({
        "settings": group.settings.iter().cloned().collect::<BTreeMap<_, _>>(),
        "folders": folders.collect::<Vec<_>>(),
        "n": spread.n,
        "mean": spread.mean,
        "sd": spread.sd,
        "min": spread.min,
        "max": spread.max,
    })
}

fn report(runs: &[Run], differ: &[String], groups: &[Group]) -> String {
    if runs.is_empty() {
        return "no runs: a run is a folder with the run.json that `zilch train --out` writes\n".into();
    }
    let shared: Vec<String> = shared(runs, differ).iter().map(|(name, v)| format!("{name} {}", brief(v))).collect();
    let mut text = format!("{} runs, all with {}\n\n", runs.len(), shared.join(", "));
    if runs.len() == 1 {
        text = format!("1 run, with {}\n\n", shared.join(", "));
    }
    text += &all(runs, differ);
    if groups.iter().any(|group| group.runs.len() > 1) {
        text += "\nlast test error over finished runs (n of all)\n";
        text += &together(groups);
    }
    text
}

/// The first table: a row a run.
fn all(runs: &[Run], differ: &[String]) -> String {
    let mut header = vec!["folder"];
    header.extend(differ.iter().map(String::as_str));
    header.extend(["epochs", "updates", "seconds", "test error", "best", "state"]);
    let states: Vec<String> = runs.iter().map(state).collect();
    let widest = states.iter().map(|state| state.chars().count()).max().unwrap_or(0);
    let row = |(run, state): (&Run, &String)| {
        let mut row = vec![run.title()];
        row.extend(differ.iter().map(|name| brief(run.setting(name))));
        let seconds = if run.seconds.is_nan() { "–".into() } else { plain(run.seconds, 2) };
        row.extend([run.epochs.len().to_string(), run.updates.to_string(), seconds]);
        row.extend([run.last(), run.best()].map(|error| error.map_or("–".into(), percent)));
        // To the left, although it stands last.
        row.push(format!("{state:<widest$}"));
        row
    };
    let rows: Vec<Vec<String>> = runs.iter().zip(&states).map(row).collect();
    table(&header, &rows, 1 + differ.len())
}

fn state(run: &Run) -> String {
    let words = run.state.words(run.goes_on);
    let line = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    if words.chars().count() <= LONGEST {
        return line.collect();
    }
    let short: String = line.take(LONGEST).collect();
    short + if run.goes_on { "…; goes on with --resume" } else { "…" }
}

/// The second table: a row a group.
fn together(groups: &[Group]) -> String {
    let names: Vec<&str> =
        groups.first().map_or(Vec::new(), |g| g.settings.iter().map(|(name, _)| name.as_str()).collect());
    let left = names.len().max(1);
    let mut header = if names.is_empty() { vec!["runs"] } else { names };
    header.extend(["n", "mean", "sd", "min", "max"]);
    let row = |group: &Group| {
        let mut row: Vec<String> = group.settings.iter().map(|(_, v)| brief(v)).collect();
        if row.is_empty() {
            row.push("all".into());
        }
        let spread = group.spread;
        let of = if spread.n == group.runs.len() { String::new() } else { format!(" of {}", group.runs.len()) };
        row.push(format!("{}{of}", spread.n));
        let none = |v: f64, n: usize| if spread.n < n { "–".into() } else { percent(v) };
        row.extend([none(spread.mean, 1), none(spread.sd, 2), none(spread.min, 1), none(spread.max, 1)]);
        row
    };
    table(&header, &groups.iter().map(row).collect::<Vec<_>>(), left)
}

fn percent(share: f64) -> String {
    if share.is_nan() { "NaN".into() } else { plain(100.0 * share, 2) + " %" }
}

/// A number with so many decimals, or an exponent where it is absurdly large.
fn plain(v: f64, decimals: usize) -> String {
    if v.abs() < 1e9 { format!("{v:.decimals$}") } else { format!("{v:.2e}") }
}
