//! Words as a shell takes them.

use std::ffi::OsStr;
use zilch::files::is_control;

/// A word as a shell takes it: as it is where it is plain, else quoted.
pub fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Some(text) if !text.contains(is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => escaped(word.as_encoded_bytes()),
    }
}

/// A path as a shell takes it in the place of a value: what begins with a dash would be an option.
pub fn quoted_path(path: impl AsRef<OsStr>) -> String {
    let text = quoted(path.as_ref());
    let dash = path.as_ref().as_encoded_bytes().starts_with(b"-");
    // A shell joins what is quoted to what is not.
    if dash { format!("./{text}") } else { text }
}

/// What no shell takes for anything else, wherever it stands.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+,:@%".contains(c)
}

/// Between $' and ', as bash, zsh and ksh take it: what would act on a terminal, or is no Unicode, by its bytes.
fn escaped(bytes: &[u8]) -> String {
    let mut text = "$'".to_owned();
    for byte in bytes {
        match byte {
            b'\'' | b'\\' => text.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => text.push(char::from(*byte)),
            b'\n' => text += "\\n",
            // Three digits, so that what follows is no digit of it.
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
