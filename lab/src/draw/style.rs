//! Colours, dashes and markers of curves, and the font of all figures. The colours are those of Okabe and Ito (2008),
//! which people with any form of colour blindness can tell apart.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// The palette, without its yellow, which is hardly visible on white. Black is last.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// The lengths of dashes and gaps in pixels. After the last colour, lines become dashed.
const GAPS: [Option<(i32, i32)>; 3] = [None, Some((7, 4)), Some((2, 3))];

/// Text that begins at a point, and is centred vertically.
pub(crate) const LEFT: Pos = Pos { h_pos: HPos::Left, v_pos: VPos::Center };

/// The font of a figure. The backend divides its size by 1.24.
pub(crate) fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", f64::from(size) * 1.24 / 1.15).into_text_style(&(1000, 1000))
}

/// The style of a curve.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) color: RGBColor,
    index: usize,
}

impl Style {
    /// The style with this index. Indices differ in colour and marker, and from the eighth on in dashes.
    pub(crate) fn of(index: usize) -> Style {
        Style { color: COLORS[index % COLORS.len()], index }
    }

    /// The lengths of dashes and gaps in pixels; `None` for a solid line.
    pub(crate) fn gap(&self) -> Option<(i32, i32)> {
        GAPS[self.index / COLORS.len() % GAPS.len()]
    }

    /// The dashes of a line of this length: where each begins and ends.
    pub(crate) fn dashes(&self, length: i32) -> Vec<(i32, i32)> {
        let Some((on, off)) = self.gap() else { return vec![(0, length)] };
        let starts = (0..length).step_by((on + off) as usize);
        starts.map(|from| (from, (from + on).min(length))).collect()
    }

    /// The corners of the marker, in pixels from its point.
    pub(crate) fn marker(&self) -> &'static [(i32, i32)] {
        match self.index % 4 {
            0 => &[(-1, -3), (1, -3), (3, -1), (3, 1), (1, 3), (-1, 3), (-3, 1), (-3, -1)],
            1 => &[(0, -4), (4, 3), (-4, 3)],
            2 => &[(-3, -3), (3, -3), (3, 3), (-3, 3)],
            _ => &[(0, -4), (4, 0), (0, 4), (-4, 0)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 84 styles are distinct, and no colour is close to white.
    #[test]
    fn styles_are_distinct() {
        let all: std::collections::BTreeSet<_> =
            (0..84).map(|i| (Style::of(i).color.rgb(), Style::of(i).gap(), i % 4)).collect();
        assert_eq!(all.len(), 84);
        let light = |c: &RGBColor| 0.2126 * f64::from(c.0) + 0.7152 * f64::from(c.1) + 0.0722 * f64::from(c.2);
        assert!(COLORS.iter().all(|color| light(color) < 180.0));
    }
}
