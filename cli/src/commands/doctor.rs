//! `zilch doctor`

use super::args::DoctorArgs;
use super::progress::say;
use super::{Answer, json};
use crate::doctor::{Checked, Finding, Level, System, check, examine};
use serde_json::json;
use std::time::Duration;
use zilch::device::gpu::{AdapterSummary, TuneFile, adapters};
use zilch::measure::host::Host;
use zilch::{Error, Result};

/// How long a device may take for its check: a driver's first compilation is slow.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &DoctorArgs) -> Result<Answer> {
    let host = Host::new(std::thread::available_parallelism().map_or(1, usize::from));
    let adapters = adapters();
    let mut findings = vec![cpu(&host)];
    findings.extend(examine(&System::here(), &adapters));
    findings.push(tune(&adapters));
    say("one update by BP and one by Z-IL on each device …");
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
    let found = format!("{}, {} threads, {}", host.cpu, host.cores, host.simd);
    if ["AVX", "NEON", "Neon"].iter().any(|unit| host.simd.contains(unit)) {
        return Finding::ok("CPU", found);
    }
    Finding::new(Level::Note, "CPU", found, "without wide vector units the CPU device is slow")
}

/// The tune file: whether it is readable, and what it is worth.
fn tune(adapters: &[AdapterSummary]) -> Finding {
    let topic = "tiles";
    match TuneFile::open() {
        Err(error) => Finding::new(
            Level::Warning,
            topic,
            error.to_string(),
            "remove the file, or let ZILCH_TUNE name another one",
        ),
        Ok(file) => match file.path() {
            None => Finding::ok(topic, "by default: there is no folder for a tune file"),
            Some(path) => {
                let measured: usize = adapters.iter().map(|adapter| file.holds(adapter)).sum();
                Finding::ok(topic, format!("{}: {measured} products measured on these adapters", path.display()))
            }
        },
    }
}

/// What a check came to.
fn words(check: &Checked) -> String {
    if let Some(failure) = &check.failure {
        return failure.clone();
    }
    let off = check.off.unwrap_or(f64::NAN);
    let bits = if check.same_bits == Some(true) { "Z-IL has BP's bits" } else { "Z-IL has not BP's bits" };
    let cpu = match off {
        0.0 => "the CPU's numbers".to_owned(),
        _ if off <= check.allowed => format!("{off:.1e} off the CPU, of {:.1e} allowed", check.allowed),
        _ => format!("{off:.1e} off the CPU, more than the {:.1e} allowed", check.allowed),
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
            text += &format!("{:<22}→ update its driver; if that does not help, --device cpu, and tell us\n", "");
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
