//! Shaders and the pipelines made from them: the generated ones of a plan's launches, and the few that are written by hand.
#![allow(unsafe_code, reason = "trusted shaders skip run-time checks that the host's tables make needless")]

use super::GpuDevice;
use super::generate::{Text, drive, entry};
use super::tile::{Cut, TILES, Units};
use crate::error::Result;
use crate::lower::Kind;
use crate::plan::activation::Activation;
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
        // `enable` comes before everything else; overrides made of others come last (naga 30 fails on one after
        // them), so that what uses those of shared/cooperative stands behind it.
        let (head, core): (&[&str], &[&str]) = match cut {
            None => (&[], &[]),
            Some(Cut::Tile(_)) => (&[], &[TILE]),
            Some(Cut::Units(Units { side: 16, .. })) => (&[FRAGMENT_16], &[COOPERATIVE, MATRIX_UNITS]),
            Some(Cut::Units(_)) => (&[FRAGMENT_8], &[COOPERATIVE, MATRIX_UNITS]),
            Some(Cut::Emulated(Units { side: 16, .. })) => (&["const FRAGMENT = 16u;\n"], &[COOPERATIVE, EMULATED]),
            Some(Cut::Emulated(_)) => (&["const FRAGMENT = 8u;\n"], &[COOPERATIVE, EMULATED]),
        };
        let source = match text.kind {
            Kind::Draw => [JOBS, ELEMENTS, RANDOM, DRAW].concat(),
            Kind::Reduce => [JOBS, REDUCE].concat(),
            Kind::Pool => [JOBS, ELEMENTS, POOL].concat(),
            Kind::Carry => [JOBS, ELEMENTS, &text.wgsl, WINDOW].concat(),
            _ if cut.is_none() => [ACTIVATION, JOBS, ELEMENTS, &text.wgsl].concat(),
            _ => {
                let parts = [head, &[ACTIVATION, JOBS, &text.wgsl], core].concat();
                parts.concat().replace("fn KERNEL(", &format!("fn {name}("))
            }
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
        let source = [JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")].concat();
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
        crate::files::hex(&hash.finalize()[..8])
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
mod tests;
