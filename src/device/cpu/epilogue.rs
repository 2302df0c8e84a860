//! The elementwise epilogue of a job, on a band of the slots it writes. It is run by a fused kernel of
//! `fused_kernels.rs` if one matches, otherwise by the evaluator of `evaluate.rs`.

use super::evaluate::evaluate;
use super::fused_kernels::Kernels;
use super::matrix::{Band, zero_padding};
use crate::lower::Place;
use crate::plan::expr::{Code, Node};
use crate::plan::{Domain, Plan};
use pulp::Arch;

/// Maximum number of parameters of the rule that one epilogue reads.
pub(crate) const MAX_PARAMS: usize = 8;

/// A slot that an epilogue reads: the part in the band, or a whole slot that is broadcast over rows or columns.
#[derive(Clone, Copy)]
pub(crate) enum Read<'a, T> {
    /// The band's values, [rows, 32] per panel.
    Element(&'a [T]),
    /// One value per unit, `[n]`.
    Vector(&'a [T]),
    /// One value per sample, `[batch]`, and the number of rows per sample.
    Sample(&'a [T], usize),
    /// One value for the whole batch.
    One(T),
}

/// Where the sum s is stored before the epilogue runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SumTarget {
    /// There is no s.
    Nowhere,
    /// In a slot that the epilogue writes and whose old value is not read.
    Slot(u8),
    /// In per-thread scratch.
    Scratch,
}

/// A kernel on a band. Arguments: written slots, s if it is in scratch, read slots, parameters.
pub(crate) type Kernel<T> = fn(Arch, &mut [&mut [T]], &mut [T], &[&[T]], &[T]);

/// How an epilogue is computed.
#[derive(Clone, Copy)]
enum How<T> {
    /// Nothing is left to compute: the only assignment is slot ← s, and s is in that slot.
    Stored,
    /// By a fused kernel.
    Fused(Kernel<T>),
    /// By the evaluator, node by node.
    Evaluated,
}

/// The epilogue of a job.
#[derive(Clone)]
pub(crate) struct Epilogue<T> {
    how: How<T>,
    pub(crate) sum_target: SumTarget,
    /// One bit per written slot: whether its padding columns must be zeroed afterwards.
    zero_bits: u8,
    /// Number of expression nodes.
    pub(crate) nodes: u32,
    code: Box<Code<Place>>,
}

impl<T: Kernels> Epilogue<T> {
    /// The epilogue `code` in domain `home`, with a fused kernel if one matches, unless `evaluated`.
    pub(crate) fn new(plan: &Plan, home: Domain, code: &Code<Place>, evaluated: bool) -> Self {
        // Values per sample are also broadcast to padding columns, which then have to be zeroed.
        let padded = |place: &Place| {
            let at = plan.slot(place.slot).home;
            at == home || matches!(at, Domain::Vector(_))
        };
        let zeros = code.zeros(&padded);
        let unclean = code.outs.iter().enumerate().filter(|(_, out)| !zeros[**out]);
        let zero_bits = unclean.fold(0, |bits, (w, _)| bits | 1 << w);
        let all_elements = code.leaves.iter().all(|place| plan.slot(place.slot).home == home);
        // For weight changes s must be in scratch, because the epilogue reads the slots, and the biases have a separate
        // sum.
        let weights = matches!(home, Domain::Connections(_));
        let fused = if all_elements && !evaluated && !weights { T::fused(code) } else { None };
        let sum_target = match (&fused, code.arrives()) {
            (_, false) => SumTarget::Nowhere,
            (Some(fused), _) => fused.1,
            _ if weights => SumTarget::Scratch,
            _ => choose_target(code),
        };
        let is_stored =
            matches!((sum_target, &code.outs[..]), (SumTarget::Slot(0), [out]) if code.nodes[*out] == Node::Arriving);
        let how = match fused {
            _ if is_stored => How::Stored,
            Some((kernel, _)) => How::Fused(kernel),
            None => How::Evaluated,
        };
        if matches!(how, How::Evaluated) && !weights {
            log::debug!(
                "epilogue without a fused kernel: {}",
                code.text(&|place| format!("{}/{}", plan.slot(place.slot).symbol, place.half))
            );
        }
        Epilogue { how, sum_target, zero_bits, nodes: code.nodes.len() as u32, code: Box::new(code.clone()) }
    }

    /// Whether the evaluator runs the epilogue.
    pub(crate) fn evaluated(&self) -> bool {
        matches!(self.how, How::Evaluated)
    }

    /// Evaluates the epilogue on a band, node by node. For connections, `weights` says whether the band holds weights or biases. `s` is
    /// empty unless it is in scratch.
    #[allow(clippy::too_many_arguments, reason = "the operands of one kernel")]
    pub(crate) fn run(
        &self,
        arch: Arch,
        band: &Band,
        writes: &mut [&mut [T]],
        s: &mut [T],
        reads: &[Read<'_, T>],
        params: &[T],
        weights: bool,
    ) {
        evaluate(arch, &self.code, self.sum_target, band, writes, s, reads, params, weights);
        self.zero_padding(band, writes);
    }

    /// Whether nothing is left to compute once s is in its slot.
    pub(crate) fn is_stored(&self) -> bool {
        matches!(self.how, How::Stored)
    }

    /// The fused kernel, if one matches.
    pub(crate) fn kernel(&self) -> Option<Kernel<T>> {
        if let How::Fused(kernel) = self.how { Some(kernel) } else { None }
    }

    /// Zeroes the padding columns that the epilogue may have filled.
    pub(crate) fn zero_padding(&self, band: &Band, writes: &mut [&mut [T]]) {
        if self.zero_bits == 0 {
            return;
        }
        for (w, data) in writes.iter_mut().enumerate() {
            if self.zero_bits & (1 << w) != 0 {
                zero_padding(band, data);
            }
        }
    }
}

/// The location of s for the evaluator: preferably the slot that is assigned s, else a slot whose old value is not
/// read.
fn choose_target(code: &Code<Place>) -> SumTarget {
    let becomes = code.outs.iter().position(|out| code.nodes[*out] == Node::Arriving);
    let unread = || (0..code.outs.len()).find(|w| !code.reads(*w));
    becomes.filter(|w| !code.reads(*w)).or_else(unread).map_or(SumTarget::Scratch, |w| SumTarget::Slot(w as u8))
}
