//! `zilch completions` and `zilch man`: completion scripts and manual pages, generated from the grammar.

use super::Answer;
use super::args::{Cli, CompletionsArgs, ManArgs};
use super::markdown;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::path::Path;
use zilch::files::{Links, counted, make_folder, write_with};
use zilch::{Error, Result};

/// Prints the completion script for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "zilch", &mut script);
    Ok(text(script)?.into())
}

/// Prints the manual page, or all commands as Markdown, or writes one page per command to a folder.
pub(crate) fn man(args: &ManArgs) -> Result<Answer> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Sets the full name of every subcommand.
    command.build();
    if args.markdown {
        return Ok(markdown::page(&command).into());
    }
    let Some(dir) = &args.out else { return Ok(text(page(&command)?.1)?.into()) };
    make_folder(dir)?;
    let written = pages(&command, dir)?;
    Ok(format!(
        "{} written to {}; `man -l {}` shows one\n",
        counted(written, "page"),
        dir.display(),
        dir.join("zilch.1").display()
    )
    .into())
}

/// Writes the pages of a command and its subcommands. Returns their number.
fn pages(command: &Command, dir: &Path) -> Result<usize> {
    let (name, page) = page(command)?;
    write_with(&dir.join(name), Links::Refused, |out| out.write_all(&page))?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.map(|below| pages(below, dir)).try_fold(1, |sum, written| Ok(sum + written?))
}

/// The file name of a command's page, and the page as roff.
fn page(command: &Command) -> Result<(String, Vec<u8>)> {
    let man = Man::new(command.clone()).manual("zilch").source(format!("zilch {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render(&mut page).map_err(|e| Error::io("the manual".as_ref(), e))?;
    Ok((man.get_filename(), page))
}

/// Converts generated text to a string. It comes from the help texts, which are UTF-8.
fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| Error::usage(format!("the text is not UTF-8: {e}")))
}
