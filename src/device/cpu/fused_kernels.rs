//! Hand-written fused kernels for the epilogues that dominate the run time of the paper's rules.
//!
//! Each row of [`table`] gives a kernel and the expressions that it computes. A job whose epilogue has exactly these expressions runs
//! the kernel. A test compares every row with the evaluator, bit for bit.

use super::activation::{f, f_prime, for_activation};
use super::epilogue::{Kernel, SumTarget};
use super::product::Products;
use super::vector::{BLOCK, blocks};
use crate::lower::Place;
use crate::plan::activation::Activation;
use crate::plan::expr::{Code, Expr, ParamId, SlotId, arriving};
use pulp::Arch;
use std::sync::OnceLock;

/// An element type with its fused kernels.
pub(crate) trait Kernels: Products {
    /// The kernel for this epilogue, and the location in which it expects s.
    fn fused(code: &Code<Place>) -> Option<(Kernel<Self>, SumTarget)>;
}

impl Kernels for f32 {
    fn fused(code: &Code<Place>) -> Option<(Kernel<f32>, SumTarget)> {
        let row = table().iter().find(|row| row.code.like(code))?;
        log::debug!("fused kernel: {}", row.name);
        Some((row.kernel, row.sum_target))
    }
}

/// Float64 is the reference for tests: the evaluator runs every epilogue.
impl Kernels for f64 {
    fn fused(_: &Code<Place>) -> Option<(Kernel<f64>, SumTarget)> {
        None
    }
}

/// A fused kernel and the epilogue that it computes.
pub(crate) struct FusedKernel {
    pub(crate) name: String,
    /// The leaves are slot indices, written slots first.
    pub(crate) code: Code<usize>,
    pub(crate) sum_target: SumTarget,
    pub(crate) kernel: Kernel<f32>,
}

/// All fused kernels.
pub(crate) fn table() -> &'static [FusedKernel] {
    static TABLE: OnceLock<Vec<FusedKernel>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = errors();
        table.push(zero());
        table.extend((1..=4).map(first_gate));
        for activation in Activation::MONOTONE {
            table.push(settle(activation));
            table.push(activate(activation));
            table.push(first_spike(activation));
            table.extend((1..=4).flat_map(|td| [true, false].map(|kept| spike(activation, td, kept))));
            table.push(backprop(activation));
            table.extend(infer(activation));
        }
        table
    })
}

/// Slot `i` of a table row.
fn slot(i: usize) -> Expr {
    Expr::Slot(SlotId(i))
}

fn entry(name: String, assigns: &[(usize, Expr)], sum_target: SumTarget, kernel: Kernel<f32>) -> FusedKernel {
    FusedKernel { name, code: Code::new(assigns, &|slot| slot.0), sum_target, kernel }
}

/// The formula by which ε is updated. The new μ is s; μ_old is the previous μ.
#[derive(Debug, Clone, Copy)]
enum Error {
    /// ε = x − μ
    Anew,
    /// ε = (ε + Δx) − (μ − μ_old)
    Moved,
    /// ε = ε − (μ − μ_old), for a layer whose x does not change.
    Still,
    /// ε = Δx − (μ − μ_old), if ε was 0.
    FromRest,
}

/// The gate φ that follows the update of ε.
#[derive(Debug, Clone, Copy)]
enum Gate {
    Nothing,
    /// φ ∘ ε at the first evaluation of the gate. If the flag is set, the count of silent steps is updated too.
    First(bool),
    /// φ ∘ ε at a later evaluation.
    Later(bool),
}

/// μ ← s, the update of ε, and the gate.
fn errors() -> Vec<FusedKernel> {
    let mut rows =
        vec![entry("error".into(), &[(0, slot(10) - slot(11))], SumTarget::Nowhere, |arch, writes, _, reads, _| {
            let [eps] = writes else { return };
            blocks(
                arch,
                [&mut **eps],
                [reads[0], reads[1]],
                #[inline(always)]
                |[mut eps], [x, mu]| {
                    for i in 0..BLOCK {
                        eps[i] = x[i] - mu[i];
                    }
                    [eps]
                },
            );
        })];
    for td in 1..=4 {
        for gate in [Gate::Nothing, Gate::First(false), Gate::First(true), Gate::Later(false), Gate::Later(true)] {
            for error in [Error::Anew, Error::Moved, Error::Still, Error::FromRest] {
                if td == 4 || !matches!(gate, Gate::Nothing | Gate::First(false)) {
                    rows.push(error_row(error, gate, f64::from(td)));
                }
            }
        }
    }
    rows
}

fn error_row(error: Error, gate: Gate, td: f64) -> FusedKernel {
    let advanced = |eps: Expr| eps - (arriving() - slot(11));
    let eps = match error {
        Error::Anew => slot(10) - arriving(),
        Error::Moved => advanced(slot(1) + slot(10)),
        Error::Still => advanced(slot(1)),
        Error::FromRest => advanced(slot(10)),
    };
    let mut assigns = vec![(0, arriving()), (1, eps.clone())];
    let active = eps.clone().equals(0.0).select(0.0, 1.0);
    let (first, count, later) = match gate {
        Gate::Nothing => (false, false, false),
        Gate::First(count) => (true, count, false),
        Gate::Later(count) => (false, count, true),
    };
    let quiet = if count { 3 } else { 12 };
    if first {
        assigns.push((2, (active.clone() * 1.0).select(eps, 0.0)));
    } else if later {
        let long = slot(quiet).less(td).select(0.0, 1.0);
        assigns.push((2, (active.clone() * long).select(eps, 0.0)));
    }
    if count {
        let more = if first { Expr::Const(td) } else { (slot(quiet) + 1.0).min(td) };
        assigns.push((3, active.select(0.0, more)));
    }
    macro_rules! choose {
        ($($error:ident $e:literal),*) => {
            match (error, first, later, count, td as u8) {
                $((Error::$error, false, false, ..) => run_error::<$e, 0, false, 0>,
                (Error::$error, true, _, false, _) => run_error::<$e, 1, false, 0>,
                (Error::$error, true, _, true, 1) => run_error::<$e, 1, true, 1>,
                (Error::$error, true, _, true, 2) => run_error::<$e, 1, true, 2>,
                (Error::$error, true, _, true, 3) => run_error::<$e, 1, true, 3>,
                (Error::$error, true, _, true, _) => run_error::<$e, 1, true, 4>,
                (Error::$error, _, true, false, 1) => run_error::<$e, 2, false, 1>,
                (Error::$error, _, true, false, 2) => run_error::<$e, 2, false, 2>,
                (Error::$error, _, true, false, 3) => run_error::<$e, 2, false, 3>,
                (Error::$error, _, true, false, _) => run_error::<$e, 2, false, 4>,
                (Error::$error, _, true, true, 1) => run_error::<$e, 2, true, 1>,
                (Error::$error, _, true, true, 2) => run_error::<$e, 2, true, 2>,
                (Error::$error, _, true, true, 3) => run_error::<$e, 2, true, 3>,
                (Error::$error, _, true, true, _) => run_error::<$e, 2, true, 4>,)*
            }
        };
    }
    let kernel: Kernel<f32> = choose!(Anew 0, Moved 1, Still 2, FromRest 3);
    entry(format!("error {error:?}, gate {gate:?}, t_d {td}"), &assigns, SumTarget::Slot(0), kernel)
}

/// Updates ε as variant `E` of [`Error`] (by index). Then computes φ ∘ ε, at the first evaluation (`G` = 1) or a later one (`G` = 2), and
/// the count of silent steps if `COUNT`.
fn run_error<const E: u8, const G: u8, const COUNT: bool, const TD: u8>(
    arch: Arch,
    writes: &mut [&mut [f32]],
    _: &mut [f32],
    reads: &[&[f32]],
    _: &[f32],
) {
    let mut writes = writes.iter_mut();
    let mut next = |is: bool| match is {
        true => writes.next().map(|w| &mut **w).unwrap_or_default(),
        false => Default::default(),
    };
    let (mu, eps, gated, counted) = (next(true), next(true), next(G > 0), next(COUNT));
    let mut reads = reads.iter();
    let mut old = |is: bool| if is { reads.next().copied().unwrap_or_default() } else { &[] };
    // Read slots, in order: x or Δx, μ_old, silent steps.
    let (step, was, quiet) = (old(E != 2), old(E > 0), old(G == 2 && !COUNT));
    match E {
        0 => blocks(
            arch,
            [&mut *eps],
            [step, &*mu],
            #[inline(always)]
            |[mut eps], [x, mu]| {
                for i in 0..BLOCK {
                    eps[i] = x[i] - mu[i];
                }
                [eps]
            },
        ),
        2 => blocks(
            arch,
            [&mut *eps],
            [was, &*mu],
            #[inline(always)]
            |[mut eps], [was, mu]| {
                for i in 0..BLOCK {
                    eps[i] -= mu[i] - was[i];
                }
                [eps]
            },
        ),
        _ => blocks(
            arch,
            [&mut *eps],
            [step, was, &*mu],
            #[inline(always)]
            |[mut eps], [dx, was, mu]| {
                for i in 0..BLOCK {
                    let before = if E == 3 { dx[i] } else { eps[i] + dx[i] };
                    eps[i] = before - (mu[i] - was[i]);
                }
                [eps]
            },
        ),
    }
    let td = f32::from(TD);
    match (G, COUNT) {
        (1, _) => blocks(
            arch,
            [&mut *gated],
            [&*eps],
            #[inline(always)]
            |[mut gated], [eps]| {
                for i in 0..BLOCK {
                    gated[i] = if eps[i] == 0.0 { 0.0 } else { eps[i] };
                }
                [gated]
            },
        ),
        (2, false) => blocks(
            arch,
            [&mut *gated],
            [&*eps, quiet],
            #[inline(always)]
            |[mut gated], [eps, quiet]| {
                for i in 0..BLOCK {
                    gated[i] = if eps[i] == 0.0 || quiet[i] < td { 0.0 } else { eps[i] };
                }
                [gated]
            },
        ),
        (2, true) => blocks(
            arch,
            [&mut *gated],
            [&*eps, &*counted],
            #[inline(always)]
            |[mut gated], [eps, quiet]| {
                for i in 0..BLOCK {
                    gated[i] = if eps[i] == 0.0 || quiet[i] < td { 0.0 } else { eps[i] };
                }
                [gated]
            },
        ),
        _ => {}
    }
    if COUNT {
        blocks(
            arch,
            [&mut *counted],
            [&*eps],
            #[inline(always)]
            |[mut quiet], [eps]| {
                for i in 0..BLOCK {
                    let silent = if G == 1 { td } else { quiet[i] + 1.0 };
                    let more = if silent > td { td } else { silent };
                    quiet[i] = if eps[i] == 0.0 { more } else { 0.0 };
                }
                [quiet]
            },
        );
    }
}

/// μ ← s, x ← s, h ← f(s).
fn settle(activation: Activation) -> FusedKernel {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &mut [f32], _: &[&[f32]], _: &[f32]) {
        let [mu, x, h] = writes else { return };
        blocks(
            arch,
            [&mut **x, &mut **h],
            [&**mu],
            #[inline(always)]
            |[_, mut h], [mu]| {
                for i in 0..BLOCK {
                    h[i] = f(Which::<ACT>::IS, mu[i]);
                }
                [mu, h]
            },
        );
    }
    let assigns = [(0, arriving()), (1, arriving()), (2, Expr::f(activation, arriving()))];
    let kernels: [Kernel<f32>; 6] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>, run::<5>];
    entry(format!("settle, {activation}"), &assigns, SumTarget::Slot(0), kernels[number(activation)])
}

/// h ← f(s), for a layer that stores neither μ nor x.
fn activate(activation: Activation) -> FusedKernel {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &mut [f32], _: &[&[f32]], _: &[f32]) {
        let [h] = writes else { return };
        blocks(
            arch,
            [&mut **h],
            [],
            #[inline(always)]
            |[mut h], []| {
                for i in 0..BLOCK {
                    h[i] = f(Which::<ACT>::IS, h[i]);
                }
                [h]
            },
        );
    }
    let kernels: [Kernel<f32>; 6] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>, run::<5>];
    let assigns = [(0, Expr::f(activation, arriving()))];
    entry(format!("activate, {activation}"), &assigns, SumTarget::Slot(0), kernels[number(activation)])
}

/// ε ← f′(x) s.
fn backprop(activation: Activation) -> FusedKernel {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &mut [f32], reads: &[&[f32]], _: &[f32]) {
        let [eps] = writes else { return };
        blocks(
            arch,
            [&mut **eps],
            [reads[0]],
            #[inline(always)]
            |[mut eps], [h]| {
                for i in 0..BLOCK {
                    eps[i] *= f_prime(Which::<ACT>::IS, h[i]);
                }
                [eps]
            },
        );
    }
    let assigns = [(0, Expr::slope(activation, slot(9), slot(10)) * arriving())];
    let kernels: [Kernel<f32>; 6] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>, run::<5>];
    entry(format!("backprop, {activation}"), &assigns, SumTarget::Slot(0), kernels[number(activation)])
}

/// An activation as a constant, so that the compiler resolves it.
struct Which<const ACT: usize>;

impl<const ACT: usize> Which<ACT> {
    const IS: Activation = Activation::ALL[ACT];
}

/// The index of an activation in [`Activation::MONOTONE`].
fn number(activation: Activation) -> usize {
    Activation::MONOTONE.iter().position(|a| *a == activation).unwrap_or(0)
}

/// Eq. (7) if ε was 0, and the first evaluation of φ. In Fa-Z-IL this is the layer that the error has just reached.
fn first_spike(activation: Activation) -> FusedKernel {
    fn run<const ACT: usize>(arch: Arch, writes: &mut [&mut [f32]], _: &mut [f32], reads: &[&[f32]], params: &[f32]) {
        let [x, eps, gated] = writes else { return };
        let gamma = params[0];
        blocks(
            arch,
            [&mut **x, &mut **eps, &mut **gated],
            [reads[0]],
            #[inline(always)]
            |[mut x, s, mut gated], [h]| {
                let mut d = s;
                for i in 0..BLOCK {
                    d[i] = gamma * f_prime(Which::<ACT>::IS, h[i]).mul_add(s[i], -0.0);
                    x[i] += d[i];
                    gated[i] = if d[i] == 0.0 { 0.0 } else { d[i] };
                }
                [x, d, gated]
            },
        );
    }
    let step = Expr::fma(Expr::slope(activation, slot(9), slot(10)), arriving(), Expr::Const(-0.0));
    let step = Expr::Param(ParamId(0)) * step;
    let eps = step.clone();
    let fires = eps.clone().equals(0.0).select(0.0, 1.0) * 1.0;
    let assigns = [(0, slot(0) + step), (1, eps.clone()), (2, fires.select(eps, 0.0))];
    let kernels: [Kernel<f32>; 6] = [run::<0>, run::<1>, run::<2>, run::<3>, run::<4>, run::<5>];
    entry(format!("first spike, {activation}"), &assigns, SumTarget::Slot(1), kernels[number(activation)])
}

/// φ ∘ ε at the first evaluation, and the count of silent steps after it: t_d where ε = 0, else 0.
fn gated_and_silent(eps: Expr, td: u8) -> [Expr; 2] {
    let active = eps.clone().equals(0.0).select(0.0, 1.0);
    [(active.clone() * 1.0).select(eps, 0.0), active.select(0.0, f64::from(td))]
}

/// ε ← x − s, and the first evaluation of φ. Used for the output layer of Fa-Z-IL in the speculative program.
fn first_gate(td: u8) -> FusedKernel {
    fn run<const TD: u8>(arch: Arch, writes: &mut [&mut [f32]], _: &mut [f32], reads: &[&[f32]], _: &[f32]) {
        let [eps, gated, silent] = writes else { return };
        blocks(
            arch,
            [&mut **eps, &mut **gated, &mut **silent],
            [reads[0]],
            #[inline(always)]
            |[mut eps, mut gated, mut silent], [x]| {
                for i in 0..BLOCK {
                    eps[i] = x[i] - eps[i];
                    gated[i] = if eps[i] == 0.0 { 0.0 } else { eps[i] };
                    silent[i] = if eps[i] == 0.0 { f32::from(TD) } else { 0.0 };
                }
                [eps, gated, silent]
            },
        );
    }
    let eps = slot(10) - arriving();
    let [gated, silent] = gated_and_silent(eps.clone(), td);
    let kernels: [Kernel<f32>; 4] = [run::<1>, run::<2>, run::<3>, run::<4>];
    let assigns = [(0, eps), (1, gated), (2, silent)];
    entry(format!("first gate, t_d {td}"), &assigns, SumTarget::Slot(0), kernels[usize::from(td) - 1])
}

/// Δx if ε was 0 (stored if `kept`), and the first evaluation of φ. Used for the hidden layers of Fa-Z-IL in the
/// speculative program.
fn spike(activation: Activation, td: u8, kept: bool) -> FusedKernel {
    fn run<const ACT: usize, const TD: u8, const KEPT: bool>(
        arch: Arch,
        writes: &mut [&mut [f32]],
        _: &mut [f32],
        reads: &[&[f32]],
        params: &[f32],
    ) {
        let gamma = params[0];
        let look = |s: f32, h: f32| {
            let d = gamma * f_prime(Which::<ACT>::IS, h).mul_add(s, -0.0);
            (d, if d == 0.0 { 0.0 } else { d }, if d == 0.0 { f32::from(TD) } else { 0.0 })
        };
        match writes {
            [dx, gated, silent] if KEPT => blocks(
                arch,
                [&mut **dx, &mut **gated, &mut **silent],
                [reads[0]],
                #[inline(always)]
                |[mut d, mut gated, mut silent], [h]| {
                    for i in 0..BLOCK {
                        (d[i], gated[i], silent[i]) = look(d[i], h[i]);
                    }
                    [d, gated, silent]
                },
            ),
            [gated, silent] => blocks(
                arch,
                [&mut **gated, &mut **silent],
                [reads[0]],
                #[inline(always)]
                |[mut gated, mut silent], [h]| {
                    for i in 0..BLOCK {
                        (_, gated[i], silent[i]) = look(gated[i], h[i]);
                    }
                    [gated, silent]
                },
            ),
            _ => {}
        }
    }
    let step = Expr::fma(Expr::slope(activation, slot(9), slot(10)), arriving(), Expr::Const(-0.0));
    let step = Expr::Param(ParamId(0)) * step;
    let [gated, silent] = gated_and_silent(step.clone(), td);
    let kernel: Kernel<f32> = for_activation!(activation, ACT => {
        const I: usize = ACT as usize;
        let kernels: [[Kernel<f32>; 2]; 4] = [
            [run::<I, 1, false>, run::<I, 1, true>],
            [run::<I, 2, false>, run::<I, 2, true>],
            [run::<I, 3, false>, run::<I, 3, true>],
            [run::<I, 4, false>, run::<I, 4, true>],
        ];
        kernels[usize::from(td) - 1][usize::from(kept)]
    });
    let first = kept.then_some(step);
    let assigns: Vec<(usize, Expr)> = first.into_iter().chain([gated, silent]).enumerate().collect();
    entry(format!("spike, {activation}, t_d {td}, Δx {kept}"), &assigns, SumTarget::Slot(0), kernel)
}

/// Fills the slot with 0.
fn zero() -> FusedKernel {
    let kernel: Kernel<f32> = |_, writes, _, _, _| writes.iter_mut().for_each(|to| to.fill(0.0));
    entry("zero".into(), &[(0, Expr::Const(0.0))], SumTarget::Nowhere, kernel)
}

/// A variant of the Eq. (7) epilogue. `dx`: Δx is stored. `carry`: ε ← ε + Δx is computed. `rest`: ε is known to be 0.
/// `h`: the update of f(x).
#[derive(Debug, Clone, Copy)]
struct Choice {
    dx: bool,
    carry: bool,
    rest: bool,
    h: After,
}

/// The update of h = f(x). The order is that of `H` in [`run_infer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    SavedSlot,
    KeptInPlace,
    Plain,
    PlainInPlace,
}

/// Eq. (7) with all combinations of the assignments that may follow it.
fn infer(activation: Activation) -> Vec<FusedKernel> {
    let both = [false, true];
    let choices = both.into_iter().flat_map(|dx| {
        both.into_iter().flat_map(move |carry| {
            both.into_iter().flat_map(move |rest| {
                use After::{KeptInPlace, Nothing, Plain, PlainInPlace, SavedSlot};
                let all = [Nothing, SavedSlot, KeptInPlace, Plain, PlainInPlace];
                all.into_iter().map(move |h| Choice { dx, carry, rest, h })
            })
        })
    });
    // If ε was 0, then ε + Δx = Δx. If nothing else is written, both variants are the same kernel and one of them is
    // omitted.
    let twice = |c: &Choice| c.rest && c.carry && !c.dx && c.h == After::Nothing;
    choices.filter(|choice| !twice(choice)).map(|choice| infer_row(activation, choice)).collect()
}

fn infer_row(activation: Activation, choice: Choice) -> FusedKernel {
    let Choice { dx, carry, rest, h } = choice;
    // The written slots are x, Δx, f(x) and ε, as far as the variant has them. The other slots are read.
    let mut written = 1;
    let mut place = |is: bool, other: usize| {
        written += usize::from(is);
        if is { written - 1 } else { other }
    };
    let (at_dx, at_h, at_eps) = (place(dx, 20), place(h != After::Nothing, 21), place(carry, 22));
    let old_h = if matches!(h, After::KeptInPlace | After::PlainInPlace) { at_h } else { 23 };
    let minus = if rest { Expr::Const(-0.0) } else { -slot(at_eps) };
    let step = Expr::Param(ParamId(0)) * Expr::fma(Expr::slope(activation, slot(9), slot(old_h)), arriving(), minus);
    let moved = slot(0) + step.clone();
    let mut assigns = vec![(0, moved.clone())];
    if dx {
        assigns.push((at_dx, step.clone()));
    }
    let after = Expr::f(activation, moved);
    match h {
        After::Nothing => {}
        After::Plain | After::PlainInPlace => assigns.push((at_h, after)),
        After::SavedSlot | After::KeptInPlace => {
            assigns.push((at_h, step.clone().equals(0.0).select(slot(old_h), after)))
        }
    }
    if carry {
        assigns.push((at_eps, if rest { step } else { slot(at_eps) + step }));
    }
    let name = format!("infer, {activation}, {choice:?}");
    let sum_target = match (dx, rest && carry) {
        (true, _) => SumTarget::Slot(at_dx as u8),
        (_, true) => SumTarget::Slot(at_eps as u8),
        _ => SumTarget::Scratch,
    };
    entry(name, &assigns, sum_target, infer_kernel(activation, choice))
}

/// The kernel of a variant.
fn infer_kernel(activation: Activation, Choice { dx, carry, rest, h }: Choice) -> Kernel<f32> {
    macro_rules! choose {
        ($act:ident, $($dx:literal $carry:literal $rest:literal),*) => {
            match (dx, carry, rest, h) {
                $(($dx, $carry, $rest, After::Nothing) => run_infer::<$act, $dx, $carry, $rest, 0>,
                ($dx, $carry, $rest, After::SavedSlot) => run_infer::<$act, $dx, $carry, $rest, 1>,
                ($dx, $carry, $rest, After::KeptInPlace) => run_infer::<$act, $dx, $carry, $rest, 2>,
                ($dx, $carry, $rest, After::Plain) => run_infer::<$act, $dx, $carry, $rest, 3>,
                ($dx, $carry, $rest, After::PlainInPlace) => run_infer::<$act, $dx, $carry, $rest, 4>,)*
            }
        };
    }
    for_activation!(activation, ACT => {
        const I: usize = ACT as usize;
        choose!(I, false false false, false false true, false true false, false true true, true false false,
            true false true, true true false, true true true)
    })
}

/// x += d, with d = γ fma(f′(h), s, −ε), which overwrites s. `CARRY`: ε += d. `REST`: ε was 0. `H`: h ← f(x), into a
/// separate slot (1, 3) or in place (2, 4); 1 and 2 keep the old h where d = 0. Each assignment is a separate loop, so
/// that it vectorises.
fn run_infer<const ACT: usize, const DX: bool, const CARRY: bool, const REST: bool, const H: u8>(
    arch: Arch,
    writes: &mut [&mut [f32]],
    scratch: &mut [f32],
    reads: &[&[f32]],
    params: &[f32],
) {
    let mut writes = writes.iter_mut();
    let mut next = |is: bool| match is {
        true => writes.next().map(|w| &mut **w).unwrap_or_default(),
        false => Default::default(),
    };
    let (x, dx, after, eps) = (next(true), next(DX), next(H > 0), next(CARRY));
    let mut reads = reads.iter();
    let mut old = |is: bool| if is { reads.next().copied().unwrap_or_default() } else { &[] };
    let (h, still) = (old(H % 2 == 1 || H == 0), old(!CARRY && !REST));
    let gamma = params[0];
    let slope = |h: f32| f_prime(Which::<ACT>::IS, h);
    if REST && CARRY && !DX {
        // s is in the slot of ε, which becomes d.
        let now = if H % 2 == 1 || H == 0 { h } else { &*after };
        blocks(
            arch,
            [&mut *x, &mut *eps],
            [now],
            #[inline(always)]
            |[mut x, s], [h]| {
                let mut d = s;
                for i in 0..BLOCK {
                    d[i] = gamma * slope(h[i]).mul_add(s[i], -0.0);
                    x[i] += d[i];
                }
                [x, d]
            },
        );
        return follow::<ACT, H>(arch, after, [x, eps, h]);
    }
    let d = if DX { dx } else { scratch };
    {
        let h = if H % 2 == 1 || H == 0 { h } else { &*after };
        let error: &[f32] = match (REST, CARRY) {
            (true, _) => h,
            (_, true) => eps,
            _ => still,
        };
        blocks(
            arch,
            [&mut *x, &mut *d],
            [h, error],
            #[inline(always)]
            |[mut x, s], [h, error]| {
                let mut d = s;
                for i in 0..BLOCK {
                    let minus = if REST { -0.0 } else { -error[i] };
                    d[i] = gamma * slope(h[i]).mul_add(s[i], minus);
                    x[i] += d[i];
                }
                [x, d]
            },
        );
    }
    if CARRY {
        blocks(
            arch,
            [eps],
            [&*d],
            #[inline(always)]
            |[mut eps], [d]| {
                for i in 0..BLOCK {
                    eps[i] = if REST { d[i] } else { eps[i] + d[i] };
                }
                [eps]
            },
        );
    }
    follow::<ACT, H>(arch, after, [x, d, h]);
}

/// h ← f(x), or the old h where d = 0.
#[inline(always)]
fn follow<const ACT: usize, const H: u8>(arch: Arch, after: &mut [f32], [x, d, h]: [&[f32]; 3]) {
    match H {
        1 => blocks(
            arch,
            [after],
            [x, d, h],
            #[inline(always)]
            |[mut after], [x, d, h]| {
                for i in 0..BLOCK {
                    let value = f(Which::<ACT>::IS, x[i]);
                    after[i] = if d[i] == 0.0 { h[i] } else { value };
                }
                [after]
            },
        ),
        2 => blocks(
            arch,
            [after],
            [x, d],
            #[inline(always)]
            |[mut after], [x, d]| {
                for i in 0..BLOCK {
                    let value = f(Which::<ACT>::IS, x[i]);
                    after[i] = if d[i] == 0.0 { after[i] } else { value };
                }
                [after]
            },
        ),
        3 | 4 => blocks(
            arch,
            [after],
            [x],
            #[inline(always)]
            |[mut after], [x]| {
                for i in 0..BLOCK {
                    after[i] = f(Which::<ACT>::IS, x[i]);
                }
                [after]
            },
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::epilogue::Read;
    use super::super::evaluate::evaluate;
    use super::super::matrix::{PANEL, Shape};
    use super::*;
    use crate::random::{Random, Stream};

    /// Rows of a band. It is not a multiple of the run length of the evaluator.
    const ROWS: usize = 13;

    /// Values of every kind that a slot may hold: zeros of both signs, small and large values, counts of silent steps.
    fn numbers(random: &mut Random) -> Vec<f32> {
        let number = |random: &mut Random| match random.below(8) {
            0 => 0.0,
            1 => -0.0,
            2 => random.below(6) as f32,
            3 => random.range(-1e-30, 1e-30) as f32,
            4 => random.range(-90.0, 90.0) as f32,
            _ => random.range(-1.0, 1.0) as f32,
        };
        (0..ROWS * PANEL).map(|_| number(random)).collect()
    }

    /// Every fused kernel is bit-identical to the evaluator on its expressions, and no two rows have the same
    /// expressions.
    #[test]
    fn every_kernel_is_its_definition_to_the_bit() {
        let arch = Arch::new();
        let band = Shape { rows: ROWS, cols: PANEL, wide: PANEL }.whole();
        let mut random = Random::new(0, Stream::Test, 77);
        let mut moved = 0;
        for (i, row) in table().iter().enumerate() {
            let FusedKernel { name, code, sum_target, kernel } = row;
            assert!(table()[..i].iter().all(|other| !other.code.like(code)), "{name} occurs twice in the table");
            let leaves: Vec<Vec<f32>> = code.leaves.iter().map(|_| numbers(&mut random)).collect();
            let (s, params) = (numbers(&mut random), [random.range(0.1, 2.0) as f32]);
            let (written, read) = leaves.split_at(code.outs.len());
            let elements: Vec<_> = read.iter().map(|r| Read::Element(&r[..])).collect();
            let mut want = written.to_vec();
            let mut writes: Vec<&mut [f32]> = want.iter_mut().map(Vec::as_mut_slice).collect();
            evaluate(arch, code, SumTarget::Scratch, &band, &mut writes, &s, &elements, &params, true);

            let mut got = written.to_vec();
            let mut scratch = s.clone();
            if let SumTarget::Slot(w) = *sum_target {
                assert!(!code.reads(usize::from(w)), "{name}: s would overwrite a value that is read");
                got[usize::from(w)].clone_from(&s);
            }
            let mut writes: Vec<&mut [f32]> = got.iter_mut().map(Vec::as_mut_slice).collect();
            let reads: Vec<&[f32]> = read.iter().map(Vec::as_slice).collect();
            kernel(arch, &mut writes, &mut scratch, &reads, &params);
            for (w, (got, want)) in got.iter().zip(&want).enumerate() {
                let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let first = bits(got).iter().zip(bits(want)).position(|(a, b)| *a != b);
                let shown = first.map(|at| (at, got[at], want[at]));
                assert_eq!(first, None, "{name}: written slot {w} differs: {shown:?}");
            }
            moved += usize::from(got != written);
        }
        assert!(
            moved + 1 >= table().len() && table().len() > 200,
            "only {moved} of {} kernels changed a value",
            table().len()
        );
    }
}
