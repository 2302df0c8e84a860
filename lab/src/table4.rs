//! Table 4: milliseconds of one weight update under each rule, on the CPU and on each GPU.
//!
//! The paper's own network is not published. Three stated ones stand in for it; what can be compared with
//! the paper is each rule's time over BP's.

use super::results::times;
use super::{Checked, Context, Results};
use serde::{Deserialize, Serialize};
use zilch::device::Device;
use zilch::error::{Error, Result};
use zilch::measure::compare::{Comparison, Measured};
use zilch::network::Network;
use zilch::rules::{Coords, Rule};

/// What the paper's table says, in milliseconds: CPU and GPU, for BP, IL (t_c = 20), Z-IL and Fa-Z-IL.
pub const PAPER: [(&str, [f64; 4]); 2] = [("CPU", [3.1, 19.2, 3.6, 3.6]), ("GPU", [3.7, 56.3, 4.1, 4.2])];

/// The networks, input first, with their batch: the paper's MNIST network, a wide one, and the fully
/// connected head of AlexNet on ImageNet.
pub const NETWORKS: [(&[usize], usize); 3] =
    [(&[784, 32, 32, 32, 10], 20), (&[784, 2048, 2048, 2048, 10], 256), (&[9216, 4096, 4096, 1000], 128)];

/// One network on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Layer sizes, input first.
    pub layers: Vec<usize>,
    /// Samples of one update.
    pub batch: usize,
    /// `cpu` or `gpu`.
    pub device: String,
    /// Processor or adapter.
    pub device_name: String,
    /// Driver, or threads and vector unit.
    pub driver: String,
    /// Whether the device only imitates a GPU.
    pub software: bool,
    /// Why there is no time, if there is none.
    pub refused: Option<String>,
    /// A row a rule and schedule.
    pub rows: Vec<Row>,
}

/// One rule's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The rule.
    pub rule: Rule,
    /// Its schedule.
    pub schedule: zilch::rules::Schedule,
    /// Microseconds an update: first quartile, median, third quartile.
    pub quartiles_us: [f64; 3],
    /// Microseconds by the device's own clock.
    pub device_us: Option<f64>,
    /// Updates timed.
    pub updates: u64,
    /// Whether one update gave BP's weights, bit for bit.
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

/// Times every network on the CPU and on every adapter. A software adapter gets the smallest network
/// alone: its times say nothing about GPUs, and the large ones would take hours.
///
/// # Errors
/// Those of [`Comparison::run`], but for what a device refuses, which is recorded.
pub fn run(context: &Context<'_>) -> Result<Vec<Timing>> {
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
    let comparison = Comparison {
        network: Network::new(layers)?,
        batch,
        rules: Rule::PAPER.to_vec(),
        schedule: None,
        coords: Coords::Error,
        steps: None,
        seconds: if context.quick { 0.2 } else { 5.0 },
        seed: 0,
    };
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
