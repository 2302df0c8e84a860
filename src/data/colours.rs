//! The synthetic images in colour: ten classes of 3 × 32 × 32 pixels in the form of CIFAR-10, that need no files.
//!
//! A class is a shape and whether it is warm or cold. Class c has shape c mod 5 (a disc, a ring, a square, a triangle, a cross), and is warm
//! for c < 5: more red than blue, else more blue than red. Size, place, rotation, brightness and the mix of colours are random, and so is
//! the ground, which runs from one colour to another. A shape may be brighter than its ground or darker, so that no pixel by itself
//! tells it: edges do. A pixel at distance d from the shape's edge, outside of it, is
//!
//! 255 · clamp(ground + clamp(½ − d, 0, 1) · (colour − ground) + noise, 0, 1), for each colour.
//!
//! Image i depends on ([`SEED`], i) and on nothing else. The arithmetic is +, −, ·, /, √ and comparisons in float64, as of
//! [`digits`](super::digits): the set is the same bytes on every platform and at any number of threads.

use super::{COLOURS, Data, Dataset, cifar, made};
use crate::error::Result;
use crate::random::{Random, Stream};
use std::path::Path;

/// The seed of the set. It is no option: there is one set.
pub const SEED: u64 = 20_090_408;
/// Training images: numbers 0 .. TRAIN.
pub const TRAIN: usize = 10_000;
/// Test images: numbers TRAIN .. TRAIN + TEST.
pub const TEST: usize = 2_000;
/// Rows and columns of an image, in pixels.
pub const SIDE: usize = 32;
/// Numbers of an image: a plane of red, one of green, one of blue.
pub const PIXELS: usize = 3 * SIDE * SIDE;

/// Half the extent of a shape, in pixels: from, to.
const SIZE: [f64; 2] = [7.0, 10.5];
/// The tangent of half the largest rotation: 0.1 is 11°.
const HALF_TURN: f64 = 0.1;
/// Half the width of a ring and of a cross's bars, as a part of the size: from, to.
const WIDTH: [f64; 2] = [0.2, 0.34];
/// The stronger of red and blue in a shape, the weaker one as its part, and green as its part: from, to.
const STRONG: [f64; 2] = [0.35, 1.0];
const WEAK: [f64; 2] = [0.1, 0.6];
const GREEN: [f64; 2] = [0.2, 1.0];
/// A colour of the ground: from, to.
const GROUND: [f64; 2] = [0.1, 0.9];
/// The largest noise of a pixel, as a part of the full intensity.
const NOISE: f64 = 0.08;

/// The set: [`TRAIN`] and [`TEST`] images, as many of each class, in the order 0, 1, …, 9, 0, 1, ….
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) where there is no memory for it.
pub fn generate() -> Result<Data> {
    generate_on(synthetic::threads())
}

/// The same, made on so many threads, or on fewer where the system gives no more.
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

/// Image `index` of the set: red, green and blue, each row by row.
pub fn image(index: u64) -> [u8; PIXELS] {
    let mut random = Random::new(SEED, Stream::Colours, index);
    let class = usize::from(label(index));
    let shape = Shape::draw(&mut random, class % 5);
    let colour = colour(&mut random, class < 5);
    let ground = Ground::draw(&mut random);
    let mut pixels = [0; PIXELS];
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (channel, y, x) = (i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE);
        let below = ground.at(channel, x as f64, y as f64);
        let cover = (0.5 - shape.outside(x as f64, y as f64)).clamp(0.0, 1.0);
        let value = below + cover * (colour[channel] - below) + random.range(-NOISE, NOISE);
        *pixel = (255.0 * value.clamp(0.0, 1.0) + 0.5) as u8;
    }
    pixels
}

/// `count` images from number `first`.
fn dataset(first: u64, count: usize, threads: usize) -> Result<Dataset> {
    let images = synthetic::images((first, count), threads, image)?;
    let labels = (0..count as u64).map(|i| label(first + i)).collect();
    Dataset::from_sources([Path::new(COLOURS); 2], images, labels, [3, SIDE, SIDE])
}

/// A warm or a cold colour.
fn colour(random: &mut Random, warm: bool) -> [f64; 3] {
    let [strong, weak, green] = [STRONG, WEAK, GREEN].map(|[from, to]| random.range(from, to));
    let (weak, green) = (strong * weak, strong * green);
    if warm { [strong, green, weak] } else { [weak, green, strong] }
}

/// What is behind the shape: one colour at one side, another at the opposite one.
struct Ground {
    colours: [[f64; 3]; 2],
    along: [f64; 2],
}

impl Ground {
    fn draw(random: &mut Random) -> Self {
        let colours = [(); 2].map(|()| [(); 3].map(|()| random.range(GROUND[0], GROUND[1])));
        Ground { colours, along: [(); 2].map(|()| random.range(-1.0, 1.0)) }
    }

    fn at(&self, channel: usize, x: f64, y: f64) -> f64 {
        let middle = (SIDE - 1) as f64 / 2.0;
        let far = 0.5 + (self.along[0] * (x - middle) + self.along[1] * (y - middle)) / (2.0 * SIDE as f64);
        let [a, b] = self.colours.map(|colour| colour[channel]);
        a + (b - a) * far
    }
}

/// A shape where it lies.
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
        // A rotation without sine or cosine, as of the digits.
        let t = random.range(-HALF_TURN, HALF_TURN);
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        Shape { kind, middle, size, width, cos, sin }
    }

    /// How far a pixel is from the edge: below 0 inside.
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
            // √3 / 2; its point is up.
            3 => (0.866_025_403_784_438_6 * across - 0.5 * y).max(y) - 0.52 * size,
            _ => (across - size).max(down - width).min((across - width).max(down - size)),
        }
    }
}
