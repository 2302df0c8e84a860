//! numpy's files: `.npy`, an array, and `.npz`, a zip archive of arrays.
//!
//! ```text
//! 93 'NUMPY'  major minor  length (u16, or u32 from version 2)  {'descr': '<f4', 'fortran_order': False, 'shape': (60, 4), }  data
//! ```
//!
//! A data set is the arrays x and y, and x_test and y_test if the test samples are apart. Arrays of uint8 are pixels, of other types
//! numbers. Whole numbers in y are labels, real numbers are targets. Files are not trusted: a shape is compared with the length of the
//! file before anything is allocated.

use super::prepare::{Answers, Classes, Part, Raw, Table};
use super::reading::{OF_ARRAYS, Reading};
use super::{Data, idx};
use crate::error::{Error, Result};
use crate::files::{hex, shown};
use crate::memory;
use ndarray::{Array2, ArrayD, Dimension, IxDyn};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// The first bytes of every file.
const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// The longest header. numpy writes about 120 bytes.
const MAX_HEADER: usize = 1 << 16;
/// The arrays of a data set, and the other names that each may have.
pub(super) const NAMES: [(&str, &[&str]); 4] = [
    ("x", &["x_train", "X", "X_train"]),
    ("y", &["y_train", "Y", "Y_train"]),
    ("x_test", &["X_test"]),
    ("y_test", &["Y_test"]),
];

/// An array of a file.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// uint8.
    Bytes(ArrayD<u8>),
    /// Other whole numbers, and truth values.
    Whole(ArrayD<f64>),
    /// Real numbers.
    Real(ArrayD<f64>),
}

impl Array {
    /// The sizes of its axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Array::Bytes(bytes) => bytes.shape(),
            Array::Whole(numbers) | Array::Real(numbers) => numbers.shape(),
        }
    }
}

/// Types of elements that are read: their code, and bytes per element.
const TYPES: [(&str, usize); 11] = [
    ("u1", 1),
    ("i1", 1),
    ("b1", 1),
    ("u2", 2),
    ("i2", 2),
    ("u4", 4),
    ("i4", 4),
    ("u8", 8),
    ("i8", 8),
    ("f4", 4),
    ("f8", 8),
];

/// A header.
struct Header {
    /// The type without its byte order.
    code: &'static str,
    size: usize,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// The first byte of the data.
    start: usize,
}

/// Parses the bytes of a `.npy` file; errors name `source`.
///
/// # Errors
/// [`Error::Data`] when it is malformed, or of a type that is not read; [`Error::Limit`] when it exceeds the free memory.
pub fn parse(source: &Path, bytes: &[u8]) -> Result<Array> {
    let refuse = |why: String| Error::data(source, why);
    let header = header(bytes).map_err(refuse)?;
    let count = header.shape.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
    let announced = count.and_then(|count| count.checked_mul(header.size));
    let data = bytes.get(header.start..).unwrap_or_default();
    if announced != Some(data.len()) || header.shape.len() > 8 {
        let shape: Vec<String> = header.shape.iter().map(ToString::to_string).collect();
        return Err(refuse(format!(
            "the header says shape ({}) of {} bytes each, but {} bytes follow",
            shape.join(", "),
            header.size,
            data.len()
        )));
    }
    let needed = 8 * count.unwrap_or(0) as u64;
    memory::check(|| format!("reading {}", source.display()), needed, "take fewer samples")?;
    array(&header, data).ok_or_else(|| refuse("the shape does not fit the data".into()))
}

/// The array of a checked header.
fn array(header: &Header, data: &[u8]) -> Option<Array> {
    fn shaped<T: Clone>(header: &Header, values: Vec<T>) -> Option<ArrayD<T>> {
        if !header.fortran {
            return ArrayD::from_shape_vec(IxDyn(&header.shape), values).ok();
        }
        let reversed: Vec<usize> = header.shape.iter().rev().copied().collect();
        let columns = ArrayD::from_shape_vec(IxDyn(&reversed), values).ok()?;
        Some(columns.reversed_axes().as_standard_layout().into_owned())
    }
    if header.code == "u1" {
        return Some(Array::Bytes(shaped(header, data.to_vec())?));
    }
    let number = |bytes: &[u8]| -> f64 {
        let mut word = [0u8; 8];
        word[..header.size].copy_from_slice(bytes);
        if header.big_endian {
            word[..header.size].reverse();
        }
        let unsigned = u64::from_le_bytes(word);
        let unused = 64 - 8 * header.size as u32;
        match header.code.as_bytes()[0] {
            b'f' if header.size == 4 => f64::from(f32::from_bits(unsigned as u32)),
            b'f' => f64::from_bits(unsigned),
            b'i' => (((unsigned << unused) as i64) >> unused) as f64,
            _ => unsigned as f64,
        }
    };
    let values = shaped(header, data.chunks_exact(header.size).map(number).collect())?;
    Some(if header.code.starts_with('f') { Array::Real(values) } else { Array::Whole(values) })
}

fn header(bytes: &[u8]) -> std::result::Result<Header, String> {
    let not = || "this is not a .npy file, which begins with \\x93NUMPY".to_owned();
    let rest = bytes.strip_prefix(&MAGIC).ok_or_else(not)?;
    let (length, start) = match rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([*a, *b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        [version, ..] => return Err(format!("version {version} of the format is not known; expected 1 to 3")),
        [] => return Err(not()),
    };
    let cut = || "cut short within its header".to_owned();
    if length > MAX_HEADER {
        return Err(format!("a header of {length} bytes; expected at most {MAX_HEADER}"));
    }
    let text = bytes.get(start..start + length).ok_or_else(cut)?;
    let text = std::str::from_utf8(text).map_err(|_| "its header is not text".to_owned())?;
    let wrong = |what: &str| format!("its header has no {what}: {}", shown(text.trim_end()));
    let descr = quoted(value(text, "descr").ok_or_else(|| wrong("descr"))?);
    let descr = descr.ok_or_else(|| {
        format!("its elements have several fields; expected one number each: {}", shown(text.trim_end()))
    })?;
    let (order, code) = descr.split_at_checked(1).ok_or_else(|| wrong("descr"))?;
    let (code, size) = TYPES.into_iter().find(|(known, _)| *known == code).ok_or_else(|| {
        let known: Vec<&str> = TYPES.iter().map(|(code, _)| *code).collect();
        format!(
            "its elements have the type \"{}\"; those read are {} (convert others: x.astype('float32'))",
            shown(descr),
            known.join(", ")
        )
    })?;
    if !["<", ">", "|", "="].contains(&order) {
        return Err(format!("the byte order of \"{}\" is not known", shown(descr)));
    }
    let fortran = value(text, "fortran_order").ok_or_else(|| wrong("fortran_order"))?.starts_with("True");
    let shape = value(text, "shape").and_then(sizes).ok_or_else(|| wrong("shape"))?;
    Ok(Header { code, size, big_endian: order == ">", fortran, shape, start: start + length })
}

/// The text after a key of the header.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let at =
        [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|key| Some(text.find(key.as_str())? + key.len()))?;
    Some(text[at..].trim_start().strip_prefix(':')?.trim_start())
}

/// The text in quotes at the start.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote).map(|(inside, _)| inside)
}

/// The sizes in parentheses at the start.
fn sizes(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let parts = inside.split(',').map(str::trim).filter(|part| !part.is_empty());
    // numpy 1 on Python 2 wrote 60L.
    parts.map(|part| part.trim_end_matches('L').parse().ok()).collect()
}

/// Reads a `.npz` archive.
///
/// # Errors
/// [`Error::Data`] when it or one of its arrays is malformed or missing; [`Error::Limit`] when an array exceeds the free memory;
/// [`Error::Io`] when it cannot be read.
#[cfg(feature = "npz")]
pub(super) fn open_npz(path: &Path, reading: &Reading) -> Result<Data> {
    let (file, _) = idx::open(path)?;
    archive(path, std::io::BufReader::new(file), reading)
}

/// Parses the bytes of a `.npz` archive; errors name `source`.
///
/// # Errors
/// As [`parse`].
#[cfg(feature = "npz")]
pub fn parse_npz(source: &Path, bytes: &[u8], reading: &Reading) -> Result<Data> {
    archive(source, std::io::Cursor::new(bytes), reading)
}

#[cfg(feature = "npz")]
fn archive(path: &Path, reader: impl std::io::Read + std::io::Seek, reading: &Reading) -> Result<Data> {
    let refuse =
        |e: zip::result::ZipError| Error::data(path, format!("this is not a .npz archive: {}", shown(&e.to_string())));
    let mut archive = zip::ZipArchive::new(reader).map_err(refuse)?;
    let mut arrays = BTreeMap::new();
    let held: Vec<String> =
        archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_owned()).collect();
    for (name, others) in NAMES {
        let found =
            std::iter::once(name).chain(others.iter().copied()).find(|name| held.iter().any(|held| held == name));
        let Some(found) = found else { continue };
        let mut file = archive.by_name(&format!("{found}.npy")).map_err(refuse)?;
        let bytes = inflated(path, &mut file)?;
        arrays.insert(name, (found.to_owned(), bytes));
    }
    data(path, arrays, &crate::files::few(&held), reading)
}

/// The bytes of an entry. Its announced size is not trusted.
#[cfg(feature = "npz")]
fn inflated(path: &Path, entry: &mut impl std::io::Read) -> Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    loop {
        let step = bytes.len().max(idx::FIRST) as u64;
        idx::reserve(path, &mut bytes, step)?;
        let read = entry.by_ref().take(step).read_to_end(&mut bytes);
        let read = read.map_err(|e| Error::data(path, format!("a damaged archive: {}", shown(&e.to_string()))))?;
        if (read as u64) < step {
            return Ok(bytes);
        }
        if bytes.len() as u64 > idx::MAX_BYTES {
            return Err(Error::data(path, format!("an array of more than {} bytes", idx::MAX_BYTES)));
        }
    }
}

/// Reads a folder with x.npy and y.npy, and with x_test.npy and y_test.npy if the test samples are apart.
///
/// # Errors
/// As for an archive.
pub(super) fn open_folder(folder: &Path, reading: &Reading) -> Result<Data> {
    let mut arrays = BTreeMap::new();
    for (name, others) in NAMES {
        let found = std::iter::once(&name).chain(others).find(|name| folder.join(format!("{name}.npy")).is_file());
        let Some(found) = found else { continue };
        let path = folder.join(format!("{found}.npy"));
        let bytes = idx::contents(&path, |length| match length {
            0..=idx::MAX_BYTES => Ok(()),
            _ => Err(Error::data(&path, format!("the file has {length} bytes; expected at most {}", idx::MAX_BYTES))),
        })?;
        arrays.insert(name, ((*found).to_owned(), bytes));
    }
    data(folder, arrays, "other files", reading)
}

/// A data set of named arrays. `held` lists what is there.
fn data(
    path: &Path,
    mut arrays: BTreeMap<&'static str, (String, Vec<u8>)>,
    held: &str,
    reading: &Reading,
) -> Result<Data> {
    reading.only(path, "of arrays", OF_ARRAYS)?;
    let mut checksums = Vec::new();
    let mut take = |name: &'static str| -> Result<Option<Array>> {
        let Some((found, bytes)) = arrays.remove(name) else { return Ok(None) };
        checksums.push((format!("{found}.npy"), hex(&Sha256::digest(&bytes))));
        parse(&path.join(format!("{found}.npy")), &bytes).map(Some)
    };
    let (x, y, x_test, y_test) = (take("x")?, take("y")?, take("x_test")?, take("y_test")?);
    let (Some(x), Some(y)) = (x, y) else {
        let why =
            format!("expected the arrays x and y, and x_test and y_test if the test samples are apart; it has {held}");
        return Err(Error::data(path, why));
    };
    let form = form(path, &x)?;
    let train = part(path, x, y, form, "")?;
    let test = match (x_test, y_test) {
        (None, None) => None,
        (Some(x), Some(y)) if self::form(path, &x)? == form => Some(part(path, x, y, form, "_test")?),
        (Some(_), Some(_)) => return Err(Error::data(path, "samples of x and of x_test have different shapes")),
        _ => return Err(Error::data(path, "x_test and y_test belong together, and one of them is missing")),
    };
    let stem = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let (columns, classes) = ([Vec::new(), Vec::new()], Classes::default());
    let [form, _] = form;
    Table { source: path.to_owned(), name: stem, checksums, columns, classes, form, train, test }.data(reading)
}

/// Channels, rows and columns of the samples of x, and the order of these axes in x.
fn form(path: &Path, x: &Array) -> Result<[[usize; 3]; 2]> {
    const AS_THEY_ARE: [usize; 3] = [0, 1, 2];
    const CHANNELS_LAST: [usize; 3] = [2, 0, 1];
    Ok(match *x.shape() {
        [_, n] => [[1, 1, n], AS_THEY_ARE],
        [_, rows, cols] => [[1, rows, cols], AS_THEY_ARE],
        [_, channels @ (1 | 3), rows, cols] => [[channels, rows, cols], AS_THEY_ARE],
        [_, rows, cols, channels @ (1 | 3)] => [[channels, rows, cols], CHANNELS_LAST],
        _ => {
            let why = "expected x of shape [samples, n], [samples, rows, cols], [samples, channels, rows, cols] or [samples, rows, cols, \
                       channels] with 1 or 3 channels";
            return Err(Error::data(path, format!("x has shape {:?}; {why}", x.shape())));
        }
    })
}

/// The samples of x, [samples, channels · rows · cols].
fn flat<T: Clone>(x: ArrayD<T>, [form, order]: [[usize; 3]; 2]) -> Option<Array2<T>> {
    let samples = *x.shape().first()?;
    let width = form.iter().product::<usize>();
    let x = if x.ndim() == 4 { x.permuted_axes(IxDyn(&[0, order[0] + 1, order[1] + 1, order[2] + 1])) } else { x };
    x.as_standard_layout().into_owned().into_shape_with_order((samples, width)).ok()
}

/// Inputs and targets of x and y; `suffix` follows their names in messages.
fn part(path: &Path, x: Array, y: Array, form: [[usize; 3]; 2], suffix: &str) -> Result<Part> {
    let refuse = |why: String| Error::data(path, why);
    let (samples, targets) = (x.shape().first().copied().unwrap_or(0), y.shape().first().copied().unwrap_or(0));
    if samples != targets {
        return Err(refuse(format!("x{suffix} has {samples} samples, and y{suffix} {targets}")));
    }
    let inputs = match x {
        Array::Bytes(bytes) => flat(bytes, form).map(Raw::Pixels),
        Array::Whole(numbers) | Array::Real(numbers) => {
            finite(&numbers, "x", suffix).map_err(refuse)?;
            flat(numbers, form).map(Raw::Numbers)
        }
    };
    let inputs = inputs.ok_or_else(|| refuse(format!("the shape of x{suffix} does not fit its data")))?;
    Ok(Part { inputs, answers: answers(y, suffix).map_err(refuse)? })
}

/// Refuses NaN and infinity.
fn finite(numbers: &ArrayD<f64>, name: &str, suffix: &str) -> std::result::Result<(), String> {
    match numbers.indexed_iter().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some((at, v)) => {
            Err(format!("{name}{suffix}{:?} is {v}; expected finite numbers (counted from 0)", at.slice()))
        }
    }
}

/// The labels or targets of y.
fn answers(y: Array, suffix: &str) -> std::result::Result<Answers, String> {
    let shape = y.shape().to_vec();
    let samples = shape.first().copied().unwrap_or(0);
    let column = shape.len() == 1 || (shape.len() == 2 && shape[1] == 1);
    match y {
        Array::Real(values) if matches!(shape.len(), 1 | 2) => {
            finite(&values, "y", suffix)?;
            let width = values.len() / samples.max(1);
            let values = values.into_shape_with_order((samples, width)).map_err(|e| e.to_string())?;
            Ok(Answers::Values(values))
        }
        Array::Bytes(labels) if column => Ok(Answers::Labels(labels.into_iter().collect())),
        Array::Whole(labels) if column => {
            let label = |v: &f64| {
                let whole = (0.0..256.0).contains(v).then_some(*v as u8);
                whole.ok_or_else(|| {
                    format!("y{suffix} has the label {v}; labels are 0 to 255 (real targets: y.astype('float32'))")
                })
            };
            Ok(Answers::Labels(labels.iter().map(label).collect::<std::result::Result<_, _>>()?))
        }
        _ => Err(format!(
            "y{suffix} has shape {shape:?}; expected whole numbers of shape [samples] as labels, or real numbers of shape [samples] or \
             [samples, targets]"
        )),
    }
}
