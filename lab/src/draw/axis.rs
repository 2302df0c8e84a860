//! The axes of figures. Values come from files and can have any magnitude; an axis omits values that cannot be drawn.
//! The range of an axis is limited, because the search of plotters for tick positions does not terminate if the range
//! overflows, or if the distance of ticks is below the rounding error of their values.

use std::ops::Range;

/// Above this magnitude, the axis is scaled by a power of ten and its labels have an exponent.
const LARGE: f64 = 1e6;
/// The minimum length of an axis, relative to its largest value or to 1.
const LEAST: f64 = 1e-3;

/// A vertical axis.
pub struct Axis {
    /// Whether the axis is logarithmic. `low` and `high` are then decimal logarithms.
    log: bool,
    /// The scale: a value v is drawn at v / 10^exponent.
    exponent: i32,
    low: f64,
    high: f64,
}

impl Axis {
    /// The axis for these values, extended at both ends by the fraction `room` of their range. NaN and infinities are
    /// omitted, and on a logarithmic axis also values that are not positive.
    pub fn new(values: impl Iterator<Item = f64>, log: bool, room: f64) -> Axis {
        let ends = values.filter_map(|v| placed(v, log));
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let size = low.abs().max(high.abs());
        let exponent = if size > LARGE { size.log10().floor() as i32 } else { 0 };
        let unit = 10f64.powi(exponent);
        let (low, high) = (low / unit, high / unit);
        let room = ((high - low) * room).max(LEAST * (size / unit).max(1.0));
        Axis { log, exponent, low: low - room, high: high + room }
    }

    /// The range for plotters.
    pub fn range(&self) -> Range<f64> {
        self.low..self.high
    }

    /// The position of a value. `None` if the value is omitted.
    pub fn place(&self, value: f64) -> Option<f64> {
        let place = placed(value, self.log)? / 10f64.powi(self.exponent);
        (self.low..=self.high).contains(&place).then_some(place)
    }

    /// The position of an end of an error bar. A value outside the axis is drawn at most one axis length beyond it,
    /// where it is clipped.
    pub fn end(&self, value: f64) -> Option<f64> {
        let length = self.high - self.low;
        let place = placed(value, self.log)? / 10f64.powi(self.exponent);
        Some(place.clamp(self.low - length, self.high + length))
    }

    /// The label of a tick. `decimals` applies to linear axes without an exponent.
    pub fn label(&self, place: f64, decimals: usize) -> String {
        if !self.log {
            return match self.exponent {
                0 => format!("{place:.decimals$}"),
                exponent => format!("{place:.1}e{exponent}"),
            };
        }
        let value = 10f64.powf(place);
        // The ends of a logarithmic axis can overflow or underflow float64.
        if value.is_normal() { format!("{value:.1e}") } else { format!("1e{place:.0}") }
    }
}

/// The value or its logarithm, if that is finite.
fn placed(value: f64, log: bool) -> Option<f64> {
    let place = if log { value.log10() } else { value };
    place.is_finite().then_some(place)
}

/// The end of a horizontal axis that begins at 0.5, for points at the integers from 1.
pub fn last(points: impl Iterator<Item = f64>) -> f64 {
    points.filter(|x| x.is_finite()).fold(1.0, f64::max).min(f64::from(f32::MAX)) + 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_has_a_range_that_can_be_divided() {
        let cases: [&[f64]; 12] = [
            &[],
            &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY],
            &[0.5],
            &[7.0, 7.0],
            &[1e306, -1e306],
            &[f64::MAX, f64::MIN],
            &[1e308, 1e308],
            &[5e-324, 1e-310, -5e-324],
            &[f64::MIN_POSITIVE, f64::MAX],
            &[1e17, 1e17 + 16.0],
            &[0.1, 0.9, 1e300],
            &[-0.0, 0.0],
        ];
        for values in cases {
            for log in [false, true] {
                let axis = Axis::new(values.iter().copied(), log, 0.06);
                let Range { start, end } = axis.range();
                let size = start.abs().max(end.abs());
                assert!(size < 2.0 * LARGE && end - start >= 0.9 * LEAST * size, "{values:?}: {start}..{end}");
                for v in values {
                    let drawn = v.is_finite() && (!log || *v > 0.0);
                    assert_eq!(axis.place(*v).is_some(), drawn, "{v:e} of {values:?}, log {log}");
                }
                for place in [start, (start + end) / 2.0, end] {
                    let label = axis.label(place, 2);
                    assert!(label.len() < 12 && !label.contains("inf") && !label.contains("NaN"), "{label}");
                }
            }
        }
    }

    #[test]
    fn large_values_have_an_exponent() {
        let axis = Axis::new([0.0, 3e306].into_iter(), false, 0.06);
        assert_eq!(axis.place(1.5e306).map(|place| axis.label(place, 2)), Some("1.5e306".into()));
        let axis = Axis::new([0.0, 90.0].into_iter(), false, 0.06);
        assert_eq!(axis.place(45.0).map(|place| axis.label(place, 2)), Some("45.00".into()));
        assert_eq!(Axis::new([1e-320].into_iter(), true, 0.06).label(-320.0, 2), "1e-320");
    }
}
