//! `zilch compare`

mod sweep;

use super::args::CompareArgs;
use super::progress::say;
use super::table::{table, time};
use super::{Answer, check_threads, json, open, stop_flag};
use serde_json::json;
use zilch::device::{Device, check_batch};
use zilch::measure::compare::{Comparison, Measured};
use zilch::measure::host::Host;
use zilch::network::read_layers;
use zilch::{Error, Options, Result, Rule, Schedule};

pub(crate) fn run(args: &CompareArgs) -> Result<Answer> {
    let network = read_layers(&args.layers)?.with_activation(args.activation).with_bias(args.bias.unwrap_or(false));
    let sweeps = args.sweep.sweep;
    let usual = || if sweeps { vec![Rule::ZIL] } else { Rule::PAPER.to_vec() };
    let comparison = Comparison {
        rules: args.rules.clone().unwrap_or_else(usual),
        schedule: args.schedule,
        coords: args.coords,
        steps: args.steps,
        gamma: args.gamma,
        alpha: args.lr,
        mean: args.mean.unwrap_or(false),
        loss: args.loss,
        optimizer: args.optimizer,
        init: args.init,
        seconds: args.seconds.unwrap_or(if sweeps { 1.0 } else { 2.0 }),
        seed: args.seed,
        ..Comparison::new(network.clone(), args.batch)
    };
    check(&comparison)?;
    let devices = args.devices.iter().map(|d| open(d, args.threads, args.precision)).collect::<Result<Vec<_>>>()?;
    check_threads(args.threads, &devices, &args.devices)?;
    check_distinct(&devices)?;
    if sweeps {
        return sweep::run(args, comparison, &devices);
    }
    let results = comparison.run(&devices, &stop_flag(), &mut say)?;
    let cpu = devices.iter().find_map(|device| Some(device.as_cpu()?.threads()));
    let host = Host::new(cpu.unwrap_or(1));
    if args.json {
        let layers = network.to_json();
        let network = json!({ "layers": layers, "batch": args.batch, "activation": network.activation });
        return Ok(json(&json!({ "network": network, "host": host, "results": results }))?.into());
    }
    Ok(report(&comparison, &results).into())
}

/// Refuses a device that is named twice: it would be compared with itself.
fn check_distinct(devices: &[Device]) -> Result<()> {
    let twice = |(i, device): (usize, &Device)| devices[..i].iter().any(|d| d.name() == device.name());
    match devices.iter().enumerate().find(|at| twice(*at)) {
        Some((_, device)) => Err(Error::usage(format!("--devices names {} twice; once is enough", device.name()))),
        None => Ok(()),
    }
}

fn check(comparison: &Comparison) -> Result<()> {
    let Comparison { rules, steps, gamma, batch, seconds, .. } = comparison;
    if !(seconds.is_finite() && *seconds > 0.0 && *seconds <= 3600.0) {
        return Err(Error::usage(format!("--seconds must be positive and at most 3600; {seconds:?} given")));
    }
    for (name, given) in [("steps", steps.is_some()), ("gamma", gamma.is_some())] {
        if given && !rules.iter().any(|rule| rule.takes(name)) {
            return Err(Options::new(rules.first().copied().unwrap_or(Rule::BP)).refused(name));
        }
    }
    if let Some(i) = (1..rules.len()).find(|&i| rules[..i].contains(&rules[i])) {
        return Err(Error::usage(format!("--rules names {} twice; once is enough", rules[i].name())));
    }
    check_batch(*batch)
}

fn report(comparison: &Comparison, results: &[Measured]) -> String {
    let mut text = format!(
        "one weight update of {}, batch {}, {}\n",
        comparison.network, comparison.batch, comparison.network.activation
    );
    let mut names: Vec<&str> = Vec::new();
    for r in results {
        if !names.contains(&r.device_name.as_str()) {
            names.push(&r.device_name);
        }
    }
    for name in names {
        let rows: Vec<&Measured> = results.iter().filter(|r| r.device_name == name).collect();
        let first = rows[0];
        text += &format!("\n{} · {} · {}\n", first.device.to_uppercase(), name, first.driver);
        let bp = rows.iter().find(|r| r.rule == Rule::BP).map(|r| r.median_us);
        let cells: Vec<Vec<String>> = rows.iter().map(|r| row(r, bp)).collect();
        text += &table(
            &["rule", "schedule", "time", "quartiles", "device", "× BP", "GFLOP/s", "launches", "update against BP's"],
            &cells,
            2,
        );
        let per: Vec<String> = rows
            .iter()
            .filter_map(|r| r.updates_per_submission.map(|n| format!("{} {n:.0}", r.rule.title())))
            .collect();
        if !per.is_empty() {
            text += &format!("updates per submission: {}\n", per.join(", "));
        }
        let idle = |r: &&Measured| r.rule == Rule::FAZIL && r.schedule == Schedule::Full;
        if first.device == "cpu" && rows.iter().any(idle) {
            text += "Fa-Z-IL full: the CPU skips layers at rest; launches and GFLOP/s count the whole plan\n";
        }
        if first.software {
            text += "this device emulates a GPU on the CPU: its times say nothing about GPUs\n";
        }
    }
    text
}

fn row(r: &Measured, bp: Option<f64>) -> Vec<String> {
    let same = match (r.rule == Rule::BP, r.divergence.bit_identical) {
        (true, true) => "repeats bit for bit".into(),
        (_, true) => "bit-identical".into(),
        _ => format!("{:.1e} off", r.divergence.relative),
    };
    let schedule = if r.rule.takes("schedule") { r.schedule.name() } else { "" };
    vec![
        r.rule.title().into(),
        schedule.into(),
        time(r.median_us),
        format!("{}–{}", time(r.q1_us), time(r.q3_us)),
        r.device_median_us.map_or("–".into(), time),
        bp.map_or("–".into(), |bp| format!("{:.2}", r.median_us / bp)),
        format!("{:.1}", r.flop_per_update as f64 / r.median_us / 1e3),
        r.dispatches.to_string(),
        same,
    ]
}
