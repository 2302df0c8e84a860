//! Evaluates a data set on a GPU: runs the prediction stage of a plan on batches of `EVAL_BATCH` samples.

use super::GpuDevice;
use super::bindings::{BoundLaunch, Gather, by_pass, dispatch, numbers};
use super::pipeline::Pipeline;
use super::session::{Buffers, EVAL_BATCH, GpuSession, MAX_UPDATES};
use super::submit::{Pace, dispatch_part, launches};
use crate::data::Set;
use crate::device::Score;
use crate::device::gpu::job_table::{ScoreBatch, Table, quads};
use crate::device::gpu::kernels::Shader;
use crate::error::{Error, Result};
use crate::plan::augment::Augment;
use crate::plan::{Loss, Plan};
use crate::random::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The buffers and launches that evaluate one set.
pub(super) struct Eval {
    plan: Plan,
    set: Set,
    gather: Gather,
    passes: Vec<(u32, Vec<BoundLaunch>)>,
    groups: Vec<wgpu::BindGroup>,
    score: (Arc<Pipeline>, wgpu::BindGroup),
    partial: wgpu::Buffer,
    batches: usize,
    _buffers: Buffers,
}

impl Eval {
    pub(super) fn new(session: &GpuSession, set: Set) -> Result<Self> {
        let gpu = &session.gpu;
        let (plan, program) = session.lowered.prediction();
        let plan = plan.clone();
        let outputs = plan.outputs();
        let data = session.set(set);
        let layout = session.buffers.layout.beside(&plan, program, EVAL_BATCH);
        gpu.fits_layout(&plan, &layout)?;
        let buffers = gpu.buffers(layout, Some(&session.buffers));
        let batches = data.samples.div_ceil(EVAL_BATCH);
        let gather = gpu.gather(&plan, &buffers, data, (EVAL_BATCH, data.samples), Augment::NONE)?;
        let order: Vec<u32> = (0..data.samples as u32).collect();
        gpu.queue.write_buffer(&gather.order, 0, bytemuck::cast_slice(&order));
        let table =
            Table::new(&plan, program, &buffers.layout, &|shapes| gpu.products.cut(session.tiles.choose(shapes)));
        let (ready, groups) = gpu.ready(&table, &buffers, &gather.now)?;
        let groups_a_batch = EVAL_BATCH.div_ceil(64);
        let partial = gpu.buffer("partial scores", (batches * groups_a_batch * 8) as u64);
        let output = program.last[plan.output.0];
        let records: Vec<ScoreBatch> = (0..batches)
            .map(|b| ScoreBatch {
                base: (b * EVAL_BATCH) as u32,
                batch: EVAL_BATCH as u32,
                count: data.samples as u32,
                outputs: outputs as u32,
                out: (b * groups_a_batch) as u32,
                pitch: 4 * quads(outputs) as u32,
                mu: 4 * buffers.layout.before(output) as u32,
                entropy: u32::from(plan.task.loss == Loss::CrossEntropy),
                held_to: plan.labels().map_or([0.0, 1.0], |(_, held_to)| held_to),
                values: u32::from(data.kind.values),
                ..ScoreBatch::default()
            })
            .collect();
        let pipeline = gpu.pipeline(&Shader::score())?;
        let records = gpu.uniforms("score", &records);
        let Some((mu, _)) = buffers.at(output) else {
            return Err(Error::Gpu("the plan has no output".into()));
        };
        let group = gpu.bind(&pipeline, &records, size_of::<ScoreBatch>(), &[&data.labels, mu, &partial]);
        gpu.check()?;
        let passes = by_pass(program, ready);
        Ok(Eval { plan, set, gather, passes, groups, score: (pipeline, group), partial, batches, _buffers: buffers })
    }

    /// Predicts every sample of the set, and returns the error count and energy, or `None` if `stop` was set before the end. `pace` is
    /// the pace of the last evaluation, and is updated.
    pub(super) async fn score(
        &self,
        session: &GpuSession,
        stop: &AtomicBool,
        pace: &mut Option<Pace>,
    ) -> Result<Option<Score>> {
        let gpu = &session.gpu;
        let mut now = numbers(&self.plan, session.updates, EVAL_BATCH);
        now[..2].copy_from_slice(&Counter::evaluation().key());
        let now = now.repeat(self.batches);
        gpu.queue.write_buffer(&self.gather.all, 0, bytemuck::cast_slice(&now));
        let first = || Pace::first(launches(&self.passes), self.plan.cost(EVAL_BATCH).flops);
        let pace = pace.get_or_insert_with(first);
        let mut batch = 0;
        while batch < self.batches {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let batches = batch..(batch + pace.updates).min(self.batches);
            let done = batches.len();
            let longest = match pace.parts {
                1 => gpu.submit_pass("score", |pass| batches.clone().for_each(|batch| self.batch(gpu, pass, batch)))?,
                _ => match self.parts(gpu, *pace, batch, stop)? {
                    Some(longest) => longest,
                    None => return Ok(None),
                },
            };
            *pace = pace.after(done, longest, MAX_UPDATES);
            batch = batches.end;
        }
        let bytes = (self.batches * EVAL_BATCH.div_ceil(64) * 8) as u64;
        let partial = gpu.read(&self.partial, 0, bytes).await?;
        let partial: Vec<[u32; 2]> = bytemuck::pod_collect_to_vec(&partial);
        let set = session.set(self.set);
        let mut score = Score { samples: set.samples as u64, regression: set.regression, ..Score::default() };
        for [energy, errors] in partial {
            score.energy += f64::from(f32::from_bits(energy));
            score.errors += u64::from(errors);
        }
        Ok(Some(score))
    }

    /// Dispatches the prediction of one batch and the sum of its errors and energy.
    fn batch(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, batch: usize) {
        self.gather.dispatch(pass, batch as u32 * gpu.uniform_stride());
        dispatch(pass, &self.passes, &self.groups);
        self.count(gpu, pass, batch);
    }

    /// As [`Eval::batch`], in several submissions. Returns the time of the longest one, or `None` if `stop` was set between them.
    fn parts(&self, gpu: &GpuDevice, pace: Pace, batch: usize, stop: &AtomicBool) -> Result<Option<Duration>> {
        let mut longest = Duration::ZERO;
        for part in 0..pace.parts {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let took = gpu.submit_pass("part of a score", |pass| {
                if part == 0 {
                    self.gather.dispatch(pass, batch as u32 * gpu.uniform_stride());
                }
                dispatch_part(pass, &self.passes, &self.groups, pace.part(part));
                if part + 1 == pace.parts {
                    self.count(gpu, pass, batch);
                }
            })?;
            longest = longest.max(took);
        }
        Ok(Some(longest))
    }

    fn count(&self, gpu: &GpuDevice, pass: &mut wgpu::ComputePass<'_>, batch: usize) {
        pass.set_pipeline(&self.score.0.pipeline);
        pass.set_bind_group(0, &self.score.1, &[batch as u32 * gpu.uniform_stride()]);
        pass.dispatch_workgroups(EVAL_BATCH.div_ceil(64) as u32, 1, 1);
    }
}
