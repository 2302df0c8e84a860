//! What is measured: the time of an update and its distance from backpropagation's, the machine, an update moment by moment.

pub mod compare;
pub mod host;
pub mod trace;
#[cfg(feature = "gpu")]
pub mod tune;
