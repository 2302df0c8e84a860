//! CSV files. The first byte chooses how the file after it is read.

use std::path::Path;
use zilch::data::{Reading, Scaling, csv};

pub fn run(bytes: &[u8]) {
    let Some((choice, text)) = bytes.split_first() else { return };
    let column = |bit: u8, name: &str| if choice & bit != 0 { vec![name.to_owned()] } else { Vec::new() };
    let reading = Reading {
        label: (choice & 1 != 0).then(|| "1".to_owned()),
        target_columns: column(2, "2"),
        ignore_columns: column(4, "3"),
        header: [None, Some(true), Some(false), None][usize::from(choice >> 3 & 3)],
        scaling: [None, Some(Scaling::Range), Some(Scaling::None), None][usize::from(choice >> 5 & 3)],
        split_seed: (choice & 128 != 0).then_some(1),
        ..Reading::default()
    };
    let Ok(data) = csv::parse(Path::new("input"), text, &reading) else { return };
    let about = data.train.preparation().expect("a table is prepared");
    assert!(data.train.classes() == data.ends()[1] || about.classes.len() >= data.ends()[1], "a label without a class");
    assert!(data.train.pixels() == data.test.pixels() && data.train.kind() == data.test.kind(), "two kinds of samples");
    assert_eq!(csv::parse(Path::new("input"), text, &reading).expect("read again"), data);
}
