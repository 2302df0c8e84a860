//! A network's layers, as `--layers` has them: words, or a file that holds them.

use crate::error::{Error, Result};
use crate::network::Network;
use serde_json::Value;
use std::path::Path;

/// The most bytes that such a file may have: those of a run's `run.json`.
const MOST: u64 = 1 << 24;

/// Reads a network: words as [`Network::parse`] does, or where the text ends in `.json`, the words of that file. It holds a list of
/// them, or an object whose `layers` is one, as any `run.json` does.
///
/// # Errors
/// Those of [`Network::parse`]; [`Error::Io`] where the file cannot be read; [`Error::Data`] where it holds no layers.
pub fn read_layers(given: &str) -> Result<Network> {
    if !given.ends_with(".json") {
        return Network::parse(given);
    }
    let path = Path::new(given);
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() || metadata.len() > MOST {
        return Err(Error::data(path, format!("this is no file of layers, which has at most {MOST} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let whole: Value = serde_json::from_slice(&bytes).map_err(|e| Error::data(path, format!("no JSON: {e}")))?;
    let words = words(&whole).ok_or_else(|| {
        Error::data(
            path,
            "this holds no layers; it takes a list as [784, \"128=a\", 128, \"128+a\", 10], or an object whose \"layers\" is one, \
             such as the run.json of a run",
        )
    })?;
    Network::parse(&words.join(",")).map_err(|e| Error::data(path, e.to_string()))
}

/// The words of a list, or of an object's layers.
fn words(value: &Value) -> Option<Vec<String>> {
    let list = match value {
        Value::Array(list) => list,
        // A run's file has them among its settings.
        Value::Object(object) => object.get("settings").unwrap_or(value).get("layers")?.as_array()?,
        _ => return None,
    };
    let word = |word: &Value| match word {
        Value::Number(n) => Some(n.to_string()),
        Value::String(text) if !text.contains(',') => Some(text.clone()),
        _ => None,
    };
    list.iter().map(word).collect()
}
