//! The kernel table: each shader, what it is made of and what it binds; and the pipelines made from it.
#![allow(unsafe_code, reason = "trusted shaders skip run-time checks that the host's tables make needless")]

use super::GpuDevice;
use super::table::KernelId;
use super::tile::{Cut, TILES, Units};
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
    /// The WGSL text but for the core of a tiled kernel: shared parts first.
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
const THREAD: &str = include_str!("../../../shaders/shared/thread.wgsl");
const TILE: &str = include_str!("../../../shaders/shared/tile.wgsl");
const MATRIX_UNITS: &str = include_str!("../../../shaders/shared/units.wgsl");
const EMULATED: &str = include_str!("../../../shaders/shared/emulated.wgsl");
const COOPERATIVE: &str = include_str!("../../../shaders/shared/cooperative.wgsl");
const FRAGMENT_16: &str = include_str!("../../../shaders/shared/fragment16.wgsl");
const FRAGMENT_8: &str = include_str!("../../../shaders/shared/fragment8.wgsl");

use Use::{Read, Uniform, Write};

/// Every kernel of the GPU, in the order of [`KernelId`].
pub(super) const KERNELS: [Kernel; 8] = [
    Kernel {
        name: "predict",
        parts: &[ACTIVATION, JOBS, include_str!("../../../shaders/predict.wgsl")],
        uses: &[Uniform, Read, Read, Read, Write, Write, Write],
        activation: true,
        tiled: true,
    },
    Kernel {
        name: "infer",
        parts: &[ACTIVATION, JOBS, include_str!("../../../shaders/infer.wgsl")],
        uses: &[Uniform, Read, Read, Write, Write, Write, Write],
        activation: true,
        tiled: true,
    },
    Kernel {
        name: "learn",
        parts: &[JOBS, include_str!("../../../shaders/learn.wgsl")],
        uses: &[Uniform, Read, Write, Write, Read, Read, Read],
        activation: false,
        tiled: true,
    },
    Kernel {
        name: "error",
        parts: &[THREAD, JOBS, ELEMENTS, include_str!("../../../shaders/error.wgsl")],
        uses: &[Uniform, Read, Read, Read, Write, Read, Write],
        activation: false,
        tiled: false,
    },
    Kernel {
        name: "gate",
        parts: &[THREAD, JOBS, ELEMENTS, include_str!("../../../shaders/gate.wgsl")],
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
        parts: &[THREAD, JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")],
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

    /// The WGSL text, with the core that makes products by `cut`.
    pub(super) fn source(&self, cut: Option<Cut>) -> String {
        // `enable` comes before everything else; overrides made of others come last (naga 30 fails on one after them).
        let (head, core): (&[&str], &[&str]) = match cut.filter(|_| self.tiled) {
            None => (&[], &[]),
            Some(Cut::Tile(_)) => (&[], &[THREAD, TILE]),
            Some(Cut::Units(Units { side: 16, .. })) => (&[FRAGMENT_16], &[MATRIX_UNITS, COOPERATIVE]),
            Some(Cut::Units(_)) => (&[FRAGMENT_8], &[MATRIX_UNITS, COOPERATIVE]),
            Some(Cut::Emulated(Units { side: 16, .. })) => (&["const FRAGMENT = 16u;\n"], &[EMULATED, COOPERATIVE]),
            Some(Cut::Emulated(_)) => (&["const FRAGMENT = 8u;\n"], &[EMULATED, COOPERATIVE]),
        };
        [head, self.parts, core].concat().concat()
    }

    /// The values of its pipeline-overridable constants.
    pub(super) fn constants(&self, activation: Activation, cut: Option<Cut>) -> Vec<(&'static str, f64)> {
        let code = Activation::ALL.iter().position(|a| *a == activation).unwrap_or(0);
        let mut constants = Vec::new();
        if self.activation {
            constants.push(("ACTIVATION", code as f64));
        }
        if let Some(cut) = cut.filter(|_| self.tiled) {
            constants.extend(cut.constants());
        }
        constants
    }
}

/// A hash of the tiled kernels' WGSL and of the tiles, in hexadecimal: times of others say nothing about these.
pub(super) fn shaders_hash() -> &'static str {
    use sha2::{Digest, Sha256};
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| {
        let mut hash = Sha256::new();
        KERNELS.iter().filter(|k| k.tiled).for_each(|k| hash.update(k.source(Some(Cut::Tile(TILES[0])))));
        hash.update(format!("{TILES:?}"));
        crate::network::hex(&hash.finalize()[..8])
    })
}

/// What makes a pipeline: the same key is the same pipeline object, for every rule.
pub(super) type Key = (KernelId, Activation, Option<Cut>);

/// A compiled kernel with the layout of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl GpuDevice {
    /// The pipeline of a kernel, compiled once a device.
    pub(super) fn pipeline(&self, id: KernelId, activation: Activation, cut: Option<Cut>) -> Result<Arc<Pipeline>> {
        let kernel = Kernel::of(id);
        let key = (id, if kernel.activation { activation } else { Activation::Identity }, cut);
        let mut made = self.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pipeline) = made.get(&key) {
            return Ok(Arc::clone(pipeline));
        }
        let pipeline = Arc::new(self.compile(kernel, activation, cut));
        self.check()?;
        made.insert(key, Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, kernel: &Kernel, activation: Activation, cut: Option<Cut>) -> Pipeline {
        let label = Some(kernel.name);
        let source = wgpu::ShaderSource::Wgsl(kernel.source(cut).into());
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
                constants: &kernel.constants(activation, cut),
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};

    /// Both widths, and a driver that chooses the size of subgroups beside one that does not.
    const UNITS: [Units; 2] = [Units { side: 8, subgroup: (32, 64) }, Units { side: 16, subgroup: (32, 32) }];

    /// Parses and validates a kernel, and gives it the constants of one pipeline.
    fn pipeline(kernel: &Kernel, activation: Activation, cut: Option<Cut>) -> (naga::Module, naga::valid::ModuleInfo) {
        let source = kernel.source(cut);
        let module = naga::front::wgsl::parse_str(&source)
            .unwrap_or_else(|e| panic!("{} {cut:?}: {}", kernel.name, e.emit_to_string(&source)));
        let mixed = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
        let needs = match cut {
            Some(Cut::Units(_)) => mixed,
            Some(Cut::Emulated(_)) => Capabilities::SHADER_FLOAT16_IN_FLOAT32,
            _ => Capabilities::empty(),
        };
        let info = Validator::new(ValidationFlags::all(), needs)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{} {cut:?}: {e:?}", kernel.name));
        let constants = kernel.constants(activation, cut).into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let entry = Some((naga::ShaderStage::Compute, kernel.name));
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
            .unwrap_or_else(|e| panic!("{} {cut:?}: {e}", kernel.name));
        (module.into_owned(), info.into_owned())
    }

    fn spirv(kernel: &Kernel, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> Vec<u32> {
        let point = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: kernel.name.into() };
        spv::write_vec(module, info, &spv::Options::default(), Some(&point)).expect(kernel.name)
    }

    fn msl(kernel: &Kernel, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).expect(kernel.name).0
    }

    fn hlsl(kernel: &Kernel, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect(kernel.name);
        text
    }

    /// Every kernel, at every activation and tile, is valid and can be written for Vulkan, Metal and DX12.
    #[test]
    fn every_kernel_validates_and_is_written_to_spirv_msl_and_hlsl() {
        let mut written = 0;
        for kernel in &KERNELS {
            let emulated = UNITS.map(|units| Some(Cut::Emulated(units)));
            let tiles = TILES.into_iter().map(|t| Some(Cut::Tile(t))).chain(emulated).collect();
            let cuts: Vec<Option<Cut>> = if kernel.tiled { tiles } else { vec![None] };
            for (activation, cut) in Activation::ALL.into_iter().flat_map(|a| cuts.iter().map(move |c| (a, *c))) {
                let module = pipeline(kernel, activation, cut);
                assert!(spirv(kernel, &module).len() > 100, "{}: SPIR-V", kernel.name);
                assert!(msl(kernel, &module).contains("kernel void"), "{}: MSL", kernel.name);
                assert!(hlsl(kernel, &module).contains("numthreads"), "{}: HLSL", kernel.name);
                written += 1;
            }
        }
        assert_eq!(written, 5 * (3 * (TILES.len() + 2) + KERNELS.len() - 3));
    }

    /// The products on matrix units are valid for both sizes there are, multiply on them in every sum, and can be
    /// written for Vulkan and Metal (DX12 has none).
    #[test]
    fn mixed_products_validate_and_are_written_to_spirv_and_msl() {
        // OpCooperativeMatrixMulAddKHR, in the low half of an instruction's first word.
        const MULTIPLY_ADD: u32 = 4459;
        for kernel in KERNELS.iter().filter(|k| k.tiled) {
            for (activation, units) in Activation::ALL.into_iter().flat_map(|a| UNITS.map(|units| (a, units))) {
                let module = pipeline(kernel, activation, Some(Cut::Units(units)));
                let words = spirv(kernel, &module);
                let (mut at, mut products) = (5, 0);
                while at < words.len() {
                    products += usize::from(words[at] & 0xffff == MULTIPLY_ADD);
                    at += (words[at] >> 16) as usize;
                }
                assert_eq!(products, 4, "{}", kernel.name);
                // Metal's units are of 8 x 8.
                if units.side == 8 {
                    assert!(msl(kernel, &module).contains("simdgroup_multiply_accumulate"), "{}", kernel.name);
                }
            }
        }
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
