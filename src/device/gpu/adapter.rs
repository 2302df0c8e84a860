//! The description of a GPU and its driver.

/// The properties and limits of an adapter that zilch reports or uses.
#[derive(Debug, Clone, serde::Serialize)]
pub struct AdapterSummary {
    /// The device's name, as its driver reports it.
    pub name: String,
    /// Vulkan, Metal or DX12.
    pub backend: String,
    /// Discrete, integrated, virtual, software or other.
    pub kind: String,
    /// Whether it is a software implementation on the CPU. Timings on it are not representative of GPUs.
    pub software: bool,
    /// The driver's name.
    pub driver: String,
    /// The driver's version, as it reports it.
    pub driver_info: String,
    /// Largest size of a buffer, in bytes.
    pub max_buffer: u64,
    /// Largest part of a buffer that a kernel can bind, in bytes.
    pub max_binding: u64,
    /// Workgroup memory of a work group, in bytes.
    pub workgroup_memory: u32,
    /// Maximum number of threads per work group.
    pub workgroup_threads: u32,
    /// Maximum number of storage buffers that a kernel can bind.
    pub storage_buffers: u32,
    /// Smallest and largest subgroup size, in threads.
    pub subgroup: (u32, u32),
    /// Whether it supports timestamp queries.
    pub timestamps: bool,
    /// Whether shaders can compute in float16.
    pub float16: bool,
    /// Shapes that its cooperative-matrix units support, as m×n×k.
    pub cooperative_matrix: Vec<String>,
}

impl AdapterSummary {
    /// Backend, driver and driver version. Measured times are valid only for this combination.
    pub fn full_driver(&self) -> String {
        format!("{} {} {}", self.backend, self.driver, self.driver_info)
    }
}
