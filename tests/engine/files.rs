//! Weights files, run folders, and atomic writes. Files are read back bit for bit. No content of a file makes zilch panic or train with
//! values that are not finite.

use ndarray::Array2;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Command;
use tempfile::TempDir;
use zilch::random::{Random, Stream};
use zilch::train::{EpochMetrics, RunFolder};
use zilch::{Activation, Error, Network, Weights};
use zilch::{files, network};

/// Networks with lmax 1 to 4, with sizes so irregular that every transposition is detected.
const SHAPES: [&[usize]; 4] = [&[5, 3], &[4, 7, 2], &[3, 1, 6, 4], &[2, 5, 3, 1, 4]];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn network(sizes: &[usize], bias: bool) -> Network {
    Network::new(sizes).expect("a valid network").with_bias(bias)
}

/// Weights with all values distinct, including unusual floats.
fn weights(network: &Network) -> Weights {
    let mut weights = Weights::init(network, 7);
    let mut random = Random::new(7, Stream::Test, 0);
    weights.bias.iter_mut().for_each(|b| b.mapv_inplace(|_| random.normal() as f32));
    let awkward = [-0.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, f32::MIN, 1.0 + f32::EPSILON];
    weights.theta[0].iter_mut().zip(awkward).for_each(|(w, a)| *w = a);
    weights
}

/// The message of a refusal, which must be that of a weights file.
fn refusal<T: std::fmt::Debug>(result: zilch::Result<T>) -> String {
    match result.expect_err("the file should be refused") {
        error @ Error::Weights { .. } => {
            assert_eq!(error.exit_code(), 4);
            error.to_string()
        }
        other => panic!("another error: {other:?}"),
    }
}

fn refused(bytes: &[u8]) -> String {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    fs::write(&path, bytes).expect("written");
    refusal(network::read_weights(&path))
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

/// A tensor of a hand-written file: name, type, shape, bytes.
type Tensor = (&'static str, &'static str, Vec<usize>, Vec<u8>);

/// A hand-written safetensors file, without any of the tested code.
fn by_hand(metadata: Option<Value>, tensors: &[Tensor]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.extend(metadata.map(|m| ("__metadata__".to_owned(), m)));
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend(bytes);
        header.insert((*name).to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The tensors of a 3,2,1 network with biases. Each value is its position in the file.
fn tensors() -> Vec<Tensor> {
    vec![
        ("theta.1", "F32", vec![1, 2], f32s(&[0.0, 1.0])),
        ("bias.1", "F32", vec![1], f32s(&[2.0])),
        ("theta.2", "F32", vec![2, 3], f32s(&[3.0, 4.0, 5.0, 6.0, 7.0, 8.0])),
        ("bias.2", "F32", vec![2], f32s(&[9.0, 10.0])),
    ]
}

fn metadata() -> Option<Value> {
    Some(json!({"layers": "3,2,1", "activation": "tanh"}))
}

#[test]
fn weights_come_back_bit_for_bit() {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    for (sizes, activation) in SHAPES.iter().flat_map(|s| Activation::ALL.map(|a| (s, a))) {
        for (bias, input_activation) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut network = network(sizes, bias).with_activation(activation);
            network.input_activation = input_activation;
            let written = weights(&network);
            network::write_weights(&path, &network, &written).expect("written");
            let (found, read) = network::read_weights(&path).expect("read");
            assert_eq!(found, network);
            assert!(read.bit_identical(&written));
            assert!(network::read_weights_for(&path, &network).expect("read").bit_identical(&written));
        }
    }
}

#[test]
fn the_safetensors_crate_reads_our_file_and_finds_the_documented_contents() {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    let network = network(&[4, 3, 2], true).with_activation(Activation::LeakyRelu);
    let written = weights(&network);
    network::write_weights(&path, &network, &written).expect("written");
    let bytes = fs::read(&path).expect("read");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("a valid file");
    let (size, header) = safetensors::SafeTensors::read_metadata(&bytes).expect("a valid header");
    assert_eq!(size % 8, 0, "the data should be aligned");
    let expected =
        HashMap::from([("layers", "4,3,2"), ("activation", "leaky-relu")].map(|(k, v)| (k.into(), v.into())));
    assert_eq!(header.metadata().as_ref(), Some(&expected));
    assert_eq!(file.len(), 4);
    for (name, shape) in [("theta.1", &[2, 3][..]), ("bias.1", &[2]), ("theta.2", &[3, 4]), ("bias.2", &[3])] {
        assert_eq!(file.tensor(name).expect(name).shape(), shape);
    }
    assert_eq!(file.tensor("theta.2").expect("there").data(), f32s(written.theta[1].as_slice().expect("contiguous")));
    assert_eq!(bytes[8 + size..], f32s(&written.values().collect::<Vec<_>>()));
}

#[test]
fn the_same_weights_give_the_same_bytes_in_any_memory_order() {
    let dir = folder();
    let network = network(&[4, 3, 2], true);
    let mut written = weights(&network);
    let file = |weights: &Weights| {
        let path = dir.path().join("w.safetensors");
        network::write_weights(&path, &network, weights).expect("written");
        fs::read(path).expect("read")
    };
    let first = file(&written);
    written.theta = written.theta.iter().map(|t| t.t().as_standard_layout().into_owned().reversed_axes()).collect();
    assert!(!written.theta[0].is_standard_layout());
    assert_eq!(file(&written), first);
}

#[test]
fn a_file_of_another_program_is_read() {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    // Python sorts tensors by name. Additional metadata and an explicit "false" are accepted.
    let mut shuffled = tensors();
    shuffled.sort_by_key(|t| t.0);
    let metadata = json!({"layers": "3, 2, 1", "activation": "tanh", "input_activation": "false", "format": "np"});
    fs::write(&path, by_hand(Some(metadata), &shuffled)).expect("written");
    let (network, weights) = network::read_weights(&path).expect("read");
    assert_eq!((network.input_first(), network.activation, network.bias), (vec![3, 2, 1], Activation::Tanh, true));
    assert!(weights.values().eq((0..11).map(|i| i as f32)));
}

#[test]
fn every_truncated_file_is_refused() {
    let bytes = by_hand(metadata(), &tensors());
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    for end in 0..bytes.len() {
        fs::write(&path, &bytes[..end]).expect("written");
        refusal(network::read_weights(&path));
    }
    fs::write(&path, [&bytes[..], &[0]].concat()).expect("written");
    assert_says(&refusal(network::read_weights(&path)), &["bytes after its end"]);
}

#[test]
fn damaged_bytes_cause_no_panic_and_no_nan() {
    let bytes = by_hand(metadata(), &tensors());
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    for place in 0..bytes.len() {
        for damage in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff, 0x7f] {
            let mut bytes = bytes.clone();
            bytes[place] ^= damage;
            fs::write(&path, &bytes).expect("written");
            match network::read_weights(&path) {
                Ok((network, weights)) => {
                    assert!(weights.fits(&network) && weights.values().all(f32::is_finite));
                }
                Err(error) => assert!(matches!(error, Error::Weights { .. }), "{error:?}"),
            }
        }
    }
}

#[test]
fn nan_and_infinity_are_refused_by_name_and_index() {
    for (tensor, index, value, said) in [
        (2, 4, f32::NAN, "theta.2[1, 1] is NaN"),
        (0, 1, f32::INFINITY, "theta.1[0, 1] is inf"),
        (3, 1, f32::NEG_INFINITY, "bias.2[1] is -inf"),
    ] {
        let mut tensors = tensors();
        tensors[tensor].3[4 * index..4 * index + 4].copy_from_slice(&value.to_le_bytes());
        assert_says(&refused(&by_hand(metadata(), &tensors)), &[said]);
    }
}

#[test]
fn wrong_shapes_and_types_are_refused_with_both() {
    let with = |place: usize, tensor: Tensor| {
        let mut tensors = tensors();
        tensors[place] = tensor;
        refused(&by_hand(metadata(), &tensors))
    };
    let transposed = with(2, ("theta.2", "F32", vec![3, 2], f32s(&[0.0; 6])));
    assert_says(&transposed, &["theta.2", "[3, 2]", "[2, 3]", "3,2,1"]);
    assert_says(&with(1, ("bias.1", "F32", vec![], f32s(&[0.0]))), &["bias.1", "[]", "[1]"]);
    assert_says(&with(1, ("bias.1", "F32", vec![0], vec![])), &["bias.1", "[0]", "[1]"]);
    assert_says(&with(0, ("theta.1", "F32", vec![2], f32s(&[0.0; 2]))), &["theta.1", "[2]", "[1, 2]"]);
    assert_says(&with(0, ("theta.1", "F16", vec![1, 2], vec![0; 4])), &["theta.1", "F16", "float32"]);
    assert_says(&with(0, ("theta.1", "F64", vec![1, 2], vec![0; 16])), &["theta.1", "F64", "float32"]);
    assert_says(&with(0, ("theta.1", "F33", vec![1, 2], vec![0; 8])), &["header is damaged", "F33"]);
}

#[test]
fn missing_and_extra_tensors_are_named() {
    let mut fewer = tensors();
    fewer.remove(2);
    assert_says(&refused(&by_hand(metadata(), &fewer)), &["lacks theta.2", "3,2,1"]);
    fewer.remove(1);
    assert_says(&refused(&by_hand(metadata(), &fewer)), &["lacks bias.1, theta.2"]);
    assert_says(&refused(&by_hand(metadata(), &[])), &["lacks theta.1, theta.2"]);
    let mut more = tensors();
    more.push(("theta.3", "F32", vec![1], f32s(&[0.0])));
    more.push(("theta.01", "F32", vec![0], vec![]));
    assert_says(&refused(&by_hand(metadata(), &more)), &["theta.3", "theta.01", "in addition to"]);
}

#[test]
fn missing_and_invalid_metadata_are_refused() {
    let with = |metadata: Value| refused(&by_hand(Some(metadata), &tensors()));
    assert_says(&refused(&by_hand(None, &tensors())), &["lacks: layers, activation", "input first"]);
    assert_says(&with(json!({"layers": "3,2,1"})), &["lacks: activation."]);
    assert_says(&with(json!({"activation": "tanh"})), &["lacks: layers."]);
    for layers in ["", "3", "3,2,0", "3,-2,1", "3,2,99999999999999999999", "3,2,16777217", "three"] {
        assert_says(&with(json!({"layers": layers, "activation": "tanh"})), &["layers = ", layers, "input first"]);
    }
    let deep = vec!["1"; 258].join(",");
    assert_says(&with(json!({"layers": deep, "activation": "tanh"})), &["2 to 257 sizes"]);
    assert_says(&with(json!({"layers": "3,2,1", "activation": "Tanh"})), &["\"Tanh\"", "leaky-relu"]);
    let wrong = json!({"layers": "3,2,1", "activation": "tanh", "input_activation": "yes"});
    assert_says(&with(wrong), &["input_activation = \"yes\""]);
    assert_says(&with(json!({"layers": 3, "activation": "tanh"})), &["header is damaged"]);
    let control = with(json!({"layers": "\u{1b}[31m", "activation": "tanh"}));
    assert!(!control.contains('\u{1b}') && control.contains("\\u{1b}[31m"), "{control}");
    let long = with(json!({"layers": "9".repeat(100_000), "activation": "tanh"}));
    assert!(long.len() < 1000);
}

#[test]
fn files_of_other_formats_are_refused() {
    for bytes in [&b""[..], b"PK\x03\x04", b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0", &[b'{'; 100], &[0; 8], &[0; 500]] {
        assert_says(&refused(bytes), &["not a safetensors file"]);
    }
    for announced in [u64::MAX, u64::MAX - 7, 1 << 40, 100_000_001, (1 << 20) + 1] {
        let bytes = [&announced.to_le_bytes()[..], &vec![b' '; 2 << 20]].concat();
        assert_says(&refused(&bytes), &["not a safetensors file", &announced.to_string()]);
    }
}

#[test]
fn impossible_sizes_are_refused_before_allocating() {
    let file = |shape: Value, end: u64| {
        let layers = json!({"layers": "16777216,16777216", "activation": "relu"});
        let header =
            json!({"__metadata__": layers, "theta.1": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}});
        let header = header.to_string();
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat()
    };
    assert_says(&refused(&file(json!([16777216, 16777216]), 1 << 50)), &["cut short", "1125899906842"]);
    assert_says(&refused(&file(json!([u64::MAX, u64::MAX]), 16)), &["overflow"]);
    assert_says(&refused(&file(json!([1, 4]), u64::MAX)), &["header is damaged"]);
    assert_says(&refused(&file(json!([1, 4]), 16)), &["[1, 4]", "[16777216, 16777216]"]);
}

#[test]
fn a_missing_file_or_a_folder_is_no_weights_file() {
    let dir = folder();
    let missing = refusal(network::read_weights(&dir.path().join("no.safetensors")));
    assert_says(&missing, &["no.safetensors", "cannot be opened"]);
    assert_says(&refusal(network::read_weights(dir.path())), &["not a regular file"]);
}

#[test]
fn weights_of_another_network_are_refused_with_both() {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    let held = network(&[4, 3, 2], true);
    network::write_weights(&path, &held, &weights(&held)).expect("written");
    let asked = |network: &Network| refusal(network::read_weights_for(&path, network));
    assert_says(&asked(&network(&[4, 5, 2], true)), &["4,3,2", "4,5,2"]);
    assert_says(&asked(&network(&[4, 3, 2], false)), &["with biases", "no biases"]);
    assert_says(&asked(&held.clone().with_activation(Activation::Relu)), &["sigmoid", "relu"]);
    let mut input = held.clone();
    input.input_activation = true;
    assert_says(&asked(&input), &["f on the input"]);
}

#[test]
fn weights_that_could_not_be_read_back_are_not_written() {
    let dir = folder();
    let path = dir.path().join("w.safetensors");
    let network = network(&[4, 3, 2], false);
    let mut bad = weights(&network);
    bad.theta[1][[2, 3]] = f32::NAN;
    assert_says(&refusal(network::write_weights(&path, &network, &bad)), &["not written", "layer 2", "NaN"]);
    bad.theta[1] = Array2::zeros((4, 3));
    assert_says(&refusal(network::write_weights(&path, &network, &bad)), &["not written", "4,3,2"]);
    assert_eq!(names(dir.path()), [""; 0]);
}

/// The names in a folder, including hidden ones.
fn names(dir: &Path) -> Vec<String> {
    let name = |e: io::Result<fs::DirEntry>| e.expect("an entry").file_name().into_string().expect("text");
    let mut names: Vec<String> = fs::read_dir(dir).expect("a folder").map(name).collect();
    names.sort();
    names
}

/// Asserts that the system refused a write, and that the message names the path.
fn assert_io<T: std::fmt::Debug>(result: zilch::Result<T>, path: &Path) {
    match result.expect_err("the write should fail") {
        Error::Io { path: told, .. } => assert_eq!(told, path),
        other => panic!("another error: {other:?}"),
    }
}

#[test]
fn a_file_survives_a_write_that_fails_and_nothing_is_left_over() {
    let dir = folder();
    let path = dir.path().join("a.txt");
    files::write_whole(&path, |out| out.write_all(b"first")).expect("written");
    let fails = |out: &mut dyn Write| {
        out.write_all(&[b'x'; 1 << 20])?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    };
    assert_io(files::write_whole(&path, fails), &path);
    assert_eq!(fs::read(&path).expect("there"), b"first");
    let panics = std::panic::catch_unwind(|| files::write_whole(&path, |_| panic!("a bug in the writer")));
    assert!(panics.is_err());
    assert_eq!(fs::read(&path).expect("there"), b"first");
    assert_eq!(names(dir.path()), ["a.txt"]);
    files::write_whole(&path, |out| out.write_all(b"second")).expect("written");
    assert_eq!(fs::read(&path).expect("there"), b"second");
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn paths_that_cannot_be_written_are_reported() {
    let dir = folder();
    let write = |path: &Path| files::write_whole(path, |out| out.write_all(b"x"));
    let file = dir.path().join("file");
    write(&file).expect("written");
    for place in [dir.path().to_owned(), dir.path().join("no/a.txt"), file.join("a.txt"), PathBuf::from("/")] {
        assert_io(write(&place), &place);
    }
    let mut permissions = fs::metadata(&file).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&file, permissions).expect("set");
    assert_io(write(&file), &file);
    assert_eq!(names(dir.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn a_link_is_followed_and_a_device_is_refused() {
    let dir = folder();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, b"old").expect("written");
    std::os::unix::fs::symlink(&file, &link).expect("linked");
    files::write_whole(&link, |out| out.write_all(b"new")).expect("written");
    assert_eq!(fs::read(&file).expect("there"), b"new");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    assert_io(files::write_whole(&socket, |out| out.write_all(b"x")), &socket);
    refusal(network::read_weights(&socket));
}

#[cfg(unix)] // Windows limits the length of the whole path instead.
#[test]
fn names_as_long_as_the_system_allows_are_written() {
    let dir = folder();
    let path = dir.path().join("w".repeat(255));
    files::write_whole(&path, |out| out.write_all(b"x")).expect("written");
    assert_eq!(fs::read(path).expect("there"), b"x");
}

fn settings() -> Value {
    json!({"rule": "zil", "lr": 0.1, "gamma": 0.30000000000000004, "layers": [784, 10], "seed": 1})
}

fn usage<T: std::fmt::Debug>(result: zilch::Result<T>) -> String {
    match result.expect_err("the folder should be refused") {
        error @ Error::Usage(_) => error.to_string(),
        other => panic!("another error: {other:?}"),
    }
}

#[test]
fn a_run_folder_holds_the_run() {
    let dir = folder();
    let path = dir.path().join("deep/out");
    let run = RunFolder::create(&path, &settings()).expect("made");
    assert_eq!(run.path(), path);
    assert_eq!(names(&path), ["run.json"]);
    run.write_run(&json!({"version": "0.1.0"})).expect("written");
    let metrics = |epoch, train_energy, test_error| EpochMetrics {
        epoch,
        updates: 3000 * epoch,
        seconds: 0.1 + 0.2,
        train_energy,
        test_error,
        test_r2: None,
    };
    run.write_metrics(&trained(vec![metrics(1, 1.0 / 3.0, 0.125), metrics(2, f64::NAN, 1.0)])).expect("written");
    let network = network(&[4, 3, 2], true);
    run.write_weights(&network, &weights(&network)).expect("written");

    assert_eq!(names(&path), ["metrics.csv", "run.json", "weights.safetensors"]);
    let csv = fs::read_to_string(path.join("metrics.csv")).expect("there");
    let expected = "epoch,updates,seconds,train_energy,test_error\n\
                    1,3000,0.30000000000000004,0.3333333333333333,0.125\n\
                    2,6000,0.30000000000000004,NaN,1\n";
    assert_eq!(csv, expected);
    let json: Value = serde_json::from_slice(&fs::read(path.join("run.json")).expect("there")).expect("JSON");
    assert_eq!((&json["version"], &json["settings"]["rule"]), (&json!("0.1.0"), &json!("zil")));
    assert!(network::read_weights_for(&path.join("weights.safetensors"), &network).is_ok());
}

/// The result of a training without probes.
fn trained(metrics: Vec<EpochMetrics>) -> zilch::train::Trained {
    zilch::train::Trained {
        weights: Weights { theta: Vec::new(), bias: Vec::new() },
        metrics,
        tested: Vec::new(),
        held: Vec::new(),
        probed: Vec::new(),
        updates: 0,
        seconds: 0.0,
        best: None,
        early: false,
        stopped: None,
    }
}

#[test]
fn only_the_same_run_may_reuse_a_folder() {
    let dir = folder();
    let run = RunFolder::create(dir.path(), &settings()).expect("an empty folder is taken");
    run.write_run(&json!({"version": "0.1.0"})).expect("written");
    run.write_metrics(&trained(Vec::new())).expect("written");
    let before = fs::read(dir.path().join("run.json")).expect("there");
    // Not while another run writes to it, on systems that can lock folders.
    if cfg!(target_os = "linux") {
        assert_says(&usage(RunFolder::create(dir.path(), &settings())), &["another zilch is writing", "--out"]);
    }
    drop(run);
    let again = RunFolder::create(dir.path(), &settings()).expect("the same settings");
    assert_eq!(fs::read(dir.path().join("run.json")).expect("there"), before, "the earlier run stays until replaced");
    again.write_run(&json!(["not", "an", "object"])).expect("written");
    drop(again);
    RunFolder::create(dir.path(), &settings()).expect("the same settings");
    let mut other = settings();
    other["seed"] = json!(2);
    let message = usage(RunFolder::create(dir.path(), &other));
    assert_says(&message, &["metrics.csv, run.json of a run with other settings", "another folder", "remove"]);
}

#[test]
fn a_folder_of_other_things_is_refused_by_name() {
    let dir = folder();
    for name in ["d", "b", "c", "a", "e"] {
        fs::write(dir.path().join(name), b"").expect("written");
    }
    let message = usage(RunFolder::create(dir.path(), &settings()));
    assert_says(&message, &["a, b, c and 2 more", "another folder"]);
    assert_eq!(names(dir.path()), ["a", "b", "c", "d", "e"]);
    for content in ["", "{", "[]", "{\"settings\": null}", "\u{1}"] {
        fs::write(dir.path().join("run.json"), content).expect("written");
        usage(RunFolder::create(dir.path(), &settings()));
    }
}

#[test]
fn an_out_path_that_cannot_be_a_folder_is_refused() {
    let dir = folder();
    let file = dir.path().join("file");
    fs::write(&file, b"kept").expect("written");
    assert_says(&usage(RunFolder::create(&file, &settings())), &["this is a file"]);
    assert_says(&usage(RunFolder::create(&file.join("out"), &settings())), &["a part of this path is a file"]);
    usage(RunFolder::create(Path::new(""), &settings()));
    assert_eq!(fs::read(&file).expect("there"), b"kept");
}

/// Every name that a run writes to its folder.
const NAMES: [&str; 8] = [
    "run.json",
    "metrics.csv",
    "metrics-3.csv",
    "curves.svg",
    "weights.safetensors",
    "best.safetensors",
    "checkpoint.json",
    "state-20.safetensors",
];

/// Nothing is written through a link that has the name of a file of the run, whether it existed before or appeared during the run. A pipe
/// does not block.
#[cfg(unix)]
#[test]
fn links_in_a_folder_are_not_written_through() {
    let dir = folder();
    let victim = dir.path().join("victim");
    fs::write(&victim, b"somebody's").expect("written");
    let link = |at: &Path| std::os::unix::fs::symlink(&victim, at).expect("linked");
    for name in NAMES {
        let out = dir.path().join(name);
        let made = RunFolder::create(&out, &settings()).expect("made");
        drop(made);
        let at = out.join(name);
        let record = fs::read(out.join("run.json")).expect("there");
        let _ = fs::remove_file(&at);
        link(&at);
        if name == "run.json" {
            // Also with a link to a valid record.
            usage(RunFolder::create(&out, &settings()));
            fs::write(dir.path().join("record"), &record).expect("written");
            fs::remove_file(&at).expect("removed");
            std::os::unix::fs::symlink(dir.path().join("record"), &at).expect("linked");
            usage(RunFolder::create(&out, &settings()));
        } else {
            assert_says(&usage(RunFolder::create(&out, &settings())), &[name, "a link", "Remove it"]);
        }
        fs::remove_file(&at).expect("removed");
        fs::write(out.join("run.json"), &record).expect("written");
        assert!(Command::new("mkfifo").arg(out.join("state-7.safetensors")).status().expect("mkfifo").success());
        assert_says(&usage(RunFolder::create(&out, &settings())), &["state-7.safetensors", "not a regular file"]);
    }
    let out = dir.path().join("mid-run");
    let run = RunFolder::create(&out, &settings()).expect("made");
    fs::remove_file(out.join("run.json")).expect("removed");
    NAMES.iter().for_each(|name| link(&out.join(name)));
    let network = network(&[4, 3, 2], true);
    assert_io(run.write_run(&json!({})), &out.join("run.json"));
    assert_io(run.write_metrics(&trained(Vec::new())), &out.join("metrics.csv"));
    assert_io(run.write_best(&network, &weights(&network)), &out.join("best.safetensors"));
    assert_io(run.write_weights(&network, &weights(&network)), &out.join("weights.safetensors"));
    assert_eq!(fs::read(&victim).expect("there"), b"somebody's");
}

/// The incomplete file of a process that was killed while writing its first `run.json` does not block the folder.
#[test]
fn a_folder_with_an_incomplete_file_is_accepted() {
    let dir = folder();
    let left = [".zilch-1-0.tmp", ".zilch-4711-12.tmp"];
    left.iter().for_each(|name| fs::write(dir.path().join(name), b"{ \"sett").expect("written"));
    drop(RunFolder::create(dir.path(), &settings()).expect("taken"));
    assert_eq!(names(dir.path()), ["run.json"]);
    left.iter().for_each(|name| fs::write(dir.path().join(name), b"").expect("written"));
    drop(RunFolder::create(dir.path(), &settings()).expect("taken by the same run"));
    assert_eq!(names(dir.path()), ["run.json"]);
    // A folder with other contents is not changed.
    let other = folder();
    let theirs = [left[0], ".zilch-notes.tmp", "thesis.tex"];
    theirs.iter().for_each(|name| fs::write(other.path().join(name), b"").expect("written"));
    assert_says(&usage(RunFolder::create(other.path(), &settings())), &[".zilch-notes.tmp, thesis.tex"]);
    assert_eq!(names(other.path()), theirs);
}

/// A record that could not be read back is refused before the run.
#[test]
fn settings_that_are_too_long_are_refused_before_the_run() {
    let dir = folder();
    let long = json!({ "rule": "zil", "tasks": "x".repeat(17 << 20) });
    assert_says(&usage(RunFolder::create(dir.path(), &long)), &["run.json", "--tasks"]);
}
