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
use zilch_cli::runs::{Found, Group, Metric, Run, State, brief, differing, find, group, picture};
use zilch_cli::terminal;

/// The columns that every run has, besides its settings.
const COLUMNS: [&str; 9] = ["folder", "epochs", "updates", "seconds", "error", "best", "status", "state", "date"];
/// The spaces between two columns of a table.
const GAP: usize = 2;
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
    if args.csv {
        return Ok(csv(&runs, &differ).into());
    }
    let mut text = report(&runs, &differ, &groups, terminal::width());
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
        "status" => Cell::Text(run.status().name().into()),
        "state" => Cell::Text(run.state.words(run.goes_on)),
        "date" => run.date.map_or(Cell::Missing, |date| Cell::Number(date.as_second() as f64)),
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
        "status": run.status().name(),
        "state": run.state.words(false),
        "goes_on": run.goes_on,
        "date": run.date.map(|date| date.to_string()),
        "command": run.command(),
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

fn report(runs: &[Run], differ: &[String], groups: &[Group], width: Option<usize>) -> String {
    if runs.is_empty() {
        return "no runs: a run is a folder with the run.json that `zilch train --out` writes\n".into();
    }
    let mut shared: Vec<String> =
        shared(runs, differ).iter().map(|(name, v)| format!("{} {}", shown(name), brief(v))).collect();
    shared.extend(alike(runs).into_iter().map(|(name, value)| format!("{value} {name}")));
    let count = if runs.len() == 1 { "1 run,".to_owned() } else { format!("{} runs, all", runs.len()) };
    let mut text = format!("{count} with {}\n\n", shared.join(", "));
    text += &all(runs, differ, width);
    if groups.iter().any(|group| group.runs.len() > 1) {
        text += "\nlast test error over finished runs (n of all)\n";
        text += &together(groups, runs);
    }
    text
}

/// Counts that are equal in all of several runs: they are said once, and have no column.
fn alike(runs: &[Run]) -> Vec<(&'static str, u64)> {
    let of = |name, value: fn(&Run) -> u64| {
        let first = runs.first().map(value)?;
        (runs.len() > 1 && runs.iter().all(|run| value(run) == first)).then_some((name, first))
    };
    let both = [of("epochs", |run| run.epochs.len() as u64), of("updates", |run| run.updates)];
    both.into_iter().flatten().collect()
}

/// A column of the first table.
struct Column {
    name: String,
    cells: Vec<String>,
    left: bool,
    /// Columns with a small rank are shown first if the terminal is narrow. Those of rank 0 are always shown.
    rank: usize,
}

impl Column {
    fn new(rank: usize, name: &str, left: bool, cells: impl Iterator<Item = String>) -> Column {
        Column { name: name.into(), cells: cells.collect(), left, rank }
    }

    fn width(&self) -> usize {
        self.cells.iter().map(|cell| cell.chars().count()).chain([self.name.chars().count()]).max().unwrap_or(0)
    }
}

/// The first table: one row per run, with the columns that fit.
fn all(runs: &[Run], differ: &[String], width: Option<usize>) -> String {
    let settings = Columns::new(differ, runs);
    let error_of = |run: &Run, error: Option<f64>| error.map_or("–".into(), |error| error_text(error, run.metric));
    let seconds = |run: &Run| if run.seconds.is_nan() { "–".into() } else { plain(run.seconds, 2) };
    let mut columns = vec![Column::new(0, "folder", true, runs.iter().map(Run::title))];
    let cells: Vec<Vec<String>> = runs.iter().map(|run| settings.cells(run)).collect();
    for (i, name) in settings.header().iter().enumerate() {
        columns.push(Column::new(2 + i, name, true, cells.iter().map(|row| row[i].clone())));
    }
    let last = 2 + settings.header().len();
    let alike = alike(runs);
    let differs = |name: &str| alike.iter().all(|(other, _)| *other != name);
    if differs("epochs") {
        columns.push(Column::new(last + 1, "epochs", false, runs.iter().map(|run| run.epochs.len().to_string())));
    }
    if differs("updates") {
        columns.push(Column::new(last + 3, "updates", false, runs.iter().map(|run| run.updates.to_string())));
    }
    columns.push(Column::new(last + 2, "seconds", false, runs.iter().map(seconds)));
    columns.push(Column::new(0, "test error", false, runs.iter().map(|run| error_of(run, run.last()))));
    columns.push(Column::new(1, "best", false, runs.iter().map(|run| error_of(run, run.best()))));
    columns.push(Column::new(0, "status", true, runs.iter().map(status)));
    columns.push(Column::new(last, "date (UTC)", true, runs.iter().map(Run::when)));
    let (kept, left_out) = fitting(columns, width);
    let mut text = lines(&kept);
    if !left_out.is_empty() {
        text += &format!("no room for {}; --csv has every column\n", left_out.join(", "));
    }
    text
}

/// The columns that fit in this width, in their order, and the names of the others.
fn fitting(columns: Vec<Column>, width: Option<usize>) -> (Vec<Column>, Vec<String>) {
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&i| columns[i].rank);
    let (mut used, mut fits) = (0, vec![true; columns.len()]);
    for i in order {
        let more = columns[i].width() + GAP;
        fits[i] = columns[i].rank == 0 || width.is_none_or(|width| used + more <= width + GAP);
        used += if fits[i] { more } else { 0 };
    }
    let mut fits = fits.into_iter();
    let (kept, others): (Vec<Column>, Vec<Column>) = columns.into_iter().partition(|_| fits.next() == Some(true));
    (kept, others.into_iter().map(|column| column.name).collect())
}

/// The columns side by side, under their names.
fn lines(columns: &[Column]) -> String {
    let rule = |column: &Column| "─".repeat(column.width());
    let line = |cell: &dyn Fn(&Column) -> String| {
        let padded = |column: &Column| {
            let text = cell(column);
            let pad = " ".repeat(column.width() - text.chars().count());
            if column.left { text + &pad } else { pad + &text }
        };
        let cells: Vec<String> = columns.iter().map(padded).collect();
        cells.join(&" ".repeat(GAP)).trim_end().to_owned() + "\n"
    };
    let rows = columns.first().map_or(0, |column| column.cells.len());
    let mut text = line(&|column| column.name.clone()) + &line(&rule);
    text.extend((0..rows).map(|row| line(&|column| column.cells[row].clone())));
    text
}

/// The status of a run, and whether it can be continued.
fn status(run: &Run) -> String {
    let name = run.status().name();
    let resumes = run.goes_on && matches!(run.state, State::Stopped(_) | State::Open);
    if resumes { format!("{name}; continue with --resume") } else { name.to_owned() }
}

/// All runs as CSV, with every column. Numbers have all their digits, and a missing value is an empty cell.
fn csv(runs: &[Run], differ: &[String]) -> String {
    let names = ["folder".to_owned()].into_iter().chain(differ.iter().cloned());
    let header = names.chain(CSV.map(|(name, _)| name.to_owned()));
    let mut text = csv_line(header);
    for run in runs {
        let settings = differ.iter().map(|name| csv_value(run.setting(name)));
        let rest = CSV.map(|(_, cell)| cell(run));
        text += &csv_line([run.folder.display().to_string()].into_iter().chain(settings).chain(rest));
    }
    text
}

/// The columns of the CSV after the settings.
type CsvColumn = (&'static str, fn(&Run) -> String);
const CSV: [CsvColumn; 9] = [
    ("epochs", |run| run.epochs.len().to_string()),
    ("updates", |run| run.updates.to_string()),
    ("seconds", |run| csv_number(Some(run.seconds))),
    ("test_error", |run| csv_number(run.last())),
    ("best", |run| csv_number(run.best())),
    ("status", |run| run.status().name().into()),
    ("state", |run| run.state.words(false)),
    ("date", |run| run.date.map(|date| date.to_string()).unwrap_or_default()),
    ("command", |run| run.command().unwrap_or_default()),
];

fn csv_number(value: Option<f64>) -> String {
    value.filter(|v| !v.is_nan()).map(|v| v.to_string()).unwrap_or_default()
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A line of CSV. A cell with a comma, a quote or a line break is quoted (RFC 4180).
fn csv_line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\n"
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
        let (errors, metric) = (group.errors, runs[group.runs[0]].metric);
        let n = errors.map_or(0, |s| s.n);
        let of = if n == group.runs.len() { String::new() } else { format!(" of {}", group.runs.len()) };
        row.push(format!("{n}{of}"));
        let cell = |of: fn(Statistics) -> Option<f64>| {
            errors.and_then(of).map_or("–".into(), |error| error_text(error, metric))
        };
        row.extend([cell(|s| Some(s.mean)), cell(|s| s.sample_sd), cell(|s| Some(s.min)), cell(|s| Some(s.max))]);
        row
    };
    table(&header, &groups.iter().map(row).collect::<Vec<_>>(), left)
}

/// A test error in percent, or a mean squared error.
fn error_text(error: f64, metric: Metric) -> String {
    match metric {
        _ if error.is_nan() => "NaN".into(),
        Metric::Fraction => plain(100.0 * error, 2) + " %",
        Metric::Mse => plain(error, 4),
    }
}

/// A number with this many decimals, or in scientific notation from 10⁹.
fn plain(v: f64, decimals: usize) -> String {
    if v.abs() < 1e9 { format!("{v:.decimals$}") } else { format!("{v:.2e}") }
}
