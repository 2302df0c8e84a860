//! The check of devices: one update with BP and one with Z-IL.

use serde::Serialize;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use zilch::data::{DIGITS, Data};
use zilch::device::Device;
use zilch::error::{Error, Result};
use zilch::memory;
use zilch::network::{Network, Weights};
use zilch::plan::Plan;
use zilch::rules::Options;
use zilch::rules::Rule;

/// The result of the check on one device.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// `cpu`, or the adapter's name.
    pub device: String,
    /// Whether the weights after one update with Z-IL are bit-identical to those with BP.
    pub same_bits: Option<bool>,
    /// The largest difference of a weight between this device and the CPU after that update, relative to the largest
    /// weight.
    pub off: Option<f64>,
    /// The bound on `off` from rounding errors.
    pub allowed: f64,
    /// The time in seconds, including opening the device.
    pub seconds: f64,
    /// Why the device could not be checked; none if it was.
    pub failure: Option<String>,
}

impl Checked {
    /// Whether the device passed.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none() && self.same_bits == Some(true) && self.off.is_some_and(|off| off <= self.allowed)
    }
}

const LAYERS: &str = "784,32,32,10";
const BATCH: usize = 20;
/// The unit roundoff of float32: half the distance from 1 to the next number.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Computes one update of 784-32-32-10 on the built-in digits with BP and with Z-IL, on the CPU and on each of these adapters. The
/// weights of Z-IL must be bit-identical to those of BP, and those of every device must equal the CPU's within rounding error. A device
/// that does not answer within `patience` fails, and its thread is abandoned.
pub fn check(adapters: &[String], patience: Duration) -> Vec<Checked> {
    let mut expected = None;
    let mut names: Vec<&str> = vec!["cpu"];
    for name in adapters {
        // A GPU with two drivers appears twice by the same name; opening by name always selects the first driver.
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let mut all = Vec::new();
    for name in names {
        let start = Instant::now();
        let mut checked =
            Checked { device: name.to_owned(), same_bits: None, off: None, allowed: 0.0, seconds: 0.0, failure: None };
        match within(patience, name) {
            Ok(Updated { bp, zil, roundings }) => {
                let reference = expected.get_or_insert_with(|| bp.clone());
                let (difference, largest) = bp.max_abs_difference(reference);
                checked.same_bits = Some(bp.bit_identical(&zil));
                checked.off = Some(difference / largest);
                // The sum of N independent rounding errors is about √N times a single error. The factor 2 accounts for
                // the errors of both devices.
                checked.allowed = 2.0 * roundings.sqrt() * U;
            }
            Err(error) => checked.failure = Some(error.to_string()),
        }
        checked.seconds = start.elapsed().as_secs_f64();
        all.push(checked);
    }
    all
}

/// Weights after one update by each rule.
struct Updated {
    bp: Weights,
    zil: Weights,
    /// The length of the longest chain of roundings that leads to a weight.
    roundings: f64,
}

/// Computes the updates in a new thread: a driver that hangs cannot be stopped, but its thread can be abandoned.
fn within(patience: Duration, name: &str) -> Result<Updated> {
    let (sender, receiver) = mpsc::channel();
    let wanted = name.to_owned();
    let work = move || {
        // The receiver has been dropped if the result is too late.
        let _ = sender.send(updated(&wanted));
    };
    let started = memory::start("check", work);
    started.map_err(|e| Error::usage(format!("cannot start a thread: {e}")))?;
    receiver.recv_timeout(patience).unwrap_or_else(|error| {
        Err(Error::Gpu(match error {
            mpsc::RecvTimeoutError::Timeout => format!("no answer within {} s", patience.as_secs()),
            mpsc::RecvTimeoutError::Disconnected => "its driver failed".into(),
        }))
    })
}

fn updated(name: &str) -> Result<Updated> {
    let device = Device::open(name, None)?;
    let network = Network::parse(LAYERS)?;
    let data = Arc::new(Data::open(DIGITS)?);
    let resident = device.upload(&data)?;
    let start = Weights::init(&network, 0);
    let order: Vec<u32> = (0..BATCH as u32).collect();
    let plan = |rule| Options { alpha: 0.01, ..Options::new(rule) }.plan(&network);
    let after = |plan: &Plan| {
        let mut session = device.session(plan, BATCH, &resident, &start)?;
        session.run(&order)?;
        session.weights()
    };
    let zil = plan(Rule::ZIL)?;
    let widest = (0..=network.lmax()).map(|l| network.n(l)).max().unwrap_or(0);
    // Every step computes a sum as long as the widest layer, and five operations on it: see tests/numerics/oracle.rs.
    let roundings = zil.moments.len() as f64 * (widest + 5) as f64;
    Ok(Updated { bp: after(&plan(Rule::BP)?)?, zil: after(&zil)?, roundings })
}
