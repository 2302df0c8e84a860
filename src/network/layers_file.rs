//! A network's layers, as `--layers` has them: words, or a file that holds them.

use crate::error::{Error, Result};
use crate::files::{Links, read_bounded, shown};
use crate::network::Network;
use serde_json::Value;
use std::path::Path;

/// The most bytes that such a file may have: those of a run's `run.json`.
const MOST: u64 = 1 << 24;
/// How the name of such a file ends.
const ENDING: &str = ".json";

/// Reads a network: words as [`Network::parse`] does, or where the text ends in `.json`, the words of that file. It holds a list of
/// them, or an object whose `layers` is one, as any `run.json` does.
///
/// # Errors
/// Those of [`Network::parse`]; [`Error::Data`] where the file cannot be read, or holds no layers.
pub fn read_layers(given: impl AsRef<Path>) -> Result<Network> {
    let path = given.as_ref();
    if !path.as_os_str().as_encoded_bytes().ends_with(ENDING.as_bytes()) {
        return Network::parse(&path.to_string_lossy());
    }
    let bytes = read_bounded(path, MOST, Links::Followed)
        .map_err(|e| Error::data(path, format!("this file of layers cannot be read: {e}")))?;
    parse_layers(path, &bytes)
}

/// The network of the bytes of such a file; `path` is what errors name.
///
/// # Errors
/// [`Error::Data`] as [`read_layers`].
pub fn parse_layers(path: &Path, bytes: &[u8]) -> Result<Network> {
    let whole: Value = serde_json::from_slice(bytes).map_err(|e| Error::data(path, format!("no JSON: {e}")))?;
    let list = list(&whole).ok_or_else(|| {
        Error::data(
            path,
            "this holds no layers; it takes a list as [784, \"128=a\", 128, \"128+a\", 10], or an object whose \"layers\" is one, \
             such as the run.json of a run",
        )
    })?;
    if list.is_empty() {
        return Err(Error::data(path, "the list of layers is empty; it takes sizes, input first, as in [784, 32, 10]"));
    }
    let words = list.iter().map(word).collect::<std::result::Result<Vec<String>, String>>();
    let words = words.map_err(|why| Error::data(path, why))?;
    Network::parse(&words.join(",")).map_err(|e| Error::data(path, e.to_string()))
}

/// A list, or an object's layers.
fn list(value: &Value) -> Option<&Vec<Value>> {
    match value {
        Value::Array(list) => Some(list),
        // A run's file has them among its settings.
        Value::Object(object) => object.get("settings").unwrap_or(value).get("layers")?.as_array(),
        _ => None,
    }
}

/// A word of the list, or why it is none.
fn word(value: &Value) -> std::result::Result<String, String> {
    match value {
        Value::Number(n) => Ok(n.to_string()),
        Value::String(text) if text.trim().is_empty() => Err("a word of the list of layers is empty".into()),
        Value::String(text) if text.contains(',') => Err(format!(
            "\"{}\" is one word of the list of layers and has a comma: give each layer a word of its own",
            shown(text)
        )),
        Value::String(text) => Ok(text.clone()),
        other => Err(format!(
            "{} is no layer; the list takes sizes like 784 and words like \"128=a\"",
            shown(&other.to_string())
        )),
    }
}
