//! The plot of many runs: test error and training energy over epochs, one colour per group.

use super::{Epoch, Group, Run};
use plotters::prelude::*;
use zilch::error::{Error, Result};
use zilch_lab::draw::{Axis, last};

/// Width and height of a panel in pixels.
const PANEL: (u32, u32) = (440, 330);
/// Height of a line of the legend in pixels.
const LINE: u32 = 16;
/// The maximum number of groups in the legend.
const NAMED: usize = 40;
/// The maximum number of points drawn as markers. With more points, there are only lines.
const MARKED: usize = 3000;

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>>;

/// One panel.
struct Panel {
    title: &'static str,
    /// Whether its axis is logarithmic. Values that are not positive are then not drawn.
    log: bool,
    value: fn(&Epoch) -> f64,
}

const PANELS: [Panel; 2] = [
    Panel { title: "test error, %", log: false, value: |epoch| 100.0 * epoch.test_error },
    Panel { title: "training energy per sample", log: true, value: |epoch| epoch.train_energy },
];

/// Test error and training energy over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] if no run has finished an epoch.
pub fn picture(runs: &[Run], groups: &[Group]) -> Result<String> {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return Err(Error::usage("none of these runs has finished an epoch, so there are no curves to draw"));
    }
    let legend = legend(groups);
    let longest = legend.iter().map(|line| line.chars().count()).max().unwrap_or(0) as u32;
    // A character is about 6 pixels wide.
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

/// The legend: one line per group.
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
    let points = |run: &Run| -> Vec<(f64, f64)> {
        run.epochs.iter().map(|epoch| (epoch.epoch as f64, (panel.value)(epoch))).collect()
    };
    let all: Vec<(f64, f64)> = runs.iter().flat_map(points).collect();
    let axis = Axis::new(all.iter().map(|point| point.1), panel.log, 0.06);
    let shown = all.iter().filter(|point| axis.place(point.1).is_some());
    let end = last(shown.clone().map(|point| point.0));
    let marked = shown.count() <= MARKED;
    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(58)
        .build_cartesian_2d(0.5..end, axis.range())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .y_label_formatter(&|y| axis.label(*y, 2))
        .x_label_formatter(&|x| epoch(*x))
        .x_desc("epoch")
        .label_style(("sans-serif", 11))
        .draw()?;
    for (i, group) in groups.iter().enumerate() {
        let color = Palette99::pick(i).to_rgba();
        for &run in &group.runs {
            let points: Vec<(f64, Option<f64>)> =
                points(&runs[run]).into_iter().map(|(x, v)| (x, axis.place(v).filter(|_| x >= 0.5))).collect();
            // NaN leaves a gap. A single point is drawn as a marker because it has no line.
            for piece in points.split(|point| point.1.is_none()).filter(|piece| !piece.is_empty()) {
                let piece: Vec<(f64, f64)> = piece.iter().filter_map(|(x, v)| Some((*x, (*v)?))).collect();
                if marked || piece.len() == 1 {
                    chart.draw_series(piece.iter().map(|p| Circle::new(*p, 2, color.filled())))?;
                }
                chart.draw_series(LineSeries::new(piece, color))?;
            }
        }
    }
    Ok(())
}

/// The label of a tick on the epoch axis; empty between two epochs.
fn epoch(x: f64) -> String {
    match x {
        x if x.fract().abs() > 1e-9 => String::new(),
        x if x < 1e7 => format!("{x:.0}"),
        x => format!("{x:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{State, group};
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn run(name: &str, epochs: &[(u64, f64, f64)]) -> Run {
        let epoch = |&(epoch, test_error, train_energy): &(u64, f64, f64)| Epoch { epoch, train_energy, test_error };
        Run {
            folder: PathBuf::from(name),
            settings: BTreeMap::from([("lr".into(), name.into())]),
            epochs: epochs.iter().map(epoch).collect(),
            updates: 1,
            seconds: 1.0,
            state: State::Finished,
            goes_on: false,
        }
    }

    /// Regression: `zilch runs --out x.svg` did not terminate for a run.json with these values.
    #[test]
    fn curves_of_extreme_values_are_drawn() {
        let (huge, most, least) = (1e306, f64::MAX, 5e-324);
        for epochs in [
            &[][..],
            &[(1, f64::NAN, f64::NAN)],
            &[(1, 0.5, 2.0)],
            &[(1, 0.5, 2.0), (2, 0.5, 2.0)],
            &[(1, huge, huge), (2, -huge, huge)],
            &[(1, 1e308, 1e308), (2, -1e308, -1e308)],
            &[(1, most, most), (2, -most, least), (3, 0.0, 0.0)],
            &[(1, least, least), (2, -least, 2.0 * least)],
            &[(1, f64::INFINITY, f64::INFINITY), (u64::MAX, 0.5, 1.0)],
            &[(0, 0.5, 1.0), (u64::MAX, 0.25, 1.0), (u64::MAX - 1, 0.125, 1e-300)],
            &[(1, 1e14, 1e300), (2, 1e14 + 0.02, 1e-300)],
        ] {
            // Draws the run together with an ordinary run, and alone.
            let runs = [run("a", epochs), run("b", &[(1, 0.9, 3.0), (2, 0.25, 1.0)])];
            for runs in [&runs[..], &runs[..1]] {
                let drawn = picture(runs, &group(runs, &[]));
                if runs.iter().all(|run| run.epochs.is_empty()) {
                    assert!(drawn.is_err(), "nothing was drawn");
                    continue;
                }
                let svg = drawn.expect("a picture");
                assert!(svg.len() < 50_000 && !svg.contains("NaN") && !svg.contains("inf"), "{epochs:?}: {svg}");
            }
        }
    }
}
