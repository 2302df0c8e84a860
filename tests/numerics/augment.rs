//! Augmented images and pixels normalised per channel: the input layer against a plain loop, on every device and with any number of
//! threads; the bits of weights; resumed runs; and refusals.

use crate::common::{Run, cpu, cpu_device, gpu, pair, plan};
use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::{Dataset, Set};
use zilch::device::Device;
use zilch::plan::Pixels;
use zilch::plan::augment::Augment;
use zilch::random::Counter;
use zilch::train::checkpoint::Checkpoint;
use zilch::train::{Every, Keep, Length, Training};
use zilch::{Activation, Network, Options, Plan, Rule, Weights};

const SEED: u64 = 11;
/// Three channels of odd sizes, and an image whose rows are not a multiple of a machine word.
const COLOUR: &str = "3x6x5,4c3p1,m2,4";
const GREY: &str = "1x7x9,3c3,4";

fn network(layers: &str, pixels: &[f32]) -> Network {
    let mut network = Network::parse(layers).expect("layers").with_activation(Activation::Tanh).with_bias(true);
    network.pixels = Pixels::new(pixels);
    network
}

/// The normalisation of the three channels.
const SCALES: [f32; 6] = [0.5, 0.25, 0.125, 0.5, 0.3, 0.2];

fn changed(text: &str) -> impl Fn(&mut Options) {
    let augment = text.parse().expect("an augmentation");
    move |o| (o.augment, o.seed, o.alpha) = (augment, SEED, 0.02)
}

/// The values of the input layer in an update.
fn plain(run: &Run, network: &Network, augment: Augment, update: u64) -> Array2<f32> {
    let grid = network.grid(network.lmax()).expect("an image");
    let (rows, cols, border) = (grid.height as i64, grid.width as i64, i64::from(augment.crop));
    let counter = Counter::new(SEED, update);
    let order = &run.order[update as usize * run.batch..][..run.batch];
    Array2::from_shape_fn((run.batch, network.inputs()), |(i, j)| {
        let [first, second] = counter.words(u32::MAX, i as u32);
        let places = 2 * augment.crop + 1;
        let [down, right] = [second >> 16, second & 0xffff].map(|bits| i64::from((bits * places) >> 16));
        let (channel, y, x) = (j as i64 / (rows * cols), j as i64 / cols % rows, j as i64 % cols);
        let x = if augment.flip && first & 0x8000_0000 != 0 { cols - 1 - x } else { x };
        let (y, x) = (y + down - border, x + right - border);
        let inside = (0..rows).contains(&y) && (0..cols).contains(&x);
        let from = (channel * rows + y) * cols + x;
        let byte = if inside { run.data.train.images()[(order[i] as usize, from as usize)] } else { 0 };
        let pairs = network.pixels.as_ref().map_or(&[[0.0, 1.0]][..], Pixels::pairs);
        let [mean, sd] = pairs[channel as usize % pairs.len()];
        (f32::from(byte) / 255.0 - mean) / sd
    })
}

fn devices() -> [Device; 3] {
    [cpu(1), cpu(2), gpu()]
}

/// The values of the input layer equal those of a plain loop bit for bit, in each update and on every device.
#[test]
fn every_device_augments_like_a_plain_loop() {
    let all: [(&str, &[f32]); 4] = [(COLOUR, &SCALES), (COLOUR, &[0.4, 0.3]), (GREY, &[0.4, 0.3]), (GREY, &[])];
    for (layers, pixels) in all {
        let network = network(layers, pixels);
        // Two shards, if there are two threads.
        let run = Run::new(&network, 17, 3, 5);
        for text in ["none", "flip", "crop2", "flip,crop4"] {
            let plan = plan(&network, Rule::BP, changed(text));
            for device in devices() {
                let mut session = device.session(&plan, 17, &device.upload(&run.data).unwrap(), &run.weights).unwrap();
                for update in 0..3 {
                    session.run(&run.order[17 * update as usize..][..17]).expect("an update");
                    let shown = session.slot(plan.input()).expect("read").expect("kept").mapv(|v| v as f32);
                    let want = plain(&run, &network, plan.images().expect("images").1.augment, update);
                    assert_eq!(shown, want, "{layers} {text} {pixels:?}, update {update} on {device:?}");
                }
            }
        }
    }
}

/// A network that is too large for several shards, so that threads share the kernels of one shard; and layers without image dimensions,
/// which take them from the data.
#[test]
fn large_networks_and_dense_layers_see_the_same_images() {
    let network = network("3x20x20,300,4", &SCALES);
    let run = Run::new(&network, 9, 1, 6);
    let plan_of = |network: &Network| plan(network, Rule::ZIL, changed("flip,crop3"));
    let mut epilogue = Vec::new();
    for device in devices() {
        let session = run.session(&device, &plan_of(&network));
        let shown = session.slot(plan_of(&network).input()).unwrap().expect("kept").mapv(|v| v as f32);
        assert_eq!(
            shown,
            plain(&run, &network, plan_of(&network).images().expect("images").1.augment, 0),
            "{device:?}"
        );
        epilogue.push(session.weights().expect("weights"));
    }
    assert!(epilogue[0].bit_identical(&epilogue[1]));
    let grey = self::network("1x12x10,4", &[]);
    let run = Run::new(&grey, 5, 4, 6);
    let flat = crate::common::net(&[120, 4], Activation::Tanh, true);
    let set = &run.data.train;
    let set = Dataset::new(Path::new("x"), set.images().clone(), set.labels().to_vec(), 12, 10).expect("a set");
    let other = Run { data: pair(set.clone(), set), weights: run.weights.clone(), order: run.order.clone(), ..run };
    assert!(run_on(&run, &cpu(1), &plan_of(&grey)).bit_identical(&run_on(&other, &cpu(1), &plan_of(&flat))));
}

fn run_on(run: &Run, device: &Device, plan: &Plan) -> Weights {
    run.train(device, plan)
}

/// Z-IL equals BP on augmented images too. The weights differ from those without augmentation and with another seed. Threads and the
/// number of updates per call do not change the bits.
#[test]
fn augmented_weights_have_the_expected_bits() {
    let network = network(COLOUR, &SCALES);
    let run = Run::new(&network, 16, 12, 7);
    for device in [cpu(1), gpu()] {
        let by = |rule, text: &str| run_on(&run, &device, &plan(&network, rule, changed(text)));
        let bp = by(Rule::BP, "flip,crop2");
        assert!(bp.bit_identical(&by(Rule::ZIL, "flip,crop2")), "{device:?}");
        for text in ["none", "flip", "crop2", "flip,crop1"] {
            assert!(!bp.bit_identical(&by(Rule::BP, text)), "{text} on {device:?}");
        }
        let plan = plan(&network, Rule::BP, changed("flip,crop2"));
        let other = crate::common::plan(&network, Rule::BP, |o| {
            changed("flip,crop2")(o);
            o.seed += 1;
        });
        assert!(!bp.bit_identical(&run_on(&run, &device, &other)), "another seed on {device:?}");
        let mut session = device.session(&plan, 16, &device.upload(&run.data).unwrap(), &run.weights).unwrap();
        run.order.chunks(16 * 5).for_each(|part| session.run(part).expect("updates"));
        assert!(bp.bit_identical(&session.weights().unwrap()), "in parts on {device:?}");
        if device.kind() == "cpu" {
            assert!(bp.bit_identical(&run_on(&run, &cpu(2), &plan)));
        }
    }
}

/// Test images are not augmented, nor are training images when they are tested.
#[test]
fn test_images_are_not_augmented() {
    for layers in [COLOUR, GREY] {
        let network = network(layers, &[0.4, 0.3]);
        let run = Run::new(&network, 8, 1, 8);
        for device in devices() {
            let score = |text: &str| {
                let plan = plan(&network, Rule::BP, changed(text));
                let mut session = device.session(&plan, 8, &device.upload(&run.data).unwrap(), &run.weights).unwrap();
                [Set::Train, Set::Test].map(|set| session.score(set).expect("a score"))
            };
            assert_eq!(score("flip,crop3"), score("none"), "{layers} on {device:?}");
        }
    }
}

/// A run resumed from any of its checkpoints ends with the bits of an uninterrupted run, also with another number of threads.
#[test]
fn resumed_runs_have_the_same_bits() {
    let network = network(COLOUR, &SCALES);
    let data = crate::common::data(&network, 40, 8, 9);
    let mut options = Options { alpha: 0.02, seed: SEED, ..Options::new(Rule::ZIL) };
    options.augment = "flip,crop2".parse().expect("an augmentation");
    let training = Training { options, batch: 8, seed: SEED, ..Training::new(network, Length::Epochs(3)) };
    let go = |device: &Device, from: Option<Checkpoint>| {
        let mut kept = Vec::new();
        let mut with = |checkpoint: &Checkpoint| kept.push(checkpoint.clone());
        let keep = Keep { every: Some(Every::Updates(4)), with: &mut with, best: &mut |_: &Weights| () };
        let stop = AtomicBool::new(false);
        let trained = training.go_on(device, &data, from, &stop, &mut |_| (), Some(keep)).expect("trained");
        (trained, kept)
    };
    for device in [cpu(1), gpu()] {
        let (whole, kept) = go(&device, None);
        assert!(kept.len() >= 3, "{} checkpoints", kept.len());
        for checkpoint in kept {
            let other = if device.kind() == "cpu" { cpu(2) } else { device.clone() };
            let (rest, _) = go(&other, Some(checkpoint));
            assert!(rest.weights.bit_identical(&whole.weights), "on {device:?}");
            assert_eq!(rest.metrics.last().map(|m| m.test_error), whole.metrics.last().map(|m| m.test_error));
        }
    }
}

#[test]
fn data_without_image_dimensions_are_refused() {
    let row = crate::common::net(&[12, 4], Activation::Tanh, false);
    let run = Run::new(&row, 4, 1, 1);
    let refused = |device: &Device, network: &Network, text: &str| {
        let plan = plan(network, Rule::BP, changed(text));
        let session = device.session(&plan, 4, &device.upload(&run.data).unwrap(), &run.weights);
        session.err().expect("refused").to_string()
    };
    for device in devices() {
        for text in ["flip", "crop2"] {
            let told = refused(&device, &row, text);
            assert!(told.contains("images with rows and columns") && told.contains("12 values"), "{told}");
        }
        let image = network("3x4,4", &[]);
        assert!(refused(&device, &image.with_bias(false), "crop3").contains("at most 2"));
    }
    let f64s = plan(&row, Rule::BP, changed("flip"));
    assert!(cpu_device(1).session_f64(&f64s, 4, Arc::clone(&run.data), &run.weights).is_err());
    // The data have another number of channels.
    let mut two = crate::common::net(&[120, 4], Activation::Tanh, false);
    two.pixels = Pixels::new(&[0.5, 0.5, 1.0, 1.0]);
    let set = Dataset::new(Path::new("x"), Array2::zeros((4, 120)), vec![0; 4], 12, 10).expect("a set");
    let told = set.fits(&two).expect_err("refused").to_string();
    assert!(told.contains("2 means") && told.contains("1 channel;"), "{told}");
}
