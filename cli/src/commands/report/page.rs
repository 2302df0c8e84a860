//! The HTML of a report. It needs no file but itself, and all text from outside is escaped (by maud).

use super::closer::Look;
use crate::commands::confusion::Confusion;
use crate::commands::table::energy;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use zilch::files::printable;
use zilch_cli::runs::{Group, Metric, Run, Skipped, State, Status, brief, differing, panels};
use zilch_lab::draw::figure;

/// The maximum number of rows of a table.
const ROWS: usize = 200;
/// The maximum number of classes of a matrix. Of more classes only the confusions are listed.
const CLASSES: usize = 32;
/// The maximum number of notes on what is missing.
const NOTES: usize = 50;

/// What a report shows.
pub(crate) struct Page<'a> {
    pub(crate) title: String,
    pub(crate) runs: &'a [Run],
    pub(crate) groups: &'a [Group],
    pub(crate) skipped: &'a [Skipped],
    pub(crate) looks: &'a [Look],
    /// Whether the page is served and renews itself.
    pub(crate) live: bool,
    pub(crate) progress: Option<Under>,
}

/// The progress of a training: updates done, and in total.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Under {
    pub(crate) done: u64,
    pub(crate) total: u64,
}

/// The styles: light and dark, desktop and phone.
const STYLE: &str = include_str!("report.css");
/// Renews the page once a second, and says when it can no longer be reached.
const SCRIPT: &str = include_str!("live.js");
/// What a browser may load: nothing from outside.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";
/// As [`POLICY`], for the page that renews itself.
const LIVE_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'unsafe-inline'; connect-src 'self'";

impl Page<'_> {
    /// The whole document.
    pub(crate) fn document(&self) -> String {
        document(&self.title, self.body(), self.live)
    }

    /// The changing part of the document.
    pub(crate) fn main(&self) -> String {
        self.body().into_string()
    }

    /// What the page lacks, and why.
    pub(crate) fn missing(&self) -> Vec<String> {
        let skipped = self.skipped.iter().map(|skip| format!("{} is left out: {}", skip.path.display(), skip.why));
        let empty = self.runs.iter().filter(|run| run.epochs.is_empty() && run.state != State::UnderWay);
        let empty = empty.map(|run| format!("{} has no finished epoch, and so no curve", run.folder.display()));
        let looks = self
            .looks
            .iter()
            .flat_map(|look| look.missing().into_iter().map(move |why| format!("{}: {why}", look.title)));
        let mut all: Vec<String> = skipped.chain(empty).chain(looks).collect();
        if self.looks.is_empty() && !self.live && !self.runs.is_empty() {
            all.push("no run has finished, so none is looked at closely".into());
        }
        all
    }

    fn body(&self) -> Markup {
        html! {
            h1 { "zilch report" }
            p.about { (text(&self.title)) " · " (count(self.runs.len())) " · made on " (now()) " UTC by zilch " (env!("CARGO_PKG_VERSION")) }
            @if let Some(under) = self.progress { (self.under_way(under)) }
            (self.missing_notes())
            @if self.runs.is_empty() { p { "There is no run yet." } } @else {
                (self.results())
                (self.curves())
                @for look in self.looks { (closer(look)) }
                (self.runs_table())
                (self.shared())
            }
            @if self.live && !self.runs.is_empty() {
                p.about { "The confusion matrix, weights and activity need the end of a run: " code { "zilch report DIR" } " draws them." }
            }
        }
    }

    fn under_way(&self, under: Under) -> Markup {
        let last = self.runs.last();
        let epoch = last.map_or(0, |run| run.epochs.len());
        let share = 100.0 * under.done as f64 / under.total.max(1) as f64;
        let seconds = last.map_or(0.0, |run| run.seconds);
        html! {
            p {
                progress value=(under.done) max=(under.total.max(1)) {}
                " " (under.done) " of " (under.total) " updates (" (format!("{share:.0}")) " %), "
                (epoch) " epochs, " (format!("{seconds:.1}")) " s"
                @if let Some(run) = last { ": " b { (run.status().name()) } }
            }
        }
    }

    fn missing_notes(&self) -> Markup {
        let notes = self.missing();
        html! {
            @if !notes.is_empty() {
                section.missing {
                    h2 { "What is missing" }
                    ul {
                        @for note in notes.iter().take(NOTES) { li { (text(note)) } }
                        @if notes.len() > NOTES { li { "and " (notes.len() - NOTES) " more" } }
                    }
                }
            }
        }
    }

    /// One row per group: its settings and its errors.
    fn results(&self) -> Markup {
        let names: Vec<&str> = self
            .groups
            .first()
            .map_or(&[][..], |group| &group.settings)
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        html! {
            section {
                h2 { "Results" }
                p { "Last test error of the runs that finished. " (zilch::statistics::PLUS_MINUS) " over seeds." }
                div.wide { table {
                    thead { tr {
                        @for name in &names { th { (text(name)) } }
                        @if names.is_empty() { th { "runs" } }
                        th.number { "n" } th.number { "test error" } th.number { "least" } th.number { "greatest" }
                    } }
                    tbody { @for group in self.groups.iter().take(ROWS) { tr {
                        @for (_, value) in &group.settings { td { (text(&brief(value))) } }
                        @if names.is_empty() { td { "all" } }
                        (errors(group, self.runs[group.runs[0]].metric))
                    } } }
                } }
                (and_more(self.groups.len()))
            }
        }
    }

    fn curves(&self) -> Markup {
        if self.runs.iter().all(|run| run.epochs.is_empty()) {
            return html! { section { h2 { "Curves" } p { "No epoch has finished yet." } } };
        }
        let drawn = figure(&panels(self.runs, self.groups), 2);
        html! { section { h2 { "Curves" } (picture(&drawn.map_err(|e| e.to_string()), "Test error and training energy over epochs")) } }
    }

    /// One row per run, and its command.
    fn runs_table(&self) -> Markup {
        let differ = differing(self.runs);
        html! {
            section {
                h2 { "Runs" }
                div.wide { table {
                    thead { tr {
                        th { "folder" }
                        @for name in &differ { th { (text(name)) } }
                        th.number { "test error" } th.number { "best" } th { "status" }
                        th.number { "epochs" } th.number { "updates" } th.number { "seconds" } th { "date (UTC)" }
                    } }
                    tbody { @for run in self.runs.iter().take(ROWS) { tr {
                        td { (text(&run.folder.display().to_string())) }
                        @for name in &differ { td { (text(&brief(run.setting(name)))) } }
                        td.number { (error_text(run.last(), run.metric)) } td.number { (error_text(run.best(), run.metric)) }
                        td class=[alarm(run)] title=[reason(run)] { (run.status().name()) }
                        td.number { (run.epochs.len()) } td.number { (run.updates) }
                        td.number { (if run.seconds.is_nan() { "–".to_owned() } else { format!("{:.2}", run.seconds) }) }
                        td { (run.when()) }
                    } } }
                } }
                (and_more(self.runs.len()))
                h3 { "Commands" }
                @for run in self.runs.iter().take(ROWS) { details open[self.runs.len() == 1] {
                    summary { (text(&run.folder.display().to_string())) }
                    @match run.command() {
                        Some(command) => pre { (text(&command)) },
                        None => p { "The run does not say with which command it was trained." },
                    }
                    @if let State::Stopped(why) = &run.state { p { "Stopped: " (text(why)) } }
                } }
            }
        }
    }

    /// The settings that all runs share.
    fn shared(&self) -> Markup {
        let differ = differing(self.runs);
        let Some(first) = self.runs.first() else { return html! {} };
        let shared = first.settings.iter().filter(|(name, value)| !differ.contains(name) && !value.is_null());
        html! {
            section {
                h2 { (if self.runs.len() == 1 { "Settings" } else { "Settings that all runs share" }) }
                div.wide { table { tbody {
                    @for (name, value) in shared { tr { th { (text(name)) } td { (text(&brief(value))) } } }
                } } }
            }
        }
    }
}

/// The page of a served report whose folders cannot be read any more.
pub(crate) fn failed(why: &str, whole: bool) -> String {
    let body = html! { h1 { "zilch report" } p { (text(why)) } };
    if whole { document("zilch report", body, true) } else { body.into_string() }
}

fn document(title: &str, body: Markup, live: bool) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(if live { LIVE_POLICY } else { POLICY });
                title { "zilch report: " (text(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (body) }
                @if live { script { (PreEscaped(SCRIPT)) } }
            }
        }
    };
    page.into_string()
}

/// A closer look at one run.
fn closer(look: &Look) -> Markup {
    html! {
        section {
            h2 { "A closer look at " (text(&look.title)) }
            @if let Some(curves) = &look.curves { h3 { "Probes" } (picture(curves, "Probes over epochs")) }
            h3 { "Confusion matrix" }
            @match &look.confusion { Ok(confusion) => (matrix(confusion)), Err(why) => p.lacks { (text(why)) } }
            h3 { "Weights of the first layer" }
            p { "One image per unit, each on its own scale: red is positive, blue is negative, white is 0. " (look.weights_note) }
            (picture(&look.weights, "Weights of the first layer"))
            h3 { "Activity" }
            @match &look.activity {
                Ok(layers) => {
                    p { "The forward pass for the first test sample of each class: one row per sample, in the order of the classes, and one column per unit." }
                    @for layer in layers {
                        h4 { (layer.title) }
                        (picture(&layer.svg, &layer.title))
                    }
                }
                Err(why) => p.lacks { (text(why)) },
            }
        }
    }
}

fn matrix(confusion: &Confusion) -> Markup {
    let classes = confusion.classes_json();
    let there: Vec<usize> =
        (0..confusion.counts.len()).filter(|&class| confusion.counts[class].iter().any(|n| *n > 0)).collect();
    if there.len() > CLASSES {
        return html! {
            p { "The most frequent confusions of " (there.len()) " classes." }
            table {
                thead { tr { th.number { "class" } th.number { "answer" } th.number { "samples" } } }
                tbody { @for (class, answer, n) in confusion.pairs() { tr {
                    td.number { (class) } td.number { (confusion.name(answer)) } td.number { (n) }
                } } }
            }
        };
    }
    let answers: Vec<usize> =
        there.iter().copied().chain(confusion.has_none().then_some(confusion.counts.len())).collect();
    // The shade of a cell is its share of the class. The square root makes rare errors visible.
    let shade = |class: usize, answer: usize| {
        let total: u64 = confusion.counts[class].iter().sum();
        let share = (confusion.counts[class][answer] as f64 / total.max(1) as f64).sqrt();
        let color = if class == answer { "0,114,178" } else { "213,94,0" };
        format!("background:rgba({color},{:.2})", 0.75 * share)
    };
    html! {
        p { "Test samples of each class (row) by the answer of the network (column)." }
        div.wide { table.matrix {
            thead { tr { th { "class" } @for answer in &answers { th.number { (confusion.name(*answer)) } } th.number { "error" } } }
            tbody { @for &class in &there { tr {
                th { (class) }
                @for &answer in &answers {
                    td.number style=(shade(class, answer)) {
                        @if confusion.counts[class][answer] > 0 { (confusion.counts[class][answer]) }
                    }
                }
                td.number { (percent(classes[class]["error"].as_f64())) }
            } } }
        } }
    }
}

fn errors(group: &Group, metric: Metric) -> Markup {
    let Some(errors) = group.errors else {
        return html! { td.number { "0" } td.number { "–" } td.number { "–" } td.number { "–" } };
    };
    let of = if errors.n == group.runs.len() { String::new() } else { format!(" of {}", group.runs.len()) };
    let mean = match metric {
        Metric::Fraction => format!("{:.2} %", errors.scaled(100.0)),
        Metric::Mse => format!("{errors:.4}"),
    };
    html! {
        td.number { (errors.n) (of) }
        td.number { (mean) }
        td.number { (error_text(Some(errors.min), metric)) }
        td.number { (error_text(Some(errors.max), metric)) }
    }
}

/// An inline picture, or why there is none.
fn picture(svg: &Result<String, String>, what: &str) -> Markup {
    match svg {
        // The namespace is implied in HTML, and it looks like an address.
        Ok(svg) => html! {
            figure role="img" aria-label=(what) { (PreEscaped(svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1))) }
        },
        Err(why) => html! { p.lacks { (text(why)) } },
    }
}

/// Text from outside. Control characters, which HTML forbids, are escaped.
fn text(text: &str) -> String {
    printable(text).into_owned()
}

/// A test error in percent, or a mean squared error.
fn error_text(error: Option<f64>, metric: Metric) -> String {
    match (metric, error) {
        (Metric::Mse, Some(error)) if error.abs() < 1e9 => format!("{error:.4}"),
        _ => percent(error),
    }
}

fn percent(share: Option<f64>) -> String {
    match share {
        None => "–".into(),
        Some(share) if share.is_nan() => "NaN".into(),
        Some(share) if share.abs() < 1e9 => format!("{:.2} %", 100.0 * share),
        Some(share) => energy(share),
    }
}

fn count(runs: usize) -> String {
    if runs == 1 { "1 run".into() } else { format!("{runs} runs") }
}

fn and_more(rows: usize) -> Markup {
    html! { @if rows > ROWS { p { "and " (rows - ROWS) " more; " code { "zilch runs --csv" } " lists all" } } }
}

fn alarm(run: &Run) -> Option<&'static str> {
    matches!(run.status(), Status::AtChance | Status::Diverged | Status::Stopped).then_some("alarm")
}

fn reason(run: &Run) -> Option<String> {
    if let State::Stopped(why) = &run.state { Some(text(why)) } else { None }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string()
}
