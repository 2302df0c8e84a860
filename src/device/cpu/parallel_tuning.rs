//! Whether a small network's updates are shared out over threads: both ways are tried.

use std::time::Duration;

/// Whether a small network's updates are shared out over threads. That costs some cache misses between
/// processors, which are cheap within one chip's cache and dear across two: both ways are timed, on updates
/// that have to be made anyway, and compared again from time to time. The bits are the same.
pub(crate) struct ParallelTuning {
    /// The way of the trial under way.
    pub(crate) shared: bool,
    /// Its updates so far, and their time.
    updates: usize,
    time: Duration,
    /// The last two trials alone, and shared. The better counts: one that the system interrupted says nothing.
    took: [[Duration; 2]; 2],
    /// Trials made, since the other way was last tried.
    trials: u32,
    /// Trials after which it is tried again.
    again: u32,
}

impl ParallelTuning {
    /// Updates of a trial.
    const TRIAL: usize = 32;
    /// Bounds of `again`: it doubles as long as the way stays the same.
    const AGAIN: [u32; 2] = [4, 256];

    /// Nothing tried yet.
    pub(crate) fn new() -> Self {
        let unknown = [Duration::MAX; 2];
        ParallelTuning {
            shared: true,
            updates: 0,
            time: Duration::ZERO,
            took: [unknown; 2],
            trials: 0,
            again: Self::AGAIN[0],
        }
    }

    /// Updates that the trial under way still takes.
    pub(crate) fn left(&self) -> usize {
        Self::TRIAL - self.updates
    }

    /// So many more updates of the trial took so long; when it is over, the next way is chosen.
    pub(crate) fn took(&mut self, updates: usize, time: Duration) {
        (self.updates, self.time) = (self.updates + updates, self.time + time);
        if self.updates < Self::TRIAL {
            return;
        }
        let last = &mut self.took[usize::from(self.shared)];
        *last = [last[1], std::mem::take(&mut self.time)];
        (self.updates, self.trials) = (0, self.trials + 1);
        let [alone, shared] = self.took.map(|last| last[0].min(last[1]));
        let best = shared <= alone;
        if self.trials < self.again {
            self.shared = best;
        } else if self.trials == self.again {
            // Twice the way that is thought to be slower.
            self.shared = !best;
        } else if self.trials > self.again + 1 {
            let [fewest, most] = Self::AGAIN;
            let same = best != self.shared;
            (self.shared, self.trials) = (best, 0);
            self.again = if same { (2 * self.again).min(most) } else { fewest };
        }
    }
}
