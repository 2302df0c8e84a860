//! Measurements: the time of an update, its distance from an update by backpropagation, GPU tile sizes, traces of an
//! update, and the host.

pub mod compare;
pub mod host;
pub mod sweep;
pub mod trace;
#[cfg(feature = "gpu")]
pub mod tune;
