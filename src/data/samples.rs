//! What a data set holds per sample: pixels or numbers as inputs, labels or real values as targets.

use crate::error::{Error, Result};
use crate::memory;
use ndarray::{Array2, Axis};

/// The inputs of a data set, one row per sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// Pixels of images. The input of a network is p / 255, or as its scale says.
    Pixels(Array2<u8>),
    /// Finite numbers. The input of a network is these numbers.
    Numbers(Array2<f32>),
}

/// The targets of a data set, one per sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// Classes, counted from 0. The target of a network is the one-hot label.
    Labels(Vec<u8>),
    /// Finite numbers, one row per sample and one column per output: a regression.
    Values(Array2<f32>),
}

/// Checks that a copy of these rows fits the free memory.
fn check_rows(rows: &[usize], bytes_per_row: usize) -> Result<()> {
    let bytes = (rows.len() as u64).saturating_mul(bytes_per_row as u64);
    memory::check(|| "a subset of the data".into(), bytes, "choose fewer samples")
}

impl Inputs {
    /// Samples and values per sample.
    pub fn dim(&self) -> (usize, usize) {
        match self {
            Inputs::Pixels(pixels) => pixels.dim(),
            Inputs::Numbers(numbers) => numbers.dim(),
        }
    }

    /// Bytes per sample.
    pub(crate) fn row_bytes(&self) -> usize {
        let (_, width) = self.dim();
        match self {
            Inputs::Pixels(_) => width,
            Inputs::Numbers(_) => 4 * width,
        }
    }

    /// The samples with these indices.
    ///
    /// # Errors
    /// [`Error::Limit`] when the copy exceeds the free memory.
    pub(crate) fn select(&self, rows: &[usize]) -> Result<Inputs> {
        check_rows(rows, self.row_bytes())?;
        Ok(match self {
            Inputs::Pixels(pixels) => Inputs::Pixels(pixels.select(Axis(0), rows)),
            Inputs::Numbers(numbers) => Inputs::Numbers(numbers.select(Axis(0), rows)),
        })
    }

    /// The same inputs, contiguous in memory: devices read them as one slice.
    pub(super) fn contiguous(self) -> Inputs {
        fn rows<T: Copy>(all: Array2<T>) -> Array2<T> {
            if all.is_standard_layout() { all } else { all.as_standard_layout().into_owned() }
        }
        match self {
            Inputs::Pixels(pixels) => Inputs::Pixels(rows(pixels)),
            Inputs::Numbers(numbers) => Inputs::Numbers(rows(numbers)),
        }
    }

    /// The first number that is not finite: its sample and its column.
    pub(super) fn not_finite(&self) -> Option<(usize, usize)> {
        match self {
            Inputs::Pixels(_) => None,
            Inputs::Numbers(numbers) => numbers.indexed_iter().find(|(_, v)| !v.is_finite()).map(|(at, _)| at),
        }
    }
}

impl Targets {
    /// The number of samples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Labels(labels) => labels.len(),
            Targets::Values(values) => values.nrows(),
        }
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples with these indices.
    ///
    /// # Errors
    /// [`Error::Limit`] when the copy exceeds the free memory.
    pub(crate) fn select(&self, rows: &[usize]) -> Result<Targets> {
        Ok(match self {
            Targets::Labels(labels) => Targets::Labels(rows.iter().map(|row| labels[*row]).collect()),
            Targets::Values(values) => {
                check_rows(rows, 4 * values.ncols())?;
                Targets::Values(values.select(Axis(0), rows))
            }
        })
    }

    /// The labels.
    ///
    /// # Errors
    /// [`Error::Usage`] for real values; `what` needs classes.
    pub(crate) fn classes(&self, what: &str) -> Result<&[u8]> {
        match self {
            Targets::Labels(labels) => Ok(labels),
            Targets::Values(_) => {
                Err(Error::usage(format!("{what} needs classes, and the targets of these data are real numbers")))
            }
        }
    }

    /// Σ (target − mean)² over samples and columns, with the mean of each column. 0 for labels.
    pub(super) fn spread(&self) -> f64 {
        let Targets::Values(values) = self else { return 0.0 };
        let column = |column: ndarray::ArrayView1<'_, f32>| {
            let mean = column.iter().map(|v| f64::from(*v)).sum::<f64>() / column.len().max(1) as f64;
            column.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>()
        };
        values.columns().into_iter().map(column).sum()
    }
}
