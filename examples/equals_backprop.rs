//! Predictive coding and backpropagation: after every epoch the weights of Z-IL have the bits of BP's, and those of plain inference
//! learning have not. The picture shows how far the weights of each rule are from BP's.
//!
//!     cargo run --release --example equals_backprop -- cpu
mod picture;

use picture::Curve;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};
use zilch::train::{Length, Training};
use zilch::{Network, Options, Result, Rule, Weights, data::Data, device::Device};

const EPOCHS: u64 = 4;

/// The weights after each number of epochs.
fn trained(rule: Rule, device: &Device, data: &Arc<Data>) -> Result<Vec<Weights>> {
    let options = Options { alpha: 0.01, ..Options::new(rule) };
    let network = Network::parse("784,32,32,10")?;
    let after = |epochs| {
        let training = Training { options: options.clone(), ..Training::new(network.clone(), Length::Epochs(epochs)) };
        training.run(device, data, &AtomicBool::new(false), &mut |_| {}).map(|trained| trained.weights)
    };
    (1..=EPOCHS).map(after).collect()
}

/// Trains by each rule, and draws the distances into `folder`.
pub(crate) fn run(device: &Device, folder: &Path) -> Result<PathBuf> {
    let data = Arc::new(Data::open("digits")?);
    let bp = trained(Rule::BP, device, &data)?;
    let mut curves = Vec::new();
    for rule in [Rule::ZIL, Rule::FAZIL, Rule::IL] {
        let weights = trained(rule, device, &data)?;
        let same = weights.iter().zip(&bp).all(|(a, b)| a.bit_identical(b));
        println!("{}: the bits of BP after every epoch: {same}", rule.title());
        let values = weights.iter().zip(&bp).map(|(a, b)| a.max_abs_difference(b).0).collect();
        curves.push(Curve { name: rule.title().to_owned(), values });
    }
    picture::curves(folder, "equals_backprop", ["epoch", "largest |θ − θ of BP|"], &curves)
}

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or_else(|| "auto".into()), None)?;
    run(&device, &picture::folder()).map(|_| ())
}
