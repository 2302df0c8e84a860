//! One weight update of Z-IL, step by step: how the error of the output climbs through the layers, and that every weight has moved by
//! α ε f(x)ᵀ at the end. The picture shows the size of ε in each layer at each time t.
//!
//!     cargo run --release --example one_update -- cpu
mod picture;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use zilch::plan::{Plan, Stage};
use zilch::{Network, Options, Result, Rule, Weights, data::Data, device::Device};

const BATCH: usize = 20;
const ALPHA: f64 = 0.01;

/// The root mean square of ε^l after the steps of `plan`; 0 where nothing has computed it.
fn size(plan: &Plan, l: usize, device: &Device, data: &Arc<Data>, weights: &Weights) -> Result<f64> {
    let mut session = device.session(plan, BATCH, &device.upload(data)?, weights)?;
    session.run(&(0..BATCH as u32).collect::<Vec<_>>())?;
    let eps = plan.find("eps", l).map(|slot| session.slot(slot)).transpose()?.flatten();
    Ok(eps.map_or(0.0, |eps| eps.mapv(|v| v * v).mean().unwrap_or(0.0).sqrt()))
}

/// Makes the update, and draws it into `folder`.
pub(crate) fn run(device: &Device, folder: &Path) -> Result<PathBuf> {
    let network = Network::parse("784,32,32,32,10")?;
    let options = Options { alpha: ALPHA, schedule: Some(zilch::Schedule::Full), ..Options::new(Rule::ZIL) };
    let plan = options.plan(&network)?;
    let (data, weights) = (Arc::new(Data::open("digits")?), Weights::init(&network, 0));
    let mut times: Vec<usize> = Vec::new();
    for moment in &plan.moments {
        if let Stage::Learning(t) = moment.stage {
            times.push(t);
        }
    }
    let mut rows = Vec::new();
    for l in 0..network.lmax() {
        // `until` stops the plan before inference and learning of time t.
        let sizes = times.iter().map(|t| size(&plan.until(*t), l, device, &data, &weights));
        rows.push(sizes.collect::<Result<Vec<f64>>>()?);
    }
    for (l, row) in rows.iter().enumerate() {
        let shown: Vec<String> = row.iter().map(|v| format!("{v:9.1e}")).collect();
        println!("ε^{l} at t = 0, 1, …: {}", shown.join(" "));
    }

    // The whole update, and the change of θ^1 by hand.
    let mut session = device.session(&plan, BATCH, &device.upload(&data)?, &weights)?;
    session.run(&(0..BATCH as u32).collect::<Vec<_>>())?;
    let read = |key: &str, l: usize| session.slot(plan.find(key, l).expect("the plan has this slot"));
    let (eps, mu) = (read("eps", 0)?.expect("it is read back"), read("mu", 1)?.expect("it is read back"));
    let f = mu.mapv(|v| 1.0 / (1.0 + (-v).exp()));
    let change = session.weights()?.theta[0].mapv(f64::from) - weights.theta[0].mapv(f64::from);
    let far = (&change - &(eps.t().dot(&f) * ALPHA)).iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    println!(
        "θ^1 moved by up to {:.4}; α ε f(x)ᵀ differs from that by {far:.1e}",
        change.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
    );

    // On a logarithmic scale from 10⁻⁶, white, to 1.
    let shades = |row: &Vec<f64>| row.iter().map(|v| 1.0 + v.max(1e-6).log10() / 6.0).collect();
    let values: Vec<Vec<f64>> = rows.iter().map(shades).collect();
    let names: Vec<String> = (0..network.lmax()).map(|l| format!("ε^{l}, layer {l}")).collect();
    picture::map(folder, "one_update", ["time t", "output at the top"], &names, &values)
}

fn main() -> Result<()> {
    let device = Device::open(&std::env::args().nth(1).unwrap_or_else(|| "auto".into()), None)?;
    run(&device, &picture::folder()).map(|_| ())
}
