//! The four rules against an independent float64 program, `scripts/oracle.py`, whose results are
//! `fixtures/oracle.json`.

use crate::common::{cpu, gpu, net};
use crate::harness::{Matrix256, Trained, rounding, samples, weights};
use serde::Deserialize;
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::Device;
use zilch::{Activation, Coords, Network, Options, Plan, Rule, Schedule, Weights};

/// Samples, and the weights after they were shown.
type After<'a> = (&'a [u32], &'a [f64]);

#[derive(Deserialize)]
struct Oracle {
    layers: Vec<usize>,
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
    td: Option<u32>,
    activation: Activation,
    bias: bool,
    mean: bool,
    after_1: Vec<f64>,
    after_3: Vec<f64>,
}

impl Oracle {
    fn read() -> Oracle {
        serde_json::from_str(include_str!("../fixtures/oracle.json")).expect("fixture")
    }

    fn data(&self) -> Arc<Data> {
        samples(&self.pixels, &self.labels)
    }

    fn network(&self, case: &Case) -> Network {
        net(&self.layers, case.activation, case.bias)
    }

    fn trained<'a>(&self, name: &'a str, plan: &'a Plan, weights: &'a Weights, after: &'a [After<'a>]) -> Trained<'a> {
        Trained { name, plan, batch: self.batch, weights, kept: &[], after }
    }

    fn weights(&self, case: &Case) -> Weights {
        weights(&self.theta_256ths, &self.bias_256ths, case.bias)
    }

    /// Every plan that the case's numbers hold for: IL and Z-IL by both schedules, both coordinates.
    fn plans(&self, case: &Case) -> Vec<Plan> {
        let schedules = match case.rule.name() {
            "bp" => vec![None],
            "fazil" => vec![Some(Schedule::Full)],
            _ => vec![Some(Schedule::Full), Some(Schedule::Frontier)],
        };
        let mut plans = Vec::new();
        for schedule in schedules {
            for coords in [Coords::Error, Coords::Value] {
                let mut options = Options::new(case.rule);
                (options.schedule, options.coords) = (schedule, coords);
                (options.gamma, options.steps, options.mean) = (case.gamma, case.steps, case.mean);
                options.alpha = self.alpha;
                options.td = case.td.unwrap_or(4);
                plans.push(options.plan(&self.network(case)).expect("plan"));
            }
        }
        plans
    }
}

impl Case {
    fn name(&self, plan: &Plan) -> String {
        format!(
            "{} γ {:?} steps {:?} t_d {:?} {} bias {} mean {}, {}",
            self.rule.title(),
            self.gamma,
            self.steps,
            self.td,
            self.activation,
            self.bias,
            self.mean,
            plan.task.title
        )
    }

    /// What one update makes of the weights, and two more.
    fn after(&self) -> [After<'_>; 2] {
        [(&[0, 1, 2], &self.after_1), (&[3, 4, 5, 6, 7, 8], &self.after_3)]
    }
}

#[test]
fn float64_agrees_to_1e_12() {
    let oracle = Oracle::read();
    let (data, mut worst, mut plans) = (oracle.data(), 0.0f64, 0);
    for case in &oracle.cases {
        for plan in oracle.plans(case) {
            let (name, weights, after) = (case.name(&plan), oracle.weights(case), case.after());
            let (_, off) = oracle.trained(&name, &plan, &weights, &after).float64(&data, 1e-12);
            worst = worst.max(off);
            plans += 1;
        }
    }
    println!("{plans} plans, float64: off by {worst:.1e} at most");
    assert_eq!(plans, 4 * (2 + 2 * 4 + 2 * 4 + 2 * 2));
}

fn float32_agrees_within_its_roundings(device: &Device) {
    let oracle = Oracle::read();
    let resident = device.upload(&oracle.data()).expect("upload");
    let mut worst = 0.0f64;
    for case in &oracle.cases {
        for plan in oracle.plans(case) {
            let (name, weights, after) = (case.name(&plan), oracle.weights(case), case.after());
            let widest = plan.populations.iter().map(|layer| layer.n).max().unwrap_or(0);
            let trained = oracle.trained(&name, &plan, &weights, &after);
            worst = worst.max(trained.float32(device, &resident, rounding(&plan, widest)));
        }
    }
    println!("{}: at most {worst:.2} of the bound", device.kind());
}

#[test]
fn cpu_float32_agrees_within_its_roundings() {
    float32_agrees_within_its_roundings(&cpu(1));
}

#[test]
fn gpu_float32_agrees_within_its_roundings() {
    float32_agrees_within_its_roundings(&gpu());
}
