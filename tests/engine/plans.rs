//! Plans as data: their locality, autonomy and cost, what a schedule may skip, and how they are lowered.

use crate::common::{Run, cpu, gpu, net, plan, scheduled};
use crate::repository::repository;
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::Device;
use zilch::device::cpu::CpuDevice;
use zilch::device::gpu::{PrintedShader, shaders};
use zilch::lower::passes::Pass;
use zilch::lower::{Kind, Limits, Program, after};
use zilch::measure::trace::Trace;
use zilch::plan::{Domain, Moment, Op, SlotId, Stage, What};
use zilch::rules::Phi;
use zilch::rules::builder::Chain;
use zilch::{Activation, Coords, Error, Network, Options, Plan, Rule, Schedule};

use Schedule::{Frontier, Full};

const SCHEDULES: [Schedule; 2] = [Full, Frontier];
const COORDS: [Coords; 2] = [Coords::Error, Coords::Value];

/// A network with irregular sizes of any depth up to 8.
fn network(lmax: usize) -> Network {
    let mut layers = vec![23];
    layers.extend(&[7, 11, 5, 9, 6, 8, 10][..lmax - 1]);
    layers.push(4);
    net(&layers, Activation::Sigmoid, lmax.is_multiple_of(2))
}

/// Every rule with every schedule and coordinates.
fn every_plan(network: &Network) -> Vec<Plan> {
    let mut plans = Vec::new();
    for rule in Rule::PAPER {
        for schedule in SCHEDULES {
            for coords in COORDS {
                for phi in if rule == Rule::FAZIL { vec![Phi::Error, Phi::Feedback] } else { vec![Phi::Error] } {
                    plans.push(plan(network, rule, |o| (o.schedule, o.coords, o.phi) = (Some(schedule), coords, phi)));
                }
            }
        }
    }
    plans
}

/// Whether every moment works on every layer.
fn is_full(plan: &Plan) -> bool {
    plan.task.title.contains("full schedule")
}

/// [local plasticity, partial autonomy, full autonomy]
fn verdicts(plan: &Plan) -> [bool; 3] {
    let p = plan.properties();
    [&p.local_plasticity, &p.partial_autonomy, &p.full_autonomy].map(|v| v.holds)
}

/// The paper's Table 2. With one weight matrix there is no δ to pass on and no second moment: only BP, which compares first and learns
/// afterwards, still needs a clock.
#[test]
fn table_2_is_derived_from_the_plans() {
    for lmax in 1..=8 {
        let network = network(lmax);
        for plan in every_plan(&network) {
            let deep = lmax > 1;
            let expected = match (plan.task.rule.as_str(), is_full(&plan)) {
                ("bp", _) => [!deep, !deep, false],
                ("il", _) => [true, true, false],
                ("fazil", true) => [true, true, true],
                _ => [true, true, !deep],
            };
            assert_eq!(verdicts(&plan), expected, "{plan}{:?}", plan.properties());
        }
    }
    // IL that learns without inference has only one moment.
    let network = network(3);
    let at_once = plan(&network, Rule::IL, |o| o.steps = Some(0));
    assert_eq!(verdicts(&at_once), [true, true, true]);
}

#[test]
fn verdicts_name_their_reason() {
    let network = network(3);
    let bp = scheduled(&network, Rule::BP, None, 1.0).properties();
    assert!(bp.local_plasticity.why.starts_with("Δθ^2 needs "), "{}", bp.local_plasticity.why);
    assert!(bp.local_plasticity.why.ends_with("held outside layers 1 and 2"), "{}", bp.local_plasticity.why);
    assert_eq!(bp.partial_autonomy.why, "backprop ε^1 runs in learning only: a control must switch to it");
    assert_eq!(bp.full_autonomy, bp.partial_autonomy);
    let zil = scheduled(&network, Rule::ZIL, Some(Full), 1.0).properties();
    assert_eq!(zil.full_autonomy.why, "θ^1 learns only at t = 0: a clock must say when");
    let il = scheduled(&network, Rule::IL, None, 1.0).properties();
    assert_eq!(il.full_autonomy.why, "θ^1 learns only at t = 20: a clock must say when");
    // One matrix learns in its only moment, without any φ to decide that.
    let single = scheduled(&Network::new(&[4, 3]).expect("a network"), Rule::ZIL, None, 1.0).properties();
    assert_eq!(single.full_autonomy.why, "the same ops run at every t, and all layers learn at each");
}

/// The layer whose slots an op writes first, or whose weights a change updates.
fn layer(plan: &Plan, op: &Op) -> usize {
    match plan.slot(op.epilogue[0].to).home {
        Domain::Units(l) | Domain::Vector(l) | Domain::Samples(l) => l,
        Domain::Connections(p) => plan.projections[p].to,
        Domain::BatchScalar(l) => l,
    }
}

/// Each property is lost by the plan that breaks it, and no other property is.
#[test]
fn a_broken_plan_loses_the_property_it_breaks() {
    let network = network(3);
    let fazil = scheduled(&network, Rule::FAZIL, Some(Full), 1.0);
    assert_eq!(verdicts(&fazil), [true, true, true]);

    // One moment in which one layer does not learn: a clock must identify this moment.
    for t in 0..=3 {
        for l in 0..3 {
            let mut clocked = fazil.clone();
            for moment in clocked.moments.iter_mut().filter(|m| m.stage == Stage::Learning(t)) {
                for ops in &mut moment.steps {
                    ops.retain(|op| !(op.changes_weights() && layer(&fazil, op) == l));
                }
            }
            assert_eq!(verdicts(&clocked), [true, true, false], "{clocked}");
        }
    }

    // δ passed backward instead of ε: no node of the two layers has its values.
    let mut chain = Chain::new(&network, &Options { schedule: Some(Full), alpha: 1.0, ..Options::new(Rule::FAZIL) });
    for l in 1..3 {
        let delta = chain.backprop(l);
        let replace = |before: bool| {
            let mut plan = fazil.clone();
            for ops in plan.moments.iter_mut().filter(|m| m.stage != Stage::Prediction).flat_map(|m| &mut m.steps) {
                let is = |op: &Op| op.name == "error" && layer(&fazil, op) == l;
                if let Some(at) = ops.iter().position(is) {
                    if before { ops.insert(at, delta.clone()) } else { ops[at] = delta.clone() }
                }
            }
            plan
        };
        let switched = replace(false);
        assert_eq!(verdicts(&switched), [false, false, false], "{switched}");
        // A plan with two writes of one slot in a step is invalid.
        assert!(matches!(replace(true).check(), Err(Error::Usage(_))));
        // Followed by a separate error node, plasticity is local again; the switch in dynamics stays.
        let mut compared = fazil.clone();
        for moment in compared.moments.iter_mut().filter(|m| m.stage != Stage::Prediction) {
            moment.steps.insert(0, vec![delta.clone()]);
        }
        assert_eq!(verdicts(&compared), [true, false, false], "{compared}");
    }

    // Backpropagation that changes x but no weight: local, but not the dynamics of prediction.
    let mut aside = fazil;
    aside.moments.push(Moment { stage: Stage::Learning(4), steps: vec![vec![chain.backprop(2)]], times: 1 });
    assert_eq!(verdicts(&aside), [true, false, false]);
}

/// No op of any plan reads beyond the next layer, and no weight update reads beyond the ends of the weight.
#[test]
fn ops_read_and_write_their_own_and_neighbouring_layers_only() {
    for lmax in 1..=6 {
        for plan in every_plan(&network(lmax)) {
            for op in plan.ops() {
                let l = layer(&plan, op);
                for slot in op.reads().into_iter().chain(op.writes()) {
                    let slot = plan.slot(slot);
                    let (first, last) = match slot.home {
                        Domain::Units(p) | Domain::Vector(p) | Domain::Samples(p) => (p, p),
                        Domain::Connections(p) => (plan.projections[p].to, plan.projections[p].from),
                        Domain::BatchScalar(p) => (p, p),
                    };
                    assert!(first + 1 >= l && last <= l + 1, "{} of layer {l} uses {}", op.name, slot.symbol);
                    assert!(!op.changes_weights() || first >= l, "{} of layer {l} uses {}", op.name, slot.symbol);
                }
                assert!(l < lmax, "{}: the input layer is clamped", op.name);
            }
        }
    }
}

/// Within a moment the order of steps is μ, ε, φ, and then x and θ together. Nothing is written twice in a step.
#[test]
fn steps_of_a_moment_have_a_fixed_order() {
    let rank = |op: &Op| match op.name {
        "predict" => 0,
        "settle" => 1,
        "error" => 2,
        "gate" => 3,
        "spikes" => 4,
        "infer" | "backprop" | "learn" => 5,
        other => panic!("{other} is new here"),
    };
    for lmax in 1..=6 {
        for plan in every_plan(&network(lmax)) {
            for moment in &plan.moments {
                let ranks: Vec<Vec<usize>> = moment.steps.iter().map(|ops| ops.iter().map(rank).collect()).collect();
                assert!(ranks.iter().all(|step| step.iter().all(|r| *r == step[0])), "{plan}");
                assert!(ranks.iter().map(|step| step[0]).is_sorted(), "{plan}");
                for ops in &moment.steps {
                    let writes: std::collections::BTreeSet<SlotId> = ops.iter().flat_map(Op::writes).collect();
                    assert_eq!(writes.len(), ops.iter().flat_map(Op::writes).count(), "{plan}");
                }
            }
        }
    }
}

#[test]
fn until_stops_before_x_and_theta_of_its_moment() {
    for full in every_plan(&network(4)) {
        for t in 0..4 {
            let stopped = full.until(t);
            for (moment, whole) in stopped.moments.iter().zip(&full.moments) {
                assert_eq!(moment.stage, whole.stage);
                if moment.stage == Stage::Learning(t) {
                    let kept = |op: &&Op| !op.changes_weights() && op.name != "infer";
                    let left: Vec<&Op> = moment.steps.iter().flatten().collect();
                    assert_eq!(left, whole.steps.iter().flatten().filter(kept).collect::<Vec<_>>());
                } else {
                    assert_eq!(moment, whole);
                }
            }
            assert!(stopped.moments.iter().all(|m| !matches!(m.stage, Stage::Learning(u) if u > t)));
        }
    }
}

/// Multiply-adds of a plan's products per sample.
fn macs(plan: &Plan) -> usize {
    let macs = plan.ops().map(|op| match op.what {
        What::Send { projection, .. } | What::OuterProduct { projection, .. } => {
            let of = &plan.projections[projection];
            plan.populations[of.from].n * plan.populations[of.to].n
        }
        _ => 0,
    });
    macs.sum()
}

/// Closed forms for L = lmax weight matrices, P_l = n^l n^{l+1}, P = Σ P_l, and P_in = P_{L−1}, the weights that see the input: BP and
/// the frontier need 3P − P_in multiply-adds per sample in 3L − 1 products.
#[test]
fn costs_follow_their_closed_forms() {
    let shapes: [&[usize]; 6] =
        [&[784, 10], &[784, 32, 10], &[784, 32, 32, 10], &[784, 32, 32, 32, 10], &[23, 17, 9, 13, 6, 5], &[64; 7]];
    for layers in shapes {
        let network = net(layers, Activation::Sigmoid, false);
        let lmax = network.lmax();
        let weights: Vec<usize> = (0..lmax).map(|l| network.n(l) * network.n(l + 1)).collect();
        let (p, inner) = (weights.iter().sum::<usize>(), weights[..lmax - 1].iter().sum::<usize>());
        let p_in = p - inner;
        let products = |plan: &Plan| plan.cost(1).products as usize;
        let make = |rule: Rule, schedule: Schedule, steps: Option<u32>| {
            plan(&network, rule, |o| (o.schedule, o.steps) = (Some(schedule), steps))
        };
        for rule in [Rule::BP, Rule::ZIL] {
            let plan = make(rule, Frontier, None);
            assert_eq!((macs(&plan), products(&plan)), (3 * p - p_in, 3 * lmax - 1), "{network}");
        }
        // Z-IL, every layer at every t. Without hoisting it would be P + L P + (L−1)(P−P_in) + P in L² + (L−1)² + 2L products: μ at t = 0
        // is that of the forward pass, and the products of the input are computed once.
        let full = make(Rule::ZIL, Full, None);
        assert_eq!(macs(&full), 2 * p + 2 * (lmax - 1) * inner, "{network}");
        assert_eq!(products(&full), 2 * lmax + 2 * (lmax - 1) * (lmax - 1));
        assert!(macs(&full) <= p + lmax * p + (lmax - 1) * inner + p);
        // IL with the same two hoists, and its cone: moment t predicts layers 0 .. t and moves layers 1 ..= t+1.
        for tc in [0usize, 1, 5, 20] {
            let full = make(Rule::IL, Full, Some(tc as u32));
            assert_eq!((macs(&full), products(&full)), (2 * p + 2 * tc * inner, 2 * lmax + 2 * tc * (lmax - 1)));
            let cone: usize = (0..=tc)
                .map(|t| {
                    let predicted = weights[..t.min(lmax - 1)].iter().sum::<usize>();
                    let moved = weights[..(t + 1).min(lmax - 1)].iter().sum::<usize>();
                    predicted + if t < tc { moved } else { 0 }
                })
                .sum();
            assert_eq!(macs(&make(Rule::IL, Frontier, Some(tc as u32))), 2 * p + cone);
        }
        // Fa-Z-IL moves any θ at any t, so nothing is hoisted but μ at t = 0.
        for last in [lmax - 1, lmax, lmax + 3] {
            let full = make(Rule::FAZIL, Full, Some(last as u32));
            assert_eq!(macs(&full), p + last * p + last * inner + (last + 1) * p, "{network} T = {last}");
        }
        assert_eq!(macs(&make(Rule::FAZIL, Frontier, None)), 3 * p - p_in);
    }
}

/// The work of an update relative to BP's. That of the products is known in closed form; the elementwise work adds at most 8 % at these
/// widths.
#[test]
fn flop_ratios_to_bp_at_the_papers_sizes() {
    let ratio = |layers: &[usize], batch: usize, rule: Rule, schedule: Schedule| {
        let network = net(layers, Activation::Sigmoid, false);
        let [plan, bp] = [(rule, schedule), (Rule::BP, Frontier)].map(|(r, s)| scheduled(&network, r, Some(s), 1.0));
        let products = macs(&plan) as f64 / macs(&bp) as f64;
        let all = plan.cost(batch).flops as f64 / bp.cost(batch).flops as f64;
        assert!(all >= 0.999 * products && all < 1.08 * products, "{all} in all, {products} in products");
        products
    };
    let (small, deep, wide) = ([784, 32, 32, 10], [784, 32, 32, 32, 10], [4096; 5]);
    let bp = scheduled(&net(&small, Activation::Sigmoid, false), Rule::BP, None, 1.0).cost(20);
    // 2.168 MFLOP of products; f, f′ and one multiplication per hidden unit, and one difference per output.
    assert_eq!((bp.flops, bp.products), (2_168_320 + 20 * (5 * 64 + 10), 8));
    // The last value is the count without hoisting: with a wide input, hoisted products are most of it.
    for (layers, batch, rule, schedule, expected, naive) in [
        (&small[..], 20, Rule::ZIL, Frontier, 1.00, 1.00),
        (&deep[..], 20, Rule::ZIL, Frontier, 1.00, 1.00),
        (&wide[..], 256, Rule::ZIL, Frontier, 1.00, 1.00),
        (&small[..], 20, Rule::ZIL, Full, 1.074, 2.49),
        (&deep[..], 20, Rule::ZIL, Full, 1.207, 3.00),
        (&wide[..], 256, Rule::ZIL, Full, 2.36, 3.00),
        (&small[..], 20, Rule::IL, Full, 1.97, 11.7),
        (&deep[..], 20, Rule::IL, Full, 2.61, 11.9),
        (&wide[..], 256, Rule::IL, Full, 11.6, 13.8),
    ] {
        let got = ratio(layers, batch, rule, schedule);
        assert!((got / expected - 1.0).abs() < 0.005, "{} {}: {got:.3}x", rule.title(), schedule.name());
        assert!(got < naive * 1.01, "{} {}: {got:.3}x, {naive}x naive", rule.title(), schedule.name());
    }
    for layers in [&small[..], &deep, &wide] {
        assert!(ratio(layers, 20, Rule::IL, Frontier) < ratio(layers, 20, Rule::IL, Full));
        assert!(ratio(layers, 20, Rule::FAZIL, Frontier) < 1.02);
        assert!(ratio(layers, 20, Rule::FAZIL, Full) > ratio(layers, 20, Rule::ZIL, Full));
    }
}

/// By hand, for 3-2 and 5 samples: one prediction, one error node, one update.
#[test]
fn a_small_cost_by_hand() {
    let cost = scheduled(&net(&[3, 2], Activation::Tanh, false), Rule::ZIL, None, 1.0).cost(5);
    assert_eq!(cost.products, 2);
    assert_eq!(cost.flops, 2 * 5 * 6 + 10 + 2 * 5 * 6);
    // ε reads x and μ, and also stores μ.
    assert_eq!(cost.bytes, 4 * ((15 + 10 + 6) + 4 * 10 + (15 + 10 + 2 * 6)));
}

/// The frontier skips nothing that affects a weight, at any depth and in either coordinates.
fn full_equals_frontier(device: &Device, depths: std::ops::RangeInclusive<usize>) {
    for lmax in depths {
        let network = network(lmax);
        for activation in [Activation::Sigmoid, Activation::Relu] {
            let network = network.clone().with_activation(activation);
            let run = Run::new(&network, 6, 10, 700 + lmax as u64);
            for rule in [Rule::IL, Rule::ZIL] {
                for coords in COORDS {
                    for steps in if rule == Rule::IL { vec![Some(0), Some(1), Some(3), Some(20)] } else { vec![None] } {
                        let weights = SCHEDULES.map(|schedule| {
                            run.train(
                                device,
                                &plan(&network, rule, |o| {
                                    (o.schedule, o.coords, o.alpha, o.steps) = (Some(schedule), coords, 0.05, steps);
                                }),
                            )
                        });
                        let [full, frontier] = weights;
                        let name = format!("{} {network} {activation} {} {steps:?}", rule.title(), coords.name());
                        assert!(full.bit_identical(&frontier), "{name}: {:e} apart", full.distance(&frontier));
                        assert!(!full.bit_identical(&run.weights), "{name} learned nothing");
                    }
                }
            }
        }
    }
}

#[test]
fn cpu_full_equals_frontier_to_the_bit() {
    full_equals_frontier(&cpu(1), 1..=8);
}

#[test]
fn gpu_full_equals_frontier_to_the_bit() {
    full_equals_frontier(&gpu(), 1..=4);
}

/// BP takes one launch per layer forward, one to compare, one per hidden layer backward, and one for all weights. Z-IL's frontier takes
/// the same number of launches of the same kernels.
#[test]
fn the_frontier_is_launched_like_bp() {
    for lmax in 1..=8 {
        let network = network(lmax);
        let kinds = |plan: &Plan| -> Vec<Kind> { Program::new(plan).launches().map(|launch| launch.kind).collect() };
        let count = |plan: &Plan| Program::new(plan).count();
        let bp = scheduled(&network, Rule::BP, None, 1.0);
        let zil = scheduled(&network, Rule::ZIL, Some(Frontier), 1.0);
        assert_eq!(count(&bp), (2 * lmax, 1));
        assert_eq!(kinds(&bp), kinds(&zil), "{zil}");
        // φ adds at most one elementwise launch per moment; ε = x − μ is computed with x.
        let fazil = scheduled(&network, Rule::FAZIL, Some(Frontier), 1.0);
        assert!(count(&fazil).0 == 2 * lmax && count(&fazil).1 <= 1 + lmax, "{:?} {fazil}", count(&fazil));
        let value = plan(&network, Rule::ZIL, |o| (o.schedule, o.coords) = (Some(Frontier), Coords::Value));
        assert_eq!(count(&value), (2 * lmax, 1));
        // All layers of a moment share their launches: full steps cost launches per moment, not per layer.
        let full = scheduled(&network, Rule::ZIL, Some(Full), 1.0);
        let (products, _) = count(&full);
        assert!(products <= lmax + 3 * lmax, "{products} launches");
        assert_eq!(count(&bp.prediction()), (lmax, 0));
    }
}

/// Every weight learns exactly as often in the launches as in the plan. With φ, a layer whose ε is proved to be 0 (a layer at rest) does
/// not learn; at its own moment a layer always learns.
#[test]
fn lowering_loses_no_update() {
    for lmax in 1..=6 {
        for plan in every_plan(&network(lmax)) {
            let program = Program::new(&plan);
            for l in 1..=lmax {
                let theta = plan.theta(l).expect("θ");
                let asked = plan.ops().filter(|op| op.changes_weights() && op.epilogue[0].to == theta).count();
                let jobs = program.launches().filter(|launch| launch.kind == Kind::OuterProduct).flat_map(|l| &l.jobs);
                let made = jobs.filter(|job| job.writes()[0].slot == theta).count();
                let gated = plan.task.rule == "fazil" && is_full(&plan);
                assert!(made == asked || gated && (1..asked).contains(&made), "θ^{l} {made} times, of {plan}");
                if gated && plan.find("fired", 0).is_none() {
                    // Full plans end at t = lmax; layer l−1 leaves its rest at t = l−1.
                    assert_eq!(made, asked - (l - 1), "θ^{l} of {plan}");
                }
            }
        }
    }
}

#[test]
fn a_plan_prints_as_figure_2() {
    let network = net(&[4, 3, 2], Activation::Sigmoid, false);
    assert_eq!(
        scheduled(&network, Rule::ZIL, Some(Full), 1.0).to_string(),
        "\
Z-IL of 4-3-2 (lmax 2), full schedule, error coordinates, γ = 1
  predict  predict μ^1 · settle x^1
  predict  predict μ^0
  t = 0    error ε^0 ε^1 · infer x^1 · learn θ^1
  t = 1    predict μ^0 · error ε^0 ε^1 · learn θ^2
"
    );
    assert_eq!(
        scheduled(&network, Rule::BP, None, 1.0).to_string(),
        "\
BP of 4-3-2 (lmax 2)
  predict  predict μ^1 · settle x^1
  predict  predict μ^0
  t = 0    error ε^0
  t = 1    backprop ε^1
  t = 2    learn θ^1 θ^2
"
    );
    let fazil = plan(&network, Rule::FAZIL, |o| (o.coords, o.gamma, o.steps) = (Coords::Value, Some(0.5), Some(1)));
    assert_eq!(
        fazil.to_string(),
        "\
Fa-Z-IL of 4-3-2 (lmax 2), full schedule, value coordinates, γ = 0.5
  predict  predict μ^1 · settle x^1
  predict  predict μ^0
  t = 0    error ε^0 ε^1 · gate φ^0 φ^1 · infer x^1 · learn θ^1 θ^2
  t = 1    predict μ^0 μ^1 · error ε^0 ε^1 · gate φ^0 φ^1 · learn θ^1 θ^2
"
    );
}

#[test]
fn options_out_of_range_are_refused() {
    let network = network(3);
    let refused = |rule: Rule, change: &dyn Fn(&mut Options)| {
        let mut options = Options::new(rule);
        change(&mut options);
        let answer = options.plan(&network);
        assert!(matches!(answer, Err(Error::Usage(_))), "{options:?} gave {answer:?}");
    };
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(Rule::BP, &|o| o.alpha = bad);
        refused(Rule::ZIL, &|o| o.gamma = Some(bad));
    }
    refused(Rule::FAZIL, &|o| o.td = 0);
    refused(Rule::FAZIL, &|o| o.td = u32::MAX);
    refused(Rule::IL, &|o| o.steps = Some(u32::MAX));
    refused(Rule::BP, &|o| o.steps = Some(3));
    refused(Rule::ZIL, &|o| o.steps = Some(3));
    refused(Rule::ZIL, &|o| o.sigma = -1.0);
    refused(Rule::ZIL, &|o| o.sigma = f64::NAN);
    refused(Rule::BP, &|o| o.sigma = 0.1);
    refused(Rule::IL, &|o| (o.sigma, o.schedule) = (0.1, Some(Frontier)));
    // Noise is an experiment of the CPU: a GPU refuses the plan instead of ignoring the noise.
    let noisy = plan(&network, Rule::ZIL, |o| o.sigma = 0.1);
    let run = Run::new(&network, 2, 1, 800);
    let resident = gpu().upload(&run.data).expect("upload");
    assert!(matches!(gpu().session(&noisy, 2, &resident, &run.weights), Err(Error::Usage(_))));
    assert!(!run.train(&cpu(1), &noisy).bit_identical(&run.weights));
}

/// Kernels divide by sizes, so no plan may have a population without units or places.
#[test]
fn populations_without_units_are_refused() {
    let whole = plan(&network(3), Rule::BP, |_| ());
    whole.check().expect("a plan");
    for p in 0..whole.populations.len() {
        for (n, places) in [(0, 1), (whole.populations[p].n, 0)] {
            let mut plan = whole.clone();
            (plan.populations[p].n, plan.populations[p].places) = (n, places);
            let refused = plan.check().expect_err("refused").to_string();
            assert!(refused.contains("their product must be 1 to"), "{refused}");
        }
    }
}

/// A small network for printed plans, input first.
fn small(rule: Rule, schedule: Schedule) -> Plan {
    let network = Network::new(&[5, 4, 3, 2]).expect("a network");
    plan(&network, rule, |o| o.schedule = Some(schedule))
}

/// The output of every pass starts with its name. The output of the last passes has a line for each launch of the program.
#[test]
fn every_pass_prints_its_output() {
    for (rule, schedule) in [(Rule::BP, Frontier), (Rule::IL, Full), (Rule::ZIL, Full), (Rule::FAZIL, Full)] {
        let plan = small(rule, schedule);
        let text = |pass: Pass| after(&plan, pass, &Limits::COMMON).expect("a text");
        for pass in Pass::ALL {
            let text = text(pass);
            assert!(text.starts_with(&format!("after {}: ", pass.name())), "{text}");
            assert!(text.contains("ε^0") || pass == Pass::Speculate, "{text}");
        }
        let launches = text(Pass::Sink).lines().filter(|line| line.starts_with("launch ")).count();
        assert_eq!(launches, Program::new(&plan).launches().count(), "{}", rule.name());
        let epilogue = |pass: Pass| text(pass).matches(" ← ").count();
        assert!(
            epilogue(Pass::ValueNumbering) <= epilogue(Pass::Split) && epilogue(Pass::Liveness) <= epilogue(Pass::Fuse)
        );
        // A fused op keeps its name and equation.
        let [split, sink] = [Pass::Split, Pass::Sink].map(text);
        for word in ["predict ", "learn ", if rule == Rule::BP { "Eq. (3)" } else { "Eq. (9)" }] {
            assert!(split.contains(word) && sink.contains(word), "{}: {word}", rule.name());
        }
    }
    assert!(after(&small(Rule::FAZIL, Full), Pass::Speculate, &Limits::COMMON).expect("a text").contains("valid if"));
}

/// The shaders of each rule of the paper contain its equation numbers, and every launch has its shader.
#[test]
fn shaders_follow_their_equations() {
    let inferring = ["Eq. (5)", "Eq. (7)", "Eq. (9)"];
    for (rule, numbers) in [
        (Rule::BP, ["Eq. (1)", "Eq. (3)", "Eq. (4)"]),
        (Rule::IL, inferring),
        (Rule::ZIL, inferring),
        (Rule::FAZIL, inferring),
    ] {
        for schedule in SCHEDULES {
            let plan = small(rule, schedule);
            let shaders = shaders(&plan, 4).expect("shaders");
            for number in numbers {
                let text = shaders.iter().find_map(|shader| shader.equation(number));
                let text = text.unwrap_or_else(|| panic!("{} has no {number}", rule.name()));
                assert!(text.contains("\nfn epilogue_") && text.ends_with("\n}\n"), "{text}");
            }
            let mut launches: Vec<usize> = shaders.iter().flat_map(|shader| shader.launches.clone()).collect();
            launches.sort_unstable();
            launches.dedup();
            assert_eq!(launches, (1..=Program::new(&plan).launches().count()).collect::<Vec<_>>());
        }
    }
    // Another rule's variant of an equation does not have the paper's number.
    let others = shaders(&small(Rule::named("fa").expect("fa"), Frontier), 4).expect("shaders");
    assert!(others.iter().all(|shader| shader.equation("Eq. (9)").is_none()));
}

/// Whether a document contains the function generated for an equation.
fn shows(document: &str, shaders: &[PrintedShader], number: &str) -> bool {
    let text = shaders.iter().find_map(|shader| shader.equation(number)).expect("the equation");
    document.contains(&format!("```wgsl\n{text}```\n"))
}

#[test]
fn the_document_shows_the_generated_equations() {
    let path = repository().join("docs/equations.md");
    let document = std::fs::read_to_string(&path).expect("docs/equations.md");
    let network = Network::new(&[4, 3, 2]).expect("a network");
    let shaders = shaders(&plan(&network, Rule::ZIL, |_| {}), 20).expect("shaders");
    for number in ["Eq. (7)", "Eq. (9)"] {
        assert!(shows(&document, &shaders, number), "{number} is not in docs/equations.md as it is generated");
        // The test detects a difference of one character.
        let changed = document.replace("fma(", "fma (");
        assert!(changed != document && !shows(&changed, &shaders, number), "{number}");
    }
}

/// A trace reads one update while it runs. It must equal the states of updates that stop at each moment.
#[test]
fn a_trace_equals_stopped_updates() {
    let data = Arc::new(Data::open("digits").expect("digits"));
    let device = CpuDevice::new(Some(1)).expect("the CPU");
    let order: Vec<u32> = (0..4).collect();
    for rule in Rule::all() {
        let network = rule.suited(Network::new(&[784, 7, 6, 5, 10]).expect("a network"));
        for loss in rule.losses {
            let plan = plan(&network, *rule, |o| (o.steps, o.loss) = (rule.takes("steps").then_some(4), *loss));
            let weights = zilch::Weights::drawn(&network, 1, rule.init);
            let trace = Trace::new(&plan, order.len(), &data, &weights).expect("a trace");
            for (i, t) in trace.moments.iter().enumerate() {
                let until = plan.until(*t);
                let mut session = device.session(&until, order.len(), Arc::clone(&data), &weights).expect("a session");
                session.run(&order);
                for l in 0..plan.layers {
                    let eps = until.find("eps", l).and_then(|slot| session.slot(slot));
                    let root = eps.map_or(0.0, |e| (e.iter().map(|v| v * v).sum::<f64>() / e.len() as f64).sqrt());
                    assert_eq!(
                        trace.eps[l][i].to_bits(),
                        root.to_bits(),
                        "{}, {loss:?}, ε^{l} at t = {t}",
                        rule.name()
                    );
                }
            }
        }
    }
}
