//! What is published: versions, metadata, the lists of the packages, the changelog and the workflow files.

use crate::repository::repository;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The packages on crates.io. `zilch-python` becomes a wheel.
const PUBLISHED: [&str; 3] = ["zilch", "zilch-lab", "zilch-cli"];

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The output of cargo, which must succeed. It asks no registry.
fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(args).arg("--offline").current_dir(repository()).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The packages of the workspace, by name.
fn packages() -> Vec<(String, Value)> {
    let metadata = cargo(&["metadata", "--no-deps", "--locked", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let all = metadata["packages"].as_array().expect("a list");
    all.iter().map(|package| (package["name"].as_str().expect("a name").to_owned(), package.clone())).collect()
}

/// The value of a line `key: value` of a YAML file.
fn field(yaml: &str, key: &str) -> String {
    let line = yaml.lines().find_map(|line| line.strip_prefix(&format!("{key}: ")));
    line.unwrap_or_else(|| panic!("there is no {key}")).to_owned()
}

#[test]
fn every_file_has_the_version_of_the_workspace() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, PUBLISHED.into_iter().chain(["zilch-python"]).collect());
    let mut dependencies = 0;
    for (name, package) in &packages {
        assert_eq!(package["version"], VERSION, "{name}");
        for dependency in package["dependencies"].as_array().expect("a list") {
            let on = dependency["name"].as_str().expect("a name");
            // A dev-dependency without a version is left out of the published package.
            if names.contains(on) && dependency["kind"] != "dev" {
                assert_eq!(dependency["req"], format!("^{VERSION}"), "{name} depends on {on}");
                dependencies += 1;
            }
        }
    }
    assert!(dependencies >= 5, "{dependencies}");
    // maturin takes the version of the wheel from its package.
    let wheel = read("python/pyproject.toml");
    assert!(
        wheel.contains("dynamic = [\"version\"]") && !wheel.contains("\nversion"),
        "the wheel has a version of its own"
    );
    assert_eq!(field(&read("CITATION.cff"), "version"), VERSION);
}

/// The headings of versions in the changelog: the name and, except for "Unreleased", the date.
fn versions(changelog: &str) -> Vec<(String, String)> {
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    let heading = |line: &str| {
        let (name, rest) = line.strip_prefix('[').and_then(|line| line.split_once(']')).expect("## [version] - date");
        (name.to_owned(), rest.strip_prefix(" - ").unwrap_or_default().to_owned())
    };
    headings.map(heading).collect()
}

#[test]
fn the_changelog_has_its_form() {
    let changelog = read("CHANGELOG.md");
    let versions = versions(&changelog);
    assert_eq!(versions[0], ("Unreleased".to_owned(), String::new()));
    assert_eq!(versions[1].0, VERSION, "the newest version");
    assert_eq!(versions[1].1, field(&read("CITATION.cff"), "date-released"));
    for (name, date) in &versions[1..] {
        let digits = |part: &str, n: usize| part.len() == n && part.bytes().all(|b| b.is_ascii_digit());
        let parts: Vec<&str> = date.split('-').collect();
        assert!(matches!(parts[..], [y, m, d] if digits(y, 4) && digits(m, 2) && digits(d, 2)), "{name}: {date}");
    }
    let kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    for kind in changelog.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(kinds.contains(&kind), "{kind:?} is not a kind of change");
    }
}

#[test]
fn the_metadata_of_packages_is_complete() {
    for (name, package) in packages() {
        let published = package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
        assert_eq!(published, PUBLISHED.contains(&name.as_str()), "{name}");
        let filled = |key: &str| match &package[key] {
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        for key in ["description", "license", "rust_version", "authors", "readme", "keywords", "categories"] {
            let needed = published || ["description", "license", "rust_version"].contains(&key);
            assert!(filled(key) || !needed, "{name} has no {key}");
        }
    }
}

#[test]
fn packages_list_what_a_user_needs() {
    for name in PUBLISHED {
        let list = cargo(&["package", "--list", "--allow-dirty", "--package", name]);
        let files: BTreeSet<&str> = list.lines().collect();
        for file in ["Cargo.toml", "README.md", "LICENSE-MIT", "LICENSE-APACHE", "src/lib.rs"] {
            assert!(files.contains(file), "{name} lacks {file}");
        }
        let made_by_cargo = ["Cargo.lock", "Cargo.toml", "Cargo.toml.orig", ".cargo_vcs_info.json"];
        let top = |file: &str| ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"].contains(&file);
        let source = |file: &str| {
            let folder = file.replace('\\', "/");
            ["src/", "shaders/", "examples/"].iter().any(|place| folder.starts_with(place))
        };
        for file in files {
            assert!(source(file) || top(file) || made_by_cargo.contains(&file), "{name} has {file}");
        }
    }
}

/// A tag can be moved to another commit; a commit stays.
#[test]
fn workflows_name_each_action_by_its_commit() {
    let folder = repository().join(".github/workflows");
    let mut actions = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        for line in fs::read_to_string(&path).expect("a file").lines() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            let (_, version) = action.split_once('@').expect("an action and its version");
            let (commit, tag) = version.split_once(" # v").unwrap_or_else(|| panic!("{action}: no tag"));
            assert!(commit.len() == 40 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{action}");
            assert_eq!(tag.split('.').count(), 3, "{action}");
            actions += 1;
        }
    }
    assert!(actions > 5, "{actions}");
}

/// CI compiles the wheel from the crates that the tests compiled. A crate with other features would be compiled again.
#[cfg(target_os = "linux")]
#[test]
fn the_wheel_has_the_crates_of_the_tests() {
    let tree = |args: &str| {
        let args: Vec<&str> =
            "tree --locked --prefix none --format".split(' ').chain(["{p} {f}"]).chain(args.split(' ')).collect();
        let tree = cargo(&args);
        tree.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned()).collect::<BTreeSet<String>>()
    };
    let wheel = tree("--package zilch-python --edges normal,build");
    let tests =
        tree("--package zilch --package zilch-cli --package zilch-lab --package zilch-python --edges normal,build,dev");
    assert!(wheel.len() > 100, "{} crates", wheel.len());
    let other: Vec<&String> = wheel.difference(&tests).collect();
    assert!(other.is_empty(), "the wheel has other features of {other:?}: name them in python/Cargo.toml");
    // The engine alone has other features: the comparison can fail.
    assert!(tree("--package zilch --edges normal,build").difference(&tests).next().is_some());
}

/// A program that depends on the engine compiles no command line, and without the feature `gpu` no wgpu.
#[test]
fn the_engine_compiles_no_command_line() {
    let tree = |args: &str| {
        let args: Vec<&str> = "tree --locked --package zilch --edges normal,build --prefix none"
            .split(' ')
            .chain(args.split_whitespace())
            .collect();
        let names = cargo(&args);
        names.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<BTreeSet<String>>()
    };
    let engine = tree("");
    for name in ["clap", "plotters", "indicatif", "smartcore", "clap_mangen", "signal-hook"] {
        assert!(!engine.contains(name), "the engine compiles {name}");
    }
    assert!(engine.contains("wgpu") && !tree("--no-default-features").contains("wgpu"));
}

/// The arguments of Python's process are those of its interpreter: only the binary may read them, and everything else asks
/// `process::arguments`.
#[test]
fn only_the_binary_reads_the_arguments_of_its_process() {
    fn look(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                look(&path, found);
            } else if fs::read_to_string(&path)
                .is_ok_and(|text| text.contains("env::args") || text.contains("::parse()"))
            {
                found.push(path.strip_prefix(repository()).expect("within").to_string_lossy().replace('\\', "/"));
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "cli/src", "lab/src", "python/src"] {
        look(&repository().join(folder), &mut found);
    }
    assert_eq!(found, ["cli/src/main.rs"]);
}
