use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use zilch::data::{Data, Dataset};
use zilch::device::Device;
use zilch::random::{Random, Stream};
use zilch::{Network, Options, Rule, Weights};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (rule, layers, batch, threads, secs) = (&a[1], &a[2], a[3].parse::<usize>().unwrap(), a[4].parse::<usize>().unwrap(), a[5].parse::<f64>().unwrap());
    let layers: Vec<usize> = layers.split(',').map(|s| s.parse().unwrap()).collect();
    let net = Network::new(&layers).unwrap();
    let rule = match rule.as_str() { "bp" => Rule::Bp, "zil" => Rule::Zil, "il" => Rule::Il, _ => Rule::Fazil };
    let plan = Options::new(rule).plan(&net).unwrap();
    let w = Weights::init(&net, 1);
    let mut random = Random::new(1, Stream::Test, 0);
    let images = Array2::from_shape_simple_fn((1024, layers[0]), || random.below(256) as u8);
    let c = *layers.last().unwrap() as u64;
    let labels = (0..1024).map(|_| random.below(c) as u8).collect();
    let set = Dataset::new(Path::new("random"), images, labels, 1, layers[0]).unwrap();
    let data = Arc::new(Data { train: set.clone(), test: set, name: "random".into(), checksums: Vec::new() });
    let device = Device::open("cpu", Some(threads)).unwrap();
    let resident = device.upload(&data).unwrap();
    let mut s = device.session(&plan, batch, &resident, &w).unwrap();
    let order: Vec<u32> = (0..batch * 4).map(|s| (s % 1024) as u32).collect();
    s.run(&order).unwrap();
    let mut times = vec![];
    let start = Instant::now();
    let mut k = 4usize;
    let t = Instant::now(); s.run(&order).unwrap(); let per = t.elapsed().as_secs_f64() / 4.0;
    k = k.max((0.02 / per) as usize);
    let order: Vec<u32> = (0..batch * k).map(|s| (s % 1024) as u32).collect();
    while start.elapsed().as_secs_f64() < secs {
        s.load(&w);
        let t = Instant::now();
        s.run(&order).unwrap();
        times.push(t.elapsed().as_secs_f64() / k as f64);
    }
    times.sort_by(f64::total_cmp);
    if times.is_empty() { times.push(per); } let n = times.len();
    println!("{} {} b{} t{}: {:.2} us [{:.2} {:.2}] min {:.2}", a[1], a[2], batch, threads, times[n / 2] * 1e6, times[n / 4] * 1e6, times[3 * n / 4] * 1e6, times[0] * 1e6);
}
