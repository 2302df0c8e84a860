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
    /// Slots of a rule that last and begin at random, such as fixed feedback; the index is the rule's.
    Feedback = 6,
    /// A search's candidates, and the images they learn from.
    Search = 7,
    /// The synthetic images in colour; the index is the image.
    Colours = 8,
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

/// Random numbers that a device makes while it trains: Threefry-2x32 with 20 rounds (Salmon et al. 2011) under one (seed,
/// update). Integers alone, so the same bits on every device; twin of `shaders/draw.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter([u32; 2]);

impl Counter {
    /// The numbers of an update, counted from 0.
    pub fn new(seed: u64, update: u64) -> Self {
        let [low, high] = [seed as u32, (seed >> 32) as u32];
        Counter(threefry([low, high], [update as u32, (update >> 32) as u32]))
    }

    /// The numbers of an evaluation: always the same ones, so that weights are judged alike whenever and wherever that is.
    pub fn evaluation() -> Self {
        Counter::new(u64::MAX, u64::MAX)
    }

    /// What the numbers are keyed by.
    pub fn key(self) -> [u32; 2] {
        self.0
    }

    /// Random bits of number `index` of a stream.
    pub fn words(self, stream: u32, index: u32) -> [u32; 2] {
        threefry(self.0, [index, stream])
    }

    /// Number `index` of a stream, uniform in [0, 1): a multiple of 2⁻²⁴.
    pub fn uniform(self, stream: u32, index: u32) -> f32 {
        (threefry(self.0, [index, stream])[0] >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// Number `index` of a stream, of mean 0 and variance 1, nearly normal: the sum of four uniform numbers of 16 bits.
    pub fn bell(self, stream: u32, index: u32) -> f32 {
        let halves = threefry(self.0, [index, stream]).map(|word| (word & 0xffff) + (word >> 16));
        ((halves[0] + halves[1]) as i32 - 131_070) as f32 * BELL
    }
}

/// √3 ÷ 2¹⁶: a uniform number of 16 bits has variance 2³² ÷ 12, and there are four.
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

    /// The known answers of the authors' Random123 for threefry2x32, 20 rounds.
    #[test]
    fn threefry_gives_the_published_numbers() {
        assert_eq!(threefry([0; 2], [0; 2]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([u32::MAX; 2], [u32::MAX; 2]), [0x1cb9_96fc, 0xbb00_2be7]);
        let digits = ([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]);
        assert_eq!(threefry(digits.0, digits.1), [0xc492_3a9c, 0x483d_f7a0]);
    }
}
