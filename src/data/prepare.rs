//! From the values of files to data sets: classes are numbered, samples are split into training and test set, and numbers are scaled
//! with statistics of the training samples.

use super::reading::{Reading, Scaling};
use super::{Data, Dataset, Inputs, Targets};
use crate::error::{Error, Result};
use crate::files::{few, shown};
use crate::memory;
use crate::random::{Random, Stream};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most classes of a data set.
pub(super) const MAX_CLASSES: usize = 256;
/// The most columns whose statistics are recorded.
const MAX_SCALED: usize = 1 << 17;

/// How the values of a data set were made from those of its files. Value v of a column becomes (v − shift) / scale.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preparation {
    /// The scaling of inputs and targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// The input columns, if the numbers were scaled or have names.
    #[serde(skip_serializing_if = "Columns::is_empty")]
    pub inputs: Columns,
    /// The columns of real targets.
    #[serde(skip_serializing_if = "Columns::is_empty")]
    pub targets: Columns,
    /// The names of classes 0, 1, …
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The part of the samples that became the test set, if the files had none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_part: Option<f64>,
    /// The seed of that split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
}

/// Names and scaling of columns.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// The names, if the file has some.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What is subtracted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shift: Vec<f64>,
    /// What is divided by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<f64>,
}

/// The inputs of a file, before the split.
pub(super) enum Raw {
    Pixels(Array2<u8>),
    Numbers(Array2<f64>),
}

/// The targets of a file, before the split.
pub(super) enum Answers {
    /// Labels, which stay as they are.
    Labels(Vec<u8>),
    /// Indices into [`Table::classes`].
    #[cfg_attr(
        not(any(feature = "csv", feature = "images")),
        allow(dead_code, reason = "the formats with named classes are left out")
    )]
    Classes(Vec<u8>),
    /// Real targets.
    Values(Array2<f64>),
}

/// Inputs and targets of some samples.
pub(super) struct Part {
    pub(super) inputs: Raw,
    pub(super) answers: Answers,
}

/// What was read.
pub(super) struct Table {
    /// The file or folder, for messages.
    pub(super) source: PathBuf,
    pub(super) name: String,
    pub(super) checksums: Vec<(String, String)>,
    /// The names of the input columns and of the target columns; empty without names.
    pub(super) columns: [Vec<String>; 2],
    /// The classes of [`Answers::Classes`].
    pub(super) classes: Classes,
    /// The shape of a sample: channels, rows, columns.
    pub(super) form: [usize; 3],
    /// All samples, or the training samples.
    pub(super) train: Part,
    /// The test samples, if the files tell them apart.
    pub(super) test: Option<Part>,
}

/// The names of classes, numbered as they are met.
#[derive(Default)]
pub(super) struct Classes {
    names: Vec<String>,
    index: BTreeMap<String, u8>,
}

impl Classes {
    /// The index of a class; `None` if it would be one too many.
    #[cfg(any(feature = "csv", feature = "images"))]
    pub(super) fn of(&mut self, name: &str) -> Option<u8> {
        if let Some(index) = self.index.get(name) {
            return Some(*index);
        }
        let index = u8::try_from(self.names.len()).ok()?;
        self.names.push(name.to_owned());
        self.index.insert(name.to_owned(), index);
        Some(index)
    }

    /// The names in the order of the labels: whole numbers by size, otherwise alphabetically.
    fn sorted(&self) -> Vec<String> {
        let mut names = self.names.clone();
        let numbers: Option<BTreeMap<i64, &String>> =
            self.names.iter().map(|name| name.parse().ok().map(|number| (number, name))).collect();
        match numbers {
            Some(numbers) => numbers.into_values().cloned().collect(),
            None => {
                names.sort();
                names
            }
        }
    }
}

impl Columns {
    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.shift.is_empty()
    }

    /// Statistics of these rows.
    fn of(names: Vec<String>, values: &Array2<f64>, rows: &[usize], scaling: Scaling) -> Columns {
        let (shift, scale) = match scaling {
            Scaling::None => (Vec::new(), Vec::new()),
            Scaling::Standard => standard(values, rows),
            Scaling::Range => range(values, rows),
        };
        Columns { names, shift, scale }
    }

    /// The name of a column for messages.
    fn name(&self, column: usize) -> String {
        let name = self.names.get(column).map(|name| format!(" ({})", shown(name))).unwrap_or_default();
        format!("number {}{name}", column + 1)
    }

    /// These rows, scaled.
    fn apply(&self, source: &Path, values: &Array2<f64>, rows: &[usize]) -> Result<Array2<f32>> {
        let width = values.ncols();
        let bytes = (rows.len() as u64).saturating_mul(4 * width as u64);
        memory::check(|| format!("the numbers of {}", source.display()), bytes, "take fewer samples")?;
        let scaled = |i: usize, j: usize| match (self.shift.get(j), self.scale.get(j)) {
            (Some(shift), Some(scale)) => ((values[(rows[i], j)] - shift) / scale) as f32,
            _ => values[(rows[i], j)] as f32,
        };
        let scaled = Array2::from_shape_fn((rows.len(), width), |(i, j)| scaled(i, j));
        match scaled.indexed_iter().find(|(_, v)| !v.is_finite()) {
            None => Ok(scaled),
            Some(((i, j), _)) => Err(Error::data(
                source,
                format!("{} of a sample is {:e}, beyond the range of float32", self.name(j), values[(rows[i], j)]),
            )),
        }
    }
}

/// Mean and standard deviation of each column; a deviation of 0 counts as 1.
fn standard(values: &Array2<f64>, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let n = rows.len().max(1) as f64;
    let mut mean = vec![0.0; values.ncols()];
    for row in rows {
        mean.iter_mut().zip(values.row(*row)).for_each(|(mean, v)| *mean += v / n);
    }
    let mut sd = vec![0.0; values.ncols()];
    for row in rows {
        sd.iter_mut().zip(&mean).zip(values.row(*row)).for_each(|((sd, mean), v)| *sd += (v - mean).powi(2) / n);
    }
    // Rounding must not turn a constant column into noise of size 1.
    let deviation = |(sd, mean): (&f64, &f64)| match sd.sqrt() {
        sd if sd.is_finite() && sd > 1e-12 * mean.abs() && sd > 0.0 => sd,
        _ => 1.0,
    };
    let sd = sd.iter().zip(&mean).map(deviation).collect();
    (mean, sd)
}

/// Minimum and range of each column; a range of 0 counts as 1.
fn range(values: &Array2<f64>, rows: &[usize]) -> (Vec<f64>, Vec<f64>) {
    let of = |better: fn(f64, f64) -> f64| -> Vec<f64> {
        let column = |j: usize| rows.iter().map(|i| values[(*i, j)]).reduce(better).unwrap_or(0.0);
        (0..values.ncols()).map(column).collect()
    };
    let (low, high) = (of(f64::min), of(f64::max));
    let size = low.iter().zip(&high).map(|(low, high)| match high - low {
        size if size.is_finite() && size > 0.0 => size,
        _ => 1.0,
    });
    let size = size.collect();
    (low, size)
}

impl Answers {
    fn len(&self) -> usize {
        match self {
            Answers::Labels(labels) | Answers::Classes(labels) => labels.len(),
            Answers::Values(values) => values.nrows(),
        }
    }

    /// Splits the samples: the same part of each class, drawn at random. Both halves keep the order of the file.
    fn split(&self, source: &Path, part: f64, seed: u64) -> Result<[Vec<usize>; 2]> {
        let n = self.len();
        if n < 2 || u32::try_from(n).is_err() {
            let why = format!("{n} samples; expected 2 to {}, to split them into a training and a test set", u32::MAX);
            return Err(Error::data(source, why));
        }
        let class = |i: usize| match self {
            Answers::Labels(labels) | Answers::Classes(labels) => usize::from(labels[i]),
            Answers::Values(_) => 0,
        };
        let mut count = [0usize; MAX_CLASSES];
        (0..n).for_each(|i| count[class(i)] += 1);
        // At least one sample of each class is trained on.
        let mut left = count.map(|count| ((count as f64 * part).round() as usize).min(count.saturating_sub(1)));
        if left.iter().all(|tested| *tested == 0) {
            let largest = (0..MAX_CLASSES).max_by_key(|class| count[*class]).unwrap_or(0);
            left[largest] = 1;
        }
        let mut tested = vec![false; n];
        for i in Random::new(seed, Stream::Split, 0).permutation(n) {
            let left = &mut left[class(i as usize)];
            if *left > 0 {
                (tested[i as usize], *left) = (true, *left - 1);
            }
        }
        let (test, train) = (0..n).partition(|i| tested[*i]);
        Ok([train, test])
    }
}

/// Where the samples of a set come from.
struct Chosen<'a> {
    part: &'a Part,
    rows: Vec<usize>,
}

impl Table {
    /// The data set.
    ///
    /// # Errors
    /// [`Error::Data`] for too few samples, a class that an earlier training did not have, and numbers beyond float32; [`Error::Usage`]
    /// for a wrong part; [`Error::Limit`] when the copies exceed the free memory.
    pub(super) fn data(self, reading: &Reading) -> Result<Data> {
        let (part, seed) = (reading.test_part()?, reading.split_seed.unwrap_or(0));
        let checksums: BTreeMap<String, String> = self.checksums.iter().cloned().collect();
        let earlier = reading.earlier.as_ref().filter(|earlier| earlier.checksums != checksums);
        let all = |part: &Part| (0..part.answers.len()).collect::<Vec<usize>>();
        let (train, test, split) = match (&self.test, earlier) {
            (Some(test), _) => (all(&self.train), Chosen { rows: all(test), part: test }, false),
            // Everything is tested; the training set is not used, and its first sample stands for it.
            (None, Some(_)) => (vec![0], Chosen { rows: all(&self.train), part: &self.train }, false),
            (None, None) => {
                let [train, test] = self.train.answers.split(&self.source, part, seed)?;
                (train, Chosen { rows: test, part: &self.train }, true)
            }
        };
        let train = Chosen { part: &self.train, rows: train };
        if train.part.answers.len() == 0 || test.rows.is_empty() {
            return Err(Error::data(&self.source, "there is no sample"));
        }
        let mut preparation = match earlier {
            Some(earlier) => self.as_earlier(&earlier.preparation)?,
            None => self.preparation(&train, reading.scaling.unwrap_or(Scaling::Standard))?,
        };
        if split {
            (preparation.test_part, preparation.split_seed) = (Some(part), Some(seed));
        }
        let preparation = Arc::new(preparation);
        let set = |chosen: &Chosen<'_>| self.set(chosen, &preparation);
        Ok(Data { train: set(&train)?, test: set(&test)?, name: self.name.clone(), checksums: self.checksums.clone() })
    }

    /// The preparation by the statistics of the training samples.
    fn preparation(&self, train: &Chosen<'_>, scaling: Scaling) -> Result<Preparation> {
        let [names, targets] = self.columns.clone();
        let mut preparation = Preparation { classes: self.classes.sorted(), ..Preparation::default() };
        if let Raw::Numbers(values) = &train.part.inputs {
            if values.ncols() > MAX_SCALED && scaling != Scaling::None {
                return Err(Error::usage(format!(
                    "{} has {} numbers per sample, and at most {MAX_SCALED} are scaled; scale them yourself and add --scaling none",
                    self.source.display(),
                    values.ncols()
                )));
            }
            preparation.inputs = Columns::of(names, values, &train.rows, scaling);
            preparation.scaling = Some(scaling);
        }
        if let Answers::Values(values) = &train.part.answers {
            preparation.targets = Columns::of(targets, values, &train.rows, scaling);
            preparation.scaling = Some(scaling);
        }
        Ok(preparation)
    }

    /// The preparation of an earlier training, if it fits these data.
    fn as_earlier(&self, earlier: &Preparation) -> Result<Preparation> {
        let refuse =
            |why: String| Err(Error::data(&self.source, format!("{why}; these weights were trained on other data")));
        let of = |columns: &Columns, width: usize, names: &[String], what: &str| {
            let scaled = columns.shift.len();
            if scaled != columns.scale.len() || (scaled > 0 && scaled != width) {
                return refuse(format!("it has {width} {what} columns, and the training had {scaled}"));
            }
            if !columns.names.is_empty() && !names.is_empty() && columns.names != names {
                return refuse(format!(
                    "its {what} columns are {}, and those of the training {}",
                    few(names),
                    few(&columns.names)
                ));
            }
            Ok(())
        };
        if let Raw::Numbers(values) = &self.train.inputs {
            of(&earlier.inputs, values.ncols(), &self.columns[0], "input")?;
        }
        if let Answers::Values(values) = &self.train.answers {
            of(&earlier.targets, values.ncols(), &self.columns[1], "target")?;
        }
        Ok(Preparation { test_part: None, split_seed: None, ..earlier.clone() })
    }

    /// The samples of one set.
    fn set(&self, chosen: &Chosen<'_>, preparation: &Arc<Preparation>) -> Result<Dataset> {
        let (source, rows) = (&self.source, &chosen.rows);
        let inputs = match &chosen.part.inputs {
            Raw::Pixels(pixels) => {
                let bytes = (rows.len() as u64).saturating_mul(pixels.ncols() as u64);
                memory::check(|| format!("the images of {}", source.display()), bytes, "take fewer samples")?;
                Inputs::Pixels(pixels.select(ndarray::Axis(0), rows))
            }
            Raw::Numbers(values) => Inputs::Numbers(preparation.inputs.apply(source, values, rows)?),
        };
        let targets = match &chosen.part.answers {
            Answers::Labels(labels) => Targets::Labels(rows.iter().map(|i| labels[*i]).collect()),
            Answers::Classes(classes) => {
                let labels = self.labels(&preparation.classes)?;
                Targets::Labels(rows.iter().map(|i| labels[usize::from(classes[*i])]).collect())
            }
            Answers::Values(values) => Targets::Values(preparation.targets.apply(source, values, rows)?),
        };
        let set = Dataset::of(source, inputs, targets, self.form)?;
        Ok(Dataset { preparation: Some(Arc::clone(preparation)), ..set })
    }

    /// The label of each class in the order in which they were met.
    fn labels(&self, classes: &[String]) -> Result<Vec<u8>> {
        let label = |name: &String| {
            let found = classes.iter().position(|class| class == name).and_then(|at| u8::try_from(at).ok());
            found.ok_or_else(|| {
                let why = format!("there is a class \"{}\", and the classes are {}", shown(name), few(classes));
                Error::data(&self.source, why)
            })
        };
        self.classes.names.iter().map(label).collect()
    }
}
