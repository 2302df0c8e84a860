//! Devices and random data for the benches. The data are random because zeros can make arithmetic faster, and because a product
//! that mixes up rows or columns must not pass for a fast one.

#![allow(dead_code, reason = "every bench uses a part of this module")]

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

/// Whether to measure a size. L takes long and is measured only if `ZILCH_BENCH_LARGE` is set.
pub(crate) fn wanted(size: &str) -> bool {
    size != "L" || std::env::var_os("ZILCH_BENCH_LARGE").is_some()
}

/// Starts a session on random images that fit the plan's network.
pub(crate) fn session(device: &Device, plan: &Plan, batch: usize, weights: &Weights) -> BlockingSession {
    let resident = device.upload(&data([plan.inputs(), plan.outputs()])).expect("room for the data");
    device.session(plan, batch, &resident, weights).expect("a session")
}

/// Random images of `pixels` pixels, [SAMPLES, pixels], with labels below `outputs`.
pub(crate) fn data([pixels, outputs]: [usize; 2]) -> Arc<Data> {
    let classes = outputs.min(256) as u64;
    let mut random = Random::new(1, Stream::Test, 0);
    let images = Array2::from_shape_simple_fn((SAMPLES, pixels), || random.below(256) as u8);
    let labels = (0..SAMPLES).map(|_| random.below(classes) as u8).collect();
    let set = Dataset::new(Path::new("random"), images, labels, 1, pixels).expect("a data set");
    Arc::new(Data { train: set.clone(), test: set, name: "random".into(), checksums: Vec::new() })
}

/// The indices of `samples` samples; the data set repeats.
pub(crate) fn order(samples: usize) -> Vec<u32> {
    (0..samples).map(|s| (s % SAMPLES) as u32).collect()
}
