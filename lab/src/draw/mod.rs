//! Figures as SVG: curves over epochs, a map of one update over layers and times t, receptive fields, and spike
//! rasters.

pub(crate) mod ablation;
mod axis;
pub mod sweep;

pub use axis::{Axis, last};

use ndarray::Array2;
use plotters::prelude::*;
use zilch::error::{Error, Result};

/// A panel of curves, usually over epochs.
pub struct Panel {
    /// Its title.
    pub title: String,
    /// Whether the y axis is logarithmic. Values that are not positive are then omitted.
    pub log: bool,
    /// The title of the x axis.
    pub x: &'static str,
    /// Names, and (epoch, value).
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Error bars by curve: (epoch, lowest, highest). Empty if the spread is unknown.
    pub bars: Vec<Vec<(f64, f64, f64)>>,
}

/// A map with one row per layer and one column per time t.
pub struct Map {
    /// Its title.
    pub title: String,
    /// Magnitudes ≥ 0, per layer and time t.
    pub cells: Vec<Vec<f64>>,
    /// Fraction of units that spike, per layer and time t; only for rules with spikes.
    pub spikes: Option<Vec<Vec<f64>>>,
}

const SIZE: (u32, u32) = (420, 300);

fn failed(e: impl std::fmt::Display) -> Error {
    Error::usage(format!("cannot draw the picture: {e}"))
}

/// Draws panels side by side.
pub fn curves(panels: &[Panel]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0 * panels.len() as u32, SIZE.1)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            curve_panel(panel, &area).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

fn curve_panel(panel: &Panel, area: &Area<'_>) -> Drawn {
    let points = || panel.curves.iter().flat_map(|(_, points)| points);
    let axis = Axis::new(points().map(|p| p.1), panel.log, 0.08);
    let end = last(points().map(|p| p.0));
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(0.5..end, axis.range())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|y| axis.label(*y, 3))
        .x_desc(panel.x)
        .label_style(("sans-serif", 11))
        .draw()?;
    // Points at 0 are drawn on the edge.
    let shown = |x: f64| (0.0..=end).contains(&x);
    for (i, bars) in panel.bars.iter().enumerate() {
        let color = Palette99::pick(i).mix(0.5);
        let ends = bars.iter().filter(|bar| shown(bar.0));
        let ends = ends.filter_map(|(x, low, high)| Some((*x, axis.end(*low)?, axis.end(*high)?)));
        chart.draw_series(ends.map(|(x, low, high)| PathElement::new([(x, low), (x, high)], color)))?;
    }
    for (i, (name, points)) in panel.curves.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        let points = points.iter().filter(|p| shown(p.0));
        let points: Vec<_> = points.filter_map(|(x, y)| Some((*x, axis.place(*y)?))).collect();
        let line = move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2));
        chart.draw_series(LineSeries::new(points.clone(), color))?.label(name).legend(line);
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 2, color.filled())))?;
    }
    let place = SeriesLabelPosition::UpperRight;
    chart.configure_series_labels().position(place).label_font(("sans-serif", 11)).draw()
}

/// Draws one map. Larger values are darker, on a logarithmic scale that covers six decades below the largest value; 0
/// is white. A circle marks spikes; its size grows with the fraction of units that spike.
pub fn map(map: &Map) -> Result<String> {
    let (layers, moments) = (map.cells.len(), map.cells.first().map_or(0, Vec::len));
    // Room for the title, about 7 pixels per character.
    let width = (90 + 34 * moments as u32).max(40 + 7 * map.title.chars().count() as u32);
    let size = (width.clamp(360, 4000), 100 + 34 * layers as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw_map(map, &area, layers, moments).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn draw_map(map: &Map, area: &Area<'_>, layers: usize, moments: usize) -> Drawn {
    let largest = map.cells.iter().flatten().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    let shade = |v: f64| match v {
        v if v.is_finite() && v > 0.0 => (1.0 + (v / largest).log10() / 6.0).clamp(0.08, 1.0),
        f64::INFINITY => 1.0,
        _ => 0.0,
    };
    let mut chart = ChartBuilder::on(area)
        .caption(&map.title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(48)
        .build_cartesian_2d(-0.5..moments as f64 - 0.5, -0.5..layers as f64 - 0.5)?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_labels(moments.min(30))
        .y_labels(layers)
        .x_label_formatter(&|t| format!("{t:.0}"))
        .y_label_formatter(&|l| if (l - l.round()).abs() < 0.01 { format!("layer {l:.0}") } else { String::new() })
        .x_desc("t")
        .label_style(("sans-serif", 11))
        .draw()?;
    for (l, row) in map.cells.iter().enumerate() {
        for (t, &v) in row.iter().enumerate() {
            let (x, y) = (t as f64, l as f64);
            let cell = [(x - 0.46, y - 0.46), (x + 0.46, y + 0.46)];
            chart.draw_series([Rectangle::new(cell, RGBColor(33, 80, 145).mix(shade(v)).filled())])?;
            chart.draw_series([Rectangle::new(cell, BLACK.mix(0.25).stroke_width(1))])?;
            let share = map.spikes.as_ref().map_or(0.0, |s| s[l][t]);
            if share > 0.0 {
                let radius = 3 + (6.0 * share) as i32;
                chart.draw_series([Circle::new((x, y), radius, RGBColor(220, 50, 47).filled())])?;
            }
        }
    }
    Ok(())
}

/// Draws receptive fields side by side: the input weights of each unit as an image of the input's shape. White is 0,
/// red is positive, and blue is negative. Every image has its own scale.
///
/// # Errors
/// [`Error::Usage`] when there is nothing to draw.
pub fn receptive_fields(theta: &Array2<f32>, rows: usize, units: usize) -> Result<String> {
    let (there, pixels) = theta.dim();
    let units = units.min(there);
    if units == 0 || rows == 0 || !pixels.is_multiple_of(rows) {
        return Err(Error::usage(format!(
            "the {pixels} weights of a unit are not an image of {rows} rows; set --rows"
        )));
    }
    let cols = pixels / rows;
    let across = (units as f64).sqrt().ceil() as usize;
    let down = units.div_ceil(across);
    // One white pixel between images.
    let (width, height) = (across * (cols + 1) + 1, down * (rows + 1) + 1);
    let mut image = vec![WHITE_LEVEL; width * height];
    for u in 0..units {
        let unit = theta.row(u);
        let largest = unit.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        let corner = (1 + (u / across) * (rows + 1), 1 + (u % across) * (cols + 1));
        for (i, w) in unit.iter().enumerate().filter(|(_, w)| w.is_finite() && largest > 0.0) {
            let level = f32::from(WHITE_LEVEL) * (1.0 + w / largest);
            image[(corner.0 + i / cols) * width + corner.1 + i % cols] = level.round() as u8;
        }
    }
    let scale = (600 / width).max(2);
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\"><image width=\"{0}\" height=\"{1}\" \
         style=\"image-rendering:pixelated\" href=\"data:image/bmp,{2}\"/></svg>\n",
        scale * width,
        scale * height,
        bitmap(&image, width, height)
    ))
}

/// The spikes of a layer.
pub struct Raster<'a> {
    /// Its title.
    pub title: String,
    /// Unit and step of each spike.
    pub spikes: &'a [(u32, u32)],
}

/// Draws rasters one below the other. Each unit is a row, and each spike is a dot. The x axis covers `steps` steps,
/// which are `seconds` seconds.
pub fn raster(rasters: &[Raster<'_>], rows: usize, (steps, seconds): (usize, f64)) -> String {
    const WIDTH: f64 = 900.0;
    const HEIGHT: f64 = 200.0;
    const TITLE: f64 = 22.0;
    let height = rasters.len() as f64 * (HEIGHT + TITLE) + 18.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (i, of) in rasters.iter().enumerate() {
        let top = i as f64 * (HEIGHT + TITLE) + TITLE;
        svg += &format!(
            "<text x=\"4\" y=\"{}\">{}</text>\n<path stroke=\"#215091\" stroke-width=\"1\" d=\"",
            top - 7.0,
            of.title
        );
        for (unit, step) in of.spikes {
            let x = f64::from(*step) * WIDTH / steps.max(1) as f64;
            let y = top + f64::from(*unit) * HEIGHT / rows.max(1) as f64;
            svg += &format!("M{x:.1} {y:.1}v1.2");
        }
        svg += "\"/>\n";
    }
    svg + &format!("<text x=\"4\" y=\"{}\">0 to {seconds:.2} s</text>\n</svg>\n", height - 5.0)
}

/// The palette index of white. Index 0 is the darkest blue, and twice this index the darkest red.
const WHITE_LEVEL: u8 = 127;

/// A bitmap with a palette of 256 colours from blue over white to red, with its bytes encoded for a data URL.
fn bitmap(levels: &[u8], width: usize, height: usize) -> String {
    const HEAD: u32 = 14 + 40 + 4 * 256;
    let pitch = width.next_multiple_of(4);
    let mut bytes = Vec::new();
    let word = |v: u32, bytes: &mut Vec<u8>| bytes.extend(v.to_le_bytes());
    bytes.extend(b"BM");
    for v in [HEAD + (pitch * height) as u32, 0, HEAD, 40, width as u32, height as u32] {
        word(v, &mut bytes);
    }
    bytes.extend([1, 0, 8, 0]); // one plane, a byte a pixel
    for v in [0, (pitch * height) as u32, 2835, 2835, 256, 0] {
        word(v, &mut bytes);
    }
    for level in 0..=255u8 {
        let away = f32::from(level.abs_diff(WHITE_LEVEL)) / f32::from(WHITE_LEVEL);
        let pale = (255.0 * (1.0 - away.min(1.0))) as u8;
        // Blue, green, red.
        bytes.extend(if level < WHITE_LEVEL { [255, pale, pale, 0] } else { [pale, pale, 255, 0] });
    }
    // BMP stores the last row first.
    for row in levels.chunks_exact(width).rev() {
        bytes.extend(row);
        bytes.extend(std::iter::repeat_n(0, pitch - width));
    }
    bytes.iter().map(|b| format!("%{b:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Map, Panel, curves, map, receptive_fields};
    use ndarray::Array2;

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
            for log in [false, true] {
                let curve: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64 + 1.0, *v)).collect();
                // The same numbers are used as x positions and as values. The spread of values of both signs can be
                // infinite.
                let turned: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
                let bars = curve.iter().map(|(x, v)| (*x, v - v.abs(), v + v.abs())).collect();
                let panel = Panel {
                    title: "any".into(),
                    log,
                    x: "epoch",
                    curves: vec![("a".into(), curve), ("b".into(), turned)],
                    bars: vec![bars],
                };
                let svg = curves(&[panel]).expect("a picture");
                assert!(svg.len() < 50_000 && !svg.contains("NaN") && !svg.contains("inf"), "{values:?}: {svg}");
            }
        }
    }

    #[test]
    fn maps_of_any_numbers_are_drawn() {
        let cells = vec![vec![0.0, f64::INFINITY, f64::NAN], vec![5e-324, f64::MAX, 1.0]];
        for spikes in [None, Some(vec![vec![f64::NAN, 0.0, 1.0]; 2])] {
            let svg = map(&Map { title: "any".into(), cells: cells.clone(), spikes }).expect("a map");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn receptive_fields_are_where_their_units_are() {
        // Two units of 2 × 3 pixels. The first is 0 except in its last pixel; the second is constant and negative.
        let theta = Array2::from_shape_fn((2, 6), |(u, i)| if u == 0 { f32::from(u8::from(i == 5)) } else { -0.5 });
        let svg = receptive_fields(&theta, 2, 9).expect("a picture");
        let bytes: Vec<u8> = svg
            .split_once("bmp,")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(hex, _)| hex.split('%').skip(1).map(|b| u8::from_str_radix(b, 16).expect("hex")).collect())
            .expect("a bitmap");
        let [width, height] = [18, 22].map(|at| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4")) as usize);
        assert_eq!((width, height, &bytes[..2]), (9, 4, &b"BM"[..]));
        let pitch = width.next_multiple_of(4);
        let pixel = |row: usize, col: usize| bytes[14 + 40 + 1024 + (height - 1 - row) * pitch + col];
        assert_eq!((pixel(2, 3), pixel(1, 1), pixel(1, 5), pixel(2, 7), pixel(0, 0)), (254, 127, 0, 0, 127));
        assert!(receptive_fields(&theta, 4, 9).is_err() && receptive_fields(&theta, 2, 0).is_err());
    }
}
