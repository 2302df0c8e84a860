//! The GPU back end: translates lowered programs into job tables and WGSL, and runs them.
//!
//! Only `wgpu/` uses the crate wgpu, and only the feature `gpu` compiles it. The rest builds text and tables, which need no GPU.

#![cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "a build without the feature gpu does not run the tables"))]

mod adapter;
mod codegen;
mod job_table;
mod kernels;
mod printed;
mod tile;
mod tune_cache;
mod tuned;
#[cfg(feature = "gpu")]
mod wgpu;

#[cfg(feature = "gpu")]
pub use self::wgpu::{GpuData, GpuDevice, GpuSession, adapters_async, install_advice};
#[cfg(feature = "gpu")]
pub use super::blocking::adapters;
pub use adapter::AdapterSummary;
pub use printed::{PrintedShader, shaders};
pub use tile::{Product, Shape, TILES, Tile, TileUse, Tiles};
pub use tune_cache::TuneFile;
pub use tuned::{Measured, Tuned};

use crate::named::named;

named! {
    /// The floating-point formats of matrix products.
    Precision {
        /// Everything in float32.
        Float32 = "float32",
        /// Operands of matrix products in float16 and accumulators in float32, on a GPU's matrix units.
        Mixed = "mixed",
    }
}
