//! Imports between folders are acyclic: they are read from the sources and compared with this table.

use crate::repository::repository;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The engine's folders, each after the folders that it may import.
const FOLDERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("words", &[]),
    ("named", &["words"]),
    ("random", &[]),
    ("statistics", &[]),
    ("memory", &["error"]),
    ("files", &["error"]),
    ("plan", &["error", "named", "random", "files"]),
    ("network", &["error", "named", "random", "memory", "files", "plan"]),
    ("rules", &["error", "words", "named", "files", "plan", "network"]),
    ("lower", &["error", "named", "plan"]),
    ("data", &["error", "named", "random", "memory", "files", "plan"]),
    ("device", &["error", "named", "random", "memory", "files", "plan", "lower", "data"]),
    ("train", &["error", "named", "random", "memory", "files", "plan", "network", "rules", "data", "device"]),
    ("measure", &["error", "random", "statistics", "memory", "plan", "network", "rules", "lower", "data", "device"]),
];

/// The Rust files below a folder, without test files.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") && path.file_name().is_some_and(|n| n != "tests.rs") {
            all.push(path);
        }
    }
    all
}

/// The folder of a file, or its own name if it is at the top.
fn folder(source: &Path, root: &Path) -> String {
    let first = source.strip_prefix(root).expect("below").components().next().expect("a name");
    first.as_os_str().to_str().expect("ASCII").trim_end_matches(".rs").to_owned()
}

/// The modules that a source imports after `crate::`, without its tests and comments.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let names = |line: &str| -> Vec<String> {
        let after = line.split("crate::").skip(1);
        let word = |part: &str| part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let listed = |part: &str| match part.strip_prefix('{') {
            Some(list) => list.split(['}', ',']).map(|part| word(part.trim())).collect(),
            None => vec![word(part)],
        };
        after.flat_map(listed).filter(|name| !name.is_empty()).collect()
    };
    lines.flat_map(names).collect()
}

/// The imports of each folder.
fn graph() -> BTreeMap<String, BTreeSet<String>> {
    let root = repository().join("src");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources(&root) {
        let name = folder(&source, &root);
        let found = imports(&fs::read_to_string(&source).expect("a source"));
        graph.entry(name.clone()).or_default().extend(found.into_iter().filter(|to| *to != name));
    }
    graph.remove("lib");
    graph
}

#[test]
fn imports_between_folders_point_one_way() {
    let mut known: Vec<&str> = Vec::new();
    for (name, may) in FOLDERS {
        assert!(may.iter().all(|to| known.contains(to)), "{name} may import a folder that comes after it");
        known.push(name);
    }
    let graph = graph();
    assert_eq!(graph.keys().map(String::as_str).collect::<BTreeSet<_>>(), known.into_iter().collect(), "folders");
    for (name, may) in FOLDERS {
        let does = &graph[*name];
        let wrong: Vec<&String> = does.iter().filter(|to| !may.contains(&to.as_str())).collect();
        assert!(wrong.is_empty(), "src/{name} imports {wrong:?}, and may import {may:?}");
        let idle: Vec<&&str> = may.iter().filter(|to| !does.contains(**to)).collect();
        assert!(idle.is_empty(), "src/{name} imports nothing of {idle:?}: take it out of the table");
    }
}

/// Only one folder uses wgpu, and no part of the engine uses command lines, plots or signals.
#[test]
fn crates_are_used_only_where_allowed() {
    let root = repository().join("src");
    for source in sources(&root) {
        let text = fs::read_to_string(&source).expect("a source");
        let code: String = text.lines().filter(|line| !line.trim().starts_with("//")).collect();
        let name = source.strip_prefix(&root).expect("below").to_str().expect("ASCII");
        let code = code.replace("self::wgpu::", "");
        assert!(!code.contains("wgpu::") || name.starts_with("device/gpu/wgpu/"), "{name} knows wgpu");
        for other in ["clap", "plotters", "indicatif", "smartcore", "signal_hook"] {
            assert!(!code.contains(&format!("{other}::")), "{name} uses {other}");
        }
        assert!(!code.contains("pollster::") || name == "device/blocking.rs", "{name} waits");
    }
}

/// The reader of imports recognises every form of import.
#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::plan::{Home, Plan};\nuse crate::{Error, network};\n// crate::rules::bp\nlet f = crate::data::f();\n\
                #[cfg(test)]\nmod tests { use crate::train; }";
    let want = ["Error", "data", "network", "plan"].map(str::to_owned);
    assert_eq!(imports(text), want.into());
}
