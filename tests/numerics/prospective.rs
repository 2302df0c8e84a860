//! Inference until values settle: the options of IL, iPC, ePC, the order of samples, and the exact experiments of Song et al. (2024).
//! `tests/numerics/family.rs` checks that each rule follows its equations.

use crate::common::{Run, cpu, cpu_device, data, gpu, net, plan, weights};
use crate::float64::relative;
use ndarray::{Array2, ArrayView1};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::tasks::{Subset, Task, Tasks, Tested};
use zilch::data::{Data, Set};
use zilch::device::Device;
use zilch::network::Init;
use zilch::plan::expr::arriving;
use zilch::plan::{Feed, Source};
use zilch::rules::builder::{Chain, op};
use zilch::rules::{Loss, Optimizer};
use zilch::train::probe::Probe;
use zilch::train::{Length, Trained, Training};
use zilch::{Activation, Network, Options, Plan, Rule, Schedule, Weights};

fn rule(name: &str) -> Rule {
    Rule::named(name).expect("a rule")
}

/// A rule's plan with its own options, written as on the command line.
fn with(network: &Network, name: &str, rule_options: &[(&str, &str)], change: impl FnOnce(&mut Options)) -> Plan {
    plan(network, rule(name), |options| {
        for (name, text) in rule_options {
            let choice = options.rule.rule_options.iter().find(|c| c.name == *name).expect("an option");
            options.rule_options.insert((*name).into(), choice.read(text).expect("a value"));
        }
        change(options);
    })
}

#[test]
fn a_discount_counts_only_where_the_energy_does_not_fall() {
    let network = net(&[11, 7, 6, 3], Activation::Tanh, true);
    let run = Run::new(&network, 5, 4, 1000);
    for device in [cpu(1), gpu()] {
        let falling = |rule_options: &[(&str, &str)], gamma: f64| {
            run.train(
                &device,
                &with(&network, "il", rule_options, |o| {
                    (o.gamma, o.steps, o.schedule) = (Some(gamma), Some(8), Some(Schedule::Full));
                }),
            )
        };
        let (plain, discounted) = (falling(&[], 0.05), falling(&[("discount", "0.5")], 0.05));
        assert!(plain.bit_identical(&discounted), "{}: {:e}", device.kind(), plain.distance(&discounted));
        let (plain, discounted) = (falling(&[], 1.0), falling(&[("discount", "0.5")], 1.0));
        assert!(plain.distance(&discounted) > 1e-4, "the control: an energy that rises");
    }
}

#[test]
fn nodes_after_f_are_another_energy() {
    let network = net(&[11, 7, 6, 3], Activation::Sigmoid, true);
    let run = Run::new(&network, 5, 3, 1010);
    let train =
        |rule_options: &[(&str, &str)]| run.train(&cpu(1), &with(&network, "il", rule_options, |o| o.alpha = 0.1));
    assert!(train(&[("nodes", "post")]).distance(&train(&[])) > 1e-4);
    // If f is the identity, nodes before and after f are the same.
    let network = net(&[11, 7, 6, 3], Activation::Identity, true);
    let run = Run::new(&network, 5, 3, 1011);
    let train = |rule_options: &[(&str, &str)]| {
        run.train64(&with(&network, "il", rule_options, |o| o.schedule = Some(Schedule::Full)))
    };
    let (post, plain) = (train(&[("nodes", "post")]), train(&[]));
    let apart = (&post.0[1] - &plain.0[1]).iter().fold(0.0f64, |m, d| m.max(d.abs()));
    assert!(apart < 1e-14, "{apart:e}");
}

#[test]
fn one_step_of_ipc_is_il_without_steps() {
    let network = net(&[11, 7, 6, 3], Activation::Tanh, true);
    let run = Run::new(&network, 5, 3, 1020);
    for device in [cpu(1), gpu()] {
        let train = |name: &str, steps: u32| run.train(&device, &with(&network, name, &[], |o| o.steps = Some(steps)));
        let (ipc, il) = (train("ipc", 1), train("il", 0));
        assert!(ipc.bit_identical(&il), "{}: {:e}", device.kind(), ipc.distance(&il));
        assert!(train("ipc", 3).distance(&train("il", 2)) > 1e-5, "the control");
    }
}

/// e^l = λ δ^l after one step. It is bit-identical if λ is a power of 2, and then also the update of the weights that see the input.
#[test]
fn one_step_of_epc_teaches_the_first_weights_what_bp_does() {
    let network = net(&[11, 7, 6, 3], Activation::Tanh, true);
    let run = Run::new(&network, 5, 1, 1030);
    for device in [cpu(1), gpu()] {
        let bp = run.train(&device, &plan(&network, Rule::BP, |o| o.alpha = 0.01));
        let epc = |rule_options: &[(&str, &str)], alpha: f64, gamma: f64| {
            let step = |o: &mut Options| (o.alpha, o.gamma, o.steps) = (alpha, Some(gamma), Some(1));
            run.train(&device, &with(&network, "epc", rule_options, step))
        };
        for (name, epc) in
            [("twice the rate", epc(&[], 0.02, 0.5)), ("scaled", epc(&[("energy-scale", "on")], 0.01, 0.25))]
        {
            assert_eq!(epc.theta[2], bp.theta[2], "{}, {name}: θ^3", device.kind());
            assert_eq!(epc.bias[2], bp.bias[2], "{}, {name}: b^3", device.kind());
            let apart = (&epc.theta[1] - &bp.theta[1]).iter().fold(0.0f32, |m, d| m.max(d.abs()));
            assert!(apart > 1e-6, "the control: layers in between see values that moved");
        }
        assert_ne!(epc(&[], 0.02, 0.25).theta[2], bp.theta[2], "the control: another λ");
    }
}

/// As λT goes to 0, scaled errors become BP's, and so do the updates of all layers, including θ^1, whose ε^0 is not scaled by λ.
#[test]
fn scaled_epc_is_bp_where_inference_is_short() {
    let network = net(&[11, 7, 6, 3], Activation::Tanh, true);
    let run = Run::new(&network, 5, 1, 1035);
    let bp = run.change64(&plan(&network, Rule::BP, |o| o.alpha = 0.01));
    for steps in [1, 3] {
        let short = |o: &mut Options| (o.alpha, o.gamma, o.steps) = (0.01, Some(1e-7), Some(steps));
        let epc = run.change64(&with(&network, "epc", &[("energy-scale", "on")], short));
        for (i, (epc, bp)) in epc.iter().zip(&bp).enumerate() {
            let off = relative(std::slice::from_ref(epc), std::slice::from_ref(bp));
            assert!(off < 1e-5, "{steps} steps, array {i}: off by {off:e}");
        }
    }
}

/// At equilibrium the energy of a linear chain is ½ rᵀ S⁻¹ r, S = 1 + Σ P_l P_lᵀ, whether values or errors settle.
#[test]
fn linear_chains_settle_at_the_energy_from_algebra() {
    let energy = |layers: &[usize], weights: &Weights, name: &str, target: u8| -> f64 {
        let network = net(layers, Activation::Identity, false);
        let set = zilch::data::Dataset::new(
            std::path::Path::new("one"),
            Array2::from_elem((1, layers[0]), 255),
            vec![target],
            1,
            layers[0],
        );
        let set = set.expect("a set");
        let plan = with(&network, name, &[], |o| (o.gamma, o.steps, o.alpha) = (Some(0.02), Some(4000), 1e-30));
        let data = crate::common::pair(set.clone(), set);
        let mut session = cpu_device(1).session_f64(&plan, 1, data, weights).expect("a session");
        session.run(&[0]);
        let squares = |l: usize| -> f64 {
            let eps = session.slot(plan.find("eps", l).expect("ε")).expect("kept");
            eps.iter().map(|e| e * e).sum()
        };
        (0..network.lmax()).map(squares).sum::<f64>() / 2.0
    };
    for name in ["il", "epc"] {
        // x = 1, weights 2 and 3, y = 1: r = −5, S = 1 + 9.
        let theta = vec![Array2::from_elem((1, 1), 3.0), Array2::from_elem((1, 1), 2.0)];
        let scalar = energy(&[1, 1, 1], &Weights { theta, bias: Vec::new() }, name, 0);
        assert!((scalar - 1.25).abs() < 1e-9, "{name}: {scalar}");

        let network = net(&[4, 3, 2, 2], Activation::Identity, false);
        let drawn = weights(&network, 1040);
        let of = |l: usize| drawn.theta[l - 1].mapv(f64::from);
        let (p1, p2) = (of(1), of(1).dot(&of(2)));
        let r = Array2::from_shape_vec((2, 1), vec![0.0, 1.0]).expect("y") - p2.dot(&of(3)).dot(&Array2::ones((4, 1)));
        let s: Array2<f64> = Array2::eye(2) + p1.dot(&p1.t()) + p2.dot(&p2.t());
        let determinant = s[(0, 0)] * s[(1, 1)] - s[(0, 1)] * s[(1, 0)];
        let quadratic = s[(1, 1)] * r[(0, 0)] * r[(0, 0)] - 2.0 * s[(0, 1)] * r[(0, 0)] * r[(1, 0)]
            + s[(0, 0)] * r[(1, 0)] * r[(1, 0)];
        let want = 0.5 * quadratic / determinant;
        let found = energy(&[4, 3, 2, 2], &drawn, name, 1);
        assert!((found - want).abs() < 1e-9 * want, "{name}: {found} for {want}");
    }
}

#[test]
fn a_batch_passed_as_arrays_is_the_same_update() {
    let network = net(&[11, 7, 6, 3], Activation::Sigmoid, true);
    let run = Run::new(&network, 5, 2, 1050);
    let image = |i: &u32| run.data.train.images().row(*i as usize).mapv(|p| f32::from(p) / 255.0);
    for device in [cpu(1), cpu(2), gpu()] {
        for name in ["zil", "ipc"] {
            let plan = with(&network, name, &[], |o| o.optimizer = Optimizer::Adam);
            let resident = device.upload(&run.data).expect("upload");
            let mut session = device.session(&plan, 5, &resident, &run.weights).expect("session");
            for order in run.order.chunks(5) {
                let mut inputs = Array2::zeros((5, 11));
                let mut targets = Array2::zeros((5, 3));
                for (i, sample) in order.iter().enumerate() {
                    inputs.row_mut(i).assign(&image(sample));
                    targets[(i, usize::from(run.data.train.labels()[*sample as usize]))] = 1.0;
                }
                session.step(&inputs, &targets).expect("a step");
            }
            let (a, b) = (session.weights().expect("weights"), run.train(&device, &plan));
            assert!(a.bit_identical(&b), "{} {name}: {:e}", device.kind(), a.distance(&b));
            let wrong = session.step(&Array2::zeros((5, 10)), &Array2::zeros((5, 3)));
            assert!(wrong.expect_err("refused").to_string().contains("(5, 11)"));
            session
                .step(&Array2::zeros((5, 11)), &Array2::from_elem((5, 3), 0.25))
                .expect("targets that are no labels");
            assert!(session.weights().expect("weights").distance(&b) > 0.0);
        }
    }
    let ep = plan(&rule("ep").suited(network.clone()), rule("ep"), |_| ());
    let resident = cpu(1).upload(&run.data).expect("upload");
    let mut session = cpu(1).session(&ep, 5, &resident, &run.weights).expect("session");
    let refused = session.step(&Array2::zeros((5, 11)), &Array2::zeros((5, 3))).expect_err("refused");
    assert!(refused.to_string().contains("does not say which examples"));
}

/// BP whose δ^1 is multiplied by an array that the caller passes with each mini-batch.
fn gated(network: &Network) -> Plan {
    let mut p = Chain::new(network, &Options { alpha: 0.1, ..Options::new(Rule::BP) });
    let gain = p.units("gain", "gain", 1);
    p.plan.feeds.push(Feed { slot: gain, source: Source::Array("gain".into()) });
    p.predict_all();
    p.backward_pass(|p, l| {
        let delta = p.slope(l) * arriving();
        let delta = if l == 1 { delta * gain } else { delta };
        op("gated", p.backward(l, p.theta(l)), [(p.eps(l), delta)])
    });
    p.plan.check().expect("a plan");
    p.plan
}

/// A slot can be fed from an array with any name. An array of 1 gives BP bit for bit; 0 leaves the weights before it unchanged; a data
/// set, which has no such array, is refused.
#[test]
fn a_plan_is_fed_from_arrays_by_name() {
    let network = net(&[11, 7, 3], Activation::Tanh, false);
    let run = Run::new(&network, 5, 1, 1060);
    let bp = plan(&network, Rule::BP, |o| o.alpha = 0.1);
    let inputs = Array2::from_shape_fn((5, 11), |(i, j)| (i * 11 + j) as f32 / 64.0);
    let targets = Array2::from_shape_fn((5, 3), |(i, j)| f32::from(u8::from(i % 3 == j)));
    for device in [cpu(1), cpu(2), gpu()] {
        let resident = device.upload(&run.data).expect("upload");
        let session = |plan: &Plan| device.session(plan, 5, &resident, &run.weights).expect("a session");
        let fed = |gain: f32| {
            let (mut session, gain) = (session(&gated(&network)), Array2::from_elem((5, 7), gain));
            let arrays = [("input", inputs.view()), ("target", targets.view()), ("gain", gain.view())];
            session.step_with(&arrays).expect("a step");
            session.weights().expect("weights")
        };
        let mut plain = session(&bp);
        plain.step(&inputs, &targets).expect("a step");
        let plain = plain.weights().expect("weights");
        assert!(fed(1.0).bit_identical(&plain), "{}", device.kind());
        let still = fed(0.0);
        assert!(still.theta[1] == run.weights.theta[1] && still.theta[0] == plain.theta[0], "{}", device.kind());
        let mut session = session(&gated(&network));
        let told = |done: zilch::Result<()>| done.expect_err("refused").to_string();
        assert!(told(session.run(&run.order)).contains("needs an array \"gain\""));
        assert!(told(session.step(&inputs, &targets)).contains("\"gain\", but none was given"));
        let wrong = [("input", inputs.view()), ("target", targets.view()), ("gain", inputs.view())];
        assert!(told(session.step_with(&wrong)).contains("(5, 7)"));
        let unknown = [("input", inputs.view()), ("target", targets.view()), ("gian", inputs.view())];
        assert!(told(session.step_with(&unknown)).contains("input, target, gain"));
    }
}

/// Predictions agree for the evaluation that counts errors, for a single mini-batch, and for any number of rows.
#[test]
fn inputs_passed_as_arrays_are_predicted_like_images() {
    let network = net(&[37, 7, 6, 3], Activation::Sigmoid, true);
    let run = Run::new(&network, 5, 8, 1055);
    let images = run.data.train.images().mapv(|p| f32::from(p) / 255.0);
    let samples = images.nrows();
    let mut answers = Vec::new();
    for device in [cpu(1), cpu(2), gpu()] {
        let plan = with(&network, "zil", &[], |o| o.optimizer = Optimizer::Momentum);
        let mut session = run.session(&device, &plan);
        let outputs = session.predict(&images).expect("outputs");
        let score = session.score(Set::Train).expect("a score");
        let first_largest = |row: ArrayView1<'_, f32>| (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
        let labels = run.data.train.labels().iter().map(|l| Some(usize::from(*l)));
        let errors = outputs.outer_iter().zip(labels).filter(|(row, label)| first_largest(*row) != *label).count();
        assert_eq!(errors as u64, score.errors, "{}", device.kind());
        // More rows than one batch of the evaluation, and no rows.
        let many = Array2::from_shape_fn((600, 37), |(i, j)| images[(i % samples, j)]);
        let all = session.predict(&many).expect("outputs");
        (0..600).for_each(|i| assert_eq!(all.row(i), outputs.row(i % samples), "{} row {i}", device.kind()));
        assert_eq!(session.predict(&Array2::zeros((0, 37))).expect("nothing").dim(), (0, 3));
        let wrong = session.predict(&Array2::zeros((2, 36))).expect_err("refused").to_string();
        assert!(wrong.contains("inputs of 37 values; 36 given"), "{wrong}");
        if let Some(cpu) = session.as_cpu_mut() {
            let said = cpu.activities(Set::Train, &(0..samples as u32).collect::<Vec<_>>()).expect("activities");
            assert_eq!(said[0].mapv(|v| v as f32), outputs);
        }
        // Predictions do not affect later updates.
        session.run(&run.order).expect("updates");
        let mut unasked = run.session(&device, &plan);
        unasked.run(&run.order).expect("updates");
        assert!(session.weights().expect("weights").bit_identical(&unasked.weights().expect("weights")));
        answers.push(outputs);
    }
    assert_eq!(answers[0], answers[1]);
    let far = answers[0].iter().zip(&answers[2]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-5, "{far:e}");
}

/// Target values other than 0 and 1 apply everywhere: they equal targets passed by hand, padding stays 0, and scores use them.
#[test]
fn targets_can_be_other_values_than_0_and_1() {
    let mut network = net(&[11, 7, 6, 3], Activation::Sigmoid, true);
    let run = Run::new(&network, 5, 2, 1060);
    network.targets = Some([-1.0, 0.75]);
    let image = |i: &u32| run.data.train.images().row(*i as usize).mapv(|p| f32::from(p) / 255.0);
    for device in [cpu(1), cpu(2), gpu()] {
        let bp = plan(&network, Rule::BP, |_| ());
        let resident = device.upload(&run.data).expect("upload");
        let mut session = device.session(&bp, 5, &resident, &run.weights).expect("session");
        let plain = run.train(&device, &plan(&net(&[11, 7, 6, 3], Activation::Sigmoid, true), Rule::BP, |_| ()));
        for order in run.order.chunks(5) {
            let mut inputs = Array2::zeros((5, 11));
            let mut targets = Array2::from_elem((5, 3), -1.0);
            for (i, sample) in order.iter().enumerate() {
                inputs.row_mut(i).assign(&image(sample));
                targets[(i, usize::from(run.data.train.labels()[*sample as usize]))] = 0.75;
            }
            session.step(&inputs, &targets).expect("a step");
        }
        let (a, b) = (session.weights().expect("weights"), run.train(&device, &bp));
        assert!(a.bit_identical(&b), "{}: {:e}", device.kind(), a.distance(&b));
        assert!(a.distance(&plain) > 1e-3, "the control");
        // With all weights 0 the output is 0, and the loss ½ (2 · 1 + 0.75²) per sample.
        session.load(&Weights::zeros(&network));
        let energy = session.score(Set::Test).expect("a score").mean_energy();
        assert_eq!(energy, (2.0 + 0.75 * 0.75) / 2.0, "{}", device.kind());
    }
    for name in ["ep", "ff", "brainprop"] {
        let network = rule(name).suited(network.clone());
        let refused = Options::new(rule(name)).plan(&network).expect_err("refused").to_string();
        assert!(refused.contains("--targets -1,0.75") && refused.contains(name), "{refused}");
    }
    let entropy = Options { loss: Loss::CrossEntropy, ..Options::new(Rule::BP) }.plan(&network).expect_err("refused");
    assert!(entropy.to_string().contains("cross-entropy"), "{entropy}");
}

fn trained(training: &Training, device: &Device, data: &Arc<Data>) -> Trained {
    training.run(device, data, &AtomicBool::new(false), &mut |_| ()).expect("a training")
}

/// Training two tasks in turn equals two trainings in sequence, including the state of the optimiser.
#[test]
fn tasks_continue_where_the_last_one_ended() {
    let network = net(&[9, 6, 4], Activation::Tanh, true);
    let all = data(&network, 60, 30, 1060);
    let part = |classes: &[u8]| Subset { classes: Some(classes.to_vec()), ..Subset::default() };
    let task = |classes: &[u8]| Task { subset: part(classes), epochs: 1 };
    let tasks = Tasks { tasks: vec![task(&[0, 1]), task(&[3, 2])], test: Tested::Every };
    let base = |optimizer| Training {
        options: Options { optimizer, alpha: 0.01, ..Options::new(Rule::BP) },
        batch: 4,
        shuffle: false,
        ..Training::new(network.clone(), Length::Epochs(3))
    };
    for device in [cpu(1), gpu()] {
        for optimizer in [Optimizer::Sgd, Optimizer::Adam] {
            let training = Training { tasks: Some(tasks.clone()), ..base(optimizer) };
            let together = trained(&training, &device, &all);
            assert_eq!(together.metrics.len(), 3);
            assert_eq!(together.tested.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
            for (epoch, row) in together.metrics.iter().enumerate() {
                assert_eq!(row.test_error, together.tested[epoch][epoch % 2], "of the task that was learned");
            }
            // By hand: one epoch of each task, from the previous weights.
            let mut weights = training.start();
            for classes in [&[0u8, 1][..], &[3, 2], &[0, 1]] {
                let shown = Arc::new(part(classes).of(&all).expect("a part"));
                let one = Training { init: Some(weights), length: Length::Epochs(1), ..base(optimizer) };
                weights = trained(&one, &device, &shown).weights;
            }
            let same = weights.bit_identical(&together.weights);
            assert_eq!(same, optimizer == Optimizer::Sgd, "{}: Adam's averages go along", device.kind());
        }
    }
}

#[test]
fn drifting_labels_and_held_out_images_are_tested() {
    let network = net(&[9, 6, 4], Activation::Tanh, true);
    let all = data(&network, 80, 40, 1070);
    let drifted = Subset { labels: Some(vec![0, 1, 3, 2]), ..Subset::default() };
    let tasks = Tasks { tasks: vec![Task { subset: drifted.clone(), epochs: 1 }], test: Tested::Current };
    let training = Training { tasks: Some(tasks), batch: 4, ..Training::new(network.clone(), Length::Epochs(1)) };
    let outcome = trained(&training, &cpu(1), &all);
    let plan = Options::new(Rule::ZIL).plan(&network).expect("a plan");
    let error = |data: Data, weights: &Weights| {
        let resident = cpu(1).upload(&Arc::new(data)).expect("upload");
        let mut session = cpu(1).session(&plan, 1, &resident, weights).expect("session");
        session.score(Set::Test).expect("a score").error_rate()
    };
    assert_eq!(outcome.metrics[0].test_error, error(drifted.of(&all).expect("a part"), &outcome.weights));

    let (shown, held) = all.hold_out(3).expect("enough of each");
    for device in [cpu(1), gpu()] {
        let training = Training {
            held: Some(held.clone()),
            epoch_updates: Some(2),
            batch: 4,
            probes: vec![Probe::Target],
            ..Training::new(network.clone(), Length::Epochs(3))
        };
        let outcome = trained(&training, &device, &Arc::new(shown.clone()));
        assert_eq!(outcome.metrics.iter().map(|m| m.updates).collect::<Vec<_>>(), [2, 4, 6]);
        let on_held = Data { test: held.clone(), ..shown.clone() };
        assert_eq!(outcome.held.last(), Some(&error(on_held, &outcome.weights)), "{}", device.kind());
        let angles: Vec<f64> = outcome.probed.iter().filter_map(|p| p[0].values[0]).collect();
        assert!(angles.len() == 3 && angles.iter().all(|a| (0.0..180.0).contains(a)), "{angles:?}");
    }
}

/// Without hidden layers an update moves the output straight to the target. In a deep network PC moves it straighter than BP.
#[test]
fn settling_first_aims_better() {
    let straight = |layers: &[usize], name: &str, steps: u32| {
        let network = net(layers, Activation::Identity, false);
        let all = data(&network, 8, 4, 1080);
        let mut options = Options { gamma: (name == "il").then_some(0.1), ..Options::new(rule(name)) };
        options.steps = (name == "il").then_some(steps);
        let training = Training {
            options,
            batch: 1,
            initial: Some(Init::Xavier),
            probes: vec![Probe::Target],
            ..Training::new(network, Length::Updates(1))
        };
        trained(&training, &cpu(1), &all).probed[0][0].values[0].expect("an angle")
    };
    assert!(straight(&[20, 6], "bp", 0) < 0.1);
    let deep = [20, 12, 12, 12, 12, 6];
    let (pc, bp) = (straight(&deep, "il", 300), straight(&deep, "bp", 0));
    assert!(pc < bp - 5.0, "PC {pc:.1}°, BP {bp:.1}°");
}

#[test]
fn invalid_options_of_settling_are_refused() {
    let network = net(&[11, 7, 6, 3], Activation::Tanh, true);
    let refused = |name: &str, rule_options: &[(&str, f64)], change: &dyn Fn(&mut Options)| {
        let mut options = Options::new(rule(name));
        options.rule_options.extend(rule_options.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        change(&mut options);
        options.plan(&network).expect_err("refused").to_string()
    };
    let crossed = |o: &mut Options| o.loss = zilch::rules::Loss::CrossEntropy;
    assert!(refused("il", &[("discount", 0.5)], &crossed).contains("--discount"));
    assert!(refused("il", &[("nudging", 1.0)], &crossed).contains("--nudging"));
    let frontier = |o: &mut Options| o.schedule = Some(Schedule::Frontier);
    assert!(refused("il", &[("nodes", 1.0)], &frontier).contains("leave --schedule out"));
    assert!(refused("ipc", &[], &|o| o.steps = Some(0)).contains("at least 1"));
    assert!(refused("epc", &[], &|o| o.steps = Some(0)).contains("at least 1"));
    assert!(refused("bp", &[("nodes", 1.0)], &|_| ()).contains("il, ipc"));
    assert!(refused("il", &[("discount", 0.0)], &|_| ()).contains("takes a number"));
}
