//! Escaping of foreign text for a terminal, and hexadecimal.

use std::borrow::Cow;

/// The most characters of foreign text that a message quotes.
const MOST: usize = 120;

/// Whether a terminal may act on a character instead of printing it: C0 and C1 controls, DEL, and the marks that change the
/// direction of text.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text from a file for use in a message: control characters are escaped, and the text is cut after 120 characters.
pub fn shown(text: &str) -> String {
    let mut line = String::new();
    for c in text.chars().take(MOST) {
        push(&mut line, c, is_control(c));
    }
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

/// Escapes the control characters of a text except line feeds and tabs.
pub fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| is_control(c) && c != '\n' && c != '\t';
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut plain, c, acts(c));
    }
    Cow::Owned(plain)
}

/// `n` things: "1 sample", "2 samples". The plural of `thing` ends in s.
pub fn counted(n: impl std::fmt::Display, thing: &str) -> String {
    let n = n.to_string();
    let ending = if n == "1" { "" } else { "s" };
    format!("{n} {thing}{ending}")
}

/// Escapes the control characters of JSON text in JSON syntax. JSON itself requires escapes only for C0.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| is_control(c) && c != '\n';
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // All of these fit four hexadecimal digits, and occur only inside strings.
        if acts(c) { plain += &format!("\\u{:04x}", u32::from(c)) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

fn push(text: &mut String, c: char, escaped: bool) {
    if escaped { text.extend(c.escape_default()) } else { text.push(c) }
}

/// Formats bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &str = "a\u{1b}[2J\u{9b}K\u{7}\u{7f}\u{202e}\u{2066}\tb\nö";

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable(FOREIGN), "a\\u{1b}[2J\\u{9b}K\\u{7}\\u{7f}\\u{202e}\\u{2066}\tb\nö");
        assert_eq!(shown(FOREIGN), "a\\u{1b}[2J\\u{9b}K\\u{7}\\u{7f}\\u{202e}\\u{2066}\\tb\\nö");
        assert!(matches!(printable("plain\ttext\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn quoted_text_is_cut() {
        assert_eq!(shown(&"x".repeat(500)), "x".repeat(120) + "…");
        assert_eq!(shown(&"x".repeat(120)), "x".repeat(120));
    }

    #[test]
    fn escaped_json_parses_to_the_same_value() {
        let text = serde_json::to_string_pretty(&[FOREIGN]).expect("JSON");
        let plain = printable_json(&text);
        assert!(!plain.contains(|c| is_control(c) && c != '\n'), "{plain}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&plain).expect("JSON"), [FOREIGN]);
    }
}
