//! Recovery from a device failure during training: the last good state and the reopening of the device.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoint;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Maximum number of times that a failed device is reopened in one run.
const MAX_LOSSES: u32 = 3;
/// The pause between attempts to reopen the device, since the reset of a driver takes time.
const PAUSE: Duration = Duration::from_millis(500);
/// Number of attempts to reopen the device after one failure.
const ATTEMPTS: u32 = 4;

/// The host's copy of the last good state of a training on a device that can be lost.
#[derive(Debug)]
pub struct LastGood {
    /// The state to continue from; `None` before the first copy.
    pub checkpoint: Option<Checkpoint>,
    /// The time of the copy.
    when: Instant,
    /// The number of times that the device has been lost.
    lost: u32,
}

impl LastGood {
    /// The age of the copy at which it is renewed within an epoch.
    pub const WITHIN: Duration = Duration::from_secs(20);
    /// The age of the copy at which it is renewed at the end of an epoch.
    pub const AT_END: Duration = Duration::from_secs(1);

    /// The state of a training that starts from `checkpoint`, or from the beginning.
    pub fn new(checkpoint: Option<Checkpoint>) -> LastGood {
        LastGood { checkpoint, when: Instant::now(), lost: 0 }
    }

    /// Replaces the copy.
    pub fn keep(&mut self, checkpoint: Checkpoint) {
        (self.checkpoint, self.when) = (Some(checkpoint), Instant::now());
    }

    /// Whether the copy is at least as old as `age`.
    pub fn is_older(&self, age: Duration) -> bool {
        self.when.elapsed() >= age
    }

    /// Updates done at the time of the copy.
    pub fn updates(&self) -> u64 {
        self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.progress.updates)
    }

    /// Reopens the device that failed with `error`, by calling `open`. Returns the device and the error. The training
    /// then continues from the copy.
    ///
    /// # Errors
    /// [`Error::Gpu`] at the fourth loss, or when the device cannot be reopened; [`Error::Interrupted`] when `stop` is set meanwhile.
    pub fn reopen(
        &mut self,
        open: &mut dyn FnMut() -> Result<Device>,
        error: Error,
        stop: &AtomicBool,
    ) -> Result<(Device, Error)> {
        self.lost += 1;
        if self.lost > MAX_LOSSES {
            return Err(Error::Gpu(format!("{error}. The device was already reopened {MAX_LOSSES} times in this run")));
        }
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted(format!("interrupted while reopening the device: {error}")));
            }
            match open() {
                Ok(reopened) => {
                    self.when = Instant::now();
                    return Ok((reopened, error));
                }
                Err(e) => why = e.to_string(),
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::Gpu(format!("{error}. The device cannot be reopened: {why}")))
    }
}
