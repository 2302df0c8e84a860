//! Checkpoints: the complete state of a training. A resumed training gives the bits of an uninterrupted one.
//!
//! A checkpoint is three files in the folder of a run:
//!
//! * `metrics-1.csv`, the append-only log of epochs ([`MetricsLog`]);
//! * `state-<updates>.safetensors`, with the persistent slots and the per-example slots;
//! * `checkpoint.json`, the manifest. It holds the progress of the training, the name and SHA-256 of the state file, and the name,
//!   length and SHA-256 of the log. It also holds a SHA-256 of itself.
//!
//! The log is synced first, then the state is written atomically, then the manifest. So after a crash at any point the existing
//! `checkpoint.json` names a complete state and log. The cost of a checkpoint does not grow with the number of epochs.

use crate::device::{BlockingSession, SavedSlot};
use crate::error::{Error, Result};
use crate::files::{Links, is_temporary, open_regular, read_bounded, write_with};
use crate::memory;
use crate::network::Weights;
use crate::network::write_numbers;
use crate::plan::{Domain, Initial, Plan};
use crate::train::{EpochRow, MetricsLog, MetricsMark, is_log};
use ndarray::{Array2, ArrayViewD};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// File name of the manifest.
pub const CHECKPOINT_FILE: &str = "checkpoint.json";
/// The largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 28;
/// The JSON key of the manifest's SHA-256 of itself.
const SEAL: &str = "sha256";

/// The progress of a training.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are finished and evaluated.
    pub epoch: u64,
    /// Updates done in the current epoch.
    pub within: u64,
    /// Updates done in total.
    pub updates: u64,
    /// Seconds spent on updates.
    pub seconds: f64,
    /// One row per finished epoch. On disk they are in the log of metrics.
    #[serde(skip)]
    pub rows: Arc<Vec<EpochRow>>,
    /// The error of the best epoch so far, if errors of epochs are comparable.
    #[serde(default)]
    pub best: Option<f64>,
    /// The best epoch, counted from 1.
    #[serde(default)]
    pub best_epoch: Option<u64>,
}

impl Progress {
    /// Adds the row of a finished epoch.
    pub fn push(&mut self, row: EpochRow) {
        // This mutates in place unless a copy of a checkpoint shares the rows.
        Arc::make_mut(&mut self.rows).push(row);
        (self.epoch, self.within) = (self.epoch + 1, 0);
    }
}

/// The state of a training between two updates.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// The progress.
    pub progress: Progress,
    /// The persistent slots, weights included.
    pub kept: Vec<SavedSlot>,
    /// By task: the per-example slots, [samples, n] each.
    pub examples: BTreeMap<usize, Vec<Array2<f32>>>,
}

/// The contents of `checkpoint.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The zilch version that wrote it.
    pub version: String,
    /// The driver of the device.
    pub driver: String,
    /// The settings of the run, as in `run.json`.
    pub settings: Value,
    /// The command line arguments of `zilch train` that started the run.
    #[serde(with = "crate::files::words::list")]
    pub arguments: Vec<OsString>,
    /// The working directory of that command.
    #[serde(with = "crate::files::words::path")]
    pub folder: PathBuf,
    /// The progress.
    pub progress: Progress,
    /// The name of the state file, in the same folder.
    pub state: String,
    /// The SHA-256 of the state file.
    pub state_sha256: String,
    /// The part of the log of epochs, in the same folder, that belongs to the checkpoint.
    pub metrics: MetricsMark,
}

impl Checkpoint {
    /// The checkpoint of the current session, which trains task `turn`, and of the `waiting` sessions of other tasks.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn of(
        session: &BlockingSession,
        turn: usize,
        waiting: &BTreeMap<usize, BlockingSession>,
        progress: Progress,
    ) -> Result<Self> {
        let mut examples = BTreeMap::new();
        for (turn, session) in waiting.iter().map(|(turn, s)| (*turn, s)).chain([(turn, session)]) {
            let values = session.examples()?;
            if !values.is_empty() {
                examples.insert(turn, values);
            }
        }
        Ok(Checkpoint { progress, kept: session.persistent()?, examples })
    }

    /// The size of the persistent slots, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let values = |kept: &SavedSlot| kept.numbers.len() + kept.bias.as_ref().map_or(0, |bias| bias.len());
        (size_of::<f32>() * self.kept.iter().map(values).sum::<usize>()) as u64
    }

    /// Moves the weights out of the persistent slots; `None` if one is missing. It does not copy, since there may be no memory for a copy.
    pub(crate) fn take_weights(&mut self, plan: &Plan) -> Option<Weights> {
        let find = |kept: &[SavedSlot], l: usize| {
            let slot = plan.slot(plan.theta(l)?);
            kept.iter().position(|kept| {
                kept.key == plan.families[slot.family.0].key && Domain::Connections(kept.at) == slot.home
            })
        };
        let all: Vec<usize> = (1..=plan.matrices()).map(|l| find(&self.kept, l)).collect::<Option<_>>()?;
        let mut weights = Weights { theta: Vec::new(), bias: Vec::new() };
        for i in all {
            let SavedSlot { numbers, bias, .. } = &mut self.kept[i];
            weights.theta.push(std::mem::take(numbers));
            weights.bias.extend(bias.take());
        }
        Some(weights)
    }

    /// The tensors of the state file, by name.
    fn tensors(&self) -> BTreeMap<String, ArrayViewD<'_, f32>> {
        let mut tensors = BTreeMap::new();
        for SavedSlot { key, at, numbers, bias } in &self.kept {
            let name = name_of(key, *at);
            if let Some(bias) = bias {
                tensors.insert(format!("{name}.bias"), bias.view().into_dyn());
            }
            tensors.insert(name, numbers.view().into_dyn());
        }
        for (turn, all) in &self.examples {
            for (i, numbers) in all.iter().enumerate() {
                tensors.insert(format!("examples.{turn}.{i}"), numbers.view().into_dyn());
            }
        }
        tensors
    }

    /// Writes the state in the safetensors format, row by row, since there may be no memory for a serialised copy.
    fn write_state(&self, out: &mut dyn Write) -> io::Result<()> {
        let tensors = self.tensors();
        let mut end = 0;
        let infos = tensors.iter().map(|(name, numbers)| {
            let start = end;
            end += numbers.len() * size_of::<f32>();
            let (dtype, shape) = (Dtype::F32, numbers.shape().to_vec());
            (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        });
        let header = Metadata::new(None, infos.collect()).map_err(io::Error::other)?;
        let mut header = serde_json::to_vec(&header)?;
        header.resize(header.len().next_multiple_of(size_of::<u64>()), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let mut rows = tensors.values().flat_map(|numbers| numbers.rows());
        rows.try_for_each(|row| write_numbers(out, row.iter()))
    }

    /// Writes the checkpoint into the folder `dir`, whose log of epochs is `log`: first the rows that the log lacks, then the state,
    /// then the manifest. It then removes the states and logs of earlier checkpoints.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written. The earlier checkpoint is then intact, and no partial file is left.
    pub fn write(&self, dir: &Path, about: &Manifest, log: &mut MetricsLog) -> Result<()> {
        log.append(&self.progress.rows)?;
        let metrics = log.mark()?;
        let state = format!("state-{}.safetensors", self.progress.updates);
        let mut hash = Sha256::new();
        let mut fill = |out: &mut dyn Write| self.write_state(&mut Hashed { out, hash: &mut hash });
        write_with(&dir.join(&state), Links::Refused, &mut fill)?;
        let state_sha256 = crate::files::hex(&hash.finalize());
        let manifest = Manifest { progress: self.progress.clone(), state, state_sha256, metrics, ..about.clone() };
        if let Err(error) = manifest.write(dir) {
            // A state without a manifest is useless, unless an earlier manifest names the same file (a state after as many updates).
            if !Manifest::read(dir).is_ok_and(|earlier| earlier.state == manifest.state) {
                let _ = fs::remove_file(dir.join(&manifest.state));
            }
            return Err(error);
        }
        remove_others(dir, Some(&manifest));
        Ok(())
    }

    /// Reads the checkpoint of a folder for `plan`. `samples` is the number of training samples of each task.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none or it is damaged; [`Error::Limit`] when it exceeds the free memory.
    pub fn read(dir: &Path, manifest: &Manifest, plan: &Plan, samples: &[usize]) -> Result<Checkpoint> {
        let rows = MetricsLog::read(dir, &manifest.metrics)?;
        let path = dir.join(&manifest.state);
        let damaged = |why: String| Error::data(&path, why);
        let mut file = open_regular(&path, Links::Refused, false).map_err(|e| damaged(e.to_string()))?;
        // The bytes of the file and the parsed values are in memory at the same time.
        let length = file.metadata().map_err(|e| damaged(e.to_string()))?.len();
        let what = || format!("reading {}", path.display());
        memory::check(
            what,
            length.saturating_mul(2),
            "resume on a machine with as much memory as the one that started the run",
        )?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(length).read_to_end(&mut bytes).map_err(|e| damaged(e.to_string()))?;
        if sha256(&bytes) != manifest.state_sha256 {
            return Err(damaged("its SHA-256 differs from the one in checkpoint.json: the file is damaged".into()));
        }
        let progress = Progress { rows: Arc::new(rows), ..manifest.progress.clone() };
        Checkpoint::parse(&path, &bytes, progress, plan, samples)
    }

    /// Parses the bytes of a state file as the checkpoint of a training by `plan` with this `progress`. Errors name `path`; `samples`
    /// is the number of training samples of each task.
    ///
    /// # Errors
    /// [`Error::Data`] when the state is damaged or belongs to another run.
    pub fn parse(path: &Path, bytes: &[u8], progress: Progress, plan: &Plan, samples: &[usize]) -> Result<Checkpoint> {
        let damaged = |why: String| Error::data(path, why);
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let read = |name: &str| -> Option<(Vec<usize>, Vec<f32>)> {
            let view = tensors.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32)?;
            let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Some((view.shape().to_vec(), numbers.collect()))
        };
        let matrix = |name: &str| {
            let (shape, numbers) = read(name)?;
            let &[rows, cols] = &shape[..] else { return None };
            Array2::from_shape_vec((rows, cols), numbers).ok()
        };
        let mut kept = Vec::new();
        for slot in plan.slots.iter().filter(|slot| slot.persistent) {
            let (Domain::Connections(at) | Domain::Vector(at) | Domain::BatchScalar(at)) = slot.home else { continue };
            let key = plan.families[slot.family.0].key;
            let name = name_of(key, at);
            let numbers =
                matrix(&name).ok_or_else(|| damaged(format!("it lacks {name}: it belongs to another run")))?;
            let bias = read(&format!("{name}.bias")).map(|(_, numbers)| ndarray::Array1::from(numbers));
            let (shape, biases) = match slot.home {
                Domain::Connections(at) => {
                    let of = &plan.projections[at];
                    let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n);
                    ((to, from), plan.biased(at).then_some(to))
                }
                home => ((1, plan.extent(home)), None),
            };
            if (numbers.dim(), bias.as_ref().map(|b| b.len())) != (shape, biases) {
                return Err(damaged(format!("the shape of its {name} is not {shape:?}: it belongs to another run")));
            }
            // A run never stops with NaN or infinite weights. Other slots may be infinite, such as Adam's second moments.
            let mut weights = numbers.iter().chain(bias.iter().flatten());
            if matches!(slot.start, Initial::Weights(_)) && weights.any(|v| !v.is_finite()) {
                return Err(damaged(format!("its {name} holds NaN or infinity")));
            }
            kept.push(SavedSlot { key, at, numbers, bias });
        }
        let examples = examples_of(&tensors, plan, samples, &matrix).map_err(damaged)?;
        Ok(Checkpoint { progress, kept, examples })
    }
}

impl Manifest {
    /// The manifest of a new run that was started with these arguments.
    pub fn begin(settings: &Value, arguments: Vec<OsString>, driver: &str) -> Manifest {
        Manifest {
            version: env!("CARGO_PKG_VERSION").into(),
            driver: driver.into(),
            settings: settings.clone(),
            arguments,
            folder: std::env::current_dir().unwrap_or_default(),
            progress: Progress::default(),
            state: String::new(),
            state_sha256: String::new(),
            metrics: MetricsMark::default(),
        }
    }

    /// Writes the manifest into a folder, for the state and log that it names.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(CHECKPOINT_FILE);
        let value = serde_json::to_value(self).map_err(|e| Error::io(&path, e.into()))?;
        let text = sealed(value).to_string() + "\n";
        write_with(&path, Links::Refused, |out| out.write_all(text.as_bytes()))
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`Error::Data`] when the file is missing or is not a manifest.
    pub fn read(dir: &Path) -> Result<Manifest> {
        let path = dir.join(CHECKPOINT_FILE);
        let bytes = read_bounded(&path, MAX_MANIFEST, Links::Refused);
        Manifest::parse(&path, &bytes.map_err(|e| Error::data(&path, e.to_string()))?)
    }

    /// Parses the bytes of a manifest; errors name `path`.
    ///
    /// # Errors
    /// [`Error::Data`] when they are not a manifest, or were changed since it was written.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        let refuse = |reason: String| Error::data(path, reason);
        let invalid = |e: serde_json::Error| {
            refuse(format!("this is not the manifest of a checkpoint ({})", crate::files::shown(&e.to_string())))
        };
        let value: Value = serde_json::from_slice(bytes).map_err(invalid)?;
        if value.get(SEAL).is_some() && sealed(value.clone()) != value {
            return Err(refuse("its SHA-256 differs from the one that it holds: it was edited, or is damaged".into()));
        }
        let sealed = value.get(SEAL).is_some();
        let manifest: Manifest = serde_json::from_value(value).map_err(invalid)?;
        if !sealed {
            return Err(refuse("it holds no SHA-256 of itself: it was edited, or is damaged".into()));
        }
        // Only a plain file name is accepted, since a path could lead to another folder.
        if !is_state(&manifest.state) {
            return Err(refuse(format!("it names no state file (\"{}\")", crate::files::shown(&manifest.state))));
        }
        Ok(manifest)
    }

    /// Removes the manifest, the states and the logs of a folder, at the end of its run.
    pub fn remove(dir: &Path) {
        // A file that cannot be removed does no harm.
        let _ = fs::remove_file(dir.join(CHECKPOINT_FILE));
        remove_others(dir, None);
    }
}

/// Adds the seal to a manifest: the SHA-256 of its compact JSON with sorted keys, without the seal itself.
pub fn sealed(mut manifest: Value) -> Value {
    if let Some(object) = manifest.as_object_mut() {
        object.remove(SEAL);
        let text = Value::Object(object.clone()).to_string();
        object.insert(SEAL.to_owned(), sha256(text.as_bytes()).into());
    }
    manifest
}

/// By task: the per-example slots, [samples, n] each. A task that has not been trained yet has no entry.
fn examples_of(
    tensors: &SafeTensors<'_>,
    plan: &Plan,
    samples: &[usize],
    matrix: &dyn Fn(&str) -> Option<Array2<f32>>,
) -> std::result::Result<BTreeMap<usize, Vec<Array2<f32>>>, String> {
    let widths: Vec<usize> =
        plan.slots.iter().filter(|slot| slot.per_example).map(|slot| plan.extent(slot.home)).collect();
    let mut examples = BTreeMap::new();
    let turns: BTreeSet<usize> =
        tensors.names().iter().filter_map(|name| turn_of(name)).map(|(turn, _)| turn).collect();
    for turn in turns {
        let rows = samples.get(turn).ok_or_else(|| {
            format!(
                "it has per-example states of task {turn} (counted from 0), and the number of tasks is {}",
                samples.len()
            )
        })?;
        let read = |(i, width): (usize, &usize)| {
            let name = format!("examples.{turn}.{i}");
            let of_shape = matrix(&name).filter(|numbers| numbers.dim() == (*rows, *width));
            of_shape
                .ok_or_else(|| format!("the shape of its {name} is not [{rows}, {width}]: it belongs to another run"))
        };
        examples.insert(turn, widths.iter().enumerate().map(read).collect::<std::result::Result<Vec<_>, _>>()?);
    }
    if examples.is_empty() != widths.is_empty() {
        return Err("its per-example states are not those that the rule keeps: it belongs to another run".into());
    }
    Ok(examples)
}

/// The name of a slot's tensor in the file, such as "theta.0".
fn name_of(key: &str, at: usize) -> String {
    format!("{key}.{at}")
}

/// Parses the name of a per-example tensor, such as "examples.1.0", into task and slot index.
fn turn_of(name: &str) -> Option<(usize, usize)> {
    let (turn, i) = name.strip_prefix("examples.")?.split_once('.')?;
    Some((turn.parse().ok()?, i.parse().ok()?))
}

/// Whether `name` is the name of a state file.
pub(crate) fn is_state(name: &str) -> bool {
    let number = name.strip_prefix("state-").and_then(|rest| rest.strip_suffix(".safetensors"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes all states and logs of a folder except those of the manifest `keep`, and all temporary files.
fn remove_others(dir: &Path, keep: Option<&Manifest>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let needed = |name: &str| keep.is_some_and(|m| m.state == name || m.metrics.file == name);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The lock excludes other writers, so that a temporary file was left by a killed process.
        if (is_state(&name) || is_log(&name) || is_temporary(&name)) && !needed(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A writer that also hashes what it writes.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hash: &'a mut Sha256,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn sha256(bytes: &[u8]) -> String {
    crate::files::hex(&Sha256::digest(bytes))
}
