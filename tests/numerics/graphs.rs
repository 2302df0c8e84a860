//! Networks with skip connections and shared weights. Z-IL and Fa-Z-IL against BP bit for bit, and controls that must differ; every
//! rule's updates against `scripts/oracle_graphs.py`; BP's updates against central differences of a plain forward pass; the notation; and
//! refusals.

use crate::common::{Run, cpu, gpu, plan};
use crate::harness::{Matrix256, Parameters, Trained, descent, parameters, samples, weights};
use crate::networks::{BLOCKS, RECURRENT, SKIPS};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::data::Data;
use zilch::network::Init;
use zilch::network::{read_layers, read_weights_for, write_weights};
use zilch::plan::Connection;
use zilch::random::{Random, Stream};
use zilch::rules::Optimizer;
use zilch::rules::Phi;
use zilch::train::{Length, Training};
use zilch::{Activation, Coords, Error, Network, Options, Plan, Rule, Schedule, Weights};

/// LeNet, a chain, in the notation of graphs.
const LENET: &str = "12x12=in,4c5p2,a2,6c3,a2,12=a,9,4";
/// Large enough that the updates move the weights far from their initial values.
const ALPHA: f64 = 0.02;

const ALL: [&str; 4] = [SKIPS, BLOCKS, RECURRENT, LENET];

fn network(layers: &str, activation: Activation, bias: bool) -> Network {
    Network::parse(layers).expect("layers").with_activation(activation).with_bias(bias)
}

fn updates(network: &Network, rule: Rule, change: impl FnOnce(&mut Options)) -> Plan {
    plan(network, rule, |o| {
        o.alpha = ALPHA;
        change(o);
    })
}

/// The rules that equal BP on this network, with every schedule. The paper's φ is included only if no ε is exactly 0.
fn exact(network: &Network, smooth: bool, change: impl Fn(&mut Options)) -> Vec<Plan> {
    let mut plans = Vec::new();
    for schedule in [Schedule::Full, Schedule::Frontier] {
        let updates = |rule, phi| {
            updates(network, rule, |o| {
                (o.schedule, o.phi) = (Some(schedule), phi);
                change(o);
            })
        };
        plans.push(updates(Rule::ZIL, Phi::Error));
        plans.push(updates(Rule::FAZIL, Phi::Feedback));
        if smooth || schedule == Schedule::Frontier {
            plans.push(updates(Rule::FAZIL, Phi::Error));
        }
    }
    plans
}

#[test]
fn zil_and_fazil_are_bp_to_the_last_bit() {
    for layers in ALL {
        for (activation, smooth) in [(Activation::Tanh, true), (Activation::Relu, false), (Activation::Gelu, false)] {
            // A mini-batch too small to be split by samples, and one of two shards.
            for (threads, batch, bias) in [(1, 7, true), (2, 17, false)] {
                let network = network(layers, activation, bias);
                let run = Run::new(&network, batch, 40, 3);
                let device = cpu(threads);
                let bp = run.train(&device, &updates(&network, Rule::BP, |_| ()));
                assert_eq!(bp.not_finite(), None);
                let (moved, size) = bp.max_abs_difference(&run.weights);
                assert!(moved > 0.05 * size, "{network} {activation}: the updates moved the weights by {moved} only");
                for plan in exact(&network, smooth, |_| ()) {
                    let other = run.train(&device, &plan);
                    let far = bp.distance(&other);
                    assert!(bp.bit_identical(&other), "{plan} on {threads} threads, batch {batch}: {far:e} from BP");
                }
            }
        }
    }
}

/// With a stateful optimiser, a learning rate per weight matrix, and averages over the mini-batch.
#[test]
fn adam_keeps_zil_and_fazil_on_bp() {
    for layers in ALL {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 7, 20, 3);
        let factors: Vec<f64> = (0..network.matrices()).map(|k| 1.0 + 0.1 * k as f64).collect();
        let change = |o: &mut Options| {
            (o.optimizer, o.alpha, o.mean, o.layer_lr) = (Optimizer::Adam, 1e-3, true, factors.clone());
        };
        let bp = run.train(&cpu(2), &updates(&network, Rule::BP, change));
        let (moved, size) = bp.max_abs_difference(&run.weights);
        assert!(moved > 0.01 * size, "{network}: the updates moved the weights by {moved} only");
        for plan in exact(&network, true, change) {
            assert!(bp.bit_identical(&run.train(&cpu(2), &plan)), "{plan}");
        }
        let even = run.train(
            &cpu(2),
            &updates(&network, Rule::BP, |o| {
                change(o);
                o.layer_lr = Vec::new();
            }),
        );
        assert!(!bp.bit_identical(&even), "{network}: the learning rates per matrix have no effect");
    }
}

/// The same tests on the GPU.
#[test]
fn gpu_zil_and_fazil_are_bp_to_the_last_bit() {
    for (layers, activation) in [
        (SKIPS, Activation::Tanh),
        (SKIPS, Activation::Gelu),
        (BLOCKS, Activation::Relu),
        (RECURRENT, Activation::Tanh),
        (LENET, Activation::Sigmoid),
    ] {
        let network = network(layers, activation, true);
        let run = Run::new(&network, 7, 10, 3);
        let bp = run.train(&gpu(), &updates(&network, Rule::BP, |_| ()));
        let (moved, size) = bp.max_abs_difference(&run.weights);
        assert!(moved > 0.01 * size, "{network} {activation}: the updates moved the weights by {moved} only");
        for plan in exact(&network, false, |_| ()) {
            let other = run.train(&gpu(), &plan);
            let far = bp.distance(&other);
            assert!(bp.bit_identical(&other), "{plan}: {far:e} from BP on the GPU");
        }
    }
}

/// Both devices agree on every rule within rounding error. The bits do not depend on threads or repetition.
#[test]
fn devices_and_threads_agree() {
    for layers in ALL {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 33, 3, 13);
        for rule in Rule::all().iter().filter(|rule| rule.graphs) {
            let plan = updates(&network, *rule, |o| {
                (o.schedule, o.alpha) = (rule.takes("schedule").then_some(Schedule::Full), 2e-3);
            });
            let one = run.train(&cpu(1), &plan);
            assert!(one.bit_identical(&run.train(&cpu(1), &plan)), "{plan}");
            assert!(one.bit_identical(&run.train(&cpu(2), &plan)), "{plan}");
            let other = run.train(&gpu(), &plan);
            let (difference, largest) = one.max_abs_difference(&other);
            assert!(difference < 4e-6 * largest, "{plan}: {difference:e} of {largest:e}");
        }
    }
}

/// Without one of its conditions Z-IL is not BP.
#[test]
fn the_controls_differ() {
    for layers in [SKIPS, BLOCKS, RECURRENT] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 7, 10, 4);
        let device = cpu(1);
        let bp = run.train(&device, &updates(&network, Rule::BP, |_| ()));
        let far = |plan: &Plan| bp.distance(&run.train(&device, plan)) / bp.distance(&run.weights);
        let slow = updates(&network, Rule::ZIL, |o| o.gamma = Some(0.9));
        assert!(far(&slow) > 1e-3, "γ = 0.9: no difference on {network}");
        let disturbed = updates(&network, Rule::ZIL, |o| (o.sigma, o.schedule) = (0.01, Some(Schedule::Full)));
        assert!(far(&disturbed) > 1e-3, "C1 broken: no difference on {network}");
        let skipping = network.unlevelled().expect("a network");
        assert_eq!((skipping.matrices(), skipping.lmax()), (network.matrices(), network.lmax()));
        let full = |rule| updates(&skipping, rule, |o| o.schedule = (rule == Rule::ZIL).then_some(Schedule::Full));
        let size = bp.values().fold(0.0, |m: f64, v| m.max(f64::from(v).abs()));
        let other = run.train(&device, &full(Rule::BP));
        assert!(bp.max_abs_difference(&other).0 < 1e-5 * size, "BP without identity vertices differs on {network}");
        // Only the input has skip connections.
        if layers == RECURRENT {
            assert_eq!(skipping.graph().map(|g| g.edges().len()), network.graph().map(|g| g.edges().len()));
            continue;
        }
        assert!(far(&full(Rule::ZIL)) > 1e-3, "no identity vertices: no difference on {network}");
        let refused = Options { alpha: ALPHA, ..Options::new(Rule::ZIL) }.plan(&skipping).unwrap_err();
        assert!(refused.to_string().contains("choose the full schedule"), "{refused}");
    }
}

#[test]
fn networks_are_printed_as_they_are_written() {
    for text in [
        SKIPS,
        BLOCKS,
        RECURRENT,
        LENET,
        "784,128=a,128,128+a,10",
        "3x32x32,16c3p1=a,16c3p1,16c3p1+a=b,32c3s2p1,32c3p1+b:32c1s2,a4,10",
        "28x28=in,in.0:64~u,64~w+in.1:64~u,64~w+in.2:64~u,10",
        "64,64~w,64~w,10",
        "9=x,a1+x:9=b,x+b,9=c,b:4+c:4",
        "5=in,5+in,3+in:3~a+in:3~a",
        "2x4x4=in,in:3c3=a,m2,4+a:4+in:4,2",
    ] {
        let text = text.replace("a1+x:9=b", "7+x:7=d,x:9=b").replace("b:4+c:4", "b:4+c:4+d:4");
        let network = Network::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(network.notation().join(","), text);
        assert_eq!(Network::parse(&network.notation().join(",")).expect("its own words"), network);
        assert!(network.graph().is_some(), "{text}");
    }
    let spelt = Network::parse(" 784=in , 16 ~ w = a , 16 + a, in : 4+4,2").expect("spaces");
    assert_eq!(spelt.notation().join(","), "784=in,16~w=a,16+a,in:4+4,2");
}

/// Any text gives a network or an error, and any network gives a plan or an error.
#[test]
fn no_text_panics() {
    const PARTS: [&str; 24] = [
        "6",
        "4",
        "6",
        "a",
        "b",
        "in",
        "=",
        "=a",
        "=b",
        "=in",
        "+",
        "+a",
        "+6",
        ":",
        "a:6",
        "in.1:6",
        "~w",
        "2c2",
        ".",
        "m2",
        "a2",
        "6~w",
        "99999999999999999999",
        "",
    ];
    let mut random = Random::new(1, Stream::Test, 7);
    let (mut read, mut planned) = (0, 0);
    for i in 0..70_000 {
        let first = ["6=in", "3x6=in", "2x3x2", "6", ""][random.below(5) as usize];
        let mut text = first.to_owned();
        for _ in 0..=random.below(5) {
            text.push(',');
            (0..=random.below(4)).for_each(|_| text += PARTS[random.below(PARTS.len() as u64) as usize]);
        }
        text += if i % 3 == 0 { ",4" } else { "" };
        let Ok(network) = Network::parse(&text) else { continue };
        read += 1;
        assert_eq!(Network::parse(&network.notation().join(",")).expect("its own words"), network, "{text}");
        if network.graph().is_some() && read % 8 == 0 {
            planned += 1;
            for rule in Rule::all().iter().filter(|rule| rule.graphs) {
                let made = Options::new(*rule).plan(&rule.suited(network.clone()));
                made.unwrap_or_else(|e| panic!("{} of {text}: {e}", rule.name()));
            }
        }
    }
    assert!(read > 1000 && planned > 50, "{read} networks, {planned} planned");
}

#[test]
fn invalid_notation_is_refused_with_the_word() {
    for (text, said) in [
        ("784,128=a,128+b,10", "no layer before it is named b: the names are a"),
        ("784,128+b,128=b,10", "none has a name yet"),
        ("784,128=a,64+a,10", "128 units is not 64 units"),
        ("784,128=a,128=a,10", "another layer is already named a"),
        ("784,128=a,32,784=b,10", "10"),
        ("784=in,128=a,in:64,10", "at \"128=a\": nothing reads it"),
        ("3x8x8,4c3p1=a,4c3+a,a2,10", "4 channels on 8 × 8 is not 4 channels on 6 × 6"),
        ("3x8x8,4c3p1=a,a2,a:4c3s2p1,10", "the pool a2 before this word is not read"),
        ("3x8x8=in,4c3p1+in,10", "192 units is not"),
        ("28x28=in,in.28:64,10", "rows 0 to 27, but no row 28"),
        ("28x28=in,in.x:64,10", "the number of an image row"),
        ("28x28=in,in.0,10", "read through weights"),
        ("3x28x28=in,in.0:64,10", "not an image of one channel"),
        ("784=in,64=a,a.0:64,10", "not an image of one channel"),
        ("28x28=in,in.0:4c1,10", "needs a grid"),
        ("64,64~w,32~w,10", "~w is 32 × 64 here, but 64 × 64 before"),
        ("784,128=A,10", "\"A\" is not a name"),
        ("784,128=1a,10", "\"1a\" is not a name"),
        ("784,128=a2,10", "is the notation of a pool"),
        ("784,128=,10", "\"\" is not a name"),
        ("784,128=a,128+a+,10", "a size or the name of a layer is missing"),
        ("784,128=a,+a+a:,10", "a plus sign joins the terms of a sum"),
        ("784,16+=a,10", "at \"16+=a\": a size or the name"),
        ("784,16+,10", "at \"16+\": a size or the name"),
        ("784,128=a,a:,10", "\"\" is neither a size"),
        ("784,128=a,a~w,10", "\"a\" is neither a size"),
        ("784,128=a,128+m2,10", "m2 is a pool, which cannot be a term of a sum"),
        ("784=in,in", "needs weights"),
        ("784=in", "at least an input and an output"),
        ("128c3=a,128+a,10", "the first word is the input"),
        ("784,128=a,128+a,10,m2", "needs a grid"),
        ("9x9,4c3=a,4c3p1+a", "the number of outputs"),
        ("784,0=a,10+a:10", "1 to 16777216"),
        ("784,20000000=a,10+a:10", "1 to 16777216"),
    ] {
        match Network::parse(text) {
            Err(error) => assert!(error.to_string().contains(said), "{text}: {error}"),
            Ok(network) => assert_eq!(network.outputs().to_string(), said, "{text}"),
        }
    }
    let deep = format!("8=in{}", ",8".repeat(300));
    assert!(Network::parse(&deep).unwrap_err().to_string().contains("at most 256 levels"));
    let ladder: String = (0..150).map(|i| format!(",8=a{i}b")).collect();
    let sums: String = (0..150).map(|i| format!("+a{i}b")).collect();
    let wide = Network::parse(&format!("8=in{ladder},8{sums},4")).unwrap_err();
    assert!(wide.to_string().contains("at most 4096 vertices"), "{wide}");
    let many = format!("8=in,8{},4", "+in".repeat(10_000));
    assert!(Network::parse(&many).unwrap_err().to_string().contains("at most 8192 edges"));
}

/// Rules that support only chains, and other impossible combinations.
#[test]
fn rules_and_options_for_chains_only_are_refused() {
    let network = network(SKIPS, Activation::Tanh, false);
    for rule in Rule::all().iter().filter(|rule| !rule.graphs) {
        let error = Options::new(*rule).plan(&rule.suited(network.clone())).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("skips or shared weights"), "{error}");
    }
    for rule in [Rule::IL, Rule::named("ipc").expect("a rule")].into_iter().filter(|rule| rule.graphs) {
        let mut options = Options::new(rule);
        options.rule_options.insert("discount".into(), 0.5);
        let error = options.plan(&network).unwrap_err();
        assert!(matches!(error, Error::Usage(_)) && error.to_string().contains("leave --discount out"), "{error}");
    }
    let few = Options { layer_lr: vec![1.0; network.lmax()], ..Options::new(Rule::ZIL) };
    let error = few.plan(&network).unwrap_err().to_string();
    assert!(error.contains(&format!("each of the {} layers", network.matrices())), "{error}");
}

/// IL gives nearly the same weights in both coordinates, which round differently where x changes. Its plan is complete.
#[test]
fn coordinates_agree() {
    for layers in [SKIPS, BLOCKS, RECURRENT] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 9, 3, 6);
        let il = |coords, schedule| {
            let plan = updates(&network, Rule::IL, |o| {
                (o.coords, o.schedule, o.steps) = (coords, Some(schedule), Some(8));
            });
            run.train(&cpu(1), &plan)
        };
        let one = il(Coords::Error, Schedule::Full);
        for other in [il(Coords::Value, Schedule::Full), il(Coords::Value, Schedule::Frontier)] {
            let (difference, size) = one.max_abs_difference(&other);
            assert!(difference < 1e-5 * size, "{network}: {difference:e}");
        }
        assert!(one.bit_identical(&il(Coords::Error, Schedule::Frontier)), "{network}");
    }
}

#[derive(Deserialize)]
struct Oracle {
    layers: String,
    batch: usize,
    alpha: f64,
    pixels: Vec<Vec<u8>>,
    labels: Vec<u8>,
    theta_256ths: Vec<Matrix256>,
    bias_256ths: Vec<Vec<i32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    rule: Rule,
    gamma: Option<f64>,
    steps: Option<u32>,
    activation: Activation,
    bias: bool,
    mean: bool,
    after_3: Vec<f64>,
}

impl Oracle {
    fn data(&self) -> Arc<Data> {
        samples(&self.pixels, &self.labels)
    }

    fn weights(&self, bias: bool) -> Weights {
        weights(&self.theta_256ths, &self.bias_256ths, bias)
    }

    fn plans(&self, case: &Case) -> Vec<Plan> {
        let network = network(&self.layers, case.activation, case.bias);
        let schedules =
            if case.rule == Rule::BP { &[None][..] } else { &[Some(Schedule::Full), Some(Schedule::Frontier)] };
        let ways = schedules.iter().flat_map(|s| [(*s, Coords::Error), (*s, Coords::Value)]);
        let made = ways.map(|(schedule, coords)| {
            plan(&network, case.rule, |o| {
                (o.schedule, o.coords, o.gamma, o.steps, o.mean) =
                    (schedule, coords, case.gamma, case.steps, case.mean);
                o.alpha = self.alpha;
            })
        });
        made.collect()
    }
}

#[test]
fn an_independent_program_agrees() {
    let all: Vec<Oracle> = serde_json::from_str(include_str!("../fixtures/graphs.json")).expect("fixture");
    let order: Vec<u32> = (0..9).collect();
    let mut plans = 0;
    for oracle in &all {
        let data = oracle.data();
        for case in &oracle.cases {
            let weights = oracle.weights(case.bias);
            for plan in oracle.plans(case) {
                let (name, after) = (plan.to_string(), [(&order[..], &case.after_3[..])]);
                let trained = Trained {
                    name: &name,
                    plan: &plan,
                    batch: oracle.batch,
                    weights: &weights,
                    kept: &[],
                    after: &after,
                };
                trained.float64(&data, 1e-12);
                plans += 1;
            }
        }
    }
    assert_eq!(plans, 3 * 2 * (2 + 4 * 4));
}

/// A plain forward pass in float64 over layers without image dimensions: E of a batch.
fn energy(network: &Network, run: &Run, parameters: &Parameters) -> f64 {
    let (theta, bias) = parameters.split_at(network.matrices());
    let graph = network.graph().expect("a graph");
    let mut energy = 0.0;
    for &sample in &run.order[..run.batch] {
        let set = &run.data.train;
        let mut sent: Vec<Vec<f64>> = vec![Vec::new(); graph.vertices().len()];
        sent[graph.input()] = set.images().row(sample as usize).iter().map(|p| f64::from(*p) / 255.0).collect();
        for v in (0..graph.input()).rev() {
            let vertex = &graph.vertices()[v];
            let mut x = vec![0.0; vertex.n];
            for edge in graph.arriving(v).map(|e| &graph.edges()[e]) {
                let mut h = &sent[edge.from][..];
                if let Some(Connection::Part { start }) = edge.maps.first().map(|map| map.kind) {
                    h = &h[start..start + edge.maps[0].n];
                }
                match edge.weights {
                    None => x.iter_mut().zip(h).for_each(|(x, h)| *x += h),
                    Some(k) => {
                        for (i, x) in x.iter_mut().enumerate() {
                            let row = &theta[k - 1][i * h.len()..(i + 1) * h.len()];
                            *x += bias[k - 1][i] + row.iter().zip(h).map(|(w, h)| w * h).sum::<f64>();
                        }
                    }
                }
            }
            let bent = !vertex.holds && v > 0;
            sent[v] = x.into_iter().map(|x: f64| if bent { x.tanh() } else { x }).collect();
        }
        let label = usize::from(set.labels()[sample as usize]);
        let off = |(i, mu): (usize, &f64)| (f64::from(u8::from(i == label)) - mu).powi(2);
        energy += 0.5 * sent[0].iter().enumerate().map(off).sum::<f64>();
    }
    energy
}

/// BP's update is −α ∂E/∂θ, by central differences.
#[test]
fn bp_follows_the_gradient_of_the_energy() {
    const H: f64 = 1e-4;
    for layers in [SKIPS, RECURRENT] {
        let network = network(layers, Activation::Tanh, true);
        let run = Run::new(&network, 5, 1, 8);
        let plan = plan(&network, Rule::BP, |o| o.alpha = 1.0);
        let (changes, mut at) = (run.change64(&plan), parameters(&run));
        assert_eq!(changes.len(), 2 * network.matrices());
        for (group, change) in changes.iter().enumerate() {
            for (i, moved) in change.iter().enumerate() {
                let slope = descent(&mut at, (group, i), H, |at| energy(&network, &run, at));
                assert!(
                    (moved - slope).abs() < 1e-6 * (1.0 + slope.abs()),
                    "{network} group {group} {i}: {moved} {slope}"
                );
            }
        }
    }
}

/// Locality is derived from the projections with weights, and reported with the numbering of a graph.
#[test]
fn a_graph_is_judged_as_a_chain_is() {
    let judged =
        |layers: &str, rule: Rule| updates(&network(layers, Activation::Sigmoid, false), rule, |_| ()).properties();
    for layers in ["8,2=a,2,2+a,2+a,10", SKIPS, RECURRENT] {
        let fazil = judged(layers, Rule::FAZIL);
        assert!(fazil.full_autonomy.holds && !fazil.clock.holds, "{layers}: {}", fazil.full_autonomy.why);
        assert_eq!(fazil.local_plasticity.why, "every Δθ reads only nodes of the two layers that its weights join");
        let zil = judged(layers, Rule::ZIL);
        assert_eq!(zil.full_autonomy.why, "θ^1 learns only at t = 0: a clock must say when", "{layers}");
        let bp = judged(layers, Rule::BP).local_plasticity;
        assert!(!bp.holds && bp.why.contains("held outside layer ") && bp.why.contains(", which θ^"), "{}", bp.why);
    }
    let chain = judged("8,2,2,10", Rule::FAZIL);
    assert!(chain.full_autonomy.holds);
}

/// With very small weights ε is exactly 0 in deep layers. Their units wait, and the loss of the others grows. The message suggests `--phi
/// feedback`.
#[test]
fn a_divergence_of_the_paper_s_phi_names_the_other_one() {
    let train = |layers: &str, phi: Phi| {
        let network = network(layers, Activation::Sigmoid, false);
        let set = crate::common::dataset(&network, 20, 4, |r| r.below(256) as u8);
        let data = Arc::new(Data { test: set.clone(), train: set, name: "random".into(), checksums: Vec::new() });
        let options = Options { alpha: 0.01, phi, steps: Some(150), ..Options::new(Rule::FAZIL) };
        let (initial, init_gain) = (Some(Init::Xavier), vec![1e-5]);
        let training =
            Training { batch: 20, options, initial, init_gain, ..Training::new(network, Length::Updates(2)) };
        training.run(&cpu(1), &data, &AtomicBool::new(false), &mut |_| ()).expect("a run")
    };
    let skip = "12,8=a,8,8,8,8,8,8+a,10";
    let late = train(skip, Phi::Error).stopped.expect("it diverges");
    let text = late.to_string();
    assert_eq!(late.exit_code(), 5);
    assert!(text.contains("of matrix ") && text.contains("--phi feedback"), "{text}");
    assert!(train(skip, Phi::Feedback).stopped.is_none());
    assert!(train("12,8,8,8,8,8,8,8,10", Phi::Error).stopped.is_none());
}

/// Files of layers: their errors, with the exit code for bad data.
#[test]
fn files_of_layers_are_read_or_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("layers.json");
    let given = path.to_str().expect("text");
    for (text, said) in [
        ("[784, \"128,10\"]", "\"128,10\" is one word of the list of layers and has a comma"),
        ("[784, \" \", 10]", "a word of the list of layers is empty"),
        ("[]", "the list of layers is empty"),
        ("[784, null]", "null is not a layer"),
        ("{\"layers\": 3}", "this file holds no layers"),
        ("[784, 10", "not JSON"),
        ("[784, \"16+\", 10]", "a size or the name of a layer is missing"),
    ] {
        std::fs::write(&path, text).expect("written");
        let error = read_layers(given).expect_err(text);
        assert!(error.exit_code() == 4 && error.to_string().contains(said), "{text}: {error}");
    }
    std::fs::remove_file(&path).expect("removed");
    let error = read_layers(given).expect_err("no file");
    assert!(error.exit_code() == 4 && error.to_string().contains("cannot be read"), "{error}");
}

/// Weights fit a network regardless of the names of its layers.
#[test]
fn layer_names_do_not_matter_to_weights_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("weights.safetensors");
    let [mine, renamed, other] = ["9,7=a,7~w,7~w+a,4", "9,7=b2b,7~u,7~u+b2b,4", "9,7=a,7,7+a,4"]
        .map(|layers| network(layers, Activation::Tanh, true));
    let weights = Weights::init(&mine, 3);
    write_weights(&path, &mine, &weights).expect("written");
    assert!(read_weights_for(&path, &renamed).expect("the same network").bit_identical(&weights));
    let error = read_weights_for(&path, &other).expect_err("another network").to_string();
    assert!(error.contains("9,7=a,7~w,7~w+a,4") && error.contains("9,7=a,7,7+a,4"), "{error}");
}
