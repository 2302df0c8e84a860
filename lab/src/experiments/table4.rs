//! Table 4: milliseconds per weight update for each rule, on the CPU and on each GPU.
//!
//! The paper does not publish its network. Three documented networks are used instead. Each rule's time divided by BP's
//! is the quantity that can be compared with the paper.

use crate::experiment::Summary;
use crate::paper::{markdown, provenance, strings};
use crate::results::times;
use crate::{Checked, Context, Experiment, Folder, Record, Results, load};
use serde::{Deserialize, Serialize};
use std::path::Path;
use zilch::device::Device;
use zilch::error::{Error, Result};
use zilch::measure::compare::{Comparison, Measured};
use zilch::network::Network;
use zilch::rules::{Rule, Schedule};

/// The published times in milliseconds, on CPU and GPU, for BP, IL (t_c = 20), Z-IL and Fa-Z-IL.
pub const PAPER: [(&str, [f64; 4]); 2] = [("CPU", [3.1, 19.2, 3.6, 3.6]), ("GPU", [3.7, 56.3, 4.1, 4.2])];

/// The networks, input first, and their mini-batch sizes: the paper's MNIST network, a wide one, and the fully
/// connected layers of AlexNet for ImageNet.
pub const NETWORKS: [(&[usize], usize); 3] =
    [(&[784, 32, 32, 32, 10], 20), (&[784, 2048, 2048, 2048, 10], 256), (&[9216, 4096, 4096, 1000], 128)];

/// Time of one weight update.
#[derive(Debug)]
pub struct Table4;

impl Experiment for Table4 {
    fn name(&self) -> &'static str {
        "table4"
    }

    fn help(&self) -> &'static str {
        "Time of one weight update"
    }

    fn run(&self, context: &Context<'_>, folder: &Folder) -> Result<()> {
        folder.record(context, run(context)?)
    }

    fn section(&self, dir: &Path) -> Result<Option<String>> {
        Ok(load::<Vec<Timing>>(dir, "table4")?.map(|record| section(&record)))
    }

    fn summary(&self, dir: &Path) -> Result<Vec<Summary>> {
        let row = |record: Record<Vec<Timing>>| {
            let small = record.results.iter().find(|t| t.device == "cpu" && t.refused.is_none());
            let median = |rule: Rule| {
                let row = small.and_then(|t| t.rows.iter().find(|r| r.rule == rule));
                row.map_or(f64::NAN, |r| r.quartiles_us[1])
            };
            let ratio = median(Rule::ZIL) / median(Rule::BP);
            Summary {
                paper: "Song et al. 2020",
                what: "time of Z-IL ÷ BP on a CPU".into(),
                published: "1.16".into(),
                ours: format!("{ratio:.2}"),
                spread: "median".into(),
                verdict: if ratio <= 3.6 / 3.1 { "as published, or better" } else { "slower" }.into(),
            }
        };
        Ok(load(dir, "table4")?.map(row).into_iter().collect())
    }
}

/// The times of one network on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Layer sizes, input first.
    pub layers: Vec<usize>,
    /// Mini-batch size.
    pub batch: usize,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Processor or adapter.
    pub device_name: String,
    /// Driver, or threads and vector unit.
    pub driver: String,
    /// Whether the device is a software GPU.
    pub software: bool,
    /// The reason why nothing was measured, if the device refused the network.
    pub refused: Option<String>,
    /// One row per rule and schedule.
    pub rows: Vec<Row>,
}

/// The time of one rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// Its schedule.
    pub schedule: Schedule,
    /// Microseconds per update: first quartile, median, third quartile.
    pub quartiles_us: [f64; 3],
    /// Microseconds per update measured by the device's own clock.
    pub device_us: Option<f64>,
    /// The number of timed updates.
    pub updates: u64,
    /// Whether one update gave weights that are bitwise equal to BP's.
    pub bit_identical: bool,
}

impl From<&Measured> for Row {
    fn from(m: &Measured) -> Self {
        Row {
            rule: m.rule,
            schedule: m.schedule,
            quartiles_us: [m.q1_us, m.median_us, m.q3_us],
            device_us: m.device_median_us,
            updates: m.updates,
            bit_identical: m.divergence.bit_identical,
        }
    }
}

impl Results for Vec<Timing> {
    fn check(&self) -> Checked {
        let mut rows = self.iter().flat_map(|timing| &timing.rows);
        rows.try_for_each(|row| times("the time of an update", &row.quartiles_us))
    }
}

/// Times every network on the CPU and on every adapter. A software GPU times the smallest network only, because its
/// times do not represent GPUs and the large networks would take hours.
///
/// # Errors
/// Those of [`Comparison::run`], except for refusals by a device, which are recorded.
fn run(context: &Context<'_>) -> Result<Vec<Timing>> {
    let mut devices = vec![Device::open("cpu", Some(context.threads))?];
    let adapters = zilch::device::gpu::adapters();
    devices.extend(adapters.iter().filter_map(|a| Device::open(&a.name, None).ok()));
    let networks = if context.quick { &NETWORKS[..1] } else { &NETWORKS[..] };
    let total = networks.len() * devices.len();
    let mut timings = Vec::new();
    for (layers, batch) in networks {
        for device in &devices {
            (context.watch)(timings.len() as f64 / total as f64, &device.name());
            timings.push(time(context, layers, *batch, device)?);
        }
    }
    Ok(timings)
}

fn time(context: &Context<'_>, layers: &[usize], batch: usize, device: &Device) -> Result<Timing> {
    let comparison =
        Comparison { seconds: if context.quick { 0.2 } else { 5.0 }, ..Comparison::new(Network::new(layers)?, batch) };
    let small = layers == NETWORKS[0].0;
    let measured = if device.software() && !small {
        Err(Error::usage("not timed: a software adapter's time says nothing about GPUs"))
    } else {
        comparison.run(std::slice::from_ref(device), context.stop, &mut |_| ())
    };
    let (rows, refused) = match measured {
        Ok(measured) => (measured.iter().map(Row::from).collect(), None),
        Err(e @ (Error::Interrupted(_) | Error::Io { .. })) => return Err(e),
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    Ok(Timing {
        layers: layers.to_vec(),
        batch,
        device: device.kind().into(),
        device_name: device.name(),
        driver: device.driver(),
        software: device.software(),
        refused,
        rows,
    })
}

fn section(r: &Record<Vec<Timing>>) -> String {
    let mut text = format!(
        "\n## Table 4: time of one weight update\n{}\n\
         The paper's network is not published; only the ratio to BP can be compared. The paper, in ms: {}.\n\
         Z-IL's 1.16 × BP cannot be the full schedule, which needs lmax − 1 inference steps of every layer: it is the\n\
         cost of the frontier schedule. Medians, with quartiles; † marks a software adapter, whose time says nothing about GPUs.\n",
        provenance(r),
        PAPER
            .map(|(device, t)| {
                let ratios: Vec<String> = t.iter().map(|v| format!("{v} ({:.2})", v / t[0])).collect();
                format!("{device} {}", ratios.join(", "))
            })
            .join("; ")
    );
    for t in &r.results {
        let layers: Vec<String> = t.layers.iter().map(ToString::to_string).collect();
        let mark = if t.software { " †" } else { "" };
        text += &format!("\n{}, batch {} on {}{mark} ({})\n", layers.join("-"), t.batch, t.device_name, t.driver);
        if let Some(why) = &t.refused {
            text += &format!("\n{why}.\n");
            continue;
        }
        let bp = t.rows.iter().find(|row| row.rule == Rule::BP).map_or(1.0, |row| row.quartiles_us[1]);
        let rows = t.rows.iter().map(|row| {
            let [q1, median, q3] = row.quartiles_us.map(|us| format!("{:.4}", us / 1e3));
            let schedule = if row.rule == Rule::BP { "" } else { row.schedule.name() };
            vec![
                row.rule.title().into(),
                schedule.into(),
                format!("{median} [{q1}, {q3}]"),
                format!("{:.2}", row.quartiles_us[1] / bp),
                paper_ratio(t, row.rule, row.schedule),
                if row.bit_identical { "the same bits".into() } else { "other".into() },
            ]
        });
        let header = strings(&["rule", "schedule", "ms per update", "× BP", "paper's × BP", "update against BP's"]);
        text += &markdown(&header, &rows.collect::<Vec<_>>());
    }
    text
}

/// The published time divided by BP's, for the schedules that the paper can have used.
fn paper_ratio(t: &Timing, rule: Rule, schedule: Schedule) -> String {
    if schedule == Schedule::Full {
        return String::new();
    }
    let (_, paper) = PAPER[usize::from(t.device == "gpu")];
    let i = Rule::PAPER.iter().position(|r| *r == rule).unwrap_or(0);
    format!("{:.2}", paper[i] / paper[0])
}
