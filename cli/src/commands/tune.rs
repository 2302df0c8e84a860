//! `zilch tune`

use super::args::TuneArgs;
use super::progress::say;
use super::table::{table, time};
use super::{Answer, json, stop_flag};
use serde_json::{Value, json};
use zilch::device::Device;
use zilch::device::gpu::{GpuDevice, Measured, TuneFile, Tuned};
use zilch::measure::tune::Tuning;
use zilch::network::read_layers;
use zilch::{Error, Result};

pub(crate) fn run(args: &TuneArgs) -> Result<Answer> {
    let network = read_layers(&args.layers)?.with_activation(args.activation);
    let tuning = Tuning { network, batch: args.batch, seconds: args.seconds };
    tuning.check()?;
    let device = Device::open(&args.device, None)?;
    let Some(gpu) = device.as_gpu() else {
        return Err(Error::usage("tiles are a GPU's: --device takes gpu or part of an adapter's name"));
    };
    // Told before anything is measured, and not by writing over what is not ours.
    let mut file = TuneFile::open()?;
    file.check_place()?;
    let tuned = tuning.run(gpu, &stop_flag(), &mut say)?;
    // What was measured is shown even where it cannot be kept.
    let failure = file.remember(gpu.summary(), &tuned).err();
    let kept = failure.is_none();
    let text = if args.json {
        json(&document(&tuning, gpu, &file, &tuned, kept))?
    } else {
        report(&tuning, gpu, &file, &tuned, kept)
    };
    Ok(Answer { text, failure })
}

fn document(tuning: &Tuning, gpu: &GpuDevice, file: &TuneFile, tuned: &[Tuned], kept: bool) -> Value {
    let network = &tuning.network;
    json!({
        "network": { "layers": network.told(), "batch": tuning.batch, "activation": network.activation },
        "device_name": gpu.summary().name,
        "driver": gpu.summary().full_driver(),
        "software": gpu.summary().software,
        "file": file.path().filter(|_| kept).map(|p| p.display().to_string()),
        "products": tuned.iter().map(product).collect::<Vec<_>>(),
    })
}

fn product(t: &Tuned) -> Value {
    json!({
        "shape": t.shape,
        "default": t.default,
        "winner": t.winner,
        "speedup": speedup(t, t.winner()),
        "tiles": t.tiles,
    })
}

/// How many times as fast as the default.
fn speedup(t: &Tuned, tile: &Measured) -> f64 {
    t.default().median_us / tile.median_us
}

fn report(tuning: &Tuning, gpu: &GpuDevice, file: &TuneFile, tuned: &[Tuned], kept: bool) -> String {
    let summary = gpu.summary();
    let mut text = format!(
        "the matrix products of {}, batch {}, {}\n{} · {}\n\n",
        tuning.network,
        tuning.batch,
        tuning.network.activation,
        summary.name,
        summary.full_driver()
    );
    let rows: Vec<Vec<String>> = tuned.iter().flat_map(rows).collect();
    text += &table(&["product", "tile", "", "time", "quartiles", "GFLOP/s", "× default"], &rows, 3);
    if let Some(path) = file.path() {
        let changed = tuned.iter().filter(|t| t.winner != t.default).count();
        text += &format!(
            "\n{changed} of {} products are faster by another tile than the default. {} in {}\n",
            tuned.len(),
            if kept { "Remembered" } else { "Not remembered" },
            path.display()
        );
    }
    if summary.software {
        text += "this device is a program that imitates a GPU on the CPU: its times say nothing about GPUs\n";
    }
    text
}

/// One product: a row a tile.
fn rows(t: &Tuned) -> Vec<Vec<String>> {
    let row = |(i, m): (usize, &Measured)| {
        let role = match (m.tile == t.winner, m.tile == t.default) {
            (true, true) => "default, stays",
            (true, false) => "winner",
            (false, true) => "default",
            (false, false) => "",
        };
        vec![
            if i == 0 { t.shape.to_string() } else { String::new() },
            m.tile.clone(),
            role.into(),
            time(m.median_us),
            format!("{}–{}", time(m.q1_us), time(m.q3_us)),
            format!("{:.1}", t.shape.flops() as f64 / m.median_us / 1e3),
            format!("{:.2}", speedup(t, m)),
        ]
    };
    t.tiles.iter().enumerate().map(row).collect()
}
