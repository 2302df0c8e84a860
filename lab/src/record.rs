//! The output of an experiment: a folder of finished trials, and one JSON record of all trials next to the folder.

use super::Context;
use super::results::{Results, times};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use zilch::error::{Error, Result};
use zilch::files::{Links, is_temporary, make_folder, read_bounded, shown, write_with};
use zilch::measure::host::{Host, peak_memory};
use zilch::train::lock;

/// The file that names the experiment of a folder.
const IDENTITY: &str = "experiment.json";

/// The maximum size of a trial's file in bytes.
const MOST_OF_TRIAL: u64 = 1 << 30;

/// The folder of an experiment, and the location of its record next to the folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    /// The name of the experiment and of its record.
    name: String,
    opened: Instant,
    /// The lock, held while trials are written, on file systems that support locks.
    _lock: Option<Arc<std::fs::File>>,
}

impl Folder {
    /// Opens or creates the folder `name` in `out` for the experiment that `identity` describes.
    ///
    /// # Errors
    /// [`Error::Usage`] when the folder belongs to another experiment or contains other files; [`Error::Io`] when it
    /// cannot be created or read.
    pub fn open(out: &Path, name: &str, identity: &serde_json::Value) -> Result<Self> {
        let dir = &out.join(name);
        make_folder(dir)?;
        let folder = Folder { path: dir.clone(), name: name.to_owned(), opened: Instant::now(), _lock: lock(dir)? };
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
                    "{} holds another experiment, {found}{data}, but {wanted} was requested; choose another --out or remove it",
                    dir.display()
                )))
            }
            None => {
                let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, e))?;
                // A killed process may have left temporary files. The lock ensures that no other process is writing
                // them.
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

    /// Reads a finished trial. Returns `None` when the file is missing, incomplete or of another format; the trial is
    /// then repeated.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&read_bounded(&self.path(name), MOST_OF_TRIAL, Links::Refused).ok()?).ok()
    }

    /// Writes a finished trial atomically.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.path(name);
        let text = serde_json::to_string(value).map_err(|e| Error::io(&path, e.into()))?;
        write_text(&path, &(text + "\n"))
    }

    /// Writes the record of the finished experiment beside its folder.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn record(&self, context: &Context<'_>, results: impl Serialize) -> Result<()> {
        let path = self.path.with_file_name(format!("{}.json", self.name));
        let json = |e: serde_json::Error| Error::io(&path, e.into());
        let record = Record {
            experiment: self.name.clone(),
            quick: context.quick,
            data: context.data.name.clone(),
            data_sha256: context.data.checksums.clone(),
            host: serde_json::to_value(Host::new(context.threads)).map_err(json)?,
            date: today(),
            wall_seconds: self.opened.elapsed().as_secs_f64(),
            peak_mib: peak_memory(),
            results,
        };
        let text = serde_json::to_string(&record).map_err(json)?;
        write_text(&path, &(text + "\n"))
    }
}

/// Writes a text file atomically. If the path is a symbolic link, it is refused.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_with(path, Links::Refused, |out| out.write_all(text.as_bytes()))
}

/// Results with their provenance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record<T> {
    /// The name of the record; see [`crate::Experiment::record_name`].
    pub experiment: String,
    /// Whether this is the reduced version.
    pub quick: bool,
    /// The data set's name.
    pub data: String,
    /// File names and SHA-256 of the decompressed data.
    pub data_sha256: Vec<(String, String)>,
    /// The machine (see [`zilch::measure::host::Host`]).
    pub host: serde_json::Value,
    /// The date of the run, year-month-day in UTC.
    pub date: String,
    /// Wall time in seconds of the run that finished the experiment.
    pub wall_seconds: f64,
    /// Peak resident memory of that run in MiB, where the system reports it.
    pub peak_mib: Option<u64>,
    /// The raw results.
    pub results: T,
}

/// The maximum size of a record in bytes.
const MOST_OF_RECORD: u64 = 1 << 28;

/// Reads a record from the folder. `None` when the file does not exist.
///
/// # Errors
/// [`Error::Data`] when the file exists but cannot be read.
pub fn load<T: Results>(dir: &Path, name: &str) -> Result<Option<Record<T>>> {
    let path = dir.join(format!("{name}.json"));
    let refuse = |why: &str| Error::data(&path, format!("not a result of zilch reproduce: {}", shown(why)));
    let bytes = match read_bounded(&path, MOST_OF_RECORD, Links::Refused) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| refuse(&e.to_string()))?,
    };
    let record: Record<T> = serde_json::from_slice(&bytes).map_err(|e| refuse(&e.to_string()))?;
    times("wall_seconds", [&record.wall_seconds]).and_then(|()| record.results.check()).map_err(|why| refuse(&why))?;
    Ok(Some(record))
}

impl<T> Record<T> {
    /// Provenance for the pages of single papers: date, processor, and whether the experiment is the reduced version.
    pub(super) fn made(&self) -> String {
        let cpu = self.host["cpu"].as_str().unwrap_or("a CPU");
        let reduced = if self.quick { ", the reduced version: its numbers mean nothing" } else { "" };
        format!("{} ({cpu}{reduced})", self.date)
    }
}

/// The name of a folder of records, as pages refer to it.
pub(super) fn folder_name(dir: &Path) -> String {
    dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Today's date, year-month-day in UTC.
fn today() -> String {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    // Converts the days since 1970-01-01 to a calendar date. Years begin in March, so that the leap day is the last day
    // of a year.
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn today_is_a_date() {
        let today = super::today();
        assert!(today.len() == 10 && today.as_str() > "2026-01-01" && today.as_str() < "2999-01-01", "{today}");
    }
}
