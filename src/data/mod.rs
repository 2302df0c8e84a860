//! Data sets: images or numbers with labels or real targets, read from a folder or a file ([`folder`]), or generated.
//!
//! Pixels stay bytes, p ∈ 0..=255, until a device reads them. The input of a network is x^{lmax} = p / 255 and the
//! target is the one-hot label. Numbers and real targets are float32 and reach the network as they are; [`Reading`] chooses how
//! they are scaled when they are read. A [`Dataset`] is validated when it is created, so its users need no further checks.

pub mod cifar;
pub mod colours;
#[cfg(feature = "csv")]
pub mod csv;
pub mod digits;
pub mod folder;
pub mod idx;
pub mod npy;
#[cfg(feature = "images")]
mod pictures;
mod prepare;
mod reading;
mod samples;
mod synthetic;
pub mod tasks;

pub use prepare::{Columns, Preparation};
pub use reading::{Earlier, Reading, Scaling, TEST_PART};
pub use samples::{Inputs, Targets};

use crate::error::{Error, Result};
use crate::plan::{Interface, Kind, MAX_WIDTH};
use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// The name of the synthetic digits for [`Data::open`].
pub const DIGITS: &str = "digits";
/// The name of the synthetic colour images for [`Data::open`].
pub const COLOURS: &str = "colours";
/// The names of the synthetic sets, which need no files.
pub const MADE: [&str; 2] = [DIGITS, COLOURS];

/// Samples of one size, each with a target: images and labels, or numbers and real values. It is never empty, and its inputs are
/// contiguous in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// [samples, channels · rows · cols], row-major.
    inputs: Inputs,
    targets: Targets,
    /// Σ (target − mean)² of real values, for R²; 0 for labels.
    spread: f64,
    /// 1 for grey images, else the number of colour planes, which follow each other.
    channels: usize,
    rows: usize,
    cols: usize,
    /// The sources of the inputs and of the targets, for messages.
    source: [PathBuf; 2],
    /// How the values were made from those of a file, if they were changed.
    preparation: Option<Arc<Preparation>>,
}

/// What reads as no pixels and as no labels.
static NO_PIXELS: LazyLock<Array2<u8>> = LazyLock::new(|| Array2::zeros((0, 0)));

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

    /// A data set of any inputs and targets. `form` is the shape of a sample: channels, rows, columns; [1, 1, n] for n numbers
    /// without one.
    ///
    /// # Errors
    /// Those of [`Dataset::new`]; [`Error::Data`] for a number that is not finite.
    pub fn of(source: &Path, inputs: Inputs, targets: Targets, form: [usize; 3]) -> Result<Self> {
        Self::checked([source, source], inputs, targets, form)
    }

    /// Other samples with the shape of this data set.
    ///
    /// # Errors
    /// Those of [`Dataset::of`].
    pub fn part(&self, source: &Path, inputs: Inputs, targets: Targets) -> Result<Self> {
        let part = Self::checked([source, source], inputs, targets, self.form())?;
        Ok(Dataset { preparation: self.preparation.clone(), ..part })
    }

    /// As [`Dataset::new`], with several channels and with separate sources of images and labels.
    pub(crate) fn from_sources(
        source: [&Path; 2],
        images: Array2<u8>,
        labels: Vec<u8>,
        form: [usize; 3],
    ) -> Result<Self> {
        Self::checked(source, Inputs::Pixels(images), Targets::Labels(labels), form)
    }

    fn checked(
        source: [&Path; 2],
        inputs: Inputs,
        targets: Targets,
        [channels, rows, cols]: [usize; 3],
    ) -> Result<Self> {
        let (samples, width) = inputs.dim();
        let fail = |of: usize, reason: String| Err(Error::data(source[of], reason));
        let (images, units) = match inputs {
            Inputs::Pixels(_) => ("images", "pixels"),
            Inputs::Numbers(_) => ("samples", "numbers"),
        };
        if rows.checked_mul(cols).and_then(|n| n.checked_mul(channels)) != Some(width) {
            let colours = if channels == 1 { String::new() } else { format!(" in {channels} channels") };
            return fail(0, format!("{images} of {rows}×{cols} {units}{colours} cannot have {width} bytes each"));
        }
        if samples == 0 || width == 0 || width > MAX_WIDTH {
            let one = images.trim_end_matches('s');
            return fail(
                0,
                format!(
                    "{samples} {images} of {width} {units}; expected at least one {one} of 1 to {MAX_WIDTH} {units}"
                ),
            );
        }
        if targets.len() != samples {
            let what = if matches!(targets, Targets::Labels(_)) { "label" } else { "row of targets" };
            let whats = what.replacen("label", "labels", 1).replacen("row", "rows", 1);
            let one = images.trim_end_matches('s');
            return fail(1, format!("{} {whats} for {samples} {images}; expected one {what} per {one}", targets.len()));
        }
        if let Targets::Values(values) = &targets {
            if values.ncols() == 0 || values.ncols() > MAX_WIDTH {
                return fail(1, format!("{} target columns; expected 1 to {MAX_WIDTH}", values.ncols()));
            }
            if let Some(((sample, column), _)) = values.indexed_iter().find(|(_, v)| !v.is_finite()) {
                return fail(
                    1,
                    format!("target {column} of sample {sample} (both counted from 0) is not a finite number"),
                );
            }
        }
        if let Some((sample, column)) = inputs.not_finite() {
            return fail(
                0,
                format!("number {column} of sample {sample} (both counted from 0) is not a finite float32"),
            );
        }
        let (inputs, spread, source) = (inputs.contiguous(), targets.spread(), source.map(Path::to_owned));
        Ok(Dataset { inputs, targets, spread, channels, rows, cols, source, preparation: None })
    }

    /// The number of samples, at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a data set is never empty")]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Values per sample, channels · rows · cols: the width of the input layer.
    pub fn pixels(&self) -> usize {
        self.inputs.dim().1
    }

    /// The inputs, one row per sample.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The targets, one per sample.
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// The images, [samples, channels · rows · cols], row-major and contiguous. Empty if the inputs are numbers.
    pub fn images(&self) -> &Array2<u8> {
        match &self.inputs {
            Inputs::Pixels(pixels) => pixels,
            Inputs::Numbers(_) => &NO_PIXELS,
        }
    }

    /// The label of each sample. Empty if the targets are real values.
    pub fn labels(&self) -> &[u8] {
        match &self.targets {
            Targets::Labels(labels) => labels,
            Targets::Values(_) => &[],
        }
    }

    /// What the inputs and targets are.
    pub fn kind(&self) -> Kind {
        Kind { numbers: matches!(self.inputs, Inputs::Numbers(_)), values: matches!(self.targets, Targets::Values(_)) }
    }

    /// The samples with these indices, in this order. Errors name `source`.
    ///
    /// # Errors
    /// [`Error::Limit`] when the copy exceeds the free memory; [`Error::Data`] for no index.
    ///
    /// # Panics
    /// When an index is not that of a sample.
    pub fn chosen(&self, source: &Path, rows: &[usize]) -> Result<Dataset> {
        self.part(source, self.inputs.select(rows)?, self.targets.select(rows)?)
    }

    /// How the values were made from those of a file, if they were changed.
    pub fn preparation(&self) -> Option<&Preparation> {
        self.preparation.as_deref()
    }

    /// Σ (target − mean)² over samples and columns of real values; `None` for labels.
    pub(crate) fn spread(&self) -> Option<f64> {
        matches!(self.targets, Targets::Values(_)).then_some(self.spread)
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

    /// The number of output units that the set needs: the largest label + 1, 1 to 256; or the number of target columns.
    pub fn classes(&self) -> usize {
        match &self.targets {
            Targets::Labels(labels) => labels.iter().max().map_or(0, |&label| usize::from(label) + 1),
            Targets::Values(values) => values.ncols(),
        }
    }

    /// The error of an answer that ignores the input: of always predicting the most frequent class, 0 to 1; or the mean squared error
    /// of always predicting the mean.
    pub fn chance(&self) -> f64 {
        let Targets::Labels(labels) = &self.targets else {
            return self.spread / (self.len() * self.classes()) as f64;
        };
        let mut count = [0usize; 256];
        labels.iter().for_each(|label| count[usize::from(*label)] += 1);
        1.0 - count.into_iter().max().unwrap_or(0) as f64 / self.len() as f64
    }

    /// The source of the inputs: a file, a folder or a name.
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
            let has = match &self.inputs {
                Inputs::Numbers(_) if self.rows == 1 => format!("a sample has {pixels} numbers"),
                Inputs::Numbers(_) => format!("a sample has {} = {pixels} numbers", self.size()),
                Inputs::Pixels(_) => format!("an image has {} = {pixels} pixels", self.size()),
            };
            return Err(Error::data(
                &self.source[0],
                format!("{has}, but the network {network} has {inputs} inputs; a network for it begins with {first}"),
            ));
        }
        let grid = form.map(|grid| [grid.channels, grid.height, grid.width]);
        // The shape of an image is unknown if the source gave only a flat row of pixels.
        if grid.is_some_and(|grid| grid != [self.channels, self.rows, self.cols]) && self.rows > 1 {
            return Err(Error::data(
                &self.source[0],
                format!(
                    "an image has {} pixels, but the network {network} takes another shape; a network for it begins with {}",
                    self.size(),
                    self.size().replace('×', "x")
                ),
            ));
        }
        if let Some(scale) = scale.filter(|_| self.rows > 1) {
            scale.check_channels(self.channels)?;
        }
        self.fits_outputs(&network, outputs)
    }

    /// Checks that every target has an output unit.
    fn fits_outputs(&self, network: &str, outputs: usize) -> Result<()> {
        let labels = match &self.targets {
            Targets::Values(values) if values.ncols() == outputs => return Ok(()),
            Targets::Values(values) => {
                let n = values.ncols();
                return Err(Error::data(
                    &self.source[1],
                    format!(
                        "there {} {n} target column{}, but the network {network} has {outputs} output units; end --layers with {n}",
                        if n == 1 { "is" } else { "are" },
                        if n == 1 { "" } else { "s" },
                    ),
                ));
            }
            Targets::Labels(labels) => labels,
        };
        if let Some(sample) = labels.iter().position(|&label| usize::from(label) >= outputs) {
            return Err(Error::data(
                &self.source[1],
                format!(
                    "sample {sample} (counted from 0) has label {}, but the network {network} has {outputs} output \
                     units, for labels 0 to {}; a network for these data ends with at least {}",
                    labels[sample],
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
#[derive(Debug, Clone, PartialEq)]
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
    /// Opens a synthetic set by its name, `digits` or `colours` (see [`digits`] and [`colours`]), or else the folder or file with that
    /// path (see [`folder`]), with the defaults of [`Reading`].
    ///
    /// Give a folder that is itself called `digits` as `./digits`.
    ///
    /// # Errors
    /// [`Error::Data`] when the folder or one of its files is missing, malformed or does not fit the others;
    /// [`Error::Io`] when a file cannot be read.
    pub fn open(spec: impl AsRef<Path>) -> Result<Self> {
        Data::read(spec, &Reading::default())
    }

    /// As [`Data::open`], with these choices.
    ///
    /// # Errors
    /// As [`Data::open`]; [`Error::Usage`] for a choice that does not apply to the format.
    pub fn read(spec: impl AsRef<Path>, reading: &Reading) -> Result<Self> {
        let spec = spec.as_ref();
        match spec.to_str() {
            Some(DIGITS) => reading.only(spec, "a built-in set", &[]).and_then(|()| digits::generate()),
            Some(COLOURS) => reading.only(spec, "a built-in set", &[]).and_then(|()| colours::generate()),
            _ => folder::open(spec, reading),
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
