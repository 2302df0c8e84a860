//! The program.

use std::process::{Command, Stdio};

/// The path of the binary.
pub(crate) const ZILCH: &str = env!("CARGO_BIN_EXE_zilch");

/// The program, ready to be given arguments. Backtraces are switched on, so that one which is shown is seen.
pub(crate) fn program() -> Command {
    let mut command = Command::new(ZILCH);
    command.env("RUST_BACKTRACE", "1").env_remove("RUST_LOG").stdin(Stdio::null());
    command
}
