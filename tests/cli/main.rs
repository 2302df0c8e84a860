//! The program, run as a user runs it. No test here uses the library for what the program is asked to do.

mod assets;
mod augment;
mod bits;
mod commands;
mod foreign;
mod layers;
mod memory;
#[path = "../common/networks.rs"]
mod networks;
mod program;
#[path = "../common/repository.rs"]
mod repository;
mod reproduce;
mod resume;
mod rules;
mod runs;
mod signals;
mod train_runs;
