//! Measures the limits of this machine, and the share of them that zilch's updates on the CPU reach.
//!
//!     cargo bench --bench limits
//!     cargo bench --bench limits -- convolutions
//!
//! With `convolutions` it measures BP on VGG-5, and on each of its two largest layers alone. Such a layer stands behind a small
//! convolution that provides its input channels, and before a pooling layer and a readout.
//!
//! - Peak: fused multiply-adds on SIMD vectors that stay in registers.
//! - Bandwidth: reads of a buffer far larger than any cache.
//! - Round trip: the time a cache line takes from one thread to another and back.
//!
//! All limits are measured again before every network, because the machine's speed changes over time. A share is the update's
//! multiplications and additions per second divided by that peak.

use pulp::{Arch, Simd, WithSimd};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use zilch::device::Device;
use zilch::measure::compare::{Comparison, Measured};
use zilch::rules::Schedule;
use zilch::{Activation, Network, Rule};

/// Name, layers (input first), batch size.
const NETWORKS: [(&str, &str, usize); 3] =
    [("S", "784,32,32,32,10", 20), ("M", "784,512,512,10", 64), ("L", "784,2048,2048,2048,10", 256)];
/// The networks of `convolutions`, in the same format.
const CONVOLUTIONS: [(&str, &str, usize); 3] = [
    ("VGG-5", "3x32x32,128c3p1,m2,256c3p1,m2,512c3,m2,512c3,10", 128),
    ("its 128 to 256 channels", "8x16x16,128c1,256c3p1,m2,10", 128),
    ("its 256 to 512 channels", "8x8x8,256c1,512c3,m2,10", 128),
];
/// Independent accumulators: at least the FMA latency times the FMAs per cycle of any vector unit.
const SUMS: usize = 16;
/// The same for AVX2: its 16 registers must hold the accumulators and two operands.
const SUMS_OF_8_LANES: usize = 12;
/// Values that one thread reads: 256 MiB.
const NUMBERS: usize = 1 << 26;

fn main() {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let host = zilch::measure::host::Host::new(all);
    println!("{}, {}, {} threads, zilch {}\n", host.cpu, host.simd, all, host.zilch);
    println!(
        "| network, batch | threads | peak GFLOP/s | read GB/s | round trip ns | BP GFLOP/s | of peak \
         | IL (20 steps) GFLOP/s | of peak |"
    );
    println!("| --- | --: | --: | --: | --: | --: | --: | --: | --: |");
    let mut counts = vec![1, all];
    counts.dedup();
    let convolutions = std::env::args().any(|word| word == "convolutions");
    for (name, layers, batch) in if convolutions { CONVOLUTIONS } else { NETWORKS } {
        for &threads in &counts {
            let (peak, read) = (best(threads, peak_gflops), best(threads, read_gbps));
            let trip = if threads > 1 { format!("{:.0}", round_trip_ns()) } else { "–".into() };
            let rules = if convolutions { vec![Rule::BP] } else { vec![Rule::BP, Rule::IL] };
            let rows = updates(layers, batch, threads, rules);
            let rate = |rule| {
                let Some(row) = rows.iter().find(|r| r.rule == rule) else { return "– | –".to_owned() };
                let rate = row.flop_per_update as f64 / row.median_us / 1e3;
                format!("{rate:.0} | {:.0} %", 100.0 * rate / peak)
            };
            let (bp, il) = (rate(Rule::BP), rate(Rule::IL));
            println!("| {name}, {batch} | {threads} | {peak:.0} | {read:.0} | {trip} | {bp} | {il} |");
        }
    }
}

fn updates(layers: &str, batch: usize, threads: usize, rules: Vec<Rule>) -> Vec<Measured> {
    let activation = if layers.contains('c') { Activation::Relu } else { Activation::Sigmoid };
    let network = Network::parse(layers).expect("a network").with_activation(activation);
    let comparison = Comparison {
        steps: rules.contains(&Rule::IL).then_some(20),
        rules,
        schedule: Some(Schedule::Frontier),
        seconds: 1.0,
        seed: 1,
        ..Comparison::new(network, batch)
    };
    let device = Device::open("cpu", Some(threads)).expect("the CPU");
    comparison.run(&[device], &AtomicBool::new(false), &mut |_| {}).expect("a comparison")
}

/// Runs `measure` on `threads` threads at once and adds up the results; returns the best of five runs.
fn best(threads: usize, measure: fn() -> f64) -> f64 {
    let run = || {
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(measure)).collect();
            running.into_iter().map(|t| t.join().expect("a thread")).sum::<f64>()
        })
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}

/// Nanoseconds that a cache line takes from one thread to another and back: the median of nine runs.
fn round_trip_ns() -> f64 {
    const TRIPS: u64 = 100_000;
    let run = |_| {
        let turn = AtomicU64::new(0);
        let pass = |from: u64| {
            while turn.load(Ordering::Acquire) != from {
                std::hint::spin_loop();
            }
            turn.store(from + 1, Ordering::Release);
        };
        std::thread::scope(|scope| {
            scope.spawn(|| (0..TRIPS).for_each(|trip| pass(2 * trip + 1)));
            let start = Instant::now();
            (0..TRIPS).for_each(|trip| pass(2 * trip));
            start.elapsed().as_secs_f64() * 1e9 / TRIPS as f64
        })
    };
    let mut runs: Vec<f64> = (0..9).map(run).collect();
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// Peak rate of one thread in 10⁹ multiplications and additions per second.
fn peak_gflops() -> f64 {
    struct Fma(u64);
    impl WithSimd for Fma {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> usize {
            // AVX2 has 8 lanes and 16 registers; AVX-512 and NEON have 32.
            if S::F32_LANES == 8 { sums::<S, SUMS_OF_8_LANES>(simd, self.0) } else { sums::<S, SUMS>(simd, self.0) }
        }
    }
    let turns = 20_000_000;
    let start = Instant::now();
    let numbers = Arch::new().dispatch(Fma(turns));
    (2 * numbers) as f64 * turns as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Applies `turns` FMAs to each of N accumulators in registers; returns the number of lanes of all accumulators.
#[inline(always)]
fn sums<S: Simd, const N: usize>(simd: S, turns: u64) -> usize {
    let (a, b) = (simd.splat_f32s(black_box(0.999)), simd.splat_f32s(black_box(1e-3)));
    let mut sums = [a; N];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = simd.mul_add_f32s(*sum, a, b);
        }
    }
    black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
    S::F32_LANES * N
}

/// Read bandwidth of one thread in 10⁹ bytes per second.
fn read_gbps() -> f64 {
    let numbers = vec![1.0f32; NUMBERS];
    let start = Instant::now();
    // 64 independent accumulators let the compiler vectorise this loop, so that only memory limits it.
    let mut sums = [0.0f32; 64];
    for block in numbers.as_chunks::<64>().0 {
        for (sum, number) in sums.iter_mut().zip(block) {
            *sum += number;
        }
    }
    black_box(sums);
    (NUMBERS * 4) as f64 / start.elapsed().as_secs_f64() / 1e9
}
