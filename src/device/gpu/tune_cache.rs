//! The tune file: which tile was the fastest for a product, by adapter, driver and shaders.

use super::AdapterSummary;
use super::kernels::shaders_hash;
use super::tile::{Shape, Tile};
use super::tuned::Tuned;
use crate::error::{Error, Result};
use crate::files::write_whole;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A larger file is none of ours: this is room for a hundred thousand products.
const MOST_BYTES: u64 = 1 << 25;

/// What `zilch tune` remembers: a JSON file, per user.
#[derive(Debug, Clone, Default)]
pub struct TuneFile {
    /// Where it is, or would be; `None` where the system names no folder for it.
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

/// The fastest tile of one product on one adapter.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Entry {
    adapter: String,
    driver: String,
    /// Of the tiled kernels' WGSL: a change of theirs is a reason to measure again.
    shaders: String,
    shape: Shape,
    tile: String,
    median_us: f64,
    default_us: f64,
}

/// The file's contents.
#[derive(serde::Serialize, serde::Deserialize)]
struct Contents {
    /// Tells the file from others.
    zilch_tune: u32,
    entries: Vec<Entry>,
}

/// The version of the format.
const VERSION: u32 = 1;

impl Entry {
    /// Whether it was measured on this adapter, driver and version of the shaders.
    fn holds(&self, adapter: &AdapterSummary) -> bool {
        self.adapter == adapter.name
            && self.driver == adapter.full_driver()
            && self.shaders == shaders_hash()
            && Tile::named(&self.tile).is_some()
    }
}

impl TuneFile {
    /// The user's: `ZILCH_TUNE`, or `zilch/tune.json` in the system's folder for caches (`XDG_CACHE_HOME`, else
    /// `~/.cache`; `~/Library/Caches` on macOS; `%LOCALAPPDATA%` on Windows). A file that is not there holds nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::Usage`] when it is no tune file.
    pub fn open() -> Result<TuneFile> {
        place().map_or_else(|| Ok(TuneFile::default()), TuneFile::at)
    }

    /// The file at `path`, which need not be there.
    ///
    /// # Errors
    /// As [`TuneFile::open`].
    pub fn at(path: PathBuf) -> Result<TuneFile> {
        let entries = read(&path)?;
        Ok(TuneFile { path: Some(path), entries })
    }

    /// Where it is, or would be written.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Products whose tile is known for this adapter, with its driver and these shaders.
    pub fn holds(&self, adapter: &AdapterSummary) -> usize {
        self.entries.iter().filter(|e| e.holds(adapter)).count()
    }

    /// The tiles known for this adapter.
    pub fn tiles(&self, adapter: &AdapterSummary) -> BTreeMap<Shape, Tile> {
        let known = self.entries.iter().filter(|e| e.holds(adapter));
        known.filter_map(|e| Some((e.shape, Tile::named(&e.tile)?))).collect()
    }

    /// Remembers these products' tiles for this adapter, in the place of what was known of them; the file is
    /// written whole or not at all, and its folder made where it is missing. Of two tunings that end at the same
    /// moment, the file keeps one's.
    ///
    /// # Errors
    /// [`Error::Usage`] where the system names no folder, or the file is no tune file by now; [`Error::Io`] when it cannot be
    /// read or written.
    pub fn remember(&mut self, adapter: &AdapterSummary, tuned: &[Tuned]) -> Result<()> {
        let Some(path) = &self.path else { return Err(no_place()) };
        // Another tuning may have written meanwhile.
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

    /// Refuses where nothing could be remembered, before anything is measured: the folder is made, and a file beside the
    /// place written and removed.
    ///
    /// # Errors
    /// [`Error::Usage`] where the system names no folder; [`Error::Io`] where it cannot be written.
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
    Error::usage(format!("there is no folder to remember tiles in: neither {names} is set"))
}

/// Where the user's file belongs.
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
        // The XDG specification has relative paths ignored.
        let xdg = folder("XDG_CACHE_HOME").filter(|f| f.is_absolute());
        xdg.or_else(|| folder("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|folder| folder.join("zilch").join("tune.json"))
}

/// The entries of the file at `path`; none where it is missing.
fn read(path: &Path) -> Result<Vec<Entry>> {
    let found = match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.map_err(|e| Error::io(path, e))?,
    };
    let foreign = |why: &str| {
        Error::usage(format!("{} is no tune file of this zilch ({why}): name another in ZILCH_TUNE", path.display()))
    };
    if !found.is_file() {
        return Err(foreign("it is not a regular file"));
    }
    if found.len() > MOST_BYTES {
        return Err(foreign("it is too large"));
    }
    let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let contents: Contents = serde_json::from_slice(&text).map_err(|_| foreign("it is not in its format"))?;
    if contents.zilch_tune != VERSION {
        return Err(foreign(&format!("its version is {}, this zilch writes {VERSION}", contents.zilch_tune)));
    }
    Ok(contents.entries)
}
