//! The slots of units and samples, as a part of the batch has them.

use super::connections::doubled;
use super::exec::MAX_WRITES;
use super::matrix::{Lines, Matrix, Shape};
use super::real::Real;
use crate::expr::SlotId;
use crate::plan::Direction;
use crate::plan::{Home, Plan, Population};
use crate::program::{Place, Program, Work};
use ndarray::Array2;
use std::ops::Range;

/// Which matrix a place is.
#[derive(Clone)]
pub(crate) struct Index {
    first: Vec<usize>,
    /// (slot, rows are samples) of each matrix.
    slots: Vec<SlotId>,
}

impl Index {
    /// Numbers the halves of every slot that the program touches.
    pub(crate) fn new(program: &Program) -> Index {
        let mut index = Index { first: Vec::new(), slots: Vec::new() };
        for (s, halves) in program.halves.iter().enumerate() {
            index.first.push(index.slots.len());
            index.slots.extend((0..*halves).map(|_| SlotId(s)));
        }
        index
    }

    /// The number of a place's matrix.
    pub(crate) fn of(&self, place: Place) -> usize {
        self.first[place.slot.0] + place.half
    }

    /// How many matrices there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The slot of each matrix.
    pub(crate) fn slots(&self) -> &[SlotId] {
        &self.slots
    }
}

/// Samples of a batch, with slots of their own. (Each on cache lines of its own, and their neighbours: each is a thread's.)
#[repr(align(128))]
pub(crate) struct Shard<T> {
    /// Which of the batch's.
    pub(crate) samples: Range<usize>,
    /// By [`Index`]: [samples · places, n], and [1, samples] for a number a sample; empty for slots that samples share.
    pub(crate) slots: Vec<Matrix<T>>,
    /// The numbers that the job under way writes: nothing between jobs.
    pub(crate) hands: [Lines<T>; MAX_WRITES],
    /// fromᵀ, [n, samples · places], by population, where feedback from it takes that.
    pub(crate) turned: Vec<Matrix<T>>,
}

impl<T: Real> Shard<T> {
    /// The slots of these samples.
    pub(crate) fn new(plan: &Plan, program: &Program, index: &Index, samples: Range<usize>) -> Self {
        let rows = samples.len();
        let slot = |slot: &SlotId| match plan.slot(*slot).home {
            Home::Units(p) => Matrix::of(Shape::of_places(rows, plan.populations[p].places, plan.populations[p].n)),
            Home::Samples(_) => Matrix::zeros(1, rows),
            Home::Vector(_) | Home::Connections(_) | Home::One(_) => Matrix::default(),
        };
        let turned = turned(plan, program);
        let turn = |p: usize| {
            let of = &plan.populations[p];
            if turned[p] { Matrix::zeros(of.n, rows * of.places) } else { Matrix::default() }
        };
        Shard {
            slots: index.slots().iter().map(slot).collect(),
            hands: std::array::from_fn(|_| Lines::default()),
            turned: (0..plan.populations.len()).map(turn).collect(),
            samples,
        }
    }

    /// Bytes that [`Shard::new`] takes for so many samples.
    pub(crate) fn bytes(plan: &Plan, program: &Program, rows: usize) -> u64 {
        let slots = plan.slots.iter().zip(&program.halves).map(|(slot, halves)| {
            let one = match slot.home {
                Home::Units(p) => {
                    Shape::of_places(rows, plan.populations[p].places, plan.populations[p].n).bytes::<T>()
                }
                Home::Samples(_) => Matrix::<T>::bytes(1, rows),
                Home::Vector(_) | Home::Connections(_) | Home::One(_) => 0,
            };
            one * *halves as u64
        });
        let turned = turned(plan, program).into_iter().zip(&plan.populations);
        let turn = |(is, p): (bool, &Population)| if is { Matrix::<T>::bytes(p.n, rows * p.places) } else { 0 };
        slots.sum::<u64>() + turned.map(turn).sum::<u64>()
    }
}

/// A slot's numbers with a row a sample: [samples, places · n].
pub(crate) fn of_samples<T: Real>(slot: &Matrix<T>, samples: usize) -> Array2<f64> {
    let all = slot.to_array();
    let shape = (samples, all.len() / samples.max(1));
    all.into_shape_with_order(shape).unwrap_or_default()
}

/// The populations whose units send backward through weights that are kept once.
fn turned(plan: &Plan, program: &Program) -> Vec<bool> {
    let mut turned = vec![false; plan.populations.len()];
    for job in program.launches().flat_map(|launch| &launch.jobs) {
        if let Work::Send { projection, direction: Direction::Backward, .. } = job.work
            && plan.projections[projection].kind.has_weights()
        {
            let of = &plan.projections[projection];
            let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n);
            turned[of.to] |= !doubled(to, from, Some(plan.populations[of.to].places));
        }
    }
    turned
}
