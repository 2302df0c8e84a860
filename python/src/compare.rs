//! The comparison of rules and devices, and the list of GPU adapters.

use crate::error::{OrRaise, usage};
use crate::network::Opened;
use crate::options;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zilch::device::gpu;
use zilch::measure::compare::Comparison;

/// Measures one weight update of each rule on each device. Returns the rows as JSON.
#[pyfunction]
pub(crate) fn compare(
    py: Python<'_>,
    layers: &Bound<'_, PyAny>,
    rules: Vec<Bound<'_, PyAny>>,
    devices: Vec<String>,
    batch: usize,
    seconds: f64,
    seed: u64,
) -> PyResult<String> {
    let network = options::layers(layers)?;
    let rules = rules.iter().map(options::rule).collect::<PyResult<Vec<_>>>()?;
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(usage(py, format!("seconds takes a number above 0; {seconds} given")));
    }
    let comparison = Comparison { rules, seconds, seed, ..Comparison::new(network, batch) };
    let devices =
        devices.iter().map(|name| py.detach(|| Opened::new(name, None)).or_raise(py).map(|opened| opened.device));
    let devices = devices.collect::<PyResult<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    let (measured, signal) = std::thread::scope(|scope| {
        let work = scope.spawn(|| comparison.run(&devices, &stop, &mut |_| {}));
        let mut signal = Ok(());
        while !work.is_finished() {
            py.detach(|| std::thread::sleep(Duration::from_millis(20)));
            signal = signal.and_then(|()| py.check_signals());
            if signal.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        (work.join(), signal)
    });
    signal?;
    let measured = measured.map_err(|_| usage(py, "the comparison ended with an internal error"))?.or_raise(py)?;
    serde_json::to_string(&measured).map_err(|e| usage(py, e.to_string()))
}

/// The GPU adapters: (name, driver, whether it is a software GPU).
#[pyfunction]
pub(crate) fn devices(py: Python<'_>) -> Vec<(String, String, bool)> {
    let adapters = py.detach(gpu::adapters);
    adapters.into_iter().map(|a| (a.name.clone(), a.full_driver(), a.software)).collect()
}
