//! Checkpoints: everything that a training needs to go on as if it had never stopped, to the bit.
//!
//! Two files in the folder of a run: the state, `state-<updates>.safetensors`, with all that lasts on the device and what training
//! examples have for themselves; and then `checkpoint.json`, which names it with its SHA-256 and says how far the training is. Both are
//! written whole, and the second one last: whenever a process dies, the newest `checkpoint.json` names a state that is there.

use crate::device::{Kept, Session};
use crate::error::{Error, Result};
use crate::files::{EpochMetrics, write_numbers, write_whole};
use crate::memory;
use crate::plan::{Home, Plan};
use crate::probe::Probed;
use ndarray::{Array2, ArrayViewD};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The name of the manifest in a run's folder.
pub const CHECKPOINT_FILE: &str = "checkpoint.json";
/// The most bytes of a manifest that are looked at.
const MAX_MANIFEST: u64 = 1 << 28;

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
    /// A row for each epoch that is over.
    pub metrics: Vec<EpochMetrics>,
    /// The test error of each task, where every task is tested.
    pub tested: Vec<Vec<f64>>,
    /// The error on held-out samples.
    pub held: Vec<f64>,
    /// What was probed.
    pub probed: Vec<Vec<Probed>>,
    /// The error of the best epoch so far, where epochs can be compared.
    #[serde(default)]
    pub best: Option<f64>,
    /// Its number, from 1.
    #[serde(default)]
    pub best_epoch: Option<u64>,
}

/// A training at rest.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// How far it is.
    pub progress: Progress,
    /// What lasts on the device.
    pub kept: Vec<Kept>,
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
    pub settings: serde_json::Value,
    /// The arguments of `zilch train` that began it.
    pub arguments: Vec<String>,
    /// The folder that they were typed in.
    pub folder: PathBuf,
    /// How far it is.
    pub progress: Progress,
    /// The file of the state, in the same folder.
    pub state: String,
    /// Its SHA-256.
    pub state_sha256: String,
}

impl Checkpoint {
    /// Of a session, and of those that wait for their task's turn.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub fn of(session: &Session, turn: usize, waiting: &BTreeMap<usize, Session>, progress: Progress) -> Result<Self> {
        let mut examples = BTreeMap::new();
        for (turn, session) in waiting.iter().map(|(turn, s)| (*turn, s)).chain([(turn, session)]) {
            let numbers = session.examples()?;
            if !numbers.is_empty() {
                examples.insert(turn, numbers);
            }
        }
        Ok(Checkpoint { progress, kept: session.lasting()?, examples })
    }

    /// The tensors of the state, by name.
    fn tensors(&self) -> BTreeMap<String, ArrayViewD<'_, f32>> {
        let mut tensors = BTreeMap::new();
        for Kept { name, at, numbers, bias } in &self.kept {
            let name = name_of(name, *at);
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

    /// Writes it into a folder, state first; states of earlier checkpoints are removed when it is there.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written: what was there before is still there.
    pub fn write(&self, dir: &Path, about: &Manifest) -> Result<()> {
        let state = format!("state-{}.safetensors", self.progress.updates);
        let mut hash = Sha256::new();
        write_whole(&dir.join(&state), |out| self.write_state(&mut Hashed { out, hash: &mut hash }))?;
        let state_sha256 = crate::network::hex(&hash.finalize());
        let manifest =
            Manifest { progress: self.progress.clone(), state: state.clone(), state_sha256, ..about.clone() };
        write_whole(&dir.join(CHECKPOINT_FILE), |out| {
            serde_json::to_writer(&mut *out, &manifest)?;
            out.write_all(b"\n")
        })?;
        remove_states(dir, Some(&state));
        Ok(())
    }

    /// Reads the newest one of a folder, for a plan.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, or when it is damaged; [`Error::Limit`] when it exceeds the memory that is free.
    pub fn read(dir: &Path, manifest: &Manifest, plan: &Plan) -> Result<Checkpoint> {
        let path = dir.join(&manifest.state);
        let damaged = |why: String| Error::data(&path, why);
        // The file and its numbers are in memory at once.
        let length = fs::metadata(&path).map_err(|e| damaged(e.to_string()))?.len();
        let what = || format!("reading {}", path.display());
        memory::check(what, length.saturating_mul(2), "go on where the run was begun")?;
        let bytes = fs::read(&path).map_err(|e| damaged(e.to_string()))?;
        if sha256(&bytes) != manifest.state_sha256 {
            return Err(damaged("its SHA-256 is not the one that checkpoint.json says; it is damaged".into()));
        }
        Checkpoint::parse(&path, &bytes, manifest.progress.clone(), plan)
    }

    /// The checkpoint of a training by `plan` that is so far, from the bytes of its state; `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::Data`] when the state is damaged, or of another run.
    pub fn parse(path: &Path, bytes: &[u8], progress: Progress, plan: &Plan) -> Result<Checkpoint> {
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
        for slot in plan.slots.iter().filter(|slot| slot.lasting) {
            let (Home::Connections(at) | Home::Vector(at) | Home::One(at)) = slot.home else { continue };
            let name = name_of(slot.name, at);
            let numbers = matrix(&name).ok_or_else(|| damaged(format!("it has no {name}; it is of another run")))?;
            let bias = read(&format!("{name}.bias")).map(|(_, numbers)| ndarray::Array1::from(numbers));
            let (shape, biases) = match slot.home {
                Home::Connections(at) => {
                    let of = &plan.projections[at];
                    let [to, from] = [of.to, of.from].map(|p| plan.populations[p].n);
                    ((to, from), plan.biased(at).then_some(to))
                }
                home => ((1, plan.extent(home)), None),
            };
            if (numbers.dim(), bias.as_ref().map(|b| b.len())) != (shape, biases) {
                return Err(damaged(format!("its {name} has not the shape {shape:?}; it is of another run")));
            }
            kept.push(Kept { name: slot.name, at, numbers, bias });
        }
        let mut examples: BTreeMap<usize, Vec<Array2<f32>>> = BTreeMap::new();
        let names = tensors.names();
        let mut turns: Vec<(usize, usize)> = names.iter().filter_map(|name| turn_of(name)).collect();
        turns.sort_unstable();
        for (turn, i) in turns {
            let numbers = matrix(&format!("examples.{turn}.{i}")).unwrap_or_default();
            examples.entry(turn).or_default().push(numbers);
        }
        let remembered = plan.slots.iter().filter(|slot| slot.remembered).count();
        if examples.values().any(|all| all.len() != remembered) || examples.is_empty() != (remembered == 0) {
            return Err(damaged("it lacks states of examples; it is of another run".into()));
        }
        Ok(Checkpoint { progress, kept, examples })
    }
}

impl Manifest {
    /// Of a run that begins, by these arguments.
    pub fn begin(settings: &serde_json::Value, arguments: Vec<String>, driver: &str) -> Manifest {
        Manifest {
            version: env!("CARGO_PKG_VERSION").into(),
            driver: driver.into(),
            settings: settings.clone(),
            arguments,
            folder: std::env::current_dir().unwrap_or_default(),
            progress: Progress::default(),
            state: String::new(),
            state_sha256: String::new(),
        }
    }

    /// The manifest of a folder.
    ///
    /// # Errors
    /// [`Error::Data`] when there is none, or it is none.
    pub fn read(dir: &Path) -> Result<Manifest> {
        let path = dir.join(CHECKPOINT_FILE);
        let refuse = |reason: String| Error::data(&path, reason);
        let found = fs::metadata(&path).map_err(|e| refuse(e.to_string()))?;
        let length = found.len();
        // A named pipe would be waited for.
        if !found.is_file() {
            return Err(refuse("this is not a regular file".into()));
        }
        if length > MAX_MANIFEST {
            return Err(refuse(format!("{length} bytes are too many for a manifest")));
        }
        Manifest::parse(&path, &fs::read(&path).map_err(|e| refuse(e.to_string()))?)
    }

    /// A manifest of these bytes; `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::Data`] when it is none.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        let refuse = |reason: String| Error::data(path, reason);
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|e| refuse(format!("it is no manifest of a checkpoint ({e})")))?;
        // A name, and no path to somewhere else.
        if !is_state(&manifest.state) {
            return Err(refuse(format!("it names no state (\"{}\")", crate::files::shown(&manifest.state))));
        }
        Ok(manifest)
    }

    /// Removes manifest and states of a folder: its run is over.
    pub fn remove(dir: &Path) {
        // What cannot be removed does no harm.
        let _ = fs::remove_file(dir.join(CHECKPOINT_FILE));
        remove_states(dir, None);
    }
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
fn is_state(name: &str) -> bool {
    let number = name.strip_prefix("state-").and_then(|rest| rest.strip_suffix(".safetensors"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Removes the states of a folder but for one, and files that were never finished.
fn remove_states(dir: &Path, but: Option<&str>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let left_over = |name: &str| name.starts_with(".zilch-") && name.ends_with(".tmp");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // What a killed process was writing goes, too: nobody else writes here.
        if (is_state(&name) && Some(name.as_str()) != but) || left_over(&name) {
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
    crate::network::hex(&Sha256::digest(bytes))
}
