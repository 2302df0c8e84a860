//! Segregated dendrites with spiking units (Guerguiev, Lillicrap & Richards, eLife 2017): as [`super::dendrite`], but units draw
//! spikes every millisecond, and plateau potentials are averages over time.
//!
//! ```text
//! spike with probability 0.2 r per ms                                  r = pixel, or σ(C); 0.2 per ms is the largest rate
//! ψ = (Σ_spikes e^(−t/10) − e^(−t/3)) / (7 · 0.2)                       postsynaptic potential, t ms after a spike; its mean is r
//! C^l ← C^l − g_L C^l + g_B (θ^{l+1} ψ^{l+1} + b^l − C^l)               g_L = 0.1, g_B = 0.6 per ms
//! C^0 in the target phase also  + y (8 − C^0) + (1 − y) (−8 − C^0)
//! Δθ^{l+1} = α ((σ(Y^l ψ̄_t^0) − σ(Y^l ψ̄^0)) k σ′(C̄^l)) ψ̄^{l+1}ᵀ     k = g_B / (g_L + g_B)
//! Δθ^1 = α ((r̄_t^0 − σ(C̄^0)) k σ′(C̄^0)) ψ̄^1ᵀ
//! ```
//!
//! A bar is the mean over the last 20 ms of a phase: of the forward phase for symbols without the subscript t, of the target phase that
//! follows for symbols with it. All units are at rest when an image is first shown. The apical dendrite does not move the soma (g_A = 0, as in the paper's networks). The
//! network's output is r̄^0, the mean rate of the output layer.

use super::dendrite::{BASAL, LEAK, TEACHER, compare};
use super::{Options, check_moments};
use crate::error::Result;
use crate::network::Network;
use crate::plan::activation::Activation::Sigmoid;
use crate::plan::expr::{Expr, SlotId, arriving};
use crate::plan::{Direction, Draw, Op, Plan, Stage, What};
use crate::rules::builder::{Chain, each, op};

/// Time constants of a synapse, in ms, and the largest rate, in spikes per ms.
const SLOW: f64 = 10.0;
const FAST: f64 = 3.0;
const MOST: f64 = 0.2;
/// Milliseconds at the end of a phase over which means are taken.
const COUNTED: usize = 20;

/// The slots of one layer; the input uses no soma.
struct Layer {
    /// The uniform draw in [0, 1) that decides on the next spike.
    chance: SlotId,
    /// The rate as a fraction of [`MOST`].
    rate: SlotId,
    /// Σ e^(−t/10) and Σ e^(−t/3) over the spikes so far.
    traces: [SlotId; 2],
    /// ψ, the postsynaptic potential.
    psi: SlotId,
    /// The soma's potential.
    soma: SlotId,
    /// Means of ψ, C and r over the end of a phase.
    means: [SlotId; 3],
}

pub(super) fn plan(network: &Network, options: &Options) -> Result<Plan> {
    let mut p = Chain::new(network, options);
    let lmax = network.lmax();
    let phase = options.rule_option("phase") as usize;
    check_moments(network, options, 2 * phase, "phase")?;
    let layers: Vec<Layer> = (0..=lmax)
        .map(|l| Layer {
            chance: p.units("chance", "u", l),
            rate: if l == lmax { p.h(l) } else { p.units("rate", "r", l) },
            traces: [p.units("slow", "slow", l), p.units("fast", "fast", l)],
            psi: p.units("psp", "ψ", l),
            soma: p.units("soma", "C", l),
            means: [p.units("psp_mean", "ψ̄", l), p.units("soma_mean", "C̄", l), p.units("rate_mean", "r̄", l)],
        })
        .collect();
    let begin = |l: usize| {
        let Layer { rate, traces, soma, .. } = &layers[l];
        let rest: &[(SlotId, f64)] = if l == lmax { &[] } else { &[(*soma, 0.0), (*rate, 0.5)] };
        let quiet = traces.iter().map(|t| (*t, 0.0));
        each(
            "rest",
            l,
            quiet.chain(rest.iter().copied()).map(|(to, value)| (to, Expr::Const(value))).collect::<Vec<_>>(),
        )
    };
    p.plan.moment(Stage::Prediction, vec![(0..=lmax).map(begin).collect()]);
    for t in 0..phase {
        let steps = millisecond(&mut p, &layers, t, phase, false);
        p.plan.moment(Stage::Prediction, steps);
    }
    p.plan.output = layers[0].means[2];

    // Results of the forward phase that learning reads: σ of the mean potential, and the mean ψ.
    let kept: Vec<[SlotId; 2]> = (0..=lmax).map(|l| [p.units("f", "σ(C̄)", l), p.units("pre", "ψ̄_f", l)]).collect();
    let keep = |l: usize| {
        let [psi, soma, _] = layers[l].means;
        let passed = (kept[l][1], Expr::Slot(psi));
        each(
            "keep",
            l,
            if l == lmax { vec![passed] } else { vec![passed, (kept[l][0], Expr::f(Sigmoid, Expr::Slot(soma)))] },
        )
    };
    p.learning(0, vec![(0..=lmax).map(keep).collect()]);
    for t in 0..phase {
        let steps = millisecond(&mut p, &layers, t, phase, true);
        p.learning(1 + t, steps);
    }
    let rates: Vec<SlotId> = kept[..lmax].iter().map(|k| k[0]).collect();
    let pre: Vec<SlotId> = kept[1..].iter().map(|k| k[1]).collect();
    // The output's own error compares rates; the plateaus compare the output's mean ψ.
    let taught = layers[0].means;
    compare(&mut p, 1 + phase, &rates, &pre, [kept[0][1], taught[0]], taught[2]);
    Ok(p.plan)
}

/// The steps of millisecond t of a phase.
fn millisecond(p: &mut Chain, layers: &[Layer], t: usize, phase: usize, taught: bool) -> Vec<Vec<Op>> {
    let lmax = layers.len() - 1;
    let stream = |l: usize| ((usize::from(taught) * phase + t) * layers.len() + l) as u32;
    let draw = |(l, layer): (usize, &Layer)| {
        op("draw", What::Draw(Draw::Uniform { stream: stream(l) }), [(layer.chance, arriving())])
    };
    // The running mean starts anew at the first counted millisecond.
    let counted = COUNTED.min(phase);
    let from = phase - counted;
    let mean = |to: SlotId, what: Expr| {
        let share = what * (1.0 / counted as f64);
        (to, if t == from { share } else { Expr::Slot(to) + share })
    };
    let fire = |(l, layer): (usize, &Layer)| {
        let spike = Expr::Slot(layer.chance).less(Expr::Slot(layer.rate) * MOST).select(1.0, 0.0);
        let [slow, fast] = [SLOW, FAST].map(|tau| (-1.0 / tau).exp());
        let [a, b] = layer.traces;
        let (slow, fast) = (Expr::Slot(a) * slow, Expr::Slot(b) * fast);
        let psi = (slow.clone() - fast.clone()) * (1.0 / ((SLOW - FAST) * MOST));
        let mut epilogue = vec![(layer.psi, psi.clone()), (a, slow + spike.clone()), (b, fast + spike)];
        if t >= from {
            epilogue.push(mean(layer.means[0], psi));
        }
        each("fire", l, epilogue)
    };
    let hear = |l: usize| {
        let layer = &layers[l];
        let send = What::Send {
            projection: l,
            weights: Some(p.theta(l + 1)),
            direction: Direction::Forward,
            from: layers[l + 1].psi,
        };
        let y = Expr::Slot(p.x(0));
        let teacher = taught && l == 0;
        let left = 1.0 - LEAK - BASAL - if teacher { 1.0 } else { 0.0 };
        let soma = Expr::Slot(layer.soma) * left + Expr::Const(BASAL) * arriving();
        let soma = if teacher { soma + (y * (2.0 * TEACHER) - TEACHER) } else { soma };
        let rate = Expr::f(Sigmoid, soma.clone());
        let mut epilogue = vec![(layer.soma, soma.clone()), (layer.rate, rate.clone())];
        if t >= from {
            epilogue.extend([mean(layer.means[1], soma), mean(layer.means[2], rate)]);
        }
        op("hear", send, epilogue)
    };
    vec![
        layers.iter().enumerate().map(draw).collect(),
        layers.iter().enumerate().map(fire).collect(),
        (0..lmax).map(hear).collect(),
    ]
}
