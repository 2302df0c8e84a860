//! Weights. An input is a safetensors file.

use std::path::Path;
use zilch::network::parse_weights;

pub fn run(bytes: &[u8]) {
    let Ok((network, weights)) = parse_weights(Path::new("input"), bytes) else { return };
    assert!(weights.fits(&network) && weights.not_finite().is_none(), "the weights do not fit {network}");
}
