//! `metrics.csv`: one row per epoch. During a run the rows are appended to a log of the same format. A checkpoint
//! refers to the log by file name, length and SHA-256 and does not contain the rows, so that its cost does not grow
//! with the number of epochs.

use crate::error::{Error, Result};
use crate::files::hex;
use crate::files::{Links, open_regular};
use crate::memory;
use crate::train::probe::{Probe, Probed};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// File name of the metrics of a finished run.
pub const METRICS_FILE: &str = "metrics.csv";
/// The columns of every run.
const COLUMNS: [&str; 4] = ["epoch", "updates", "seconds", "train_energy"];
/// The column of the test error of classes.
const ERROR: &str = "test_error";
/// The columns of the test error of real targets.
const REGRESSION: [&str; 2] = ["test_mse", "test_r2"];
/// The maximum length of a line in bytes. It is sufficient for a thousand layers with four probes and a thousand tasks.
const MAX_LINE: u64 = 1 << 20;
/// Maximum number of bytes of memory per byte of a parsed log. For example, a line of 30 bytes becomes a row of about
/// 130 bytes.
const PARSED: u64 = 8;

/// The metrics of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpochMetrics {
    /// The epoch, counted from 1.
    pub epoch: u64,
    /// Weight updates since the start.
    pub updates: u64,
    /// Seconds spent on updates since the start, without evaluation.
    pub seconds: f64,
    /// The mean energy F per training sample.
    pub train_energy: f64,
    /// The fraction of misclassified test samples, 0 to 1; or the mean squared error of real targets.
    pub test_error: f64,
    /// R² of real targets on the test set; `None` for classes. `test_error` is then the mean squared error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_r2: Option<f64>,
}

impl EpochMetrics {
    /// The test error as text: "test error 2.50 %", or "test MSE 0.123 · R² 0.877" for real targets.
    pub fn tested(&self) -> String {
        let error = value_text(self.test_error, self.test_r2.is_some());
        self.test_r2.map_or(format!("test error {error}"), |r2| format!("test MSE {error} · R² {r2:.4}"))
    }
}

/// An error as text: a fraction as "2.50 %", or the mean squared error of real `values` as "0.1234".
pub fn value_text(error: f64, values: bool) -> String {
    if values { format!("{error:.4}") } else { format!("{:.2} %", 100.0 * error) }
}

/// A row of `metrics.csv`.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochRow {
    /// The metrics that every run has.
    pub metrics: EpochMetrics,
    /// The test error of each task; empty unless every task is tested.
    pub tested: Vec<f64>,
    /// The error on the held-out samples; `None` if there are none.
    pub held: Option<f64>,
    /// The values of the probes.
    pub probed: Vec<Probed>,
}

/// The columns of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Columns {
    /// Whether the test error is that of real targets.
    regression: bool,
    /// The number of columns for test errors of tasks.
    tasks: usize,
    /// Whether there is a column for the held-out error.
    held: bool,
    /// Per probe: the index of its first layer and the number of its layers.
    probes: Vec<(Probe, usize, usize)>,
}

impl Columns {
    fn of(row: &EpochRow) -> Columns {
        let probes = row.probed.iter().map(|p| (p.probe, p.first, p.values.len()));
        Columns {
            regression: row.metrics.test_r2.is_some(),
            tasks: row.tested.len(),
            held: row.held.is_some(),
            probes: probes.collect(),
        }
    }

    fn header(&self) -> String {
        let mut names: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
        let error: &[&str] = if self.regression { &REGRESSION } else { &[ERROR] };
        names.extend(error.iter().map(|name| (*name).to_owned()));
        names.extend((1..=self.tasks).map(|i| format!("test_error_{i}")));
        names.extend(self.held.then(|| "held_out_error".to_owned()));
        for (probe, first, count) in &self.probes {
            names.extend((0..*count).map(|i| format!("{}_{}", probe.name(), first + i)));
        }
        names.join(",") + "\n"
    }

    fn parse(header: &str) -> Option<Columns> {
        let mut names = header.split(',').peekable();
        if !COLUMNS.iter().all(|name| names.next() == Some(*name)) {
            return None;
        }
        let regression = names.peek() == Some(&REGRESSION[0]);
        let error: &[&str] = if regression { &REGRESSION } else { &[ERROR] };
        if !error.iter().all(|name| names.next() == Some(*name)) {
            return None;
        }
        let mut columns = Columns { regression, ..Columns::default() };
        while names.next_if(|name| *name == format!("test_error_{}", columns.tasks + 1)).is_some() {
            columns.tasks += 1;
        }
        columns.held = names.next_if_eq(&"held_out_error").is_some();
        for name in names {
            let (probe, number) = name.rsplit_once('_')?;
            let (probe, number) = (Probe::from_name(probe)?, number.parse::<usize>().ok()?);
            match columns.probes.last_mut() {
                Some((last, first, count)) if *last == probe && first.checked_add(*count) == Some(number) => {
                    *count += 1
                }
                _ => columns.probes.push((probe, number, 1)),
            }
        }
        Some(columns)
    }

    /// Formats a row. Floats have the fewest digits that parse back to the same value. A missing value of a probe is an
    /// empty cell.
    fn line(row: &EpochRow) -> String {
        let EpochMetrics { epoch, updates, seconds, train_energy, test_error, test_r2 } = row.metrics;
        let mut line = format!("{epoch},{updates},{seconds},{train_energy},{test_error}");
        for error in test_r2.iter().chain(&row.tested).chain(&row.held) {
            let _ = write!(line, ",{error}");
        }
        for value in row.probed.iter().flat_map(|p| &p.values) {
            line.push(',');
            let _ = value.map_or(Ok(()), |value| write!(line, "{value}"));
        }
        line.push('\n');
        line
    }

    fn row(&self, line: &str) -> Option<EpochRow> {
        let mut cells = line.split(',');
        let whole = |cell: Option<&str>| cell?.parse::<u64>().ok();
        let number = |cell: Option<&str>| cell?.parse::<f64>().ok();
        let metrics = EpochMetrics {
            epoch: whole(cells.next())?,
            updates: whole(cells.next())?,
            seconds: number(cells.next())?,
            train_energy: number(cells.next())?,
            test_error: number(cells.next())?,
            test_r2: if self.regression { Some(number(cells.next())?) } else { None },
        };
        let tested = (0..self.tasks).map(|_| number(cells.next())).collect::<Option<_>>()?;
        let held = if self.held { Some(number(cells.next())?) } else { None };
        let mut probed = Vec::new();
        for &(probe, first, count) in &self.probes {
            let value = |cell: &str| if cell.is_empty() { Some(None) } else { cell.parse().ok().map(Some) };
            let values = (0..count).map(|_| value(cells.next()?)).collect::<Option<_>>()?;
            probed.push(Probed { probe, first, values });
        }
        cells.next().is_none().then_some(EpochRow { metrics, tested, held, probed })
    }
}

/// The text of `metrics.csv`: a header and one row per epoch.
pub(super) fn metrics_csv(rows: &[EpochRow]) -> String {
    let empty = Columns::default();
    let header = rows.first().map_or(empty.header(), |row| Columns::of(row).header());
    rows.iter().fold(header, |text, row| text + &Columns::line(row))
}

/// Parses a `metrics.csv`. The epochs must be 1, 2, 3, … and all rows must have the columns of the header.
///
/// # Errors
/// A sentence that names the first invalid line.
pub fn parse_metrics(text: &str) -> std::result::Result<Vec<EpochRow>, String> {
    let mut lines = text.lines();
    let columns = lines.next().and_then(Columns::parse).ok_or("its first line is not a header of metrics.csv")?;
    let read = |(i, line): (usize, &str)| {
        let row = columns.row(line).filter(|row| row.metrics.epoch == i as u64 + 1);
        row.ok_or_else(|| format!("line {} is not a valid row of epoch {}", i + 2, i + 1))
    };
    lines.enumerate().map(read).collect()
}

/// Reads the epochs of a `metrics.csv` or a log up to the first invalid or incomplete line. A run may still be writing
/// to the file.
///
/// # Errors
/// Those of `open_regular`; [`ErrorKind::InvalidData`] when the first line is not the header of such a file.
pub fn read_epochs(path: &Path) -> io::Result<Vec<EpochMetrics>> {
    let mut file = BufReader::new(open_regular(path, Links::Refused, false)?);
    let mut line = Vec::new();
    let mut next = || -> io::Result<Option<String>> {
        line.clear();
        Read::by_ref(&mut file).take(MAX_LINE).read_until(b'\n', &mut line)?;
        Ok(std::str::from_utf8(&line).ok().and_then(|text| text.strip_suffix('\n')).map(str::to_owned))
    };
    let columns = next()?.as_deref().and_then(Columns::parse);
    let columns = columns.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "this is not a metrics.csv"))?;
    let mut epochs: Vec<EpochMetrics> = Vec::new();
    while let Some(row) = next()?.as_deref().and_then(|line| columns.row(line)) {
        if row.metrics.epoch != epochs.len() as u64 + 1 {
            break;
        }
        epochs.push(row.metrics);
    }
    Ok(epochs)
}

/// The part of a log that belongs to a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsMark {
    /// The file name of the log; empty before the first epoch.
    pub file: String,
    /// The length of the part, in bytes.
    pub bytes: u64,
    /// The SHA-256 of those bytes.
    pub sha256: String,
}

/// The append-only log of a running training, `metrics-1.csv`.
#[derive(Debug)]
pub struct MetricsLog {
    dir: PathBuf,
    /// `None` before the first row.
    open: Option<OpenLog>,
}

#[derive(Debug)]
struct OpenLog {
    name: String,
    file: File,
    rows: usize,
    bytes: u64,
    hash: Sha256,
}

impl MetricsLog {
    /// A log in the folder `dir`. The file is created with the first row.
    pub fn new(dir: &Path) -> MetricsLog {
        MetricsLog { dir: dir.to_owned(), open: None }
    }

    /// Reads the rows of a log in `dir` up to `mark`.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is missing or does not match the mark; [`Error::Limit`] when its rows exceed the free memory.
    pub fn read(dir: &Path, mark: &MetricsMark) -> Result<Vec<EpochRow>> {
        Ok(if mark.file.is_empty() { Vec::new() } else { OpenLog::read(dir, mark, false)?.1 })
    }

    /// Continues the log in `dir` after `mark`. Rows after the mark are cut off.
    ///
    /// # Errors
    /// As [`MetricsLog::read`], and [`Error::Io`] when the file cannot be written.
    pub fn resume(dir: &Path, mark: &MetricsMark) -> Result<MetricsLog> {
        let mut log = MetricsLog::new(dir);
        if !mark.file.is_empty() {
            let (open, _) = OpenLog::read(dir, mark, true)?;
            open.file.set_len(open.bytes).map_err(|e| Error::io(&dir.join(&mark.file), e))?;
            log.open = Some(open);
        }
        Ok(log)
    }

    /// Appends one row if it is the next epoch, and ignores it otherwise.
    ///
    /// # Errors
    /// [`Error::Io`] when the row cannot be written. [`MetricsLog::append`] writes it later.
    pub fn push(&mut self, row: &EpochRow) -> Result<()> {
        let next = self.open.as_ref().map_or(0, |open| open.rows) as u64 + 1;
        if row.metrics.epoch == next { self.write(std::slice::from_ref(row)) } else { Ok(()) }
    }

    /// Appends the rows that the log lacks; `rows` are all rows so far. The log may have more rows than `rows` if training restarted from
    /// an earlier state after a device was lost. Then a new log file is started, since an earlier checkpoint may still need the old one.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn append(&mut self, rows: &[EpochRow]) -> Result<()> {
        let written = self.open.as_ref().map_or(0, |open| open.rows);
        if rows.len() < written {
            self.open = None;
            return self.write(rows);
        }
        self.write(&rows[written..])
    }

    /// Syncs the file to disk and returns its current mark.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be synced.
    pub fn mark(&mut self) -> Result<MetricsMark> {
        let Some(open) = &mut self.open else { return Ok(MetricsMark::default()) };
        open.file.sync_data().map_err(|e| Error::io(&self.dir.join(&open.name), e))?;
        let sha256 = hex(&open.hash.clone().finalize());
        Ok(MetricsMark { file: open.name.clone(), bytes: open.bytes, sha256 })
    }

    fn write(&mut self, rows: &[EpochRow]) -> Result<()> {
        let Some(first) = rows.first() else { return Ok(()) };
        let mut text = String::new();
        if self.open.is_none() {
            self.open = Some(OpenLog::create(&self.dir)?);
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.bytes == 0 {
            text += &Columns::of(first).header();
        }
        text.extend(rows.iter().map(Columns::line));
        open.append(text.as_bytes()).map_err(|e| Error::io(&self.dir.join(&open.name), e))?;
        open.rows += rows.len();
        Ok(())
    }
}

impl OpenLog {
    fn create(dir: &Path) -> Result<OpenLog> {
        for number in 1u64.. {
            let name = log_name(number);
            match File::create_new(dir.join(&name)) {
                Ok(file) => return Ok(OpenLog { name, file, rows: 0, bytes: 0, hash: Sha256::new() }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io(&dir.join(name), error)),
            }
        }
        Err(Error::io(dir, ErrorKind::AlreadyExists.into()))
    }

    /// Opens the log of a checkpoint and returns its rows.
    fn read(dir: &Path, mark: &MetricsMark, write: bool) -> Result<(OpenLog, Vec<EpochRow>)> {
        let path = dir.join(&mark.file);
        let damaged = |why: String| Error::data(&path, why);
        if !is_log(&mark.file) {
            return Err(damaged("this is not the file name of a log of metrics".into()));
        }
        let mut file = open_regular(&path, Links::Refused, write).map_err(|e| damaged(e.to_string()))?;
        let length = file.metadata().map_err(|e| damaged(e.to_string()))?.len();
        if length < mark.bytes {
            let why = format!(
                "it has {length} bytes, but {} bytes belong to the checkpoint: the file is damaged",
                mark.bytes
            );
            return Err(damaged(why));
        }
        let what = || format!("reading {}", path.display());
        memory::check(what, mark.bytes.saturating_mul(PARSED), "resume on a machine with more memory")?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(mark.bytes).read_to_end(&mut bytes).map_err(|e| damaged(e.to_string()))?;
        let mut hash = Sha256::new();
        hash.update(&bytes);
        if hex(&hash.clone().finalize()) != mark.sha256 {
            return Err(damaged("its SHA-256 differs from the one in checkpoint.json: the file is damaged".into()));
        }
        let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
        let rows = parse_metrics(&text).map_err(damaged)?;
        Ok((OpenLog { name: mark.file.clone(), file, rows: rows.len(), bytes: mark.bytes, hash }, rows))
    }

    /// Writes after the current end. After a failed write (a full disk), the next write overwrites the partial line.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.bytes))?;
        if let Err(error) = self.file.write_all(bytes) {
            // An error of `set_len` is ignored, because the failed write is the error to report.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }
}

fn log_name(number: u64) -> String {
    format!("metrics-{number}.csv")
}

/// Whether `name` is the file name of a log.
pub fn is_log(name: &str) -> bool {
    let number = name.strip_prefix("metrics-").and_then(|rest| rest.strip_suffix(".csv"));
    number.is_some_and(|number| number.parse().is_ok_and(|n: u64| log_name(n) == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64) -> EpochRow {
        let energy = if epoch == 2 { f64::INFINITY } else { 0.1 + 0.2 * epoch as f64 };
        let metrics = EpochMetrics {
            epoch,
            updates: 7 * epoch,
            seconds: 0.25,
            train_energy: energy,
            test_error: 1.0 / 3.0,
            test_r2: None,
        };
        let angles = Probed { probe: Probe::Alignment, first: 1, values: vec![None, Some(1e-300)] };
        let eps = Probed { probe: Probe::Eps, first: 0, values: vec![Some(-0.0), Some(5e-324), None] };
        EpochRow { metrics, tested: vec![0.5, 0.25], held: Some(0.125), probed: vec![angles, eps] }
    }

    #[test]
    fn rows_parse_back_to_the_same_bits() {
        let rows: Vec<EpochRow> = (1..5).map(row).collect();
        let text = metrics_csv(&rows);
        assert_eq!(parse_metrics(&text).as_deref(), Ok(&rows[..]));
        let plain = EpochRow { tested: Vec::new(), held: None, probed: Vec::new(), ..row(1) };
        let text = metrics_csv(std::slice::from_ref(&plain));
        let energy = plain.metrics.train_energy;
        assert_eq!(text, format!("{},test_error\n1,7,0.25,{energy},{}\n", COLUMNS.join(","), 1.0 / 3.0));
        assert_eq!(parse_metrics(&text), Ok(vec![plain]));
        assert_eq!(parse_metrics(&metrics_csv(&[])), Ok(Vec::new()));
        let mut regression = rows;
        regression.iter_mut().for_each(|row| row.metrics.test_r2 = Some(-0.1));
        let text = metrics_csv(&regression);
        assert!(text.starts_with(&format!("{},test_mse,test_r2,test_error_1", COLUMNS.join(","))), "{text}");
        assert_eq!(parse_metrics(&text).as_deref(), Ok(&regression[..]));
    }

    #[test]
    fn an_invalid_row_is_refused_with_its_line() {
        let text = metrics_csv(&(1..4).map(row).collect::<Vec<_>>());
        let says = |text: &str, why: &str| assert!(parse_metrics(text).is_err_and(|e| e.contains(why)), "{text}");
        says("", "header");
        says("epoch,updates\n", "header");
        says(&text.replace("eps_2", "eps_x"), "header");
        says(&text.replace("\n2,", "\n9,"), "line 3");
        says(&text.replace("\n3,", "\n3,,"), "line 4");
        says(&text[..text.len() - 4], "line 4");
        says(&text.replace("0.125", "1,2"), "line 2");
    }

    #[test]
    fn an_incomplete_file_is_read_up_to_its_last_complete_row() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(METRICS_FILE);
        let text = metrics_csv(&(1..4).map(row).collect::<Vec<_>>());
        let epochs = |text: &str| {
            std::fs::write(&path, text).expect("written");
            read_epochs(&path).map(|epochs| epochs.len())
        };
        assert_eq!(epochs(&text).expect("whole"), 3);
        assert_eq!(epochs(&text[..text.len() - 1]).expect("the last line is incomplete"), 2);
        assert_eq!(epochs(&text.replace("\n2,", "\n7,")).expect("the second row has another epoch"), 1);
        assert!(epochs("epoch,up").is_err() && epochs("").is_err());
    }

    #[test]
    fn a_log_is_append_only_and_continues_after_its_mark() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        let mut log = MetricsLog::new(dir);
        assert_eq!(log.mark().expect("synced"), MetricsMark::default());
        log.push(&row(1)).expect("written");
        log.push(&row(3)).expect("not the next epoch, so it is ignored");
        let rows: Vec<EpochRow> = (1..6).map(row).collect();
        log.append(&rows[..3]).expect("written");
        let mark = log.mark().expect("synced");
        assert_eq!(mark.file, "metrics-1.csv");
        log.append(&rows).expect("written");
        assert_eq!(MetricsLog::read(dir, &mark).expect("marked"), rows[..3]);
        assert_eq!(MetricsLog::read(dir, &log.mark().expect("synced")).expect("marked"), rows);
        // A run that resumes from the mark writes the later rows again.
        let mut again = MetricsLog::resume(dir, &mark).expect("marked");
        again.append(&rows[..4]).expect("written");
        assert_eq!(MetricsLog::read(dir, &again.mark().expect("synced")).expect("marked"), rows[..4]);
        // A run that restarts from an earlier state starts a new file, and the mark stays valid.
        again.append(&rows[..2]).expect("written");
        assert_eq!(again.mark().expect("synced").file, "metrics-2.csv");
        assert_eq!(MetricsLog::read(dir, &mark).expect("marked"), rows[..3]);
        // A changed byte and a missing byte are detected.
        let path = dir.join("metrics-1.csv");
        let bytes = std::fs::read(&path).expect("there");
        let mut other = bytes.clone();
        other[9] ^= 1;
        for (bytes, why) in [(other, "SHA-256"), (bytes[..mark.bytes as usize - 1].to_vec(), "bytes")] {
            std::fs::write(&path, bytes).expect("written");
            let error = MetricsLog::resume(dir, &mark).expect_err("damaged");
            assert!(error.exit_code() == 4 && error.to_string().contains(why), "{error}");
        }
        let elsewhere = MetricsMark { file: "../metrics-1.csv".into(), ..mark };
        assert!(MetricsLog::read(dir, &elsewhere).is_err());
    }
}
