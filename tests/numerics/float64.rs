//! Updates in float64 for comparison, and the unit roundoff of float32.

use crate::common::{Run, cpu_device};
use ndarray::{Array1, Array2};
use std::sync::Arc;
use zilch::Plan;

/// Unit roundoff of float32.
pub(crate) const U: f64 = 1.0 / (1u64 << 24) as f64;

impl Run {
    /// The weights and biases after all updates, in float64 on the CPU.
    pub(crate) fn train64(&self, plan: &Plan) -> (Vec<Array2<f64>>, Vec<Array1<f64>>) {
        let device = cpu_device(1);
        let mut session = device.session_f64(plan, self.batch, Arc::clone(&self.data), &self.weights).expect("session");
        session.run(&self.order);
        session.weights_f64()
    }

    /// Δθ^1 .. Δθ^lmax and then Δb^1 .. of all updates together, in float64, each as one column.
    pub(crate) fn change64(&self, plan: &Plan) -> Vec<Array1<f64>> {
        let (theta, bias) = self.train64(plan);
        let flat = |to: Vec<f64>, from: Vec<f32>| to.iter().zip(from).map(|(a, b)| a - f64::from(b)).collect();
        let theta = theta.iter().zip(&self.weights.theta);
        let bias = bias.iter().zip(&self.weights.bias);
        theta
            .map(|(a, b)| flat(a.iter().copied().collect(), b.iter().copied().collect()))
            .chain(bias.map(|(a, b)| flat(a.to_vec(), b.to_vec())))
            .collect()
    }
}

/// max |a − b| / max |b|.
pub(crate) fn relative(a: &[Array1<f64>], b: &[Array1<f64>]) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let (difference, size) =
        pairs.fold((0.0, 0.0), |(d, s), (a, b)| (f64::max(d, (a - b).abs()), f64::max(s, b.abs())));
    difference / size
}
