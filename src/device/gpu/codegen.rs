//! Generates the WGSL of a launch: the bindings of its buffers, and a function for the epilogue of its jobs. Equal texts share a pipeline.
//!
//! `RUST_LOG=zilch=debug` logs every text.

use crate::lower::{Job, Kind, Launch, Place, Work};
use crate::plan::activation::Activation;
use crate::plan::expr::{Binary, Code, Node, Unary};
use crate::plan::{Direction, Domain, Plan, equations};
use std::fmt::Write;

/// Most buffers of slots that one launch binds: WebGPU's default limit of 8 storage buffers, less the two that every kernel binds.
pub(in crate::device::gpu) const MAX_BUFFERS: usize = 6;
/// Most slots that the epilogue of one job reads and writes: the length of `o` in `shaders/shared/jobs.wgsl`.
pub(in crate::device::gpu) const MAX_LEAVES: usize = 14;

/// The generated text of a launch, without the hand-written core.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) struct Text {
    /// The kind of launch: it decides the core and the entry point.
    pub(in crate::device::gpu) kind: Kind,
    /// Bindings, epilogues, and the functions that the core calls.
    pub(in crate::device::gpu) wgsl: String,
    /// The buffers of bindings 3, 4, …, and whether each is written.
    pub(in crate::device::gpu) buffers: Vec<(Symbol, bool)>,
}

/// A buffer as a text names it: the key of a family, and an index among that family's buffers that one job uses. The index is relative
/// to the job, so that one text serves every buffer of a family. It is above 0 only if a job uses several buffers of a family.
pub(in crate::device::gpu) type Symbol = (&'static str, usize);
/// The comments that a text has about its ops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::device::gpu) enum Labels {
    /// The keys of the slots that an op writes. Compiled texts have these only, so that ops with the same code share a pipeline.
    #[default]
    Slots,
    /// The keys and the equations. Printed texts have these.
    Equations,
}

/// Maps a place to the index of its buffer among those of its family.
pub(in crate::device::gpu) type Numbers<'a> = &'a dyn Fn(Place) -> usize;

/// A branch of the text, for jobs with the same operand buffers and the same epilogue.
#[derive(PartialEq)]
struct Variant {
    left: Symbol,
    right: Symbol,
    biased: bool,
    /// The epilogue; a leaf is (buffer, access, index of the slot in `o`).
    code: Code<(Symbol, Access, usize)>,
    clear: Vec<bool>,
}

/// How the epilogue indexes the slot of a leaf.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Access {
    /// One value per element of the result.
    Element,
    /// One value per unit, `[n]`.
    Vector,
    /// One value per sample, `[batch]`.
    Sample,
    /// One value per sample, `[batch]`, of a grid with several rows per sample.
    Grid,
    /// One value per row of a weight matrix, `[n_to]`; for the biases, one value per bias.
    Row,
    /// One value for the batch, `[1]`.
    One,
}

/// The left and right operand of a job.
fn operands(work: &Work) -> [Option<Place>; 2] {
    match *work {
        Work::Send { weights, from, .. } => [Some(from), Some(weights)],
        Work::OuterProduct { post, pre, .. } => [Some(post), Some(pre)],
        Work::Reduce { from, .. } => [Some(from), None],
        _ => [None, None],
    }
}

/// The buffers that a job uses, in order of first use, each with its index in the family.
pub(in crate::device::gpu) fn touched(plan: &Plan, job: &Job, numbers: Numbers<'_>) -> Vec<(Symbol, usize)> {
    let mut touched: Vec<(Symbol, usize)> = Vec::new();
    for place in operands(&job.work).into_iter().flatten().chain(job.code.leaves.iter().copied()) {
        let (name, number) = (plan.key(place.slot), numbers(place));
        if !touched.iter().any(|((of, _), at)| *of == name && *at == number) {
            let before = touched.iter().filter(|((of, _), _)| *of == name).count();
            touched.push(((name, before), number));
        }
    }
    touched
}

/// Resolves the buffers that a launch's text binds: family key and index.
pub(in crate::device::gpu) fn bound(
    plan: &Plan,
    launch: &Launch,
    text: &Text,
    numbers: Numbers<'_>,
) -> Vec<(&'static str, usize)> {
    let all: Vec<(Symbol, usize)> = launch.jobs.iter().flat_map(|job| touched(plan, job, numbers)).collect();
    let number = |symbol: Symbol| all.iter().find(|(of, _)| *of == symbol).map_or(0, |(_, number)| *number);
    text.buffers.iter().map(|(symbol, _)| (symbol.0, number(*symbol))).collect()
}

fn variant(plan: &Plan, job: &Job, numbers: Numbers<'_>) -> Variant {
    let touched = touched(plan, job, numbers);
    let symbol = |place: Place| {
        let (name, number) = (plan.key(place.slot), numbers(place));
        touched.iter().find(|((of, _), at)| *of == name && *at == number).map_or((name, 0), |(symbol, _)| *symbol)
    };
    let [left, right] = operands(&job.work).map(|place| place.map_or(("", 0), symbol));
    let home = plan.slot(job.code.leaves[0].slot).home;
    let access = |place: &Place| match (home, plan.slot(place.slot).home) {
        (Domain::Units(_), Domain::Vector(_)) => Access::Vector,
        (Domain::Units(p), Domain::Samples(_)) if plan.populations[p].places > 1 => Access::Grid,
        (Domain::Units(_), Domain::Samples(_)) => Access::Sample,
        (Domain::Connections(_), Domain::Vector(_)) => Access::Row,
        (
            Domain::Units(_) | Domain::Vector(_) | Domain::Samples(_) | Domain::Connections(_),
            Domain::BatchScalar(_),
        ) => Access::One,
        _ => Access::Element,
    };
    let leaves = job.code.leaves.iter().enumerate();
    let leaves = leaves.map(|(i, place)| (symbol(*place), access(place), i)).collect();
    let zeros = job.code.zeros(&|place| matches!(access(place), Access::Element | Access::Vector));
    let biased = match job.work {
        Work::Send { projection, direction: Direction::Forward, .. } => plan.biased(projection),
        _ => false,
    };
    Variant {
        left,
        right,
        biased,
        clear: job.code.outs.iter().map(|out| !zeros[*out]).collect(),
        code: Code {
            leaves,
            params: job.code.params.clone(),
            nodes: job.code.nodes.clone(),
            outs: job.code.outs.clone(),
        },
    }
}

/// Generates the text of a launch, and the variant index of each of its jobs.
pub(in crate::device::gpu) fn generate(
    plan: &Plan,
    launch: &Launch,
    numbers: Numbers<'_>,
    labels: Labels,
) -> (Text, Vec<u32>) {
    let mut variants: Vec<Variant> = Vec::new();
    let mut of = Vec::new();
    for job in &launch.jobs {
        let new = variant(plan, job, numbers);
        let at = variants.iter().position(|v| *v == new).unwrap_or_else(|| {
            variants.push(new);
            variants.len() - 1
        });
        of.push(at as u32);
    }
    let buffers = buffers(&variants);
    let mut wgsl = String::new();
    for (i, (symbol, written)) in buffers.iter().enumerate() {
        let access = if *written { "read_write" } else { "read" };
        let (number, name) = (i + 3, variable(*symbol));
        let _ = writeln!(wgsl, "@group(0) @binding({number}) var<storage, {access}> {name}: array<vec4<f32>>;");
    }
    for (i, v) in variants.iter().enumerate() {
        let job = &launch.jobs[of.iter().position(|at| *at as usize == i).unwrap_or(0)];
        // Keys instead of symbols: symbols name a layer, and launches of different layers would not share a pipeline.
        let written: Vec<&str> = job.writes().iter().map(|place| plan.key(place.slot)).collect();
        let _ = writeln!(wgsl, "\n// writes {}", written.join(", "));
        if labels == Labels::Equations {
            equations(&mut wgsl, plan, job);
        }
        epilogue(&mut wgsl, i, v);
    }
    match launch.kind {
        Kind::FixedMap => carry(&mut wgsl, &variants),
        Kind::Forward | Kind::Backward | Kind::OuterProduct => product(&mut wgsl, launch.kind, &variants),
        _ => elements(&mut wgsl, launch.kind, &variants),
    }
    (Text { kind: launch.kind, wgsl, buffers }, of)
}

/// Writes the equations that a job computes, each once; an op without an equation is named instead.
fn equations(wgsl: &mut String, plan: &Plan, job: &Job) {
    let mut written: Vec<String> = Vec::new();
    for (to, name) in job.writes().iter().zip(&job.names) {
        let label = equations::label(plan, name, to.slot).unwrap_or_else(|| (*name).to_owned());
        if !written.contains(&label) {
            let _ = writeln!(wgsl, "// {label}");
            written.push(label);
        }
    }
}

/// All buffers of the variants in order of first use, and whether each is written.
fn buffers(variants: &[Variant]) -> Vec<(Symbol, bool)> {
    let mut buffers: Vec<(Symbol, bool)> = Vec::new();
    let mut add = |symbol: Symbol, written: bool| match buffers.iter_mut().find(|b| b.0 == symbol) {
        _ if symbol.0.is_empty() => {}
        Some(known) => known.1 |= written,
        None => buffers.push((symbol, written)),
    };
    for v in variants {
        add(v.left, false);
        add(v.right, false);
        for (i, (symbol, ..)) in v.code.leaves.iter().enumerate() {
            add(*symbol, i < v.code.outs.len());
        }
    }
    buffers
}

/// The WGSL variable of a buffer.
fn variable((name, which): Symbol) -> String {
    if which == 0 { format!("s_{name}") } else { format!("s{which}_{name}") }
}

/// The sizes of a launch: its number of buffers if every family has one, the largest number of slots in an epilogue, and the symbol of
/// the first slot it writes.
pub(in crate::device::gpu) fn sizes(plan: &Plan, launch: &Launch) -> (usize, usize, String) {
    let variants: Vec<Variant> = launch.jobs.iter().map(|job| variant(plan, job, &|_| 0)).collect();
    let leaves = variants.iter().map(|v| v.code.leaves.len()).max().unwrap_or(0);
    let made = launch.jobs.first().map_or(String::new(), |job| plan.slot(job.code.leaves[0].slot).symbol.clone());
    (buffers(&variants).len(), leaves, made)
}

/// The suffix of an activation's functions.
fn named(activation: Activation) -> String {
    activation.name().replace('-', "_")
}

/// The function that the gather kernel applies to inputs.
pub(in crate::device::gpu) fn drive(activation: Activation) -> String {
    format!("f_{}", named(activation))
}

/// A float32 constant in WGSL, in all lanes of a quad; `bits` is a float64.
fn number(bits: u64) -> String {
    format!("vec4({:?}f)", f64::from_bits(bits) as f32)
}

/// Writes the epilogue as a function of one quad. `at` is the index of the quad in slots with one value per element. It is quad `q` of
/// row `i`, which has `n` values. For a quad of biases `i` is `NONE`.
fn epilogue(wgsl: &mut String, k: usize, v: &Variant) {
    let _ = writeln!(wgsl, "fn epilogue_{k}(job: Job, at: u32, i: u32, q: u32, n: u32, s: vec4<f32>) {{");
    for (x, node) in v.code.nodes.iter().enumerate() {
        let value = match *node {
            Node::Arriving => "s".into(),
            Node::Leaf(leaf) => {
                let (symbol, access, _) = v.code.leaves[leaf];
                let from = variable(symbol);
                match access {
                    Access::Element => format!("{from}[job.o[{leaf}] + at]"),
                    Access::Vector => format!("{from}[job.o[{leaf}] + q]"),
                    Access::Grid => {
                        format!("vec4({from}[job.o[{leaf}] + i / job.rows / 4u][i / job.rows % 4u])")
                    }
                    Access::Sample => format!("vec4({from}[job.o[{leaf}] + i / 4u][i % 4u])"),
                    Access::One => format!("vec4({from}[job.o[{leaf}]].x)"),
                    Access::Row => {
                        let own = format!("{from}[job.o[{leaf}] + select(i / 4u, q, i == NONE)]");
                        format!("select(vec4({own}[i % 4u]), {own}, i == NONE)")
                    }
                }
            }
            Node::Param(i) => format!("param({}u)", v.code.params[i].0),
            Node::Unit => "vec4<f32>(vec4(4u * q) + vec4(0u, 1u, 2u, 3u))".into(),
            Node::Weight => "vec4(select(1.0, 0.0, i == NONE))".into(),
            Node::Const(bits) => number(bits),
            Node::Unary(op, a) => match op {
                Unary::Neg => format!("-n{a}"),
                Unary::Abs => format!("abs(n{a})"),
                Unary::Sqrt => format!("sqrt(n{a})"),
                Unary::Exp => format!("exp4(n{a})"),
                Unary::Sign => format!("sign(n{a})"),
                Unary::F(f) => format!("f_{}(n{a})", named(f)),
                Unary::Slope(f) => format!("slope_{}(n{a})", named(f)),
            },
            Node::Binary(op, a, b) => match op {
                Binary::Add => format!("n{a} + n{b}"),
                Binary::Sub => format!("n{a} - n{b}"),
                Binary::Mul => format!("n{a} * n{b}"),
                Binary::Div => format!("n{a} / n{b}"),
                Binary::Min => format!("min(n{a}, n{b})"),
                Binary::Max => format!("max(n{a}, n{b})"),
                Binary::Less => format!("select(vec4(0.0), vec4(1.0), n{a} < n{b})"),
                Binary::Equal => format!("select(vec4(0.0), vec4(1.0), n{a} == n{b})"),
            },
            Node::Fma(a, b, c) => format!("fma(n{a}, n{b}, n{c})"),
            Node::Select(c, a, b) => match v.code.nodes[c] {
                // Uses the comparison as the condition, without its value 0 or 1.
                Node::Binary(Binary::Less, x, y) => format!("select(n{b}, n{a}, n{x} < n{y})"),
                Node::Binary(Binary::Equal, x, y) => format!("select(n{b}, n{a}, n{x} == n{y})"),
                _ => format!("select(n{b}, n{a}, n{c} != vec4(0.0))"),
            },
        };
        let _ = writeln!(wgsl, "    let n{x} = {value};");
    }
    let mut masked = false;
    for (w, out) in v.code.outs.iter().enumerate() {
        let to = variable(v.code.leaves[w].0);
        let value = if v.clear[w] {
            if !masked {
                let _ = writeln!(wgsl, "    let there = inside(q, n);");
                masked = true;
            }
            format!("select(vec4(0.0), n{out}, there)")
        } else {
            format!("n{out}")
        };
        let _ = writeln!(wgsl, "    {to}[job.o[{w}] + at] = {value};");
    }
    wgsl.push_str("}\n");
}

/// Writes a switch with one branch per variant.
fn switch(wgsl: &mut String, variants: &[Variant], branch: impl Fn(usize, &Variant) -> String) {
    match variants {
        [only] => {
            let _ = writeln!(wgsl, "    {}", branch(0, only));
        }
        _ => {
            wgsl.push_str("    switch job.variant {\n");
            for (i, v) in variants.iter().enumerate() {
                let case = if i + 1 == variants.len() { "default".into() } else { format!("case {i}u") };
                let _ = writeln!(wgsl, "        {case}: {{ {} }}", branch(i, v));
            }
            wgsl.push_str("    }\n");
        }
    }
}

/// Writes the constants and functions that the cores `tile.wgsl` and `cooperative.wgsl` use.
fn product(wgsl: &mut String, kind: Kind, variants: &[Variant]) {
    let (left, right) = (kind != Kind::OuterProduct, kind == Kind::Forward);
    let _ = write!(wgsl, "\nconst LEFT_P_CONTIGUOUS = {left};\nconst RIGHT_P_CONTIGUOUS = {right};\n\n");
    wgsl.push_str("fn operand_left(job: Job, at: u32) -> vec4<f32> {\n");
    let same_left = variants.iter().all(|v| v.left == variants[0].left);
    let same_right = variants.iter().all(|v| v.right == variants[0].right);
    switch(wgsl, if same_left { &variants[..1] } else { variants }, |_, v| format!("return {}[at];", variable(v.left)));
    wgsl.push_str("}\n\nfn operand_right(job: Job, at: u32) -> vec4<f32> {\n");
    switch(wgsl, if same_right { &variants[..1] } else { variants }, |_, v| {
        format!("return {}[at];", variable(v.right))
    });
    wgsl.push_str(
        "}\n\nfn operand(job: Job, right: bool, at: u32) -> vec4<f32> {\n    if right { return operand_right(job, at); }\n    \
         return operand_left(job, at);\n}\n\nfn store(job: Job, i: u32, q: u32, sums: vec4<f32>) {\n    \
         let at = i * quads(job.n) + q;\n",
    );
    if variants.iter().any(|v| v.biased) {
        wgsl.push_str("    var s = sums;\n");
        switch(wgsl, variants, |_, v| {
            if v.biased { format!("s += {}[job.bias + q];", variable(v.right)) } else { String::new() }
        });
    } else {
        wgsl.push_str("    let s = sums;\n");
    }
    switch(wgsl, variants, |i, _| format!("epilogue_{i}(job, at, i, q, job.n, s);"));
    if kind == Kind::OuterProduct {
        // The thread that stores column 0 of rows i .. i+3 also computes the biases of these rows.
        wgsl.push_str("    if job.bias != NONE && q == 0u && i % 4u == 0u { biases(job, i / 4u); }\n");
    }
    wgsl.push_str("}\n");
    if kind == Kind::OuterProduct {
        wgsl.push_str(
            "\nfn biases(job: Job, q: u32) {\n    var s = vec4(0.0);\n    \
             for (var p = 0u; p < job.k; p++) { s += operand(job, false, job.left + p * quads(job.m) + q); }\n    \
             let at = job.m * quads(job.n) + q;\n",
        );
        switch(wgsl, variants, |i, _| format!("epilogue_{i}(job, at, NONE, q, job.m, s);"));
        wgsl.push_str("}\n");
    }
}

/// Writes the functions that `window.wgsl` uses.
fn carry(wgsl: &mut String, variants: &[Variant]) {
    let Variant { left, right, code, .. } = &variants[0];
    let [left, right, to] = [*left, *right, code.leaves[0].0].map(variable);
    let _ = write!(
        wgsl,
        "\nfn sent(at: u32) -> vec4<f32> {{\n    return {left}[at];\n}}\n\n\
         fn decides(at: u32) -> vec4<f32> {{\n    return {right}[at];\n}}\n\n\
         fn put(at: u32, values: vec4<f32>) {{\n    {to}[at] = values;\n}}\n\n"
    );
}

/// Writes the entry point of an elementwise kernel.
fn elements(wgsl: &mut String, kind: Kind, variants: &[Variant]) {
    let _ = write!(
        wgsl,
        "\n@compute @workgroup_size(256)\nfn {}(\n    @builtin(workgroup_id) group: vec3<u32>,\n    \
         @builtin(num_workgroups) groups: vec3<u32>,\n    @builtin(local_invocation_index) index: u32,\n) {{\n    \
         let element = element(tile_number(group, groups), index);\n    \
         if !element.exists {{ return; }}\n    let job = element.job;\n    let at = element.i;\n",
        entry(kind)
    );
    if kind == Kind::Connections {
        // The biases lie behind the matrix, one value per row.
        wgsl.push_str(
            "    let beyond = at >= job.rows;\n    let n = select(job.n, job.k, beyond);\n    \
             let i = select(at / quads(job.n), NONE, beyond);\n    let q = select(at % quads(job.n), at - job.rows, beyond);\n",
        );
    } else {
        wgsl.push_str("    let n = job.n;\n    let i = at / quads(n);\n    let q = at % quads(n);\n");
    }
    switch(wgsl, variants, |i, _| format!("epilogue_{i}(job, at, i, q, n, vec4(0.0));"));
    wgsl.push_str("}\n");
}

/// The name of the entry point for a kind of launch.
pub(in crate::device::gpu) fn entry(kind: Kind) -> &'static str {
    match kind {
        Kind::Draw => "draw",
        Kind::Forward => "forward",
        Kind::Backward => "backward",
        Kind::FixedMap => "carry",
        Kind::Units => "units",
        Kind::Reduce => "reduce",
        Kind::Pool => "pool",
        Kind::Connections => "connections",
        Kind::OuterProduct => "change",
    }
}
