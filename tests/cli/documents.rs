//! Documents and the program: every command in a `sh` block of the README and of the pages in `docs` is run.
//!
//! Commands of one page run one after the other in an empty folder, as a reader types them. `FOLDER` and the names of data sets stand
//! for small data. Where a comment beside a command states its test error, the command must print that error.

use crate::program::program;
use crate::repository::repository;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use zilch::data::folder::FILES;

/// Commands of other programs: where else each is run or checked, as a file of the repository and a text that must be in it.
const OTHERS: [(&str, &str, &str); 13] = [
    ("cargo install --path cli --locked", "cli/Cargo.toml", "[[bin]]\nname = \"zilch\"\n"),
    ("cargo test --release", "Makefile", "$(CARGO) test $(ALL) --release --locked $(ARGS)"),
    ("make compare", "Makefile", "$(CARGO) run --quiet --release --locked -- compare $(ARGS)"),
    ("make test", ".ci/run", "\nmake test\n"),
    ("make wheel", "Makefile", "\ntest-python: wheel\n"),
    ("make test-python", ".ci/run", "\nmake test-python\n"),
    ("make test-wgsl", ".ci/run", "\nmake test-wgsl\n"),
    ("make lint", ".ci/run", "make lint >"),
    ("make docs", "Makefile", "\ndocs: "),
    ("make notebooks", "Makefile", "\nnotebooks: wheel\n"),
    ("make peers", "Makefile", "\npeers: "),
    ("make gpu", "Makefile", "\ngpu:\n"),
    (
        "python3 -m pip install target/wheels/zilch_pc-*.whl",
        "Makefile",
        "pip install --quiet target/wheels/zilch_pc-*.whl",
    ),
];

/// The README and every page.
fn pages() -> Vec<(String, String)> {
    let root = repository();
    let page = |path: &Path| (path.strip_prefix(&root).expect("within").display().to_string(), read(path));
    let mut all = vec![page(&root.join("README.md"))];
    let entries = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.sort();
    all.extend(paths.iter().map(|path| page(path)));
    all
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The commands in the `sh` blocks of a page, each with its comment.
fn commands(page: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let (mut inside, mut open) = (false, String::new());
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
            open += command.trim();
            if let Some(part) = open.strip_suffix('\\') {
                open = part.to_owned();
            } else if !open.is_empty() && !open.starts_with('#') {
                all.push((std::mem::take(&mut open), comment.trim().to_owned()));
            } else {
                open.clear();
            }
        }
    }
    all
}

/// Writes MNIST's four files with few images of 28×28 pixels, in 10 classes that differ in a bright row.
fn small_data(folder: &Path) {
    let file = |sizes: &[u32], data: Vec<u8>| {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|n| n.to_be_bytes()));
        bytes.extend(data);
        bytes
    };
    fs::create_dir_all(folder).expect("made");
    for (files, samples) in [(&FILES[..2], 600u32), (&FILES[2..], 100)] {
        let pixel = |s: u32, p: u32| if p / 56 == s % 10 { 200 } else { (s * 131 + p * 37) % 50 };
        let pixels = (0..samples).flat_map(|s| (0..784).map(move |p| pixel(s, p) as u8)).collect();
        fs::write(folder.join(files[0]), file(&[samples, 28, 28], pixels)).expect("written");
        fs::write(folder.join(files[1]), file(&[samples], (0..samples).map(|s| (s % 10) as u8).collect()))
            .expect("written");
    }
}

/// Writes the tables and the folder of images that the page on data names.
fn small_tables(folder: &Path) {
    let table = |head: &str, row: &dyn Fn(usize) -> String| {
        let rows: String = (0..90).map(|i| row(i) + "\n").collect();
        format!("{head}{rows}")
    };
    let species = |i: usize| ["setosa", "virginica", "versicolor"][i % 3];
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("written");
    write("iris.csv", table("id,length,width,species\n", &|i| format!("{i},{},{},{}", i % 3, i % 7, species(i))));
    write("plain.csv", table("", &|i| format!("{},{},{}", i % 3, i % 3 * 2, i % 7)));
    for name in ["houses.csv", "new-houses.csv"] {
        write(name, table("id,rooms,price,area\n", &|i| format!("{i},{},{},{}", i % 7, i % 7 * 3, i % 5)));
    }
    for class in ["rose", "tulip"] {
        let to = folder.join("flowers").join(class);
        fs::create_dir_all(&to).expect("made");
        for (number, picture) in
            ["0_one_update", "1_equals_backprop", "3_own_rule", "6_callbacks"].iter().cycle().take(40).enumerate()
        {
            let from = repository().join("docs/gallery").join(format!("{picture}.png"));
            fs::copy(from, to.join(format!("{number}.png"))).expect("a picture");
        }
    }
}

/// The arguments of a command as it is run here: shorter, if no result is stated beside it, and on the CPU.
fn arguments(command: &str, stated: bool) -> Vec<String> {
    let mut args: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let has = |args: &[String], name: &str| args.iter().any(|word| word == name);
    let add = |args: &mut Vec<String>, words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
    for word in &mut args {
        if let Some(rest) = word.strip_prefix("assets/") {
            *word = repository().join("assets").join(rest).display().to_string();
        }
    }
    // What is printed is not kept.
    if let Some(at) = args.iter().position(|word| word == ">") {
        args.truncate(at);
    }
    // A page that is served does not end: tests/cli/report.rs.
    args.retain(|word| !word.starts_with("--live"));
    let resumes = has(&args, "--resume");
    match args[0].as_str() {
        "train" | "eval" if !has(&args, "--device") && !resumes => add(&mut args, &["--device", "cpu"]),
        "compare" if !has(&args, "--seconds") => add(&mut args, &["--seconds", "0.01"]),
        "tune" if !has(&args, "--seconds") => add(&mut args, &["--seconds", "0.001"]),
        "reproduce" if !has(&args, "--quick") => add(&mut args, &["--quick"]),
        _ => {}
    }
    if args[0] == "train" && !stated && !resumes {
        for name in ["--epochs", "--updates"] {
            if let Some(at) = args.iter().position(|word| word == name) {
                args.drain(at..at + 2);
            }
        }
        add(&mut args, &["--updates", "5"]);
    }
    args
}

/// The test error that a comment states, as in "test error 1.75 %".
fn stated(comment: &str) -> Option<&str> {
    let (_, rest) = comment.split_once("test error ")?;
    rest.split_once(" %").map(|(number, _)| number)
}

#[test]
fn every_command_in_the_documents_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut ran = 0;
    for (name, text) in pages() {
        let here = folder.path().join(name.replace('/', "-"));
        fs::create_dir(&here).expect("a folder");
        for data in ["FOLDER", "MNIST", "FASHION"] {
            small_data(&here.join(data));
        }
        if name.ends_with("data.md") {
            small_tables(&here);
        }
        for (command, comment) in commands(&text) {
            let of_zilch = command.strip_prefix("zilch ").or(command.strip_prefix("cargo run --release -- "));
            let Some(line) = of_zilch else {
                let (_, file, proof) = OTHERS
                    .iter()
                    .find(|other| command.starts_with(other.0))
                    .unwrap_or_else(|| panic!("{name}: {command}"));
                assert!(read(&repository().join(file)).contains(proof), "{name}: {command}: {file} lacks {proof:?}");
                continue;
            };
            let args = arguments(line, stated(&comment).is_some());
            let output = program().args(&args).current_dir(&here).output().expect("zilch starts");
            let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{name}: {command} as {args:?}: {err}");
            if let Some(error) = stated(&comment) {
                let said = out.lines().find_map(|line| line.strip_prefix("test error")).unwrap_or_default();
                assert_eq!(said.trim(), format!("{error} %"), "{name}: {command}");
            }
            ran += 1;
        }
    }
    assert!(ran > 10, "only {ran} commands were found");
}

/// What a page promises of commands that a block lists is no smaller than the program: every command of zilch is on a page.
#[test]
fn every_command_of_the_program_is_in_a_document() {
    let help = program().arg("--help").output().expect("zilch runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed =
        help.split_once("Commands:").expect("commands").1.split_once("Options:").expect("options").0.to_owned();
    let names: BTreeSet<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 10, "{names:?}");
    let shown: Vec<String> = pages().iter().flat_map(|(_, text)| commands(text)).map(|(command, _)| command).collect();
    for name in names {
        let word = format!("zilch {name}");
        assert!(
            shown.iter().any(|command| *command == word || command.starts_with(&format!("{word} "))),
            "no sh block has {word}"
        );
    }
}

/// The page of all commands is what the program prints.
#[test]
fn the_page_of_commands_is_generated() {
    let printed = program().args(["man", "--markdown"]).output().expect("zilch runs");
    assert!(printed.status.success());
    let page = read(&repository().join("docs/command-line.md"));
    let printed = String::from_utf8(printed.stdout).expect("UTF-8");
    assert!(page == printed, "regenerate it: zilch man --markdown > docs/command-line.md");
    for option in ["`--rule <RULE\\|FILE.json>`", "## zilch runs", "`--lr <LR>`", "**Options of single rules**"] {
        assert!(page.contains(option), "{option}");
    }
}

/// The page on rules has a command for every rule, and what it says of them is what `zilch rules` derives.
#[test]
fn the_page_of_rules_says_what_the_plans_say() {
    let page = read(&repository().join("docs/choosing-a-rule.md"));
    let output = program().args(["rules", "--json"]).output().expect("zilch runs");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let words = [
        ("weight_transport", "weight transport"),
        ("derivative", "f′"),
        ("signed_errors", "signed errors"),
        ("phases", "extra phases"),
        ("clock", "a clock"),
        ("global_signal", "a global signal"),
    ];
    let rules = document["rules"].as_array().expect("rules");
    assert!(rules.len() > 20);
    for rule in rules {
        let holds = |property: &str| rule["properties"][property]["holds"].as_bool().expect("a verdict");
        let mut asks: Vec<&str> = words.iter().filter(|(property, _)| holds(property)).map(|(_, word)| *word).collect();
        if !holds("local_plasticity") {
            asks.insert(0, "plasticity that is not local");
        }
        let asks = if asks.is_empty() { "nothing of this list".to_owned() } else { asks.join(", ") };
        let (name, title) = (rule["name"].as_str().expect("a name"), rule["title"].as_str().expect("a title"));
        let section = page.split_once(&format!("\n### {title}\n")).unwrap_or_else(|| panic!("no section {title}")).1;
        let section = section.split("\n##").next().expect("a part");
        assert!(section.contains(&format!("\nzilch train --data digits --rule {name}\n")), "{title}:{section}");
        let said = section.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(&format!("*Asks of a brain:* {asks}.")), "{title}: {asks}");
        assert!(said.contains(&format!("*Source:* {}.", rule["source"].as_str().expect("a source"))), "{title}");
    }
}

/// The counts on the page on rules are those of the plans.
#[test]
fn the_costs_on_the_page_of_rules_are_counted() {
    let page = read(&repository().join("docs/choosing-a-rule.md"));
    let table = page.split_once("| rule | schedule | × BP's arithmetic | launches |\n").expect("the table").1;
    let mut rows = 0;
    for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [_, rule, schedule, ratio, launches, _] = cells[..] else { panic!("{row}") };
        let mut command = program();
        command.args(["plan", "--preset", "paper", "--layers", "784,32,32,32,10", "--rule", rule]);
        if !schedule.is_empty() {
            command.args(["--schedule", schedule]);
        }
        let output = command.output().expect("zilch runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = |name: &str| text.lines().find(|line| line.trim().starts_with(name)).unwrap_or_default().to_owned();
        assert!(line("arithmetic").contains(&format!("({ratio} × BP)")), "{row}: {}", line("arithmetic"));
        assert_eq!(line("launches").split_whitespace().nth(1), Some(launches), "{row}");
        rows += 1;
    }
    assert!(rows > 24, "{rows} rows");
}
