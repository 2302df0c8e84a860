//! Panels of curves, with legends beside or below the data.

use super::axis::Axis;
use super::style::{self, Style};
use super::{Area, Drawn, failed};
use plotters::prelude::*;
use zilch::error::Result;

/// A panel of curves.
pub struct Panel {
    /// Its title; empty for none.
    pub title: String,
    /// The title of the x axis, with its unit.
    pub x: String,
    /// The kind of the x axis.
    pub over: Over,
    /// The title of the y axis, with its unit.
    pub y: String,
    /// The scale of the y axis.
    pub scale: Scale,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Notes below the legend.
    pub notes: Vec<String>,
}

/// The kind of an x axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// Counted from 1 or 0, such as epochs.
    Counted,
    /// Any numbers.
    Numbers,
    /// A logarithmic axis with a tick at each point.
    Points,
    /// Names, at x = 0, 1, 2, …
    Names(Vec<String>),
}

/// The scale of a y axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic. Values that are not positive are left out.
    Log,
    /// Logarithmic, with a place for zero and one for infinity. It covers at most these decades.
    Ends([i32; 2]),
}

/// A curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its name in the legend; empty for none.
    pub name: String,
    /// The index of its style. Curves of one style belong together.
    pub style: usize,
    /// (x, y). NaN leaves a gap.
    pub points: Vec<(f64, f64)>,
    /// (x, lowest, highest): the spread of the points.
    pub spread: Vec<(f64, f64, f64)>,
    /// How the spread is drawn.
    pub shown: Spread,
    /// What kind of curve it is.
    pub kind: Kind,
}

/// How the spread of a curve is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// As error bars.
    Bars,
    /// As a band.
    Band,
}

/// What a curve stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A result.
    Normal,
    /// One of several that a normal curve summarises: drawn thin, without markers.
    Part,
    /// A run that diverged. It is drawn thin, does not stretch the axis, and ends in a cross.
    Diverged,
}

impl Curve {
    /// A curve without spread.
    pub fn new(name: impl Into<String>, style: usize, points: Vec<(f64, f64)>) -> Curve {
        Curve { name: name.into(), style, points, spread: Vec::new(), shown: Spread::Bars, kind: Kind::Normal }
    }
}

/// The size of a panel in pixels, without its legend.
const SIZE: (u32, u32) = (430, 320);
/// The height of a line of a legend, and the width of a character, in pixels.
const LINE: u32 = 18;
const CHARACTER: f64 = 6.6;
/// The maximum length of a legend's line beside the data, in characters. Longer ones go below.
const BESIDE: usize = 40;
/// The maximum number of points with markers in a figure.
const MARKED: usize = 2000;

/// A legend: its entries with their styles, and notes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Legend {
    entries: Vec<(usize, String)>,
    notes: Vec<String>,
}

impl Legend {
    fn of(panel: &Panel) -> Legend {
        let mut legend = Legend::default();
        for curve in panel.curves.iter().filter(|curve| !curve.name.is_empty()) {
            let entry = (curve.style, curve.name.clone());
            if !legend.entries.contains(&entry) {
                legend.entries.push(entry);
            }
        }
        // The name of a single curve says nothing that the axis does not say.
        if legend.entries.len() < 2 {
            legend.entries.clear();
        }
        legend.notes.clone_from(&panel.notes);
        let (_, y) = panel.axes();
        let beyond = |curve: &Curve| curve.points.iter().any(|(_, v)| y.within(*v).is_some_and(|(_, beyond)| beyond));
        if panel.curves.iter().any(|curve| curve.kind == Kind::Diverged) {
            legend.notes.push("× diverged".into());
        }
        if panel.curves.iter().any(beyond) {
            legend.notes.push("▲ beyond the axis".into());
        }
        legend
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.notes.is_empty()
    }

    fn longest(&self) -> usize {
        let names = self.entries.iter().map(|(_, name)| name.chars().count());
        names.chain(self.notes.iter().map(|note| note.chars().count())).max().unwrap_or(0)
    }

    fn width(&self) -> u32 {
        if self.is_empty() { 0 } else { 46 + (CHARACTER * self.longest() as f64) as u32 }
    }

    fn height(&self) -> u32 {
        if self.is_empty() { 0 } else { LINE * (self.entries.len() + self.notes.len()) as u32 + 12 }
    }

    fn draw(&self, area: &Area<'_>, top: i32) -> Drawn {
        let row = |i: usize| top + (LINE * i as u32) as i32;
        for (i, (style, name)) in self.entries.iter().enumerate() {
            let style = Style::of(*style);
            let y = row(i) + LINE as i32 / 2;
            for dash in style.dashes(24) {
                let ends = [(8 + dash.0, y), (8 + dash.1, y)];
                area.draw(&PathElement::new(ends, style.color.stroke_width(2)))?;
            }
            let corners: Vec<(i32, i32)> = style.marker().iter().map(|(dx, dy)| (20 + dx, y + dy)).collect();
            area.draw(&Polygon::new(corners, style.color.filled()))?;
            area.draw(&Text::new(name.clone(), (40, y), style::text(14).pos(style::LEFT)))?;
        }
        for (i, note) in self.notes.iter().enumerate() {
            let y = row(self.entries.len() + i) + LINE as i32 / 2;
            area.draw(&Text::new(note.clone(), (14, y), style::text(14).pos(style::LEFT)))?;
        }
        Ok(())
    }
}

/// Draws panels in rows of `across`, as SVG. The panels share one legend if theirs are equal.
///
/// # Errors
/// [`zilch::Error::Usage`] when the drawing fails, or there is no panel.
pub fn figure(panels: &[Panel], across: usize) -> Result<String> {
    let across = across.clamp(1, panels.len().max(1));
    let rows = panels.len().div_ceil(across).max(1);
    let legends: Vec<Legend> = panels.iter().map(Legend::of).collect();
    let shared = shared(&legends);
    let (mut cell, mut size, mut grid) = (SIZE, (0, 0), (0, 0));
    if shared.is_none() {
        cell.0 += legends.iter().map(Legend::width).max().unwrap_or(0);
    }
    grid.0 = cell.0 * across as u32;
    grid.1 = cell.1 * rows as u32;
    let legend = shared.unwrap_or_default();
    let beside = legend.longest() <= BESIDE;
    match beside {
        true => (size.0, size.1) = (grid.0 + legend.width(), grid.1.max(legend.height() + 24)),
        false => (size.0, size.1) = (grid.0.max(legend.width()), grid.1 + legend.height()),
    }
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (data, rest) = if beside { area.split_horizontally(grid.0) } else { area.split_vertically(grid.1) };
        let (data, _) = data.split_vertically(grid.1);
        let (data, _) = data.split_horizontally(grid.0);
        for ((panel, own), area) in panels.iter().zip(&legends).zip(data.split_evenly((rows, across))) {
            let (area, rest) = area.split_horizontally(SIZE.0);
            panel.draw(&area).map_err(failed)?;
            if legend.is_empty() && !own.is_empty() {
                own.draw(&rest, 30).map_err(failed)?;
            }
        }
        if !legend.is_empty() {
            legend.draw(&rest, if beside { 30 } else { 4 }).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The legend that serves all panels, if there is one. A panel with a single curve needs none.
fn shared(legends: &[Legend]) -> Option<Legend> {
    let mut needed = legends.iter().filter(|legend| !legend.entries.is_empty());
    let first = needed.next()?;
    let all = legends.len() == 1 || (needed.all(|legend| legend.entries == first.entries) && legends.len() > 1);
    let whole = legends.iter().all(|legend| !legend.entries.is_empty());
    let mut legend = first.clone();
    for note in legends.iter().flat_map(|legend| &legend.notes) {
        if !legend.notes.contains(note) {
            legend.notes.push(note.clone());
        }
    }
    (all && whole).then_some(legend)
}

impl Panel {
    /// The axes. Diverged curves count only if there is no other.
    fn axes(&self) -> (Axis, Axis) {
        let some = self.curves.iter().any(|curve| curve.kind != Kind::Diverged && !curve.points.is_empty());
        let counting = || self.curves.iter().filter(|curve| !some || curve.kind != Kind::Diverged);
        let points = || counting().flat_map(|curve| &curve.points);
        let y = match self.scale {
            Scale::Ends(decades) => {
                let spread = counting().flat_map(|curve| &curve.spread).flat_map(|(_, low, high)| [*low, *high]);
                Axis::with_ends(points().map(|p| p.1).chain(spread), decades)
            }
            scale => {
                let axis = |values: &mut dyn Iterator<Item = f64>| Axis::new(values, scale == Scale::Log, 0.08);
                let alone = axis(&mut points().map(|p| p.1));
                // An error bar is shown whole, unless it is much longer than the curves are high.
                let ends = counting().flat_map(|curve| &curve.spread).flat_map(|(_, low, high)| [*low, *high]);
                let near = ends.filter(|v| alone.is_near(*v));
                axis(&mut points().map(|p| p.1).chain(near))
            }
        };
        let all = || self.curves.iter().flat_map(|curve| &curve.points).map(|p| p.0);
        let x = match &self.over {
            Over::Counted => Axis::counted(all()),
            Over::Numbers => Axis::new(all(), false, 0.04),
            Over::Points => Axis::at(all().collect::<Vec<_>>().into_iter()),
            Over::Names(names) => Axis::named(names),
        };
        (x, y)
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (x, y) = self.axes();
        let mut builder = ChartBuilder::on(area);
        builder.margin(8).margin_right(14).margin_top(12).x_label_area_size(42);
        builder.y_label_area_size(34 + (CHARACTER * y.widest() as f64) as u32);
        if !self.title.is_empty() {
            builder.caption(&self.title, style::text(17));
        }
        let mut chart = builder.build_cartesian_2d(x.clone(), y.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.1))
            .axis_style(BLACK.mix(0.7))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .label_style(style::text(14))
            .axis_desc_style(style::text(15))
            .draw()?;
        let marked = self.curves.iter().map(|curve| curve.points.len()).sum::<usize>() <= MARKED;
        let shift = |i: usize| match &self.over {
            // Curves over names are shifted a little, so that equal values (such as all zeros) can be told apart.
            Over::Names(_) => (i as f64 - (self.curves.len() as f64 - 1.0) / 2.0) * 0.08,
            _ => 0.0,
        };
        for (i, curve) in self.curves.iter().enumerate() {
            let style = Style::of(curve.style);
            let across = |at: f64| x.within(at + shift(i)).map(|(place, _)| place);
            let ends =
                curve.spread.iter().filter_map(|(at, low, high)| Some((across(*at)?, y.end(*low)?, y.end(*high)?)));
            match curve.shown {
                Spread::Bars => {
                    let bar = |(at, low, high)| PathElement::new([(at, low), (at, high)], style.color.mix(0.7));
                    chart.draw_series(ends.map(bar))?;
                }
                Spread::Band => {
                    let ends: Vec<(f64, f64, f64)> = ends.collect();
                    let upper = ends.iter().map(|(at, _, high)| (*at, *high));
                    let lower = ends.iter().rev().map(|(at, low, _)| (*at, *low));
                    let around: Vec<(f64, f64)> = upper.chain(lower).collect();
                    chart.draw_series((around.len() > 2).then(|| Polygon::new(around, style.color.mix(0.18))))?;
                }
            }
            let thin = curve.kind != Kind::Normal;
            let color = if thin { style.color.mix(0.4) } else { style.color.to_rgba() };
            let line = color.stroke_width(if thin { 1 } else { 2 });
            let places: Vec<Option<((f64, f64), bool)>> = curve
                .points
                .iter()
                .map(|(at, v)| across(*at).zip(y.within(*v)).map(|(at, (v, beyond))| ((at, v), beyond)))
                .collect();
            // A value that is left out leaves a gap. A single point is drawn as a marker because it has no line.
            for piece in places.split(Option::is_none).filter(|piece| !piece.is_empty()) {
                let piece: Vec<((f64, f64), bool)> = piece.iter().copied().flatten().collect();
                let inside = piece.iter().filter(|(_, beyond)| !beyond).map(|(at, _)| *at);
                if (marked && !thin) || piece.len() == 1 {
                    let marker = |at| EmptyElement::at(at) + Polygon::new(style.marker(), style.color.filled());
                    chart.draw_series(inside.map(marker))?;
                }
                let beyond = piece.iter().filter(|(_, beyond)| *beyond).map(|((at, _), _)| (*at, y.top()));
                chart.draw_series(beyond.map(|at| TriangleMarker::new(at, 4, style.color.filled())))?;
                let points: Vec<(f64, f64)> = piece.iter().map(|(at, _)| *at).collect();
                match style.gap() {
                    None => chart.draw_series(LineSeries::new(points, line))?,
                    Some((on, off)) => chart.draw_series(DashedLineSeries::new(points, on, off, line))?,
                };
            }
            if curve.kind == Kind::Diverged {
                let last = places.iter().rev().flatten().next().map(|(at, _)| *at);
                chart.draw_series(last.map(|at| Cross::new(at, 4, style.color.stroke_width(2))))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(curves: Vec<Curve>, over: Over, scale: Scale) -> Panel {
        Panel { title: "any".into(), x: "epoch".into(), over, y: "value".into(), scale, curves, notes: Vec::new() }
    }

    /// Drawing terminates for any values, and no coordinate is NaN or infinite.
    #[test]
    fn curves_of_any_numbers_are_drawn() {
        for values in [
            &[][..],
            &[f64::NAN],
            &[f64::INFINITY, 1.0, f64::NEG_INFINITY],
            &[0.25],
            &[3.0, 3.0, 3.0],
            &[1e306, -1e306, 1e305],
            &[1e308, -1e308],
            &[f64::MAX, f64::MIN, 0.0],
            &[5e-324, -5e-324, 1e-310],
            &[1e-300, 1e300],
            &[1e16, 1e16 + 2.0],
        ] {
            let names: Vec<String> = (0..values.len()).map(|i| format!("name {i}")).collect();
            for scale in [Scale::Linear, Scale::Log, Scale::Ends([-20, 4])] {
                for over in [Over::Counted, Over::Numbers, Over::Points, Over::Names(names.clone())] {
                    let points: Vec<(f64, f64)> =
                        values.iter().enumerate().map(|(i, v)| (i as f64 + 1.0, *v)).collect();
                    // The same numbers are used as x positions. The spread of values of both signs can be infinite.
                    let turned: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
                    let spread: Vec<_> = points.iter().map(|(x, v)| (*x, v - v.abs(), v + v.abs())).collect();
                    let curves = vec![
                        Curve { spread: spread.clone(), ..Curve::new("a", 0, points.clone()) },
                        Curve { spread, shown: Spread::Band, ..Curve::new("b", 8, turned) },
                        Curve { kind: Kind::Diverged, ..Curve::new("c", 16, points) },
                    ];
                    let svg = figure(&[panel(curves, over, scale)], 1).expect("a picture");
                    assert!(svg.len() < 100_000 && !svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
                }
            }
        }
    }

    /// The marks of a diverged run and of values beyond the axis, which the others determine.
    #[test]
    fn a_diverged_run_does_not_stretch_the_axis() {
        let good = Curve::new("good", 0, vec![(1.0, 2.0), (2.0, 1.0), (3.0, 0.5)]);
        let bad = Curve { kind: Kind::Diverged, ..Curve::new("bad", 1, vec![(1.0, 2.0), (2.0, 1e30)]) };
        for scale in [Scale::Linear, Scale::Log] {
            let (_, alone) = panel(vec![good.clone()], Over::Counted, scale).axes();
            let both = panel(vec![good.clone(), bad.clone()], Over::Counted, scale);
            assert_eq!(both.axes().1.range(), alone.range());
            let svg = figure(&[both], 1).expect("a picture");
            assert!(svg.contains("× diverged") && svg.contains("▲ beyond the axis"), "{svg}");
            let (_, only) = panel(vec![bad.clone()], Over::Counted, scale).axes();
            assert_eq!(only.within(1e30).map(|(_, beyond)| beyond), Some(false), "alone it is shown whole");
        }
    }

    /// Every entry of a legend is outside of the frame of the data.
    #[test]
    fn legends_are_outside_of_the_data() {
        let curve = |i: usize, name: &str| Curve::new(name, i, vec![(1.0, 1.0), (2.0, 2.0)]);
        let long = "a name that is far too long to be put beside the panels of a figure";
        for names in [["first", "second"], ["first", long]] {
            let curves = || names.iter().enumerate().map(|(i, name)| curve(i, name)).collect::<Vec<_>>();
            let panels = [0, 1].map(|_| panel(curves(), Over::Counted, Scale::Linear));
            let svg = figure(&panels, 2).expect("a picture");
            for name in names {
                let (before, _) = svg.split_once(&format!(">\n{name}\n")).expect("an entry");
                assert_eq!(svg.matches(&format!("\n{name}\n")).count(), 1, "one legend for both panels");
                let tag = before.rsplit('<').next().expect("a tag");
                let number = |key: &str| -> f64 {
                    let (_, rest) = tag.split_once(&format!(" {key}=\"")).expect("an attribute");
                    rest.split('"').next().and_then(|v| v.parse().ok()).expect("a number")
                };
                let right = number("x") > f64::from(2 * SIZE.0);
                assert!(right || number("y") > f64::from(SIZE.1), "{name} lies on the data: {tag}");
            }
        }
    }
}
