//! Speculative execution of a program that is correct only if its guards hold
//! ([`Program::speculate`](crate::lower::Program::speculate)). It is tried before the general program. It writes no persistent
//! slot before the guards are checked, so a failed guard costs time only.

use super::fused_kernels::Kernels;
use super::storage::{Index, Shard};
use super::update::{Phase, stages};
use crate::lower::{Pass, Place, Speculation};

/// The most updates to wait after a failure.
const MAX_WAIT: u32 = 256;

pub(super) struct Speculative<T> {
    /// The launches before the guards are checked, and those after.
    pub(super) ahead: Vec<Phase<T>>,
    pub(super) commit: Vec<Phase<T>>,
    /// By slot: its place after the program.
    pub(super) last: Vec<Place>,
    /// Whether the guards held in the last update.
    pub(super) held: bool,
    /// Matrices, and the value that every element of each must have.
    guards: Vec<(usize, T)>,
    /// Updates left to wait before the next try, and updates to wait after the next failure.
    wait: u32,
    next_wait: u32,
    /// Both counts at the last [`Speculative::save`]. A restored session must make the same tries again, to repeat the same updates.
    saved: (u32, u32),
}

impl<T: Kernels> Speculative<T> {
    pub(super) fn new(speculation: &Speculation, index: &Index) -> Self {
        let Speculation { plan, program, guards, commit } = speculation;
        let (ahead, after) = program.passes[0].launches.split_at(*commit);
        let to_stages = |launches: &[_]| stages(plan, &[Pass { times: 1, launches: launches.to_vec() }], index, false);
        Speculative {
            ahead: to_stages(ahead),
            commit: to_stages(after),
            last: program.last.clone(),
            held: false,
            guards: guards.iter().map(|guard| (index.of(guard.place), T::from_f64(guard.value))).collect(),
            wait: 0,
            next_wait: 1,
            saved: (0, 1),
        }
    }

    pub(super) fn save(&mut self) {
        self.saved = (self.wait, self.next_wait);
    }

    pub(super) fn restore(&mut self) {
        (self.wait, self.next_wait) = self.saved;
    }

    /// Whether this update tries the program.
    pub(super) fn is_tried(&mut self) -> bool {
        self.held = false;
        let tried = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        tried
    }

    /// Whether every guard holds in every shard.
    pub(super) fn holds(&mut self, shards: &[Shard<T>]) -> bool {
        let holds = |shard: &Shard<T>| self.guards.iter().all(|(at, value)| shard.slots[*at].is_everywhere(*value));
        self.held = shards.iter().all(holds);
        if self.held {
            self.next_wait = 1;
        } else {
            (self.wait, self.next_wait) = (self.next_wait, (2 * self.next_wait).min(MAX_WAIT));
        }
        self.held
    }
}
