//! `zilch compare --sweep`: the table, the document and the picture of a small grid.

use crate::program::program;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

const GRID: &str =
    "compare --sweep --layers 12,7,4 --widths 5,2,5,3 --depths 2,1 --batches 1,6 --seconds 0.05 --threads 1";

fn run(folder: &Path, args: &str) -> Output {
    let output = program().args(args.split_whitespace()).current_dir(folder).output().expect("zilch starts");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{args}: {output:?}");
    output
}

fn done(folder: &Path, args: &str) -> String {
    let output = run(folder, args);
    assert_eq!(output.status.code(), Some(0), "{args}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_sweep_measures_every_point_on_both_devices() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let swept: Value =
        serde_json::from_str(&done(dir, &format!("{GRID} --rule BackProp --json --out x.svg"))).expect("JSON");
    assert_eq!((&swept["rule"], &swept["inputs"], &swept["outputs"]), (&"bp".into(), &12.into(), &4.into()));
    let points = swept["points"].as_array().expect("points");
    let place = |point: &Value| ["depth", "batch", "width"].map(|name| point[name].as_u64().expect("a number"));
    let expected = [1, 2].into_iter().flat_map(|d| [1, 6].into_iter().flat_map(move |b| [2, 3, 5].map(|w| [d, b, w])));
    assert_eq!(points.iter().map(place).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "sorted, and each once");
    for point in points {
        let number = |of: &Value| of.as_f64().filter(|v| v.is_finite() && *v > 0.0).expect("a time");
        let [cpu, gpu] =
            ["cpu", "gpu"].map(|device| ["q1_us", "median_us", "q3_us"].map(|name| number(&point[device][name])));
        assert!(cpu[0] <= cpu[1] && cpu[1] <= cpu[2] && gpu[0] <= gpu[1] && gpu[1] <= gpu[2], "{point}");
        let ratio = ["low", "median", "high"].map(|name| number(&point["cpu_over_gpu"][name]));
        assert_eq!(ratio, [cpu[0] / gpu[2], cpu[1] / gpu[1], cpu[2] / gpu[0]], "{point}");
    }
    let lines = swept["lines"].as_array().expect("lines");
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().all(|line| line["overtaking"]["gpu_is_faster"].is_string()), "{swept}");
    let svg = fs::read_to_string(dir.join("x.svg")).expect("drawn");
    let name = swept["gpu"]["name"].as_str().expect("a name").split('(').next().expect("a word").trim();
    for text in ["1 hidden layer", "2 hidden layers", "batch 1", "batch 6", "GPU faster", "CPU faster", "BP", name] {
        assert!(svg.contains(text), "{text} is missing in {svg}");
    }
    // A software GPU says so in the picture itself.
    assert_eq!(svg.contains("is a software GPU"), swept["gpu"]["software"] == true);
}

#[test]
fn a_sweep_prints_where_the_gpu_overtakes_the_cpu() {
    let dir = tempfile::tempdir().expect("a folder");
    let printed = done(dir.path(), "compare --sweep --layers 12,4 --widths 2,3 --depths 1 --batches 4 --seconds 0.02");
    for text in ["one weight update by Z-IL", "CPU ÷ GPU", "quartiles", "1 hidden layer, batch 4: the "] {
        assert!(printed.contains(text), "{text} is missing in {printed}");
    }
}

/// The time of a sweep is bounded: sizes that a device needs too long for are left out, and said to be.
#[test]
fn sizes_that_take_too_long_are_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = "compare --sweep --layers 784,10 --widths 2,2048 --depths 2 --batches 512 --seconds 0.0005 --json";
    let output = run(dir.path(), args);
    let swept: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let large = &swept["points"][1];
    assert_eq!((&large["width"], &large["cpu"], &large["cpu_over_gpu"]), (&2048.into(), &Value::Null, &Value::Null));
    assert!(swept["points"][0]["cpu"].is_object());
    assert!(String::from_utf8_lossy(&output.stderr).contains("raise --seconds"), "{output:?}");
}

#[test]
fn a_grid_that_cannot_be_swept_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let sweep = "compare --sweep --layers 12,4 --seconds 0.01";
    let (many, thousand) = ((1..=40).map(|n| n.to_string()).collect::<Vec<_>>().join(","), "at most 1000 points");
    for (args, words) in [
        (format!("{sweep} --rules bp,zil"), "one rule"),
        (format!("{sweep} --devices cpu"), "--devices cpu,gpu"),
        (format!("{sweep} --widths 0,4"), "--widths takes whole numbers from 1"),
        (format!("{sweep} --batch 4"), "--batch"),
        (format!("{sweep} --batches 0"), "--batches"),
        (format!("{sweep} --layers 28x28,2c5,10"), "cannot be used multiple times"),
        ("compare --sweep --layers 28x28,2c5,10".into(), "dense layers"),
        (format!("{sweep} --widths {many} --depths {many}"), thousand),
        (format!("{sweep} --depths 300"), "at most 256 layers"),
        ("compare --layers 12,4 --depths 2".into(), "--sweep"),
    ] {
        let output = run(dir.path(), &args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args}: {message}");
        assert!(message.contains(words), "{args}: {message}");
    }
}
