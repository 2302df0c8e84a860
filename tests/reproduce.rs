//! `zilch reproduce`: the reduced run of everything, resuming, interrupting, refusing; and the committed record.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use zilch::rules::builder::Chain;
use zilch::data::Data;
use zilch::plan::{Op, Plan, Stage};
use zilch::rules::Phi;
use zilch_lab::figure3::Outcome;
use zilch_lab::page::{load, page, readme_block};
use zilch_lab::{Context, table2};
use zilch::{Options, Rule, Schedule};

fn reproduce(args: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_zilch"))
        .arg("reproduce")
        .args(args)
        .arg("--out")
        .arg(out)
        .output()
        .expect("the binary runs")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn tables_of_plans() -> (Arc<Data>, AtomicBool) {
    (Arc::new(Data::open("digits").expect("digits")), AtomicBool::new(false))
}

/// A reduced run of everything, on the synthetic digits: all files are there, and the page holds every
/// section. Then it resumes: what is finished is not done again, what is damaged is.
#[test]
fn quick_run_of_everything_then_resume() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let done = reproduce(&["all", "--quick", "--data", "digits"], &out);
    assert!(done.status.success(), "{}", err(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    for section in ["## Table 2", "## Figure 3", "## Table 3", "## Table 4", "**BP's, bit for bit**", "reduced version"]
    {
        assert!(text.contains(section), "{section} is missing in:\n{text}");
    }
    assert_eq!(text, std::fs::read_to_string(out.with_file_name("results.md")).expect("the page"));
    for file in ["table2.json", "table3.json", "table4.json", "figure3.json", "figure3-c2-c3.svg", "figure3-c1.svg"] {
        assert!(out.join(file).exists(), "{file}");
    }

    let piece = |name: &str| out.join("figure3").join(name);
    let [deleted, damaged, kept] =
        ["t2-gamma0.5", "sigma0.1", "t3-gamma1"].map(|v| piece(&format!("lmax3-seed1482555873-{v}.json")));
    let read = |p: &Path| serde_json::from_slice::<Outcome>(&std::fs::read(p).expect("outcome")).expect("outcome");
    let before = [&deleted, &damaged].map(|p| read(p));
    std::fs::remove_file(&deleted).expect("delete");
    std::fs::write(&damaged, &std::fs::read(&damaged).expect("piece")[..50]).expect("damage");
    let untouched = std::fs::metadata(&kept).and_then(|m| m.modified()).expect("time");
    let again = reproduce(&["figure3", "--quick", "--data", "digits"], &out);
    assert!(again.status.success(), "{}", err(&again));
    for (path, before) in [&deleted, &damaged].into_iter().zip(before) {
        let after = read(path);
        assert_eq!(after, Outcome { seconds: after.seconds, ..before }, "the same training gives the same numbers");
    }
    assert_eq!(untouched, std::fs::metadata(&kept).and_then(|m| m.modified()).expect("time"), "not repeated");

    let other = reproduce(&["figure3", "--data", "digits"], &out);
    assert_eq!(other.status.code(), Some(2), "a full run must not go into a reduced run's folder");
    assert!(err(&other).contains("another experiment"), "{}", err(&other));
}

#[test]
fn no_data_says_how_to_get_mnist() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let failed = reproduce(&["table2"], &dir.path().join("r"));
    assert_eq!(failed.status.code(), Some(2));
    assert!(err(&failed).contains("MNIST") && err(&failed).contains("--data digits"), "{}", err(&failed));
    let empty = reproduce(&["page"], &dir.path().join("r"));
    assert_eq!(empty.status.code(), Some(4), "{}", err(&empty));
}

#[cfg(unix)]
#[test]
fn an_interrupt_keeps_what_is_finished_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let child = Command::new(env!("CARGO_BIN_EXE_zilch"))
        .args(["reproduce", "figure3", "--data", "digits", "--out"])
        .arg(&out)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let finished = || {
        std::fs::read_dir(out.join("figure3")).map_or(0, |d| {
            d.filter(|e| e.as_ref().is_ok_and(|e| e.file_name().to_string_lossy().contains("bp.json"))).count()
        })
    };
    for _ in 0..600 {
        if finished() >= 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let kept = finished();
    assert!(kept >= 1, "no training finished in a minute");
    let asked = std::time::Instant::now();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = child.wait_with_output().expect("the end");
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    assert!(asked.elapsed().as_secs() < 30, "stops within seconds");
    assert!(err(&output).contains("Go on with") && err(&output).contains("figure3"), "{}", err(&output));
    assert!(finished() >= kept);
}

/// Plans that break each property turn the cell of Table 2.
#[test]
fn a_plan_that_breaks_a_property_turns_its_cell() {
    let (data, stop) = tables_of_plans();
    let context = Context { data, quick: true, threads: 1, stop: &stop, watch: &|_, _| () };
    let network = &context.networks().expect("networks")[1];
    let plan = |options: Options| options.plan(network).expect("plan");
    let full = |rule| Options { schedule: Some(Schedule::Full), ..Options::new(rule) };
    let bp = table2::trained(&context, network, &plan(full(Rule::BP))).expect("bp");
    let verdicts = |plan: &Plan| table2::judge(&context, plan, &bp).expect("row").verdicts().map(|v| v.holds);

    let fazil = plan(full(Rule::FAZIL));
    assert_eq!(verdicts(&fazil), [true; 4]);
    assert_eq!(verdicts(&plan(Options { phi: Phi::Feedback, ..full(Rule::FAZIL) })), [true; 4]);
    assert_eq!(verdicts(&plan(Options { gamma: Some(0.9), ..full(Rule::FAZIL) })), [false, true, true, true]);

    let moment = |plan: &Plan, t| plan.moments.iter().position(|m| m.stage == Stage::Learning(t)).expect("a moment");
    let mut clocked = fazil.clone();
    let at = moment(&clocked, 3);
    let theta = clocked.theta(3);
    let learns = |op: &Op| op.is_change() && op.writes().next() == theta;
    clocked.moments[at].steps.iter_mut().for_each(|ops| ops.retain(|op| !learns(op)));
    assert_eq!(verdicts(&clocked)[1..], [true, true, false], "one layer does not learn at t = 3");

    // δ^1 in the slot of ε^1: an op that prediction does not run.
    let mut switched = fazil.clone();
    let at = moment(&switched, 0);
    let mut bp = Chain::new(network, &switched.options);
    switched.moments[at].steps.push(vec![bp.backprop(1)]);
    assert_eq!(verdicts(&switched)[2..], [false, false], "an op that prediction does not run");

    assert_eq!(verdicts(&plan(full(Rule::ZIL))), [true, true, true, false]);
    assert_eq!(verdicts(&plan(full(Rule::BP))), [true, false, false, false]);
}

/// The committed museum is what the committed JSON files make, it has every rule as it is now, and the README has its table.
#[test]
fn the_committed_museum_agrees_with_its_records_and_the_readme() {
    use zilch_lab::family::{ANCHORS, FIELD, Family};
    use zilch_lab::museum::{field, museum};
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let results = root.join("docs/results");
    let committed = std::fs::read_to_string(root.join("docs/results.md")).expect("docs/results.md");
    assert_eq!(committed, page(&results).expect("page"), "make it anew: zilch reproduce page --out docs/results");
    let outcomes = load::<Vec<Outcome>>(&results, "figure3").expect("figure3.json").expect("figure3.json").results;
    assert_eq!(outcomes.len(), 522, "56 variants, their value-coordinate twin and BP, for 3 networks and 3 seeds");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let block = readme_block(&results).expect("block");
    assert!(readme.contains(&block), "README.md must hold these lines:\n{block}");
}

/// The reduced family: every anchor and every rule is trained, the museum has a row for each, and a second run does nothing anew.
#[test]
fn quick_run_of_the_family_then_resume() {
    use zilch_lab::family::{ANCHORS, FIELD, Family};
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    let done = reproduce(&["family", "--quick", "--data", "digits"], &out);
    assert!(done.status.success(), "{}", err(&done));
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(text, std::fs::read_to_string(dir.path().join("museum.md")).expect("the museum"));
    let family = load::<Family>(&out, "family").expect("family.json").expect("family.json").results;
    for anchor in ANCHORS {
        assert!(text.contains(&format!("(`{}`)", anchor.name)), "{}", anchor.name);
        let outcome = family.anchors.iter().find(|o| o.name == anchor.name).expect("trained");
        assert!(outcome.stopped.is_none() && outcome.updates == 40, "{outcome:?}");
    }
    for (entry, rule) in FIELD.iter().zip(Rule::all()) {
        assert_eq!(entry.rule, rule.name(), "every rule, in their order");
        let outcome = family.field.iter().find(|o| o.name == entry.rule).expect("trained");
        assert!(outcome.stopped.is_none() && outcome.updates == 40, "{outcome:?}");
        assert_eq!(entry.has_angle(), !outcome.angles.is_empty(), "{outcome:?}");
    }
    assert_eq!(FIELD.len(), Rule::all().len());
    let piece = out.join("family").join("ep-seed1.json");
    let before = std::fs::metadata(&piece).and_then(|m| m.modified()).expect("time");
    assert!(reproduce(&["family", "--quick", "--data", "digits"], &out).status.success());
    assert_eq!(before, std::fs::metadata(&piece).and_then(|m| m.modified()).expect("time"), "not repeated");
}

/// The committed pages of prospective configuration and of the benchmark are what the committed records make, of commands as they are now.
#[test]
fn the_committed_pages_of_settling_agree_with_their_records() {
    use zilch_lab::lenet;
    use zilch_lab::pcx::{METHODS, Run, pcx_page};
    use zilch_lab::piece::Outcome;
    use zilch_lab::prospective::{Cell, EXPERIMENTS, Prospective};
    use zilch_lab::prospective_page::{one_at_a_time, prospective_page, prospective_svg};
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
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

/// The reduced runs of all of them.
#[test]
fn quick_runs_of_settling() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let out = dir.path().join("results");
    for (experiment, page, says) in [
        ("prospective", "prospective.md", "| 0.1 | 0.93810 | 0.78714 |"),
        ("pcx", "pcx.md", "| iPC | 98.45 ± 0.09 |"),
        ("lenet", "lenet.md", "| DFA | – | "),
        ("identify", "identify.md", "| everything, and says Z-IL or SGD | 50.0 ± 0.0 % | 50.0 ± 0.0 % | 50.0 % |"),
    ] {
        let done = reproduce(&[experiment, "--quick", "--data", "digits"], &out);
        assert!(done.status.success(), "{}", err(&done));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert_eq!(text, std::fs::read_to_string(dir.path().join(page)).expect("the page"));
        assert!(text.contains(says) && text.contains("reduced version"), "{text}");
    }
    assert!(out.join("prospective-conditions.svg").exists() && out.join("prospective-epochs.svg").exists());
}
