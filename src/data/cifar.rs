//! CIFAR-10 and CIFAR-100 in their binary form, in colour: CIFAR-10 has five files of training images and one of test images,
//! CIFAR-100 one of each.
//!
//! ```text
//! label   red                 green               blue                (10,000 times per file)
//! u8      1024 u8, by rows    1024 u8, by rows    1024 u8, by rows
//! ```
//!
//! In CIFAR-100 a coarse label of 20 precedes the label of 100 and is skipped.
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

/// The files of training images of CIFAR-10, in their order.
pub const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
/// The file of test images of CIFAR-10.
pub const TEST: &str = "test_batch.bin";

/// The shape of an image: channels, rows, columns.
const SIZE: [usize; 3] = [3, 32, 32];
/// Bytes per image.
const PIXELS: usize = SIZE[0] * SIZE[1] * SIZE[2];

/// One of the two data sets.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// The name.
    pub name: &'static str,
    /// The files of training images, in their order.
    pub train: &'static [&'static str],
    /// The file of test images.
    pub test: &'static str,
    /// The folder in the archive.
    folder: &'static str,
    /// Bytes of labels before the pixels; the last one is the label.
    labels: usize,
    /// The number of classes; labels are 0 to `classes` − 1.
    classes: u8,
}

/// Ten classes.
pub static CIFAR_10: Format =
    Format { name: "CIFAR-10", train: &TRAIN, test: TEST, folder: "cifar-10-batches-bin", labels: 1, classes: 10 };
/// A hundred classes.
pub static CIFAR_100: Format = Format {
    name: "CIFAR-100",
    train: &["train.bin"],
    test: "test.bin",
    folder: "cifar-100-binary",
    labels: 2,
    classes: 100,
};

/// The format of which a folder holds any file.
pub fn format_of(folder: &Path) -> Option<&'static Format> {
    [&CIFAR_10, &CIFAR_100].into_iter().find(|format| format.files().any(|name| find(folder, name).is_some()))
}

/// The path of a file: the plain one if it exists, else the gzipped one.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [name.to_owned(), format!("{name}.gz")].into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

impl Format {
    /// All files.
    fn files(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.train.iter().copied().chain([self.test])
    }

    /// Bytes per image with its labels.
    fn record(&self) -> usize {
        self.labels + PIXELS
    }

    /// Reads a folder that holds the files, each plain or `.gz`.
    ///
    /// # Errors
    /// [`Error::Data`] when a file is missing, or its length is not a whole number of records; [`Error::Io`] when one cannot be
    /// read; [`Error::Limit`] when the images exceed the free memory.
    pub fn open(&self, folder: &Path) -> Result<Data> {
        let mut paths = Vec::new();
        for name in self.files() {
            let Some(path) = find(folder, name) else {
                return Err(Error::data(
                    folder,
                    format!(
                        "there is no file {name} (or {name}.gz); the binary form of {} is {} and {}, as in the folder {} of the archive",
                        self.name,
                        self.train.join(", "),
                        self.test,
                        self.folder
                    ),
                ));
            };
            paths.push((name, path));
        }
        let mut checksums = Vec::new();
        let (train, test) = paths.split_at(self.train.len());
        let train = self.read(folder, train, &mut checksums)?;
        let test = self.read(test.first().map_or(folder, |(_, path)| path), test, &mut checksums)?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Ok(Data { train, test, name, checksums })
    }

    /// Reads several files as one set and appends their checksums to `checksums`. Errors of the set name `source`.
    fn read(&self, source: &Path, files: &[(&str, PathBuf)], checksums: &mut Vec<(String, String)>) -> Result<Dataset> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for (name, path) in files {
            let bytes = idx::contents(path, |length| self.check_length(path, length))?;
            checksums.push(((*name).to_owned(), hex(&Sha256::digest(&bytes))));
            self.add(path, &bytes, &mut pixels, &mut labels)?;
        }
        set(source, pixels, labels)
    }

    /// Parses the bytes of one file, plain or gzipped.
    ///
    /// # Errors
    /// [`Error::Data`] when their length is not a whole number of records; [`Error::Limit`] when the images exceed the free memory.
    pub fn parse(&self, path: &Path, bytes: &[u8]) -> Result<Dataset> {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let check = |length| self.check_length(path, length);
        let bytes = idx::contents_from(path, Cursor::new(bytes), bytes.len() as u64, check)?;
        self.add(path, &bytes, &mut pixels, &mut labels)?;
        set(path, pixels, labels)
    }

    /// Appends the images and labels of a file.
    fn add(&self, path: &Path, bytes: &[u8], pixels: &mut Vec<u8>, labels: &mut Vec<u8>) -> Result<()> {
        idx::reserve(path, pixels, bytes.len() as u64)?;
        for (i, record) in bytes.chunks_exact(self.record()).enumerate() {
            let (label, image) = (record[self.labels - 1], &record[self.labels..]);
            if label >= self.classes {
                return Err(Error::data(
                    path,
                    format!("image {i} (counted from 0) has label {label}; expected 0 to {}", self.classes - 1),
                ));
            }
            labels.push(label);
            pixels.extend_from_slice(image);
        }
        Ok(())
    }

    fn check_length(&self, path: &Path, length: u64) -> Result<()> {
        let record = self.record();
        if length == 0 || !length.is_multiple_of(record as u64) || length > idx::MAX_BYTES {
            let label = if self.labels == 1 { "a label" } else { "two labels" };
            return Err(Error::data(
                path,
                format!(
                    "the file has {length} bytes; expected a whole number of images of {record} bytes ({label}, and 32×32 pixels in \
                     3 channels), at least one, and at most {} bytes in total",
                    idx::MAX_BYTES
                ),
            ));
        }
        Ok(())
    }
}

/// Parses the bytes of one file of CIFAR-10, plain or gzipped.
///
/// # Errors
/// Those of [`Format::parse`].
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Dataset> {
    CIFAR_10.parse(path, bytes)
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
