//! The plot of many runs: test error and training energy over epochs, one colour per group.

use super::{Epoch, Group, Metric, Run, Status};
use zilch::error::{Error, Result};
use zilch::statistics::Statistics;
use zilch_lab::draw::{Curve, Kind, Over, Panel, Scale, Spread, figure};

/// The maximum number of groups in the legend.
const NAMED: usize = 40;
/// The maximum length of a name in the legend, in characters.
const LONGEST: usize = 90;

/// A quantity over epochs.
struct Quantity {
    title: &'static str,
    /// The runs that have it; `None`: all.
    metric: Option<Metric>,
    scale: Scale,
    value: fn(&Epoch) -> f64,
}

const QUANTITIES: [Quantity; 3] = [
    Quantity {
        title: "test error (%)",
        metric: Some(Metric::Fraction),
        scale: Scale::Linear,
        value: |epoch| 100.0 * epoch.test_error,
    },
    Quantity {
        title: "test mean squared error",
        metric: Some(Metric::Mse),
        scale: Scale::Linear,
        value: |epoch| epoch.test_error,
    },
    Quantity {
        title: "training energy per sample",
        metric: None,
        scale: Scale::Log,
        value: |epoch| epoch.train_energy,
    },
];

/// Test error and training energy over epochs, as SVG.
///
/// # Errors
/// [`Error::Usage`] if no run has finished an epoch.
pub fn picture(runs: &[Run], groups: &[Group]) -> Result<String> {
    if runs.iter().all(|run| run.epochs.is_empty()) {
        return Err(Error::usage("none of these runs has finished an epoch, so there are no curves to draw"));
    }
    figure(&panels(runs, groups), 2)
}

/// The panels of [`picture`]. A group of several runs is drawn as their mean and a band of one standard deviation, over
/// the epochs that all of them have, with the single runs as thin lines. On the logarithmic axis both are of the
/// logarithms. Diverged runs belong to no mean.
pub fn panels(runs: &[Run], groups: &[Group]) -> Vec<Panel> {
    let panel = |quantity: &Quantity| {
        let mut curves: Vec<Curve> = Vec::new();
        let of = |group: &Group| quantity.metric.is_none_or(|metric| runs[group.runs[0]].metric == metric);
        for (i, group) in groups.iter().enumerate().filter(|(_, group)| of(group)) {
            let name = if i < NAMED { line(group) } else { String::new() };
            curves.extend(of_group(quantity, (i, name), runs, group));
        }
        let mut notes = Vec::new();
        if groups.len() > NAMED {
            notes.push(format!("and {} more", groups.len() - NAMED));
        }
        if curves.iter().any(|curve| !curve.spread.is_empty()) {
            notes.push("band: mean ± sample SD over seeds".into());
        }
        Panel {
            title: String::new(),
            x: "epoch".into(),
            over: Over::Counted,
            y: quantity.title.into(),
            scale: quantity.scale,
            curves,
            notes,
        }
    };
    let has = |quantity: &&Quantity| quantity.metric.is_none_or(|metric| runs.iter().any(|run| run.metric == metric));
    QUANTITIES.iter().filter(has).map(panel).collect()
}

/// The curves of a group.
fn of_group(quantity: &Quantity, (i, name): (usize, String), runs: &[Run], group: &Group) -> Vec<Curve> {
    let points = |run: &Run| run.epochs.iter().map(|epoch| (epoch.epoch as f64, (quantity.value)(epoch))).collect();
    let kind = |run: &Run, other: Kind| if run.status() == Status::Diverged { Kind::Diverged } else { other };
    if let [run] = group.runs[..] {
        return vec![Curve { kind: kind(&runs[run], Kind::Normal), ..Curve::new(name, i, points(&runs[run])) }];
    }
    let members = group.runs.iter().map(|&run| &runs[run]);
    let mut curves: Vec<Curve> =
        members.clone().map(|run| Curve { kind: kind(run, Kind::Part), ..Curve::new("", i, points(run)) }).collect();
    let counted: Vec<&Run> = members.filter(|run| run.status() != Status::Diverged).collect();
    let epochs = counted.iter().map(|run| run.epochs.len()).min().unwrap_or(0);
    let log = quantity.scale == Scale::Log;
    let into = |v: f64| if log { v.ln() } else { v };
    let back = |v: f64| if log { v.exp() } else { v };
    let at = |e: usize| {
        let values: Vec<f64> = counted.iter().map(|run| into((quantity.value)(&run.epochs[e]))).collect();
        let found = Statistics::of(&values).filter(|s| s.mean.is_finite())?;
        let [low, high] = found.bar().map(back);
        Some((counted.first()?.epochs[e].epoch as f64, back(found.mean), low, high))
    };
    let means: Vec<(f64, f64, f64, f64)> = (0..epochs).filter_map(at).collect();
    let spread =
        if counted.len() > 1 { means.iter().map(|(x, _, low, high)| (*x, *low, *high)).collect() } else { Vec::new() };
    let mean = Curve::new(name, i, means.iter().map(|(x, mean, ..)| (*x, *mean)).collect());
    curves.push(Curve { spread, shown: Spread::Band, ..mean });
    curves
}

/// The name of a group in the legend.
fn line(group: &Group) -> String {
    let label = group.label();
    let short: String = label.chars().take(LONGEST).collect();
    let dots = if label.chars().nth(LONGEST).is_some() { "…" } else { "" };
    let times = if group.runs.len() > 1 { format!(" ({} runs)", group.runs.len()) } else { String::new() };
    short + dots + &times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::{State, group};
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn run(name: &str, epochs: &[(u64, f64, f64)]) -> Run {
        let epoch = |&(epoch, test_error, train_energy): &(u64, f64, f64)| Epoch { epoch, train_energy, test_error };
        Run {
            folder: PathBuf::from(name),
            settings: BTreeMap::from([("lr".into(), name.into())]),
            epochs: epochs.iter().map(epoch).collect(),
            metric: Metric::Fraction,
            updates: 1,
            seconds: 1.0,
            state: State::Finished,
            goes_on: false,
            date: None,
            arguments: Vec::new(),
            started_in: PathBuf::new(),
            chance: None,
        }
    }

    /// Regression: `zilch runs --out x.svg` did not terminate for a run.json with these values.
    #[test]
    fn curves_of_extreme_values_are_drawn() {
        let (huge, most, least) = (1e306, f64::MAX, 5e-324);
        for epochs in [
            &[][..],
            &[(1, f64::NAN, f64::NAN)],
            &[(1, 0.5, 2.0)],
            &[(1, 0.5, 2.0), (2, 0.5, 2.0)],
            &[(1, huge, huge), (2, -huge, huge)],
            &[(1, 1e308, 1e308), (2, -1e308, -1e308)],
            &[(1, most, most), (2, -most, least), (3, 0.0, 0.0)],
            &[(1, least, least), (2, -least, 2.0 * least)],
            &[(1, f64::INFINITY, f64::INFINITY), (u64::MAX, 0.5, 1.0)],
            &[(0, 0.5, 1.0), (u64::MAX, 0.25, 1.0), (u64::MAX - 1, 0.125, 1e-300)],
            &[(1, 1e14, 1e300), (2, 1e14 + 0.02, 1e-300)],
        ] {
            // Draws the run together with an ordinary run, and alone.
            let runs = [run("a", epochs), run("b", &[(1, 0.9, 3.0), (2, 0.25, 1.0)])];
            for runs in [&runs[..], &runs[..1]] {
                let drawn = picture(runs, &group(runs, &[]));
                if runs.iter().all(|run| run.epochs.is_empty()) {
                    assert!(drawn.is_err(), "nothing was drawn");
                    continue;
                }
                let svg = drawn.expect("a picture");
                assert!(svg.len() < 60_000 && !svg.contains("NaN") && !svg.contains("inf"), "{epochs:?}: {svg}");
            }
        }
    }

    /// The mean and the standard deviation over seeds, without the diverged run.
    #[test]
    fn groups_have_a_mean_and_a_band() {
        let mut runs = [
            run("a", &[(1, 0.2, 1.0), (2, 0.1, 0.01)]),
            run("a", &[(1, 0.4, 4.0), (2, 0.3, 1.0), (3, 0.2, 1.0)]),
            run("a", &[(1, 0.9, 1e9)]),
        ];
        runs[2].state = State::Stopped("training diverged: after update 7".into());
        let groups = group(&runs, &[]);
        let panels = panels(&runs, &groups);
        let curves = panels.iter().map(|panel| panel.curves.last().expect("the mean"));
        let [error, energy] = curves.collect::<Vec<_>>()[..] else { panic!("two panels") };
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
        let sd = 200f64.sqrt();
        assert!(error.points.iter().zip([30.0, 20.0]).all(|(p, mean)| close(p.1, mean)), "{:?}", error.points);
        assert!(error.spread.iter().zip([30.0, 20.0]).all(|(s, mean)| close(s.1, mean - sd) && close(s.2, mean + sd)));
        assert_eq!((error.points.len(), error.spread.len()), (2, 2), "only epochs that both have");
        assert!(energy.points.iter().zip([2.0, 0.1]).all(|(p, mean)| close(p.1, mean)), "{:?}", energy.points);
        let kinds: Vec<Kind> = panels[0].curves.iter().map(|curve| curve.kind).collect();
        assert_eq!(kinds, [Kind::Part, Kind::Part, Kind::Diverged, Kind::Normal]);
    }

    #[test]
    fn a_status_is_told_from_the_end_of_a_run() {
        let mut one = run("a", &[(1, 0.89, 1.0)]);
        let mut status = |layers: &str, chance: Option<f64>, state: State| {
            one.settings.insert("layers".into(), serde_json::from_str(layers).expect("JSON"));
            (one.chance, one.state) = (chance, state);
            one.status()
        };
        assert_eq!(status("[784,10]", Some(0.8865), State::Finished), Status::AtChance);
        assert_eq!(status("[784,10]", Some(0.95), State::Finished), Status::Finished);
        assert_eq!(status("[784,10]", None, State::Finished), Status::AtChance);
        assert_eq!(status("[\"28x28\",\"100\"]", None, State::Finished), Status::Finished);
        assert_eq!(status("[]", None, State::Finished), Status::Finished);
        let of = |error: Error| State::Stopped(error.to_string());
        let diverged = Error::Diverged { update: 1, layer: 1, of: "layer", what: "the weights", advice: String::new() };
        assert_eq!(status("[]", None, of(diverged)), Status::Diverged);
        assert_eq!(status("[]", None, of(Error::Interrupted("interrupted after 3".into()))), Status::Interrupted);
        assert_eq!(status("[]", None, of(Error::Gpu("lost".into()))), Status::Stopped);
    }
}
