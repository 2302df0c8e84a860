//! Prints the result of a pass: steps of ops, or launches of jobs, with their formulas.

use super::passes::{LOWERING, Lowering, Pass};
use super::split::Segment;
use super::{Job, Kind, Limits, Place, Program, Work};
use crate::error::Result;
use crate::plan::expr::{Code, Expr, Node, ParamId, SlotId};
use crate::plan::{Connection, Direction, Draw, Op, Plan, Reduction, What, equations};
use std::fmt::{self, Write};

/// The plan or program after a pass, for a device with these limits.
///
/// # Errors
/// As [`Plan::carried`].
pub fn after(plan: &Plan, pass: Pass, limits: &Limits) -> Result<String> {
    let about = format!("after {}: {}\n", pass.name(), crate::named::Named::help(&pass));
    let carried = plan.carried()?;
    let text = match pass {
        Pass::UnrollGraph => plan.to_string(),
        Pass::InsertMaps => carried.to_string(),
        Pass::Split | Pass::ValueNumbering | Pass::Fuse | Pass::Liveness => {
            let passes = LOWERING.split_inclusive(|other| *other == pass).next().unwrap_or(&LOWERING);
            let lowering = Lowering::new(&carried, limits, (&[], &[])).run(passes);
            steps(&carried, &lowering.segments)
        }
        Pass::Allocate => Lowering::new(&carried, limits, (&[], &[])).run(&LOWERING[..5]).program.listed(&carried),
        Pass::Sink => Program::lower(&carried, limits).listed(&carried),
        Pass::Speculate => speculated(&carried.without_reads_of_states(), limits),
    };
    Ok(about + &text)
}

fn speculated(plan: &Plan, limits: &Limits) -> String {
    let program = Program::lower(plan, limits);
    let Some(bold) = Program::speculate(plan, limits, &program) else {
        return "no slot of this plan rests at a constant, or speculation would not save a product: the program is that after sink\n"
            .into();
    };
    let mut text = format!("valid if, before launch {}:\n", bold.commit + 1);
    for guard in &bold.guards {
        let _ = writeln!(text, "  {} = {} everywhere", place(&bold.plan, guard.place), guard.value);
    }
    text + &bold.program.listed(&bold.plan)
}

/// The steps of segments: per op, how s is computed and the assignments.
fn steps(plan: &Plan, segments: &[Segment]) -> String {
    let (mut text, mut number) = (String::new(), 0);
    for segment in segments {
        if segment.times > 1 {
            let _ = writeln!(text, "\nthe next {} steps {} times", segment.steps.len(), segment.times);
        }
        for (k, ops) in segment.steps.iter().enumerate() {
            number += 1;
            let _ = writeln!(text, "\nstep {number}");
            for op in ops {
                let symbol = |slot: SlotId| plan.slot(slot).symbol.clone();
                let epilogue = op.epilogue.iter().map(|end| {
                    let formula = end.expr.text(&symbol, &|p| param(plan, p));
                    (segment.name(k, op, end), end.to, format!("{} ← {formula}", symbol(end.to)))
                });
                lines(plan, &mut text, arrives_at_op(plan, op), epilogue);
            }
        }
    }
    text
}

/// Lines of an op: how s is computed, then each assignment with its name and equation.
fn lines(
    plan: &Plan,
    text: &mut String,
    arriving: Option<String>,
    epilogue: impl Iterator<Item = (&'static str, SlotId, String)>,
) {
    if let Some(what) = arriving {
        let _ = writeln!(text, "  {:<12}s = {what}", "");
    }
    for (name, to, formula) in epilogue {
        let equation = equations::number(plan, name, to).map_or(String::new(), |number| format!("    {number}"));
        let _ = writeln!(text, "  {name:<12}{formula}{equation}");
    }
}

impl Program {
    /// The launches in order: the kind of each, how s of its jobs is computed, and their assignments. `plan` is the
    /// plan that was lowered.
    pub fn listed(&self, plan: &Plan) -> String {
        Listed { program: self, plan }.to_string()
    }
}

/// A program with the plan that provides its symbols.
struct Listed<'a> {
    program: &'a Program,
    plan: &'a Plan,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = 0;
        let (products, others) = self.program.count();
        writeln!(out, "{products} launches of matrix products, {others} others; ′ marks the second buffer of a slot")?;
        for pass in &self.program.passes {
            if pass.times > 1 {
                writeln!(out, "\nthe next {} launches {} times", pass.launches.len(), pass.times)?;
            }
            for launch in &pass.launches {
                number += 1;
                let jobs = if launch.jobs.len() == 1 { "1 job".into() } else { format!("{} jobs", launch.jobs.len()) };
                writeln!(out, "\nlaunch {number}: {} ({jobs})", kind(launch.kind))?;
                launch.jobs.iter().try_for_each(|job| out.write_str(&self.job(job)))?;
            }
        }
        Ok(())
    }
}

impl Listed<'_> {
    fn job(&self, job: &Job) -> String {
        let (plan, code) = (self.plan, &job.code);
        let epilogue = code.outs.iter().zip(&code.leaves).zip(&job.names).map(|((out, to), name)| {
            let formula = formula(code, *out);
            let leaf = |slot: SlotId| place(plan, code.leaves[slot.0]);
            let text = formula.text(&leaf, &|p| param(plan, p));
            (*name, to.slot, format!("{} ← {text}", place(plan, *to)))
        });
        let mut text = String::new();
        lines(plan, &mut text, arrives_at_job(plan, job), epilogue);
        text
    }
}

/// Converts a node back to a formula. Slot ids in it are leaf indices.
fn formula(code: &Code<Place>, node: usize) -> Expr {
    let of = |node: usize| formula(code, node);
    match code.nodes[node] {
        Node::Arriving => Expr::Arriving,
        Node::Leaf(leaf) => Expr::Slot(SlotId(leaf)),
        Node::Param(i) => Expr::Param(code.params[i]),
        Node::Unit => Expr::Unit,
        Node::Weight => Expr::Weight,
        Node::Const(bits) => Expr::Const(f64::from_bits(bits)),
        Node::Unary(op, a) => Expr::Unary(op, Box::new(of(a))),
        Node::Binary(op, a, b) => Expr::Binary(op, Box::new([of(a), of(b)])),
        Node::Fma(a, b, c) => Expr::Fma(Box::new([of(a), of(b), of(c)])),
        Node::Select(a, b, c) => Expr::Select(Box::new([of(a), of(b), of(c)])),
    }
}

fn param(plan: &Plan, param: ParamId) -> String {
    plan.params[param.0].name.to_owned()
}

/// A slot's symbol, with one prime per half beyond the first.
fn place(plan: &Plan, place: Place) -> String {
    plan.slot(place.slot).symbol.clone() + &"′".repeat(place.half)
}

/// Description of a launch.
fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Draw => "random numbers",
        Kind::Forward => "matrix products θ · f(x)",
        Kind::Backward => "matrix products θᵀ · ε",
        Kind::FixedMap => "fixed maps over grids",
        Kind::Units => "elementwise work on units",
        Kind::Reduce => "reductions to one value per sample",
        Kind::Pool => "reductions over the batch",
        Kind::Connections => "elementwise work on weights",
        Kind::OuterProduct => "matrix products ε · f(x)ᵀ over the batch",
    }
}

fn arrives_at_op(plan: &Plan, op: &Op) -> Option<String> {
    let symbol = |slot: SlotId| plan.slot(slot).symbol.clone();
    match op.what {
        What::Send { projection, weights, direction, from } => {
            Some(sent(plan, projection, direction, weights.map(symbol), symbol(from)))
        }
        What::Map(_) => None,
        What::OuterProduct { post, pre, .. } => Some(changed(&symbol(post), &symbol(pre))),
        What::Reduce { from, how } => Some(reduced(how, &symbol(from))),
        What::Draw(draw) => Some(drawn(draw)),
    }
}

fn arrives_at_job(plan: &Plan, job: &Job) -> Option<String> {
    let symbol = |at: Place| place(plan, at);
    match job.work {
        Work::Send { projection, weights, direction, from } => {
            Some(sent(plan, projection, direction, Some(symbol(weights)), symbol(from)))
        }
        Work::Map(_) => None,
        Work::OuterProduct { post, pre, .. } => Some(changed(&symbol(post), &symbol(pre))),
        Work::Reduce { from, how } => Some(reduced(how, &symbol(from))),
        Work::Draw(draw) => Some(drawn(draw)),
    }
}

fn sent(plan: &Plan, projection: usize, direction: Direction, weights: Option<String>, from: String) -> String {
    let back = direction == Direction::Backward;
    let map = |name: &str| format!("{name}{} {from}", if back { "ᵀ of" } else { " of" });
    match plan.projections[projection].kind {
        Connection::Dense { bias } => {
            let weights = weights.unwrap_or_default();
            let plus = if bias && !back { " + b" } else { "" };
            format!("{weights}{} · {from}{plus}", if back { "ᵀ" } else { "" })
        }
        Connection::Identity => from,
        Connection::Patches(_) => map("im2col"),
        Connection::Average(_) => map("average pooling"),
        Connection::Maximum(_) => map("max pooling"),
        Connection::Flat => map("flatten"),
        Connection::Part { start } => map(&format!("units {start} and following")),
    }
}

fn changed(post: &str, pre: &str) -> String {
    format!("Σ_batch {post} · {pre}ᵀ")
}

fn reduced(how: Reduction, from: &str) -> String {
    match how {
        Reduction::Sum => format!("Σ {from}"),
        Reduction::Squares => format!("Σ ({from})²"),
        Reduction::Max => format!("max {from}"),
        Reduction::Argmax => format!("argmax {from}"),
        Reduction::Top(k) => format!("largest value number {k} of {from}"),
    }
}

fn drawn(draw: Draw) -> String {
    match draw {
        Draw::Uniform { stream } => format!("uniform random numbers, stream {stream}"),
        Draw::Bell { stream } => format!("nearly normal random numbers, stream {stream}"),
        Draw::Normal { sd } => format!("normal random numbers, sd {sd}"),
    }
}
