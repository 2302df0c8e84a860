//! Random numbers keyed by (seed, stream, index), and by nothing else.
//!
//! ChaCha8 is a counter-based generator: a stream can be entered anywhere, so that initial weights,
//! shuffles and synthetic images are the same on every device, at any number of threads, whatever
//! was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// Which use a stream of random numbers is for; each has its own numbers under one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Initial weights; the index is the layer l of θ^l.
    Weights = 1,
    /// The order of the samples; the index is the epoch.
    Shuffle = 2,
    /// The synthetic digits; the index is the image.
    Digits = 3,
    /// The perturbation that breaks C1; the index is the weight update.
    Perturb = 4,
    /// Numbers for tests and benches.
    Test = 5,
}

/// A sequence of random numbers under one (seed, stream, index).
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The sequence of `stream` number `index` under `seed`.
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Random(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform over 0..n, for n ≥ 1, without bias (Lemire's rejection).
    pub fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Normal with mean 0 and standard deviation 1 (ziggurat).
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A uniformly random order of 0..n (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}
