//! Measures how the time of an update on the CPU grows with depth, width, batch size and t_c, and draws it.
//!
//!     cargo bench --bench growth              # writes docs/performance/growth.json and growth.svg
//!
//! Every point is one run of `zilch compare`: it interleaves the rules and reports the median over rounds.

use plotters::prelude::*;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use zilch::device::Device;
use zilch::measure::compare::{Comparison, Measured};
use zilch::rules::Schedule;
use zilch::{Network, Rule};

/// Seconds for each rule at each point.
const SECONDS: f64 = 0.4;
/// t_c of IL in the panels that do not vary it.
const STEPS: u32 = 20;

/// One panel of the figure: the variable and its points.
struct Sweep {
    title: &'static str,
    x: &'static str,
    /// x, layers (input first), batch size, t_c.
    points: Vec<(u32, Vec<usize>, usize, u32)>,
}

fn sweeps() -> Vec<Sweep> {
    let deep = |hidden: u32| [vec![784], vec![128; hidden as usize], vec![10]].concat();
    let wide = |n: u32| vec![784, n as usize, n as usize, 10];
    vec![
        Sweep {
            title: "depth: 784-128-…-128-10, batch 64",
            x: "hidden layers",
            points: [1, 2, 4, 8, 16].map(|d| (d, deep(d), 64, STEPS)).to_vec(),
        },
        Sweep {
            title: "width: 784-n-n-10, batch 64",
            x: "n",
            points: [32, 64, 128, 256, 512, 1024, 2048].map(|n| (n, wide(n), 64, STEPS)).to_vec(),
        },
        Sweep {
            title: "batch: 784-512-512-10",
            x: "samples",
            points: [1, 4, 16, 64, 256, 1024].map(|b| (b, wide(512), b as usize, STEPS)).to_vec(),
        },
        Sweep {
            title: "steps of IL: 784-512-512-10, batch 64",
            x: "t_c",
            points: [1, 2, 5, 10, 20, 50, 100].map(|t| (t, wide(512), 64, t)).to_vec(),
        },
    ]
}

/// A panel with its measurements.
#[derive(serde::Serialize)]
struct Panel {
    title: &'static str,
    x: &'static str,
    points: Vec<Point>,
}

#[derive(serde::Serialize)]
struct Point {
    x: u32,
    rows: Vec<Measured>,
}

fn main() {
    let device = Device::open("cpu", None).expect("the CPU");
    let panels: Vec<Panel> = sweeps().into_iter().map(|sweep| measure(&device, sweep)).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance");
    std::fs::create_dir_all(&folder).expect("a folder for the figure");
    let host = zilch::measure::host::Host::new(std::thread::available_parallelism().map_or(1, usize::from));
    let record = serde_json::json!({ "host": host, "panels": panels });
    let text = serde_json::to_string_pretty(&record).expect("JSON") + "\n";
    std::fs::write(folder.join("growth.json"), text).expect("growth.json");
    let mut svg = String::new();
    draw(&panels, &mut svg).expect("a figure");
    std::fs::write(folder.join("growth.svg"), svg + "\n").expect("growth.svg");
}

fn measure(device: &Device, sweep: Sweep) -> Panel {
    println!("{}", sweep.title);
    let points = sweep.points.into_iter().map(|(x, layers, batch, steps)| {
        let comparison = Comparison {
            rules: vec![Rule::BP, Rule::ZIL, Rule::FAZIL, Rule::IL],
            schedule: Some(Schedule::Frontier),
            // T of Fa-Z-IL is always lmax: t_c applies to IL alone.
            steps: None,
            seconds: SECONDS,
            seed: 1,
            ..Comparison::new(Network::new(&layers).expect("a network"), batch)
        };
        let only_il = Comparison { rules: vec![Rule::IL], steps: Some(steps), ..comparison.clone() };
        let others = Comparison { rules: vec![Rule::BP, Rule::ZIL, Rule::FAZIL], ..comparison };
        let run = |c: Comparison| {
            c.run(std::slice::from_ref(device), &AtomicBool::new(false), &mut |_| {}).expect("a comparison")
        };
        let rows = [run(others), run(only_il)].concat();
        let times: Vec<String> = rows.iter().map(|r| format!("{} {:.1} µs", r.rule.name(), r.median_us)).collect();
        println!("  {x:>5}  {}", times.join("  "));
        Point { x, rows }
    });
    Panel { title: sweep.title, x: sweep.x, points: points.collect() }
}

const COLORS: [(Rule, RGBColor); 4] = [
    (Rule::BP, RGBColor(68, 1, 84)),
    (Rule::ZIL, RGBColor(33, 145, 140)),
    (Rule::FAZIL, RGBColor(230, 159, 0)),
    (Rule::IL, RGBColor(220, 50, 47)),
];

/// Draws the four panels with logarithmic axes.
fn draw(panels: &[Panel], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (900, 660)).into_drawing_area();
        area.fill(&WHITE)?;
        for (panel, area) in panels.iter().zip(area.split_evenly((2, 2))) {
            let times = || panel.points.iter().flat_map(|p| &p.rows).map(|r| r.median_us);
            let (low, high) = (times().fold(f64::MAX, f64::min) / 1.5, times().fold(0.0, f64::max) * 1.5);
            let last = panel.points.last().map_or(1, |p| p.x);
            let first = panel.points.first().map_or(1, |p| p.x);
            let mut chart = ChartBuilder::on(&area)
                .caption(panel.title, ("sans-serif", 15))
                .margin(10)
                .x_label_area_size(36)
                .y_label_area_size(60)
                .build_cartesian_2d(
                    (f64::from(first) * 0.9..f64::from(last) * 1.1).log_scale(),
                    (low..high).log_scale(),
                )?;
            chart.configure_mesh().light_line_style(TRANSPARENT).x_desc(panel.x).y_desc("µs per update").draw()?;
            for (rule, color) in COLORS {
                let curve = panel
                    .points
                    .iter()
                    .flat_map(|p| p.rows.iter().filter(|r| r.rule == rule).map(|r| (f64::from(p.x), r.median_us)));
                let curve: Vec<(f64, f64)> = curve.collect();
                chart.draw_series(curve.iter().map(|at| Circle::new(*at, 3, color.filled())))?;
                let line = move |(x, y)| PathElement::new([(x, y), (x + 14, y)], color.stroke_width(2));
                chart.draw_series(LineSeries::new(curve, color))?.label(rule.title()).legend(line);
            }
            let place = SeriesLabelPosition::UpperLeft;
            chart.configure_series_labels().position(place).label_font(("sans-serif", 11)).draw()?;
        }
        area.present()?;
    }
    *svg = text;
    Ok(())
}
