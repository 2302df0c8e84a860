//! What each training example has for itself ([`Slot::remembered`](crate::plan::Slot)), in a buffer of its own: put into a
//! batch before its update, and back after it.

use super::GpuDevice;
use super::pipeline::Pipeline;
use super::session::{Buffers, padded, unpadded};
use crate::device::gpu::job_table::{ELEMENTS, QUAD, quads};
use crate::device::gpu::kernels::Shader;
use crate::error::Result;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Plan};
use ndarray::Array2;
use std::sync::Arc;

/// The uniform of `examples.wgsl`.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Batch {
    base: u32,
    batch: u32,
    width: u32,
    units: u32,
    back: u32,
    spare: [u32; 7],
}

/// One slot's: its numbers of every example, [samples, n], those at the last save, and how they are bound.
struct Store {
    /// [samples, n]
    shape: (usize, usize),
    all: wgpu::Buffer,
    saved: wgpu::Buffer,
    bytes: u64,
    group: wgpu::BindGroup,
    grid: (u32, u32),
}

pub(super) struct Examples {
    pipeline: Arc<Pipeline>,
    stores: Vec<Store>,
    /// Updates that have uniforms.
    updates: usize,
}

impl GpuDevice {
    /// The slots of a plan that examples have, if there are any.
    pub(super) fn examples(
        &self,
        plan: &Plan,
        buffers: &Buffers,
        order: &wgpu::Buffer,
        (samples, batch): (usize, usize),
        updates: usize,
    ) -> Result<Option<Examples>> {
        let mut stores = Vec::new();
        if plan.slots.iter().all(|slot| !slot.per_example) {
            return Ok(None);
        }
        let pipeline = self.pipeline(&Shader::examples())?;
        for (s, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| slot.per_example) {
            let (Domain::Units(p), Some(units)) = (slot.home, buffers.of((plan.key(SlotId(s)), 0))) else { continue };
            let width = quads(plan.populations[p].n);
            let what = format!("{} of each of {samples} examples", slot.symbol);
            let bytes = QUAD * width * samples as u64;
            self.fits(&what, bytes, "train on fewer examples, choose smaller --layers, or the CPU device")?;
            let record = |update: usize, back: u32| Batch {
                base: (update * batch) as u32,
                batch: batch as u32,
                width: width as u32,
                units: buffers.layout.home(SlotId(s)).map_or(0, |at| at.quads) as u32,
                back,
                ..Batch::default()
            };
            let records: Vec<Batch> = (0..2 * updates).map(|k| record(k / 2, k as u32 % 2)).collect();
            let (all, uniforms) = (self.buffer("examples", bytes), self.uniforms("examples", &records));
            let group = self.bind(&pipeline, &uniforms, size_of::<Batch>(), &[order, &all, units]);
            let grid = self.grid((batch as u64 * width).div_ceil(u64::from(ELEMENTS)))?;
            let shape = (samples, plan.populations[p].n);
            stores.push(Store { shape, all, saved: self.buffer("saved", bytes), bytes, group, grid });
        }
        Ok(Some(Examples { pipeline, stores, updates }))
    }
}

impl Examples {
    /// Puts what the examples of an update have into its batch.
    pub(super) fn put(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, update: usize) {
        self.dispatch(gpu, pass, 2 * update);
    }

    /// Takes it back.
    pub(super) fn take(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, update: usize) {
        self.dispatch(gpu, pass, 2 * update + 1);
    }

    fn dispatch(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, record: usize) {
        debug_assert!(record < 2 * self.updates);
        pass.set_pipeline(&self.pipeline.pipeline);
        for store in &self.stores {
            pass.set_bind_group(0, &store.group, &[record as u32 * gpu.uniform_stride()]);
            pass.dispatch_workgroups(store.grid.0, store.grid.1, 1);
        }
    }

    /// The numbers of each slot, [samples, n].
    pub(super) async fn numbers(&self, gpu: &GpuDevice) -> Result<Vec<Array2<f32>>> {
        let mut all = Vec::new();
        for store in &self.stores {
            let bytes = gpu.read(&store.all, 0, store.bytes).await?;
            all.push(unpadded(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), store.shape.1));
        }
        Ok(all)
    }

    /// Puts numbers into them, where the shape is right.
    pub(super) fn fill(&self, gpu: &GpuDevice, numbers: &[Array2<f32>]) {
        for (store, numbers) in self.stores.iter().zip(numbers).filter(|(store, n)| store.shape == n.dim()) {
            gpu.queue.write_buffer(&store.all, 0, bytemuck::cast_slice(&padded(numbers.view())));
        }
    }

    /// Takes what they have now for what [`Examples::restore`] goes back to.
    pub(super) fn save(&self, gpu: &GpuDevice) {
        self.copy(gpu, |store| (&store.all, &store.saved));
    }

    /// Goes back to the last [`Examples::save`].
    pub(super) fn restore(&self, gpu: &GpuDevice) {
        self.copy(gpu, |store| (&store.saved, &store.all));
    }

    fn copy(&self, gpu: &GpuDevice, pair: impl Fn(&Store) -> (&wgpu::Buffer, &wgpu::Buffer)) {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copy") });
        for store in &self.stores {
            let (from, to) = pair(store);
            encoder.copy_buffer_to_buffer(from, 0, to, 0, store.bytes);
        }
        gpu.queue.submit([encoder.finish()]);
    }
}
