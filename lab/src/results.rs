//! Validation of records. Since users can edit the files, values that cannot be shown in tables and figures are
//! refused.

use serde::de::DeserializeOwned;

/// The raw results of an experiment.
pub trait Results: DeserializeOwned {
    /// Checks that these are possible results of the experiment.
    ///
    /// # Errors
    /// The message names the invalid value.
    fn check(&self) -> Checked {
        Ok(())
    }
}

/// The reason why a record is refused. The caller that reads the file adds its name.
pub type Checked = std::result::Result<(), String>;

/// Tolerance for the rounding error of a mean.
const ROUNDING: f64 = 1e-9;

/// Refuses numbers outside the closed range [low, high].
pub(super) fn within<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>, [low, high]: [f64; 2]) -> Checked {
    let inside = |v: &f64| (low - ROUNDING..=high + ROUNDING).contains(v);
    match numbers.into_iter().find(|v| !inside(v)) {
        None => Ok(()),
        Some(bad) => Err(format!("{what} is {bad:e}; expected {low} to {high}")),
    }
}

/// Refuses numbers that are not shares from 0 to 1, such as test errors.
pub(super) fn shares<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>) -> Checked {
    within(what, numbers, [0.0, 1.0])
}

/// Refuses numbers that cannot be times in whatever unit, such as negative ones.
pub(super) fn times<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>) -> Checked {
    within(what, numbers, [0.0, 1e12])
}

/// Refuses a list whose length is not `expected`.
pub(super) fn length<T>(what: &str, list: &[T], expected: usize) -> Checked {
    if list.len() == expected {
        return Ok(());
    }
    Err(format!("{what} has {} entries; expected {expected}", list.len()))
}
