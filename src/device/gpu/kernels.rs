//! Shaders and the pipelines made from them: the generated ones of a plan's launches, and the few that are written by hand.
#![allow(unsafe_code, reason = "trusted shaders skip run-time checks that the host's tables make needless")]

use super::GpuDevice;
use super::generate::{Text, drive, entry};
use super::tile::{Cut, TILES, Units};
use crate::activation::Activation;
use crate::error::Result;
use crate::program::Kind;
use std::sync::Arc;

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// A uniform, found by a dynamic offset.
    Uniform,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

use Use::{Read, Uniform, Write};

/// A shader: what makes a pipeline. The same shader is the same pipeline object, for every rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shader {
    /// Its entry point.
    pub(super) name: &'static str,
    /// The whole text.
    pub(super) source: String,
    /// Bindings 0, 1, … of group 0.
    pub(super) uses: Vec<Use>,
    /// How its products are cut up, if it makes any.
    pub(super) cut: Option<Cut>,
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
const RANDOM: &str = include_str!("../../../shaders/shared/random.wgsl");
const DRAW: &str = include_str!("../../../shaders/draw.wgsl");
const POOL: &str = include_str!("../../../shaders/pool.wgsl");
const WINDOW: &str = include_str!("../../../shaders/window.wgsl");
const REDUCE: &str = include_str!("../../../shaders/reduce.wgsl");

impl Shader {
    /// The shader of a launch.
    pub(super) fn of(text: &Text, cut: Option<Cut>) -> Shader {
        let name = entry(text.kind);
        // `enable` comes before everything else; overrides made of others come last (naga 30 fails on one after them).
        let (head, core): (&[&str], &[&str]) = match cut {
            None => (&[], &[]),
            Some(Cut::Tile(_)) => (&[], &[THREAD, TILE]),
            Some(Cut::Units(Units { side: 16, .. })) => (&[FRAGMENT_16], &[MATRIX_UNITS, COOPERATIVE]),
            Some(Cut::Units(_)) => (&[FRAGMENT_8], &[MATRIX_UNITS, COOPERATIVE]),
            Some(Cut::Emulated(Units { side: 16, .. })) => (&["const FRAGMENT = 16u;\n"], &[EMULATED, COOPERATIVE]),
            Some(Cut::Emulated(_)) => (&["const FRAGMENT = 8u;\n"], &[EMULATED, COOPERATIVE]),
        };
        let source = match text.kind {
            Kind::Draw => [THREAD, JOBS, ELEMENTS, RANDOM, DRAW].concat(),
            Kind::Reduce => [THREAD, JOBS, REDUCE].concat(),
            Kind::Pool => [THREAD, JOBS, ELEMENTS, POOL].concat(),
            Kind::Carry => [THREAD, JOBS, ELEMENTS, &text.wgsl, WINDOW].concat(),
            _ if cut.is_none() => [THREAD, ACTIVATION, JOBS, ELEMENTS, &text.wgsl].concat(),
            _ => [head, &[ACTIVATION, JOBS, &text.wgsl], core].concat().concat(),
        };
        let storage = text.buffers.iter().map(|(_, written)| if *written { Write } else { Read });
        Shader { name, source, uses: [Uniform, Read, Read].into_iter().chain(storage).collect(), cut }
    }

    /// The gathering of a batch, whose inputs pass through `activation`.
    pub(super) fn gather(activation: Activation) -> Shader {
        let source = include_str!("../../../shaders/gather.wgsl").replace("INPUT(", &format!("{}(", drive(activation)));
        let uses = vec![Uniform, Read, Read, Read, Read, Read, Write, Write, Write];
        Shader { name: "gather", source: [ACTIVATION, RANDOM, &source].concat(), uses, cut: None }
    }

    /// What each training example has for itself, to and fro.
    pub(super) fn examples() -> Shader {
        let source = include_str!("../../../shaders/examples.wgsl").into();
        Shader { name: "examples", source, uses: vec![Uniform, Read, Write, Write], cut: None }
    }

    /// The energy and errors of a batch.
    pub(super) fn score() -> Shader {
        let source = include_str!("../../../shaders/score.wgsl").into();
        Shader { name: "score", source, uses: vec![Uniform, Read, Read, Write], cut: None }
    }

    /// The look for NaN and infinity.
    pub(super) fn finite() -> Shader {
        let source = [THREAD, JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")].concat();
        Shader { name: "finite", source, uses: vec![Uniform, Read, Read, Read, Write], cut: None }
    }

    /// The values of its pipeline-overridable constants.
    pub(super) fn constants(&self) -> Vec<(&'static str, f64)> {
        self.cut.map(Cut::constants).unwrap_or_default()
    }
}

/// A hash of the products' core and of the tiles, in hexadecimal: times of others say nothing about these.
pub(super) fn shaders_hash() -> &'static str {
    use sha2::{Digest, Sha256};
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| {
        let mut hash = Sha256::new();
        [JOBS, TILE].iter().for_each(|text| hash.update(text));
        hash.update(format!("{TILES:?}"));
        crate::network::hex(&hash.finalize()[..8])
    })
}

/// A compiled kernel with the layout of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl GpuDevice {
    /// The pipeline of a shader, compiled once a device.
    pub(super) fn pipeline(&self, shader: &Shader) -> Result<Arc<Pipeline>> {
        let mut made = self.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pipeline) = made.get(shader) {
            return Ok(Arc::clone(pipeline));
        }
        log::debug!("{}:\n{}", shader.name, shader.source);
        let pipeline = Arc::new(self.compile(shader));
        self.check()?;
        made.insert(shader.clone(), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, shader: &Shader) -> Pipeline {
        let label = Some(shader.name);
        let source = wgpu::ShaderSource::Wgsl(shader.source.as_str().into());
        let description = wgpu::ShaderModuleDescriptor { label, source };
        let module = if self.checked {
            self.device.create_shader_module(description)
        } else {
            // SAFETY: every index the kernels form comes from the tables of `table.rs`, made from the same
            // `Layout` that sizes the buffers, for ops that `Plan::check` has found on slots where they may be,
            // and from sample numbers checked against the data set; loops run to bounds from the same tables.
            // Tests run the same kernels checked.
            unsafe { self.device.create_shader_module_trusted(description, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(&shader.uses)
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
            entry_point: Some(shader.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &shader.constants(),
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

    /// Every shader of the rules, on a chain with every kind of layer.
    fn shaders(cut: Cut) -> Vec<Shader> {
        use super::super::generate::generate;
        use crate::plan::Coords;
        use crate::program::Program;
        use crate::rules::{Loss, Optimizer, Phi, Rule, Schedule};
        let mut shaders = vec![Shader::score(), Shader::finite(), Shader::examples()];
        for (i, activation) in Activation::ALL.into_iter().enumerate() {
            shaders.push(Shader::gather(activation));
            let [dense, grids] = ["7,5,4,3", "2x9x8,5c3p1,m2,a2,4c2,3"].map(|layers| {
                let network = crate::Network::parse(layers).expect("layers");
                network.with_activation(activation).with_bias(i % 2 == 0)
            });
            let rules = Rule::all().iter().flat_map(|rule| [(rule, false), (rule, true)]);
            let all = rules.flat_map(|(rule, other)| [(rule, other, &dense), (rule, other, &grids)]);
            for (rule, other, network) in all.filter(|(rule, _, network)| rule.convolutions || !network.convolves()) {
                let mut options = crate::Options::new(*rule);
                // It takes f′ from f(x).
                if activation == Activation::Gelu && rule.name() == "dtp" {
                    continue;
                }
                if other {
                    for (name, value) in [("nodes", 1.0), ("node-momentum", 0.5)] {
                        if rule.own.iter().any(|choice| choice.name == name) {
                            options.own.insert(name.to_owned(), value);
                        }
                    }
                    options.schedule = Some(Schedule::Full);
                    options.coords = Coords::Value;
                    options.phi = if rule.takes("phi") { Phi::Feedback } else { Phi::Error };
                    options.optimizer = Optimizer::Adam;
                    if rule.losses.contains(&Loss::CrossEntropy) {
                        options.loss = Loss::CrossEntropy;
                    }
                }
                let plan = options.plan(&rule.suited(network.clone())).expect("a plan");
                let plan = plan.carried().expect("a plan");
                for launch in Program::new(&plan).launches() {
                    let shader =
                        Shader::of(&generate(&plan, launch, &|_| 0).0, launch.kind.is_product().then_some(cut));
                    if !shaders.contains(&shader) {
                        shaders.push(shader);
                    }
                }
            }
        }
        shaders
    }

    /// Parses and validates a shader, and gives it the constants of its pipeline.
    fn pipeline(shader: &Shader) -> (naga::Module, naga::valid::ModuleInfo) {
        let Shader { name, source, cut, .. } = shader;
        let module = naga::front::wgsl::parse_str(source)
            .unwrap_or_else(|e| panic!("{name} {cut:?}: {}\n{source}", e.emit_to_string(source)));
        let mixed = Capabilities::COOPERATIVE_MATRIX | Capabilities::SHADER_FLOAT16 | Capabilities::SUBGROUP;
        let needs = match cut {
            Some(Cut::Units(_)) => mixed,
            Some(Cut::Emulated(_)) => Capabilities::SHADER_FLOAT16_IN_FLOAT32,
            _ => Capabilities::empty(),
        };
        let info = Validator::new(ValidationFlags::all(), needs)
            .validate(&module)
            .unwrap_or_else(|e| panic!("{name} {cut:?}: {e:?}\n{source}"));
        let constants = shader.constants().into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let entry = Some((naga::ShaderStage::Compute, *name));
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, entry, &constants)
            .unwrap_or_else(|e| panic!("{name} {cut:?}: {e}"));
        (module.into_owned(), info.into_owned())
    }

    fn spirv(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> Vec<u32> {
        let point = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: shader.name.into() };
        spv::write_vec(module, info, &spv::Options::default(), Some(&point)).expect(shader.name)
    }

    fn msl(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
        let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
        msl::write_string(module, info, &options, &msl::PipelineOptions::default()).expect(shader.name).0
    }

    fn hlsl(shader: &Shader, (module, info): &(naga::Module, naga::valid::ModuleInfo)) -> String {
        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).expect(shader.name);
        text
    }

    /// Every shader, written or generated, of every rule, is valid, binds what WebGPU allows by default, and can be written
    /// for Vulkan, Metal and DX12; the first tile stands for the others, which differ in constants.
    #[test]
    fn every_shader_validates_and_is_written_to_spirv_msl_and_hlsl() {
        let all = shaders(Cut::Tile(TILES[0]));
        for shader in &all {
            let module = pipeline(shader);
            assert!(spirv(shader, &module).len() > 100, "{}: SPIR-V", shader.name);
            assert!(msl(shader, &module).contains("kernel void"), "{}: MSL", shader.name);
            assert!(hlsl(shader, &module).contains("numthreads"), "{}: HLSL", shader.name);
            let storage = shader.uses.iter().filter(|u| **u != Uniform).count();
            assert!(storage <= 8, "{storage} buffers, beyond WebGPU's default limit:\n{}", shader.source);
        }
        for kind in ["forward", "backward", "carry", "change", "units", "reduce", "connections"] {
            assert!(all.iter().any(|s| s.name == kind), "no {kind}");
        }
        // The other tiles and the emulated units, on one rule's products.
        let others = TILES.into_iter().map(Cut::Tile).chain(UNITS.map(Cut::Emulated));
        for cut in others {
            for name in ["forward", "backward", "change"] {
                let of = shaders(cut).into_iter().find(|s| s.name == name).expect(name);
                assert!(spirv(&of, &pipeline(&of)).len() > 100 && hlsl(&of, &pipeline(&of)).contains("numthreads"));
            }
        }
    }

    /// The products on matrix units are valid for both sizes there are, multiply on them in every sum, and can be
    /// written for Vulkan and Metal (DX12 has none).
    #[test]
    fn mixed_products_validate_and_are_written_to_spirv_and_msl() {
        // OpCooperativeMatrixMulAddKHR, in the low half of an instruction's first word.
        const MULTIPLY_ADD: u32 = 4459;
        for units in UNITS {
            let all = shaders(Cut::Units(units));
            for shader in all.iter().filter(|s| s.cut.is_some()) {
                let module = pipeline(shader);
                let words = spirv(shader, &module);
                let (mut at, mut products) = (5, 0);
                while at < words.len() {
                    products += usize::from(words[at] & 0xffff == MULTIPLY_ADD);
                    at += (words[at] >> 16) as usize;
                }
                assert_eq!(products, 4, "{}", shader.name);
                // Metal's units are of 8 x 8.
                if units.side == 8 {
                    assert!(msl(shader, &module).contains("simdgroup_multiply_accumulate"), "{}", shader.name);
                }
            }
        }
    }
}
