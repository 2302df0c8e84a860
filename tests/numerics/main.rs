//! What the numbers are: against float64, against independent programs, against each other to the last bit.

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
#[path = "../common/networks.rs"]
mod networks;
mod oracle;
mod prospective;
mod random_plans;
mod superspike;
mod twins;
