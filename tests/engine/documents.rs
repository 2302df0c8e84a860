//! The list of tests in `docs/testing.md` names every file that has some.

use crate::repository::repository;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of Rust in a folder and its folders.
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
