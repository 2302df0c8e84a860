//! eˣ, the sigmoid and tanh in float32. Twin: `shaders/shared/activation.wgsl`.
//!
//! CPU and GPU use the same polynomials instead of the platform's `exp` and `tanh`. Results then do not depend on a
//! math library, and a loop over a layer can be vectorised.

/// ln 2 in two parts. The first has few enough bits that n · LN2_HIGH is exact for |n| < 2¹¹.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// 1.5 · 2²³: adding it rounds to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;
/// Arguments beyond these are clamped, because e^x would leave the normal range of float32.
const EXP_MIN: f32 = -87.0;
const EXP_MAX: f32 = 88.0;

/// e^x = 2ⁿ e^r with |r| ≤ ½ ln 2; e^r by its Taylor series to r⁷ (truncation error below 6·10⁻⁹). NaN gives NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let low = if x < EXP_MIN { EXP_MIN } else { x };
    let x = if low > EXP_MAX { EXP_MAX } else { low };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    let mut p = 1.0f32 / 5040.0;
    p = p.mul_add(r, 1.0 / 720.0);
    p = p.mul_add(r, 1.0 / 120.0);
    p = p.mul_add(r, 1.0 / 24.0);
    p = p.mul_add(r, 1.0 / 6.0);
    p = p.mul_add(r, 0.5);
    p = p.mul_add(r, 1.0);
    p = p.mul_add(r, 1.0);
    // The low bits of `shifted` are n, so no float-to-integer conversion is needed, which would not vectorise.
    p * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x = sign(x) (1 − 2 / (e^{2|x|} + 1)); for |x| < ¼, where this formula suffers from cancellation, the odd Taylor
/// series to x¹¹.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let large = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    let s = x * x;
    let mut p = -1382.0f32 / 155_925.0;
    p = p.mul_add(s, 62.0 / 2835.0);
    p = p.mul_add(s, -17.0 / 315.0);
    p = p.mul_add(s, 2.0 / 15.0);
    p = p.mul_add(s, -1.0 / 3.0);
    let small = (p * s).mul_add(x, x);
    // The series gives +0 for x = −0.
    if x.abs() < 0.25 { small.copysign(x) } else { large }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_sigmoid_and_tanh_are_accurate_to_a_few_ulp() {
        let mut worst = [0.0f64; 3];
        for i in -160_000..=160_000 {
            let x = i as f32 * 5e-4;
            let exact = f64::from(x);
            let pairs = [(exp(x), exact.exp()), (sigmoid(x), 1.0 / (1.0 + (-exact).exp())), (tanh(x), exact.tanh())];
            for (w, (got, want)) in worst.iter_mut().zip(pairs) {
                if want != 0.0 {
                    *w = w.max((f64::from(got) - want).abs() / want.abs());
                }
            }
        }
        let ulp = f64::from(f32::EPSILON);
        assert!(worst[0] < 2.0 * ulp && worst[1] < 3.0 * ulp && worst[2] < 5.0 * ulp, "{worst:?}");
    }

    #[test]
    fn extremes_stay_in_range_and_nan_stays_nan() {
        for x in [f32::MIN, -200.0, -88.5, 88.5, 200.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY] {
            assert!((0.0..=1.0).contains(&sigmoid(x)), "sigmoid({x})");
            assert!((-1.0..=1.0).contains(&tanh(x)), "tanh({x})");
        }
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && exp(f32::NAN).is_nan());
        assert_eq!(tanh(-0.0).to_bits(), (-0.0f32).to_bits());
    }
}
