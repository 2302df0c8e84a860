//! The hand-written kernels: the ends that make up nearly all of the time of the paper's rules, fused into one loop.
//!
//! Each row of [`table`] has the formulas that it stands for; a job whose ends are those formulas runs it. A test walks all
//! rows and holds them to the evaluator, bit for bit.

use super::activation::{f, f_prime, for_activation};
use super::ends::{Kernel, Landing};
use super::product::Products;
use super::vector::{BLOCK, blocks, vector};
use crate::activation::Activation;
use crate::expr::{Code, Expr, ParamId, SlotId, arriving};
use crate::program::Place;
use pulp::Arch;
use std::sync::OnceLock;

/// A precision with its hand-written kernels.
pub(crate) trait Kernels: Products {
    /// The kernel that does these ends, and where s has to land for it.
    fn known(code: &Code<Place>) -> Option<(Kernel<Self>, Landing)>;
}

impl Kernels for f32 {
    fn known(code: &Code<Place>) -> Option<(Kernel<f32>, Landing)> {
        table().iter().find(|row| row.code.like(code)).map(|row| (row.kernel, row.landing))
    }
}

/// Float64 is a yardstick: it evaluates.
impl Kernels for f64 {
    fn known(_: &Code<Place>) -> Option<(Kernel<f64>, Landing)> {
        None
    }
}

/// A kernel and what it stands for.
pub(crate) struct Known {
    pub(crate) name: String,
    /// Leaves are numbers of slots: those written first.
    pub(crate) code: Code<usize>,
    pub(crate) landing: Landing,
    pub(crate) kernel: Kernel<f32>,
}

/// Every hand-written kernel.
pub(crate) fn table() -> &'static [Known] {
    static TABLE: OnceLock<Vec<Known>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = errors();
        for activation in Activation::ALL {
            table.push(settle(activation));
            table.push(backprop(activation));
            table.extend(infer(activation));
        }
        table
    })
}

/// Slot `i` of a definition.
fn slot(i: usize) -> Expr {
    Expr::Slot(SlotId(i))
}

fn known(name: String, ends: &[(usize, Expr)], landing: Landing, kernel: Kernel<f32>) -> Known {
    Known { name, code: Code::new(ends, &|slot| slot.0), landing, kernel }
}

/// μ ← s and an ε of it: x − s, or (ε + Δx) − (s − μ before), or the same of a layer that did not move. And each where μ
/// has been made already.
fn errors() -> Vec<Known> {
    let anew: Kernel<f32> = |arch, writes, _, reads, _| {
        let [mu, eps] = writes else { return };
        blocks(arch, [&mut **eps], [reads[0], &**mu], #[inline(always)] |[mut eps], [x, mu]| {
            for i in 0..BLOCK {
                eps[i] = x[i] - mu[i];
            }
            [eps]
        });
    };
    let moved: Kernel<f32> = |arch, writes, _, reads, _| {
        let [mu, eps] = writes else { return };
        blocks(arch, [&mut **eps], [reads[0], &**mu, reads[1]], #[inline(always)] |[mut eps], [dx, mu, was]| {
            for i in 0..BLOCK {
                eps[i] = (eps[i] + dx[i]) - (mu[i] - was[i]);
            }
            [eps]
        });
    };
    let still: Kernel<f32> = |arch, writes, _, reads, _| {
        let [mu, eps] = writes else { return };
        blocks(arch, [&mut **eps], [&**mu, reads[0]], #[inline(always)] |[mut eps], [mu, was]| {
            for i in 0..BLOCK {
                eps[i] = (eps[i] + 0.0) - (mu[i] - was[i]);
            }
            [eps]
        });
    };
    let alone: Kernel<f32> = |arch, writes, _, reads, _| {
        let [eps] = writes else { return };
        blocks(arch, [&mut **eps], [reads[0], reads[1]], #[inline(always)] |[mut eps], [x, mu]| {
            for i in 0..BLOCK {
                eps[i] = x[i] - mu[i];
            }
            [eps]
        });
    };
    let advanced = |step: Expr| (slot(1) + step) - (arriving() - slot(11));
    let landing = Landing::Slot(0);
    vec![
        known("error".into(), &[(0, arriving()), (1, slot(10) - arriving())], landing, anew),
        known("error, moved".into(), &[(0, arriving()), (1, advanced(slot(10)))], landing, moved),
        known("error, still".into(), &[(0, arriving()), (1, advanced(Expr::Const(0.0)))], landing, still),
        known("error, alone".into(), &[(0, slot(10) - slot(11))], Landing::Nowhere, alone),
    ]
}

/// μ ← s, x ← s, f(x).
fn settle(activation: Activation) -> Known {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &[f32], _: &[&[f32]], _: &[f32]) {
        let [mu, x, h] = writes else { return };
        blocks(arch, [&mut **x, &mut **h], [&**mu], #[inline(always)] |[_, mut h], [mu]| {
            for i in 0..BLOCK {
                h[i] = f(Activation::ALL[ACT], mu[i]);
            }
            [mu, h]
        });
    }
    let ends = [(0, arriving()), (1, arriving()), (2, Expr::f(activation, arriving()))];
    let kernels: [Kernel<f32>; 5] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>];
    known(format!("settle, {activation}"), &ends, Landing::Slot(0), kernels[number(activation)])
}

/// ε ← f′(x) s.
fn backprop(activation: Activation) -> Known {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &[f32], reads: &[&[f32]], _: &[f32]) {
        let [eps] = writes else { return };
        blocks(arch, [&mut **eps], [reads[0]], #[inline(always)] |[mut eps], [h]| {
            for i in 0..BLOCK {
                eps[i] = f_prime(Activation::ALL[ACT], h[i]) * eps[i];
            }
            [eps]
        });
    }
    let ends = [(0, Expr::slope(activation, slot(10)) * arriving())];
    let kernels: [Kernel<f32>; 5] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>];
    known(format!("backprop, {activation}"), &ends, Landing::Slot(0), kernels[number(activation)])
}

/// Where an activation stands in [`Activation::ALL`].
fn number(activation: Activation) -> usize {
    Activation::ALL.iter().position(|a| *a == activation).unwrap_or(0)
}

/// Eq. (7) and what may follow it: Δx kept, f(x) in place or in another half, ε + Δx.
fn infer(activation: Activation) -> Vec<Known> {
    let mut rows = Vec::new();
    for (dx, carry, h) in [false, true].into_iter().flat_map(|dx| {
        [false, true].into_iter().flat_map(move |carry| [None, Some(false), Some(true)].map(|h| (dx, carry, h)))
    }) {
        // Written: x, Δx, f(x), ε, as far as they are; read: the others.
        let mut written = vec![0];
        let mut place = |is: bool, other: usize| {
            if is {
                written.push(written.len());
                written.len() - 1
            } else {
                other
            }
        };
        let at_dx = place(dx, 20);
        let at_h = place(h.is_some(), 21);
        let at_eps = place(carry, 22);
        let old_h = if h == Some(true) { at_h } else { 23 };
        let step = Expr::fma(Expr::slope(activation, slot(old_h)), arriving(), -slot(at_eps));
        let step = Expr::Param(ParamId(0)) * step;
        let moved = slot(0) + step.clone();
        let mut ends = vec![(0, moved.clone())];
        if dx {
            ends.push((at_dx, step.clone()));
        }
        if h.is_some() {
            let after = step.clone().equals(0.0).select(slot(old_h), Expr::f(activation, moved));
            ends.push((at_h, after));
        }
        if carry {
            ends.push((at_eps, slot(at_eps) + step));
        }
        let name = format!("infer, {activation}, dx {dx}, carry {carry}, h {h:?}");
        let landing = if dx { Landing::Slot(at_dx) } else { Landing::Scratch };
        rows.push(known(name, &ends, landing, infer_kernel(activation, dx, carry, h)));
    }
    rows
}

/// The kernel of these choices.
fn infer_kernel(activation: Activation, dx: bool, carry: bool, h: Option<bool>) -> Kernel<f32> {
    macro_rules! choose {
        ($act:ident, $($dx:literal $carry:literal $h:literal),*) => {
            match (dx, carry, h.map_or(0, |in_place| 1 + u8::from(in_place))) {
                $(($dx, $carry, $h) => run_infer::<$act, $dx, $carry, $h>,)*
                _ => unreachable!("h is 0, 1 or 2"),
            }
        };
    }
    macro_rules! all {
        ($act:ident) => {
            choose!($act, false false 0, false false 1, false false 2, false true 0, false true 1, false true 2,
                true false 0, true false 1, true false 2, true true 0, true true 1, true true 2)
        };
    }
    for_activation!(activation, ACT => {
        const I: usize = ACT as usize;
        all!(I)
    })
}

/// x += d, for d = γ fma(f′(h), s, −ε); with `DX` Δx = d; with `CARRY` ε += d; with `H` also f(x), which keeps its bits
/// where d is 0: 1 in a slot of its own, 2 in place.
fn run_infer<const ACT: usize, const DX: bool, const CARRY: bool, const H: u8>(
    arch: Arch,
    writes: &mut [&mut [f32]],
    s: &[f32],
    reads: &[&[f32]],
    params: &[f32],
) {
    let mut writes = writes.iter_mut();
    let mut next = |is: bool| match is {
        true => writes.next().map(|w| &mut **w).unwrap_or_default(),
        false => Default::default(),
    };
    let x = next(true).as_chunks_mut::<BLOCK>().0;
    let dx = next(DX).as_chunks_mut::<BLOCK>().0;
    let after = next(H > 0).as_chunks_mut::<BLOCK>().0;
    let eps = next(CARRY).as_chunks_mut::<BLOCK>().0;
    let mut reads = reads.iter();
    let mut old = |is: bool| if is { reads.next().copied().unwrap_or_default() } else { &[] };
    let h = old(H < 2).as_chunks::<BLOCK>().0;
    let still = old(!CARRY).as_chunks::<BLOCK>().0;
    let s = s.as_chunks::<BLOCK>().0;
    let (gamma, act) = (params[0], Activation::ALL[ACT]);
    vector(
        arch,
        #[inline(always)]
        || {
            for b in 0..x.len() {
                let s = if DX { dx[b] } else { s[b] };
                let h = if H < 2 { h[b] } else { after[b] };
                let error = if CARRY { eps[b] } else { still[b] };
                let (mut d, mut moved) = (s, x[b]);
                for i in 0..BLOCK {
                    d[i] = gamma * f_prime(act, h[i]).mul_add(s[i], -error[i]);
                    moved[i] = moved[i] + d[i];
                }
                x[b] = moved;
                if DX {
                    dx[b] = d;
                }
                if CARRY {
                    let mut sum = error;
                    for i in 0..BLOCK {
                        sum[i] = error[i] + d[i];
                    }
                    eps[b] = sum;
                }
                if H > 0 {
                    let mut new = h;
                    for i in 0..BLOCK {
                        let value = f(act, moved[i]);
                        new[i] = if d[i] == 0.0 { h[i] } else { value };
                    }
                    after[b] = new;
                }
            }
        },
    );
}
