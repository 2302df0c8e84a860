//! The four rules against an independent float64 program, `scripts/oracle.py`, whose results are
//! `fixtures/oracle.json`.

use crate::common::{cpu, cpu_device, gpu, net, pair};
use crate::float64::U;
use ndarray::{Array1, Array2};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Dataset};
use zilch::device::Device;
use zilch::{Activation, Coords, Network, Options, Plan, Rule, Schedule, Weights};

#[derive(Deserialize)]
struct Oracle {
    layers: Vec<usize>,
    batch: usize,
    alpha: f64,
    pixels: Vec<Vec<u8>>,
    labels: Vec<u8>,
    theta_256ths: Vec<Vec<Vec<i32>>>,
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
        let pixels: Vec<u8> = self.pixels.concat();
        let images = Array2::from_shape_vec((self.labels.len(), self.layers[0]), pixels).expect("pixels");
        let set = Dataset::new(Path::new("oracle"), images, self.labels.clone(), 1, self.layers[0]).expect("set");
        pair(set.clone(), set)
    }

    fn network(&self, case: &Case) -> Network {
        net(&self.layers, case.activation, case.bias)
    }

    fn weights(&self, case: &Case) -> Weights {
        let number = |k: &i32| *k as f32 / 256.0;
        let theta = self
            .theta_256ths
            .iter()
            .map(|rows| Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, j)| number(&rows[i][j])));
        let bias = self.bias_256ths.iter().filter(|_| case.bias);
        Weights { theta: theta.collect(), bias: bias.map(|b| b.iter().map(number).collect()).collect() }
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

    /// How many roundings one after the other make a weight: over 3 updates, every moment of the plan,
    /// a sum as long as the widest layer and the five operations around it. They are as good as independent,
    /// so that N of them add up to about √N.
    fn roundings(&self, plan: &Plan) -> f64 {
        let widest = plan.populations.iter().map(|layer| layer.n).max().unwrap_or(0);
        3.0 * plan.moments.len() as f64 * (widest + 5) as f64
    }
}

/// The largest difference, relative to the largest weight.
fn off(got: impl Iterator<Item = f64>, want: &[f64]) -> f64 {
    let got: Vec<f64> = got.collect();
    assert_eq!(got.len(), want.len());
    let size = want.iter().fold(0.0, |m: f64, w| m.max(w.abs()));
    got.iter().zip(want).fold(0.0, |m: f64, (g, w)| m.max((g - w).abs())) / size
}

#[test]
fn float64_agrees_to_1e_12() {
    let oracle = Oracle::read();
    let (mut worst, mut plans) = (0.0f64, 0);
    for case in &oracle.cases {
        for plan in oracle.plans(case) {
            let (data, weights) = (oracle.data(), oracle.weights(case));
            let mut session = cpu_device(1).session_f64(&plan, oracle.batch, data, &weights).expect("session");
            for (order, want) in [([0, 1, 2].as_slice(), &case.after_1), (&[3, 4, 5, 6, 7, 8], &case.after_3)] {
                session.run(order);
                let (theta, bias): (Vec<Array2<f64>>, Vec<Array1<f64>>) = session.weights_f64();
                let values = theta.iter().enumerate().flat_map(|(i, theta)| {
                    theta.iter().copied().chain(bias.get(i).into_iter().flat_map(|b| b.iter().copied()))
                });
                let off = off(values, want);
                worst = worst.max(off);
                assert!(off < 1e-12, "{}: off by {off:e}", case.name(&plan));
            }
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
            let mut session = device.session(&plan, oracle.batch, &resident, &oracle.weights(case)).expect("session");
            let bound = case.roundings(&plan).sqrt() * U;
            for (order, want) in [([0, 1, 2].as_slice(), &case.after_1), (&[3, 4, 5, 6, 7, 8], &case.after_3)] {
                session.run(order).expect("run");
                let off = off(session.weights().expect("weights").values().map(f64::from), want);
                worst = worst.max(off / bound);
                assert!(off < bound, "{} {}: off by {off:e}, bound {bound:e}", device.kind(), case.name(&plan));
            }
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
