//! Access to files and environment variables for `zilch doctor`, so that tests can substitute a machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The maximum number of bytes read from a file.
const MOST_BYTES: u64 = 1 << 20;

/// The files and the environment of a machine: this one, or one simulated in a folder.
#[derive(Debug, Clone)]
pub struct System {
    /// The folder that stands for `/`; empty for this machine.
    root: PathBuf,
    env: BTreeMap<String, String>,
    os: &'static str,
    /// Opens a file for reading and writing.
    opens: fn(&Path) -> io::Result<()>,
}

impl System {
    /// This machine.
    pub fn here() -> System {
        let text = |v: std::ffi::OsString| v.to_string_lossy().into_owned();
        let env = std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect();
        System { root: PathBuf::new(), env, os: std::env::consts::OS, opens }
    }

    /// A simulated Linux machine with the folder `root` as `/` and these environment variables. If `refused`, opening a device file
    /// fails with "permission denied".
    pub fn at(root: &Path, env: &[(&str, &str)], refused: bool) -> System {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let opens = if refused { |_: &Path| Err(io::ErrorKind::PermissionDenied.into()) } else { opens };
        System { root: root.to_owned(), env, os: "linux", opens }
    }

    pub(super) fn is_linux(&self) -> bool {
        self.os == "linux"
    }

    /// The value of an environment variable; none if it is unset or empty.
    pub(super) fn env(&self, name: &str) -> Option<&str> {
        self.env.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The paths in a variable with a colon-separated list.
    pub(super) fn paths(&self, name: &str) -> Vec<String> {
        let parts = self.env(name).unwrap_or_default().split(':');
        parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The path below [`System::root`].
    fn at_root(&self, path: &str) -> PathBuf {
        if self.root.as_os_str().is_empty() { path.into() } else { self.root.join(path.trim_start_matches('/')) }
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.at_root(path).exists()
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        self.at_root(path).is_dir()
    }

    /// The text of a regular file, at most its first [`MOST_BYTES`].
    pub(super) fn read(&self, path: &str) -> io::Result<String> {
        let path = self.at_root(path);
        if !fs::metadata(&path)?.is_file() {
            return Err(io::Error::other("this is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(&path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`System::read`], trimmed; empty if the file cannot be read.
    pub(super) fn word(&self, path: &str) -> String {
        self.read(path).unwrap_or_default().trim().to_owned()
    }

    /// The names in a folder, sorted; none if it cannot be read.
    pub(super) fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at_root(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Whether opening a file for reading and writing fails with "permission denied".
    pub(super) fn is_refused(&self, path: &str) -> bool {
        (self.opens)(&self.at_root(path)).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The name of the group that owns a file, or its number if it has no name.
    #[cfg(unix)]
    pub(super) fn group(&self, path: &str) -> Option<String> {
        use std::os::unix::fs::MetadataExt;
        let number = fs::metadata(self.at_root(path)).ok()?.gid().to_string();
        let groups = self.read("/etc/group").unwrap_or_default();
        let named = |line: &str| {
            let parts: Vec<&str> = line.split(':').collect();
            (parts.get(2) == Some(&number.as_str())).then(|| parts[0].to_owned())
        };
        Some(groups.lines().find_map(named).unwrap_or(number))
    }

    /// None: this system does not have Unix groups.
    #[cfg(not(unix))]
    pub(super) fn group(&self, _path: &str) -> Option<String> {
        None
    }
}

fn opens(path: &Path) -> io::Result<()> {
    File::options().read(true).write(true).open(path).map(|_| ())
}
