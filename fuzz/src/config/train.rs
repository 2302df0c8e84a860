//! Takes the place of `cli/src/commands/train.rs`, of which `config.rs` is a module.

use clap::Command;
use std::ffi::OsString;
use std::path::Path;

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../../cli/src/commands/train/config.rs"]
mod config;

/// The grammar of `zilch train`.
pub(super) fn grammar() -> Command {
    config::command()
}

/// The learning rate of a run from the text of a file and the options on the command line.
pub(super) fn rate(grammar: &mut Command, text: &str, typed: &[(String, Option<OsString>)]) -> zilch::Result<f64> {
    config::with_text(grammar, Path::new("input"), text, typed).map(|(args, _)| args.rule.lr.unwrap_or_default())
}
