//! The committed records of `zilch reproduce`: pages and figures in `docs` are generated from them, and other documents quote them.

use crate::repository::repository;
use std::collections::BTreeSet;
use std::path::PathBuf;
use zilch_lab::experiment::record_names;
use zilch_lab::experiments::figure3::Outcome;
use zilch_lab::experiments::{EXPERIMENTS, SONG_2020, named};
use zilch_lab::load;
use zilch_lab::paper::{page, summary};

fn read(name: &str) -> String {
    std::fs::read_to_string(repository().join(name)).expect(name)
}

fn results() -> PathBuf {
    repository().join("docs/results")
}

/// Every experiment of the list has a name and help. Its committed page and figures are those generated from its committed records.
#[test]
fn every_experiment_of_the_list_is_complete() {
    let mut names = BTreeSet::from(["all", "page"]);
    let (mut files, mut records) = (BTreeSet::new(), BTreeSet::new());
    for experiment in EXPERIMENTS {
        let name = experiment.name();
        assert!(names.insert(name), "two experiments are called {name}");
        assert!(named(name).is_some_and(|found| found.name() == name));
        assert!(!experiment.help().is_empty() && !experiment.help().ends_with('.'), "{name}: {}", experiment.help());
        assert!(experiment.seeds().is_none_or(|seeds| seeds.most > 0), "{name}");
        for record in record_names(*experiment) {
            assert!(records.insert(record.clone()), "two experiments write {record}.json");
        }
        let committed =
            record_names(*experiment).iter().any(|record| results().join(format!("{record}.json")).exists());
        assert!(committed, "{name}: no record is committed");
        let section = experiment.section(&results()).expect(name);
        assert_eq!(section.is_some(), SONG_2020.iter().any(|first| first.name() == name), "{name}");
        let Some(page) = experiment.page() else {
            assert!(section.is_some_and(|section| read("docs/results.md").contains(&section)), "{name} is on no page");
            continue;
        };
        assert!(files.insert(page.file), "two experiments write {}", page.file);
        let made = (page.make)(&results()).expect(name).expect("its records are committed");
        assert!(made.starts_with(page.title) && page.title.ends_with('\n'), "{name}");
        assert_eq!(
            read(&format!("docs/{}", page.file)),
            made,
            "regenerate it: zilch reproduce page --out docs/results"
        );
        let says =
            !made.contains('±') || made.contains("± is the sample standard deviation") || made.contains("One seed.");
        assert!(says, "{name}: the page does not say what ± is");
    }
    for experiment in EXPERIMENTS {
        for (name, svg) in experiment.figures(&results()).expect("figures") {
            assert_eq!(read(&format!("docs/results/{name}")), svg, "{name}");
        }
    }
    let first: Vec<&str> = EXPERIMENTS[..SONG_2020.len()].iter().map(|experiment| experiment.name()).collect();
    assert!(SONG_2020.iter().all(|one| first.contains(&one.name())), "what `all` runs is listed first: {first:?}");
}

/// The committed figure of growing times is drawn from the committed measurements.
#[test]
fn the_committed_growth_is_drawn_from_its_record() {
    let svg = zilch_lab::draw::growth::draw(&read("docs/performance/growth.json")).expect("a figure");
    assert_eq!(read("docs/performance/growth.svg"), svg, "draw it anew: cargo bench --bench growth -- --draw");
}

/// The committed records of the family have every rule with its current settings.
#[test]
fn the_committed_family_agrees_with_its_settings() {
    use zilch_lab::experiments::family::{ANCHORS, FIELD, Raw, probed};
    let record = load::<Raw>(&results(), "family").expect("family.json").expect("family.json");
    assert!(!record.quick && record.data == "mnist");
    let all = || record.results.anchors.iter().chain(&record.results.field);
    for (name, settings) in
        ANCHORS.iter().map(|a| (a.name, a.settings)).chain(FIELD.iter().map(|s| (s.rule, probed(s))))
    {
        let mine: Vec<_> = all().filter(|o| o.name == name).collect();
        assert!(!mine.is_empty(), "{name} is not in the record");
        assert!(mine.iter().all(|o| o.is_of(&settings)), "{name}: the record is of other settings");
    }
}

/// The committed page is generated from the committed JSON files, and the page on reproduced papers quotes it.
#[test]
fn the_committed_record_agrees_with_its_pages() {
    assert_eq!(
        read("docs/results.md"),
        page(&results()).expect("page"),
        "regenerate it: zilch reproduce page --out docs/results"
    );
    let outcomes = load::<Vec<Outcome>>(&results(), "figure3").expect("figure3.json").expect("figure3.json").results;
    assert_eq!(outcomes.len(), 522, "56 variants, their value-coordinate twin and BP, for 3 networks and 3 seeds");
    let summary = summary(&results()).expect("a summary");
    assert!(read("docs/reproduced-papers.md").contains(&summary), "docs/reproduced-papers.md must hold:\n{summary}");
}

/// The committed record of prospective configuration has every training of its grids, and the README quotes it.
#[test]
fn the_committed_grids_are_complete() {
    use zilch_lab::experiments::prospective::{Cell, GRIDS, Raw, one_at_a_time};
    let record = load::<Raw>(&results(), "prospective").expect("a record").expect("prospective.json");
    assert!(!record.quick && record.data == "fashion-mnist");
    for grid in GRIDS {
        for (at, rates) in (grid.rates)() {
            for lr in rates {
                let of = |rule: &str| {
                    let mine =
                        |c: &&Cell| (c.experiment.as_str(), c.rule.as_str(), c.at, c.lr) == (grid.name, rule, at, *lr);
                    record.results.cells.iter().filter(mine).count()
                };
                assert_eq!([of("pc"), of("bp")], [grid.seeds; 2], "{} {at} {lr}", grid.name);
            }
        }
    }
    let block = one_at_a_time(&results()).expect("the record").expect("prospective.json");
    // Its lines are as short as the others of the README.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&read("README.md")).contains(&words(&block)), "README.md must hold:\n{block}");
}

/// The committed records of the two benchmarks have their current settings.
#[test]
fn the_committed_benchmarks_agree_with_their_settings() {
    use zilch_lab::command::{command, same};
    use zilch_lab::experiments::{lenet, pcx};
    use zilch_lab::trial::Outcome;
    let runs = load::<Vec<pcx::Run>>(&results(), "pcx-mnist").expect("a record").expect("pcx-mnist.json");
    for method in pcx::METHODS.iter().filter(|m| m.data == "mnist") {
        let mine: Vec<_> = runs.results.iter().filter(|r| r.name == method.name).collect();
        let ours = command(&method.settings);
        assert!(!mine.is_empty() && mine.iter().all(|r| same(&r.command, &ours)), "{}", method.name);
    }
    for data in lenet::DATA {
        let name = format!("lenet-{data}");
        let runs = load::<Vec<Outcome>>(&results(), &name).expect("a record").expect(&name);
        for method in lenet::METHODS {
            let mine: Vec<_> = runs.results.iter().filter(|r| r.name == method.name).collect();
            let ours = method.settings(lenet::column(data));
            assert!(!mine.is_empty() && mine.iter().all(|r| r.is_of(&ours)), "{}", method.name);
        }
    }
}

/// In the committed record of identifying rules the control is exact, and the accuracies are far from chance.
#[test]
fn the_committed_forests_are_at_chance_for_equal_rules() {
    use zilch_lab::experiments::identify::{CONTROL, KINDS, NETWORKS, Raw};
    let record = load::<Raw>(&results(), "identify").expect("a record").expect("identify.json");
    let r = &record.results;
    assert!(!record.quick && r.specimens.len() as u64 == NETWORKS * (KINDS.len() as u64 + 1));
    assert!(r.control.layers.iter().chain(&r.control.networks).all(|share| *share == 0.5), "{:?}", r.control);
    assert!(r.accuracies[0].layers.iter().all(|share| *share > 0.5), "{:?}", r.accuracies[0]);
    let leak = r.leak.layers.iter().sum::<f64>() / r.leak.layers.len() as f64;
    assert!((leak - 0.5).abs() < 0.15, "{:?}", r.leak);
    // Equal final weights also give equal test errors.
    for bp in r.specimens.iter().filter(|s| s.kind == KINDS[0].name) {
        let zil = r.specimens.iter().find(|s| s.kind == CONTROL.name && s.number == bp.number).expect("its twin");
        assert_eq!((bp.error, bp.lr, bp.hidden), (zil.error, zil.lr, zil.hidden), "{}", bp.number);
    }
}

/// In the committed record of spikes the error decreased.
#[test]
fn the_error_of_the_committed_spikes_decreases() {
    use zilch_lab::experiments::superspike::{Raw, WAYS};
    let record = load::<Raw>(&results(), "superspike").expect("a record").expect("superspike.json");
    assert!(!record.quick);
    for way in WAYS {
        let mut runs = record.results.runs.iter().filter(|run| run.way == way).peekable();
        assert!(runs.peek().is_some(), "{way}");
        assert!(runs.all(|run| run.errors.last() < run.errors.first()), "{way}");
    }
}
