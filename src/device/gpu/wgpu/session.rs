//! A training session on a GPU: buffers, bind groups and submissions.
//!
//! The constructor creates all pipelines, buffers and bind groups, so that a submission only binds them and dispatches.
//! Many updates are recorded into one submission with one compute pass, without read-back between them.

use super::bindings::{BoundLaunch, Finite, Gather, Timer, by_pass};
use super::examples::Examples;
use super::predict::Forward;
use super::score::Eval;
use super::submit::{Pace, launches};
use super::{GpuData, GpuDevice, GpuSet};
use crate::data::{Data, Set};
use crate::device::gpu::TuneFile;
use crate::device::gpu::job_table::{BufferId, JobRecord, Layout, QUAD, Table, matrix, quads, shared, size};
use crate::device::gpu::tile::{Shape, TileUse, Tiles};
use crate::device::gpu::{Precision, codegen};
use crate::device::{
    Backend, Compiled, Device, NEVER, Pending, Resident, SavedSlot, Score, Session, Usage, check_weights, host_bytes,
    kept_for, persistent_slots, ready, runnable,
};
use crate::error::{Error, Result};
use crate::lower::{Place, Program};
use crate::memory;
use crate::plan::augment::Augment;
use crate::plan::expr::SlotId;
use crate::plan::{Domain, Draw, Plan, Weights, What};
use ndarray::{Array1, Array2, ArrayView2, Axis};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

/// Maximum number of updates per submission.
pub(super) const MAX_UPDATES: usize = 1024;
/// Maximum number of samples per submission, which bounds the memory for sample indices.
const MAX_SAMPLES: usize = 1 << 22;
/// Batch size of evaluations and predictions.
pub(super) const EVAL_BATCH: usize = 256;

/// Converts rows to the layout of the device: row-major, each row padded with zeros to whole quads.
pub(super) fn padded(rows: ArrayView2<'_, f32>) -> Vec<f32> {
    let pitch = 4 * quads(rows.ncols()) as usize;
    let mut to = vec![0.0; rows.nrows() * pitch];
    for (to, from) in to.chunks_exact_mut(pitch.max(1)).zip(rows.outer_iter()) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    to
}

/// Removes the padding of rows of `columns` values: the inverse of [`padded`].
pub(super) fn unpadded(values: &[f32], columns: usize) -> Array2<f32> {
    let pitch = 4 * quads(columns) as usize;
    let rows = values.len() / pitch.max(1);
    Array2::from_shape_fn((rows, columns), |(i, j)| values[i * pitch + j])
}

/// Maximum number of updates of `batch` samples per submission.
pub(super) fn max_updates(batch: usize) -> usize {
    (MAX_SAMPLES / batch).clamp(1, MAX_UPDATES)
}

/// The buffers of a program at one batch size.
pub(super) struct Buffers {
    pub(super) layout: Layout,
    all: BTreeMap<BufferId, wgpu::Buffer>,
}

impl Buffers {
    pub(super) fn of(&self, id: BufferId) -> Option<&wgpu::Buffer> {
        self.all.get(&id)
    }

    /// The buffer of a place, and its offset in bytes.
    pub(super) fn at(&self, place: Place) -> Option<(&wgpu::Buffer, u64)> {
        let at = self.layout.of(place)?;
        Some((self.of(at.buffer)?, QUAD * at.quads))
    }

    /// As [`Buffers::at`], for the first half of a slot's double buffer.
    pub(super) fn home(&self, slot: SlotId) -> Option<(&wgpu::Buffer, u64)> {
        self.at(Place { slot, half: 0 })
    }
}

/// A network in training on a GPU.
pub struct GpuSession {
    pub(super) gpu: GpuDevice,
    /// The lowered plan, used for updates and for evaluations.
    pub(super) lowered: Arc<Lowered>,
    pub(super) plan: Plan,
    pub(super) batch: usize,
    pub(super) data: Arc<GpuData>,
    pub(super) buffers: Buffers,
    /// Copies of the persistent buffers at the last save.
    saved: BTreeMap<BufferId, wgpu::Buffer>,
    saved_updates: u64,
    pub(super) updates: u64,
    /// Where each slot's value lies after an update.
    last: Vec<Place>,
    pub(super) gather: Gather,
    pub(super) tiles: Tiles,
    tile_uses: Vec<TileUse>,
    /// The launches of each pass, with its repeat count.
    pub(super) passes: Vec<(u32, Vec<BoundLaunch>)>,
    pub(super) groups: Vec<wgpu::BindGroup>,
    finite: Finite,
    pub(super) examples: Option<Examples>,
    pub(super) timer: Option<Timer>,
    pub(super) pace: Pace,
    pub(super) submissions: u64,
    eval: Option<(Set, Box<Eval>)>,
    /// Pace of the last evaluation. It applies to the training set and the test set, since their evaluations have the
    /// same launches.
    eval_pace: Option<Pace>,
    forward: Option<Box<Forward>>,
}

impl GpuDevice {
    /// Starts a session that trains with `plan` on an uploaded data set.
    ///
    /// # Errors
    /// [`Error::Usage`] for a plan that a GPU cannot run (C1 broken, or an epilogue with too many slots), and for a batch, weights or
    /// data that do not match; [`Error::Limit`] when a buffer exceeds the device's limits; [`Error::Gpu`] when the device fails or is
    /// out of memory.
    pub fn session(&self, plan: &Plan, batch: usize, data: Arc<GpuData>, weights: &Weights) -> Result<GpuSession> {
        self.session_with(plan, batch, data, weights, &self.tiles())
    }

    /// The measured tiles for this adapter, else the defaults. A damaged tune file causes a warning and counts as empty, because tiles
    /// do not change results. [`TuneFile::open`] returns the error.
    pub fn tiles(&self) -> Tiles {
        match TuneFile::open() {
            Ok(file) => Tiles::Measured(file.tiles(&self.summary)),
            Err(error) => {
                log::warn!("{error}");
                Tiles::Default
            }
        }
    }

    /// As [`GpuDevice::session`], with tiles chosen by the caller. Tiles affect the time but no result.
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
        GpuSession::new(self, self.lower(plan, batch)?, batch, data, weights, tiles)
    }

    /// Lowers a plan, and checks that a GPU can run it.
    fn lower(&self, plan: &Plan, batch: usize) -> Result<Arc<Lowered>> {
        let plan = runnable(plan, batch)?.into_owned();
        if plan.ops().any(|op| matches!(op.what, What::Draw(Draw::Normal { .. }))) {
            return Err(Error::usage("breaking C1 (sigma > 0) runs on the CPU only: use the CPU device"));
        }
        let program = Program::new(&plan);
        check_sizes(&plan, &program)?;
        Ok(Arc::new(Lowered { plan, program, prediction: OnceLock::new() }))
    }

    /// Checks every buffer of a plan at this batch size against the device's limits; with `evaluates` also the buffers
    /// of evaluations.
    fn fits_lowered(&self, lowered: &Lowered, batch: usize, evaluates: bool) -> Result<()> {
        let layout = Layout::new(&lowered.plan, &lowered.program, batch, self.room / QUAD);
        self.fits_layout(&lowered.plan, &layout)?;
        if !evaluates {
            return Ok(());
        }
        let (prediction, program) = lowered.prediction();
        self.fits_layout(prediction, &layout.beside(prediction, program, EVAL_BATCH))
    }

    /// Checks every buffer that training needs against the device's limits.
    pub(super) fn fits_layout(&self, plan: &Plan, layout: &Layout) -> Result<()> {
        let network = &plan.task.network;
        for (s, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| shared(slot.home)) {
            let bytes = QUAD * size(plan, slot.home, layout.batch);
            if bytes <= self.room || layout.home(SlotId(s)).is_none() {
                continue;
            }
            let shape = match slot.home {
                Domain::Connections(p) => {
                    let (to, from) = crate::device::gpu::job_table::ends(plan, p);
                    let biases = if plan.biased(p) { " with biases" } else { "" };
                    format!(" ({to} × {from}{biases})")
                }
                home => format!(" ({} values)", plan.extent(home)),
            };
            let what = format!("{}{shape} of {network}", slot.symbol);
            self.fits_in(self.room, &what, bytes, "choose smaller --layers, another --device, or the CPU device")?;
        }
        for ((name, _), (length, _)) in layout.buffers.iter().filter(|(_, (_, shared))| !shared) {
            let what = if *name == "h" { "activations" } else { "values of the units" };
            let what = format!("the {what} of {network} at batch {}", layout.batch);
            self.fits(&what, QUAD * length, "choose a smaller --batch, smaller --layers, or the CPU device")?;
        }
        Ok(())
    }

    /// Creates the buffers of a layout. If `of` is given, buffers of [`shared`] slots are taken from there.
    pub(super) fn buffers(&self, layout: Layout, of: Option<&Buffers>) -> Buffers {
        let make = |(id, (length, shared)): (&BufferId, &(u64, bool))| {
            let shared = of.filter(|_| *shared).and_then(|of| of.of(*id)).cloned();
            (*id, shared.unwrap_or_else(|| self.buffer(id.0, QUAD * length)))
        };
        let all = layout.buffers.iter().map(make).collect();
        Buffers { layout, all }
    }
}

impl Backend for GpuDevice {
    fn name(&self) -> String {
        self.summary().name.clone()
    }

    fn kind(&self) -> &'static str {
        "gpu"
    }

    fn driver(&self) -> String {
        match self.precision() {
            Precision::Float32 => self.summary().full_driver(),
            Precision::Mixed => format!("{}, mixed precision", self.summary().full_driver()),
        }
    }

    fn software(&self) -> bool {
        self.summary().software
    }

    fn can_be_lost(&self) -> bool {
        true
    }

    fn reopen(&self) -> Pending<'_, Device> {
        Box::pin(async { self.reopen_async().await.map(Device::from) })
    }

    fn upload(&self, data: &Arc<Data>) -> Result<Resident> {
        GpuDevice::upload(self, data).map(Resident::new)
    }

    fn compile(&self, plan: &Plan, run: Usage) -> Result<Arc<dyn Compiled>> {
        let lowered = self.lower(plan, run.batch)?;
        self.fits_lowered(&lowered, run.batch, run.trains)?;
        let what = || format!("the host's part of training {}", plan.task.network);
        // Recovery from a lost device needs the last checkpoint until the next one is complete, so two copies are held.
        let copies = if run.trains { 2 } else { 1 };
        let needed = (copies * host_bytes(plan, run.trains)).saturating_sub(run.held);
        memory::check(what, needed, "choose smaller --layers")?;
        Ok(Arc::new(GpuCompiled { gpu: self.clone(), lowered, batch: run.batch }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A plan after the GPU's transformations, and its program.
pub(super) struct Lowered {
    plan: Plan,
    program: Program,
    /// The prediction stage; the first evaluation lowers it.
    prediction: OnceLock<(Plan, Program)>,
}

impl Lowered {
    /// The plan of the prediction stage, and its program.
    pub(super) fn prediction(&self) -> &(Plan, Program) {
        self.prediction.get_or_init(|| {
            let plan = self.plan.prediction();
            let program = Program::new(&plan);
            (plan, program)
        })
    }
}

/// A plan compiled for a GPU.
struct GpuCompiled {
    gpu: GpuDevice,
    lowered: Arc<Lowered>,
    batch: usize,
}

impl Compiled for GpuCompiled {
    fn plan(&self) -> &Plan {
        &self.lowered.plan
    }

    fn session(&self, data: &Resident, weights: &Weights, _held: u64) -> Result<Box<dyn Session>> {
        let (data, lowered) = (data.get::<GpuData>()?, Arc::clone(&self.lowered));
        let session = GpuSession::new(&self.gpu, lowered, self.batch, data, weights, &self.gpu.tiles())?;
        Ok(Box::new(session))
    }
}

/// Refuses launches whose jobs use more buffers or slots than a shader can.
fn check_sizes(plan: &Plan, program: &Program) -> Result<()> {
    for launch in program.launches() {
        let (buffers, leaves, result) = codegen::sizes(plan, launch);
        if buffers > codegen::MAX_BUFFERS || leaves > codegen::MAX_LEAVES {
            return Err(Error::usage(format!(
                "the plan of {} cannot run on a GPU: the op that writes {result} uses {leaves} slots in {buffers} buffers; the \
                 limits are {} slots and {} buffers. Split the op",
                plan.task.rule,
                codegen::MAX_LEAVES,
                codegen::MAX_BUFFERS
            )));
        }
    }
    Ok(())
}

impl GpuSession {
    fn new(
        gpu: &GpuDevice,
        lowered: Arc<Lowered>,
        batch: usize,
        data: Arc<GpuData>,
        weights: &Weights,
        tiles: &Tiles,
    ) -> Result<Self> {
        let Lowered { plan, program, .. } = &*lowered;
        check_weights(plan, weights)?;
        data.fits(plan)?;
        let layout = Layout::new(plan, program, batch, gpu.room / QUAD);
        gpu.fits_layout(plan, &layout)?;
        let buffers = gpu.buffers(layout, None);
        let persistent = buffers.layout.buffers.iter().filter(|(_, (_, shared))| *shared);
        let saved = persistent.map(|(id, (length, _))| (*id, gpu.buffer("saved", QUAD * length))).collect();
        gpu.check()?;

        let cut = |shapes: &[Shape]| gpu.products.cut(tiles.choose(shapes));
        let table = Table::new(plan, program, &buffers.layout, &cut);
        let advice = "choose fewer --steps, --schedule frontier, or the CPU device";
        gpu.fits("the table of an update's launches", (table.jobs.len() * size_of::<JobRecord>()) as u64, advice)?;
        let augment = plan.images().map_or(Augment::NONE, |(_, images)| images.augment);
        let gather = gpu.gather(plan, &buffers, &data.train, (batch, max_updates(batch) * batch), augment)?;
        let (ready, groups) = gpu.ready(&table, &buffers, &gather.now)?;
        let passes = by_pass(program, ready);
        let finite = gpu.finite(plan, &buffers, &gather.now)?;
        let examples = gpu.examples(plan, &buffers, &gather.order, (data.train.samples, batch), max_updates(batch))?;
        let timer = gpu.has_timestamps().then(|| gpu.timer());
        let mut session = GpuSession {
            gpu: gpu.clone(),
            plan: plan.clone(),
            batch,
            data,
            buffers,
            saved,
            saved_updates: 0,
            updates: 0,
            last: program.last.clone(),
            gather,
            tiles: tiles.clone(),
            tile_uses: table.uses(tiles),
            groups,
            finite,
            examples,
            timer,
            pace: Pace::first(launches(&passes), plan.cost(batch).flops),
            passes,
            submissions: 0,
            eval: None,
            eval_pace: None,
            forward: None,
            lowered,
        };
        for tile in &session.tile_uses {
            log::info!("{tile}");
        }
        session.load_weights(weights);
        session.gpu.check()?;
        Ok(session)
    }

    /// Number of dispatches per update, including the one that gathers the batch.
    pub fn dispatches(&self) -> usize {
        launches(&self.passes) + 1
    }

    /// Number of buffers that hold the weights: one, if a buffer has room for all of them.
    pub fn weight_buffers(&self) -> usize {
        self.buffers.layout.buffers.keys().filter(|(name, _)| *name == "theta").count()
    }

    /// Reads back the weights.
    pub(super) async fn weights_async(&self) -> Result<Weights> {
        let mut weights = self.plan.zero_weights();
        for l in 1..=self.plan.matrices() {
            let Some(slot) = self.plan.theta(l) else { continue };
            let (theta, bias) = self.connections(slot).await?;
            weights.theta[l - 1] = theta;
            if let (Some(to), Some(bias)) = (weights.bias.get_mut(l - 1), bias) {
                *to = bias;
            }
        }
        Ok(weights)
    }

    /// Reads back a slot of connections: [n_to, n_from], and `[n_to]` if there are biases.
    async fn connections(&self, slot: SlotId) -> Result<(Array2<f32>, Option<Array1<f32>>)> {
        let Domain::Connections(p) = self.plan.slot(slot).home else { return Ok((Array2::zeros((0, 0)), None)) };
        let (to, from) = crate::device::gpu::job_table::ends(&self.plan, p);
        let values = self.values_of(slot).await?;
        let (theta, bias) = values.split_at(4 * matrix(to, from) as usize);
        let bias = self.plan.biased(p).then(|| Array1::from_vec(bias[..to].to_vec()));
        Ok((unpadded(theta, from), bias))
    }

    /// Replaces the weights, sets all other persistent slots to their initial values, and saves that state.
    fn load_weights(&mut self, weights: &Weights) {
        for (s, slot) in self.plan.slots.iter().enumerate().filter(|(_, slot)| slot.persistent) {
            let Some((buffer, at)) = self.buffers.home(SlotId(s)) else { continue };
            let values = match slot.home {
                Domain::Connections(_) => {
                    let (matrix, bias) = self.plan.initial(SlotId(s), weights);
                    let mut values = padded(matrix.view());
                    values.extend(bias.into_iter().flat_map(|b| padded(b.view().insert_axis(Axis(0)))));
                    values
                }
                home => vec![0.0; 4 * size(&self.plan, home, self.batch) as usize],
            };
            self.gpu.queue.write_buffer(buffer, at, bytemuck::cast_slice(&values));
        }
        self.save_state();
    }

    async fn lasting_async(&self) -> Result<Vec<SavedSlot>> {
        let mut all = Vec::new();
        for (slot, key, at) in persistent_slots(&self.plan) {
            let (numbers, bias) = match self.plan.slot(slot).home {
                Domain::Connections(_) => self.connections(slot).await?,
                home => (unpadded(&self.values_of(slot).await?, self.plan.extent(home)), None),
            };
            all.push(SavedSlot { key, at, numbers, bias });
        }
        Ok(all)
    }

    fn save_state(&mut self) {
        self.copy(|id| Some((self.buffers.of(id)?, self.saved.get(&id)?)));
        self.examples.iter().for_each(|examples| examples.save(&self.gpu));
        self.saved_updates = self.updates;
    }

    fn copy<'a>(&'a self, pair: impl Fn(BufferId) -> Option<(&'a wgpu::Buffer, &'a wgpu::Buffer)>) {
        let mut encoder =
            self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("copy") });
        for (id, (length, _)) in self.buffers.layout.buffers.iter().filter(|(_, (length, _))| *length > 0) {
            if let Some((from, to)) = pair(*id) {
                encoder.copy_buffer_to_buffer(from, 0, to, 0, QUAD * length);
            }
        }
        self.gpu.queue.submit([encoder.finish()]);
    }

    async fn not_finite_async(&self) -> Result<Option<(usize, &'static str)>> {
        let (gpu, check) = (&self.gpu, &self.finite);
        let all = self.plan.matrices();
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("finite") });
        encoder.clear_buffer(&check.flags, 0, None);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        check.launches.iter().for_each(|launch| launch.dispatch(&mut pass, &check.groups));
        drop(pass);
        gpu.queue.submit([encoder.finish()]);
        let flags = gpu.read(&check.flags, 0, 8 * all as u64).await?;
        let flags: Vec<u32> = bytemuck::pod_collect_to_vec(&flags);
        Ok((1..=all).find_map(|l| match (flags[l - 1], flags[all + l - 1]) {
            (1, _) => Some((l, "the weights")),
            (_, 1) => Some((l, "the biases")),
            _ => None,
        }))
    }

    pub(super) async fn slot_async(&self, slot: SlotId) -> Result<Option<Array2<f64>>> {
        if self.buffers.layout.home(self.last[slot.0].slot).is_none() {
            return Ok(None);
        }
        Ok(Some(match self.plan.slot(slot).home {
            Domain::Connections(_) => self.connections(slot).await?.0.mapv(f64::from),
            home @ (Domain::Units(_) | Domain::Vector(_) | Domain::BatchScalar(_)) => {
                let rows = unpadded(&self.values_of(slot).await?, self.plan.extent(home)).mapv(f64::from);
                // The units of all positions of a grid form one row.
                let places = if let Domain::Units(p) = home { self.plan.populations[p].places } else { 1 };
                let shape = (rows.nrows() / places, places * rows.ncols());
                rows.into_shape_with_order(shape).unwrap_or_default()
            }
            Domain::Samples(_) => {
                let all = self.values_of(slot).await?;
                Array2::from_shape_fn((self.batch, 1), |(i, _)| f64::from(all[i]))
            }
        }))
    }

    /// Reads back the values of a slot in the device's layout. If lowering has eliminated the copy that wrote this
    /// slot, the values are read from the source slot of the copy.
    async fn values_of(&self, slot: SlotId) -> Result<Vec<f32>> {
        let place = self.last[slot.0];
        let declared = self.plan.slot(place.slot);
        let Some((buffer, at)) = self.buffers.at(place) else { return Ok(Vec::new()) };
        let bytes = self.gpu.read(buffer, at, QUAD * size(&self.plan, declared.home, self.batch)).await?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    async fn score_async(&mut self, set: Set, stop: &AtomicBool) -> Result<Option<Score>> {
        if self.eval.as_ref().is_none_or(|(evaluated, _)| *evaluated != set) {
            self.eval = None;
            self.eval = Some((set, Box::new(Eval::new(self, set)?)));
        }
        let Some((_, eval)) = &self.eval else { return Ok(None) };
        let mut pace = self.eval_pace;
        let score = eval.score(self, stop, &mut pace).await;
        self.eval_pace = pace;
        score
    }

    async fn predict_async(&mut self, inputs: &Array2<f32>) -> Result<Array2<f32>> {
        let forward = match self.forward.take() {
            Some(forward) => forward,
            None => Box::new(Forward::new(self)?),
        };
        let outputs = forward.predict(self, inputs).await;
        self.forward = Some(forward);
        outputs
    }

    pub(super) fn set(&self, set: Set) -> &GpuSet {
        match set {
            Set::Train => &self.data.train,
            Set::Test => &self.data.test,
        }
    }
}

impl Session for GpuSession {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn run_until<'a>(&'a mut self, order: &'a [u32], stop: &'a AtomicBool) -> Pending<'a, Option<usize>> {
        Box::pin(async move { Ok(self.run_in_chunks(order, false, stop).await?.0) })
    }

    fn run_timed<'a>(&'a mut self, order: &'a [u32]) -> Pending<'a, Option<f64>> {
        Box::pin(async move { Ok(self.run_in_chunks(order, true, &NEVER).await?.1) })
    }

    fn step<'a>(&'a mut self, feeds: &'a [(SlotId, ArrayView2<'a, f32>)]) -> Pending<'a, ()> {
        ready(self.step_fed(feeds))
    }

    fn predict<'a>(&'a mut self, inputs: &'a Array2<f32>) -> Pending<'a, Array2<f32>> {
        Box::pin(self.predict_async(inputs))
    }

    fn score_until<'a>(&'a mut self, set: Set, stop: &'a AtomicBool) -> Pending<'a, Option<Score>> {
        Box::pin(self.score_async(set, stop))
    }

    fn weights(&self) -> Pending<'_, Weights> {
        Box::pin(self.weights_async())
    }

    fn not_finite(&self) -> Pending<'_, Option<(usize, &'static str)>> {
        Box::pin(self.not_finite_async())
    }

    fn slot(&self, slot: SlotId) -> Pending<'_, Option<Array2<f64>>> {
        Box::pin(self.slot_async(slot))
    }

    fn persistent(&self) -> Pending<'_, Vec<SavedSlot>> {
        Box::pin(self.lasting_async())
    }

    fn examples(&self) -> Pending<'_, Vec<Array2<f32>>> {
        match &self.examples {
            Some(examples) => Box::pin(examples.numbers(&self.gpu)),
            None => ready(Ok(Vec::new())),
        }
    }

    fn load(&mut self, weights: &Weights) {
        self.load_weights(weights);
    }

    fn put(&mut self, kept: &[SavedSlot]) {
        for (slot, key, at) in persistent_slots(&self.plan) {
            let Some(SavedSlot { numbers, bias, .. }) = kept_for(&self.plan, slot, key, at, kept) else { continue };
            let Some((buffer, at)) = self.buffers.home(slot) else { continue };
            let mut values = padded(numbers.view());
            if matches!(self.plan.slot(slot).home, Domain::Connections(p) if self.plan.biased(p)) {
                values.extend(bias.iter().flat_map(|b| padded(b.view().insert_axis(Axis(0)))));
            }
            self.gpu.queue.write_buffer(buffer, at, bytemuck::cast_slice(&values));
        }
    }

    fn put_examples(&mut self, values: &[Array2<f32>]) {
        self.examples.iter().for_each(|examples| examples.fill(&self.gpu, values));
    }

    fn save(&mut self) {
        self.save_state();
    }

    fn restore(&mut self) {
        self.copy(|id| Some((self.saved.get(&id)?, self.buffers.of(id)?)));
        self.examples.iter().for_each(|examples| examples.restore(&self.gpu));
        self.updates = self.saved_updates;
    }

    fn updates(&self) -> u64 {
        self.updates
    }

    fn set_updates(&mut self, updates: u64) {
        self.updates = updates;
    }

    fn submissions(&self) -> u64 {
        self.submissions
    }

    fn tiles(&self) -> &[TileUse] {
        &self.tile_uses
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
