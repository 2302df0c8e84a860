//! Storage of the slots of units and samples, for one shard of the mini-batch.

use super::element::Element;
use super::fixed_maps::FixedMap;
use super::matrix::{Lines, Matrix, Shape};
use super::parallel::MAX_WRITES;
use super::weight_matrix::is_kept_twice;
use crate::lower::{Place, Program, Work};
use crate::plan::Direction;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan, Population};
use ndarray::Array2;
use std::ops::Range;

/// Maps each place (slot and half) of a program to the index of its matrix.
#[derive(Clone)]
pub(crate) struct Index {
    first: Vec<usize>,
    /// The slot of each matrix.
    slots: Vec<SlotId>,
}

impl Index {
    /// Numbers the halves of all slots that the program uses.
    pub(crate) fn new(program: &Program) -> Index {
        let mut index = Index { first: Vec::new(), slots: Vec::new() };
        for (s, halves) in program.halves.iter().enumerate() {
            index.first.push(index.slots.len());
            index.slots.extend((0..*halves).map(|_| SlotId(s)));
        }
        index
    }

    /// The matrix index of a place.
    pub(crate) fn of(&self, place: Place) -> usize {
        self.first[place.slot.0] + place.half
    }

    /// Whether a place has a matrix.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.slots.get(self.of(place)) == Some(&place.slot)
    }

    /// The number of matrices.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of each matrix.
    pub(crate) fn slots(&self) -> &[SlotId] {
        &self.slots
    }
}

/// A contiguous range of samples of the batch, with their slots. Each shard is processed by one thread; the alignment
/// avoids false sharing.
#[repr(align(128))]
pub(crate) struct Shard<T> {
    /// The shard's samples within the batch.
    pub(crate) samples: Range<usize>,
    /// By [`Index`]: [samples · positions, n] per sample and unit, [1, samples] per sample; empty for slots without a
    /// sample axis. im2col matrices that only products read are not stored.
    pub(crate) slots: Vec<Matrix<T>>,
    /// The values that the running job writes, moved out of `slots`; empty between jobs.
    pub(crate) outputs: [Lines<T>; MAX_WRITES],
    /// Per population: buffer [n, samples · positions] for the transpose of the slot that is the operand of its
    /// backward product; empty if no product needs it.
    pub(crate) transposed: Vec<Matrix<T>>,
}

impl<T: Element> Shard<T> {
    /// Allocates the slots of these samples.
    pub(crate) fn new(plan: &Plan, program: &Program, index: &Index, samples: Range<usize>) -> Self {
        let rows = samples.len();
        let patches = patches(plan, program);
        let slot = |slot: &SlotId| match plan.slot(*slot).home {
            Domain::Units(_) if let Some(patches) = patches[slot.0].as_ref().and_then(|map| map.in_place(rows)) => {
                Matrix::of_patches(patches, rows)
            }
            Domain::Units(p) => Matrix::of(Shape::of_places(rows, plan.populations[p].places, plan.populations[p].n)),
            Domain::Samples(_) => Matrix::zeros(1, rows),
            Domain::Vector(_) | Domain::Connections(_) | Domain::BatchScalar(_) => Matrix::default(),
        };
        let transposed = transposed(plan, program);
        let turn = |p: usize| {
            let of = &plan.populations[p];
            if transposed[p] { Matrix::zeros(of.n, rows * of.places) } else { Matrix::default() }
        };
        Shard {
            slots: index.slots().iter().map(slot).collect(),
            outputs: std::array::from_fn(|_| Lines::default()),
            transposed: (0..plan.populations.len()).map(turn).collect(),
            samples,
        }
    }

    /// Bytes that [`Shard::new`] allocates for `rows` samples.
    pub(crate) fn bytes(plan: &Plan, program: &Program, rows: usize) -> u64 {
        let patches = patches(plan, program);
        let patches = patches.iter().map(|map| map.as_ref().and_then(|map| map.in_place(rows)));
        let slots = plan.slots.iter().zip(&program.halves).zip(patches).map(|((slot, halves), patches)| {
            let one = match slot.home {
                Domain::Units(_) if let Some(patches) = patches => patches.grid.bytes::<T>() + patches.bytes(),
                Domain::Units(p) => {
                    Shape::of_places(rows, plan.populations[p].places, plan.populations[p].n).bytes::<T>()
                }
                Domain::Samples(_) => Matrix::<T>::bytes(1, rows),
                Domain::Vector(_) | Domain::Connections(_) | Domain::BatchScalar(_) => 0,
            };
            one * *halves as u64
        });
        let transposed = transposed(plan, program).into_iter().zip(&plan.populations);
        let turn = |(is, p): (bool, &Population)| if is { Matrix::<T>::bytes(p.n, rows * p.places) } else { 0 };
        slots.sum::<u64>() + transposed.map(turn).sum::<u64>()
    }
}

/// The values of a slot with one row per sample, [samples, positions · n].
pub(crate) fn of_samples<T: Element>(slot: &Matrix<T>, samples: usize) -> Array2<f64> {
    let all = slot.to_array();
    let shape = (samples, all.len() / samples.max(1));
    all.into_shape_with_order(shape).unwrap_or_default()
}

/// Per population: whether it is the source of a backward product with weights that have no second copy.
fn transposed(plan: &Plan, program: &Program) -> Vec<bool> {
    let mut transposed = vec![false; plan.populations.len()];
    for job in program.launches().flat_map(|launch| &launch.jobs) {
        if let Work::Send { projection, direction: Direction::Backward, .. } = job.work
            && plan.projections[projection].kind.has_weights()
        {
            let of = &plan.projections[projection];
            let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n);
            transposed[of.to] |= !is_kept_twice(to, from, Some(plan.populations[of.to].places));
        }
    }
    transposed
}

/// Per slot: the map that gathers its im2col patches, if only products read them, as the operand of a forward product
/// or as `pre` of a weight change.
fn patches(plan: &Plan, program: &Program) -> Vec<Option<FixedMap>> {
    let jobs = || program.launches().flat_map(|launch| &launch.jobs);
    let mut maps: Vec<Option<FixedMap>> = vec![None; plan.slots.len()];
    for job in jobs() {
        if let (Work::Send { direction: Direction::Forward, .. }, Some(map)) =
            (&job.work, FixedMap::of(plan, &job.work))
        {
            maps[job.code.leaves[0].slot.0] = Some(map);
        }
    }
    for job in jobs() {
        let (carried, product) = match job.work {
            Work::Send { projection, direction: Direction::Forward, .. } => {
                let map = plan.projections[projection].kind.is_map();
                (map && job.code.leaves.len() == 1, !map)
            }
            Work::OuterProduct { .. } => (false, true),
            _ => (false, false),
        };
        // The second operand is the sent slot of a product, or `pre` of a weight change.
        let whole = job.work.reads().into_iter().enumerate().map(|(i, place)| (place, product && i == 1));
        for (place, allowed) in job.code.leaves.iter().map(|place| (*place, carried)).chain(whole) {
            if !allowed {
                maps[place.slot.0] = None;
            }
        }
    }
    for (s, map) in maps.iter_mut().enumerate() {
        let elsewhere = plan.slots[s].per_example || plan.feeds.iter().any(|feed| feed.slot == SlotId(s));
        if elsewhere {
            *map = None;
        }
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::super::limits::Lowered;
    use super::*;
    use crate::{Network, Options, Rule};

    /// For every rule, the patches are read in place: they cost neither copies nor memory.
    #[test]
    fn no_rule_stores_patches() {
        let network = Network::parse("2x8x8,4c3p1,m2,6c3,5").expect("a network");
        for rule in Rule::all().iter().filter(|rule| rule.convolutions) {
            let plan = Options::new(*rule).plan(&rule.suited(network.clone())).expect("a plan");
            let lowered = Lowered::new(&plan.carried().expect("a plan"), false);
            let jobs = || lowered.all.launches().flat_map(|launch| &launch.jobs);
            let sent = jobs().filter(|job| matches!(job.work, Work::Send { direction: Direction::Forward, .. }));
            let slots: Vec<SlotId> = sent
                .filter(|job| FixedMap::of(&lowered.plan, &job.work).is_some_and(|map| map.in_place(1).is_some()))
                .map(|job| job.code.leaves[0].slot)
                .collect();
            let in_place = patches(&lowered.plan, &lowered.all);
            assert!(!slots.is_empty() && slots.iter().all(|slot| in_place[slot.0].is_some()), "{}", rule.name());
        }
    }
}
