//! A rule file: the name of a rule, and values of its own options. `zilch evolve` writes one, `--rule FILE` reads it.

use crate::error::{Error, Result};
use crate::files::{Links, read_bounded, shown, write_whole};
use crate::rules::{Choice, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The largest size of a rule file in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// A rule and the values of its own options.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The rule.
    pub rule: Rule,
    /// The options that only this rule has, as they are typed: `own` in the file.
    #[serde(rename = "own")]
    pub rule_options: BTreeMap<String, String>,
    /// The resulting learning rule as mathematics, for readers.
    #[serde(default)]
    pub mathematics: String,
    /// The record of the search that found it.
    #[serde(default)]
    pub found: serde_json::Value,
}

impl RuleFile {
    /// Reads a rule file.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be read, is not a rule file, or names options that the rule does not have.
    pub fn read(path: &Path) -> Result<RuleFile> {
        let bytes = read_bounded(path, MAX_BYTES, Links::Followed)
            .map_err(|e| Error::data(path, format!("this rule file cannot be read: {e}")))?;
        RuleFile::parse(path, &bytes)
    }

    /// Parses the bytes of a rule file; errors name `path`.
    ///
    /// # Errors
    /// [`Error::Data`] as [`RuleFile::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<RuleFile> {
        let file: RuleFile = serde_json::from_slice(bytes)
            .map_err(|e| Error::data(path, format!("this is not a rule file: {}", shown(&e.to_string()))))?;
        file.numbers().map_err(|e| Error::data(path, e.to_string()))?;
        Ok(file)
    }

    /// The values of its options.
    ///
    /// # Errors
    /// [`Error::Usage`] for an option that the rule does not have, or a value that it does not accept.
    pub fn numbers(&self) -> Result<BTreeMap<String, f64>> {
        let read = |(name, text): (&String, &String)| {
            let choice = Choice::named(self.rule.rule_options, name).ok_or_else(|| self.no_option(name))?;
            Ok((choice.name.to_owned(), choice.read(text)?))
        };
        self.rule_options.iter().map(read).collect()
    }

    /// The error of an option that the rule does not have.
    fn no_option(&self, name: &str) -> Error {
        let all: Vec<&str> = self.rule.rule_options.iter().map(|choice| choice.name).collect();
        let has = if all.is_empty() { "no options of its own".to_owned() } else { all.join(", ") };
        Error::usage(format!("{} has no option {}; it has {has}", self.rule.name(), shown(name)))
    }

    /// Writes the file, completely or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io(path, e.into()))?;
        write_whole(path, |out| out.write_all((text + "\n").as_bytes()))
    }
}
