//! Devices that fail during a training, and drivers that need short submissions: neither changes the bits.

use crate::common::{cpu, dataset, gpu, net};
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::{Data, Set};
use zilch::device::gpu::GpuDevice;
use zilch::device::{BlockingSession, Device};
use zilch::rules::Optimizer;
use zilch::train::checkpoint::Checkpoint;
use zilch::train::probe::Probe;
use zilch::train::{Event, Every, Keep, Length, Trained, Training};
use zilch::{Activation, Error, Options, Rule, Weights};

fn data() -> Arc<Data> {
    let network = net(&[11, 9, 7, 3], Activation::Tanh, true);
    let set = |samples, seed| dataset(&network, samples, seed, |r| r.below(256) as u8);
    Arc::new(Data { train: set(43, 70), test: set(17, 71), name: "random".into(), checksums: Vec::new() })
}

/// A training with a rule: 8 updates per epoch of 5 samples, 27 in total, so that it ends within an epoch.
fn training(name: &str) -> Training {
    let rule = Rule::named(name).expect("a rule");
    let network = rule.suited(net(&[11, 9, 7, 3], Activation::Tanh, true));
    let options = Options { alpha: 0.02, seed: 3, optimizer: Optimizer::Adam, ..Options::new(rule) };
    let probe = if rule.own_network { Probe::Target } else { Probe::Alignment };
    let (length, probes) = (Length::Updates(27), vec![probe]);
    Training { batch: 5, seed: 3, options, probes, ..Training::new(network, length) }
}

/// A new adapter, which a test may destroy.
fn fresh() -> (GpuDevice, Device) {
    let gpu = GpuDevice::open(None, true).expect("a GPU");
    (gpu.clone(), Device::from(gpu))
}

fn rows(trained: &Trained) -> Vec<(u64, u64, f64, f64)> {
    trained.metrics.iter().map(|m| (m.epoch, m.updates, m.test_error, m.train_energy)).collect()
}

/// The device is lost at the `at`-th check of the updates. The run reports it once, continues, and ends with the bits of a run without a
/// failure. Tested with Adam's averages, per-example state (ep), and random numbers (ff).
#[test]
fn a_run_continues_after_its_device_was_lost() {
    let data = data();
    let stop = AtomicBool::new(false);
    for name in ["zil", "ep", "ff"] {
        let training = training(name);
        let whole = training.run(&gpu(), &data, &stop, &mut |_| ()).expect("trained");
        for at in [1, 2, 4] {
            let (adapter, device) = fresh();
            let (mut looks, mut reopened, mut epochs) = (0, Vec::new(), Vec::new());
            let mut watch = |event: Event<'_>| match event {
                Event::Updates(..) => {
                    looks += 1;
                    if looks == at {
                        adapter.lose();
                    }
                }
                Event::Reopened { error, updates, .. } => reopened.push((error.to_string(), updates)),
                Event::Epoch(row) => epochs.push(row.metrics.epoch),
            };
            let trained = training.run(&device, &data, &stop, &mut watch).expect("goes on");
            assert_eq!(reopened.len(), 1, "{name} {at}: {reopened:?}");
            assert!(reopened[0].0.contains("was lost"), "{reopened:?}");
            assert!(trained.weights.bit_identical(&whole.weights), "{name} {at}");
            assert_eq!(rows(&trained), rows(&whole), "{name} {at}");
            assert_eq!((&trained.probed, trained.updates), (&whole.probed, whole.updates), "{name} {at}");
            assert_eq!(epochs, [1, 2, 3, 4], "{name} {at}: every epoch is reported once");
        }
    }
}

/// A device that is lost repeatedly is reopened three times. Then the failure is reported, and the last good state is kept.
#[test]
fn a_device_that_is_always_lost_is_given_up() {
    let (data, stop, training) = (data(), AtomicBool::new(false), training("bp"));
    let whole = training.run(&gpu(), &data, &stop, &mut |_| ()).expect("trained");
    let (adapter, device) = fresh();
    let (adapter, mut reopened) = (RefCell::new(adapter), 0);
    let mut kept: Option<Checkpoint> = None;
    let mut with = |checkpoint: &Checkpoint| kept = Some(checkpoint.clone());
    let keep = Keep { every: Some(Every::Updates(8)), with: &mut with, best: &mut |_: &Weights| () };
    let mut watch = |event: Event<'_>| match event {
        Event::Updates(done, ..) if done > 8 => adapter.borrow().lose(),
        Event::Reopened { device, .. } => {
            reopened += 1;
            *adapter.borrow_mut() = device.as_gpu().expect("a GPU").clone();
        }
        _ => {}
    };
    let error = training.go_on(&device, &data, None, &stop, &mut watch, Some(keep)).expect_err("gives up");
    assert!(matches!(&error, Error::Gpu(why) if why.contains("3 times")), "{error}");
    assert_eq!((error.exit_code(), reopened), (1, 3));
    let kept = kept.expect("the last good state");
    assert_eq!(kept.progress.updates, 8);
    // The kept state resumes on another device of the same kind to the same bits.
    let rest = training.go_on(&gpu(), &data, Some(kept), &stop, &mut |_| (), None).expect("goes on");
    assert!(rest.weights.bit_identical(&whole.weights));
}

/// A failure before the first update is reported at once, because it would repeat.
#[test]
fn a_failure_before_the_first_update_is_not_retried() {
    let (data, stop, training) = (data(), AtomicBool::new(false), training("bp"));
    let (adapter, device) = fresh();
    adapter.lose();
    let mut reopened = false;
    let mut watch = |event: Event<'_>| reopened |= matches!(event, Event::Reopened { .. });
    let error = training.run(&device, &data, &stop, &mut watch).expect_err("a lost device");
    assert!(matches!(&error, Error::Gpu(why) if why.contains("was lost")), "{error}");
    assert!(!reopened);
}

/// An update that is split into several submissions has the same bits, and so has the evaluation after it.
#[test]
fn cut_updates_have_the_same_bits() {
    let data = data();
    let device = gpu().as_gpu().expect("a GPU").clone();
    for rule in Rule::all() {
        let training = training(rule.name());
        let plan = training.options.plan(&training.network).expect("a plan");
        let start = training.start();
        let order: Vec<u32> = (0..40).collect();
        let run = |parts: usize| {
            let resident = device.upload(&data).expect("uploaded");
            let session = device.session(&plan, 5, resident, &start).expect("a session");
            let mut session = BlockingSession::from(session);
            session.as_gpu_mut().expect("a GPU").cut(parts);
            let parts = session.as_gpu().expect("a GPU").parts();
            session.run(&order[..5]).expect("one update");
            let submissions = session.submissions();
            session.as_gpu_mut().expect("a GPU").cut(parts);
            session.run(&order[5..]).expect("more");
            (session.weights().expect("weights"), session.score(Set::Test).expect("a score"), parts, submissions)
        };
        let (whole, score, parts, submissions) = run(1);
        assert_eq!((parts, submissions), (1, 1));
        let (cut, cut_score, parts, submissions) = run(3);
        assert_eq!((parts as u64, parts), (submissions, 3), "{}", rule.name());
        assert!(cut.bit_identical(&whole), "{}", rule.name());
        assert_eq!(cut_score, score, "{}", rule.name());
        // There are at most as many submissions as launches.
        let (cut, _, parts, _) = run(usize::MAX);
        assert!(cut.bit_identical(&whole) && parts > 3, "{}: {parts}", rule.name());
    }
}

/// The CPU cannot be lost, so it does not copy its state for reopening.
#[test]
fn the_cpu_is_never_reopened() {
    assert!(!cpu(1).can_be_lost() && gpu().can_be_lost());
}
