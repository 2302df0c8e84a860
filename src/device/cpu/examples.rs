//! Slots kept per training example ([`Slot::per_example`](crate::plan::Slot)): their rows are copied into the batch
//! before an update, and back after it. Twin of `shaders/examples.wgsl`.

use super::element::Element;
use super::matrix::Matrix;
use super::storage::{Index, Shard};
use crate::lower::Place;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan};
use ndarray::Array2;
use std::collections::BTreeMap;

/// A slot kept per training example, for all examples.
pub(super) struct Examples<T> {
    /// The slot's matrix, by [`Index`].
    at: usize,
    /// [samples, n]
    all: Matrix<T>,
    /// For each example changed since the last [`Examples::save`]: index → row [1, n] at that save.
    before: BTreeMap<u32, Matrix<T>>,
}

/// The per-example slots of a plan, for `samples` training examples.
pub(super) fn examples<T: Element>(plan: &Plan, index: &Index, samples: usize) -> Vec<Examples<T>> {
    let of = |(s, n): (usize, usize)| Examples {
        at: index.of(Place { slot: SlotId(s), half: 0 }),
        all: Matrix::zeros(samples, n),
        before: BTreeMap::new(),
    };
    per_example(plan).map(of).collect()
}

/// Bytes of the slots of [`examples()`].
pub(super) fn bytes<T: Element>(plan: &Plan, samples: usize) -> u64 {
    per_example(plan).map(|(_, n)| Matrix::<T>::bytes(samples, n)).sum()
}

/// Index and number of units of each slot kept per training example.
fn per_example(plan: &Plan) -> impl Iterator<Item = (usize, usize)> + '_ {
    plan.slots.iter().enumerate().filter(|(_, slot)| slot.per_example).filter_map(|(s, slot)| match slot.home {
        Domain::Units(p) => Some((s, plan.populations[p].n)),
        _ => None,
    })
}

impl<T: Element> Examples<T> {
    /// Copies the rows of these examples into the batch.
    pub(super) fn put(&self, samples: &[u32], shards: &mut [Shard<T>]) {
        for shard in shards {
            for (i, sample) in samples[shard.samples.clone()].iter().enumerate() {
                shard.slots[self.at].copy_row(i, &self.all, *sample as usize);
            }
        }
    }

    /// Copies the rows of the batch back.
    pub(super) fn take(&mut self, samples: &[u32], shards: &[Shard<T>]) {
        for shard in shards {
            for (i, sample) in samples[shard.samples.clone()].iter().enumerate() {
                let (all, at) = (&self.all, *sample as usize);
                self.before.entry(*sample).or_insert_with(|| {
                    let mut row = Matrix::zeros(1, all.cols);
                    row.copy_row(0, all, at);
                    row
                });
                self.all.copy_row(at, &shard.slots[self.at], i);
            }
        }
    }

    /// The values of all examples, [samples, n].
    pub(super) fn numbers(&self) -> Array2<f32> {
        self.all.to_array().mapv(|v| v as f32)
    }

    /// Overwrites the values of all examples, if the shape matches.
    pub(super) fn fill(&mut self, numbers: &Array2<f32>) {
        if numbers.dim() == (self.all.rows, self.all.cols) {
            self.all = Matrix::from_array(numbers.view());
        }
    }

    /// Saves the current values, to which [`Examples::restore`] returns.
    pub(super) fn save(&mut self) {
        self.before.clear();
    }

    /// Returns to the values at the last [`Examples::save`].
    pub(super) fn restore(&mut self) {
        for (sample, row) in std::mem::take(&mut self.before) {
            self.all.copy_row(sample as usize, &row, 0);
        }
    }
}
