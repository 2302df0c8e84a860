//! Trains a network of data that the program makes itself: points of the plane on two spirals. The picture shows the class that the
//! network gives to each point of the plane.
//!
//!     cargo run --release --example own_data -- cpu
mod picture;

use ndarray::Array2;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};
use zilch::data::{Data, Dataset};
use zilch::network::Pixels;
use zilch::rules::{Loss, Optimizer};
use zilch::train::{Event, Length, Training};
use zilch::{Activation, Network, Options, Result, Rule, device::Device};

/// Points per spiral.
const POINTS: usize = 400;
/// Mean and standard deviation of the inputs, of which 255 is 1.
const MEAN: f32 = 0.5;
const SD: f32 = 0.25;
/// Rows and columns of the picture.
const SIDE: usize = 48;

/// Points on two spirals, as bytes 0 to 255, which zilch scales to 0 to 1. Odd points are one class, even points the other.
fn spirals(turn: f64) -> (Array2<u8>, Vec<u8>) {
    let mut points = Array2::zeros((2 * POINTS, 2));
    let labels: Vec<u8> = (0..2 * POINTS).map(|i| (i % 2) as u8).collect();
    for (i, mut point) in points.outer_iter_mut().enumerate() {
        let along = ((i / 2) as f64 + turn) / POINTS as f64;
        let angle = 3.0 * along * std::f64::consts::PI + std::f64::consts::PI * f64::from(labels[i]);
        let [x, y] = [angle.cos(), angle.sin()].map(|v| 127.5 + 120.0 * along * v);
        (point[0], point[1]) = (x as u8, y as u8);
    }
    (points, labels)
}

/// Trains, and draws the regions of the classes into `folder`. Returns the picture and the test error.
pub(crate) fn run(device: &Device, folder: &Path) -> Result<(PathBuf, f64)> {
    let set = |turn: f64| {
        let (points, labels) = spirals(turn);
        Dataset::new(Path::new("spirals"), points, labels, 1, 2)
    };
    let data = Arc::new(Data { train: set(0.0)?, test: set(0.5)?, name: "spirals".into(), checksums: Vec::new() });
    let mut network = Network::parse("2,64,64,2")?.with_activation(Activation::Tanh).with_bias(true);
    // Scaled to mean 0 and standard deviation 1, roughly: small inputs would be learned slowly.
    network.pixels = Pixels::new(&[MEAN, SD]);
    let options =
        Options { alpha: 0.01, optimizer: Optimizer::Adam, loss: Loss::CrossEntropy, ..Options::new(Rule::ZIL) };
    let training = Training { options: options.clone(), ..Training::new(network.clone(), Length::Epochs(150)) };
    let mut watch = |event: Event<'_>| {
        if let Event::Epoch(row) = event
            && row.metrics.epoch.is_multiple_of(50)
        {
            println!("epoch {}: test error {:.2} %", row.metrics.epoch, 100.0 * row.metrics.test_error);
        }
    };
    let trained = training.run(device, &data, &AtomicBool::new(false), &mut watch)?;

    let plan = options.plan(&network)?;
    let mut session = device.session(&plan, 1, &device.upload(&data)?, &trained.weights)?;
    // `predict` takes what the input layer holds, after the scale.
    let at = |i: usize| ((i as f32 + 0.5) / SIDE as f32 - MEAN) / SD;
    let plane =
        Array2::from_shape_fn((SIDE * SIDE, 2), |(i, axis)| if axis == 0 { at(i % SIDE) } else { at(i / SIDE) });
    let outputs = session.predict(&plane)?;
    let share = |i: usize| 1.0 / (1.0 + f64::from(outputs[[i, 0]] - outputs[[i, 1]]).exp());
    let values: Vec<Vec<f64>> = (0..SIDE).map(|y| (0..SIDE).map(|x| share(y * SIDE + x)).collect()).collect();
    let path = picture::map(folder, "own_data", ["x", "y"], &["blue: class 1".into()], &values)?;
    Ok((path, trained.metrics.last().map_or(1.0, |row| row.test_error)))
}

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or_else(|| "auto".into()), None)?;
    run(&device, &picture::folder()).map(|_| ())
}
