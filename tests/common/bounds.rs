//! Plans interpreted in float64, op by op as [`zilch::plan`] defines them, with a rounding-error bound
//! carried along with every number.
//!
//! A number `v ± e` says: whatever the order of the sums, and whether multiplications and additions are fused,
//! a device whose operations are off by at most `u`, relative, ends within `e` of `v`. A sum of K products is
//! off by γ_K |A||B| with γ_K = K u / (1 − K u) (Higham, Accuracy and Stability, 3.5), and by what its
//! operands were off already. It shares no code with the devices and knows nothing of schedules or launches.

use ndarray::{Array1, Array2, Axis, Zip};
use zilch::data::Dataset;
use zilch::plan::{Op, Slot, Stage};
use zilch::{Activation, Coords, Plan, Weights};

/// How accurate a device promises to be.
#[derive(Clone, Copy)]
pub(crate) struct Accuracy {
    /// Largest relative error of an addition, multiplication or fused pair of them.
    pub(crate) u: f64,
    /// The same of the sigmoid and of tanh.
    pub(crate) f: f64,
}

impl Accuracy {
    /// Round to nearest; f within the 5 ulp that its unit tests assert.
    pub(crate) const CPU: Accuracy = Accuracy { u: super::common::U, f: 5.0 * 2.0 * super::common::U };
    /// WGSL lets an operation round to either neighbour and divide within 2.5 ulp: f within 8 ulp.
    pub(crate) const GPU: Accuracy = Accuracy { u: 2.0 * super::common::U, f: 8.0 * 2.0 * super::common::U };
    /// No rounding at all, for numbers of so few bits that there is none.
    pub(crate) const EXACT: Accuracy = Accuracy { u: 0.0, f: 0.0 };

    /// γ_k
    fn gamma(self, k: usize) -> f64 {
        let ku = k as f64 * self.u;
        ku / (1.0 - ku)
    }

    /// What k operations may lose by going below the normal numbers.
    fn tiny(self, k: usize) -> f64 {
        if self.u == 0.0 { 0.0 } else { k as f64 * f64::from(f32::MIN_POSITIVE) }
    }
}

/// Numbers v with bounds e.
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
        Bounded { v: self.v.dot(&other.v), e }
    }

    /// a + s b, rounded.
    fn plus(&self, s: f64, other: &Bounded, accuracy: Accuracy) -> Bounded {
        let v = &self.v + &(&other.v * s);
        let e = &self.e + &(&other.e * s.abs());
        let e = (&v.mapv(f64::abs) + &e) * accuracy.u + &e;
        Bounded { v, e }
    }

    /// s a, rounded, s too.
    fn times(&self, s: f64, accuracy: Accuracy) -> Bounded {
        Bounded {
            v: &self.v * s,
            e: &self.e * s.abs() + self.size() * (s.abs() * accuracy.gamma(2)) + accuracy.tiny(1),
        }
    }

    /// a ∘ b, rounded.
    fn by(&self, other: &Bounded, accuracy: Accuracy) -> Bounded {
        let e = &self.size() * &other.e + &self.e * &other.v.mapv(f64::abs);
        Bounded { v: &self.v * &other.v, e: e + &self.size() * &other.size() * accuracy.u + accuracy.tiny(1) }
    }

    /// f of every number.
    fn f(&self, activation: Activation, accuracy: Accuracy) -> Bounded {
        let f = |x: f64| match activation {
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(Activation::LEAK * x),
            Activation::Identity => x,
        };
        let (steepest, loss) = match activation {
            Activation::Sigmoid => (0.25, accuracy.f),
            Activation::Tanh => (1.0, accuracy.f),
            // The slope 0.01 is itself rounded.
            Activation::LeakyRelu => (1.0, accuracy.gamma(2)),
            Activation::Relu | Activation::Identity => (1.0, 0.0),
        };
        let v = self.v.mapv(f);
        let e = &self.e * steepest;
        Bounded { e: (&v.mapv(f64::abs) + &e) * loss + &e + accuracy.tiny(4), v }
    }

    /// f′ from h = f(x); where a bend lies within the bound, either slope may come out.
    fn f_prime(&self, activation: Activation, accuracy: Accuracy) -> Bounded {
        let Accuracy { u, .. } = accuracy;
        let bend = |left: f64, h: f64, e: f64| {
            let v = if h > 0.0 { 1.0 } else { left };
            (v, if h != 0.0 && h.abs() <= e || h == 0.0 && e > accuracy.tiny(4) { 1.0 - left } else { u * left })
        };
        let one = |h: f64, e: f64| match activation {
            Activation::Sigmoid => (h * (1.0 - h), ((1.0 - 2.0 * h).abs() + e) * e + 3.0 * u * (h * (1.0 - h)).abs()),
            Activation::Tanh => (1.0 - h * h, (2.0 * h.abs() + e) * e + 2.0 * u),
            Activation::Relu => bend(0.0, h, e),
            Activation::LeakyRelu => bend(Activation::LEAK, h, e),
            Activation::Identity => (1.0, 0.0),
        };
        let mut slope = self.clone();
        Zip::from(&mut slope.v).and(&mut slope.e).for_each(|v, e| (*v, *e) = one(*v, *e));
        slope
    }
}

/// One layer's slots.
#[derive(Clone)]
struct Layer {
    x: Bounded,
    h: Bounded,
    mu: Bounded,
    mu_prev: Bounded,
    dx: Option<Bounded>,
    eps: Bounded,
    known: bool,
    /// The moment of the layer's last spike, for each sample.
    spike: Vec<Option<usize>>,
    gated: Bounded,
    quiet: Array2<u32>,
}

/// A network after some updates of a plan, with its bounds.
pub(crate) struct Interpreter {
    plan: Plan,
    accuracy: Accuracy,
    layers: Vec<Layer>,
    /// The moment of the step.
    t: usize,
    theta: Vec<Bounded>,
    /// [1, n] each
    bias: Vec<Bounded>,
}

impl Interpreter {
    /// Before the first update.
    pub(crate) fn new(plan: &Plan, weights: &Weights, accuracy: Accuracy) -> Self {
        let theta = weights.theta.iter().map(|t| Bounded::exact(t.mapv(f64::from))).collect();
        let row = |b: &Array1<f32>| Bounded::exact(b.mapv(f64::from).insert_axis(Axis(0)));
        Interpreter {
            plan: plan.clone(),
            accuracy,
            layers: Vec::new(),
            t: 0,
            theta,
            bias: weights.bias.iter().map(row).collect(),
        }
    }

    /// One update on these samples.
    pub(crate) fn update(&mut self, data: &Dataset, order: &[u32]) {
        let network = self.plan.network.clone();
        let lmax = network.lmax();
        let slots = |n: usize| Bounded::exact(Array2::zeros((order.len(), n)));
        self.layers = (0..=lmax)
            .map(|l| {
                let zero = slots(network.n(l));
                let [x, h, mu, mu_prev, eps, gated] = std::array::from_fn(|_| zero.clone());
                let quiet = Array2::from_elem(zero.v.dim(), self.plan.td);
                Layer { x, h, mu, mu_prev, dx: None, eps, known: false, spike: vec![None; order.len()], gated, quiet }
            })
            .collect();
        for (row, &sample) in order.iter().enumerate() {
            let image = data.images().row(sample as usize);
            // The devices' input: u8 / 255 in float32, correctly rounded.
            self.layers[lmax].x.v.row_mut(row).assign(&image.mapv(|p| f64::from(f32::from(p) / 255.0)));
            self.layers[0].x.v[(row, usize::from(data.labels()[sample as usize]))] = 1.0;
        }
        self.layers[lmax].h = self.layers[lmax].x.f(network.drive(lmax), self.accuracy);
        for step in self.plan.steps.clone() {
            self.t = if let Stage::Learning(t) = step.stage { t } else { 0 };
            self.step(&step.ops);
        }
    }

    fn step(&mut self, ops: &[Op]) {
        // μ, ε and φ one after the other; then x and θ together, from what holds now.
        ops.iter().for_each(|op| self.now(*op));
        let (mut moved, mut learned) = (Vec::new(), Vec::new());
        for op in ops {
            match *op {
                Op::Infer(l) | Op::Backprop(l) => {
                    let current = self.layers[l - 1].eps.dot(&self.theta[l - 1], self.accuracy);
                    moved.push((l, self.feedback(l, &current, matches!(op, Op::Backprop(_)))));
                }
                Op::Learn(l) => learned.push((l, self.learn(l, &self.layers[l].eps))),
                Op::LearnGated(l) => learned.push((l, self.learn(l, &self.layers[l].gated))),
                _ => {}
            }
        }
        for (l, step) in moved {
            let backprop = ops.contains(&Op::Backprop(l));
            let drive = self.plan.network.drive(l);
            let layer = &mut self.layers[l];
            if backprop {
                (layer.eps, layer.known) = (step, true);
                continue;
            }
            layer.x = layer.x.plus(1.0, &step, self.accuracy);
            layer.h = layer.x.f(drive, self.accuracy);
            layer.dx = Some(step);
        }
        for (l, (theta, bias)) in learned {
            self.theta[l] = theta;
            if let Some(bias) = bias {
                self.bias[l] = bias;
            }
        }
    }

    fn now(&mut self, op: Op) {
        let accuracy = self.accuracy;
        match op {
            Op::Predict(l) => {
                let mut mu = self.layers[l + 1].h.dot(&self.theta[l].t(), accuracy);
                if let Some(bias) = self.bias.get(l) {
                    let rows = |a: &Array2<f64>| a.broadcast(mu.v.dim()).expect("a row").to_owned();
                    mu = mu.plus(1.0, &Bounded { v: rows(&bias.v), e: rows(&bias.e) }, accuracy);
                }
                self.layers[l].mu = mu;
            }
            Op::Settle(l) => {
                let drive = self.plan.network.drive(l);
                let layer = &mut self.layers[l];
                layer.x = layer.mu.clone();
                layer.h = layer.x.f(drive, accuracy);
            }
            Op::Error(l) => {
                let carry = self.plan.coords == Coords::Error && self.layers[l].known;
                let layer = &mut self.layers[l];
                layer.eps = if carry {
                    let advanced = match layer.dx.take() {
                        Some(dx) => layer.eps.plus(1.0, &dx, accuracy),
                        None => layer.eps.clone(),
                    };
                    advanced.plus(-1.0, &layer.mu.plus(-1.0, &layer.mu_prev, accuracy), accuracy)
                } else {
                    layer.x.plus(-1.0, &layer.mu, accuracy)
                };
                layer.dx = None;
                layer.known = true;
                layer.mu_prev = layer.mu.clone();
            }
            Op::Gate(l) | Op::GateFeedback(l) => {
                let td = self.plan.td;
                // Spikes reach a whole layer one step after the one below it fired; layer 0 is the teacher's.
                let t = self.t;
                let reached = |i: usize| match l {
                    0 => t == 0,
                    _ => t > 0 && self.layers[l - 1].spike[i] == Some(t - 1),
                };
                let (rows, cols) = self.layers[l].eps.v.dim();
                let signal = match op {
                    Op::GateFeedback(_) => {
                        Array2::from_shape_fn((rows, cols), |(i, _)| f64::from(u8::from(reached(i))))
                    }
                    _ => self.layers[l].eps.v.clone(),
                };
                let Layer { eps, gated, quiet, spike, .. } = &mut self.layers[l];
                for (i, spike) in spike.iter_mut().enumerate() {
                    if (0..cols).any(|j| signal[(i, j)] != 0.0 && quiet[(i, j)] >= td) {
                        *spike = Some(t);
                    }
                }
                let signal = &signal;
                Zip::from(&mut gated.v)
                    .and(&mut gated.e)
                    .and(&eps.v)
                    .and(&eps.e)
                    .and(signal)
                    .for_each(|gv, ge, &v, &e, &s| (*gv, *ge) = if s != 0.0 { (v, e) } else { (0.0, 0.0) });
                Zip::from(&mut gated.v).and(&mut gated.e).and(signal).and(quiet).for_each(|gv, ge, &s, quiet| {
                    if *quiet < td {
                        (*gv, *ge) = (0.0, 0.0);
                    }
                    *quiet = if s == 0.0 { *quiet + 1 } else { 0 };
                });
            }
            Op::Perturb(_) => panic!("noise has no reference"),
            Op::Infer(_) | Op::Backprop(_) | Op::Learn(_) | Op::LearnGated(_) => {}
        }
    }

    /// Δx^l of Eq. (7), or δ^l of Eq. (4), from the current ε^{l−1} θ^l.
    fn feedback(&self, l: usize, current: &Bounded, backprop: bool) -> Bounded {
        let accuracy = self.accuracy;
        let slope = self.layers[l].h.f_prime(self.plan.network.drive(l), accuracy);
        let toward = slope.by(current, accuracy);
        if backprop {
            return toward;
        }
        toward.plus(-1.0, &self.layers[l].eps, accuracy).times(self.plan.gamma, accuracy)
    }

    /// θ^{l+1} and b^{l+1} after Eq. (9).
    fn learn(&self, l: usize, eps: &Bounded) -> (Bounded, Option<Bounded>) {
        let (accuracy, batch) = (self.accuracy, eps.v.nrows());
        let alpha = if self.plan.mean { self.plan.alpha / batch as f64 } else { self.plan.alpha };
        let step = |sum: Bounded, to: &Bounded| to.plus(1.0, &sum.times(alpha, accuracy), accuracy);
        let theta = step(eps.t().dot(&self.layers[l + 1].h, accuracy), &self.theta[l]);
        let ones = Bounded::exact(Array2::ones((1, batch)));
        (theta, self.bias.get(l).map(|bias| step(ones.dot(eps, accuracy), bias)))
    }

    /// X, Mu or Eps.
    pub(crate) fn slot(&self, slot: Slot) -> &Bounded {
        match slot {
            Slot::X(l) => &self.layers[l].x,
            Slot::Mu(l) => &self.layers[l].mu,
            Slot::Eps(l) => &self.layers[l].eps,
            Slot::Phi(_) | Slot::Theta(_) => panic!("{slot} is not kept for reading"),
        }
    }

    /// θ^1 .. θ^lmax, and then b^1 ..
    pub(crate) fn parameters(&self) -> impl Iterator<Item = &Bounded> {
        self.theta.iter().chain(&self.bias)
    }
}
