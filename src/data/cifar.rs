//! CIFAR-10 in its binary form: five files of training images and one of test images, in colour.
//!
//! ```text
//! label   red                 green               blue                (10,000 times per file)
//! u8      1024 u8, by rows    1024 u8, by rows    1024 u8, by rows
//! ```
//!
//! Files may be gzipped, as in [`idx`]. Their contents are not trusted. The length of a plain file is checked before any allocation,
//! memory for a gzipped file grows only with the bytes inflated, and every label is checked before use.

use super::{Data, Dataset, idx};
use crate::error::{Error, Result};
use crate::files::hex;
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// The files of training images, in their order.
pub const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
/// The file of test images.
pub const TEST: &str = "test_batch.bin";

/// The shape of an image: channels, rows, columns.
const SIZE: [usize; 3] = [3, 32, 32];
/// Bytes per image.
const PIXELS: usize = SIZE[0] * SIZE[1] * SIZE[2];
/// Bytes per image with its label.
const RECORD: usize = 1 + PIXELS;
/// The number of classes; labels are 0 to `CLASSES` − 1.
const CLASSES: u8 = 10;

/// Whether a folder holds any of the CIFAR-10 files.
pub fn is_one(folder: &Path) -> bool {
    TRAIN.into_iter().chain([TEST]).any(|name| find(folder, name).is_some())
}

/// The path of a file: the plain one if it exists, else the gzipped one.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [name.to_owned(), format!("{name}.gz")].into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads a folder that holds [`TRAIN`] and [`TEST`], each plain or `.gz`.
///
/// # Errors
/// [`Error::Data`] when a file is missing, or its length is not a whole number of records; [`Error::Io`] when one cannot be
/// read; [`Error::Limit`] when the images exceed the free memory.
pub fn open(folder: &Path) -> Result<Data> {
    let mut paths = Vec::new();
    for name in TRAIN.into_iter().chain([TEST]) {
        let Some(path) = find(folder, name) else {
            return Err(Error::data(
                folder,
                format!(
                    "there is no file {name} (or {name}.gz); the binary form of CIFAR-10 is {} and {TEST}, as in the folder \
                     cifar-10-batches-bin of the archive",
                    TRAIN.join(", ")
                ),
            ));
        };
        paths.push((name, path));
    }
    let mut checksums = Vec::new();
    let train = read(folder, &paths[..TRAIN.len()], &mut checksums)?;
    let test = read(&paths[TRAIN.len()].1, &paths[TRAIN.len()..], &mut checksums)?;
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    Ok(Data { train, test, name, checksums })
}

/// Reads several files as one set and appends their checksums to `checksums`. Errors of the set name `source`.
fn read(source: &Path, files: &[(&str, PathBuf)], checksums: &mut Vec<(String, String)>) -> Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (name, path) in files {
        let bytes = idx::contents(path, |length| check_length(path, length))?;
        checksums.push(((*name).to_owned(), hex(&Sha256::digest(&bytes))));
        add(path, &bytes, &mut pixels, &mut labels)?;
    }
    set(source, pixels, labels)
}

/// Parses the bytes of one file, plain or gzipped.
///
/// # Errors
/// [`Error::Data`] when their length is not a whole number of records; [`Error::Limit`] when the images exceed the free memory.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Dataset> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    let check = |length| check_length(path, length);
    let bytes = idx::contents_from(path, Cursor::new(bytes), bytes.len() as u64, check)?;
    add(path, &bytes, &mut pixels, &mut labels)?;
    set(path, pixels, labels)
}

/// The SHA-256 of a file with these images and labels.
pub(super) fn sha256(images: &Array2<u8>, labels: &[u8]) -> String {
    let mut hash = Sha256::new();
    for (image, label) in images.outer_iter().zip(labels) {
        hash.update([*label]);
        hash.update(image.as_slice().unwrap_or_default());
    }
    hex(&hash.finalize())
}

fn set(source: &Path, pixels: Vec<u8>, labels: Vec<u8>) -> Result<Dataset> {
    let images = Array2::from_shape_vec((labels.len(), PIXELS), pixels)
        .map_err(|e| Error::data(source, format!("{} images of {PIXELS} bytes: {e}", labels.len())))?;
    Dataset::from_sources([source, source], images, labels, SIZE)
}

/// Appends the images and labels of a file.
fn add(path: &Path, bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
    idx::reserve(path, pixels, bytes.len() as u64)?;
    for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
        if record[0] >= CLASSES {
            return Err(Error::data(
                path,
                format!("image {i} (counted from 0) has label {}; expected 0 to {}", record[0], CLASSES - 1),
            ));
        }
        labels.push(record[0]);
        pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

fn check_length(path: &Path, length: u64) -> Result<()> {
    if length == 0 || !length.is_multiple_of(RECORD as u64) || length > idx::MAX_BYTES {
        return Err(Error::data(
            path,
            format!(
                "the file has {length} bytes; expected a whole number of images of {RECORD} bytes (a label, and 32×32 pixels in \
                 3 channels), at least one, and at most {} bytes in total",
                idx::MAX_BYTES
            ),
        ));
    }
    Ok(())
}
