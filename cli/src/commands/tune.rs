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
        return Err(Error::usage("only GPUs have tiles: --device takes gpu or part of an adapter's name"));
    };
    // These checks precede the measurement: the file must be writable, and a file that is not a tune file is never
    // replaced.
    let mut file = TuneFile::open()?;
    file.check_place()?;
    let tuned = tuning.run(gpu, &stop_flag(), &mut say)?;
    // The measurements are printed even if they cannot be stored.
    let failure = file.remember(gpu.summary(), &tuned).err();
    let stored = failure.is_none();
    let text = if args.json {
        json(&document(&tuning, gpu, &file, &tuned, stored))?
    } else {
        report(&tuning, gpu, &file, &tuned, stored)
    };
    Ok(Answer { text, failure })
}

fn document(tuning: &Tuning, gpu: &GpuDevice, file: &TuneFile, tuned: &[Tuned], stored: bool) -> Value {
    let network = &tuning.network;
    json!({
        "network": { "layers": network.to_json(), "batch": tuning.batch, "activation": network.activation },
        "device_name": gpu.summary().name,
        "driver": gpu.summary().full_driver(),
        "software": gpu.summary().software,
        "file": file.path().filter(|_| stored).map(|p| p.display().to_string()),
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

/// The speed relative to the default tile.
fn speedup(t: &Tuned, tile: &Measured) -> f64 {
    t.default().median_us / tile.median_us
}

fn report(tuning: &Tuning, gpu: &GpuDevice, file: &TuneFile, tuned: &[Tuned], stored: bool) -> String {
    let summary = gpu.summary();
    let mut text = format!(
        "matrix products of {}, batch {}, {}\n{} · {}\n\n",
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
            "\n{changed} of {} products are faster with another tile than the default. {} in {}\n",
            tuned.len(),
            if stored { "Stored" } else { "Not stored" },
            path.display()
        );
    }
    if summary.software {
        text += "this device emulates a GPU on the CPU: its times say nothing about GPUs\n";
    }
    text
}

/// The rows of one product, one per tile.
fn rows(t: &Tuned) -> Vec<Vec<String>> {
    let row = |(i, m): (usize, &Measured)| {
        let role = match (m.tile == t.winner, m.tile == t.default) {
            (true, true) => "default, chosen",
            (true, false) => "chosen",
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
