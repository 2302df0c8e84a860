//! The page of Song et al. (2020), and helpers that its sections share.

use super::experiments::{SONG_2020, figure3, table2, table3};
use super::record::{Record, load};
use std::path::Path;
use zilch::error::{Error, Result};

/// The title of the page.
pub const PAGE_TITLE: &str = "# The paper, reproduced\n";

/// Generates the page from the records of Song et al. (2020) in `dir`.
///
/// # Errors
/// [`Error::Data`] when a record cannot be read, or none exists.
pub fn page(dir: &Path) -> Result<String> {
    let mut text = String::from(PAGE_TITLE);
    text.push_str(
        "\nSong, Lukasiewicz, Xu & Bogacz, \"Can the Brain Do Backpropagation?\" (NeurIPS 2020), re-run by\n\
         `zilch reproduce all --data DIR --out DIR`. This page is generated from the JSON files beside its\n\
         figures by `zilch reproduce page --out DIR`, and a test checks that it is up to date.\n",
    );
    let sections = SONG_2020.iter().map(|experiment| experiment.section(dir)).collect::<Result<Vec<_>>>()?;
    if sections.iter().all(Option::is_none) {
        let files: Vec<String> = SONG_2020.iter().map(|experiment| format!("{}.json", experiment.name())).collect();
        return Err(Error::data(dir, format!("there is no result here ({})", files.join(", "))));
    }
    text.extend(sections.into_iter().flatten());
    Ok(text)
}

/// A summary of the records in `dir`, which `docs/reproduced-papers.md` quotes.
///
/// # Errors
/// [`Error::Data`] when `table2.json`, `figure3.json` or `table3.json` is missing or damaged.
pub fn summary(dir: &Path) -> Result<String> {
    let missing = || Error::data(dir, "table2.json, figure3.json and table3.json are needed");
    let table2 = load::<Vec<table2::Row>>(dir, "table2")?.ok_or_else(missing)?.results;
    let figure3 = load::<Vec<figure3::Outcome>>(dir, "figure3")?.ok_or_else(missing)?.results;
    let table3 = load::<table3::Raw>(dir, "table3")?.ok_or_else(missing)?.results;
    let [same, all] = figure3::identical(&figure3, true);
    let [stray, ablated] = figure3::identical(&figure3, false);
    Ok(format!(
        "* Table 2: {} of 16 properties come out as the paper says, computed from the plans and from weights.\n\
         * Figure 3: {} trainings of {} epochs. With t = l, γ = 1, σ = 0, {same} of {all} end on BP's weights, bit for bit; of the {ablated}\n\
         \x20 that break a condition or compute ε as x − μ, {stray}.\n\
         * Table 3: φ finds t = l in {:.2} % of cases at t_d = 1 and {:.2} % at t_d = 4 (float32, ε = x − μ; the paper: 93.4 and 100.0).\n",
        table2::agreement(&table2),
        figure3.len(),
        figure3.first().map_or(0, |o| o.errors.len()),
        table3.found(0),
        table3.found(3),
    ))
}

/// The machine, date and conditions of a record.
pub(super) fn provenance<T>(r: &Record<T>) -> String {
    let of = |key: &str| r.host[key].as_str().unwrap_or("?").to_owned();
    let peak = r.peak_mib.map_or(String::new(), |m| format!(", {m} MiB at most"));
    let minutes = r.wall_seconds / 60.0;
    format!(
        "\n{} on {}; {} ({}), {} threads; zilch {}; {minutes:.1} minutes in the run that finished it{peak}{}.\n",
        r.date,
        r.data,
        of("cpu"),
        of("simd"),
        r.host["threads"],
        of("zilch"),
        if r.quick { "; **reduced version (`--quick`)**" } else { "" }
    )
}

/// A table in Markdown.
pub(super) fn markdown(header: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = line(&header.iter().map(|_| "---".into()).collect::<Vec<_>>());
    rows.iter().fold(format!("\n{}{rule}", line(header)), |text, row| text + &line(row))
}

/// The cells of a table as strings.
pub(super) fn strings(cells: &[&str]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// A number in a short notation.
pub(super) fn number(v: f64) -> String {
    match v {
        0.0 => "0".into(),
        v if (0.01..1000.0).contains(&v) => format!("{v:.3}"),
        v => format!("{v:.1e}"),
    }
}
