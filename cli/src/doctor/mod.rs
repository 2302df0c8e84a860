//! Diagnoses why a GPU cannot be used, and checks the results of every device.
//!
//! [`examine`] reads only files and environment variables, all through a [`System`]. [`check`] computes updates on the devices.

mod container;
mod drivers;
mod machine;
mod system;
mod update;

pub use system::System;
pub use update::{Checked, check};

use machine::Hardware;
use zilch::device::gpu::{AdapterSummary, install_advice};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// No fault.
    Ok,
    /// Information.
    Note,
    /// The state may slow zilch down now, or cause a problem after a change of the system.
    Warning,
    /// A device that is present cannot be used.
    Problem,
}

/// The result of examining one topic.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding {
    /// The severity.
    pub level: Level,
    /// What was examined.
    pub topic: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it; empty if there is nothing to do.
    pub advice: String,
}

impl Finding {
    /// A finding without a fault.
    pub fn ok(topic: &'static str, found: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, topic, found: found.into(), advice: String::new() }
    }

    /// A finding at this level, with advice.
    pub fn new(level: Level, topic: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level, topic, found: found.into(), advice: advice.into() }
    }
}

/// The inputs of every part of the examination.
struct Case<'a> {
    system: &'a System,
    adapters: &'a [AdapterSummary],
    hardware: Vec<Hardware>,
    /// The level of findings that can explain a missing adapter: `Problem` if there is a GPU without an adapter.
    blame: Level,
}

/// Examines a machine on which wgpu lists these adapters.
pub fn examine(system: &System, adapters: &[AdapterSummary]) -> Vec<Finding> {
    let hardware = if system.is_linux() { machine::hardware(system) } else { Vec::new() };
    let real = adapters.iter().any(|adapter| !adapter.software);
    let blame = match (real, hardware.is_empty()) {
        (true, _) => Level::Warning,
        (false, false) => Level::Problem,
        (false, true) => Level::Note,
    };
    let case = Case { system, adapters, hardware, blame };
    let mut findings = machine::memory(system);
    if system.is_linux() {
        findings.extend(machine::seen(&case));
        findings.extend(machine::permissions(&case));
        findings.extend(container::container(&case));
        findings.extend(container::nvidia(&case));
        findings.extend(container::wsl(&case));
        findings.extend(drivers::loader(&case));
        findings.extend(drivers::manifests(&case));
        findings.extend(drivers::conda(&case));
    }
    findings.extend(drivers::settings(&case));
    findings.extend(listed(&case));
    findings
}

/// Findings about the adapters that wgpu lists.
fn listed(case: &Case<'_>) -> Vec<Finding> {
    let name = |a: &AdapterSummary| format!("{} ({}, {})", a.name, a.kind, a.full_driver());
    let topic = "adapters";
    let mut findings: Vec<Finding> = case.adapters.iter().map(|a| Finding::ok(topic, name(a))).collect();
    let why = "`RUST_LOG=wgpu_hal=debug zilch info` shows the messages of the drivers";
    if case.adapters.is_empty() {
        let advice = format!("{} {why}", install_advice());
        findings.push(Finding::new(case.blame, topic, "wgpu finds no GPU adapter", advice));
    } else if case.adapters.iter().all(|a| a.software) {
        let found = "the only adapter emulates a GPU on the CPU: its times say nothing about GPUs";
        let advice = match case.blame {
            Level::Problem => format!("the GPU of this machine needs its own Vulkan driver: see above; {why}"),
            _ => "this machine has no other GPU; --device cpu is faster".to_owned(),
        };
        findings.push(Finding::new(case.blame, topic, found, advice));
    }
    findings
}
