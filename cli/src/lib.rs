//! The command line of zilch: `zilch train`, `compare`, `reproduce` and the rest.
//!
//! The engine is the crate [`zilch`]; the experiments are in [`zilch_lab`]. This crate parses options and prints results.
#![deny(unsafe_code)]

// The fuzzer compiles some of these files into its own crate, so they refer to this crate by its name, not by `crate`.
extern crate self as zilch_cli;

mod commands;
pub mod doctor;
pub mod logging;
pub mod process;
pub mod runs;
pub mod words;
