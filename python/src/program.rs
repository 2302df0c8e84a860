//! The command line in Python's process: the script `zilch` of the wheel.

use pyo3::prelude::*;
use std::ffi::OsString;
use zilch_cli::process::{self, OrExit};

/// As in the binary, but only where a command runs: other Python programs get an exception, where zilch checks an allocation.
#[global_allocator]
static ALLOCATOR: OrExit = OrExit { always: false };

/// Runs the command of a command line, with the program's name first, and returns the exit code. For a process of its own: a signal ends it.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, argv: Vec<OsString>) -> u8 {
    py.detach(|| process::main(argv))
}
