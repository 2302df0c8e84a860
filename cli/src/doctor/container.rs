//! Containers with incomplete access to a GPU, NVIDIA's driver without its Vulkan part, and WSL (Linux inside Windows).

use super::drivers::{library, manifests_there};
use super::{Case, Finding, Level, System};

/// Names in control group paths that show that the process runs in a container.
const RUNTIMES: [&str; 6] = ["docker", "kubepods", "containerd", "libpod", "lxc", "garden"];
/// The library of NVIDIA's Vulkan driver, as its manifest names it.
const NVIDIA: &str = "libGLX_nvidia.so.0";

/// The evidence that the process runs in a container, if there is any.
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
    sign(case.system).map(|sign| Finding::ok("container", format!("this is a container: {sign}"))).into_iter().collect()
}

/// Checks NVIDIA's driver in a container: the device file is enough for CUDA, but Vulkan needs the graphics part of the
/// driver.
pub(super) fn nvidia(case: &Case<'_>) -> Vec<Finding> {
    let system = case.system;
    // With the open-source drivers, the device file of an NVIDIA GPU is in /dev/dri, and this check does not apply.
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
    let found = format!("the device file exists, but the Vulkan driver lacks {missing}");
    let wanted = system.env("NVIDIA_DRIVER_CAPABILITIES");
    let has = |list: &str| list.split(',').any(|one| ["graphics", "all"].contains(&one.trim()));
    let finding = |found: String, advice: &str| vec![Finding::new(case.blame, "nvidia", found, advice)];
    match (sign(system), wanted) {
        (Some(_), None) => finding(
            found + "; NVIDIA_DRIVER_CAPABILITIES is unset, which excludes graphics",
            "start the container with -e NVIDIA_DRIVER_CAPABILITIES=all, or graphics,compute,utility",
        ),
        (Some(_), Some(list)) if !has(list) => finding(
            format!("{found}; NVIDIA_DRIVER_CAPABILITIES is {list}, without graphics"),
            "start the container with -e NVIDIA_DRIVER_CAPABILITIES=all, or graphics,compute,utility",
        ),
        (Some(_), Some(_)) => finding(
            found,
            "the container runtime takes both from the host: install the driver's graphics libraries (libnvidia-gl) and a current \
             nvidia-container-toolkit on the host, and libxext6 in the image",
        ),
        (None, _) => finding(
            found,
            "install the graphics part of the driver, in the same version: libnvidia-gl-VERSION (Ubuntu), nvidia-vulkan-icd (Debian), \
             nvidia-utils (Arch)",
        ),
    }
}

/// WSL: Windows provides the GPU as /dev/dxg, and Mesa's driver dzn implements Vulkan on it.
pub(super) fn wsl(case: &Case<'_>) -> Vec<Finding> {
    let version = case.system.word("/proc/version").to_lowercase();
    if !version.contains("microsoft") && !case.system.exists("/dev/dxg") {
        return Vec::new();
    }
    let topic = "WSL";
    if case.adapters.iter().any(|adapter| !adapter.software) {
        return vec![Finding::ok(topic, "Linux inside Windows; its GPU is found")];
    }
    if !case.system.exists("/dev/dxg") {
        let advice = "use WSL 2, which has it: `wsl --update` and `wsl --set-version` on Windows; or run zilch on Windows itself";
        return vec![Finding::new(
            Level::Note,
            topic,
            "Linux inside Windows, without /dev/dxg: the GPU of Windows is not available",
            advice,
        )];
    }
    let dzn = manifests_there(case.system).iter().any(|path| path.contains("dzn"));
    let (found, advice) = if dzn {
        (
            "Mesa's dzn is installed, but hidden by wgpu because it is not a conformant Vulkan implementation",
            "try WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1, and read the result of the check below; or run zilch on Windows with DX12",
        )
    } else {
        (
            "Windows provides its GPU as /dev/dxg, but no Vulkan driver here can use it",
            "install a Mesa that has dzn and set WGPU_ALLOW_UNDERLYING_NONCOMPLIANT_ADAPTER=1; or run zilch on Windows with DX12",
        )
    };
    vec![Finding::new(case.blame, topic, found, advice)]
}
