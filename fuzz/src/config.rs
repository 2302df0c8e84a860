//! Files of options, `--config`: an input is a TOML file, or a run.json where it begins with a brace.

use super::arguments::args;
use std::cell::RefCell;

mod train;

thread_local! {
    /// Built once: that takes longer than all the rest.
    static GRAMMAR: RefCell<clap::Command> = RefCell::new(train::grammar());
}

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Alone, and beside a word that was typed.
    let typed = [("lr".to_owned(), Some("0.5".into()))];
    for typed in [&typed[..0], &typed] {
        let read = GRAMMAR.with_borrow_mut(|grammar| train::rate(grammar, text, typed));
        match read {
            Ok(rate) => assert!(typed.is_empty() || rate == 0.5, "what was typed goes before the file"),
            Err(error) => assert!(!error.to_string().is_empty(), "a refusal without words"),
        }
    }
}
