//! Convolutional networks. Z-IL and Fa-Z-IL against BP bit for bit, and controls that must differ; every rule's updates against
//! `scripts/oracle_convolution.py`; BP's updates against central differences of a plain forward pass; and refusals.

use crate::common::{Run, cpu, cpu_device, data, gpu, pair, plan};
use crate::harness::{Matrix256, Parameters, Trained, descent, matrix, parameters, rounding, samples, weights};
use ndarray::Array2;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Dataset, Set};
use zilch::device::{Device, SavedSlot};
use zilch::network::{read_weights, write_weights};
use zilch::plan::{Connection, Domain, SlotId, Window};
use zilch::rules::Phi;
use zilch::rules::{Loss, Optimizer};
use zilch::{Activation, Coords, Error, Network, Options, Plan, Rule, Schedule, Weights};

/// Small LeNets with either kind of pooling: windows that overlap, do not divide the input, or extend beyond its edge. (The windows of
/// the first network cover its whole input: units outside of all windows get no error, and the paper's φ never fires in time there.)
const AVERAGE: &str = "2x12x10,5c3p1,a2,7c2,a3s1,9,4";
const MAXIMUM: &str = "2x11x9,5c3p1,m2,7c2,m3s2,9,4";
const MIXED: &str = "13x10,36c3s2p2,m2s1,a2,6c1,3c2,4";
/// Large enough that the updates move the weights far from their initial values.
const ALPHA: f64 = 0.02;

fn network(layers: &str, activation: Activation, bias: bool) -> Network {
    Network::parse(layers).expect("layers").with_activation(activation).with_bias(bias)
}

fn updates(network: &Network, rule: Rule, change: impl FnOnce(&mut Options)) -> Plan {
    plan(network, rule, |o| {
        o.alpha = ALPHA;
        change(o);
    })
}

/// The rules that equal BP on this network, with every schedule. The paper's φ is included only if no ε is exactly 0; max pooling sets ε
/// to 0 for all units but the maximum of a window.
fn exact(network: &Network, smooth: bool) -> Vec<Plan> {
    let mut plans = Vec::new();
    for schedule in [Schedule::Full, Schedule::Frontier] {
        plans.push(updates(network, Rule::ZIL, |o| o.schedule = Some(schedule)));
        plans.push(updates(network, Rule::FAZIL, |o| (o.schedule, o.phi) = (Some(schedule), Phi::Feedback)));
        if smooth || schedule == Schedule::Frontier {
            plans.push(updates(network, Rule::FAZIL, |o| o.schedule = Some(schedule)));
        }
    }
    plans
}

#[test]
fn zil_and_fazil_are_bp_to_the_last_bit() {
    for (layers, activation, smooth) in [
        (AVERAGE, Activation::Tanh, true),
        (AVERAGE, Activation::Relu, false),
        (MAXIMUM, Activation::Tanh, false),
        (MAXIMUM, Activation::Relu, false),
        (MIXED, Activation::Sigmoid, false),
    ] {
        // A mini-batch too small to be split by samples, and one of two shards.
        for (threads, batch, bias) in [(1, 7, true), (2, 7, false), (2, 17, true)] {
            let network = network(layers, activation, bias);
            let run = Run::new(&network, batch, 60, 3);
            let device = cpu(threads);
            let bp = run.train(&device, &updates(&network, Rule::BP, |_| ()));
            assert_eq!(bp.not_finite(), None);
            let (moved, size) = bp.max_abs_difference(&run.weights);
            assert!(moved > 0.05 * size, "{network} {activation}: the updates moved the weights by {moved} only");
            for plan in exact(&network, smooth) {
                let other = run.train(&device, &plan);
                let far = bp.distance(&other);
                assert!(bp.bit_identical(&other), "{plan} on {threads} threads, batch {batch}: {far:e} from BP");
            }
        }
    }
}

/// The same tests on the GPU.
#[test]
fn gpu_zil_and_fazil_are_bp_to_the_last_bit() {
    for (layers, activation, smooth) in
        [(AVERAGE, Activation::Tanh, true), (MAXIMUM, Activation::Relu, false), (MIXED, Activation::Sigmoid, false)]
    {
        let network = network(layers, activation, true);
        let run = Run::new(&network, 7, 20, 3);
        let bp = run.train(&gpu(), &updates(&network, Rule::BP, |_| ()));
        let (moved, size) = bp.max_abs_difference(&run.weights);
        assert!(moved > 0.01 * size, "{network} {activation}: the updates moved the weights by {moved} only");
        for plan in exact(&network, smooth) {
            let other = run.train(&gpu(), &plan);
            let far = bp.distance(&other);
            assert!(bp.bit_identical(&other), "{plan}: {far:e} from BP on the GPU");
        }
    }
}

/// The learning rate of a rule. A rule that learns at each step follows x^l by steepest descent; with sums over all positions only small
/// rates are stable.
fn rate(rule: Rule) -> f64 {
    if rule.name() == "ipc" { 1e-5 } else { 2e-3 }
}

/// Both devices agree on every rule within rounding error, and show the same values of an image layer.
#[test]
fn devices_agree() {
    for layers in [AVERAGE, MAXIMUM, MIXED] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 9, 2, 13);
        for rule in Rule::all().iter().filter(|rule| rule.convolutions) {
            let plan = updates(&network, *rule, |o| {
                (o.schedule, o.alpha) = (rule.takes("schedule").then_some(Schedule::Full), rate(*rule));
            });
            let [mut one, mut other] = [cpu(2), gpu()].map(|device| run.session(&device, &plan));
            let [a, b] = [&one, &other].map(|session| session.weights().expect("weights"));
            let (difference, largest) = a.max_abs_difference(&b);
            assert!(difference < 2e-6 * largest, "{plan}: {difference:e} of {largest:e}");
            for l in 0..network.lmax() {
                let eps = plan.find("eps", l).expect("ε");
                let [a, b] = [&one, &other].map(|session| session.slot(eps).expect("read").expect("kept"));
                assert_eq!(a.dim(), (9, network.n(l)));
                let size = a.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * size), "{plan}: ε^{l}");
            }
            let [a, b] = [&mut one, &mut other].map(|session| session.score(Set::Train).expect("score"));
            assert!((a.energy - b.energy).abs() < 1e-5 * a.energy && a.samples == b.samples, "{plan}: {a:?} {b:?}");
        }
    }
}

/// The bits do not depend on the number of threads, or on evaluated instead of hand-written formulas.
#[test]
fn threads_and_kernels_do_not_change_the_bits() {
    for layers in [MAXIMUM, MIXED] {
        let network = network(layers, Activation::Tanh, true);
        for rule in [Rule::BP, Rule::IL] {
            let plan = updates(&network, rule, |o| o.coords = Coords::Value);
            let run = Run::new(&network, 33, 8, 5);
            let one = run.train(&cpu(1), &plan);
            assert!(one.bit_identical(&run.train(&cpu(2), &plan)), "{plan}");
            assert!(one.bit_identical(&run.train(&cpu(3), &plan)), "{plan}");
            let device = cpu_device(2);
            let mut session =
                device.session_evaluated(&plan, run.batch, Arc::clone(&run.data), &run.weights).expect("session");
            session.run(&run.order);
            assert!(one.bit_identical(&session.weights()), "{plan}");
        }
    }
}

/// Without one of its conditions Z-IL is not BP.
#[test]
fn the_controls_differ() {
    for layers in [AVERAGE, MAXIMUM] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 7, 20, 4);
        let device = cpu(1);
        let bp = run.train(&device, &updates(&network, Rule::BP, |_| ()));
        let lmax = network.lmax() as u32;
        let controls = [
            ("γ = 0.9", updates(&network, Rule::ZIL, |o| o.gamma = Some(0.9))),
            (
                "all weights at the last step",
                updates(&network, Rule::IL, |o| (o.gamma, o.steps) = (Some(1.0), Some(lmax))),
            ),
            ("C1 broken", updates(&network, Rule::ZIL, |o| o.sigma = 0.01)),
            ("φ of a spike that is late", updates(&network, Rule::FAZIL, |o| o.gamma = Some(0.5))),
        ];
        for (what, plan) in controls {
            let other = run.train(&device, &plan);
            assert!(bp.distance(&other) > 1e-3 * bp.distance(&run.weights), "{what}: no difference on {network}");
        }
        // The paper's φ fires late in units whose ε is exactly 0; max pooling causes this for all units but one of a window.
        let late = run.train(&device, &updates(&network, Rule::FAZIL, |_| ()));
        assert_eq!(bp.bit_identical(&late), layers == AVERAGE, "{network}");
    }
}

#[derive(Deserialize)]
struct Oracle {
    layers: String,
    batch: usize,
    alpha: f64,
    pixels: Vec<Vec<u8>>,
    labels: Vec<u8>,
    theta_256ths: Vec<Matrix256>,
    bias_256ths: Vec<Vec<i32>>,
    feedback_256ths: Vec<Matrix256>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    rule: Rule,
    gamma: Option<f64>,
    steps: Option<u32>,
    activation: Activation,
    bias: bool,
    mean: bool,
    decay: Option<f64>,
    after_3: Vec<f64>,
}

impl Oracle {
    fn all() -> Vec<Oracle> {
        serde_json::from_str(include_str!("../fixtures/convolution.json")).expect("fixture")
    }

    fn data(&self) -> Arc<Data> {
        samples(&self.pixels, &self.labels)
    }

    fn weights(&self, bias: bool) -> Weights {
        weights(&self.theta_256ths, &self.bias_256ths, bias)
    }

    /// The fixture's feedback weights, B^1 first. They replace those that a plan draws.
    fn feedback(&self, plan: &Plan) -> Vec<SavedSlot> {
        let all = plan.slots.iter().filter(|slot| plan.families[slot.family.0].key == "feedback");
        let kept = all.zip(&self.feedback_256ths).map(|(slot, numbers)| {
            let Domain::Connections(at) = slot.home else { panic!("{} is not a matrix", slot.symbol) };
            SavedSlot { key: "feedback", at, numbers: matrix(numbers), bias: None }
        });
        kept.collect()
    }

    fn plans(&self, case: &Case) -> Vec<Plan> {
        let network = network(&self.layers, case.activation, case.bias);
        let schedules = match case.rule.name() {
            "il" | "zil" => &[Some(Schedule::Full), Some(Schedule::Frontier)][..],
            _ => &[None][..],
        };
        let ways = match case.rule.name() {
            "bp" | "il" | "zil" | "ipc" => &[Coords::Error, Coords::Value][..],
            _ => &[Coords::Error][..],
        };
        let mut plans = Vec::new();
        for (schedule, coords) in schedules.iter().flat_map(|s| ways.iter().map(|way| (*s, *way))) {
            plans.push(plan(&network, case.rule, |o| {
                (o.schedule, o.coords, o.gamma, o.steps, o.mean) =
                    (schedule, coords, case.gamma, case.steps, case.mean);
                o.alpha = self.alpha;
                o.rule_options.extend(case.decay.map(|decay| ("decay".into(), decay)));
            }));
        }
        plans
    }
}

#[test]
fn an_independent_program_agrees() {
    let order: Vec<u32> = (0..9).collect();
    let mut plans = 0;
    for oracle in Oracle::all() {
        let data = oracle.data();
        let devices = [cpu(2), gpu()].map(|device| (device.upload(&data).expect("upload"), device));
        for case in &oracle.cases {
            let weights = oracle.weights(case.bias);
            for plan in oracle.plans(case) {
                let (name, kept, after) = (plan.to_string(), oracle.feedback(&plan), [(&order[..], &case.after_3[..])]);
                let trained = Trained {
                    name: &name,
                    plan: &plan,
                    batch: oracle.batch,
                    weights: &weights,
                    kept: &kept,
                    after: &after,
                };
                trained.float64(&data, 1e-12);
                let widest =
                    (1..=plan.matrices()).filter_map(|l| plan.matrix(l)).map(|([_, from], _)| from).max().unwrap_or(0);
                let places = plan.populations[..plan.layers].iter().map(|layer| layer.places).max().unwrap_or(1);
                for (resident, device) in &devices {
                    trained.float32(device, resident, rounding(&plan, widest + places));
                }
                plans += 1;
            }
        }
    }
    assert_eq!(plans, 2 * 2 * (2 + 4 * 4 + 2 + 3));
}

/// A plain forward pass in float64 without im2col or packed panels: E of a batch.
fn energy(network: &Network, run: &Run, parameters: &Parameters) -> f64 {
    let (theta, bias) = parameters.split_at(network.lmax());
    let mut energy = 0.0;
    for &sample in &run.order[..run.batch] {
        let set = &run.data.train;
        let grid = network.grid(network.lmax()).expect("an image");
        let [mut c, mut h, mut w] = [grid.channels, grid.height, grid.width];
        // [channel][row][column]
        let mut x: Vec<f64> = set.images().row(sample as usize).iter().map(|p| f64::from(*p) / 255.0).collect();
        for l in (0..network.lmax()).rev() {
            if l + 1 < network.lmax() {
                x.iter_mut().for_each(|v| *v = v.tanh());
            }
            let mut kernel = [1, 1, 0];
            for map in network.maps(l + 1) {
                match map.kind {
                    Connection::Average(window) | Connection::Maximum(window) => {
                        let most = matches!(map.kind, Connection::Maximum(_));
                        (x, [h, w]) = pooled(&x, [c, h, w], &window, most);
                    }
                    Connection::Patches(window) => {
                        kernel = [window.kernel, window.stride, window.padding].map(|v| v as usize)
                    }
                    _ => {}
                }
            }
            let (rows, columns) = network.shape(l + 1);
            let bias = |o: usize| bias.get(l).map_or(0.0, |b| b[o]);
            let weight = |o: usize, i: usize| theta[l][o * columns + i];
            if network.grid(l).is_none() {
                let one = |o: usize| {
                    let flat = (0..columns).map(|i| weight(o, i) * x[i % c * h * w + i / c]);
                    bias(o) + flat.sum::<f64>()
                };
                (x, [c, h, w]) = ((0..rows).map(one).collect(), [rows, 1, 1]);
                continue;
            }
            let [size, stride, padding] = kernel;
            let [oh, ow] = [h, w].map(|n| (n + 2 * padding - size) / stride + 1);
            let mut out = Vec::new();
            for (o, oy, ox) in (0..rows).flat_map(|o| (0..oh).flat_map(move |y| (0..ow).map(move |x| (o, y, x)))) {
                let mut sum = bias(o);
                for (ky, kx) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
                    let (y, x0) = (oy * stride + ky, ox * stride + kx);
                    if y < padding || x0 < padding || y >= h + padding || x0 >= w + padding {
                        continue;
                    }
                    for channel in 0..c {
                        sum += weight(o, (ky * size + kx) * c + channel)
                            * x[(channel * h + y - padding) * w + x0 - padding];
                    }
                }
                out.push(sum);
            }
            (x, [c, h, w]) = (out, [rows, oh, ow]);
        }
        let label = usize::from(set.labels()[sample as usize]);
        energy += x.iter().enumerate().map(|(i, v)| 0.5 * (f64::from(u8::from(i == label)) - v).powi(2)).sum::<f64>();
    }
    energy
}

fn pooled(x: &[f64], [c, h, w]: [usize; 3], window: &Window, most: bool) -> (Vec<f64>, [usize; 2]) {
    let [size, stride] = [window.kernel, window.stride].map(|v| v as usize);
    let [oh, ow] = [h, w].map(|n| (n - size) / stride + 1);
    let one = |i: usize| {
        let (channel, oy, ox) = (i / (oh * ow), i / ow % oh, i % ow);
        let at = |k: usize| x[(channel * h + oy * stride + k / size) * w + ox * stride + k % size];
        let all = (0..size * size).map(at);
        if most { all.fold(f64::NEG_INFINITY, f64::max) } else { all.sum::<f64>() / (size * size) as f64 }
    };
    ((0..c * oh * ow).map(one).collect(), [oh, ow])
}

/// Δθ = −α ∂E/∂θ, by central differences. (No maximum of a window changes within a step: the differences would show it.)
#[test]
fn backpropagation_follows_the_gradient_of_the_energy() {
    const H: f64 = 1.0 / 65536.0;
    for layers in [AVERAGE, MAXIMUM, MIXED] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 3, 1, 11);
        let changes = run.change64(&plan(&network, Rule::BP, |o| o.alpha = 1.0));
        let mut at = parameters(&run);
        for (group, change) in changes.iter().enumerate() {
            let size = change.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            assert!(size > 0.0, "{network}: group {group} learns nothing");
            // Every 7th value of the larger matrices.
            for i in (0..change.len()).step_by(if change.len() > 100 { 7 } else { 1 }) {
                let slope = descent(&mut at, (group, i), H, |at| energy(&network, &run, at));
                let wrong = (slope - change[i]).abs();
                assert!(
                    wrong < 1e-7 * (1.0 + size),
                    "{network}: group {group} number {i} is {}, not {slope}",
                    change[i]
                );
            }
        }
    }
}

/// The rules that support convolutions train with them. Those of the BP family with their own feedback weights differ from BP.
#[test]
fn every_rule_that_supports_convolutions_trains() {
    let network = network(MAXIMUM, Activation::Tanh, true);
    let run = Run::new(&network, 8, 40, 6);
    let bp = run.train(&cpu(2), &updates(&network, Rule::BP, |o| o.alpha = rate(Rule::BP)));
    let mut able = Vec::new();
    for rule in Rule::all().iter().filter(|rule| rule.convolutions) {
        let weights = run.train(&cpu(2), &updates(&network, *rule, |o| o.alpha = rate(*rule)));
        let (_, largest) = bp.max_abs_difference(&weights);
        assert!(largest < 10.0, "{}: a weight of {largest}", rule.name());
        let moved = weights.theta.iter().zip(&run.weights.theta).filter(|(a, b)| a != b).count();
        assert_eq!(moved, network.lmax(), "{}", rule.name());
        assert_eq!(bp.bit_identical(&weights), ["bp", "zil"].contains(&rule.name()), "{}", rule.name());
        able.push(rule.name());
    }
    assert_eq!(able, ["bp", "il", "zil", "fazil", "fa", "dfa", "usf", "frsf", "kp", "ipc", "epc"]);
}

/// DFA sends the output's error to every unit at every position by its own weights: ε^l = f′(x^l) ∘ (B^lᵀ ε^0), in float64.
#[test]
fn direct_feedback_reaches_every_unit_at_every_position() {
    for layers in [AVERAGE, MAXIMUM] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 8, 8, 9);
        let plan = updates(&network, Rule::named("dfa").expect("dfa"), |_| {});
        let mut session = cpu_device(1).session_f64(&plan, 8, Arc::clone(&run.data), &run.weights).expect("a session");
        session.run(&run.order);
        let read = |name: &str, l: usize| session.slot(plan.find(name, l).expect(name)).expect("kept");
        for l in 1..network.lmax() {
            let symbol = format!("B^{l}");
            let b = plan.slots.iter().position(|slot| slot.symbol == symbol).expect("feedback");
            let (b, x, eps) = (session.slot(SlotId(b)).expect("kept"), read("x", l), read("eps", l));
            assert_eq!(b.dim(), (network.outputs(), network.n(l)), "{symbol}");
            let wanted = read("eps", 0).dot(&b) * x.mapv(|x| 1.0 - x.tanh().powi(2));
            let off = (&wanted - &eps).iter().fold(0.0, |most: f64, d| most.max(d.abs()));
            assert!(off < 1e-12 && eps.iter().any(|e| e.abs() > 1e-6), "{layers} {l}: {off:e}");
        }
    }
}

/// Optimisers, losses and learning rates per layer work like without convolutions.
#[test]
fn options_work_as_for_dense_layers() {
    let network = network(AVERAGE, Activation::Tanh, true);
    let run = Run::new(&network, 8, 30, 7);
    for optimizer in [Optimizer::Sgd, Optimizer::Momentum, Optimizer::Adam, Optimizer::Adamw] {
        for loss in [Loss::Squared, Loss::CrossEntropy] {
            let with = |rule| {
                updates(&network, rule, |o| {
                    (o.optimizer, o.loss, o.mean, o.alpha) = (optimizer, loss, true, 0.002);
                })
            };
            let [bp, zil] = [Rule::BP, Rule::ZIL].map(|rule| run.train(&cpu(1), &with(rule)));
            assert!(bp.bit_identical(&zil) && bp != run.weights, "{optimizer:?} {loss:?}");
        }
    }
}

#[test]
fn unsupported_combinations_are_refused() {
    let network = network(MAXIMUM, Activation::Tanh, true);
    for rule in Rule::all().iter().filter(|rule| !rule.convolutions) {
        let error = Options::new(*rule).plan(&rule.suited(network.clone())).expect_err(rule.name());
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("convolutions"), "{error}");
    }
    let plan = updates(&network, Rule::BP, |_| ());
    let data = data(&network, 8, 8, 1);
    let error = cpu(1).session(
        &plan,
        4,
        &cpu(1).upload(&data).expect("upload"),
        &Weights::init(&crate::common::net(&[198, 4], Activation::Tanh, true), 1),
    );
    assert!(error.err().expect("refused").to_string().contains("2x11x9-5c3p1-m2"));
}

/// The values that a session returns for an image layer: the units of all positions of a sample in one row.
#[test]
fn units_are_read_sample_by_sample() {
    let network = network(MAXIMUM, Activation::Tanh, true);
    let run = Run::new(&network, 17, 3, 8);
    let plan = updates(&network, Rule::IL, |_| ());
    let mut shown = Vec::new();
    for threads in [1, 2] {
        let device: Device = cpu(threads);
        let mut session = run.session(&device, &plan);
        let slots: Vec<Array2<f64>> = (0..network.lmax())
            .map(|l| session.slot(plan.find("eps", l).expect("ε")).expect("read").expect("kept"))
            .collect();
        for (l, eps) in slots.iter().enumerate() {
            assert_eq!(eps.dim(), (17, network.n(l)));
        }
        assert_eq!(plan.slot(plan.find("eps", 4).expect("ε")).home, Domain::Units(4));
        let score = session.score(Set::Test).expect("score");
        assert_eq!(score.samples, 1);
        shown.push((slots, score));
    }
    assert_eq!(shown[0], shown[1]);
    let mut session = cpu_device(1).session(&plan, run.batch, Arc::clone(&run.data), &run.weights).expect("session");
    let activities = session.activities(Set::Train, &[3, 1]).expect("activities");
    let shapes: Vec<(usize, usize)> = activities.iter().map(Array2::dim).collect();
    assert_eq!(shapes, (0..network.lmax()).map(|l| (2, network.n(l))).collect::<Vec<_>>());
}

/// The energy of the evaluation is that of a plain forward pass.
#[test]
fn evaluation_is_the_plain_forward_pass() {
    for layers in [AVERAGE, MAXIMUM, MIXED] {
        let network = network(layers, Activation::Tanh, true);
        let mut run = Run::new(&network, 3, 1, 9);
        run.order = vec![0, 1, 2];
        let want = energy(&network, &run, &parameters(&run));
        let first = run.data.train.clone();
        let some = Dataset::new(
            Path::new("some"),
            first.images().slice(ndarray::s![..3, ..]).to_owned(),
            first.labels()[..3].to_vec(),
            1,
            first.pixels(),
        )
        .expect("set");
        let plan = updates(&network, Rule::BP, |_| ());
        let mut session = cpu_device(1).session(&plan, 3, pair(some.clone(), some), &run.weights).expect("session");
        let got = session.score(Set::Test).energy;
        assert!((got - want).abs() < 1e-5 * want, "{network}: {got}, not {want}");
    }
}

#[test]
fn weights_files_contain_the_notation() {
    let folder = std::env::temp_dir().join(format!("zilch-convolution-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("lenet.safetensors");
    for layers in [AVERAGE, MIXED, "28x28,10"] {
        let network = network(layers, Activation::Relu, true);
        let weights = crate::common::weights(&network, 3);
        write_weights(&path, &network, &weights).expect("written");
        let (theirs, same) = read_weights(&path).expect("read");
        assert!(theirs == network && same.bit_identical(&weights));
        assert_eq!(theirs.notation().join(","), layers);
    }
    std::fs::remove_dir_all(&folder).expect("removed");
}
