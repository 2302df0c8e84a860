//! Files of options, `--config`. An input is a TOML file, or a run.json if it begins with a brace.

use super::arguments::args;
use std::cell::RefCell;

mod train;

thread_local! {
    /// Built once, because building it takes longer than everything else.
    static GRAMMAR: RefCell<clap::Command> = RefCell::new(train::grammar());
}

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Alone, and with an option on the command line.
    let typed = [("lr".to_owned(), Some("0.5".into()))];
    for typed in [&typed[..0], &typed] {
        let read = GRAMMAR.with_borrow_mut(|grammar| train::rate(grammar, text, typed));
        match read {
            Ok(rate) => assert!(typed.is_empty() || rate == 0.5, "the command line overrides the file"),
            Err(error) => assert!(!error.to_string().is_empty(), "an error without a message"),
        }
    }
}
