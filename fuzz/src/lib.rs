//! The fuzz targets, one module each. Their function `run` takes any bytes and must return. The fuzzer (`targets/`) and an ordinary test
//! (`tests/fuzzed/main.rs`) call it.

pub mod arguments;
pub mod bounded;
mod bytes;
pub mod checkpoint;
pub mod cifar;
pub mod config;
pub mod csv;
pub mod idx;
pub mod layers;
pub mod npy;
pub mod pages;
pub mod plan;
pub mod rules;
pub mod runs;
mod scratch;
pub mod tasks;
pub mod tiny;
pub mod weights;

/// A target.
pub struct Target {
    /// The name of the target, its module and its folders.
    pub name: &'static str,
    /// Processes one input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 14] = [
    Target { name: "idx", run: idx::run },
    Target { name: "weights", run: weights::run },
    Target { name: "checkpoint", run: checkpoint::run },
    Target { name: "plan", run: plan::run },
    Target { name: "arguments", run: arguments::run },
    Target { name: "cifar", run: cifar::run },
    Target { name: "csv", run: csv::run },
    Target { name: "npy", run: npy::run },
    Target { name: "config", run: config::run },
    Target { name: "runs", run: runs::run },
    Target { name: "tasks", run: tasks::run },
    Target { name: "rules", run: rules::run },
    Target { name: "layers", run: layers::run },
    Target { name: "pages", run: pages::run },
];
