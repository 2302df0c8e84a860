//! Compares the hand-written kernels of `src/device/cpu/fused_kernels.rs` with the evaluator, which computes every epilogue that has no
//! such kernel. Prints the time of one weight update with each, and the quartiles of their ratio over interleaved rounds.
//!
//!     cargo bench --bench epilogues                # S and M
//!     ZILCH_BENCH_LARGE=1 cargo bench --bench epilogues

use std::sync::Arc;
use std::time::Instant;
use zilch::device::cpu::{CpuDevice, CpuSession};
use zilch::statistics::quartiles;
use zilch::{Network, Options, Plan, Rule, Schedule, Weights};

#[path = "common/mod.rs"]
mod common;

/// Name, layers (input first), batch size.
const SIZES: [(&str, &str, usize); 3] =
    [("S", "784,32,32,32,10", 20), ("M", "512,512,512,512,10", 64), ("L", "784,2048,2048,2048,10", 256)];
const ROUNDS: usize = 15;
/// Seconds per round.
const ROUND: f64 = 0.04;

/// Runs `updates` updates and returns the microseconds per update.
fn round(session: &mut CpuSession, order: &[u32], batch: usize, updates: usize) -> f64 {
    let start = Instant::now();
    session.run(&order[..updates * batch]);
    start.elapsed().as_secs_f64() * 1e6 / updates as f64
}

fn main() {
    println!(
        "one weight update, µs: hand-written, evaluated, and their ratio (median and quartiles of {ROUNDS} interleaved rounds)\n"
    );
    for (name, layers, batch) in SIZES.into_iter().filter(|s| common::wanted(s.0)) {
        let network = Network::parse(layers).expect("layers");
        let weights = Weights::init(&network, 1);
        for (rule, schedule) in
            [(Rule::BP, Schedule::Frontier), (Rule::IL, Schedule::Frontier), (Rule::ZIL, Schedule::Full)]
        {
            let options = Options { schedule: Some(schedule), alpha: 1e-6, ..Options::new(rule) };
            let plan = options.plan(&network).expect("a plan");
            row(name, &plan, batch, &weights);
        }
    }
}

fn row(name: &str, plan: &Plan, batch: usize, weights: &Weights) {
    let device = CpuDevice::new(None).expect("threads");
    let data = common::data([plan.inputs(), plan.outputs()]);
    let mut by_hand = device.session(plan, batch, Arc::clone(&data), weights).expect("a session");
    let mut evaluated = device.session_evaluated(plan, batch, data, weights).expect("a session");
    let one = round(&mut by_hand, &common::order(batch), batch, 1);
    let updates = ((ROUND * 1e6 / one) as usize).clamp(1, 4096);
    let order = common::order(updates * batch);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        a.push(round(&mut by_hand, &order, batch, updates));
        b.push(round(&mut evaluated, &order, batch, updates));
    }
    let mut ratios: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b / a).collect();
    let (ratio, hand, other) = (quartiles(&mut ratios), quartiles(&mut a)[1], quartiles(&mut b)[1]);
    let title = &plan.task.rule;
    println!("{name}  {title:<8} {hand:>11.1} {other:>11.1}   {:.2} ({:.2}–{:.2})", ratio[1], ratio[0], ratio[2]);
}
