//! SuperSpike (Zenke & Ganguli, Neural Computation 2018): layers of leaky integrate-and-fire units learn to spike when a target does.
//! Every connection keeps an eligibility trace, and the error, a difference of spike trains, multiplies that trace.
//!
//! An update is one step of 0.1 ms of one stream of spikes. Inputs and targets are 0 or 1 per unit and step, as
//! [`crate::device::Session::step`] takes them. The state of units and connections is persistent. The rule does not learn from images,
//! so the command line offers it only as `zilch reproduce superspike`.
//!
//! ```text
//! I ← e^(−dt/5) I + θ S,   U ← U + (I − U) dt/10                        mV above rest, times in ms; S: spikes of this step
//! U > 10: a spike, U ← 0 for 5 ms                                        (U stays 0 for that time)
//! σ′ = 1 / (1 + |U − 10|)²                                               per mV, after the reset
//! a ← e^(−dt/5) a + S,     p ← p + (a − p) dt/10                         of sending units
//! e^0 = Ŝ − S^0,  e^l = θ^lᵀ e^{l−1} (symmetric), Y^l e^0 (random), Σ e^0 (uniform)
//! c ← e^(−dt/5) c + e,     d ← d + (c − d) dt/10                         of receiving units
//! λ ← e^(−dt/5) (λ + σ′ p),  λ̄ ← λ̄ + (λ + σ′ p − λ̄) dt/10              of connections; both read the old λ
//! g ← g + λ̄ d
//! every --window steps:  ḡ = g / window,  v ← max(e^(−window dt / 30 s) v, ḡ²),  θ ← clip(θ + α ḡ / (√v + 10⁻¹²), ± 100),  g ← 0
//! ```
//!
//! The published code has the same constants, in volts. It delays the eligibility traces by the travel time of errors (0.8 ms); here
//! spikes and errors arrive without delay. Y is uniform in ± s √(6 / (n_in + n_out)).

use super::{Choice, Definition, FEEDBACK_SCALE, Loss, Optimizer, Options, Values};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::plan::activation::Activation::Identity;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Connection, Direction, Domain, Initial, Op, Plan, Reduction, Stage, Value, What};
use crate::rules::builder::{Chain, each, op};

pub(super) static SUPERSPIKE: Definition = Definition {
    name: "superspike",
    title: "SuperSpike",
    source: "Zenke & Ganguli 2018",
    rule_options: &[SENT_BACK, WINDOW, FEEDBACK_SCALE],
    rates: true,
    losses: &[Loss::Squared],
    activation: Some(Identity),
    plan,
    ..Definition::PLAIN
};

const SENT_BACK: Choice = Choice {
    name: "sent-back",
    help: "error that hidden units receive: over θᵀ, over random weights, or the same sum for all units",
    values: Values::Names(&["symmetric", "random", "uniform"]),
    default: 0.0,
};

const WINDOW: Choice = Choice {
    name: "window",
    help: "steps of 0.1 ms between weight changes",
    values: Values::Whole(1, 1_000_000),
    default: 5000.0,
};

/// The length of a step, in ms.
pub const DT: f64 = 0.1;
/// Time constant of a synapse, in ms.
pub const SYNAPSE: f64 = 5.0;
/// Time constant of a membrane, in ms.
pub const MEMBRANE: f64 = 10.0;
/// Time constant of the running maximum of squared gradients, in ms.
const REMEMBERED: f64 = 30_000.0;
/// Threshold above rest in mV, refractory period in steps, and the largest weight in mV.
const THRESHOLD: f64 = 10.0;
const RESTING: f64 = 50.0;
const LARGEST: f64 = 100.0;

/// The state of a spiking layer. A prediction computes `next`, which becomes the state when the layer learns.
struct Units {
    spike: SlotId,
    driven: SlotId,
    state: [SlotId; 3],
    next: [SlotId; 3],
}

fn plan(network: &Network, options: &Options) -> Result<Plan> {
    if network.bias || options.optimizer != Optimizer::Sgd {
        return Err(Error::usage("superspike has no biases and its own optimiser; leave --bias and --optimizer out"));
    }
    let mut p = Chain::new(network, options);
    p.plan.streaming = true;
    let lmax = network.lmax();
    let keep = |p: &mut Chain, name: &'static str, symbol: &str, l: usize| {
        p.plan.keep(name, format!("{symbol}^{l}"), Domain::Units(l), Initial::Zero)
    };
    let units: Vec<Units> = (0..lmax)
        .map(|l| Units {
            spike: p.units("spike", "S", l),
            driven: p.units("driven", "U′", l),
            state: [keep(&mut p, "current", "I", l), keep(&mut p, "voltage", "U", l), keep(&mut p, "wait", "wait", l)],
            next: [
                p.units("current_next", "I′", l),
                p.units("voltage_next", "U″", l),
                p.units("wait_next", "wait′", l),
            ],
        })
        .collect();
    let spikes: Vec<SlotId> = (0..=lmax).map(|l| units.get(l).map_or(p.h(l), |u| u.spike)).collect();
    for l in (0..lmax).rev() {
        let steps = fire(&p, &units[l], l, spikes[l + 1]);
        p.plan.moment(Stage::Prediction, steps);
    }
    p.plan.output = spikes[0];

    let errors: Vec<SlotId> = (0..lmax).map(|l| p.eps(l)).collect();
    let mut steps = vec![Vec::new()];
    let window = options.rule_option("window");
    let clock = p.plan.keep("clock", "clock".into(), Domain::BatchScalar(0), Initial::Zero);
    let due: Vec<SlotId> =
        (0..lmax).map(|l| p.plan.declare("due", format!("due^{l}"), Domain::BatchScalar(l))).collect();
    let epilogue = [(clock, (Expr::Slot(clock) + 1.0).less(window).select(Expr::Slot(clock) + 1.0, 0.0))];
    steps[0].push(op("count", What::Map(Domain::BatchScalar(0)), epilogue));
    for (l, unit) in units.iter().enumerate() {
        let now = (Expr::Slot(clock) + 1.0).less(window).select(0.0, 1.0);
        steps[0].push(op("count", What::Map(Domain::BatchScalar(l)), [(due[l], now)]));
        steps[0].push(each("go on", l, unit.state.into_iter().zip(unit.next.map(Expr::Slot))));
    }
    let sent: Vec<SlotId> = (1..=lmax).map(|l| remember_spikes(&mut p, l, spikes[l], &mut steps[0])).collect();
    let error = Expr::Slot(p.x(0)) - spikes[0];
    steps[0].push(each("error", 0, [(errors[0], error)]));
    if options.rule_option("sent-back") as usize == 2 {
        let what = What::Reduce { from: errors[0], how: Reduction::Sum };
        let total = p.sample("total", 0);
        steps.push(vec![op("add up", what, [(total, arriving())])]);
    }
    for l in 1..lmax {
        let back = send_back(&mut p, l, &errors);
        steps.push(vec![back]);
    }
    let mut last = vec![Vec::new(); 5];
    for l in 0..lmax {
        learn(&mut p, l, &units[l], (sent[l], errors[l], due[l]), &mut last);
    }
    steps.extend(last);
    p.learning(0, steps);
    Ok(p.plan)
}

/// The first stage of the double-exponential filter, without its input: a e^(−dt/5).
fn decayed(a: SlotId) -> Expr {
    Expr::Slot(a) * (-DT / SYNAPSE).exp()
}

/// The second stage: b + (a − b) dt/10, with the new a.
fn follow(b: SlotId, a: Expr) -> Expr {
    Expr::Slot(b) + (a - b) * (DT / MEMBRANE)
}

/// The steps that compute a layer's current, voltage and spikes from the spikes of the layer before it.
fn fire(p: &Chain, unit: &Units, l: usize, from: SlotId) -> Vec<Vec<Op>> {
    let weights = Some(p.theta(l + 1));
    let send = What::Send { projection: l, weights, direction: Direction::Forward, from };
    let [current, voltage, wait] = unit.state;
    let [current_next, voltage_next, wait_next] = unit.next;
    let moved = Expr::Slot(voltage) + (Expr::Slot(current_next) - voltage) * (DT / MEMBRANE);
    let driven = Expr::Const(0.0).less(wait).select(0.0, moved);
    let fires = || Expr::Const(THRESHOLD).less(unit.driven);
    let rest = (Expr::Slot(wait) - 1.0).max(0.0);
    vec![
        vec![op("hear", send, [(current_next, decayed(current) + arriving())])],
        vec![each("charge", l, [(unit.driven, driven)])],
        vec![each(
            "fire",
            l,
            [
                (unit.spike, fires().select(1.0, 0.0)),
                (voltage_next, fires().select(0.0, unit.driven)),
                (wait_next, fires().select(RESTING, rest)),
            ],
        )],
    ]
}

/// The postsynaptic potential p of a layer's spikes.
fn remember_spikes(p: &mut Chain, l: usize, spike: SlotId, ops: &mut Vec<Op>) -> SlotId {
    let trace = p.plan.keep("trace", format!("a^{l}"), Domain::Units(l), Initial::Zero);
    let psp = p.plan.keep("psp", format!("p^{l}"), Domain::Units(l), Initial::Zero);
    let a = decayed(trace) + spike;
    ops.push(each("remember", l, [(trace, a.clone()), (psp, follow(psp, a))]));
    psp
}

/// The op that computes e^l of a hidden layer.
fn send_back(p: &mut Chain, l: usize, errors: &[SlotId]) -> Op {
    match p.options.rule_option("sent-back") as usize {
        0 => op("send back", p.backward(l, p.theta(l)), [(errors[l], arriving())]),
        1 => {
            let direct = p.plan.project(format!("the error to layer {l}"), 0, l, Connection::Dense { bias: false });
            let scale = p.options.rule_option("feedback-scale");
            let symbol = format!("Y^{l}");
            let weights = Some(p.random(direct, symbol, scale, l as u64));
            let send = What::Send { projection: direct, weights, direction: Direction::Forward, from: errors[0] };
            op("send back", send, [(errors[l], arriving())])
        }
        _ => each("send back", l, [(errors[l], Expr::Slot(p.sample("total", 0)))]),
    }
}

/// Adds a layer's learning to the five steps: the filtered error and σ′; the filtered error as one value per unit; the eligibility
/// traces; the running maximum v; and, when it is due, the weight change.
fn learn(p: &mut Chain, l: usize, unit: &Units, (psp, error, due): (SlotId, SlotId, SlotId), steps: &mut [Vec<Op>]) {
    let keep = |p: &mut Chain, name: &'static str, symbol: &str, home: Domain| {
        p.plan.keep(name, format!("{symbol}^{}", l + 1), home, Initial::Zero)
    };
    let (trace, wrong) = (keep(p, "error_trace", "c", Domain::Units(l)), keep(p, "error_mean", "d", Domain::Units(l)));
    let slope = p.units("slope", "σ′", l);
    let away = (Expr::Slot(unit.next[1]) - THRESHOLD).abs() + 1.0;
    let c = decayed(trace) + error;
    let epilogue = [(trace, c.clone()), (wrong, follow(wrong, c)), (slope, Expr::Const(1.0) / (away.clone() * away))];
    steps[0].push(each("compare", l, epilogue));
    let of_units = p.plan.declare("error_of_unit", format!("d^{l}"), Domain::Vector(l));
    steps[1].push(op("hand over", What::Reduce { from: wrong, how: Reduction::Sum }, [(of_units, arriving())]));

    let home = Domain::Connections(l);
    let [lambda, slow, gradient, square] =
        [("eligibility", "λ"), ("eligibility_mean", "λ̄"), ("gradient", "g"), ("square", "v")]
            .map(|(name, symbol)| keep(p, name, symbol, home));
    let now = Expr::Slot(lambda) + arriving();
    let mean = follow(slow, now.clone());
    let what = What::OuterProduct { projection: l, post: slope, pre: psp };
    let epilogue = [
        (lambda, now * (-DT / SYNAPSE).exp()),
        (slow, mean.clone()),
        (gradient, Expr::Slot(gradient) + mean * of_units),
    ];
    steps[2].push(op("remember", what, epilogue));

    let window = p.options.rule_option("window");
    let is_due = || Expr::Const(0.0).less(due);
    let average = || Expr::Slot(gradient) / window;
    let kept = Expr::Slot(square) * (-window * DT / REMEMBERED).exp();
    steps[3].push(op("scale", What::Map(home), [(square, is_due().select(kept.max(average() * average()), square))]));
    let alpha = p.plan.param("α", Value::Rate);
    let theta = p.theta(l + 1);
    let moved = Expr::Slot(theta) + Expr::Param(alpha) * average() / (Expr::Slot(square).sqrt() + 1e-12);
    let clipped = moved.max(-LARGEST).min(LARGEST);
    let epilogue = [(theta, is_due().select(clipped, theta)), (gradient, is_due().select(0.0, gradient))];
    steps[4].push(op("learn", What::Map(home), epilogue));
}
