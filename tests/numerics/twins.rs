//! The kernels' twins: every pass on the CPU and on the GPU against the same plan in float64, within a
//! forward-error bound computed for every single number; and what must hold to the bit on each device.

use crate::bounds::{Accuracy, Interpreter};
use crate::common::{Run, cpu, data, dataset, gpu, net, pair, plan, random, scheduled, weights};
use crate::float64::U;
use ndarray::{Array1, Array2};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::Set;
use zilch::device::gpu::{AdapterSummary, GpuDevice, Measured, Precision, TILES, Tiles, TuneFile};
use zilch::device::{BlockingSession, Device};
use zilch::measure::tune::Tuning;
use zilch::plan::SlotId;
use zilch::random::Random;
use zilch::rules::Phi;
use zilch::{Activation, Coords, Error, Network, Options, Plan, Rule, Schedule, Weights};

/// Around the widths of vectors, tiles and padding.
const SIZES: [usize; 10] = [1, 3, 4, 5, 31, 32, 33, 64, 65, 127];

/// Networks of one hidden layer, and batches, in which every size takes every part.
fn walk() -> impl Iterator<Item = ([usize; 3], usize)> {
    (0..10).map(|i| {
        let size = |step: usize, start: usize| SIZES[(step * i + start) % 10];
        ([size(1, 0), size(3, 1), size(7, 2)], size(9, 4))
    })
}

/// The worst error of each kind of number, as a share of its bound.
#[derive(Default)]
struct Worst(BTreeMap<String, f64>);

impl Worst {
    /// Asserts that `got` lies within its bound.
    fn check(&mut self, what: &str, name: &str, got: &Array2<f64>, want: &crate::bounds::Bounded) {
        assert_eq!(got.dim(), want.v.dim(), "{name}: shape of {what}");
        let mut share = 0.0f64;
        for ((at, got), (v, e)) in got.indexed_iter().zip(want.v.iter().zip(&want.e)) {
            let error = (got - v).abs();
            assert!(error <= *e, "{name}: {what} {at:?} is {got:e} and not {v:e}: off by {error:e}, bound {e:e}");
            share = share.max(if error == 0.0 { 0.0 } else { error / e });
        }
        let worst = self.0.entry(what.split('^').next().unwrap_or(what).into()).or_default();
        *worst = worst.max(share);
    }

    fn print(&self, device: &str) {
        for (what, share) in &self.0 {
            println!("{device}: {what} uses at most {share:.3} of its bound");
        }
    }
}

/// Every slot that can be read, and parameters, of a session and of its interpreter.
fn check(worst: &mut Worst, name: &str, session: &BlockingSession, reference: &Interpreter, plan: &Plan) {
    for (s, slot) in plan.slots.iter().enumerate().filter(|(_, slot)| slot.observed) {
        let wrote = plan.ops().any(|op| op.writes().any(|to| to == SlotId(s)));
        if let (true, Some(want)) = (wrote, reference.slot(SlotId(s))) {
            let got = session.slot(SlotId(s)).expect("slot").expect("it is kept");
            worst.check(&slot.symbol, name, &got, want);
        }
    }
    let weights = session.weights().expect("weights");
    let theta = weights.theta.iter().map(|t| ("θ^", t.mapv(f64::from)));
    let bias = weights.bias.iter().map(|b| ("b^", b.mapv(f64::from).insert_axis(ndarray::Axis(0))));
    for ((what, got), want) in theta.chain(bias).zip(reference.parameters()) {
        worst.check(what, name, &got, &want);
    }
}

/// The slots μ^l, x^l and ε^l of the layers below the input.
fn nodes(plan: &Plan) -> impl Iterator<Item = SlotId> + '_ {
    let layers = 0..plan.layers;
    layers.flat_map(move |l| ["mu", "x", "eps"].into_iter().filter_map(move |name| plan.find(name, l)))
}

/// Plans that end after each kind of pass, so that a bound holds few roundings but the pass's own; and whole
/// ones.
fn plans(network: &Network, alpha: f64, gamma: f64) -> Vec<(&'static str, Plan)> {
    let make = |rule: Rule, coords: Coords, td: u32| {
        plan(network, rule, |o| {
            (o.coords, o.alpha, o.td) = (coords, alpha, td);
            o.schedule = Some(Schedule::Full);
            o.gamma = (rule == Rule::IL).then_some(gamma);
            o.steps = (rule == Rule::IL).then_some(3);
        })
    };
    let (error, value) = (make(Rule::ZIL, Coords::Error, 4), make(Rule::ZIL, Coords::Value, 4));
    let mut moved = error.clone();
    moved.moments.truncate(error.until(0).moments.len());
    moved.moments.last_mut().expect("a moment").steps.iter_mut().for_each(|ops| ops.retain(|op| !op.changes_weights()));
    vec![
        ("predict", error.prediction()),
        ("error", error.until(0)),
        ("infer", moved),
        ("carried error", error.until(1)),
        ("error anew", value.until(1)),
        ("BP", make(Rule::BP, Coords::Error, 4)),
        ("IL", make(Rule::IL, Coords::Error, 4)),
        ("IL, value", make(Rule::IL, Coords::Value, 4)),
        ("Z-IL", error),
        ("Z-IL, value", value),
        ("Z-IL, frontier", scheduled(network, Rule::ZIL, Some(Schedule::Frontier), alpha)),
        ("Fa-Z-IL", make(Rule::FAZIL, Coords::Error, 1)),
        (
            "Fa-Z-IL, feedback",
            plan(network, Rule::FAZIL, |o| {
                (o.schedule, o.phi, o.alpha, o.td) = (Some(Schedule::Full), Phi::Feedback, alpha, 1);
            }),
        ),
        ("Fa-Z-IL, frontier", scheduled(network, Rule::FAZIL, Some(Schedule::Frontier), alpha)),
    ]
}

/// One update of `plan` on both devices, each within its bound, and so within both bounds of each other.
fn twins(worst: &mut [Worst; 2], name: &str, run: &Run, plan: &Plan) {
    let devices = [(cpu(1), Accuracy::CPU), (gpu(), Accuracy::GPU)];
    for (worst, (device, accuracy)) in worst.iter_mut().zip(devices) {
        let mut reference = Interpreter::new(plan, &run.weights, accuracy);
        reference.update(&run.data.train, &run.order);
        let name = format!("{} {name} {}", device.kind(), plan.task.title);
        check(worst, &name, &run.session(&device, plan), &reference, plan);
    }
}

fn walk_with(activation: Activation) {
    let mut worst = <[Worst; 2]>::default();
    for (i, (layers, batch)) in walk().enumerate() {
        let network = net(&layers, activation, i % 2 == 0);
        let run = Run::new(&network, batch, 1, 200 + i as u64);
        for (name, plan) in plans(&network, 0.01, 0.1) {
            twins(&mut worst, name, &run, &plan);
        }
    }
    worst[0].print(&format!("cpu {activation}"));
    worst[1].print(&format!("gpu {activation}"));
}

#[test]
fn sigmoid_twins_stay_within_the_forward_error_bound() {
    walk_with(Activation::Sigmoid);
}

#[test]
fn tanh_twins_stay_within_the_forward_error_bound() {
    walk_with(Activation::Tanh);
}

#[test]
fn relu_twins_stay_within_the_forward_error_bound() {
    walk_with(Activation::Relu);
}

#[test]
fn leaky_relu_twins_stay_within_the_forward_error_bound() {
    walk_with(Activation::LeakyRelu);
}

#[test]
fn identity_twins_stay_within_the_forward_error_bound() {
    walk_with(Activation::Identity);
}

/// Numbers of few bits: pixels 0 and 255, weights 0 and ±½. No sum rounds, in whatever order.
fn coarse(network: &Network, batch: usize, seed: u64) -> Run {
    let pixel = |r: &mut Random| if r.below(4) == 0 { 255 } else { 0 };
    let set = dataset(network, batch, seed, pixel);
    let mut r = random(seed, 4);
    let mut coarse = || [0.5f32, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0][r.below(8) as usize];
    let mut weights = Weights::zeros(network);
    weights.theta.iter_mut().for_each(|t| t.mapv_inplace(|_| coarse()));
    weights.bias.iter_mut().for_each(|b| b.mapv_inplace(|_| coarse()));
    Run { data: pair(set.clone(), set), weights, batch, order: (0..batch as u32).collect() }
}

/// Where nothing rounds, CPU, GPU and float64 are the same to the bit: no index may be off by one anywhere.
#[test]
fn twins_are_bit_identical_where_nothing_rounds() {
    let mut moved = 0;
    for (i, (layers, batch)) in walk().enumerate() {
        for (activation, deep) in [(Activation::Relu, true), (Activation::Identity, false)] {
            let [input, hidden, output] = layers;
            let layers = if deep { vec![input, SIZES[9 - i], hidden, output] } else { layers.to_vec() };
            let network = net(&layers, activation, i % 2 == 1);
            let run = coarse(&network, batch, 300 + i as u64);
            for (name, plan) in plans(&network, 1.0 / 16.0, 0.5) {
                // Steps of γ = ½, and more than one with weights that have moved, take more than 24 bits.
                let whole = ["Z-IL", "Z-IL, value"].contains(&name);
                if name.starts_with("IL") || ["Fa-Z-IL", "Fa-Z-IL, feedback"].contains(&name) || deep && whole {
                    continue;
                }
                let mut reference = Interpreter::new(&plan, &run.weights, Accuracy::EXACT);
                reference.update(&run.data.train, &run.order);
                for device in [cpu(1), gpu()] {
                    let session = run.session(&device, &plan);
                    let name = format!("{} {name} {network} {activation}, batch {batch}", device.kind());
                    check(&mut Worst::default(), &name, &session, &reference, &plan);
                    moved += usize::from(!session.weights().expect("weights").bit_identical(&run.weights));
                }
            }
        }
    }
    assert!(moved > 100, "only {moved} runs moved a weight");
}

/// Shapes that take the other paths: on the GPU a larger tile than the smallest (96 of them in a launch), on the CPU
/// the library's products (more than 2¹⁷ weights) and elementwise loops shared out (2¹⁶ numbers).
fn large() -> [(&'static str, Vec<usize>, usize); 3] {
    [
        ("predictions and feedback", vec![5, 630, 3], 630),
        ("updates", vec![630, 629, 3], 3),
        ("weights in the middle", vec![5, 450, 449, 3], 65),
    ]
}

#[test]
fn large_products_stay_within_the_forward_error_bound() {
    let mut worst = <[Worst; 2]>::default();
    for (i, (name, layers, batch)) in large().into_iter().enumerate() {
        let network = net(&layers, Activation::Sigmoid, true);
        let run = Run::new(&network, batch, 1, 400 + i as u64);
        for rule in [Rule::BP, Rule::FAZIL] {
            twins(&mut worst, name, &run, &scheduled(&network, rule, None, 1e-3));
        }
        let run = coarse(&net(&layers, Activation::Relu, true), batch, 410 + i as u64);
        let plan = scheduled(&net(&layers, Activation::Relu, true), Rule::BP, None, 1.0 / 16.0);
        let mut reference = Interpreter::new(&plan, &run.weights, Accuracy::EXACT);
        reference.update(&run.data.train, &run.order);
        for device in [cpu(1), cpu(2), gpu()] {
            check(&mut Worst::default(), name, &run.session(&device, &plan), &reference, &plan);
        }
    }
    worst[0].print("cpu, large");
    worst[1].print("gpu, large");
}

/// Neither the tile nor the rest of the batch shows in a prediction's bits.
#[test]
fn gpu_predictions_do_not_depend_on_tile_and_batch() {
    let network = net(&[33, 630, 3], Activation::Tanh, true);
    let all = Run::new(&network, 630, 1, 420);
    let forward = scheduled(&network, Rule::BP, None, 1.0).prediction();
    let few =
        Run { batch: 5, order: all.order[..5].to_vec(), data: Arc::clone(&all.data), weights: all.weights.clone() };
    let (large, small) = (all.session(&gpu(), &forward), few.session(&gpu(), &forward));
    let mu = forward.output;
    let [large, small] = [&large, &small].map(|session| session.slot(mu).expect("slot").expect("it is kept"));
    assert_eq!(large.slice(ndarray::s![..5, ..]), small, "μ^0");
}

/// Every tile gives the bits of the default ones, which the tests above hold to float64: with every rule, in launches
/// of one layer and of several, on networks that are smaller than a tile, larger, and no multiple of any.
#[test]
fn gpu_tiles_do_not_show_in_the_bits() {
    let gpu = gpu().as_gpu().expect("a GPU").clone();
    let mut chosen = std::collections::BTreeSet::new();
    for (i, (layers, batch)) in [(vec![133, 70, 261, 9], 131), (vec![5, 3, 2, 3], 2)].into_iter().enumerate() {
        let network = net(&layers, Activation::Sigmoid, i == 0);
        let run = Run::new(&network, batch, 2, 430 + i as u64);
        let data = gpu.upload(&run.data).expect("upload");
        for rule in Rule::PAPER {
            // More steps of IL would be the same launches again.
            let plan = plan(&network, rule, |o| {
                o.schedule = (rule != Rule::BP).then_some(Schedule::Full);
                (o.alpha, o.steps) = (0.01, (rule == Rule::IL).then_some(3));
            });
            let run_with = |tiles: &Tiles| {
                let session = gpu.session_with(&plan, batch, Arc::clone(&data), &run.weights, tiles);
                let mut session = BlockingSession::from(session.expect("session"));
                session.run(&run.order).expect("run");
                session
            };
            let mut default = run_with(&Tiles::Default);
            let weights = default.weights().expect("weights");
            assert!(!weights.bit_identical(&run.weights), "the updates change something");
            let values: Vec<_> = nodes(&plan).map(|slot| (slot, default.slot(slot).expect("slot"))).collect();
            let score = default.score(Set::Train).expect("score");
            for (j, tile) in TILES.into_iter().enumerate() {
                // One tile for everything, and a mixture: another for each product.
                let mixture = |(i, shape)| (shape, TILES[(i + j) % TILES.len()]);
                let measured = Tuning { network: network.clone(), batch, seconds: 1.0 }.shapes();
                let measured = measured.into_iter().enumerate().map(mixture).collect();
                for tiles in [Tiles::All(tile), Tiles::Measured(measured)] {
                    let name = format!("{} of {network} by {tile}", rule.title());
                    let mut session = run_with(&tiles);
                    assert!(weights.bit_identical(&session.weights().expect("weights")), "{name}");
                    for (slot, value) in &values {
                        assert_eq!(*value, session.slot(*slot).expect("slot"), "{name}: {}", plan.slot(*slot).symbol);
                    }
                    assert_eq!(score, session.score(Set::Train).expect("score"), "{name}");
                    if let Tiles::All(_) = tiles {
                        assert!(session.tiles().iter().all(|u| u.tile == tile.to_string() && !u.measured), "{name}");
                    } else {
                        assert!(session.tiles().iter().all(|u| u.measured), "{name}");
                    }
                    chosen.extend(session.tiles().iter().map(|u| u.tile.clone()));
                }
            }
        }
    }
    assert_eq!(chosen.len(), TILES.len(), "every tile was in use");
}

/// What was measured is remembered for its adapter, driver and shaders, beside what was known, and a session takes it.
#[test]
fn tuned_tiles_are_remembered_and_taken() {
    let gpu = gpu().as_gpu().expect("a GPU").clone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new").join("tune.json");
    let mut file = TuneFile::at(path.clone()).expect("a file that is not there is empty");
    assert_eq!((file.holds(gpu.summary()), file.path()), (0, Some(path.as_path())));
    let tune = |layers: &[usize]| {
        let tuning = Tuning { network: net(layers, Activation::Tanh, false), batch: 5, seconds: 1e-3 };
        let mut told = Vec::new();
        let tuned = tuning.run(&gpu, &AtomicBool::new(false), &mut |line| told.push(line.to_owned())).expect("tuned");
        assert_eq!((tuned.len(), told.len()), (tuning.shapes().len(), tuned.len()));
        tuned
    };
    let mut tuned = tune(&[9, 7, 3]);
    for product in &tuned {
        assert_eq!(product.tiles.len(), TILES.len());
        let sound = |m: &Measured| 0.0 < m.q1_us && m.q1_us <= m.median_us && m.median_us <= m.q3_us && m.rounds >= 5;
        assert!(product.tiles.iter().all(sound), "{product:?}");
        assert!(product.winner().median_us <= product.default().median_us, "{product:?}");
    }
    // As if one had won that is not the default.
    tuned.iter_mut().for_each(|t| t.winner = TILES[2].to_string());
    file.remember(gpu.summary(), &tuned).expect("written");
    file.remember(gpu.summary(), &tune(&[4, 6])).expect("written");
    let file = TuneFile::at(path).expect("what was written is read");
    assert_eq!((file.holds(gpu.summary()), tuned.len()), (5 + 2, 5));
    for other in [
        AdapterSummary { name: "another".into(), ..gpu.summary().clone() },
        AdapterSummary { driver_info: "another".into(), ..gpu.summary().clone() },
    ] {
        assert_eq!((file.holds(&other), file.tiles(&other).len()), (0, 0));
    }
    let network = net(&[9, 7, 3], Activation::Sigmoid, true);
    let run = Run::new(&network, 5, 3, 440);
    let plan = scheduled(&network, Rule::ZIL, None, 0.1);
    let data = gpu.upload(&run.data).expect("upload");
    let [plain, tuned] = [Tiles::Default, Tiles::Measured(file.tiles(gpu.summary()))].map(|tiles| {
        let mut session = BlockingSession::from(
            gpu.session_with(&plan, 5, Arc::clone(&data), &run.weights, &tiles).expect("session"),
        );
        session.run(&run.order).expect("run");
        let mut names: Vec<String> = session.tiles().iter().map(|u| u.tile.clone()).collect();
        names.dedup();
        (names, session.weights().expect("weights"))
    });
    assert_eq!((plain.0, tuned.0), (vec![TILES[0].to_string()], vec![TILES[2].to_string()]));
    assert!(plain.1.bit_identical(&tuned.1));
}

/// Mixed precision: every product within the forward-error bound of float16 operands and float32 sums, on the matrix
/// units where the adapter has them, and on emulated ones everywhere, which run the same kernels around them.
#[test]
fn mixed_products_stay_within_the_forward_error_bound() {
    let network = net(&[75, 69, 37, 6], Activation::Sigmoid, true);
    let run = Run::new(&network, 67, 3, 450);
    let plan = scheduled(&network, Rule::FAZIL, None, 0.01);
    let exact = run.train(&gpu(), &plan);
    let float32 = gpu().as_gpu().expect("a GPU").clone();
    let share32 = float32.cross_check().expect("checked");
    println!("float32 uses at most {share32:.4} of the bound for float16");
    assert!(share32 < 0.05, "{share32}");
    let mut devices = vec![
        GpuDevice::open_emulated(None, true, 8).expect("a device"),
        GpuDevice::open_emulated(None, true, 16).expect("a device"),
    ];
    match GpuDevice::open_mixed(None, true) {
        Ok(device) => devices.push(device),
        Err(Error::NoDevice(why)) => eprintln!("matrix units were not tested: {why}"),
        Err(error) => panic!("{error}"),
    }
    for device in devices {
        assert_eq!(device.precision(), Precision::Mixed);
        let share = device.cross_check().expect("checked");
        println!("mixed precision uses at most {share:.4} of the bound for float16");
        // More than float32, or nothing was rounded; and no more than the bound.
        assert!(share <= 1.0 && share > 4.0 * share32, "{share}");
        let mixed = run.train(&Device::from(device), &plan);
        let (apart, moved) = (mixed.distance(&exact), exact.distance(&run.weights));
        assert!(0.0 < apart && apart < 0.02 * moved, "{apart:e} of {moved:e}");
    }
    assert!(matches!(GpuDevice::open_emulated(None, true, 4), Err(Error::Usage(_))));
}

#[test]
fn the_same_run_gives_the_same_sha256_twice() {
    for device in [cpu(1), cpu(2), gpu()] {
        for rule in Rule::PAPER {
            let network = net(&[37, 31, 18, 9, 7], Activation::Tanh, true);
            let run =
                || Run::new(&network, 13, 50, 500).train(&device, &scheduled(&network, rule, None, 0.01)).sha256();
            assert_eq!(run(), run(), "{} {}", device.kind(), rule.title());
        }
    }
}

#[test]
fn threads_do_not_show_in_the_bits() {
    let small = [("small", vec![37, 31, 18, 7], 13)];
    for (i, (name, layers, batch)) in large().into_iter().chain(small).enumerate() {
        let network = net(&layers, Activation::Sigmoid, true);
        let run = Run::new(&network, batch, 3, 510 + i as u64);
        for rule in [Rule::BP, Rule::ZIL, Rule::FAZIL] {
            let plan = scheduled(&network, rule, Some(Schedule::Full), 1e-3);
            let [one, two, three] = [1, 2, 3].map(|threads| run.train(&cpu(threads), &plan));
            assert!(one.bit_identical(&two), "{name}: {:e} apart", one.distance(&two));
            assert!(one.bit_identical(&three), "{name}: {:e} apart", one.distance(&three));
        }
    }
}

/// A small network's batch is cut into shards, and made by one thread or by several, as it pays: 260 updates are
/// enough for trials of both ways.
#[test]
fn shards_do_not_show_in_the_bits() {
    type Change = fn(&mut Options);
    let cases: [(Rule, Schedule, Change); 7] = [
        (Rule::BP, Schedule::Frontier, |_| {}),
        (Rule::IL, Schedule::Frontier, |o| o.steps = Some(5)),
        (Rule::IL, Schedule::Full, |o| (o.steps, o.coords) = (Some(5), Coords::Value)),
        (Rule::ZIL, Schedule::Full, |_| {}),
        (Rule::ZIL, Schedule::Full, |o| (o.sigma, o.seed) = (0.1, 3)),
        (Rule::FAZIL, Schedule::Full, |o| o.phi = Phi::Feedback),
        (Rule::FAZIL, Schedule::Frontier, |o| (o.td, o.coords) = (2, Coords::Value)),
    ];
    let network = net(&[37, 31, 18, 9, 7], Activation::Sigmoid, true);
    for (i, batch) in [20, 27, 64].into_iter().enumerate() {
        let run = Run::new(&network, batch, 260, 530 + i as u64);
        for (rule, schedule, change) in cases {
            let plan = plan(&network, rule, |o| {
                (o.schedule, o.alpha) = (Some(schedule), 0.01);
                change(o);
            });
            let [one, two, three] = [1, 2, 3].map(|threads| run.train(&cpu(threads), &plan));
            let name = format!("{} {} batch {batch}", rule.title(), schedule.name());
            assert!(one.bit_identical(&two), "{name}, 2 threads: {:e} apart", one.distance(&two));
            assert!(one.bit_identical(&three), "{name}, 3 threads: {:e} apart", one.distance(&three));
        }
    }
}

/// The GPU puts as many updates into a submission as time allows; how many must not show. Samples that fill
/// no batch are left over.
#[test]
fn submissions_do_not_show_in_the_bits() {
    let network = net(&[37, 19, 7], Activation::Sigmoid, true);
    let run = Run::new(&network, 11, 150, 520);
    for device in [cpu(1), gpu()] {
        for rule in [Rule::BP, Rule::IL, Rule::FAZIL] {
            let plan = scheduled(&network, rule, None, 0.01);
            let at_once = run.train(&device, &plan);
            let resident = device.upload(&run.data).expect("upload");
            let mut session = device.session(&plan, run.batch, &resident, &run.weights).expect("session");
            for order in run.order.chunks(run.batch) {
                session.run(order).expect("run");
            }
            session.run(&run.order[..run.batch - 1]).expect("too few for a batch");
            session.run(&[]).expect("none");
            let one_by_one = session.weights().expect("weights");
            assert!(at_once.bit_identical(&one_by_one), "{} {}", device.kind(), rule.title());
            if session.as_gpu().is_some() {
                assert_eq!((session.updates(), session.submissions()), (150, 150));
            }
        }
    }
}

#[test]
fn saved_weights_come_back_bit_for_bit() {
    for bias in [false, true] {
        let network = net(&[21, 10, 6], Activation::Sigmoid, bias);
        let run = Run::new(&network, 9, 5, 530);
        for device in [cpu(1), gpu()] {
            let plan = scheduled(&network, Rule::ZIL, None, 0.05);
            let mut session = run.session(&device, &plan);
            let kept = session.weights().expect("weights");
            session.save();
            session.run(&run.order).expect("run");
            let later = session.weights().expect("weights");
            assert!(!kept.bit_identical(&later));
            session.restore();
            assert!(kept.bit_identical(&session.weights().expect("weights")), "{}", device.kind());
            // A session that has come back goes the same way again: nothing else was state.
            session.run(&run.order).expect("run");
            assert!(later.bit_identical(&session.weights().expect("weights")), "{}", device.kind());
            // Loading forgets what was saved.
            session.load(&run.weights);
            session.run(&run.order).expect("run");
            assert!(kept.bit_identical(&session.weights().expect("weights")), "{}", device.kind());
            session.restore();
            assert!(run.weights.bit_identical(&session.weights().expect("weights")), "{}", device.kind());
        }
    }
}

#[test]
fn not_finite_finds_every_layer() {
    for bias in [false, true] {
        let network = net(&[33, 65, 17, 5], Activation::Sigmoid, bias);
        let run = Run::new(&network, 4, 0, 540);
        for device in [cpu(1), gpu()] {
            let mut session = run.session(&device, &scheduled(&network, Rule::BP, None, 0.1));
            assert_eq!(session.not_finite().expect("check"), None);
            for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                for l in 1..=3 {
                    let name = format!("{} {bad} in layer {l}", device.kind());
                    let (rows, cols) = run.weights.theta[l - 1].dim();
                    for at in [(0, 0), (rows - 1, cols - 1), (rows / 2, cols / 2)] {
                        let mut weights = run.weights.clone();
                        weights.theta[l - 1][at] = bad;
                        if let Some(later) = weights.theta.get_mut(l) {
                            later[(0, 0)] = bad;
                        }
                        session.load(&weights);
                        assert_eq!(session.not_finite().expect("check"), Some((l, "the weights")), "{name} {at:?}");
                        assert_eq!(weights.not_finite(), Some((l, "the weights")));
                    }
                    if bias {
                        for at in [0, rows - 1] {
                            let mut weights = run.weights.clone();
                            weights.bias[l - 1][at] = bad;
                            session.load(&weights);
                            assert_eq!(session.not_finite().expect("check"), Some((l, "the biases")), "{name} {at}");
                        }
                    }
                }
            }
            // The largest numbers are still numbers.
            let mut weights = run.weights.clone();
            weights.theta[1][(0, 0)] = f32::MAX;
            weights.theta[2][(0, 0)] = f32::MIN;
            session.load(&weights);
            assert_eq!(session.not_finite().expect("check"), None);
        }
    }
}

/// A learning rate far too large ends in numbers that are none, on either device.
#[test]
fn divergence_is_found() {
    let network = net(&[33, 17, 5], Activation::Identity, false);
    let run = Run::new(&network, 8, 200, 550);
    for device in [cpu(1), gpu()] {
        let session = run.session(&device, &scheduled(&network, Rule::ZIL, None, 1e6));
        assert!(session.not_finite().expect("check").is_some(), "{}", device.kind());
    }
}

/// Every sample counts once, whatever the set leaves of the last batch of 256.
#[test]
fn evaluations_agree_and_drop_no_sample() {
    for (i, (train, test)) in [(1, 600), (255, 256), (257, 513), (64, 65), (63, 1)].into_iter().enumerate() {
        let network = net(&[29, 18, 7], Activation::Tanh, i % 2 == 0);
        let data = data(&network, train, test, 600 + i as u64);
        let weights = weights(&network, 600 + i as u64);
        let plan = scheduled(&network, Rule::BP, None, 0.1);
        for (device, accuracy) in [(cpu(2), Accuracy::CPU), (gpu(), Accuracy::GPU)] {
            let resident = device.upload(&data).expect("upload");
            let mut session = device.session(&plan, 3, &resident, &weights).expect("session");
            // To and fro: a device may keep what it made for one set.
            for (set, samples) in [(Set::Test, test), (Set::Train, train), (Set::Test, test)] {
                let name = format!("{} {samples} samples", device.kind());
                let score = session.score(set).expect("score");
                assert_eq!(score.samples, samples as u64, "{name}");
                let set = data.set(set);
                let mut reference = Interpreter::new(&plan.prediction(), &weights, accuracy);
                reference.update(set, &(0..samples as u32).collect::<Vec<_>>());
                let mu = reference.slot(plan.output).expect("μ^0");
                let (mut energy, mut slack, mut wrong, mut unsure) = (0.0, 0.0, 0, 0);
                for (row, &label) in set.labels().iter().enumerate() {
                    let label = usize::from(label);
                    let (v, e) = (mu.v.row(row), mu.e.row(row));
                    for j in 0..v.len() {
                        let off = f64::from(u8::from(j == label)) - v[j];
                        energy += 0.5 * off * off;
                        slack += off.abs() * e[j] + 0.5 * e[j] * e[j];
                    }
                    let others = |s: f64| (0..v.len()).filter(move |j| *j != label).map(move |j| v[j] + s * e[j]);
                    let surely = others(-1.0).any(|o| o > v[label] + e[label]);
                    wrong += u64::from(surely);
                    unsure += u64::from(!surely && others(1.0).any(|o| o >= v[label] - e[label]));
                }
                // A sum of at most 7 outputs and 64 samples in one go, 5 operations a term.
                slack += (7.0 + 64.0 + 5.0) * 2.0 * U * energy;
                assert!((score.energy - energy).abs() <= slack, "{name}: energy {} for {energy}", score.energy);
                assert!((wrong..=wrong + unsure).contains(&score.errors), "{name}: {} for {wrong}", score.errors);
                assert!(unsure <= 1, "{name}: the test's own numbers leave {unsure} samples open");
            }
        }
    }
}

/// Of equal outputs the first is the answer; an output that is no number is none.
#[test]
fn ties_and_nan_are_scored_alike() {
    let network = net(&[12, 6, 5], Activation::Sigmoid, true);
    let data = data(&network, 300, 10, 610);
    let plan = scheduled(&network, Rule::BP, None, 0.1);
    let not_zero = data.train.labels().iter().filter(|l| **l != 0).count() as u64;
    for device in [cpu(1), gpu()] {
        let resident = device.upload(&data).expect("upload");
        let mut session = device.session(&plan, 3, &resident, &Weights::zeros(&network)).expect("session");
        let score = session.score(Set::Train).expect("score");
        assert_eq!((score.samples, score.errors, score.energy), (300, not_zero, 150.0), "{}", device.kind());
        let mut weights = weights(&network, 610);
        weights.bias[0] = Array1::from_elem(5, f32::NAN);
        session.load(&weights);
        assert_eq!(session.score(Set::Train).expect("score").errors, 300, "{}", device.kind());
    }
}

/// CPU and GPU stay together over many updates too.
#[test]
fn cpu_and_gpu_stay_together_over_200_updates() {
    let network = net(&[37, 31, 18, 7], Activation::Sigmoid, true);
    let run = Run::new(&network, 13, 200, 620);
    let plan = scheduled(&network, Rule::ZIL, None, 0.01);
    let (a, b) = (run.train(&cpu(1), &plan), run.train(&gpu(), &plan));
    let (theta, bias) = run.train64(&plan);
    let rounded = Weights {
        theta: theta.iter().map(|t| t.mapv(|v| v as f32)).collect(),
        bias: bias.iter().map(|b| b.mapv(|v| v as f32)).collect(),
    };
    let (apart, cpu_off, gpu_off) = (a.distance(&b), a.distance(&rounded), b.distance(&rounded));
    println!("after 200 updates: CPU to GPU {apart:.2e}, CPU to float64 {cpu_off:.2e}, GPU to float64 {gpu_off:.2e}");
    // One rounding of every weight an update, all of them in one direction.
    let bound = 200.0 * U * rounded.distance(&Weights::zeros(&network));
    assert!(cpu_off < bound && gpu_off < bound && apart < bound, "bound {bound:e}");
}
