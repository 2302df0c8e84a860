//! Predictions for inputs given as arrays. The prediction stage of a plan runs on batches of `EVAL_BATCH` samples.

use super::GpuDevice;
use super::bindings::{BoundLaunch, by_pass, numbers};
use super::session::{Buffers, EVAL_BATCH, GpuSession, padded, unpadded};
use super::submit::{Pace, dispatch_part, launches};
use crate::device::gpu::job_table::{QUAD, Table, size};
use crate::error::{Error, Result};
use crate::lower::Place;
use crate::plan::Plan;
use crate::random::Counter;
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use std::time::Duration;

/// A forward pass on batches of `EVAL_BATCH` samples.
pub(super) struct Forward {
    plan: Plan,
    passes: Vec<(u32, Vec<BoundLaunch>)>,
    groups: Vec<wgpu::BindGroup>,
    /// Random key and parameters, [2 + parameters] words.
    now: wgpu::Buffer,
    buffers: Buffers,
    output: Place,
}

impl Forward {
    pub(super) fn new(session: &GpuSession) -> Result<Self> {
        let gpu = &session.gpu;
        let (plan, program) = session.lowered.prediction();
        let plan = plan.clone();
        let layout = session.buffers.layout.beside(&plan, program, EVAL_BATCH);
        gpu.fits_layout(&plan, &layout)?;
        let buffers = gpu.buffers(layout, Some(&session.buffers));
        let now = gpu.buffer("numbers", 4 * numbers(&plan, 0, EVAL_BATCH).len() as u64);
        let table =
            Table::new(&plan, program, &buffers.layout, &|shapes| gpu.products.cut(session.tiles.choose(shapes)));
        let (ready, groups) = gpu.ready(&table, &buffers, &now)?;
        gpu.check()?;
        let (passes, output) = (by_pass(program, ready), program.last[plan.output.0]);
        Ok(Forward { plan, passes, groups, now, buffers, output })
    }

    /// Computes the outputs [samples, n^0] for inputs [samples, n^lmax].
    pub(super) async fn predict(&self, session: &GpuSession, inputs: &Array2<f32>) -> Result<Array2<f32>> {
        let gpu = &session.gpu;
        let mut now = numbers(&self.plan, session.updates, EVAL_BATCH);
        now[..2].copy_from_slice(&Counter::evaluation().key());
        gpu.queue.write_buffer(&self.now, 0, bytemuck::cast_slice(&now));
        let mut pace = Pace::first(launches(&self.passes), self.plan.cost(EVAL_BATCH).flops);
        let mut outputs = vec![Array2::zeros((0, self.plan.outputs()))];
        for rows in inputs.axis_chunks_iter(Axis(0), EVAL_BATCH) {
            outputs.push(self.batch(gpu, &mut pace, rows).await?);
        }
        let parts: Vec<ArrayView2<'_, f32>> = outputs.iter().map(|part| part.view()).collect();
        concatenate(Axis(0), &parts).map_err(|e| Error::Gpu(format!("the outputs of the batches differ in shape: {e}")))
    }

    async fn batch(&self, gpu: &GpuDevice, pace: &mut Pace, rows: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let ends = self.buffers.home(self.plan.input()).zip(self.buffers.at(self.output));
        let Some(((input, at), (mu, from))) = ends else {
            return Err(Error::Gpu("the plan has no input or no output".into()));
        };
        gpu.queue.write_buffer(input, at, bytemuck::cast_slice(&padded(rows)));
        let mut longest = Duration::ZERO;
        for part in 0..pace.parts {
            let launches = pace.part(part);
            let took = gpu.submit_pass("predict", |pass| dispatch_part(pass, &self.passes, &self.groups, launches))?;
            longest = longest.max(took);
        }
        *pace = pace.after(1, longest, 1);
        let bytes = QUAD * size(&self.plan, self.plan.slot(self.output.slot).home, rows.nrows());
        let values = gpu.read(mu, from, bytes).await?;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&values);
        Ok(unpadded(&values, self.plan.outputs()))
    }
}
