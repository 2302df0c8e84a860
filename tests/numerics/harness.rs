//! The oracle harness: trainings beside the numbers of an independent float64 program (`scripts/oracle*.py`, whose results are
//! `tests/fixtures/*.json`), and updates beside finite differences of an energy.

use crate::common::{Run, cpu_device, pair};
use ndarray::{Array1, Array2};
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Dataset};
use zilch::device::cpu::CpuSession64;
use zilch::device::{Device, Resident, SavedSlot};
use zilch::{Plan, Weights};

/// A matrix of a fixture, in 256ths: float32 and float64 hold these numbers exactly.
pub(crate) type Matrix256 = Vec<Vec<i32>>;

fn number(k: &i32) -> f32 {
    *k as f32 / 256.0
}

/// A matrix of a fixture.
pub(crate) fn matrix(rows: &Matrix256) -> Array2<f32> {
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| number(&rows[i][j]))
}

/// The weights of a fixture, with its biases or without.
pub(crate) fn weights(theta: &[Matrix256], bias: &[Vec<i32>], with_bias: bool) -> Weights {
    let bias = bias.iter().filter(|_| with_bias);
    Weights {
        theta: theta.iter().map(matrix).collect(),
        bias: bias.map(|b| b.iter().map(number).collect::<Array1<f32>>()).collect(),
    }
}

/// The samples of a fixture, as the training set and as the test set.
pub(crate) fn samples(pixels: &[Vec<u8>], labels: &[u8]) -> Arc<Data> {
    let width = pixels[0].len();
    let images = Array2::from_shape_vec((labels.len(), width), pixels.concat()).expect("pixels");
    let set = Dataset::new(Path::new("oracle"), images, labels.to_vec(), 1, width).expect("set");
    pair(set.clone(), set)
}

/// Every weight of a session, in the order of [`Weights::values`]: each matrix, row by row, before its biases.
pub(crate) fn values(session: &CpuSession64) -> Vec<f64> {
    let (theta, bias) = session.weights_f64();
    let parts = theta.iter().enumerate().map(|(i, theta)| {
        theta.iter().copied().chain(bias.get(i).into_iter().flat_map(|b| b.iter().copied())).collect::<Vec<f64>>()
    });
    parts.flatten().collect()
}

/// The largest difference, relative to the largest weight.
pub(crate) fn off(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (g, w)| m.max((g - w).abs())) / size
}

/// A training, and the weights that an independent program has after some of its updates.
pub(crate) struct Trained<'a> {
    pub(crate) name: &'a str,
    pub(crate) plan: &'a Plan,
    pub(crate) batch: usize,
    pub(crate) weights: &'a Weights,
    /// Weights that the plan would draw, and the fixture has.
    pub(crate) kept: &'a [SavedSlot],
    /// Samples, in the order in which they are shown, and every weight afterwards.
    pub(crate) after: &'a [(&'a [u32], &'a [f64])],
}

impl Trained<'_> {
    /// Asserts that float64 is within `bound` each time. Returns the session, and the largest difference.
    pub(crate) fn float64(&self, data: &Arc<Data>, bound: f64) -> (CpuSession64, f64) {
        let device = cpu_device(1);
        let mut session = device.session_f64(self.plan, self.batch, Arc::clone(data), self.weights).expect("session");
        session.put(self.kept);
        let mut worst = 0.0f64;
        for (order, want) in self.after {
            session.run(order);
            let off = off(&values(&session), want);
            assert!(off < bound, "{}: off by {off:e} in float64", self.name);
            worst = worst.max(off);
        }
        (session, worst)
    }

    /// Asserts that float32 is within `bound` each time. Returns the largest difference, as a share of the bound.
    pub(crate) fn float32(&self, device: &Device, data: &Resident, bound: f64) -> f64 {
        let mut session = device.session(self.plan, self.batch, data, self.weights).expect("session");
        session.put(self.kept);
        let mut worst = 0.0f64;
        for (order, want) in self.after {
            session.run(order).expect("run");
            let got: Vec<f64> = session.weights().expect("weights").values().map(f64::from).collect();
            let off = off(&got, want);
            assert!(off < bound, "{}: off by {off:e} on {}, bound {bound:e}", self.name, device.kind());
            worst = worst.max(off / bound);
        }
        worst
    }
}

/// How far roundings make a weight differ, relative to the largest: over 3 updates, every moment of the plan has sums of `terms`
/// numbers and five operations around each, one after the other. Roundings are as good as independent, so that N of them add up to
/// about √N.
pub(crate) fn rounding(plan: &Plan, terms: usize) -> f64 {
    (3.0 * plan.moments.len() as f64 * (terms + 5) as f64).sqrt() * crate::float64::U
}

/// θ^1 .. θ^lmax row by row and then b^1 .. b^lmax, as [`Run::change64`] orders them.
pub(crate) type Parameters = Vec<Vec<f64>>;

/// What a run starts from.
pub(crate) fn parameters(run: &Run) -> Parameters {
    let theta = run.weights.theta.iter().map(|t| t.iter().map(|&v| f64::from(v)).collect());
    theta.chain(run.weights.bias.iter().map(|b| b.iter().map(|&v| f64::from(v)).collect())).collect()
}

/// −∂E/∂p of parameter `i` of a group, by the central difference (E(p − h) − E(p + h)) / 2h.
pub(crate) fn descent(
    at: &mut Parameters,
    (group, i): (usize, usize),
    h: f64,
    mut energy: impl FnMut(&Parameters) -> f64,
) -> f64 {
    let here = at[group][i];
    let [up, down] = [here + h, here - h].map(|value| {
        at[group][i] = value;
        energy(at)
    });
    at[group][i] = here;
    (down - up) / (2.0 * h)
}
