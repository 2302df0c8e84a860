//! Compiles shaders to pipelines, each shader once per device.
#![allow(unsafe_code, reason = "trusted shaders skip run-time checks that the host's tables make unnecessary")]

use super::GpuDevice;
use crate::device::gpu::kernels::{Shader, Use};
use crate::error::Result;
use std::sync::Arc;

/// A compiled kernel with the layout of its bindings.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

impl GpuDevice {
    /// Returns the pipeline of a shader, and compiles it on the first call.
    pub(super) fn pipeline(&self, shader: &Shader) -> Result<Arc<Pipeline>> {
        let mut compiled = self.pipelines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(pipeline) = compiled.get(shader) {
            return Ok(Arc::clone(pipeline));
        }
        log::debug!("{}:\n{}", shader.name, shader.source);
        let pipeline = Arc::new(self.compile_shader(shader));
        self.check()?;
        compiled.insert(shader.clone(), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile_shader(&self, shader: &Shader) -> Pipeline {
        let label = Some(shader.name);
        let source = wgpu::ShaderSource::Wgsl(shader.source.as_str().into());
        let description = wgpu::ShaderModuleDescriptor { label, source };
        let module = if self.checked {
            self.device.create_shader_module(description)
        } else {
            // SAFETY: kernels compute every index and every loop bound from the tables of `job_table.rs` and from sample indices.
            // The tables are built from the same `Layout` that sizes the buffers, for a plan whose ops and slots `Plan::check`
            // has validated. Sample indices are checked against the data set. Tests run the same kernels with run-time checks.
            unsafe { self.device.create_shader_module_trusted(description, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entries: Vec<wgpu::BindGroupLayoutEntry> = (0..)
            .zip(&shader.uses)
            .map(|(binding, usage)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match usage {
                        Use::Uniform => wgpu::BufferBindingType::Uniform,
                        Use::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Use::Write => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: *usage == Use::Uniform,
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
