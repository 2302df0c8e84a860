//! The weight updates against the energy itself: Δθ = −α ∂E/∂θ by central differences of a plain forward pass in
//! float64, which shares no code with the devices; and inference against F, which it must descend.
//!
//! The difference D(h) = (E(θ + h) − E(θ − h)) / 2h is off by h²/6 E‴ (truncation) and by e/h (rounding), where e
//! bounds the rounding error of one energy. E‴ is not known, but D(2h) − D(h) is h²/2 E‴ up to O(h⁴) and 1.5 e/h,
//! hence |D(h) − ∂E/∂θ| ≤ |D(2h) − D(h)| / 3 + 1.5 e/h. The tolerance is |D(2h) − D(h)| + 2 e/h, for each number by
//! itself: it also holds the session's own roundings, which are not divided by h.

use crate::common::{Run, cpu_device, net, plan};
use crate::harness::{Parameters, descent, parameters};
use ndarray::Array1;
use std::sync::Arc;
use zilch::{Activation, Coords, Network, Rule, Schedule};

/// The step: a power of two, so that θ ± h is exact for a float32 θ.
const H: f64 = 1.0 / 65536.0;
/// No kink of f may lie this near. A step of 2h moves a value node by at most 2h · |h| · Π Σ|θ| < MARGIN here.
const MARGIN: f64 = 1.0 / 512.0;
/// Odd, so that no vector is full.
const BATCH: usize = 5;
/// Unit roundoff of float64.
const U64: f64 = f64::EPSILON / 2.0;

/// Ragged layers, input first.
fn network(lmax: usize, activation: Activation, bias: bool) -> Network {
    let layers: &[usize] = [&[7, 3][..], &[7, 11, 3], &[7, 11, 6, 3]][lmax - 1];
    let mut network = net(layers, activation, bias);
    network.input_activation = lmax == 2;
    network
}

/// f(x), as the field writes it.
fn f(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.max(0.0),
        Activation::LeakyRelu => x.max(0.01 * x),
        Activation::Identity => x,
        Activation::HardTanh => x.clamp(-1.0, 1.0),
        Activation::Gelu => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()),
    }
}

/// How far x is from where f′ jumps.
fn from_kink(activation: Activation, x: f64) -> f64 {
    if activation == Activation::HardTanh { (x.abs() - 1.0).abs() } else { x.abs() }
}

/// What one forward pass of a batch came to.
struct Pass {
    /// E = ½ Σ_batch Σ_i (target_i − μ^0_i)²
    energy: f64,
    /// A bound of its rounding error, carried along to first order (|f′| ≤ 1; f to two units in the last place).
    error: f64,
    /// The smallest distance of a hidden value node from where f′ jumps. (The input's do not move with θ.)
    nearest: f64,
}

fn forward(network: &Network, run: &Run, parameters: &Parameters) -> Pass {
    let lmax = network.lmax();
    let mut pass = Pass { energy: 0.0, error: 0.0, nearest: f64::INFINITY };
    for &sample in &run.order[..run.batch] {
        let set = &run.data.train;
        let mut x: Vec<f64> = set.images().row(sample as usize).iter().map(|&p| f64::from(p) / 255.0).collect();
        let mut off: Vec<f64> = x.iter().map(|v| U64 * v).collect();
        for l in (1..=lmax).rev() {
            if l < lmax {
                pass.nearest = x.iter().fold(pass.nearest, |m, v| m.min(from_kink(network.activation, *v)));
            }
            if l < lmax || network.input_activation {
                x.iter_mut().for_each(|v| *v = f(network.activation, *v));
                off.iter_mut().zip(&x).for_each(|(e, h)| *e += 4.0 * U64 * h.abs());
            }
            let (theta, bias, n) = (&parameters[l - 1], parameters.get(lmax + l - 1), x.len());
            let rows = theta.chunks(n).enumerate().map(|(i, row)| {
                let (mut sum, mut size, mut error) = (bias.map_or(0.0, |b| b[i]), 0.0, 0.0);
                size += f64::abs(sum);
                for j in 0..n {
                    sum += row[j] * x[j];
                    size += (row[j] * x[j]).abs();
                    error += row[j].abs() * off[j];
                }
                (sum, error + (n + 2) as f64 * U64 * size)
            });
            (x, off) = rows.unzip();
        }
        let label = usize::from(set.labels()[sample as usize]);
        for (i, (mu, error)) in x.iter().zip(&off).enumerate() {
            let d = f64::from(u8::from(i == label)) - mu;
            pass.energy += 0.5 * d * d;
            pass.error += d.abs() * (error + 2.0 * U64 * d.abs());
        }
    }
    pass.error += (run.batch * network.outputs()) as f64 * U64 * pass.energy;
    pass
}

/// −∂E/∂θ of every parameter by central differences, and how far off each may be.
fn differences(network: &Network, run: &Run) -> Vec<Vec<(f64, f64)>> {
    let mut at = parameters(run);
    let mut all = Vec::new();
    for group in 0..at.len() {
        let mut numbers = Vec::new();
        for i in 0..at[group].len() {
            let mut error = 0.0f64;
            let mut slope = |h: f64| {
                descent(&mut at, (group, i), h, |at| {
                    let pass = forward(network, run, at);
                    error = error.max(pass.error);
                    pass.energy
                })
            };
            let (narrow, wide) = (slope(H), slope(2.0 * H));
            numbers.push((narrow, (wide - narrow).abs() + 2.0 * error / H));
        }
        all.push(numbers);
    }
    all
}

/// A run of one update whose value nodes stay clear of kinks.
fn clear_of_kinks(network: &Network) -> Run {
    let kinked = matches!(network.activation, Activation::Relu | Activation::LeakyRelu | Activation::HardTanh);
    let clear = |run: &Run| !kinked || forward(network, run, &parameters(run)).nearest > MARGIN;
    (0..100).map(|seed| Run::new(network, BATCH, 1, 70 + seed)).find(clear).expect("a run clear of kinks")
}

/// For each matrix and bias: the largest |update / α − difference|, as a multiple of what is allowed.
fn worst(update: &[Array1<f64>], scale: f64, differences: &[Vec<(f64, f64)>]) -> Vec<f64> {
    assert_eq!(update.len(), differences.len());
    let group = |(update, numbers): (&Array1<f64>, &Vec<(f64, f64)>)| {
        assert_eq!(update.len(), numbers.len());
        update.iter().zip(numbers).fold(0.0, |m: f64, (u, (d, may))| m.max((scale * u - d).abs() / may))
    };
    update.iter().zip(differences).map(group).collect()
}

#[test]
fn bp_and_zil_follow_the_gradient_of_the_energy() {
    let (mut largest, mut updates) = (0.0f64, 0);
    for activation in Activation::ALL {
        for lmax in 1..=3 {
            for bias in [false, true] {
                let network = network(lmax, activation, bias);
                let run = clear_of_kinks(&network);
                let want = differences(&network, &run);
                for (rule, schedule) in
                    [(Rule::BP, None), (Rule::ZIL, Some(Schedule::Full)), (Rule::ZIL, Some(Schedule::Frontier))]
                {
                    for mean in [false, true] {
                        let plan = plan(&network, rule, |o| (o.schedule, o.mean, o.alpha) = (schedule, mean, 1.0));
                        let update = run.change64(&plan);
                        let scale = if mean { BATCH as f64 } else { 1.0 };
                        let name = format!("{} {schedule:?} {network} {activation} bias {bias}", rule.title());
                        let off = worst(&update, scale, &want);
                        assert!(off.iter().all(|&w| w < 1.0), "{name} mean {mean}: {off:?} of the tolerance");
                        largest = off.into_iter().fold(largest, f64::max);
                        // The control: the tolerance tells a millionth in every matrix and bias.
                        let other = worst(&update, scale * (1.0 + 1e-6), &want);
                        assert!(other.iter().all(|&w| w > 1.0), "{name} mean {mean}: {other:?} with 1e-6 more");
                        updates += 1;
                    }
                }
            }
        }
    }
    println!("{updates} updates: at most {largest:.2} of the tolerance");
}

/// The controls: the gradient of another activation, and Z-IL with γ = 0.9, where Δθ^{l+1} is γ^l times BP's.
#[test]
fn a_wrong_gradient_is_told() {
    for (activation, other) in [
        (Activation::Sigmoid, Activation::Tanh),
        (Activation::Tanh, Activation::Identity),
        (Activation::LeakyRelu, Activation::Relu),
        (Activation::Identity, Activation::LeakyRelu),
    ] {
        let network = network(3, activation, true);
        let run = clear_of_kinks(&network);
        let want = differences(&network, &run);
        let wrong = network.clone().with_activation(other);
        let off = worst(&run.change64(&plan(&wrong, Rule::BP, |o| o.alpha = 1.0)), 1.0, &want);
        assert!(off.iter().all(|&w| w > 1.0), "{other} for {activation}: {off:?}");
        let slow = plan(&network, Rule::ZIL, |o| (o.gamma, o.alpha) = (Some(0.9), 1.0));
        let off = worst(&run.change64(&slow), 1.0, &want);
        for (i, w) in off.iter().enumerate() {
            assert_eq!(*w < 1.0, i % 3 == 0, "γ = 0.9, {activation}, parameters {i}: {w}");
        }
    }
}

/// F at t = 0, 1 .. `last` of IL, the weights fixed.
fn energies(network: &Network, run: &Run, gamma: f64, last: u32, how: (Schedule, Coords)) -> Vec<f64> {
    let il = plan(network, Rule::IL, |o| {
        (o.schedule, o.coords, o.gamma, o.steps) = (Some(how.0), how.1, Some(gamma), Some(last));
    });
    let energy = |t| {
        let device = cpu_device(1);
        let until = il.until(t);
        let mut session = device.session_f64(&until, run.batch, Arc::clone(&run.data), &run.weights).expect("session");
        session.run(&run.order);
        let eps = |l| session.slot(until.find("eps", l).expect("ε")).expect("it is kept");
        let layer = |l| eps(l).iter().map(|e| 0.5 * e * e).sum::<f64>();
        (0..network.lmax()).map(layer).sum()
    };
    (0..=last as usize).map(energy).collect()
}

#[test]
fn inference_descends_the_energy() {
    for activation in Activation::ALL {
        for lmax in 1..=3 {
            let network = network(lmax, activation, lmax != 2);
            let run = Run::new(&network, BATCH, 1, 60 + lmax as u64);
            let start = forward(&network, &run, &parameters(&run));
            for schedule in [Schedule::Full, Schedule::Frontier] {
                for coords in [Coords::Error, Coords::Value] {
                    let name = format!("{network} {activation} {} {}", schedule.name(), coords.name());
                    let f = energies(&network, &run, 0.05, 25, (schedule, coords));
                    assert!(
                        (f[0] - start.energy).abs() <= 2.0 * start.error,
                        "{name}: F_0 {} E {}",
                        f[0],
                        start.energy
                    );
                    // With one layer of weights there is nothing to infer.
                    let descends = |w: &[f64]| if lmax == 1 { w[1] == w[0] } else { w[1] < w[0] };
                    assert!(f.windows(2).all(descends), "{name}: {f:?}");
                    // The control: a step beyond 2 / (the largest curvature, at least 1) overshoots.
                    let far = energies(&network, &run, 3.0, 5, (schedule, coords));
                    assert_eq!(far.windows(2).any(|w| w[1] > w[0]), lmax > 1, "{name}: {far:?}");
                }
            }
        }
    }
}
