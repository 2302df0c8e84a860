//! `zilch eval`

use super::args::EvalArgs;
use super::table::energy;
use super::{Answer, check_threads, json, open};
use serde_json::json;
use std::slice;
use std::sync::Arc;
use zilch::data::{Data, Set};
use zilch::device::gpu::Precision;
use zilch::files::read_weights;
use zilch::{Options, Result, Rule};

pub(crate) fn run(args: &EvalArgs) -> Result<Answer> {
    let (network, weights) = read_weights(&args.weights)?;
    let device = open(&args.device, args.threads, Precision::Float32)?;
    check_threads(args.threads, slice::from_ref(&device), slice::from_ref(&args.device))?;
    let data = Arc::new(Data::open(&args.data)?);
    data.fits(&network)?;
    // A session of the simplest plan: only its forward pass is used.
    let plan = Options::new(Rule::BP).plan(&network)?;
    device.fits(&plan, 1, true)?;
    let mut session = device.session(&plan, 1, &device.upload(&data)?, &weights)?;
    let score = session.score(Set::Test)?;
    if args.json {
        let result = json!({
            "weights": args.weights.display().to_string(),
            "weights_sha256": weights.sha256(),
            "layers": network.input_first(),
            "activation": network.activation,
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
