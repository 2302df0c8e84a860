//! What keeps a GPU from being used: a look at the machine, and a true check of every device.
//!
//! [`examine`] looks at files and settings alone, all of them through a [`System`]; [`check`] makes updates.

mod container;
mod drivers;
mod machine;
mod system;
mod update;

pub use system::System;
pub use update::{Checked, check};

use machine::Hardware;
use zilch::device::gpu::{AdapterSummary, install_advice};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It may cost something, or will once something else changes.
    Warning,
    /// A device that is there cannot be used.
    Problem,
}

/// What was found of one thing.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was looked at.
    pub topic: &'static str,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    /// Something that is as it should be.
    pub fn ok(topic: &'static str, found: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, topic, found: found.into(), advice: String::new() }
    }

    /// Something that is not.
    pub fn new(level: Level, topic: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level, topic, found: found.into(), advice: advice.into() }
    }
}

/// What every part of the examination needs.
struct Case<'a> {
    system: &'a System,
    adapters: &'a [AdapterSummary],
    hardware: Vec<Hardware>,
    /// How bad it is what keeps a GPU's driver from being found: a problem where there is a GPU and no adapter for it.
    blame: Level,
}

/// Looks at a machine, of which wgpu lists these adapters.
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

/// What wgpu lists.
fn listed(case: &Case<'_>) -> Vec<Finding> {
    let name = |a: &AdapterSummary| format!("{} ({}, {})", a.name, a.kind, a.full_driver());
    let topic = "adapters";
    let mut findings: Vec<Finding> = case.adapters.iter().map(|a| Finding::ok(topic, name(a))).collect();
    let why = "`RUST_LOG=wgpu_hal=debug zilch info` shows what the drivers say";
    if case.adapters.is_empty() {
        let advice = format!("{} {why}", install_advice());
        findings.push(Finding::new(case.blame, topic, "wgpu finds no GPU adapter", advice));
    } else if case.adapters.iter().all(|a| a.software) {
        let found = "the only GPU is a program that imitates one on the CPU: its times say nothing about GPUs";
        let advice = match case.blame {
            Level::Problem => format!("the GPU that is there needs its own Vulkan driver: see above; {why}"),
            _ => "no other GPU is seen on this machine; --device cpu is faster".to_owned(),
        };
        findings.push(Finding::new(case.blame, topic, found, advice));
    }
    findings
}
