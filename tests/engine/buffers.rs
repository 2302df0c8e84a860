//! Parameters in several buffers of a GPU: bit-identical to one buffer, and refusals that name what does not fit.

use crate::common::{Run, data, gpu, net, weights};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::Set;
use zilch::device::gpu::GpuDevice;
use zilch::device::{BlockingSession, Device};
use zilch::rules::{Optimizer, Phi};
use zilch::train::checkpoint::Checkpoint;
use zilch::train::{Every, Keep, Length, Training};
use zilch::{Activation, Error, Network, Options, Plan, Rule, Weights};

/// The GPU that all tests share.
fn adapter() -> GpuDevice {
    gpu().as_gpu().expect("a GPU").clone()
}

/// Bytes of the network's largest matrix with its biases in the layout of a device, with rows padded to multiples of four.
fn largest(network: &Network) -> u64 {
    let quads = |n: usize| n.div_ceil(4) as u64;
    let bytes = |l: usize| {
        let (to, from) = network.shape(l);
        16 * (to as u64 * quads(from) + if network.bias { quads(to) } else { 0 })
    };
    (1..=network.matrices()).map(bytes).max().expect("matrices")
}

/// A network in which each matrix needs its own buffer.
fn chain() -> Network {
    net(&[12, 12, 12, 10], Activation::Tanh, true)
}

/// The number of buffers with weights, and of dispatches per update.
fn gpu_of(session: &BlockingSession) -> (usize, usize) {
    let session = session.as_gpu().expect("a GPU");
    (session.weight_buffers(), session.dispatches())
}

fn session(device: &GpuDevice, run: &Run, plan: &Plan) -> BlockingSession {
    run.session(&Device::from(device.clone()), plan)
}

/// Trains by the plan in one buffer and in several, and compares all values that a session returns. Returns the number of weight buffers
/// and of dispatches of each.
fn compare(network: &Network, plan: &Plan, what: &str) -> [(usize, usize); 2] {
    let gpu = adapter();
    let run = Run::new(network, if plan.streaming { 1 } else { 5 }, 6, 31);
    let room = largest(network);
    let [mut one, mut several] = [gpu.clone(), gpu.with_room(room)].map(|gpu| session(&gpu, &run, plan));
    let same = |one: &BlockingSession, several: &BlockingSession, when: &str| {
        let [a, b] = [one, several].map(|session| session.weights().expect("weights"));
        assert!(a.bit_identical(&b), "{what}, {when}: {:e} apart", a.distance(&b));
        assert!(one.persistent().expect("numbers") == several.persistent().expect("numbers"), "{what}, {when}");
    };
    same(&one, &several, "trained");
    let trained = one.weights().expect("weights");
    assert!(!trained.bit_identical(&run.weights), "{what} learns nothing");
    for set in [Set::Train, Set::Test] {
        assert_eq!(one.score(set).expect("a score"), several.score(set).expect("a score"), "{what}");
    }
    for session in [&mut one, &mut several] {
        session.save();
        session.run(&run.order).expect("updates");
    }
    same(&one, &several, "went on");
    [&mut one, &mut several].into_iter().for_each(|session| session.restore());
    same(&one, &several, "went back");
    assert!(several.weights().expect("weights").bit_identical(&trained), "{what}");
    let kept = one.persistent().expect("numbers");
    several.load(&run.weights);
    several.put(&kept);
    same(&one, &several, "was put back");
    [&one, &several].map(gpu_of)
}

/// Every rule, with an optimiser that stores two values per weight.
#[test]
fn every_rule_has_the_same_bits_in_three_buffers() {
    for rule in Rule::all() {
        let network = rule.suited(chain());
        let optimizer = if rule.name() == "kp" { Optimizer::Momentum } else { Optimizer::Adam };
        for optimizer in [Optimizer::Sgd, optimizer] {
            let options = Options { alpha: 0.02, optimizer, ..Options::new(*rule) };
            let plan = options.plan(&network).expect("a plan");
            let [one, several] = compare(&network, &plan, &format!("{}, {}", rule.name(), optimizer.name()));
            assert_eq!((one.0, several.0), (1, 3), "{}", rule.name());
            assert!(several.1 > one.1, "{}: dispatches are split", rule.name());
        }
    }
}

/// Convolutions, skip connections, and shared weights, whose changes are sums over buffers.
#[test]
fn images_and_graphs_have_the_same_bits_in_several_buffers() {
    let all = [
        ("1x9x9,8c3,m2,12c3,40,20,5", 3),
        ("12,12=a,12,12+a,12", 4),
        ("4x12=in,in.0:12~u,12~w+in.1:12~u,12~w+in.2:12~u,12~w+in.3:12~u,12", 3),
    ];
    for (layers, buffers) in all {
        let network = Network::parse(layers).expect("layers").with_bias(true).with_activation(Activation::Tanh);
        for name in ["bp", "il", "zil", "fazil", "fa"] {
            for optimizer in [Optimizer::Sgd, Optimizer::Adam] {
                let rule = Rule::named(name).expect("a rule");
                let phi = if name == "fazil" { Phi::Feedback } else { Phi::Error };
                let options = Options { alpha: 0.02, optimizer, phi, ..Options::new(rule) };
                let plan = options.plan(&network).expect("a plan");
                let [one, several] = compare(&network, &plan, &format!("{name} on {layers}"));
                assert_eq!((one.0, several.0), (1, buffers), "{name} on {layers}");
            }
        }
    }
}

/// Emulated matrix units read the same buffers as tiles.
#[test]
fn mixed_precision_has_the_same_bits_in_several_buffers() {
    let gpu = GpuDevice::open_emulated(None, true, 8).expect("a GPU");
    let network = net(&[40, 36, 33, 10], Activation::Tanh, true);
    let plan =
        Options { alpha: 0.02, optimizer: Optimizer::Adam, ..Options::new(Rule::BP) }.plan(&network).expect("a plan");
    let run = Run::new(&network, 5, 4, 32);
    let [one, several] = [gpu.clone(), gpu.with_room(largest(&network))].map(|gpu| session(&gpu, &run, &plan));
    assert_eq!([&one, &several].map(|session| gpu_of(session).0), [1, 3]);
    assert!(one.weights().expect("weights").bit_identical(&several.weights().expect("weights")));
}

/// NaN is found in any buffer, and reported with its layer.
#[test]
fn nan_is_found_in_every_buffer() {
    let network = chain();
    let plan = Options::new(Rule::BP).plan(&network).expect("a plan");
    let (gpu, start) = (adapter().with_room(largest(&network)), weights(&network, 5));
    let resident = gpu.upload(&data(&network, 5, 1, 5)).expect("data");
    let mut session = BlockingSession::from(gpu.session(&plan, 5, resident, &start).expect("a session"));
    assert_eq!(session.not_finite().expect("an answer"), None);
    for l in 1..=3 {
        let mut broken = start.clone();
        broken.theta[l - 1][(9, 11)] = f32::NAN;
        session.load(&broken);
        assert_eq!(session.not_finite().expect("an answer"), Some((l, "the weights")));
        let mut broken = start.clone();
        broken.bias[l - 1][9] = f32::INFINITY;
        session.load(&broken);
        assert_eq!(session.not_finite().expect("an answer"), Some((l, "the biases")));
    }
}

/// An interrupted training resumes to the same bits from a checkpoint with either number of buffers.
#[test]
fn a_training_resumes_with_other_buffers() {
    let network = chain();
    let options = Options { alpha: 0.02, seed: 3, optimizer: Optimizer::Adam, ..Options::new(Rule::ZIL) };
    let training = Training { batch: 5, seed: 3, options, ..Training::new(network.clone(), Length::Updates(27)) };
    let (data, stop) = (data(&network, 43, 17, 70), AtomicBool::new(false));
    let train = |device: &Device, from: Option<Checkpoint>| {
        let mut kept = Vec::new();
        let mut with = |checkpoint: &Checkpoint| kept.push(checkpoint.clone());
        let keep = Keep { every: Some(Every::Updates(10)), with: &mut with, best: &mut |_: &Weights| () };
        let data = Arc::clone(&data);
        let trained = training.go_on(device, &data, from, &stop, &mut |_| (), Some(keep)).expect("trained");
        (trained, kept)
    };
    let several = Device::from(adapter().with_room(largest(&network)));
    let ((whole, kept), (spread, kept_spread)) = (train(&gpu(), None), train(&several, None));
    let rows = |trained: &zilch::train::Trained| {
        trained.metrics.iter().map(|m| (m.updates, m.test_error, m.train_energy)).collect::<Vec<_>>()
    };
    assert!(whole.weights.bit_identical(&spread.weights));
    assert_eq!(rows(&whole), rows(&spread));
    assert!(kept.len() == 2 && kept_spread.len() == 2);
    for (device, from) in [(&several, &kept[0]), (&gpu(), &kept_spread[1]), (&several, &kept_spread[0])] {
        let (rest, _) = train(device, Some(from.clone()));
        assert!(rest.weights.bit_identical(&whole.weights), "from {}", from.progress.updates);
    }
}

/// A device that was lost and reopened has the same buffer limit.
#[test]
fn a_reopened_device_keeps_its_limit() {
    let network = chain();
    let options = Options { alpha: 0.02, ..Options::new(Rule::ZIL) };
    let gpu = GpuDevice::open(None, true).expect("a GPU").with_room(largest(&network));
    gpu.lose();
    let plan = options.plan(&network).expect("a plan");
    let run = Run::new(&network, 5, 2, 33);
    assert_eq!(gpu_of(&run.session(&Device::from(gpu).reopen().expect("a GPU"), &plan)).0, 3);
}

/// A matrix that no buffer can hold is refused with its name, its size in bytes and the limit of the device.
#[test]
fn a_matrix_beyond_the_limit_is_refused_with_its_numbers() {
    let network = net(&[12, 12, 16, 10], Activation::Tanh, true);
    let plan = Options::new(Rule::ZIL).plan(&network).expect("a plan");
    // θ^2 is 16 × 12, and 16 biases.
    let needed = 16 * (16 * 3 + 4);
    assert_eq!(largest(&network), needed);
    let gpu = adapter().with_room(needed - 1);
    let (run, fits) = (Run::new(&network, 5, 1, 34), Device::from(gpu.clone()).fits(&plan, 5, true));
    let resident = gpu.upload(&run.data).expect("data");
    let begun = gpu.session(&plan, 5, resident, &run.weights).map(|_| ());
    for refused in [fits, begun] {
        let error = refused.expect_err("too large");
        assert!(matches!(error, Error::Limit { .. }) && error.exit_code() == 3);
        let text = error.to_string();
        let said = ["θ^2 (16 × 12 with biases) of 12-12-16-10", "needs 832 bytes", "offers 831 bytes", "--layers"];
        said.into_iter().for_each(|said| assert!(text.contains(said), "{text}"));
    }
    let fits = Device::from(adapter().with_room(needed)).fits(&plan, 5, true);
    fits.expect("each matrix fits");
}
