//! Mixed precision: matrix products with float16 operands and float32 accumulators on an adapter's matrix units.
//!
//! It is opt-in and has no fallback: an adapter without such units is refused. Results are not bit-reproducible. wgpu's
//! cooperative matrices are experimental, so a device checks its products against float64 when it is opened.
#![allow(unsafe_code, reason = "wgpu declares the request for an experimental feature unsafe")]

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

/// How a device computes matrix products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Products {
    /// Tiles in float32.
    Float32,
    /// Matrix units.
    Units(Units),
    /// Emulated matrix units.
    Emulated(Units),
}

impl Products {
    /// The division of a launch into work groups. `tile` is the tile that is used in float32.
    pub(super) fn cut(self, tile: Tile) -> Cut {
        match self {
            Products::Float32 => Cut::Tile(tile),
            Products::Units(units) => Cut::Units(units),
            Products::Emulated(units) => Cut::Emulated(units),
        }
    }

    /// The features to request from the device.
    pub(super) fn features(self) -> wgpu::Features {
        if matches!(self, Products::Units(_)) { NEEDED } else { wgpu::Features::empty() }
    }

    pub(super) fn experimental(self) -> wgpu::ExperimentalFeatures {
        match self {
            // SAFETY: one kernel core uses cooperative matrices. It uses only sizes that the adapter lists, in control flow that is
            // uniform within a work group, and on workgroup memory only. `GpuDevice::cross_check` compares its results with float64
            // before anything else is computed.
            Products::Units(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
            _ => wgpu::ExperimentalFeatures::disabled(),
        }
    }
}

/// The features that `shaders/shared/cooperative.wgsl` needs.
const NEEDED: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16).union(wgpu::Features::SUBGROUP);

/// The adapter's matrix units with float16 operands and float32 accumulators. If it has several kinds, the kind with
/// the largest fragments is chosen.
fn units(adapter: &wgpu::Adapter) -> Result<Units> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let info = adapter.get_info();
    let fits = |side: u32| {
        adapter
            .cooperative_matrix_properties()
            .iter()
            .any(|p| [p.m_size, p.n_size, p.k_size] == [side; 3] && p.ab_type == F16 && p.cr_type == F32)
    };
    // On Metal wgpu reports 4 to 64 for every GPU; Apple's GPUs have subgroups of 32.
    let apple = info.backend == wgpu::Backend::Metal && info.name.contains("Apple");
    let subgroup = if apple { (32, 32) } else { (info.subgroup_min_size, info.subgroup_max_size) };
    let side = [16, 8].into_iter().find(|side| fits(*side)).filter(|_| adapter.features().contains(NEEDED));
    let lacks = match (side, subgroup) {
        (Some(side), (32.., ..=64)) => return Ok(Units { side, subgroup }),
        (Some(_), (fewest, most)) => format!("has subgroups of {fewest} to {most} threads; 32 to 64 are needed"),
        (None, _) => "has no matrix units with float16 operands and float32 accumulators".into(),
    };
    Err(Error::NoDevice(format!(
        "--precision mixed is not available here: {} ({:?}) {lacks}. zilch info lists the matrix units of each adapter. Mixed \
         precision is meant for NVIDIA GPUs since Volta, AMD GPUs since RDNA 3 (Vulkan) and Apple GPUs (Metal). Without \
         --precision zilch computes in float32, which runs everywhere",
        info.name, info.backend
    )))
}

impl GpuDevice {
    /// Opens a device as [`GpuDevice::open`] does, with matrix products in [`Precision::Mixed`], and checks them against float64.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::NoDevice`] when the adapter has no such matrix units; [`Error::Gpu`] when their
    /// results are wrong.
    pub async fn open_mixed_async(name: Option<&str>, checked: bool) -> Result<Self> {
        let adapter = adapter::choose(name).await?;
        let products = Products::Units(units(&adapter)?);
        let device = Self::from_adapter(&adapter, checked, products).await?;
        let off = device.cross_check_async().await?;
        if off <= 1.0 {
            return Ok(device);
        }
        Err(Error::Gpu(format!(
            "the matrix units of {} compute wrong results: the error of a product is {off:.1} times the bound for rounding to \
             float16. Remove --precision to compute in float32",
            device.summary.name
        )))
    }

    /// Opens a device as [`GpuDevice::open_mixed`] does, but emulates matrix units with fragments of `width` × `width`,
    /// 8 or 16. It runs on any adapter. It rounds operands in the same way and sums the same products, but in another
    /// order. It is slower than float32 and meant for tests.
    ///
    /// # Errors
    /// Those of [`GpuDevice::open`]; [`Error::Usage`] for another width; [`Error::Limit`] when the adapter has too little workgroup
    /// memory.
    pub async fn open_emulated_async(name: Option<&str>, checked: bool, width: u32) -> Result<Self> {
        // Workgroup memory of `cooperative.wgsl`: the staged operands in float32 instead of float16, and one fragment of accumulators
        // per subgroup. Width 8 simulates a driver that chooses its subgroup size, width 16 one with a fixed size.
        let (kib, subgroup) = match width {
            8 => (12, (32, 64)),
            16 => (24, (32, 32)),
            _ => return Err(Error::usage(format!("the fragments of matrix units are 8 or 16 wide; {width} given"))),
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
                advice: "emulate matrix units of width 8".into(),
            });
        }
        let products = Products::Emulated(Units { side: width, subgroup });
        Self::from_adapter(&adapter, checked, products).await
    }

    /// The precision of this device's matrix products.
    pub fn precision(&self) -> Precision {
        if self.products == Products::Float32 { Precision::Float32 } else { Precision::Mixed }
    }

    /// Runs one prediction, one backward pass and one update, and returns the largest error as a ratio to its forward-error bound for
    /// float16 operands and float32 accumulators. A correct device returns at most 1.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn cross_check_async(&self) -> Result<f64> {
        // The sizes are not multiples of the fragment size, and exceed the tile size in both directions. The network is
        // linear, so that slots hold the products themselves.
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
            session.slot_async(id).await?.ok_or_else(|| Error::Gpu(format!("the device does not store slot {name}")))
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

/// Bound on the error of converting `v` to float16: one unit in the last place, because a driver may truncate; below
/// the normal range |v|, because v may be flushed to zero.
fn rounding(v: f64) -> f64 {
    if v.abs() < 2f64.powi(-14) { v.abs() } else { v.abs() * 2f64.powi(-10) }
}

/// The largest ratio of error to bound in `got` = a b, or in `got` = before + α a b with `update` = (before, α). Shapes: `got` and
/// `before` [m, n], `a` [m, k], `b` [k, n]. NaN gives infinity.
fn worst(
    got: &Array2<f64>,
    update: Option<(&Array2<f64>, f64)>,
    a: ArrayView2<'_, f64>,
    b: ArrayView2<'_, f64>,
) -> f64 {
    let k = a.ncols();
    // Relative error of float32 products and sums: matrix units may truncate instead of rounding.
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

/// Backpropagation in a linear network with two weight matrices, updated by gradient descent with learning rate `alpha`. `sizes` are
/// the layers, output first. The plan has products of every kind, and slots keep their results.
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
    let op = |name, what, to, expr| vec![Op { name, what, epilogue: vec![Assign { to, expr }] }];
    let send = |l: usize, direction, from| What::Send { projection: l, weights: Some(theta[l]), direction, from };
    plan.moment(Stage::Prediction, vec![op("predict", send(1, Direction::Forward, input), x1, arriving())]);
    plan.moment(Stage::Prediction, vec![op("predict", send(0, Direction::Forward, x1), mu0, arriving())]);
    let error = op("error", What::Map(Domain::Units(0)), eps0, Expr::Slot(target) - Expr::Stored(mu0));
    plan.moment(Stage::Learning(0), vec![error]);
    plan.moment(Stage::Learning(1), vec![op("backprop", send(0, Direction::Backward, eps0), eps1, arriving())]);
    let learn = |l: usize, post, pre| {
        let end = Assign { to: theta[l], expr: Expr::fma(alpha.clone(), arriving(), Expr::Slot(theta[l])) };
        Op { name: "learn", what: What::OuterProduct { projection: l, post, pre }, epilogue: vec![end] }
    };
    plan.moment(Stage::Learning(2), vec![vec![learn(0, eps0, x1), learn(1, eps1, input)]]);
    plan
}

/// Random weights, uniform between −0.1 and 0.1.
fn random_weights(plan: &Plan) -> Weights {
    let mut random = Random::new(1, Stream::Weights, 0);
    let mut weights = plan.zero_weights();
    weights.theta.iter_mut().for_each(|theta| theta.mapv_inplace(|_| random.range(-0.1, 0.1) as f32));
    weights
}

/// A batch of random images, [batch, inputs], with labels below `outputs`.
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

    /// The check detects a value that is twice the correct one, a transposed operand, and NaN.
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
        // One error is within the bound for operands rounded to float16, the other exceeds it.
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
