//! Folders in the form of MNIST: four IDX files under its names, plain or gzipped.
//!
//! MNIST and Fashion-MNIST come like this; so may any set of images of one size and up to 256 classes.

use super::{Data, Dataset, MADE, cifar, idx};
use crate::error::{Error, Result};
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// The four files, in the order of [`Data::checksums`]: training images and labels, test images and labels.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// What a user without the files can do.
const ADVICE: &str = "MNIST is four files: search for the \"MNIST database\" by its name, download them from any of \
                      its usual mirrors into this folder, and leave them gzipped or not; \
                      or use --data digits or --data colours, which need no files";

/// Reads a folder that holds [`FILES`], each plain or `.gz`, or with a dot (`train-images.idx3-ubyte`); or CIFAR-10's files
/// ([`cifar`]).
///
/// # Errors
/// [`Error::Data`] when the folder or a file is missing or may not be read, files of both forms are there, a file is malformed, there is not one label an image,
/// or training and test images differ in size; [`Error::Io`] when the disk fails.
pub fn open(folder: &Path) -> Result<Data> {
    // A folder that may not be looked into is not one that is missing.
    let hidden = std::fs::metadata(folder).err().filter(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if let Some(error) = hidden {
        return Err(Error::data(folder, format!("this folder cannot be read: {error}")));
    }
    if folder.as_os_str().is_empty() {
        return Err(Error::data(Path::new("--data"), format!("there is no such folder: its name is empty. {ADVICE}")));
    }
    if !folder.is_dir() {
        let what = if folder.exists() { "not a folder" } else { "there is no such folder" };
        let meant = meant(folder).map(|name| format!(". Is --data {name} meant?")).unwrap_or_default();
        return Err(Error::data(folder, format!("{what}; expected one with {}. {ADVICE}{meant}", FILES.join(", "))));
    }
    std::fs::read_dir(folder).map_err(|e| Error::data(folder, format!("this folder cannot be read: {e}")))?;
    if cifar::is_one(folder) {
        if let Some(other) = FILES.iter().find_map(|file| find(folder, file).ok()) {
            let other = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Error::data(
                folder,
                format!("it has files of CIFAR-10 and of MNIST's form ({other}); leave one data set in a folder"),
            ));
        }
        return cifar::open(folder);
    }
    // All four are found before any is read: a missing file should not cost the time of reading the others.
    let mut paths = Vec::with_capacity(FILES.len());
    for file in FILES {
        paths.push(find(folder, file)?);
    }
    let (train, train_sums) = read(&paths[0], &paths[1])?;
    let (test, test_sums) = read(&paths[2], &paths[3])?;
    if (train.rows(), train.cols()) != (test.rows(), test.cols()) {
        let [a, b] = [&train, &test].map(|set| format!("{}×{} pixels", set.rows(), set.cols()));
        return Err(Error::data(
            folder,
            format!("the training images have {a} but the test images have {b}; expected one size"),
        ));
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let sums = train_sums.into_iter().chain(test_sums);
    let checksums = FILES.iter().map(ToString::to_string).zip(sums).collect();
    Ok(Data { train, test, name, checksums })
}

/// How alike a name must be to that of a built-in set.
const ALIKE: f64 = 0.85;

/// The built-in set that was meant by the name of a folder that is not there.
fn meant(folder: &Path) -> Option<&'static str> {
    let name = folder.to_str()?.to_lowercase();
    let alike = |set: &&str| strsim::jaro_winkler(&name, set) >= ALIKE;
    MADE.into_iter().find(alike)
}

/// The names under which a file is looked for, in this order.
fn names(file: &str) -> [String; 4] {
    let dotted = file.replacen("-idx", ".idx", 1);
    [file.to_owned(), format!("{file}.gz"), dotted.clone(), format!("{dotted}.gz")]
}

/// The path of one of [`FILES`].
fn find(folder: &Path, file: &str) -> Result<PathBuf> {
    let names = names(file);
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::data(folder, format!("there is no file {}; looked for {}. {ADVICE}", file, names.join(", ")))
    })
}

/// Reads the images and labels of one set, and their two checksums.
fn read(images: &Path, labels: &Path) -> Result<(Dataset, [String; 2])> {
    // The labels first: they are small, and a mistake there is told at once.
    let idx::Labels { labels: label, sha256: label_sum } = idx::read_labels(labels)?;
    let idx::Images { pixels, count, rows, cols, sha256: image_sum } = idx::read_images(images)?;
    let pixels = Array2::from_shape_vec((count, rows * cols), pixels)
        .map_err(|e| Error::data(images, format!("{count} images of {rows}×{cols} pixels: {e}")))?;
    if label.len() != count {
        return Err(Error::data(
            labels,
            format!("{} labels, but {} has {count} images; expected one label an image", label.len(), images.display()),
        ));
    }
    let set = Dataset::from_sources([images, labels], pixels, label, [1, rows, cols])?;
    Ok((set, [image_sum, label_sum]))
}
