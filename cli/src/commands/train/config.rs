//! The arguments of a run: those that were typed, and those of a file, `--config run.toml` or the `run.json` of an earlier run.

use super::super::args::{Chosen, TrainArgs, of_a_file};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use zilch::data::MADE;
use zilch::files::{Links, read_bounded, shown, words_of_json};
use zilch::network::Init;
use zilch::rules::RuleFile;
use zilch::{Error, Result, Rule};

/// A whole command line of `zilch train`, without its first two words.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) args: TrainArgs,
}

/// The most bytes of a file that are looked at.
const MAX_FILE: u64 = 1 << 24;
/// What no file says: it would be of another run, or of none.
const NOT_IN_FILES: [&str; 3] = ["config", "resume", "help"];
/// What an earlier run says of itself alone.
const NOT_OF_OTHERS: [&str; 3] = ["out", "json", "max-time"];
/// How alike a name must be to be offered.
const ALIKE: f64 = 0.85;
/// The most characters of what clap says of an option: it quotes values.
const SAID: usize = 400;

/// What a run is asked for, a word an option as in `--lr=0.1`, and the folder that relative paths start from.
#[derive(Debug, Clone)]
pub(super) struct Arguments {
    pub(super) words: Vec<OsString>,
    pub(super) folder: PathBuf,
    /// What a person is told of a file whose options do not all go with what was typed.
    pub(super) left_out: Option<String>,
}

/// An option as it was given: its name, and its value unless it is a flag.
pub(super) type Given = (String, Option<OsString>);

impl Arguments {
    /// Those after `train` on this command line.
    pub(super) fn typed() -> Self {
        Arguments::of(&given(&mut command(), &typed_words()).unwrap_or_default())
    }

    fn of(given: &[Given]) -> Self {
        Arguments {
            words: given.iter().map(word).collect(),
            folder: std::env::current_dir().unwrap_or_default(),
            left_out: None,
        }
    }

    /// Those of one of several runs: with its own seed, and its own folder if any is written.
    pub(super) fn of_seed(&self, seed: u64) -> Self {
        let begins = |word: &OsString, name: &str| word.as_encoded_bytes().starts_with(name.as_bytes());
        let ours = |word: &&OsString| !["--seed=", "--seeds="].iter().any(|name| begins(word, name));
        let words = self.words.iter().filter(ours).cloned().chain([format!("--seed={seed}").into()]).collect();
        Arguments { words, folder: self.folder.clone(), left_out: None }
    }
}

/// The words after `train`, as they were typed.
pub(super) fn typed_words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "train").skip(1).collect()
}

/// The grammar of `zilch train`.
pub(super) fn command() -> Command {
    let mut command = Line::command();
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

/// What words say, an entry an option; nothing if clap refuses them.
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

/// The arguments of a command line and of the file that it names: what was typed goes before what the file says.
///
/// # Errors
/// [`Error::Data`] for a file that cannot be read; [`Error::Usage`] for an option that there is not (with the nearest that there is), or
/// a value that the option does not take.
pub(super) fn with_file(path: &Path) -> Result<(TrainArgs, Arguments)> {
    let mut command = command();
    let typed: Vec<Given> = given(&mut command, &typed_words()).unwrap_or_default();
    let typed: Vec<Given> = typed.into_iter().filter(|(name, _)| name != "config").collect();
    let text = text_of(path).map_err(|e| Error::data(path, format!("this --config file cannot be read: {e}")))?;
    with_text(&mut command, path, &text, &typed)
}

fn refused(path: &Path, why: &str) -> Error {
    Error::usage(format!("--config {}: {why}", path.display()))
}

/// The same of a file that was read.
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
    let refuse = |e: clap::Error| of_a_file(&e).unwrap_or_else(|| refuse(first_line(&e)));
    let matches = command.try_get_matches_from_mut(words.iter().map(word)).map_err(refuse)?;
    let Line { args } = Line::from_arg_matches(&matches).map_err(refuse)?;
    Ok((args, Arguments { left_out, ..Arguments::of(&words) }))
}

/// What clap says, without its advice, which is of command lines.
pub(super) fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let said: String = paragraph.trim_start_matches("error: ").chars().take(SAID).collect();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether what was typed leaves no room for an option of a file: the same, or one that it cannot stand beside.
fn excluded(command: &Command, name: &str, typed: &[Given]) -> bool {
    let of = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name));
    let conflicts = |one: &str, other: &str| {
        let found = of(one).map(|arg| command.get_arg_conflicts_with(arg)).unwrap_or_default();
        found.iter().any(|arg| arg.get_long() == Some(other))
    };
    typed.iter().any(|(other, _)| other == name || conflicts(name, other) || conflicts(other, name))
}

/// Removes options of the file's rule that the typed rule does not have; returns the message about them.
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
        "--config {}: {} left out; the file has that for --rule {}, and --rule {} was typed, which does not take it",
        path.display(),
        names.join(", "),
        theirs.name(),
        rule.name()
    );
    (!names.is_empty()).then_some(said)
}

/// The rule that options name, if they do.
fn rule_of(given: &[Given]) -> Option<Rule> {
    let (_, value) = given.iter().find(|(name, _)| name == "rule")?;
    let value = value.as_deref()?;
    match Chosen::is_file(value) {
        // What is wrong with it is told where it is parsed.
        true => RuleFile::read(value.as_ref()).ok().map(|file| file.rule),
        false => Rule::named(value.to_str()?),
    }
}

/// Whether a value of an option is for this rule: of its own, of those that several rules share, or an activation that its units can have.
fn takes(rule: Rule, name: &str, value: &str) -> bool {
    let own = || rule.own.iter().any(|choice| choice.name == name && choice.read(value).is_ok());
    match name {
        "activation" => rule.activation.is_none_or(|made_of| made_of.name() == value),
        _ => rule.takes(name) || own(),
    }
}

fn text_of(path: &Path) -> io::Result<String> {
    let bytes = read_bounded(path, MAX_FILE, Links::Followed)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The options that the `run.json` of an earlier run was made with.
fn of_run(command: &mut Command, text: &str) -> std::result::Result<Vec<Given>, String> {
    let run: Value =
        serde_json::from_str(text).map_err(|e| format!("it is no run.json ({})", shown(&e.to_string())))?;
    let words = run["arguments"].as_array().ok_or("it is no run.json of a run that ended: it has no \"arguments\"")?;
    let words = words_of_json(words);
    let refused = || "its \"arguments\" are not those of zilch train, or of another version".to_owned();
    let mut all = given(command, &words.ok_or_else(refused)?).ok_or_else(refused)?;
    all.retain(|(name, _)| !NOT_IN_FILES.contains(&name.as_str()) && !NOT_OF_OTHERS.contains(&name.as_str()));
    let folder = Path::new(run["folder"].as_str().unwrap_or_default());
    Ok(all.into_iter().map(|one| from_folder(one, folder)).collect())
}

/// The options of a TOML file: a line each, under their names on the command line.
fn of_toml(command: &Command, text: &str, path: &Path) -> std::result::Result<Vec<Given>, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let before = |end: usize| text.bytes().take(end).filter(|byte| *byte == b'\n').count();
        let line = e.span().map_or(1, |span| before(span.start) + 1);
        format!("line {line} is no TOML: {}", shown(e.message()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut all = Vec::new();
    for (key, value) in &table {
        let name = key.replace('_', "-");
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&name));
        let Some(arg) = arg.filter(|_| !NOT_IN_FILES.contains(&name.as_str())) else {
            return Err(unknown(command, key, &name));
        };
        let flag = matches!(arg.get_action(), ArgAction::SetTrue);
        match (flag, value) {
            (true, toml::Value::Boolean(true)) => all.push((name, None)),
            (true, toml::Value::Boolean(false)) => {}
            (true, _) => return Err(format!("{key} is true or false")),
            (false, value) => {
                let text =
                    text_of_value(value).ok_or_else(|| format!("{key} takes a text, a number or a list of such"))?;
                all.push(from_folder((name, Some(text.into())), folder));
            }
        }
    }
    Ok(all)
}

/// What is said of a name that is none.
fn unknown(command: &Command, key: &str, name: &str) -> String {
    if NOT_IN_FILES.contains(&name) {
        return format!("{key} stands on the command line, not in a file");
    }
    let names = command.get_arguments().filter_map(|arg| arg.get_long()).filter(|known| !NOT_IN_FILES.contains(known));
    let near = names.map(|known| (strsim::jaro_winkler(name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    let advice = near.filter(|(how, _)| *how >= ALIKE).map(|(_, known)| format!("; is {known} meant?"));
    format!("there is no option \"{}\"{}", shown(key), advice.unwrap_or_default())
}

/// A value as it is typed.
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

/// With a path that starts from the file's folder, where one is meant and there.
fn from_folder((name, value): Given, folder: &Path) -> Given {
    let Some(text) = &value else { return (name, value) };
    let known = text.to_str().is_some_and(|text| match name.as_str() {
        "data" => MADE.contains(&text),
        "init" => Init::from_name(&text.to_ascii_lowercase()).is_some(),
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
