//! scratch
use std::sync::Arc;
use zilch::*;
fn main() {
    env_logger::init();
    let data = Arc::new(data::Data::open("digits").unwrap());
    let net = Network::parse("784,32,32,32,10").unwrap().with_bias(true);
    let w = Weights::init(&net, 1);
    let batch = 20;
    let order: Vec<u32> = random::Random::new(1, random::Stream::Shuffle, 0).permutation(12000)[..batch * 100].to_vec();
    for d in ["cpu", "gpu"] {
        let dev = device::Device::open(d, None).unwrap();
        println!("{} {} {}", dev.name(), dev.driver(), dev.software());
        let res = dev.upload(&data).unwrap();
        let mut reference = None;
        for (rule, sched) in [
            (Rule::Bp, None),
            (Rule::Zil, None),
            (Rule::Zil, Some(Schedule::Full)),
            (Rule::Fazil, None),
            (Rule::Fazil, Some(Schedule::Frontier)),
            (Rule::Il, None),
        ] {
            let mut o = Options::new(rule);
            o.schedule = sched;
            o.alpha = 1e-3;
            let plan = o.plan(&net).unwrap();
            let mut s = dev.session(&plan, batch, &res, &w).unwrap();
            s.run(&order).unwrap();
            let ws = s.weights().unwrap();
            let same = reference.get_or_insert_with(|| ws.clone()).bit_identical(&ws);
            let t = std::time::Instant::now();
            let mut n = 0;
            while t.elapsed().as_secs_f64() < 0.5 {
                s.run(&order).unwrap();
                n += 100;
            }
            println!(
                "thr {:8} {:?} {:8.2} us  same {same} dist {:.3e} score {:?} finite {:?} sha {}",
                rule.title(),
                plan.schedule,
                t.elapsed().as_secs_f64() / n as f64 * 1e6,
                reference.as_ref().unwrap().distance(&ws),
                s.score(data::Set::Test).unwrap(),
                s.not_finite().unwrap(),
                &ws.sha256()[..8]
            );
        }
    }
}
