//! The location of the repository, for tests that read its documents and records.

use std::path::{Path, PathBuf};

/// The top folder of the repository. The package of a test may be in a subfolder.
pub(crate) fn repository() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("tests/fixtures").is_dir()).expect("the repository").to_path_buf()
}
