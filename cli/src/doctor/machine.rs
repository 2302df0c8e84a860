//! The GPUs known to the operating system kernel, the permissions of their device files, and the free memory.

use super::{Case, Finding, Level, System};

/// A GPU that has a device file.
pub(super) struct Hardware {
    /// The device file, such as `/dev/dri/renderD128`.
    pub(super) node: String,
    /// The vendor's name.
    pub(super) vendor: &'static str,
}

/// PCI vendors of GPUs, by vendor ID.
const VENDORS: [(&str, &str); 4] =
    [("0x10de", "NVIDIA"), ("0x1002", "AMD"), ("0x8086", "Intel"), ("0x1ed5", "Moore Threads")];
/// Vendor IDs of display adapters of virtual machines, which cannot compute: virtio, VMware, QEMU, Red Hat's QXL, Hyper-V.
const VIRTUAL: [&str; 5] = ["0x1af4", "0x15ad", "0x1234", "0x1b36", "0x1414"];
/// Free memory in MiB below which larger trainings are refused.
const LITTLE: u64 = 512;

fn vendor(number: &str) -> Option<&'static str> {
    VENDORS.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
}

/// Whether a name is `prefix` followed by a number.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// Every GPU that has a device file.
pub(super) fn hardware(system: &System) -> Vec<Hardware> {
    let mut all = Vec::new();
    for name in system.list("/dev").into_iter().filter(|name| numbered(name, "nvidia")) {
        all.push(Hardware { node: format!("/dev/{name}"), vendor: "NVIDIA" });
    }
    for name in system.list("/dev/dri").into_iter().filter(|name| numbered(name, "renderD")) {
        let number = system.word(&format!("/sys/class/drm/{name}/device/vendor"));
        if !VIRTUAL.contains(&number.as_str()) {
            all.push(Hardware {
                node: format!("/dev/dri/{name}"),
                vendor: vendor(&number).unwrap_or("an unknown vendor"),
            });
        }
    }
    if system.exists("/dev/kfd") && !all.iter().any(|h| h.node.starts_with("/dev/dri")) {
        all.push(Hardware { node: "/dev/kfd".into(), vendor: "AMD" });
    }
    if system.exists("/dev/dxg") {
        all.push(Hardware { node: "/dev/dxg".into(), vendor: "Windows" });
    }
    all
}

/// Findings about the GPUs with a device file, and about those on the PCI bus without one.
pub(super) fn seen(case: &Case<'_>) -> Vec<Finding> {
    let topic = "hardware";
    let of = |h: &Hardware| Finding::ok(topic, format!("{}: a GPU from {}", h.node, h.vendor));
    let mut findings: Vec<Finding> = case.hardware.iter().map(of).collect();
    for maker in on_the_bus(case.system).into_iter().filter(|v| !case.hardware.iter().any(|h| h.vendor == *v)) {
        let found = format!("a GPU from {maker} is on the PCI bus, but has no device file");
        findings.push(if super::container::sign(case.system).is_some() {
            let advice =
                "the container has no access to it: docker run --gpus all (NVIDIA), or --device /dev/dri (AMD, Intel)";
            Finding::new(Level::Note, topic, found, advice)
        } else {
            let level = if case.blame == Level::Note { Level::Problem } else { case.blame };
            Finding::new(level, topic, found, "its kernel driver is not loaded: install it and restart")
        });
    }
    let only_compute = case.hardware.iter().all(|h| h.node == "/dev/kfd") && !case.hardware.is_empty();
    if only_compute {
        let advice = "give the container access to both: add --device /dev/dri";
        findings.push(Finding::new(case.blame, topic, "/dev/kfd exists but /dev/dri/renderD* does not", advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(topic, "there is no GPU, and none is expected"));
    }
    findings
}

/// The vendors of all GPUs on the PCI bus, without duplicates.
fn on_the_bus(system: &System) -> Vec<&'static str> {
    let of = |name: String| {
        let at = |what: &str| system.word(&format!("/sys/bus/pci/devices/{name}/{what}"));
        // 0x03 is a display controller.
        at("class").starts_with("0x03").then(|| vendor(&at("vendor"))).flatten()
    };
    let mut makers: Vec<&str> = system.list("/sys/bus/pci/devices").into_iter().filter_map(of).collect();
    makers.sort_unstable();
    makers.dedup();
    makers
}

/// Findings about device files that this user may not open.
pub(super) fn permissions(case: &Case<'_>) -> Vec<Finding> {
    let mut nodes: Vec<&str> = case.hardware.iter().map(|h| h.node.as_str()).collect();
    if case.system.exists("/dev/nvidiactl") {
        nodes.push("/dev/nvidiactl");
    }
    let refused = nodes.into_iter().filter(|node| case.system.is_refused(node));
    let finding = |node: &str| {
        let group = case.system.group(node).unwrap_or_else(|| "render".into());
        let advice = match super::container::sign(case.system) {
            Some(_) => {
                format!("start the container with --group-add and the ID that the group {group} has on the host")
            }
            // Joining the group of root would give the rights of root.
            None if group == "root" => "only root may use it: a udev rule of the GPU's driver is missing".to_owned(),
            None => {
                format!("join its group with `sudo usermod -aG {group} $USER` (or video, or render), and log in again")
            }
        };
        Finding::new(case.blame, "permissions", format!("this user may not open {node}"), advice)
    };
    refused.map(finding).collect()
}

/// The finding about free memory, limited by the memory of the container.
pub(super) fn memory(system: &System) -> Vec<Finding> {
    let info = system.read("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).map(|kib| kib >> 10);
    let Some(free) = free else { return Vec::new() };
    let number = |name: &str| system.word(&format!("/sys/fs/cgroup/{name}")).parse::<u64>().ok();
    let limit = number("memory.max").map(|most| most.saturating_sub(number("memory.current").unwrap_or(0)) >> 20);
    let topic = "memory";
    let found = match limit {
        Some(limit) if limit < free => format!("{limit} MiB are free within the limit of this container"),
        _ => format!("{free} MiB are free"),
    };
    vec![match limit.map_or(free, |limit| limit.min(free)) {
        left if left < LITTLE => {
            Finding::new(Level::Warning, topic, found, "large networks and data sets will not fit")
        }
        _ => Finding::ok(topic, found),
    }]
}
