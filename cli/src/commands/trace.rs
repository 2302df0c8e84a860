//! `zilch trace`

use super::args::{MNIST, TraceArgs};
use super::progress::say;
use super::table::table;
use super::{Answer, json};
use std::sync::Arc;
use zilch::data::Data;
use zilch::device::Device;
use zilch::files::write_text;
use zilch::measure::trace::Trace;
use zilch::network::read_weights_for;
use zilch::{Error, Options, Result, Weights};
use zilch_lab::draw::{Map, map};

pub(crate) fn run(args: &TraceArgs) -> Result<Answer> {
    // Errors in the options are found before the data are read, unless the network takes its size from them.
    let mut data = args.rule.follows_data().then(|| Data::read(&args.data, &args.reading.reading())).transpose()?;
    let network = args.rule.network(data.as_ref().map_or(MNIST, Data::ends))?;
    let options = Options { seed: args.seed, ..args.rule.options(&network)? };
    let plan = options.plan(&network)?;
    let data = Arc::new(data.take().map_or_else(|| Data::read(&args.data, &args.reading.reading()), Ok)?);
    data.fits(&network)?;
    let batch = args.rule.batch();
    if batch == 0 || batch > data.train.len() {
        return Err(Error::usage(format!(
            "--batch must lie in 1 to {}, the number of training samples; {} given",
            data.train.len(),
            batch
        )));
    }
    Device::open("cpu", Some(1))?.fits(&plan, batch, false)?;
    let weights = match &args.weights {
        Some(path) => read_weights_for(path, &network)?,
        None => Weights::drawn(&network, args.seed, args.rule.defaults().init),
    };
    let trace = Trace::new(&plan, batch, &data, &weights)?;
    if let Some(path) = &args.out {
        let Trace { title, eps, spikes, .. } = trace.clone();
        write_text(path, &map(&Map { title, cells: eps, spikes })?)?;
        say(&format!("drawn to {}", path.display()));
    }
    if args.json {
        return Ok(json(&trace)?.into());
    }
    let mut header = vec!["layer".to_owned()];
    header.extend(trace.moments.iter().map(|t| format!("t = {t}")));
    let rows: Vec<Vec<String>> = (0..network.predicting()).rev().map(|l| row(&trace, l)).collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut text = format!("{}\n\n{}", trace.title, table(&header, &rows, 1));
    text += "\nroot mean square of ε before x and θ change; · is exactly 0";
    text += if trace.spikes.is_some() { "; * marks layers whose φ fires\n" } else { "\n" };
    Ok(text.into())
}

fn row(trace: &Trace, l: usize) -> Vec<String> {
    let cell = |(t, eps): (usize, &f64)| {
        let size = if *eps == 0.0 { "·".to_owned() } else { format!("{eps:.1e}") };
        let fires = trace.spikes.as_ref().is_some_and(|s| s[l][t] > 0.0);
        if fires {
            format!("{size} *")
        } else if trace.spikes.is_some() {
            format!("{size}  ")
        } else {
            size
        }
    };
    [l.to_string()].into_iter().chain(trace.eps[l].iter().enumerate().map(cell)).collect()
}
