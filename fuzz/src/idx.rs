//! IDX files. An input is such a file.

use ndarray::Array2;
use std::path::Path;
use zilch::data::{Dataset, idx};

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    let labels = idx::parse_labels(path, bytes);
    let Ok(images) = idx::parse_images(path, bytes) else { return };
    assert!(labels.is_err(), "a file with labels and images");
    let pixels = Array2::from_shape_vec((images.count, images.rows * images.cols), images.pixels).expect("the pixels");
    let labels = (0..images.count).map(|i| i as u8).collect();
    let set = Dataset::new(path, pixels, labels, images.rows, images.cols).expect("a data set");
    let map: Vec<(u8, u8)> = (0..set.classes().min(3)).map(|c| (c as u8, 0)).collect();
    set.select(&map, 0, Some(1)).expect("a part of it");
}
