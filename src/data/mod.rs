//! Data sets: images and their labels, from a folder of IDX files or of CIFAR-10's, or made on the spot.
//!
//! Pixels stay bytes, p ∈ 0..=255, until a device reads them; a network's input is x^{lmax} = p / 255
//! and its target is one-hot in the label. A [`Dataset`] is checked once, when it is made, so that
//! nothing later needs to doubt it.

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

/// The name by which [`Data::open`] knows the synthetic digits.
pub const DIGITS: &str = "digits";
/// The name by which it knows the synthetic images in colour.
pub const COLOURS: &str = "colours";
/// The names of the sets that need no files.
pub const MADE: [&str; 2] = [DIGITS, COLOURS];

/// Images of one size and a label for each: never empty, rows contiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// [samples, channels · rows · cols], row-major.
    images: Array2<u8>,
    labels: Vec<u8>,
    /// 1, or colours: planes of pixels, one after the other.
    channels: usize,
    rows: usize,
    cols: usize,
    /// Where the images and the labels came from, for messages.
    source: [PathBuf; 2],
}

impl Dataset {
    /// A data set of `images` [samples, rows · cols], one a row, and as many `labels`.
    ///
    /// `source` is the file, folder or name that errors name.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no sample or no pixel, when the images are not rows · cols wide or wider
    /// than a layer may be, or when there is not exactly one label an image.
    pub fn new(source: &Path, images: Array2<u8>, labels: Vec<u8>, rows: usize, cols: usize) -> Result<Self> {
        Self::from_sources([source, source], images, labels, [1, rows, cols])
    }

    /// Other samples in the form of these: a part of them.
    ///
    /// # Errors
    /// Those of [`Dataset::new`].
    pub fn part(&self, source: &Path, images: Array2<u8>, labels: Vec<u8>) -> Result<Self> {
        Self::from_sources([source, source], images, labels, [self.channels, self.rows, self.cols])
    }

    /// [`Dataset::new`] with images and labels from different places.
    pub(crate) fn from_sources(
        source: [&Path; 2],
        images: Array2<u8>,
        labels: Vec<u8>,
        [channels, rows, cols]: [usize; 3],
    ) -> Result<Self> {
        let (samples, width) = images.dim();
        let fail = |place: usize, reason: String| Err(Error::data(source[place], reason));
        if rows.checked_mul(cols).and_then(|n| n.checked_mul(channels)) != Some(width) {
            let colours = if channels == 1 { String::new() } else { format!(" in {channels} colours") };
            return fail(0, format!("images of {rows}×{cols} pixels{colours} cannot be {width} bytes each"));
        }
        if samples == 0 || width == 0 || width > MAX_WIDTH {
            return fail(
                0,
                format!("{samples} images of {width} pixels; expected at least one, of 1 to {MAX_WIDTH} pixels"),
            );
        }
        if labels.len() != samples {
            return fail(1, format!("{} labels for {samples} images; expected one label an image", labels.len()));
        }
        // Devices take the pixels as one slice.
        let images = if images.is_standard_layout() { images } else { images.as_standard_layout().into_owned() };
        Ok(Dataset { images, labels, channels, rows, cols, source: source.map(Path::to_owned) })
    }

    /// The number of samples, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Numbers of one image, channels · rows · cols: the width of the input layer it needs.
    pub fn pixels(&self) -> usize {
        self.images.ncols()
    }

    /// The images, [samples, channels · rows · cols], in standard (row-major, contiguous) layout.
    pub fn images(&self) -> &Array2<u8> {
        &self.images
    }

    /// The label of each sample.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// 1, or the colours of an image, whose planes of pixels are one after the other.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels, rows and columns of an image.
    pub(crate) fn form(&self) -> [usize; 3] {
        [self.channels, self.rows, self.cols]
    }

    /// The size of an image in words: `28×28`, `3×32×32`.
    fn size(&self) -> String {
        let colours = if self.channels == 1 { String::new() } else { format!("{}×", self.channels) };
        format!("{colours}{}×{}", self.rows, self.cols)
    }

    /// Rows of one image, in pixels.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns of one image, in pixels.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The largest label + 1: the output units the set needs, 1 to 256.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }

    /// The share of samples that whoever always names the commonest class gets wrong, 0 to 1.
    pub fn chance(&self) -> f64 {
        let mut count = [0usize; 256];
        self.labels.iter().for_each(|label| count[usize::from(*label)] += 1);
        1.0 - count.into_iter().max().unwrap_or(0) as f64 / self.len() as f64
    }

    /// The file or name the images came from.
    pub fn source(&self) -> &Path {
        &self.source[0]
    }

    /// Whether `network` can learn this set: one input a pixel, and an output unit for every label.
    ///
    /// # Errors
    /// [`Error::Data`] with both widths, or with the first sample whose label has no unit; [`Error::Usage`] where the network
    /// scales pixels of other channels.
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
        // An image of one row has no form that is known.
        if grid.is_some_and(|grid| grid != [self.channels, self.rows, self.cols]) && self.rows > 1 {
            return Err(Error::data(
                &self.source[0],
                format!(
                    "an image has {} pixels, but the network {network} takes others; begin --layers with {}",
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

/// Which of the two sets of a data folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// The samples that training shows.
    Train,
    /// The samples held back.
    Test,
}

/// A training set and a test set that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data {
    /// What the network learns from.
    pub train: Dataset,
    /// What it is tested on: images of the same size.
    pub test: Dataset,
    /// A short name for reports: `digits`, `colours`, or the last part of the folder's path.
    pub name: String,
    /// For each of the files, its name and the SHA-256 of the file when decompressed, in hexadecimal.
    ///
    /// The synthetic sets have them too: those of the files they would be, the digits in IDX, the colours in CIFAR-10's form.
    pub checksums: Vec<(String, String)>,
}

impl Data {
    /// Opens `digits` or `colours`, the synthetic sets of [`digits`] and [`colours`], or else the folder of that path (see
    /// [`folder`]).
    ///
    /// A folder that is itself called `digits` can be given as `./digits`.
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

    /// The set of that name.
    pub fn set(&self, set: Set) -> &Dataset {
        match set {
            Set::Train => &self.train,
            Set::Test => &self.test,
        }
    }

    /// Whether `network` can learn the training set and be tested on the test set.
    ///
    /// # Errors
    /// Those of [`Dataset::fits`].
    pub fn fits<'a>(&self, network: impl Into<Interface<'a>>) -> Result<()> {
        let network = network.into();
        self.train.fits(network.clone())?;
        self.test.fits(network)
    }
}
