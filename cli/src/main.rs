//! The command line of zilch.
#![deny(unsafe_code)]

mod process;

use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_mesa();
    process::prepare();
    process::on_enough_stack(command)
}

fn command() -> ExitCode {
    zilch_cli::logging::builder().init();
    zilch_cli::run()
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
