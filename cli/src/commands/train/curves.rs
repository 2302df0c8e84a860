//! The plot of a run: test error and probes over epochs.

use zilch::train::EpochMetrics;
use zilch::train::probe::{Probe, Probed};
use zilch::{Error, Result};
use zilch_lab::draw::{Curve, Over, Panel, Scale, figure};

/// Test error and probes over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] if no epoch was finished.
pub(crate) fn picture(metrics: &[EpochMetrics], probed: &[Vec<Probed>]) -> Result<String> {
    let first = probed.first().ok_or_else(|| Error::usage("no epoch was finished, so there are no curves to draw"))?;
    let over = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        metrics.iter().enumerate().filter_map(|(e, m)| Some((m.epoch as f64, value(e)?))).collect()
    };
    let panel = |y: &str, scale: Scale, curves: Vec<Curve>| Panel {
        title: String::new(),
        x: "epoch".into(),
        over: Over::Counted,
        y: y.into(),
        scale,
        curves,
        notes: Vec::new(),
    };
    let values = metrics.iter().any(|row| row.test_r2.is_some());
    let (title, unit) = if values { ("test error (mean square)", 1.0) } else { ("test error (%)", 100.0) };
    let error = over(&|e| Some(unit * metrics[e].test_error));
    let mut panels = vec![panel(title, Scale::Linear, vec![Curve::new("test", 0, error)])];
    for (i, Probed { probe, first, values }) in first.iter().enumerate() {
        let (y, symbol, scale) = match probe {
            Probe::Alignment => ("angle to BP's step (°)", "θ", Scale::Linear),
            Probe::Energy => ("energy per sample", "ε", Scale::Log),
            Probe::Eps => ("root mean square of ε", "ε", Scale::Log),
            Probe::Target => ("angle of output change to target (°)", "output", Scale::Linear),
        };
        let curve = |l: usize| {
            let name = format!("{symbol}^{}", first + l);
            Curve::new(name, l, over(&|e| *probed.get(e)?.get(i)?.values.get(l)?))
        };
        panels.push(panel(y, scale, (0..values.len()).map(curve).collect()));
    }
    figure(&panels, 2)
}
