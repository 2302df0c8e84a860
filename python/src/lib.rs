//! The Rust part of zilch's Python package: networks, trainings, expressions and plans. The public package is `python/zilch_pc/`,
//! which checks and converts all arguments before it calls this module.

mod compare;
mod custom;
mod error;
mod fit;
mod network;
mod options;
mod program;

use pyo3::prelude::*;

/// The native part of zilch_pc.
#[pymodule]
mod _core {
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use super::compare::{compare, devices};
    #[pymodule_export]
    use super::custom::{Chain, CustomRule, Expr, Op, What, arriving, constant, fma, locality, select, unit, weight};
    #[pymodule_export]
    use super::fit::Fit;
    #[pymodule_export]
    use super::network::{Core, data, read_weights, write_file};
    #[pymodule_export]
    use super::options::{hidden, option_names, rules};
    #[pymodule_export]
    use super::program::main;
}
