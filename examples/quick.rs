use std::sync::Arc;
use zilch::*;
fn main() {
    let data = Arc::new(data::Data::open("digits").unwrap());
    for layers in ["784,32,32,32,10", "784,512,512,10"] {
        let batch = if layers.contains("512") { 64 } else { 20 };
        let net = Network::parse(layers).unwrap();
        let w = Weights::init(&net, 1);
        for threads in [1, 2] {
            let dev = device::cpu::CpuDevice::new(Some(threads)).unwrap();
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
                o.alpha = 1e-4;
                let plan = o.plan(&net).unwrap();
                let mut s = dev.session(&plan, batch, data.clone(), &w).unwrap();
                let order: Vec<u32> =
                    random::Random::new(1, random::Stream::Shuffle, 0).permutation(12000)[..batch * 100].to_vec();
                s.run(&order);
                let ws = s.weights();
                let same = reference.get_or_insert_with(|| ws.clone()).bit_identical(&ws);
                let t = std::time::Instant::now();
                let mut n = 0;
                while t.elapsed().as_secs_f64() < 0.5 {
                    s.run(&order);
                    n += 100;
                }
                println!(
                    "{layers} thr {threads} {:8} {:?} {:8.2} us  same {same} dist {:.3e} passes {:?}",
                    rule.title(),
                    plan.schedule,
                    t.elapsed().as_secs_f64() / n as f64 * 1e6,
                    reference.as_ref().unwrap().distance(&ws),
                    program::Program::new(&plan).launches()
                );
            }
        }
    }
}
