//! Test error and training energy of many runs over epochs, one colour a group.

use super::{Epoch, Group, Run};
use crate::error::{Error, Result};
use plotters::prelude::*;

/// Pixels of a panel.
const PANEL: (u32, u32) = (440, 330);
/// Pixels of a line of the legend.
const LINE: u32 = 16;
/// The most groups that the legend names.
const NAMED: usize = 40;
/// The most points that are marked: with more of them, lines do.
const MARKED: usize = 3000;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// One panel.
struct Panel {
    title: &'static str,
    /// Whether its axis is logarithmic; what is not positive is then left out.
    log: bool,
    value: fn(&Epoch) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel { title: "test error, %", log: false, value: |epoch| 100.0 * epoch.test_error },
    Panel { title: "training energy a sample", log: true, value: |epoch| epoch.train_energy },
];

/// Test error and training energy over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] when no run has finished an epoch.
pub fn picture(runs: &[Run], groups: &[Group]) -> Result<String> {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return Err(Error::usage("none of these runs has finished an epoch, so there are no curves to draw"));
    }
    let legend = legend(groups);
    let longest = legend.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u32;
    // About 6 pixels a character.
    let beside = if legend.len() > 1 { 40 + 6 * longest.max(10) } else { 0 };
    let size = (2 * PANEL.0 + beside, PANEL.1.max(LINE * legend.len() as u32 + 40));
    let failed = |e: DrawingAreaErrorKind<_>| Error::usage(format!("cannot draw the picture: {e}"));
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (panels, rest) = area.split_horizontally(2 * PANEL.0);
        for (panel, area) in PANELS.iter().zip(panels.split_evenly((1, 2))) {
            draw_panel(panel, &area, runs, groups).map_err(failed)?;
        }
        if legend.len() > 1 {
            draw_legend(&legend, &rest).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// A line a group.
fn legend(groups: &[Group]) -> Vec<String> {
    let mut lines: Vec<String> = groups.iter().take(NAMED).map(line).collect();
    if groups.len() > NAMED {
        lines.push(format!("and {} more", groups.len() - NAMED));
    }
    lines
}

fn line(group: &Group) -> String {
    const MOST: usize = 90;
    let label = group.label();
    let short: String = label.chars().take(MOST).collect();
    let dots = if label.chars().nth(MOST).is_some() { "…" } else { "" };
    let times = if group.runs.len() > 1 { format!(" ({} runs)", group.runs.len()) } else { String::new() };
    short + dots + &times
}

fn draw_legend(lines: &[String], area: &Area<'_>) -> Drawn {
    for (i, text) in lines.iter().enumerate() {
        let y = 30 + (LINE * i as u32) as i32;
        if i < NAMED {
            area.draw(&PathElement::new([(6, y), (24, y)], Palette99::pick(i).stroke_width(2)))?;
        }
        area.draw(&Text::new(text.clone(), (30, y - 6), ("sans-serif", 12)))?;
    }
    Ok(())
}

fn draw_panel(panel: &Panel, area: &Area<'_>, runs: &[Run], groups: &[Group]) -> Drawn {
    let place = |v: f64| if panel.log { v.log10() } else { v };
    let shown = |v: f64| v.is_finite() && (!panel.log || v > 0.0);
    let points = |run: &Run| -> Vec<(f64, f64)> {
        run.epochs.iter().map(|epoch| (epoch.epoch as f64, (panel.value)(epoch))).collect()
    };
    let all: Vec<(f64, f64)> = runs.iter().flat_map(points).filter(|point| shown(point.1)).collect();
    let (low, high) =
        all.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), (_, v)| (a.min(place(*v)), b.max(place(*v))));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = ((high - low) * 0.06).max(1e-3 * high.abs().max(1.0));
    let last = all.iter().map(|point| point.0).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(0.5..last + 0.5, low - room..high + room)?;
    let label = |y: &f64| if panel.log { format!("{:.1e}", 10f64.powf(*y)) } else { format!("{y:.2}") };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&label)
        .x_label_formatter(&|x| if x.fract().abs() < 1e-9 { format!("{x:.0}") } else { String::new() })
        .x_desc("epoch")
        .label_style(("sans-serif", 11))
        .draw()?;
    for (i, group) in groups.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        for &run in &group.runs {
            let points = points(&runs[run]);
            // What is NaN leaves a gap; a point alone would make no line.
            for piece in points.split(|point| !shown(point.1)).filter(|piece| !piece.is_empty()) {
                let piece: Vec<(f64, f64)> = piece.iter().map(|(x, v)| (*x, place(*v))).collect();
                if all.len() <= MARKED || piece.len() == 1 {
                    chart.draw_series(piece.iter().map(|p| Circle::new(*p, 2, color.filled())))?;
                }
                chart.draw_series(LineSeries::new(piece, color))?;
            }
        }
    }
    Ok(())
}
