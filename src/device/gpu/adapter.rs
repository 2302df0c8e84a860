//! What is known of a GPU and its driver.

/// What is worth knowing about an adapter.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AdapterSummary {
    /// The device's name, as its driver gives it.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// Discrete, integrated, virtual, software or other.
    pub kind: String,
    /// Whether it is a program that imitates a GPU on the CPU: its times say nothing about GPUs.
    pub software: bool,
    /// The driver's name.
    pub driver: String,
    /// The driver's version, in its own words.
    pub driver_info: String,
    /// Bytes the largest buffer may have.
    pub max_buffer: u64,
    /// Bytes of a buffer that a kernel can bind.
    pub max_binding: u64,
    /// Bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Threads a workgroup may have.
    pub workgroup_threads: u32,
    /// Storage buffers a kernel can bind.
    pub storage_buffers: u32,
    /// Smallest and largest subgroup.
    pub subgroup: (u32, u32),
    /// Whether it can time its own work.
    pub timestamps: bool,
    /// Whether it computes in float16.
    pub float16: bool,
    /// Matrix shapes of its cooperative-matrix units, as m×n×k.
    pub cooperative_matrix: Vec<String>,
}

impl AdapterSummary {
    /// Backend and driver, with its version: what a measured time holds for.
    pub fn full_driver(&self) -> String {
        format!("{} {} {}", self.backend, self.driver, self.driver_info)
    }
}
