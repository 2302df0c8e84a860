//! The description of the machine, which is included in every result.

use crate::device::cpu::{self, CpuDevice};

/// Peak resident memory of this process, in MiB; `None` where the system does not report it.
pub fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The facts about the machine on which timings of the CPU depend.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Host {
    /// The zilch version.
    pub zilch: &'static str,
    /// Operating system and architecture.
    pub system: String,
    /// The processor's model name.
    pub cpu: String,
    /// Hardware threads.
    pub cores: usize,
    /// Threads of the CPU device.
    pub threads: usize,
    /// The SIMD instruction set in use.
    pub simd: String,
    /// The implementation of matrix products in use.
    pub products: &'static str,
}

impl Host {
    /// This machine. `threads` is the number of threads of the CPU device.
    pub fn new(threads: usize) -> Self {
        Host {
            zilch: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: cpu::model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            simd: CpuDevice::simd(),
            products: CpuDevice::products(),
        }
    }
}
