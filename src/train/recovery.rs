//! A device that fails in the middle of a training, and what it takes to go on without it.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a device that failed is opened anew in one run, and how long to wait for it each time.
const REOPENED: u32 = 3;
const WAIT: Duration = Duration::from_millis(500);

/// The last good state of a training on a device that can be lost: the host's copy of what the device holds.
#[derive(Debug)]
pub struct LastGood {
    /// What to go on from; nothing before the first copy.
    pub checkpoint: Option<Checkpoint>,
    /// When it was copied.
    when: Instant,
    /// How often the device was lost.
    lost: u32,
}

impl LastGood {
    /// How old the copy may be within an epoch, in time of training.
    pub const WITHIN: Duration = Duration::from_secs(20);
    /// How old it may be at an epoch's end.
    pub const AT_END: Duration = Duration::from_secs(1);

    /// A training that begins from a checkpoint, if there is one.
    pub fn new(checkpoint: Option<Checkpoint>) -> LastGood {
        LastGood { checkpoint, when: Instant::now(), lost: 0 }
    }

    /// Takes a new copy.
    pub fn keep(&mut self, checkpoint: Checkpoint) {
        (self.checkpoint, self.when) = (Some(checkpoint), Instant::now());
    }

    /// Whether the copy is so old.
    pub fn is_older(&self, age: Duration) -> bool {
        self.when.elapsed() >= age
    }

    /// Updates made when it was copied.
    pub fn updates(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.progress.updates)
    }

    /// Opens the device anew, by `open`, that has failed with `error`: the device and the error, after which the training goes on from
    /// the copy.
    ///
    /// # Errors
    /// [`Error::Gpu`] when it was lost for the fourth time, or does not come back; [`Error::Interrupted`] when told to stop meanwhile.
    pub fn reopen(
        &mut self,
        open: &mut dyn FnMut() -> Result<Device>,
        error: Error,
        stop: &AtomicBool,
    ) -> Result<(Device, Error)> {
        self.lost += 1;
        if self.lost > REOPENED {
            return Err(Error::Gpu(format!(
                "{error}. In this run it was opened anew {REOPENED} times before, and that did not help"
            )));
        }
        let mut why = String::new();
        // A driver takes a moment for its reset.
        for _ in 0..=REOPENED {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted(format!("interrupted while a device was opened anew: {error}")));
            }
            match open() {
                Ok(anew) => {
                    self.when = Instant::now();
                    return Ok((anew, error));
                }
                Err(e) => why = e.to_string(),
            }
            std::thread::sleep(WAIT);
        }
        Err(Error::Gpu(format!("{error}. It cannot be opened anew: {why}")))
    }
}
