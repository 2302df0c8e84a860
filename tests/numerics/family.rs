//! The wider family of rules, losses, optimisers and learning rates: against an independent float64 program (`scripts/oracle_family.py`),
//! against each other where they must be bit-identical, and against the properties of each rule.

use crate::common::{Run, cpu, cpu_device, gpu, net, plan};
use crate::float64::{U, relative};
use crate::harness::{Matrix256, Trained, matrix, off, samples, weights};
use ndarray::{Array1, Array2};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::{Device, SavedSlot};
use zilch::network::Init;
use zilch::plan::{Op, SlotId};
use zilch::rules::{Loss, LrSchedule, Optimizer, Ramp};
use zilch::{Activation, Coords, Error, Network, Options, Plan, Rule, Schedule, Weights};

#[derive(Deserialize, Clone)]
struct Oracle {
    layers: Vec<usize>,
    batch: usize,
    alpha: f64,
    pixels: Vec<Vec<u8>>,
    labels: Vec<u8>,
    theta_256ths: Vec<Matrix256>,
    bias_256ths: Vec<Vec<i32>>,
    feedback_256ths: Vec<Matrix256>,
    direct_256ths: Vec<Matrix256>,
    xi_256ths: Vec<Matrix256>,
    /// V^l of dtp, for l = 2 .. lmax − 1.
    inverse_256ths: Vec<Matrix256>,
    /// R^l of burstprop, for l = 1 .. lmax − 1.
    recurrent_256ths: Vec<Matrix256>,
    cases: Vec<Case>,
    residual: Residual,
}

/// The same samples on a chain with layers of equal width, for rules that skip between layers.
#[derive(Deserialize, Clone)]
struct Residual {
    layers: Vec<usize>,
    theta_256ths: Vec<Matrix256>,
    bias_256ths: Vec<Vec<i32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize, Debug, Clone)]
struct Case {
    rule: Rule,
    #[serde(rename = "own")]
    rule_options: BTreeMap<String, String>,
    gamma: Option<f64>,
    steps: Option<u32>,
    activation: Activation,
    bias: bool,
    mean: bool,
    loss: Loss,
    optimizer: Optimizer,
    weight_decay: Option<f64>,
    momentum: Option<f64>,
    betas: Option<[f64; 2]>,
    lr_schedule: Ramp,
    warmup: u64,
    total: u64,
    /// Updates per epoch; 0 if all updates are one epoch.
    epoch: u64,
    after_1: Vec<f64>,
    after_3: Vec<f64>,
    #[serde(default)]
    layer_lr: Option<Vec<f64>>,
    feedback_after_3: Option<Vec<f64>>,
    /// V, then c.
    inverse_after_3: Option<Vec<f64>>,
    recurrent_after_3: Option<Vec<f64>>,
    q_after_3: Option<Vec<f64>>,
}

impl Case {
    /// The weights after one update, and after two more.
    fn after(&self) -> [(&[u32], &[f64]); 2] {
        [(&[0, 1, 2], &self.after_1), (&[3, 4, 5, 6, 7, 8], &self.after_3)]
    }

    /// One of the rule's own options.
    fn rule_option(&self, name: &str) -> f64 {
        let choice = self.rule.rule_options.iter().find(|c| c.name == name).expect("an option");
        self.rule_options.get(name).map_or(choice.default, |text| choice.read(text).expect("a value"))
    }
}

impl Oracle {
    fn read() -> Oracle {
        serde_json::from_str(include_str!("../fixtures/family.json")).expect("fixture")
    }

    /// Both chains.
    fn both() -> [Oracle; 2] {
        let oracle = Oracle::read();
        let Residual { layers, theta_256ths, bias_256ths, cases } = oracle.residual.clone();
        [oracle.clone(), Oracle { layers, theta_256ths, bias_256ths, cases, ..oracle }]
    }

    fn each_case() -> Vec<(Oracle, Case)> {
        let cases = |oracle: Oracle| oracle.cases.clone().into_iter().map(move |case| (oracle.clone(), case));
        Oracle::both().into_iter().flat_map(cases).collect()
    }

    fn data(&self) -> Arc<Data> {
        samples(&self.pixels, &self.labels)
    }

    fn plan(&self, case: &Case) -> Plan {
        let mut options = Options::new(case.rule);
        let read = |name: &String| (name.clone(), case.rule_option(name));
        options.epoch = case.epoch;
        options.layer_lr = case.layer_lr.clone().unwrap_or_default();
        options.rule_options = case.rule_options.keys().map(read).collect();
        options.lr_schedule = LrSchedule { ramp: case.lr_schedule, warmup: case.warmup, total: case.total };
        (options.alpha, options.mean, options.loss, options.optimizer) =
            (self.alpha, case.mean, case.loss, case.optimizer);
        (options.weight_decay, options.momentum, options.betas) = (case.weight_decay, case.momentum, case.betas);
        (options.gamma, options.steps) = (case.gamma, case.steps);
        options.plan(&case.rule.suited(net(&self.layers, case.activation, case.bias))).expect("plan")
    }

    fn weights(&self, case: &Case) -> Weights {
        weights(&self.theta_256ths, &self.bias_256ths, case.bias)
    }

    /// The fixture's feedback weights. They replace those that a plan draws.
    fn feedback(&self, case: &Case, plan: &Plan) -> Vec<SavedSlot> {
        let layer = |symbol: &str| symbol.split('^').nth(1).and_then(|l| l.parse::<usize>().ok()).expect("a layer");
        let kept = |slot: &zilch::plan::Slot| {
            let key = plan.families[slot.family.0].key;
            let zilch::plan::Domain::Connections(at) = slot.home else { return None };
            let direct = plan.projections[at].to == 0 && plan.projections[at].name.contains("from the output");
            let numbers = match key {
                "feedback" if direct => &self.direct_256ths[layer(&slot.symbol) - 1],
                // Feedback from the output uses the transpose.
                "feedback" if plan.projections[at].from == 0 => &self.direct_256ths[layer(&slot.symbol) - 1],
                "feedback" | "cancelling" => &self.feedback_256ths[layer(&slot.symbol) - 1],
                "xi" => &self.xi_256ths[layer(&slot.symbol)],
                "inverse_weights" => &self.inverse_256ths[layer(&slot.symbol) - 2],
                "recurrent" => &self.recurrent_256ths[layer(&slot.symbol) - 1],
                _ => return None,
            };
            let mut numbers = matrix(numbers);
            match key {
                "feedback" if plan.projections[at].from == 0 => numbers = numbers.t().to_owned(),
                "cancelling" => numbers *= case.rule_option("p0") as f32,
                _ => {}
            }
            Some(SavedSlot { key, at, numbers, bias: None })
        };
        plan.slots.iter().filter(|slot| slot.persistent).filter_map(kept).collect()
    }
}

#[test]
fn float64_agrees_to_1e_11() {
    let (mut worst, all) = (0.0f64, Oracle::each_case());
    for (oracle, case) in &all {
        let plan = oracle.plan(case);
        let (name, weights, kept, after) =
            (format!("{case:?}"), oracle.weights(case), oracle.feedback(case, &plan), case.after());
        let trained =
            Trained { name: &name, plan: &plan, batch: oracle.batch, weights: &weights, kept: &kept, after: &after };
        let (session, off64) = trained.float64(&oracle.data(), 1e-11);
        worst = worst.max(off64);
        for (name, want) in [
            ("feedback", &case.feedback_after_3),
            ("inverse_weights", &case.inverse_after_3),
            ("recurrent", &case.recurrent_after_3),
            ("cancelling", &case.q_after_3),
        ] {
            let Some(want) = want else { continue };
            let slots = (0..plan.slots.len()).filter(|s| plan.key(SlotId(*s)) == name).map(SlotId);
            let kept = slots.map(|slot| session.slot(slot).expect("kept"));
            let got: Vec<f64> = kept.flat_map(|b| b.into_iter().collect::<Vec<_>>()).collect();
            // The biases follow V; no slot shows them.
            let off = off(&got, if name == "inverse_weights" { &want[..got.len()] } else { want });
            assert!(!got.is_empty() && off < 1e-11, "{case:?}: {name} off by {off:e}");
        }
    }
    println!("{} cases, float64: off by {worst:.1e} at most", all.len());
    assert!(all.len() > 250);
}

/// Float32 on a device, within the rounding errors of the sums in sequence. A rule that normalises a change by its magnitude may
/// have twice these errors.
fn float32_agrees(device: &Device) {
    let resident = device.upload(&Oracle::read().data()).expect("upload");
    let mut worst = 0.0f64;
    for (oracle, case) in &Oracle::each_case() {
        let plan = oracle.plan(case);
        let steps: u32 = plan.moments.iter().map(|m| m.times).sum();
        let adam = matches!(case.optimizer, Optimizer::Adam | Optimizer::Adamw);
        let bound = (3.0 * f64::from(steps) * 12.0).sqrt() * U * if adam { 1e3 } else { 2.0 };
        let (name, weights, kept, after) =
            (format!("{case:?}"), oracle.weights(case), oracle.feedback(case, &plan), case.after());
        let trained =
            Trained { name: &name, plan: &plan, batch: oracle.batch, weights: &weights, kept: &kept, after: &after };
        worst = worst.max(trained.float32(device, &resident, bound));
    }
    println!("{}: at most {worst:.2} of the bound", device.kind());
}

#[test]
fn cpu_float32_agrees_within_its_roundings() {
    float32_agrees(&cpu(2));
}

#[test]
fn gpu_float32_agrees_within_its_roundings() {
    float32_agrees(&gpu());
}

/// A name, and a change of options.
type Way = (&'static str, fn(&mut Options));

/// Every optimiser and loss, with the options that belong to it.
fn changes() -> Vec<Way> {
    vec![
        ("cross-entropy", |o| o.loss = Loss::CrossEntropy),
        ("momentum", |o| o.optimizer = Optimizer::Momentum),
        ("adam", |o| o.optimizer = Optimizer::Adam),
        ("adamw, cross-entropy", |o| (o.optimizer, o.loss) = (Optimizer::Adamw, Loss::CrossEntropy)),
        ("decay", |o| o.weight_decay = Some(0.05)),
        ("momentum, decay, mean", |o| {
            (o.optimizer, o.weight_decay, o.mean) = (Optimizer::Momentum, Some(0.05), true);
        }),
        ("cosine", |o| o.lr_schedule = LrSchedule { ramp: Ramp::Cosine, warmup: 5, total: 60 }),
        ("step, adam, mean", |o| {
            (o.optimizer, o.mean) = (Optimizer::Adam, true);
            o.lr_schedule = LrSchedule { ramp: Ramp::Step, warmup: 0, total: 60 };
        }),
    ]
}

/// Z-IL and Fa-Z-IL equal BP bit for bit with every loss and optimiser. IL, a different rule, does not.
fn bit_identical_to_bp(device: &Device) {
    for (i, (name, way)) in changes().into_iter().enumerate() {
        let network = net(&[17, 11, 7, 9, 5], Activation::Tanh, i % 2 == 0);
        let run = Run::new(&network, 6, 60, 900 + i as u64);
        let train = |rule: Rule, schedule: Option<Schedule>| {
            run.train(
                device,
                &plan(&network, rule, |o| {
                    (o.alpha, o.schedule) = (0.01, schedule);
                    way(o);
                }),
            )
        };
        let bp = train(Rule::BP, None);
        assert_eq!(bp.not_finite(), None);
        assert!(!bp.bit_identical(&run.weights));
        for (rule, schedule) in [
            (Rule::ZIL, Schedule::Full),
            (Rule::ZIL, Schedule::Frontier),
            (Rule::FAZIL, Schedule::Full),
            (Rule::FAZIL, Schedule::Frontier),
        ] {
            let other = train(rule, Some(schedule));
            let apart = bp.distance(&other);
            assert!(bp.bit_identical(&other), "{} {name}: {} {apart:e} from BP", device.kind(), rule.title());
        }
        assert!(!bp.bit_identical(&train(Rule::IL, None)), "{name}: the control");
    }
}

#[test]
fn cpu_losses_and_optimisers_keep_zil_on_bp() {
    bit_identical_to_bp(&cpu(2));
}

#[test]
fn gpu_losses_and_optimisers_keep_zil_on_bp() {
    bit_identical_to_bp(&gpu());
}

/// The same rule on the same device repeats bit for bit with any number of threads. Another seed gives other feedback weights.
#[test]
fn every_rule_repeats_itself() {
    for rule in Rule::all().iter().copied() {
        let network = rule.suited(net(&[33, 12, 9, 5], Activation::Sigmoid, true));
        let run = Run::new(&network, 16, 20, 910);
        let plan = |seed: u64| plan(&network, rule, |o| (o.alpha, o.seed) = (0.01, seed));
        let once = run.train(&cpu(1), &plan(0));
        assert!(once.bit_identical(&run.train(&cpu(2), &plan(0))), "{} on threads", rule.name());
        let device = gpu();
        let there = run.train(&device, &plan(0));
        assert!(there.bit_identical(&run.train(&device, &plan(0))), "{} on the GPU", rule.name());
        assert!(once.distance(&there) < 1e-3, "{}: {:e} apart", rule.name(), once.distance(&there));
        let random = !plan(0).slots.iter().all(|s| !matches!(s.start, zilch::plan::Initial::Uniform { .. }));
        if random {
            assert!(!once.bit_identical(&run.train(&cpu(1), &plan(1))), "{} with another seed", rule.name());
        }
    }
}

/// With feedback over θᵀ itself, each alignment rule equals BP bit for bit: B is the only difference.
#[test]
fn alignment_rules_with_exact_feedback_are_bp() {
    let network = net(&[23, 12, 9, 5], Activation::Tanh, true);
    let run = Run::new(&network, 7, 1, 920);
    for device in [cpu(1), gpu()] {
        let bp = run.train(&device, &plan(&network, Rule::BP, |o| o.alpha = 0.05));
        for name in ["fa", "kp"] {
            let rule = Rule::named(name).expect("a rule");
            let plan = plan(&network, rule, |o| {
                o.alpha = 0.05;
                if name == "kp" {
                    o.rule_options.insert("decay".into(), 0.0);
                }
            });
            let resident = device.upload(&run.data).expect("upload");
            let mut session = device.session(&plan, run.batch, &resident, &run.weights).expect("session");
            let theta = run.weights.theta.iter().enumerate();
            let b: Vec<SavedSlot> =
                theta.map(|(at, t)| SavedSlot { key: "feedback", at, numbers: t.clone(), bias: None }).collect();
            session.put(&b);
            session.run(&run.order).expect("run");
            let weights = session.weights().expect("weights");
            assert!(weights.bit_identical(&bp), "{} {name}: {:e}", device.kind(), weights.distance(&bp));
            let drawn = run.train(&device, &plan);
            assert!(!drawn.bit_identical(&bp), "{name}: the control");
        }
    }
}

/// Errors as differences of activities (NGRAD, Lillicrap et al. 2020): rules that look different all move weights by the output of a unit
/// after teaching minus its output before. The table is in docs/rules.md.
#[test]
fn errors_are_differences_of_activities() {
    const TABLE: &[(&str, &str, &str)] = &[
        ("il", "mu", "x"),
        ("dtp", "h", "target"),
        ("dendrite", "plateau", "plateau_taught"),
        ("burstprop", "burst", "burst_taught"),
        ("burstccn", "events", "burst_taught"),
        ("ep", "rest", "state"),
    ];
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md")).expect("docs/rules.md");
    let plain = net(&[23, 12, 9, 5], Activation::Tanh, false);
    let run = Run::new(&plain, 7, 1, 960);
    for (name, before, after) in TABLE {
        assert!(page.contains(&format!("| `{name}` | `{before}` | `{after}` |")), "{name} in docs/rules.md");
        let rule = Rule::named(name).expect("a rule");
        let network = rule.suited(plain.clone());
        let mut plan = plan(&network, rule, |o| {
            o.alpha = 0.05;
            if *name == "ep" {
                o.rule_options.insert("estimator".into(), 1.0);
            }
        });
        let of = |what: &str, l: usize| plan.find(what, l).unwrap_or_else(|| panic!("{name} has no {what}^{l}"));
        let mut slots = vec![of(before, 1), of(after, 1)];
        slots.extend(match *name {
            "ep" => [of(before, 2), of(after, 2)],
            _ => [plan.sent(1).expect("sent"), plan.sent(2).expect("sent")],
        });
        slots.iter().for_each(|s| plan.slots[s.0].observed = true);
        let mut session =
            cpu_device(1).session_f64(&plan, run.batch, Arc::clone(&run.data), &run.weights).expect("session");
        let old = session.weights_f64().0[1].clone();
        session.run(&run.order);
        let change = &session.weights_f64().0[1] - &old;
        let read = |k: usize| session.slot(slots[k]).unwrap_or_else(|| panic!("{name}: slot {k} is not stored"));
        // Without teaching, half of the events are bursts.
        let share = if *name == "burstccn" { 0.5 } else { 1.0 };
        let difference = &read(1) - &(read(0) * share);
        let wanted = match *name {
            // Correlations of two phases, in units of β = ½.
            "ep" => (read(1).t().dot(&read(3)) - read(0).t().dot(&read(2))) * (0.05 / 0.5),
            _ => {
                let slope = |a: &Array2<f64>| match *name {
                    "dtp" => a.mapv(|h| 1.0 - h * h),
                    "dendrite" => a.mapv(|r| r * (1.0 - r) * (0.6 / 0.7)),
                    _ => Array2::ones(a.dim()),
                };
                (difference.clone() * slope(&read(2))).t().dot(&read(3)) * 0.05
            }
        };
        let size = change.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let off = (&change - &wanted).iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(size > 1e-6 && off < 1e-10 * size.max(1.0), "{name}: off by {off:e} of {size:e}");
        let still = difference.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        assert!(still > 1e-6, "{name}: the control");
    }
}

/// Kolen-Pollack: B − θ shrinks by a factor of 1 − λ at each update, whatever is learned (in exact arithmetic).
#[test]
fn kolen_pollack_feedback_converges_to_the_forward_weights() {
    let network = net(&[23, 12, 9, 5], Activation::Sigmoid, false);
    let run = Run::new(&network, 7, 200, 930);
    let plan = plan(&network, Rule::named("kp").expect("kp"), |o| {
        o.alpha = 0.02;
        o.rule_options.insert("decay".into(), 0.01);
    });
    let device = cpu_device(1);
    let mut session = device.session_f64(&plan, run.batch, Arc::clone(&run.data), &run.weights).expect("session");
    let apart = |session: &zilch::device::cpu::CpuSession64| {
        let (theta, _) = session.weights_f64();
        let b = session.slot(plan.find("feedback", 1).expect("B^2")).expect("kept");
        Array1::from_iter((&b - &theta[1]).iter().copied())
    };
    let before = apart(&session);
    session.run(&run.order);
    let after = apart(&session);
    let law = before.mapv(|v| v * 0.99f64.powi(200));
    let error = relative(&[after], &[law]);
    assert!(error < 1e-9, "off by {error:e}");
}

/// BrainProp updates θ^1 bit-identically to BP on the error of the chosen output, and the other weights within rounding error.
#[test]
fn brainprop_is_bp_of_the_chosen_output() {
    let network = net(&[23, 12, 9, 5], Activation::Relu, true);
    let run = Run::new(&network, 7, 1, 940);
    let brain = plan(&network, Rule::named("brainprop").expect("brainprop"), |o| {
        o.alpha = 0.05;
        o.rule_options.insert("explore".into(), 0.0);
    });
    // BP whose ε^0 is kept only where BrainProp's is not 0.
    let chosen = {
        let mut plan = brain.clone();
        for op in plan.moments.iter_mut().flat_map(|m| &mut m.steps).flatten().filter(|op| op.name == "attend") {
            let sends = if let zilch::plan::What::Send { from, .. } = &mut op.what { from } else { continue };
            let of = |name: &str, l: usize| brain.find(name, l).expect("a slot");
            let l = (0..4).find(|l| of("attended", *l) == *sends).expect("a layer");
            *sends = of("eps", l);
            let slope = zilch::plan::expr::Expr::slope(network.drive(l + 1), of("x", l + 1), of("h", l + 1));
            op.epilogue =
                vec![zilch::plan::Assign { to: of("eps", l + 1), expr: slope * zilch::plan::expr::arriving() }];
        }
        plan
    };
    for device in [cpu(1), gpu()] {
        let (a, b) = (run.train(&device, &brain), run.train(&device, &chosen));
        assert_eq!(a.theta[0], b.theta[0], "{}: θ^1", device.kind());
        assert!(a.theta[0] != run.weights.theta[0] && a.theta[2] != run.weights.theta[2]);
        let apart = a.max_abs_difference(&b).0;
        assert!(apart < 1e-6, "{}: {apart:e}", device.kind());
        let bp = run.train(&device, &plan(&network, Rule::BP, |o| o.alpha = 0.05));
        assert!(a.max_abs_difference(&bp).0 > 1e-3, "the control: all outputs teach");
    }
}

/// Without its three relaxations, relaxed PC is IL in value coordinates.
#[test]
fn relaxed_pc_without_relaxations_is_il() {
    let network = net(&[23, 12, 9, 5], Activation::Tanh, true);
    let run = Run::new(&network, 7, 5, 950);
    let rpc = Rule::named("rpc").expect("rpc");
    let with = |switches: [f64; 3]| {
        plan(&network, rpc, |o| {
            o.alpha = 0.05;
            o.rule_options = ["feedback", "slope", "errors"].map(String::from).into_iter().zip(switches).collect();
        })
    };
    let il = plan(&network, Rule::IL, |o| {
        (o.alpha, o.coords, o.schedule) = (0.05, Coords::Value, Some(Schedule::Full));
    });
    for device in [cpu(1), gpu()] {
        let il = run.train(&device, &il);
        let exact = run.train(&device, &with([2.0, 1.0, 0.0]));
        assert!(exact.bit_identical(&il), "{}: {:e}", device.kind(), exact.distance(&il));
        for switches in [[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [2.0, 1.0, 1.0]] {
            assert!(!run.train(&device, &with(switches)).bit_identical(&il), "{switches:?}: the control");
        }
    }
}

/// The initial distributions: bounds, variances, orthogonality.
#[test]
fn initial_weights_have_their_distributions() {
    let network = Network::new(&[300, 200, 240]).expect("layers");
    for init in Init::ALL {
        let weights = Weights::drawn(&network, 3, init);
        assert!(weights.bit_identical(&Weights::drawn(&network, 3, init)));
        assert!(!weights.bit_identical(&Weights::drawn(&network, 4, init)));
        for theta in &weights.theta {
            let (to, from) = theta.dim();
            let largest = theta.iter().fold(0.0f32, |m, v| m.max(v.abs())) as f64;
            let square = theta.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / theta.len() as f64;
            let near =
                |value: f64, want: f64| assert!((value / want - 1.0).abs() < 0.03, "{init:?}: {value}, not {want}");
            match init {
                Init::Uniform => near(largest, 1.0 / (from as f64).sqrt()),
                Init::Xavier => near(largest, (6.0 / (to + from) as f64).sqrt()),
                Init::He => near(square, 2.0 / from as f64),
                Init::Normal => near(square, 1.0),
                Init::Orthogonal => {
                    let t = theta.mapv(f64::from);
                    let gram = if to <= from { t.dot(&t.t()) } else { t.t().dot(&t) };
                    let off = (&gram - &Array2::<f64>::eye(gram.nrows())).iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    assert!(off < 1e-6, "{to} × {from}: off by {off:e}");
                }
            }
        }
    }
    assert!(Weights::drawn(&network, 3, Init::Uniform).bit_identical(&Weights::init(&network, 3)));
}

/// Invalid options are refused with their names before anything runs.
#[test]
fn invalid_options_are_refused() {
    let network = net(&[5, 4, 3], Activation::Sigmoid, false);
    let refused = |rule: &str, words: &str, change: &dyn Fn(&mut Options)| {
        let mut options = Options::new(Rule::named(rule).expect("a rule"));
        change(&mut options);
        match options.plan(&network) {
            Err(Error::Usage(text)) => assert!(text.contains(words), "{text}"),
            other => panic!("{rule} {words}: {other:?}"),
        }
    };
    refused("bp", "--momentum is for --optimizer momentum", &|o| o.momentum = Some(0.5));
    refused("bp", "--betas are for", &|o| (o.optimizer, o.betas) = (Optimizer::Momentum, Some([0.9, 0.9])));
    refused("bp", "must lie in 0 to 1", &|o| (o.optimizer, o.betas) = (Optimizer::Adam, Some([0.9, 1.0])));
    refused("bp", "--weight-decay", &|o| o.weight_decay = Some(-1.0));
    refused("bp", "--weight-decay", &|o| o.weight_decay = Some(f64::NAN));
    refused("bp", "needs to know", &|o| o.lr_schedule.ramp = Ramp::Cosine);
    refused("bp", "--warmup", &|o| (o.lr_schedule.warmup, o.lr_schedule.total) = (9, 9));
    refused("bp", "--feedback-scale", &|o| {
        o.rule_options.insert("feedback-scale".into(), 1.0);
    });
    refused("fa", "--feedback-scale takes a number from 0 to 1000", &|o| {
        o.rule_options.insert("feedback-scale".into(), -1.0);
    });
    for (rule, most) in [("burstccn", 0.95), ("burstprop", 0.999)] {
        for p0 in [0.0, 1e-300, 1.0, f64::NAN] {
            refused(rule, &format!("--p0 takes a number from 0.001 to {most}"), &|o| {
                o.rule_options.insert("p0".into(), p0);
            });
        }
    }
    refused("rpc", "--slope takes off or on", &|o| {
        o.rule_options.insert("slope".into(), 7.0);
    });
    refused("brainprop", "--loss cross-entropy does not apply", &|o| o.loss = Loss::CrossEntropy);
    refused("fa", "--gamma", &|o| o.gamma = Some(0.5));
}

/// Plans that break each property of `zilch rules`: removing or adding a part changes the verdict, which names that part.
#[test]
fn each_property_is_lost_by_what_breaks_it() {
    use zilch::plan::expr::{Expr, arriving};
    use zilch::plan::{Domain, Reduction, What};
    use zilch::rules::builder::op;
    let network = net(&[16, 12, 10, 8, 6], Activation::Sigmoid, false);
    let of = |rule: &str| plan(&network, Rule::named(rule).expect("a rule"), |_| {});
    let [bp, fa, kp, usf, fazil, brain] = ["bp", "fa", "kp", "usf", "fazil", "brainprop"].map(|r| of(r).properties());
    assert!(bp.weight_transport.holds && bp.weight_transport.why.contains("θ^1"), "{:?}", bp.weight_transport);
    assert!(!fa.weight_transport.holds && !kp.weight_transport.holds);
    assert!(usf.weight_transport.holds && usf.weight_transport.why == "B^1 follows θ^1", "{:?}", usf.weight_transport);
    assert!(brain.global_signal.holds && !bp.global_signal.holds && !fa.global_signal.holds);
    assert!(fazil.full_autonomy.holds && !fazil.clock.holds && !fazil.phases.holds);
    assert!(bp.phases.holds && bp.clock.holds && !bp.full_autonomy.holds);

    // Two phases: a state kept from before, and a forward pass of another state. Without either there is only one phase.
    let [ep, ff, hebb] = ["ep", "ff", "hebb"]
        .map(|name| Rule::named(name).expect("a rule"))
        .map(|rule| plan(&rule.suited(network.clone()), rule, |_| {}));
    assert!(ep.properties().phases.why.contains("kept from an earlier phase"), "{:?}", ep.properties().phases);
    assert!(ff.properties().phases.why.contains("which prediction does not send"), "{:?}", ff.properties().phases);
    assert!(!hebb.properties().phases.holds && hebb.properties().full_autonomy.holds, "{:?}", hebb.properties());
    let mut at_once = ep.clone();
    at_once.moments.retain(|m| m.times == 1 || m.stage == zilch::plan::Stage::Prediction);
    assert!(ep.properties().phases.holds && !at_once.properties().phases.holds, "no state changes in between");

    // Without f′ only the verdict on the derivative changes.
    let mut flat = of("bp");
    let back = |op: &&mut Op| op.name == "backprop";
    for op in flat.moments.iter_mut().flat_map(|m| &mut m.steps).flatten().filter(back) {
        op.epilogue[0].expr = arriving();
    }
    let flat = flat.properties();
    assert!(bp.derivative.holds && !flat.derivative.holds);
    assert_eq!((&flat.weight_transport, &flat.clock), (&bp.weight_transport, &bp.clock));

    // Errors that are sent as magnitudes are not signed.
    let mut sizes = of("bp");
    for op in sizes.moments.iter_mut().flat_map(|m| &mut m.steps).flatten() {
        if ["backprop", "error"].contains(&op.name) {
            op.epilogue.iter_mut().for_each(|end| end.expr = end.expr.clone().abs());
        }
    }
    assert!(bp.signed_errors.holds && !sizes.properties().signed_errors.holds);

    // One value per sample that goes beyond the next layer is a global signal. To the next layer it is not.
    for (layer, global) in [(1, false), (2, true)] {
        let mut told = of("fa");
        let [level, sum] = ["level", "told"].map(|name| {
            let home = if name == "level" { Domain::Samples(0) } else { Domain::Units(layer) };
            told.declare(name, format!("{name}^{layer}"), home)
        });
        let eps = told.find("eps", 0).expect("ε^0");
        let last = told.moments.last_mut().expect("a moment");
        let reduce = What::Reduce { from: eps, how: Reduction::Sum };
        last.steps.push(vec![op("tell", reduce, [(level, arriving())])]);
        last.steps.push(vec![op("tell", What::Map(Domain::Units(layer)), [(sum, Expr::from(level))])]);
        told.check().expect("a plan");
        assert_eq!(told.properties().global_signal.holds, global, "layer {layer}");
    }
}

/// Without an error, hidden units of `burstccn` burst with probability p0, so it learns with any p0. Its updates are proportional to p0
/// in every layer, so a learning rate of 1 / p0 gives about the same network. The same holds for `burstprop`.
#[test]
fn bursts_teach_with_any_probability() {
    use std::sync::atomic::AtomicBool;
    use zilch::train::{Length, Training};
    let data = Arc::new(Data::open("digits").expect("digits"));
    for (name, layers) in [("burstccn", [784, 48, 24, 10].as_slice()), ("burstprop", &[784, 48, 10])] {
        for p0 in [0.2, 0.5, 0.8] {
            let rule = Rule::named(name).expect("a rule");
            let mut options = Options { alpha: 1.0 / p0, mean: true, ..Options::new(rule) };
            options.rule_options.insert("p0".into(), p0);
            let network = rule.suited(net(layers, Activation::Sigmoid, true));
            let training =
                Training { options, initial: Some(Init::Xavier), ..Training::new(network, Length::Epochs(6)) };
            let trained = training.run(&cpu(1), &data, &AtomicBool::new(false), &mut |_| ()).expect("training");
            let error = trained.metrics.last().expect("an epoch").test_error;
            println!("{name} at p0 = {p0}: {:.2} % test error", 100.0 * error);
            assert!(error < 0.3, "{name} at p0 = {p0}: {error}");
        }
    }
}

/// [`zilch::rules::Definition::own_network`] agrees with the plans: a rule without it predicts the values of BP from BP's weights, and a
/// rule with it predicts other values.
#[test]
fn rules_with_their_own_networks_are_marked() {
    let plain = net(&[13, 9, 9, 5], Activation::Tanh, true);
    let run = Run::new(&plain, 4, 1, 990);
    let device = cpu(1);
    let inputs = Array2::from_shape_fn((3, 13), |(i, j)| ((7 * i + 3 * j) % 11) as f32 / 11.0);
    let resident = device.upload(&run.data).expect("upload");
    let predicted = |rule: Rule, network: &Network| {
        let plan = plan(network, rule, |_| {});
        let mut session = device.session(&plan, run.batch, &resident, &run.weights).expect("session");
        session.predict(&inputs).expect("predictions")
    };
    for rule in Rule::all().iter().copied() {
        let network = rule.suited(plain.clone());
        let apart = &predicted(rule, &network) - &predicted(Rule::BP, &network);
        let apart = apart.iter().fold(0.0f32, |most, d| most.max(d.abs()));
        assert_eq!(rule.own_network, apart > 0.0, "{}: {apart:e} from BP's", rule.name());
    }
}

/// The angle between the weight changes of a rule and of BP does not include weight decay. θ^1 of Kolen-Pollack and of feedback alignment is
/// updated by the same product as in BP, for any decay, optimiser and learning rates.
#[test]
fn angles_exclude_weight_decay() {
    use std::sync::atomic::AtomicBool;
    use zilch::train::probe::Probe;
    use zilch::train::{Length, Training};
    let data = Arc::new(Data::open("digits").expect("digits"));
    let network = net(&[784, 24, 16, 10], Activation::Tanh, true);
    let angles = |name: &str, change: &dyn Fn(&mut Options)| {
        let rule = Rule::named(name).expect("a rule");
        let mut options = Options { alpha: 0.01, mean: true, ..Options::new(rule) };
        change(&mut options);
        let probes = vec![Probe::Alignment];
        let training = Training { options, probes, ..Training::new(network.clone(), Length::Updates(100)) };
        let trained = training.run(&cpu(1), &data, &AtomicBool::new(false), &mut |_| ()).expect("training");
        trained.probed.last().expect("probed")[0].values.iter().map(|v| v.expect("an angle")).collect::<Vec<f64>>()
    };
    let decay = |share: f64| {
        move |o: &mut Options| {
            o.rule_options.insert("decay".into(), share);
        }
    };
    let kp = [angles("kp", &|_| {}), angles("kp", &decay(0.01))];
    let decayed = |o: &mut Options| (o.optimizer, o.weight_decay) = (Optimizer::Adamw, Some(1.0));
    for all in kp.iter().chain([&angles("fa", &decayed), &angles("kp", &decayed)]) {
        assert_eq!(all[0], 0.0, "{all:?}");
        assert!(all[1] > 10.0 && all[2] > 10.0, "the control: random feedback {all:?}");
    }
    assert_eq!(angles("zil", &decayed), [0.0; 3]);
}

/// With only the first of its three terms, the rule of local terms is feedback alignment bit for bit. With more terms it is not.
#[test]
fn the_first_local_term_is_feedback_alignment() {
    let network = net(&[23, 12, 9, 5], Activation::Tanh, true);
    let run = Run::new(&network, 7, 6, 930);
    for device in [cpu(1), gpu()] {
        let rule = |name: &str, oja: f64| {
            let rule = Rule::named(name).expect("a rule");
            run.train(
                &device,
                &plan(&network, rule, |o| {
                    o.alpha = 0.05;
                    if oja != 0.0 {
                        o.rule_options.insert("oja".into(), oja);
                    }
                }),
            )
        };
        let fa = rule("fa", 0.0);
        assert!(fa.bit_identical(&rule("local", 0.0)), "{}", device.kind());
        assert!(!fa.bit_identical(&rule("local", 0.1)), "{}", device.kind());
    }
}

/// The particle of an example is the state at the end of its last free phase. A second visit starts there, and a first one at 0.
/// Restoring saved weights also restores the particles.
#[test]
fn equilibrium_propagation_remembers_each_example() {
    let network = net(&[23, 12, 5], Activation::Sigmoid, true);
    let run = Run::new(&network, 4, 1, 940);
    let few = plan(&network, Rule::named("ep").expect("ep"), |o| {
        o.alpha = 1e-30; // the weights stay
        o.rule_options.insert("free".into(), 3.0);
    });
    let particle = few.find("particle", 0).expect("a particle");
    for device in [cpu(1), cpu(2), gpu()] {
        let resident = device.upload(&run.data).expect("upload");
        let mut session = device.session(&few, 4, &resident, &run.weights).expect("session");
        let free = |session: &mut zilch::device::BlockingSession, order: [u32; 4]| session.run(&order).expect("run");
        let score = |session: &mut zilch::device::BlockingSession| {
            session.score(zilch::data::Set::Train).expect("score").energy
        };
        let kept = |session: &mut zilch::device::BlockingSession| session.slot(particle).expect("slot").expect("kept");
        free(&mut session, [0, 1, 2, 3]);
        let (once, before) = (kept(&mut session), score(&mut session));
        free(&mut session, [3, 2, 1, 0]);
        let twice = kept(&mut session);
        let reversed = |m: &Array2<f64>| Array2::from_shape_fn(m.dim(), |(i, j)| m[(3 - i, j)]);
        assert_ne!(reversed(&twice), once, "{}: the relaxation continues", device.kind());
        // A new example starts at 0, in the same batch as one that continues.
        let mut other = device.session(&few, 4, &resident, &run.weights).expect("session");
        free(&mut other, [3, 2, 1, 0]);
        assert_eq!(kept(&mut other), reversed(&once), "{}: from 0, whatever the place in the batch", device.kind());
        session.restore();
        free(&mut session, [0, 1, 2, 3]);
        assert_eq!(kept(&mut session), once, "{}: as before the first update", device.kind());
        session.save();
        free(&mut session, [3, 2, 1, 0]);
        assert_eq!(kept(&mut session), twice, "{}: the second visit again", device.kind());
        session.restore();
        free(&mut session, [3, 2, 1, 0]);
        assert_eq!(kept(&mut session), twice, "{}: from what was saved, the same bits", device.kind());
        assert_eq!(score(&mut session), before, "{}: evaluation begins at 0", device.kind());
    }
}

/// Whether learning the backward weights turns the updates of target propagation towards BP's: the angles after some training.
#[test]
fn difference_reconstruction_turns_targets_towards_gradients() {
    use std::sync::atomic::AtomicBool;
    use zilch::train::probe::Probe;
    use zilch::train::{Length, Training};
    let data = Arc::new(Data::open("digits").expect("digits"));
    let network = net(&[784, 24, 20, 16, 10], Activation::Tanh, true);
    let angle = |inverse: &str, rate: f64| {
        let mut options = Options::new(Rule::named("dtp").expect("dtp"));
        (options.alpha, options.mean) = (0.02, true);
        let choice = options.rule.rule_options.iter().find(|c| c.name == "inverse").expect("an option");
        options.rule_options.insert("inverse".into(), choice.read(inverse).expect("a name"));
        options.rule_options.insert("inverse-lr".into(), rate);
        options.rule_options.insert("noise".into(), 0.1);
        let training = Training {
            options,
            initial: Some(Init::Orthogonal),
            probes: vec![Probe::Alignment],
            ..Training::new(network.clone(), Length::Updates(600))
        };
        let trained = training.run(&cpu(1), &data, &AtomicBool::new(false), &mut |_| ()).expect("training");
        let values = &trained.probed.last().expect("probed")[0].values;
        values.last().copied().flatten().expect("an angle")
    };
    let (differences, untaught) = (angle("difference", 200.0), angle("difference", 0.0));
    println!(
        "angle at the input's side: {differences:.1}° with difference reconstruction, {untaught:.1}° without learning"
    );
    assert!(differences < untaught - 20.0, "{differences} against {untaught}");
}
