//! Where everything lies in the GPU's buffers, and the job tables of a program's launches.
//!
//! Slots of one name share one buffer, so that one launch can work on all layers. Rows are
//! padded with zeros to whole quads of four numbers: kernels read and write nothing smaller, and a zero more in a
//! sum changes nothing. `Job` and `Launch` are the structs of `shaders/shared/jobs.wgsl`.

use super::generate::{Text, generate};
use super::tile::{Cut, Product, Shape};
use crate::expr::SlotId;
use crate::plan::{Connection, Direction, Draw, Home, Plan, Reduction, Window};
use crate::program::{self, Kind, Place, Program, Work};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One op's part of a launch.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Job {
    pub(super) m: u32,
    pub(super) n: u32,
    pub(super) k: u32,
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) bias: u32,
    pub(super) rows: u32,
    pub(super) variant: u32,
    pub(super) first: u32,
    pub(super) across: u32,
    pub(super) o: [u32; super::generate::MAX_LEAVES],
}

/// What a launch reads besides its jobs.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Launch {
    pub(super) first: u32,
    pub(super) jobs: u32,
    pub(super) tiles: u32,
    pub(super) flags: u32,
}

/// No biases: `NONE` of `jobs.wgsl`.
const NONE: u32 = u32::MAX;

/// The uniform of `gather.wgsl`.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Batch {
    pub(super) base: u32,
    pub(super) batch: u32,
    pub(super) count: u32,
    pub(super) pixels: u32,
    pub(super) words: u32,
    pub(super) outputs: u32,
    pub(super) input: u32,
    pub(super) numbers: u32,
    pub(super) goal: u32,
    pub(super) held_to: [f32; 2],
    pub(super) plane: u32,
    pub(super) rows: u32,
    pub(super) cols: u32,
    pub(super) flip: u32,
    pub(super) crop: u32,
}

/// The uniform of `score.wgsl`.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct ScoreBatch {
    pub(super) base: u32,
    pub(super) batch: u32,
    pub(super) count: u32,
    pub(super) outputs: u32,
    pub(super) out: u32,
    pub(super) pitch: u32,
    pub(super) mu: u32,
    pub(super) entropy: u32,
    pub(super) held_to: [f32; 2],
    pub(super) spare: [u32; 2],
}

/// Quads an elementwise workgroup works on: one a thread.
pub(super) const ELEMENTS: u32 = 256;
/// Samples that a workgroup of `reduce.wgsl` works on.
const SAMPLES: u32 = 64;

/// Bytes of a quad.
pub(super) const QUAD: u64 = 16;

/// Quads that a row of `n` numbers takes.
pub(super) fn quads(n: usize) -> u64 {
    n.div_ceil(4) as u64
}

/// Offsets, in quads, of every slot's halves within the buffer of its name.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Samples of every slot.
    pub(super) batch: usize,
    /// By slot, then half.
    at: Vec<Vec<u64>>,
    /// Quads of each buffer, by name, and whether samples share it.
    pub(super) buffers: BTreeMap<&'static str, (u64, bool)>,
}

impl Layout {
    /// The layout of a program's slots on batches of `batch`. Slots that samples share lie as in `of`, where that is given.
    pub(super) fn new(plan: &Plan, program: &Program, batch: usize, of: Option<&Layout>) -> Self {
        let mut layout = Layout { batch, at: Vec::new(), buffers: BTreeMap::new() };
        for (s, (slot, halves)) in plan.slots.iter().zip(&program.halves).enumerate() {
            let lasting = matches!(slot.home, Home::Connections(_) | Home::Vector(_) | Home::One(_));
            if let Some(of) = of.filter(|_| lasting) {
                layout.at.push(of.at[s].clone());
                continue;
            }
            let one = size(plan, slot.home, batch);
            let buffer = layout.buffers.entry(slot.name).or_insert((0, lasting));
            layout.at.push((0..*halves as u64).map(|half| buffer.0 + half * one).collect());
            buffer.0 += one * *halves as u64;
        }
        if let Some(of) = of {
            let shared = of.buffers.iter().filter(|(_, (_, lasting))| *lasting);
            layout.buffers.extend(shared.map(|(name, buffer)| (*name, *buffer)));
        }
        layout
    }

    /// Where a place begins.
    pub(super) fn of(&self, place: Place) -> u64 {
        self.at[place.slot.0].get(place.half).copied().unwrap_or(0)
    }

    /// Where a slot's first half begins, if it has one.
    pub(super) fn home(&self, slot: SlotId) -> Option<u64> {
        self.at[slot.0].first().copied()
    }
}

/// Quads of one half of a slot.
pub(super) fn size(plan: &Plan, home: Home, batch: usize) -> u64 {
    match home {
        Home::Units(p) => (batch * plan.populations[p].places) as u64 * quads(plan.populations[p].n),
        Home::Samples(_) => quads(batch),
        Home::One(_) => 1,
        Home::Vector(p) => quads(plan.populations[p].n),
        Home::Connections(p) => {
            let (to, from) = ends(plan, p);
            matrix(to, from) + if plan.biased(p) { quads(to) } else { 0 }
        }
    }
}

/// Units at the two ends of a projection: those that receive, those that send.
pub(super) fn ends(plan: &Plan, projection: usize) -> (usize, usize) {
    let of = &plan.projections[projection];
    (plan.populations[of.to].n, plan.populations[of.from].n)
}

/// Quads of a matrix [n_to, n_from]; biases lie behind it.
pub(super) fn matrix(to: usize, from: usize) -> u64 {
    to as u64 * quads(from)
}

/// Chooses how a launch of these products is cut up.
pub(super) type Choose<'a> = &'a dyn Fn(&[Shape]) -> Cut;

/// A launch of a table.
#[derive(Debug, Clone)]
pub(super) struct TableLaunch {
    /// The program's launch that it is, or a part of.
    pub(super) number: usize,
    pub(super) text: Arc<Text>,
    /// How its results are cut up; `None` for elementwise work.
    pub(super) cut: Option<Cut>,
    /// Its products.
    pub(super) shapes: Vec<Shape>,
    pub(super) record: Launch,
}

/// A program's launches as tables: which kernel, which jobs, how many workgroups.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub(super) jobs: Vec<Job>,
    pub(super) launches: Vec<TableLaunch>,
}

impl Table {
    /// The tables of `program` over `layout`, a launch after the other.
    pub(super) fn new(plan: &Plan, program: &Program, layout: &Layout, choose: Choose<'_>) -> Self {
        let mut table = Table::default();
        for (number, launch) in program.launches().enumerate() {
            table.launch(plan, layout, (number, launch), choose);
        }
        table
    }

    fn launch(
        &mut self,
        plan: &Plan,
        layout: &Layout,
        (number, launch): (usize, &program::Launch),
        choose: Choose<'_>,
    ) {
        if matches!(launch.kind, Kind::Draw | Kind::Reduce | Kind::Pool | Kind::Carry) {
            // A buffer is bound as a whole, so one launch works on the slots of one name.
            for job in &launch.jobs {
                let one = program::Launch { kind: launch.kind, jobs: vec![job.clone()] };
                self.add(plan, layout, (number, &one), choose);
            }
        } else {
            self.add(plan, layout, (number, launch), choose);
        }
    }

    fn add(&mut self, plan: &Plan, layout: &Layout, (number, launch): (usize, &program::Launch), choose: Choose<'_>) {
        let (text, variants) = generate(plan, launch);
        let at = Jobs { plan, layout };
        let jobs: Vec<Job> =
            launch.jobs.iter().zip(variants).map(|(job, variant)| Job { variant, ..at.job(job) }).collect();
        let shape = |job: &Job| {
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
                (Job { across, ..job }, job.m.div_ceil(cut.rows()) * across)
            });
            self.push(number, text, Some(cut), shapes, jobs);
        } else {
            let each = if launch.kind == Kind::Reduce { SAMPLES } else { ELEMENTS };
            self.push(number, text, None, Vec::new(), jobs.into_iter().map(|job| (job, job.m.div_ceil(each))));
        }
    }

    /// Adds a launch of jobs, each with its number of workgroups.
    pub(super) fn push(
        &mut self,
        number: usize,
        text: Arc<Text>,
        cut: Option<Cut>,
        shapes: Vec<Shape>,
        jobs: impl Iterator<Item = (Job, u32)>,
    ) {
        let mut record = Launch { first: self.jobs.len() as u32, ..Launch::default() };
        for (job, workgroups) in jobs {
            self.jobs.push(Job { first: record.tiles, ..job });
            record.tiles += workgroups;
            record.jobs += 1;
        }
        self.launches.push(TableLaunch { number, text, cut, shapes, record });
    }
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
    fn carry(&self, base: Job, projection: usize, direction: Direction, [left, right]: [u32; 2]) -> Job {
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
        Job { m: m as u32, n: result.n as u32, k, left, right, o, ..base }
    }

    fn job(&self, job: &program::Job) -> Job {
        let (plan, batch) = (self.plan, self.layout.batch as u32);
        let at = |place: Place| self.layout.of(place) as u32;
        let mut o = [0; super::generate::MAX_LEAVES];
        for (to, place) in o.iter_mut().zip(&job.code.leaves) {
            *to = at(*place);
        }
        let base = Job { o, bias: NONE, ..Job::default() };
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
                Job { m: batch, n: n as u32, k: k as u32, left: at(from), right: at(weights), bias, rows, ..base }
            }
            Work::Change { projection, post, pre } => {
                let batch = batch * rows_of(plan, projection);
                let (to, from) = ends(plan, projection);
                let bias = if plan.biased(projection) { 0 } else { NONE };
                Job { m: to as u32, n: from as u32, k: batch, left: at(post), right: at(pre), bias, ..base }
            }
            Work::Each(home) => {
                let m = size(plan, home, self.layout.batch) as u32;
                match home {
                    Home::Connections(p) => {
                        let (to, from) = ends(plan, p);
                        Job { m, n: from as u32, k: to as u32, rows: matrix(to, from) as u32, ..base }
                    }
                    Home::Units(p) | Home::Vector(p) => {
                        let of = &plan.populations[p];
                        Job { m, n: of.n as u32, rows: of.places as u32, ..base }
                    }
                    Home::Samples(_) => Job { m, n: batch, ..base },
                    Home::One(_) => Job { m, n: 1, ..base },
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
                let base = Job { k, left: at(from), o, rows: 1, ..base };
                let (source, result) = (plan.slot(from.slot).home, plan.slot(job.code.leaves[0].slot).home);
                match (source, result) {
                    (Home::Units(p), Home::Vector(_)) => {
                        let (n, places) = (plan.populations[p].n, plan.populations[p].places as u32);
                        Job { m: quads(n) as u32, n: n as u32, rows: batch * places, ..base }
                    }
                    (Home::Connections(p), _) => {
                        let (to, from) = ends(plan, p);
                        Job { m: to as u32, n: from as u32, ..base }
                    }
                    (Home::Samples(_), _) => Job { m: 1, n: batch, ..base },
                    (home @ (Home::Vector(_) | Home::One(_)), _) => Job { m: 1, n: plan.extent(home) as u32, ..base },
                    (Home::Units(p), _) => {
                        let of = &plan.populations[p];
                        Job { m: batch, n: of.n as u32, rows: of.places as u32, ..base }
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
                Job { m, n: plan.extent(home) as u32, k, left: o[0], rows: bell, ..base }
            }
        }
    }
}
