//! The terminal on stdout.

/// The width of the terminal in characters. Without a terminal, that of the variable COLUMNS if it is set.
pub fn width() -> Option<usize> {
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    terminal.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
}
