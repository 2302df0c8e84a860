//! The folder of an experiment: which experiment it holds, and its finished pieces.

use crate::error::{Error, Result};
use crate::files::write_whole;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};

/// Names the experiment that a folder holds.
const IDENTITY: &str = "experiment.json";

/// An experiment's folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Opens or makes `dir` for the experiment that `identity` describes.
    ///
    /// # Errors
    /// [`Error::Usage`] when it holds another experiment or other files; [`Error::Io`] when it cannot be
    /// made or read.
    pub fn open(dir: &Path, identity: &serde_json::Value) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, e))?;
        let folder = Folder(dir.to_owned());
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
                let mut entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
                let foreign = entries.find_map(|e| e.ok().filter(|e| e.file_name() != IDENTITY));
                if let Some(entry) = foreign {
                    return Err(Error::usage(format!(
                        "{} holds other files ({}); choose another --out",
                        dir.display(),
                        entry.file_name().to_string_lossy()
                    )));
                }
                folder.write(IDENTITY, identity)?;
                Ok(folder)
            }
        }
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A finished piece; `None` if it is not there, half written, or of another shape: it is then redone.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.path(name)).ok()?).ok()
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

/// Writes a text file, whole.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_whole(path, |out| out.write_all(text.as_bytes()))
}
