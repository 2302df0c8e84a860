//! The committed records of `zilch reproduce`: the pages and pictures in `docs` are what they make, and the README quotes them.

use crate::repository::repository;
use zilch_lab::figure3::Outcome;
use zilch_lab::page::{load, page, readme_block};

/// The committed museum is what the committed JSON files make, it has every rule as it is now, and the README has its table.
#[test]
fn the_committed_museum_agrees_with_its_records_and_the_readme() {
    use zilch_lab::family::{ANCHORS, FIELD, Family};
    use zilch_lab::museum::{field, museum};
    let root = repository();
    let results = root.join("docs/results");
    let committed = std::fs::read_to_string(root.join("docs/museum.md")).expect("docs/museum.md");
    let made = museum(&results).expect("museum").expect("family.json");
    assert_eq!(committed, made, "make it anew: zilch reproduce page --out docs/results");
    let record = load::<Family>(&results, "family").expect("family.json").expect("family.json");
    assert!(!record.quick && record.data == "mnist");
    let all = || record.results.anchors.iter().chain(&record.results.field);
    for (name, command) in
        ANCHORS.iter().map(|a| (a.name, a.command.to_owned())).chain(FIELD.iter().map(|e| (e.rule, e.whole())))
    {
        let mine: Vec<_> = all().filter(|o| o.name == name).collect();
        assert!(!mine.is_empty(), "{name} is not in the record");
        assert!(mine.iter().all(|o| o.command == command), "{name}: the record is of another command");
    }
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    assert!(
        readme.contains(&field(&record).expect("the table")),
        "README.md must hold the table of {}",
        "docs/museum.md"
    );
}

/// The committed page is what the committed JSON files make, and the README quotes them.
#[test]
fn the_committed_record_agrees_with_its_page_and_the_readme() {
    let root = repository();
    let results = root.join("docs/results");
    let committed = std::fs::read_to_string(root.join("docs/results.md")).expect("docs/results.md");
    assert_eq!(committed, page(&results).expect("page"), "make it anew: zilch reproduce page --out docs/results");
    let outcomes = load::<Vec<Outcome>>(&results, "figure3").expect("figure3.json").expect("figure3.json").results;
    assert_eq!(outcomes.len(), 522, "56 variants, their value-coordinate twin and BP, for 3 networks and 3 seeds");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let block = readme_block(&results).expect("block");
    assert!(readme.contains(&block), "README.md must hold these lines:\n{block}");
}

/// The committed pages of prospective configuration and of the benchmark are what the committed records make, of commands as they are now.
#[test]
fn the_committed_pages_of_settling_agree_with_their_records() {
    use zilch_lab::lenet;
    use zilch_lab::pcx::{METHODS, Run, pcx_page};
    use zilch_lab::piece::Outcome;
    use zilch_lab::prospective::{Cell, EXPERIMENTS, Prospective};
    use zilch_lab::prospective_page::{one_at_a_time, prospective_page, prospective_svg};
    let root = repository();
    let results = root.join("docs/results");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("committed");
    let made = prospective_page(&results).expect("a page").expect("prospective.json");
    assert_eq!(read("docs/prospective.md"), made, "make it anew: zilch reproduce page --out docs/results");
    assert_eq!(read("docs/pcx.md"), pcx_page(&results).expect("a page").expect("pcx-mnist.json"));
    let record = load::<Prospective>(&results, "prospective").expect("a record").expect("prospective.json");
    assert!(!record.quick && record.data == "fashion-mnist");
    for (name, svg) in prospective_svg(&record.results).expect("pictures") {
        assert_eq!(read(&format!("docs/results/{name}")), svg, "{name}");
    }
    for experiment in EXPERIMENTS {
        for (at, rates) in (experiment.grid)() {
            for lr in rates {
                let of = |rule: &str| {
                    let mine = |c: &&Cell| {
                        (c.experiment.as_str(), c.rule.as_str(), c.at, c.lr) == (experiment.name, rule, at, *lr)
                    };
                    record.results.cells.iter().filter(mine).count()
                };
                assert_eq!([of("pc"), of("bp")], [experiment.seeds; 2], "{} {at} {lr}", experiment.name);
            }
        }
    }
    let runs = load::<Vec<Run>>(&results, "pcx-mnist").expect("a record").expect("pcx-mnist.json");
    for method in METHODS.iter().filter(|m| m.data == "mnist") {
        let mine: Vec<_> = runs.results.iter().filter(|r| r.name == method.name).collect();
        assert!(!mine.is_empty() && mine.iter().all(|r| r.command == method.whole()), "{}", method.name);
    }
    for (column, data) in lenet::DATA.into_iter().enumerate() {
        let name = lenet::record_name(data);
        let runs = load::<Vec<Outcome>>(&results, &name).expect("a record").expect(&name);
        for method in lenet::METHODS {
            let mine: Vec<_> = runs.results.iter().filter(|r| r.name == method.name).collect();
            let whole = method.whole(Some(column));
            assert!(!mine.is_empty() && mine.iter().all(|r| r.command == whole), "{}", method.name);
        }
    }
    assert_eq!(read("docs/lenet.md"), lenet::lenet_page(&results).expect("a page").expect("lenet-mnist.json"));
    let readme = read("README.md");
    let block = one_at_a_time(&results).expect("the record").expect("prospective.json");
    assert!(readme.contains(&block), "README.md must hold:\n{block}");
}

/// The committed page of telling rules apart is what its record makes; the control is exact, and the others are far from chance.
#[test]
fn the_committed_page_of_telling_rules_apart_agrees_with_its_record() {
    use zilch_lab::identify::{CONTROL, Identify, KINDS, NETWORKS};
    use zilch_lab::identify_page::identify_page;
    let root = repository();
    let results = root.join("docs/results");
    let page = std::fs::read_to_string(root.join("docs/identify.md")).expect("committed");
    assert_eq!(page, identify_page(&results).expect("a page").expect("identify.json"));
    let record = load::<Identify>(&results, "identify").expect("a record").expect("identify.json");
    let r = &record.results;
    assert!(!record.quick && r.specimens.len() as u64 == NETWORKS * (KINDS.len() as u64 + 1));
    assert!(r.control.layers.iter().chain(&r.control.networks).all(|share| *share == 0.5), "{:?}", r.control);
    assert!(r.accuracies[0].layers.iter().all(|share| *share > 0.5), "{:?}", r.accuracies[0]);
    let leak = r.leak.layers.iter().sum::<f64>() / r.leak.layers.len() as f64;
    assert!((leak - 0.5).abs() < 0.15, "{:?}", r.leak);
    // What ends alike ends on the same test error, too.
    for bp in r.specimens.iter().filter(|s| s.kind == KINDS[0].name) {
        let zil = r.specimens.iter().find(|s| s.kind == CONTROL.name && s.number == bp.number).expect("its twin");
        assert_eq!((bp.error, bp.lr, bp.hidden), (zil.error, zil.lr, zil.hidden), "{}", bp.number);
    }
}

/// The committed page and pictures of spikes are what their record makes, and the error fell.
#[test]
fn the_committed_page_of_spikes_agrees_with_its_record() {
    use zilch_lab::superspike::{SuperSpike, WAYS, superspike_page, superspike_svg};
    let root = repository();
    let results = root.join("docs/results");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("committed");
    assert_eq!(read("docs/superspike.md"), superspike_page(&results).expect("a page").expect("superspike.json"));
    let record = load::<SuperSpike>(&results, "superspike").expect("a record").expect("superspike.json");
    assert!(!record.quick);
    for (name, svg) in superspike_svg(&record.results).expect("pictures") {
        assert_eq!(read(&format!("docs/results/{name}")), svg, "{name}");
    }
    for way in WAYS {
        let mut runs = record.results.runs.iter().filter(|run| run.way == way).peekable();
        assert!(runs.peek().is_some(), "{way}");
        assert!(runs.all(|run| run.errors.last() < run.errors.first()), "{way}");
    }
}
