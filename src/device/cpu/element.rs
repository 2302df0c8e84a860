//! The two precisions of the CPU device: float32 for training, float64 as the reference for tests.

use super::math;
use bytemuck::Pod;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A floating-point type with the operations of the kernels.
pub(crate) trait Element:
    Pod
    + Send
    + Sync
    + PartialEq
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// 0
    const ZERO: Self;
    /// 1
    const ONE: Self;
    /// Conversion from float64, rounded to nearest.
    fn from_f64(value: f64) -> Self;
    /// Conversion to float64, exact.
    fn to_f64(self) -> f64;
    /// self · a + b, rounded once.
    fn fma(self, a: Self, b: Self) -> Self;
    /// 1 / (1 + e⁻ˣ)
    fn sigmoid(self) -> Self;
    /// tanh x
    fn tanh(self) -> Self;
    /// A pixel 0 ..= 255 scaled to [0, 1]: u8 / 255, correctly rounded.
    fn pixel(value: u8) -> Self;
    /// eˣ; float32 clamps x to −87 ..= 88.
    fn exp(self) -> Self;
    /// √x
    fn sqrt(self) -> Self;
    /// |x|
    fn abs(self) -> Self;
}

impl Element for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    #[inline(always)]
    fn from_f64(value: f64) -> f32 {
        value as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        math::sigmoid(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        math::tanh(self)
    }
    #[inline(always)]
    fn pixel(value: u8) -> f32 {
        // v · (1/255) plus one correction step equals v / 255 bit for bit, for every v, without a division.
        let (v, reciprocal) = (f32::from(value), 1.0f32 / 255.0);
        let guess = v * reciprocal;
        guess.mul_add(-255.0, v).mul_add(reciprocal, guess)
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        math::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
}

impl Element for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    #[inline(always)]
    fn from_f64(value: f64) -> f64 {
        value
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn fma(self, a: f64, b: f64) -> f64 {
        self.mul_add(a, b)
    }
    #[inline(always)]
    fn sigmoid(self) -> f64 {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    #[inline(always)]
    fn pixel(value: u8) -> f64 {
        f64::from(value) / 255.0
    }
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Element;

    #[test]
    fn pixels_are_v_over_255_correctly_rounded() {
        for v in 0..=255u8 {
            assert_eq!(f32::pixel(v).to_bits(), (f32::from(v) / 255.0).to_bits(), "{v}");
        }
    }
}
