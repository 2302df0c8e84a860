//! Figures as SVG: curves over epochs, a map of one update over layers and times t, receptive fields, and spike
//! rasters.

mod axis;
mod chart;
pub mod growth;
mod image;
mod style;
pub mod sweep;

pub use chart::{Curve, Kind, Over, Panel, Scale, Spread, figure};
pub use image::{heat, receptive_fields};

use plotters::prelude::*;
use style::Style;
use zilch::error::{Error, Result};

/// A map with one row per layer and one column per time t.
pub struct Map {
    /// Its title.
    pub title: String,
    /// Magnitudes ≥ 0, per layer and time t.
    pub cells: Vec<Vec<f64>>,
    /// Fraction of units that spike, per layer and time t; only for rules with spikes.
    pub spikes: Option<Vec<Vec<f64>>>,
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::usage(format!("cannot draw the picture: {e}"))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// Draws one map. Larger values are darker, on a logarithmic scale that covers six decades below the largest value; 0
/// is white. A circle marks spikes; its size grows with the fraction of units that spike.
pub fn map(map: &Map) -> Result<String> {
    let (layers, moments) = (map.cells.len(), map.cells.first().map_or(0, Vec::len));
    // Room for the title, about 7 pixels per character.
    let width = (90 + 34 * moments as u32).max(40 + 7 * map.title.chars().count() as u32);
    let size = (width.clamp(460, 4000), 124 + 34 * layers as u32);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (data, note) = area.split_vertically(size.1 - 24);
        draw_map(map, &data, layers, moments).map_err(failed)?;
        let dots = if map.spikes.is_some() { "; ● φ fires" } else { "" };
        let text = format!("blue: root mean square of ε, logarithmic over six decades{dots}");
        note.draw(&Text::new(text, (12, 10), style::text(13).pos(style::LEFT))).map_err(failed)?;
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
        .x_desc("inference step t")
        .label_style(("sans-serif", 11))
        .draw()?;
    for (l, row) in map.cells.iter().enumerate() {
        for (t, &v) in row.iter().enumerate() {
            let (x, y) = (t as f64, l as f64);
            let cell = [(x - 0.46, y - 0.46), (x + 0.46, y + 0.46)];
            chart.draw_series([Rectangle::new(cell, Style::of(0).color.mix(shade(v)).filled())])?;
            chart.draw_series([Rectangle::new(cell, BLACK.mix(0.25).stroke_width(1))])?;
            let share = map.spikes.as_ref().map_or(0.0, |s| s[l][t]);
            if share > 0.0 {
                let radius = 3 + (6.0 * share) as i32;
                chart.draw_series([Circle::new((x, y), radius, Style::of(1).color.filled())])?;
            }
        }
    }
    Ok(())
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
    const SIZE: (f64, f64) = (880.0, 190.0);
    const TITLE: f64 = 24.0;
    const LEFT: f64 = 40.0;
    const FOOT: f64 = 44.0;
    let panel = SIZE.1 + TITLE;
    let (width, height) = (LEFT + SIZE.0 + 16.0, rasters.len() as f64 * panel + FOOT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\"><rect width=\"{width}\" height=\"{height}\" fill=\"#FFFFFF\"/>\n"
    );
    for (i, of) in rasters.iter().enumerate() {
        let top = i as f64 * panel + TITLE;
        let middle = top + SIZE.1 / 2.0;
        svg += &format!(
            "<text x=\"{LEFT}\" y=\"{}\">{}</text>\n<rect x=\"{LEFT}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" \
             stroke=\"#999999\"/>\n<text x=\"20\" y=\"{middle}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 20 {middle})\">unit</text>\n<path stroke=\"#0072B2\" stroke-width=\"1.6\" d=\"",
            top - 7.0,
            of.title,
            SIZE.0,
            SIZE.1
        );
        for (unit, step) in of.spikes {
            let x = LEFT + f64::from(*step) * SIZE.0 / steps.max(1) as f64;
            let y = top + f64::from(*unit) * SIZE.1 / rows.max(1) as f64;
            svg += &format!("M{x:.1} {y:.1}v1.8");
        }
        svg += "\"/>\n";
    }
    let bottom = rasters.len() as f64 * panel;
    for (at, label) in axis::linear_ticks(0.0, seconds, 10, 0.0) {
        let x = LEFT + at * SIZE.0 / seconds;
        let y = bottom + 18.0;
        svg += &format!("<path stroke=\"#999999\" d=\"M{x:.1} {bottom}v4\"/>\n");
        svg += &format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>\n");
    }
    svg + &format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">time (s)</text>\n</svg>\n",
        LEFT + SIZE.0 / 2.0,
        bottom + 36.0
    )
}

#[cfg(test)]
mod tests {
    use super::{Map, map};

    #[test]
    fn maps_of_any_numbers_are_drawn() {
        let cells = vec![vec![0.0, f64::INFINITY, f64::NAN], vec![5e-324, f64::MAX, 1.0]];
        for spikes in [None, Some(vec![vec![f64::NAN, 0.0, 1.0]; 2])] {
            let svg = map(&Map { title: "any".into(), cells: cells.clone(), spikes }).expect("a map");
            let numbers = svg.replace("inference step t", "");
            assert!(!numbers.contains("NaN") && !numbers.contains("inf"), "{svg}");
        }
    }
}
