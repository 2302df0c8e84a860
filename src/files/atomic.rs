//! Atomic file writes.

use super::open::Links;
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes the file at `path` atomically: `write` fills a temporary file in the same folder, which is
/// synced to disk and then renamed to `path`.
///
/// An existing file at `path` is replaced in one step and survives every failure. A symbolic link is followed, since
/// the user chose the path. The temporary file is removed on failure.
///
/// # Errors
/// [`Error::Io`] with `path` when the folder is missing or not writable, when `path` exists and is not a writable regular file,
/// or when the disk or `write` fails.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    write_with(path, Links::Followed, write)
}

/// As [`write_whole`], with a choice to follow or refuse links. Links should be refused for file names chosen by zilch
/// in a folder that other users can write to.
///
/// # Errors
/// As [`write_whole`]; also for a refused link.
pub fn write_with(path: &Path, links: Links, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace(path, links, write).map_err(|source| Error::io(path, source))
}

/// Creates a folder and its parents where they are missing. Returns whether the folder was missing.
///
/// # Errors
/// [`Error::Usage`] when a file stands in its place; [`Error::Io`] when it cannot be created.
pub fn make_folder(dir: &Path) -> Result<bool> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(false),
        Ok(_) => Err(Error::usage(format!("{}: this is a file, and a folder is needed", dir.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(dir).map(|()| true).map_err(|error| Error::io(dir, error))
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            Err(Error::usage(format!("{}: a part of this path is a file, and a folder is needed", dir.display())))
        }
        Err(error) => Err(Error::io(dir, error)),
    }
}

/// As [`write_whole`], for a string.
///
/// # Errors
/// As [`write_whole`].
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_whole(path, |out| out.write_all(text.as_bytes()))
}

fn replace(path: &Path, links: Links, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let target = target_of(path, links)?;
    let folder = folder_of(&target);
    let (file, temporary) = Temporary::create(&folder)?;
    let mut out = BufWriter::with_capacity(1 << 18, file);
    write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file); // Windows does not rename an open file.
    temporary.rename(&target)?;
    sync_folder(&folder)
}

/// The target of the rename: `path`, or the file it links to if links are followed.
///
/// A rename would replace a device (`/dev/null`) by a plain file, and would succeed on a read-only file. Both are refused here.
fn target_of(path: &Path, links: Links) -> io::Result<PathBuf> {
    if path.file_name().is_none() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is not a file name"));
    }
    let link = match fs::symlink_metadata(path) {
        Ok(found) => found.is_symlink(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(path.to_owned()),
        Err(error) => return Err(error),
    };
    if link && links == Links::Refused {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "this is a link, and zilch does not write through links here",
        ));
    }
    let target = if link { fs::canonicalize(path)? } else { path.to_owned() };
    let found = fs::metadata(&target)?;
    if found.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "this is a folder, but a file name is needed"));
    }
    if !found.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is not a regular file; zilch will not replace it"));
    }
    if found.permissions().readonly() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "this file is read-only; zilch will not replace it"));
    }
    Ok(target)
}

/// The folder of `target`; `.` for a bare file name.
fn folder_of(target: &Path) -> PathBuf {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Syncs the folder, so that the rename survives a power failure.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        // The file is complete and in place. A folder that cannot be opened, or a file system that cannot sync
        // folders, does not make the write a failure.
        Err(e)
            if [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported].contains(&e.kind()) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Does nothing, since this system cannot open folders.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether `name` is the name of a temporary file of zilch. A killed process may leave one.
pub fn is_temporary(name: &str) -> bool {
    let numbers =
        name.strip_prefix(".zilch-").and_then(|rest| rest.strip_suffix(".tmp")).and_then(|n| n.split_once('-'));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    numbers.is_some_and(|(process, file)| number(process) && number(file))
}

/// A temporary file, which is removed on drop unless it was renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// Creates a file in `folder`. Its name is short, so that it is valid wherever the final name is.
    fn create(folder: &Path) -> io::Result<(File, Temporary)> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".zilch-{}-{number}.tmp", process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok((file, Temporary { path, renamed: false })),
                // A killed process with the same process id (common in containers) or another host left this file.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // This error is ignored, because the failed write is the error to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}
