//! Generates the section of the paper's page and its figures from the record only.

use super::{GAMMAS, Kind, MOMENTS, Outcome, SIGMAS, identical};
use crate::Record;
use crate::draw::{Curve, Over, Panel, Scale, figure};
use crate::experiment::Figure;
use crate::paper::{markdown, number, provenance, strings};
use crate::record::folder_name;
use std::path::Path;
use zilch::error::Result;
use zilch::rules::Coords;
use zilch::statistics::Statistics;

/// The results of one table cell over all seeds.
struct Cell {
    error: Statistics,
    /// `None` if a training overflowed.
    distance: Option<Statistics>,
    identical: bool,
    overflowed: usize,
}

fn cell(outcomes: &[Outcome], lmax: usize, kind: Kind) -> Option<Cell> {
    let of = |kind: Kind| outcomes.iter().filter(move |o| o.variant.lmax == lmax && o.variant.kind == kind);
    let errors: Vec<f64> = of(kind)
        .filter_map(|o| of(Kind::Bp).find(|b| b.variant.seed == o.variant.seed).map(|b| o.error_divergence(b)))
        .collect();
    let distances: Option<Vec<f64>> = of(kind).map(|o| o.distance).collect();
    Some(Cell {
        error: Statistics::of(&errors)?,
        distance: distances.and_then(|d| Statistics::of(&d)),
        identical: of(kind).all(|o| o.bit_identical),
        overflowed: of(kind).filter(|o| o.overflow.is_some()).count(),
    })
}

fn moment(t: Option<u32>, gamma: f64, coords: Coords) -> Kind {
    Kind::Moment { t, gamma, coords }
}

fn moment_names() -> Vec<String> {
    MOMENTS.iter().map(|t| t.map_or("l".into(), |t| t.to_string())).collect()
}

/// The two figures of Figure 3, C2 with C3 and C1: file names and SVG.
///
/// # Errors
/// [`zilch::Error::Usage`] when the drawing fails.
pub(super) fn figures(outcomes: &[Outcome]) -> Result<Vec<Figure>> {
    let curve = |i: usize, name: String, lmax: usize, kinds: &mut dyn Iterator<Item = Kind>, weights: bool| {
        let value =
            |kind: Kind| cell(outcomes, lmax, kind).and_then(|c| if weights { c.distance } else { Some(c.error) });
        let found: Vec<(f64, Option<Statistics>)> =
            kinds.enumerate().map(|(k, kind)| (k as f64, value(kind))).collect();
        // A training that overflowed has an infinite distance.
        let points = found.iter().map(|(x, s)| (*x, s.map_or(f64::INFINITY, |s| s.mean))).collect();
        let spread = found.iter().filter_map(|(x, s)| s.map(|s| (*x, s.min, s.max))).collect();
        Curve { spread, ..Curve::new(name, i, points) }
    };
    let (mut c2, mut c1) = (Vec::new(), Vec::new());
    let (names, sigmas) = (moment_names(), SIGMAS.map(|sigma| sigma.to_string()).to_vec());
    for weights in [false, true] {
        let y = if weights { "divergence of final weights" } else { "divergence of test error (share of images)" };
        let panel = |title: String, x: &str, names: &[String], curves| Panel {
            title,
            x: x.into(),
            over: Over::Names(names.to_vec()),
            y: y.into(),
            scale: Scale::Ends(DECADES),
            curves,
            notes: Vec::new(),
        };
        for lmax in 2..=4 {
            let curves = GAMMAS.iter().enumerate().map(|(i, g)| {
                let mut kinds = MOMENTS.iter().map(|t| moment(*t, *g, Coords::Error));
                curve(i, format!("γ = {g}"), lmax, &mut kinds, weights)
            });
            c2.push(panel(format!("C2, C3: lmax = {lmax}"), "t of the weight update", &names, curves.collect()));
        }
        let curves = (2..=4).enumerate().map(|(i, lmax)| {
            let mut kinds = SIGMAS.iter().map(|s| Kind::Noise { sigma: *s });
            curve(i, format!("lmax = {lmax}"), lmax, &mut kinds, weights)
        });
        c1.push(panel("C1".into(), "standard deviation σ of the noise", &sigmas, curves.collect()));
    }
    Ok(vec![("figure3-c2-c3.svg", figure(&c2, 3)?), ("figure3-c1.svg", figure(&c1, 2)?)])
}

/// The decades that the axes of divergences cover at most.
const DECADES: [i32; 2] = [-20, 4];

/// The section of a record.
pub(super) fn section(record: &Record<Vec<Outcome>>, dir: &Path) -> String {
    let folder = folder_name(dir);
    let pictures = format!(
        "\n![Divergence from BP against t and γ]({folder}/figure3-c2-c3.svg)\n\
         ![Divergence from BP against σ]({folder}/figure3-c1.svg)\n\
         \nPoints are means over seeds, bars reach from the smallest to the largest.\n"
    );
    found(record) + &pictures + &tables(&record.results)
}

/// A paragraph that summarises the results.
fn found(r: &Record<Vec<Outcome>>) -> String {
    let o = &r.results;
    let zero = |lmax| cell(o, lmax, moment(None, 1.0, Coords::Error));
    let exact = (2..=4).all(|l| zero(l).is_some_and(|c| c.identical));
    let [stray, _] = identical(o, false);
    let overflowed = o.iter().filter(|x| x.overflow.is_some()).count();
    let value = (2..=4).filter_map(|l| cell(o, l, moment(None, 1.0, Coords::Value)).and_then(|c| c.distance));
    let value: Vec<String> = value.map(|d| number(d.mean)).collect();
    let cpu: f64 = o.iter().map(|x| x.seconds).sum();
    format!(
        "\n## Figure 3: what C1, C2 and C3 are needed for\n{}\n\
         The paper: zero divergence only at t = l, γ = 1, σ = 0. {} trainings ({:.0} minutes of one thread in all), {}\n\
         of them overflowed (γ ≥ 5 or a large σ; they count as 90 % error and an infinite distance).\n\
         Found: at t = l, γ = 1, σ = 0 the weights are {} in error coordinates, after {} epochs;\n\
         elsewhere {stray} of the trainings end{} on BP's bits. In value coordinates, as the paper's own code computes,\n\
         the same setting ends {} away (lmax 2, 3, 4): rounding, which the paper's figure shows as zero.\n",
        provenance(r),
        o.len(),
        cpu / 60.0,
        overflowed,
        if exact { "**BP's, bit for bit**" } else { "**not BP's**" },
        o.first().map_or(0, |x| x.errors.len()),
        if stray == 1 { "s" } else { "" },
        value.join(", "),
    )
}

/// Tables of the divergences.
fn tables(o: &[Outcome]) -> String {
    let mut text = String::new();
    for lmax in 2..=4 {
        text += &format!("\nlmax = {lmax}: divergence of the test error (%) / of the weights\n");
        let mut header = strings(&["t"]);
        header.extend(GAMMAS.iter().map(|g| format!("γ = {g}")));
        let rows = MOMENTS.iter().zip(moment_names()).map(|(t, name)| {
            let cells = GAMMAS.iter().map(|g| show(cell(o, lmax, moment(*t, *g, Coords::Error))));
            std::iter::once(name).chain(cells).collect()
        });
        text += &markdown(&header, &rows.collect::<Vec<_>>());
    }
    text += "\nC1: divergence of the test error (%) / of the weights\n";
    let mut header = strings(&["σ"]);
    header.extend((2..=4).map(|l| format!("lmax = {l}")));
    let rows = SIGMAS.iter().map(|s| {
        let cells = (2..=4).map(|l| show(cell(o, l, Kind::Noise { sigma: *s })));
        std::iter::once(s.to_string()).chain(cells).collect()
    });
    text + &markdown(&header, &rows.collect::<Vec<_>>())
}

fn show(cell: Option<Cell>) -> String {
    let Some(c) = cell else { return "–".into() };
    let distance = c.distance.map_or("∞".into(), |d| number(d.mean));
    let overflowed = if c.overflowed > 0 { " †" } else { "" };
    format!("{} / {distance}{overflowed}", number(100.0 * c.error.mean))
}
