//! The elementwise ends of a job, on a band of the slots they write: by a hand-written kernel where there is one
//! (`fused_kernels.rs`), else by the evaluator (`evaluate.rs`).

use super::evaluate::evaluate;
use super::fused_kernels::Kernels;
use super::matrix::{Band, clear_padding};
use crate::lower::Place;
use crate::plan::expr::{Code, Node};
use crate::plan::{Domain, Plan};
use pulp::Arch;

/// Numbers of the rule's that the ends of one job may read.
pub(crate) const MAX_PARAMS: usize = 8;

/// A band's part of a slot that is read, or the whole of one that is the same for all rows or columns.
#[derive(Clone, Copy)]
pub(crate) enum Read<'a, T> {
    /// The band's numbers, [rows, 32] a panel.
    Element(&'a [T]),
    /// A number a unit, `[n]`.
    Vector(&'a [T]),
    /// A number a sample, `[batch]`, and the rows that each sample has.
    Sample(&'a [T], usize),
    /// One number.
    One(T),
}

/// Where s is while the ends are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SumTarget {
    /// Nothing arrives.
    Nowhere,
    /// In a slot that is written, whose old value nobody reads.
    Slot(u8),
    /// In a thread's scratch.
    Scratch,
}

/// A kernel on a band: slots written, s where it lands in scratch, slots read, the rule's numbers.
pub(crate) type Kernel<T> = fn(Arch, &mut [&mut [T]], &mut [T], &[&[T]], &[T]);

/// How ends are evaluated.
#[derive(Clone, Copy)]
enum How<T> {
    /// They are, once s has landed.
    Landed,
    /// By hand-written code.
    Known(Kernel<T>),
    /// Node by node.
    Evaluated,
}

/// The ends of a job.
#[derive(Clone)]
pub(crate) struct Ends<T> {
    how: How<T>,
    pub(crate) landing: SumTarget,
    /// Which of the written slots need their padding cleared, a bit each.
    clear: u8,
    /// Nodes of the formula.
    pub(crate) nodes: u32,
    code: Box<Code<Place>>,
}

impl<T: Kernels> Ends<T> {
    /// Ends at `home`, by their own kernel unless `evaluated`.
    pub(crate) fn new(plan: &Plan, home: Domain, code: &Code<Place>, evaluated: bool) -> Self {
        // A number a sample is not 0 in a padded column.
        let padded = |place: &Place| {
            let at = plan.slot(place.slot).home;
            at == home || matches!(at, Domain::Vector(_))
        };
        let zeros = code.zeros(&padded);
        let unclean = code.outs.iter().enumerate().filter(|(_, out)| !zeros[**out]);
        let clear = unclean.fold(0, |bits, (w, _)| bits | 1 << w);
        let all_elements = code.leaves.iter().all(|place| plan.slot(place.slot).home == home);
        // Changes of weights arrive in scratch: their slots are read, and biases have sums of their own.
        let weights = matches!(home, Domain::Connections(_));
        let known = if all_elements && !evaluated && !weights { T::known(code) } else { None };
        let landing = match (&known, code.arrives()) {
            (_, false) => SumTarget::Nowhere,
            (Some(known), _) => known.1,
            _ if weights => SumTarget::Scratch,
            _ => landing(code),
        };
        let landed =
            matches!((landing, &code.outs[..]), (SumTarget::Slot(0), [out]) if code.nodes[*out] == Node::Arriving);
        let how = match known {
            _ if landed => How::Landed,
            Some((kernel, _)) => How::Known(kernel),
            None => How::Evaluated,
        };
        if matches!(how, How::Evaluated) && !weights {
            log::debug!(
                "evaluated: {}",
                code.text(&|place| format!("{}/{}", plan.slot(place.slot).symbol, place.half))
            );
        }
        Ends { how, landing, clear, nodes: code.nodes.len() as u32, code: Box::new(code.clone()) }
    }

    /// Whether no hand-written kernel does them.
    pub(crate) fn evaluated(&self) -> bool {
        matches!(self.how, How::Evaluated)
    }

    /// Evaluates them on a band, node by node; of connections on weights, or else on biases. `s` is empty unless it landed in
    /// scratch.
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
        evaluate(arch, &self.code, self.landing, band, writes, s, reads, params, weights);
        self.clear_padding(band, writes);
    }

    /// Whether nothing is left to do once s has landed.
    pub(crate) fn landed(&self) -> bool {
        matches!(self.how, How::Landed)
    }

    /// The hand-written kernel that does them, if there is one.
    pub(crate) fn kernel(&self) -> Option<Kernel<T>> {
        if let How::Known(kernel) = self.how { Some(kernel) } else { None }
    }

    /// Sets columns that are not there to zero, where the ends leave something else.
    pub(crate) fn clear_padding(&self, band: &Band, writes: &mut [&mut [T]]) {
        if self.clear == 0 {
            return;
        }
        for (w, data) in writes.iter_mut().enumerate() {
            if self.clear & (1 << w) != 0 {
                clear_padding(band, data);
            }
        }
    }
}

/// Where s lands for the evaluator: in a slot that becomes s, or in one whose old value is of no use.
fn landing(code: &Code<Place>) -> SumTarget {
    let becomes = code.outs.iter().position(|out| code.nodes[*out] == Node::Arriving);
    let unread = || (0..code.outs.len()).find(|w| !code.reads(*w));
    becomes.filter(|w| !code.reads(*w)).or_else(unread).map_or(SumTarget::Scratch, |w| SumTarget::Slot(w as u8))
}
