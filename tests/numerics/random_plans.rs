//! Thousands of random plans and formulas, which nobody would write by hand. Each must be refused or run, and must not panic. The
//! evaluator, the CPU's kernels and the GPU must agree within the bound computed for each value.

use crate::bounds::{Accuracy, Interpreter};
use crate::common::{cpu_device, data, gpu, order, random, weights};
use std::sync::Arc;
use zilch::plan::expr::{Expr, arriving};
use zilch::plan::{
    Assign, Connection, Direction, Domain, Draw, Initial, Moment, Op, ParamId, Reduction, SlotId, Stage, What,
};
use zilch::random::Random;
use zilch::rules::Definition;
use zilch::rules::builder::{Chain, op};
use zilch::{Activation, Network, Options, Plan, Rule};

static RANDOM: Definition = Definition { name: "random", title: "random", ..Definition::PLAIN };

/// Names of slots, one for each kind of domain.
const UNITS: [&str; 4] = ["ua", "ub", "uc", "ud"];
const CONNECTIONS: [&str; 2] = ["ca", "cb"];

/// A generator of plans.
struct Maker<'a> {
    r: &'a mut Random,
    plan: Plan,
    /// Slots that contain values.
    written: Vec<SlotId>,
    /// Whether formulas may produce NaN or infinity, and use slots that do not fit.
    wild: bool,
}

impl Maker<'_> {
    fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let n = from.len() as u64;
        (n > 0).then(|| from[self.r.below(n) as usize].clone())
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.r.below(one_in) == 0
    }

    /// Slots whose domain fulfils a condition.
    fn slots(&self, like: impl Fn(Domain) -> bool) -> Vec<SlotId> {
        (0..self.plan.slots.len()).map(SlotId).filter(|s| like(self.plan.slot(*s).home)).collect()
    }

    fn held(&self, like: impl Fn(Domain) -> bool) -> Vec<SlotId> {
        self.slots(like).into_iter().filter(|s| self.written.contains(s)).collect()
    }

    /// The slots that a formula on `home` can read.
    fn visible(&self, home: Domain) -> Vec<SlotId> {
        let sees = |other: Domain| match (home, other) {
            (a, b) if a == b => true,
            (Domain::Units(p), Domain::Vector(q)) => p == q,
            (_, Domain::BatchScalar(_)) | (Domain::Units(_) | Domain::Samples(_), Domain::Samples(_)) => true,
            (Domain::Connections(p), Domain::Vector(q)) => self.plan.projections[p].to == q,
            _ => false,
        };
        self.held(sees)
    }

    fn leaf(&mut self, visible: &[SlotId], arrives: bool, units: bool) -> Expr {
        let connections = |s: &SlotId| matches!(self.plan.slot(*s).home, Domain::Connections(_));
        if visible.iter().any(connections) && self.r.below(10) == 0 {
            return Expr::Weight;
        }
        match self.r.below(8) {
            0 => Expr::Const([0.0, 1.0, -0.5, 0.75, 2.0][self.r.below(5) as usize]),
            1 => Expr::Param(ParamId(self.r.below(self.plan.params.len() as u64) as usize)),
            2 if arrives => arriving(),
            3 if units => Expr::Unit * 0.125,
            _ => match self.pick(visible) {
                Some(slot) if self.chance(4) => Expr::Stored(slot),
                Some(slot) => slot.into(),
                None => Expr::Const(0.25),
            },
        }
    }

    fn formula(&mut self, depth: u32, visible: &[SlotId], arrives: bool, units: bool) -> Expr {
        if depth == 0 || self.chance(5) {
            return self.leaf(visible, arrives, units);
        }
        let part = |maker: &mut Self| maker.formula(depth - 1, visible, arrives, units);
        let (a, b, c) = (part(self), part(self), part(self));
        let f = Activation::MONOTONE[self.r.below(6) as usize];
        match self.r.below(17) {
            0 => a + b,
            1 => a - b,
            2 => a * b,
            3 if self.wild => a / b,
            3 => a / (b.abs() + 1.0),
            4 => a.min(b),
            5 => a.max(b),
            6 => a.less(b),
            7 => a.equals(b),
            8 => -a,
            9 => a.abs(),
            10 if self.wild => a.sqrt(),
            10 => (a.abs() + 0.125).sqrt(),
            11 if self.wild => a.exp(),
            11 => a.min(1.0).max(-3.0).exp(),
            12 => a.sign(),
            13 => Expr::f(f, a),
            14 => Expr::slope(f, a.clone(), Expr::f(f, a)),
            15 => Expr::fma(a, b, c),
            _ => a.select(b, c),
        }
    }

    /// Assignments on `home` to slots that the step has not yet written.
    fn epilogue(&mut self, home: Domain, arrives: bool, taken: &mut Vec<SlotId>) -> Vec<Assign> {
        let forbidden = [self.plan.input(), self.plan.target()];
        let mut epilogue = Vec::new();
        for _ in 0..=self.r.below(2) {
            let free: Vec<SlotId> = self
                .slots(|h| h == home)
                .into_iter()
                .filter(|s| !taken.contains(s) && !forbidden.contains(s))
                .collect();
            let Some(to) = self.pick(&free) else { break };
            taken.push(to);
            let visible = self.visible(home);
            let formula =
                self.formula(3, &visible, arrives, matches!(home, Domain::Units(_) | Domain::Vector(_)) || self.wild);
            let bounded = formula.max(-2.0).min(2.0);
            // Weights change little, so that values that depend on them stay small.
            let expr = match home {
                Domain::Connections(_) if self.written.contains(&to) => Expr::fma(0.0625, bounded, to),
                _ => bounded,
            };
            epilogue.push(Assign { to, expr });
        }
        epilogue
    }

    fn op(&mut self, taken: &mut Vec<SlotId>) -> Option<Op> {
        let projection = self.r.below(self.plan.projections.len() as u64) as usize;
        let (from, to, kind) = {
            let of = &self.plan.projections[projection];
            (of.from, of.to, of.kind)
        };
        let own = self.held(|h| h == Domain::Connections(projection));
        let name = "random";
        match self.r.below(7) {
            0 | 1 => {
                let forward = self.chance(2);
                let (start, end) = if forward { (from, to) } else { (to, from) };
                let direction = if forward { Direction::Forward } else { Direction::Backward };
                let sent = self.held(|h| h == Domain::Units(start));
                let sent = self.pick(&sent)?;
                let weights = if kind == Connection::Identity { None } else { Some(self.pick(&own)?) };
                let epilogue = self.epilogue(Domain::Units(end), true, taken);
                Some(Op { name, what: What::Send { projection, weights, direction, from: sent }, epilogue })
            }
            2 => {
                let homes: Vec<Domain> = self.plan.slots.iter().map(|s| s.home).collect();
                let home = self.pick(&homes)?;
                Some(Op { name, what: What::Map(home), epilogue: self.epilogue(home, false, taken) })
            }
            3 if kind != Connection::Identity => {
                let post = self.held(|h| h == Domain::Units(to));
                let pre = self.held(|h| h == Domain::Units(from));
                let (post, pre) = (self.pick(&post)?, self.pick(&pre)?);
                let epilogue = self.epilogue(Domain::Connections(projection), true, taken);
                Some(Op { name, what: What::OuterProduct { projection, post, pre }, epilogue })
            }
            // Values shared by samples: a reduction over the batch, over a row of weights, or of shared values.
            5 => {
                let shared = self.slots(|h| matches!(h, Domain::Vector(_) | Domain::BatchScalar(_)));
                let into = self.pick(&shared).filter(|s| !taken.contains(s))?;
                let home = self.plan.slot(into).home;
                let receives: Vec<usize> = self.plan.projections.iter().map(|p| p.to).collect();
                let sources = self.held(|h| match (h, home) {
                    (Domain::Units(p), Domain::Vector(q)) => p == q,
                    (Domain::Connections(p), Domain::Vector(q)) => receives[p] == q,
                    (Domain::Samples(p) | Domain::Vector(p), Domain::BatchScalar(q)) => p == q,
                    _ => false,
                });
                let sent = self.pick(&sources)?;
                let how = if self.chance(2) { Reduction::Sum } else { Reduction::Max };
                taken.push(into);
                Some(op(name, What::Reduce { from: sent, how }, [(into, arriving())]))
            }
            4 => {
                let samples = self.slots(|h| h == Domain::Samples(from));
                let into = self.pick(&samples).filter(|s| !taken.contains(s))?;
                let units = self.held(|h| h == Domain::Units(from));
                let sent = self.pick(&units)?;
                use Reduction::{Argmax, Max, Squares, Sum, Top};
                let how = [Sum, Max, Argmax, Top(2), Squares][self.r.below(5) as usize];
                taken.push(into);
                Some(op(name, What::Reduce { from: sent, how }, [(into, arriving())]))
            }
            _ => {
                let units = self.slots(|h| h == Domain::Units(to));
                let forbidden = [self.plan.input(), self.plan.target()];
                let into = self.pick(&units).filter(|s| !taken.contains(s) && !forbidden.contains(s))?;
                taken.push(into);
                let stream = self.r.below(3) as u32;
                let draw = if self.chance(2) { Draw::Bell { stream } } else { Draw::Uniform { stream } };
                Some(op(name, What::Draw(draw), [(into, arriving())]))
            }
        }
    }

    fn declare(&mut self) {
        for index in 0..self.r.below(3) {
            let [a, b] = [0; 2].map(|_| self.r.below(self.plan.populations.len() as u64) as usize);
            let same = self.plan.populations[a].n == self.plan.populations[b].n;
            let identity = same && self.chance(2);
            let bias = self.chance(2);
            let kind = if identity { Connection::Identity } else { Connection::Dense { bias } };
            let p = self.plan.project(format!("extra {index}"), a, b, kind);
            if !identity {
                let start = Initial::Uniform { bound: 0.5, index: 50 + index };
                let slot = self.plan.keep("w", format!("w{p}"), Domain::Connections(p), start);
                self.written.push(slot);
            }
        }
        for p in 0..self.plan.populations.len() {
            for name in UNITS.iter().take(self.r.below(4) as usize) {
                self.plan.declare(name, format!("{name}{p}"), Domain::Units(p));
            }
            self.plan.declare("sa", format!("sa{p}"), Domain::Samples(p));
            self.plan.declare("vb", format!("vb{p}"), Domain::Vector(p));
            if p == 0 {
                self.plan.declare("oa", "oa".into(), Domain::BatchScalar(p));
                let slot = self.plan.keep("ob", "ob".into(), Domain::BatchScalar(p), Initial::Zero);
                self.written.push(slot);
            }
            if self.chance(3) {
                let slot = self.plan.remember("ra", format!("ra{p}"), p);
                self.written.push(slot);
            }
            if self.chance(2) {
                let slot = self.plan.keep("va", format!("va{p}"), Domain::Vector(p), Initial::Zero);
                self.written.push(slot);
            }
        }
        for p in 0..self.plan.projections.len() {
            if self.plan.projections[p].kind != Connection::Identity && self.chance(3) {
                let name = CONNECTIONS[self.r.below(2) as usize];
                if self.chance(2) {
                    self.plan.declare(name, format!("{name}{p}"), Domain::Connections(p));
                } else {
                    let slot = self.plan.keep(name, format!("{name}{p}"), Domain::Connections(p), Initial::Zero);
                    self.written.push(slot);
                }
            }
        }
    }

    fn learn(&mut self) {
        for t in 0..=self.r.below(3) as usize {
            let times = if self.chance(3) { 3 } else { 1 };
            let mut steps = Vec::new();
            for _ in 0..=self.r.below(3) {
                let mut taken = Vec::new();
                let ops: Vec<Op> = (0..=self.r.below(3)).filter_map(|_| self.op(&mut taken)).collect();
                let ops: Vec<Op> = ops.into_iter().filter(|op| !op.epilogue.is_empty()).collect();
                self.written.extend(ops.iter().flat_map(Op::writes));
                if !ops.is_empty() {
                    steps.push(ops);
                }
            }
            if !steps.is_empty() {
                self.plan.moments.push(Moment { stage: Stage::Learning(t), steps, times });
            }
        }
    }
}

/// A random plan on a random chain, with additional random slots and projections.
fn make(r: &mut Random, wild: bool) -> Plan {
    let size = |r: &mut Random| 1 + r.below(9) as usize;
    let layers: Vec<usize> = (0..2 + r.below(3)).map(|_| size(r)).collect();
    let activation = Activation::MONOTONE[r.below(6) as usize];
    let network = Network::new(&layers).expect("layers").with_activation(activation).with_bias(r.below(2) == 0);
    let options = Options { alpha: 0.0625, seed: r.below(1 << 40), ..Options::new(Rule::of(&RANDOM)) };
    let mut chain = Chain::new(&network, &options);
    chain.predict_all();
    let plan = chain.plan;
    let held = plan.ops().flat_map(Op::writes).chain([plan.input(), plan.target()]);
    let persistent = plan.slots.iter().enumerate().filter(|(_, s)| s.persistent).map(|(s, _)| SlotId(s));
    let written = held.chain(persistent).collect();
    let mut maker = Maker { r, plan, written, wild };
    maker.declare();
    maker.learn();
    let mut plan = maker.plan;
    for s in 0..plan.slots.len() {
        let written = plan.ops().any(|op| op.writes().any(|to| to == SlotId(s)));
        plan.slots[s].observed = written;
    }
    plan
}

/// Asserts that every slot written by the plan is within its bound.
fn check(name: &str, plan: &Plan, reference: &Interpreter, slot: impl Fn(SlotId) -> Option<ndarray::Array2<f64>>) {
    for (s, declared) in plan.slots.iter().enumerate().filter(|(_, s)| s.observed) {
        let (Some(want), Some(got)) = (reference.slot(SlotId(s)), slot(SlotId(s))) else {
            panic!("{name}: {} is not stored: {plan:#?}", declared.symbol)
        };
        assert_eq!(got.dim(), want.v.dim(), "{name}: {}", declared.symbol);
        for (at, got) in got.indexed_iter() {
            let (v, e) = (want.v[at], want.e[at]);
            let off = (got - v).abs();
            assert!(
                off <= e || !e.is_finite(),
                "{name}: {} {at:?} is {got:e}, not {v:e} ± {e:e}: {plan:#?}",
                declared.symbol
            );
        }
    }
}

/// Plans that pass the check, with their indices.
fn plans(count: usize, seed: u64) -> impl Iterator<Item = (usize, Plan)> {
    let mut r = random(seed, 9);
    let mut made = 0;
    std::iter::from_fn(move || {
        loop {
            let plan = make(&mut r, false);
            made += 1;
            assert!(made < 4 * count, "most plans are refused");
            if plan.check().is_ok() {
                return Some(plan);
            }
        }
    })
    .take(count)
    .enumerate()
}

/// The chain of layers of a plan.
fn chain_of(plan: &Plan) -> Network {
    let layers: Vec<usize> = plan.populations[..=plan.layers].iter().rev().map(|layer| layer.n).collect();
    Network::new(&layers).expect("layers").with_bias(plan.biased(0))
}

const BATCH: usize = 5;

#[test]
fn thousands_of_random_plans_are_correct_on_the_cpu() {
    let mut learned = 0;
    for (i, plan) in plans(4000, 40) {
        let (data, weights) = (data(&chain_of(&plan), BATCH, 1, 41), weights(&chain_of(&plan), 42));
        let order = order(BATCH, 2 * BATCH, 43);
        let accuracy = Accuracy { open: true, ..Accuracy::CPU };
        let mut reference = Interpreter::new(&plan, &weights, accuracy);
        order.chunks(BATCH).for_each(|batch| reference.update(&data.train, batch));
        let device = cpu_device(1 + i % 2);
        let open = |evaluated: bool| {
            let data = Arc::clone(&data);
            let session = if evaluated {
                device.session_evaluated(&plan, BATCH, data, &weights)
            } else {
                device.session(&plan, BATCH, data, &weights)
            };
            let mut session = session.expect("a session");
            session.run(&order);
            session
        };
        let (by_hand, evaluated) = (open(false), open(true));
        check(&format!("plan {i}"), &plan, &reference, |slot| by_hand.slot(slot));
        for (s, slot) in plan.slots.iter().enumerate().filter(|(_, s)| s.observed) {
            let bits = |a: Option<ndarray::Array2<f64>>| a.map(|a| a.mapv(|v| if v == 0.0 { 0 } else { v.to_bits() }));
            let [a, b] = [by_hand.slot(SlotId(s)), evaluated.slot(SlotId(s))].map(bits);
            assert_eq!(a, b, "plan {i}: {} differs between the fused kernel and the evaluator: {plan:#?}", slot.symbol);
        }
        learned += usize::from(!by_hand.weights().bit_identical(&weights));
    }
    assert!(learned > 400, "only {learned} plans changed a weight");
}

/// Each new formula must be compiled as a shader, so there are fewer plans.
#[test]
fn random_plans_are_correct_on_the_gpu() {
    let device = gpu();
    let gpu = device.as_gpu().expect("a GPU").clone();
    let mut ran = 0;
    for (i, plan) in plans(60, 50) {
        let (data, weights) = (data(&chain_of(&plan), BATCH, 1, 51), weights(&chain_of(&plan), 52));
        let order = order(BATCH, 2 * BATCH, 53);
        let mut reference = Interpreter::new(&plan, &weights, Accuracy { open: true, ..Accuracy::GPU });
        order.chunks(BATCH).for_each(|batch| reference.update(&data.train, batch));
        let resident = gpu.upload(&data).expect("upload");
        // An epilogue with too many slots is refused with a reason.
        let mut session = match gpu.session(&plan, BATCH, resident, &weights) {
            Ok(session) => zilch::device::BlockingSession::from(session),
            Err(error) => {
                assert!(error.to_string().contains("Split the op"), "plan {i}: {error}");
                continue;
            }
        };
        session.run(&order).expect("run");
        check(&format!("plan {i}"), &plan, &reference, |slot| session.slot(slot).expect("slot"));
        ran += 1;
    }
    assert!(ran > 50, "only {ran} ran");
}

/// A damaged plan is refused with a reason or runs. Formulas that produce NaN do not cause a panic.
#[test]
fn broken_plans_are_refused_and_wild_ones_run() {
    let mut r = random(60, 9);
    let (mut refused, mut ran) = (0, 0);
    for i in 0..4000 {
        let mut plan = make(&mut r, true);
        if i % 2 == 0 {
            damage(&mut plan, &mut r);
        }
        match plan.check() {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("the plan of random cannot run: "), "{text}");
                refused += 1;
            }
            Ok(()) => {
                let _ = (plan.to_string(), plan.cost(BATCH), plan.properties());
                let (data, weights) = (data(&chain_of(&plan), BATCH, 1, 61), weights(&chain_of(&plan), 62));
                if let Ok(mut session) = cpu_device(1).session(&plan, BATCH, data, &weights) {
                    session.run(&order(BATCH, BATCH, 63));
                    ran += 1;
                }
            }
        }
    }
    assert!(refused > 500 && ran > 500, "{refused} refused, {ran} ran");
}

/// Makes one random part of a plan wrong.
fn damage(plan: &mut Plan, r: &mut Random) {
    let moment = r.below(plan.moments.len() as u64) as usize;
    let other = SlotId(r.below(plan.slots.len() as u64 + 2) as usize);
    let place = r.below(plan.populations.len() as u64 + 1) as usize;
    match r.below(8) {
        0 => plan.moments[moment].times = 0,
        1 => {
            let slot = other.0 % plan.slots.len();
            plan.slots[slot].home = Domain::Units(place);
        }
        2 => plan.feeds[0].slot = other,
        3 => plan.output = other,
        4 => {
            let p = r.below(plan.projections.len() as u64) as usize;
            plan.projections[p].to = place;
        }
        _ => {
            let Some(op) = plan.moments[moment].steps.iter_mut().flatten().next() else { return };
            match (r.below(4), &mut op.what) {
                (0, What::Send { from, .. } | What::Reduce { from, .. }) => *from = other,
                (1, What::Send { weights, .. }) => *weights = (r.below(2) == 0).then_some(other),
                (2, What::Send { projection, .. } | What::OuterProduct { projection, .. }) => *projection = place,
                _ => {
                    if let Some(end) = op.epilogue.first_mut() {
                        end.to = other;
                    }
                }
            }
        }
    }
}
