//! Where everything lies in the GPU's buffers, and the job tables of a program's launches.
//!
//! All layers of one role share one buffer, layer 0 first, so that one launch can work on all of them. Rows are
//! padded with zeros to whole quads of four numbers: kernels read and write nothing smaller, and a zero more in a
//! sum changes nothing. `Job` and `Launch` are the structs of `shaders/shared/jobs.wgsl`.

use super::tile::{Cut, Product, Shape};
use crate::network::Network;
use crate::program::{Pass, Program};

/// One layer's part of a launch.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Job {
    pub(super) m: u32,
    pub(super) n: u32,
    pub(super) k: u32,
    pub(super) left: u32,
    pub(super) right: u32,
    pub(super) out: u32,
    pub(super) h: u32,
    pub(super) h_out: u32,
    pub(super) bias: u32,
    pub(super) flags: u32,
    pub(super) first: u32,
    pub(super) across: u32,
}

/// What a launch reads besides its jobs.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Launch {
    pub(super) first: u32,
    pub(super) jobs: u32,
    pub(super) tiles: u32,
    pub(super) td: u32,
    pub(super) alpha: f32,
    pub(super) gamma: f32,
    pub(super) bias: u32,
    pub(super) spare: u32,
}

/// The uniform of `gather.wgsl` and, with other names, of `score.wgsl`.
#[derive(Debug, Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Batch {
    pub(super) base: u32,
    pub(super) batch: u32,
    pub(super) count: u32,
    /// `gather`: pixels; `score`: outputs.
    pub(super) width: u32,
    /// `gather`: words an image; `score`: the first workgroup's place.
    pub(super) words: u32,
    /// `gather`: outputs; `score`: numbers from one row of μ^0 to the next.
    pub(super) outputs: u32,
    pub(super) input: u32,
    pub(super) spare: u32,
}

/// Quads an elementwise workgroup works on: one a thread.
pub(super) const ELEMENTS: u32 = 256;

/// Bytes of a quad.
pub(super) const QUAD: u64 = 16;

/// Quads that a row of `n` numbers takes.
pub(super) fn quads(n: usize) -> u64 {
    n.div_ceil(4) as u64
}

/// Offsets, in quads, of each layer's part of the shared buffers.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Rows of every slot.
    pub(super) batch: usize,
    /// `unit[l]`: layer l of x, μ, ε and their like, [batch, n^l]; the last entry is their length.
    pub(super) unit: Vec<u64>,
    /// `h[l]`: f(x^l), [batch, n^l], by half; the input layer has one half.
    pub(super) h: Vec<[u64; 2]>,
    /// Length of that buffer.
    pub(super) h_len: u64,
    /// `theta[l]`: θ^{l+1}, [n^l, n^{l+1}]; the last entry is the length.
    pub(super) theta: Vec<u64>,
    /// `bias[l]`: b^{l+1}, [n^l]; the last entry is the length.
    pub(super) bias: Vec<u64>,
}

impl Layout {
    /// The layout of `network` on batches of `batch`; `halves` is 1 where only predictions are made.
    pub(super) fn new(network: &Network, batch: usize, halves: u64) -> Self {
        let lmax = network.lmax();
        let running = |sizes: &mut dyn Iterator<Item = u64>| {
            let mut offsets = vec![0];
            let mut sum = 0;
            offsets.extend(sizes.map(|s| {
                sum += s;
                sum
            }));
            offsets
        };
        let slot = |l: usize| batch as u64 * quads(network.n(l));
        let mut h = vec![[0, 0]];
        let mut h_len = 0;
        for l in 1..=lmax {
            let count = if l == lmax { 1 } else { halves };
            h.push([h_len, h_len + (count - 1) * slot(l)]);
            h_len += count * slot(l);
        }
        Layout {
            batch,
            unit: running(&mut (0..lmax).map(slot)),
            h,
            h_len,
            theta: running(&mut (0..lmax).map(|l| network.n(l) as u64 * quads(network.n(l + 1)))),
            bias: running(&mut (0..lmax).map(|l| if network.bias { quads(network.n(l)) } else { 0 })),
        }
    }

    /// Bytes of the buffer of f(x).
    pub(super) fn h_bytes(&self) -> u64 {
        QUAD * self.h_len
    }

    /// Bytes of the buffers of x, μ, ε and their like.
    pub(super) fn unit_bytes(&self) -> u64 {
        QUAD * self.unit.last().copied().unwrap_or(0)
    }

    /// Bytes of the buffer of θ.
    pub(super) fn theta_bytes(&self) -> u64 {
        QUAD * self.theta.last().copied().unwrap_or(0)
    }

    /// Bytes of the buffer of b.
    pub(super) fn bias_bytes(&self) -> u64 {
        QUAD * self.bias.last().copied().unwrap_or(0)
    }
}

/// Which kernel a launch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum KernelId {
    Predict,
    Infer,
    Learn,
    Error,
    Gate,
    Gather,
    Score,
    Finite,
}

/// Chooses how a launch of these products is cut up.
pub(super) type Choose<'a> = &'a dyn Fn(&[Shape]) -> Cut;

/// A launch of a table.
#[derive(Debug, Clone)]
pub(super) struct TableLaunch {
    pub(super) kernel: KernelId,
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
    /// The tables of `program` over `layout`.
    pub(super) fn new(network: &Network, program: &Program, layout: &Layout, choose: Choose<'_>) -> Self {
        let mut table = Table::default();
        let at = Jobs { network, layout };
        for pass in &program.passes {
            match pass {
                Pass::Predict(jobs) => {
                    table.products(KernelId::Predict, Product::Predict, choose, jobs.iter().map(|j| at.predict(j)));
                }
                Pass::Infer(jobs) => {
                    table.products(KernelId::Infer, Product::Infer, choose, jobs.iter().map(|j| at.infer(j)));
                }
                Pass::Learn(jobs) => {
                    table.products(KernelId::Learn, Product::Learn, choose, jobs.iter().map(|j| at.learn(j)));
                }
                Pass::Error(jobs) => {
                    let flags = |e: &crate::program::ErrorNode| u32::from(e.carry) | u32::from(e.moved) << 1;
                    table.elements(KernelId::Error, jobs.iter().map(|e| at.elements(e.layer, flags(e))));
                }
                Pass::Gate(jobs) => {
                    table.elements(KernelId::Gate, jobs.iter().map(|g| at.gate(g)));
                }
                Pass::Perturb(_) => {} // refused before a session is made
            }
        }
        table
    }

    /// Adds a launch of matrix products.
    fn products(&mut self, kernel: KernelId, product: Product, choose: Choose<'_>, jobs: impl Iterator<Item = Job>) {
        let jobs: Vec<Job> = jobs.collect();
        let shape = |j: &Job| Shape { product, m: j.m as usize, n: j.n as usize, k: j.k as usize };
        let shapes: Vec<Shape> = jobs.iter().map(shape).collect();
        let cut = choose(&shapes);
        let jobs = jobs.into_iter().map(|job| {
            let across = job.n.div_ceil(cut.columns());
            (Job { across, ..job }, job.m.div_ceil(cut.rows()) * across)
        });
        self.push(kernel, Some(cut), shapes, jobs);
    }

    /// Adds a launch of elementwise jobs.
    pub(super) fn elements(&mut self, kernel: KernelId, jobs: impl Iterator<Item = Job>) {
        self.push(kernel, None, Vec::new(), jobs.map(|job| (job, job.m.div_ceil(ELEMENTS))));
    }

    /// Adds a launch of jobs, each with its number of workgroups.
    fn push(&mut self, kernel: KernelId, cut: Option<Cut>, shapes: Vec<Shape>, jobs: impl Iterator<Item = (Job, u32)>) {
        let mut record = Launch { first: self.jobs.len() as u32, ..Launch::default() };
        for (job, workgroups) in jobs {
            self.jobs.push(Job { first: record.tiles, ..job });
            record.tiles += workgroups;
            record.jobs += 1;
        }
        self.launches.push(TableLaunch { kernel, cut, shapes, record });
    }
}

/// Makes jobs out of a program's, over one layout.
struct Jobs<'a> {
    network: &'a Network,
    layout: &'a Layout,
}

impl Jobs<'_> {
    fn predict(&self, job: &crate::program::Predict) -> Job {
        let (l, lay) = (job.layer, self.layout);
        Job {
            m: lay.batch as u32,
            n: self.network.n(l) as u32,
            k: self.network.n(l + 1) as u32,
            left: lay.h[l + 1][job.h_in] as u32,
            right: lay.theta[l] as u32,
            out: lay.unit[l] as u32,
            h: lay.h[l][0] as u32,
            bias: lay.bias[l] as u32,
            flags: u32::from(job.settle),
            ..Job::default()
        }
    }

    fn infer(&self, job: &crate::program::Infer) -> Job {
        let (l, lay) = (job.layer, self.layout);
        let store = u32::from(job.h_out.is_some());
        Job {
            m: lay.batch as u32,
            n: self.network.n(l) as u32,
            k: self.network.n(l - 1) as u32,
            left: lay.unit[l - 1] as u32,
            right: lay.theta[l - 1] as u32,
            out: lay.unit[l] as u32,
            h: lay.h[l][job.h_in] as u32,
            h_out: lay.h[l][job.h_out.unwrap_or(0)] as u32,
            flags: u32::from(job.backprop) | store << 1 | u32::from(job.carry) << 2,
            ..Job::default()
        }
    }

    fn learn(&self, job: &crate::program::Learn) -> Job {
        let (l, lay) = (job.layer, self.layout);
        Job {
            m: self.network.n(l) as u32,
            n: self.network.n(l + 1) as u32,
            k: lay.batch as u32,
            left: lay.unit[l] as u32,
            right: lay.h[l + 1][job.h_in] as u32,
            out: lay.theta[l] as u32,
            bias: lay.bias[l] as u32,
            flags: u32::from(job.gated),
            ..Job::default()
        }
    }

    fn gate(&self, job: &crate::program::Gate) -> Job {
        let (l, batch) = (job.layer, self.layout.batch);
        Job {
            n: self.network.n(l) as u32,
            k: job.t as u32,
            left: (l.saturating_sub(1) * batch) as u32,
            right: (l * batch) as u32,
            ..self.elements(l, u32::from(job.first) | u32::from(job.feedback) << 1 | u32::from(l == 0) << 2)
        }
    }

    fn elements(&self, l: usize, flags: u32) -> Job {
        // [batch, n^l], in quads
        let len = self.layout.unit[l + 1] - self.layout.unit[l];
        Job { m: len as u32, out: self.layout.unit[l] as u32, flags, ..Job::default() }
    }
}
