//! Numerical results: against float64, against independent programs, and bit for bit against each other.

mod augment;
mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod convolution;
mod exactness;
mod family;
mod fast_paths;
mod float64;
mod gradients;
mod graphs;
mod harness;
mod learning;
#[path = "../common/networks.rs"]
mod networks;
mod oracle;
mod prospective;
mod random_plans;
mod superspike;
mod twins;
