//! One weight update of each rule, on the CPU and on the first GPU adapter.
//!
//!     cargo bench --bench update              # S and M
//!     ZILCH_BENCH_LARGE=1 cargo bench --bench update
//!
//! Each measurement hands all its updates to the device at once, as training does, and waits once. Every measurement starts from
//! the same weights, so that no network saturates. To compare rules use `zilch compare`, which interleaves them. Use this bench
//! to compare versions of the code (`-- --save-baseline`, `-- --baseline`).

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use zilch::device::Device;
use zilch::{Network, Options, Rule, Schedule, Weights};

#[path = "common/mod.rs"]
mod common;

/// Name, layers (input first), batch size.
const NETWORKS: [(&str, &[usize], usize); 3] =
    [("S", &[784, 32, 32, 32, 10], 20), ("M", &[784, 512, 512, 10], 64), ("L", &[784, 2048, 2048, 2048, 10], 256)];

fn updates(criterion: &mut Criterion) {
    for device in common::devices() {
        for (name, layers, batch) in NETWORKS.into_iter().filter(|n| common::wanted(n.0)) {
            let mut group = criterion.benchmark_group(format!("update/{}/{name}", device.kind()));
            group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
            for (rule, schedule) in [
                (Rule::BP, Schedule::Frontier),
                (Rule::IL, Schedule::Frontier),
                (Rule::ZIL, Schedule::Frontier),
                (Rule::ZIL, Schedule::Full),
                (Rule::FAZIL, Schedule::Full),
            ] {
                let id = BenchmarkId::new(rule.name(), schedule.name());
                let options = Options { schedule: Some(schedule), ..Options::new(rule) };
                let mut measured = Measured::new(&device, layers, batch, &options);
                group.bench_function(id, |bencher| bencher.iter_custom(|updates| measured.run(updates)));
            }
            group.finish();
        }
    }
}

/// A session, with the weights from which every measurement starts.
struct Measured {
    session: zilch::device::BlockingSession,
    weights: Weights,
    batch: usize,
}

impl Measured {
    fn new(device: &Device, layers: &[usize], batch: usize, options: &Options) -> Self {
        let network = Network::new(layers).expect("a network");
        let plan = options.plan(&network).expect("a plan").without_reads_of_states();
        let weights = Weights::init(&network, 1);
        let session = common::session(device, &plan, batch, &weights);
        Measured { session, weights, batch }
    }

    fn run(&mut self, updates: u64) -> Duration {
        self.session.load(&self.weights);
        let order = common::order(updates as usize * self.batch);
        let start = Instant::now();
        self.session.run(&order).expect("updates");
        start.elapsed()
    }
}

criterion_group!(benches, updates);
criterion_main!(benches);
