//! Folders in the format of MNIST: four IDX files, plain or gzipped, with the file names of MNIST.
//!
//! MNIST and Fashion-MNIST have this format. Any set of images of one size with up to 256 classes can have it.

use super::{Data, Dataset, MADE, cifar, idx};
use crate::error::{Error, Result};
use crate::files::counted;
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// The four files, in the order of [`Data::checksums`]: training images and labels, test images and labels.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// Advice for a user without the files.
const ADVICE: &str = "MNIST is four files: search for the \"MNIST database\", download them from any of its usual mirrors into this \
                      folder, gzipped or not; or use --data digits or --data colours, which need no files";

/// Reads a folder that holds [`FILES`] or the files of CIFAR-10 ([`cifar`]). Each file may be plain or `.gz`. The names
/// of MNIST files may also have a dot (`train-images.idx3-ubyte`).
///
/// # Errors
/// [`Error::Data`] when the folder or a file is missing or unreadable, the folder holds files of both formats, a file is
/// malformed, the number of labels is not that of the images, or training and test images differ in size; [`Error::Io`] when the
/// disk fails.
pub fn open(folder: &Path) -> Result<Data> {
    // A missing permission must not be reported as a missing folder.
    let hidden = std::fs::metadata(folder).err().filter(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if let Some(error) = hidden {
        return Err(Error::data(folder, format!("this folder cannot be read: {error}")));
    }
    if folder.as_os_str().is_empty() {
        return Err(Error::data(Path::new("--data"), format!("there is no such folder: the name is empty. {ADVICE}")));
    }
    if !folder.is_dir() {
        let what = if folder.exists() { "not a folder" } else { "there is no such folder" };
        let meant = meant(folder).map(|name| format!(". Did you mean --data {name}?")).unwrap_or_default();
        return Err(Error::data(folder, format!("{what}; expected one with {}. {ADVICE}{meant}", FILES.join(", "))));
    }
    std::fs::read_dir(folder).map_err(|e| Error::data(folder, format!("this folder cannot be read: {e}")))?;
    if cifar::is_one(folder) {
        if let Some(other) = FILES.iter().find_map(|file| find(folder, file).ok()) {
            let other = other.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(Error::data(
                folder,
                format!(
                    "it holds files of CIFAR-10 and files in the format of MNIST ({other}); a folder may hold only one data set"
                ),
            ));
        }
        return cifar::open(folder);
    }
    // All four files are located before the first is read, so that a missing file is reported at once.
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
            format!("the training images have {a}, but the test images have {b}; expected one size"),
        ));
    }
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let sums = train_sums.into_iter().chain(test_sums);
    let checksums = FILES.iter().map(ToString::to_string).zip(sums).collect();
    Ok(Data { train, test, name, checksums })
}

/// The minimum Jaro–Winkler similarity of a suggested built-in set.
const SIMILAR: f64 = 0.85;

/// The built-in set with a name similar to that of a missing folder.
fn meant(folder: &Path) -> Option<&'static str> {
    let name = folder.to_str()?.to_lowercase();
    let similar = |set: &&str| strsim::jaro_winkler(&name, set) >= SIMILAR;
    MADE.into_iter().find(similar)
}

/// The accepted names of a file, in order of preference.
fn names(file: &str) -> [String; 4] {
    let dotted = file.replacen("-idx", ".idx", 1);
    [file.to_owned(), format!("{file}.gz"), dotted.clone(), format!("{dotted}.gz")]
}

/// The path of one of [`FILES`].
fn find(folder: &Path, file: &str) -> Result<PathBuf> {
    let names = names(file);
    names.iter().map(|name| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| {
        Error::data(folder, format!("there is no file {}; the names searched are {}. {ADVICE}", file, names.join(", ")))
    })
}

/// Reads the images and labels of one set, and computes their checksums.
fn read(images: &Path, labels: &Path) -> Result<(Dataset, [String; 2])> {
    // The labels are read first. They are small, so an error in them is reported at once.
    let idx::Labels { labels: label, sha256: label_sum } = idx::read_labels(labels)?;
    let idx::Images { pixels, count, rows, cols, sha256: image_sum } = idx::read_images(images)?;
    let pixels = Array2::from_shape_vec((count, rows * cols), pixels)
        .map_err(|e| Error::data(images, format!("{count} images of {rows}×{cols} pixels: {e}")))?;
    if label.len() != count {
        return Err(Error::data(
            labels,
            format!(
                "{}, but {} has {}; expected one label per image",
                counted(label.len(), "label"),
                images.display(),
                counted(count, "image")
            ),
        ));
    }
    let set = Dataset::from_sources([images, labels], pixels, label, [1, rows, cols])?;
    Ok((set, [image_sum, label_sum]))
}
