//! The objects that a session dispatches: launches with pipelines and bind groups, the gather kernel, the check for NaN and infinity,
//! and timestamp queries.

use super::pipeline::Pipeline;
use super::session::Buffers;
use super::{GpuDevice, GpuSet};
use crate::device::gpu::codegen;
use crate::device::gpu::job_table::{
    Batch, BufferId, ELEMENTS, JobRecord, LaunchRecord, Table, TableLaunch, matrix, quads,
};
use crate::device::gpu::kernels::Shader;
use crate::device::gpu::tile::{Cut, TileUse, Tiles};
use crate::error::{Error, Result};
use crate::lower::{Kind, Program};
use crate::plan::augment::Augment;
use crate::plan::expr::{ParamId, SlotId};
use crate::plan::{Domain, Initial, Pixels, Plan};
use crate::random::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A launch ready to be dispatched.
pub(super) struct BoundLaunch {
    pub(super) pipeline: Arc<Pipeline>,
    /// The index of its bind group in the session's list.
    pub(super) group: usize,
    /// The dynamic offset of its uniform record.
    pub(super) offset: u32,
    pub(super) grid: (u32, u32),
}

/// The kernel that gathers a batch, and its buffers. It has one uniform record per batch.
pub(super) struct Gather {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    /// Sample indices of a submission, [updates · batch].
    pub(super) order: wgpu::Buffer,
    /// Random key and parameters of every update of a submission, [updates, 2 + parameters] words.
    pub(super) all: wgpu::Buffer,
    /// Those of the current update, [2 + parameters] words.
    pub(super) now: wgpu::Buffer,
    grid: (u32, u32),
}

/// The check for NaN and infinity.
pub(super) struct Finite {
    /// One launch per buffer of weights.
    pub(super) launches: Vec<BoundLaunch>,
    pub(super) groups: Vec<wgpu::BindGroup>,
    /// 1 where an array is not finite: [layers] of weights, then [layers] of biases.
    pub(super) flags: wgpu::Buffer,
}

/// Timestamp queries at the beginning and the end of a submission.
pub(super) struct Timer {
    pub(super) queries: wgpu::QuerySet,
    pub(super) resolved: wgpu::Buffer,
    pub(super) readable: wgpu::Buffer,
}

/// The words that an update reads besides slots, as laid out in `now`: its random key [2], then the bits of the rule's parameters.
pub(super) fn numbers(plan: &Plan, update: u64, batch: usize) -> Vec<u32> {
    let key = Counter::new(plan.task.seed, update).key();
    let value = |i: usize| (plan.value(ParamId(i), update + 1, batch) as f32).to_bits();
    key.into_iter().chain((0..plan.params.len()).map(value)).collect()
}

/// Groups launches by the passes of their program; each pass comes with its repeat count.
pub(super) fn by_pass(program: &Program, launches: Vec<(usize, BoundLaunch)>) -> Vec<(u32, Vec<BoundLaunch>)> {
    let mut passes: Vec<(u32, Vec<BoundLaunch>)> = program.passes.iter().map(|pass| (pass.times, Vec::new())).collect();
    let of: Vec<usize> = program.passes.iter().enumerate().flat_map(|(p, pass)| vec![p; pass.launches.len()]).collect();
    for (launch, ready) in launches {
        passes[of[launch]].1.push(ready);
    }
    passes
}

/// Dispatches all launches of an update; the batch must have been gathered before.
pub(super) fn dispatch(
    pass: &mut wgpu::ComputePass<'_>,
    passes: &[(u32, Vec<BoundLaunch>)],
    groups: &[wgpu::BindGroup],
) {
    for (times, launches) in passes {
        for _ in 0..*times {
            launches.iter().for_each(|launch| launch.dispatch(pass, groups));
        }
    }
}

impl BoundLaunch {
    pub(super) fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, groups: &[wgpu::BindGroup]) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &groups[self.group], &[self.offset]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

impl Gather {
    pub(super) fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, offset: u32) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[offset]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

impl Table {
    /// The tile of each launch, without duplicates.
    pub(super) fn uses(&self, tiles: &Tiles) -> Vec<TileUse> {
        let mut uses = Vec::new();
        for launch in &self.launches {
            let Some(cut) = launch.cut else { continue };
            let measured = matches!(cut, Cut::Tile(_)) && tiles.measured(&launch.shapes).is_some();
            let of = TileUse { shapes: launch.shapes.clone(), tile: cut.to_string(), measured };
            if !uses.contains(&of) {
                uses.push(of);
            }
        }
        uses
    }

    /// Uploads the uniform records, one per launch, and the jobs.
    pub(super) fn buffers(&self, gpu: &GpuDevice) -> (wgpu::Buffer, wgpu::Buffer) {
        let launches: Vec<LaunchRecord> = self.launches.iter().map(|launch| launch.record).collect();
        (gpu.uniforms("launches", &launches), gpu.filled("jobs", bytemuck::cast_slice::<JobRecord, u8>(&self.jobs)))
    }
}

impl GpuDevice {
    /// Creates a bind group of a uniform record of `size` bytes and the kernel's storage buffers, in order.
    pub(super) fn bind(
        &self,
        pipeline: &Pipeline,
        uniforms: &wgpu::Buffer,
        size: usize,
        storage: &[&wgpu::Buffer],
    ) -> wgpu::BindGroup {
        let record = wgpu::BufferBinding { buffer: uniforms, offset: 0, size: wgpu::BufferSize::new(size as u64) };
        let first = wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(record) };
        let rest =
            (1..).zip(storage).map(|(binding, b)| wgpu::BindGroupEntry { binding, resource: b.as_entire_binding() });
        let entries: Vec<_> = std::iter::once(first).chain(rest).collect();
        let layout = &pipeline.layout;
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }

    /// Prepares the launches of a table, each with its index in the program, and the bind groups that they share.
    #[allow(clippy::type_complexity, reason = "a pair of lists, which callers destructure at once")]
    pub(super) fn ready(
        &self,
        table: &Table,
        buffers: &Buffers,
        now: &wgpu::Buffer,
    ) -> Result<(Vec<(usize, BoundLaunch)>, Vec<wgpu::BindGroup>)> {
        let (uniforms, jobs) = table.buffers(self);
        let (mut groups, mut shaders): (Vec<wgpu::BindGroup>, Vec<(Shader, Vec<BufferId>)>) = (Vec::new(), Vec::new());
        let mut launches = Vec::new();
        for (i, launch) in table.launches.iter().enumerate() {
            self.binds(launch.bound.len())?;
            let shader = Shader::of(&launch.text, launch.cut);
            let pipeline = self.pipeline(&shader)?;
            // Launches with the same shader and the same buffers share a bind group.
            let key = (shader, launch.bound.clone());
            let group = match shaders.iter().position(|known| *known == key) {
                Some(group) => group,
                None => {
                    let slots = key.1.iter().filter_map(|id| buffers.of(*id));
                    let storage: Vec<&wgpu::Buffer> = [&jobs, now].into_iter().chain(slots).collect();
                    groups.push(self.bind(&pipeline, &uniforms, size_of::<LaunchRecord>(), &storage));
                    shaders.push(key);
                    groups.len() - 1
                }
            };
            let grid = self.grid(u64::from(launch.record.tiles))?;
            launches
                .push((launch.number, BoundLaunch { pipeline, group, offset: i as u32 * self.uniform_stride(), grid }));
        }
        Ok((launches, groups))
    }

    /// Refuses a launch whose parameters lie in more buffers than a kernel can bind beside its jobs and `now`.
    fn binds(&self, buffers: usize) -> Result<()> {
        let available = u64::from(self.limits.max_storage_buffers_per_shader_stage).saturating_sub(2);
        if buffers as u64 <= available.max(codegen::MAX_BUFFERS as u64) {
            return Ok(());
        }
        Err(Error::Limit {
            what: "one launch".into(),
            needed: buffers as u64,
            available,
            unit: "storage buffers",
            holder: self.summary.name.clone(),
            advice:
                "choose smaller --layers, so that the weights of one launch lie in fewer buffers, or the CPU device"
                    .into(),
        })
    }

    /// The grid of a dispatch of `groups` work groups. If they exceed one dimension it is folded to two.
    pub(super) fn grid(&self, groups: u64) -> Result<(u32, u32)> {
        let most = u64::from(self.limits.max_compute_workgroups_per_dimension);
        if groups <= most {
            return Ok((groups as u32, 1));
        }
        let rows = groups.div_ceil(most);
        if rows > most {
            return Err(Error::Limit {
                what: "one launch".into(),
                needed: groups,
                available: most * most,
                unit: "workgroups",
                holder: self.summary.name.clone(),
                advice: "choose smaller --layers or a smaller --batch".into(),
            });
        }
        Ok((most as u32, rows as u32))
    }

    /// Prepares the kernel that gathers `count` samples of a set in batches of `batch`, with augmentation of the images.
    pub(super) fn gather(
        &self,
        plan: &Plan,
        buffers: &Buffers,
        set: &GpuSet,
        (batch, count): (usize, usize),
        augment: Augment,
    ) -> Result<Gather> {
        let (Some((input, images)), Some((target, held_to))) = (plan.images(), plan.labels()) else {
            return Err(Error::Gpu("the plan has no input or no target".into()));
        };
        let [_, rows, cols] = augment.grid(set.form, images.form)?;
        let scales = images.scale.as_ref().map_or(&[[0.0, 1.0]][..], Pixels::pairs);
        let (inputs, outputs) = (plan.inputs(), plan.outputs());
        let layout = &buffers.layout;
        let at = |slot: SlotId| layout.home(slot).map_or(0, |at| at.quads) as u32;
        let words = numbers(plan, 0, batch).len() as u32;
        let records: Vec<Batch> = (0..count.div_ceil(batch))
            .map(|b| Batch {
                base: (b * batch) as u32,
                batch: batch as u32,
                count: count as u32,
                pixels: inputs as u32,
                words: set.words as u32,
                outputs: outputs as u32,
                input: at(input),
                numbers: words,
                goal: at(target),
                held_to,
                plane: images.scale.as_ref().map_or(inputs, |scale| scale.plane(inputs)) as u32,
                rows: rows as u32,
                cols: cols as u32,
                flags: u32::from(augment.flip)
                    | u32::from(set.kind.numbers) << Batch::NUMBERS
                    | u32::from(set.kind.values) << Batch::VALUES,
                crop: augment.crop,
            })
            .collect();
        let order_bytes = 4 * count as u64;
        self.fits("the order of the samples", order_bytes, "choose a smaller --batch")?;
        let order = self.buffer("order", order_bytes);
        let all = self.buffer("numbers", 4 * u64::from(words) * records.len() as u64);
        let now = self.buffer("now", 4 * u64::from(words));
        let scaled = |[mean, sd]: &[f32; 2]| {
            let (mean, sd) = (*mean, *sd);
            (0..=255u8).map(move |v| (f32::from(v) / 255.0 - mean) / sd)
        };
        let scale: Vec<f32> = scales.iter().flat_map(scaled).collect();
        let scale = self.filled("pixel scale", bytemuck::cast_slice(&scale));
        let pipeline = self.pipeline(&Shader::gather(images.activation))?;
        let slot = |slot: SlotId| buffers.home(slot).map(|(buffer, _)| buffer);
        let (Some(h), Some(x)) = (slot(input), slot(target)) else {
            return Err(Error::Gpu("the plan has no input or no target".into()));
        };
        let storage = [&set.images, &set.labels, &order, &scale, &all, &now, h, x];
        let group = self.bind(&pipeline, &self.uniforms("batches", &records), size_of::<Batch>(), &storage);
        let threads = (batch as u64 * (set.words as u64 + quads(outputs))).max(u64::from(words));
        Ok(Gather { pipeline, group, order, all, now, grid: self.grid(threads.div_ceil(u64::from(ELEMENTS)))? })
    }

    /// Prepares the check of every θ^l and b^l, with one flag each.
    pub(super) fn finite(&self, plan: &Plan, buffers: &Buffers, now: &wgpu::Buffer) -> Result<Finite> {
        let all = plan.matrices();
        let mut jobs: BTreeMap<BufferId, Vec<JobRecord>> = BTreeMap::new();
        for (s, slot) in plan.slots.iter().enumerate() {
            let (Initial::Weights(l), Domain::Connections(p)) = (slot.start, slot.home) else { continue };
            let Some(at) = buffers.layout.home(SlotId(s)) else { continue };
            let (to, from) = crate::device::gpu::job_table::ends(plan, p);
            let (left, theta) = (at.quads as u32, matrix(to, from) as u32);
            let jobs = jobs.entry(at.buffer).or_default();
            jobs.push(JobRecord { m: theta, left, k: l as u32 - 1, ..JobRecord::default() });
            if plan.biased(p) {
                jobs.push(JobRecord {
                    m: quads(to) as u32,
                    left: left + theta,
                    k: (all + l) as u32 - 1,
                    ..JobRecord::default()
                });
            }
        }
        let mut table = Table::default();
        let text = Arc::new(codegen::Text { kind: Kind::Units, wgsl: String::new(), buffers: Vec::new() });
        for (number, (id, jobs)) in jobs.into_iter().enumerate() {
            let (text, shapes, record) = (Arc::clone(&text), Vec::new(), LaunchRecord::default());
            let launch = TableLaunch { number, text, bound: vec![id], cut: None, shapes, record };
            table.push(launch, jobs.into_iter().map(|job| (job, job.m.div_ceil(ELEMENTS))));
        }
        let flags = self.buffer("flags", 8 * all as u64);
        let (uniforms, jobs) = table.buffers(self);
        let pipeline = self.pipeline(&Shader::finite())?;
        let (mut launches, mut groups) = (Vec::new(), Vec::new());
        for (i, TableLaunch { bound, record, .. }) in table.launches.iter().enumerate() {
            let Some(theta) = buffers.of(bound[0]) else { return Err(Error::Gpu("the plan has no weights".into())) };
            groups.push(self.bind(&pipeline, &uniforms, size_of::<LaunchRecord>(), &[&jobs, now, theta, &flags]));
            let (grid, offset) = (self.grid(u64::from(record.tiles))?, i as u32 * self.uniform_stride());
            launches.push(BoundLaunch { pipeline: Arc::clone(&pipeline), group: i, offset, grid });
        }
        Ok(Finite { launches, groups, flags })
    }

    pub(super) fn timer(&self) -> Timer {
        let queries = self.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("time"),
            ty: wgpu::QueryType::Timestamp,
            count: 2,
        });
        let resolved = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("time"),
            size: 256,
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Timer { queries, resolved, readable: self.readable(16) }
    }
}
