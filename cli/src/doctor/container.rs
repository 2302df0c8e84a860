//! Containers that were given half a GPU, NVIDIA's driver without its Vulkan part, and Linux inside Windows.

use super::drivers::{library, manifests_there};
use super::{Case, Finding, Level, System};

/// Names that a container's runtime leaves in the paths of its control groups.
const RUNTIMES: [&str; 6] = ["docker", "kubepods", "containerd", "libpod", "lxc", "garden"];
/// What NVIDIA's Vulkan driver is, as its manifest names it.
const NVIDIA: &str = "libGLX_nvidia.so.0";

/// What tells that this is a container, if anything does.
pub(super) fn sign(system: &System) -> Option<String> {
    for file in ["/.dockerenv", "/run/.containerenv", "/.singularity.d"] {
        if system.exists(file) {
            return Some(file.into());
        }
    }
    for name in ["container", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "KUBERNETES_SERVICE_HOST"] {
        if system.env(name).is_some() {
            return Some(format!("the variable {name}"));
        }
    }
    let groups = system.read("/proc/1/cgroup").unwrap_or_default();
    let runtime = RUNTIMES.iter().find(|runtime| groups.contains(**runtime))?;
    Some(format!("{runtime} in /proc/1/cgroup"))
}

pub(super) fn container(case: &Case<'_>) -> Vec<Finding> {
    sign(case.system).map(|sign| Finding::ok("container", format!("this is one: {sign}"))).into_iter().collect()
}

/// NVIDIA's driver: a device file alone computes with CUDA; Vulkan needs the graphics part.
pub(super) fn nvidia(case: &Case<'_>) -> Vec<Finding> {
    let system = case.system;
    // Those of the free drivers are in /dev/dri.
    if !case.hardware.iter().any(|h| h.node.starts_with("/dev/nvidia")) {
        return Vec::new();
    }
    let manifest = manifests_there(system).iter().any(|path| path.to_lowercase().contains("nvidia"));
    let there = library(system, NVIDIA).is_some();
    let missing = match (manifest, there) {
        (true, true) => return vec![Finding::ok("nvidia", "its Vulkan driver is installed")],
        (true, false) => NVIDIA,
        (false, true) => "nvidia_icd.json",
        (false, false) => "nvidia_icd.json and libGLX_nvidia.so.0",
    };
    let found = format!("the device is there, and of its Vulkan driver {missing} is not");
    let wanted = system.env("NVIDIA_DRIVER_CAPABILITIES");
    let has = |list: &str| list.split(',').any(|one| ["graphics", "all"].contains(&one.trim()));
    let finding = |found: String, advice: &str| vec![Finding::new(case.blame, "nvidia", found, advice)];
    match (sign(system), wanted) {
        (Some(_), None) => finding(
            found + "; NVIDIA_DRIVER_CAPABILITIES is not set, which leaves graphics out",
            "start the container with -e NVIDIA_DRIVER_CAPABILITIES=all, or graphics,compute,utility",
        ),
        (Some(_), Some(list)) if !has(list) => finding(
            format!("{found}; NVIDIA_DRIVER_CAPABILITIES is {list}, without graphics"),
            "start the container with -e NVIDIA_DRIVER_CAPABILITIES=all, or graphics,compute,utility",
        ),
        (Some(_), Some(_)) => finding(
            found,
            "the container's runtime takes both from the host: install the driver's graphics libraries there (libnvidia-gl), a \
             current nvidia-container-toolkit, and libxext6 in the image",
        ),
        (None, _) => finding(
            found,
            "install the graphics part of the driver, of the same version: libnvidia-gl-VERSION (Ubuntu), nvidia-vulkan-icd (Debian), \
             nvidia-utils (Arch)",
        ),
    }
}

/// Linux inside Windows: the GPU comes through /dev/dxg, and Mesa's dzn makes Vulkan of it.
pub(super) fn wsl(case: &Case<'_>) -> Vec<Finding> {
    let version = case.system.word("/proc/version").to_lowercase();
    if !version.contains("microsoft") && !case.system.exists("/dev/dxg") {
        return Vec::new();
    }
    let topic = "WSL";
    if case.adapters.iter().any(|adapter| !adapter.software) {
        return vec![Finding::ok(topic, "Linux inside Windows, and its GPU is found")];
    }
    if !case.system.exists("/dev/dxg") {
        let advice =
            "WSL 2 has it: `wsl --update` and `wsl --set-version` on Windows; else run zilch on Windows itself";
        return vec![Finding::new(
            Level::Note,
            topic,
            "Linux inside Windows, without /dev/dxg: no GPU comes through",
            advice,
        )];
    }
    let dzn = manifests_there(case.system).iter().any(|path| path.contains("dzn"));
    let (found, advice) = if dzn {
        (
            "Mesa's dzn is installed, and wgpu hides it, as it is no conformant Vulkan",
            "try WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1, and look at the check below; or run zilch on Windows, by DX12",
        )
    } else {
        (
            "Windows lends its GPU by /dev/dxg, and no Vulkan driver here can use it",
            "install a Mesa that has dzn and set WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1; or run zilch on Windows, by DX12",
        )
    };
    vec![Finding::new(case.blame, topic, found, advice)]
}
