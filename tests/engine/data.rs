//! Data sets: broken files of every kind, MNIST against an independent reader, and the synthetic sets.
//!
//! The tests on MNIST and Fashion-MNIST need their files, which are not in this repository. They are searched for in `mnist/` and
//! `fashion-mnist/` of the folder named by `ZILCH_DATA`, or else of `../shared/data`. If they are missing, the test prints that it did
//! not run, and fails only if `ZILCH_REQUIRE_DATA` is set.

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use ndarray::Array2;
use sha2::{Digest, Sha256};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zilch::data::{Data, Dataset, cifar, colours, digits, folder, idx};
use zilch::{Error, Network, Result};

/// Counts the bytes that each thread allocates, to show that a small file cannot make the reader allocate much.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call forwards its arguments to the system allocator unchanged. The counter is a plain cell that neither allocates nor has
// a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get().saturating_add(layout.size()));
        // SAFETY: the caller upholds the contract of `GlobalAlloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.set(ASKED.get().saturating_add(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ASKED.set(ASKED.get().saturating_add(size));
        // SAFETY: as above; the pointer came from the system allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

// All tests of this binary use it. It counts per thread, and each test has its own thread.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of `work`, and the total number of bytes that it allocated.
fn bytes_asked<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ASKED.get();
    let result = work();
    (result, ASKED.get() - before)
}

/// A hand-written IDX file.
fn idx_file(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|n| n.to_be_bytes()));
    file.extend(data);
    file
}

/// An image file of 3 images of 2×4 pixels.
fn small_images() -> Vec<u8> {
    idx_file(&[3, 2, 4], &(100..124).collect::<Vec<u8>>())
}

/// A label file of 3 labels.
fn small_labels() -> Vec<u8> {
    idx_file(&[3], &[2, 0, 1])
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

/// A temporary folder with these files.
pub(crate) fn files(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// The result of [`idx::read_images`] on these bytes.
fn images(bytes: &[u8]) -> Result<idx::Images> {
    let folder = files(&[("images", bytes)]);
    idx::read_images(&folder.path().join("images"))
}

/// The result of [`idx::read_labels`] on these bytes.
fn labels(bytes: &[u8]) -> Result<idx::Labels> {
    let folder = files(&[("labels", bytes)]);
    idx::read_labels(&folder.path().join("labels"))
}

/// The reason of an [`Error::Data`], which must contain each of `words`.
#[track_caller]
pub(crate) fn reason<T: std::fmt::Debug>(result: Result<T>, words: &[&str]) -> String {
    match result.expect_err("this should not be accepted") {
        Error::Data { reason, .. } => {
            for word in words {
                assert!(reason.contains(word), "\"{reason}\" does not say \"{word}\"");
            }
            reason
        }
        other => panic!("expected Error::Data, not {other:?}"),
    }
}

/// The folder of a real data set with this name, if it exists.
fn real(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ZILCH_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let message = format!("NOT RUN: there is no folder {}; set ZILCH_DATA to the folder above it", folder.display());
    assert!(std::env::var_os("ZILCH_REQUIRE_DATA").is_none(), "{message}");
    #[allow(clippy::explicit_write, reason = "the test runner keeps what eprintln! says of a test that passes")]
    writeln!(std::io::stderr(), "{message}").unwrap();
    None
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

// IDX files.

#[test]
fn small_files_are_read_plain_and_gzipped() {
    for file in [small_images(), gzip(&small_images())] {
        let read = images(&file).unwrap();
        assert_eq!((read.count, read.rows, read.cols), (3, 2, 4));
        assert_eq!(read.pixels, (100..124).collect::<Vec<u8>>());
        assert_eq!(read.sha256, sha256(&small_images()));
    }
    for file in [small_labels(), gzip(&small_labels())] {
        let read = labels(&file).unwrap();
        assert_eq!(read.labels, [2, 0, 1]);
        assert_eq!(read.sha256, sha256(&small_labels()));
    }
}

#[test]
fn gzip_members_are_joined() {
    let file = small_images();
    for cut in 0..=file.len() {
        let both = [gzip(&file[..cut]), gzip(&file[cut..])].concat();
        assert_eq!(images(&both).unwrap().pixels, file[16..], "cut at {cut}");
    }
}

#[test]
fn every_prefix_is_an_error() {
    for file in [small_images(), gzip(&small_images())] {
        for length in 0..file.len() {
            reason(images(&file[..length]), &[]);
        }
    }
    for file in [small_labels(), gzip(&small_labels())] {
        for length in 0..file.len() {
            reason(labels(&file[..length]), &[]);
        }
    }
    reason(images(&[]), &["only 0 bytes", "0x00000803"]);
    reason(images(&small_images()[..10]), &["10 bytes of the 16 of the header"]);
    reason(images(&small_images()[..30]), &["cut short", "16 + 3 × 2 × 4 = 40 bytes", "has 30"]);
    reason(images(&gzip(&small_images()[..30])), &["cut short", "14 of 3 × 2 × 4 bytes"]);
}

#[test]
fn anything_after_the_end_is_an_error() {
    for extra in [&[0u8][..], &[7; 100], &small_images()] {
        let longer = [small_images(), extra.to_vec()].concat();
        reason(images(&longer), &["too long", "16 + 3 × 2 × 4 = 40 bytes"]);
        reason(images(&gzip(&longer)), &["too long", "3 × 2 × 4 bytes"]);
        reason(images(&[gzip(&small_images()), extra.to_vec()].concat()), &["corrupt gzip"]);
        reason(labels(&[small_labels(), extra.to_vec()].concat()), &["too long"]);
    }
    reason(images(&[gzip(&small_images()), gzip(&[0])].concat()), &["too long"]);
}

#[test]
fn wrong_headers_are_distinguished() {
    let with = |position: usize, byte: u8| {
        let mut file = small_images();
        file[position] = byte;
        images(&file)
    };
    reason(with(0, 1), &["0x01000803", "not IDX", "expected", "0x00000803"]);
    reason(with(1, 0xff), &["0x00ff0803", "not IDX"]);
    reason(with(2, 0x0d), &["IDX of f32 instead of u8"]);
    reason(with(2, 0x0a), &["there is no IDX type 0x0a"]);
    reason(with(3, 2), &["IDX with 2 sizes instead of 3"]);
    reason(labels(&small_images()), &["IDX with 3 sizes instead of 1", "0x00000801"]);
    reason(images(&small_labels()), &["IDX with 1 sizes instead of 3"]);
    reason(images(b"\x89PNG\r\n\x1a\n and so on, for long enough"), &["not IDX"]);
    for type_code in 0..=255 {
        assert_eq!(with(2, type_code).is_ok(), type_code == 8);
        assert_eq!(with(3, type_code).is_ok(), type_code == 3);
    }
}

#[test]
fn sizes_of_zero_are_errors() {
    for sizes in [[0, 2, 4], [3, 0, 4], [3, 2, 0], [0, 0, 0]] {
        reason(images(&idx_file(&sizes, &[])), &["at least one"]);
        reason(images(&gzip(&idx_file(&sizes, &[]))), &["at least one"]);
    }
    reason(labels(&idx_file(&[0], &[])), &["at least one"]);
}

#[test]
fn huge_sizes_allocate_nothing() {
    const MAX: u32 = u32::MAX;
    let mega = 1 << 20;
    for sizes in [[MAX, MAX, MAX], [MAX, 1, 1], [1, MAX, 1], [1, 1, MAX], [1 << 16, 1 << 16, 2], [60_000, 28, 28]] {
        for file in [idx_file(&sizes, &[1; 64]), gzip(&idx_file(&sizes, &[1; 64]))] {
            let (result, asked) = bytes_asked(|| images(&file));
            reason(result, &["the header says"]);
            assert!(asked < mega, "{sizes:?} asked for {asked} bytes");
        }
    }
    reason(labels(&idx_file(&[MAX], &[1; 64])), &["4294967295"]);
    reason(images(&idx_file(&[MAX, MAX, MAX], &[])), &["at most 17179869184"]);
    let wide = idx_file(&[1, 1 << 13, 1 << 12], &[]);
    reason(images(&wide), &["33554432 pixels", "at most 16777216"]);
}

#[test]
fn a_gzip_with_a_wrong_size_allocates_only_its_contents() {
    // Incompressible bytes, so that the file is long enough for the header to be plausible.
    let mut random = zilch::random::Random::new(1, zilch::random::Stream::Test, 0);
    let noise: Vec<u8> = (0..100_000).map(|_| random.below(256) as u8).collect();
    let file = gzip(&idx_file(&[100_000, 28, 28], &noise));
    let (result, asked) = bytes_asked(|| images(&file));
    reason(result, &["cut short: 100000 of 100000 × 28 × 28 bytes"]);
    assert!(asked < 1 << 20, "asked for {asked} bytes");
}

#[test]
fn a_gzip_bomb_is_not_inflated() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(&small_images()).unwrap();
    for _ in 0..300 {
        gz.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = gz.finish().unwrap();
    assert!(bomb.len() < 400_000);
    let folder = files(&[("images", &bomb)]);
    let (result, asked) = bytes_asked(|| idx::read_images(&folder.path().join("images")));
    reason(result, &["too long", "3 × 2 × 4 bytes", "there are more"]);
    assert!(asked < 1 << 20, "asked for {asked} bytes");
}

#[test]
fn a_flipped_bit_is_an_error_or_harmless() {
    let file = gzip(&small_images());
    for bit in 0..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match images(&flipped) {
            // Only the header of gzip has bits without effect here, such as the time.
            Ok(read) => assert_eq!(read.pixels, small_images()[16..], "bit {bit}"),
            Err(Error::Data { .. }) => {}
            Err(other) => panic!("bit {bit}: {other:?}"),
        }
    }
    let file = small_images();
    for bit in 0..8 * file.len() {
        let mut flipped = file.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let result = images(&flipped);
        assert_eq!(result.is_ok(), bit >= 8 * 16, "bit {bit}");
    }
}

#[test]
fn only_regular_files_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    reason(idx::read_images(folder.path()), &["not a regular file"]);
    let missing = folder.path().join("missing");
    reason(idx::read_labels(&missing), &["there is no such file"]);
    assert_eq!(idx::read_labels(&missing).unwrap_err().exit_code(), 4);
}

// Folders.

/// A small folder: 3 training and 2 test samples of 2×4 pixels, with the labels of the training set.
fn small_folder(train_labels: &[u8], test_sizes: [u32; 3]) -> TempDir {
    let test_bytes = test_sizes.iter().product::<u32>() as usize;
    files(&[
        ("train-images-idx3-ubyte.gz", &gzip(&small_images())),
        ("train-labels.idx1-ubyte", train_labels),
        ("t10k-images-idx3-ubyte", &idx_file(&test_sizes, &vec![9; test_bytes])),
        ("t10k-labels.idx1-ubyte.gz", &gzip(&idx_file(&[2], &[1, 12]))),
    ])
}

/// [`Data::open`] of a folder.
pub(crate) fn open(folder: &TempDir) -> Result<Data> {
    Data::open(folder.path().to_str().unwrap())
}

#[test]
fn a_folder_is_read_under_each_of_its_names() {
    let folder = small_folder(&small_labels(), [2, 2, 4]);
    let data = open(&folder).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (3, 2));
    assert_eq!((data.train.rows(), data.train.cols(), data.train.pixels()), (2, 4, 8));
    assert_eq!((data.train.classes(), data.test.classes()), (3, 13));
    assert_eq!(data.train.images().row(1).to_vec(), (108..116).collect::<Vec<u8>>());
    assert_eq!(data.train.labels(), [2, 0, 1]);
    assert_eq!(data.name, folder.path().file_name().unwrap().to_str().unwrap());
    let sums = [sha256(&small_images()), sha256(&small_labels())];
    for (i, sum) in sums.into_iter().enumerate() {
        assert_eq!(data.checksums[i], (folder::FILES[i].to_owned(), sum));
    }
    assert_eq!(data.checksums.len(), 4);
}

#[test]
fn counts_and_sizes_must_agree() {
    let fewer = small_folder(&idx_file(&[2], &[0, 1]), [2, 2, 4]);
    reason(open(&fewer), &["2 labels", "3 images"]);
    let more = small_folder(&idx_file(&[4], &[0; 4]), [2, 2, 4]);
    reason(open(&more), &["4 labels", "3 images"]);
    // The same number of pixels in another shape is also another size.
    for sizes in [[2, 4, 2], [2, 2, 5]] {
        let other = small_folder(&small_labels(), sizes);
        let shape = format!("test images have {}×{}", sizes[1], sizes[2]);
        reason(open(&other), &["training images have 2×4", &shape]);
    }
}

#[test]
fn a_missing_folder_or_file_is_refused_with_advice() {
    let nowhere = tempfile::tempdir().unwrap().path().join("nowhere");
    let advice = ["MNIST database", "--data digits"];
    reason(Data::open(nowhere.to_str().unwrap()), &advice);
    reason(Data::open(nowhere.to_str().unwrap()), &["there is no such folder", folder::FILES[3]]);
    for name in ["train-images-idx3-ubyte.gz", "t10k-labels.idx1-ubyte.gz"] {
        let folder = small_folder(&small_labels(), [2, 2, 4]);
        fs::remove_file(folder.path().join(name)).unwrap();
        let dash = name.replace(".idx", "-idx").replace(".gz", "");
        let dotted = dash.replace("-idx", ".idx");
        reason(open(&folder), &[&dash, &format!("{dash}.gz"), &dotted, &format!("{dotted}.gz")]);
        assert_eq!(open(&folder).unwrap_err().exit_code(), 4);
        // A folder with that name, as some archives create, is not the file.
        fs::create_dir(folder.path().join(&dash)).unwrap();
        reason(open(&folder), &advice);
    }
    let file = files(&[("file", b"x")]);
    reason(Data::open(file.path().join("file").to_str().unwrap()), &["not a folder"]);
}

#[test]
fn a_network_must_fit_the_data() {
    let data = open(&small_folder(&small_labels(), [2, 2, 4])).unwrap();
    let fits = |sizes: &[usize]| data.train.fits(&Network::new(sizes).unwrap());
    fits(&[8, 5, 3]).unwrap();
    fits(&[8, 10]).unwrap();
    reason(fits(&[784, 10]), &["2×4 = 8 pixels", "784 inputs"]);
    reason(fits(&[8, 2]), &["sample 0", "label 2", "2 output units", "at least 3"]);
    let error = data.fits(&Network::new(&[8, 10]).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Data { path, .. } if path.ends_with("t10k-labels.idx1-ubyte.gz")), "{error}");
    reason(Err::<(), _>(error), &["sample 1", "label 12", "10 output units"]);
    data.fits(&Network::new(&[8, 13]).unwrap()).unwrap();
}

#[test]
fn a_set_is_checked_when_it_is_made() {
    let set =
        |images: Array2<u8>, labels: Vec<u8>, rows, cols| Dataset::new(Path::new("here"), images, labels, rows, cols);
    reason(set(Array2::zeros((2, 6)), vec![0; 2], 2, 2), &["2×2", "6 bytes"]);
    reason(set(Array2::zeros((2, 6)), vec![0; 2], usize::MAX, 6), &["6 bytes"]);
    reason(set(Array2::zeros((2, 6)), vec![0; 3], 2, 3), &["3 labels for 2 images"]);
    reason(set(Array2::zeros((0, 6)), vec![], 2, 3), &["0 images"]);
    reason(set(Array2::zeros((2, 0)), vec![0; 2], 0, 3), &["0 pixels"]);
    let columns = Array2::from_shape_fn((3, 2), |(i, j)| (2 * i + j) as u8);
    let set = set(columns.reversed_axes(), vec![255, 3], 1, 3).unwrap();
    assert_eq!(set.images().as_slice().unwrap(), [0, 2, 4, 1, 3, 5], "rows must be contiguous");
    assert_eq!(set.classes(), 256);
}

// Real data.

/// The decompressed bytes of one of the four files.
fn inflated(folder: &Path, file: &str) -> Vec<u8> {
    let plain = folder.join(file);
    if plain.is_file() {
        return fs::read(plain).unwrap();
    }
    let mut bytes = Vec::new();
    MultiGzDecoder::new(fs::File::open(folder.join(format!("{file}.gz"))).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn mnist_equals_the_reading_of_the_mnist_crate() {
    let Some(folder) = real("mnist") else { return };
    let data = Data::open(folder.to_str().unwrap()).unwrap();
    let plain = tempfile::tempdir().unwrap();
    for file in folder::FILES {
        fs::write(plain.path().join(file), inflated(&folder, file)).unwrap();
    }
    let oracle = mnist::MnistBuilder::new()
        .base_path(plain.path().to_str().unwrap())
        .label_format_digit()
        .training_set_length(60_000)
        .validation_set_length(0)
        .test_set_length(10_000)
        .finalize();
    // assert! instead of assert_eq!, which would print 47 million values.
    assert!(data.train.images().as_slice().unwrap() == oracle.trn_img);
    assert!(data.train.labels() == oracle.trn_lbl);
    assert!(data.test.images().as_slice().unwrap() == oracle.tst_img);
    assert!(data.test.labels() == oracle.tst_lbl);
    assert_eq!((data.train.len(), data.test.len(), data.train.rows(), data.train.cols()), (60_000, 10_000, 28, 28));
    // The plain files give the same set, with the same checksums.
    let again = Data::open(plain.path().to_str().unwrap()).unwrap();
    assert!(again.train.images() == data.train.images() && again.test.images() == data.test.images());
    assert_eq!(again.checksums, data.checksums);
}

#[test]
fn mnist_has_its_checksums() {
    let Some(folder) = real("mnist") else { return };
    let sums = [
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ];
    let expected: Vec<_> = folder::FILES.iter().zip(sums).map(|(f, s)| ((*f).to_owned(), s.to_owned())).collect();
    assert_eq!(Data::open(folder.to_str().unwrap()).unwrap().checksums, expected);
}

#[test]
fn fashion_mnist_is_read() {
    let Some(folder) = real("fashion-mnist") else { return };
    let data = Data::open(folder.to_str().unwrap()).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.train.pixels()), (60_000, 10_000, 784));
    assert_eq!(data.name, "fashion-mnist");
    for (set, each) in [(&data.train, 6_000), (&data.test, 1_000)] {
        assert_eq!(counts(set), [each; 10]);
    }
}

// The synthetic digits.

/// The number of samples of each of ten classes.
fn counts(set: &Dataset) -> [usize; 10] {
    let mut counts = [0; 10];
    set.labels().iter().for_each(|&label| counts[usize::from(label)] += 1);
    counts
}

#[test]
fn digits_are_pinned() {
    let sums = [
        "b3215b893108adcdeac17f76245d3eac84ccc6321faad37c6a9c479605b327b0",
        "b325bdea08048047ec24f89d7827464c224de6a88b7bbab63b2cd2ceca884fd7",
        "93069b3766a4f4dd3e25b0b1a45b66e7e2547f0540bfb31a477e7d63a8ebdec0",
        "e026daf3d28b630d395bff264d45247706f43ecba7d4f48422cba6b6a30e22d3",
    ];
    let expected: Vec<_> = folder::FILES.iter().zip(sums).map(|(f, s)| ((*f).to_owned(), s.to_owned())).collect();
    let data = Data::open("digits").unwrap();
    assert_eq!(data.name, "digits");
    assert_eq!(data.checksums, expected);
    // The checksums are those of the files that the set would be written to.
    let file = idx_file(&[digits::TEST as u32, 28, 28], data.test.images().as_slice().unwrap());
    assert_eq!(sha256(&file), sums[2]);
    assert_eq!(sha256(&idx_file(&[digits::TEST as u32], data.test.labels())), sums[3]);
}

#[test]
fn digits_do_not_depend_on_threads() {
    let on = |threads: usize| digits::generate_on(threads).unwrap();
    let (one, two) = (on(1), on(2));
    assert!(one == two);
    // Nor on images generated before: any image can be generated alone.
    for index in [digits::TEST - 1, 0, 7] {
        let alone = digits::image((digits::TRAIN + index) as u64);
        assert_eq!(one.test.images().row(index).to_vec(), alone);
    }
}

#[test]
fn digits_are_balanced_and_differ() {
    let data = Data::open("digits").unwrap();
    assert_eq!(counts(&data.train), [digits::TRAIN / 10; 10]);
    assert_eq!(counts(&data.test), [digits::TEST / 10; 10]);
    assert_eq!((data.train.rows(), data.train.cols()), (digits::SIDE, digits::SIDE));
    data.fits(&Network::new(&[784, 10]).unwrap()).unwrap();
    // No image occurs twice, in either set or both, so that no test image is also a training image.
    let rows = data.train.images().rows().into_iter().chain(data.test.images().rows());
    let different: std::collections::HashSet<Vec<u8>> = rows.map(|row| row.to_vec()).collect();
    assert_eq!(different.len(), digits::TRAIN + digits::TEST);
    // Every image has some ink, and more background.
    for image in &different {
        let ink = image.iter().filter(|&&pixel| pixel > 128).count();
        assert!((25..350).contains(&ink), "{ink} dark pixels");
    }
}

// The synthetic images in colour.

#[test]
fn colours_are_pinned() {
    let sums = [
        ("train.bin", "354d3a44c64a0191c99eec77a69e7ec190ba09e16b964675c2504a5e91368a75"),
        ("test.bin", "61faef64907749d58281ea332ab758673388f125793b0622c984f5bcd3761f69"),
    ];
    let data = Data::open("colours").unwrap();
    assert_eq!(data.name, "colours");
    assert_eq!(data.checksums, sums.map(|(name, sum)| (name.to_owned(), sum.to_owned())));
    // The checksums are those of the files that the set would be written to.
    let rows = data.test.images().rows().into_iter().zip(data.test.labels());
    let file: Vec<u8> = rows.flat_map(|(row, label)| [&[*label], row.as_slice().unwrap()].concat()).collect();
    assert_eq!(sha256(&file), sums[1].1);
    assert_eq!(cifar::parse(Path::new("test.bin"), &file).unwrap().images(), data.test.images());
}

#[test]
fn colours_do_not_depend_on_threads() {
    let on = |threads: usize| colours::generate_on(threads).unwrap();
    let (one, two) = (on(1), on(2));
    assert!(one == two);
    for index in [colours::TEST - 1, 0, 7] {
        let alone = colours::image((colours::TRAIN + index) as u64);
        assert_eq!(one.test.images().row(index).to_vec(), alone);
    }
}

#[test]
fn colours_are_balanced_and_differ() {
    let data = Data::open("colours").unwrap();
    assert_eq!(counts(&data.train), [colours::TRAIN / 10; 10]);
    assert_eq!(counts(&data.test), [colours::TEST / 10; 10]);
    assert_eq!((data.train.channels(), data.train.rows(), data.train.cols()), (3, colours::SIDE, colours::SIDE));
    data.fits(&Network::parse("3x32x32,4c5,10").unwrap()).unwrap();
    let rows = data.train.images().rows().into_iter().chain(data.test.images().rows());
    let different: std::collections::HashSet<Vec<u8>> = rows.map(|row| row.to_vec()).collect();
    assert_eq!(different.len(), colours::TRAIN + colours::TEST);
    // No single pixel reveals the class: at every position, the mean over a class is near the mean over all classes with the same warmth.
    let mean = |classes: std::ops::Range<usize>| -> Vec<f64> {
        let mut sum = vec![0.0; colours::PIXELS];
        let rows = data.train.images().rows().into_iter().zip(data.train.labels());
        for (row, _) in rows.filter(|(_, label)| classes.contains(&usize::from(**label))) {
            sum.iter_mut().zip(row).for_each(|(sum, pixel)| *sum += f64::from(*pixel));
        }
        sum.iter().map(|sum| sum / (colours::TRAIN / 10 * classes.len()) as f64).collect()
    };
    for (warmth, all) in [(0..5, mean(0..5)), (5..10, mean(5..10))] {
        for class in warmth {
            let far = mean(class..class + 1).iter().zip(&all).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 25.0, "class {class}: {far}");
        }
    }
}

// The format of CIFAR-10.

/// CIFAR-10's files with `count` images each: label i mod 10, and pixels that identify file and image.
fn cifar_files(count: u8) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (f, name) in cifar::TRAIN.into_iter().chain([cifar::TEST]).enumerate() {
        let mut bytes = Vec::new();
        for i in 0..count {
            bytes.push(i % 10);
            bytes.extend((0..3072).map(|p| (p / 1024 * 80 + f * 10 + usize::from(i)) as u8));
        }
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn cifar_is_read_in_the_order_of_its_files() {
    let folder = cifar_files(3);
    let data = Data::open(folder.path()).unwrap();
    assert_eq!((data.train.len(), data.test.len(), data.train.classes()), (15, 3, 3));
    assert_eq!((data.train.channels(), data.train.rows(), data.train.cols(), data.train.pixels()), (3, 32, 32, 3072));
    assert_eq!(data.train.labels()[..5], [0, 1, 2, 0, 1]);
    // Image 1 of file 2, in each colour.
    let row = data.train.images().row(4);
    assert_eq!([row[0], row[1023], row[1024], row[2048], row[3071]], [11, 11, 91, 171, 171]);
    assert_eq!(data.test.images()[(2, 0)], 52);
    let names: Vec<&str> = data.checksums.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, cifar::TRAIN.into_iter().chain([cifar::TEST]).collect::<Vec<_>>());
    // A subset also has channels, and networks are checked against them.
    let (_, held) = data.hold_out(1).unwrap();
    assert_eq!(held.channels(), 3);
    data.fits(&Network::parse("3x32x32,4c3,10").unwrap()).unwrap();
    data.fits(&Network::parse("3072,10").unwrap()).unwrap();
    let error = data.fits(&Network::parse("48x64,4c3,10").unwrap()).unwrap_err().to_string();
    assert!(error.contains("3×32×32") && error.contains("begins with 3x32x32"), "{error}");
}

#[test]
fn bad_files_of_cifar_are_refused_with_the_file() {
    let open = |folder: &TempDir| Data::open(folder.path()).unwrap_err();
    let folder = cifar_files(1);
    fs::remove_file(folder.path().join(cifar::TRAIN[3])).unwrap();
    let error = open(&folder);
    assert!(matches!(error, Error::Data { .. }) && error.to_string().contains("no file data_batch_4.bin"), "{error}");
    for length in [0, 1, 3072, 3074, 6147] {
        let folder = cifar_files(1);
        fs::write(folder.path().join(cifar::TRAIN[1]), vec![0; length]).unwrap();
        let error = open(&folder).to_string();
        assert!(error.contains("data_batch_2.bin") && error.contains(&format!("{length} bytes")), "{error}");
    }
    let folder = cifar_files(2);
    let path = folder.path().join(cifar::TEST);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3073] = 10;
    fs::write(&path, bytes).unwrap();
    let error = open(&folder).to_string();
    assert!(error.contains("image 1 (counted from 0) has label 10"), "{error}");
}

/// Every truncated file, and every file with an additional byte, is refused, also gzipped. None makes the reader allocate much.
#[test]
fn cifar_that_is_cut_short_or_too_long_is_refused() {
    let whole = fs::read(cifar_files(2).path().join(cifar::TEST)).unwrap();
    let parse = |bytes: &[u8]| cifar::parse(Path::new("file"), bytes);
    assert_eq!(parse(&whole).unwrap().len(), 2);
    for length in (0..whole.len()).step_by(7).chain([1, 3072, 3074, whole.len() - 1]).filter(|n| *n != 3073) {
        reason(parse(&whole[..length]), &[&format!("{length} bytes")]);
    }
    let longer = [whole.clone(), vec![0]].concat();
    reason(parse(&longer), &["6147 bytes", "whole number of images"]);
    reason(parse(&gzip(&longer)), &["6147 bytes"]);
    let packed = gzip(&whole);
    assert_eq!(parse(&packed).unwrap(), parse(&whole).unwrap());
    for length in 2..packed.len() {
        let (read, asked) = bytes_asked(|| parse(&packed[..length]));
        reason(read, &["corrupt gzip"]);
        assert!(asked < 1 << 20, "{asked} bytes asked for");
    }
    for byte in 10..packed.len() {
        let mut damaged = packed.clone();
        damaged[byte] ^= 0x10;
        // Deflate does not detect every error; the bytes that are read are then those written.
        if let Ok(set) = parse(&damaged) {
            assert_eq!(set, parse(&whole).unwrap(), "byte {byte}");
        }
    }
}

/// A small file that would inflate to a large one gets at most twice the memory that it fills.
#[test]
fn a_gzip_bomb_in_the_format_of_cifar_fills_no_memory() {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    gz.write_all(&vec![0; 8 << 20]).unwrap();
    // An invalid label far into the file, and an incomplete last image.
    gz.write_all(&[77]).unwrap();
    let bomb = gz.finish().unwrap();
    assert!(bomb.len() < 16 << 10);
    let (read, asked) = bytes_asked(|| cifar::parse(Path::new("file"), &bomb));
    reason(read, &["8388609 bytes"]);
    assert!(asked < 48 << 20, "{asked} bytes asked for");
}

#[test]
fn cifar_is_read_gzipped_too() {
    let folder = cifar_files(2);
    let plain = open(&folder).unwrap();
    for name in [cifar::TRAIN[2], cifar::TEST] {
        let path = folder.path().join(name);
        fs::write(folder.path().join(format!("{name}.gz")), gzip(&fs::read(&path).unwrap())).unwrap();
        fs::remove_file(path).unwrap();
    }
    let mixed = open(&folder).unwrap();
    assert!(mixed.train.images() == plain.train.images() && mixed.test.images() == plain.test.images());
    assert_eq!((mixed.train.labels(), &mixed.checksums), (plain.train.labels(), &plain.checksums));
    // A gzipped file with the plain name is read as gzip, and errors in it name the file.
    fs::write(folder.path().join(cifar::TRAIN[0]), gzip(&vec![10; 3073])).unwrap();
    let error = open(&folder).unwrap_err();
    assert!(matches!(&error, Error::Data { path, .. } if path.ends_with(cifar::TRAIN[0])), "{error}");
    reason(Err::<(), _>(error), &["image 0", "label 10"]);
}

#[test]
fn a_folder_of_two_data_sets_is_refused() {
    for name in ["t10k-labels-idx1-ubyte", "train-images.idx3-ubyte.gz"] {
        let folder = cifar_files(1);
        fs::write(folder.path().join(name), small_labels()).unwrap();
        reason(open(&folder), &["CIFAR-10", name, "one data set"]);
    }
}
