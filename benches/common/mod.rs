//! What several benches need: devices, and random data in which no two rows or columns are alike (a product that
//! mixed them up would not pass for a fast one, and zeros would flatter the arithmetic).

#![allow(dead_code, reason = "every bench uses a part of it")]

use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Dataset};
use zilch::device::{BlockingSession, Device};
use zilch::random::{Random, Stream};
use zilch::{Plan, Weights};

const SAMPLES: usize = 1024;

/// The CPU and the first GPU adapter.
pub(crate) fn devices() -> [Device; 2] {
    ["cpu", "gpu"].map(|name| Device::open(name, None).expect("both devices; a software GPU will do"))
}

/// Whether a size is to be measured: L takes long, and only where it is asked for.
pub(crate) fn wanted(size: &str) -> bool {
    size != "L" || std::env::var_os("ZILCH_BENCH_LARGE").is_some()
}

/// A session on random images of the plan's network.
pub(crate) fn session(device: &Device, plan: &Plan, batch: usize, weights: &Weights) -> BlockingSession {
    let resident = device.upload(&data([plan.inputs(), plan.outputs()])).expect("room for the data");
    device.session(plan, batch, &resident, weights).expect("a session")
}

/// Random images for so many inputs and outputs.
pub(crate) fn data([pixels, outputs]: [usize; 2]) -> Arc<Data> {
    let classes = outputs.min(256) as u64;
    let mut random = Random::new(1, Stream::Test, 0);
    let images = Array2::from_shape_simple_fn((SAMPLES, pixels), || random.below(256) as u8);
    let labels = (0..SAMPLES).map(|_| random.below(classes) as u8).collect();
    let set = Dataset::new(Path::new("random"), images, labels, 1, pixels).expect("a data set");
    Arc::new(Data { train: set.clone(), test: set, name: "random".into(), checksums: Vec::new() })
}

/// So many samples, each shown in turn.
pub(crate) fn order(samples: usize) -> Vec<u32> {
    (0..samples).map(|s| (s % SAMPLES) as u32).collect()
}
