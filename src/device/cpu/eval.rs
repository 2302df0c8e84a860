//! The forward pass of evaluation, which has its own batch size.

use super::EVAL_BATCH;
use super::fused_kernels::Kernels;
use super::job::CpuLaunch;
use super::limits::Lowered;
use super::storage::{Index, Shard, of_samples};
use crate::lower::Place;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan};
use ndarray::Array2;

/// The forward pass with batch size [`EVAL_BATCH`].
pub(super) struct Eval<T> {
    pub(super) plan: Plan,
    pub(super) launches: Vec<(u32, Vec<CpuLaunch<T>>)>,
    pub(super) index: Index,
    pub(super) shard: Shard<T>,
    pub(super) output: usize,
    /// The place of each slot after the pass.
    last: Vec<Place>,
}

impl<T: Kernels> Eval<T> {
    pub(super) fn new(lowered: &Lowered) -> Self {
        let (plan, program) = lowered.prediction();
        let index = Index::new(program);
        let shard = Shard::new(plan, program, &index, 0..EVAL_BATCH);
        let launches = program
            .passes
            .iter()
            .map(|pass| (pass.times, pass.launches.iter().map(|l| CpuLaunch::new(plan, &index, l, false)).collect()));
        let output = index.of(program.last[plan.output.0]);
        Eval { launches: launches.collect(), output, plan: plan.clone(), index, shard, last: program.last.clone() }
    }

    /// The values of a unit slot after the pass, [samples, positions · n]; `None` for a slot that the pass does not store.
    pub(super) fn read(&self, slot: SlotId, samples: usize) -> Option<Array2<f64>> {
        let place = self.last[slot.0];
        let kept = matches!(self.plan.slot(slot).home, Domain::Units(_)) && self.index.slots().contains(&place.slot);
        let all = |place| of_samples(&self.shard.slots[self.index.of(place)], EVAL_BATCH);
        kept.then(|| all(place).slice(ndarray::s![..samples, ..]).to_owned())
    }

    pub(super) fn at(&self, slot: SlotId) -> usize {
        self.index.of(Place { slot, half: 0 })
    }

    /// Moves the matrices without a sample axis from `all`, indexed by the session's `from`, to the indices of the
    /// evaluation.
    pub(super) fn take<M: Default>(&self, from: &Index, all: &mut [M]) -> Vec<M> {
        let mut taken: Vec<M> = (0..self.index.len()).map(|_| M::default()).collect();
        self.both(from, |mine, theirs| taken[mine] = std::mem::take(&mut all[theirs]));
        taken
    }

    /// Moves the matrices of [`Eval::take`] back to the session.
    pub(super) fn give<M: Default>(&self, to: &Index, mut taken: Vec<M>, all: &mut [M]) {
        self.both(to, |mine, theirs| all[theirs] = std::mem::take(&mut taken[mine]));
    }

    fn both(&self, other: &Index, mut with: impl FnMut(usize, usize)) {
        for (s, slot) in self.plan.slots.iter().enumerate() {
            let place = Place { slot: SlotId(s), half: 0 };
            let shared = matches!(slot.home, Domain::Connections(_) | Domain::Vector(_) | Domain::BatchScalar(_));
            let [here, there] = [&self.index, other].map(|index| index.slots().contains(&place.slot));
            if shared && here && there {
                with(self.index.of(place), other.of(place));
            }
        }
    }
}
