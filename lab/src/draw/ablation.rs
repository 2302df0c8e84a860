//! Figures of an ablation. The logarithmic y axis has additional positions for zero and for infinity. Error bars extend
//! from the smallest to the largest value.

use super::{Area, Drawn, failed};
use plotters::prelude::*;
use zilch::error::Result;

/// A curve: its name, and at each tick of the x axis the smallest, mean and largest value (`None` is infinite).
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<Option<[f64; 3]>>,
}

/// One panel of a figure.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) y: &'static str,
    pub(crate) curves: Vec<Curve>,
}

const SIZE: (u32, u32) = (430, 330);
const COLORS: [RGBColor; 6] = [
    RGBColor(68, 1, 84),
    RGBColor(59, 82, 139),
    RGBColor(33, 145, 140),
    RGBColor(220, 50, 47),
    RGBColor(94, 201, 98),
    RGBColor(230, 159, 0),
];

/// Draws panels in rows of `across`. `ticks` are the labels of the x axis, and `x` is its title.
pub(crate) fn draw(panels: &[Panel], across: usize, x: &str, ticks: &[String]) -> Result<String> {
    let rows = panels.len().div_ceil(across);
    let mut svg = String::new();
    let size = (SIZE.0 * across as u32, SIZE.1 * rows as u32);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        for (panel, area) in panels.iter().zip(area.split_evenly((rows, across))) {
            draw_panel(panel, &area, x, ticks).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Limits of the logarithmic axis, in decades. Values above 10^TOP are drawn at infinity, and values below 10^BOTTOM at
/// the lower end.
const TOP: f64 = 4.0;
const BOTTOM: f64 = -20.0;

/// The range of a panel in decades. Zero is drawn one decade below this range, infinity one decade above it.
fn decades(panel: &Panel) -> (f64, f64) {
    let values = panel.curves.iter().flat_map(|c| c.points.iter().flatten()).flatten();
    let logs: Vec<f64> = values.map(|v| v.log10()).filter(|log| log.is_finite()).collect();
    let low = logs.iter().copied().fold(0.0, f64::min).floor().max(BOTTOM);
    (low, logs.iter().copied().fold(low + 1.0, f64::max).ceil().min(TOP))
}

fn draw_panel(panel: &Panel, area: &Area<'_>, x: &str, ticks: &[String]) -> Drawn {
    let (low, high) = decades(panel);
    let (zero, infinite) = (low - 1.0, high + 1.0);
    // NaN, such as ∞ − ∞, is drawn at infinity.
    let place = |v: f64| match v {
        v if v <= 0.0 => zero,
        v if v.log10() <= high => v.log10().max(low),
        _ => infinite,
    };
    let label = |y: &f64| match *y {
        y if (y - zero).abs() < 0.01 => "0".into(),
        y if (y - infinite).abs() < 0.01 => format!("> 1e{}", high as i32),
        y if (y - y.round()).abs() < 0.01 => format!("1e{}", y.round()),
        _ => String::new(),
    };
    // Space for the legend to the right of the curves, in ticks.
    let legend = if panel.curves.len() > 1 { 1.6 } else { -0.6 };
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(38)
        .y_label_area_size(58)
        .build_cartesian_2d(-0.4f64..ticks.len() as f64 + legend, zero - 0.3..infinite + 0.3)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(ticks.len() + 2)
        .x_label_formatter(&|v| ticks.get(v.round().max(0.0) as usize).cloned().unwrap_or_default())
        .y_labels((infinite - zero) as usize + 2)
        .y_label_formatter(&label)
        .x_desc(x)
        .y_desc(panel.y)
        .label_style(("sans-serif", 11))
        .draw()?;
    for (i, curve) in panel.curves.iter().enumerate() {
        let color = COLORS[i % COLORS.len()];
        // Shift each curve slightly, so that curves with equal values (such as all zeros) can be distinguished.
        let shift = (i as f64 - (panel.curves.len() as f64 - 1.0) / 2.0) * 0.08;
        let at = |k: usize| k as f64 + shift;
        let points: Vec<(f64, f64)> = (curve.points.iter().enumerate())
            .map(|(k, p)| (at(k), p.map_or(infinite, |[_, mean, _]| place(mean))))
            .collect();
        let series = chart.draw_series(LineSeries::new(points.clone(), color.mix(0.6)))?;
        if panel.curves.len() > 1 {
            let line = move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2));
            series.label(&curve.name).legend(line);
        }
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
        let bars = curve.points.iter().enumerate().filter_map(|(k, p)| p.map(|[a, _, b]| (k, place(a), place(b))));
        chart.draw_series(bars.map(|(k, a, b)| PathElement::new([(at(k), a), (at(k), b)], color)))?;
    }
    if panel.curves.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .label_font(("sans-serif", 11))
            .draw()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_any_numbers_are_drawn() {
        let most = f64::MAX;
        let points = vec![
            Some([5e-324, 1e-300, 1.0]),
            Some([-most, f64::NAN, most]),
            Some([f64::INFINITY; 3]),
            Some([0.0, 0.5, f64::INFINITY]),
            None,
        ];
        let ticks: Vec<String> = (0..points.len()).map(|i| i.to_string()).collect();
        let curve = |name: &str, points: Vec<_>| Curve { name: name.into(), points };
        for curves in [vec![], vec![curve("a", points.clone()), curve("b", vec![])], vec![curve("c", vec![None; 5])]] {
            let svg = draw(&[Panel { title: "any".into(), y: "y", curves }], 1, "x", &ticks).expect("a figure");
            assert!(svg.len() < 50_000 && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }
}
