//! The program `zilch`.
#![deny(unsafe_code)]

use std::process::ExitCode;
use zilch_cli::process::{self, OrExit};

#[global_allocator]
static ALLOCATOR: OrExit = OrExit { always: true };

fn main() -> ExitCode {
    quiet_mesa();
    ExitCode::from(process::main(std::env::args_os()))
}

/// Disables Mesa's device-select layer if there is no desktop session. Without a session the layer prints an error for
/// every Vulkan instance and cannot select a device. A value set by the user is kept.
#[allow(unsafe_code, reason = "setting an environment variable, before any thread is started")]
fn quiet_mesa() {
    let unset = |name| std::env::var_os(name).is_none();
    if cfg!(target_os = "linux") && unset("XDG_RUNTIME_DIR") && unset("NODEVICE_SELECT") {
        // SAFETY: this is the first thing main does; no other thread reads the environment yet.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
