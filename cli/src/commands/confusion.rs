//! The confusion matrix of a test set: how often the samples of each class are answered with each class.

use super::table::table;
use ndarray::Array2;
use serde_json::{Value, json};
use zilch::data::{Dataset, Set};
use zilch::device::BlockingSession;
use zilch::{Network, Result};

/// The maximum number of classes of a matrix that is printed. Of more classes only the confusions are listed.
const PRINTED: usize = 20;
/// The maximum number of confusions in that list.
const LISTED: usize = 10;
/// Samples that are predicted at once on a GPU.
const AT_ONCE: usize = 1024;

/// Counts of answers by class.
pub(crate) struct Confusion {
    /// By class of the sample, then by class of the answer. The last column counts answers with NaN or infinity.
    pub(crate) counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// The counts over the test set of a session; `None` for targets that are not classes, and on a GPU for a network
    /// that applies f to its input, because single inputs are then given after f.
    pub(crate) fn of(session: &mut BlockingSession, network: &Network, test: &Dataset) -> Result<Option<Confusion>> {
        if test.labels().is_empty() {
            return Ok(None);
        }
        let answers = match session.as_cpu_mut() {
            Some(session) => session.answers(Set::Test),
            None if network.input_activation => return Ok(None),
            None => predicted(session, network, test)?,
        };
        let classes = network.outputs();
        let mut counts = vec![vec![0; classes + 1]; classes];
        for (label, answer) in test.labels().iter().zip(answers) {
            // Data that fit a network have no label beyond its outputs.
            if let Some(row) = counts.get_mut(usize::from(*label)) {
                row[answer.unwrap_or(classes)] += 1;
            }
        }
        Ok(Some(Confusion { counts }))
    }

    /// Samples, errors and error rate of a class.
    fn class(&self, class: usize) -> (u64, u64, Option<f64>) {
        let samples: u64 = self.counts[class].iter().sum();
        let errors = samples - self.counts[class][class];
        (samples, errors, (samples > 0).then(|| errors as f64 / samples as f64))
    }

    /// The classes that the data have.
    fn there(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        (0..self.counts.len()).filter(|class| self.class(*class).0 > 0)
    }

    /// Whether some answers have NaN or infinity.
    pub(crate) fn has_none(&self) -> bool {
        self.counts.iter().any(|row| row.last().is_some_and(|none| *none > 0))
    }

    /// Samples, errors and error of each class, for `--json`.
    pub(crate) fn classes_json(&self) -> Vec<Value> {
        let of = |class| {
            let (samples, errors, rate) = self.class(class);
            json!({ "class": class, "samples": samples, "errors": errors, "error": rate })
        };
        (0..self.counts.len()).map(of).collect()
    }

    /// The most frequent confusions: class, answer, count.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize, u64)> {
        let cells = self.counts.iter().enumerate().flat_map(|(class, row)| {
            let wrong = row.iter().enumerate().filter(move |(answer, n)| *answer != class && **n > 0);
            wrong.map(move |(answer, n)| (class, answer, *n))
        });
        let mut pairs: Vec<(usize, usize, u64)> = cells.collect();
        pairs.sort_by_key(|(class, answer, n)| (std::cmp::Reverse(*n), *class, *answer));
        pairs.truncate(LISTED);
        pairs
    }

    /// The name of an answer.
    pub(crate) fn name(&self, answer: usize) -> String {
        if answer == self.counts.len() { "NaN".into() } else { answer.to_string() }
    }

    /// The error by class and the matrix, for a terminal.
    pub(crate) fn text(&self) -> String {
        let classes: Vec<usize> = self.there().collect();
        let error = |rate: Option<f64>| rate.map_or("–".into(), |rate| format!("{:.2} %", 100.0 * rate));
        if classes.len() > PRINTED {
            let row = |class: &usize| {
                let (samples, errors, rate) = self.class(*class);
                vec![class.to_string(), samples.to_string(), errors.to_string(), error(rate)]
            };
            let mut text = "\n".to_owned();
            text += &table(&["class", "samples", "errors", "error"], &classes.iter().map(row).collect::<Vec<_>>(), 0);
            let pair =
                |(class, answer, n): (usize, usize, u64)| vec![class.to_string(), self.name(answer), n.to_string()];
            text += "\nthe most frequent confusions\n";
            return text
                + &table(&["class", "answer", "samples"], &self.pairs().into_iter().map(pair).collect::<Vec<_>>(), 0);
        }
        // An answer can be a class that the test set does not have.
        let answered = |answer: &usize| self.counts.iter().any(|row| row[*answer] > 0);
        let columns: Vec<usize> =
            (0..=self.counts.len()).filter(|answer| classes.contains(answer) || answered(answer)).collect();
        let names: Vec<String> = columns.iter().map(|answer| self.name(*answer)).collect();
        let header: Vec<&str> = ["class", "error"].into_iter().chain(names.iter().map(String::as_str)).collect();
        let row = |class: &usize| {
            let counts = columns.iter().map(|answer| match self.counts[*class][*answer] {
                0 => "·".to_owned(),
                n => n.to_string(),
            });
            [class.to_string(), error(self.class(*class).2)].into_iter().chain(counts).collect()
        };
        let rows: Vec<Vec<String>> = classes.iter().map(row).collect();
        "\nsamples of each class (row) by answer (column)\n".to_owned() + &table(&header, &rows, 0)
    }
}

/// The answers of a GPU, which takes inputs as numbers.
fn predicted(session: &mut BlockingSession, network: &Network, test: &Dataset) -> Result<Vec<Option<usize>>> {
    let pairs = network.pixels.as_ref().map(|pixels| pixels.pairs().to_vec()).unwrap_or_default();
    let plane = test.pixels().div_ceil(pairs.len().max(1)).max(1);
    let input = |((_, at), pixel): ((usize, usize), &u8)| {
        let value = f32::from(*pixel) / 255.0;
        let pair = pairs.get(at / plane).or(pairs.last());
        pair.map_or(value, |[mean, sd]| (value - mean) / sd)
    };
    let mut answers = Vec::with_capacity(test.len());
    for images in test.images().axis_chunks_iter(ndarray::Axis(0), AT_ONCE) {
        let inputs: Vec<f32> = images.indexed_iter().map(input).collect();
        let inputs = Array2::from_shape_vec(images.dim(), inputs)
            .map_err(|e| zilch::Error::usage(format!("the images cannot be given to the network: {e}")))?;
        for outputs in session.predict(&inputs)?.outer_iter() {
            let mut best = 0;
            for (j, value) in outputs.iter().enumerate() {
                if *value > outputs[best] {
                    best = j;
                }
            }
            answers.push(outputs.iter().all(|v| v.is_finite()).then_some(best));
        }
    }
    Ok(answers)
}
