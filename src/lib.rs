//! zilch trains predictive coding networks and shows that they learn what backpropagation learns, to the last bit.
#![deny(unsafe_code)]

pub mod activation;
pub mod compare;
pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod host;
pub mod network;
pub mod plan;
pub mod program;
pub mod random;
pub mod reproduce;
pub mod rules;
pub mod train;

pub use activation::Activation;
pub use error::{Error, Result};
pub use network::{Network, Weights};
pub use plan::{Coords, Plan, Rule, Schedule};
pub use rules::Options;
