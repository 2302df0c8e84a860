//! `zilch runs`

use super::args::RunsArgs;
use super::progress::say;
use super::table::table;
use super::{Answer, json};
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use zilch::files::{shown, write_text};
use zilch::statistics::Statistics;
use zilch::{Error, Result};
use zilch_cli::runs::{Found, Group, Run, State, brief, differing, find, group, picture};

/// The columns that every run has, besides its settings.
const COLUMNS: [&str; 7] = ["folder", "epochs", "updates", "seconds", "error", "best", "state"];
/// The maximum length of a reason in the table, in characters.
const LONGEST: usize = 60;
/// The maximum number of settings that have their own column although some runs lack them.
const SPARSE: usize = 3;
/// The header of the column that the other settings share.
const OTHERS: &str = "others";

pub(crate) fn run(args: &RunsArgs) -> Result<Answer> {
    let Found { mut runs, skipped } = find(&args.folders)?;
    for skip in &skipped {
        say(&format!("\"{}\" is skipped: {}", skip.path.display(), shown(&skip.why)));
    }
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    for name in &args.by {
        check("--by", name, names.contains(name) || runs.is_empty(), &runs, &[])?;
    }
    if let Some(column) = &args.sort {
        let known = COLUMNS.contains(&column.as_str()) || names.contains(column) || runs.is_empty();
        check("--sort", column, known, &runs, &COLUMNS)?;
        // The sort is stable: equal runs stay sorted by folder.
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

/// Refuses a name that is neither a setting of any run nor a column.
fn check(option: &str, name: &str, known: bool, runs: &[Run], columns: &[&str]) -> Result<()> {
    if known {
        return Ok(());
    }
    let names = differing(runs);
    let there: Vec<String> = columns.iter().copied().chain(names.iter().map(String::as_str)).map(shown).collect();
    let hint = if there.is_empty() { String::new() } else { format!(". Try for example {}", there.join(", ")) };
    Err(Error::usage(format!("{option}: none of these runs has a setting \"{}\"{hint}", shown(name))))
}

/// The sort key of a cell.
enum Cell {
    Number(f64),
    Text(String),
    /// NaN, null or absent.
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
            // The rule's own options are stored as text.
            Value::String(text) => text.parse().map_or_else(|_| Cell::Text(text.clone()), number),
            other => Cell::Text(other.to_string()),
        },
    }
}

/// Orders numbers before texts before missing values.
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

/// The settings with the same value in all runs, without checksums, null and false.
fn shared(runs: &[Run], differ: &[String]) -> BTreeMap<String, Value> {
    let Some(first) = runs.first() else { return BTreeMap::new() };
    let listed = |name: &String, v: &Value| {
        !differ.contains(name) && !name.ends_with("sha256") && !v.is_null() && v != &Value::Bool(false)
    };
    first.settings.iter().filter(|(name, v)| listed(name, v)).map(|(name, v)| (name.clone(), v.clone())).collect()
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
    let errors = group.errors;
    json!({
        "settings": group.settings.iter().cloned().collect::<BTreeMap<_, _>>(),
        "folders": folders.collect::<Vec<_>>(),
        "n": errors.map_or(0, |s| s.n),
        "mean": errors.map(|s| s.mean),
        "sd": errors.and_then(|s| s.sample_sd),
        "min": errors.map(|s| s.min),
        "max": errors.map(|s| s.max),
    })
}

/// The columns of the settings that differ. Settings that only some runs have, such as options of single rules, share one column if
/// there are more than [`SPARSE`]: most of their cells would be empty.
struct Columns<'a> {
    own: Vec<&'a str>,
    shared: Vec<&'a str>,
}

impl<'a> Columns<'a> {
    fn new(names: &'a [String], runs: &[Run]) -> Self {
        let everywhere = |name: &&str| runs.iter().all(|run| !run.setting(name).is_null());
        let names = names.iter().map(String::as_str);
        let (own, shared): (Vec<&str>, Vec<&str>) = names.clone().partition(everywhere);
        if shared.len() > SPARSE {
            Columns { own, shared }
        } else {
            Columns { own: names.collect(), shared: Vec::new() }
        }
    }

    fn header(&self) -> Vec<String> {
        self.own.iter().copied().chain((!self.shared.is_empty()).then_some(OTHERS)).map(shown).collect()
    }

    /// The cells of a run, or of the group that it represents.
    fn cells(&self, run: &Run) -> Vec<String> {
        let there = self.shared.iter().filter(|name| !run.setting(name).is_null());
        let others: Vec<String> = there.map(|name| format!("{} {}", shown(name), brief(run.setting(name)))).collect();
        let own = self.own.iter().map(|name| brief(run.setting(name)));
        own.chain((!self.shared.is_empty()).then(|| others.join(", "))).collect()
    }
}

fn report(runs: &[Run], differ: &[String], groups: &[Group]) -> String {
    if runs.is_empty() {
        return "no runs: a run is a folder with the run.json that `zilch train --out` writes\n".into();
    }
    let shared: Vec<String> =
        shared(runs, differ).iter().map(|(name, v)| format!("{} {}", shown(name), brief(v))).collect();
    let count = if runs.len() == 1 { "1 run,".to_owned() } else { format!("{} runs, all", runs.len()) };
    let mut text = format!("{count} with {}\n\n", shared.join(", "));
    text += &all(runs, differ);
    if groups.iter().any(|group| group.runs.len() > 1) {
        text += "\nlast test error over finished runs (n of all)\n";
        text += &together(groups, runs);
    }
    text
}

/// The first table: one row per run.
fn all(runs: &[Run], differ: &[String]) -> String {
    let columns = Columns::new(differ, runs);
    let settings = columns.header();
    let mut header = vec!["folder"];
    header.extend(settings.iter().map(String::as_str));
    let left = header.len();
    header.extend(["epochs", "updates", "seconds", "test error", "best", "state"]);
    let states: Vec<String> = runs.iter().map(state).collect();
    let widest = states.iter().map(|state| state.chars().count()).max().unwrap_or(0);
    let row = |(run, state): (&Run, &String)| {
        let mut row = vec![run.title()];
        row.extend(columns.cells(run));
        let seconds = if run.seconds.is_nan() { "–".into() } else { plain(run.seconds, 2) };
        row.extend([run.epochs.len().to_string(), run.updates.to_string(), seconds]);
        row.extend([run.last(), run.best()].map(|error| error.map_or("–".into(), percent)));
        // Padded here to align left: the table aligns its last columns right.
        row.push(format!("{state:<widest$}"));
        row
    };
    let rows: Vec<Vec<String>> = runs.iter().zip(&states).map(row).collect();
    table(&header, &rows, left)
}

/// The state of a run in one short line. Of a reason it has only the first sentence.
fn state(run: &Run) -> String {
    let state = match &run.state {
        State::Stopped(why) => {
            let first: String = why.split(". ").next().unwrap_or_default().chars().take(LONGEST).collect();
            let dots = if first.chars().count() == LONGEST { "…" } else { "" };
            State::Stopped(first + dots)
        }
        other => other.clone(),
    };
    state.words(run.goes_on).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The second table: one row per group.
fn together(groups: &[Group], runs: &[Run]) -> String {
    let named = groups.first().map_or(&[][..], |group| &group.settings);
    let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
    let columns = Columns::new(&names, runs);
    let settings = if names.is_empty() { vec!["runs".to_owned()] } else { columns.header() };
    let mut header: Vec<&str> = settings.iter().map(String::as_str).collect();
    let left = header.len();
    header.extend(["n", "mean", "sd", "min", "max"]);
    let row = |group: &Group| {
        let mut row = if names.is_empty() { vec!["all".into()] } else { columns.cells(&runs[group.runs[0]]) };
        let errors = group.errors;
        let n = errors.map_or(0, |s| s.n);
        let of = if n == group.runs.len() { String::new() } else { format!(" of {}", group.runs.len()) };
        row.push(format!("{n}{of}"));
        let cell = |of: fn(Statistics) -> Option<f64>| errors.and_then(of).map_or("–".into(), percent);
        row.extend([cell(|s| Some(s.mean)), cell(|s| s.sample_sd), cell(|s| Some(s.min)), cell(|s| Some(s.max))]);
        row
    };
    table(&header, &groups.iter().map(row).collect::<Vec<_>>(), left)
}

fn percent(share: f64) -> String {
    if share.is_nan() { "NaN".into() } else { plain(100.0 * share, 2) + " %" }
}

/// A number with this many decimals, or in scientific notation from 10⁹.
fn plain(v: f64, decimals: usize) -> String {
    if v.abs() < 1e9 { format!("{v:.decimals$}") } else { format!("{v:.2e}") }
}
