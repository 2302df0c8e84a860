//! The sweep of network sizes: the time of one weight update on the CPU and on a GPU over widths, depths and batch sizes, and the width
//! from which the GPU is faster.

use crate::device::Device;
use crate::error::{Error, Result};
use crate::measure::compare::{Comparison, MIN_ROUNDS, Measured};
use crate::network::Network;
use crate::rules::Options;
use std::sync::atomic::{AtomicBool, Ordering};

/// A size of which the fewest rounds would take this many times the measuring time is not measured.
const PATIENCE: f64 = 10.0;

/// The settings of a sweep.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// What each point compares: one rule, and the input and output layer of the network. `seconds` are those of a point.
    pub of: Comparison,
    /// Units of each hidden layer.
    pub widths: Vec<usize>,
    /// Numbers of hidden layers.
    pub depths: Vec<usize>,
    /// Batch sizes.
    pub batches: Vec<usize>,
}

/// The time of one weight update on a device, in microseconds: the median over rounds, and the quartiles.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Timing {
    /// First quartile.
    pub q1_us: f64,
    /// Median.
    pub median_us: f64,
    /// Third quartile.
    pub q3_us: f64,
}

impl From<&Measured> for Timing {
    fn from(of: &Measured) -> Timing {
        Timing { q1_us: of.q1_us, median_us: of.median_us, q3_us: of.q3_us }
    }
}

/// A point of the grid.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Point {
    /// Hidden layers.
    pub depth: usize,
    /// Units of each hidden layer.
    pub width: usize,
    /// Samples per weight update.
    pub batch: usize,
    /// The times on the CPU and on the GPU; `None` if the point was not measured.
    pub times: Option<[Timing; 2]>,
}

impl Point {
    /// The time on the CPU divided by the time on the GPU: of the medians, between the ratios of opposite quartiles. Above 1 the GPU is
    /// faster.
    pub fn ratio(&self) -> Option<[f64; 3]> {
        let [cpu, gpu] = self.times?;
        Some([cpu.q1_us / gpu.q3_us, cpu.median_us / gpu.median_us, cpu.q3_us / gpu.q1_us])
    }
}

/// Where the GPU overtakes the CPU among the widths of one depth and batch size.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "gpu_is_faster", content = "width")]
pub enum Overtaking {
    /// At every measured width, of which this is the smallest.
    Everywhere(usize),
    /// From about this width on, interpolated between two measured ones.
    From(usize),
    /// Not up to this width, the largest measured one.
    NotUpTo(usize),
    /// No width was measured.
    Unknown,
}

impl Overtaking {
    /// Finds it among points of one depth and batch size in the order of their widths. The GPU has to stay faster for all larger widths.
    pub fn of(points: &[&Point]) -> Overtaking {
        let ratios: Vec<(usize, f64)> = points.iter().filter_map(|p| Some((p.width, p.ratio()?[1]))).collect();
        let (Some(first), Some(last)) = (ratios.first(), ratios.last()) else { return Overtaking::Unknown };
        let slower = ratios.iter().rposition(|(_, ratio)| *ratio < 1.0);
        match slower.map(|at| (ratios[at], ratios.get(at + 1))) {
            None => Overtaking::Everywhere(first.0),
            Some((_, None)) => Overtaking::NotUpTo(last.0),
            Some((before, Some(after))) => Overtaking::From(crossing(before, *after)),
        }
    }
}

/// The width at which a power law through two points reaches the ratio 1.
fn crossing((narrow, low): (usize, f64), (wide, high): (usize, f64)) -> usize {
    let (from, to) = ((narrow as f64).ln(), (wide as f64).ln());
    let part = -low.ln() / (high.ln() - low.ln());
    (from + part * (to - from)).exp().round() as usize
}

/// A sweep that was measured, or interrupted in the middle.
#[derive(Debug)]
pub struct Swept {
    /// The points by depth, batch size and width. Those after an interruption are missing.
    pub points: Vec<Point>,
    /// [`Error::Interrupted`] if the sweep was interrupted.
    pub stopped: Option<Error>,
}

impl Sweep {
    /// Checks every point, measures them from the smallest network to the largest, and reports each one to `watch`.
    ///
    /// # Errors
    /// [`Error::Usage`] for an invalid grid; those of [`Comparison::run`].
    pub fn run(&self, [cpu, gpu]: [&Device; 2], stop: &AtomicBool, watch: &mut dyn FnMut(&str)) -> Result<Swept> {
        let devices = [cpu.clone(), gpu.clone()];
        let mut grid = self.grid()?;
        for (_, one, _) in &grid {
            let plan = one.plan()?;
            devices.iter().try_for_each(|device| device.fits(&plan, one.batch, false))?;
        }
        grid.sort_by_key(|(_, _, flops)| *flops);
        let (all, mut swept) = (grid.len(), Swept { points: Vec::new(), stopped: None });
        // The most operations per microsecond so far, on each device.
        let mut speed = [0.0f64; 2];
        for (i, (mut point, one, flops)) in grid.into_iter().enumerate() {
            let name = format!("{} of {all}: {}, batch {}", i + 1, one.network, one.batch);
            let slowest = speed.map(|speed| flops as f64 / speed / 1e6).into_iter().fold(0.0, f64::max);
            if speed[0] > 0.0 && slowest * MIN_ROUNDS as f64 > PATIENCE * self.of.seconds {
                watch(&format!("{name}: not measured, an update would take about {slowest:.1} s; raise --seconds"));
            } else {
                let measured = match one.run(&devices, stop, &mut |_| {}) {
                    Err(Error::Interrupted(_)) => break,
                    other => other?,
                };
                let [cpu, gpu] = &measured[..] else {
                    return Err(Error::usage("a sweep compares two devices by one rule with one schedule"));
                };
                speed = [(speed[0], cpu), (speed[1], gpu)].map(|(best, m)| best.max(flops as f64 / m.median_us));
                watch(&format!("{name}: CPU {:.0} µs, GPU {:.0} µs", cpu.median_us, gpu.median_us));
                point.times = Some([cpu.into(), gpu.into()]);
            }
            swept.points.push(point);
        }
        if stop.load(Ordering::Relaxed) {
            let done = swept.points.len();
            swept.stopped = Some(Error::Interrupted(format!("interrupted after {done} of {all} points")));
        }
        swept.points.sort_by_key(|point| (point.depth, point.batch, point.width));
        Ok(swept)
    }

    /// The points with their comparisons, and the operations of one update.
    fn grid(&self) -> Result<Vec<(Point, Comparison, u64)>> {
        let mut grid = Vec::new();
        for &depth in &self.depths {
            for &batch in &self.batches {
                for &width in &self.widths {
                    let one = self.comparison(depth, width, batch)?;
                    let flops = one.plan()?.cost(batch).flops;
                    grid.push((Point { depth, width, batch, times: None }, one, flops));
                }
            }
        }
        Ok(grid)
    }

    /// The comparison of a point.
    fn comparison(&self, depth: usize, width: usize, batch: usize) -> Result<Comparison> {
        let ends = &self.of.network;
        let mut layers = vec![width; depth + 2];
        (layers[0], layers[depth + 1]) = (ends.inputs(), ends.outputs());
        let mut network = Network::new(&layers)?.with_activation(ends.activation).with_bias(ends.bias);
        network.input_activation = ends.input_activation;
        let [rule] = self.of.rules[..] else {
            return Err(Error::usage("--sweep measures one rule; name one by --rules"));
        };
        let schedule = Some(self.of.schedule.unwrap_or_else(|| Options::new(rule).schedule()));
        // The time of a point is that of both devices together.
        Ok(Comparison { network, batch, schedule, seconds: self.of.seconds / 2.0, ..self.of.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(ratios: &[(usize, Option<f64>)]) -> Vec<Point> {
        let timing = |us| Timing { q1_us: us, median_us: us, q3_us: us };
        let of = |(width, ratio): &(usize, Option<f64>)| Point {
            depth: 1,
            width: *width,
            batch: 1,
            times: ratio.map(|ratio| [timing(ratio * 50.0), timing(50.0)]),
        };
        ratios.iter().map(of).collect()
    }

    #[test]
    fn the_gpu_overtakes_where_the_ratio_reaches_one() {
        let found = |ratios: &[(usize, Option<f64>)]| Overtaking::of(&points(ratios).iter().collect::<Vec<_>>());
        assert_eq!(found(&[(32, Some(1.5)), (64, Some(3.0))]), Overtaking::Everywhere(32));
        assert_eq!(found(&[(32, Some(0.25)), (512, Some(4.0)), (2048, None)]), Overtaking::From(128));
        assert_eq!(found(&[(32, Some(2.0)), (64, Some(0.5)), (256, Some(2.0))]), Overtaking::From(128));
        assert_eq!(found(&[(32, Some(0.1)), (64, Some(0.9)), (128, None)]), Overtaking::NotUpTo(64));
        assert_eq!(found(&[(32, None)]), Overtaking::Unknown);
    }

    #[test]
    fn the_ratio_lies_between_those_of_opposite_quartiles() {
        let cpu = Timing { q1_us: 8.0, median_us: 10.0, q3_us: 12.0 };
        let gpu = Timing { q1_us: 2.0, median_us: 4.0, q3_us: 8.0 };
        let point = Point { depth: 1, width: 2, batch: 3, times: Some([cpu, gpu]) };
        assert_eq!(point.ratio(), Some([1.0, 2.5, 6.0]));
    }
}
