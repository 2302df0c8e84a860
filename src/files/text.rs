//! Text that others wrote, made fit for a terminal.

use std::borrow::Cow;

/// The most characters of a foreign text that a message quotes.
const MOST: usize = 120;

/// Whether a terminal acts on a character instead of printing it: C0 and C1 controls, DEL, and the marks that reverse the
/// direction of text.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text out of a file, fit for a message: control characters escaped, and no longer than a line.
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

/// A whole text as a terminal may have it: control characters escaped, but for line feeds and tabs.
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

/// JSON text with the escapes of JSON for what a terminal acts on: its own rules ask for those of C0 alone.
pub fn printable_json(text: &str) -> Cow<'_, str> {
    let acts = |c: char| is_control(c) && c != '\n';
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // All of these have four hexadecimal digits, and stand in strings.
        if acts(c) { plain += &format!("\\u{:04x}", u32::from(c)) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

fn push(text: &mut String, c: char, escaped: bool) {
    if escaped { text.extend(c.escape_default()) } else { text.push(c) }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOREIGN: &str = "a\u{1b}[2J\u{9b}K\u{7}\u{7f}\u{202e}\u{2066}\tb\nö";

    #[test]
    fn what_a_terminal_acts_on_is_escaped() {
        assert_eq!(printable(FOREIGN), "a\\u{1b}[2J\\u{9b}K\\u{7}\\u{7f}\\u{202e}\\u{2066}\tb\nö");
        assert_eq!(shown(FOREIGN), "a\\u{1b}[2J\\u{9b}K\\u{7}\\u{7f}\\u{202e}\\u{2066}\\tb\\nö");
        assert!(matches!(printable("plain\ttext\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_quoted_is_short() {
        assert_eq!(shown(&"x".repeat(500)), "x".repeat(120) + "…");
        assert_eq!(shown(&"x".repeat(120)), "x".repeat(120));
    }

    #[test]
    fn json_stays_json() {
        let text = serde_json::to_string_pretty(&[FOREIGN]).expect("JSON");
        let plain = printable_json(&text);
        assert!(!plain.contains(|c| is_control(c) && c != '\n'), "{plain}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&plain).expect("JSON"), [FOREIGN]);
    }
}
