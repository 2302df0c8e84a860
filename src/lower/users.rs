//! Which ops read and write each slot: an index, so that nobody searches the steps for them.

use super::work_count::look_at;
use crate::plan::Op;
use crate::plan::expr::SlotId;

/// An op: its step, and its number there.
type At = (usize, usize);

/// By slot, the ops that read it and those that write it, in order.
pub(super) struct Users {
    reads: Vec<Vec<At>>,
    writes: Vec<Vec<At>>,
}

impl Users {
    pub(super) fn new(slots: usize) -> Self {
        Users { reads: vec![Vec::new(); slots], writes: vec![Vec::new(); slots] }
    }

    /// Adds what an op reads and writes. Ops are added in order, so that nearly all of them go to the end of a list.
    pub(super) fn add(&mut self, at: At, op: &Op) {
        op.reads().into_iter().for_each(|slot| insert(&mut self.reads[slot.0], at));
        op.writes().for_each(|slot| insert(&mut self.writes[slot.0], at));
    }

    /// Removes the same.
    pub(super) fn remove(&mut self, at: At, op: &Op) {
        op.reads().into_iter().for_each(|slot| remove(&mut self.reads[slot.0], at));
        op.writes().for_each(|slot| remove(&mut self.writes[slot.0], at));
    }

    /// The first op that writes the slot in the last step before `step` in which one does.
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

    /// Those that write it.
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
