//! Choices of how to read data: which columns are targets, how numbers are scaled, which samples are held out for the test.

use super::Preparation;
use crate::error::{Error, Result};
use crate::named::named;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

named! {
    /// How the numbers of a column are scaled, with statistics of the training samples only.
    Scaling {
        /// (v − mean) / standard deviation.
        Standard = "standard",
        /// (v − minimum) / (maximum − minimum).
        Range = "range",
        /// As they are.
        None = "none",
    }
}

/// The part of the samples that becomes the test set, where the data have none.
pub const TEST_PART: f64 = 0.2;

/// How to read data. What is `None` or empty is as the format has it, or the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Reading {
    /// The column of a CSV file that holds the class: its name, or its number counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The columns of a CSV file that hold real targets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub target_columns: Vec<String>,
    /// The columns of a CSV file to leave out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore_columns: Vec<String>,
    /// Whether the first row of a CSV file names the columns. `None`: it does if none of its cells is a number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<bool>,
    /// The scaling of numbers; [`Scaling::Standard`] by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// The part of the samples that becomes the test set; [`TEST_PART`] by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_part: Option<f64>,
    /// The seed of the split into training and test set; 0 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// Rows and columns to which the images of a folder of classes are resized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_size: Option<[usize; 2]>,
    /// How the data of an earlier training were prepared. Other data are prepared likewise, and all of them are the test set.
    #[serde(skip)]
    pub earlier: Option<Earlier>,
}

/// The data of an earlier training.
#[derive(Debug, Clone, PartialEq)]
pub struct Earlier {
    /// Their checksums, by the names of files.
    pub checksums: BTreeMap<String, String>,
    /// Their preparation.
    pub preparation: Preparation,
}

/// The options of [`Reading`] for CSV files.
#[cfg(feature = "csv")]
pub(super) const OF_TABLES: &[&str] =
    &["label", "target-columns", "ignore-columns", "header", "scaling", "test-part", "split-seed"];
/// The options of [`Reading`] for arrays.
pub(super) const OF_ARRAYS: &[&str] = &["scaling", "test-part", "split-seed"];
/// The options of [`Reading`] for folders of images.
#[cfg(feature = "images")]
pub(super) const OF_IMAGES: &[&str] = &["test-part", "split-seed", "image-size"];

impl Reading {
    /// The options that are set, by their names on the command line.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.label.is_some(), "label"),
            (!self.target_columns.is_empty(), "target-columns"),
            (!self.ignore_columns.is_empty(), "ignore-columns"),
            (self.header.is_some(), "header"),
            (self.scaling.is_some(), "scaling"),
            (self.test_part.is_some(), "test-part"),
            (self.split_seed.is_some(), "split-seed"),
            (self.image_size.is_some(), "image-size"),
        ];
        all.into_iter().filter_map(|(given, name)| given.then_some(name))
    }

    /// Whether nothing is chosen.
    pub fn is_default(&self) -> bool {
        self.given().next().is_none()
    }

    /// Refuses options that do not apply to the format of `path`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub(super) fn only(&self, path: &Path, format: &str, allowed: &[&str]) -> Result<()> {
        match self.given().find(|name| !allowed.contains(name)) {
            None => Ok(()),
            Some(name) => {
                let what = match name {
                    "image-size" => "folders of images by class",
                    "label" | "target-columns" | "ignore-columns" | "header" => "CSV files",
                    "scaling" => "CSV files and arrays of numbers",
                    _ => "CSV files, arrays, and folders of images by class",
                };
                Err(Error::usage(format!("--{name} is for {what}; {} is {format}", path.display())))
            }
        }
    }

    /// The part of the samples for the test.
    ///
    /// # Errors
    /// [`Error::Usage`] for a part that is not between 0 and 1.
    pub(super) fn test_part(&self) -> Result<f64> {
        let part = self.test_part.unwrap_or(TEST_PART);
        if part > 0.0 && part < 1.0 {
            return Ok(part);
        }
        Err(Error::usage(format!("--test-part must lie between 0 and 1, as in 0.2; {part} given")))
    }
}
