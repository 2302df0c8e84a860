//! Plans. An input chooses a rule, a small network, options with ordinary and extreme values, and mutations of the plan. A plan that is
//! accepted is printed, judged and lowered, and computes one update.

use super::bytes::{Bytes, part};
use super::tiny::{CPU, data};
use zilch::lower::Program;
use zilch::plan::{Direction, Domain, Expr, Initial, Op, Reduction, Value, What};
use zilch::rules::{LrSchedule, Optimizer, Ramp, Values};
use zilch::{Activation, Coords, Network, Options, Plan, Rule, Schedule};

/// Limits for the ops of a plan that is judged and lowered, and for the arithmetic of an update. Larger plans reach no new code.
const MOST_OPS: usize = 300;
const MOST_FLOPS: u64 = 1 << 18;

pub fn run(bytes: &[u8]) {
    go(bytes, true);
}

/// As [`run`], but most inputs only plan, mutate and check. An update takes longer than everything else, and the fuzzer prefers inputs
/// that reach much code: it would compute thousands of updates for a few plans.
pub fn sample(bytes: &[u8]) {
    go(bytes, part(bytes).is_multiple_of(16));
}

fn go(bytes: &[u8], beyond: bool) {
    let bytes = &mut Bytes(bytes);
    let far = bytes.below(8);
    let rule = match bytes.below(Rule::all().len() + 1) {
        0 => Rule::SUPERSPIKE,
        i => Rule::all()[i - 1],
    };
    let network = network(bytes, rule);
    let options = options(bytes, rule, &network);
    let Ok(mut plan) = options.plan(&network) else { return };
    while !bytes.is_empty() {
        break_it(bytes, &mut plan);
    }
    if plan.check().is_ok() && beyond {
        use_it(&plan, far);
    }
}

/// Uses a plan: prints and judges it if `far` is 4, lowers it if `far` is 5, and computes an update if `far` is larger.
pub(super) fn use_it(plan: &Plan, far: usize) {
    let batch = if plan.streaming { 1 } else { 3 };
    let cost = plan.cost(batch);
    plan.cost(zilch::device::MAX_BATCH);
    if plan.ops().count() > MOST_OPS {
        return;
    }
    if far == 4 {
        assert!(!plan.to_string().is_empty() && !plan.properties().list().is_empty(), "a plan without text");
    }
    if far == 5 {
        Program::new(plan).count();
    }
    if far < 6 || cost.flops > MOST_FLOPS {
        return;
    }
    // A mutated plan may have lost a feed, and then takes no images or no labels.
    if plan.inputs() == 0 || plan.outputs() == 0 {
        return;
    }
    let data = data(plan.inputs(), plan.outputs());
    let weights = plan.zero_weights();
    let resident = CPU.upload(&data).expect("data in memory");
    // A device may refuse a plan that exceeds a kernel's limits or the memory.
    let Ok(mut session) = CPU.session(plan, batch, &resident, &weights) else { return };
    session.run(&[0, 12, 1][..batch]).expect("an update");
    // A mutated plan may have lost its weights.
    session.weights().expect("the weights");
    session.score(zilch::data::Set::Test).expect("a score");
}

/// Networks with images, convolutions, pooling, skip connections and shared weights.
pub const DRAWN: [&str; 14] = [
    "2x4x4,3c3p1,m2,5",
    "5x5,2c3s2,4,3",
    "6x6,2c3p1,a2,3c2,2",
    "1x1,1c1,1",
    "3x3x3,2c3p2,m2s1,4",
    "6,4=a,4,4+a,3",
    "6,4=a,4,4+a=b,4,4+a+b,2",
    "6,4=a,a:4,4,3",
    "2x4x4,2c3p1=a,2c3p1,2c3p1+a=b,3c3s2p1,3c3p1+b:3c1s2,2",
    "4x3=in,in.0:5~u,5~w+in.1:5~u,5~w+in.2:5~u,5~w+in.3:5~u,2",
    "5,5~w,5~w,5~w,3",
    "4x2=in,in.0:4,4+in.3:4,3",
    "3,2=a,2,2+a,2+a,2+a",
    "4x4=in,2c3p1=a,in:2c3p1+a,m2,2",
];

fn network(bytes: &mut Bytes, rule: Rule) -> Network {
    let layers = 2 + bytes.below(8);
    let network = match layers {
        6.. => Network::parse(bytes.pick(&DRAWN)),
        _ => Network::new(&(0..layers).map(|_| 1 + bytes.below(9)).collect::<Vec<_>>()),
    };
    let mut network = network.expect("a network").with_bias(bytes.one_in(2));
    network = network.with_activation(bytes.pick(&Activation::ALL));
    if !bytes.one_in(8) {
        network = rule.suited(network);
    }
    network.input_activation = bytes.one_in(4);
    // Through text, as from a file or the command line.
    let pair = |bytes: &mut Bytes| format!("{},{}", bytes.number() as f32, bytes.number() as f32);
    if bytes.one_in(4) {
        network.pixels = zilch::network::read_pixels(&pair(bytes));
    }
    if bytes.one_in(8) {
        network.targets = zilch::network::read_targets(&pair(bytes));
    }
    network
}

fn options(bytes: &mut Bytes, rule: Rule, network: &Network) -> Options {
    let mut options = Options::new(rule);
    for _ in 0..bytes.below(12) {
        option(bytes, &mut options, network);
    }
    options
}

/// Changes one of the options.
fn option(bytes: &mut Bytes, o: &mut Options, network: &Network) {
    match bytes.below(20) {
        0 => o.schedule = Some(bytes.pick(&[Schedule::Full, Schedule::Frontier])),
        1 => o.coords = bytes.pick(&[Coords::Error, Coords::Value]),
        2 => o.gamma = Some(bytes.number()),
        3 => o.steps = Some(bytes.whole()),
        4 => o.phi = bytes.pick(&[zilch::rules::Phi::Error, zilch::rules::Phi::Feedback]),
        5 => o.td = bytes.whole(),
        6 => o.alpha = bytes.number(),
        7 => o.mean = bytes.one_in(2),
        8 => o.sigma = bytes.number(),
        9 => o.seed = bytes.word(),
        10 => o.loss = bytes.pick(&[zilch::rules::Loss::Squared, zilch::rules::Loss::CrossEntropy]),
        11 => {
            o.optimizer = bytes.pick(&[Optimizer::Sgd, Optimizer::Momentum, Optimizer::Adam, Optimizer::Adamw]);
        }
        12 => o.weight_decay = Some(bytes.number()),
        13 => o.momentum = Some(bytes.number()),
        14 => o.betas = Some([bytes.number(), bytes.number()]),
        15 => {
            let ramp = bytes.pick(&[Ramp::Constant, Ramp::Cosine, Ramp::Step, Ramp::WarmCosine]);
            let [warmup, total] = [bytes.whole(), bytes.whole()].map(u64::from);
            o.lr_schedule = LrSchedule { ramp, warmup, total };
        }
        16 => {
            let layers = if bytes.one_in(8) { bytes.below(7) } else { network.lmax() };
            o.layer_lr = (0..layers).map(|_| bytes.number()).collect();
        }
        17 => o.epoch = bytes.whole().into(),
        _ => own(bytes, o),
    }
}

/// Changes one of the rule's own options, or adds an option of another rule.
fn own(bytes: &mut Bytes, options: &mut Options) {
    let rules = Rule::all();
    let of = if bytes.one_in(16) { rules[bytes.below(rules.len())] } else { options.rule };
    if of.rule_options.is_empty() {
        return;
    }
    let choice = &of.rule_options[bytes.below(of.rule_options.len())];
    let value = match (bytes.byte() % 8, &choice.values) {
        (0, _) => bytes.number(),
        (1, Values::Number(low, _)) => *low,
        (2, Values::Number(_, high)) => *high,
        (1, Values::Whole(low, _)) => f64::from(*low),
        (2, Values::Whole(_, high)) => f64::from(*high),
        (_, Values::Number(low, high)) => low + (high - low) * f64::from(bytes.byte()) / 255.0,
        (_, Values::Whole(low, high)) => f64::from(bytes.whole().clamp(*low, *high)),
        (_, Values::Names(names)) => bytes.below(names.len()) as f64,
    };
    options.rule_options.insert(choice.name.to_owned(), value);
}

/// Mutates a plan, after which it is most probably invalid.
fn break_it(bytes: &mut Bytes, plan: &mut Plan) {
    let kind = bytes.below(9);
    let (slots, populations) = (plan.slots.len(), plan.populations.len());
    let slot = |bytes: &mut Bytes| zilch::plan::SlotId(bytes.below(slots + 1));
    match kind {
        0 => {
            let all = [1, 2, 5, 0, usize::MAX, zilch::plan::MAX_WIDTH];
            plan.populations[bytes.below(populations)].n = bytes.pick(&all);
        }
        1 => {
            let projections = plan.projections.len();
            let of = &mut plan.projections[bytes.below(projections)];
            (of.from, of.to) = (bytes.below(populations + 1), bytes.below(populations + 1));
        }
        2 => {
            let (home, family) = (home(bytes, plan), zilch::plan::FamilyId(bytes.below(plan.families.len() + 1)));
            let of = &mut plan.slots[bytes.below(slots)];
            match bytes.below(6) {
                0 => of.home = home,
                1 => of.persistent = !of.persistent,
                2 => of.per_example = !of.per_example,
                3 => of.family = family,
                4 => of.observed = !of.observed,
                _ => {
                    let (number, index) = (bytes.number(), bytes.word());
                    of.start = bytes.pick(&[
                        Initial::Zero,
                        Initial::Weights(1),
                        Initial::Weights(0),
                        Initial::Weights(usize::MAX),
                        Initial::Uniform { bound: number, index },
                        Initial::Magnitude { sd: number, index },
                    ]);
                }
            }
        }
        3 => match (bytes.below(3), slot(bytes)) {
            (2, slot) => plan.output = slot,
            (feed, slot) => plan.feeds[feed].slot = slot,
        },
        4 => {
            let moments = plan.moments.len();
            plan.moments[bytes.below(moments)].times = bytes.whole();
        }
        5 => {
            let number = bytes.number();
            let (value, sign) = (bytes.below(5), bytes.byte() as i8);
            let value = match value {
                0 => Value::Fixed(number),
                1 => Value::Scaled(number),
                2 => Value::Unbias(number),
                3 => Value::Nudge { size: number, step: number, sign },
                _ => Value::PerNudge { size: number, step: number, sign },
            };
            if let Some(param) = plan.params.last_mut() {
                param.value = value;
            }
        }
        _ => {
            let home = home(bytes, plan);
            let [moment, step, op] = [bytes.byte(), bytes.byte(), bytes.byte()].map(usize::from);
            let moments = plan.moments.len();
            let steps = &mut plan.moments[moment % moments].steps;
            let n = steps.len().max(1);
            let Some(ops) = steps.get_mut(step % n) else { return };
            let n = ops.len().max(1);
            match bytes.below(8) {
                0 => drop(ops.pop()),
                1 => ops.extend_from_within(..ops.len().min(1)),
                _ => {
                    let Some(op) = ops.get_mut(op % n) else { return };
                    break_op(bytes, op, home, slot);
                }
            }
        }
    }
}

fn home(bytes: &mut Bytes, plan: &Plan) -> Domain {
    let at = bytes.below(plan.populations.len().max(plan.projections.len()) + 1);
    [Domain::Units, Domain::Vector, Domain::Samples, Domain::Connections, Domain::BatchScalar][bytes.below(5)](at)
}

fn break_op(bytes: &mut Bytes, op: &mut Op, home: Domain, slot: impl Fn(&mut Bytes) -> zilch::plan::SlotId) {
    let at = bytes.below(8);
    match bytes.below(8) {
        0 => op.what = What::Map(home),
        1 => {
            let direction = bytes.pick(&[Direction::Forward, Direction::Backward]);
            let weights = (!bytes.one_in(4)).then(|| slot(bytes));
            op.what = What::Send { projection: at, weights, direction, from: slot(bytes) };
        }
        2 => op.what = What::OuterProduct { projection: at, post: slot(bytes), pre: slot(bytes) },
        3 => {
            let top = bytes.whole();
            let how = [Reduction::Sum, Reduction::Squares, Reduction::Max, Reduction::Argmax, Reduction::Top(top)];
            op.what = What::Reduce { from: slot(bytes), how: bytes.pick(&how) };
            op.epilogue.truncate(1);
            op.epilogue.iter_mut().for_each(|end| end.expr = Expr::Arriving);
        }
        4 => drop(op.epilogue.pop()),
        5 => {
            if let Some(end) = op.epilogue.first_mut() {
                end.to = slot(bytes);
            }
        }
        _ => {
            let number = Expr::Const(bytes.number());
            let read =
                [Expr::Slot(slot(bytes)), Expr::Stored(slot(bytes)), number, Expr::Unit, Expr::Weight, Expr::Arriving];
            if let Some(end) = op.epilogue.last_mut() {
                let read = read[bytes.below(read.len())].clone();
                let old = end.expr.clone();
                end.expr = match bytes.below(5) {
                    0 => read,
                    1 => old + read,
                    2 => old / read,
                    3 => old.clone() * old,
                    _ => Expr::fma(read.clone(), old, read),
                };
            }
        }
    }
}
