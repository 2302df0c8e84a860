//! Documents: the list of tests names every file that has tests, the README is short, and links lead somewhere.

use crate::repository::repository;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Rust file in a folder and its subfolders.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let of = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(extension) if extension == "rs" => vec![path],
        _ => Vec::new(),
    };
    entries.flat_map(of).collect()
}

#[test]
fn every_file_of_tests_is_in_the_list() {
    let root = repository();
    let page = fs::read_to_string(root.join("docs/testing.md")).expect("the page");
    let mut tested = 0;
    for file in sources(&root.join("tests")) {
        if fs::read_to_string(&file).expect("a file").contains("#[test]\n") {
            let name = file.strip_prefix(&root).expect("within").to_str().expect("UTF-8").replace('\\', "/");
            assert!(page.contains(&format!("`{name}`")), "docs/testing.md does not name {name}");
            tested += 1;
        }
    }
    assert!(tested > 30, "only {tested} files have tests");
}

/// The README is the front door: what needs more room is a page of `docs`.
#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    assert!(readme.lines().count() <= 150, "README.md has {} lines", readme.lines().count());
    for (number, line) in readme.lines().enumerate() {
        assert!(line.chars().count() <= 120, "README.md:{}: {} characters", number + 1, line.chars().count());
    }
}

/// The targets of the Markdown links of a page, with their line numbers. Code is skipped.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut code = false;
    // A link may continue on the next line, but its target does not.
    for (number, line) in page.lines().enumerate() {
        code ^= line.trim_start().starts_with("```");
        let prose = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let parts = if code || line.starts_with("    ") {
            Vec::new()
        } else {
            prose.split("](").skip(1).map(str::to_owned).collect()
        };
        found.extend(
            parts.iter().filter_map(|part| part.split_once(')')).map(|(target, _)| (number + 1, target.to_owned())),
        );
    }
    found
}

/// The anchor of a heading: letters and digits in lower case, with - for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Every relative link of the documents leads to a file and, if it names one, to a heading.
#[test]
fn links_of_the_documents_lead_somewhere() {
    let root = repository();
    let mut pages: Vec<PathBuf> = ["", "docs", "assets", "fuzz", "benches/peers", "benches/products"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.sort();
    let mut checked = 0;
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for (line, target) in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            assert!(path.exists(), "{}:{line}: there is no {target}", page.display());
            if !heading.is_empty() {
                let there = fs::read_to_string(&path).expect("a page");
                let found = there.lines().any(|l| l.starts_with('#') && anchor(l.trim_start_matches('#')) == heading);
                assert!(found, "{}:{line}: {target} has no such heading", page.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 60, "only {checked} links were found");
}
