//! A custom learning rule, defined outside zilch: BP whose errors are clipped to ± 0.1 at every layer of the backward pass. The picture
//! shows the test error beside that of BP.
//!
//!     cargo run --release --example own_rule -- cpu
//!     cargo run --release --example own_rule -- gpu
mod picture;

use picture::Curve;
use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};
use zilch::plan::expr::arriving;
use zilch::rules::builder::{Chain, op};
use zilch::train::{Length, Training};
use zilch::{Network, Options, Plan, Result, Rule, data::Data, device::Device, rules::Definition};

static CLIPPED: Definition =
    Definition { name: "clipped", title: "clipped BP", source: "an example", plan, ..Definition::PLAIN };

/// ε^l = min(max(f′(x^l) ∘ (θ^lᵀ ε^{l−1}), −0.1), 0.1)
fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = Chain::new(network, options);
    p.predict_all();
    p.backward_pass(|p, l| {
        let delta = (p.slope(l) * arriving()).max(-0.1).min(0.1);
        op("clip", p.backward(l, p.theta(l)), [(p.eps(l), delta)])
    });
    Ok(p.plan)
}

/// Trains by the rule and by BP, and draws their errors into `folder`.
pub(crate) fn run(device: &Device, folder: &Path) -> Result<PathBuf> {
    let data = Arc::new(Data::open("digits")?);
    let mut curves = Vec::new();
    for rule in [Rule::of(&CLIPPED), Rule::BP] {
        let options = Options { alpha: 0.01, ..Options::new(rule) };
        let network = Network::parse("784,64,32,10")?;
        // Tested after every 60 updates.
        let training = Training { options, epoch_updates: Some(60), ..Training::new(network, Length::Updates(600)) };
        let trained = training.run(device, &data, &AtomicBool::new(false), &mut |_| {})?;
        let errors: Vec<f64> = trained.metrics.iter().map(|row| 100.0 * row.test_error).collect();
        println!("{}, {}: test error {:.2} %", device.name(), rule.title(), errors.last().copied().unwrap_or(100.0));
        curves.push(Curve { name: rule.title().to_owned(), values: errors });
    }
    picture::curves(folder, "own_rule", ["tests, each after 60 updates", "test error, %"], &curves)
}

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or_else(|| "auto".into()), None)?;
    run(&device, &picture::folder()).map(|_| ())
}
