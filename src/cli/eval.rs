//! `zilch eval`

use super::args::EvalArgs;
use super::table::energy;
use super::{Answer, check_threads, json, open};
use serde_json::json;
use std::slice;
use std::sync::Arc;
use zilch::data::{Data, Set};
use zilch::device::gpu::Precision;
use zilch::files::{RUN_FILE, read_weights};
use zilch::{Error, Options, Result, Rule};

/// The rule by which the weights predict, with its own options: as asked for, or as the run says that made them.
fn options(args: &EvalArgs) -> Result<Options> {
    let path = args.weights.with_file_name(RUN_FILE);
    let run: Option<serde_json::Value> = match std::fs::read(&path) {
        Ok(bytes) => {
            Some(serde_json::from_slice(&bytes).map_err(|e| Error::data(&path, format!("no record of a run: {e}")))?)
        }
        Err(_) => None,
    };
    let settings = run.as_ref().and_then(|run| run.get("settings"));
    let said = settings.and_then(|s| s.get("rule")?.as_str());
    let of_run = match said.map(|name| (name, Rule::named(name))) {
        Some((name, None)) => return Err(Error::data(&path, format!("there is no rule {name}"))),
        Some((_, rule)) => rule,
        None => None,
    };
    let chosen = args.rule.as_ref();
    let rule = chosen.map(|chosen| chosen.rule).or(of_run).unwrap_or(Rule::BP);
    let mut options = Options::new(rule);
    // The run's options are of its own rule.
    let settings = settings.filter(|_| of_run == Some(rule));
    for choice in rule.own {
        let said = settings.and_then(|s| s.get("own")?.get(choice.name)?.as_str());
        if let Some(text) = said {
            options.own.insert(choice.name.to_owned(), choice.read(text)?);
        }
    }
    options.own.extend(chosen.iter().flat_map(|chosen| chosen.own.clone()));
    Ok(options)
}

pub(crate) fn run(args: &EvalArgs) -> Result<Answer> {
    let (network, weights) = read_weights(&args.weights)?;
    let device = open(&args.device, args.threads, Precision::Float32)?;
    check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
    let data = Arc::new(args.subset.of(Data::open(&args.data)?)?);
    data.fits(&network)?;
    // Only what it predicts by is used.
    let options = options(args)?;
    let rule = options.rule;
    let plan = options.plan(&network)?;
    device.fits(&plan, 1, true)?;
    let mut session = device.session(&plan, 1, &device.upload(&data)?, &weights)?;
    let score = session.score(Set::Test)?;
    if args.json {
        let result = json!({
            "weights": args.weights.display().to_string(),
            "weights_sha256": weights.sha256(),
            "layers": network.input_first(),
            "activation": network.activation,
            "rule": rule,
            "data": data.name,
            "device": device.kind(),
            "device_name": device.name(),
            "driver": device.driver(),
            "software": device.software(),
            "samples": score.samples,
            "errors": score.errors,
            "test_error": score.error_rate(),
            "energy": score.mean_energy(),
        });
        return Ok(json(&result)?.into());
    }
    let (wrong, of) = (score.errors, score.samples);
    let text = format!(
        "{network} on {} with {}\ntest error  {:.2} % ({wrong} of {of})\nenergy      {} a sample\n",
        data.name,
        device.name(),
        100.0 * score.error_rate(),
        energy(score.mean_energy())
    );
    Ok(text.into())
}
