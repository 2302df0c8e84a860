//! Plain tables for a terminal.

/// A table with a header. The first `left` columns are aligned left, the others right.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], left: usize) -> String {
    let width =
        |c: usize| rows.iter().map(|r| r[c].chars().count()).chain([header[c].chars().count()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells
            .zip(&widths)
            .enumerate()
            .map(|(c, (cell, &w))| {
                let pad = " ".repeat(w - cell.chars().count());
                if c < left { format!("{cell}{pad}") } else { format!("{pad}{cell}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    text += &line(&mut widths.iter().map(|&w| "─".repeat(w)).collect::<Vec<_>>().iter().map(String::as_str));
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// A time in microseconds with three significant digits, in µs, ms or s.
pub(crate) fn time(us: f64) -> String {
    let (value, unit) = match us {
        us if us < 1e3 => (us, "µs"),
        us if us < 1e6 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

/// An energy with five decimals, or in scientific notation from 10⁶ on. Only diverging networks reach such energies.
pub(crate) fn energy(value: f64) -> String {
    if value.abs() < 1e6 { format!("{value:.5}") } else { format!("{value:.5e}") }
}

/// An option as it is typed.
pub(super) fn option(name: &str, value: &str) -> String {
    let switch = ["mean", "bias"].contains(&name);
    let separator = if switch { "=" } else { " " };
    format!("--{name}{separator}{value}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_have_three_digits() {
        let shown: Vec<String> = [1.234, 12.34, 123.4, 1234.0, 1.5e6].into_iter().map(super::time).collect();
        assert_eq!(shown, ["1.23 µs", "12.3 µs", "123 µs", "1.23 ms", "1.50 s"]);
    }
}
