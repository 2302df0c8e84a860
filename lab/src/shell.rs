//! Quoting of words for a shell.

use std::ffi::OsStr;
use zilch::files::is_control;

/// Quotes a word for a shell. A word of plain characters is returned unchanged.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.contains(is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => escaped(word.as_encoded_bytes()),
    }
}

/// Quotes a path that is the value of an option. A path that begins with a dash gets the prefix `./`, because it would
/// be read as an option.
pub fn quoted_path(path: impl AsRef<OsStr>) -> String {
    let text = quoted(path.as_ref());
    let dash = path.as_ref().as_encoded_bytes().starts_with(b"-");
    // A shell concatenates adjacent quoted and unquoted text.
    if dash { format!("./{text}") } else { text }
}

/// Characters that have no special meaning in any shell at any position.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+,:@%".contains(c)
}

/// Escapes bytes for the $'…' quoting of bash, zsh and ksh. Control characters and bytes that are not UTF-8 become
/// escapes.
fn escaped(bytes: &[u8]) -> String {
    let mut text = "$'".to_owned();
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => text.push(char::from(*byte)),
            b'\n' => text += "\\n",
            // Three octal digits, so that a digit that follows is not part of the escape.
            _ => text += &format!("\\{byte:03o}"),
        }
    }
    text + "'"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_act_on_them() {
        for plain in ["results/a-1", "/mnt/ü/x.json", "a+b,c:d@e%f_g.h"] {
            assert_eq!(quoted(plain), plain);
        }
        for c in " #~{}![]^=`$&;()*?<>|\"\\".chars() {
            assert_eq!(quoted(format!("a{c}b")), format!("'a{c}b'"));
        }
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a\nb'\u{1b}7"), "$'a\\nb\\'\\0337'");
        assert_eq!((quoted_path("-x"), quoted_path("-x y")), ("./-x".to_owned(), "./'-x y'".to_owned()));
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_unicode_are_quoted() {
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(quoted(OsStr::from_bytes(b"c\xff")), "$'c\\377'");
    }
}
