//! Reproduction of published results on learning rules: tables and figures, with the published numbers beside the
//! measured ones.
//!
//! An experiment implements [`Experiment`] and is listed in [`experiments::EXPERIMENTS`]. It trains through the engine
//! with [`settings::Settings`], and pages show these settings as a command. Each finished trial is one file in the
//! experiment's folder, so that a stopped run can be resumed. The last step writes one JSON record. Pages and figures
//! are generated from records only.
#![deny(unsafe_code)]

pub mod command;
pub mod draw;
pub mod experiment;
pub mod experiments;
pub mod paper;
mod record;
mod results;
pub mod search;
pub mod settings;
pub mod shell;
pub mod trial;

pub use experiment::Experiment;
pub use record::{Folder, Record, load, write_text};
pub use results::{Checked, Results};

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use zilch::data::{Data, Dataset};
use zilch::error::{Error, Result};
use zilch::memory::on_threads;

/// Mini-batch size of the paper's MNIST experiments.
pub const BATCH: usize = 20;

/// The seeds of the paper's three groups.
pub const SEEDS: [u64; 3] = [1_482_555_873, 698_841_058, 2_283_198_659];

/// The inputs of every experiment.
pub struct Context<'a> {
    /// The data set.
    pub data: Arc<Data>,
    /// Whether to run the reduced version.
    pub quick: bool,
    /// The number of seeds, for experiments in which it can be chosen.
    pub seeds: u64,
    /// The number of threads.
    pub threads: usize,
    /// Set when the user interrupts.
    pub stop: &'a AtomicBool,
    /// Called with the progress, from 0 to 1, and a description of the current work.
    pub watch: &'a (dyn Fn(f64, &str) + Sync),
}

impl Context<'_> {
    /// Returns an error once the user has interrupted.
    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted("interrupted; finished trials are kept".into()));
        }
        Ok(())
    }

    /// The networks of the paper's MNIST experiments for these data: lmax = 2, 3, 4, with hidden layers of 32 units.
    ///
    /// # Errors
    /// [`zilch::Error::Usage`] when no network fits the data.
    pub fn networks(&self) -> Result<Vec<zilch::Network>> {
        (1..=3)
            .map(|hidden| {
                let mut sizes = vec![32; hidden + 2];
                sizes[0] = self.data.train.pixels();
                sizes[hidden + 1] = self.data.train.classes().max(self.data.test.classes()).max(2);
                zilch::Network::new(&sizes)
            })
            .collect()
    }
}

/// A data set of one blank image with the network's shape. Sessions whose batches are given as arrays need a data set,
/// but never read it.
fn blank(network: &zilch::Network) -> Result<Arc<Data>> {
    let images = ndarray::Array2::zeros((1, network.inputs()));
    let set = Dataset::new(std::path::Path::new("none"), images, vec![0], 1, network.inputs())?;
    Ok(Arc::new(Data { train: set.clone(), test: set, name: "none".into(), checksums: Vec::new() }))
}

/// Applies `work` to every item on all threads and returns the results in order. Stops at the first error.
fn parallel<I: Sync, O: Send>(
    context: &Context<'_>,
    items: &[I],
    work: impl Fn(&I) -> Result<O> + Sync,
) -> Result<Vec<O>> {
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..items.len()).collect());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let results: Mutex<Vec<(usize, Result<O>)>> = Mutex::new(Vec::new());
    on_threads(context.threads, || {
        while let Some(i) = next() {
            let result = work(&items[i]);
            if result.is_err() {
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}
