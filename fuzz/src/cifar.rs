//! CIFAR-10's files: an input is one.

use std::path::Path;
use zilch::data::cifar;

pub fn run(bytes: &[u8]) {
    let Ok(set) = cifar::parse(Path::new("input"), bytes) else { return };
    let gzip = bytes.starts_with(&[0x1f, 0x8b]);
    assert!((gzip || set.len() * 3073 == bytes.len()) && set.classes() <= 10, "other images than the file's");
}
