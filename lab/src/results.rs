//! What a record may hold: files are edited, and a page is made of nothing that would not fit its tables and pictures.

use serde::de::DeserializeOwned;

/// The raw numbers of an experiment.
pub trait Results: DeserializeOwned {
    /// Whether they are such as the experiment can have made; else why not.
    ///
    /// # Errors
    /// Names what is wrong.
    fn check(&self) -> Checked {
        Ok(())
    }
}

/// Why a record is refused; the file is named where it is read.
pub type Checked = std::result::Result<(), String>;

/// What rounding may add to a mean.
const ROUNDING: f64 = 1e-9;

/// Refuses numbers that do not lie in a range.
pub(super) fn within<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>, [low, high]: [f64; 2]) -> Checked {
    let inside = |v: &f64| (low - ROUNDING..=high + ROUNDING).contains(v);
    match numbers.into_iter().find(|v| !inside(v)) {
        None => Ok(()),
        Some(bad) => Err(format!("{what} is {bad:e}; expected {low} to {high}")),
    }
}

/// Shares, as test errors are.
pub(super) fn shares<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>) -> Checked {
    within(what, numbers, [0.0, 1.0])
}

/// Times, in any unit.
pub(super) fn times<'a>(what: &str, numbers: impl IntoIterator<Item = &'a f64>) -> Checked {
    within(what, numbers, [0.0, 1e12])
}

/// Refuses a list of another length.
pub(super) fn length<T>(what: &str, list: &[T], expected: usize) -> Checked {
    if list.len() == expected {
        return Ok(());
    }
    Err(format!("{what} has {} entries; expected {expected}", list.len()))
}
