//! Random numbers that depend only on (seed, stream, index).
//!
//! Every (seed, stream, index) keys its own ChaCha8 generator. So initial weights, shuffles and synthetic images are the same on every
//! device and with any number of threads, whatever was drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

/// The purpose of a random stream. The streams of one seed are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Initial weights; the index is the layer l of θ^l.
    Weights = 1,
    /// The order of samples; the index is the epoch.
    Shuffle = 2,
    /// The synthetic digits; the index is the image.
    Digits = 3,
    /// The perturbation that breaks C1; the index is the weight update.
    Perturb = 4,
    /// Values for tests and benchmarks.
    Test = 5,
    /// Persistent slots with random initial values, such as fixed feedback weights; the rule chooses the index.
    Feedback = 6,
    /// The candidates of a search, and the images that they learn from.
    Search = 7,
    /// The synthetic colour images; the index is the image.
    Colours = 8,
    /// The split of samples into training and test set.
    Split = 9,
}

/// A generator of random numbers for one (seed, stream, index).
#[derive(Debug, Clone)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The generator for (`seed`, `stream`, `index`).
    pub fn new(seed: u64, stream: Stream, index: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&(stream as u64).to_le_bytes());
        key[16..24].copy_from_slice(&index.to_le_bytes());
        Random(ChaCha8Rng::from_seed(key))
    }

    /// A uniform value in [0, 1), a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A uniform value in [low, high).
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// A uniform integer in 0..n for n ≥ 1, without bias (Lemire's rejection method).
    pub fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.0.next_u64()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A normal value with mean 0 and standard deviation 1 (ziggurat method).
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.0)
    }

    /// A uniformly random permutation of 0..n (Fisher–Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }
}

/// The counter-based generator that devices use during training: Threefry-2x32 with 20 rounds (Salmon et al. 2011), keyed by (seed,
/// update). It uses only integer arithmetic, so that all devices give the same bits. `shaders/draw.wgsl` is its twin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter([u32; 2]);

impl Counter {
    /// The generator for an update, counted from 0.
    pub fn new(seed: u64, update: u64) -> Self {
        let [low, high] = [seed as u32, (seed >> 32) as u32];
        Counter(threefry([low, high], [update as u32, (update >> 32) as u32]))
    }

    /// The generator for evaluations. It is always the same, so that the score of given weights is reproducible.
    pub fn evaluation() -> Self {
        Counter::new(u64::MAX, u64::MAX)
    }

    /// The key of the generator.
    pub fn key(self) -> [u32; 2] {
        self.0
    }

    /// 64 random bits for `index` of a stream.
    pub fn words(self, stream: u32, index: u32) -> [u32; 2] {
        threefry(self.0, [index, stream])
    }

    /// The value `index` of a stream, uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn uniform(self, stream: u32, index: u32) -> f32 {
        (threefry(self.0, [index, stream])[0] >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// The value `index` of a stream, nearly normal with mean 0 and variance 1: the scaled sum of four uniform 16-bit integers.
    pub fn bell(self, stream: u32, index: u32) -> f32 {
        let halves = threefry(self.0, [index, stream]).map(|word| (word & 0xffff) + (word >> 16));
        ((halves[0] + halves[1]) as i32 - 131_070) as f32 * BELL
    }
}

/// √3 ÷ 2¹⁶ scales the sum of four uniform 16-bit integers, each with variance 2³² ÷ 12, to variance 1.
const BELL: f32 = 2.642_899_7e-5;

fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ 0x1bd1_1bda];
    let mut v = [counter[0].wrapping_add(keys[0]), counter[1].wrapping_add(keys[1])];
    for round in 0..5u32 {
        for by in if round % 2 == 0 { [13, 15, 26, 6] } else { [17, 29, 16, 24] } {
            v[0] = v[0].wrapping_add(v[1]);
            v[1] = v[1].rotate_left(by) ^ v[0];
        }
        let at = round as usize + 1;
        v[0] = v[0].wrapping_add(keys[at % 3]);
        v[1] = v[1].wrapping_add(keys[(at + 1) % 3]).wrapping_add(round + 1);
    }
    v
}

#[cfg(test)]
mod tests {
    use super::threefry;

    /// The known answers for threefry2x32 with 20 rounds from Random123, the implementation of the authors.
    #[test]
    fn threefry_gives_the_published_values() {
        assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        let digits = ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
        assert_eq!(threefry(digits.0, digits.1), [0xc492_3a9c, 0x483d_f7a0]);
    }
}
