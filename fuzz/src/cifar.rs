//! CIFAR-10's files: an input is one.

use std::path::Path;
use zilch::data::cifar;

pub fn run(bytes: &[u8]) {
    let Ok(set) = cifar::parse(Path::new("input"), bytes) else { return };
    assert!(set.len() * 3073 == bytes.len() && set.classes() <= 10, "other images than the file's");
}
