//! The tune file. It stores the fastest tile of each product, per adapter, driver and hash of the shaders.

use super::AdapterSummary;
use super::kernels::shaders_hash;
use super::tile::{Shape, Tile};
use super::tuned::Tuned;
use crate::error::{Error, Result};
use crate::files::write_whole;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest accepted size of the file in bytes: enough for a hundred thousand products.
const MOST_BYTES: u64 = 1 << 25;

/// The results of `zilch tune`: a JSON file, one per user.
#[derive(Debug, Clone, Default)]
pub struct TuneFile {
    /// The path of the file, which need not exist; `None` if the environment names no cache folder.
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

/// The fastest tile of one product on one adapter.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Entry {
    adapter: String,
    driver: String,
    /// The hash of the WGSL text of tiled kernels. A change of this text invalidates the entry.
    shaders: String,
    shape: Shape,
    tile: String,
    median_us: f64,
    default_us: f64,
}

/// The contents of the file.
#[derive(serde::Serialize, serde::Deserialize)]
struct Contents {
    /// The format version; its name identifies the file as a tune file.
    zilch_tune: u32,
    entries: Vec<Entry>,
}

/// The format version that this program reads and writes.
const VERSION: u32 = 1;

impl Entry {
    /// Whether the entry was measured with this adapter, driver and version of the shaders.
    fn holds(&self, adapter: &AdapterSummary) -> bool {
        self.adapter == adapter.name
            && self.driver == adapter.full_driver()
            && self.shaders == shaders_hash()
            && Tile::named(&self.tile).is_some()
    }
}

impl TuneFile {
    /// Opens the user's tune file: `ZILCH_TUNE`, or `zilch/tune.json` in the system's cache folder (`XDG_CACHE_HOME`, else `~/.cache`;
    /// `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows). A missing file counts as empty.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Usage`] when it is not a tune file.
    pub fn open() -> Result<TuneFile> {
        place().map_or_else(|| Ok(TuneFile::default()), TuneFile::at)
    }

    /// Opens the file at `path`. A missing file counts as empty.
    ///
    /// # Errors
    /// As [`TuneFile::open`].
    pub fn at(path: PathBuf) -> Result<TuneFile> {
        let entries = read(&path)?;
        Ok(TuneFile { path: Some(path), entries })
    }

    /// The path of the file, which need not exist.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Number of products with a measured tile for this adapter, its driver and these shaders.
    pub fn holds(&self, adapter: &AdapterSummary) -> usize {
        self.entries.iter().filter(|e| e.holds(adapter)).count()
    }

    /// The measured tiles for this adapter.
    pub fn tiles(&self, adapter: &AdapterSummary) -> BTreeMap<Shape, Tile> {
        let known = self.entries.iter().filter(|e| e.holds(adapter));
        known.filter_map(|e| Some((e.shape, Tile::named(&e.tile)?))).collect()
    }

    /// Stores these products' tiles for this adapter and replaces earlier entries for them. The file is written
    /// atomically, and its folder is created if missing. If two processes write at the same time, the file has the
    /// entries of only one of them.
    ///
    /// # Errors
    /// [`Error::Usage`] when the environment names no cache folder, or the file on disk is not a tune file; [`Error::Io`] when it
    /// cannot be read or written.
    pub fn remember(&mut self, adapter: &AdapterSummary, tuned: &[Tuned]) -> Result<()> {
        let Some(path) = &self.path else { return Err(no_place()) };
        // Another process may have written the file since it was opened.
        self.entries = read(path)?;
        let same =
            |e: &Entry, t: &Tuned| e.adapter == adapter.name && e.driver == adapter.full_driver() && e.shape == t.shape;
        self.entries.retain(|e| !tuned.iter().any(|t| same(e, t)));
        self.entries.extend(tuned.iter().map(|t| Entry {
            adapter: adapter.name.clone(),
            driver: adapter.full_driver(),
            shaders: shaders_hash().to_owned(),
            shape: t.shape,
            tile: t.winner.clone(),
            median_us: t.winner().median_us,
            default_us: t.default().median_us,
        }));
        self.write(path)
    }

    /// Checks before a measurement that its results can be stored: creates the folder, then writes and removes a file in it.
    ///
    /// # Errors
    /// [`Error::Usage`] when the environment names no cache folder; [`Error::Io`] when the folder cannot be written.
    pub fn check_place(&self) -> Result<()> {
        let Some(path) = &self.path else { return Err(no_place()) };
        let beside = path.with_extension(format!("{}.try", std::process::id()));
        TuneFile::default().write(&beside)?;
        std::fs::remove_file(&beside).map_err(|e| Error::io(&beside, e))
    }

    fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        }
        let contents = Contents { zilch_tune: VERSION, entries: self.entries.clone() };
        write_whole(path, |out| {
            serde_json::to_writer_pretty(&mut *out, &contents)?;
            out.write_all(b"\n")
        })
    }
}

fn no_place() -> Error {
    let names = if cfg!(target_os = "macos") {
        "ZILCH_TUNE nor HOME"
    } else if cfg!(target_os = "windows") {
        "ZILCH_TUNE nor LOCALAPPDATA"
    } else {
        "ZILCH_TUNE, XDG_CACHE_HOME nor HOME"
    };
    Error::usage(format!("there is no folder for the tune file: neither {names} is set. Set ZILCH_TUNE to a path"))
}

/// The path of the user's tune file.
fn place() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = folder("ZILCH_TUNE") {
        return Some(path);
    }
    let caches = if cfg!(target_os = "macos") {
        folder("HOME").map(|home| home.join("Library/Caches"))
    } else if cfg!(target_os = "windows") {
        folder("LOCALAPPDATA")
    } else {
        // The XDG specification says to ignore relative paths.
        let xdg = folder("XDG_CACHE_HOME").filter(|f| f.is_absolute());
        xdg.or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|folder| folder.join("zilch").join("tune.json"))
}

/// Reads the entries of the file at `path`; none if it is missing.
fn read(path: &Path) -> Result<Vec<Entry>> {
    let found = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(|e| Error::io(path, e))?,
    };
    let foreign = |why: &str| {
        Error::usage(format!("{} is not a tune file ({why}): set ZILCH_TUNE to another path", path.display()))
    };
    if !found.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    if found.len() > MOST_BYTES {
        return Err(foreign("it is too large"));
    }
    let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let contents: Contents =
        serde_json::from_slice(&text).map_err(|_| foreign("it is not JSON in the expected format"))?;
    if contents.zilch_tune != VERSION {
        return Err(foreign(&format!("its version is {}; this zilch reads version {VERSION}", contents.zilch_tune)));
    }
    Ok(contents.entries)
}
