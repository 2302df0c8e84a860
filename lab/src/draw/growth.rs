//! How the time of an update grows with the network: `docs/performance/growth.svg`, drawn from `growth.json` beside it.

use super::{Curve, Over, Panel, Scale, Spread, figure};
use serde::Deserialize;
use zilch::Rule;
use zilch::error::{Error, Result};

/// The contents of `growth.json` that are drawn.
#[derive(Debug, Deserialize)]
pub struct Growth {
    panels: Vec<Sweep>,
}

/// One varied quantity.
#[derive(Debug, Deserialize)]
struct Sweep {
    title: String,
    x: String,
    points: Vec<Point>,
}

#[derive(Debug, Deserialize)]
struct Point {
    x: f64,
    rows: Vec<Row>,
}

/// The measurement of one rule, in microseconds per update: median and quartiles.
#[derive(Debug, Deserialize)]
struct Row {
    rule: String,
    median_us: f64,
    q1_us: f64,
    q3_us: f64,
}

/// Draws the panels of a `growth.json`.
///
/// # Errors
/// [`Error::Usage`] when the text is not a `growth.json`, or the drawing fails.
pub fn draw(json: &str) -> Result<String> {
    let growth: Growth =
        serde_json::from_str(json).map_err(|e| Error::usage(format!("this is not a growth.json: {e}")))?;
    let panels: Vec<Panel> = growth.panels.iter().map(panel).collect();
    figure(&panels, 2)
}

fn panel(sweep: &Sweep) -> Panel {
    let mut rules: Vec<&str> = Vec::new();
    for row in sweep.points.iter().flat_map(|point| &point.rows) {
        if !rules.contains(&row.rule.as_str()) {
            rules.push(&row.rule);
        }
    }
    let curve = |(i, rule): (usize, &&str)| {
        let rows = || {
            let of = |point: &'_ Point| point.rows.iter().position(|row| row.rule == **rule);
            sweep.points.iter().filter_map(move |point| Some((point.x, &point.rows[of(point)?])))
        };
        let name = Rule::named(rule).map_or(*rule, |rule| rule.title());
        Curve {
            spread: rows().map(|(x, row)| (x, row.q1_us, row.q3_us)).collect(),
            shown: Spread::Band,
            ..Curve::new(name, i, rows().map(|(x, row)| (x, row.median_us)).collect())
        }
    };
    Panel {
        title: sweep.title.clone(),
        x: sweep.x.clone(),
        over: Over::Points,
        y: "time per update (µs)".into(),
        scale: Scale::Log,
        curves: rules.iter().enumerate().map(curve).collect(),
        notes: Vec::new(),
    }
}
