//! `zilch plan`

use super::Answer;
use super::args::{MNIST, PlanArgs};
use zilch::device::check_batch;
use zilch::device::gpu::{PrintedShader, shaders};
use zilch::lower::{Limits, Program, after};
use zilch::network::graph::Graph;
use zilch::plan::Cost;
use zilch::plan::locality::Verdict;
use zilch::{Options, Result, Rule};

/// The source and target layer of each weight matrix of a graph. In a graph the index of θ numbers the matrices, and
/// the index of x, μ and ε numbers the layers.
fn where_weights_lie(graph: &Graph) -> String {
    let named = |v: usize| match &graph.vertices()[v].name {
        Some(name) => format!("{v} ({name})"),
        None => v.to_string(),
    };
    let mut text = "\nlayers that weights join (index of x, μ and ε: layer; index of θ: matrix)\n".to_owned();
    for k in 1..=graph.matrices().len() {
        let edges = graph.uses(k).map(|e| &graph.edges()[e]);
        let joins: Vec<String> = edges.map(|edge| format!("{} to {}", named(edge.from), named(edge.to))).collect();
        text += &format!("  θ^{k:<4} {}\n", joins.join(", "));
    }
    text
}

/// The source of all shaders. A comment line before each shader has its name and the launches that use it.
fn wgsl(shaders: &[PrintedShader]) -> String {
    let one = |(i, shader): (usize, &PrintedShader)| {
        let launches: Vec<String> = shader.launches.iter().map(ToString::to_string).collect();
        let (name, all) = (shader.name, shaders.len());
        format!("// shader {} of {all}: {name}, launches {}\n\n{}", i + 1, launches.join(", "), shader.source)
    };
    shaders.iter().enumerate().map(one).collect::<Vec<_>>().join("\n")
}

pub(crate) fn run(args: &PlanArgs) -> Result<Answer> {
    let network = args.rule.network(MNIST)?;
    let batch = args.rule.batch();
    check_batch(batch)?;
    let plan = args.rule.options(&network)?.plan(&network)?;
    if let Some(pass) = args.after {
        return Ok(after(&plan, pass, &Limits::COMMON)?.into());
    }
    if args.wgsl {
        return Ok(wgsl(&shaders(&plan, batch)?).into());
    }
    let bp = Options::new(Rule::BP).plan(&network)?.cost(batch);
    let Cost { flops, bytes, products } = plan.cost(batch);
    let (matrix, other) = Program::new(&*plan.carried()?).count();
    let reason = |v: &Verdict| format!("{} ({})", if v.holds { "yes" } else { "no " }, v.why);
    let properties = plan.properties();
    let mut text = plan.to_string();
    text += &format!(
        "\ncost of one update at batch {batch}\n\
         \x20 arithmetic  {:.3} MFLOP ({:.2} × BP)\n\
         \x20 memory      {:.3} MB of traffic without any cache ({:.2} × BP)\n\
         \x20 products    {products} matrix products\n\
         \x20 launches    {} ({matrix} of matrix products, {other} elementwise, 1 to gather the batch)\n",
        flops as f64 / 1e6,
        flops as f64 / bp.flops as f64,
        bytes as f64 / 1e6,
        bytes as f64 / bp.bytes as f64,
        matrix + other + 1,
    );
    if let Some(graph) = network.graph() {
        text += &where_weights_lie(graph);
    }
    text += "\nproperties, derived from the plan\n";
    for (name, verdict) in properties.list() {
        text += &format!("  {:<18}{}\n", name.replace('_', " "), reason(verdict));
    }
    Ok(text.into())
}
