//! Mean, sample standard deviation and quartiles, as used by every table.

use serde::Serialize;
use std::fmt;

/// Summary of a sample of numbers. It is displayed as `mean ± sample_sd` in the requested precision, as in `{:.2}`; a sample of one
/// number is displayed as that number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Size of the sample, at least 1.
    pub n: usize,
    /// Σ x / n. NaN if any number is NaN.
    pub mean: f64,
    /// √(Σ (x − mean)² / (n − 1)); `None` for a single number.
    pub sample_sd: Option<f64>,
    /// The smallest number that is not NaN.
    pub min: f64,
    /// The largest number that is not NaN.
    pub max: f64,
}

/// The meaning of "±", for captions and footnotes of tables.
pub const PLUS_MINUS: &str = "± is the sample standard deviation (n − 1)";

impl Statistics {
    /// Statistics of these numbers; `None` for an empty list.
    pub fn of(values: &[f64]) -> Option<Statistics> {
        let n = values.len();
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        let sample_sd = (n > 1).then(|| (squares / (n - 1) as f64).sqrt());
        Some(Statistics { n, mean, sample_sd, min, max })
    }

    /// Statistics of the same numbers times a positive factor, such as 100 to convert fractions to percent.
    pub fn scaled(self, factor: f64) -> Statistics {
        Statistics {
            n: self.n,
            mean: factor * self.mean,
            sample_sd: self.sample_sd.map(|sd| factor * sd),
            min: factor * self.min,
            max: factor * self.max,
        }
    }

    /// The mean minus and plus one standard deviation; for a single number, the mean twice.
    pub fn bar(&self) -> [f64; 2] {
        let sd = self.sample_sd.unwrap_or(0.0);
        [self.mean - sd, self.mean + sd]
    }
}

impl fmt::Display for Statistics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.mean, out)?;
        let Some(sd) = self.sample_sd else { return Ok(()) };
        out.write_str(" ± ")?;
        fmt::Display::fmt(&sd, out)
    }
}

/// First quartile, median and third quartile, by linear interpolation between ranks. Sorts `values`.
///
/// # Panics
/// On an empty list.
pub fn quartiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|q| {
        let rank = q * (values.len() - 1) as f64;
        let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    })
}

#[cfg(test)]
mod tests {
    use super::{Statistics, quartiles};

    #[test]
    fn the_spread_is_that_of_a_sample() {
        let of = Statistics::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("numbers");
        assert_eq!((of.n, of.mean, of.min, of.max), (8, 5.0, 2.0, 9.0));
        assert_eq!(of.sample_sd, Some((32.0f64 / 7.0).sqrt()));
        assert_eq!(format!("{of:.2}, {:.1} %", of.scaled(100.0)), "5.00 ± 2.14, 500.0 ± 213.8 %");
        assert_eq!(of.bar(), [5.0 - (32.0f64 / 7.0).sqrt(), 5.0 + (32.0f64 / 7.0).sqrt()]);
    }

    #[test]
    fn one_number_has_no_spread() {
        let of = Statistics::of(&[0.25]).expect("a number");
        assert_eq!((of.n, of.sample_sd, of.bar()), (1, None, [0.25, 0.25]));
        assert_eq!(format!("{of:.2}"), "0.25");
        assert_eq!(Statistics::of(&[]), None);
    }

    #[test]
    fn a_nan_is_seen_in_the_mean() {
        let of = Statistics::of(&[1.0, f64::NAN, 3.0]).expect("numbers");
        assert!(of.mean.is_nan() && of.sample_sd.is_some_and(f64::is_nan));
        assert_eq!((of.min, of.max), (1.0, 3.0));
    }

    #[test]
    fn quartiles_interpolate_between_ranks() {
        assert_eq!(quartiles(&mut [4.0, 1.0, 3.0, 2.0, 5.0]), [2.0, 3.0, 4.0]);
        assert_eq!(quartiles(&mut [2.0, 1.0]), [1.25, 1.5, 1.75]);
        assert_eq!(quartiles(&mut [7.0]), [7.0; 3]);
    }
}
