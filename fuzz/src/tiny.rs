//! A network, data and a device that are so small that thousands of trainings take one second.

use ndarray::Array2;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use zilch::data::{Data, Dataset};
use zilch::device::Device;
use zilch::{Network, Rule};

/// The CPU device with one thread.
pub static CPU: LazyLock<Device> = LazyLock::new(|| Device::open("cpu", Some(1)).expect("a CPU"));

/// 13 training images and 5 test images with 4 pixels, in 3 classes.
pub static DATA: LazyLock<Arc<Data>> = LazyLock::new(|| data(4, 3));

/// The same number of images with another number of pixels and classes.
pub fn data(pixels: usize, classes: usize) -> Arc<Data> {
    let set = |n: usize| {
        let images = Array2::from_shape_fn((n, pixels), |(i, j)| (37 * i + 91 * j + i * j) as u8);
        let labels = (0..n).map(|i| (i % classes.min(256)) as u8).collect();
        Dataset::new(Path::new("made"), images, labels, 1, pixels).expect("a set")
    };
    Arc::new(Data { train: set(13), test: set(5), name: "made".into(), checksums: Vec::new() })
}

/// The network 4-3-2-3 with biases, adapted to the rule.
pub fn network(rule: Rule) -> Network {
    rule.suited(Network::new(&[4, 3, 2, 3]).expect("layers").with_bias(true))
}
