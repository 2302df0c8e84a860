//! Files: atomic writes, bounded reads, and text that is safe to print on a terminal.
//!
//! A file is written under a temporary name and then renamed. A reader, or the next run after a power failure, finds
//! either the old or the new file, never a partial file.

mod atomic;
mod open;
mod text;
pub mod words;

pub use atomic::{is_temporary, make_folder, write_text, write_whole, write_with};
pub(crate) use open::open_regular;
pub use open::{Links, read_bounded};
pub use text::{counted, hex, is_control, printable, printable_json, shown};
pub use words::{words_json, words_of_json};

/// The first three of `names` and the number of the others, for short messages.
pub(crate) fn few(names: &[String]) -> String {
    let mut text = names.iter().take(3).map(|n| shown(n)).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        text += &format!(" and {} more", names.len() - 3);
    }
    text
}
