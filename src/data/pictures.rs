//! Folders of images by class: one subfolder per class with PNG and JPEG files, or these below `train` and `test`.
//!
//! All images have one size, or are resized to one. If none has colours they are grey, otherwise they have three planes. The contents of
//! files are not trusted: sizes are read from the headers and checked before an image is decoded.

use super::prepare::{Answers, Classes, MAX_CLASSES, Part, Raw, Table};
use super::reading::{OF_IMAGES, Reading};
use super::{Data, idx};
use crate::error::{Error, Result};
use crate::files::{Links, hex, read_bounded, shown};
use crate::plan::MAX_WIDTH;
use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Subfolders with the training samples and the test samples.
const SETS: [&str; 2] = ["train", "test"];
/// The names of files that are read end so.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// The largest file in bytes.
const MAX_FILE: u64 = 1 << 28;
/// The most bytes for decoding an image.
const MAX_DECODED: u64 = 1 << 30;
/// The most files of a folder.
const MAX_FILES: usize = 1 << 24;

/// The entries of a folder that are not hidden, in the order of their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let refuse = |e: std::io::Error| Error::data(folder, format!("this folder cannot be read: {e}"));
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(refuse)?.take(MAX_FILES) {
        let entry = entry.map_err(refuse)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            all.push(entry.path());
        }
    }
    all.sort();
    Ok(all)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && path.is_file()
}

/// The folders of the sets: of training and test samples, or of all samples.
fn sets(folder: &Path) -> Vec<PathBuf> {
    let both = SETS.map(|set| folder.join(set));
    if both.iter().all(|set| set.is_dir()) { both.to_vec() } else { vec![folder.to_owned()] }
}

/// Whether a subfolder of `folder`, or of its `train`, has an image.
pub(super) fn is_one(folder: &Path) -> bool {
    let has =
        |class: &PathBuf| class.is_dir() && entries(class).is_ok_and(|files| files.iter().any(|file| is_image(file)));
    sets(folder).first().is_some_and(|set| entries(set).is_ok_and(|classes| classes.iter().any(has)))
}

/// An image file and its class.
struct File {
    path: PathBuf,
    class: u8,
}

/// Reads such a folder.
///
/// # Errors
/// [`Error::Data`] when a file is not an image, images differ in size, or there are too many classes; [`Error::Limit`] when the images
/// exceed the free memory.
pub(super) fn open(folder: &Path, reading: &Reading) -> Result<Data> {
    reading.only(folder, "a folder of images", OF_IMAGES)?;
    let mut classes = Classes::default();
    let sets = sets(folder);
    let files = sets.iter().map(|set| files(set, &mut classes)).collect::<Result<Vec<_>>>()?;
    let mut shape =
        Shape { size: reading.image_size, coloured: false, resized: reading.image_size.is_some(), first: None };
    files.iter().flatten().try_for_each(|file| shape.add(&file.path))?;
    let form = shape.form(folder)?;
    let (mut parts, mut checksums) = (Vec::new(), Vec::new());
    for (set, files) in sets.iter().zip(files) {
        let (part, sha256) = part(set, &files, &shape, form)?;
        let name = if sets.len() == 1 {
            "images".into()
        } else {
            set.file_name().unwrap_or_default().to_string_lossy().into_owned()
        };
        checksums.push((format!("{name} ({})", files.len()), sha256));
        parts.push(part);
    }
    let mut parts = parts.into_iter();
    let Some(train) = parts.next() else { return Err(Error::data(folder, "there is no image")) };
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
    let columns = [Vec::new(), Vec::new()];
    Table { source: folder.to_owned(), name, checksums, columns, classes, form, train, test: parts.next() }
        .data(reading)
}

/// The images of a set, class by class.
fn files(set: &Path, classes: &mut Classes) -> Result<Vec<File>> {
    let mut all = Vec::new();
    for folder in entries(set)?.into_iter().filter(|path| path.is_dir()) {
        let files: Vec<PathBuf> = entries(&folder)?.into_iter().filter(|path| is_image(path)).collect();
        if files.is_empty() {
            continue;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(class) = classes.of(&name) else {
            return Err(Error::data(set, format!("more than {MAX_CLASSES} subfolders with images, one per class")));
        };
        all.extend(files.into_iter().map(|path| File { path, class }));
    }
    if all.is_empty() {
        return Err(Error::data(set, "there is no image; expected one subfolder per class with PNG or JPEG files"));
    }
    Ok(all)
}

/// What the images have in common.
struct Shape {
    /// Rows and columns.
    size: Option<[usize; 2]>,
    /// Whether any image has colours.
    coloured: bool,
    /// Whether images are resized to `size`.
    resized: bool,
    /// The image that has determined the size.
    first: Option<PathBuf>,
}

/// A reader of the bytes of an image, with limits.
fn reader<'a>(path: &Path, bytes: &'a [u8]) -> Result<ImageReader<Cursor<&'a [u8]>>> {
    let refuse = |e: std::io::Error| Error::data(path, format!("this image cannot be read: {e}"));
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(refuse)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED);
    (limits.max_image_width, limits.max_image_height) = (Some(1 << 16), Some(1 << 16));
    reader.limits(limits);
    Ok(reader)
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    let refuse = |e: std::io::Error| Error::data(path, format!("this image cannot be read: {e}"));
    read_bounded(path, MAX_FILE, Links::Followed).map_err(refuse)
}

fn damaged(path: &Path, error: &image::ImageError) -> Error {
    Error::data(path, format!("this is no intact PNG or JPEG image: {}", shown(&error.to_string())))
}

impl Shape {
    /// Reads the header of an image.
    fn add(&mut self, path: &Path) -> Result<()> {
        let bytes = bytes(path)?;
        let decoder = reader(path, &bytes)?.into_decoder().map_err(|e| damaged(path, &e))?;
        let (cols, rows) = decoder.dimensions();
        let found = [rows as usize, cols as usize];
        self.coloured |= decoder.color_type().has_color();
        if self.resized {
            return Ok(());
        }
        let size = *self.size.get_or_insert(found);
        if size != found {
            let first = self.first.as_deref().unwrap_or(path).display();
            return Err(Error::data(
                path,
                format!(
                    "this image has {rows}×{cols} pixels, and {first} has {}×{}; expected one size, or --image-size {}x{} to resize all",
                    size[0], size[1], size[0], size[1]
                ),
            ));
        }
        self.first.get_or_insert_with(|| path.to_owned());
        Ok(())
    }

    /// Channels, rows and columns.
    fn form(&self, folder: &Path) -> Result<[usize; 3]> {
        let [rows, cols] = self.size.unwrap_or_default();
        let form = [if self.coloured { 3 } else { 1 }, rows, cols];
        let width = form.iter().try_fold(1usize, |all, n| all.checked_mul(*n)).unwrap_or(usize::MAX);
        if width == 0 || width > MAX_WIDTH {
            let why =
                format!("images of {rows}×{cols} pixels; expected at most {MAX_WIDTH} values; choose an --image-size");
            return Err(Error::data(folder, why));
        }
        Ok(form)
    }
}

/// Decodes the images of a set. The checksum is that of labels and pixels.
fn part(set: &Path, files: &[File], shape: &Shape, form: [usize; 3]) -> Result<(Part, String)> {
    let width = form.iter().product::<usize>();
    let mut pixels: Vec<u8> = Vec::new();
    idx::reserve(set, &mut pixels, (files.len() as u64).saturating_mul(width as u64))?;
    let mut hash = Sha256::new();
    for file in files {
        let from = pixels.len();
        decode(&file.path, shape, form, &mut pixels)?;
        hash.update([file.class]);
        hash.update(&pixels[from..]);
    }
    let images = Array2::from_shape_vec((files.len(), width), pixels)
        .map_err(|e| Error::data(set, format!("{} images of {width} bytes: {e}", files.len())))?;
    let classes = files.iter().map(|file| file.class).collect();
    Ok((Part { inputs: Raw::Pixels(images), answers: Answers::Classes(classes) }, hex(&hash.finalize())))
}

/// Appends the pixels of an image, [channels, rows, cols].
fn decode(path: &Path, shape: &Shape, [channels, rows, cols]: [usize; 3], pixels: &mut Vec<u8>) -> Result<()> {
    let bytes = bytes(path)?;
    let mut image = reader(path, &bytes)?.decode().map_err(|e| damaged(path, &e))?;
    if shape.resized {
        image = image.resize_exact(cols as u32, rows as u32, FilterType::Triangle);
    }
    if (image.height() as usize, image.width() as usize) != (rows, cols) {
        return Err(Error::data(path, "the size of this image changed while it was read"));
    }
    append(&image, channels, pixels);
    Ok(())
}

fn append(image: &DynamicImage, channels: usize, pixels: &mut Vec<u8>) {
    if channels == 1 {
        return pixels.extend_from_slice(image.to_luma8().as_raw());
    }
    let colours = image.to_rgb8();
    for plane in 0..channels {
        pixels.extend(colours.pixels().map(|pixel| pixel.0[plane]));
    }
}
