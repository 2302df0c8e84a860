//! An interpreter of plans in float64. It runs op by op as [`zilch::plan`] defines them, and propagates a bound of the rounding error
//! with every value.
//!
//! A value `v ± e` means: a device whose operations have a relative error of at most `u` ends within `e` of `v`, in any order of the sums
//! and with or without fused multiply-add. A sum of K products has an error of γ_K |A||B| with γ_K = K u / (1 − K u) (Higham, Accuracy
//! and Stability, 3.5), plus the propagated errors of its operands. Comparisons are decided by `v`. The interpreter shares no code with
//! the devices and does not know rules, schedules or launches.

use crate::float64::U;
use ndarray::{Array1, Array2, Axis, Zip};
use std::collections::BTreeMap;
use zilch::data::Dataset;
use zilch::plan::expr::{Binary, Expr, Unary};
use zilch::plan::{Connection, Direction, Domain, Draw, Op, Reduction, SlotId, What};
use zilch::random::Counter;
use zilch::{Activation, Plan, Weights};

/// The accuracy that a device guarantees.
#[derive(Clone, Copy)]
pub(crate) struct Accuracy {
    /// Largest relative error of an addition, multiplication or fused multiply-add.
    pub(crate) u: f64,
    /// Largest relative error of e^x, square root, quotient, sigmoid and tanh.
    pub(crate) f: f64,
    /// Whether comparisons within the bounds may come out either way. (Comparisons of φ on the ε of a layer at rest are not affected:
    /// values that the bounds call nearly 0 are then 0 on every device.)
    pub(crate) open: bool,
}

impl Accuracy {
    /// Round to nearest; f within the 5 ulp that its unit tests assert.
    pub(crate) const CPU: Accuracy = Accuracy { u: U, f: 5.0 * 2.0 * U, open: false };
    /// WGSL lets an operation round to either neighbour and divide within 2.5 ulp: f within 8 ulp.
    pub(crate) const GPU: Accuracy = Accuracy { u: 2.0 * U, f: 8.0 * 2.0 * U, open: false };
    /// No rounding at all, for values with so few bits that no operation rounds.
    pub(crate) const EXACT: Accuracy = Accuracy { u: 0.0, f: 0.0, open: false };

    /// γ_k
    fn gamma(self, k: usize) -> f64 {
        let ku = k as f64 * self.u;
        ku / (1.0 - ku)
    }

    /// The error of k operations by underflow to subnormal numbers.
    fn tiny(self, k: usize) -> f64 {
        if self.u == 0.0 { 0.0 } else { k as f64 * f64::from(f32::MIN_POSITIVE) }
    }
}

/// Values v with bounds e.
#[derive(Clone)]
pub(crate) struct Bounded {
    pub(crate) v: Array2<f64>,
    pub(crate) e: Array2<f64>,
}

impl Bounded {
    fn exact(v: Array2<f64>) -> Self {
        let e = Array2::zeros(v.dim());
        Bounded { v, e }
    }

    fn size(&self) -> Array2<f64> {
        self.v.mapv(f64::abs) + &self.e
    }

    fn t(&self) -> Bounded {
        Bounded { v: self.v.t().to_owned(), e: self.e.t().to_owned() }
    }

    /// self · other
    fn dot(&self, other: &Bounded, accuracy: Accuracy) -> Bounded {
        let k = self.v.ncols();
        let inherited = self.size().dot(&other.e) + self.e.dot(&other.v.mapv(f64::abs));
        let e = inherited + self.size().dot(&other.size()) * accuracy.gamma(k) + accuracy.tiny(k);
        Bounded { v: self.v.dot(&other.v), e }.sound()
    }

    /// Applies `one` to v and e of every element.
    fn map(&self, one: impl Fn(f64, f64) -> (f64, f64)) -> Bounded {
        let mut to = self.clone();
        Zip::from(&mut to.v).and(&mut to.e).for_each(|v, e| (*v, *e) = one(*v, *e));
        to.sound()
    }

    /// Applies `one` to both v and e of every pair of elements.
    fn zip(&self, other: &Bounded, one: impl Fn((f64, f64), (f64, f64)) -> (f64, f64)) -> Bounded {
        let mut to = self.clone();
        let other = other.broadcast(self.v.dim());
        Zip::from(&mut to.v)
            .and(&mut to.e)
            .and(&other.v)
            .and(&other.e)
            .for_each(|v, e, &w, &d| (*v, *e) = one((*v, *e), (w, d)));
        to.sound()
    }

    /// Replaces the NaN from 0 times an infinite bound by an infinite bound.
    fn sound(mut self) -> Bounded {
        self.e.mapv_inplace(|e| if e.is_nan() { f64::INFINITY } else { e });
        self
    }

    fn broadcast(&self, shape: (usize, usize)) -> Bounded {
        let wide = |a: &Array2<f64>| a.broadcast(shape).expect("a slot that fits").to_owned();
        Bounded { v: wide(&self.v), e: wide(&self.e) }
    }

    /// a + s b, rounded.
    fn plus(&self, s: f64, other: &Bounded, accuracy: Accuracy) -> Bounded {
        self.zip(other, |(a, d), (b, e)| {
            let (v, e) = (a + s * b, d + s.abs() * e);
            (v, (v.abs() + e) * accuracy.u + e)
        })
    }

    /// a ∘ b, rounded.
    fn by(&self, other: &Bounded, accuracy: Accuracy) -> Bounded {
        self.zip(other, |(a, d), (b, e)| {
            let inherited = (a.abs() + d) * e + d * b.abs();
            (a * b, inherited + (a.abs() + d) * (b.abs() + e) * accuracy.u + accuracy.tiny(1))
        })
    }

    /// a ÷ b
    fn over(&self, other: &Bounded, accuracy: Accuracy) -> Bounded {
        self.zip(other, |(a, d), (b, e)| {
            let v = a / b;
            let left = b.abs() - e;
            let inherited = if left > 0.0 { (d + v.abs() * e) / left } else { f64::INFINITY };
            (v, inherited + (v.abs() + inherited) * accuracy.f + accuracy.tiny(1))
        })
    }

    /// f of every element.
    fn f(&self, activation: Activation, accuracy: Accuracy) -> Bounded {
        let f = |x: f64| match activation {
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(Activation::LEAK * x),
            Activation::Identity => x,
            Activation::HardTanh => x.clamp(-1.0, 1.0),
            Activation::Gelu => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
        };
        let (steepest, loss) = match activation {
            Activation::Sigmoid => (0.25, accuracy.f),
            Activation::Tanh => (1.0, accuracy.f),
            // The slope 0.01 is itself rounded.
            Activation::LeakyRelu => (1.0, accuracy.gamma(2)),
            Activation::Relu | Activation::Identity | Activation::HardTanh => (1.0, 0.0),
            Activation::Gelu => (1.13, 2.0 * accuracy.f + accuracy.gamma(8)),
        };
        self.map(|x, e| {
            let (v, e) = (f(x), e * steepest);
            (v, (v.abs() + e) * loss + e + accuracy.tiny(4))
        })
    }

    /// f′ from h = f(x). If a kink is within the bound, either derivative is possible.
    fn f_prime(&self, activation: Activation, accuracy: Accuracy) -> Bounded {
        let Accuracy { u, .. } = accuracy;
        let bend = |left: f64, h: f64, e: f64| {
            let v = if h > 0.0 { 1.0 } else { left };
            (v, if h != 0.0 && h.abs() <= e || h == 0.0 && e > accuracy.tiny(4) { 1.0 - left } else { u * left })
        };
        self.map(|h, e| match activation {
            Activation::Sigmoid => (h * (1.0 - h), ((1.0 - 2.0 * h).abs() + e) * e + 3.0 * u * (h * (1.0 - h)).abs()),
            Activation::Tanh => (1.0 - h * h, (2.0 * h.abs() + e) * e + 2.0 * u),
            Activation::Relu => bend(0.0, h, e),
            Activation::LeakyRelu => bend(Activation::LEAK, h, e),
            Activation::Identity => (1.0, 0.0),
            Activation::HardTanh => {
                let inside = h.abs() < 1.0;
                (f64::from(u8::from(inside)), if (h.abs() - 1.0).abs() <= e { 1.0 } else { 0.0 })
            }
            Activation::Gelu => panic!("no slope from f(x)"),
        })
    }
}

/// The values of a slot. For connections they include the biases.
#[derive(Clone)]
struct Held {
    /// [batch, n], [1, n], [batch, 1] or [n_to, n_from]
    numbers: Bounded,
    /// [n_to, 1]
    bias: Option<Bounded>,
}

/// A network after some updates of a plan, with its bounds.
pub(crate) struct Interpreter {
    plan: Plan,
    accuracy: Accuracy,
    slots: Vec<Option<Held>>,
    /// Per slot and example: the values of per-example slots.
    examples: BTreeMap<(usize, u32), [Array1<f64>; 2]>,
    updates: u64,
    batch: usize,
}

impl Interpreter {
    /// Before the first update.
    pub(crate) fn new(plan: &Plan, weights: &Weights, accuracy: Accuracy) -> Self {
        let slots = plan.slots.iter().enumerate().map(|(s, slot)| match slot.home {
            Domain::Connections(_) => {
                let (w, b) = plan.initial(SlotId(s), weights);
                let column = |b: Array1<f32>| Bounded::exact(b.mapv(f64::from).insert_axis(Axis(1)));
                Some(Held { numbers: Bounded::exact(w.mapv(f64::from)), bias: b.map(column) })
            }
            Domain::Vector(p) => {
                let numbers = Bounded::exact(Array2::zeros((1, plan.populations[p].n)));
                Some(Held { numbers, bias: None })
            }
            Domain::BatchScalar(_) => Some(Held { numbers: Bounded::exact(Array2::zeros((1, 1))), bias: None }),
            _ => None,
        });
        let examples = BTreeMap::new();
        Interpreter { slots: slots.collect(), examples, plan: plan.clone(), accuracy, updates: 0, batch: 0 }
    }

    /// One update on these samples.
    pub(crate) fn update(&mut self, data: &Dataset, order: &[u32]) {
        (self.updates, self.batch) = (self.updates + 1, order.len());
        let mut input = Array2::zeros((order.len(), self.plan.inputs()));
        let mut target = Array2::zeros((order.len(), self.plan.outputs()));
        for (row, &sample) in order.iter().enumerate() {
            let image = data.images().row(sample as usize);
            // The devices' input: u8 / 255 in float32, correctly rounded.
            input.row_mut(row).assign(&image.mapv(|p| f64::from(f32::from(p) / 255.0)));
            target[(row, usize::from(data.labels()[sample as usize]))] = 1.0;
        }
        let [at, goal] = [self.plan.input(), self.plan.target()];
        let input = Bounded::exact(input).f(self.plan.images().expect("images").1.activation, self.accuracy);
        self.slots[at.0] = Some(Held { numbers: input, bias: None });
        self.slots[goal.0] = Some(Held { numbers: Bounded::exact(target), bias: None });
        self.examples(order, true);
        for moment in self.plan.moments.clone() {
            for _ in 0..moment.times {
                moment.steps.iter().for_each(|ops| self.step(ops));
            }
        }
        self.examples(order, false);
    }

    /// Copies the per-example values into the batch, or back.
    fn examples(&mut self, order: &[u32], put: bool) {
        for s in (0..self.plan.slots.len()).filter(|s| self.plan.slots[*s].per_example) {
            let (rows, cols) = self.shape(self.plan.slots[s].home);
            let empty = || Bounded::exact(Array2::zeros((rows, cols)));
            let mut numbers = if put { empty() } else { self.held(SlotId(s)).numbers.clone() };
            for (row, &sample) in order.iter().enumerate() {
                if put {
                    let Some([v, e]) = self.examples.get(&(s, sample)) else { continue };
                    numbers.v.row_mut(row).assign(v);
                    numbers.e.row_mut(row).assign(e);
                } else {
                    let rows = [numbers.v.row(row).to_owned(), numbers.e.row(row).to_owned()];
                    self.examples.insert((s, sample), rows);
                }
            }
            self.slots[s] = Some(Held { numbers, bias: None });
        }
    }

    /// All ops of a step read the old values; then all write.
    fn step(&mut self, ops: &[Op]) {
        let written: Vec<(SlotId, Held)> = ops.iter().flat_map(|op| self.op(op)).collect();
        for (to, held) in written {
            self.slots[to.0] = Some(held);
        }
    }

    fn held(&self, slot: SlotId) -> &Held {
        self.slots[slot.0].as_ref().expect("a slot that was written")
    }

    fn op(&self, op: &Op) -> Vec<(SlotId, Held)> {
        let (arrived, bias) = self.arrives(op);
        let eval = |expr: &Expr, to: SlotId| {
            let shape = self.shape(self.plan.slot(to).home);
            let connections = matches!(self.plan.slot(to).home, Domain::Connections(_));
            // One value per receiving unit is one value per row of weights.
            let at = |slot: SlotId| match self.plan.slot(slot).home {
                Domain::Vector(_) if connections => self.held(slot).numbers.t(),
                _ => self.held(slot).numbers.clone(),
            };
            let numbers = self.eval(expr, (shape.1, true), arrived.as_ref(), &at).broadcast(shape);
            let Domain::Connections(p) = self.plan.slot(to).home else { return Held { numbers, bias: None } };
            let biased = self.plan.projections[p].kind == Connection::Dense { bias: true };
            let at = |slot: SlotId| match self.plan.slot(slot).home {
                Domain::Connections(_) => self.held(slot).bias.clone().expect("biases"),
                _ => self.held(slot).numbers.t(),
            };
            let column = |b: Bounded| b.broadcast((shape.0, 1));
            Held { numbers, bias: biased.then(|| column(self.eval(expr, (1, false), bias.as_ref(), &at))) }
        };
        op.epilogue.iter().map(|end| (end.to, eval(&end.expr, end.to))).collect()
    }

    fn shape(&self, home: Domain) -> (usize, usize) {
        let n = |p: usize| self.plan.populations[p].n;
        match home {
            Domain::Units(p) => (self.batch, n(p)),
            Domain::Vector(p) => (1, n(p)),
            Domain::Samples(_) => (self.batch, 1),
            Domain::BatchScalar(_) => (1, 1),
            Domain::Connections(p) => (n(self.plan.projections[p].to), n(self.plan.projections[p].from)),
        }
    }

    /// The sum that arrives, and its counterpart for biases.
    fn arrives(&self, op: &Op) -> (Option<Bounded>, Option<Bounded>) {
        let accuracy = self.accuracy;
        let numbers = |slot: SlotId| &self.held(slot).numbers;
        match op.what {
            What::Map(_) => (None, None),
            What::Send { from, weights: None, .. } => (Some(numbers(from).clone()), None),
            What::Send { from, weights: Some(w), direction: Direction::Backward, .. } => {
                (Some(numbers(from).dot(numbers(w), accuracy)), None)
            }
            What::Send { from, weights: Some(w), direction: Direction::Forward, .. } => {
                let sum = numbers(from).dot(&numbers(w).t(), accuracy);
                let bias = self.held(w).bias.as_ref().map(Bounded::t);
                (Some(bias.map_or(sum.clone(), |b| sum.plus(1.0, &b, accuracy))), None)
            }
            What::OuterProduct { post, pre, .. } => {
                let post = numbers(post).t();
                let ones = Bounded::exact(Array2::ones((self.batch, 1)));
                (Some(post.dot(numbers(pre), accuracy)), Some(post.dot(&ones, accuracy)))
            }
            What::Reduce { from, how } => {
                let result = self.plan.slot(op.epilogue[0].to).home;
                let reduced = match (self.plan.slot(from).home, result) {
                    (Domain::Units(_), Domain::Vector(_)) => self.reduce(&numbers(from).t(), how).t(),
                    (Domain::Samples(_), _) => self.reduce(&numbers(from).t(), how),
                    (Domain::Connections(_), _) => self.reduce(numbers(from), how).t(),
                    _ => self.reduce(numbers(from), how),
                };
                (Some(reduced), None)
            }
            What::Draw(Draw::Normal { .. }) => panic!("noise has no reference"),
            What::Draw(draw) => {
                let counter = Counter::new(self.plan.task.seed, self.updates - 1);
                let to = op.epilogue[0].to;
                let (rows, cols) = self.shape(self.plan.slot(to).home);
                let one = |(i, j): (usize, usize)| {
                    let index = (i * cols + j) as u32;
                    f64::from(match draw {
                        Draw::Bell { stream } => counter.bell(stream, index),
                        Draw::Uniform { stream } => counter.uniform(stream, index),
                        Draw::Normal { .. } => f32::NAN,
                    })
                };
                (Some(Bounded::exact(Array2::from_shape_fn((rows, cols), one))), None)
            }
        }
    }

    fn reduce(&self, from: &Bounded, how: Reduction) -> Bounded {
        let n = from.v.ncols();
        if how == Reduction::Sum {
            return from.dot(&Bounded::exact(Array2::ones((n, 1))), self.accuracy);
        }
        if how == Reduction::Squares {
            return from.by(from, self.accuracy).dot(&Bounded::exact(Array2::ones((n, 1))), self.accuracy);
        }
        let pick = |i: usize| {
            let mut places: Vec<usize> = (0..n).collect();
            // The largest values first; of equal values the first. (0 and −0 are equal here, unlike in a total order.)
            places.sort_by(|a, b| from.v[(i, *b)].partial_cmp(&from.v[(i, *a)]).unwrap_or(std::cmp::Ordering::Equal));
            match how {
                Reduction::Top(k) => places[(k as usize).min(n) - 1],
                _ => places[0],
            }
        };
        let value = |i: usize| if how == Reduction::Argmax { pick(i) as f64 } else { from.v[(i, pick(i))] };
        let error =
            |i: usize| if how == Reduction::Argmax { 0.0 } else { from.e.row(i).fold(0.0f64, |m, e| m.max(*e)) };
        Bounded {
            v: Array2::from_shape_fn((from.v.nrows(), 1), |(i, _)| value(i)),
            e: Array2::from_shape_fn((from.v.nrows(), 1), |(i, _)| error(i)),
        }
    }

    /// Evaluates a formula on `width` columns. For connections it evaluates weights or biases.
    fn eval(
        &self,
        expr: &Expr,
        (width, weights): (usize, bool),
        arrived: Option<&Bounded>,
        at: &dyn Fn(SlotId) -> Bounded,
    ) -> Bounded {
        let accuracy = self.accuracy;
        let parts: Vec<Bounded> =
            expr.parts().iter().map(|part| self.eval(part, (width, weights), arrived, at)).collect();
        let scalar = |v: f64| {
            let exact = accuracy.u == 0.0 || f64::from(v as f32) == v;
            Bounded {
                v: Array2::from_elem((1, 1), v),
                e: Array2::from_elem((1, 1), if exact { 0.0 } else { v.abs() * accuracy.u }),
            }
        };
        // The shapes of all operands, including scalars and one value per sample.
        let parts = widened(parts);
        match expr {
            Expr::Arriving => arrived.expect("something arrives").clone(),
            Expr::Slot(slot) | Expr::Stored(slot) => at(*slot),
            Expr::Param(p) => scalar(self.plan.value(*p, self.updates, self.batch)),
            Expr::Const(c) => scalar(*c),
            Expr::Weight => scalar(f64::from(u8::from(weights))),
            Expr::Unit => Bounded::exact(Array2::from_shape_fn((1, width), |(_, j)| j as f64)),
            Expr::Unary(op, _) => unary(*op, &parts[0], accuracy),
            Expr::Binary(op, _) => binary(*op, &parts[0], &parts[1], accuracy),
            Expr::Fma(_) => parts[0].by(&parts[1], accuracy).plus(1.0, &parts[2], accuracy),
            Expr::Select(_) => {
                let [c, a, b] = [&parts[0], &parts[1], &parts[2]];
                let mut to = b.clone();
                for at in ndarray::indices(to.v.dim()) {
                    let (yes, no) = ((a.v[at], a.e[at]), (b.v[at], b.e[at]));
                    let (taken, other) = if c.v[at] != 0.0 { (yes, no) } else { (no, yes) };
                    let either = accuracy.open && c.e[at] >= c.v[at].abs() && c.e[at] > 0.0;
                    let apart = if either { (taken.0 - other.0).abs() + other.1 } else { 0.0 };
                    (to.v[at], to.e[at]) = (taken.0, taken.1.max(apart));
                }
                to
            }
        }
    }

    /// The contents of a slot.
    pub(crate) fn slot(&self, slot: SlotId) -> Option<&Bounded> {
        self.slots[slot.0].as_ref().map(|held| &held.numbers)
    }

    /// θ^1 .. θ^lmax, and then b^1 .., one row each.
    pub(crate) fn parameters(&self) -> impl Iterator<Item = Bounded> {
        let theta = |l: usize| self.held(self.plan.theta(l).expect("weights"));
        let lmax = self.plan.matrices();
        let weights = (1..=lmax).map(move |l| theta(l).numbers.clone());
        weights.chain((1..=lmax).filter_map(move |l| theta(l).bias.as_ref().map(Bounded::t)))
    }
}

/// Broadcasts all parts to the widest shape.
fn widened(parts: Vec<Bounded>) -> Vec<Bounded> {
    let rows = parts.iter().map(|p| p.v.nrows()).max().unwrap_or(0);
    let cols = parts.iter().map(|p| p.v.ncols()).max().unwrap_or(0);
    parts.into_iter().map(|p| p.broadcast((rows, cols))).collect()
}

fn unary(op: Unary, a: &Bounded, accuracy: Accuracy) -> Bounded {
    match op {
        Unary::Neg => a.map(|v, e| (-v, e)),
        Unary::Abs => a.map(|v, e| (v.abs(), e)),
        Unary::Sign => a.map(|v, e| {
            let open = accuracy.open && e > 0.0 && v.abs() <= e;
            (if v == 0.0 { 0.0 } else { v.signum() }, if open { 2.0 } else { 0.0 })
        }),
        Unary::Sqrt => a.map(|v, e| {
            let (root, off) = (v.max(0.0).sqrt(), (v.max(0.0) + e).sqrt() - (v - e).max(0.0).sqrt());
            (root, off + (root + off) * accuracy.f + accuracy.tiny(1))
        }),
        Unary::Exp => a.map(|v, e| {
            let (power, off) = (v.exp(), (v + e).exp() - v.exp());
            (power, off + (power + off) * accuracy.f + accuracy.tiny(1))
        }),
        Unary::F(f) => a.f(f, accuracy),
        Unary::Slope(f) => a.f_prime(f, accuracy),
    }
}

fn binary(op: Binary, a: &Bounded, b: &Bounded, accuracy: Accuracy) -> Bounded {
    let truth = |holds: bool, apart: f64, e: f64| {
        let open = accuracy.open && e > 0.0 && apart.abs() <= e;
        (f64::from(u8::from(holds)), if open { 1.0 } else { 0.0 })
    };
    match op {
        Binary::Add => a.plus(1.0, b, accuracy),
        Binary::Sub => a.plus(-1.0, b, accuracy),
        Binary::Mul => a.by(b, accuracy),
        Binary::Div => a.over(b, accuracy),
        Binary::Min => a.zip(b, |(a, d), (b, e)| (a.min(b), d.max(e))),
        Binary::Max => a.zip(b, |(a, d), (b, e)| (a.max(b), d.max(e))),
        Binary::Less => a.zip(b, |(a, d), (b, e)| truth(a < b, a - b, d + e)),
        Binary::Equal => a.zip(b, |(a, d), (b, e)| truth(a == b, a - b, d + e)),
    }
}
