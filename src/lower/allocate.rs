//! Which values are alive when, in which half of its slot each lies, and which launches join.

use super::fuse::is_alias;
use super::split::Segment;
use super::{Job, Kind, Launch, Pass, Place, Work};
use crate::plan::expr::{Code, Expr, SlotId};
use crate::plan::{Direction, End, Home, Op, Plan, What};
use std::collections::BTreeSet;

/// What is alive after each step of each segment. Ends that nothing reads are left out.
pub(super) fn liveness(plan: &Plan, segments: &mut [Segment]) -> Vec<Vec<BTreeSet<SlotId>>> {
    let outside = |s: &usize| plan.slots[*s].lasting || plan.slots[*s].observed;
    let mut live: BTreeSet<SlotId> = (0..plan.slots.len()).filter(outside).map(SlotId).collect();
    let mut after = Vec::new();
    for segment in segments.iter_mut().rev() {
        if segment.times > 1 {
            // What one repetition reads, the one before it must leave.
            live.extend(segment.steps.iter().flatten().flat_map(Op::reads));
        }
        let mut steps = vec![live.clone(); segment.steps.len()];
        for (ops, after) in segment.steps.iter_mut().zip(&mut steps).rev() {
            after.clone_from(&live);
            ops.iter_mut().for_each(|op| op.ends.retain(|end| live.contains(&end.to)));
            ops.retain(|op| !op.ends.is_empty());
            ops.iter().flat_map(Op::writes).for_each(|to| {
                live.remove(&to);
            });
            live.extend(ops.iter().flat_map(Op::reads));
        }
        if segment.times > 1 {
            live.extend(segment.steps.iter().flatten().flat_map(Op::writes));
        }
        after.push(steps);
    }
    after.reverse();
    after
}

/// Gives every value a place.
pub(super) struct Placing<'a> {
    plan: &'a Plan,
    /// By segment and step.
    live: Vec<Vec<BTreeSet<SlotId>>>,
    pub(super) place: Vec<Place>,
    pub(super) halves: Vec<usize>,
    /// Different names among the slots of a launch, at most.
    names: usize,
}

impl<'a> Placing<'a> {
    pub(super) fn new(plan: &'a Plan, live: Vec<Vec<BTreeSet<SlotId>>>, names: usize) -> Self {
        let place = (0..plan.slots.len()).map(|s| Place { slot: SlotId(s), half: 0 }).collect();
        let mut halves: Vec<usize> = plan.slots.iter().map(|s| usize::from(s.lasting)).collect();
        plan.feeds.iter().for_each(|feed| halves[feed.slot.0] = 1);
        Placing { plan, live, place, halves, names }
    }

    /// Lowers a segment; of a repetition as many rounds as bring every value back to where it was.
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
                for (k, ops) in segment.steps.iter().enumerate() {
                    self.step(at, k, ops, &mut launches);
                }
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

    fn step(&mut self, at: usize, k: usize, ops: &[Op], launches: &mut Vec<Launch>) {
        let mut order: Vec<(Kind, &Op)> = ops.iter().map(|op| (kind(self.plan, op), op)).collect();
        order.sort_by_key(|(kind, _)| *kind);
        let (before, start) = (self.place.clone(), launches.len());
        let mut after = before.clone();
        let reads: Vec<Vec<SlotId>> = order.iter().map(|(_, op)| op.reads()).collect();
        let wholes: Vec<Vec<SlotId>> = order.iter().map(|(_, op)| op.what.reads()).collect();
        let mut read_now = vec![false; before.len()];
        reads.iter().flatten().for_each(|slot| read_now[slot.0] = true);
        let wanted: Vec<bool> = (0..before.len()).map(|s| self.live[at][k].contains(&SlotId(s))).collect();
        // Copies: slots whose value lies in a place of another slot's.
        let elsewhere =
            |places: &[Place]| -> Vec<usize> { (0..places.len()).filter(|s| places[*s].slot != SlotId(*s)).collect() };
        let borrowed = elsewhere(&before);
        // Copies cost nothing; they come first, for a slot that is copied must then be written elsewhere.
        for op in ops {
            for end in op.ends.iter().filter(|end| is_alias(self.plan, end)) {
                if let Expr::Slot(from) = end.expr {
                    after[end.to.0] = before[from.0];
                }
            }
        }
        let copies = elsewhere(&after);
        for (i, (kind, op)) in order.iter().enumerate() {
            let ends: Vec<&End> = op.ends.iter().filter(|end| !is_alias(self.plan, end)).collect();
            if ends.is_empty() {
                continue;
            }
            for end in &ends {
                // Those that read the old value when this launch runs or later.
                let late = |(j, (other, _)): (usize, &(Kind, &Op))| {
                    *other >= *kind && if j == i { &wholes[j] } else { &reads[j] }.contains(&end.to)
                };
                let mut taken: BTreeSet<usize> = BTreeSet::new();
                if order.iter().enumerate().any(late) && before[end.to.0].slot == end.to {
                    taken.insert(before[end.to.0].half);
                }
                // Copies whose value is still wanted, after this step or by an op of it.
                for &s in copies.iter().chain(&borrowed).filter(|s| **s != end.to.0) {
                    if after[s].slot == end.to && wanted[s] {
                        taken.insert(after[s].half);
                    }
                    if before[s].slot == end.to && read_now[s] {
                        taken.insert(before[s].half);
                    }
                }
                let same = before[end.to.0];
                let stay = same.slot == end.to && !taken.contains(&same.half);
                let half = if stay { same.half } else { (0..).find(|h| !taken.contains(h)).unwrap_or(0) };
                after[end.to.0] = Place { slot: end.to, half };
                self.halves[end.to.0] = self.halves[end.to.0].max(half + 1);
            }
            let job = self.job(op, &ends, &before, &after);
            let room = |launch: &&mut Launch| {
                launch.kind == *kind && names(self.plan, launch.jobs.iter().chain([&job])) <= self.names
            };
            match launches[start..].iter_mut().find(room) {
                Some(launch) => launch.jobs.push(job),
                None => launches.push(Launch { kind: *kind, jobs: vec![job] }),
            }
        }
        self.place = after;
    }

    fn job(&self, op: &Op, ends: &[&End], before: &[Place], after: &[Place]) -> Job {
        let at = |slot: SlotId| before[slot.0];
        let work = match op.what {
            What::Send { projection, weights, direction, from } => {
                let weights = at(weights.unwrap_or(from));
                Work::Send { projection, weights, direction, from: at(from) }
            }
            What::Each(home) => Work::Each(home),
            What::Change { projection, post, pre } => Work::Change { projection, post: at(post), pre: at(pre) },
            What::Reduce { from, how } => Work::Reduce { from: at(from), how },
            What::Draw(draw) => Work::Draw(draw),
        };
        let ends: Vec<(Place, Expr)> = ends.iter().map(|end| (after[end.to.0], end.expr.clone())).collect();
        Job { work, code: Code::new(&ends, &at) }
    }

    /// What lasts must be where the next update looks for it.
    pub(super) fn restore_lasting(&mut self, passes: &mut Vec<Pass>) {
        let mut jobs = Vec::new();
        for (s, slot) in self.plan.slots.iter().enumerate().filter(|(_, slot)| slot.lasting) {
            let home = Place { slot: SlotId(s), half: 0 };
            let now = std::mem::replace(&mut self.place[s], home);
            if now != home {
                let code = Code::new(&[(home, Expr::Slot(SlotId(s)))], &|_| now);
                jobs.push(Job { work: Work::Each(slot.home), code });
            }
        }
        if !jobs.is_empty() {
            passes.push(Pass { times: 1, launches: vec![Launch { kind: Kind::Units, jobs }] });
        }
    }
}

fn kind(plan: &Plan, op: &Op) -> Kind {
    let to = op.ends.first().map(|end| plan.slot(end.to).home);
    let pools = |from: SlotId| matches!((plan.slot(from).home, to), (Home::Units(_), Some(Home::Vector(_))));
    match op.what {
        What::Send { projection, .. } if plan.projections[projection].kind.is_map() => Kind::Carry,
        What::Send { direction: Direction::Forward, .. } => Kind::Forward,
        What::Send { direction: Direction::Backward, .. } => Kind::Backward,
        What::Each(Home::Connections(_)) => Kind::Connections,
        What::Each(_) => Kind::Units,
        What::Change { .. } => Kind::Change,
        What::Reduce { from, .. } if pools(from) => Kind::Pool,
        What::Reduce { .. } => Kind::Reduce,
        What::Draw(_) => Kind::Draw,
    }
}

/// Different names among the slots that jobs touch.
fn names<'a>(plan: &Plan, jobs: impl Iterator<Item = &'a Job>) -> usize {
    let places = jobs.flat_map(|job| job.code.leaves.iter().copied().chain(job.work.reads()));
    places.map(|place| plan.slot(place.slot).name).collect::<BTreeSet<_>>().len()
}

/// Moves each launch of changes into the next one wherever no launch between them reads the new weights or
/// overwrites what the change reads.
pub(super) fn sink_changes(plan: &Plan, launches: &mut Vec<Launch>, most: usize) {
    let mut i = 0;
    while i < launches.len() {
        let next = (i + 1..launches.len()).find(|&k| launches[k].kind == Kind::Change);
        match next {
            Some(k)
                if launches[i].kind == Kind::Change
                    && !conflict(&launches[i], &launches[i + 1..=k])
                    && names(plan, launches[i].jobs.iter().chain(&launches[k].jobs)) <= most =>
            {
                let mut jobs = launches.remove(i).jobs;
                let later = &mut launches[k - 1].jobs;
                jobs.append(later);
                *later = jobs;
            }
            _ => i += 1,
        }
    }
}

/// Whether one of `later` must not come before the changes.
fn conflict(changes: &Launch, later: &[Launch]) -> bool {
    let reads: Vec<Place> = changes.jobs.iter().flat_map(Job::reads).collect();
    let writes: Vec<Place> = changes.jobs.iter().flat_map(|job| job.writes().to_vec()).collect();
    later.iter().flat_map(|launch| &launch.jobs).any(|job| {
        job.writes().iter().any(|place| reads.contains(place) || writes.contains(place))
            || job.reads().iter().any(|place| writes.contains(place))
    })
}
