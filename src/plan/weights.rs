//! The trained weights of a network, as arrays.

use crate::files::hex;
use ndarray::{Array1, Array2};

/// The weights θ^l and biases b^l of a network, on the host. In a graph, l is the number of a weight matrix: see
/// [`crate::network::graph`].
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// `theta[l - 1]` is θ^l, shape `[n^{l−1}, n^l]`, for l = 1 ..= [`crate::Network::matrices`]. A convolution has
    /// shape `[channels, kernel² · channels of layer l]`.
    pub theta: Vec<Array2<f32>>,
    /// `bias[l - 1]` is b^l, shape `[n^{l−1}]`, or `[channels]` for a convolution. The list is empty without biases.
    pub bias: Vec<Array1<f32>>,
}

impl Weights {
    /// Scales every θ^l by its gain. Gains are in order from the input to the output. Missing gains equal the first
    /// one, or 1 if the list is empty.
    pub fn scale(&mut self, gains: &[f64]) {
        for (i, theta) in self.theta.iter_mut().rev().enumerate() {
            let gain = gains.get(i).or(gains.first()).map_or(1.0, |gain| *gain as f32);
            if gain != 1.0 {
                theta.mapv_inplace(|w| gain * w);
            }
        }
    }

    /// All values: θ^1 first, each matrix in row-major order and followed by its biases.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.theta.iter().enumerate().flat_map(|(i, theta)| {
            theta.iter().copied().chain(self.bias.get(i).into_iter().flat_map(|b| b.iter().copied()))
        })
    }

    /// SHA-256 over the bits of [`Weights::values`], little-endian, in hexadecimal.
    pub fn sha256(&self) -> String {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for value in self.values() {
            hash.update(value.to_le_bytes());
        }
        hex(&hash.finalize())
    }

    /// Whether all values have the same bits.
    pub fn bit_identical(&self, other: &Weights) -> bool {
        self.theta.len() == other.theta.len()
            && self.bias.len() == other.bias.len()
            && self.theta.iter().zip(&other.theta).all(|(a, b)| a.dim() == b.dim())
            && self.values().map(f32::to_bits).eq(other.values().map(f32::to_bits))
    }

    /// The distance of the paper's Fig. 3: Σ_l ‖θ^l − θ′^l‖₂, plus the same sum over the biases.
    pub fn distance(&self, other: &Weights) -> f64 {
        let l2 = |a: &mut dyn Iterator<Item = (f32, f32)>| {
            a.map(|(p, q)| (f64::from(p) - f64::from(q)).powi(2)).sum::<f64>().sqrt()
        };
        let pair = |(p, q): (&f32, &f32)| (*p, *q);
        let theta = self.theta.iter().zip(&other.theta).map(|(a, b)| l2(&mut a.iter().zip(b).map(pair)));
        let bias = self.bias.iter().zip(&other.bias).map(|(a, b)| l2(&mut a.iter().zip(b).map(pair)));
        theta.chain(bias).sum()
    }

    /// The largest |θ − θ′| over all values (infinite if a difference is not finite), and the largest |θ′|.
    pub fn max_abs_difference(&self, other: &Weights) -> (f64, f64) {
        self.values().zip(other.values()).fold((0.0, 0.0), |(d, m), (a, b)| {
            let difference = (f64::from(a) - f64::from(b)).abs();
            (
                f64::max(d, if difference.is_finite() { difference } else { f64::INFINITY }),
                f64::max(m, f64::from(b).abs()),
            )
        })
    }

    /// The first layer l whose θ^l or b^l contains a NaN or infinity, and which of the two it is.
    pub fn not_finite(&self) -> Option<(usize, &'static str)> {
        (1..=self.theta.len()).find_map(|l| {
            if self.theta[l - 1].iter().any(|v| !v.is_finite()) {
                Some((l, "the weights"))
            } else if self.bias.get(l - 1).is_some_and(|b| b.iter().any(|v| !v.is_finite())) {
                Some((l, "the biases"))
            } else {
                None
            }
        })
    }
}
