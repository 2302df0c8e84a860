//! Loss and errors of a batch of predictions. Twin of `shaders/score.wgsl`.

use super::element::Element;
use super::matrix::Matrix;
use crate::device::Score;
use crate::plan::Loss;
use ndarray::ArrayView1;

/// Adds the loss and the number of errors of the batch to `score`. A prediction is an error if its largest output (the
/// first one, if several are equal) is not that of the label, or if it has a NaN.
pub(crate) fn score<T: Element>(
    mu: &Matrix<T>,
    labels: impl Iterator<Item = u8>,
    (loss, held_to): (Loss, [f32; 2]),
    score: &mut Score,
) {
    let [off, on] = held_to.map(f64::from);
    for (i, label) in labels.enumerate() {
        let target = usize::from(label);
        let (mut best, mut finite) = (0, true);
        for j in 0..mu.cols {
            let value = mu.get(i, j);
            if loss == Loss::Squared {
                let difference = if j == target { on } else { off } - value.to_f64();
                score.energy += 0.5 * difference * difference;
            }
            if value > mu.get(i, best) {
                best = j;
            }
            finite &= value.to_f64().is_finite();
        }
        if loss == Loss::CrossEntropy {
            // −log softmax, shifted by the largest output to avoid overflow.
            let top = mu.get(i, best).to_f64();
            let sum: f64 = (0..mu.cols).map(|j| (mu.get(i, j).to_f64() - top).exp()).sum();
            score.energy += sum.ln() - (mu.get(i, target).to_f64() - top);
        }
        score.samples += 1;
        score.errors += u64::from(best != target || !finite);
    }
}

/// As [`score`], for real targets: adds ½ Σ (target − μ)² of the batch.
pub(crate) fn score_values<'a, T: Element>(
    mu: &Matrix<T>,
    values: impl Iterator<Item = ArrayView1<'a, f32>>,
    score: &mut Score,
) {
    for (i, target) in values.enumerate() {
        for (j, target) in target.iter().enumerate() {
            let difference = f64::from(*target) - mu.get(i, j).to_f64();
            score.energy += 0.5 * difference * difference;
        }
        score.samples += 1;
    }
}
