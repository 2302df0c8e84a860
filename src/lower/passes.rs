//! Lowering as a list of passes. `zilch plan --after PASS` prints the result of each.

use super::allocate::{Placing, Slots, liveness, sink_changes};
use super::fuse::move_ends;
use super::split::{Segment, segments};
use super::value_numbering::{Assumed, Numbering};
use super::{Limits, Look, Program};
use crate::named::named;
use crate::plan::Plan;
use crate::plan::expr::SlotId;

named! {
    /// A lowering pass. The variants are in execution order.
    Pass {
        /// Replaces layers by the vertices of a graph, and projections by its edges (plan).
        UnrollGraph = "unroll_graph",
        /// Inserts ops for fixed maps over grids: im2col and pooling (plan).
        InsertMaps = "insert_maps",
        /// Splits ops that use more slots than one launch can bind (ops).
        Split = "split",
        /// Reuses values that are already computed, and folds constants (ops).
        ValueNumbering = "value_numbering",
        /// Moves elementwise work into the epilogue of the op that computes its operand (ops).
        Fuse = "fuse",
        /// Removes assignments that nothing reads (ops).
        Liveness = "liveness",
        /// Assigns a buffer to every value, and combines independent ops into launches (program).
        Allocate = "allocate",
        /// Moves weight changes down into the next launch of weight changes (program).
        Sink = "sink",
        /// Assumes that all units of a layer leave rest together, and adds guards that check this (program).
        Speculate = "speculate",
    }
}

/// The passes that lower a plan, as devices run it, to a program.
pub(super) const LOWERING: [Pass; 6] =
    [Pass::Split, Pass::ValueNumbering, Pass::Fuse, Pass::Liveness, Pass::Allocate, Pass::Sink];

/// Intermediate state of lowering.
pub(super) struct Lowering<'a> {
    pub(super) plan: &'a Plan,
    pub(super) limits: &'a Limits,
    /// The moments after which slots are observed, and these slots.
    pub(super) looks: &'a [usize],
    pub(super) seen: &'a [SlotId],
    /// Number of fusion rounds.
    pub(super) hops: usize,
    /// Whether to speculate that values leave their resting constants, and the assumptions that this made.
    pub(super) bold: bool,
    pub(super) assumed: Vec<Assumed>,
    pub(super) segments: Vec<Segment>,
    pub(super) live: Vec<Vec<Slots>>,
    pub(super) program: Program,
    pub(super) looked: Vec<Look>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(plan: &'a Plan, limits: &'a Limits, (looks, seen): (&'a [usize], &'a [SlotId])) -> Self {
        Lowering {
            plan,
            limits,
            looks,
            seen,
            hops: 1,
            bold: false,
            assumed: Vec::new(),
            segments: Vec::new(),
            live: Vec::new(),
            program: Program { passes: Vec::new(), halves: Vec::new(), last: Vec::new() },
            looked: Vec::new(),
        }
    }

    /// Runs passes of [`LOWERING`], in order.
    pub(super) fn run(mut self, passes: &[Pass]) -> Self {
        passes.iter().for_each(|pass| self.pass(*pass));
        self
    }

    fn pass(&mut self, pass: Pass) {
        let (plan, limits) = (self.plan, self.limits);
        match pass {
            // The first two run on the plan before lowering. Speculation is a separate lowering of another plan.
            Pass::UnrollGraph | Pass::InsertMaps | Pass::Speculate => {}
            Pass::Split => self.segments = segments(plan, limits, self.looks),
            Pass::ValueNumbering => {
                let mut numbering = Numbering::new(plan, limits.merging);
                numbering.bold = self.bold;
                numbering.simplify(plan, &mut self.segments);
                self.assumed = numbering.assumed;
            }
            Pass::Fuse => {
                for segment in &mut self.segments {
                    (0..self.hops).for_each(|_| move_ends(plan, segment, limits));
                }
            }
            Pass::Liveness => self.live = liveness(plan, &mut self.segments, self.seen),
            Pass::Allocate => self.allocate(),
            Pass::Sink => {
                let passes = &mut self.program.passes;
                passes.iter_mut().for_each(|pass| sink_changes(plan, &mut pass.launches, limits.names));
            }
        }
    }

    fn allocate(&mut self) {
        let mut placing = Placing::new(self.plan, std::mem::take(&mut self.live), self.limits.names);
        let mut passes = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            let mut made = Vec::new();
            placing.segment(at, segment, &mut made);
            passes.extend(made.into_iter().filter(|pass| !pass.launches.is_empty()));
            if segment.looked_at {
                let places = self.seen.iter().map(|slot| placing.place[slot.0]).collect();
                self.looked.push(Look { passes: passes.len(), places });
            }
        }
        placing.restore_lasting(&mut passes);
        let Placing { halves, place, .. } = placing;
        self.program = Program { passes, halves, last: place };
    }
}

#[cfg(test)]
mod tests {
    use super::super::work_count;
    use super::*;
    use crate::{Network, Options, Rule, Schedule};

    /// The work count of lowering a rule on this many layers of one unit, and the number of ops of its plan.
    fn work(rule: Rule, schedule: Schedule, layers: usize) -> [usize; 2] {
        let network = Network::new(&vec![1; layers + 1]).expect("a network");
        let options = Options { schedule: Some(schedule), ..Options::new(rule) };
        let plan = options.plan(&network).expect("a plan");
        work_count::take();
        for limits in [Limits::COMMON, Limits { names: usize::MAX, ..Limits::COMMON }] {
            assert!(!Program::lower(&plan, &limits).passes.is_empty());
        }
        [work_count::take(), plan.ops().count()]
    }

    /// Lowering time is nearly linear in the number of ops. (Searching all ops for each op would take four times the
    /// work for twice the layers of a frontier schedule, and twice the work per op of a full schedule.)
    #[test]
    fn lowering_is_near_linear() {
        for (rule, schedule) in [
            (Rule::BP, Schedule::Frontier),
            (Rule::IL, Schedule::Full),
            (Rule::ZIL, Schedule::Frontier),
            (Rule::ZIL, Schedule::Full),
            (Rule::FAZIL, Schedule::Frontier),
            (Rule::FAZIL, Schedule::Full),
        ] {
            let [[few, few_ops], [many, many_ops]] = [32, 64].map(|layers| work(rule, schedule, layers));
            assert!(few > few_ops, "{}: nothing is counted", rule.name());
            let [work, ops] = [many as f64 / few as f64, many_ops as f64 / few_ops as f64];
            assert!(
                work <= 1.5 * ops,
                "{} {schedule:?}: {work:.2} times the work for {ops:.2} times the ops",
                rule.name()
            );
        }
    }
}
