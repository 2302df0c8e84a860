//! The layout of slots in GPU buffers, and the job tables of a program's launches.
//!
//! The slots of a family share one buffer, so that one launch can compute all layers. Parameters that exceed the
//! maximum buffer size are distributed over several buffers. Each slot lies entirely in the first buffer with enough
//! room. A launch whose jobs use different buffers is then split into several launches.
//!
//! Rows are padded with zeros to whole quads of four values. Kernels read and write whole quads; the zeros do not
//! change sums. [`JobRecord`] and [`LaunchRecord`] are the structs `JobRecord` and `LaunchRecord` of
//! `shaders/shared/jobs.wgsl`, which documents their fields.

use super::codegen::{Labels, MAX_BUFFERS, Symbol, Text, bound, generate, touched};
use super::tile::{Cut, Product, Shape};
use crate::lower::{self, Kind, Place, Program, Work};
use crate::plan::expr::SlotId;
use crate::plan::{Connection, Direction, Domain, Draw, Plan, Reduction, Slot, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A job of a launch in the memory layout of the shaders.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(in crate::device::gpu) struct JobRecord {
    pub(in crate::device::gpu) m: u32,
    pub(in crate::device::gpu) n: u32,
    pub(in crate::device::gpu) k: u32,
    pub(in crate::device::gpu) left: u32,
    pub(in crate::device::gpu) right: u32,
    pub(in crate::device::gpu) bias: u32,
    pub(in crate::device::gpu) rows: u32,
    pub(in crate::device::gpu) variant: u32,
    pub(in crate::device::gpu) first: u32,
    pub(in crate::device::gpu) across: u32,
    pub(in crate::device::gpu) o: [u32; super::codegen::MAX_LEAVES],
}

/// The uniform record of a launch.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(in crate::device::gpu) struct LaunchRecord {
    pub(in crate::device::gpu) first: u32,
    pub(in crate::device::gpu) jobs: u32,
    pub(in crate::device::gpu) tiles: u32,
    pub(in crate::device::gpu) flags: u32,
}

/// The value of [`JobRecord::bias`] for a job without biases: `NONE` of `jobs.wgsl`.
const NONE: u32 = u32::MAX;

/// The uniform record of `gather.wgsl`, which documents its fields.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(in crate::device::gpu) struct Batch {
    pub(in crate::device::gpu) base: u32,
    pub(in crate::device::gpu) batch: u32,
    pub(in crate::device::gpu) count: u32,
    pub(in crate::device::gpu) pixels: u32,
    pub(in crate::device::gpu) words: u32,
    pub(in crate::device::gpu) outputs: u32,
    pub(in crate::device::gpu) input: u32,
    pub(in crate::device::gpu) numbers: u32,
    pub(in crate::device::gpu) goal: u32,
    pub(in crate::device::gpu) held_to: [f32; 2],
    pub(in crate::device::gpu) plane: u32,
    pub(in crate::device::gpu) rows: u32,
    pub(in crate::device::gpu) cols: u32,
    pub(in crate::device::gpu) flags: u32,
    pub(in crate::device::gpu) crop: u32,
}

impl Batch {
    /// The bit of `flags` that says that inputs are numbers.
    pub(in crate::device::gpu) const NUMBERS: u32 = 1;
    /// The bit of `flags` that says that targets are real values.
    pub(in crate::device::gpu) const VALUES: u32 = 2;
}

/// The uniform record of `score.wgsl`, which documents its fields.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(in crate::device::gpu) struct ScoreBatch {
    pub(in crate::device::gpu) base: u32,
    pub(in crate::device::gpu) batch: u32,
    pub(in crate::device::gpu) count: u32,
    pub(in crate::device::gpu) outputs: u32,
    pub(in crate::device::gpu) out: u32,
    pub(in crate::device::gpu) pitch: u32,
    pub(in crate::device::gpu) mu: u32,
    pub(in crate::device::gpu) entropy: u32,
    pub(in crate::device::gpu) held_to: [f32; 2],
    pub(in crate::device::gpu) values: u32,
    pub(in crate::device::gpu) spare: u32,
}

/// Quads per work group of elementwise kernels: one per thread.
pub(in crate::device::gpu) const ELEMENTS: u32 = 256;
/// Samples per work group of `reduce.wgsl`.
const SAMPLES: u32 = 64;

/// Size of a quad in bytes.
pub(in crate::device::gpu) const QUAD: u64 = 16;

/// Quads of a row of `n` values.
pub(in crate::device::gpu) fn quads(n: usize) -> u64 {
    n.div_ceil(4) as u64
}

/// A buffer: the key of its slots' family, and its index among the family's buffers.
pub(in crate::device::gpu) type BufferId = (&'static str, usize);

/// The location of one half of a slot.
#[derive(Debug, Clone, Copy)]
pub(in crate::device::gpu) struct At {
    pub(in crate::device::gpu) buffer: BufferId,
    /// Offset in the buffer, in quads.
    pub(in crate::device::gpu) quads: u64,
}

/// The locations of all halves of all slots.
#[derive(Debug, Clone)]
pub(in crate::device::gpu) struct Layout {
    /// Batch size.
    pub(in crate::device::gpu) batch: usize,
    /// Locations, indexed by slot and half.
    at: Vec<Vec<At>>,
    /// Size of each buffer in quads, and whether its slots are [`shared`].
    pub(in crate::device::gpu) buffers: BTreeMap<BufferId, (u64, bool)>,
}

impl Layout {
    /// The layout of a program's slots at batch size `batch`, with at most `room` quads in a buffer of [`shared`] slots.
    pub(in crate::device::gpu) fn new(plan: &Plan, program: &Program, batch: usize, room: u64) -> Self {
        let mut layout = Layout { batch, at: Vec::new(), buffers: BTreeMap::new() };
        for (slot, halves) in plan.slots.iter().zip(&program.halves) {
            layout.declare(plan, slot, *halves, room);
        }
        layout
    }

    /// The layout of another program on the same slots, with another batch size. [`shared`] slots keep their locations.
    pub(in crate::device::gpu) fn beside(&self, plan: &Plan, program: &Program, batch: usize) -> Self {
        let mut layout = Layout { batch, at: Vec::new(), buffers: BTreeMap::new() };
        for ((slot, halves), at) in plan.slots.iter().zip(&program.halves).zip(&self.at) {
            if shared(slot.home) {
                layout.at.push(at.clone());
            } else {
                layout.declare(plan, slot, *halves, u64::MAX);
            }
        }
        layout.buffers.extend(self.buffers.iter().filter(|(_, (_, shared))| *shared).map(|(id, of)| (*id, *of)));
        layout
    }

    /// Assigns locations to the halves of a slot.
    fn declare(&mut self, plan: &Plan, slot: &Slot, halves: usize, room: u64) {
        let (one, shared) = (size(plan, slot.home, self.batch), shared(slot.home));
        let room = if shared { room } else { u64::MAX };
        let key = plan.families[slot.family.0].key;
        self.buffers.entry((key, 0)).or_insert((0, shared));
        let at = (0..halves).map(|_| self.put(key, one, room)).collect();
        self.at.push(at);
    }

    /// Reserves `quads` in the first buffer of a family that has room, or in a new buffer.
    fn put(&mut self, name: &'static str, quads: u64, room: u64) -> At {
        let fits = |id: &BufferId| self.buffers.get(id).is_none_or(|(taken, _)| *taken == 0 || taken + quads <= room);
        let id = (0..).map(|number| (name, number)).find(fits).unwrap_or((name, 0));
        let shared = self.buffers.get(&(name, 0)).is_some_and(|(_, shared)| *shared);
        let buffer = self.buffers.entry(id).or_insert((0, shared));
        let at = At { buffer: id, quads: buffer.0 };
        buffer.0 += quads;
        at
    }

    /// Whether the slots of a family lie in several buffers.
    fn is_spread(&self) -> bool {
        self.buffers.keys().any(|(_, number)| *number > 0)
    }

    /// The location of a place, if the program uses it.
    pub(in crate::device::gpu) fn of(&self, place: Place) -> Option<At> {
        self.at[place.slot.0].get(place.half).copied()
    }

    /// The offset of a place in its buffer, in quads.
    pub(in crate::device::gpu) fn before(&self, place: Place) -> u64 {
        self.of(place).map_or(0, |at| at.quads)
    }

    /// The index of a place's buffer among those of its family.
    fn number(&self, place: Place) -> usize {
        self.of(place).map_or(0, |at| at.buffer.1)
    }

    /// The location of a slot's first half, if the program uses it.
    pub(in crate::device::gpu) fn home(&self, slot: SlotId) -> Option<At> {
        self.of(Place { slot, half: 0 })
    }
}

/// Whether a slot of this domain has no batch dimension: weights, one value per unit, or one value per batch.
pub(in crate::device::gpu) fn shared(home: Domain) -> bool {
    matches!(home, Domain::Connections(_) | Domain::Vector(_) | Domain::BatchScalar(_))
}

/// Size of one half of a slot in quads.
pub(in crate::device::gpu) fn size(plan: &Plan, home: Domain, batch: usize) -> u64 {
    match home {
        Domain::Units(p) => (batch * plan.populations[p].places) as u64 * quads(plan.populations[p].n),
        Domain::Samples(_) => quads(batch),
        Domain::BatchScalar(_) => 1,
        Domain::Vector(p) => quads(plan.populations[p].n),
        Domain::Connections(p) => {
            let (to, from) = ends(plan, p);
            matrix(to, from) + if plan.biased(p) { quads(to) } else { 0 }
        }
    }
}

/// The number of units of the target and the source population of a projection: (n_to, n_from).
pub(in crate::device::gpu) fn ends(plan: &Plan, projection: usize) -> (usize, usize) {
    let of = &plan.projections[projection];
    (plan.populations[of.to].n, plan.populations[of.from].n)
}

/// Size of a weight matrix [n_to, n_from] in quads, without the biases stored after it.
pub(in crate::device::gpu) fn matrix(to: usize, from: usize) -> u64 {
    to as u64 * quads(from)
}

/// Chooses how a launch of these products is divided into work groups.
pub(in crate::device::gpu) type Choose<'a> = &'a dyn Fn(&[Shape]) -> Cut;

/// One dispatch of a table.
#[derive(Debug, Clone)]
pub(in crate::device::gpu) struct TableLaunch {
    /// The index of the launch of the program that this dispatch runs, entirely or in part.
    pub(in crate::device::gpu) number: usize,
    pub(in crate::device::gpu) text: Arc<Text>,
    /// The buffers that the shader binds, starting at binding 3.
    pub(in crate::device::gpu) bound: Vec<BufferId>,
    /// How a matrix product is divided into work groups; `None` for other kernels.
    pub(in crate::device::gpu) cut: Option<Cut>,
    /// The shapes of the matrix products in this dispatch.
    pub(in crate::device::gpu) shapes: Vec<Shape>,
    pub(in crate::device::gpu) record: LaunchRecord,
}

/// A program's launches as tables: kernels, jobs and numbers of work groups.
#[derive(Debug, Clone, Default)]
pub(in crate::device::gpu) struct Table {
    pub(in crate::device::gpu) jobs: Vec<JobRecord>,
    pub(in crate::device::gpu) launches: Vec<TableLaunch>,
    /// The kind of comments in the shader texts.
    labels: Labels,
}

impl Table {
    /// Builds the tables of all launches of `program`, with the slots at the locations of `layout`.
    pub(in crate::device::gpu) fn new(plan: &Plan, program: &Program, layout: &Layout, choose: Choose<'_>) -> Self {
        Table::labelled(plan, program, layout, choose, Labels::Slots)
    }

    /// As [`Table::new`], with a choice of the comments in the shader texts.
    pub(in crate::device::gpu) fn labelled(
        plan: &Plan,
        program: &Program,
        layout: &Layout,
        choose: Choose<'_>,
        labels: Labels,
    ) -> Self {
        let mut table = Table { labels, ..Table::default() };
        for (number, launch) in program.launches().enumerate() {
            table.launch(plan, layout, (number, launch), choose);
        }
        table
    }

    fn launch(&mut self, plan: &Plan, layout: &Layout, (number, launch): (usize, &lower::Launch), choose: Choose<'_>) {
        if matches!(launch.kind, Kind::Draw | Kind::Reduce | Kind::Pool | Kind::FixedMap) {
            // These kernels bind one buffer per operand and result, and the jobs may use different families: each job gets a separate launch.
            for job in &launch.jobs {
                let one = lower::Launch { kind: launch.kind, jobs: vec![job.clone()] };
                self.add(plan, layout, (number, &one), choose);
            }
        } else if layout.is_spread() {
            for part in parted(plan, layout, launch) {
                self.add(plan, layout, (number, &part), choose);
            }
        } else {
            self.add(plan, layout, (number, launch), choose);
        }
    }

    fn add(&mut self, plan: &Plan, layout: &Layout, (number, launch): (usize, &lower::Launch), choose: Choose<'_>) {
        let numbers = |place: Place| layout.number(place);
        let (text, variants) = generate(plan, launch, &numbers, self.labels);
        let bound = bound(plan, launch, &text, &numbers);
        let at = Jobs { plan, layout };
        let jobs: Vec<JobRecord> =
            launch.jobs.iter().zip(variants).map(|(job, variant)| JobRecord { variant, ..at.job(job) }).collect();
        let shape = |job: &JobRecord| {
            let product = match launch.kind {
                Kind::Forward => Product::Predict,
                Kind::Backward => Product::Infer,
                _ => Product::Learn,
            };
            Shape { product, m: job.m as usize, n: job.n as usize, k: job.k as usize }
        };
        let text = Arc::new(text);
        if launch.kind.is_product() {
            let shapes: Vec<Shape> = jobs.iter().map(shape).collect();
            let cut = choose(&shapes);
            let jobs = jobs.into_iter().map(|job| {
                let across = job.n.div_ceil(cut.columns());
                (JobRecord { across, ..job }, job.m.div_ceil(cut.rows()) * across)
            });
            self.push(
                TableLaunch { number, text, bound, cut: Some(cut), shapes, record: LaunchRecord::default() },
                jobs,
            );
        } else {
            let each = if launch.kind == Kind::Reduce { SAMPLES } else { ELEMENTS };
            let jobs = jobs.into_iter().map(|job| (job, job.m.div_ceil(each)));
            let shapes = Vec::new();
            self.push(TableLaunch { number, text, bound, cut: None, shapes, record: LaunchRecord::default() }, jobs);
        }
    }

    /// Adds a launch; `jobs` holds its jobs, each with its number of work groups.
    pub(in crate::device::gpu) fn push(&mut self, launch: TableLaunch, jobs: impl Iterator<Item = (JobRecord, u32)>) {
        let mut record = LaunchRecord { first: self.jobs.len() as u32, ..LaunchRecord::default() };
        for (job, workgroups) in jobs {
            self.jobs.push(JobRecord { first: record.tiles, ..job });
            record.tiles += workgroups;
            record.jobs += 1;
        }
        self.launches.push(TableLaunch { record, ..launch });
    }
}

/// Splits a launch into parts. In each part every symbol of the shader is bound to one buffer, and there are at most
/// [`MAX_BUFFERS`] buffers. Jobs keep their order.
fn parted(plan: &Plan, layout: &Layout, launch: &lower::Launch) -> Vec<lower::Launch> {
    let mut parts: Vec<(BTreeMap<Symbol, usize>, lower::Launch)> = Vec::new();
    for job in &launch.jobs {
        let touched = touched(plan, job, &|place| layout.number(place));
        let joins = |held: &BTreeMap<Symbol, usize>| {
            let new = touched.iter().filter(|(symbol, _)| !held.contains_key(symbol)).count();
            held.len() + new <= MAX_BUFFERS
                && touched.iter().all(|(symbol, number)| held.get(symbol).is_none_or(|held| held == number))
        };
        let at = parts.iter().position(|(held, _)| joins(held)).unwrap_or_else(|| {
            parts.push((BTreeMap::new(), lower::Launch { kind: launch.kind, jobs: Vec::new() }));
            parts.len() - 1
        });
        parts[at].0.extend(touched);
        parts[at].1.jobs.push(job.clone());
    }
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Number of positions of the target population of a projection with weights. The source population has the same
/// number.
fn rows_of(plan: &Plan, projection: usize) -> u32 {
    plan.populations[plan.projections[projection].to].places as u32
}

/// Translates a program's jobs to records, for one layout.
struct Jobs<'a> {
    plan: &'a Plan,
    layout: &'a Layout,
}

impl Jobs<'_> {
    /// The record of a fixed map; `window.wgsl` documents its values.
    fn carry(&self, base: JobRecord, projection: usize, direction: Direction, [left, right]: [u32; 2]) -> JobRecord {
        let of = &self.plan.projections[projection];
        let [from, to] = [of.from, of.to].map(|p| &self.plan.populations[p]);
        let square = |how: u32, w: Window| {
            let [rows, columns] = w.places().unwrap_or([1, 1]).map(|n| n as u32);
            let kernel = [w.kernel, w.kernel];
            (how, [w.channels, w.height, w.width], kernel, w.stride, w.padding, [rows, columns], u32::from(w.planes))
        };
        let (how, grid, kernel, stride, padding, places, planes) = match of.kind {
            Connection::Average(window) => square(1, window),
            Connection::Maximum(window) => square(2, window),
            Connection::Patches(window) => square(0, window),
            // A range of the units of one row, starting at o[12].
            Connection::Part { .. } => (3, [1, 1, from.n as u32], [1, to.n as u32], 1, 0, [1, 1], 1),
            // Flattening: one window that covers all positions, laid out as a grid of one row.
            Connection::Flat | Connection::Dense { .. } | Connection::Identity => {
                let places = from.places as u32;
                (0, [from.n as u32, 1, places], [1, places], 1, 0, [1, 1], 0)
            }
        };
        let forward = direction == Direction::Forward;
        let (result, sent) = if forward { (to, from) } else { (from, to) };
        let numbers = [grid[0], grid[1], grid[2], kernel[0], kernel[1], stride, padding, places[0], places[1], planes];
        let mut o = base.o;
        o[1..11].copy_from_slice(&numbers);
        o[11] = sent.n as u32;
        if let Connection::Part { start } = of.kind {
            o[12] = start as u32;
        }
        let m = (self.layout.batch * result.places) as u64 * quads(result.n);
        let k = if forward { how } else { how + 4 };
        JobRecord { m: m as u32, n: result.n as u32, k, left, right, o, ..base }
    }

    fn job(&self, job: &lower::Job) -> JobRecord {
        let (plan, batch) = (self.plan, self.layout.batch as u32);
        let at = |place: Place| self.layout.before(place) as u32;
        let mut o = [0; super::codegen::MAX_LEAVES];
        for (to, place) in o.iter_mut().zip(&job.code.leaves) {
            *to = at(*place);
        }
        let base = JobRecord { o, bias: NONE, ..JobRecord::default() };
        match job.work {
            Work::Send { projection, weights, direction, from } if plan.projections[projection].kind.is_map() => {
                self.carry(base, projection, direction, [at(from), at(weights)])
            }
            Work::Send { projection, weights, direction, from } => {
                let batch = batch * rows_of(plan, projection);
                let (to, source) = ends(plan, projection);
                let forward = direction == Direction::Forward;
                let (n, k) = if forward { (to, source) } else { (source, to) };
                let bias =
                    if forward && plan.biased(projection) { at(weights) + matrix(to, source) as u32 } else { NONE };
                let rows = rows_of(plan, projection);
                JobRecord { m: batch, n: n as u32, k: k as u32, left: at(from), right: at(weights), bias, rows, ..base }
            }
            Work::OuterProduct { projection, post, pre } => {
                let batch = batch * rows_of(plan, projection);
                let (to, from) = ends(plan, projection);
                let bias = if plan.biased(projection) { 0 } else { NONE };
                JobRecord { m: to as u32, n: from as u32, k: batch, left: at(post), right: at(pre), bias, ..base }
            }
            Work::Map(home) => {
                let m = size(plan, home, self.layout.batch) as u32;
                match home {
                    Domain::Connections(p) => {
                        let (to, from) = ends(plan, p);
                        JobRecord { m, n: from as u32, k: to as u32, rows: matrix(to, from) as u32, ..base }
                    }
                    Domain::Units(p) | Domain::Vector(p) => {
                        let of = &plan.populations[p];
                        JobRecord { m, n: of.n as u32, rows: of.places as u32, ..base }
                    }
                    Domain::Samples(_) => JobRecord { m, n: batch, ..base },
                    Domain::BatchScalar(_) => JobRecord { m, n: 1, ..base },
                }
            }
            Work::Reduce { from, how } => {
                let (k, top) = match how {
                    Reduction::Sum => (0, 0),
                    Reduction::Max => (1, 0),
                    Reduction::Argmax => (2, 0),
                    Reduction::Top(k) => (3, k),
                    Reduction::Squares => (4, 0),
                };
                let mut o = base.o;
                o[1] = top;
                let base = JobRecord { k, left: at(from), o, rows: 1, ..base };
                let (source, result) = (plan.slot(from.slot).home, plan.slot(job.code.leaves[0].slot).home);
                match (source, result) {
                    (Domain::Units(p), Domain::Vector(_)) => {
                        let (n, places) = (plan.populations[p].n, plan.populations[p].places as u32);
                        JobRecord { m: quads(n) as u32, n: n as u32, rows: batch * places, ..base }
                    }
                    (Domain::Connections(p), _) => {
                        let (to, from) = ends(plan, p);
                        JobRecord { m: to as u32, n: from as u32, ..base }
                    }
                    (Domain::Samples(_), _) => JobRecord { m: 1, n: batch, ..base },
                    (home @ (Domain::Vector(_) | Domain::BatchScalar(_)), _) => {
                        JobRecord { m: 1, n: plan.extent(home) as u32, ..base }
                    }
                    (Domain::Units(p), _) => {
                        let of = &plan.populations[p];
                        JobRecord { m: batch, n: of.n as u32, rows: of.places as u32, ..base }
                    }
                }
            }
            Work::Draw(draw) => {
                let home = plan.slot(job.code.leaves[0].slot).home;
                let (k, bell) = match draw {
                    Draw::Uniform { stream } => (stream, 0),
                    Draw::Bell { stream } => (stream, 1),
                    // `GpuDevice::lower` refuses plans with this draw.
                    Draw::Normal { .. } => (0, 0),
                };
                let m = size(plan, home, self.layout.batch) as u32;
                JobRecord { m, n: plan.extent(home) as u32, k, left: o[0], rows: bell, ..base }
            }
        }
    }
}
