//! A program that is right if its guards hold ([`Program::speculate`](crate::lower::Program::speculate)), tried before the
//! one that always is. Until the guards have been looked at nothing that lasts is written, so a failure costs time alone.

use super::fused_kernels::Kernels;
use super::storage::{Index, Shard};
use super::update::{Phase, stages};
use crate::lower::{Pass, Place, Speculation};

/// Most updates for which nothing is tried after a failure.
const MOST: u32 = 256;

pub(super) struct Speculative<T> {
    /// Up to the guards, and after them.
    pub(super) ahead: Vec<Phase<T>>,
    pub(super) commit: Vec<Phase<T>>,
    /// Where slots are when it has run.
    pub(super) last: Vec<Place>,
    /// Whether the last update was made by it.
    pub(super) held: bool,
    /// Matrices, and the number that each must hold everywhere.
    guards: Vec<(usize, T)>,
    /// Updates left for which it is not tried, and for how many the next failure keeps it from being tried.
    rest: u32,
    next: u32,
    /// Both at the last [`Speculative::save`]: who goes back to saved weights must try what was tried then.
    saved: (u32, u32),
}

impl<T: Kernels> Speculative<T> {
    pub(super) fn new(speculation: &Speculation, index: &Index) -> Self {
        let Speculation { plan, program, guards, commit } = speculation;
        let (ahead, after) = program.passes[0].launches.split_at(*commit);
        let made = |launches: &[_]| stages(plan, &[Pass { times: 1, launches: launches.to_vec() }], index, false);
        Speculative {
            ahead: made(ahead),
            commit: made(after),
            last: program.last.clone(),
            held: false,
            guards: guards.iter().map(|guard| (index.of(guard.place), T::from_f64(guard.value))).collect(),
            rest: 0,
            next: 1,
            saved: (0, 1),
        }
    }

    pub(super) fn save(&mut self) {
        self.saved = (self.rest, self.next);
    }

    pub(super) fn restore(&mut self) {
        (self.rest, self.next) = self.saved;
    }

    /// Whether this update tries it.
    pub(super) fn is_tried(&mut self) -> bool {
        self.held = false;
        let tried = self.rest == 0;
        self.rest = self.rest.saturating_sub(1);
        tried
    }

    /// Whether every guard holds in every part of the batch.
    pub(super) fn holds(&mut self, shards: &[Shard<T>]) -> bool {
        let holds = |shard: &Shard<T>| self.guards.iter().all(|(at, value)| shard.slots[*at].is_everywhere(*value));
        self.held = shards.iter().all(holds);
        if self.held {
            self.next = 1;
        } else {
            (self.rest, self.next) = (self.next, (2 * self.next).min(MOST));
        }
        self.held
    }
}
