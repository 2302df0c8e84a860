//! The program.

use std::process::{Command, Stdio};

/// The path of the binary.
pub(crate) const ZILCH: &str = env!("CARGO_BIN_EXE_zilch");

/// The program without arguments. Backtraces are enabled, so that a test sees any panic in the output.
pub(crate) fn program() -> Command {
    let mut command = Command::new(ZILCH);
    // A user's lavapipe has threads: see the Makefile.
    command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG").env_remove("LP_NUM_THREADS").stdin(Stdio::null());
    command
}
