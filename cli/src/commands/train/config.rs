//! The arguments of a run: those on the command line, and those from a `--config` file (`run.toml`, or the `run.json` of an earlier run).

use super::super::args::{Chosen, TrainArgs, of_a_file, reworded};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use zilch::data::MADE;
use zilch::files::{Links, read_bounded, shown, words_of_json};
use zilch::named::Named;
use zilch::network::Init;
use zilch::rules::RuleFile;
use zilch::{Activation, Error, Result, Rule};
use zilch_cli::words::{advice, option, other_names};

/// A command line of `zilch train` without the words `zilch train`.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) args: TrainArgs,
}

/// The largest size of a file in bytes.
const MAX_FILE: u64 = 1 << 24;
/// Options that a file may not set: they select the file or the run folder, or print the help.
const NOT_IN_FILES: [&str; 3] = ["config", "resume", "help"];
/// Options that are not taken from the `run.json` of an earlier run: they concern only that run.
const NOT_OF_OTHERS: [&str; 3] = ["out", "json", "max-time"];
/// The maximum length of an error text from clap, in characters. clap quotes the invalid value, which can be
/// arbitrarily long.
const MAX_ERROR: usize = 400;

/// The arguments of a run, one word per option as in `--lr=0.1`, and the folder that relative paths refer to.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    pub(super) words: Vec<OsString>,
    pub(super) folder: PathBuf,
    /// The message about options of a file that do not apply to the rule on the command line.
    pub(super) left_out: Option<String>,
}

/// An option: its name, and its value unless it is a flag.
pub(super) type Given = (String, Option<OsString>);

impl Arguments {
    /// The arguments after `train` on the command line of this process.
    pub(super) fn typed() -> Self {
        Arguments::of(&typed())
    }

    fn of(given: &[Given]) -> Self {
        Arguments {
            words: given.iter().map(word).collect(),
            folder: std::env::current_dir().unwrap_or_default(),
            left_out: None,
        }
    }

    /// The arguments of one run of `--seeds`, with its own seed.
    pub(super) fn of_seed(&self, seed: u64) -> Self {
        let begins = |word: &OsString, name: &str| word.as_encoded_bytes().starts_with(name.as_bytes());
        let ours = |word: &&OsString| !["--seed=", "--seeds="].iter().any(|name| begins(word, name));
        let words = self.words.iter().filter(ours).cloned().chain([format!("--seed={seed}").into()]).collect();
        Arguments { words, folder: self.folder.clone(), left_out: None }
    }
}

/// The options after `train` on the command line of this process, by their own names.
pub(super) fn typed() -> Vec<Given> {
    let words: Vec<OsString> =
        zilch_cli::process::arguments().into_iter().skip_while(|word| word != "train").skip(1).collect();
    given(&mut command(), &words).unwrap_or_default()
}

/// The grammar of `zilch train`.
pub(super) fn command() -> Command {
    let mut command = other_names(Line::command());
    command.build();
    command
}

fn word((name, value): &Given) -> OsString {
    let mut word = OsString::from(format!("--{name}"));
    if let Some(value) = value {
        word.push("=");
        word.push(value);
    }
    word
}

/// The options in `words`; none if clap refuses them.
fn given(command: &mut Command, words: &[OsString]) -> Option<Vec<Given>> {
    let matches = command.try_get_matches_from_mut(words).ok()?;
    Some(read(command, &matches))
}

fn read(command: &Command, matches: &ArgMatches) -> Vec<Given> {
    let mut all = Vec::new();
    for arg in command.get_arguments() {
        let (id, Some(name)) = (arg.get_id().as_str(), arg.get_long()) else { continue };
        if !matches!(matches.try_contains_id(id), Ok(true))
            || matches.value_source(id) != Some(ValueSource::CommandLine)
        {
            continue;
        }
        let flag = matches!(arg.get_action(), ArgAction::SetTrue);
        let values = || matches.get_raw(id).into_iter().flatten().collect::<Vec<_>>().join(",".as_ref());
        all.push((name.to_owned(), (!flag).then(values)));
    }
    all
}

/// The arguments of the command line and of its `--config` file. The command line overrides the file.
///
/// # Errors
/// [`Error::Data`] if the file cannot be read. [`Error::Usage`] for an unknown option (with the most similar name) or an invalid value.
pub(super) fn with_file(path: &Path) -> Result<(TrainArgs, Arguments)> {
    let mut command = command();
    let typed: Vec<Given> = typed().into_iter().filter(|(name, _)| name != "config").collect();
    let text = text_of(path).map_err(|e| Error::data(path, format!("this --config file cannot be read: {e}")))?;
    with_text(&mut command, path, &text, &typed)
}

fn refused(path: &Path, why: &str) -> Error {
    Error::usage(format!("--config {}: {why}", path.display()))
}

/// As [`with_file`], from the text of the file.
pub(super) fn with_text(
    command: &mut Command,
    path: &Path,
    text: &str,
    typed: &[Given],
) -> Result<(TrainArgs, Arguments)> {
    let refuse = |why: String| refused(path, &why);
    let text = text.trim_start_matches('\u{feff}');
    let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let json = json || text.trim_start().starts_with('{');
    let mut file = if json { of_run(command, text) } else { of_toml(command, text, path) }.map_err(refuse)?;
    let left_out = leave_out_of_other_rules(&mut file, typed, path);
    file.retain(|(name, _)| !excluded(command, name, typed));
    let words: Vec<Given> = file.into_iter().chain(typed.iter().cloned()).collect();
    let refuse = |e: clap::Error| of_a_file(&e).unwrap_or_else(|| refuse(first_line(&reworded(e))));
    let matches = command.try_get_matches_from_mut(words.iter().map(word)).map_err(refuse)?;
    let Line { args } = Line::from_arg_matches(&matches).map_err(refuse)?;
    Ok((args, Arguments { left_out, ..Arguments::of(&words) }))
}

/// The first paragraph of an error text from clap. The rest is advice about command lines.
pub(super) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let said: String = paragraph.trim_start_matches("error: ").chars().take(MAX_ERROR).collect();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the command line overrides an option of a file: it has the same option, or one that conflicts with it.
fn excluded(command: &Command, name: &str, typed: &[Given]) -> bool {
    let of = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let conflicts = |one: &str, other: &str| {
        let found = of(one).map(|arg| command.get_arg_conflicts_with(arg)).unwrap_or_default();
        found.iter().any(|arg| arg.get_long() == Some(other))
    };
    typed.iter().any(|(other, _)| other == name || conflicts(name, other) || conflicts(other, name))
}

/// Removes the options of the file that do not apply to the rule on the command line; returns the message about them.
fn leave_out_of_other_rules(file: &mut Vec<Given>, typed: &[Given], path: &Path) -> Option<String> {
    let rule = rule_of(typed)?;
    let theirs = rule_of(file).unwrap_or(Rule::ZIL);
    let foreign = |(name, value): &Given| {
        let value = value.as_deref().and_then(OsStr::to_str).unwrap_or_default();
        takes(theirs, name, value) && !takes(rule, name, value)
    };
    let (left, kept): (Vec<Given>, Vec<Given>) = std::mem::take(file).into_iter().partition(foreign);
    *file = kept;
    let names: Vec<String> = left.iter().map(|(name, _)| format!("--{name}")).collect();
    let said = format!(
        "--config {}: {} ignored; the file sets it for --rule {}, and it does not apply to --rule {} of the command line",
        path.display(),
        names.join(", "),
        theirs.name(),
        rule.name()
    );
    (!names.is_empty()).then_some(said)
}

/// The rule in these options; none if they do not name a rule.
fn rule_of(given: &[Given]) -> Option<Rule> {
    let (_, value) = given.iter().find(|(name, _)| name == "rule")?;
    let value = value.as_deref()?;
    match Chosen::is_file(value) {
        // The parser of `--rule` reports an invalid file.
        true => RuleFile::read(value.as_ref()).ok().map(|file| file.rule),
        false => Rule::read(value.to_str()?),
    }
}

/// Whether the rule accepts this option with this value: a shared option, one of its own, or an activation.
fn takes(rule: Rule, name: &str, value: &str) -> bool {
    let own = || rule.rule_options.iter().any(|choice| choice.name == name && choice.read(value).is_ok());
    match name {
        "activation" => rule.activation.is_none_or(|fixed| Activation::read(value) == Some(fixed)),
        _ => rule.takes(name) || own(),
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, MAX_FILE, Links::Followed)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The options of the `run.json` of an earlier run.
fn of_run(command: &mut Command, text: &str) -> std::result::Result<Vec<Given>, String> {
    let run: Value =
        serde_json::from_str(text).map_err(|e| format!("it is not a run.json ({})", shown(&e.to_string())))?;
    let words =
        run["arguments"].as_array().ok_or("it is not the run.json of a finished run: it has no \"arguments\"")?;
    let words = words_of_json(words);
    let refused = || "its \"arguments\" are not arguments of zilch train, or they are from another version".to_owned();
    let mut all = given(command, &words.ok_or_else(refused)?).ok_or_else(refused)?;
    all.retain(|(name, _)| !NOT_IN_FILES.contains(&name.as_str()) && !NOT_OF_OTHERS.contains(&name.as_str()));
    let folder = Path::new(run["folder"].as_str().unwrap_or_default());
    Ok(all.into_iter().map(|one| from_folder(one, folder)).collect())
}

/// The options of a TOML file: one line per option, with the name that it has on the command line.
fn of_toml(command: &Command, text: &str, path: &Path) -> std::result::Result<Vec<Given>, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let before = |end: usize| text.bytes().take(end).filter(|byte| *byte == b'\n').count();
        let line = e.span().map_or(1, |span| before(span.start) + 1);
        format!("line {line} is not TOML: {}", shown(e.message()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut all = Vec::new();
    for (key, value) in &table {
        let found = option(command, key).filter(|arg| arg.get_long().is_some_and(|name| !NOT_IN_FILES.contains(&name)));
        let Some((arg, name)) = found.and_then(|arg| Some((arg, arg.get_long()?.to_owned()))) else {
            return Err(unknown(command, key, value));
        };
        let flag = matches!(arg.get_action(), ArgAction::SetTrue);
        // A flag that can also be switched off.
        let switch = arg.get_num_args().is_some_and(|n| n.min_values() == 0);
        match (flag, value) {
            (true, toml::Value::Boolean(true)) => all.push((name, None)),
            (true, toml::Value::Boolean(false)) => {}
            (true, value) => return Err(format!("{key} takes true or false{}", nested(value))),
            (false, toml::Value::Boolean(on)) if switch => all.push((name, Some(on.to_string().into()))),
            (false, value) if switch => return Err(format!("{key} takes true or false{}", nested(value))),
            (false, value) => {
                let text = text_of_value(value)
                    .ok_or_else(|| format!("{key} takes a string, a number, or a list of these{}", nested(value)))?;
                all.push(from_folder((name, Some(text.into())), folder));
            }
        }
    }
    Ok(all)
}

/// The message about a name that is no option, with advice.
fn unknown(command: &Command, key: &str, value: &toml::Value) -> String {
    if option(command, key).is_some() {
        return format!("{key} belongs on the command line, not in a file");
    }
    let meant = advice(command, key).map(|advice| format!("; {advice}"));
    format!("there is no option \"{}\"{}", shown(key), meant.unwrap_or_else(|| nested(value).to_owned()))
}

/// What to do about a table, which no option takes.
fn nested(value: &toml::Value) -> &'static str {
    if value.is_table() { "; options stand at the top of the file, not below a [heading]" } else { "" }
}

/// A TOML value as it is written on the command line; none if no option takes its type.
fn text_of_value(value: &toml::Value) -> Option<String> {
    Some(match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Array(all) => {
            let parts: Option<Vec<String>> =
                all.iter().map(|one| if one.is_array() { None } else { text_of_value(one) }).collect();
            parts?.join(",")
        }
        toml::Value::Boolean(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

/// Resolves a path in an option's value relative to `folder`. A value that is not a path, or names no file there, stays as it is.
fn from_folder((name, value): Given, folder: &Path) -> Given {
    let Some(text) = &value else { return (name, value) };
    let known = text.to_str().is_some_and(|text| match name.as_str() {
        "data" => MADE.contains(&text),
        "init" => Init::read(text).is_some(),
        "rule" => !text.ends_with(".json"),
        "tasks" => false,
        _ => true,
    });
    let path = folder.join(text);
    if known || Path::new(text).is_absolute() || !path.exists() {
        return (name, value);
    }
    let whole = std::path::absolute(&path).unwrap_or(path);
    (name, Some(whole.into()))
}
