//! The figure of a sweep of network sizes: the time on the CPU divided by the time on the GPU over the width of the network.

use super::{Area, Drawn, failed};
use plotters::prelude::*;
use zilch::error::Result;

/// A figure: one panel per depth, and one legend for all.
pub struct Figure<'a> {
    /// What was measured.
    pub title: &'a str,
    /// The devices.
    pub devices: &'a str,
    /// What the reader must know before the curves, such as that the GPU is a software one.
    pub warning: Option<&'a str>,
    /// The widths, which are the ticks of the x axis.
    pub widths: &'a [usize],
    /// The names of the curves.
    pub curves: &'a [String],
    /// The panels.
    pub panels: &'a [Panel],
}

/// A panel.
pub struct Panel {
    /// Its title.
    pub title: String,
    /// The ratios by curve and width: the lowest, the median and the highest; `None` if it was not measured.
    pub ratios: Vec<Vec<Option<[f64; 3]>>>,
}

const PANEL: (u32, u32) = (400, 320);
/// The width of the legend, and the least width of the figure, in which its title fits.
const LEGEND: u32 = 120;
const LEAST: u32 = 760;
/// The height of a line above the panels, and of its letters.
const LINE: u32 = 20;
const LETTERS: u32 = 13;
/// The limits of the y axis, in decades.
const DECADES: f64 = 9.0;
/// Colours that people with any kind of colour blindness can tell apart (Okabe & Ito 2008), without the yellow, which is too bright for
/// lines.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
const WARNING: RGBColor = RGBColor(180, 30, 30);

/// Draws a sweep.
///
/// # Errors
/// [`zilch::Error::Usage`] if it cannot be drawn.
pub fn sweep(figure: &Figure<'_>) -> Result<String> {
    let lines = 2 + u32::from(figure.warning.is_some());
    let across = figure.panels.len().max(1) as u32;
    let (width, head) = ((PANEL.0 * across + LEGEND).max(LEAST), LINE * lines + 12);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, head + PANEL.1)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (top, below) = area.split_vertically(head as i32);
        header(figure, &top).map_err(failed)?;
        let (plots, legend) = below.split_horizontally((width - LEGEND) as i32);
        for (panel, area) in figure.panels.iter().zip(plots.split_evenly((1, across as usize))) {
            draw_panel(figure, panel, &area).map_err(failed)?;
        }
        draw_legend(figure.curves, &legend).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

fn header(figure: &Figure<'_>, area: &Area<'_>) -> Drawn {
    let font = |color: &RGBColor| ("sans-serif", LETTERS).into_font().color(color);
    let lines = [(figure.title, BLACK), (figure.devices, RGBColor(90, 90, 90))];
    let lines = lines.into_iter().chain(figure.warning.map(|warning| (warning, WARNING)));
    for (i, (text, color)) in (0..).zip(lines) {
        area.draw(&Text::new(text.to_owned(), (12, 10 + i * LINE as i32), font(&color)))?;
    }
    Ok(())
}

fn draw_legend(curves: &[String], area: &Area<'_>) -> Drawn {
    for (i, name) in curves.iter().enumerate() {
        let y = 24 + i as i32 * LINE as i32;
        let color = COLORS[i % COLORS.len()];
        area.draw(&PathElement::new([(0, y), (18, y)], color.stroke_width(2)))?;
        area.draw(&Circle::new((9, y), 3, color.filled()))?;
        area.draw(&Text::new(name.clone(), (24, y - 6), ("sans-serif", 12)))?;
    }
    Ok(())
}

/// The decades of a figure, so that all panels have the same axis: whole ones, with 1 among them.
fn decades(panels: &[Panel]) -> (f64, f64) {
    let values = panels.iter().flat_map(|panel| panel.ratios.iter().flatten().flatten().flatten());
    let logs: Vec<f64> = values.map(|v| v.log10()).filter(|log| log.is_finite()).collect();
    let end = |start: f64, of: fn(f64, f64) -> f64| logs.iter().copied().fold(start, of);
    (end(-0.5, f64::min).floor().max(-DECADES), end(0.5, f64::max).ceil().min(DECADES))
}

fn draw_panel(figure: &Figure<'_>, panel: &Panel, area: &Area<'_>) -> Drawn {
    let (low, high) = decades(figure.panels);
    let last = figure.widths.len().saturating_sub(1) as f64;
    let place = |ratio: f64| Some(ratio.log10()).filter(|log| !log.is_nan()).map(|log| log.clamp(low, high));
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(-0.4..last + 0.4, low..high)?;
    let tick = |x: f64| figure.widths.get(x.round().max(0.0) as usize).filter(|_| (x - x.round()).abs() < 0.01);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(figure.widths.len() + 2)
        .x_label_formatter(&|x| tick(*x).map_or_else(String::new, usize::to_string))
        .y_labels((high - low) as usize + 1)
        .y_label_formatter(&|y| decade(*y))
        .x_desc("units of each hidden layer")
        .y_desc("time on the CPU ÷ time on the GPU")
        .label_style(("sans-serif", 11))
        .draw()?;
    chart.draw_series([PathElement::new([(-0.4, 0.0), (last + 0.4, 0.0)], BLACK.stroke_width(2))])?;
    let (room, grey) = (0.06 * (high - low), ("sans-serif", 11).into_font().color(&RGBColor(90, 90, 90)));
    chart.draw_series([
        Text::new("GPU faster ↑", (-0.35, room), grey.clone()),
        Text::new("CPU faster ↓", (-0.35, -room * 0.3), grey),
    ])?;
    for (i, ratios) in panel.ratios.iter().enumerate() {
        let color = COLORS[i % COLORS.len()];
        // Shifted a little, so that the error bars of curves with similar values can be told apart.
        let shift = (i as f64 - (panel.ratios.len() as f64 - 1.0) / 2.0) * 0.04;
        let there = || ratios.iter().enumerate().filter_map(|(k, ratio)| Some((k as f64 + shift, (*ratio)?)));
        let points: Vec<(f64, f64)> = there().filter_map(|(x, [_, median, _])| Some((x, place(median)?))).collect();
        chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
        let ends = there().filter_map(|(x, [low, _, high])| Some([(x, place(low)?), (x, place(high)?)]));
        chart.draw_series(ends.map(|ends| PathElement::new(ends, color)))?;
    }
    Ok(())
}

/// The label of a decade: 0.01, 0.1, 1, 10.
fn decade(log: f64) -> String {
    let whole = log.round();
    match (log - whole).abs() < 0.01 {
        true if (-4.0..=4.0).contains(&whole) => format!("{}", 10f64.powi(whole as i32)),
        true => format!("1e{whole}"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(ratios: Vec<Option<[f64; 3]>>, warning: Option<&str>) -> String {
        let widths: Vec<usize> = (0..ratios.len()).map(|i| 32 << i).collect();
        let panels = [Panel { title: "1 hidden layer".into(), ratios: vec![ratios] }];
        let curves = ["batch 16".to_owned()];
        let figure =
            Figure { title: "a < b", devices: "CPU, GPU", warning, widths: &widths, curves: &curves, panels: &panels };
        sweep(&figure).expect("a figure")
    }

    #[test]
    fn sweeps_of_any_numbers_are_drawn() {
        let most = f64::MAX;
        for ratios in [
            vec![],
            vec![None, None],
            vec![Some([1.0; 3])],
            vec![Some([5e-324, 1.0, most]), Some([f64::NAN; 3]), Some([f64::INFINITY; 3]), Some([0.0, 0.0, 0.5])],
            vec![Some([-1.0, -most, f64::NEG_INFINITY]), None],
        ] {
            let svg = drawn(ratios, None);
            assert!(svg.len() < 50_000 && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn a_sweep_has_its_widths_its_warning_and_a_line_at_one() {
        let svg = drawn(vec![Some([0.02, 0.03, 0.04]), Some([2.0, 3.0, 4.0])], Some("a software GPU"));
        for text in ["a software GPU", "batch 16", "1 hidden layer", "32", "64", "0.01", "GPU faster", "a &lt; b"] {
            assert!(svg.contains(text), "{text} is missing in {svg}");
        }
        assert!(!drawn(vec![Some([1.0; 3])], None).contains("software"));
    }
}
