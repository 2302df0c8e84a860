//! The folder of an experiment: which experiment it holds, and its finished pieces.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zilch::error::{Error, Result};
use zilch::files::{Links, is_temporary, read_bounded, write_with};
use zilch::train::lock;

/// Names the experiment that a folder holds.
const IDENTITY: &str = "experiment.json";

/// The most bytes of a piece's file.
const MOST_BYTES: u64 = 1 << 30;

/// An experiment's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// Held for as long as pieces are written, where a folder can be locked.
    _lock: Option<Arc<std::fs::File>>,
}

impl Folder {
    /// Opens or makes `dir` for the experiment that `identity` describes.
    ///
    /// # Errors
    /// [`Error::Usage`] when it holds another experiment or other files; [`Error::Io`] when it cannot be
    /// made or read.
    pub fn open(dir: &Path, identity: &serde_json::Value) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let folder = Folder { path: dir.to_owned(), _lock: lock(dir)? };
        match folder.read::<serde_json::Value>(IDENTITY) {
            Some(found) if found == *identity => Ok(folder),
            Some(found) => {
                let of = |value: &serde_json::Value| {
                    let name = value["experiment"].as_str().unwrap_or("something else").to_owned();
                    if value["quick"] == true { format!("the reduced {name}") } else { format!("the full {name}") }
                };
                let (found, wanted) = (of(&found), of(identity));
                let data = if found == wanted { " of other data" } else { "" };
                Err(Error::usage(format!(
                    "{} holds another experiment, {found}{data}, and {wanted} is asked for; choose another --out or remove it",
                    dir.display()
                )))
            }
            None => {
                let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
                // A process that was killed may have left the first: nobody writes it now.
                let (left, others): (Vec<_>, Vec<_>) =
                    entries.flatten().partition(|entry| is_temporary(&entry.file_name().to_string_lossy()));
                if let Some(entry) = others.iter().find(|entry| entry.file_name() != IDENTITY) {
                    return Err(Error::usage(format!(
                        "{} holds other files ({}); choose another --out",
                        dir.display(),
                        entry.file_name().to_string_lossy()
                    )));
                }
                for entry in left {
                    let _ = std::fs::remove_file(entry.path());
                }
                folder.write(IDENTITY, identity)?;
                Ok(folder)
            }
        }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A finished piece; `None` if it is not there, half written, or of another shape: it is then redone.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&read_bounded(&self.path(name), MOST_BYTES, Links::Refused).ok()?).ok()
    }

    /// Writes a finished piece, whole.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path(name);
        let text = serde_json::to_string(value).map_err(|e| Error::io(&path, e.into()))?;
        write_text(&path, &(text + "\n"))
    }
}

/// Writes a text file whose name is the experiment's, whole. A link of that name is refused.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_with(path, Links::Refused, |out| out.write_all(text.as_bytes()))
}
