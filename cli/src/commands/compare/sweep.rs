//! `zilch compare --sweep`

use super::super::args::{CompareArgs, SweepArgs};
use super::super::progress::say;
use super::super::table::{table, time};
use super::super::{Answer, json, stop_flag};
use serde_json::{Value, json};
use zilch::device::{Device, check_batch};
use zilch::files::{counted, write_text};
use zilch::measure::compare::Comparison;
use zilch::measure::host::Host;
use zilch::measure::sweep::{Overtaking, Point, Sweep, Swept};
use zilch::{Error, Result};
use zilch_lab::draw::sweep::{Figure, Panel, sweep};

/// The most points of a grid.
const MOST_POINTS: usize = 1000;
/// The most characters of a device's name in the picture.
const LONGEST_NAME: usize = 60;

pub(super) fn run(args: &CompareArgs, of: Comparison, devices: &[Device]) -> Result<Answer> {
    let pair = pair(devices)?;
    let grid = grid(&args.sweep, of)?;
    let points = grid.widths.len() * grid.depths.len() * grid.batches.len();
    say(&format!(
        "{}, {} s of measuring each, and some more for large networks",
        counted(points, "point"),
        grid.of.seconds
    ));
    let swept = grid.run(pair, &stop_flag(), &mut say)?;
    let lines = lines(&grid, &swept.points);
    let mut text = report(&grid, &swept, &lines, pair);
    if let (Some(path), None) = (&args.sweep.out, &swept.stopped) {
        write_text(path, &picture(&grid, &lines, pair)?)?;
        text += &format!("\ndrawn to {}\n", path.display());
    }
    if args.json {
        text = json(&document(&grid, &swept, &lines, pair))?;
    }
    Ok(Answer { text, failure: swept.stopped })
}

/// The CPU and the GPU.
fn pair(devices: &[Device]) -> Result<[&Device; 2]> {
    let of = |kind: &str| devices.iter().find(|device| device.kind() == kind);
    match (of("cpu"), of("gpu"), devices.len()) {
        (Some(cpu), Some(gpu), 2) => Ok([cpu, gpu]),
        _ => Err(Error::usage(
            "--sweep compares the CPU with one GPU: --devices cpu,gpu, or cpu and part of an adapter's name",
        )),
    }
}

/// The grid, sorted, and each value once.
fn grid(args: &SweepArgs, of: Comparison) -> Result<Sweep> {
    let read = |name: &str, values: &[usize]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        match values.first() {
            None | Some(0) => Err(Error::usage(format!("--{name} takes whole numbers from 1, as in --{name} 1,2,4"))),
            Some(_) => Ok(values),
        }
    };
    let [widths, depths] = [read("widths", &args.widths)?, read("depths", &args.depths)?];
    let grid = Sweep { of, widths, depths, batches: read("batches", &args.batches)? };
    check(&grid)?;
    Ok(grid)
}

fn check(grid: &Sweep) -> Result<()> {
    if grid.of.network.convolves() || grid.of.network.graph().is_some() {
        return Err(Error::usage(
            "--sweep varies the hidden layers of a chain of dense layers; give --layers of plain sizes",
        ));
    }
    let points = grid.widths.len().saturating_mul(grid.depths.len()).saturating_mul(grid.batches.len());
    if points > MOST_POINTS {
        return Err(Error::usage(format!("--sweep measures at most {MOST_POINTS} points; this grid has {points}")));
    }
    grid.batches.iter().try_for_each(|batch| check_batch(*batch))
}

/// The points of one depth and batch size, in the order of their widths.
struct Line<'a> {
    depth: usize,
    batch: usize,
    points: Vec<&'a Point>,
}

fn lines<'a>(grid: &Sweep, points: &'a [Point]) -> Vec<Line<'a>> {
    let of = |depth: usize, batch: usize| {
        let points = points.iter().filter(|p| (p.depth, p.batch) == (depth, batch)).collect();
        Line { depth, batch, points }
    };
    grid.depths.iter().flat_map(|&depth| grid.batches.iter().map(move |&batch| of(depth, batch))).collect()
}

/// What was measured, for the report and the picture.
fn title(grid: &Sweep) -> String {
    let Comparison { rules, network, .. } = &grid.of;
    let rule = rules.first().map_or("", |rule| rule.title());
    format!(
        "one weight update by {rule} of networks with {} inputs, {} outputs and {}",
        network.inputs(),
        network.outputs(),
        network.activation
    )
}

/// The warning about a software GPU.
fn warning(gpu: &Device) -> Option<String> {
    let name: String = gpu.name().chars().take(LONGEST_NAME).collect();
    gpu.software().then(|| format!("{name} is a software GPU: it runs on the CPU, and says nothing about real GPUs"))
}

fn report(grid: &Sweep, swept: &Swept, lines: &[Line<'_>], [cpu, gpu]: [&Device; 2]) -> String {
    let row = |point: &Point| {
        let mut row = vec![point.depth.to_string(), point.batch.to_string(), point.width.to_string()];
        let times = |i: usize| point.times.map(|times| times[i]);
        for timing in [times(0), times(1)] {
            row.push(timing.map_or("–".into(), |t| time(t.median_us)));
            row.push(timing.map_or("–".into(), |t| format!("{}–{}", time(t.q1_us), time(t.q3_us))));
        }
        row.push(point.ratio().map_or("–".into(), |[_, ratio, _]| three_digits(ratio)));
        row
    };
    let head = ["hidden layers", "batch", "width", "CPU", "quartiles", "GPU", "quartiles", "CPU ÷ GPU"];
    let mut text =
        format!("{}\nCPU  {} · {}\nGPU  {} · {}\n\n", title(grid), cpu.name(), cpu.driver(), gpu.name(), gpu.driver());
    text += &table(&head, &swept.points.iter().map(row).collect::<Vec<_>>(), 0);
    text.push('\n');
    for line in lines {
        let found = match Overtaking::of(&line.points) {
            Overtaking::Everywhere(width) => format!("the GPU is faster at every width from {width}"),
            Overtaking::From(width) => format!("the GPU is faster from a width of about {width}"),
            Overtaking::NotUpTo(width) => format!("the CPU is faster up to a width of {width}"),
            Overtaking::Unknown => "not measured".to_owned(),
        };
        text += &format!("{}, batch {}: {found}\n", counted(line.depth, "hidden layer"), line.batch);
    }
    if let Some(warning) = warning(gpu) {
        text += &format!("{warning}\n");
    }
    text
}

/// A ratio with about three significant digits.
fn three_digits(ratio: f64) -> String {
    let decimals = (2.0 - ratio.log10().floor()).clamp(0.0, 5.0);
    format!("{ratio:.*}", decimals as usize)
}

fn document(grid: &Sweep, swept: &Swept, lines: &[Line<'_>], [cpu, gpu]: [&Device; 2]) -> Value {
    let Comparison { rules, network, seconds, seed, .. } = &grid.of;
    let device = |of: &Device| json!({ "name": of.name(), "driver": of.driver(), "software": of.software() });
    let point = |point: &Point| {
        json!({
            "depth": point.depth,
            "batch": point.batch,
            "width": point.width,
            "cpu": point.times.map(|[cpu, _]| cpu),
            "gpu": point.times.map(|[_, gpu]| gpu),
            "cpu_over_gpu": point.ratio().map(|[low, median, high]| json!({ "low": low, "median": median, "high": high })),
        })
    };
    let line = |line: &Line<'_>| json!({ "depth": line.depth, "batch": line.batch, "overtaking": Overtaking::of(&line.points) });
    json!({
        "rule": rules.first(),
        "inputs": network.inputs(),
        "outputs": network.outputs(),
        "activation": network.activation,
        "bias": network.bias,
        "seconds_per_point": seconds,
        "seed": seed,
        "host": Host::new(cpu.as_cpu().map_or(1, |cpu| cpu.threads())),
        "cpu": device(cpu),
        "gpu": device(gpu),
        "points": swept.points.iter().map(point).collect::<Vec<_>>(),
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
        "stopped": swept.stopped.as_ref().map(ToString::to_string),
    })
}

fn picture(grid: &Sweep, lines: &[Line<'_>], [cpu, gpu]: [&Device; 2]) -> Result<String> {
    let short = |device: &Device| device.name().chars().take(LONGEST_NAME).collect::<String>();
    let panel = |depth: &usize| {
        let ratios = lines.iter().filter(|line| line.depth == *depth);
        let ratios = ratios.map(|line| line.points.iter().map(|point| point.ratio()).collect());
        Panel { title: counted(depth, "hidden layer"), ratios: ratios.collect() }
    };
    let curves: Vec<String> = grid.batches.iter().map(|batch| format!("batch {batch}")).collect();
    let panels: Vec<Panel> = grid.depths.iter().map(panel).collect();
    let threads = counted(cpu.as_cpu().map_or(1, |cpu| cpu.threads()), "thread");
    sweep(&Figure {
        title: &title(grid),
        devices: &format!("CPU: {}, {threads} · GPU: {}", short(cpu), short(gpu)),
        warning: warning(gpu).as_deref(),
        widths: &grid.widths,
        curves: &curves,
        panels: &panels,
    })
}

#[cfg(test)]
mod tests {
    use super::three_digits;

    #[test]
    fn ratios_have_three_digits() {
        let shown: Vec<String> = [0.00123456, 0.5, 1.0, 12.345, 4567.0].into_iter().map(three_digits).collect();
        assert_eq!(shown, ["0.00123", "0.500", "1.00", "12.3", "4567"]);
    }
}
