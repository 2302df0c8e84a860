//! The synthetic colour images: ten classes of 3 × 32 × 32 pixels in the layout of CIFAR-10, generated without files.
//!
//! A class is a shape with a warm or cold colour. Class c has shape c mod 5 (disc, ring, square, triangle, cross). It is warm for
//! c < 5 (more red than blue), else cold (more blue than red). Size, position, rotation, brightness and colour mix are random. The
//! background is a random gradient between two colours. A shape may be brighter or darker than its background, so that no single
//! pixel reveals the shape; only edges do. A pixel at distance d outside the edge of the shape (negative inside) is, per channel,
//!
//! 255 · clamp(background + clamp(½ − d, 0, 1) · (colour − background) + noise, 0, 1).
//!
//! Image i depends only on ([`SEED`], i). The arithmetic is +, −, ·, /, √ and comparisons in float64, as in
//! [`digits`](super::digits). So the set has the same bytes on every platform and with any number of threads.

use super::{COLOURS, Data, Dataset, cifar, synthetic};
use crate::error::Result;
use crate::random::{Random, Stream};
use std::path::Path;

/// The seed of the set. It is fixed, so that there is only one set.
pub const SEED: u64 = 20_090_408;
/// The number of training images, which have the indices 0 .. TRAIN.
pub const TRAIN: usize = 10_000;
/// The number of test images, which have the indices TRAIN .. TRAIN + TEST.
pub const TEST: usize = 2_000;
/// Rows and columns of an image, in pixels.
pub const SIDE: usize = 32;
/// Bytes per image: a plane of red, one of green, one of blue.
pub const PIXELS: usize = 3 * SIDE * SIDE;

/// Half the extent of a shape, in pixels: from, to.
const SIZE: [f64; 2] = [7.0, 10.5];
/// The tangent of half the largest rotation; 0.1 means 11°.
const HALF_TURN: f64 = 0.1;
/// Half the width of a ring and of the bars of a cross, as a fraction of the size: from, to.
const WIDTH: [f64; 2] = [0.2, 0.34];
/// The stronger of red and blue in a shape: from, to.
const STRONG: [f64; 2] = [0.35, 1.0];
/// The weaker of red and blue, as a fraction of the stronger one: from, to.
const WEAK: [f64; 2] = [0.1, 0.6];
/// Green, as a fraction of the stronger one: from, to.
const GREEN: [f64; 2] = [0.2, 1.0];
/// A channel of the background: from, to.
const BACKGROUND: [f64; 2] = [0.1, 0.9];
/// The largest noise of a pixel, as a fraction of the full intensity.
const NOISE: f64 = 0.08;

/// Generates the set: [`TRAIN`] and [`TEST`] images, equally many of each class, in the order 0, 1, …, 9, 0, 1, ….
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) when the set exceeds the free memory.
pub fn generate() -> Result<Data> {
    generate_on(synthetic::threads())
}

/// As [`generate`], on this number of threads, or on fewer if the system refuses more.
///
/// # Errors
/// As [`generate`].
pub fn generate_on(threads: usize) -> Result<Data> {
    let train = dataset(0, TRAIN, threads)?;
    let test = dataset(TRAIN as u64, TEST, threads)?;
    let sums = [("train.bin", &train), ("test.bin", &test)];
    let checksums = sums.map(|(name, set)| (name.to_owned(), cifar::sha256(set.images(), set.labels())));
    Ok(Data { train, test, name: COLOURS.to_owned(), checksums: checksums.to_vec() })
}

/// The class of image `index`.
pub fn label(index: u64) -> u8 {
    (index % 10) as u8
}

/// The pixels of image `index`, [channels, rows, columns] row-major.
pub fn image(index: u64) -> [u8; PIXELS] {
    let mut random = Random::new(SEED, Stream::Colours, index);
    let class = usize::from(label(index));
    let shape = Shape::draw(&mut random, class % 5);
    let colour = colour(&mut random, class < 5);
    let background = Background::draw(&mut random);
    let mut pixels = [0; PIXELS];
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (channel, y, x) = (i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE);
        let below = background.at(channel, x as f64, y as f64);
        let cover = (0.5 - shape.outside(x as f64, y as f64)).clamp(0.0, 1.0);
        let value = below + cover * (colour[channel] - below) + random.range(-NOISE, NOISE);
        *pixel = (255.0 * value.clamp(0.0, 1.0) + 0.5) as u8;
    }
    pixels
}

/// `count` images from index `first` on.
fn dataset(first: u64, count: usize, threads: usize) -> Result<Dataset> {
    let images = synthetic::images((first, count), threads, image)?;
    let labels = (0..count as u64).map(|i| label(first + i)).collect();
    Dataset::from_sources([Path::new(COLOURS); 2], images, labels, [3, SIDE, SIDE])
}

/// Draws a warm or a cold colour: red, green, blue.
fn colour(random: &mut Random, warm: bool) -> [f64; 3] {
    let [strong, weak, green] = [STRONG, WEAK, GREEN].map(|[from, to]| random.range(from, to));
    let (weak, green) = (strong * weak, strong * green);
    if warm { [strong, green, weak] } else { [weak, green, strong] }
}

/// The background: a linear gradient between two colours.
struct Background {
    colours: [[f64; 3]; 2],
    along: [f64; 2],
}

impl Background {
    fn draw(random: &mut Random) -> Self {
        let colours = [(); 2].map(|()| [(); 3].map(|()| random.range(BACKGROUND[0], BACKGROUND[1])));
        Background { colours, along: [(); 2].map(|()| random.range(-1.0, 1.0)) }
    }

    fn at(&self, channel: usize, x: f64, y: f64) -> f64 {
        let middle = (SIDE - 1) as f64 / 2.0;
        let far = 0.5 + (self.along[0] * (x - middle) + self.along[1] * (y - middle)) / (2.0 * SIDE as f64);
        let [a, b] = self.colours.map(|colour| colour[channel]);
        a + (b - a) * far
    }
}

/// A shape with its position, size and rotation.
struct Shape {
    kind: usize,
    middle: [f64; 2],
    size: f64,
    width: f64,
    cos: f64,
    sin: f64,
}

impl Shape {
    fn draw(random: &mut Random, kind: usize) -> Self {
        let size = random.range(SIZE[0], SIZE[1]);
        let middle = [(); 2].map(|()| random.range(size, (SIDE - 1) as f64 - size));
        let width = size * random.range(WIDTH[0], WIDTH[1]);
        // A rotation without sine or cosine, as for the digits.
        let t = random.range(-HALF_TURN, HALF_TURN);
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        Shape { kind, middle, size, width, cos, sin }
    }

    /// The signed distance of a pixel from the edge, negative inside.
    fn outside(&self, x: f64, y: f64) -> f64 {
        let Shape { middle, size, width, cos, sin, .. } = *self;
        let [x, y] = [x - middle[0], y - middle[1]];
        let [x, y] = [cos * x + sin * y, cos * y - sin * x];
        let (across, down) = (x.abs(), y.abs());
        let from_middle = (x * x + y * y).sqrt();
        match self.kind {
            0 => from_middle - size,
            1 => (from_middle - (size - width)).abs() - width,
            2 => across.max(down) - 0.85 * size,
            // The factor is √3 / 2. The triangle points up.
            3 => (0.866_025_403_784_438_6 * across - 0.5 * y).max(y) - 0.52 * size,
            _ => (across - size).max(down - width).min((across - width).max(down - size)),
        }
    }
}
