//! A network in training on a GPU: buffers, bindings and submissions.
//!
//! Everything is made when the session is: a submission then only sets pipelines and bindings and
//! dispatches. Many updates go into one submission, in one compute pass, with nothing read back between.

use super::kernels::Pipeline;
use super::remembered::TuneFile;
use super::table::{Batch, ELEMENTS, Job, KernelId, Launch, Layout, QUAD, Table, quads};
use super::tile::{Cut, Shape, TileUse, Tiles};
use super::{GpuData, GpuDevice, GpuSet};
use crate::activation::Activation;
use crate::data::Set;
use crate::device::{Score, check_session, next_chunk};
use crate::error::{Error, Result};
use crate::network::{Network, Weights};
use crate::plan::{Op, Plan, Slot};
use crate::program::Program;
use ndarray::{Array1, Array2, ArrayView2, Axis};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Most updates in one submission, and most samples, so that their order takes little room.
const MAX_UPDATES: usize = 1024;
const MAX_SAMPLES: usize = 1 << 22;
/// What a submission should last: long enough to hide its cost, far below any driver's watchdog.
const TARGET: Duration = Duration::from_millis(400);
/// Samples that an evaluation predicts at a time.
const EVAL_BATCH: usize = 256;

/// Rows as they lie on the device: each on whole quads, zeros behind it.
fn padded(rows: ArrayView2<'_, f32>) -> Vec<f32> {
    let pitch = 4 * quads(rows.ncols()) as usize;
    let mut to = vec![0.0; rows.nrows() * pitch];
    for (to, from) in to.chunks_exact_mut(pitch).zip(rows.outer_iter()) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    to
}

/// Most updates of `batch` samples in one submission.
fn max_updates(batch: usize) -> usize {
    (MAX_SAMPLES / batch).clamp(1, MAX_UPDATES)
}

/// A launch ready to be dispatched.
struct Ready {
    pipeline: Arc<Pipeline>,
    /// Which of the session's bind groups.
    group: usize,
    /// Dynamic offset of its uniform.
    offset: u32,
    grid: (u32, u32),
}

/// Buffers of the slots on one batch size.
struct Slots {
    layout: Layout,
    h: wgpu::Buffer,
    x: wgpu::Buffer,
    mu: wgpu::Buffer,
}

/// The parameters, as a pair of buffers.
struct Parameters {
    theta: wgpu::Buffer,
    bias: wgpu::Buffer,
}

/// What makes a batch: the pipeline, its uniforms (one a batch), and the order of the samples.
struct Gather {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    order: wgpu::Buffer,
    grid: (u32, u32),
}

/// Evaluation of one set.
struct Eval {
    gather: Gather,
    launches: Vec<Ready>,
    groups: Vec<wgpu::BindGroup>,
    score: (Arc<Pipeline>, wgpu::BindGroup),
    partial: wgpu::Buffer,
    batches: usize,
}

/// The check for NaN and infinity.
struct Finite {
    launch: Ready,
    group: wgpu::BindGroup,
    flags: wgpu::Buffer,
}

/// Timing of a submission by the device's own clock.
struct Timer {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
}

/// A network in training on a GPU.
pub struct GpuSession {
    gpu: GpuDevice,
    plan: Plan,
    batch: usize,
    data: Arc<GpuData>,
    parameters: Parameters,
    saved: Parameters,
    saved_updates: u64,
    updates: u64,
    slots: Slots,
    eps: wgpu::Buffer,
    gather: Gather,
    tiles: Tiles,
    tile_uses: Vec<TileUse>,
    launches: Vec<Ready>,
    groups: Vec<wgpu::BindGroup>,
    finite: Finite,
    timer: Option<Timer>,
    /// Updates the next submission takes.
    chunk: usize,
    submissions: u64,
    eval: Option<(Set, Box<Eval>)>,
}

impl GpuDevice {
    /// A session that trains by `plan` on an uploaded data set.
    ///
    /// # Errors
    /// [`Error::Usage`] for a plan the GPU does not run (C1 broken), and for a batch, weights or data that do
    /// not fit; [`Error::Limit`] when a buffer
    /// exceeds the device's limits; [`Error::Gpu`] when the device fails or has no room.
    pub fn session(&self, plan: &Plan, batch: usize, data: Arc<GpuData>, weights: &Weights) -> Result<GpuSession> {
        self.session_with(plan, batch, data, weights, &self.tiles())
    }

    /// The tiles remembered for this adapter, else the defaults. A damaged tune file counts as none: tiles do not show
    /// in the bits, and whoever wants to know asks [`TuneFile::open`].
    pub fn tiles(&self) -> Tiles {
        match TuneFile::open() {
            Ok(file) => Tiles::Measured(file.tiles(&self.summary)),
            Err(error) => {
                log::warn!("{error}");
                Tiles::Default
            }
        }
    }

    /// As [`GpuDevice::session`], with tiles of one's own choice. They show in the time alone.
    ///
    /// # Errors
    /// As [`GpuDevice::session`].
    pub fn session_with(
        &self,
        plan: &Plan,
        batch: usize,
        data: Arc<GpuData>,
        weights: &Weights,
        tiles: &Tiles,
    ) -> Result<GpuSession> {
        check_session(plan, batch, weights)?;
        data.fits(&plan.network)?;
        if plan.ops().any(|op| matches!(op, Op::Perturb(_))) {
            return Err(Error::usage("breaking C1 (sigma > 0) is an experiment of the CPU: use the CPU device"));
        }
        let session = GpuSession::new(self, plan, batch, data, weights, tiles);
        self.check()?;
        session
    }

    /// See [`crate::device::Device::fits`].
    pub(crate) fn fits_training(&self, network: &Network, batch: usize, evaluates: bool) -> Result<()> {
        self.fits_network(network, &Layout::new(network, batch, 2))?;
        if evaluates { self.fits_network(network, &Layout::new(network, EVAL_BATCH, 1)) } else { Ok(()) }
    }

    /// Checks every buffer that training `network` needs against the device's limits.
    fn fits_network(&self, network: &Network, layout: &Layout) -> Result<()> {
        let weights = "choose smaller --layers, another --device, or the CPU device";
        self.fits(&format!("the weights of {network}"), layout.theta_bytes(), weights)?;
        let slots = "choose a smaller --batch, smaller --layers, or the CPU device";
        self.fits(&format!("the activations of {network} at batch {}", layout.batch), layout.h_bytes(), slots)?;
        self.fits(&format!("the units of {network} at batch {}", layout.batch), layout.unit_bytes(), slots)
    }
}

impl GpuSession {
    fn new(
        gpu: &GpuDevice,
        plan: &Plan,
        batch: usize,
        data: Arc<GpuData>,
        weights: &Weights,
        tiles: &Tiles,
    ) -> Result<Self> {
        let network = &plan.network;
        let layout = Layout::new(network, batch, 2);
        gpu.fits_network(network, &layout)?;
        let (thetas, biases, units) = (layout.theta_bytes(), layout.bias_bytes(), layout.unit_bytes());
        let slots = Slots {
            h: gpu.buffer("h", layout.h_bytes()),
            x: gpu.buffer("x", units),
            mu: gpu.buffer("mu", units),
            layout,
        };
        let parameters = Parameters { theta: gpu.buffer("theta", thetas), bias: gpu.buffer("bias", biases) };
        let saved = Parameters { theta: gpu.buffer("saved theta", thetas), bias: gpu.buffer("saved bias", biases) };
        let has = |wanted: fn(&Op) -> bool| if plan.ops().any(|op| wanted(&op)) { units } else { 0 };
        let gated = has(|op| matches!(op, Op::Gate(_) | Op::GateFeedback(_) | Op::LearnGated(_)));
        let spike = gpu.buffer("spikes", 4 * (network.lmax() * batch) as u64);
        let [mu_prev, dx, eps] = ["mu before", "dx", "eps"].map(|label| gpu.buffer(label, units));
        let [gated, quiet] = ["gated", "quiet"].map(|label| gpu.buffer(label, gated));
        gpu.check()?;

        let table = gpu.update_table(plan, &slots.layout, tiles);
        let advice = "choose fewer --steps, --schedule frontier, or the CPU device";
        gpu.fits("the table of an update's launches", (table.jobs.len() * size_of::<Job>()) as u64, advice)?;
        let (uniforms, jobs) = table.buffers(gpu);
        let bind = |id: KernelId, pipeline: &Pipeline| {
            let (p, s) = (&parameters, &slots);
            let storage: &[&wgpu::Buffer] = match id {
                KernelId::Predict => &[&jobs, &p.theta, &p.bias, &s.h, &s.mu, &s.x],
                KernelId::Infer => &[&jobs, &p.theta, &s.h, &s.x, &dx, &eps],
                KernelId::Learn => &[&jobs, &p.theta, &p.bias, &s.h, &eps, &gated],
                KernelId::Error => &[&jobs, &s.x, &s.mu, &mu_prev, &dx, &eps],
                _ => &[&jobs, &eps, &gated, &quiet, &spike],
            };
            gpu.bind(pipeline, &uniforms, size_of::<Launch>(), storage)
        };
        let (launches, groups) = gpu.ready(&table, network.activation, bind)?;
        let gather = gpu.gather(network, &slots, &data.train, batch, max_updates(batch) * batch)?;
        let finite = gpu.finite(network, &slots.layout, &parameters)?;
        let timer = gpu.has_timestamps().then(|| gpu.timer());
        let mut session = GpuSession {
            gpu: gpu.clone(),
            plan: plan.clone(),
            batch,
            data,
            parameters,
            saved,
            saved_updates: 0,
            updates: 0,
            slots,
            eps,
            gather,
            tiles: tiles.clone(),
            tile_uses: table.uses(tiles),
            launches,
            groups,
            finite,
            timer,
            chunk: 1,
            submissions: 0,
            eval: None,
        };
        for tile in &session.tile_uses {
            log::info!("{tile}");
        }
        session.load(weights);
        Ok(session)
    }

    /// Makes one weight update for every `batch` samples that `order` names, in order.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails; [`Error::Usage`] when `order` names a sample that is not there.
    pub fn run(&mut self, order: &[u32]) -> Result<()> {
        self.run_in_chunks(order, false).map(|_| ())
    }

    /// As [`GpuSession::run`]; returns the seconds of device time the updates took, where the device has
    /// a clock.
    ///
    /// # Errors
    /// As [`GpuSession::run`].
    pub fn run_timed(&mut self, order: &[u32]) -> Result<Option<f64>> {
        self.run_in_chunks(order, true)
    }

    fn run_in_chunks(&mut self, order: &[u32], timed: bool) -> Result<Option<f64>> {
        let samples = self.data.train.samples;
        if let Some(bad) = order.iter().find(|&&s| s as usize >= samples) {
            return Err(Error::usage(format!("sample {bad} was asked for; the set has {samples}")));
        }
        let mut seconds = (timed && self.timer.is_some()).then_some(0.0);
        let mut left = &order[..order.len() / self.batch * self.batch];
        while !left.is_empty() {
            let updates = self.chunk.min(left.len() / self.batch);
            let (now, later) = left.split_at(updates * self.batch);
            let start = Instant::now();
            let device = self.submit(now, timed)?;
            let most = max_updates(self.batch);
            self.chunk = next_chunk(self.chunk, updates, start.elapsed(), TARGET, most);
            seconds = seconds.zip(device).map(|(sum, more)| sum + more);
            left = later;
        }
        Ok(seconds)
    }

    /// One submission of one compute pass: for each update the batch, then every launch.
    fn submit(&mut self, order: &[u32], timed: bool) -> Result<Option<f64>> {
        let gpu = &self.gpu;
        let timer = self.timer.as_ref().filter(|_| timed);
        gpu.queue.write_buffer(&self.gather.order, 0, bytemuck::cast_slice(order));
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("updates") });
        let writes = timer.map(|t| wgpu::ComputePassTimestampWrites {
            query_set: &t.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let descriptor = wgpu::ComputePassDescriptor { label: Some("updates"), timestamp_writes: writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        let updates = order.len() / self.batch;
        for update in 0..updates {
            self.gather.dispatch(&mut pass, update as u32 * gpu.uniform_stride());
            self.launches.iter().for_each(|launch| launch.dispatch(&mut pass, &self.groups));
        }
        drop(pass);
        if let Some(t) = timer {
            encoder.resolve_query_set(&t.queries, 0..2, &t.resolved, 0);
            encoder.copy_buffer_to_buffer(&t.resolved, 0, &t.readable, 0, 16);
        }
        gpu.queue.submit([encoder.finish()]);
        self.submissions += 1;
        self.updates += updates as u64;
        let Some(t) = timer else {
            gpu.wait()?;
            return Ok(None);
        };
        let ticks = pollster::block_on(gpu.map(&t.readable, 16))?;
        let ticks: &[u64] = &bytemuck::pod_collect_to_vec::<u8, u64>(&ticks);
        let period = f64::from(gpu.queue.get_timestamp_period());
        Ok(Some(ticks[1].saturating_sub(ticks[0]) as f64 * period * 1e-9))
    }

    /// Weight updates made so far, and the submissions they took.
    pub fn updates(&self) -> (u64, u64) {
        (self.updates, self.submissions)
    }

    /// Dispatches an update takes, the gathering of the batch included.
    pub fn dispatches(&self) -> usize {
        self.launches.len() + 1
    }

    /// The tiles of an update's matrix products: each kind of launch once, in the order of their first.
    pub fn tiles(&self) -> &[TileUse] {
        &self.tile_uses
    }

    /// The weights.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn weights(&self) -> Result<Weights> {
        pollster::block_on(self.weights_async())
    }

    /// As [`GpuSession::weights`], without blocking where there is an event loop.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn weights_async(&self) -> Result<Weights> {
        let layout = &self.slots.layout;
        let theta = self.gpu.read(&self.parameters.theta, 0, layout.theta_bytes()).await?;
        let bias = self.gpu.read(&self.parameters.bias, 0, layout.bias_bytes()).await?;
        let (theta, bias): (&[f32], &[f32]) =
            (&bytemuck::pod_collect_to_vec(&theta), &bytemuck::pod_collect_to_vec(&bias));
        let mut weights = Weights::zeros(&self.plan.network);
        for (l, matrix) in weights.theta.iter_mut().enumerate() {
            let part = &theta[4 * layout.theta[l] as usize..4 * layout.theta[l + 1] as usize];
            let pitch = 4 * quads(matrix.ncols()) as usize;
            for (mut to, from) in matrix.outer_iter_mut().zip(part.chunks_exact(pitch)) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
        for (l, vector) in weights.bias.iter_mut().enumerate() {
            let part = &bias[4 * layout.bias[l] as usize..];
            *vector = Array1::from_vec(part[..vector.len()].to_vec());
        }
        Ok(weights)
    }

    /// Replaces the weights, and forgets what was saved.
    pub fn load(&mut self, weights: &Weights) {
        let layout = &self.slots.layout;
        let write = |buffer: &wgpu::Buffer, at: u64, rows: ArrayView2<'_, f32>| {
            self.gpu.queue.write_buffer(buffer, QUAD * at, bytemuck::cast_slice(&padded(rows)));
        };
        for (l, matrix) in weights.theta.iter().enumerate() {
            write(&self.parameters.theta, layout.theta[l], matrix.view());
        }
        for (l, vector) in weights.bias.iter().enumerate() {
            write(&self.parameters.bias, layout.bias[l], vector.view().insert_axis(Axis(0)));
        }
        self.save();
    }

    /// Keeps a copy of the weights, for [`GpuSession::restore`].
    pub fn save(&mut self) {
        self.copy(&self.parameters, &self.saved);
        self.saved_updates = self.updates;
    }

    /// Goes back to the weights of the last [`GpuSession::save`].
    pub fn restore(&mut self) {
        self.copy(&self.saved, &self.parameters);
        self.updates = self.saved_updates;
    }

    fn copy(&self, from: &Parameters, to: &Parameters) {
        let layout = &self.slots.layout;
        let mut encoder =
            self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copy") });
        encoder.copy_buffer_to_buffer(&from.theta, 0, &to.theta, 0, layout.theta_bytes());
        if layout.bias_bytes() > 0 {
            encoder.copy_buffer_to_buffer(&from.bias, 0, &to.bias, 0, layout.bias_bytes());
        }
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// The first layer l whose θ^l or b^l is not finite, and which of them it is.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn not_finite(&self) -> Result<Option<(usize, &'static str)>> {
        let (gpu, check) = (&self.gpu, &self.finite);
        let lmax = self.plan.network.lmax();
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("finite") });
        encoder.clear_buffer(&check.flags, 0, None);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        check.launch.dispatch(&mut pass, std::slice::from_ref(&check.group));
        drop(pass);
        gpu.queue.submit([encoder.finish()]);
        let flags = pollster::block_on(gpu.read(&check.flags, 0, 8 * lmax as u64))?;
        let flags: Vec<u32> = bytemuck::pod_collect_to_vec(&flags);
        Ok((1..=lmax).find_map(|l| match (flags[l - 1], flags[lmax + l - 1]) {
            (1, _) => Some((l, "the weights")),
            (_, 1) => Some((l, "the biases")),
            _ => None,
        }))
    }

    /// What a slot held at the end of the last update, [batch, n^l].
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    ///
    /// # Panics
    /// For slots that are not kept for reading (φ, θ).
    pub fn slot(&self, slot: Slot) -> Result<Array2<f64>> {
        let (l, buffer) = match slot {
            Slot::X(l) => (l, &self.slots.x),
            Slot::Mu(l) => (l, &self.slots.mu),
            Slot::Eps(l) => (l, &self.eps),
            Slot::Phi(_) | Slot::Theta(_) => panic!("{slot} is no [batch, n] slot of real numbers"),
        };
        let unit = &self.slots.layout.unit;
        let bytes = pollster::block_on(self.gpu.read(buffer, QUAD * unit[l], QUAD * (unit[l + 1] - unit[l])))?;
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let n = self.plan.network.n(l);
        let pitch = 4 * quads(n) as usize;
        Ok(Array2::from_shape_fn((self.batch, n), |(i, j)| f64::from(values[i * pitch + j])))
    }

    /// Predicts every sample of a set, and counts errors and energy.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn score(&mut self, set: Set) -> Result<Score> {
        if self.eval.as_ref().is_none_or(|(made_for, _)| *made_for != set) {
            self.eval = None;
            self.eval = Some((set, Box::new(Eval::new(self, set)?)));
        }
        let Some((_, eval)) = &self.eval else { return Ok(Score::default()) };
        let gpu = &self.gpu;
        let stride = gpu.uniform_stride();
        let (mut batch, mut chunk) = (0, 1);
        while batch < eval.batches {
            let batches = batch..(batch + chunk).min(eval.batches);
            let start = Instant::now();
            let mut encoder =
                gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("score") });
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for batch in batches.clone() {
                let offset = batch as u32 * stride;
                eval.gather.dispatch(&mut pass, offset);
                eval.launches.iter().for_each(|launch| launch.dispatch(&mut pass, &eval.groups));
                pass.set_pipeline(&eval.score.0.pipeline);
                pass.set_bind_group(0, &eval.score.1, &[offset]);
                pass.dispatch_workgroups(EVAL_BATCH.div_ceil(64) as u32, 1, 1);
            }
            drop(pass);
            gpu.queue.submit([encoder.finish()]);
            gpu.wait()?;
            chunk = next_chunk(chunk, batches.len(), start.elapsed(), TARGET, MAX_UPDATES);
            batch = batches.end;
        }
        let bytes = (eval.batches * EVAL_BATCH.div_ceil(64) * 8) as u64;
        let partial = pollster::block_on(gpu.read(&eval.partial, 0, bytes))?;
        let partial: Vec<[u32; 2]> = bytemuck::pod_collect_to_vec(&partial);
        let mut score = Score { samples: self.set(set).samples as u64, ..Score::default() };
        for [energy, errors] in partial {
            score.energy += f64::from(f32::from_bits(energy));
            score.errors += u64::from(errors);
        }
        Ok(score)
    }

    fn set(&self, set: Set) -> &GpuSet {
        match set {
            Set::Train => &self.data.train,
            Set::Test => &self.data.test,
        }
    }
}

impl Eval {
    fn new(session: &GpuSession, set: Set) -> Result<Self> {
        let (gpu, network) = (&session.gpu, &session.plan.network);
        let data = session.set(set);
        let layout = Layout::new(network, EVAL_BATCH, 1);
        gpu.fits_network(network, &layout)?;
        let (h, x, mu) = (
            gpu.buffer("eval h", layout.h_bytes()),
            gpu.buffer("eval x", layout.unit_bytes()),
            gpu.buffer("eval mu", layout.unit_bytes()),
        );
        let slots = Slots { layout, h, x, mu };
        let batches = data.samples.div_ceil(EVAL_BATCH);
        let gather = gpu.gather(network, &slots, data, EVAL_BATCH, data.samples)?;
        let order: Vec<u32> = (0..data.samples as u32).collect();
        gpu.queue.write_buffer(&gather.order, 0, bytemuck::cast_slice(&order));

        let mut table = Table::new(network, &Program::prediction(network.lmax()), &slots.layout, &|shapes| {
            gpu.products.cut(session.tiles.choose(shapes))
        });
        table.finish(network, 0.0, 0.0, 0);
        let (uniforms, jobs) = table.buffers(gpu);
        let p = &session.parameters;
        let (launches, groups) = gpu.ready(&table, network.activation, |_, pipeline| {
            let storage = [&jobs, &p.theta, &p.bias, &slots.h, &slots.mu, &slots.x];
            gpu.bind(pipeline, &uniforms, size_of::<Launch>(), &storage)
        })?;

        let groups_a_batch = EVAL_BATCH.div_ceil(64);
        let partial = gpu.buffer("partial scores", (batches * groups_a_batch * 8) as u64);
        let records: Vec<Batch> = (0..batches)
            .map(|b| Batch {
                base: (b * EVAL_BATCH) as u32,
                batch: EVAL_BATCH as u32,
                count: data.samples as u32,
                width: network.outputs() as u32,
                words: (b * groups_a_batch) as u32,
                outputs: 4 * quads(network.outputs()) as u32,
                ..Batch::default()
            })
            .collect();
        let pipeline = gpu.pipeline(KernelId::Score, Activation::Identity, None)?;
        let records = gpu.uniforms("score", &records);
        let group = gpu.bind(&pipeline, &records, size_of::<Batch>(), &[&data.labels, &slots.mu, &partial]);
        gpu.check()?;
        Ok(Eval { gather, launches, groups, score: (pipeline, group), partial, batches })
    }
}

impl Ready {
    fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, groups: &[wgpu::BindGroup]) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &groups[self.group], &[self.offset]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

impl Gather {
    fn dispatch(&self, pass: &mut wgpu::ComputePass<'_>, offset: u32) {
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[offset]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

impl Table {
    /// Fills in what every launch reads besides its jobs.
    fn finish(&mut self, network: &Network, alpha: f32, gamma: f32, td: u32) {
        for launch in &mut self.launches {
            launch.record = Launch { alpha, gamma, td, bias: u32::from(network.bias), ..launch.record };
        }
    }

    /// Which tile each kind of launch got.
    fn uses(&self, tiles: &Tiles) -> Vec<TileUse> {
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

    /// The uniforms (one a launch) and the jobs, on the device.
    fn buffers(&self, gpu: &GpuDevice) -> (wgpu::Buffer, wgpu::Buffer) {
        let launches: Vec<Launch> = self.launches.iter().map(|launch| launch.record).collect();
        (gpu.uniforms("launches", &launches), gpu.filled("jobs", bytemuck::cast_slice::<Job, u8>(&self.jobs)))
    }
}

impl GpuDevice {
    /// Binds a uniform record of `size` bytes and the kernel's storage buffers, in order.
    fn bind(
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

    /// The launches of an update by `plan`.
    fn update_table(&self, plan: &Plan, layout: &Layout, tiles: &Tiles) -> Table {
        let cut = |shapes: &[Shape]| self.products.cut(tiles.choose(shapes));
        let mut table = Table::new(&plan.network, &Program::new(plan), layout, &cut);
        let alpha = if plan.mean { plan.alpha / layout.batch as f64 } else { plan.alpha } as f32;
        table.finish(&plan.network, alpha, plan.gamma as f32, plan.td);
        table
    }

    /// The launches of a table with their pipelines, and one bind group a kernel and tile.
    fn ready(
        &self,
        table: &Table,
        activation: Activation,
        bind: impl Fn(KernelId, &Pipeline) -> wgpu::BindGroup,
    ) -> Result<(Vec<Ready>, Vec<wgpu::BindGroup>)> {
        let (mut groups, mut kernels) = (Vec::new(), Vec::new());
        let mut launches = Vec::new();
        for (i, launch) in table.launches.iter().enumerate() {
            let pipeline = self.pipeline(launch.kernel, activation, launch.cut)?;
            // A bind group belongs to a pipeline's layout, and every tile of a kernel is a pipeline.
            let key = (launch.kernel, launch.cut);
            let group = kernels.iter().position(|k| *k == key).unwrap_or_else(|| {
                kernels.push(key);
                groups.push(bind(launch.kernel, &pipeline));
                groups.len() - 1
            });
            let grid = self.grid(u64::from(launch.record.tiles))?;
            launches.push(Ready { pipeline, group, offset: i as u32 * self.uniform_stride(), grid });
        }
        Ok((launches, groups))
    }

    /// Folds a number of workgroups into two dimensions.
    fn grid(&self, groups: u64) -> Result<(u32, u32)> {
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

    /// The gathering of `count` samples of a set, in batches of `batch`.
    fn gather(&self, network: &Network, slots: &Slots, set: &GpuSet, batch: usize, count: usize) -> Result<Gather> {
        let lmax = network.lmax();
        let records: Vec<Batch> = (0..count.div_ceil(batch))
            .map(|b| Batch {
                base: (b * batch) as u32,
                batch: batch as u32,
                count: count as u32,
                width: network.inputs() as u32,
                words: set.words as u32,
                outputs: network.outputs() as u32,
                input: slots.layout.h[lmax][0] as u32,
                spare: 0,
            })
            .collect();
        let order_bytes = 4 * count as u64;
        self.fits("the order of the samples", order_bytes, "choose a smaller --batch")?;
        let order = self.buffer("order", order_bytes);
        let scale: Vec<f32> = (0..=255u8).map(|v| f32::from(v) / 255.0).collect();
        let scale = self.filled("pixel scale", bytemuck::cast_slice(&scale));
        let pipeline = self.pipeline(KernelId::Gather, network.drive(lmax), None)?;
        let storage = [&set.images, &set.labels, &order, &scale, &slots.h, &slots.x];
        let group = self.bind(&pipeline, &self.uniforms("batches", &records), size_of::<Batch>(), &storage);
        let threads = batch as u64 * (set.words as u64 + quads(network.outputs()));
        Ok(Gather { pipeline, group, order, grid: self.grid(threads.div_ceil(u64::from(ELEMENTS)))? })
    }

    /// The check of θ^1 .. θ^{lmax} and then b^1 .. b^{lmax}, a flag each.
    fn finite(&self, network: &Network, layout: &Layout, parameters: &Parameters) -> Result<Finite> {
        let lmax = network.lmax();
        let job = |offsets: &[u64], l: usize, out: usize, flags: u32| Job {
            m: (offsets[l + 1] - offsets[l]) as u32,
            left: offsets[l] as u32,
            out: out as u32,
            flags,
            ..Job::default()
        };
        let mut table = Table::default();
        let thetas = (0..lmax).map(|l| job(&layout.theta, l, l, 0));
        let biases = (0..lmax).map(|l| job(&layout.bias, l, lmax + l, 1));
        table.elements(KernelId::Finite, thetas.chain(biases));
        let flags = self.buffer("flags", 8 * lmax as u64);
        let (uniforms, jobs) = table.buffers(self);
        let pipeline = self.pipeline(KernelId::Finite, Activation::Identity, None)?;
        let storage = [&jobs, &parameters.theta, &parameters.bias, &flags];
        let group = self.bind(&pipeline, &uniforms, size_of::<Launch>(), &storage);
        let grid = self.grid(u64::from(table.launches[0].record.tiles))?;
        Ok(Finite { launch: Ready { pipeline, group: 0, offset: 0, grid }, group, flags })
    }

    fn timer(&self) -> Timer {
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
