//! Choices from the bytes of an input, in sequence. After the last byte every choice is 0.

/// A hash of an input, to select a fraction of the inputs for steps that are too slow for all of them.
pub fn part(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |part: u8, b| part.wrapping_mul(31).wrapping_add(*b)) >> 3
}

/// The rest of an input.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True with probability 1 / `n`.
    pub fn one_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    /// An index below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        let number =
            if n > 256 { usize::from(self.byte()) << 8 | usize::from(self.byte()) } else { self.byte().into() };
        number % n.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Any 8 bytes.
    pub fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// An integer, mostly a small one.
    pub fn whole(&mut self) -> u32 {
        match self.byte() {
            small @ 0..220 => u32::from(small % 8),
            220..240 => self.pick(&[10_001, 255, 256, u32::MAX, u32::MAX - 1, 1 << 31]),
            240..255 => self.word() as u32,
            // As step counts, these still take only seconds to plan.
            255 => self.pick(&[10_000, 9, 10, 11, 12, 13, 14, 15, 20, 30, 40, 50, 60, 70, 80, 90]),
        }
    }

    /// A float: an ordinary value, an edge case, or any bit pattern.
    pub fn number(&mut self) -> f64 {
        const ODD: [f64; 16] = [
            0.0,
            -0.0,
            -1.0,
            1.0 - f64::EPSILON,
            1.0 + f64::EPSILON,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            f32::MAX as f64,
            f32::MIN_POSITIVE as f64,
            1e-45,
            1e-60,
            1e60,
        ];
        match self.byte() {
            share @ 0..160 => f64::from(share) / 64.0,
            160..230 => self.pick(&ODD),
            _ => f64::from_bits(self.word()),
        }
    }
}
