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
use zilch::{Options, Result, Rule};

/// The rule by which the weights predict, with its own options: as asked for, or as the run says that made them.
fn options(args: &EvalArgs) -> Result<Options> {
    if let Some(chosen) = &args.rule {
        return Ok(Options { own: chosen.own.clone(), ..Options::new(chosen.rule) });
    }
    let run = args.weights.parent().and_then(|dir| std::fs::read(dir.join(RUN_FILE)).ok());
    let run: Option<serde_json::Value> = run.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let settings = run.as_ref().and_then(|run| run.get("settings"));
    let rule = settings.and_then(|s| Rule::named(s.get("rule")?.as_str()?)).unwrap_or(Rule::BP);
    let mut options = Options::new(rule);
    for choice in rule.own {
        let said = settings.and_then(|s| s.get("own")?.get(choice.name)?.as_str());
        if let Some(text) = said {
            options.own.insert(choice.name.to_owned(), choice.read(text)?);
        }
    }
    Ok(options)
}

pub(crate) fn run(args: &EvalArgs) -> Result<Answer> {
    let (network, weights) = read_weights(&args.weights)?;
    let device = open(&args.device, args.threads, Precision::Float32)?;
    check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
    let data = Arc::new(Data::open(&args.data)?);
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
