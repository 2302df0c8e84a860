//! The files zilch writes and reads back: weights, and the folder of a run.
//!
//! A file is written whole under a temporary name and then renamed, so that a reader, or the next
//! run after a power cut, finds either the old file or the new one and never a part of one.

mod atomic;
mod layers;
mod metrics;
mod open;
mod rule;
mod run;
mod text;
mod weights;
pub(crate) mod words;

pub(crate) use atomic::is_temporary;
pub use atomic::{write_text, write_whole, write_with};
pub use layers::{parse_layers, read_layers};
pub use metrics::{EpochMetrics, EpochRow, METRICS_FILE, MetricsLog, MetricsMark, parse_metrics};
pub(crate) use metrics::{is_log, read_epochs};
pub(crate) use open::open_regular;
pub use open::{Links, read_bounded};
pub use rule::RuleFile;
pub(crate) use run::lock;
pub use run::{BEST_FILE, CURVES_FILE, RUN_FILE, RunFolder, WEIGHTS_FILE, finished_run, metrics_json};
pub use text::{is_control, printable, printable_json, shown};
pub(crate) use weights::write_numbers;
pub use weights::{parse_weights, read_pixels, read_targets, read_weights, read_weights_for, write_weights};
pub use words::{words_json, words_of_json};

/// The first three of `names`, and how many more there are: a message must stay readable.
fn few(names: &[String]) -> String {
    let mut text = names.iter().take(3).map(|n| shown(n)).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text += &format!(" and {} more", names.len() - 3);
    }
    text
}
