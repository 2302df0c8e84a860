//! Buffer allocation: liveness analysis, choice of the half (double buffering) of a slot in which a value is stored,
//! and grouping of jobs into launches.

use super::fuse::is_alias;
use super::split::Segment;
use super::work_count::look_at;
use super::{Job, Kind, Launch, Pass, Place, Work};
use crate::plan::expr::{Code, Expr, SlotId};
use crate::plan::{Assign, Direction, Domain, FamilyId, Op, Plan, What};
use std::collections::{BTreeSet, HashSet};

/// A set of slots, as a bit set.
#[derive(Clone)]
pub(super) struct Slots(Vec<u64>);

impl Slots {
    fn none(plan: &Plan) -> Self {
        Slots(vec![0; plan.slots.len().div_ceil(64)])
    }

    fn put(&mut self, slot: SlotId) {
        self.0[slot.0 / 64] |= 1 << (slot.0 % 64);
    }

    fn remove(&mut self, slot: SlotId) {
        self.0[slot.0 / 64] &= !(1 << (slot.0 % 64));
    }

    fn has(&self, slot: SlotId) -> bool {
        self.0[slot.0 / 64] >> (slot.0 % 64) & 1 == 1
    }
}

/// Liveness analysis: the live slots after each step of each segment. Assignments that nothing reads are removed. The
/// slots `seen` are live after each segment with `looked_at`.
pub(super) fn liveness(plan: &Plan, segments: &mut [Segment], seen: &[SlotId]) -> Vec<Vec<Slots>> {
    let outside = |s: &usize| plan.slots[*s].persistent || plan.slots[*s].observed;
    let mut live = Slots::none(plan);
    (0..plan.slots.len()).filter(outside).for_each(|s| live.put(SlotId(s)));
    let mut after = Vec::new();
    for segment in segments.iter_mut().rev() {
        if segment.looked_at {
            seen.iter().for_each(|slot| live.put(*slot));
        }
        if segment.times > 1 {
            // Values that a repetition of the segment reads are live at the end of the previous repetition.
            segment.steps.iter().flatten().flat_map(Op::reads).for_each(|slot| live.put(slot));
        }
        let mut steps = Vec::with_capacity(segment.steps.len());
        for ops in segment.steps.iter_mut().rev() {
            steps.push(live.clone());
            ops.iter_mut().for_each(|op| op.epilogue.retain(|end| live.has(end.to)));
            ops.retain(|op| !op.epilogue.is_empty());
            ops.iter().flat_map(Op::writes).for_each(|to| live.remove(to));
            ops.iter().flat_map(Op::reads).for_each(|slot| live.put(slot));
        }
        steps.reverse();
        if segment.times > 1 {
            segment.steps.iter().flatten().flat_map(Op::writes).for_each(|to| live.put(to));
        }
        after.push(steps);
    }
    after.reverse();
    after
}

/// Assigns a place to every value.
pub(super) struct Placing<'a> {
    plan: &'a Plan,
    /// Live slots, by segment and step.
    live: Vec<Vec<Slots>>,
    pub(super) place: Vec<Place>,
    pub(super) halves: Vec<usize>,
    /// Maximum number of slot families per launch.
    names: usize,
    /// Place of each slot after the current step. Between steps it equals `place`.
    after: Vec<Place>,
    /// Per slot, the other slots whose values are stored in one of its halves, before or after the current step.
    lent: Vec<Vec<SlotId>>,
    /// Per slot, the ops of the current step that read it, as indices into the ops sorted by [`Kind`]. Empty between
    /// steps.
    readers: Vec<Vec<usize>>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(plan: &'a Plan, live: Vec<Vec<Slots>>, names: usize) -> Self {
        let slots = plan.slots.len();
        let place: Vec<Place> = (0..slots).map(|s| Place { slot: SlotId(s), half: 0 }).collect();
        let mut halves: Vec<usize> = plan.slots.iter().map(|s| usize::from(s.persistent)).collect();
        plan.feeds.iter().for_each(|feed| halves[feed.slot.0] = 1);
        let (after, lent, readers) = (place.clone(), vec![Vec::new(); slots], vec![Vec::new(); slots]);
        Placing { plan, live, place, halves, names, after, lent, readers }
    }

    /// Lowers a segment. Repetitions are unrolled, up to four at a time, until every value is again in its initial
    /// place; the unrolled launches are then looped.
    pub(super) fn segment(&mut self, at: usize, segment: &Segment, passes: &mut Vec<Pass>) {
        let mut rounds = Vec::new();
        let mut left = segment.times;
        while left > 0 {
            let before = self.place.clone();
            rounds.clear();
            let most = if segment.times == 1 { 1 } else { left.min(4) };
            let mut made = 0;
            while made < most {
                let mut launches = Vec::new();
                (0..segment.steps.len()).for_each(|k| self.step(at, segment, k, &mut launches));
                rounds.push(launches);
                made += 1;
                if self.place == before {
                    break;
                }
            }
            let back = self.place == before;
            let times = if back { left / made } else { 1 };
            passes.push(Pass { times, launches: rounds.drain(..).flatten().collect() });
            left -= made * times;
        }
    }

    fn step(&mut self, at: usize, segment: &Segment, k: usize, launches: &mut Vec<Launch>) {
        let ops = &segment.steps[k];
        let mut order: Vec<(Kind, &Op)> = ops.iter().map(|op| (kind(self.plan, op), op)).collect();
        order.sort_by_key(|(kind, _)| *kind);
        let reads: Vec<Vec<SlotId>> = order.iter().map(|(_, op)| op.reads()).collect();
        for (i, slot) in reads.iter().enumerate().flat_map(|(i, slots)| slots.iter().map(move |slot| (i, slot))) {
            self.readers[slot.0].push(i);
        }
        let mut changed: Vec<SlotId> = Vec::new();
        // A copy becomes an alias of its source and needs no job. Copies are handled first, because the source must not
        // be overwritten afterwards while its alias is live.
        for end in ops.iter().flat_map(|op| &op.epilogue).filter(|end| is_alias(self.plan, end)) {
            if let Expr::Slot(from) = end.expr {
                self.lend(end.to, self.place[from.0]);
                changed.push(end.to);
            }
        }
        let mut joined = Joined { start: launches.len(), names: Vec::new() };
        for (i, (kind, op)) in order.iter().enumerate() {
            let epilogue: Vec<&Assign> = op.epilogue.iter().filter(|end| !is_alias(self.plan, end)).collect();
            if epilogue.is_empty() {
                continue;
            }
            for end in &epilogue {
                let to = end.to;
                let half = self.free_half(to, (at, k), (i, &order));
                self.after[to.0] = Place { slot: to, half };
                self.halves[to.0] = self.halves[to.0].max(half + 1);
                changed.push(to);
            }
            let names = epilogue.iter().map(|end| segment.name(k, op, end)).collect();
            let job = self.job(op, &epilogue, names);
            joined.add(self.plan, self.names, launches, (*kind, job));
        }
        reads.iter().flatten().for_each(|slot| self.readers[slot.0].clear());
        for slot in changed {
            let (before, after) = (self.place[slot.0], self.after[slot.0]);
            if before.slot != after.slot {
                self.lent[before.slot.0].retain(|other| *other != slot);
            }
            self.place[slot.0] = after;
        }
    }

    /// Makes a slot an alias: its value is stored at `place`, which may belong to another slot.
    fn lend(&mut self, slot: SlotId, place: Place) {
        self.after[slot.0] = place;
        let to = &mut self.lent[place.slot.0];
        if place.slot != slot && !to.contains(&slot) {
            to.push(slot);
        }
    }

    /// The half to which op i of a step writes a slot. It is the current half, unless the value in that half is still
    /// needed.
    fn free_half(&self, to: SlotId, (at, k): (usize, usize), (i, order): (usize, &[(Kind, &Op)])) -> usize {
        let now = self.place[to.0];
        let (kind, op) = order[i];
        // Ops of this launch or a later one, which may read the old value.
        let mut later = self.readers[to.0].iter().rev().take_while(|j| order[**j].0 >= kind);
        let reads_it = |j: &usize| {
            look_at(1);
            *j != i || op.what.reads().contains(&to)
        };
        let late = now.slot == to && later.any(reads_it);
        let mut taken: BTreeSet<usize> = late.then_some(now.half).into_iter().collect();
        // Aliases that are live after this step, or read by one of its ops.
        for s in self.lent[to.0].iter().filter(|s| **s != to) {
            look_at(1);
            let (before, after) = (self.place[s.0], self.after[s.0]);
            if after.slot == to && self.live[at][k].has(*s) {
                taken.insert(after.half);
            }
            if before.slot == to && !self.readers[s.0].is_empty() {
                taken.insert(before.half);
            }
        }
        let stay = now.slot == to && !taken.contains(&now.half);
        if stay { now.half } else { (0..).find(|half| !taken.contains(half)).unwrap_or(0) }
    }

    fn job(&self, op: &Op, epilogue: &[&Assign], names: Vec<&'static str>) -> Job {
        let at = |slot: SlotId| self.place[slot.0];
        let work = match op.what {
            What::Send { projection, weights, direction, from } => {
                let weights = at(weights.unwrap_or(from));
                Work::Send { projection, weights, direction, from: at(from) }
            }
            What::Map(home) => Work::Map(home),
            What::OuterProduct { projection, post, pre } => {
                Work::OuterProduct { projection, post: at(post), pre: at(pre) }
            }
            What::Reduce { from, how } => Work::Reduce { from: at(from), how },
            What::Draw(draw) => Work::Draw(draw),
        };
        let epilogue: Vec<(Place, Expr)> =
            epilogue.iter().map(|end| (self.after[end.to.0], end.expr.clone())).collect();
        Job { work, code: Code::new(&epilogue, &at), names }
    }

    /// Copies persistent slots back to half 0, where the next update reads them.
    pub(super) fn restore_lasting(&mut self, passes: &mut Vec<Pass>) {
        let mut jobs = Vec::new();
        for (s, slot) in self.plan.slots.iter().enumerate().filter(|(_, slot)| slot.persistent) {
            let home = Place { slot: SlotId(s), half: 0 };
            let now = std::mem::replace(&mut self.place[s], home);
            if now != home {
                let code = Code::new(&[(home, Expr::Slot(SlotId(s)))], &|_| now);
                jobs.push(Job { work: Work::Map(slot.home), code, names: vec!["keep"] });
            }
        }
        if !jobs.is_empty() {
            passes.push(Pass { times: 1, launches: vec![Launch { kind: Kind::Units, jobs }] });
        }
    }
}

fn kind(plan: &Plan, op: &Op) -> Kind {
    let to = op.epilogue.first().map(|end| plan.slot(end.to).home);
    let pools = |from: SlotId| matches!((plan.slot(from).home, to), (Domain::Units(_), Some(Domain::Vector(_))));
    match op.what {
        What::Send { projection, .. } if plan.projections[projection].kind.is_map() => Kind::FixedMap,
        What::Send { direction: Direction::Forward, .. } => Kind::Forward,
        What::Send { direction: Direction::Backward, .. } => Kind::Backward,
        What::Map(Domain::Connections(_)) => Kind::Connections,
        What::Map(_) => Kind::Units,
        What::OuterProduct { .. } => Kind::OuterProduct,
        What::Reduce { from, .. } if pools(from) => Kind::Pool,
        What::Reduce { .. } => Kind::Reduce,
        What::Draw(_) => Kind::Draw,
    }
}

/// The families of the slots that a job accesses.
fn names<'a>(plan: &'a Plan, job: &'a Job) -> impl Iterator<Item = FamilyId> + 'a {
    job.code.leaves.iter().copied().chain(job.work.reads()).map(|place| plan.slot(place.slot).family)
}

/// The launches of a step, with the slot families that each launch accesses.
struct Joined {
    /// Index of the first launch.
    start: usize,
    names: Vec<BTreeSet<FamilyId>>,
}

impl Joined {
    /// Adds a job to the first launch of its kind that stays within `most` families, or to a new launch.
    fn add(&mut self, plan: &Plan, most: usize, launches: &mut Vec<Launch>, (kind, job): (Kind, Job)) {
        let mut own: Vec<FamilyId> = names(plan, &job).collect();
        own.sort_unstable();
        own.dedup();
        let room = |(launch, names): (&Launch, &BTreeSet<FamilyId>)| {
            look_at(1);
            launch.kind == kind && names.len() + own.iter().filter(|name| !names.contains(name)).count() <= most
        };
        let at = launches[self.start..].iter().zip(&self.names).position(room).unwrap_or_else(|| {
            launches.push(Launch { kind, jobs: Vec::new() });
            self.names.push(BTreeSet::new());
            self.names.len() - 1
        });
        self.names[at].extend(own);
        launches[self.start + at].jobs.push(job);
    }
}

/// The places and families that the jobs of a launch of weight updates access.
#[derive(Default)]
struct Touched {
    reads: HashSet<Place>,
    writes: HashSet<Place>,
    names: BTreeSet<FamilyId>,
}

impl Touched {
    fn add(&mut self, plan: &Plan, jobs: &[Job]) {
        for job in jobs {
            look_at(1);
            self.reads.extend(job.reads());
            self.writes.extend(job.writes());
            self.names.extend(names(plan, job));
        }
    }

    /// Whether a launch in `later` must run after the weight updates.
    fn conflicts(&self, later: &[Launch]) -> bool {
        later.iter().flat_map(|launch| &launch.jobs).any(|job| {
            look_at(1);
            job.writes().iter().any(|place| self.reads.contains(place) || self.writes.contains(place))
                || job.reads().iter().any(|place| self.writes.contains(place))
        })
    }

    /// Number of families if the jobs of `launch` are added.
    fn names_with(&self, plan: &Plan, launch: &Launch) -> usize {
        let more: BTreeSet<FamilyId> = launch.jobs.iter().flat_map(|job| names(plan, job)).collect();
        self.names.len() + more.iter().filter(|name| !self.names.contains(name)).count()
    }
}

/// Merges each launch of weight updates into the next launch of weight updates, unless a launch up to there reads or
/// writes the new weights or overwrites an operand of the update, or the merged launch would access more than `most`
/// families.
pub(super) fn sink_changes(plan: &Plan, launches: &mut Vec<Launch>, most: usize) {
    let changes: Vec<usize> = (0..launches.len()).filter(|i| launches[*i].kind == Kind::OuterProduct).collect();
    // Accesses of the first `moved` jobs of launch i, which come from earlier launches.
    let (mut touched, mut moved) = (Touched::default(), 0);
    for (&i, &k) in changes.iter().zip(changes.iter().skip(1)) {
        touched.add(plan, &launches[i].jobs[moved..]);
        if touched.conflicts(&launches[i + 1..=k]) || touched.names_with(plan, &launches[k]) > most {
            (touched, moved) = (Touched::default(), 0);
            continue;
        }
        let mut jobs = std::mem::take(&mut launches[i].jobs);
        moved = jobs.len();
        jobs.append(&mut launches[k].jobs);
        launches[k].jobs = jobs;
    }
    launches.retain(|launch| !launch.jobs.is_empty());
}
