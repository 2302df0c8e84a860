//! Where the repository is, for tests that read its documents and records.

use std::path::{Path, PathBuf};

/// The top folder. The package of a test may be in a folder of it.
pub(crate) fn repository() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("tests/fixtures").is_dir()).expect("the repository").to_path_buf()
}
