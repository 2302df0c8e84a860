//! The IDX file format of MNIST: a big-endian header, then the data bytes.
//!
//! ```text
//! 00 00  08      DD        n₁ … n_DD (u32 each)     n₁ · … · n_DD bytes
//! zero   u8      sizes     images: count, rows, cols; labels: count
//! ```
//!
//! Files may be gzipped, which is detected by their first bytes, not by their names. A file is not trusted. The sizes in its header
//! are checked before any allocation: against the length of a plain file, and against the most that deflate can produce from the
//! length of a gzipped one. Inflation stops one byte after the announced data.

use crate::error::{Error, Result};
use crate::files::hex;
use crate::memory;
use crate::plan::MAX_WIDTH;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read, Seek};
use std::path::Path;

/// The most bytes of a decompressed file, 16 GiB, since data sets are held in memory.
pub const MAX_BYTES: u64 = 1 << 34;

/// The IDX code of unsigned bytes, the only type a data set uses.
const U8: u8 = 0x08;
/// The first bytes of every gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Allocations up to this many bytes are made without a check of the free memory.
pub(super) const FIRST: usize = 1 << 16;
/// The largest compression ratio of deflate: 258 bytes from 2 bits.
const MAX_INFLATION: u64 = 1032;

/// The images of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// count · rows · cols bytes, [count, rows, cols] row-major.
    pub pixels: Vec<u8>,
    /// The number of images, at least 1.
    pub count: usize,
    /// Rows per image, in pixels.
    pub rows: usize,
    /// Columns per image, in pixels.
    pub cols: usize,
    /// SHA-256 of the decompressed file, in hexadecimal.
    pub sha256: String,
}

/// The labels of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// One label per sample, at least one.
    pub labels: Vec<u8>,
    /// SHA-256 of the decompressed file, in hexadecimal.
    pub sha256: String,
}

/// Reads the images of an IDX file (magic 0x00000803), plain or gzipped.
///
/// # Errors
/// [`Error::Data`] when the file is malformed; [`Error::Limit`] when it exceeds the free memory; [`Error::Io`] when it cannot be
/// read.
pub fn read_images(path: &Path) -> Result<Images> {
    read(path).map(Images::from)
}

/// Parses the bytes of an IDX file of images; errors name `source`.
///
/// # Errors
/// Those of [`read_images`].
pub fn parse_images(source: &Path, bytes: &[u8]) -> Result<Images> {
    read_from(source, Cursor::new(bytes), bytes.len() as u64).map(Images::from)
}

/// Reads the labels of an IDX file (magic 0x00000801), plain or gzipped.
///
/// # Errors
/// Those of [`read_images`].
pub fn read_labels(path: &Path) -> Result<Labels> {
    read(path).map(Labels::from)
}

/// Parses the bytes of an IDX file of labels; errors name `source`.
///
/// # Errors
/// Those of [`read_images`].
pub fn parse_labels(source: &Path, bytes: &[u8]) -> Result<Labels> {
    read_from(source, Cursor::new(bytes), bytes.len() as u64).map(Labels::from)
}

/// The header of an IDX file of unsigned bytes with these sizes.
pub(crate) fn header<const N: usize>(sizes: [u32; N]) -> Vec<u8> {
    const { assert!(N <= u8::MAX as usize) };
    let sizes = sizes.into_iter().flat_map(u32::to_be_bytes);
    [0, 0, U8, N as u8].into_iter().chain(sizes).collect()
}

/// The SHA-256, in hexadecimal, of a file with this header and data.
pub(crate) fn sha256(header: &[u8], data: &[u8]) -> String {
    hex(&Sha256::new().chain_update(header).chain_update(data).finalize())
}

/// A parsed file with N sizes, whose product is the length of the data.
struct Idx<const N: usize> {
    sizes: [usize; N],
    data: Vec<u8>,
    sha256: String,
}

impl From<Idx<3>> for Images {
    fn from(Idx { sizes: [count, rows, cols], data: pixels, sha256 }: Idx<3>) -> Images {
        Images { pixels, count, rows, cols, sha256 }
    }
}

impl From<Idx<1>> for Labels {
    fn from(Idx { data: labels, sha256, .. }: Idx<1>) -> Labels {
        Labels { labels, sha256 }
    }
}

/// Reads a file with N sizes.
fn read<const N: usize>(path: &Path) -> Result<Idx<N>> {
    let (file, length) = open(path)?;
    read_from(path, BufReader::new(file), length)
}

/// Reads a file with N sizes that is `length` bytes long.
fn read_from<const N: usize>(path: &Path, mut file: impl BufRead + Seek, length: u64) -> Result<Idx<N>> {
    if is_gzip(&mut file).map_err(|e| Error::io(path, e))? {
        let most = length.saturating_mul(MAX_INFLATION);
        parse(path, MultiGzDecoder::new(file), &Container { gzip: true, length, most })
    } else {
        parse(path, file, &Container { gzip: false, length, most: length })
    }
}

/// The decompressed bytes of a plain or gzipped file without a header, whose contents follow from its length. `check` refuses
/// invalid lengths; for a plain file it is called before anything is read.
///
/// # Errors
/// Those of `check` for the decompressed length; [`Error::Data`] for corrupt gzip; [`Error::Limit`] when the bytes exceed the free
/// memory; [`Error::Io`] when the file cannot be read.
pub(super) fn contents(path: &Path, check: impl Fn(u64) -> Result<()>) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    contents_from(path, BufReader::new(file), length, check)
}

/// As [`contents`], for a reader of `length` bytes.
pub(super) fn contents_from(
    path: &Path,
    mut file: impl BufRead + Seek,
    length: u64,
    check: impl Fn(u64) -> Result<()>,
) -> Result<Vec<u8>> {
    let gzip = is_gzip(&mut file).map_err(|e| Error::io(path, e))?;
    if !gzip {
        check(length)?;
        let container = Container { gzip, length, most: length };
        let bytes = container.take(path, &mut file, length)?;
        if bytes.len() as u64 != length {
            return Err(Error::data(path, format!("cut short: {} of {length} bytes", bytes.len())));
        }
        return Ok(bytes);
    }
    let most = length.saturating_mul(MAX_INFLATION).min(MAX_BYTES);
    let container = Container { gzip, length, most };
    let bytes = container.take(path, &mut MultiGzDecoder::new(file), most + 1)?;
    check(bytes.len() as u64)?;
    Ok(bytes)
}

/// Opens a regular file. Returns it with its length in bytes.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    // This check precedes the opening, since opening a pipe blocks until its other end opens.
    let missing = |e: io::Error| match e.kind() {
        ErrorKind::NotFound => Error::data(path, "there is no such file"),
        _ => Error::data(path, format!("this file cannot be opened: {e}")),
    };
    if !path.metadata().map_err(missing)?.is_file() {
        return Err(Error::data(path, "not a regular file"));
    }
    let file = File::open(path).map_err(missing)?;
    let length = file.metadata().map_err(missing)?.len();
    Ok((file, length))
}

/// Whether a file starts with the magic bytes of gzip. Rewinds the file.
fn is_gzip(file: &mut (impl Read + Seek)) -> io::Result<bool> {
    let mut start = Vec::with_capacity(GZIP.len());
    file.by_ref().take(GZIP.len() as u64).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start == GZIP)
}

/// What is known about a file before it is read.
struct Container {
    gzip: bool,
    /// Bytes of the file on disk.
    length: u64,
    /// The most bytes that it can have when decompressed.
    most: u64,
}

impl Container {
    /// The capacity of the file, as the end of the sentence "the header says …, but ".
    fn describe(&self) -> String {
        let Container { gzip, length, most } = self;
        if *gzip {
            format!("a gzip file of {length} bytes can inflate to {most} at most")
        } else {
            format!("the file has {length} bytes")
        }
    }

    /// The error for a failed read after `done` bytes: corrupt gzip, or a failure of the system.
    fn fault(&self, path: &Path, done: usize, e: io::Error) -> Error {
        use ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        match e.kind() {
            UnexpectedEof if self.gzip => Error::data(
                path,
                format!(
                    "corrupt gzip after {done} inflated bytes: the file of {} bytes ends within a member",
                    self.length
                ),
            ),
            InvalidData | InvalidInput if self.gzip => {
                Error::data(path, format!("corrupt gzip after {done} inflated bytes: {e}"))
            }
            _ => Error::io(path, e),
        }
    }

    /// Reads `count` bytes, or fewer at the end of the file.
    fn take(&self, path: &Path, reader: &mut impl Read, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < count {
            let left = count - bytes.len() as u64;
            // A gzip file may announce more than it holds. So the buffer at most doubles per step.
            let step = if self.gzip { left.min(bytes.len().max(FIRST) as u64) } else { left };
            reserve(path, &mut bytes, step)?;
            match reader.by_ref().take(step).read_to_end(&mut bytes) {
                Ok(read) if (read as u64) < step => break,
                Ok(_) => {}
                Err(e) => return Err(self.fault(path, bytes.len(), e)),
            }
        }
        Ok(bytes)
    }
}

/// Reserves memory for more bytes of a file, or returns an error if there is not enough.
pub(super) fn reserve(path: &Path, bytes: &mut Vec<u8>, more: u64) -> Result<()> {
    let check = || memory::check(|| format!("reading {}", path.display()), more, "take fewer or smaller images");
    if more > FIRST as u64 {
        check()?;
    }
    let refused =
        |_| check().err().unwrap_or_else(|| Error::data(path, format!("there is no memory for {more} more bytes")));
    bytes.try_reserve_exact(more as usize).map_err(refused)
}

/// Parses header and data. A byte after the data is an error.
fn parse<const N: usize>(path: &Path, mut reader: impl Read, container: &Container) -> Result<Idx<N>> {
    let start = 4 + 4 * N as u64;
    let header = container.take(path, &mut reader, start)?;
    let sizes = check_header::<N>(&header).map_err(|reason| Error::data(path, reason))?;
    let expected = check_sizes(sizes, start, container).map_err(|reason| Error::data(path, reason))?;
    let mut data = container.take(path, &mut reader, expected + 1)?;
    let text = product(&sizes);
    if (data.len() as u64) < expected {
        return Err(Error::data(path, format!("cut short: {} of {text} bytes after the header", data.len())));
    }
    if data.len() as u64 > expected {
        return Err(Error::data(path, format!("too long: expected {text} bytes after the header, but there are more")));
    }
    data.shrink_to_fit();
    // `expected` bytes are in memory, so each size fits a usize.
    let sha256 = sha256(&header, &data);
    Ok(Idx { sizes: sizes.map(|n| n as usize), data, sha256 })
}

/// The N sizes of a header, or a sentence about its error.
fn check_header<const N: usize>(header: &[u8]) -> std::result::Result<[u32; N], String> {
    let kind = if N == 3 { "images" } else { "labels" };
    let expected = [0, 0, U8, N as u8];
    let wrong = |found: &str| {
        let magic = u32::from_be_bytes(expected);
        Err(format!("{found}; expected an IDX file of {kind}, which begins with 0x{magic:08x}"))
    };
    let (words, rest) = header.as_chunks::<4>();
    let Some((&magic, sizes)) = words.split_first() else {
        return wrong(&format!("only {} bytes", header.len()));
    };
    if magic != expected {
        let word = u32::from_be_bytes(magic);
        return wrong(&match magic {
            [0, 0, U8, n] => format!("the first 4 bytes are 0x{word:08x}: IDX with {n} sizes instead of {N}"),
            [0, 0, code, _] => match element(code) {
                Some(name) => format!("the first 4 bytes are 0x{word:08x}: IDX of {name} instead of u8"),
                None => format!("the first 4 bytes are 0x{word:08x}: there is no IDX type 0x{code:02x}"),
            },
            _ => format!("the first 4 bytes are 0x{word:08x}: not IDX"),
        });
    }
    match <[[u8; 4]; N]>::try_from(sizes) {
        Ok(sizes) if rest.is_empty() => Ok(sizes.map(u32::from_be_bytes)),
        _ => Err(format!("cut short: {} bytes of the {} of the header of {kind}", header.len(), 4 + 4 * N)),
    }
}

/// The name of an IDX element type.
fn element(code: u8) -> Option<&'static str> {
    Some(match code {
        0x08 => "u8",
        0x09 => "i8",
        0x0b => "i16",
        0x0c => "i32",
        0x0d => "f32",
        0x0e => "f64",
        _ => return None,
    })
}

/// Checks the sizes before anything is allocated. Returns the bytes of data that they announce.
fn check_sizes<const N: usize>(sizes: [u32; N], start: u64, container: &Container) -> std::result::Result<u64, String> {
    let text = product(&sizes);
    if sizes.contains(&0) {
        return Err(format!("the header says {text} bytes of data; expected at least one sample of one byte"));
    }
    let expected = sizes.iter().try_fold(1u64, |all, &n| all.checked_mul(u64::from(n)));
    let Some(expected) = expected.filter(|&bytes| bytes <= MAX_BYTES && usize::try_from(bytes).is_ok()) else {
        return Err(format!("the header says {text} bytes of data; expected at most {MAX_BYTES}"));
    };
    let pixels = expected / u64::from(sizes[0]);
    if pixels > MAX_WIDTH as u64 {
        return Err(format!(
            "the header says images of {pixels} pixels; expected at most {MAX_WIDTH}, the width limit of a layer"
        ));
    }
    let total = expected + start;
    if total > container.most || (!container.gzip && total != container.length) {
        let kind = if total > container.most { "cut short" } else { "too long" };
        return Err(format!("{kind}: the header says {start} + {text} = {total} bytes, but {}", container.describe()));
    }
    Ok(expected)
}

/// Formats sizes as "3 × 28 × 28".
fn product(sizes: &[u32]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ")
}
