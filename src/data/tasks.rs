//! Subsets of a data set and sequences of tasks: chosen classes, fewer images per class, alternating tasks, drifting labels.

use super::{Data, Dataset, Targets};
use crate::error::{Error, Result};
use crate::files::{Links, counted, read_bounded, shown};
use crate::memory;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// A subset of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// The classes of the subset; `None` is all classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u8>>,
    /// The new label of each class, in the order of `classes`. `None` is 0, 1, … for chosen classes, and no change for all classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<u8>>,
    /// The maximum number of training images per class. The first images of the file after `skip` are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_class: Option<usize>,
    /// The number of training images per class to skip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<usize>,
    /// The maximum number of test images per class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_per_class: Option<usize>,
}

/// A subset to train on for some epochs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Line", into = "Line")]
pub struct Task {
    /// The subset.
    pub subset: Subset,
    /// The number of consecutive epochs.
    pub epochs: u64,
}

/// The serialised form of a task. (`serde(flatten)` cannot be combined with `deny_unknown_fields`.)
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<u8>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_class: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skip: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    test_per_class: Option<usize>,
    epochs: u64,
}

impl From<Line> for Task {
    fn from(Line { classes, labels, per_class, skip, test_per_class, epochs }: Line) -> Task {
        Task { subset: Subset { classes, labels, per_class, skip, test_per_class }, epochs }
    }
}

impl From<Task> for Line {
    fn from(Task { subset: Subset { classes, labels, per_class, skip, test_per_class }, epochs }: Task) -> Line {
        Line { classes, labels, per_class, skip, test_per_class, epochs }
    }
}

/// The test sets that are evaluated after an epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tested {
    /// The test set of the current task.
    #[default]
    Current,
    /// The test sets of all tasks.
    Every,
}

/// A sequence of tasks, repeated cyclically.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// The tasks in their order.
    pub tasks: Vec<Task>,
    /// The test sets to evaluate.
    #[serde(default)]
    pub test: Tested,
}

/// The maximum size of a file of tasks in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The maximum number of tasks.
const MAX_TASKS: usize = 10_000;

impl Subset {
    /// Whether it is the whole data set.
    pub fn is_all(&self) -> bool {
        *self == Subset::default()
    }

    /// The pairs (class, new label) of the subset of a data set with this number of classes.
    fn map(&self, classes: usize) -> Result<Vec<(u8, u8)>> {
        let shown: Vec<u8> = self.classes.clone().unwrap_or_else(|| (0..classes).map(|c| c as u8).collect());
        let refuse = |why: String| Err(Error::usage(why));
        if shown.is_empty() {
            return refuse("a task needs at least one class".into());
        }
        if let Some(twice) = shown.iter().enumerate().find(|(i, c)| shown[..*i].contains(c)) {
            return refuse(format!("class {} is named twice", twice.1));
        }
        let labels = match (&self.labels, &self.classes) {
            (Some(labels), _) if labels.len() != shown.len() => {
                return refuse(format!(
                    "{} for {} classes; give one for each",
                    counted(labels.len(), "label"),
                    shown.len()
                ));
            }
            (Some(labels), _) => labels.clone(),
            (None, Some(_)) => (0..shown.len()).map(|i| i as u8).collect(),
            (None, None) => shown.clone(),
        };
        Ok(shown.into_iter().zip(labels).collect())
    }

    /// This subset of `data`.
    ///
    /// # Errors
    /// [`Error::Usage`] for classes that are missing, named twice, or without labels.
    pub fn of(&self, data: &Data) -> Result<Data> {
        data.train.targets().classes("a subset of classes")?;
        let map = self.map(data.train.classes().max(data.test.classes()))?;
        Ok(Data {
            train: data.train.select(&map, self.skip.unwrap_or(0), self.per_class)?,
            test: data.test.select(&map, 0, self.test_per_class)?,
            name: data.name.clone(),
            checksums: data.checksums.clone(),
        })
    }
}

impl Data {
    /// Splits off the last `n` training samples of each class, or of all if the targets are real values. Returns the rest and the
    /// held-out set.
    ///
    /// # Errors
    /// [`Error::Usage`] when a class would have no training sample left.
    pub fn hold_out(&self, n: usize) -> Result<(Data, Dataset)> {
        let (kept, held) = self.train.last_of_each(n)?;
        // Copies only the required rows and the test set, without an intermediate copy of the training set.
        let test_bytes = (self.test.len() * self.test.inputs().row_bytes()) as u64;
        memory::check(|| "a subset of the data".into(), test_bytes, "choose fewer samples")?;
        let rest = Data {
            train: self.train.chosen(self.train.source(), &kept)?,
            test: self.test.clone(),
            name: self.name.clone(),
            checksums: self.checksums.clone(),
        };
        Ok((rest, self.train.chosen(self.train.source(), &held)?))
    }
}

impl Dataset {
    /// The indices of all samples but the last `n` of each class, and of those. Real values count as one class.
    fn last_of_each(&self, n: usize) -> Result<(Vec<usize>, Vec<usize>)> {
        let class = |i: usize| self.labels().get(i).map_or(0, |label| usize::from(*label));
        let mut left = [0usize; 256];
        (0..self.len()).for_each(|i| left[class(i)] += 1);
        if n == 0 || left.iter().any(|count| (1..=n).contains(count)) {
            return Err(Error::usage(format!(
                "--hold-out takes at least 1 image per class and leaves at least 1; {n} given, and the smallest class has {}",
                left.iter().filter(|count| **count > 0).min().copied().unwrap_or(0)
            )));
        }
        let (mut kept, mut held) = (Vec::new(), Vec::new());
        for i in 0..self.len() {
            let left = &mut left[class(i)];
            if *left > n {
                kept.push(i)
            } else {
                held.push(i)
            }
            *left -= 1;
        }
        Ok((kept, held))
    }

    /// The samples of the classes in `map` with their new labels, in their order: at most `most` per class after the first `skip`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a class without samples.
    pub fn select(&self, map: &[(u8, u8)], skip: usize, most: Option<usize>) -> Result<Dataset> {
        if most == Some(0) {
            return Err(Error::usage("0 images per class given; a class needs at least one image"));
        }
        let classes = self.targets().classes("a subset of classes")?;
        let mut label = [None; 256];
        map.iter().for_each(|(class, to)| label[usize::from(*class)] = Some(*to));
        let mut count = [0usize; 256];
        let mut rows = Vec::new();
        for (i, class) in classes.iter().enumerate() {
            let count = &mut count[usize::from(*class)];
            if label[usize::from(*class)].is_some() {
                *count += 1;
                if *count > skip && most.is_none_or(|most| *count - skip <= most) {
                    rows.push(i);
                }
            }
        }
        if let Some((class, _)) = map.iter().find(|(class, _)| count[usize::from(*class)] <= skip) {
            let beyond = if skip > 0 { format!(" beyond the first {skip}") } else { String::new() };
            return Err(Error::usage(format!("{} has no image of class {class}{beyond}", self.source().display())));
        }
        let labels = rows.iter().filter_map(|i| label[usize::from(classes[*i])]).collect();
        self.part(self.source(), self.inputs().select(&rows)?, Targets::Labels(labels))
    }
}

impl Tasks {
    /// Reads a file of tasks: `{"tasks": [{"classes": [0, 1], "epochs": 4}, …], "test": "every"}`.
    ///
    /// # Errors
    /// [`Error::Data`] when it cannot be read or is not a file of tasks.
    pub fn read(path: &Path) -> Result<Tasks> {
        let bytes = read_bounded(path, MAX_FILE, Links::Followed)
            .map_err(|e| Error::data(path, format!("this file of tasks cannot be read: {e}")))?;
        Tasks::parse(path, &bytes)
    }

    /// Parses the bytes of such a file; errors name `path`.
    ///
    /// # Errors
    /// As [`Tasks::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Tasks> {
        let tasks: Tasks = serde_json::from_slice(bytes).map_err(|e| {
            let why = shown(&e.to_string());
            let expected =
                r#"{"tasks": [{"classes": [0, 1], "labels": [0, 1], "epochs": 4}, …], "test": "current" or "every"}"#;
            Error::data(path, format!("this is not a file of tasks ({why}); expected {expected}"))
        })?;
        tasks.check().map_err(|e| Error::data(path, e.to_string()))?;
        Ok(tasks)
    }

    /// Checks that there are tasks and that each has epochs.
    fn check(&self) -> Result<()> {
        if self.tasks.is_empty() || self.tasks.len() > MAX_TASKS {
            return Err(Error::usage(format!("expected 1 to {MAX_TASKS} tasks; {} given", self.tasks.len())));
        }
        if let Some(i) = self.tasks.iter().position(|task| task.epochs == 0) {
            return Err(Error::usage(format!("task {} has 0 epochs; give each at least 1", i + 1)));
        }
        Ok(())
    }

    /// The data set of each task. Tasks with equal subsets share one.
    ///
    /// # Errors
    /// Those of [`Subset::of`]; [`Error::Usage`] when there is no task, or one has no epochs.
    pub fn of(&self, data: &Data) -> Result<Vec<Arc<Data>>> {
        self.check()?;
        let mut all: Vec<Arc<Data>> = Vec::new();
        for (i, task) in self.tasks.iter().enumerate() {
            let same = self.tasks[..i].iter().position(|other| other.subset == task.subset);
            all.push(match same {
                Some(same) => Arc::clone(&all[same]),
                None => Arc::new(task.subset.of(data).map_err(|e| match e {
                    Error::Usage(why) => Error::usage(format!("task {}: {why}", i + 1)),
                    other => other,
                })?),
            });
        }
        Ok(all)
    }

    /// The number of epochs of one cycle through all tasks, at least 1.
    pub(crate) fn round(&self) -> u64 {
        self.tasks.iter().map(|task| task.epochs).fold(0, u64::saturating_add).max(1)
    }

    /// The index of the task in an epoch, both counted from 0.
    pub fn at(&self, epoch: u64) -> usize {
        let mut left = epoch % self.round();
        for (i, task) in self.tasks.iter().enumerate() {
            if left < task.epochs {
                return i;
            }
            left -= task.epochs;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn data() -> Data {
        let set = |n: usize| {
            let images = Array2::from_shape_fn((n, 2), |(i, j)| (3 * i + j) as u8);
            Dataset::new(Path::new("test"), images, (0..n).map(|i| (i % 4) as u8).collect(), 1, 2).expect("a set")
        };
        Data { train: set(23), test: set(9), name: "test".into(), checksums: Vec::new() }
    }

    #[test]
    fn a_subset_has_the_first_images_of_its_classes_with_its_labels() {
        let subset = Subset { classes: Some(vec![3, 1]), per_class: Some(2), ..Subset::default() };
        let part = subset.of(&data()).expect("a part");
        assert_eq!(part.train.labels(), [1, 0, 1, 0]);
        assert_eq!(part.train.images().column(0).to_vec(), [3, 9, 15, 21]);
        assert_eq!(part.test.labels(), [1, 0, 1, 0], "all of the test set");
        let later = Subset { classes: Some(vec![3, 1]), per_class: Some(2), skip: Some(1), ..Subset::default() };
        let later = later.of(&data()).expect("a part");
        assert_eq!(later.train.images().column(0).to_vec(), [15, 21, 27, 33], "after the first one of each");
        assert_eq!(later.test.len(), part.test.len(), "skip does not apply to the test set");
        let drifted = Subset { labels: Some(vec![0, 1, 3, 2]), ..Subset::default() };
        assert_eq!(drifted.of(&data()).expect("a part").train.labels()[..4], [0, 1, 3, 2]);
        assert_eq!(Subset::default().of(&data()).expect("all"), data());
        let refused = |subset: Subset| subset.of(&data()).expect_err("refused").to_string();
        let of = |classes: &[u8]| Subset { classes: Some(classes.to_vec()), ..Subset::default() };
        assert!(refused(of(&[9])).contains("no image of class 9"));
        let beyond = refused(Subset { skip: Some(5), ..Subset::default() });
        assert!(beyond.contains("no image of class 3 beyond the first 5"), "{beyond}");
        assert!(refused(of(&[1, 1])).contains("named twice") && refused(of(&[])).contains("at least one"));
        assert!(refused(Subset { labels: Some(vec![0]), ..Subset::default() }).contains("1 label for 4 classes"));
        assert!(refused(Subset { per_class: Some(0), ..Subset::default() }).contains("at least one image"));
    }

    #[test]
    fn the_last_images_of_each_class_are_held_out() {
        let (data, held) = data().hold_out(2).expect("two of each");
        assert_eq!((data.train.len(), held.len(), data.test.len()), (15, 8, 9));
        assert_eq!(held.images().column(0).to_vec(), (15..23).map(|i| 3 * i as u8).collect::<Vec<_>>());
        assert!(super::tests::data().hold_out(5).is_err() && super::tests::data().hold_out(0).is_err());
    }

    #[test]
    fn tasks_repeat_cyclically() {
        let text = r#"{"tasks": [{"classes": [0], "epochs": 2}, {"classes": [1], "epochs": 1}], "test": "every"}"#;
        let tasks: Tasks = serde_json::from_str(text).expect("tasks");
        assert_eq!((0..7).map(|e| tasks.at(e)).collect::<Vec<_>>(), [0, 0, 1, 0, 0, 1, 0]);
        assert_eq!(tasks.test, Tested::Every);
        assert_eq!(tasks.of(&data()).expect("parts")[1].train.len(), 6);
        let none = Tasks { tasks: vec![Task { subset: Subset::default(), epochs: 0 }], test: Tested::Current };
        assert!(none.of(&data()).is_err() && Tasks::default().of(&data()).is_err());
    }
}
