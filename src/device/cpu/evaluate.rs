//! The expression evaluator, for epilogues without a fused kernel. It processes runs of values that fit in the L1
//! cache. Within a run it evaluates node by node; each node is one loop, which the compiler vectorises.

use super::activation::{f, f_prime, for_activation};
use super::element::Element;
use super::epilogue::{Read, SumTarget};
use super::matrix::{Band, PANEL};
use super::vector::vector;
use crate::plan::activation::Activation;
use crate::plan::expr::{Binary, Code, Node, Unary};
use pulp::Arch;
use std::cell::RefCell;

/// Rows of a run.
const ROWS: usize = 8;
/// Values of a run.
const RUN: usize = ROWS * PANEL;

thread_local! {
    /// One run per node. The buffer grows to the largest expression and is then reused.
    static RUNS: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Evaluates `code` on a band. For connections, `weights` says whether the band holds weights or biases.
#[allow(clippy::too_many_arguments, reason = "the operands of one kernel")]
pub(crate) fn evaluate<L: Copy + PartialEq, T: Element>(
    arch: Arch,
    code: &Code<L>,
    sum_target: SumTarget,
    band: &Band,
    writes: &mut [&mut [T]],
    s: &[T],
    reads: &[Read<'_, T>],
    params: &[T],
    weights: bool,
) {
    RUNS.with_borrow_mut(|runs| {
        let words = (code.nodes.len() * RUN * size_of::<T>()).div_ceil(size_of::<f64>());
        if runs.len() < words {
            runs.resize(words, 0.0);
        }
        let runs = &mut bytemuck::cast_slice_mut::<f64, T>(runs)[..code.nodes.len() * RUN];
        let runs = runs.as_chunks_mut::<RUN>().0;
        vector(
            arch,
            #[inline(always)]
            || {
                // Nodes whose value is uniform over the band are filled once, before the first run.
                for (run, node) in runs.iter_mut().zip(&code.nodes) {
                    match *node {
                        Node::Const(bits) => run.fill(T::from_f64(f64::from_bits(bits))),
                        Node::Param(i) => run.fill(params[i]),
                        Node::Weight => run.fill(if weights { T::ONE } else { T::ZERO }),
                        _ => {}
                    }
                }
                let mut at = 0;
                for piece in band.pieces() {
                    let (mut row, end) = (piece.rows.start, piece.rows.end);
                    while row < end {
                        let rows = (end - row).min(ROWS);
                        let wide = piece.wide;
                        let here = Here { at, len: rows * wide, wide, row, column: piece.q * wide };
                        for k in 0..code.nodes.len() {
                            let (before, rest) = runs.split_at_mut(k);
                            node(code.nodes[k], before, &mut rest[0], &here, (sum_target, writes, s, reads));
                        }
                        for (to, out) in writes.iter_mut().zip(&code.outs) {
                            to[at..at + here.len].copy_from_slice(&runs[*out][..here.len]);
                        }
                        at += here.len;
                        row += rows;
                    }
                }
            },
        );
    });
}

/// A run: its offset within the band, its length, its row width, its first row and first column.
struct Here {
    at: usize,
    len: usize,
    wide: usize,
    row: usize,
    column: usize,
}

/// The inputs of a node other than earlier nodes.
type Operands<'a, 'b, T> = (SumTarget, &'a mut [&'b mut [T]], &'a [T], &'a [Read<'a, T>]);

/// Evaluates one node on one run.
#[inline(always)]
fn node<T: Element>(
    node: Node,
    runs: &[[T; RUN]],
    out: &mut [T; RUN],
    here: &Here,
    (sum_target, writes, s, reads): Operands<'_, '_, T>,
) {
    let band = here.at..here.at + here.len;
    match node {
        Node::Const(_) | Node::Param(_) | Node::Weight => {}
        Node::Arriving => match sum_target {
            SumTarget::Slot(w) => out[..here.len].copy_from_slice(&writes[usize::from(w)][band]),
            _ => out[..here.len].copy_from_slice(&s[band]),
        },
        Node::Leaf(i) if i < writes.len() => out[..here.len].copy_from_slice(&writes[i][band]),
        Node::Leaf(i) => match reads[i - writes.len()] {
            Read::Element(from) => out[..here.len].copy_from_slice(&from[band]),
            Read::Vector(from) => {
                for row in out[..here.len].chunks_exact_mut(here.wide) {
                    row.copy_from_slice(&from[here.column..here.column + here.wide]);
                }
            }
            Read::One(value) => out.fill(value),
            Read::Sample(from, 1) => {
                for (i, row) in out[..here.len].chunks_exact_mut(here.wide).enumerate() {
                    row.fill(from[here.row + i]);
                }
            }
            Read::Sample(from, places) => {
                for (i, row) in out[..here.len].chunks_exact_mut(here.wide).enumerate() {
                    row.fill(from[(here.row + i) / places]);
                }
            }
        },
        Node::Unit => {
            for row in out.chunks_exact_mut(here.wide) {
                for (j, value) in row.iter_mut().enumerate() {
                    *value = T::from_f64((here.column + j) as f64);
                }
            }
        }
        Node::Unary(op, a) => unary(op, &runs[a], out),
        Node::Binary(op, a, b) => binary(op, &runs[a], &runs[b], out),
        Node::Fma(a, b, c) => {
            let (a, b, c) = (&runs[a], &runs[b], &runs[c]);
            for i in 0..RUN {
                out[i] = a[i].fma(b[i], c[i]);
            }
        }
        Node::Select(c, a, b) => {
            let (c, a, b) = (&runs[c], &runs[a], &runs[b]);
            for i in 0..RUN {
                out[i] = if c[i] != T::ZERO { a[i] } else { b[i] };
            }
        }
    }
}

#[inline(always)]
fn unary<T: Element>(op: Unary, a: &[T; RUN], out: &mut [T; RUN]) {
    let mut each = |change: &mut dyn FnMut(T) -> T| out.iter_mut().zip(a).for_each(|(o, a)| *o = change(*a));
    match op {
        Unary::Sqrt => each(&mut |a| a.sqrt()),
        Unary::Abs => each(&mut |a| a.abs()),
        Unary::Neg => {
            for i in 0..RUN {
                out[i] = -a[i];
            }
        }
        Unary::Exp => {
            for i in 0..RUN {
                out[i] = a[i].exp();
            }
        }
        Unary::Sign => {
            for i in 0..RUN {
                let negative = if a[i] < T::ZERO { -T::ONE } else { a[i] };
                out[i] = if a[i] > T::ZERO { T::ONE } else { negative };
            }
        }
        Unary::F(activation) => for_activation!(activation, ACT => {
            for i in 0..RUN {
                out[i] = f(ACT, a[i]);
            }
        }),
        Unary::Slope(activation) => for_activation!(activation, ACT => {
            for i in 0..RUN {
                out[i] = f_prime(ACT, a[i]);
            }
        }),
    }
}

#[inline(always)]
fn binary<T: Element>(op: Binary, a: &[T; RUN], b: &[T; RUN], out: &mut [T; RUN]) {
    let truth = |holds: bool| if holds { T::ONE } else { T::ZERO };
    macro_rules! each {
        (|$x:ident, $y:ident| $value:expr) => {
            for i in 0..RUN {
                let ($x, $y) = (a[i], b[i]);
                out[i] = $value;
            }
        };
    }
    match op {
        Binary::Add => each!(|x, y| x + y),
        Binary::Sub => each!(|x, y| x - y),
        Binary::Mul => each!(|x, y| x * y),
        Binary::Div => each!(|x, y| x / y),
        Binary::Min => each!(|x, y| if y < x { y } else { x }),
        Binary::Max => each!(|x, y| if y > x { y } else { x }),
        Binary::Less => each!(|x, y| truth(x < y)),
        Binary::Equal => each!(|x, y| truth(x == y)),
    }
}
