//! Data sets of images and labels: read from a folder in the format of MNIST or CIFAR-10, or generated.
//!
//! Pixels stay bytes, p ∈ 0..=255, until a device reads them. The input of a network is x^{lmax} = p / 255 and the
//! target is the one-hot label. A [`Dataset`] is validated when it is created, so its users need no further checks.

pub mod cifar;
pub mod colours;
pub mod digits;
pub mod folder;
pub mod idx;
mod synthetic;
pub mod tasks;

use crate::error::{Error, Result};
use crate::plan::{Interface, MAX_WIDTH};
use ndarray::Array2;
use std::path::{Path, PathBuf};

/// The name of the synthetic digits for [`Data::open`].
pub const DIGITS: &str = "digits";
/// The name of the synthetic colour images for [`Data::open`].
pub const COLOURS: &str = "colours";
/// The names of the synthetic sets, which need no files.
pub const MADE: [&str; 2] = [DIGITS, COLOURS];

/// Images of one size with a label each. It is never empty, and its images are contiguous in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// [samples, channels · rows · cols], row-major.
    images: Array2<u8>,
    labels: Vec<u8>,
    /// 1 for grey images, else the number of colour planes, which follow each other.
    channels: usize,
    rows: usize,
    cols: usize,
    /// The sources of the images and of the labels, for messages.
    source: [PathBuf; 2],
}

impl Dataset {
    /// A data set of grey images. `images` has shape [samples, rows · cols]; `labels` has one label per sample.
    ///
    /// Errors name `source`: a file, a folder or a name.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no sample or no pixel, when the width of `images` is not rows · cols or exceeds
    /// [`MAX_WIDTH`], or when there is not exactly one label per image.
    pub fn new(source: &Path, images: Array2<u8>, labels: Vec<u8>, rows: usize, cols: usize) -> Result<Self> {
        Self::from_sources([source, source], images, labels, [1, rows, cols])
    }

    /// Other samples with the image shape of this data set.
    ///
    /// # Errors
    /// Those of [`Dataset::new`].
    pub fn part(&self, source: &Path, images: Array2<u8>, labels: Vec<u8>) -> Result<Self> {
        Self::from_sources([source, source], images, labels, [self.channels, self.rows, self.cols])
    }

    /// As [`Dataset::new`], with several channels and with separate sources of images and labels.
    pub(crate) fn from_sources(
        source: [&Path; 2],
        images: Array2<u8>,
        labels: Vec<u8>,
        [channels, rows, cols]: [usize; 3],
    ) -> Result<Self> {
        let (samples, width) = images.dim();
        let fail = |of: usize, reason: String| Err(Error::data(source[of], reason));
        if rows.checked_mul(cols).and_then(|n| n.checked_mul(channels)) != Some(width) {
            let colours = if channels == 1 { String::new() } else { format!(" in {channels} channels") };
            return fail(0, format!("images of {rows}×{cols} pixels{colours} cannot have {width} bytes each"));
        }
        if samples == 0 || width == 0 || width > MAX_WIDTH {
            return fail(
                0,
                format!("{samples} images of {width} pixels; expected at least one image of 1 to {MAX_WIDTH} pixels"),
            );
        }
        if labels.len() != samples {
            return fail(1, format!("{} labels for {samples} images; expected one label per image", labels.len()));
        }
        // Devices read the pixels as one slice.
        let images = if images.is_standard_layout() { images } else { images.as_standard_layout().into_owned() };
        Ok(Dataset { images, labels, channels, rows, cols, source: source.map(Path::to_owned) })
    }

    /// The number of samples, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Values per image, channels · rows · cols: the width of the input layer.
    pub fn pixels(&self) -> usize {
        self.images.ncols()
    }

    /// The images, [samples, channels · rows · cols], row-major and contiguous.
    pub fn images(&self) -> &Array2<u8> {
        &self.images
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// 1 for grey images, else the number of colour planes, which follow each other.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The shape of an image: channels, rows, columns.
    pub(crate) fn form(&self) -> [usize; 3] {
        [self.channels, self.rows, self.cols]
    }

    /// The shape of an image for messages: `28×28`, `3×32×32`.
    fn size(&self) -> String {
        let colours = if self.channels == 1 { String::new() } else { format!("{}×", self.channels) };
        format!("{colours}{}×{}", self.rows, self.cols)
    }

    /// Rows per image, in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns per image, in pixels.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The largest label + 1, which is the number of output units that the set needs, 1 to 256.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }

    /// The error of always predicting the most frequent class, 0 to 1.
    pub fn chance(&self) -> f64 {
        let mut count = [0usize; 256];
        self.labels.iter().for_each(|label| count[usize::from(*label)] += 1);
        1.0 - count.into_iter().max().unwrap_or(0) as f64 / self.len() as f64
    }

    /// The source of the images: a file, a folder or a name.
    pub fn source(&self) -> &Path {
        &self.source[0]
    }

    /// Checks that `network` fits this set: one input per pixel, and an output unit for every label.
    ///
    /// # Errors
    /// [`Error::Data`] with both widths, or with the first sample whose label has no output unit; [`Error::Usage`] when the
    /// network scales pixels of another number of channels.
    pub fn fits<'a>(&self, network: impl Into<Interface<'a>>) -> Result<()> {
        let Interface { inputs, outputs, form, scale, network } = network.into();
        let pixels = self.pixels();
        if pixels != inputs {
            let first = match form {
                Some(_) if self.rows > 1 => self.size().replace('×', "x"),
                _ => pixels.to_string(),
            };
            return Err(Error::data(
                &self.source[0],
                format!(
                    "an image has {} = {pixels} pixels, but the network {network} has {inputs} inputs; begin --layers with {first}",
                    self.size()
                ),
            ));
        }
        let grid = form.map(|grid| [grid.channels, grid.height, grid.width]);
        // The shape of an image is unknown if the source gave only a flat row of pixels.
        if grid.is_some_and(|grid| grid != [self.channels, self.rows, self.cols]) && self.rows > 1 {
            return Err(Error::data(
                &self.source[0],
                format!(
                    "an image has {} pixels, but the network {network} takes another shape; begin --layers with {}",
                    self.size(),
                    self.size().replace('×', "x")
                ),
            ));
        }
        if let Some(scale) = scale.filter(|_| self.rows > 1) {
            scale.check_channels(self.channels)?;
        }
        if let Some(sample) = self.labels.iter().position(|&label| usize::from(label) >= outputs) {
            return Err(Error::data(
                &self.source[1],
                format!(
                    "sample {sample} (counted from 0) has label {}, but the network {network} has {outputs} output \
                     units, for labels 0 to {}; make the last size of --layers at least {}",
                    self.labels[sample],
                    outputs - 1,
                    self.classes()
                ),
            ));
        }
        Ok(())
    }
}

/// One of the two sets of [`Data`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// The training set.
    Train,
    /// The test set.
    Test,
}

/// A training set and a test set that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// The training set.
    pub train: Dataset,
    /// The test set, with images of the same size.
    pub test: Dataset,
    /// A short name for reports: `digits`, `colours`, or the last component of the folder's path.
    pub name: String,
    /// For each file its name and the SHA-256 of its decompressed contents, in hexadecimal.
    ///
    /// For the synthetic sets they are those of the equivalent files: IDX for the digits, the format of CIFAR-10 for the colours.
    pub checksums: Vec<(String, String)>,
}

impl Data {
    /// Opens a synthetic set by its name, `digits` or `colours` (see [`digits`] and [`colours`]), or else the folder with that path
    /// (see [`folder`]).
    ///
    /// Give a folder that is itself called `digits` as `./digits`.
    ///
    /// # Errors
    /// [`Error::Data`] when the folder or one of its files is missing, malformed or does not fit the others;
    /// [`Error::Io`] when a file cannot be read.
    pub fn open(spec: impl AsRef<Path>) -> Result<Self> {
        let spec = spec.as_ref();
        match spec.to_str() {
            Some(DIGITS) => digits::generate(),
            Some(COLOURS) => colours::generate(),
            _ => folder::open(spec),
        }
    }

    /// The training set or the test set.
    pub fn set(&self, set: Set) -> &Dataset {
        match set {
            Set::Train => &self.train,
            Set::Test => &self.test,
        }
    }

    /// The inputs and outputs that a network for this data set has: values per image, and classes.
    pub fn ends(&self) -> [usize; 2] {
        [self.train.pixels(), self.train.classes().max(self.test.classes())]
    }

    /// Checks that `network` fits the training set and the test set.
    ///
    /// # Errors
    /// Those of [`Dataset::fits`].
    pub fn fits<'a>(&self, network: impl Into<Interface<'a>>) -> Result<()> {
        let network = network.into();
        self.train.fits(network.clone())?;
        self.test.fits(network)
    }
}
