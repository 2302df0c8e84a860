//! CIFAR-10. An input is one of its files.

use std::path::Path;
use zilch::data::cifar;

pub fn run(bytes: &[u8]) {
    let Ok(set) = cifar::parse(Path::new("input"), bytes) else { return };
    let gzip = bytes.starts_with(&[0x1f, 0x8b]);
    assert!((gzip || set.len() * 3073 == bytes.len()) && set.classes() <= 10, "the file has other images");
}
