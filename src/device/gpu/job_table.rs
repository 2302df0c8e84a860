//! Where everything lies in the GPU's buffers, and the job tables of a program's launches.
//!
//! Slots of one name share one buffer, so that one launch can work on all layers; parameters that are more than a buffer may
//! hold lie in several, each slot as a whole in the first that has room, and a launch is then parted by the buffers that its
//! jobs touch. Rows are padded with zeros to whole quads of four numbers: kernels read and write nothing smaller, and a zero more in a
//! sum changes nothing. `JobRecord` and `LaunchRecord` are the structs of `shaders/shared/jobs.wgsl`.

use super::codegen::{Labels, MAX_BUFFERS, Symbol, Text, bound, generate, touched};
use super::tile::{Cut, Product, Shape};
use crate::lower::{self, Kind, Place, Program, Work};
use crate::plan::expr::SlotId;
use crate::plan::{Connection, Direction, Domain, Draw, Plan, Reduction, Slot, Window};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One op's part of a launch.
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

/// What a launch reads besides its jobs.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(in crate::device::gpu) struct LaunchRecord {
    pub(in crate::device::gpu) first: u32,
    pub(in crate::device::gpu) jobs: u32,
    pub(in crate::device::gpu) tiles: u32,
    pub(in crate::device::gpu) flags: u32,
}

/// No biases: `NONE` of `jobs.wgsl`.
const NONE: u32 = u32::MAX;

/// The uniform of `gather.wgsl`.
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
    pub(in crate::device::gpu) flip: u32,
    pub(in crate::device::gpu) crop: u32,
}

/// The uniform of `score.wgsl`.
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
    pub(in crate::device::gpu) spare: [u32; 2],
}

/// Quads an elementwise workgroup works on: one a thread.
pub(in crate::device::gpu) const ELEMENTS: u32 = 256;
/// Samples that a workgroup of `reduce.wgsl` works on.
const SAMPLES: u32 = 64;

/// Bytes of a quad.
pub(in crate::device::gpu) const QUAD: u64 = 16;

/// Quads that a row of `n` numbers takes.
pub(in crate::device::gpu) fn quads(n: usize) -> u64 {
    n.div_ceil(4) as u64
}

/// A buffer: the name of its slots, and its number among those of that name.
pub(in crate::device::gpu) type BufferId = (&'static str, usize);

/// Where a half of a slot lies.
#[derive(Debug, Clone, Copy)]
pub(in crate::device::gpu) struct At {
    pub(in crate::device::gpu) buffer: BufferId,
    /// Quads before it.
    pub(in crate::device::gpu) quads: u64,
}

/// Where every slot's halves lie.
#[derive(Debug, Clone)]
pub(in crate::device::gpu) struct Layout {
    /// Samples of every slot.
    pub(in crate::device::gpu) batch: usize,
    /// By slot, then half.
    at: Vec<Vec<At>>,
    /// Quads of each buffer, and whether samples share it.
    pub(in crate::device::gpu) buffers: BTreeMap<BufferId, (u64, bool)>,
}

impl Layout {
    /// The layout of a program's slots on batches of `batch`, with as many quads of what samples share in a buffer as there is
    /// room for.
    pub(in crate::device::gpu) fn new(plan: &Plan, program: &Program, batch: usize, room: u64) -> Self {
        let mut layout = Layout { batch, at: Vec::new(), buffers: BTreeMap::new() };
        for (slot, halves) in plan.slots.iter().zip(&program.halves) {
            layout.declare(plan, slot, *halves, room);
        }
        layout
    }

    /// The layout of another program with the same slots, on batches of its own. What samples share lies where it is.
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

    /// Gives the halves of a slot their places.
    fn declare(&mut self, plan: &Plan, slot: &Slot, halves: usize, room: u64) {
        let (one, shared) = (size(plan, slot.home, self.batch), shared(slot.home));
        let room = if shared { room } else { u64::MAX };
        let key = plan.families[slot.family.0].key;
        self.buffers.entry((key, 0)).or_insert((0, shared));
        let at = (0..halves).map(|_| self.put(key, one, room)).collect();
        self.at.push(at);
    }

    /// So many quads more in the first buffer of a name that has room, or in a new one.
    fn put(&mut self, name: &'static str, quads: u64, room: u64) -> At {
        let fits = |id: &BufferId| self.buffers.get(id).is_none_or(|(taken, _)| *taken == 0 || taken + quads <= room);
        let id = (0..).map(|number| (name, number)).find(fits).unwrap_or((name, 0));
        let shared = self.buffers.get(&(name, 0)).is_some_and(|(_, shared)| *shared);
        let buffer = self.buffers.entry(id).or_insert((0, shared));
        let at = At { buffer: id, quads: buffer.0 };
        buffer.0 += quads;
        at
    }

    /// Whether slots of one name lie in several buffers.
    fn is_spread(&self) -> bool {
        self.buffers.keys().any(|(_, number)| *number > 0)
    }

    /// Where a place is, if the program has it.
    pub(in crate::device::gpu) fn of(&self, place: Place) -> Option<At> {
        self.at[place.slot.0].get(place.half).copied()
    }

    /// Quads before a place, in its buffer.
    pub(in crate::device::gpu) fn before(&self, place: Place) -> u64 {
        self.of(place).map_or(0, |at| at.quads)
    }

    /// The number of a place's buffer.
    fn number(&self, place: Place) -> usize {
        self.of(place).map_or(0, |at| at.buffer.1)
    }

    /// Where a slot's first half is, if it has one.
    pub(in crate::device::gpu) fn home(&self, slot: SlotId) -> Option<At> {
        self.of(Place { slot, half: 0 })
    }
}

/// Whether samples share a slot of this home: parameters, and what goes with them.
pub(in crate::device::gpu) fn shared(home: Domain) -> bool {
    matches!(home, Domain::Connections(_) | Domain::Vector(_) | Domain::BatchScalar(_))
}

/// Quads of one half of a slot.
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

/// Units at the two ends of a projection: those that receive, those that send.
pub(in crate::device::gpu) fn ends(plan: &Plan, projection: usize) -> (usize, usize) {
    let of = &plan.projections[projection];
    (plan.populations[of.to].n, plan.populations[of.from].n)
}

/// Quads of a matrix [n_to, n_from]; biases lie behind it.
pub(in crate::device::gpu) fn matrix(to: usize, from: usize) -> u64 {
    to as u64 * quads(from)
}

/// Chooses how a launch of these products is cut up.
pub(in crate::device::gpu) type Choose<'a> = &'a dyn Fn(&[Shape]) -> Cut;

/// A launch of a table.
#[derive(Debug, Clone)]
pub(in crate::device::gpu) struct TableLaunch {
    /// The program's launch that it is, or a part of.
    pub(in crate::device::gpu) number: usize,
    pub(in crate::device::gpu) text: Arc<Text>,
    /// The buffers that the text names.
    pub(in crate::device::gpu) bound: Vec<BufferId>,
    /// How its results are cut up; `None` for elementwise work.
    pub(in crate::device::gpu) cut: Option<Cut>,
    /// Its products.
    pub(in crate::device::gpu) shapes: Vec<Shape>,
    pub(in crate::device::gpu) record: LaunchRecord,
}

/// A program's launches as tables: which kernel, which jobs, how many workgroups.
#[derive(Debug, Clone, Default)]
pub(in crate::device::gpu) struct Table {
    pub(in crate::device::gpu) jobs: Vec<JobRecord>,
    pub(in crate::device::gpu) launches: Vec<TableLaunch>,
    /// What texts say in comments.
    labels: Labels,
}

impl Table {
    /// The tables of `program` over `layout`, a launch after the other.
    pub(in crate::device::gpu) fn new(plan: &Plan, program: &Program, layout: &Layout, choose: Choose<'_>) -> Self {
        Table::labelled(plan, program, layout, choose, Labels::Slots)
    }

    /// The same with these comments in the texts.
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
            // A buffer is bound as a whole, so one launch works on the slots of one name.
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

    /// Adds a launch of jobs, each with its number of workgroups.
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

/// A launch by the buffers that its jobs touch: of each symbol one. Jobs keep their order.
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

/// Places at both ends of a projection with weights.
fn rows_of(plan: &Plan, projection: usize) -> u32 {
    plan.populations[plan.projections[projection].to].places as u32
}

/// Makes jobs out of a program's, over one layout.
struct Jobs<'a> {
    plan: &'a Plan,
    layout: &'a Layout,
}

impl Jobs<'_> {
    /// What a fixed map carries: the numbers of `window.wgsl`.
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
            // Units of one row, from o[12] on.
            Connection::Part { .. } => (3, [1, 1, from.n as u32], [1, to.n as u32], 1, 0, [1, 1], 1),
            // All places one after the other: a window over a grid of one row.
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
                    // Refused by `GpuDevice::session`.
                    Draw::Normal { .. } => (0, 0),
                };
                let m = size(plan, home, self.layout.batch) as u32;
                JobRecord { m, n: plan.extent(home) as u32, k, left: o[0], rows: bell, ..base }
            }
        }
    }
}
