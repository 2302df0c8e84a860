//! Measures whether a small network's updates should run on one thread or on all.

use std::time::Duration;

/// Chooses whether a small network's updates run on one thread or on all.
///
/// Parallel execution costs cache misses between cores. They are cheap within a shared cache and expensive across sockets. The choice is
/// therefore measured on updates that run anyway, and measured again from time to time. Results are bit-identical either way.
pub(crate) struct ParallelTuning {
    /// Whether the current trial uses all threads.
    pub(crate) shared: bool,
    /// Updates of the current trial, and their time.
    updates: usize,
    time: Duration,
    /// Times of the last two trials on one thread, and on all. The shorter one counts: the other may have been interrupted.
    times: [[Duration; 2]; 2],
    /// Trials since the slower mode was last measured.
    trials: u32,
    /// Trials after which it is measured again.
    again: u32,
}

impl ParallelTuning {
    /// Updates per trial.
    const TRIAL: usize = 32;
    /// Range of `again`, which doubles as long as the choice does not change.
    const AGAIN: [u32; 2] = [4, 256];

    /// No measurements yet.
    pub(crate) fn new() -> Self {
        let unknown = [Duration::MAX; 2];
        ParallelTuning {
            shared: true,
            updates: 0,
            time: Duration::ZERO,
            times: [unknown; 2],
            trials: 0,
            again: Self::AGAIN[0],
        }
    }

    /// Updates left in the current trial.
    pub(crate) fn left(&self) -> usize {
        Self::TRIAL - self.updates
    }

    /// Records updates of the current trial and their time. At its end, chooses the mode of the next trial.
    pub(crate) fn record(&mut self, updates: usize, time: Duration) {
        (self.updates, self.time) = (self.updates + updates, self.time + time);
        if self.updates < Self::TRIAL {
            return;
        }
        let last = &mut self.times[usize::from(self.shared)];
        *last = [last[1], std::mem::take(&mut self.time)];
        (self.updates, self.trials) = (0, self.trials + 1);
        let [serial, shared] = self.times.map(|last| last[0].min(last[1]));
        let best = shared <= serial;
        if self.trials < self.again {
            self.shared = best;
        } else if self.trials == self.again {
            // Two trials in the mode that was slower.
            self.shared = !best;
        } else if self.trials > self.again + 1 {
            let [fewest, most] = Self::AGAIN;
            let same = best != self.shared;
            (self.shared, self.trials) = (best, 0);
            self.again = if same { (2 * self.again).min(most) } else { fewest };
        }
    }
}
