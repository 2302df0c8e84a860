//! The three matrix products in which a rule spends its time, on one weight matrix, on the CPU and on the first GPU adapter.
//!
//!     cargo bench --bench kernels             # 32×32 and 512×512
//!     ZILCH_BENCH_LARGE=1 cargo bench --bench kernels
//!
//! A kernel is measured with a plan that computes its operands once and then runs it [`TIMES`] times on one layer, so that the rest
//! of the plan takes a small part of the time. Throughput counts multiplications and additions: criterion's Gelem/s are GFLOP/s.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};
use zilch::plan::Op;
use zilch::rules::builder::Chain;
use zilch::{Network, Weights};

#[path = "common/mod.rs"]
mod common;
#[path = "common/repeated.rs"]
mod repeated;

/// Name, n of an n×n weight matrix, batch size.
const SIZES: [(&str, usize, usize); 3] = [("S", 32, 20), ("M", 512, 64), ("L", 2048, 256)];
/// A kernel's name and the function that builds its op.
type Kernel = (&'static str, fn(&mut Chain) -> Op);
/// Launches of the kernel per update of the plan.
const TIMES: usize = 32;

fn kernels(criterion: &mut Criterion) {
    for device in common::devices() {
        for (name, n, batch) in SIZES.into_iter().filter(|s| common::wanted(s.0)) {
            let network = Network::new(&[n, n, n]).expect("a network");
            let weights = Weights::init(&network, 1);
            let mut group = criterion.benchmark_group(format!("kernel/{}/{name}", device.kind()));
            group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
            group.throughput(Throughput::Elements((2 * batch * n * n) as u64));
            let kernels: [Kernel; 3] =
                [("predict", |c| c.predict(0)), ("infer", |c| c.infer(1)), ("learn", |c| c.learn(0))];
            for (kernel, op) in kernels {
                let plan = repeated::plan(&network, op, TIMES as u32);
                let mut session = common::session(&device, &plan, batch, &weights);
                group.bench_function(BenchmarkId::from_parameter(kernel), |bencher| {
                    bencher.iter_custom(|launches| {
                        session.load(&weights);
                        let plans = (launches as usize).div_ceil(TIMES);
                        let order = common::order(plans * batch);
                        let start = Instant::now();
                        session.run(&order).expect("updates");
                        start.elapsed().mul_f64(launches as f64 / (plans * TIMES) as f64)
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
