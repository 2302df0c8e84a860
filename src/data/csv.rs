//! CSV files: one sample per row, numbers as inputs, a class or real targets in some columns.
//!
//! The delimiter is a comma, a semicolon or a tab, whichever the first line has most of. With semicolons a decimal comma is allowed.
//! Files may be gzipped, as in [`idx`]. Their contents are not trusted: the size is checked before the file is read, and
//! an error names the line and the column.

use super::prepare::{Answers, Classes, MAX_CLASSES, Part, Raw, Table};
use super::reading::{OF_TABLES, Reading};
use super::{Data, idx};
use crate::error::{Error, Result};
use crate::files::{few, hex, shown};
use crate::memory;
use crate::plan::MAX_WIDTH;
use ::csv::{ByteRecord, ReaderBuilder};
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::io::Cursor;
use std::path::Path;

/// Names of a column that is the label if none is chosen.
const LABELS: [&str; 3] = ["label", "class", "target"];
/// Cells that stand for a missing value.
const MISSING: [&str; 5] = ["", "na", "n/a", "null", "?"];

/// Reads a file, or a file of training samples and a file of test samples.
///
/// # Errors
/// [`Error::Data`] when a file is malformed, with the line and the column; [`Error::Usage`] for a column that does not exist;
/// [`Error::Limit`] when the numbers exceed the free memory; [`Error::Io`] when a file cannot be read.
pub(super) fn open(source: &Path, files: &[&Path], reading: &Reading) -> Result<Data> {
    let mut contents = Vec::new();
    for path in files {
        let check = |length| check_length(path, length);
        contents.push((*path, idx::contents(path, check)?));
    }
    table(source, &contents, reading)?.data(reading)
}

/// Parses the bytes of one file, plain or gzipped.
///
/// # Errors
/// Those of reading it.
pub fn parse(path: &Path, bytes: &[u8], reading: &Reading) -> Result<Data> {
    let check = |length| check_length(path, length);
    let bytes = idx::contents_from(path, Cursor::new(bytes), bytes.len() as u64, check)?;
    table(path, &[(path, bytes)], reading)?.data(reading)
}

fn check_length(path: &Path, length: u64) -> Result<()> {
    if length == 0 || length > idx::MAX_BYTES {
        let why = format!("the file has {length} bytes; expected 1 to {}", idx::MAX_BYTES);
        return Err(Error::data(path, why));
    }
    Ok(())
}

/// Reads the rows of one or two files with the same columns.
fn table(source: &Path, files: &[(&Path, Vec<u8>)], reading: &Reading) -> Result<Table> {
    reading.only(source, "a CSV file", OF_TABLES)?;
    let (mut roles, mut classes, mut parts, mut checksums) = (None, Classes::default(), Vec::new(), Vec::new());
    for (path, bytes) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        checksums.push((name.trim_end_matches(".gz").to_owned(), hex(&Sha256::digest(bytes))));
        let (found, part) = rows(path, bytes, reading, &mut classes)?;
        // The second file has the columns of the first.
        let first: &Roles = roles.get_or_insert(found.clone());
        if first.names != found.names || first.width != found.width {
            let why =
                format!("its columns are {}, and those of the first file {}", found.described(), first.described());
            return Err(Error::data(path, why));
        }
        parts.push(part);
    }
    let mut parts = parts.into_iter();
    let (Some(roles), Some(train)) = (roles, parts.next()) else { return Err(Error::data(source, "there is no file")) };
    let stem = source.file_name().unwrap_or(source.as_os_str()).to_string_lossy();
    Ok(Table {
        source: source.to_owned(),
        name: stem.trim_end_matches(".gz").to_owned(),
        checksums,
        columns: [roles.named(&roles.inputs), roles.named(&roles.targets)],
        classes,
        form: [1, 1, roles.inputs.len()],
        train,
        test: parts.next(),
    })
}

/// What the columns of a file are.
#[derive(Debug, Clone)]
struct Roles {
    /// The names of all columns; empty without a header.
    names: Vec<String>,
    /// The number of columns.
    width: usize,
    inputs: Vec<usize>,
    label: Option<usize>,
    targets: Vec<usize>,
}

impl Roles {
    fn new(path: &Path, names: Vec<String>, width: usize, reading: &Reading) -> Result<Roles> {
        let of = |columns: &[String]| {
            columns.iter().map(|column| position(path, &names, width, column)).collect::<Result<Vec<usize>>>()
        };
        let (targets, ignored) = (of(&reading.target_columns)?, of(&reading.ignore_columns)?);
        let chosen = reading.label.as_ref().map(|label| position(path, &names, width, label)).transpose()?;
        if chosen.is_some() && !targets.is_empty() {
            return Err(Error::usage(
                "--label names the column of a class and --target-columns those of real targets; give one",
            ));
        }
        let free = |column: &usize| !ignored.contains(column);
        let known = |column: &usize| {
            names.get(*column).is_some_and(|name| LABELS.contains(&name.to_lowercase().as_str())) && free(column)
        };
        let default = || (0..width).find(known).or_else(|| (0..width).rfind(free));
        let label = if targets.is_empty() { chosen.or_else(default) } else { None };
        let taken = |column: &usize| label == Some(*column) || targets.contains(column);
        if let Some(both) = ignored.iter().find(|column| taken(column)) {
            return Err(Error::usage(format!(
                "--ignore-columns names {}, which is a target",
                described(&names, *both)
            )));
        }
        if let Some((_, twice)) = targets.iter().enumerate().find(|(i, column)| targets[..*i].contains(column)) {
            return Err(Error::usage(format!("--target-columns names {} twice", described(&names, *twice))));
        }
        let inputs: Vec<usize> = (0..width).filter(|column| !taken(column) && free(column)).collect();
        if inputs.is_empty() || inputs.len() > MAX_WIDTH {
            let why = format!(
                "{width} columns, of which {} remain as inputs; expected numbers in at least one column beside the target",
                inputs.len()
            );
            return Err(Error::data(path, why));
        }
        Ok(Roles { names, width, inputs, label, targets })
    }

    fn named(&self, columns: &[usize]) -> Vec<String> {
        columns.iter().filter_map(|column| self.names.get(*column).cloned()).collect()
    }

    fn described(&self) -> String {
        if self.names.is_empty() { format!("{} without names", self.width) } else { few(&self.names) }
    }
}

/// A column for messages, counted from 1.
fn described(names: &[String], column: usize) -> String {
    let name = names.get(column).map(|name| format!(" ({})", shown(name))).unwrap_or_default();
    format!("column {}{name}", column + 1)
}

/// The column with this name or, counted from 1, this number.
fn position(path: &Path, names: &[String], width: usize, column: &str) -> Result<usize> {
    let column = column.trim();
    if let Some(at) = names.iter().position(|name| name == column) {
        return Ok(at);
    }
    match column.parse::<usize>() {
        Ok(number) if (1..=width).contains(&number) => Ok(number - 1),
        _ => {
            let known = if names.is_empty() { String::new() } else { format!("; the names are {}", few(names)) };
            Err(Error::usage(format!(
                "{} has no column \"{}\": give a name, or a number from 1 to {width}{known}",
                path.display(),
                shown(column)
            )))
        }
    }
}

/// The delimiter: the most frequent candidate outside of quotes in the first line.
fn delimiter(bytes: &[u8]) -> u8 {
    let (mut count, mut quoted) = ([0usize; 3], false);
    let candidates = [b',', b';', b'\t'];
    for byte in bytes.iter().take_while(|byte| !matches!(byte, b'\n' | b'\r')) {
        quoted ^= *byte == b'"';
        if let Some(at) = candidates.iter().position(|c| c == byte && !quoted) {
            count[at] += 1;
        }
    }
    let most = count.into_iter().max().unwrap_or(0);
    candidates[count.iter().position(|n| *n == most).unwrap_or(0)]
}

/// The number in a cell.
fn number(cell: &str, decimal_comma: bool) -> Option<f64> {
    let parsed = cell.parse::<f64>().ok();
    let comma = || (decimal_comma && cell.matches(',').count() == 1).then(|| cell.replacen(',', ".", 1));
    parsed.or_else(|| comma()?.parse().ok())
}

/// A cell as text; bytes that are not UTF-8 are replaced.
fn text(record: &ByteRecord, column: usize) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(record.get(column).unwrap_or_default().trim_ascii())
}

/// A file while it is read.
struct Rows<'a> {
    path: &'a Path,
    roles: Roles,
    decimal_comma: bool,
    inputs: Vec<f64>,
    labels: Vec<u8>,
    targets: Vec<f64>,
    classes: &'a mut Classes,
}

/// Reads all rows of a file.
fn rows(path: &Path, bytes: &[u8], reading: &Reading, classes: &mut Classes) -> Result<(Roles, Part)> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // The shortest cells have one byte and a delimiter.
    memory::check(|| format!("reading {}", path.display()), 4 * bytes.len() as u64, "take fewer samples")?;
    let delimiter = delimiter(bytes);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(delimiter).from_reader(bytes);
    let refuse = |e: ::csv::Error| Error::data(path, format!("this is not CSV: {}", shown(&e.to_string())));
    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(refuse)? {
        return Err(Error::data(path, "there is no row; expected one sample per row"));
    }
    let (width, decimal_comma) = (record.len(), delimiter == b';');
    let numeric = (0..width).any(|column| number(&text(&record, column), decimal_comma).is_some());
    let header = reading.header.unwrap_or(!numeric);
    let names: Vec<String> =
        if header { (0..width).map(|column| text(&record, column).into_owned()).collect() } else { Vec::new() };
    let roles = Roles::new(path, names, width, reading)?;
    let (inputs, labels, targets) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = Rows { path, roles, decimal_comma, inputs, labels, targets, classes };
    if !header {
        rows.push(&record)?;
    }
    while reader.read_byte_record(&mut record).map_err(refuse)? {
        rows.push(&record)?;
    }
    rows.part()
}

impl Rows<'_> {
    /// Adds a row.
    fn push(&mut self, record: &ByteRecord) -> Result<()> {
        let line = record.position().map_or(0, ::csv::Position::line);
        if record.len() != self.roles.width {
            let (has, width) = (record.len(), self.roles.width);
            return Err(Error::data(self.path, format!("line {line} has {has} cells; the first line has {width}")));
        }
        for i in 0..self.roles.inputs.len() {
            let value = self.number(record, line, self.roles.inputs[i])?;
            self.inputs.push(value);
        }
        for i in 0..self.roles.targets.len() {
            let value = self.number(record, line, self.roles.targets[i])?;
            self.targets.push(value);
        }
        if let Some(column) = self.roles.label {
            let label = self.label(record, line, column)?;
            self.labels.push(label);
        }
        Ok(())
    }

    /// The number in a cell.
    fn number(&self, record: &ByteRecord, line: u64, column: usize) -> Result<f64> {
        let cell = text(record, column);
        let value = number(&cell, self.decimal_comma);
        if let Some(value) = value.filter(|value| value.is_finite()) {
            return Ok(value);
        }
        let name = self.roles.names.get(column);
        let names = name.cloned().unwrap_or_else(|| (column + 1).to_string());
        let why = match value {
            Some(_) => format!("\"{}\" is not a finite number; remove the row, or fill the cell", shown(&cell)),
            None if MISSING.contains(&cell.to_lowercase().as_str()) => {
                "the value is missing; remove the row, or fill the cell".to_owned()
            }
            None => format!(
                "\"{}\" is not a number; write it as one, or leave the column out: --ignore-columns {}",
                shown(&cell),
                shown(&names)
            ),
        };
        Err(Error::data(self.path, format!("line {line}, {}: {why}", described(&self.roles.names, column))))
    }

    /// The class in a cell. Whole numbers are the same class in any notation.
    fn label(&mut self, record: &ByteRecord, line: u64, column: usize) -> Result<u8> {
        let cell = text(record, column);
        let at = || format!("line {line}, {}", described(&self.roles.names, column));
        let real = |why: String| {
            let why = format!("{why}. If the column holds real targets: --target-columns {}", column + 1);
            Err(Error::data(self.path, format!("{}: {why}", at())))
        };
        let name = match cell.parse::<f64>() {
            _ if cell.is_empty() => {
                return Err(Error::data(self.path, format!("{}: the class is missing; remove the row", at())));
            }
            Ok(v) if v.fract() == 0.0 && v.abs() < 1e15 => format!("{}", v as i64),
            Ok(_) => return real(format!("\"{}\" is no class; expected a word or a whole number", shown(&cell))),
            Err(_) => cell.into_owned(),
        };
        match self.classes.of(&name) {
            Some(label) => Ok(label),
            None => real(format!(
                "\"{}\" would be class {}; at most {MAX_CLASSES} are possible",
                shown(&name),
                MAX_CLASSES + 1
            )),
        }
    }

    /// The samples.
    fn part(self) -> Result<(Roles, Part)> {
        let Rows { path, roles, inputs, labels, targets, .. } = self;
        let array = |values: Vec<f64>, width: usize| {
            Array2::from_shape_vec((values.len() / width.max(1), width), values)
                .map_err(|e| Error::data(path, format!("the rows have different lengths: {e}")))
        };
        let answers = match roles.label {
            Some(_) => Answers::Classes(labels),
            None => Answers::Values(array(targets, roles.targets.len())?),
        };
        let inputs = Raw::Numbers(array(inputs, roles.inputs.len())?);
        Ok((roles, Part { inputs, answers }))
    }
}
