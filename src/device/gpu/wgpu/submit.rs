//! Chooses how much work goes into a submission: many short updates share one, and a long update is split into several. A driver resets
//! a device that works on one submission for too long (two seconds under Windows), and the contents of its memory are then lost.

use super::GpuDevice;
use super::bindings::{BoundLaunch, dispatch, numbers};
use super::session::{GpuSession, max_updates, padded};
use crate::device::{next_chunk, stop_within};
use crate::error::{Error, Result};
use crate::plan::expr::SlotId;
use ndarray::ArrayView2;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Target duration of a submission. It is long compared with the overhead of a submission, and far below the watchdog
/// timeout of any driver.
pub(super) const TARGET: Duration = Duration::from_millis(400);
/// Floating-point operations of the first submission, before any time is measured. They take half a second at 0.1
/// GFLOP/s, the speed of a software GPU at convolutions. On a faster device the small value costs a few additional
/// submissions at the start.
const FIRST: u64 = 50_000_000;

/// The amount of work per submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Updates per submission, or batches of an evaluation.
    pub(super) updates: usize,
    /// Submissions per update. If it is above 1, `updates` is 1.
    pub(super) parts: usize,
    /// Launches of an update: the upper limit of `parts`.
    launches: usize,
}

impl Pace {
    /// The pace before the first measurement, for updates of `launches` launches and `flops` operations.
    pub(super) fn first(launches: usize, flops: u64) -> Pace {
        let launches = launches.max(1);
        Pace { updates: 1, parts: (flops.div_ceil(FIRST).max(1)).min(launches as u64) as usize, launches }
    }

    /// The pace with every update split into `parts` submissions.
    pub(super) fn cut(self, parts: usize) -> Pace {
        Pace { updates: 1, parts: parts.clamp(1, self.launches), ..self }
    }

    /// The pace after `done` updates whose longest submission took `longest`, with at most `most` updates per submission.
    pub(super) fn after(self, done: usize, longest: Duration, most: usize) -> Pace {
        let cut = self.parts > 1 || (self.updates == 1 && longest > 2 * TARGET);
        if !cut {
            return Pace { updates: next_chunk(self.updates, done, longest, TARGET, most), ..self };
        }
        // Launches differ in duration, so the split is not changed while the longest part is within this range.
        if longest > TARGET / 4 && longest <= 2 * TARGET {
            return self;
        }
        let ratio = longest.as_secs_f64() / TARGET.as_secs_f64();
        self.cut((self.parts as f64 * ratio).ceil() as usize)
    }

    /// The range of launches in part `part`.
    pub(super) fn part(&self, part: usize) -> Range<usize> {
        self.launches * part / self.parts..self.launches * (part + 1) / self.parts
    }
}

/// Number of launches of all passes, with repetitions.
pub(super) fn launches(passes: &[(u32, Vec<BoundLaunch>)]) -> usize {
    passes.iter().map(|(times, launches)| *times as usize * launches.len()).sum()
}

/// Dispatches the launches with indices in `part`; indices count all repetitions of all passes.
pub(super) fn dispatch_part(
    pass: &mut wgpu::ComputePass<'_>,
    passes: &[(u32, Vec<BoundLaunch>)],
    groups: &[wgpu::BindGroup],
    part: Range<usize>,
) {
    let mut first = 0;
    for (times, launches) in passes {
        let behind = first + *times as usize * launches.len();
        for i in part.start.max(first)..part.end.min(behind) {
            launches[(i - first) % launches.len()].dispatch(pass, groups);
        }
        first = behind;
    }
}

impl GpuDevice {
    /// Records a compute pass, submits it and waits for its end; returns the elapsed time.
    pub(super) fn submit_pass(&self, label: &str, record: impl FnOnce(&mut wgpu::ComputePass<'_>)) -> Result<Duration> {
        let start = Instant::now();
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some(label) });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        record(&mut pass);
        drop(pass);
        self.queue.submit([encoder.finish()]);
        self.wait()?;
        Ok(start.elapsed())
    }
}

impl GpuSession {
    /// Runs the updates of `order` until `stop` is set. Returns two values. The first is the number of updates, or `None` if one was
    /// interrupted. The second is their time in seconds from timestamp queries, if `timed` and if the device supports them.
    pub(super) async fn run_in_chunks(
        &mut self,
        order: &[u32],
        timed: bool,
        stop: &AtomicBool,
    ) -> Result<(Option<usize>, Option<f64>)> {
        let samples = self.data.train.samples;
        if let Some(bad) = order.iter().find(|&&s| s as usize >= samples) {
            return Err(Error::usage(format!(
                "there is no sample {bad}: the set has {samples} samples, counted from 0"
            )));
        }
        let mut seconds = (timed && self.timer.is_some()).then_some(0.0);
        let within = stop_within(order, self.batch, stop);
        let mut left = &order[..order.len() / self.batch * self.batch];
        let mut done = 0;
        while !left.is_empty() && !stop.load(Ordering::Relaxed) {
            let updates = self.pace.updates.min(left.len() / self.batch);
            let (now, later) = left.split_at(updates * self.batch);
            let start = Instant::now();
            let (device, longest) = match self.pace.parts {
                1 => (self.submit(now, timed).await?, start.elapsed()),
                _ => match self.submit_parts(now, within)? {
                    Some(longest) => (None, longest),
                    None => return Ok((None, None)),
                },
            };
            done += updates;
            self.pace = self.pace.after(updates, longest, max_updates(self.batch));
            seconds = seconds.zip(device).map(|(sum, more)| sum + more);
            left = later;
        }
        Ok((Some(done), seconds))
    }

    /// Splits every update into `parts` submissions, at most one per launch, until the measured times change the split. Results do
    /// not change.
    pub fn cut(&mut self, parts: usize) {
        self.pace = self.pace.cut(parts);
    }

    /// Number of submissions per update.
    pub fn parts(&self) -> usize {
        self.pace.parts
    }

    /// Uploads the data that the updates of a submission read in addition to slots: sample indices, random keys and
    /// parameters.
    fn write_numbers(&self, order: &[u32]) {
        let gpu = &self.gpu;
        let updates = (order.len() / self.batch) as u64;
        gpu.queue.write_buffer(&self.gather.order, 0, bytemuck::cast_slice(order));
        let numbers: Vec<u32> = (0..updates).flat_map(|n| numbers(&self.plan, self.updates + n, self.batch)).collect();
        gpu.queue.write_buffer(&self.gather.all, 0, bytemuck::cast_slice(&numbers));
    }

    /// Runs one update in several submissions. Returns the time of the longest one, or `None` if `stop` was set between
    /// them. It records no timestamps, since these would not include the pauses between submissions.
    fn submit_parts(&mut self, order: &[u32], stop: &AtomicBool) -> Result<Option<Duration>> {
        self.write_numbers(order);
        let mut longest = Duration::ZERO;
        for part in 0..self.pace.parts {
            if part > 0 && stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let took = self.gpu.submit_pass("part of an update", |pass| {
                if part == 0 {
                    self.gather.dispatch(pass, 0);
                    self.examples.iter().for_each(|examples| examples.put(&self.gpu, pass, 0));
                }
                dispatch_part(pass, &self.passes, &self.groups, self.pace.part(part));
                if part + 1 == self.pace.parts {
                    self.examples.iter().for_each(|examples| examples.take(&self.gpu, pass, 0));
                }
            })?;
            longest = longest.max(took);
        }
        self.submissions += self.pace.parts as u64;
        self.updates += 1;
        Ok(Some(longest))
    }

    /// Submits one compute pass: for each update it gathers the batch, then runs every launch.
    async fn submit(&mut self, order: &[u32], timed: bool) -> Result<Option<f64>> {
        let gpu = &self.gpu;
        let timer = self.timer.as_ref().filter(|_| timed);
        let updates = order.len() / self.batch;
        self.write_numbers(order);
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("updates") });
        let writes = timer.map(|t| wgpu::ComputePassTimestampWrites {
            query_set: &t.queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let descriptor = wgpu::ComputePassDescriptor { label: Some("updates"), timestamp_writes: writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        for update in 0..updates {
            self.gather.dispatch(&mut pass, update as u32 * gpu.uniform_stride());
            self.examples.iter().for_each(|examples| examples.put(gpu, &mut pass, update));
            dispatch(&mut pass, &self.passes, &self.groups);
            self.examples.iter().for_each(|examples| examples.take(gpu, &mut pass, update));
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
        let ticks = gpu.map(&t.readable, 16).await?;
        let ticks: &[u64] = &bytemuck::pod_collect_to_vec::<u8, u64>(&ticks);
        let period = f64::from(gpu.queue.get_timestamp_period());
        Ok(Some(ticks[1].saturating_sub(ticks[0]) as f64 * period * 1e-9))
    }

    /// See [`crate::device::Session::step`].
    pub(super) fn step_fed(&mut self, feeds: &[(SlotId, ArrayView2<'_, f32>)]) -> Result<()> {
        let gpu = &self.gpu;
        for &(slot, rows) in feeds {
            let Some((buffer, at)) = self.buffers.home(slot) else { continue };
            gpu.queue.write_buffer(buffer, at, bytemuck::cast_slice(&padded(rows.view())));
        }
        let numbers = numbers(&self.plan, self.updates, self.batch);
        gpu.queue.write_buffer(&self.gather.now, 0, bytemuck::cast_slice(&numbers));
        let mut longest = Duration::ZERO;
        for part in 0..self.pace.parts {
            let launches = self.pace.part(part);
            let took = gpu.submit_pass("step", |pass| dispatch_part(pass, &self.passes, &self.groups, launches))?;
            longest = longest.max(took);
        }
        self.submissions += self.pace.parts as u64;
        self.updates += 1;
        // Steps are called one at a time, so the number of updates per submission is not increased after a short step.
        if self.pace.parts > 1 || longest > TARGET {
            self.pace = self.pace.after(1, longest, 1);
        }
        Ok(())
    }
}
