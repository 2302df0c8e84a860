//! Conversion of zilch's errors to Python exceptions. Each kind is a class of `zilch_pc.errors`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::RefCell;
use zilch::Error;
use zilch::files::printable;

thread_local! {
    /// The exception that a custom rule raised while its plan was built.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Stores a Python exception, which is raised again when control returns to Python.
pub(crate) fn keep(error: PyErr) -> Error {
    let text = error.to_string();
    RAISED.with_borrow_mut(|raised| *raised = Some(error));
    Error::usage(text)
}

/// Checks for signals between two chunks of work. Ctrl-C becomes KeyboardInterrupt.
pub(crate) fn signals() -> zilch::Result<()> {
    Python::attach(|py| py.check_signals()).map_err(keep)
}

/// Converts an error to its exception.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    if let Some(raised) = RAISED.with_borrow_mut(Option::take) {
        return raised;
    }
    let class = match &error {
        Error::Usage(_) => "UsageError",
        Error::NoDevice(_) => "NoDeviceError",
        Error::Limit { .. } => "LimitError",
        Error::Data { .. } => "DataError",
        Error::Weights { .. } => "WeightsError",
        Error::Diverged { .. } => "DivergedError",
        Error::Io { .. } => "FileError",
        Error::Gpu(_) => "GpuError",
        Error::Interrupted(_) => "InterruptedError",
    };
    exception(py, class, &error).unwrap_or_else(|broken| broken)
}

/// Creates the exception of a class with the attributes of the error.
fn exception(py: Python<'_>, class: &str, error: &Error) -> PyResult<PyErr> {
    let about = PyDict::new(py);
    match error {
        Error::Diverged { update, layer, what, .. } => {
            about.set_item("update", update)?;
            about.set_item("layer", layer)?;
            about.set_item("what", what)?;
        }
        Error::Data { path, .. } | Error::Weights { path, .. } | Error::Io { path, .. } => {
            about.set_item("path", path.to_string_lossy())?;
        }
        Error::Limit { needed, available, unit, .. } => {
            about.set_item("needed", needed)?;
            about.set_item("available", available)?;
            about.set_item("unit", unit)?;
        }
        _ => {}
    }
    let class = py.import("zilch_pc.errors")?.getattr(class)?;
    let value = class.call1((without_dashes(&printable(&error.to_string())),))?;
    for (name, is) in about {
        value.setattr(name.extract::<String>()?.as_str(), is)?;
    }
    Ok(PyErr::from_value(value))
}

/// Replaces the option names of the command line in a message by those of Python: `--lr-schedule` becomes `lr_schedule`.
fn without_dashes(message: &str) -> String {
    let mut parts = message.split("--");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(part.len());
        text += &part[..end].replace('-', "_");
        text += &part[end..];
    }
    text
}

/// A usage error with this message.
pub(crate) fn usage(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, Error::usage(message))
}

/// Conversion of a result of zilch to one of PyO3.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for zilch::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raise(py, error))
    }
}
