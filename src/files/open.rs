//! Opening files safely: without blocking on a pipe, without reading a device, and with a limit on the bytes read.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// How to treat a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Follow it: the user chose the path.
    Followed,
    /// Refuse it: zilch chose the name, in a folder that other users may write to.
    Refused,
}

/// Opens an existing regular file for reading, and also for writing if `write` is set.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a refused link and for anything but a regular file; otherwise those of the system.
pub(crate) fn open_regular(path: &Path, links: Links, write: bool) -> io::Result<File> {
    let refuse = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why.to_owned()));
    if links == Links::Refused && std::fs::symlink_metadata(path)?.is_symlink() {
        return refuse("this is a link, and links are not followed here");
    }
    // This check precedes the opening because opening a pipe may block, and because it gives a clearer message.
    if !std::fs::metadata(path)?.is_file() {
        return refuse("this is not a regular file");
    }
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    unix_flags(&mut options, links);
    let file = options.open(path)?;
    // The file may have been replaced since the first check.
    if file.metadata()?.is_file() { Ok(file) } else { refuse("this is not a regular file") }
}

/// Makes the opening of a pipe non-blocking, and refuses links if asked to. A pipe or link may have replaced the file
/// since the check.
#[cfg(unix)]
fn unix_flags(options: &mut OpenOptions, links: Links) {
    use std::os::unix::fs::OpenOptionsExt;
    let links = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    options.custom_flags(libc::O_NONBLOCK | links);
}

#[cfg(not(unix))]
fn unix_flags(_options: &mut OpenOptions, _links: Links) {}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// Those of opening the file; [`ErrorKind::InvalidData`] when it has more than `most` bytes.
pub fn read_bounded(path: &Path, most: u64, links: Links) -> io::Result<Vec<u8>> {
    let file = open_regular(path, links, false)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
