//! Figures as SVG: curves over epochs, a map of one update over layers and times t, receptive fields, and spike
//! rasters.

mod axis;
mod chart;
pub mod growth;
mod image;
mod style;

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
            "<text x=\"4\" y=\"{}\">{}</text>\n<path stroke=\"#0072B2\" stroke-width=\"1\" d=\"",
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

#[cfg(test)]
mod tests {
    use super::{Map, map};

    #[test]
    fn maps_of_any_numbers_are_drawn() {
        let cells = vec![vec![0.0, f64::INFINITY, f64::NAN], vec![5e-324, f64::MAX, 1.0]];
        for spikes in [None, Some(vec![vec![f64::NAN, 0.0, 1.0]; 2])] {
            let svg = map(&Map { title: "any".into(), cells: cells.clone(), spikes }).expect("a map");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
