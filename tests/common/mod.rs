//! What tests share: devices, and random networks, data and weights.

use ndarray::{Array1, Array2};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use zilch::data::{Data, Dataset};
use zilch::device::cpu::CpuDevice;
use zilch::device::gpu::GpuDevice;
use zilch::device::{BlockingSession, Device};
use zilch::random::{Random, Stream};
use zilch::{Activation, Network, Options, Plan, Rule, Schedule, Weights};

/// The GPU of this machine, a software one if there is no other, with checked shaders. One for the whole
/// process: opening an adapter and compiling kernels costs more than most tests.
pub(crate) fn gpu() -> Device {
    static GPU: OnceLock<GpuDevice> = OnceLock::new();
    let open = || GpuDevice::open(None, true).expect("a GPU or a software one is needed here, as `make test` installs");
    Device::from(GPU.get_or_init(open).clone())
}

/// The CPU with `threads` threads.
pub(crate) fn cpu(threads: usize) -> Device {
    Device::from(cpu_device(threads))
}

/// The same, for float64 sessions.
pub(crate) fn cpu_device(threads: usize) -> CpuDevice {
    CpuDevice::new(Some(threads)).expect("threads")
}

/// A network of these layers, input first.
pub(crate) fn net(layers: &[usize], activation: Activation, bias: bool) -> Network {
    Network::new(layers).expect("layers").with_activation(activation).with_bias(bias)
}

/// The plan of a rule, with changes to its options.
pub(crate) fn plan(network: &Network, rule: Rule, change: impl FnOnce(&mut Options)) -> Plan {
    let mut options = Options::new(rule);
    change(&mut options);
    options.plan(network).expect("plan")
}

/// The plan of a rule under a schedule, with learning rate α.
pub(crate) fn scheduled(network: &Network, rule: Rule, schedule: Option<Schedule>, alpha: f64) -> Plan {
    plan(network, rule, |o| (o.schedule, o.alpha) = (schedule, alpha))
}

/// A random number sequence for tests.
pub(crate) fn random(seed: u64, index: u64) -> Random {
    Random::new(seed, Stream::Test, index)
}

/// Images of the network's width with pixels from `pixel`, and random labels.
pub(crate) fn dataset(network: &Network, samples: usize, seed: u64, pixel: impl Fn(&mut Random) -> u8) -> Dataset {
    let mut r = random(seed, 0);
    let images = Array2::from_shape_simple_fn((samples, network.inputs()), || pixel(&mut r));
    let classes = network.outputs().min(256) as u64;
    let labels = (0..samples).map(|_| r.below(classes) as u8).collect();
    Dataset::new(Path::new("random"), images, labels, 1, network.inputs()).expect("data set")
}

/// A training and a test set of random bytes.
pub(crate) fn data(network: &Network, train: usize, test: usize, seed: u64) -> Arc<Data> {
    let byte = |r: &mut Random| r.below(256) as u8;
    pair(dataset(network, train, seed, byte), dataset(network, test, seed + 1, byte))
}

/// Two sets as one.
pub(crate) fn pair(train: Dataset, test: Dataset) -> Arc<Data> {
    Arc::new(Data { train, test, name: "random".into(), checksums: Vec::new() })
}

/// Random weights, and biases that are not zero.
pub(crate) fn weights(network: &Network, seed: u64) -> Weights {
    let mut weights = Weights::init(network, seed);
    let mut r = random(seed, 1);
    weights.bias.iter_mut().for_each(|b: &mut Array1<f32>| b.mapv_inplace(|_| r.range(-0.2, 0.2) as f32));
    weights
}

/// `count` sample numbers below `samples`, drawn with replacement.
pub(crate) fn order(samples: usize, count: usize, seed: u64) -> Vec<u32> {
    let mut r = random(seed, 2);
    (0..count).map(|_| r.below(samples as u64) as u32).collect()
}

/// A training run: what it starts from, and on what.
pub(crate) struct Run {
    pub(crate) data: Arc<Data>,
    pub(crate) weights: Weights,
    pub(crate) batch: usize,
    pub(crate) order: Vec<u32>,
}

impl Run {
    /// `updates` updates in batches of `batch`, on 4 batches' worth of random samples.
    pub(crate) fn new(network: &Network, batch: usize, updates: usize, seed: u64) -> Run {
        let samples = 4 * batch;
        Run {
            data: data(network, samples, 1, seed),
            weights: weights(network, seed),
            batch,
            order: order(samples, batch * updates, seed),
        }
    }

    /// A session on `device` that has made every update.
    pub(crate) fn session(&self, device: &Device, plan: &Plan) -> BlockingSession {
        let resident = device.upload(&self.data).expect("upload");
        let mut session = device.session(plan, self.batch, &resident, &self.weights).expect("session");
        session.run(&self.order).expect("run");
        session
    }

    /// The weights after every update on `device`.
    pub(crate) fn train(&self, device: &Device, plan: &Plan) -> Weights {
        self.session(device, plan).weights().expect("weights")
    }
}
