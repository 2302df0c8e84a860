//! The value of `--layers`: the words themselves, or a JSON file that holds them.

use crate::error::{Error, Result};
use crate::files::{Links, read_bounded, shown};
use crate::network::Network;
use serde_json::Value;
use std::path::Path;

/// The largest size of such a file in bytes, which is that of a `run.json`.
const MAX_BYTES: u64 = 1 << 24;
/// The ending of such a file's name.
const ENDING: &str = ".json";

/// Reads a network: with [`Network::parse`], or from a file if the text ends in `.json`. The file holds a list of
/// words, or an object whose `layers` is such a list, as any `run.json` does.
///
/// # Errors
/// Those of [`Network::parse`]; [`Error::Data`] if the file cannot be read or holds no layers.
pub fn read_layers(given: impl AsRef<Path>) -> Result<Network> {
    let path = given.as_ref();
    if !path.as_os_str().as_encoded_bytes().ends_with(ENDING.as_bytes()) {
        return Network::parse(&path.to_string_lossy());
    }
    let bytes = read_bounded(path, MAX_BYTES, Links::Followed)
        .map_err(|e| Error::data(path, format!("this file of layers cannot be read: {e}")))?;
    parse_layers(path, &bytes)
}

/// Parses the bytes of such a file; errors name `path`.
///
/// # Errors
/// [`Error::Data`] as [`read_layers`].
pub fn parse_layers(path: &Path, bytes: &[u8]) -> Result<Network> {
    let whole: Value =
        serde_json::from_slice(bytes).map_err(|e| Error::data(path, format!("this is not JSON: {e}")))?;
    let list = list(&whole).ok_or_else(|| {
        Error::data(
            path,
            "this file holds no layers; expected a list like [784, \"128=a\", 128, \"128+a\", 10], or an object with such a list \
             under \"layers\", like the run.json of a run",
        )
    })?;
    if list.is_empty() {
        return Err(Error::data(path, "the list of layers is empty; expected sizes, input first, as in [784, 32, 10]"));
    }
    let words = list.iter().map(word).collect::<std::result::Result<Vec<String>, String>>();
    let words = words.map_err(|why| Error::data(path, why))?;
    Network::parse(&words.join(",")).map_err(|e| Error::data(path, e.to_string()))
}

/// The list itself, or an object's `layers`.
fn list(value: &Value) -> Option<&Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        // The file of a run has them in its settings.
        Value::Object(object) => object.get("settings").unwrap_or(value).get("layers")?.as_array(),
        _ => None,
    }
}

/// A value of the list as a word, or the reason why it is not a word.
fn word(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::Number(n) => Ok(n.to_string()),
        Value::String(text) if text.trim().is_empty() => Err("a word of the list of layers is empty".into()),
        Value::String(text) if text.contains(',') => Err(format!(
            "\"{}\" is one word of the list of layers and has a comma: list each layer as a separate word",
            shown(text)
        )),
        Value::String(text) => Ok(text.clone()),
        other => Err(format!(
            "{} is not a layer; expected a size like 784 or a word like \"128=a\"",
            shown(&other.to_string())
        )),
    }
}
