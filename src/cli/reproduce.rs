//! `zilch reproduce`

use super::args::{Experiment, ReproduceArgs};
use super::progress::Progress;
use super::{Answer, stop_flag};
use serde_json::json;
use std::sync::Arc;
use zilch::data::Data;
use zilch::reproduce::{Context, Folder, figure3};
use zilch::{Error, Result};

pub(crate) fn run(args: &ReproduceArgs) -> Result<Answer> {
    let Some(spec) = &args.data else {
        return Err(Error::usage(
            "reproduce needs --data DIR, a folder with the four files of the MNIST database (train-images-idx3-ubyte, \
             train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, plain or .gz), or --data digits \
             for the built-in synthetic set",
        ));
    };
    let data = Arc::new(Data::open(spec)?);
    let stop = stop_flag();
    let threads = args.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let progress = Progress::new(10_000, "‱");
    let watch = |part: f64, _: &str| progress.at((part * 10_000.0) as u64);
    let context = Context { data: Arc::clone(&data), quick: args.quick, threads, stop: &stop, watch: &watch };
    let identity = |name: &str| {
        let checksums: Vec<&String> = data.checksums.iter().map(|(_, sum)| sum).collect();
        json!({ "experiment": name, "quick": args.quick, "data_sha256": checksums })
    };
    if matches!(args.experiment, Experiment::Figure3 | Experiment::All) {
        let folder = Folder::open(&args.out.join("figure3"), &identity("figure3"))?;
        figure3::run(&context, &folder)?;
    }
    progress.done();
    Ok(String::new().into())
}
