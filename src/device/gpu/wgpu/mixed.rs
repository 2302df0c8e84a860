//! Mixed precision: float16 operands and float32 sums in the matrix products, on an adapter's matrix units.
//!
//! Opt-in, and never a fallback: an adapter without such units refuses. What float32 promises of bits does not hold.
//! wgpu's cooperative matrices are experimental, so a device checks its products against float64 when it is opened.
#![allow(unsafe_code, reason = "asking wgpu for an experimental feature, which it calls unsafe")]

use super::{GpuDevice, adapter};
use crate::data::{Data, Dataset};
use crate::device::NEVER;
use crate::device::gpu::Precision;
use crate::device::gpu::tile::{Cut, Tile, Units};
use crate::error::{Error, Result};
use crate::plan::activation::Activation;
use crate::plan::augment::Augment;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{
    Assign, Connection, Direction, Domain, Feed, Images, Initial, Loss, LrSchedule, Op, Plan, Population, Rates,
    Source, Stage, Task, Value, Weights, What,
};
use crate::random::{Random, Stream};
use ndarray::{Array2, ArrayView2};
use std::path::Path;

/// How a device makes its matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// By tiles, in float32.
    Float32,
    /// On matrix units.
    Units(Units),
    /// The same without the units.
    Emulated(Units),
}

impl Products {
    /// How a launch is cut up for which float32 would take this tile.
    pub(super) fn cut(self, tile: Tile) -> Cut {
        match self {
            Products::Float32 => Cut::Tile(tile),
            Products::Units(units) => Cut::Units(units),
            Products::Emulated(units) => Cut::Emulated(units),
        }
    }

    /// What the device has to be asked for.
    pub(super) fn features(self) -> wgpu::Features {
        if matches!(self, Products::Units(_)) { NEEDED } else { wgpu::Features::empty() }
    }

    pub(super) fn experimental(self) -> wgpu::ExperimentalFeatures {
        match self {
            // SAFETY: cooperative matrices are used by one kernel core, within the sizes the adapter lists, in control
            // flow that is uniform to a workgroup, and on workgroup memory alone; `GpuDevice::cross_check` compares
            // what comes of it before anything else is computed.
            Products::Units(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
            _ => wgpu::ExperimentalFeatures::disabled(),
        }
    }
}

/// What `shaders/shared/cooperative.wgsl` needs.
const NEEDED: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// The widest matrix units of an adapter that take float16 and sum in float32.
fn units(adapter: &wgpu::Adapter) -> Result<Units> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let fits = |side: u32| {
        adapter
            .cooperative_matrix_properties()
            .iter()
            .any(|p| [p.m_size, p.n_size, p.k_size] == [side; 3] && p.ab_type == F16 && p.cr_type == F32)
    };
    // On Metal wgpu tells 4 to 64, whatever the GPU; Apple's have subgroups of 32.
    let apple = info.backend == wgpu::Backend::Metal && info.name.contains("Apple");
    let subgroup = if apple { (32, 32) } else { (info.subgroup_min_size, info.subgroup_max_size) };
    let side = [16, 8].into_iter().find(|side| fits(*side)).filter(|_| adapter.features().contains(NEEDED));
    let lacks = match (side, subgroup) {
        (Some(side), (32.., ..=64)) => return Ok(Units { side, subgroup }),
        (Some(_), (fewest, most)) => format!("has subgroups of {fewest} to {most} threads, and 32 to 64 are needed"),
        (None, _) => "offers no matrix units with float16 operands and float32 sums".into(),
    };
    Err(Error::NoDevice(format!(
        "--precision mixed is not to be had here: {} ({:?}) {lacks}. zilch info shows what an adapter has; NVIDIA's since \
         Volta, AMD's since RDNA 3 (Vulkan) and Apple's (Metal) are the ones meant. Leave --precision out for float32, which runs everywhere",
        info.name, info.backend
    )))
}

impl GpuDevice {
    /// As [`GpuDevice::open`], with matrix products in [`Precision::Mixed`], checked against float64.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::NoDevice`] where the adapter has no such matrix units; [`Error::Gpu`]
    /// where they do not compute what they should.
    pub async fn open_mixed_async(name: Option<&str>, checked: bool) -> Result<Self> {
        let adapter = adapter::choose(name).await?;
        let products = Products::Units(units(&adapter)?);
        let device = Self::from_adapter(&adapter, checked, products).await?;
        let off = device.cross_check_async().await?;
        if off <= 1.0 {
            return Ok(device);
        }
        Err(Error::Gpu(format!(
            "the matrix units of {} compute wrongly: a product is off by {off:.1} times what rounding to float16 explains. \
             Leave --precision out for float32",
            device.summary.name
        )))
    }

    /// As [`GpuDevice::open_mixed`] with units 8 or 16 wide, but emulates them: the same operands and the same sums,
    /// though in another order, on adapters without such units too. Slower than float32, and meant for tests.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::Usage`] for another width; [`Error::Limit`] where the adapter has too little
    /// workgroup memory.
    pub async fn open_emulated_async(name: Option<&str>, checked: bool, width: u32) -> Result<Self> {
        // What `cooperative.wgsl` stages, in float32 instead of float16, and a fragment a subgroup on its way out. One width
        // as with a driver that chooses the size of its subgroups, the other as with one that does not.
        let (kib, subgroup) = match width {
            8 => (12, (32, 64)),
            16 => (24, (32, 32)),
            _ => return Err(Error::usage(format!("matrix units are 8 or 16 wide; {width} given"))),
        };
        let adapter = adapter::choose(name).await?;
        let has = adapter.limits().max_compute_workgroup_storage_size >> 10;
        if has < kib {
            return Err(Error::Limit {
                what: "the emulation of matrix units".into(),
                needed: kib.into(),
                available: has.into(),
                unit: "KiB of workgroup memory",
                holder: adapter.get_info().name,
                advice: "emulate units 8 wide".into(),
            });
        }
        let products = Products::Emulated(Units { side: width, subgroup });
        Self::from_adapter(&adapter, checked, products).await
    }

    /// What this device's matrix products are computed in.
    pub fn precision(&self) -> Precision {
        if self.products == Products::Float32 { Precision::Float32 } else { Precision::Mixed }
    }

    /// The worst error of one prediction, feedback and update, each as a share of its own forward-error bound for
    /// float16 operands and float32 sums: at most 1 where all is well.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn cross_check_async(&self) -> Result<f64> {
        // Ragged, and larger than a tile of fragments both ways; linear, so that the slots hold the products.
        let (batch, sizes) = (67, [37, 69, 75]);
        let plan = linear_bp(sizes, 0.5);
        plan.check()?;
        let (data, weights) = (images([sizes[2], sizes[0]], batch)?, random_weights(&plan));
        let resident = self.upload(&data)?;
        let order: Vec<u32> = (0..batch as u32).collect();
        let mut session = self.session(&plan, batch, resident, &weights)?;
        session.run_in_chunks(&order, false, &NEVER).await?;
        let after = session.weights_async().await?;
        let input = data.train.images().mapv(|p| f64::from(f32::from(p) / 255.0));
        let theta: Vec<Array2<f64>> = weights.theta.iter().map(|t| t.mapv(f64::from)).collect();
        let slot = async |name: &str, l: usize| {
            let id = plan.find(name, l).ok_or_else(|| Error::Gpu(format!("no slot {name}")))?;
            session.slot_async(id).await?.ok_or_else(|| Error::Gpu(format!("{name} is not kept")))
        };
        let (x1, mu0) = (slot("x", 1).await?, slot("mu", 0).await?);
        let (eps0, eps1) = (slot("eps", 0).await?, slot("eps", 1).await?);
        let moved = |l: usize| after.theta[l].mapv(f64::from);
        Ok([
            worst(&x1, None, input.view(), theta[1].t()),
            worst(&mu0, None, x1.view(), theta[0].t()),
            worst(&eps1, None, eps0.view(), theta[0].view()),
            worst(&moved(0), Some((&theta[0], 0.5)), eps0.t(), x1.view()),
            worst(&moved(1), Some((&theta[1], 0.5)), eps1.t(), input.view()),
        ]
        .into_iter()
        .fold(0.0, f64::max))
    }
}

/// How far float16 may be from a number: a unit in the last place, for drivers that truncate, or all of a number so small
/// that it may be flushed to zero.
fn rounding(v: f64) -> f64 {
    if v.abs() < 2f64.powi(-14) { v.abs() } else { v.abs() * 2f64.powi(-10) }
}

/// The worst error of `got` = a b, or = before + α a b with an update's `before`, as a share of its bound; NaN counts as
/// infinitely wrong.
fn worst(
    got: &Array2<f64>,
    update: Option<(&Array2<f64>, f64)>,
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
) -> f64 {
    let k = a.ncols();
    // Products and sums in float32, which matrix units may truncate.
    let sums = (k + 2) as f64 * 2f64.powi(-23);
    got.indexed_iter().fold(0.0, |worst, ((i, j), got)| {
        let (mut sum, mut bound) = (0.0, 0.0);
        for p in 0..k {
            let (x, y) = (a[(i, p)], b[(p, j)]);
            let (ex, ey) = (rounding(x), rounding(y));
            sum += x * y;
            bound += x.abs() * ey + y.abs() * ex + ex * ey + sums * (x.abs() + ex) * (y.abs() + ey);
        }
        if let Some((before, alpha)) = update {
            sum = before[(i, j)] + alpha * sum;
            bound = alpha * bound + 2f64.powi(-23) * sum.abs();
        }
        let error = (got - sum).abs();
        let share = if error == 0.0 { 0.0 } else { error / bound };
        if share <= worst { worst } else { if share.is_nan() { f64::INFINITY } else { share } }
    })
}

/// Backpropagation in a linear network of two layers of weights, output first, with plain steps of the rate `alpha`: one product of
/// each kind, each of which stays in a slot.
fn linear_bp(sizes: [usize; 3], alpha: f64) -> Plan {
    let layer = |(l, n): (usize, usize)| Population { name: format!("layer {l}"), n, places: 1 };
    let rates = Rates { alpha, schedule: LrSchedule::CONSTANT, averaged: false, epoch: 0 };
    let name = || "the check of matrix units".to_owned();
    let mut plan = Plan {
        task: Task { rule: name(), title: name(), network: "75-69-37".into(), seed: 1, rates, loss: Loss::Squared },
        populations: sizes.into_iter().enumerate().map(layer).collect(),
        projections: Vec::new(),
        families: Vec::new(),
        slots: Vec::new(),
        params: Vec::new(),
        feeds: Vec::new(),
        output: SlotId(0),
        moments: Vec::new(),
        states_unread: false,
        streaming: false,
        layers: 2,
        unrolled: false,
    };
    let alpha = Expr::Param(plan.param("α", Value::Rate));
    let theta = [0, 1].map(|l| {
        let p = plan.project(format!("layer {} to {l}", l + 1), l + 1, l, Connection::Dense { bias: false });
        plan.keep("theta", format!("θ^{}", l + 1), Domain::Connections(p), Initial::Weights(l + 1))
    });
    let mut units = |name: &'static str, l: usize| {
        let slot = plan.declare(name, format!("{name}^{l}"), Domain::Units(l));
        plan.slots[slot.0].observed = true;
        slot
    };
    let (target, input) = (units("target", 0), units("x", 2));
    let (x1, mu0, eps0, eps1) = (units("x", 1), units("mu", 0), units("eps", 0), units("eps", 1));
    let images = Images { form: None, scale: None, activation: Activation::Identity, augment: Augment::NONE };
    plan.feeds = vec![
        Feed { slot: input, source: Source::Pixels(images) },
        Feed { slot: target, source: Source::Labels([0.0, 1.0]) },
    ];
    plan.output = mu0;
    let op = |name, what, to, expr| vec![Op { name, what, ends: vec![Assign { to, expr }] }];
    let send = |l: usize, direction, from| What::Send { projection: l, weights: Some(theta[l]), direction, from };
    plan.moment(Stage::Prediction, vec![op("predict", send(1, Direction::Forward, input), x1, arriving())]);
    plan.moment(Stage::Prediction, vec![op("predict", send(0, Direction::Forward, x1), mu0, arriving())]);
    let error = op("error", What::Map(Domain::Units(0)), eps0, Expr::Slot(target) - Expr::Stored(mu0));
    plan.moment(Stage::Learning(0), vec![error]);
    plan.moment(Stage::Learning(1), vec![op("backprop", send(0, Direction::Backward, eps0), eps1, arriving())]);
    let learn = |l: usize, post, pre| {
        let end = Assign { to: theta[l], expr: Expr::fma(alpha.clone(), arriving(), Expr::Slot(theta[l])) };
        Op { name: "learn", what: What::OuterProduct { projection: l, post, pre }, ends: vec![end] }
    };
    plan.moment(Stage::Learning(2), vec![vec![learn(0, eps0, x1), learn(1, eps1, input)]]);
    plan
}

/// Weights between −0.1 and 0.1.
fn random_weights(plan: &Plan) -> Weights {
    let mut random = Random::new(1, Stream::Weights, 0);
    let mut weights = plan.zero_weights();
    weights.theta.iter_mut().for_each(|theta| theta.mapv_inplace(|_| random.range(-0.1, 0.1) as f32));
    weights
}

/// A batch of random images for so many inputs and outputs.
fn images([inputs, outputs]: [usize; 2], batch: usize) -> Result<Data> {
    let mut random = Random::new(1, Stream::Test, 0);
    let images = Array2::from_shape_simple_fn((batch, inputs), || random.below(256) as u8);
    let labels = (0..batch).map(|_| random.below(outputs as u64) as u8).collect();
    let train = Dataset::new(Path::new("random images"), images, labels, 1, inputs)?;
    Ok(Data { test: train.clone(), train, name: "random images".into(), checksums: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the check is there to find: a number twice as large as it should be, a transposed operand, a NaN.
    #[test]
    fn the_check_finds_wrong_products() {
        let mut random = Random::new(2, Stream::Test, 0);
        let mut matrix = || Array2::from_shape_simple_fn((23, 23), || random.range(-1.0, 1.0));
        let (a, b, before) = (matrix(), matrix(), matrix());
        let product = a.dot(&b);
        let update = &before + &(0.25 * &product);
        let share = |got: &Array2<f64>| worst(got, None, a.view(), b.view());
        let moved = |got: &Array2<f64>| worst(got, Some((&before, 0.25)), a.view(), b.view());
        assert!(share(&product) < 1e-6 && moved(&update) < 1e-6);
        // As far off as rounding operands to float16 explains, and as it does not.
        let off = |by: f64| share(&a.mapv(|v| v * (1.0 + by * 2f64.powi(-10))).dot(&b));
        assert!((0.05..=1.0).contains(&off(0.9)), "{}", off(0.9));
        assert!(off(40.0) > 1.0);
        assert!(share(&a.t().dot(&b)) > 1.0 && share(&a.dot(&b.t())) > 1.0);
        for wrong in [2.0, 0.0, f64::NAN, f64::INFINITY] {
            let (mut got, mut after) = (product.clone(), update.clone());
            got[(11, 7)] *= wrong;
            after[(22, 22)] *= wrong;
            assert!(share(&got) > 1.0 && moved(&after) > 1.0, "{wrong}");
        }
    }
}
