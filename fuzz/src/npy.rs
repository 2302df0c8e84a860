//! numpy's files: an input that begins as a zip archive is a `.npz` file, any other a `.npy` file.

use std::path::Path;
use zilch::data::{Reading, npy};

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    if bytes.starts_with(b"PK") {
        if let Ok(data) = npy::parse_npz(path, bytes, &Reading::default()) {
            assert!(
                data.train.kind() == data.test.kind() && data.train.pixels() == data.test.pixels(),
                "two kinds of samples"
            );
        }
        return;
    }
    if let Ok(array) = npy::parse(path, bytes) {
        assert!(array.shape().iter().product::<usize>() <= bytes.len(), "more elements than bytes");
    }
}
