//! `zilch doctor`

use super::args::DoctorArgs;
use super::progress::say;
use super::{Answer, json};
use crate::doctor::{Checked, Finding, Level, System, check, examine};
use serde_json::json;
use std::time::Duration;
use zilch::device::gpu::{AdapterSummary, TuneFile, adapters};
use zilch::files::counted;
use zilch::measure::host::Host;
use zilch::{Error, Result};

/// Time limit of the check of one device. It is long because the first compilation of a driver is slow.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &DoctorArgs) -> Result<Answer> {
    let host = Host::new(std::thread::available_parallelism().map_or(1, usize::from));
    let adapters = adapters();
    let mut findings = vec![cpu(&host)];
    findings.extend(examine(&System::here(), &adapters));
    findings.push(tune(&adapters));
    say("computing one update with BP and one with Z-IL on each device …");
    let names: Vec<String> = adapters.iter().map(|adapter| adapter.name.clone()).collect();
    let checks = check(&names, PATIENCE);
    let bad = |check: &&Checked| !check.is_ok();
    let problem = findings.iter().find(|f| f.level == Level::Problem).map(|f| format!("{}: {}", f.topic, f.found));
    let problem = checks.iter().find(bad).map(|c| format!("{}: {}", c.device, words(c))).or(problem);
    let text = if args.json {
        json(&json!({ "host": host, "findings": findings, "checks": checks, "ok": problem.is_none() }))?
    } else {
        report(&findings, &checks)
    };
    Ok(Answer { text, failure: problem.map(|problem| Error::NoDevice(format!("a device cannot be used. {problem}"))) })
}

fn cpu(host: &Host) -> Finding {
    let found = format!("{}, {}, {}", host.cpu, counted(host.cores, "thread"), host.simd);
    if ["AVX", "NEON", "Neon"].iter().any(|unit| host.simd.contains(unit)) {
        return Finding::ok("CPU", found);
    }
    Finding::new(Level::Note, "CPU", found, "the CPU device is slow without wide SIMD instructions")
}

/// The tune file: whether it can be read, and how many products it covers.
fn tune(adapters: &[AdapterSummary]) -> Finding {
    let topic = "tiles";
    match TuneFile::open() {
        Err(error) => {
            Finding::new(Level::Warning, topic, error.to_string(), "remove the file, or set ZILCH_TUNE to another path")
        }
        Ok(file) => match file.path() {
            None => Finding::ok(topic, "default tiles: there is no folder for a tune file"),
            Some(path) => {
                let measured: usize = adapters.iter().map(|adapter| file.holds(adapter)).sum();
                Finding::ok(topic, format!("{}: {measured} products measured on these adapters", path.display()))
            }
        },
    }
}

/// The result of a check in words.
fn words(check: &Checked) -> String {
    if let Some(failure) = &check.failure {
        return failure.clone();
    }
    let off = check.off.unwrap_or(f64::NAN);
    let bits =
        if check.same_bits == Some(true) { "Z-IL is bit-identical to BP" } else { "Z-IL is not bit-identical to BP" };
    let cpu = match off {
        0.0 => "equal to the CPU".to_owned(),
        _ if off <= check.allowed => format!("differs from the CPU by {off:.1e}, of {:.1e} allowed", check.allowed),
        _ => format!("differs from the CPU by {off:.1e}, more than the {:.1e} allowed", check.allowed),
    };
    format!("{bits}; {cpu}")
}

fn report(findings: &[Finding], checks: &[Checked]) -> String {
    let mut text = String::new();
    for Finding { level, topic, found, advice } in findings {
        text += &line(*level, topic, found);
        if !advice.is_empty() {
            text += &format!("{:<22}→ {advice}\n", "");
        }
    }
    for check in checks {
        let level = if check.is_ok() { Level::Ok } else { Level::Problem };
        text += &line(level, "check", &format!("{}: {}", check.device, words(check)));
        if !check.is_ok() {
            text += &format!(
                "{:<22}→ update its driver; if that does not help, use --device cpu and report the problem\n",
                ""
            );
        }
    }
    text
}

fn line(level: Level, topic: &str, found: &str) -> String {
    let level = match level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Warning => "warning",
        Level::Problem => "problem",
    };
    format!("{level:<8}  {topic:<11} {found}\n")
}
