//! Per-example slots ([`Slot::per_example`](crate::plan::Slot)): a buffer stores the values of all training examples.
//! Rows are copied into the batch before an update, and back after the update.

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

/// The values of one slot for all examples.
struct Store {
    /// (samples, n)
    shape: (usize, usize),
    /// [samples, n], rows padded to quads.
    all: wgpu::Buffer,
    /// A copy of `all` at the last save.
    saved: wgpu::Buffer,
    /// Size of `all`, and of `saved`, in bytes.
    bytes: u64,
    group: wgpu::BindGroup,
    grid: (u32, u32),
}

pub(super) struct Examples {
    pipeline: Arc<Pipeline>,
    stores: Vec<Store>,
    /// Number of updates for which there are uniform records.
    updates: usize,
}

impl GpuDevice {
    /// Prepares the per-example slots of a plan; `None` if it has none.
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
    /// Copies the examples' values into the batch of an update.
    pub(super) fn put(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, update: usize) {
        self.dispatch(gpu, pass, 2 * update);
    }

    /// Copies the batch's values back to the examples.
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

    /// Reads back the values of each slot, [samples, n].
    pub(super) async fn numbers(&self, gpu: &GpuDevice) -> Result<Vec<Array2<f32>>> {
        let mut all = Vec::new();
        for store in &self.stores {
            let bytes = gpu.read(&store.all, 0, store.bytes).await?;
            all.push(unpadded(&bytemuck::pod_collect_to_vec::<u8, f32>(&bytes), store.shape.1));
        }
        Ok(all)
    }

    /// Writes values into the slots; arrays of another shape are ignored.
    pub(super) fn fill(&self, gpu: &GpuDevice, numbers: &[Array2<f32>]) {
        for (store, numbers) in self.stores.iter().zip(numbers).filter(|(store, n)| store.shape == n.dim()) {
            gpu.queue.write_buffer(&store.all, 0, bytemuck::cast_slice(&padded(numbers.view())));
        }
    }

    /// Saves the current values for [`Examples::restore`].
    pub(super) fn save(&self, gpu: &GpuDevice) {
        self.copy(gpu, |store| (&store.all, &store.saved));
    }

    /// Restores the values of the last [`Examples::save`].
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
