//! Finds the format of a folder or a file, and reads folders in the format of MNIST: four IDX files, plain or gzipped, with the file
//! names of MNIST.
//!
//! MNIST and Fashion-MNIST have this format. Any set of images of one size with up to 256 classes can have it.

use super::reading::Reading;
use super::{Data, Dataset, MADE, cifar, idx, npy};
use crate::error::{Error, Result};
use crate::files::counted;
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// The four files, in the order of [`Data::checksums`]: training images and labels, test images and labels.
pub const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];

/// The CSV files of a folder: of training samples and of test samples.
const TABLES: [&str; 2] = ["train.csv", "test.csv"];

/// Advice for a user without the files.
const ADVICE: &str = "MNIST is four files: search for the \"MNIST database\", download them from any of its usual mirrors into this \
                      folder, gzipped or not; or use --data digits or --data colours, which need no files";

/// What can be read.
fn formats() -> String {
    format!(
        "The formats are: a folder with the files of MNIST or Fashion-MNIST ({}), with the binary files of CIFAR-10 or CIFAR-100, with \
         train.csv and test.csv, with x.npy and y.npy, or with one subfolder of PNG or JPEG images per class; a .csv, .tsv or .npz file. \
         {ADVICE}",
        FILES.join(", ")
    )
}

/// A format that a folder may have.
enum Format {
    /// With the name of one of the files.
    Mnist(String),
    Cifar(&'static cifar::Format),
    Tables,
    Arrays,
    Images,
}

impl Format {
    /// The formats of which `folder` has any file.
    fn all(folder: &Path) -> Vec<Format> {
        let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mnist = FILES.iter().find_map(|file| find(folder, file).ok()).map(name);
        [
            cifar::format_of(folder).map(Format::Cifar),
            mnist.map(Format::Mnist),
            table(folder, TABLES[0]).map(|_| Format::Tables),
            npy::NAMES[0]
                .1
                .iter()
                .chain([&"x"])
                .any(|x| folder.join(format!("{x}.npy")).is_file())
                .then_some(Format::Arrays),
            has_images(folder).then_some(Format::Images),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// What the folder holds, for messages.
    fn name(&self) -> String {
        match self {
            Format::Mnist(file) => format!("files in the format of MNIST ({file})"),
            Format::Cifar(format) => format!("files of {}", format.name),
            Format::Tables => TABLES[0].into(),
            Format::Arrays => "x.npy".into(),
            Format::Images => "subfolders of images".into(),
        }
    }

    fn read(&self, folder: &Path, reading: &Reading) -> Result<Data> {
        match self {
            Format::Mnist(_) => reading.only(folder, "in the format of MNIST", &[]).and_then(|()| open_mnist(folder)),
            Format::Cifar(format) => reading.only(folder, format.name, &[]).and_then(|()| format.open(folder)),
            Format::Tables => open_tables(folder, reading),
            Format::Arrays => npy::open_folder(folder, reading),
            Format::Images => open_images(folder, reading),
        }
    }
}

#[cfg(feature = "images")]
use super::pictures::{is_one as has_images, open as open_images};

#[cfg(not(feature = "images"))]
fn has_images(_folder: &Path) -> bool {
    false
}

#[cfg(not(feature = "images"))]
fn open_images(folder: &Path, _reading: &Reading) -> Result<Data> {
    Err(Error::data(folder, left_out("images", "images")))
}

/// The message for a format that was not compiled in.
#[cfg(not(all(feature = "images", feature = "csv", feature = "npz")))]
fn left_out(what: &str, feature: &str) -> String {
    format!("this build reads no {what}: the feature \"{feature}\" of the crate zilch is off")
}

/// Reads a folder or a file; see [`Data::open`].
///
/// # Errors
/// [`Error::Data`] when the folder or a file is missing or unreadable, has no known format or several, a file is malformed, or training
/// and test samples differ in size; [`Error::Usage`] for options that do not apply to the format; [`Error::Io`] when the disk fails.
pub fn open(folder: &Path, reading: &Reading) -> Result<Data> {
    // A missing permission must not be reported as a missing folder.
    let hidden = std::fs::metadata(folder).err().filter(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if let Some(error) = hidden {
        return Err(Error::data(folder, format!("this folder cannot be read: {error}")));
    }
    if folder.as_os_str().is_empty() {
        let why = format!("there is no such folder: the name is empty. {}", formats());
        return Err(Error::data(Path::new("--data"), why));
    }
    if folder.is_file() {
        return open_file(folder, reading);
    }
    if !folder.is_dir() {
        let what = if folder.exists() { "not a folder or a file" } else { "there is no such folder or file" };
        let meant = meant(folder).map(|name| format!(". Did you mean --data {name}?")).unwrap_or_default();
        return Err(Error::data(folder, format!("{what}. {}{meant}", formats())));
    }
    std::fs::read_dir(folder).map_err(|e| Error::data(folder, format!("this folder cannot be read: {e}")))?;
    match &Format::all(folder)[..] {
        [] => Err(Error::data(folder, format!("the folder has no known format. {}", formats()))),
        [one] => one.read(folder, reading),
        [one, other, ..] => Err(Error::data(
            folder,
            format!("it holds {} and {}; a folder may hold only one data set", one.name(), other.name()),
        )),
    }
}

/// Reads a file by the ending of its name.
fn open_file(path: &Path, reading: &Reading) -> Result<Data> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends = |ending: &str| name.trim_end_matches(".gz").ends_with(ending);
    if ends(".csv") || ends(".tsv") {
        return open_csv(path, &[path], reading);
    }
    if ends(".npz") {
        return open_npz(path, reading);
    }
    // One of the arrays stands for its folder.
    if let (true, Some(folder)) = (ends(".npy"), path.parent()) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        return npy::open_folder(folder, reading);
    }
    Err(Error::data(path, format!("not a folder, nor a file of a known format. {}", formats())))
}

#[cfg(feature = "csv")]
use super::csv::open as open_csv;

#[cfg(not(feature = "csv"))]
fn open_csv(path: &Path, _files: &[&Path], _reading: &Reading) -> Result<Data> {
    Err(Error::data(path, left_out("CSV", "csv")))
}

#[cfg(feature = "npz")]
use super::npy::open_npz;

#[cfg(not(feature = "npz"))]
fn open_npz(path: &Path, _reading: &Reading) -> Result<Data> {
    Err(Error::data(path, left_out(".npz archives", "npz")))
}

/// The path of a CSV file, plain or gzipped.
fn table(folder: &Path, name: &str) -> Option<PathBuf> {
    [name.to_owned(), format!("{name}.gz")].into_iter().map(|name| folder.join(name)).find(|path| path.is_file())
}

/// Reads train.csv, and test.csv if there is one.
fn open_tables(folder: &Path, reading: &Reading) -> Result<Data> {
    let files: Vec<PathBuf> = TABLES.iter().filter_map(|name| table(folder, name)).collect();
    open_csv(folder, &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), reading)
}

/// Reads a folder that holds [`FILES`]. Each file may be plain or `.gz`. The names may also have a dot
/// (`train-images.idx3-ubyte`).
fn open_mnist(folder: &Path) -> Result<Data> {
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
