//! Index of the ops that read and write each slot. It avoids searching the steps.

use super::work_count::look_at;
use crate::plan::Op;
use crate::plan::expr::SlotId;

/// Position of an op: step, and index within it.
type At = (usize, usize);

/// Per slot, the ops that read it and the ops that write it, in order.
pub(super) struct Users {
    reads: Vec<Vec<At>>,
    writes: Vec<Vec<At>>,
}

impl Users {
    pub(super) fn new(slots: usize) -> Self {
        Users { reads: vec![Vec::new(); slots], writes: vec![Vec::new(); slots] }
    }

    /// Adds the reads and writes of an op. Ops are mostly added in order, so that most insertions append to a list.
    pub(super) fn add(&mut self, at: At, op: &Op) {
        op.reads().into_iter().for_each(|slot| insert(&mut self.reads[slot.0], at));
        op.writes().for_each(|slot| insert(&mut self.writes[slot.0], at));
    }

    /// Removes the reads and writes of an op.
    pub(super) fn remove(&mut self, at: At, op: &Op) {
        op.reads().into_iter().for_each(|slot| remove(&mut self.reads[slot.0], at));
        op.writes().for_each(|slot| remove(&mut self.writes[slot.0], at));
    }

    /// The first op that writes the slot, in the last step before `step` that writes it.
    pub(super) fn last_write(&self, slot: SlotId, step: usize) -> Option<At> {
        let all = &self.writes[slot.0];
        let before = all.partition_point(|at| at.0 < step);
        let (last, _) = *all[..before].last()?;
        self.writes(slot, last, last).next()
    }

    /// The ops of steps `first` to `last` that read the slot.
    pub(super) fn reads(&self, slot: SlotId, first: usize, last: usize) -> impl Iterator<Item = At> + '_ {
        within(&self.reads[slot.0], first, last)
    }

    /// The ops of steps `first` to `last` that write the slot.
    pub(super) fn writes(&self, slot: SlotId, first: usize, last: usize) -> impl Iterator<Item = At> + '_ {
        within(&self.writes[slot.0], first, last)
    }
}

fn insert(list: &mut Vec<At>, at: At) {
    if let Err(place) = list.binary_search(&at) {
        look_at(1 + list.len() - place);
        list.insert(place, at);
    }
}

fn remove(list: &mut Vec<At>, at: At) {
    if let Ok(place) = list.binary_search(&at) {
        look_at(list.len() - place);
        list.remove(place);
    }
}

fn within(list: &[At], first: usize, last: usize) -> impl Iterator<Item = At> + '_ {
    let start = list.partition_point(|at| at.0 < first);
    list[start..].iter().copied().take_while(move |at| at.0 <= last).inspect(|_| look_at(1))
}
