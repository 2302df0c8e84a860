//! Enumerates GPU adapters, and finds the one that a user names.

use crate::device::gpu::AdapterSummary;
use crate::error::{Error, Result};

/// Lists all adapters, the fastest kind first. `WGPU_BACKEND` limits the backends.
pub(super) async fn all() -> Vec<wgpu::Adapter> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    if std::env::var_os("WGPU_BACKEND").is_none() {
        descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    }
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    });
    adapters
}

/// Describes all adapters, the fastest kind first.
pub async fn adapters_async() -> Vec<AdapterSummary> {
    all().await.iter().map(summary).collect()
}

/// Describes an adapter.
pub(super) fn summary(adapter: &wgpu::Adapter) -> AdapterSummary {
    let matrices = adapter.cooperative_matrix_properties();
    let shapes: Vec<String> = matrices.iter().map(|p| format!("{}×{}×{}", p.m_size, p.n_size, p.k_size)).collect();
    describe(adapter.get_info(), &adapter.limits(), adapter.features(), &shapes)
}

/// Describes an adapter or a device from wgpu's information.
pub(super) fn describe(
    info: wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    features: wgpu::Features,
    matrices: &[String],
) -> AdapterSummary {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete",
        wgpu::DeviceType::IntegratedGpu => "integrated",
        wgpu::DeviceType::VirtualGpu => "virtual",
        wgpu::DeviceType::Cpu => "software",
        wgpu::DeviceType::Other => "other",
    };
    AdapterSummary {
        software: info.device_type == wgpu::DeviceType::Cpu,
        kind: kind.into(),
        backend: format!("{:?}", info.backend),
        name: info.name,
        driver: info.driver,
        driver_info: info.driver_info,
        max_buffer: limits.max_buffer_size,
        max_binding: limits.max_storage_buffer_binding_size,
        workgroup_memory: limits.max_compute_workgroup_storage_size,
        workgroup_threads: limits.max_compute_invocations_per_workgroup,
        storage_buffers: limits.max_storage_buffers_per_shader_stage,
        subgroup: (info.subgroup_min_size, info.subgroup_max_size),
        timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY),
        float16: features.contains(wgpu::Features::SHADER_F16),
        cooperative_matrix: matrices.to_vec(),
    }
}

/// Finds the adapter whose name contains `wanted`, ignoring case. `None` means `WGPU_ADAPTER_NAME` if that is set, else the first
/// adapter.
///
/// # Errors
/// [`Error::NoDevice`] when there is no adapter, or none with that name (the message lists all names).
pub(super) async fn choose(wanted: Option<&str>) -> Result<wgpu::Adapter> {
    let from_env = std::env::var("WGPU_ADAPTER_NAME").ok().filter(|s| !s.is_empty());
    let origin = if wanted.is_none() { ", which the environment variable WGPU_ADAPTER_NAME names" } else { "" };
    let wanted = wanted.map(str::to_owned).or(from_env);
    let mut adapters = all().await;
    if adapters.is_empty() {
        return Err(Error::NoDevice(format!("no GPU adapter was found. {}", install_advice())));
    }
    let Some(wanted) = wanted else { return Ok(adapters.remove(0)) };
    let lower = wanted.to_lowercase();
    let found = adapters.iter().position(|a| a.get_info().name.to_lowercase().contains(&lower));
    match found {
        Some(i) => Ok(adapters.swap_remove(i)),
        None => {
            let names: Vec<String> = adapters.iter().map(|a| format!("\"{}\"", a.get_info().name)).collect();
            Err(Error::NoDevice(format!(
                "no adapter is called \"{wanted}\"{origin}; the adapters of this machine are: {}. --device takes auto, cpu, gpu \
                 or part of an adapter's name",
                names.join(", ")
            )))
        }
    }
}

/// Finds the adapter with the name and driver of `described`.
///
/// # Errors
/// [`Error::NoDevice`] when that adapter is no longer available.
pub(super) async fn same(described: &AdapterSummary) -> Result<wgpu::Adapter> {
    let same = |adapter: &wgpu::Adapter| {
        let (found, driver) = (summary(adapter), described.full_driver());
        found.name == described.name && found.full_driver() == driver
    };
    all()
        .await
        .into_iter()
        .find(same)
        .ok_or_else(|| Error::NoDevice(format!("{} is no longer available", described.name)))
}

/// Advice for a system without an adapter: what to install, and whether `WGPU_BACKEND` hides adapters.
pub fn install_advice() -> String {
    let limited = std::env::var("WGPU_BACKEND").ok().filter(|s| !s.is_empty());
    let hint = limited
        .map(|s| format!("WGPU_BACKEND is set to \"{s}\", which excludes all other backends: unset it. Otherwise: "));
    hint.unwrap_or_default() + &what_to_install()
}

fn what_to_install() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default().to_lowercase();
    let like = |names: &[&str]| {
        release
            .lines()
            .filter(|l| l.starts_with("id=") || l.starts_with("id_like="))
            .any(|l| names.iter().any(|n| l.contains(n)))
    };
    let command = if cfg!(target_os = "macos") {
        return "macOS 10.15 or later has Metal on every Mac that supports it; there is nothing to install.".into();
    } else if cfg!(target_os = "windows") {
        return "Windows 10 or later has DX12; update the graphics driver.".into();
    } else if like(&["debian", "ubuntu"]) {
        "apt-get install mesa-vulkan-drivers libvulkan1"
    } else if like(&["fedora", "rhel"]) {
        "dnf install mesa-vulkan-drivers vulkan-loader"
    } else if like(&["arch"]) {
        "pacman -S vulkan-swrast vulkan-icd-loader"
    } else {
        return "Install the Vulkan loader and your GPU's Vulkan driver (or Mesa's software driver, lavapipe).".into();
    };
    format!(
        "Install your GPU's Vulkan driver, or a software one with: {command} \
         (`make compare` does that). The CPU device needs none."
    )
}
