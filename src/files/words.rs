//! Arguments and paths in JSON. What is Unicode is a text; what is not is a list of its units (bytes on Unix, 16 bits on Windows), so that
//! it comes back as it was.

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
            Word::Units(units) => of_units(&units).ok_or_else(|| E::custom("a list of units that make no word here")),
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

/// Words as JSON.
pub fn words_json(words: &[OsString]) -> serde_json::Value {
    // Texts and lists of numbers always are JSON.
    serde_json::to_value(words.iter().map(|word| Word::of(word)).collect::<Vec<_>>()).unwrap_or_default()
}

/// The words of such a list; nothing where one of them is none.
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

/// A path as a text for people, for `#[serde(serialize_with = "…")]`: what is no Unicode is replaced.
pub fn lossy<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct SavedSlot {
        #[serde(with = "list")]
        words: Vec<OsString>,
        #[serde(with = "path")]
        folder: PathBuf,
    }

    #[test]
    fn words_come_back() {
        let old = r#"{"words":["--data=digits","--out=ü"],"folder":"/a b"}"#;
        let kept: SavedSlot = serde_json::from_str(old).expect("as before there were units");
        assert_eq!(serde_json::to_string(&kept).expect("JSON"), old);
    }

    #[cfg(unix)]
    #[test]
    fn words_that_are_no_unicode_come_back() {
        let word = of_units(&[0x63, 0xff]).expect("a word");
        let kept = SavedSlot { words: vec![word.clone(), "d".into()], folder: word.into() };
        let text = serde_json::to_string(&kept).expect("JSON");
        assert_eq!(text, r#"{"words":[[99,255],"d"],"folder":[99,255]}"#);
        assert_eq!(serde_json::from_str::<SavedSlot>(&text).expect("JSON"), kept);
        assert!(serde_json::from_str::<SavedSlot>(&text.replace("255", "256")).is_err());
    }
}
