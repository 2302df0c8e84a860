//! The kernel table: each shader, what it is made of and what it binds; and the pipelines made from it.
#![allow(unsafe_code, reason = "trusted shaders skip run-time checks that the host's tables make needless")]

use super::GpuDevice;
use super::table::KernelId;
use super::tile::Tile;
use crate::activation::Activation;
use crate::error::Result;
use std::sync::Arc;

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A uniform, found by a dynamic offset.
    Uniform,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

/// One row of the kernel table.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Entry point, and file name in `shaders/` and `src/device/cpu/`.
    pub(super) name: &'static str,
    /// The whole WGSL text: shared parts first.
    pub(super) parts: &'static [&'static str],
    /// Bindings 0, 1, … of group 0.
    pub(super) uses: &'static [Use],
    /// Whether it has an `ACTIVATION`, and whether it works by tiles.
    pub(super) activation: bool,
    pub(super) tiled: bool,
}

const ACTIVATION: &str = include_str!("../../../shaders/shared/activation.wgsl");
const ELEMENTS: &str = include_str!("../../../shaders/shared/elements.wgsl");
const JOBS: &str = include_str!("../../../shaders/shared/jobs.wgsl");
const TILE: &str = include_str!("../../../shaders/shared/tile.wgsl");

use Use::{Read, Uniform, Write};

/// Every kernel of the GPU, in the order of [`KernelId`].
pub(super) const KERNELS: [Kernel; 8] = [
    Kernel {
        name: "predict",
        parts: &[ACTIVATION, JOBS, TILE, include_str!("../../../shaders/predict.wgsl")],
        uses: &[Uniform, Read, Read, Read, Write, Write, Write],
        activation: true,
        tiled: true,
    },
    Kernel {
        name: "infer",
        parts: &[ACTIVATION, JOBS, TILE, include_str!("../../../shaders/infer.wgsl")],
        uses: &[Uniform, Read, Read, Write, Write, Write, Write],
        activation: true,
        tiled: true,
    },
    Kernel {
        name: "learn",
        parts: &[JOBS, TILE, include_str!("../../../shaders/learn.wgsl")],
        uses: &[Uniform, Read, Write, Write, Read, Read, Read],
        activation: false,
        tiled: true,
    },
    Kernel {
        name: "error",
        parts: &[JOBS, ELEMENTS, include_str!("../../../shaders/error.wgsl")],
        uses: &[Uniform, Read, Read, Read, Write, Read, Write],
        activation: false,
        tiled: false,
    },
    Kernel {
        name: "gate",
        parts: &[JOBS, ELEMENTS, include_str!("../../../shaders/gate.wgsl")],
        uses: &[Uniform, Read, Read, Write, Write, Write],
        activation: false,
        tiled: false,
    },
    Kernel {
        name: "gather",
        parts: &[ACTIVATION, include_str!("../../../shaders/gather.wgsl")],
        uses: &[Uniform, Read, Read, Read, Read, Write, Write],
        activation: true,
        tiled: false,
    },
    Kernel {
        name: "score",
        parts: &[include_str!("../../../shaders/score.wgsl")],
        uses: &[Uniform, Read, Read, Write],
        activation: false,
        tiled: false,
    },
    Kernel {
        name: "finite",
        parts: &[JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")],
        uses: &[Uniform, Read, Read, Read, Write],
        activation: false,
        tiled: false,
    },
];

impl Kernel {
    /// The row of `id`.
    pub(super) fn of(id: KernelId) -> &'static Kernel {
        &KERNELS[id as usize]
    }

    /// The WGSL text.
    pub(super) fn source(&self) -> String {
        self.parts.concat()
    }

    /// The values of its pipeline-overridable constants.
    pub(super) fn constants(&self, activation: Activation, tile: Option<Tile>) -> Vec<(&'static str, f64)> {
        let code = Activation::ALL.iter().position(|a| *a == activation).unwrap_or(0);
        let mut constants = Vec::new();
        if self.activation {
            constants.push(("ACTIVATION", code as f64));
        }
        if let Some(tile) = tile.filter(|_| self.tiled) {
            constants.extend(tile.constants());
        }
        constants
    }
}

/// A hash of the tiled kernels' WGSL, in hexadecimal: times of others say nothing about these.
pub(super) fn shaders_hash() -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    KERNELS.iter().filter(|k| k.tiled).for_each(|k| hash.update(k.source()));
    crate::network::hex(&hash.finalize()[..8])
}

/// What makes a pipeline: the same key is the same pipeline object, for every rule.
pub(super) type Key = (KernelId, Activation, Option<Tile>);

/// A compiled kernel with the layout of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl GpuDevice {
    /// The pipeline of a kernel, compiled once a device.
    pub(super) fn pipeline(&self, id: KernelId, activation: Activation, tile: Option<Tile>) -> Result<Arc<Pipeline>> {
        let kernel = Kernel::of(id);
        let key = (id, if kernel.activation { activation } else { Activation::Identity }, tile);
        let mut made = self.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(self.compile(kernel, activation, tile));
        self.check()?;
        made.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, kernel: &Kernel, activation: Activation, tile: Option<Tile>) -> Pipeline {
        let label = Some(kernel.name);
        let source = wgpu::ShaderSource::Wgsl(kernel.source().into());
        let description = wgpu::ShaderModuleDescriptor { label, source };
        let module = if self.checked {
            self.device.create_shader_module(description)
        } else {
            // SAFETY: every index the kernels form comes from the tables of `table.rs`, made from the same
            // `Layout` that sizes the buffers, for ops that `Plan::check` has found on layers that have them,
            // and from sample numbers checked against the data set; loops run to bounds from the same tables.
            // Tests run the same kernels checked.
            unsafe { self.device.create_shader_module_trusted(description, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(kernel.uses)
            .map(|(binding, usage)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match usage {
                        Uniform => wgpu::BufferBindingType::Uniform,
                        Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Write => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: *usage == Uniform,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some(kernel.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &kernel.constants(activation, tile),
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tile::TILES;
    use super::*;
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    /// Every kernel, at every activation and tile, is valid and can be written for Vulkan, Metal and DX12.
    #[test]
    fn every_kernel_validates_and_is_written_to_spirv_msl_and_hlsl() {
        let mut written = 0;
        for kernel in &KERNELS {
            let module = naga::front::wgsl::parse_str(&kernel.source()).unwrap_or_else(|e| {
                panic!("{}: {}", kernel.name, e.emit_to_string(&kernel.source()));
            });
            let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
                .validate(&module)
                .unwrap_or_else(|e| panic!("{}: {e:?}", kernel.name));
            for activation in Activation::ALL {
                let tiles = if kernel.tiled { TILES.map(Some).to_vec() } else { vec![None] };
                for tile in tiles {
                    let constants = kernel.constants(activation, tile);
                    let constants = constants.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
                    let entry = Some((naga::ShaderStage::Compute, kernel.name));
                    let (module, info) =
                        naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
                            .unwrap_or_else(|e| panic!("{}: {e}", kernel.name));
                    let point = spv::PipelineOptions {
                        shader_stage: naga::ShaderStage::Compute,
                        entry_point: kernel.name.into(),
                    };
                    let words = spv::write_vec(&module, &info, &spv::Options::default(), Some(&point));
                    assert!(words.is_ok_and(|w| w.len() > 100), "{}: SPIR-V", kernel.name);
                    let options =
                        msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
                    let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
                    assert!(text.is_ok_and(|(t, _)| t.contains("kernel void")), "{}: MSL", kernel.name);
                    let mut text = String::new();
                    let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
                    let pipeline = hlsl::PipelineOptions::default();
                    let done = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
                    assert!(done.is_ok() && text.contains("numthreads"), "{}: HLSL {:?}", kernel.name, done.err());
                    written += 1;
                }
            }
        }
        assert_eq!(written, 5 * (3 * TILES.len() + KERNELS.len() - 3));
    }

    #[test]
    fn the_table_is_in_the_order_of_its_ids_and_names_real_twins() {
        use KernelId::{Error, Finite, Gate, Gather, Infer, Learn, Predict, Score};
        for id in [Predict, Infer, Learn, Error, Gate, Gather, Score, Finite] {
            let kernel = Kernel::of(id);
            assert_eq!(kernel.name, format!("{id:?}").to_lowercase());
            let twin = match kernel.name {
                "finite" => "state".into(),
                name => name.to_string(),
            };
            let root = env!("CARGO_MANIFEST_DIR");
            assert!(std::path::Path::new(&format!("{root}/src/device/cpu/{twin}.rs")).exists(), "{}", kernel.name);
            assert!(std::path::Path::new(&format!("{root}/shaders/{}.wgsl", kernel.name)).exists(), "{}", kernel.name);
            assert!(kernel.uses.iter().filter(|u| **u != Uniform).count() <= 8, "WebGPU's default limit");
        }
    }
}
