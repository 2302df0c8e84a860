//! The plot of a run: test error and probes over epochs.

use zilch::train::EpochMetrics;
use zilch::train::probe::{Probe, Probed};
use zilch::{Error, Result};
use zilch_lab::draw::{Panel, curves};

/// Test error and probes over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] if no epoch was finished.
pub(super) fn picture(metrics: &[EpochMetrics], probed: &[Vec<Probed>]) -> Result<String> {
    let first = probed.first().ok_or_else(|| Error::usage("no epoch was finished, so there are no curves to draw"))?;
    let over = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        metrics.iter().enumerate().filter_map(|(e, m)| Some((m.epoch as f64, value(e)?))).collect()
    };
    let values = metrics.iter().any(|row| row.test_r2.is_some());
    let (title, unit) = if values { ("test error (mean square)", 1.0) } else { ("test error, %", 100.0) };
    let error = over(&|e| Some(unit * metrics[e].test_error));
    let mut panels = vec![Panel {
        title: title.into(),
        log: false,
        x: "epoch",
        curves: vec![("test".into(), error)],
        bars: Vec::new(),
    }];
    for (i, Probed { probe, first, values }) in first.iter().enumerate() {
        let (title, symbol) = match probe {
            Probe::Alignment => ("angle to BP's step, °", "θ"),
            Probe::Energy => ("energy per sample", "ε"),
            Probe::Eps => ("root mean square of ε", "ε"),
            Probe::Target => ("angle between output change and target, °", "output"),
        };
        let curve = |l: usize| (format!("{symbol}^{}", first + l), over(&|e| *probed.get(e)?.get(i)?.values.get(l)?));
        let (log, curves) =
            (!matches!(probe, Probe::Alignment | Probe::Target), (0..values.len()).map(curve).collect());
        panels.push(Panel { title: title.into(), log, x: "epoch", curves, bars: Vec::new() });
    }
    curves(&panels)
}
