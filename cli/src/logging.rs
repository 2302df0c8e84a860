//! The log, which the environment variable `RUST_LOG` turns on.

use env_logger::fmt::Formatter;
use std::io::Write;
use zilch::files::printable;

/// The log on stderr. Without `RUST_LOG` it is off.
pub fn builder() -> env_logger::Builder {
    let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("off"));
    builder.format(line);
    builder
}

/// Writes a message. Control characters are escaped, because a message may quote names from files and drivers; a shader in a message
/// keeps its lines.
fn line(out: &mut Formatter, record: &log::Record<'_>) -> std::io::Result<()> {
    let (time, level, target) = (out.timestamp(), record.level(), record.target());
    writeln!(out, "[{time} {level:<5} {target}] {}", printable(&record.args().to_string()))
}

#[cfg(test)]
mod tests {
    use super::builder;
    use log::{Level, Log, Record};
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn control_characters_in_messages_are_escaped() {
        let written = Written::default();
        let target = env_logger::Target::Pipe(Box::new(written.clone()));
        let logger = builder().filter_level(log::LevelFilter::Debug).target(target).build();
        let record = |text| logger.log(&Record::builder().level(Level::Debug).target("zilch").args(text).build());
        record(format_args!("a name\u{1b}[2J\nand a line"));
        let text = String::from_utf8(written.0.lock().expect("no panic").clone()).expect("UTF-8");
        assert!(text.ends_with("DEBUG zilch] a name\\u{1b}[2J\nand a line\n"), "{text:?}");
    }
}
