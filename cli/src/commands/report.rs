//! `zilch report`: one self-contained HTML page about the runs in folders.

pub(super) mod closer;
pub(super) mod page;

use super::args::ReportArgs;
use super::live::Server;
use super::progress::say;
use super::signals;
use super::{Answer, stop_flag};
use closer::Look;
use page::Page;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;
use zilch::files::{shown, write_text};
use zilch::{Error, Result};
use zilch_cli::runs::{Found, Group, Run, Status, find, group};

/// The maximum number of groups whose best run is looked at in detail.
const LOOKED_AT: usize = 3;
/// The file that is written without `--out`.
const FILE: &str = "report.html";
/// How often a served page looks for Ctrl-C.
const POLL: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &ReportArgs) -> Result<Answer> {
    let found = find(&args.folders)?;
    check_by(&args.by, &found.runs)?;
    if let Some(port) = args.live {
        return serve(args, port);
    }
    if found.runs.is_empty() {
        let folder = args.folders.first().map_or(Path::new("."), PathBuf::as_path);
        let why = "there is no run in it: a run is a folder with the run.json that `zilch train --out` writes";
        return Err(Error::data(folder, why));
    }
    let groups = group(&found.runs, &args.by);
    let looks: Vec<Look> = best(&found.runs, &groups).into_iter().map(|i| Look::at(&found.runs[i])).collect();
    let out = args.out.clone().unwrap_or_else(|| FILE.into());
    let page = page(args, &found, &groups, &looks, false);
    write_text(&out, &page.document())?;
    let count = found.runs.len();
    let runs = if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
    let more = match page.missing().len() {
        0 => "",
        _ => "; the page says what is missing",
    };
    Ok(format!("report on {runs} written to {}{more}\n", out.display()).into())
}

fn page<'a>(args: &'a ReportArgs, found: &'a Found, groups: &'a [Group], looks: &'a [Look], live: bool) -> Page<'a> {
    let folders: Vec<String> = args.folders.iter().map(|folder| folder.display().to_string()).collect();
    Page { title: folders.join(", "), runs: &found.runs, groups, skipped: &found.skipped, looks, live, progress: None }
}

/// Refuses a setting that no run has.
fn check_by(by: &[String], runs: &[Run]) -> Result<()> {
    let unknown = by.iter().find(|name| !runs.is_empty() && runs.iter().all(|run| !run.settings.contains_key(*name)));
    unknown.map_or(Ok(()), |name| {
        Err(Error::usage(format!("--by: none of these runs has a setting \"{}\"; zilch runs lists them", shown(name))))
    })
}

/// The best run of each of the best groups, by the last test error of complete runs.
fn best(runs: &[Run], groups: &[Group]) -> Vec<usize> {
    let error = |run: usize| {
        let complete = matches!(runs[run].status(), Status::Finished | Status::AtChance);
        runs[run].last().filter(|error| complete && !error.is_nan())
    };
    let least = |group: &Group| {
        let members = group.runs.iter().filter_map(|&run| Some((error(run)?, run)));
        members.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let mut all: Vec<(f64, usize)> = groups.iter().filter_map(least).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.into_iter().take(LOOKED_AT).map(|(_, run)| run).collect()
}

/// Serves the page until Ctrl-C. It is made anew from the folders for each request.
fn serve(args: &ReportArgs, port: u16) -> Result<Answer> {
    let stop = stop_flag();
    let asked = args.clone();
    let made = move |whole: bool| match find(&asked.folders) {
        Ok(found) => {
            let groups = group(&found.runs, &asked.by);
            let page = page(&asked, &found, &groups, &[], true);
            if whole { page.document() } else { page.main() }
        }
        Err(error) => page::failed(&error.to_string(), whole),
    };
    let server = Server::start(port, made)?;
    say(&format!("the report is at {} until Ctrl-C", server.address()));
    // Ctrl-C is the regular end of this command, and nothing is lost.
    signals::hold();
    while !stop.load(Ordering::Relaxed) {
        sleep(POLL);
    }
    Ok(String::new().into())
}
