//! Results that are computed without a data set: interference and target alignment of linear networks.

use super::{Alignment, Interference, RULES, seeds};
use crate::{Context, blank, parallel};
use ndarray::Array2;
use zilch::device::cpu::{CpuDevice, CpuSession64};
use zilch::error::Result;
use zilch::network::{Init, Network, Weights};
use zilch::random::{Random, Stream};
use zilch::rules::{Options, Rule};
use zilch::train::probe::angle;

/// The options of a rule in these experiments.
fn options(rule: &str, lr: f64, moments: u32) -> Options {
    if rule == "bp" {
        return Options { alpha: lr, ..Options::new(Rule::BP) };
    }
    let mut options = Options { alpha: lr, gamma: Some(0.1), steps: Some(moments - 1), ..Options::new(Rule::IL) };
    options.rule_options.insert("discount".into(), 0.5);
    options
}

/// A session of a linear network on mini-batches of one sample, given as arrays. It computes in float64. In float32,
/// the decrease of the energy falls below the rounding error when the values are still 10⁻⁴ from the equilibrium, and γ
/// is reduced too early.
fn session(network: &Network, options: &Options, weights: &Weights) -> Result<CpuSession64> {
    CpuDevice::new(Some(1))?.session_f64(&options.plan(network)?, 1, blank(network)?, weights)
}

/// The output θ¹ θ² x of a linear chain.
fn linear(theta: &[Array2<f64>], input: &Array2<f32>) -> Array2<f64> {
    theta.iter().rev().fold(input.mapv(f64::from), |x, theta| x.dot(&theta.t()))
}

/// Figure 3a, d: two outputs share one input. The target of the first is 0, and that of the second remains 1. Returns
/// the minimum of the second output during training, per learning rate and rule.
///
/// # Errors
/// Those of a session.
pub fn interference() -> Result<Vec<Interference>> {
    let network = Network::new(&[1, 1, 2])?.with_activation(zilch::Activation::Identity);
    let ones = Weights { theta: vec![Array2::ones((2, 1)), Array2::ones((1, 1))], bias: Vec::new() };
    let (input, target) = (Array2::ones((1, 1)), Array2::from_shape_fn((1, 2), |(_, j)| j as f32));
    let mut all = Vec::new();
    for lr in [0.1, 0.005] {
        for (rule, _) in RULES {
            let mut session = session(&network, &options(rule, lr, 128), &ones)?;
            let mut lowest = f64::INFINITY;
            for _ in 0..2048 {
                session.step(&input, &target);
                lowest = lowest.min(linear(&session.weights_f64().0, &input)[(0, 1)]);
            }
            all.push(Interference { lr, rule: rule.into(), lowest });
        }
    }
    Ok(all)
}

/// Figure 3e: one update of linear networks with 64 units per layer, on one random input and target.
pub(super) fn alignment(context: &Context<'_>) -> Result<Vec<Alignment>> {
    let (deepest, count) = if context.quick { (2, 2) } else { (24, 27) };
    let depths: Vec<(u64, &str)> = (1..=deepest).flat_map(|d| RULES.map(|(rule, _)| (d, rule))).collect();
    parallel(context, &depths, |&(depth, rule)| {
        let network = Network::new(&vec![64; depth as usize + 1])?.with_activation(zilch::Activation::Identity);
        let mut angles = Vec::new();
        let blank = Weights::zeros(&network);
        let mut session = session(&network, &options(rule, 0.001, 512), &blank)?;
        for seed in seeds(count) {
            context.check()?;
            session.load(&Weights::drawn(&network, seed, Init::Xavier));
            let mut random = Random::new(seed, Stream::Test, 3);
            let mut normal = || Array2::from_shape_simple_fn((1, 64), || random.normal() as f32);
            let (input, target) = (normal(), normal());
            let before = linear(&session.weights_f64().0, &input);
            session.step(&input, &target);
            let after = linear(&session.weights_f64().0, &input);
            angles.extend(angle(&(after - &before), &(target.mapv(f64::from) - &before)));
        }
        Ok(Alignment { depth, rule: rule.into(), angles })
    })
}
