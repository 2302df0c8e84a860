//! The list of all experiments. Each is one file or folder.

pub mod family;
pub mod figure3;
pub mod identify;
pub mod lenet;
pub mod pcx;
pub mod prospective;
pub mod superspike;
pub mod table2;
pub mod table3;
pub mod table4;

use super::Experiment;

/// Every experiment, in the order of listings.
pub const EXPERIMENTS: &[&dyn Experiment] = &[
    &table2::Table2,
    &table3::Table3,
    &table4::Table4,
    &figure3::Figure3,
    &family::Family,
    &prospective::Prospective,
    &pcx::Pcx,
    &lenet::Lenet,
    &identify::Identify,
    &superspike::SuperSpike,
];

/// The experiments of Song et al. (2020), in the order in which `all` runs them and their page shows them.
pub const SONG_2020: &[&dyn Experiment] = &[&table2::Table2, &figure3::Figure3, &table3::Table3, &table4::Table4];

/// The experiment with this name.
pub fn named(name: &str) -> Option<&'static dyn Experiment> {
    EXPERIMENTS.iter().copied().find(|experiment| experiment.name() == name)
}
