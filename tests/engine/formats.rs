//! User data: CSV files, arrays and folders of images; how devices read float inputs and real-valued targets.

use crate::common;
use crate::data::{files, gzip, open, reason, sha256};
use ndarray::Array2;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use zilch::data::tasks::Subset;
use zilch::data::{Data, Dataset, Inputs, Reading, Scaling, Set, Targets, npy};
use zilch::rules::Loss;
use zilch::{Activation, Network, Options, Result, Rule};

/// A CSV file with these contents, read with these choices.
fn csv(text: &str, choose: impl FnOnce(&mut Reading)) -> Result<Data> {
    let mut reading = Reading::default();
    choose(&mut reading);
    zilch::data::csv::parse(Path::new("table.csv"), text.as_bytes(), &reading)
}

/// Twenty rows "a,b,class" with a header.
fn twenty() -> String {
    let row = |i: i32| format!("{},{},{}\n", i, 10.0 - 2.5 * f64::from(i), ["yes", "no"][i as usize % 2]);
    "a,b,class\n".to_owned() + &(0..20).map(row).collect::<String>()
}

fn numbers(set: &Dataset) -> &Array2<f32> {
    match set.inputs() {
        Inputs::Numbers(numbers) => numbers,
        Inputs::Pixels(_) => panic!("these are pixels"),
    }
}

fn values(set: &Dataset) -> &Array2<f32> {
    match set.targets() {
        Targets::Values(values) => values,
        Targets::Labels(_) => panic!("these are labels"),
    }
}

#[test]
fn a_csv_file_is_split_and_scaled_by_its_training_samples() {
    let data = csv(&twenty(), |_| ()).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.train.pixels(), data.train.classes()), (16, 4, 2, 2));
    let of = |set: &Dataset, label| set.labels().iter().filter(|l| **l == label).count();
    assert_eq!([of(&data.train, 0), of(&data.train, 1), of(&data.test, 0), of(&data.test, 1)], [8, 8, 2, 2]);
    let about = data.train.preparation().unwrap();
    assert_eq!(about.classes, ["no", "yes"]);
    assert_eq!(
        (&about.inputs.names[..], about.test_part, about.split_seed),
        (&["a".to_owned(), "b".into()][..], Some(0.2), Some(0))
    );
    // The plain values of the same split, and the statistics of its training part, computed here.
    let plain = csv(&twenty(), |r| r.scaling = Some(Scaling::None)).unwrap();
    let column: Vec<f64> = numbers(&plain.train).column(1).iter().map(|v| f64::from(*v)).collect();
    let mean = column.iter().sum::<f64>() / 16.0;
    let sd = (column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 16.0).sqrt();
    assert!((about.inputs.shift[1] - mean).abs() < 1e-12 && (about.inputs.scale[1] - sd).abs() < 1e-12);
    for (scaled, plain) in [(&data.train, &plain.train), (&data.test, &plain.test)] {
        let (scaled, plain) = (numbers(scaled).column(1), numbers(plain).column(1));
        assert!(scaled.iter().zip(plain).all(|(s, p)| (f64::from(*s) - (f64::from(*p) - mean) / sd).abs() < 1e-6));
    }
    let range = csv(&twenty(), |r| r.scaling = Some(Scaling::Range)).unwrap();
    let (low, high) = numbers(&range.train).iter().fold((1f32, 0f32), |(l, h), v| (l.min(*v), h.max(*v)));
    assert_eq!((low, high), (0.0, 1.0));
    // The split depends on its own seed and on nothing else.
    assert_eq!(csv(&twenty(), |r| r.split_seed = Some(0)).unwrap(), data);
    assert_ne!(csv(&twenty(), |r| r.split_seed = Some(1)).unwrap().test, data.test);
    assert_eq!(csv(&twenty(), |r| r.test_part = Some(0.5)).unwrap().test.len(), 10);
    // The same table in other notations.
    let semicolons = twenty().replace(',', ";").replace('.', ",");
    let quoted = twenty().replace("yes", "\"yes\"").replace('\n', "\r\n");
    for text in [semicolons, twenty().replace(',', "\t"), quoted, format!("\u{feff}{}", twenty())] {
        let other = csv(&text, |_| ()).unwrap();
        assert_eq!(
            (numbers(&other.train), other.train.labels()),
            (numbers(&data.train), data.train.labels()),
            "{text}"
        );
    }
    let zipped = zilch::data::csv::parse(Path::new("t"), &gzip(twenty().as_bytes()), &Reading::default()).unwrap();
    assert_eq!((numbers(&zipped.train), &zipped.checksums[0].1), (numbers(&data.train), &data.checksums[0].1));
    assert_eq!(data.checksums[0].1, sha256(twenty().as_bytes()));
    // Without a header, the columns have numbers. Whole numbers are classes in any notation, in the order of their size.
    let plain = "3,1.5,10\n4,2.5,9.0\n5,1.5,9\n6,0.5,10\n7,0.5,10.0\n8,0,9\n";
    let data = csv(plain, |_| ()).unwrap();
    assert_eq!(data.train.preparation().unwrap().classes, ["9", "10"]);
    let first = csv(plain, |r| (r.label, r.ignore_columns) = (Some("1".into()), vec!["2".into()])).unwrap();
    assert_eq!((first.ends(), first.train.pixels()), ([1, 6], 1));
    // A constant column is 0, and does not divide by 0.
    let constant = csv("a,b,label\n1,7,x\n2,7,y\n3,7,x\n4,7,y\n", |_| ()).unwrap();
    assert!(numbers(&constant.train).column(1).iter().all(|v| *v == 0.0));
}

#[test]
fn real_targets_have_a_squared_error() {
    let text = twenty().replace("yes", "1").replace("no", "0");
    let data = csv(&text, |r| r.target_columns = vec!["b".into()]).unwrap();
    assert_eq!((data.train.pixels(), data.train.classes(), data.train.labels().len()), (2, 1, 0));
    assert!(values(&data.train).mean().unwrap().abs() < 1e-6);
    data.fits(&Network::new(&[2, 3, 1]).unwrap()).unwrap();
    reason(data.fits(&Network::new(&[2, 3, 2]).unwrap()), &["1 target column", "2 output units", "--layers with 1"]);
    reason(data.fits(&Network::new(&[3, 1]).unwrap()), &["2 numbers", "3 inputs"]);
    let classes = Subset { classes: Some(vec![0]), ..Subset::default() };
    assert!(classes.of(&data).unwrap_err().to_string().contains("needs classes"));
    let (rest, held) = data.hold_out(3).unwrap();
    assert_eq!((rest.train.len(), held.len(), held.preparation()), (13, 3, data.train.preparation()));
    // Zero weights answer 0: the error and R² by their definitions, in each precision.
    let network = Network::new(&[2, 3, 1]).unwrap();
    let plan = Options::new(Rule::BP).plan(&network).unwrap();
    let targets: Vec<f64> = values(&data.test).iter().map(|v| f64::from(*v)).collect();
    let n = targets.len() as f64;
    let mean = targets.iter().sum::<f64>() / n;
    let squares = targets.iter().map(|t| t * t).sum::<f64>();
    let spread = targets.iter().map(|t| (t - mean).powi(2)).sum::<f64>();
    let data = Arc::new(data);
    for device in [common::cpu(2), common::gpu()] {
        let resident = device.upload(&data).unwrap();
        let mut session = device.session(&plan, 4, &resident, &plan.zero_weights()).unwrap();
        let score = session.score(Set::Test).unwrap();
        assert!((score.error() - squares / n).abs() < 1e-5 && score.errors == 0, "{score:?}");
        assert!((score.r2().unwrap() - (1.0 - squares / spread)).abs() < 1e-5, "{score:?}");
    }
}

/// A batch of the data set makes the same update as the same numbers given as arrays, on both devices.
#[test]
fn numbers_and_real_targets_reach_the_network_as_they_are() {
    let mut r = common::random(11, 0);
    let mut set = |n: usize| {
        let inputs = Array2::from_shape_simple_fn((n, 37), || r.range(-3.0, 3.0) as f32);
        let targets = Array2::from_shape_simple_fn((n, 5), || r.range(-3.0, 3.0) as f32);
        Dataset::of(Path::new("random"), Inputs::Numbers(inputs), Targets::Values(targets), [1, 1, 37]).unwrap()
    };
    let data = Arc::new(Data { train: set(20), test: set(7), name: "random".into(), checksums: Vec::new() });
    for activation in [false, true] {
        let mut network = Network::new(&[37, 9, 5]).unwrap().with_bias(true);
        network.input_activation = activation;
        let plan = Options { alpha: 0.05, ..Options::new(Rule::ZIL) }.plan(&network).unwrap();
        let weights = common::weights(&network, 3);
        let order: Vec<u32> = vec![3, 19, 0, 7, 7, 12, 1, 18];
        for device in [common::cpu(1), common::cpu(2), common::gpu()] {
            let resident = device.upload(&data).unwrap();
            let session = || device.session(&plan, 4, &resident, &weights).unwrap();
            let (mut from_data, mut from_arrays) = (session(), session());
            from_data.run(&order).unwrap();
            for samples in order.chunks(4) {
                let rows: Vec<usize> = samples.iter().map(|s| *s as usize).collect();
                let mut inputs = numbers(&data.train).select(ndarray::Axis(0), &rows);
                if activation {
                    inputs.mapv_inplace(|v| 1.0 / (1.0 + (-v).exp()));
                }
                from_arrays.step(&inputs, &values(&data.train).select(ndarray::Axis(0), &rows)).unwrap();
            }
            let [a, b] = [&from_data, &from_arrays].map(|session| session.weights().unwrap());
            if activation {
                let far = a.values().zip(b.values()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-5, "{far}");
            } else {
                assert_eq!(a.sha256(), b.sha256(), "{}", device.name());
            }
            assert_ne!(a.sha256(), weights.sha256());
        }
    }
}

#[test]
fn what_a_rule_cannot_do_with_numbers_is_refused() {
    let data = csv(&twenty().replace("yes", "1").replace("no", "0"), |r| r.target_columns = vec!["b".into()]).unwrap();
    let kind = data.train.kind();
    let refused = |network: &Network, options: Options, why: &str| {
        let error = options.plan(network).unwrap().check_kind(kind).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(why), "{error}");
    };
    let network = Network::new(&[2, 3, 1]).unwrap();
    refused(&network, Options { loss: Loss::CrossEntropy, ..Options::new(Rule::BP) }, "cross-entropy");
    let mut held = network.clone();
    held.targets = Some([-1.0, 1.0]);
    refused(&held, Options::new(Rule::BP), "--targets");
    let mut pixels = network.clone();
    pixels.pixels = zilch::network::read_pixels("0.5,0.5");
    refused(&pixels, Options::new(Rule::BP), "--pixels");
    let ff = Rule::named("ff").unwrap();
    refused(
        &ff.suited(Network::new(&[2, 3, 1]).unwrap().with_activation(Activation::Relu)),
        Options::new(ff),
        "learns classes",
    );
    Options::new(Rule::ZIL).plan(&network).unwrap().check_kind(kind).unwrap();
}

#[test]
fn a_damaged_csv_file_is_refused_with_its_line_and_column() {
    let plain = |text: &str| csv(text, |_| ());
    reason(plain("a,b,label\n1,2,x\n1,,y\n"), &["line 3, column 2 (b)", "missing"]);
    reason(plain("1,2,0\n1,?,1\n"), &["line 2, column 2", "missing"]);
    reason(plain("a,b,label\n1,2,x\n1,NaN,y\n"), &["line 3, column 2 (b)", "not a finite number"]);
    reason(plain("a,b,label\n1,2,x\n1,-inf,y\n"), &["line 3, column 2 (b)", "not a finite number"]);
    reason(plain("a,b,label\n1,2,x\nred,2,y\n"), &["line 3, column 1 (a)", "\"red\"", "--ignore-columns a"]);
    reason(plain("a,b,label\n1,2,x\n1,2\n"), &["line 3 has 2 cells", "3"]);
    reason(plain("a,b,label\n1,2,x\n1,2,\n"), &["line 3, column 3 (label)", "class is missing"]);
    reason(plain("1,2,0.5\n1,2,0.7\n"), &["line 1, column 3", "--target-columns 3"]);
    let many: String = (0..300).map(|i| format!("{i},{i}\n")).collect();
    reason(plain(&many), &["line 257", "at most 256", "--target-columns 2"]);
    reason(plain("a,b\n"), &["0 samples"]);
    reason(plain("1,2\n"), &["1 samples", "2 to"]);
    reason(plain(""), &["0 bytes"]);
    reason(plain("label\nx\ny\n"), &["at least one column beside the target"]);
    reason(csv("1,1e300,0\n2,1,1\n3,1,1\n", |r| r.scaling = Some(Scaling::None)), &["beyond the range of float32"]);
    reason(
        csv(&twenty(), |r| r.ignore_columns = vec!["class".into()]),
        &["line 3, column 2 (b)", "\"7.5\" is no class"],
    );
    let usage = |choose: &dyn Fn(&mut Reading), why: &str| {
        let error = csv(&twenty(), choose).unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(why), "{error}");
    };
    usage(&|r| r.label = Some("nowhere".into()), "no column \"nowhere\"");
    usage(&|r| r.label = Some("4".into()), "1 to 3");
    usage(&|r| r.target_columns = vec!["a".into(), "1".into()], "twice");
    usage(&|r| (r.target_columns, r.ignore_columns) = (vec!["a".into()], vec!["a".into()]), "is a target");
    usage(&|r| r.test_part = Some(f64::NAN), "between 0 and 1");
    usage(&|r| r.image_size = Some([2, 2]), "folders of images");
    // Every prefix is read or refused.
    let text = twenty().replace("yes", "\"yes\"");
    for end in 0..text.len() {
        let _ = csv(&text[..end], |_| ());
    }
}

/// A `.npy` file with this header and data.
fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
    let text = format!("{text:<117}\n");
    [b"\x93NUMPY\x01\x00".as_slice(), &(text.len() as u16).to_le_bytes(), text.as_bytes(), data].concat()
}

#[test]
fn numpy_arrays_of_every_kind_are_read() {
    let parse = |bytes: &[u8]| npy::parse(Path::new("a.npy"), bytes);
    assert_eq!(parse(&npy("|u1", false, "(2, 3)", &[1, 2, 3, 4, 5, 6])).unwrap().shape(), [2, 3]);
    let whole = |expected: &[f64], descr: &str, data: &[u8]| match parse(&npy(descr, false, "(2,)", data)).unwrap() {
        npy::Array::Whole(found) => assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected),
        other => panic!("{other:?}"),
    };
    whole(&[-2.0, 3.0], "<i2", &[0xfe, 0xff, 3, 0]);
    whole(&[-2.0, 3.0], ">i2", &[0xff, 0xfe, 0, 3]);
    whole(&[-1.0, 1.0], "|i1", &[0xff, 1]);
    whole(&[65534.0, 3.0], "<u2", &[0xfe, 0xff, 3, 0]);
    whole(&[-1.0, 5.0], "<i8", &[[0xff; 8], 5i64.to_le_bytes()].concat());
    let floats: Vec<u8> = [0f32, 1.0, 2.0, 3.0, 4.0, 5.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for (fortran, expected) in [(false, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), (true, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0])] {
        match parse(&npy("<f4", fortran, "(2, 3)", &floats)).unwrap() {
            npy::Array::Real(found) => assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected),
            other => panic!("{other:?}"),
        }
    }
    // Damaged files.
    let good = npy("<f4", false, "(2, 3)", &floats);
    reason(parse(&good[..good.len() - 1]), &["shape (2, 3)", "23 bytes follow"]);
    reason(parse(&npy("<f4", false, "(4294967296, 4294967296, 4294967296)", &floats)), &["24 bytes follow"]);
    reason(parse(&npy("<f2", false, "(12,)", &floats)), &["\"<f2\"", "astype"]);
    reason(parse(&npy("|O", false, "(3,)", &floats)), &["type"]);
    reason(parse(&npy("<f4", false, "(2, -3)", &floats)), &["no shape"]);
    reason(parse(b"not numpy"), &["not a .npy file"]);
    for end in 0..good.len() {
        assert!(parse(&good[..end]).is_err(), "{end}");
    }
}

/// A `.npz` archive of these files.
fn npz(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        let options = zip::write::SimpleFileOptions::default();
        let method =
            if bytes.len() % 2 == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
        archive.start_file(*name, options.compression_method(method)).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn an_archive_of_arrays_is_a_data_set() {
    let parse = |bytes: &[u8]| npy::parse_npz(Path::new("a.npz"), bytes, &Reading::default());
    let pixels: Vec<u8> = (0..2 * 12).collect();
    let x = |shape: &str| npy("|u1", false, shape, &pixels);
    let y = npy("|u1", false, "(2,)", &[7, 200]);
    let both = |x: Vec<u8>| {
        npz(&[("x_train.npy", x.clone()), ("y_train.npy", y.clone()), ("x_test.npy", x), ("y_test.npy", y.clone())])
    };
    let data = parse(&both(x("(2, 3, 4)"))).unwrap();
    assert_eq!((data.train.labels(), data.train.rows(), data.train.cols(), data.train.len()), (&[7, 200][..], 3, 4, 2));
    assert_eq!(data.train.images().as_slice().unwrap(), pixels);
    assert_eq!(data.checksums[0], ("x_train.npy".to_owned(), sha256(&x("(2, 3, 4)"))));
    // Channels last are moved to the front.
    let last = parse(&both(x("(2, 2, 2, 3)"))).unwrap();
    assert_eq!((last.train.channels(), last.train.rows(), last.train.cols()), (3, 2, 2));
    assert_eq!(last.train.images().row(0).to_vec(), [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]);
    let first = parse(&both(x("(2, 3, 2, 2)"))).unwrap();
    assert_eq!(first.train.images().row(0).to_vec(), (0..12).collect::<Vec<u8>>());
    let only = |entries: &[(&str, Vec<u8>)]| parse(&npz(entries));
    reason(only(&[("x.npy", x("(2, 12)"))]), &["arrays x and y"]);
    reason(only(&[("x.npy", x("(2, 12)")), ("y.npy", npy("|u1", false, "(3,)", &[1; 3]))]), &["2 samples", "3"]);
    reason(only(&[("x.npy", x("(24,)")), ("y.npy", y.clone())]), &["shape [24]"]);
    let label = npy("<i2", false, "(2,)", &[0, 1, 0, 0]);
    reason(only(&[("x.npy", x("(2, 12)")), ("y.npy", label)]), &["label 256", "0 to 255"]);
    let nan: Vec<u8> = [1.0f32, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
    reason(only(&[("x.npy", npy("<f4", false, "(2, 1)", &nan)), ("y.npy", y.clone())]), &["x[1, 0] is NaN"]);
    let archive = both(x("(2, 12)"));
    for end in 0..archive.len() {
        assert!(parse(&archive[..end]).is_err(), "{end}");
    }
    for bit in 0..8 * archive.len() {
        let mut damaged = archive.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let _ = parse(&damaged);
    }
}

/// A folder of classes; `name` is the path of an image below it.
fn pictures(files: &[(&str, image::DynamicImage)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, picture) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture.save(path).unwrap();
    }
    folder
}

#[test]
fn a_folder_of_images_has_a_class_per_subfolder() {
    let grey = |value: u8| {
        let at = |x: u32, y: u32| image::Luma([value + 10 * y as u8 + x as u8]);
        image::DynamicImage::ImageLuma8(image::ImageBuffer::from_fn(3, 2, at))
    };
    let files = [("dog/1.png", grey(0)), ("dog/2.PNG", grey(50)), ("cat/a.png", grey(100)), ("cat/b.png", grey(150))];
    let folder = pictures(&files);
    fs::write(folder.path().join("cat/notes.txt"), "no image").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let data = Data::open(folder.path()).unwrap();
    assert_eq!(data.train.preparation().unwrap().classes, ["cat", "dog"]);
    assert_eq!((data.train.len(), data.test.len()), (3, 1), "one sample is tested");
    assert_eq!((data.train.channels(), data.train.rows(), data.train.cols()), (1, 2, 3));
    let all: Vec<Vec<u8>> =
        [&data.train, &data.test].iter().flat_map(|s| s.images().rows()).map(|r| r.to_vec()).collect();
    assert!(all.contains(&vec![50, 51, 52, 60, 61, 62]), "{all:?}");
    // A coloured image gives all three planes.
    let red = image::DynamicImage::ImageRgb8(image::ImageBuffer::from_pixel(3, 2, image::Rgb([255, 7, 0])));
    let set = |name: &str| [(format!("{name}/dog/1.png"), grey(9)), (format!("{name}/cat/2.png"), red.clone())];
    let all: Vec<_> = [set("train"), set("test")].concat();
    let both = pictures(&all.iter().map(|(name, picture)| (name.as_str(), picture.clone())).collect::<Vec<_>>());
    let data = Data::open(both.path()).unwrap();
    assert_eq!((data.train.channels(), data.train.len(), data.test.len()), (3, 2, 2));
    assert_eq!(data.train.images().row(0).to_vec(), [[255; 6], [7; 6], [0; 6]].concat());
    assert_eq!(data.train.images().row(1).to_vec(), [[9, 10, 11, 19, 20, 21]; 3].concat());
    assert_eq!(data.test.labels(), [0, 1]);
    // Other sizes are refused, or resized.
    let big = image::DynamicImage::ImageLuma8(image::ImageBuffer::from_pixel(9, 8, image::Luma([77])));
    big.save(folder.path().join("cat/c.jpg")).unwrap();
    reason(Data::open(folder.path()), &["8×9 pixels", "2×3", "--image-size 2x3"]);
    let resized = Data::read(folder.path(), &Reading { image_size: Some([4, 4]), ..Reading::default() }).unwrap();
    assert_eq!((resized.train.rows(), resized.train.cols(), resized.train.len() + resized.test.len()), (4, 4, 5));
    // A damaged image is refused by its name, every prefix of it.
    let path = folder.path().join("cat/c.jpg");
    let whole = fs::read(folder.path().join("cat/a.png")).unwrap();
    for end in 0..whole.len() / 2 {
        fs::remove_file(&path).unwrap();
        fs::write(&path, &whole[..end]).unwrap();
        reason(Data::open(folder.path()), &["intact PNG or JPEG"]);
    }
    let label = Reading { label: Some("x".into()), ..Reading::default() };
    assert_eq!(Data::read(folder.path(), &label).unwrap_err().exit_code(), 2);
}

#[test]
fn cifar_100_is_read_by_its_fine_labels() {
    let record = |coarse: u8, fine: u8| [vec![coarse, fine], vec![fine; 3072]].concat();
    let (train, test) = ([record(1, 99), record(2, 0)].concat(), record(19, 42));
    let folder = files(&[("train.bin", &train), ("test.bin.gz", &gzip(&test))]);
    let data = open(&folder).unwrap();
    assert_eq!((data.train.labels(), data.test.labels(), data.train.classes()), (&[99, 0][..], &[42][..], 100));
    assert_eq!(
        (data.train.channels(), data.train.images()[(0, 0)], data.checksums[1].1.clone()),
        (3, 99, sha256(&test))
    );
    reason(open(&files(&[("train.bin", &train)])), &["no file test.bin", "CIFAR-100"]);
    reason(open(&files(&[("train.bin", &record(0, 100)), ("test.bin", &test)])), &["label 100", "0 to 99"]);
    reason(open(&files(&[("train.bin", &train[1..]), ("test.bin", &test)])), &["3074 bytes"]);
}

#[test]
fn data_that_are_missing_or_unknown_name_every_format() {
    let all =
        ["MNIST", "CIFAR-10 ", "CIFAR-100", "train.csv", "x.npy", "PNG", "JPEG", ".csv", ".npz", "digits", "colours"];
    let folder = files(&[("notes.md", b"x"), ("unknown.parquet", b"x")]);
    reason(open(&folder), &all);
    reason(Data::open(folder.path().join("nowhere")), &all);
    reason(Data::open(folder.path().join("unknown.parquet")), &all);
    reason(Data::open(""), &all);
    // A folder of arrays, and one with two formats.
    let numbers: Vec<u8> = (0..8).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let (x, y) = (npy("<f4", false, "(4, 2)", &numbers), npy("<f8", false, "(4,)", &[0; 32]));
    let arrays = files(&[("x.npy", &x), ("y.npy", &y)]);
    assert_eq!(open(&arrays).unwrap().train.classes(), 1);
    assert_eq!(Data::open(arrays.path().join("x.npy")).unwrap(), open(&arrays).unwrap());
    fs::write(arrays.path().join("train.csv"), twenty()).unwrap();
    reason(open(&arrays), &["train.csv", "x.npy", "only one data set"]);
    // Two files of a table have the same columns; the statistics are those of the first.
    let tables = files(&[("train.csv", twenty().as_bytes()), ("test.csv", b"a,b,class\n100,3,no\n")]);
    let data = open(&tables).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.test.labels()), (20, 1, &[0][..]));
    assert!(numbers_of(&data.test)[0] > 10.0 && data.train.preparation().unwrap().test_part.is_none());
    let other = files(&[("train.csv", twenty().as_bytes()), ("test.csv", b"a,c,class\n100,3,no\n")]);
    reason(open(&other), &["columns are a, c, class"]);
}

fn numbers_of(set: &Dataset) -> Vec<f32> {
    numbers(set).iter().copied().collect()
}
