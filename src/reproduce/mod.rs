//! The experiments of Song et al. (2020), each a command: their tables and figures, ours beside theirs.
//!
//! Every experiment writes into its own folder: the raw numbers as one JSON file, a Markdown table, and
//! figures as SVG. What takes long is kept piece by piece, so that a run that was stopped goes on.

pub mod figure3;
mod record;

pub use record::{Folder, write_text};

use crate::data::Data;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The seeds of the paper's three groups.
pub const SEEDS: [u64; 3] = [1_482_555_873, 698_841_058, 2_283_198_659];

/// What every experiment is given.
pub struct Context<'a> {
    /// The data set.
    pub data: Arc<Data>,
    /// Whether to run the reduced version.
    pub quick: bool,
    /// Threads to use.
    pub threads: usize,
    /// Set when the user interrupts.
    pub stop: &'a AtomicBool,
    /// Told how much of the work is done, 0 to 1, and what is being done.
    pub watch: &'a (dyn Fn(f64, &str) + Sync),
}

impl Context<'_> {
    /// The networks of the paper's MNIST experiments on these data: lmax 2, 3, 4, hidden layers of 32.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when the data have no network that fits.
    pub fn networks(&self) -> crate::Result<Vec<crate::Network>> {
        (1..=3)
            .map(|hidden| {
                let mut sizes = vec![32; hidden + 2];
                sizes[0] = self.data.train.pixels();
                sizes[hidden + 1] = self.data.train.classes().max(self.data.test.classes()).max(2);
                crate::Network::new(&sizes)
            })
            .collect()
    }
}
