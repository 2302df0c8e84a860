//! Measurements: the time of an update and its distance from backpropagation's, the host, GPU tiles, and traces of an update.

pub mod compare;
pub mod host;
pub mod trace;
#[cfg(feature = "gpu")]
pub mod tune;
