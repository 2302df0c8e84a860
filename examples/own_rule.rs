//! A custom learning rule, defined outside zilch: BP whose errors are clipped to ± 0.1 at every layer of the backward pass.
//!
//!     cargo run --release --example own_rule -- cpu
//!     cargo run --release --example own_rule -- gpu
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

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or_else(|| "auto".into()), None)?;
    let options = Options { alpha: 0.01, ..Options::new(Rule::of(&CLIPPED)) };
    let training = Training { options, ..Training::new(Network::parse("784,64,32,10")?, Length::Updates(600)) };
    let trained = training.run(&device, &Arc::new(Data::open("digits")?), &AtomicBool::new(false), &mut |_| {})?;
    println!("{}: test error {:.2} %", device.name(), 100.0 * trained.metrics[0].test_error);
    Ok(())
}
