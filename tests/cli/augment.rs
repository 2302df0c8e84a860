//! `--augment` and `--pixels` on the command line: what changes the weights, what is recorded, what is refused, and a validation set of
//! colour images.

use crate::program::program;
use serde_json::{Value, json};
use std::process::Output;
use zilch::data::cifar;

fn zilch(args: &str) -> Output {
    program().args(args.split_whitespace()).output().expect("the binary runs")
}

fn said(args: &str) -> Value {
    let ran = zilch(args);
    assert!(ran.status.success(), "{args}: {}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

#[test]
fn the_command_line_changes_and_scales_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let args = "train --data colours --layers 3x32x32,4c5s2,m2,10 --activation relu --device cpu --batch 10 --updates 12 --json \
                --test-per-class 4";
    let scaled = format!("{args} --pixels 0.5,0.45,0.4,0.2,0.25,0.3");
    let run = said(&format!("{scaled} --augment flip,crop4 --out {}", out.display()));
    assert_eq!(run["settings"]["augment"], "flip,crop4");
    let pixels = &run["settings"]["pixels"];
    assert_eq!(pixels.as_array().map(Vec::len), Some(6));
    assert!((pixels[5].as_f64().expect("a number") - 0.3).abs() < 1e-6, "{pixels}");
    for other in
        [&scaled, args, &format!("{args} --augment flip,crop4"), &format!("{scaled} --augment flip,crop4 --seed 1")]
    {
        assert_ne!(said(other)["weights_sha256"], run["weights_sha256"], "{other}");
    }
    // The run.json reproduces the run. Without augmentation there is no such setting.
    let again = said(&format!("train --config {} --json", out.join("run.json").display()));
    assert_eq!(again["weights_sha256"], run["weights_sha256"]);
    assert_eq!(said(args)["settings"].get("augment"), None);
    let eval = said(&format!(
        "eval --weights {} --data colours --device cpu --json",
        out.join("weights.safetensors").display()
    ));
    assert_eq!((&eval["test_error"], &eval["samples"]), (&run["test_error"], &json!(40)));
    let digits = "train --data digits --device cpu --updates 3 --json --test-per-class 1";
    assert_ne!(said(&format!("{digits} --augment crop2"))["weights_sha256"], said(digits)["weights_sha256"]);
}

#[test]
fn invalid_augmentations_and_pixels_are_refused() {
    for (args, words) in [
        ("train --data digits --augment blur", "as in flip,crop4"),
        ("train --data digits --augment crop0", "1 to 1024"),
        ("train --data digits --augment flip,flip", "give flip and crop once each"),
        ("train --data digits --augment crop28", "at most 27"),
        ("train --data digits --pixels 0.5", "a mean and a standard deviation"),
        ("train --data digits --pixels 0.5,0.5,1", "a mean and a standard deviation"),
        ("train --data digits --pixels 0.5,0.5,0.5,0.5", "1 channel;"),
        ("train --data digits --layers 28x28,4c5,10 --pixels 0,0,0,1,1,1", "1 channel;"),
        ("train --data colours --layers 3x32x32,4c5,10 --pixels 0,0,1,1", "3 channels;"),
        ("train --data colours --layers 3072,10 --pixels 0,0,1,1", "3 channels;"),
        ("train --data digits --layers 784,10 --pixels 0,0,0,1,1,1", "not an image of that many channels"),
        ("eval --weights x --data digits --augment flip", "--augment"),
    ] {
        let ran = zilch(&format!("{args} --device cpu"));
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(2), "{args}: {told}");
        assert!(told.contains(words), "{args}: {told}");
    }
}

/// The validation set of CIFAR-10 images is tested, selects the best weights and stops the run. It is not used for training.
#[test]
fn a_validation_set_of_colour_images_ends_a_run() {
    let folder = tempfile::tempdir().expect("a folder");
    for (f, name) in cifar::TRAIN.into_iter().chain([cifar::TEST]).enumerate() {
        let mut bytes = Vec::new();
        for i in 0..10u8 {
            bytes.push(i % 2);
            bytes
                .extend((0..3072).map(|p: usize| if usize::from(i % 2) == p / 1024 { 200 } else { (p + f) as u8 / 4 }));
        }
        std::fs::write(folder.path().join(name), bytes).expect("written");
    }
    let out = folder.path().join("run");
    let args = format!(
        "train --data {} --layers 3x32x32,4c5s2,m2,2 --activation relu --device cpu --batch 5 --lr 0.0001 --epochs 50 --hold-out 5 \
         --patience 2 --augment flip,crop4 --pixels 0.4,0.4,0.4,0.3,0.3,0.3 --json --out {}",
        folder.path().display(),
        out.display()
    );
    let run = said(&args);
    let held = run["held_out"].as_array().expect("errors");
    assert_eq!(
        (run["ended_early"].as_bool(), run["held_out_error"].as_f64()),
        (Some(true), held.last().and_then(Value::as_f64))
    );
    assert_eq!(run["test_error"], run["epochs"][held.len() - 1]["test_error"]);
    // 25 images per class minus 5 held out, in 2 classes: 8 updates of 5 samples per epoch.
    assert_eq!(run["epochs"][0]["updates"], 8);
    let best = run["best"]["epoch"].as_u64().expect("an epoch") as usize;
    assert_eq!((best + 2, &run["best"]["error"]), (held.len(), &held[best - 1]));
    let eval = said(&format!(
        "eval --weights {} --data {} --device cpu --json",
        out.join("best.safetensors").display(),
        folder.path().display()
    ));
    assert_eq!(eval["test_error"], run["epochs"][best - 1]["test_error"]);
    let record: Value = serde_json::from_slice(&std::fs::read(out.join("run.json")).expect("read")).expect("JSON");
    assert_eq!((&record["held_out_error"], &record["test_error"]), (&run["held_out_error"], &run["test_error"]));
}
