//! The command line of zilch: `zilch train`, `compare`, `reproduce` and the rest.
//!
//! The engine is the crate [`zilch`], the experiments are in [`zilch_lab`]; here is what reads options and prints answers.
#![deny(unsafe_code)]

// The fuzzer compiles some of these files as its own: they name this crate as others do.
extern crate self as zilch_cli;

mod commands;
pub mod doctor;
pub mod runs;

pub use commands::run;
