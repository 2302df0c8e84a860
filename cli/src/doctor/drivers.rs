//! The Vulkan loader and the manifests of its drivers (ICDs). Conda and environment variables can hide both.

use super::{Case, Finding, Level, System};
use serde_json::Value;
use zilch::device::gpu::install_advice;
use zilch::files::shown;

/// The Vulkan loader that wgpu opens.
const LOADER: &str = "libvulkan.so.1";
/// Library folders, in addition to those in `LD_LIBRARY_PATH` and `/etc/ld.so.conf`.
const FOLDERS: [&str; 12] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/wsl/lib",
    "/run/opengl-driver/lib",
];

/// The folders in which the system searches for libraries, according to its settings.
fn folders(system: &System) -> Vec<String> {
    let mut all = system.paths("LD_LIBRARY_PATH");
    let parts = system.list("/etc/ld.so.conf.d").into_iter().filter(|name| name.ends_with(".conf"));
    let files = parts.map(|name| format!("/etc/ld.so.conf.d/{name}")).chain(["/etc/ld.so.conf".to_owned()]);
    for text in files.filter_map(|file| system.read(&file).ok()) {
        all.extend(text.lines().map(str::trim).filter(|line| line.starts_with('/')).map(str::to_owned));
    }
    all.extend(FOLDERS.map(str::to_owned));
    all
}

/// The path of a library in one of the [`folders`].
pub(super) fn library(system: &System, name: &str) -> Option<String> {
    let paths = folders(system).into_iter().map(|folder| format!("{}/{name}", folder.trim_end_matches('/')));
    paths.into_iter().find(|path| system.exists(path))
}

/// The finding about the Vulkan loader.
pub(super) fn loader(case: &Case<'_>) -> Vec<Finding> {
    let topic = "loader";
    let works = case.adapters.iter().any(|adapter| adapter.backend == "Vulkan");
    vec![match library(case.system, LOADER) {
        Some(path) => Finding::ok(topic, path),
        // If wgpu lists a Vulkan adapter, the system has found the loader.
        None if works => Finding::ok(topic, "found by the system in another folder"),
        None => {
            let found = format!("{LOADER} is not in any library folder, so no Vulkan driver can be found");
            Finding::new(case.blame, topic, found, install_advice())
        }
    }]
}

/// The variables that replace the default manifest folders. The first variable that is set takes precedence.
const INSTEAD: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

fn instead(system: &System) -> Option<&'static str> {
    INSTEAD.into_iter().find(|name| system.env(name).is_some())
}

/// The folders in which the loader searches for manifests, in its order.
fn manifest_folders(system: &System) -> Vec<String> {
    let home = |rest: &str| system.env("HOME").map(|home| format!("{home}/{rest}"));
    let or = |name: &str, else_: Option<String>| system.env(name).map(str::to_owned).or(else_);
    let all = |name: &str, else_: &[&str]| match system.paths(name) {
        paths if paths.is_empty() => else_.iter().map(|path| (*path).to_owned()).collect(),
        paths => paths,
    };
    let mut folders: Vec<String> = or("XDG_CONFIG_HOME", home(".config")).into_iter().collect();
    folders.extend(all("XDG_CONFIG_DIRS", &["/etc/xdg"]));
    folders.push("/etc".into());
    folders.extend(or("XDG_DATA_HOME", home(".local/share")));
    folders.extend(all("XDG_DATA_DIRS", &["/usr/local/share", "/usr/share"]));
    let mut folders: Vec<String> =
        folders.into_iter().map(|folder| format!("{}/vulkan/icd.d", folder.trim_end_matches('/'))).collect();
    let mut seen = std::collections::BTreeSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// The manifests in `path` if it is a folder, else `path` itself.
fn below(system: &System, path: &str) -> Vec<String> {
    if !system.is_dir(path) {
        return vec![path.to_owned()];
    }
    let names = system.list(path).into_iter().filter(|name| name.ends_with(".json"));
    names.map(|name| format!("{}/{name}", path.trim_end_matches('/'))).collect()
}

/// Every manifest that the loader reads. A manifest named by a variable is listed even if it does not exist.
pub(super) fn manifests_there(system: &System) -> Vec<String> {
    let named = instead(system);
    let places = match named {
        Some(name) => system.paths(name),
        None => [system.paths("VK_ADD_DRIVER_FILES"), manifest_folders(system)].concat(),
    };
    let all = places.iter().flat_map(|place| below(system, place));
    all.filter(|path| named.is_some() || system.exists(path)).collect()
}

/// The library named in a manifest, or a description of the error in the manifest.
fn names_library(system: &System, path: &str) -> std::result::Result<String, String> {
    let text = system.read(path).map_err(|e| format!("it cannot be read ({e})"))?;
    let manifest: Value = serde_json::from_str(&text).map_err(|e| format!("it is not JSON ({e})"))?;
    let icd = &manifest["ICD"];
    let Some(named) = icd["library_path"].as_str() else { return Err("it names no library (ICD.library_path)".into()) };
    let place = match named {
        absolute if absolute.starts_with('/') => Some(absolute.to_owned()).filter(|p| system.exists(p)),
        relative if relative.contains('/') => {
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            Some(format!("{folder}/{relative}")).filter(|p| system.exists(p))
        }
        name => library(system, name),
    };
    // A manifest for 32-bit programs does not matter here, so a missing library is not a fault.
    if icd["library_arch"].as_str() == Some("32") {
        return Ok(format!("{} (32-bit)", shown(named)));
    }
    place.ok_or_else(|| format!("it names {}, which does not exist", shown(named)))
}

/// Findings about every manifest.
pub(super) fn manifests(case: &Case<'_>) -> Vec<Finding> {
    let (system, topic) = (case.system, "drivers");
    let variable = instead(system);
    let mut findings = Vec::new();
    if let Some(name) = variable {
        let found = format!("{name} is set: only the drivers that it names are used");
        findings.push(Finding::new(Level::Note, topic, found, format!("unset {name} to use all drivers")));
    }
    let paths = manifests_there(system);
    let mut usable = 0;
    for path in &paths {
        findings.push(match names_library(system, path) {
            Ok(library) => {
                usable += 1;
                Finding::ok(topic, format!("{} → {library}", shown(path)))
            }
            Err(why) => {
                let advice = match variable {
                    Some(name) => format!("set {name} to another manifest"),
                    None => "reinstall the driver's package, or remove this file".to_owned(),
                };
                Finding::new(case.blame.min(Level::Warning), topic, format!("{}: {why}", shown(path)), advice)
            }
        });
    }
    if usable == 0 {
        let found = match variable {
            Some(name) => format!("{name} names no usable driver"),
            None => "no Vulkan driver is installed: no folder vulkan/icd.d has a usable one".to_owned(),
        };
        // If wgpu lists a Vulkan adapter, there is a driver in another folder.
        let works = case.adapters.iter().any(|adapter| adapter.backend == "Vulkan");
        let level = if works { Level::Note } else { case.blame };
        let advice =
            variable.map_or_else(install_advice, |name| format!("unset {name}, or set it to files that exist"));
        findings.push(Finding::new(level, topic, found, advice));
    }
    findings
}

/// The Vulkan loader of conda, which may not find the drivers of the system.
pub(super) fn conda(case: &Case<'_>) -> Vec<Finding> {
    let system = case.system;
    let Some(prefix) = system.env("CONDA_PREFIX") else { return Vec::new() };
    let lib = format!("{}/lib", prefix.trim_end_matches('/'));
    let theirs: Vec<String> = system.list(&lib).into_iter().filter(|name| name.starts_with("libvulkan")).collect();
    let Some(name) = theirs.first() else { return Vec::new() };
    let first = system.paths("LD_LIBRARY_PATH").iter().any(|path| path.trim_end_matches('/') == lib);
    let found = format!("conda has its own loader, {lib}/{}", shown(name));
    if first {
        let advice = format!(
            "remove {lib} from LD_LIBRARY_PATH, or run `conda deactivate`; or set VK_DRIVER_FILES to the system's drivers"
        );
        let found = found + ", and LD_LIBRARY_PATH puts it first; it may not find the system's drivers";
        return vec![Finding::new(case.blame.max(Level::Warning), "conda", found, advice)];
    }
    vec![Finding::new(Level::Note, "conda", found + ", but LD_LIBRARY_PATH does not put it first", "")]
}

/// Findings about variables that hide adapters.
pub(super) fn settings(case: &Case<'_>) -> Vec<Finding> {
    let (system, topic) = (case.system, "settings");
    let mut findings = Vec::new();
    for name in ["WGPU_BACKEND", "VK_LOADER_DRIVERS_SELECT", "VK_LOADER_DRIVERS_DISABLE"] {
        if let Some(value) = system.env(name) {
            let level = if case.blame == Level::Problem { Level::Problem } else { Level::Note };
            let found = format!("{name} is \"{}\", which can hide adapters", shown(value));
            findings.push(Finding::new(level, topic, found, format!("unset {name} to use all adapters")));
        }
    }
    if let Some(value) = system.env("WGPU_ADAPTER_NAME") {
        let found = format!("WGPU_ADAPTER_NAME is \"{}\"", shown(value));
        let wanted = value.to_lowercase();
        findings.push(if case.adapters.iter().any(|adapter| adapter.name.to_lowercase().contains(&wanted)) {
            Finding::new(Level::Note, topic, found + ": --device gpu selects that adapter", "")
        } else {
            let advice = "--device gpu and auto will fail: unset it, or set it to an adapter that `zilch info` lists";
            Finding::new(Level::Warning, topic, found + ", but no adapter has that name", advice)
        });
    }
    findings
}
