//! A true check of devices: one update by BP and one by Z-IL.

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

/// What one device made of the check.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// `cpu`, or the adapter's name.
    pub device: String,
    /// Whether an update by Z-IL left the bits of one by BP.
    pub same_bits: Option<bool>,
    /// The largest difference of a weight from the CPU's after that update, relative to the largest weight.
    pub off: Option<f64>,
    /// What that may be at most.
    pub allowed: f64,
    /// Seconds that it took, the device's opening among them.
    pub seconds: f64,
    /// Why the device could not be checked, if so.
    pub failure: Option<String>,
}

impl Checked {
    /// Whether all is as it should be.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none() && self.same_bits == Some(true) && self.off.is_some_and(|off| off <= self.allowed)
    }
}

const LAYERS: &str = "784,32,32,10";
const BATCH: usize = 20;
/// Half the distance of 1 from the next float32.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Makes one update of 784-32-32-10 on the built-in digits by each rule, on the CPU and on each of these adapters, and holds Z-IL
/// to BP's bits, and every device to the CPU's numbers within their roundings. A device that does not answer within `patience` is
/// left to itself.
pub fn check(adapters: &[String], patience: Duration) -> Vec<Checked> {
    let mut expected = None;
    let mut names: Vec<&str> = vec!["cpu"];
    for name in adapters {
        // The same GPU by two drivers is opened by the first one.
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
                // N independent roundings come to about √N of them; both sides have theirs.
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
    /// How many roundings, one after the other, make a weight.
    roundings: f64,
}

/// In a thread of its own: a driver that hangs cannot be stopped, but it can be left.
fn within(patience: Duration, name: &str) -> Result<Updated> {
    let (tell, told) = mpsc::channel();
    let wanted = name.to_owned();
    let work = move || {
        // Nobody listens any more to what comes too late.
        let _ = tell.send(updated(&wanted));
    };
    let begun = memory::start("check", work);
    begun.map_err(|e| Error::usage(format!("cannot start a thread: {e}")))?;
    told.recv_timeout(patience).unwrap_or_else(|error| {
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
    // At every moment a sum as long as the widest layer, and five operations around it: see tests/numerics/oracle.rs.
    let roundings = zil.moments.len() as f64 * (widest + 5) as f64;
    Ok(Updated { bp: after(&plan(Rule::BP)?)?, zil: after(&zil)?, roundings })
}
