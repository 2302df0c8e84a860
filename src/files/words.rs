//! Lossless JSON for command line arguments and paths. Unicode becomes a string. Anything else becomes a list of code units (bytes on
//! Unix, 16-bit units on Windows).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Word {
    Text(String),
    Units(Vec<u16>),
}

impl Word {
    fn of(word: &OsStr) -> Word {
        word.to_str().map_or_else(|| Word::Units(units(word)), |text| Word::Text(text.to_owned()))
    }

    fn read<E: serde::de::Error>(self) -> Result<OsString, E> {
        match self {
            Word::Text(text) => Ok(text.into()),
            Word::Units(units) => {
                of_units(&units).ok_or_else(|| E::custom("these code units are not valid on this system"))
            }
        }
    }
}

#[cfg(unix)]
fn units(word: &OsStr) -> Vec<u16> {
    use std::os::unix::ffi::OsStrExt;
    word.as_bytes().iter().map(|byte| u16::from(*byte)).collect()
}

#[cfg(unix)]
fn of_units(units: &[u16]) -> Option<OsString> {
    use std::os::unix::ffi::OsStringExt;
    let bytes: Option<Vec<u8>> = units.iter().map(|unit| u8::try_from(*unit).ok()).collect();
    bytes.map(OsString::from_vec)
}

#[cfg(windows)]
fn units(word: &OsStr) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt;
    word.encode_wide().collect()
}

#[cfg(windows)]
fn of_units(units: &[u16]) -> Option<OsString> {
    use std::os::windows::ffi::OsStringExt;
    Some(OsString::from_wide(units))
}

/// Serialises words to a JSON list.
pub fn words_json(words: &[OsString]) -> serde_json::Value {
    // Strings and lists of integers always serialise.
    serde_json::to_value(words.iter().map(|word| Word::of(word)).collect::<Vec<_>>()).unwrap_or_default()
}

/// Parses such a list; `None` if an element is not a word.
pub fn words_of_json(words: &[serde_json::Value]) -> Option<Vec<OsString>> {
    let read = |word: &serde_json::Value| Word::deserialize(word).ok()?.read::<serde_json::Error>().ok();
    words.iter().map(read).collect()
}

/// A list of words, for `#[serde(with = "…")]`.
pub(crate) mod list {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(words: &[OsString], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(words.iter().map(|word| Word::of(word)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
        Vec::<Word>::deserialize(from)?.into_iter().map(Word::read).collect()
    }
}

/// A path, for `#[serde(with = "…")]`.
pub(crate) mod path {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        Word::of(path.as_os_str()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Word::deserialize(from)?.read().map(PathBuf::from)
    }
}

/// A path as readable text, for `#[serde(serialize_with = "…")]`. Invalid Unicode is replaced.
pub fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Stored {
        #[serde(with = "list")]
        words: Vec<OsString>,
        #[serde(with = "path")]
        folder: PathBuf,
    }

    #[test]
    fn unicode_words_round_trip() {
        let old = r#"{"words":["--data=digits","--out=ü"],"folder":"/a b"}"#;
        let stored: Stored = serde_json::from_str(old).expect("the format of older versions");
        assert_eq!(serde_json::to_string(&stored).expect("JSON"), old);
    }

    #[cfg(unix)]
    #[test]
    fn words_that_are_not_unicode_round_trip() {
        let word = of_units(&[0x63, 0xff]).expect("a word");
        let stored = Stored { words: vec![word.clone(), "d".into()], folder: word.into() };
        let text = serde_json::to_string(&stored).expect("JSON");
        assert_eq!(text, r#"{"words":[[99,255],"d"],"folder":[99,255]}"#);
        assert_eq!(serde_json::from_str::<Stored>(&text).expect("JSON"), stored);
        assert!(serde_json::from_str::<Stored>(&text.replace("255", "256")).is_err());
    }
}
