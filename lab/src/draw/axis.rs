//! The axes of figures: their ranges, and ticks at 1, 2 or 5 × 10^k. Values come from files and can have any magnitude.
//! An axis leaves out a value that it cannot show.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use std::ops::Range;

/// From this magnitude on, a linear axis has labels with a power of ten.
const LARGE: f64 = 1e5;
/// Below this magnitude too.
const SMALL: f64 = 1e-3;
/// The minimum length of an axis, relative to its largest value, or to 1 after scaling.
const LEAST: f64 = 1e-3;
/// The maximum number of ticks of a vertical axis.
const TICKS: usize = 7;

/// How values become places on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value v is at v / 10^exponent.
    Linear {
        /// The exponent.
        exponent: i32,
    },
    /// A value v is at log10(v).
    Log,
    /// As `Log`, with a place for zero below and one for infinity above.
    Ends {
        /// The lowest decade. Smaller values are drawn there.
        low: i32,
        /// The highest decade. Larger values are drawn at infinity.
        high: i32,
    },
}

/// An axis.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    kind: Kind,
    low: f64,
    high: f64,
    /// The places of the ticks and their labels.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// The axis for these values, extended at both ends by the fraction `room` of their range. NaN and infinities are
    /// left out, and on a logarithmic axis also values that are not positive.
    pub(crate) fn new(values: impl Iterator<Item = f64>, log: bool, room: f64) -> Axis {
        let (low, high) = match ends(values.filter_map(|v| placed(v, log))) {
            // Only zeros: nothing says how long the axis should be.
            (low, high) if !log && low == 0.0 && high == 0.0 => (0.0, 1.0),
            found => found,
        };
        let size = low.abs().max(high.abs());
        let scaled = !log && size > 0.0 && !(SMALL..LARGE).contains(&size);
        let exponent = if scaled { size.log10().floor() as i32 } else { 0 };
        // Two divisions, because 10^exponent itself can be beyond float64.
        let [low, high] = [low, high].map(|v| down(v, exponent));
        let room = ((high - low) * room).max(LEAST * low.abs().max(high.abs()).max(if log { 1.0 } else { 0.1 }));
        // Values that are never negative have no negative part of the axis.
        let begin = if !log && low >= 0.0 { (low - room).max(0.0) } else { low - room };
        let kind = if log { Kind::Log } else { Kind::Linear { exponent } };
        Axis { kind, low: begin, high: high + room, ticks: Vec::new() }.with_ticks(TICKS)
    }

    /// The axis for numbers that are counted, such as epochs: ticks are integers.
    pub(crate) fn counted(values: impl Iterator<Item = f64>) -> Axis {
        let most = f64::from(f32::MAX);
        let (low, high) = ends(values.filter(|v| v.is_finite()).map(|v| v.clamp(0.0, most)));
        let room = 0.02 * (high - low).max(1.0);
        let mut axis =
            Axis { kind: Kind::Linear { exponent: 0 }, low: low - room, high: high + room, ticks: Vec::new() };
        axis.ticks = linear_ticks(axis.low, axis.high, TICKS, 1.0);
        axis
    }

    /// A logarithmic axis with ticks at its own points.
    pub(crate) fn at(points: impl Iterator<Item = f64> + Clone) -> Axis {
        let mut axis = Axis::new(points.clone(), true, 0.04);
        let mut all: Vec<f64> = points.filter(|p| axis.place(*p).is_some()).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        axis.ticks = all.iter().map(|p| (p.log10(), p.to_string())).collect();
        axis
    }

    /// An axis of names, at 0, 1, 2, …
    pub(crate) fn named(names: &[String]) -> Axis {
        let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
        let high = names.len() as f64 - 0.6;
        Axis { kind: Kind::Linear { exponent: 0 }, low: -0.4, high: high.max(0.4), ticks }
    }

    /// A logarithmic axis with a place for zero, one decade below the others, and one for infinity, one decade above.
    /// It covers at most the decades from `bottom` to `top`.
    pub(crate) fn with_ends(values: impl Iterator<Item = f64>, [bottom, top]: [i32; 2]) -> Axis {
        let logs: Vec<f64> = values.filter_map(|v| placed(v, true)).collect();
        let low = logs.iter().copied().fold(0.0, f64::min).floor().max(f64::from(bottom));
        let high = logs.iter().copied().fold(low + 1.0, f64::max).ceil().min(f64::from(top));
        let (from, to) = (low as i32, high as i32);
        let step = ((to - from) as usize).div_ceil(TICKS).max(1);
        let decades = (from..=to).rev().step_by(step).map(|k| (f64::from(k), power(k)));
        let mut ticks: Vec<(f64, String)> = decades.collect();
        ticks.push((low - 1.0, "0".into()));
        ticks.push((high + 1.0, format!("> {}", power(to))));
        Axis { kind: Kind::Ends { low: from, high: to }, low: low - 1.3, high: high + 1.3, ticks }
    }

    fn with_ticks(mut self, most: usize) -> Axis {
        self.ticks = match self.kind {
            Kind::Log => log_ticks(self.low, self.high, most),
            Kind::Linear { exponent } => {
                let ticks = linear_ticks(self.low, self.high, most, 0.0);
                let scaled = |(at, label): (f64, String)| {
                    let label = if exponent == 0 || at == 0.0 { label } else { times(&label, exponent) };
                    (at, label)
                };
                ticks.into_iter().map(scaled).collect()
            }
            Kind::Ends { .. } => self.ticks,
        };
        self
    }

    /// The place of a value; `None` if it is left out.
    pub(crate) fn place(&self, value: f64) -> Option<f64> {
        let place = match self.kind {
            Kind::Linear { exponent } => down(placed(value, false)?, exponent),
            Kind::Log => placed(value, true)?,
            Kind::Ends { low, .. } if value <= 0.0 => f64::from(low) - 1.0,
            Kind::Ends { low, high } if value.log10() <= f64::from(high) => value.log10().max(f64::from(low)),
            // NaN, such as ∞ − ∞, is drawn at infinity.
            Kind::Ends { high, .. } => f64::from(high) + 1.0,
        };
        Some(place)
    }

    /// The nearest place within the axis, and whether the value is beyond its upper end.
    pub(crate) fn within(&self, value: f64) -> Option<(f64, bool)> {
        let place = self.place(value)?;
        Some((place.clamp(self.low, self.high), place > self.high))
    }

    /// The place of an end of an error bar or band, clipped at the ends of the axis. What a logarithmic axis cannot
    /// show below is clipped at its lower end.
    pub(crate) fn end(&self, value: f64) -> Option<f64> {
        if self.kind == Kind::Log && value <= 0.0 {
            return Some(self.low);
        }
        Some(self.within(value)?.0)
    }

    /// Whether a value is within the axis or at most its length away.
    pub(crate) fn is_near(&self, value: f64) -> bool {
        let length = self.high - self.low;
        self.place(value).is_some_and(|place| (self.low - length..=self.high + length).contains(&place))
    }

    /// The highest place.
    pub(crate) fn top(&self) -> f64 {
        self.high
    }

    /// The length of the longest label, in characters.
    pub(crate) fn widest(&self) -> usize {
        self.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0)
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (place - self.low) / (self.high - self.low);
        from + (f64::from(to - from) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format_ext(&self, place: &f64) -> String {
        let tick = self.ticks.iter().find(|(at, _)| at == place);
        tick.map(|(_, label)| label.clone()).unwrap_or_default()
    }
}

/// The smallest and the largest of some numbers; 0 and 1 of none.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// The value or its logarithm, if that is finite.
fn placed(value: f64, log: bool) -> Option<f64> {
    let place = if log { value.log10() } else { value };
    place.is_finite().then_some(place)
}

/// v / 10^exponent, where 10^exponent can be beyond float64.
fn down(v: f64, exponent: i32) -> f64 {
    let half = exponent / 2;
    v / 10f64.powi(half) / 10f64.powi(exponent - half)
}

/// Ticks at multiples of a step of 1, 2 or 5 × 10^k, at most `most` and with a step of at least `least`.
pub(super) fn linear_ticks(low: f64, high: f64, most: usize, least: f64) -> Vec<(f64, String)> {
    let wanted = ((high - low) / most as f64).max(least);
    let decade = wanted.log10().floor();
    // The decade of the tick's last digit. A power that rounds up needs the next step.
    let step = [(1.0, 0.0), (2.0, 0.0), (5.0, 0.0), (1.0, 1.0)]
        .into_iter()
        .map(|(digit, more)| (digit, decade + more))
        .find(|(digit, decade)| digit * 10f64.powf(*decade) >= wanted * (1.0 - 1e-9));
    let Some((digit, decade)) = step.filter(|_| wanted.is_finite() && wanted > 0.0) else { return Vec::new() };
    let (step, decimals) = (digit * 10f64.powf(decade), (-decade).max(0.0) as usize);
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    let label = |at: f64| {
        let text = if at.abs() < LARGE { format!("{at:.decimals$}") } else { exponential(at) };
        // Zero has no sign and no decimals.
        if text.bytes().all(|b| matches!(b, b'-' | b'0' | b'.')) { "0".to_owned() } else { text }
    };
    let count = (last - first).clamp(-1.0, 2.0 * most as f64) as i64;
    (0..=count).map(|i| (first + i as f64) * step).map(|at| (at, label(at))).collect()
}

/// Ticks of a logarithmic axis: decades, or on a short axis also 2 and 5 times them, or plain numbers on a very short
/// one.
fn log_ticks(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.ceil() as i32, high.floor() as i32);
    if last - first >= 2 {
        let step = ((last - first) as usize).div_ceil(most).max(1);
        let decades: Vec<i32> = (first..=last).filter(|k| k.rem_euclid(step as i32) == 0).collect();
        let plain = decades.iter().all(|k| (-3..=4).contains(k));
        let label = |k: i32| if plain { 10f64.powi(k).to_string() } else { power(k) };
        return decades.into_iter().map(|k| (f64::from(k), label(k))).collect();
    }
    let steps = (first.saturating_sub(1)..=last.saturating_add(1)).flat_map(|k| [1, 2, 5].map(|digit| (digit, k)));
    let at = |(digit, k): (i32, i32)| (f64::from(digit).log10() + f64::from(k), digit, k);
    let inside: Vec<_> = steps.map(at).filter(|(place, ..)| (low..=high).contains(place)).collect();
    let plain = inside.iter().all(|(_, _, k)| (-4..=4).contains(k));
    if inside.len() >= 3 || !plain {
        let label = |digit: i32, k: i32| match plain {
            true if k >= 0 => (f64::from(digit) * 10f64.powi(k)).to_string(),
            true => format!("{:.*}", k.unsigned_abs() as usize, f64::from(digit) * 10f64.powi(k)),
            false if digit == 1 => power(k),
            false => times(&digit.to_string(), k),
        };
        return inside.into_iter().map(|(place, digit, k)| (place, label(digit, k))).collect();
    }
    let ticks = linear_ticks(10f64.powf(low), 10f64.powf(high), most, 0.0);
    let place = |(at, label): (f64, String)| placed(at, true).map(|place| (place, label));
    ticks.into_iter().filter_map(place).filter(|(place, _)| (low..=high).contains(place)).collect()
}

/// A number from 10⁵ on, as 2·10⁶.
fn exponential(v: f64) -> String {
    let exponent = v.abs().log10().floor() as i32;
    let digits = format!("{:.1}", down(v, exponent));
    times(&digits, exponent)
}

/// "2·10⁶"; "10⁶" for a factor of 1.
fn times(factor: &str, exponent: i32) -> String {
    let factor = if factor.contains('.') { factor.trim_end_matches('0').trim_end_matches('.') } else { factor };
    match factor {
        "1" => power(exponent),
        "-1" => format!("-{}", power(exponent)),
        factor => format!("{factor}·{}", power(exponent)),
    }
}

/// "10⁶"; 1 and 10 are written as such.
fn power(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised = |c: char| c.to_digit(10).map_or('⁻', |digit| DIGITS[digit as usize]);
    match exponent {
        0 => "1".into(),
        1 => "10".into(),
        exponent => format!("10{}", exponent.to_string().chars().map(raised).collect::<String>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, label)| label.as_str()).collect()
    }

    #[test]
    fn every_axis_has_a_range_that_can_be_divided() {
        let cases: [&[f64]; 13] = [
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
            &[1e-9, 2e-9],
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
                    let beyond = axis.within(*v).is_some_and(|(_, beyond)| beyond);
                    assert!(!beyond, "{v:e} of {values:?}, log {log}, is outside of its own axis");
                }
                let ticks = labels(&axis);
                assert!(ticks.len() <= 2 * TICKS, "{values:?}: {ticks:?}");
                let bad = |label: &&&str| label.chars().count() > 14 || label.contains("inf") || label.contains("NaN");
                assert_eq!(ticks.iter().find(bad), None, "{values:?}");
                let slack = 1e-6 * (end - start);
                let inside = |place: f64| (start - slack..=end + slack).contains(&place);
                assert!(axis.ticks.iter().all(|(place, _)| inside(*place)), "{values:?}: {ticks:?}");
            }
        }
    }

    /// Labels as people write them: 1, 2 or 5 × 10^k, and no rounding errors.
    #[test]
    fn ticks_are_written_as_people_write_them() {
        for (values, log, wanted) in [
            (&[0.0, 0.6][..], false, &["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"][..]),
            (&[0.0, 90.0], false, &["0", "20", "40", "60", "80"]),
            (&[88.65, 88.7], false, &["88.60", "88.65", "88.70", "88.75"]),
            (&[-1.0, 1.0], false, &["-1.0", "-0.5", "0", "0.5", "1.0"]),
            (&[0.0, 3e306], false, &["0", "5·10³⁰⁵", "10³⁰⁶", "1.5·10³⁰⁶", "2·10³⁰⁶", "2.5·10³⁰⁶", "3·10³⁰⁶"]),
            (&[0.0, 2e-6], false, &["0", "5·10⁻⁷", "10⁻⁶", "1.5·10⁻⁶", "2·10⁻⁶"]),
            (&[0.01, 5.0], true, &["0.01", "0.1", "1"]),
            (&[0.2, 1.5], true, &["0.2", "0.5", "1"]),
            (&[1e-12, 1.0], true, &["10⁻¹²", "10⁻¹⁰", "10⁻⁸", "10⁻⁶", "10⁻⁴", "10⁻²", "1"]),
            (&[2e7, 9e7], true, &["2·10⁷", "5·10⁷"]),
            (&[1.0, 1.3], true, &["1.00", "1.05", "1.10", "1.15", "1.20", "1.25", "1.30"]),
        ] {
            let axis = Axis::new(values.iter().copied(), log, 0.0);
            let factor = |label: &str| label.replace("5·10³⁰⁵", "0.5·10³⁰⁶").replace("5·10⁻⁷", "0.5·10⁻⁶");
            let wanted: Vec<String> = wanted.iter().map(|label| factor(label)).collect();
            assert_eq!(labels(&axis), wanted, "{values:?}");
        }
    }

    #[test]
    fn epochs_are_integers() {
        for (last, wanted) in [(1.0, &["1"][..]), (3.0, &["1", "2", "3"]), (40.0, &["10", "20", "30", "40"])] {
            let axis = Axis::counted([1.0, last].into_iter());
            assert_eq!(labels(&axis), wanted);
        }
        let axis = Axis::counted([1.0, u64::MAX as f64].into_iter());
        assert!(labels(&axis).contains(&"5·10¹⁸"), "{:?}", labels(&axis));
    }

    #[test]
    fn zero_and_infinity_have_places_of_their_own() {
        let axis = Axis::with_ends([1e-7, 0.5, 20.0].into_iter(), [-20, 4]);
        assert_eq!(
            (axis.place(0.0), axis.place(f64::INFINITY), axis.place(f64::NAN)),
            (Some(-8.0), Some(3.0), Some(3.0))
        );
        assert_eq!(axis.place(1e-30), Some(-7.0), "a small value is not zero");
        let texts = labels(&axis);
        assert!(texts.contains(&"0") && texts.contains(&"> 10²"), "{texts:?}");
    }
}
