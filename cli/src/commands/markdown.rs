//! `zilch man --markdown`: every command and option as one Markdown page, generated from the grammar. `docs/command-line.md` is this page.

use clap::{Arg, Command};
use std::fmt::Write;

/// The page. `command` must be built, so that its subcommands have their full names.
pub(super) fn page(command: &Command) -> String {
    let mut text = String::from(
        "# Command line\n\n\
         `zilch man --markdown` prints this page; a test compares it with the program. `zilch help COMMAND` prints the same \
         in a terminal.\n",
    );
    section(&mut text, command);
    text
}

/// The section of a command, and those of its subcommands.
fn section(text: &mut String, command: &Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let usage = command.clone().render_usage().to_string();
    let about = command.get_long_about().or(command.get_about()).map(|about| about.to_string()).unwrap_or_default();
    let _ = write!(text, "\n## {name}\n\n{}\n\n```text\n{}\n```\n", prose(&about), usage.trim_start_matches("Usage: "));
    let shown = || command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    if shown().next().is_some() {
        let _ = write!(text, "\n| command | what it does |\n| --- | --- |\n");
        for below in shown() {
            let link = below.get_bin_name().unwrap_or(below.get_name()).replace(' ', "-");
            let about = below.get_about().map(|about| about.to_string()).unwrap_or_default();
            let _ = writeln!(text, "| [`{}`](#{link}) | {} |", below.get_name(), cell(&about));
        }
    }
    for heading in headings(command) {
        let _ = write!(text, "\n{}\n\n| option | what it does |\n| --- | --- |\n", title(heading));
        for arg in arguments(command).filter(|arg| arg.get_help_heading() == heading) {
            let _ = writeln!(text, "| {} | {} |", syntax(arg), help(arg));
        }
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let _ = write!(text, "\n{}\n", prose(&after.to_string()));
    }
    shown().for_each(|below| section(text, below));
}

/// The arguments that a person types, without --help and --version.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str()))
}

/// The headings of a command's arguments, in order; `None` for the arguments that have no heading.
fn headings(command: &Command) -> Vec<Option<&str>> {
    let mut all = Vec::new();
    for heading in arguments(command).map(Arg::get_help_heading) {
        if !all.contains(&heading) {
            all.push(heading);
        }
    }
    all
}

fn title(heading: Option<&str>) -> String {
    format!("**{}**", heading.unwrap_or("Options"))
}

/// What is typed, as in `--lr <LR>`.
fn syntax(arg: &Arg) -> String {
    let names: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let values = if arg.get_action().takes_values() { names.join(" ") } else { String::new() };
    let long = arg.get_long().map(|long| format!("--{long}"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let typed: Vec<String> = [short, long].into_iter().flatten().collect();
    // A code span shows a vertical bar as it is, but a table ends its cell there.
    format!("`{}`", format!("{} {values}", typed.join(", ")).trim().replace('|', "\\|"))
}

/// The help of an argument, its values and its default.
fn help(arg: &Arg) -> String {
    let text = arg.get_long_help().or(arg.get_help()).map(|help| help.to_string()).unwrap_or_default();
    let mut cells = vec![cell(&text)];
    let values = arg.get_possible_values();
    if arg.get_action().takes_values() && !arg.is_hide_possible_values_set() {
        cells.extend(values.iter().filter(|value| !value.is_hide_set()).map(|value| {
            let about = value.get_help().map(|help| format!(": {}", cell(&help.to_string()))).unwrap_or_default();
            format!("`{}`{about}", value.get_name())
        }));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && !defaults.is_empty() && !arg.is_hide_default_value_set() {
        cells.push(format!("Default: `{}`", defaults.join(",")));
    }
    cells.join("<br>")
}

/// Text between tags: what looks like a tag is none.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut escaped = String::new();
    for c in text.trim().chars() {
        code ^= c == '`';
        match c {
            '<' if !code => escaped += "&lt;",
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    prose(text).replace('|', "\\|").replace('\n', "<br>")
}
