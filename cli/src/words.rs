//! The words of the command line that are not in its grammar: other names of options and values, and advice about words that are
//! neither.

use clap::builder::{PathBufValueParser, PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::marker::PhantomData;
use std::path::PathBuf;
use zilch::named::Named;
use zilch::words;

/// The only ending of pictures.
const PICTURE: &str = "svg";

/// Adds the other names of options to a grammar, and lets every value begin with a minus sign, so that a negative number is refused by
/// the option it is given to.
pub fn other_names(command: Command) -> Command {
    let mut taken: BTreeSet<String> = command.get_arguments().filter_map(Arg::get_long).map(str::to_owned).collect();
    let command = command.mut_args(|arg| {
        let Some(name) = arg.get_long().map(str::to_owned) else { return arg };
        let spellings = |word: &str| [word.to_owned(), word.replace('-', "_"), word.replace('-', "")];
        let others = [name.as_str()].into_iter().chain(words::of_option(&name).iter().copied()).flat_map(spellings);
        let others: Vec<String> = others.filter(|word| taken.insert(word.clone())).collect();
        let takes = arg.get_action().takes_values();
        arg.aliases(others).allow_negative_numbers(takes)
    });
    command.mut_subcommands(other_names)
}

/// The option of a command that a word means, by its name or by another one.
pub fn option<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = words::option(word, names(command))?;
    command.get_arguments().find(|arg| arg.get_long() == Some(name))
}

/// The advice about a word that is no option of a command.
pub fn advice(command: &Command, word: &str) -> Option<String> {
    words::advice(word, names(command), "")
}

fn names(command: &Command) -> impl Iterator<Item = &str> + Clone {
    let names: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
    names.into_iter()
}

/// An error of clap with the advice of the tables instead of that of clap, which knows neither other names nor letter cases.
pub fn explained(mut error: Error, grammar: &Command, typed: &[OsString]) -> Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
    let command = typed.get(1).and_then(|name| grammar.find_subcommand(name));
    let (ErrorKind::UnknownArgument, Some(command)) = (error.kind(), command) else { return error };
    let advice = match word.strip_prefix("--") {
        Some(name) => words::advice(name.split('=').next().unwrap_or_default(), names(command), "--"),
        None => one_hyphen(command, word, typed),
    };
    error.remove(ContextKind::SuggestedArg);
    error.remove(ContextKind::SuggestedSubcommand);
    error.remove(ContextKind::Suggested);
    // That of clap has the option that it would suggest.
    error.insert(ContextKind::Usage, ContextValue::StyledStr(command.clone().render_usage()));
    if let Some(advice) = advice {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
    }
    error
}

/// The advice about an option with one hyphen, of which clap reports the first letter only, and about a value without an option.
fn one_hyphen(command: &Command, word: &str, typed: &[OsString]) -> Option<String> {
    if !word.starts_with('-') {
        return Some("every value follows its option, as in --data digits".to_owned());
    }
    let meant = typed.iter().filter_map(|typed| typed.to_str()).filter(|typed| typed.starts_with(word));
    let named = |typed: &str| option(command, typed.split('=').next()?.trim_start_matches('-'))?.get_long();
    meant.map(named).next().flatten().map(|name| format!("options have two hyphens: --{name}"))
}

/// Parses the name of one of the values of `T`, or another name of it.
pub fn choice<T: Named>() -> impl TypedValueParser<Value = T> {
    ValueParser(PhantomData)
}

struct ValueParser<T>(PhantomData<T>);

impl<T> Clone for ValueParser<T> {
    fn clone(&self) -> Self {
        ValueParser(PhantomData)
    }
}

impl<T: Named> TypedValueParser for ValueParser<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        let word = value.to_string_lossy();
        T::read(&word).ok_or_else(|| {
            let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
            if let Some(arg) = arg {
                error.insert(ContextKind::InvalidArg, ContextValue::String(arg.to_string()));
            }
            let names = T::all().iter().map(|value| value.name().to_owned()).collect();
            error.insert(ContextKind::InvalidValue, ContextValue::String(word.clone().into_owned()));
            error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
            if let Some(near) = T::nearest(&word) {
                error.insert(ContextKind::SuggestedValue, ContextValue::String(near.to_owned()));
            }
            error
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(T::all().iter().map(|value| PossibleValue::new(value.name()).help(value.help()))))
    }
}

/// Parses the path of a picture. Pictures are written as SVG only, so that another ending would promise another format.
pub fn picture() -> impl TypedValueParser<Value = PathBuf> {
    new_file().try_map(|path| {
        let drawn = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(PICTURE));
        let named = path.with_extension(PICTURE);
        if drawn { Ok(path) } else { Err(format!("pictures are written as SVG; name it {}", named.display())) }
    })
}

/// Parses the path of a file to write. A folder is refused.
pub fn new_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.is_dir() {
        true => Err("this is a folder, but a file name is needed"),
        false => Ok(path),
    })
}
