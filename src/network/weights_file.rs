//! Weights as a safetensors file.
//!
//! The file holds float32 tensors `theta.1` .. `theta.<lmax>`, where `theta.l` is θ^l [n^{l−1}, n^l], row-major; for a graph, one per
//! matrix ([`crate::network::graph`]). With biases it also holds `bias.1` .. `bias.<lmax>`, where `bias.l` is b^l [n^{l−1}].
//! The metadata has these keys:
//!
//! | key | value |
//! | --- | --- |
//! | `layers` | the layers, input first: `784,32,32,10` |
//! | `activation` | the activation's name |
//! | `input_activation` | only if set: `true` |
//! | `pixels` | only if they scale the input: mean and standard deviation, `0.5,0.5`; for several channels all means, then all deviations |
//! | `targets` | only if they are not 0 and 1: `-1,1` |
//!
//! The bytes depend only on the network and its weights. The values lie in the order of [`Weights::values`].

use crate::error::{Error, Result};
use crate::files::{Links, few, open_regular, shown, write_with};
use crate::memory;
use crate::network::{MAX_DEPTH, MAX_WIDTH, Network, Pixels, Weights};
use crate::plan::activation::Activation;
use ndarray::{Array1, Array2};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The size of the file's first field, the length of the header, in bytes.
const LENGTH_BYTES: u64 = 8;
/// The largest header in bytes: twenty times what the deepest network needs.
const MAX_HEADER: u64 = 1 << 20;

/// Inside this module an error is only its message; the public functions add the path.
type Checked<T> = std::result::Result<T, String>;

/// Writes `weights` of `network` to the file `path`, completely or not at all.
///
/// # Errors
/// [`Error::Weights`] if the weights do not have the network's shapes or are not all finite (such a file could not be
/// read back); [`Error::Io`] if the file cannot be written.
pub fn write_weights(path: &Path, network: &Network, weights: &Weights) -> Result<()> {
    write_with_links(path, Links::Followed, network, weights)
}

/// As [`write_weights`], but symbolic links are followed or refused.
pub(crate) fn write_with_links(path: &Path, links: Links, network: &Network, weights: &Weights) -> Result<()> {
    if !weights.fits(network) {
        return Err(Error::weights(path, format!("not written: these are not weights of {}", describe(network))));
    }
    if let Some((l, what)) = weights.not_finite() {
        return Err(Error::weights(path, format!("not written: {what} of layer {l} hold NaN or infinity")));
    }
    write_with(path, links, |out| {
        let mut header = serde_json::to_vec(&Header(network))?;
        header.resize(header.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (i, theta) in weights.theta.iter().enumerate() {
            theta.rows().into_iter().try_for_each(|row| write_numbers(out, row.iter()))?;
            weights.bias.get(i).map_or(Ok(()), |bias| write_numbers(out, bias.iter()))?;
        }
        Ok(())
    })
}

/// Reads a network and its weights from the file `path`, which zilch or Python's safetensors wrote.
///
/// Everything but the values is checked before a value is read, and the file's true size bounds the memory.
///
/// # Errors
/// [`Error::Weights`] if the file is missing, cannot be opened, is not a safetensors file, lacks metadata, lacks a tensor or
/// has one too many, if a tensor is not float32 or its shape is not that of `layers`, or if a value is NaN or infinite;
/// [`Error::Limit`] if the weights exceed the free memory; [`Error::Io`] if the disk fails.
pub fn read_weights(path: &Path) -> Result<(Network, Weights)> {
    WeightsFile::open(path)?.all()
}

/// Parses a network and its weights from the bytes of such a file; errors name `source`.
///
/// # Errors
/// As [`read_weights`].
pub fn parse_weights(source: &Path, bytes: &[u8]) -> Result<(Network, Weights)> {
    WeightsFile::of(source, Cursor::new(bytes), bytes.len() as u64)?.all()
}

/// Reads the weights of `network` from the file `path`.
///
/// # Errors
/// As [`read_weights`], and [`Error::Weights`] if the file holds the weights of another network: other
/// layers, another activation, or biases where the network has none. The names of layers do not matter.
pub fn read_weights_for(path: &Path, network: &Network) -> Result<Weights> {
    let mut file = WeightsFile::open(path)?;
    if !file.network.is_alike(network) {
        let (theirs, ours) = (describe(&file.network), describe(network));
        return Err(Error::weights(
            path,
            format!(
                "holds the weights of {theirs}, but this run has {ours}: give the options that the file was trained with, or another file"
            ),
        ));
    }
    file.read()
}

/// A network in words: "layers 784,32,10 (sigmoid, with biases)".
fn describe(network: &Network) -> String {
    let bias = if network.bias { "with biases" } else { "no biases" };
    let input = if network.input_activation { ", f on the input" } else { "" };
    let pixels = network.pixels.as_ref().map_or(String::new(), |scale| format!(", pixels {scale}"));
    let targets = network.targets.map_or(String::new(), |[off, on]| format!(", targets {off},{on}"));
    format!("layers {} ({}, {bias}{input}{pixels}{targets})", layers(network), network.activation)
}

/// The layers in the metadata's form, which is that of [`Network::notation`], input first.
fn layers(network: &Network) -> String {
    network.notation().join(",")
}

/// The names and shapes of a network's tensors, in the order of the file.
fn tensors(network: &Network) -> Vec<(String, Vec<usize>)> {
    let mut list = Vec::new();
    for l in 1..=network.matrices() {
        let (to, from) = network.shape(l);
        list.push((format!("theta.{l}"), vec![to, from]));
        if network.bias {
            list.push((format!("bias.{l}"), vec![to]));
        }
    }
    list
}

/// Bytes of a float32 tensor of this shape.
fn bytes_of(shape: &[usize]) -> usize {
    shape.iter().product::<usize>() * size_of::<f32>()
}

/// The header of a network's file. It is serialised here because the safetensors crate writes the metadata in the order of
/// a hash map, so that one network's file would differ between runs.
struct Header<'a>(&'a Network);

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let network = self.0;
        let mut metadata =
            BTreeMap::from([("layers", layers(network)), ("activation", network.activation.name().to_owned())]);
        if network.input_activation {
            metadata.insert("input_activation", "true".to_owned());
        }
        if let Some(scale) = &network.pixels {
            metadata.insert("pixels", scale.to_string());
        }
        if let Some([off, on]) = network.targets {
            metadata.insert("targets", format!("{off},{on}"));
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("__metadata__", &metadata)?;
        let mut start = 0;
        for (name, shape) in tensors(network) {
            let end = start + bytes_of(&shape);
            map.serialize_entry(&name, &TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })?;
            start = end;
        }
        map.end()
    }
}

/// Writes values as little-endian float32.
pub fn write_numbers<'a>(out: &mut dyn Write, numbers: impl Iterator<Item = &'a f32>) -> io::Result<()> {
    let bytes: Vec<u8> = numbers.flat_map(|v| v.to_le_bytes()).collect();
    out.write_all(&bytes)
}

/// An open file with a checked header; its values are not read yet.
struct WeightsFile<'a, R> {
    path: &'a Path,
    file: R,
    network: Network,
    /// The offset in the file of each of [`tensors`], in bytes.
    places: Vec<u64>,
}

impl<'a> WeightsFile<'a, File> {
    /// Opens the file and checks everything but the values.
    fn open(path: &'a Path) -> Result<Self> {
        let unreadable = |e: io::Error| Error::weights(path, format!("this weights file cannot be opened: {e}"));
        let file = open_regular(path, Links::Followed, false).map_err(unreadable)?;
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        Self::of(path, file, length)
    }
}

impl<'a, R: Read + Seek> WeightsFile<'a, R> {
    /// Checks everything but the values in a file of `length` bytes.
    fn of(path: &'a Path, mut file: R, length: u64) -> Result<Self> {
        let bytes = header_bytes(&mut file, length).map_err(|e| explain(path, e))?;
        let check = || -> Checked<(Network, Vec<u64>)> {
            let header = parse_header(&bytes, length)?;
            let network = network_of(&header)?;
            let offsets = check_tensors(&header, &network)?;
            let start = LENGTH_BYTES + bytes.len() as u64;
            Ok((network, offsets.into_iter().map(|o| start + o).collect()))
        };
        let (network, places) = check().map_err(|reason| Error::weights(path, reason))?;
        Ok(WeightsFile { path, file, network, places })
    }

    /// Reads the network and all values.
    fn all(mut self) -> Result<(Network, Weights)> {
        let weights = self.read()?;
        Ok((self.network, weights))
    }

    /// Reads all values.
    fn read(&mut self) -> Result<Weights> {
        let bytes = size_of::<f32>() as u64 * self.network.parameters();
        memory::check(|| format!("reading {}", self.path.display()), bytes, "take the weights of a smaller network")?;
        let mut weights = Weights { theta: Vec::new(), bias: Vec::new() };
        for (i, (name, shape)) in tensors(&self.network).into_iter().enumerate() {
            let numbers = self.numbers(self.places[i], &name, &shape)?;
            match shape[..] {
                [rows, columns] => {
                    let theta = Array2::from_shape_vec((rows, columns), numbers)
                        .map_err(|e| Error::weights(self.path, format!("{name}: {e}")))?;
                    weights.theta.push(theta);
                }
                _ => weights.bias.push(Array1::from_vec(numbers)),
            }
        }
        Ok(weights)
    }

    /// Reads the tensor `name` at the offset `place`, and refuses NaN and infinity.
    fn numbers(&mut self, place: u64, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let count: usize = shape.iter().product();
        let mut numbers: Vec<f32> = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| {
            let bytes = bytes_of(shape);
            Error::weights(self.path, format!("{name} takes {bytes} bytes, more memory than this machine gives"))
        })?;
        numbers.resize(count, 0.0);
        self.file
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.file.read_exact(bytemuck::cast_slice_mut(&mut numbers)))
            .map_err(|e| explain(self.path, e))?;
        for (index, value) in numbers.iter_mut().enumerate() {
            *value = f32::from_bits(u32::from_le(value.to_bits()));
            if !value.is_finite() {
                let place = match shape {
                    [_, columns] => format!("{}, {}", index / columns, index % columns),
                    _ => index.to_string(),
                };
                let reason = format!("{name}[{place}] is {value}; weights must be finite");
                return Err(Error::weights(self.path, reason));
            }
        }
        Ok(numbers)
    }
}

/// The error of a failed read: a fault of the file, or of the disk.
fn explain(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidData => Error::weights(path, error.to_string()),
        ErrorKind::UnexpectedEof => Error::weights(path, "the file became shorter while it was read"),
        _ => Error::io(path, error),
    }
}

/// Reads the header's JSON from a file of `length` bytes.
fn header_bytes(file: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let refuse = |reason: String| io::Error::new(ErrorKind::InvalidData, reason);
    let Some(rest) = length.checked_sub(LENGTH_BYTES) else {
        return Err(refuse(format!("this is not a safetensors file, or it was cut short: it has {length} bytes")));
    };
    let mut size = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > rest.min(MAX_HEADER) {
        return Err(refuse(format!(
            "this is not a safetensors file, or it was cut short: its first 8 bytes announce a header of {size} bytes, \
             but {rest} bytes follow (and a header may have at most {MAX_HEADER})"
        )));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    Ok(header)
}

/// Parses the header, and checks it against the format and the file's `length` in bytes.
fn parse_header(bytes: &[u8], length: u64) -> Checked<Metadata> {
    let damaged = |e: serde_json::Error| {
        format!("this is not a safetensors file, or its header is damaged: {}", shown(&e.to_string()))
    };
    let header: Metadata = serde_json::from_slice(bytes).map_err(damaged)?;
    serde_json::from_slice::<DistinctKeys>(bytes).map_err(damaged)?;
    let expected = (LENGTH_BYTES + bytes.len() as u64).saturating_add(header.data_len() as u64);
    if expected != length {
        let how = if length < expected { "was cut short" } else { "has bytes after its end" };
        return Err(format!("the file {how}: its header describes {expected} bytes, and it has {length}"));
    }
    Ok(header)
}

/// The keys of a header, checked to be distinct. With a repeated key the last tensor would win here, and another reader might
/// take the first.
struct DistinctKeys;

impl<'de> Deserialize<'de> for DistinctKeys {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_map(DistinctKeys)
    }
}

impl<'de> Visitor<'de> for DistinctKeys {
    type Value = DistinctKeys;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> std::result::Result<DistinctKeys, M::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<Option<DistinctKeys>>()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            if !seen.insert(name.clone()) {
                return Err(serde::de::Error::custom(format!("it has \"{}\" twice", shown(&name))));
            }
        }
        Ok(DistinctKeys)
    }
}

/// The network described by the metadata and by the presence of biases.
fn network_of(header: &Metadata) -> Checked<Network> {
    let none = HashMap::new();
    let metadata = header.metadata().as_ref().unwrap_or(&none);
    let missing: Vec<String> =
        ["layers", "activation"].iter().filter(|k| !metadata.contains_key(**k)).map(ToString::to_string).collect();
    let (Some(sizes), Some(name)) = (metadata.get("layers"), metadata.get("activation")) else {
        return Err(format!(
            "the file's metadata lacks: {}. Write it with, for instance, \
             metadata={{\"layers\": \"784,32,10\", \"activation\": \"sigmoid\"}} (layer sizes input first)",
            missing.join(", ")
        ));
    };
    let mut network = Network::parse(sizes).map_err(|e| {
        format!(
            "its metadata says layers = \"{}\"; expected 2 to {} sizes of 1 to {MAX_WIDTH}, input first, as 784,32,10, or words like \
             28x28,6c5p2,a2,10 ({})",
            shown(sizes),
            MAX_DEPTH + 1,
            // The reason names --layers, but here the layers come from the metadata.
            e.to_string().replace("--layers", "layers")
        )
    })?;
    network.activation = Activation::from_name(name).ok_or_else(|| {
        let known = Activation::ALL.map(Activation::name).join(", ");
        format!("its metadata says activation = \"{}\"; expected one of {known}", shown(name))
    })?;
    network.input_activation = match metadata.get("input_activation").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(format!("its metadata says input_activation = \"{}\"; expected true or false", shown(other)));
        }
    };
    network.pixels = match metadata.get("pixels") {
        None => None,
        Some(text) => {
            let refuse = |why: &str| format!("its metadata says pixels = \"{}\"; {why}", shown(text));
            let expected = "expected a mean and a standard deviation, as in 0.5,0.5, or one of each per channel";
            let scale = read_pixels(text).ok_or_else(|| refuse(expected))?;
            scale.check(&network).map_err(|e| refuse(&e.to_string()))?;
            Some(scale)
        }
    };
    network.targets = match metadata.get("targets") {
        None => None,
        Some(text) => Some(read_targets(text).ok_or_else(|| {
            format!("its metadata says targets = \"{}\"; expected two numbers, as -1,1", shown(text))
        })?),
    };
    network.bias = header.tensors().keys().any(|name| name.starts_with("bias."));
    Ok(network)
}

/// Parses two finite numbers separated by a comma.
fn pair(text: &str) -> Option<[f32; 2]> {
    let (a, b) = text.split_once(',')?;
    let read = |part: &str| part.trim().parse::<f32>().ok().filter(|v| v.is_finite());
    Some([read(a)?, read(b)?])
}

/// Parses "-1,1": the targets of the other classes and of the label's class; the second must be larger.
pub fn read_targets(text: &str) -> Option<[f32; 2]> {
    pair(text).filter(|[off, on]| off < on && (on - off).is_finite())
}

/// Parses "0.5,0.5": mean and standard deviation of the pixels; for several channels all means, then all deviations.
pub fn read_pixels(text: &str) -> Option<Pixels> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    Pixels::new(&numbers?)
}

/// The offset of each of the network's [`tensors`] in the data, if the file has exactly these.
fn check_tensors(header: &Metadata, network: &Network) -> Checked<Vec<u64>> {
    let expected = tensors(network);
    let lacking: Vec<String> =
        expected.iter().filter(|(name, _)| header.info(name).is_none()).map(|(name, _)| name.clone()).collect();
    if !lacking.is_empty() {
        return Err(format!("the file lacks {}: expected the tensors of {}", few(&lacking), describe(network)));
    }
    let known: HashMap<&str, &[usize]> = expected.iter().map(|(name, shape)| (name.as_str(), &shape[..])).collect();
    let extra: Vec<String> = header.offset_keys().into_iter().filter(|n| !known.contains_key(n.as_str())).collect();
    if !extra.is_empty() {
        return Err(format!("the file has {} in addition to the tensors of {}", few(&extra), describe(network)));
    }
    let offset = |(name, shape): &(String, Vec<usize>)| {
        let info = header.info(name).ok_or_else(|| format!("the file lacks {name}"))?;
        if info.dtype != Dtype::F32 {
            return Err(format!("{name} holds {} values; expected F32 (float32)", info.dtype));
        }
        if info.shape != *shape {
            let found = shown(&format!("{:?}", info.shape));
            return Err(format!("{name} has shape {found}, but layers {} require {shape:?}", layers(network)));
        }
        Ok(info.data_offsets.0 as u64)
    };
    expected.iter().map(offset).collect()
}
