//! Tuning of GPU tiles: measures every matrix product of a network with every tile, interleaved.

use crate::data::{Data, Dataset};
use crate::device::gpu::{GpuDevice, Measured, Product, Shape, TILES, Tile, Tiles, Tuned};
use crate::device::{Backend, BlockingSession, Usage, check_batch};
use crate::error::{Error, Result};
use crate::network::{Network, Weights};
use crate::plan::Plan;
use crate::plan::activation::Activation;
use crate::random::{Random, Stream};
use crate::rules::Options;
use crate::rules::builder::Chain;
use crate::rules::{Coords, Rule, Schedule};
use crate::statistics::quartiles;
use ndarray::Array2;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The settings of a tuning.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The network whose products are measured.
    pub network: Network,
    /// Batch size: samples per weight update.
    pub batch: usize,
    /// Seconds per tile of each product.
    pub seconds: f64,
}

/// The target duration of a round, so that the cost of a submission is a small part of it. Rounds are shorter if [`MIN_ROUNDS`] of
/// them would exceed the time per tile.
const ROUND_SECONDS: f64 = 0.05;
/// The fewest rounds per tile.
const MIN_ROUNDS: usize = 5;
/// The most samples per round, which bounds the memory of their order.
const MOST_SAMPLES: usize = 1 << 20;

/// A session that repeats one product with one tile.
struct Arm {
    tile: Tile,
    session: BlockingSession,
    /// Dispatches of the product per update.
    times: usize,
    /// Updates per round.
    round: usize,
    /// Microseconds per dispatch, by round.
    took: Vec<f64>,
    /// Seconds measured so far.
    spent: f64,
}

/// The shape of a product on layer l of `network` for batch size `batch`.
fn shape_of(product: Product, network: &Network, l: usize, batch: usize) -> Shape {
    let (m, n, k) = match product {
        Product::Predict => (batch, network.n(l), network.n(l + 1)),
        Product::Infer => (batch, network.n(l), network.n(l - 1)),
        Product::Learn => (network.n(l), network.n(l + 1), batch),
    };
    Shape { product, m, n, k }
}

impl Tuning {
    /// The distinct products of the network, sorted.
    pub fn shapes(&self) -> Vec<Shape> {
        let lmax = self.network.lmax();
        let of = |product, l| shape_of(product, &self.network, l, self.batch);
        let predict = (0..lmax).map(|l| of(Product::Predict, l));
        let infer = (1..lmax).map(|l| of(Product::Infer, l));
        let learn = (0..lmax).map(|l| of(Product::Learn, l));
        let mut shapes: Vec<Shape> = predict.chain(infer).chain(learn).collect();
        shapes.sort_unstable();
        shapes.dedup();
        shapes
    }

    /// Checks batch size, time and network.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self) -> Result<()> {
        if !(self.seconds.is_finite() && self.seconds > 0.0 && self.seconds <= 3600.0) {
            return Err(Error::usage(format!("--seconds must be positive and at most 3600; {:?} given", self.seconds)));
        }
        if self.network.convolves() || self.network.graph().is_some() {
            return Err(Error::usage(format!(
                "tune measures the products of fully connected layers, but {} has convolutions or skip connections; they use the tiles of \
                 products that were measured, or the default",
                self.network
            )));
        }
        check_batch(self.batch)
    }

    /// Measures every tile on every product of the network. The tiles of one product are interleaved, round by round. `watch`
    /// receives the name of the current product.
    ///
    /// # Errors
    /// [`Error::Usage`] for a batch or time out of range; those of [`GpuDevice::session`]; [`Error::Interrupted`] when
    /// `stop` is set.
    pub fn run(&self, gpu: &GpuDevice, stop: &AtomicBool, watch: &mut dyn FnMut(&str)) -> Result<Vec<Tuned>> {
        self.check()?;
        gpu.compile(&Options::new(Rule::BP).plan(&self.network)?, Usage::updates(self.batch))?;
        let shapes = self.shapes();
        let of = shapes.len();
        let mut tuned = Vec::new();
        for (i, shape) in shapes.into_iter().enumerate() {
            watch(&format!("{} of {of}: {shape}", i + 1));
            tuned.push(self.product(gpu, shape, stop)?);
        }
        Ok(tuned)
    }

    /// Measures every tile on one product, interleaved.
    fn product(&self, gpu: &GpuDevice, shape: Shape, stop: &AtomicBool) -> Result<Tuned> {
        let (network, plan, times) = plan(self.network.activation, shape)?;
        let weights = Weights::init(&network, 0);
        let data = gpu.upload(&images(&network, self.batch)?)?;
        let arm = |tile: &Tile| {
            // Only the measured product uses the tile of the arm.
            let tiles = Tiles::Measured([(shape, *tile)].into());
            let session = gpu.session_with(&plan, self.batch, data.clone(), &weights, &tiles)?;
            Ok(Arm { tile: *tile, session: session.into(), times, round: 1, took: Vec::new(), spent: 0.0 })
        };
        let mut arms = TILES.iter().map(arm).collect::<Result<Vec<_>>>()?;
        let mut active = true;
        while active {
            active = false;
            for arm in arms.iter_mut().filter(|a| a.spent < self.seconds || a.took.len() < MIN_ROUNDS) {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted("interrupted; nothing was stored".into()));
                }
                arm.round(self.batch, &weights, ROUND_SECONDS.min(self.seconds / MIN_ROUNDS as f64))?;
                active = true;
            }
        }
        let measured = |mut arm: Arm| {
            let [q1_us, median_us, q3_us] = quartiles(&mut arm.took);
            Measured { tile: arm.tile.to_string(), median_us, q1_us, q3_us, rounds: arm.took.len() }
        };
        Ok(Tuned::new(shape, arms.into_iter().map(measured).collect()))
    }
}

/// The smallest network with this product, a plan that computes the operands and then repeats the product, and the number of
/// repetitions. A slow product is repeated only a few times, since the watchdogs of drivers end long submissions.
fn plan(activation: Activation, shape: Shape) -> Result<(Network, Plan, usize)> {
    // A partly used tile costs as much as a full one.
    let whole = |n: usize| n.next_multiple_of(128) as u64;
    let work = 2 * whole(shape.m) * whole(shape.n) * shape.k as u64;
    let times = (100_000_000_000 / work.max(1)).clamp(1, 32) as usize;
    let Shape { product, m, n, k } = shape;
    let layers = match product {
        Product::Predict => vec![k, n],
        Product::Infer => vec![1, n, k],
        Product::Learn => vec![n, m],
    };
    let network = Network::new(&layers)?.with_activation(activation);
    // α and γ are so small that many updates on one batch stay finite. In value coordinates ε = x − μ may be read by many steps.
    let options = Options {
        alpha: 1e-6,
        gamma: Some(1e-3),
        schedule: Some(Schedule::Full),
        coords: Coords::Value,
        ..Options::new(Rule::IL)
    };
    let mut p = Chain::new(&network, &options);
    p.predict_all();
    let errors = p.errors(0..network.lmax());
    p.learning(0, errors);
    let op = match product {
        Product::Predict => p.predict(0),
        Product::Infer => p.infer(1),
        Product::Learn => p.learn(0),
    };
    p.learning(1, vec![vec![op]]);
    let mut plan = p.plan;
    if let Some(last) = plan.moments.last_mut() {
        // The prediction stage already ran one of the predictions.
        last.times = times as u32 - u32::from(product == Product::Predict);
    }
    Ok((network, plan, times))
}

/// A batch of random images. Zeros could make the arithmetic faster than it is on real data.
fn images(network: &Network, batch: usize) -> Result<Data> {
    let mut random = Random::new(0, Stream::Test, 0);
    let images = Array2::from_shape_simple_fn((batch, network.inputs()), || random.below(256) as u8);
    let classes = network.outputs().min(256) as u64;
    let labels = (0..batch).map(|_| random.below(classes) as u8).collect();
    let train = Dataset::new(Path::new("random images"), images, labels, 1, network.inputs())?;
    Ok(Data { test: train.clone(), train, name: "random images".into(), checksums: Vec::new() })
}

impl Arm {
    /// Times a round, by the device's clock if it has one. The first rounds are the warm-up, which determines the number of updates
    /// per round.
    fn round(&mut self, batch: usize, weights: &Weights, target: f64) -> Result<()> {
        let order: Vec<u32> = (0..batch as u32).cycle().take(self.round * batch).collect();
        let start = Instant::now();
        let clock = self.session.run_timed(&order)?;
        let wall = start.elapsed().as_secs_f64();
        let most = (MOST_SAMPLES / batch).max(1);
        if self.took.is_empty() && wall < target / 2.0 && self.round < most {
            let more = (target / wall.max(1e-7)).clamp(1.5, 8.0);
            self.round = ((self.round as f64 * more).ceil() as usize).min(most);
            return Ok(());
        }
        self.took.push(clock.unwrap_or(wall) * 1e6 / (self.round * self.times) as f64);
        self.spent += wall;
        // Every round starts from the same weights.
        self.session.load(weights);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every product of a network has a valid plan that repeats that product.
    #[test]
    fn every_product_has_a_plan_that_repeats_it() {
        let network = Network::new(&[7, 5, 5, 5, 3]).expect("layers");
        let tuning = Tuning { network, batch: 6, seconds: 1.0 };
        let names: Vec<String> = tuning.shapes().iter().map(ToString::to_string).collect();
        let expected = [
            "predict 6×3 of 5",
            "predict 6×5 of 5",
            "predict 6×5 of 7",
            "infer 6×5 of 3",
            "infer 6×5 of 5",
            "learn 3×5 of 6",
            "learn 5×5 of 6",
            "learn 5×7 of 6",
        ];
        assert_eq!(names, expected);
        for shape in tuning.shapes() {
            let (network, plan, times) = plan(Activation::Tanh, shape).expect("a plan");
            plan.check().expect("a plan that runs");
            let name = ["predict", "infer", "learn"][shape.product as usize];
            let of = |op: &crate::plan::Op| {
                let l = op.epilogue.first().map_or(0, |end| match plan.slot(end.to).home {
                    crate::plan::Domain::Units(l) | crate::plan::Domain::Connections(l) => l,
                    _ => 0,
                });
                op.name == name && shape_of(shape.product, &network, l, 6) == shape
            };
            let ops = plan.moments.iter().flat_map(|m| m.steps.iter().flatten().map(move |op| (m.times as usize, op)));
            let count: usize = ops.filter(|(_, op)| of(op)).map(|(times, _)| times).sum();
            assert!(count == times && times >= 4, "{shape}: {count} of {times}");
        }
    }
}
