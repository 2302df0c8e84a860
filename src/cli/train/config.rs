//! The arguments of a run: those that were typed, and those of a file, `--config run.toml` or the `run.json` of an earlier run.

use super::super::args::TrainArgs;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use serde_json::Value;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use zilch::data::MADE;
use zilch::network::Init;
use zilch::{Error, Result};

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
    pub(super) words: Vec<String>,
    pub(super) folder: PathBuf,
}

/// An option as it was given: its name, and its value unless it is a flag.
pub(super) type Given = (String, Option<OsString>);

impl Arguments {
    /// Those after `train` on this command line.
    pub(super) fn typed() -> Self {
        Arguments::of(&given(&mut command(), &typed_words()).unwrap_or_default())
    }

    fn of(given: &[Given]) -> Self {
        let words = given.iter().map(|one| word(one).to_string_lossy().into_owned()).collect();
        Arguments { words, folder: std::env::current_dir().unwrap_or_default() }
    }

    /// Those of one of several runs: with its own seed, and its own folder if any is written.
    pub(super) fn of_seed(&self, seed: u64) -> Self {
        let ours = |word: &&String| !["--seed=", "--seeds="].iter().any(|name| word.starts_with(name));
        let words = self.words.iter().filter(ours).cloned().chain([format!("--seed={seed}")]).collect();
        Arguments { words, folder: self.folder.clone() }
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
/// [`Error::Usage`] for a file that cannot be read, an option that there is not (with the nearest that there is), or a value that the
/// option does not take.
pub(super) fn with_file(path: &Path) -> Result<(TrainArgs, Arguments)> {
    let mut command = command();
    let typed: Vec<Given> = given(&mut command, &typed_words()).unwrap_or_default();
    let typed: Vec<Given> = typed.into_iter().filter(|(name, _)| name != "config").collect();
    let text = text_of(path).map_err(|e| refused(path, &e.to_string()))?;
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
    file.retain(|(name, _)| !excluded(command, name, typed));
    let words: Vec<Given> = file.into_iter().chain(typed.iter().cloned()).collect();
    let matches = command.try_get_matches_from_mut(words.iter().map(word)).map_err(|e| refuse(first_line(&e)))?;
    let Line { args } = Line::from_arg_matches(&matches).map_err(|e| refuse(first_line(&e)))?;
    Ok((args, Arguments::of(&words)))
}

/// What clap says, without its advice, which is of command lines.
fn first_line(error: &clap::Error) -> String {
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

fn text_of(path: &Path) -> std::io::Result<String> {
    // Before it is opened: a named pipe would be waited for.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "this is not a regular file"));
    }
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The options that the `run.json` of an earlier run was made with.
fn of_run(command: &mut Command, text: &str) -> std::result::Result<Vec<Given>, String> {
    let run: Value = serde_json::from_str(text).map_err(|e| format!("it is no run.json ({e})"))?;
    let words = run["arguments"].as_array().ok_or("it is no run.json of a run that ended: it has no \"arguments\"")?;
    let words: Option<Vec<OsString>> = words.iter().map(|word| word.as_str().map(OsString::from)).collect();
    let refused = || "its \"arguments\" are not those of zilch train, or of another version".to_owned();
    let mut all = given(command, &words.ok_or_else(refused)?).ok_or_else(refused)?;
    all.retain(|(name, _)| !NOT_IN_FILES.contains(&name.as_str()) && !NOT_OF_OTHERS.contains(&name.as_str()));
    let folder = Path::new(run["folder"].as_str().unwrap_or_default());
    Ok(all.into_iter().map(|one| from_folder(one, folder)).collect())
}

/// The options of a TOML file: a line each, under their names on the command line.
fn of_toml(command: &Command, text: &str, path: &Path) -> std::result::Result<Vec<Given>, String> {
    let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!("line {line} is no TOML: {}", e.message())
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
    format!("there is no option \"{}\"{}", zilch::files::shown(key), advice.unwrap_or_default())
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
