//! SuperSpike against an independent float64 program (`scripts/oracle_superspike.py`), time step by time step.

use crate::common::{cpu, cpu_device, gpu};
use crate::harness::{Matrix256, matrix, samples, values, weights};
use ndarray::Array2;
use serde::Deserialize;
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::SavedSlot;
use zilch::{Activation, Network, Options, Plan, Rule, Weights};

#[derive(Deserialize)]
struct Fixture {
    layers: Vec<usize>,
    inputs: Vec<Vec<u8>>,
    targets: Vec<Vec<u8>>,
    theta_256ths: Vec<Matrix256>,
    direct_256ths: Vec<Matrix256>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sent_back: String,
    window: u32,
    alpha: f64,
    weights: Vec<f64>,
    spikes: Vec<u64>,
}

fn fixture() -> Fixture {
    let text = include_str!("../fixtures/superspike.json");
    serde_json::from_str(text).expect("a fixture")
}

fn row(spikes: &[u8]) -> Array2<f32> {
    Array2::from_shape_fn((1, spikes.len()), |(_, j)| f32::from(spikes[j]))
}

impl Fixture {
    fn network(&self) -> Network {
        Network::new(&self.layers).expect("a network").with_activation(Activation::Identity)
    }

    fn weights(&self) -> Weights {
        weights(&self.theta_256ths, &[], false)
    }

    fn plan(&self, case: &Case) -> Plan {
        let mut options = Options { alpha: case.alpha, ..Options::new(Rule::SUPERSPIKE) };
        for (name, text) in [("sent-back", case.sent_back.clone()), ("window", case.window.to_string())] {
            let choice = options.rule.rule_options.iter().find(|c| c.name == name).expect("an option");
            options.rule_options.insert(name.into(), choice.read(&text).expect("a value"));
        }
        options.plan(&self.network()).expect("a plan")
    }

    /// Y^l, if the plan has it.
    fn feedback(&self, plan: &Plan) -> Vec<SavedSlot> {
        let of = |(l, numbers): (usize, &Matrix256)| {
            let at = plan.projections.iter().position(|p| p.name == format!("the error to layer {}", l + 1))?;
            Some(SavedSlot { key: "feedback", at, numbers: matrix(numbers), bias: None })
        };
        self.direct_256ths.iter().enumerate().filter_map(of).collect()
    }

    fn blank(&self) -> Arc<Data> {
        samples(&[vec![0; self.layers[0]]], &[0])
    }

    fn steps(&self) -> impl Iterator<Item = (Array2<f32>, Array2<f32>)> + '_ {
        self.inputs.iter().zip(&self.targets).map(|(input, target)| (row(input), row(target)))
    }
}

#[test]
fn float64_has_the_weights_and_spikes_of_the_oracle() {
    let fixture = fixture();
    for case in &fixture.cases {
        let plan = fixture.plan(case);
        let mut session = cpu_device(1).session_f64(&plan, 1, fixture.blank(), &fixture.weights()).expect("a session");
        session.put(&fixture.feedback(&plan));
        let spikes: Vec<_> = (0..fixture.layers.len() - 1).map(|l| plan.find("spike", l).expect("S")).collect();
        let mut counted = vec![0; spikes.len()];
        for (input, target) in fixture.steps() {
            session.step(&input, &target);
            for (count, slot) in counted.iter_mut().zip(&spikes) {
                *count += session.slot(*slot).expect("kept").iter().filter(|s| **s > 0.0).count() as u64;
            }
        }
        let name = format!("{} {}", case.sent_back, case.window);
        assert_eq!(counted, case.spikes, "{name}");
        let found = values(&session);
        assert_eq!(found.len(), case.weights.len());
        for (i, (a, b)) in found.iter().zip(&case.weights).enumerate() {
            assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{name}: weight {i} is {a}, and not {b}");
        }
    }
}

/// Float32 on both devices gives the same spikes, so that weights differ only by rounding, and repeats bit for bit.
#[test]
fn both_devices_fire_as_the_oracle_does() {
    let fixture = fixture();
    for case in &fixture.cases {
        let plan = fixture.plan(case);
        for device in [cpu(1), gpu()] {
            let resident = device.upload(&fixture.blank()).expect("upload");
            let run = || {
                let mut session = device.session(&plan, 1, &resident, &fixture.weights()).expect("a session");
                session.put(&fixture.feedback(&plan));
                for (input, target) in fixture.steps() {
                    session.step(&input, &target).expect("a step");
                }
                session.weights().expect("weights")
            };
            let name = format!("{} {} on {}", case.sent_back, case.window, device.kind());
            let found = run();
            assert!(found.bit_identical(&run()), "{name}: again");
            let numbers: Vec<f32> = found.values().collect();
            for (i, (a, b)) in numbers.iter().zip(&case.weights).enumerate() {
                assert!((f64::from(*a) - b).abs() < 2e-3, "{name}: weight {i} is {a}, and not {b}");
            }
            assert!(found.distance(&fixture.weights()) > 1.0, "{name}: the control");
        }
    }
}

#[test]
fn a_stream_has_batches_of_one_no_biases_and_no_other_optimiser() {
    let fixture = fixture();
    let plan = fixture.plan(&fixture.cases[0]);
    let device = cpu(1);
    let resident = device.upload(&fixture.blank()).expect("upload");
    let two = device.session(&plan, 2, &resident, &fixture.weights()).map(|_| ()).expect_err("refused");
    assert!(two.to_string().contains("must be 1; 2 given"), "{two}");
    let options = Options::new(Rule::SUPERSPIKE);
    assert!(options.plan(&fixture.network().with_bias(true)).expect_err("refused").to_string().contains("biases"));
    assert!(options.plan(&fixture.network().with_activation(Activation::Tanh)).is_err());
    assert!(Rule::named("superspike").is_none(), "it does not learn from images");
    // Everything that a synapse needs is at its ends, except the error over θᵀ, which is weight transport.
    let of = |way: &str| {
        let case = fixture.cases.iter().find(|case| case.sent_back == way).expect("a case");
        fixture.plan(case).properties()
    };
    assert!(of("symmetric").weight_transport.holds && !of("random").weight_transport.holds);
}
