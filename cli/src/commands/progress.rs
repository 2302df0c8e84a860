//! Progress on stderr: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt;
use std::io::{IsTerminal, Write};
use zilch::files::printable;

/// Progress of a run of known length.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// A bar over `total` units, if stderr is a terminal.
    pub(crate) fn new(total: u64, unit: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let template = format!("{{bar:30}} {{pos}}/{{len}} {unit} · {{rate}} · {{eta}} left{{msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                    let _ = out.write_str(&per_second(state.per_sec()));
                };
                bar.set_style(style.with_key("rate", rate));
            }
            bar
        });
        Progress { bar }
    }

    /// Moves the bar to `done` units.
    pub(crate) fn at(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// Prints a permanent line.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(printable(text)),
            None => say(text),
        }
    }

    /// Removes the bar.
    pub(crate) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A rate with three significant digits, as in 12.3k/s.
fn per_second(rate: f64) -> String {
    let (value, unit) = match rate {
        rate if rate < 999.5 => (rate, ""),
        rate if rate < 999.5e3 => (rate / 1e3, "k"),
        rate if rate < 999.5e6 => (rate / 1e6, "M"),
        rate => (rate / 1e9, "G"),
    };
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{unit}/s")
}

/// Prints a message on stderr. Control characters are escaped, because the message may quote contents of files. A
/// closed stderr is not an error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

#[cfg(test)]
mod tests {
    #[test]
    fn rates_have_three_digits() {
        let rates = [0.0, 0.5, 9.996, 99.96, 999.6, 12345.678, 999_600.0, 5.4321e7, 1e11];
        let shown = rates.map(super::per_second);
        let wanted = ["0.00/s", "0.50/s", "10.0/s", "100/s", "1.00k/s", "12.3k/s", "1.00M/s", "54.3M/s", "100G/s"];
        assert_eq!(shown, wanted);
    }
}
