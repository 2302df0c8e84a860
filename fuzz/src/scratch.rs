//! A temporary folder for targets that read files from disk. Each thread has its own, which is removed when the thread ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder and the contents of its files. Consecutive inputs mostly differ in one file, so only changed files are written.
pub struct Scratch(PathBuf, RefCell<BTreeMap<String, Vec<u8>>>);

impl Scratch {
    pub fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("zilch-fuzz-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder");
        Scratch(path, RefCell::default())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file with these bytes, or removes it if there are none. The name may contain folders.
    pub fn put(&self, name: &str, bytes: Option<&[u8]>) {
        let mut there = self.1.borrow_mut();
        if there.get(name).map(Vec::as_slice) == bytes {
            return;
        }
        let path = self.0.join(name);
        match bytes {
            Some(bytes) => {
                path.parent().map_or(Ok(()), fs::create_dir_all).expect("a folder");
                fs::write(&path, bytes).expect("a file");
                there.insert(name.to_owned(), bytes.to_owned());
            }
            None => {
                fs::remove_file(&path).expect("a file to remove");
                there.remove(name);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If it fails, the files stay in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
