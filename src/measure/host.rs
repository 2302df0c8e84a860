//! The machine a result was made on, as every result names it.

use crate::device::cpu::{self, CpuDevice};

/// Largest resident memory of this process so far, in MiB, where the system tells.
pub fn peak_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib / 1024)
}

/// The host: what a reader needs to judge a figure of its CPU.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Host {
    /// zilch's version.
    pub zilch: &'static str,
    /// Operating system and architecture.
    pub system: String,
    /// The processor.
    pub cpu: String,
    /// Hardware threads.
    pub cores: usize,
    /// Threads that the CPU device may use.
    pub threads: usize,
    /// Vector unit in use.
    pub simd: String,
    /// Matrix products in use.
    pub products: &'static str,
}

impl Host {
    /// This machine, with the CPU device's number of threads.
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
