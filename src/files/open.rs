//! Opening files that may be anything: a pipe is not waited for, a device is not read, and no more bytes are read than expected.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// What is done with a link in the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is followed: a person has named the file.
    Followed,
    /// It is refused: zilch has chosen the name, in a folder that others may write into.
    Refused,
}

/// Opens a regular file for reading, and for writing too where `write` says so; it is not created.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a link that is refused and for what is not a regular file; else those of the system.
pub(crate) fn open_regular(path: &Path, links: Links, write: bool) -> io::Result<File> {
    let refuse = |why: &str| Err(io::Error::new(ErrorKind::InvalidInput, why.to_owned()));
    if links == Links::Refused && std::fs::symlink_metadata(path)?.is_symlink() {
        return refuse("this is a link, and links are not followed here");
    }
    // Before opening: on systems where opening waits, and for the clearer message.
    if !std::fs::metadata(path)?.is_file() {
        return refuse("this is not a regular file");
    }
    let mut options = OpenOptions::new();
    options.read(true).write(write);
    unix_flags(&mut options, links);
    let file = options.open(path)?;
    // What has taken its place since then.
    if file.metadata()?.is_file() { Ok(file) } else { refuse("this is not a regular file") }
}

/// A pipe that has come meanwhile is not waited for, and a link not followed.
#[cfg(unix)]
fn unix_flags(options: &mut OpenOptions, links: Links) {
    use std::os::unix::fs::OpenOptionsExt;
    let links = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    options.custom_flags(libc::O_NONBLOCK | links);
}

#[cfg(not(unix))]
fn unix_flags(_options: &mut OpenOptions, _links: Links) {}

/// The bytes of a regular file.
///
/// # Errors
/// Those of opening; [`ErrorKind::InvalidData`] when it has more than `most` bytes.
pub fn read_bounded(path: &Path, most: u64, links: Links) -> io::Result<Vec<u8>> {
    let file = open_regular(path, links, false)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}
