//! `zilch eval`

use super::args::EvalArgs;
use super::table::energy;
use super::{Answer, check_threads, json, open};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::slice;
use std::sync::Arc;
use zilch::data::tasks::Subset;
use zilch::data::{Data, Earlier, MADE, Preparation, Reading, Set};
use zilch::device::gpu::Precision;
use zilch::device::{BlockingSession, Usage};
use zilch::files::{Links, read_bounded, shown};
use zilch::network::read_weights;
use zilch::train::RUN_FILE;
use zilch::{Error, Network, Options, Result, Rule};

/// Whether `--data` names a built-in set.
fn is_made(data: &OsStr) -> bool {
    data.to_str().is_some_and(|name| MADE.contains(&name))
}

/// The largest size of a `run.json` in bytes.
const MOST_BYTES: u64 = 1 << 24;

/// The `run.json` in the folder of the weights, if there is one.
fn record(path: &Path) -> Result<Option<Value>> {
    let bytes = match read_bounded(path, MOST_BYTES, Links::Refused) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::data(path, format!("the run.json of these weights cannot be read: {error}"))),
    };
    let refuse =
        |e: serde_json::Error| Error::data(path, format!("this is not the record of a run: {}", shown(&e.to_string())));
    serde_json::from_slice(&bytes).map(Some).map_err(refuse)
}

/// The subset of the data from the arguments, else the one that the run was tested on.
fn subset(args: &EvalArgs, path: &Path, run: Option<&Value>) -> Result<Subset> {
    let asked = Subset { classes: args.classes.clone(), test_per_class: args.test_per_class, ..Subset::default() };
    let of_run = run.and_then(|run| run.get("settings")?.get("subset").filter(|subset| !subset.is_null()));
    match of_run {
        Some(subset) if asked.is_all() => {
            let subset = serde_json::from_value::<Subset>(subset.clone());
            subset.map_err(|e| Error::data(path, format!("its \"subset\" is invalid: {}", shown(&e.to_string()))))
        }
        _ => Ok(asked),
    }
}

/// How the data are read: from the arguments, else as for the run. The data of the run are split and scaled as they were; other data are
/// scaled likewise, and all of them are tested.
fn reading(args: &EvalArgs, path: &Path, run: Option<&Value>) -> Result<Reading> {
    let refuse = |what: &str, e: serde_json::Error| {
        Error::data(path, format!("its \"{what}\" is invalid: {}", shown(&e.to_string())))
    };
    let asked = args.reading.reading();
    let of_run = run.and_then(|run| run.get("settings")?.get("reading"));
    let mut reading = match of_run {
        Some(of_run) if asked.is_default() && !is_made(&args.data) => {
            Reading::deserialize(of_run).map_err(|e| refuse("reading", e))?
        }
        _ => asked,
    };
    if let Some(preparation) = run.and_then(|run| run.get("preparation")) {
        let preparation = Preparation::deserialize(preparation).map_err(|e| refuse("preparation", e))?;
        let sums = run.and_then(|run| run.get("settings")?.get("data_sha256"));
        let checksums = sums.map(BTreeMap::deserialize).transpose().map_err(|e| refuse("data_sha256", e))?;
        reading.earlier = Some(Earlier { checksums: checksums.unwrap_or_default(), preparation });
    }
    Ok(reading)
}

/// The rule that predicts, with its own options: from the arguments, else from the run, else a forward pass.
fn options(args: &EvalArgs, path: &Path, run: Option<&Value>) -> Result<Options> {
    let settings = run.and_then(|run| run.get("settings"));
    let recorded = settings.and_then(|s| s.get("rule")?.as_str());
    let of_run = match recorded.map(|name| (name, Rule::named(name))) {
        Some((name, None)) => return Err(Error::data(path, format!("there is no rule \"{}\"", shown(name)))),
        Some((_, rule)) => rule,
        None => None,
    };
    let chosen = args.rule.as_ref();
    let rule = chosen.map(|chosen| chosen.rule).or(of_run).unwrap_or(Rule::BP);
    let mut options = Options::new(rule);
    // The options in the run belong to its rule; they do not apply to another one.
    let settings = settings.filter(|_| of_run == Some(rule));
    for choice in rule.rule_options {
        let recorded = settings.and_then(|s| s.get("own")?.get(choice.name)?.as_str());
        if let Some(text) = recorded {
            let value = choice.read(text).map_err(|e| Error::data(path, e.to_string()))?;
            options.rule_options.insert(choice.name.to_owned(), value);
        }
    }
    options.rule_options.extend(chosen.iter().flat_map(|chosen| chosen.rule_options.clone()));
    Ok(options)
}

/// Refuses a rule that cannot predict with the network of the weights.
fn check_rule(rule: Rule, network: &Network) -> Result<()> {
    let differs = if let Some(fixed) = rule.activation.filter(|fixed| *fixed != network.activation) {
        format!("its units record {}, and these weights record {}", fixed.name(), network.activation.name())
    } else if rule.rates && network.targets.is_some() {
        "its outputs are rates, for which a label means 0 and 1, and these weights record other targets".to_owned()
    } else if network.convolves() && !rule.convolutions {
        "it has no convolutions".to_owned()
    } else if network.graph().is_some() && !rule.graphs {
        "it has no skips and no shared weights".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::usage(format!(
        "the rule {} cannot predict with the network {network} of these weights: {differs}; name the rule that trained them by --rule",
        rule.name()
    )))
}

pub(crate) fn run(args: &EvalArgs) -> Result<Answer> {
    let (network, weights) = read_weights(&args.weights)?;
    let device = open(&args.device, args.threads, Precision::Float32)?;
    check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
    let path = args.weights.with_file_name(RUN_FILE);
    let run = record(&path)?;
    let (subset, reading) = (subset(args, &path, run.as_ref())?, reading(args, &path, run.as_ref())?);
    let data = Data::read(&args.data, &reading)?;
    let data = Arc::new(if subset.is_all() { data } else { subset.of(&data)? });
    data.fits(&network)?;
    // Only the prediction of the rule is used; its learning options do not matter.
    let options = options(args, &path, run.as_ref())?;
    let rule = options.rule;
    check_rule(rule, &network)?;
    let plan = options.plan(&network)?;
    // The CPU session checks the free memory itself, when the weights are already allocated.
    let mut session = match device.as_cpu() {
        Some(cpu) => BlockingSession::from(cpu.session(&plan, 1, Arc::clone(&data), &weights)?),
        None => {
            let run = Usage { held: 4 * plan.parameters(), ..Usage::training(1) };
            device.compile(&plan, run)?.session(&device.upload(&data)?, &weights, run.held)?.into()
        }
    };
    let score = session.score(Set::Test)?;
    if args.json {
        let mut result = json!({
            "weights": args.weights.display().to_string(),
            "weights_sha256": weights.sha256(),
            "layers": network.to_json(),
            "activation": network.activation,
            "rule": rule,
            "data": data.name,
            "subset": Some(&subset).filter(|subset| !subset.is_all()),
            "device": device.kind(),
            "device_name": device.name(),
            "driver": device.driver(),
            "software": device.software(),
            "samples": score.samples,
            "errors": score.errors,
            "test_error": score.error_rate(),
            "energy": score.mean_energy(),
        });
        if let Some(r2) = score.r2() {
            (result["errors"], result["test_error"]) = (Value::Null, Value::Null);
            (result["test_mse"], result["test_r2"]) = (json!(score.error()), json!(r2));
        }
        return Ok(json(&result)?.into());
    }
    let (wrong, of) = (score.errors, score.samples);
    let tested = match score.r2() {
        None => format!("test error  {:.2} % ({wrong} of {of})", 100.0 * score.error_rate()),
        Some(r2) => format!("test MSE    {:.4} ({of} samples)\nR²          {r2:.4}", score.error()),
    };
    let text = format!(
        "{network} on {} with {}\n{tested}\nenergy      {} per sample\n",
        data.name,
        device.name(),
        energy(score.mean_energy())
    );
    Ok(text.into())
}
