//! Files of tasks. An input is such a file. An accepted one is written and read again, and a tiny network trains on its tasks.

use super::bytes::part;
use super::tiny::{CPU, DATA, network};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use zilch::Rule;
use zilch::data::tasks::Tasks;
use zilch::train::{Length, Training};

/// The number of updates of a training. Most inputs only plan it.
const UPDATES: u64 = 24;

pub fn run(bytes: &[u8]) {
    let path = Path::new("input");
    let tasks = match Tasks::parse(path, bytes) {
        Ok(tasks) => tasks,
        Err(error) => return assert!(!error.to_string().is_empty(), "an error without a message"),
    };
    let written = serde_json::to_vec(&tasks).expect("JSON");
    assert_eq!(Tasks::parse(path, &written).ok().as_ref(), Some(&tasks), "a written file is read back");
    tasks.at(u64::MAX);
    for length in [Length::Epochs(10), Length::Epochs(u64::MAX), Length::Updates(UPDATES)] {
        let training = Training { tasks: Some(tasks.clone()), batch: 2, ..Training::new(network(Rule::ZIL), length) };
        let Ok(shown) = training.shown(&DATA) else { return };
        if training.plan(&shown).is_err() {
            return;
        }
        training.total(&shown);
        if length == Length::Updates(UPDATES) && part(bytes).is_multiple_of(4) {
            training.go_on(&CPU, &DATA, None, &AtomicBool::new(false), &mut |_| (), None).expect("a training");
        }
    }
}
