//! Checkpoints: everything that a training needs to go on as if it had never stopped, to the bit.
//!
//! Three files in the folder of a run:
//!
//! * `metrics-1.csv`, the log of epochs, which is only appended to ([`MetricsLog`]);
//! * `state-<updates>.safetensors`, with the slots that persist on the device and those that training examples keep;
//! * `checkpoint.json`, the manifest. It says how far the training is, names the state with its SHA-256 and the log with its length and
//!   SHA-256, and is sealed by a SHA-256 of itself.
//!
//! The log is synced first, the state is written whole, and the manifest is written whole and last. So whenever a process dies, the
//! `checkpoint.json` that is there names a state and a log that are there. What a checkpoint costs does not grow with the epochs.

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

/// The name of the manifest in a run's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.json";
/// The most bytes of a manifest that are looked at.
const MAX_MANIFEST: u64 = 1 << 28;
/// The key of a manifest's SHA-256 of itself.
const SEAL: &str = "sha256";

/// How far a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epochs that are over and evaluated.
    pub epoch: u64,
    /// Updates made in the one under way.
    pub within: u64,
    /// Updates made in all.
    pub updates: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// A row for each epoch that is over; in files, the log of metrics has them.
    #[serde(skip)]
    pub rows: Arc<Vec<EpochRow>>,
    /// The error of the best epoch so far, where epochs can be compared.
    #[serde(default)]
    pub best: Option<f64>,
    /// Its number, from 1.
    #[serde(default)]
    pub best_epoch: Option<u64>,
}

impl Progress {
    /// An epoch is over.
    pub fn push(&mut self, row: EpochRow) {
        // In place, unless a copy of a checkpoint still holds the rows.
        Arc::make_mut(&mut self.rows).push(row);
        (self.epoch, self.within) = (self.epoch + 1, 0);
    }
}

/// A training at rest.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// How far it is.
    pub progress: Progress,
    /// What lasts on the device.
    pub kept: Vec<SavedSlot>,
    /// By task: what its training examples have for themselves.
    pub examples: BTreeMap<usize, Vec<Array2<f32>>>,
}

/// What `checkpoint.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of zilch that wrote it.
    pub version: String,
    /// The driver of its device.
    pub driver: String,
    /// What the run is, as its `run.json` has it.
    pub settings: Value,
    /// The arguments of `zilch train` that began it.
    #[serde(with = "crate::files::words::list")]
    pub arguments: Vec<OsString>,
    /// The folder that they were typed in.
    #[serde(with = "crate::files::words::path")]
    pub folder: PathBuf,
    /// How far it is.
    pub progress: Progress,
    /// The file of the state, in the same folder.
    pub state: String,
    /// Its SHA-256.
    pub state_sha256: String,
    /// The log of epochs, in the same folder.
    pub metrics: MetricsMark,
}

impl Checkpoint {
    /// Of a session, and of those that wait for their task's turn.
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
            let numbers = session.examples()?;
            if !numbers.is_empty() {
                examples.insert(turn, numbers);
            }
        }
        Ok(Checkpoint { progress, kept: session.lasting()?, examples })
    }

    /// Bytes of what lasts.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = |kept: &SavedSlot| kept.numbers.len() + kept.bias.as_ref().map_or(0, |bias| bias.len());
        (size_of::<f32>() * self.kept.iter().map(numbers).sum::<usize>()) as u64
    }

    /// Takes the weights out of what lasts, where they are all there: there may be no memory for a copy.
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

    /// The tensors of the state, by name.
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

    /// Writes the state as a file has it, row by row: there may be no memory for it as bytes.
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

    /// Writes it into the folder `dir`, whose log of epochs is `log`: epochs that the log lacks first, then the state, then the manifest.
    /// States and logs of earlier checkpoints are removed when it is there.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written: what was there before is still there, and nothing besides.
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
            // Without its manifest it is of no use, unless an earlier one names a state after as many updates.
            if !Manifest::read(dir).is_ok_and(|earlier| earlier.state == manifest.state) {
                let _ = fs::remove_file(dir.join(&manifest.state));
            }
            return Err(error);
        }
        remove_others(dir, Some(&manifest));
        Ok(())
    }

    /// Reads the newest one of a folder, for a plan; `samples` is the number of training samples of each task.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, or when it is damaged; [`Error::Limit`] when it exceeds the memory that is free.
    pub fn read(dir: &Path, manifest: &Manifest, plan: &Plan, samples: &[usize]) -> Result<Checkpoint> {
        let rows = MetricsLog::read(dir, &manifest.metrics)?;
        let path = dir.join(&manifest.state);
        let damaged = |why: String| Error::data(&path, why);
        let mut file = open_regular(&path, Links::Refused, false).map_err(|e| damaged(e.to_string()))?;
        // The file and its numbers are in memory at once.
        let length = file.metadata().map_err(|e| damaged(e.to_string()))?.len();
        let what = || format!("reading {}", path.display());
        memory::check(what, length.saturating_mul(2), "go on where the run was begun")?;
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(length).read_to_end(&mut bytes).map_err(|e| damaged(e.to_string()))?;
        if sha256(&bytes) != manifest.state_sha256 {
            return Err(damaged("its SHA-256 is not the one that checkpoint.json says; it is damaged".into()));
        }
        let progress = Progress { rows: Arc::new(rows), ..manifest.progress.clone() };
        Checkpoint::parse(&path, &bytes, progress, plan, samples)
    }

    /// The checkpoint of a training by `plan` that is so far, from the bytes of its state; `path` is what errors name, and `samples` the
    /// number of training samples of each task.
    ///
    /// # Errors
    /// [`Error::Data`] when the state is damaged, or of another run.
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
            let numbers = matrix(&name).ok_or_else(|| damaged(format!("it has no {name}; it is of another run")))?;
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
                return Err(damaged(format!("its {name} has not the shape {shape:?}; it is of another run")));
            }
            // A run is never stopped with such weights; other slots may be infinite, as Adam's averages of squares.
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
    /// Of a run that begins, by these arguments.
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

    /// Writes it into a folder.
    fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(CHECKPOINT_FILE);
        let value = serde_json::to_value(self).map_err(|e| Error::io(&path, e.into()))?;
        let text = sealed(value).to_string() + "\n";
        write_with(&path, Links::Refused, |out| out.write_all(text.as_bytes()))
    }

    /// The manifest of a folder.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, or it is none.
    pub fn read(dir: &Path) -> Result<Manifest> {
        let path = dir.join(CHECKPOINT_FILE);
        let bytes = read_bounded(&path, MAX_MANIFEST, Links::Refused);
        Manifest::parse(&path, &bytes.map_err(|e| Error::data(&path, e.to_string()))?)
    }

    /// A manifest of these bytes; `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::Data`] when it is none, or was changed since it was written.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        let refuse = |reason: String| Error::data(path, reason);
        let none = |e: serde_json::Error| {
            refuse(format!("it is no manifest of a checkpoint ({})", crate::files::shown(&e.to_string())))
        };
        let value: Value = serde_json::from_slice(bytes).map_err(none)?;
        if value.get(SEAL).is_some() && sealed(value.clone()) != value {
            return Err(refuse("its SHA-256 is not the one in it: it was edited, or is damaged".into()));
        }
        let sealed = value.get(SEAL).is_some();
        let manifest: Manifest = serde_json::from_value(value).map_err(none)?;
        if !sealed {
            return Err(refuse("it has no SHA-256 of itself: it was edited, or is damaged".into()));
        }
        // A name, and no path to somewhere else.
        if !is_state(&manifest.state) {
            return Err(refuse(format!("it names no state (\"{}\")", crate::files::shown(&manifest.state))));
        }
        Ok(manifest)
    }

    /// Removes manifest, states and logs of a folder: its run is over.
    pub fn remove(dir: &Path) {
        // What cannot be removed does no harm.
        let _ = fs::remove_file(dir.join(CHECKPOINT_FILE));
        remove_others(dir, None);
    }
}

/// A manifest with its seal: the SHA-256 of its text without the seal, in compact form with sorted keys.
pub fn sealed(mut manifest: Value) -> Value {
    if let Some(object) = manifest.as_object_mut() {
        object.remove(SEAL);
        let text = Value::Object(object.clone()).to_string();
        object.insert(SEAL.to_owned(), sha256(text.as_bytes()).into());
    }
    manifest
}

/// By task: what its training examples have for themselves, each with a row per training sample. A task that had no turn yet has none.
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
        let rows = samples
            .get(turn)
            .ok_or_else(|| format!("it has states of task {turn}, and there are {}", samples.len()))?;
        let read = |(i, width): (usize, &usize)| {
            let name = format!("examples.{turn}.{i}");
            let of_shape = matrix(&name).filter(|numbers| numbers.dim() == (*rows, *width));
            of_shape.ok_or_else(|| format!("its {name} has not the shape [{rows}, {width}]; it is of another run"))
        };
        examples.insert(turn, widths.iter().enumerate().map(read).collect::<std::result::Result<Vec<_>, _>>()?);
    }
    if examples.is_empty() != widths.is_empty() {
        return Err("it lacks states of examples, or has some that its rule does not keep; it is of another run".into());
    }
    Ok(examples)
}

/// "theta.0": a slot's name in the file.
fn name_of(slot: &str, at: usize) -> String {
    format!("{slot}.{at}")
}

/// "examples.1.0": the task and the number of the slot.
fn turn_of(name: &str) -> Option<(usize, usize)> {
    let (turn, i) = name.strip_prefix("examples.")?.split_once('.')?;
    Some((turn.parse().ok()?, i.parse().ok()?))
}

/// Whether a file's name is that of a state.
pub(crate) fn is_state(name: &str) -> bool {
    let number = name.strip_prefix("state-").and_then(|rest| rest.strip_suffix(".safetensors"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes the states and logs of a folder but for those of one checkpoint, and files that were never finished.
fn remove_others(dir: &Path, but: Option<&Manifest>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let needed = |name: &str| but.is_some_and(|m| m.state == name || m.metrics.file == name);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Nobody else writes here: a temporary file is that of a process that was killed.
        if (is_state(&name) || is_log(&name) || is_temporary(&name)) && !needed(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// What is written, and its SHA-256.
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
