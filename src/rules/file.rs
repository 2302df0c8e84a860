//! A rule as a file: a name, and numbers for its own options. `zilch evolve` writes one, `--rule FILE` takes it.

use crate::error::{Error, Result};
use crate::files::{Links, read_bounded, shown, write_whole};
use crate::rules::Rule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The most bytes that a rule's file may have.
const MOST: u64 = 1 << 20;

/// A rule and its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The rule.
    pub rule: Rule,
    /// Its own options, as they are typed.
    pub own: BTreeMap<String, String>,
    /// What that is as mathematics, for people.
    #[serde(default)]
    pub mathematics: String,
    /// How it was found.
    #[serde(default)]
    pub found: serde_json::Value,
}

impl RuleFile {
    /// Reads a rule's file.
    ///
    /// # Errors
    /// [`Error::Data`] when it cannot be read, when it is none, or names options that the rule has not.
    pub fn read(path: &Path) -> Result<RuleFile> {
        let bytes = read_bounded(path, MOST, Links::Followed)
            .map_err(|e| Error::data(path, format!("this file of a rule cannot be read: {e}")))?;
        RuleFile::parse(path, &bytes)
    }

    /// A rule's file of these bytes; `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::Data`] as [`RuleFile::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<RuleFile> {
        let file: RuleFile = serde_json::from_slice(bytes)
            .map_err(|e| Error::data(path, format!("no rule's file: {}", shown(&e.to_string()))))?;
        file.numbers().map_err(|e| Error::data(path, e.to_string()))?;
        Ok(file)
    }

    /// The values of its options.
    ///
    /// # Errors
    /// [`Error::Usage`] for one that the rule has not, or that it does not take.
    pub fn numbers(&self) -> Result<BTreeMap<String, f64>> {
        let read = |(name, text): (&String, &String)| {
            let choice = self.rule.own.iter().find(|c| c.name == name.as_str());
            let choice =
                choice.ok_or_else(|| Error::usage(format!("{} has no option {}", self.rule.name(), shown(name))))?;
            Ok((name.clone(), choice.read(text)?))
        };
        self.own.iter().map(read).collect()
    }

    /// Writes it, whole.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io(path, e.into()))?;
        write_whole(path, |out| out.write_all((text + "\n").as_bytes()))
    }
}
