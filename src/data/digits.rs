//! The synthetic digits: ten classes of 28×28 pixels, drawn by a simulated pen, generated without files.
//!
//! Each class has two or three glyphs, which are strokes through a few control points. An image is a random glyph of its class
//! under a random jitter of the control points, scale, shear, rotation and shift:
//!
//! x ↦ R · S · (x + jitter) + shift, with the rotation R, and the scale and shear S.
//!
//! The image is drawn with a pen of random width, softness and ink. A pixel at distance d from the nearest stroke is
//! ink · clamp(½ + (h − d) / w, 0, 1) plus noise, scaled to 0..=255. Here h is half the pen's width and w its softness.
//!
//! Image i depends only on ([`SEED`], i). The arithmetic is +, −, ·, / and √ in float64, which IEEE 754 defines to the last bit.
//! It has no sine, cosine or logarithm, which IEEE 754 leaves open. So the set has the same bytes on every platform and with any
//! number of threads.

use super::{DIGITS, Data, Dataset, folder, idx, synthetic};
use crate::error::Result;
use crate::random::{Random, Stream};
use std::path::Path;

/// The seed of the set. It is fixed, so that there is only one set of digits.
pub const SEED: u64 = 20_201_206;
/// The number of training images, which have the indices 0 .. TRAIN.
pub const TRAIN: usize = 12_000;
/// The number of test images, which have the indices TRAIN .. TRAIN + TEST.
pub const TEST: usize = 2_000;
/// Rows and columns of an image, in pixels.
pub const SIDE: usize = 28;
/// Pixels per image.
pub const PIXELS: usize = SIDE * SIDE;

/// A point [x, y], x to the right and y down: of a glyph, in about −1 to 1, or of an image, in pixels.
type Point = [f64; 2];

/// One stroke of the pen.
enum Stroke {
    /// A polyline through the points.
    Line(&'static [Point]),
    /// A smooth curve through the points.
    Curve(&'static [Point]),
}
use Stroke::{Curve, Line};

/// One way to write a digit.
type Glyph = &'static [Stroke];

/// The glyphs of each digit. All glyphs of a class are equally likely.
#[rustfmt::skip]
const GLYPHS: [&[Glyph]; 10] = [
    &[ // 0: round, narrow, slashed
        &[Curve(&[[0.0, -1.0], [0.42, -0.7], [0.58, 0.0], [0.42, 0.7], [0.0, 1.0], [-0.42, 0.7], [-0.58, 0.0], [-0.42, -0.7], [0.0, -1.0]])],
        &[Curve(&[[0.1, -1.0], [0.32, -0.6], [0.35, 0.1], [0.2, 0.75], [-0.05, 1.0], [-0.3, 0.65], [-0.35, -0.1], [-0.2, -0.75], [0.1, -1.0]])],
        &[Curve(&[[0.0, -1.0], [0.42, -0.7], [0.58, 0.0], [0.42, 0.7], [0.0, 1.0], [-0.42, 0.7], [-0.58, 0.0], [-0.42, -0.7], [0.0, -1.0]]),
          Line(&[[0.4, -0.7], [-0.4, 0.7]])],
    ],
    &[ // 1: a bar, with a flag, with a flag and a foot
        &[Line(&[[0.0, -1.0], [0.0, 1.0]])],
        &[Line(&[[-0.4, -0.5], [0.05, -1.0], [0.05, 1.0]])],
        &[Line(&[[-0.35, -0.6], [0.0, -1.0], [0.0, 1.0]]), Line(&[[-0.45, 1.0], [0.45, 1.0]])],
    ],
    &[ // 2: round with a straight foot, with a loop, angular
        &[Curve(&[[-0.5, -0.55], [-0.3, -0.92], [0.1, -1.0], [0.48, -0.7], [0.4, -0.2], [-0.1, 0.4], [-0.55, 1.0]]), Line(&[[-0.55, 1.0], [0.6, 1.0]])],
        &[Curve(&[[-0.5, -0.6], [0.0, -1.0], [0.45, -0.6], [0.2, 0.0], [-0.35, 0.8], [-0.6, 0.75], [-0.35, 0.5], [0.0, 0.8], [0.6, 0.95]])],
        &[Line(&[[-0.5, -0.7], [-0.2, -1.0], [0.4, -0.9], [0.45, -0.4], [-0.55, 1.0], [0.55, 1.0]])],
    ],
    &[ // 3: round, with a flat top
        &[Curve(&[[-0.5, -0.75], [0.0, -1.0], [0.45, -0.6], [0.3, -0.15], [-0.15, -0.02]]), Curve(&[[-0.15, -0.02], [0.4, 0.15], [0.55, 0.55], [0.1, 1.0], [-0.55, 0.75]])],
        &[Line(&[[-0.5, -1.0], [0.5, -1.0], [-0.05, -0.2]]), Curve(&[[-0.05, -0.2], [0.45, 0.05], [0.5, 0.6], [0.05, 1.0], [-0.55, 0.75]])],
    ],
    &[ // 4: open, closed, open and curved
        &[Line(&[[-0.45, -1.0], [-0.5, 0.2], [0.6, 0.2]]), Line(&[[0.3, -0.6], [0.3, 1.0]])],
        &[Line(&[[0.3, 1.0], [0.3, -1.0], [-0.55, 0.35], [0.6, 0.35]])],
        &[Curve(&[[-0.4, -1.0], [-0.55, -0.2], [-0.25, 0.15], [0.4, 0.0]]), Line(&[[0.5, -1.0], [0.3, 1.0]])],
    ],
    &[ // 5: with a corner, in one curve
        &[Line(&[[0.5, -1.0], [-0.4, -1.0], [-0.45, -0.15]]), Curve(&[[-0.45, -0.15], [0.1, -0.3], [0.55, 0.25], [0.2, 0.9], [-0.5, 0.8]])],
        &[Curve(&[[0.5, -0.9], [-0.1, -1.0], [-0.45, -0.5], [0.15, -0.15], [0.5, 0.4], [0.1, 0.95], [-0.5, 0.8]])],
    ],
    &[ // 6: bowed, with a straight stem
        &[Curve(&[[0.4, -0.95], [-0.15, -0.6], [-0.5, 0.1], [-0.4, 0.75], [0.05, 1.0], [0.48, 0.65], [0.35, 0.15], [-0.05, 0.05], [-0.45, 0.4]])],
        &[Line(&[[0.15, -1.0], [-0.4, 0.4]]), Curve(&[[-0.4, 0.4], [-0.3, 0.9], [0.1, 1.0], [0.42, 0.65], [0.3, 0.25], [-0.05, 0.15], [-0.4, 0.5]])],
    ],
    &[ // 7: plain, with a bar, with a hook
        &[Line(&[[-0.5, -1.0], [0.5, -1.0], [-0.1, 1.0]])],
        &[Line(&[[-0.5, -1.0], [0.5, -1.0], [-0.1, 1.0]]), Line(&[[-0.25, 0.0], [0.5, 0.0]])],
        &[Line(&[[-0.5, -0.6], [-0.5, -1.0], [0.5, -1.0]]), Curve(&[[0.5, -1.0], [0.1, -0.2], [-0.05, 1.0]])],
    ],
    &[ // 8: in one movement, two rings
        &[Curve(&[[0.35, -0.8], [0.0, -1.0], [-0.38, -0.65], [0.0, -0.1], [0.48, 0.5], [0.0, 1.0], [-0.48, 0.5], [0.0, -0.1], [0.4, -0.65], [0.3, -0.85]])],
        &[Curve(&[[0.0, -1.0], [0.36, -0.55], [0.0, -0.1], [-0.36, -0.55], [0.0, -1.0]]), Curve(&[[0.0, -0.1], [0.5, 0.45], [0.0, 1.0], [-0.5, 0.45], [0.0, -0.1]])],
    ],
    &[ // 9: with a straight stem, with a curled one
        &[Curve(&[[0.4, -0.5], [0.25, -0.95], [-0.2, -0.95], [-0.45, -0.5], [-0.2, -0.1], [0.2, -0.15], [0.4, -0.5]]), Line(&[[0.42, -0.8], [0.3, 1.0]])],
        &[Curve(&[[0.42, -0.55], [0.1, -1.0], [-0.45, -0.6], [-0.15, -0.1], [0.3, -0.25], [0.45, -0.6]]), Curve(&[[0.43, -0.7], [0.45, 0.3], [0.15, 0.95], [-0.4, 0.85]])],
    ],
];

/// Line segments of a curve between two control points.
const PIECES: usize = 5;
/// Standard deviation of the jitter of a control point, in glyph units.
const JITTER: f64 = 0.03;
/// Half the height of an unscaled glyph, in pixels.
const HALF_HEIGHT: f64 = 9.5;
/// The scale of each axis: from, to.
const SCALE: [f64; 2] = [0.85, 1.1];
/// The largest shear, in units of x per unit of y.
const SHEAR: f64 = 0.2;
/// The tangent of half the largest rotation; 0.1 means 11°.
const HALF_TURN: f64 = 0.1;
/// The largest shift along each axis, in pixels.
const SHIFT: f64 = 2.2;
/// Half the pen's width, in pixels: from, to.
const PEN: [f64; 2] = [1.4, 2.1];
/// The width of the pen's soft edge, in pixels: from, to.
const SOFTNESS: [f64; 2] = [0.8, 1.6];
/// The ink's intensity: from, to.
const INK: [f64; 2] = [0.85, 1.0];
/// The largest noise of a pixel, as a fraction of the full intensity.
const NOISE: f64 = 0.04;

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
    let sums = [&train, &test].map(checksums).into_iter().flatten();
    let checksums = folder::FILES.iter().map(ToString::to_string).zip(sums).collect();
    Ok(Data { train, test, name: DIGITS.to_owned(), checksums })
}

/// The class of image `index`.
pub fn label(index: u64) -> u8 {
    (index % 10) as u8
}

/// The pixels of image `index`, row-major.
pub fn image(index: u64) -> [u8; PIXELS] {
    let mut random = Random::new(SEED, Stream::Digits, index);
    let styles = GLYPHS[usize::from(label(index))];
    let glyph = styles[random.below(styles.len() as u64) as usize];
    let pose = Pose::draw(&mut random);
    let mut pieces = Vec::new();
    for stroke in glyph {
        let path: Vec<Point> = stroke.path(&mut random).into_iter().map(|p| pose.place(p)).collect();
        pieces.extend(path.windows(2).map(|ends| [ends[0], ends[1]]));
    }
    let pen = Pen::draw(&mut random);
    let mut noise = [0.0; PIXELS];
    noise.iter_mut().for_each(|number| *number = random.range(-NOISE, NOISE));
    pulp::Arch::new().dispatch(Drawing { pieces, pen, noise })
}

/// An image with all its random values drawn. The remaining work is the same for every pixel and is compiled for the SIMD
/// instructions of the processor. Each operation is still rounded individually.
struct Drawing {
    pieces: Vec<[Point; 2]>,
    pen: Pen,
    noise: [f64; PIXELS],
}

impl pulp::NullaryFnOnce for Drawing {
    type Output = [u8; PIXELS];

    #[inline(always)]
    fn call(self) -> [u8; PIXELS] {
        let mut nearest = [f64::INFINITY; PIXELS];
        self.pieces.iter().for_each(|[a, b]| approach(&mut nearest, *a, *b));
        let mut image = [0; PIXELS];
        for ((pixel, squared), noise) in image.iter_mut().zip(&nearest).zip(&self.noise) {
            *pixel = self.pen.mark(squared.sqrt(), *noise);
        }
        image
    }
}

/// `count` images from index `first` on.
fn dataset(first: u64, count: usize, threads: usize) -> Result<Dataset> {
    let images = synthetic::images((first, count), threads, image)?;
    let labels = (0..count as u64).map(|i| label(first + i)).collect();
    Dataset::new(Path::new(DIGITS), images, labels, SIDE, SIDE)
}

/// The SHA-256 of IDX files with the images and the labels.
fn checksums(set: &Dataset) -> [String; 2] {
    let count = set.len() as u32;
    let pixels = set.images().as_slice().unwrap_or_default();
    [
        idx::sha256(&idx::header([count, SIDE as u32, SIDE as u32]), pixels),
        idx::sha256(&idx::header([count]), set.labels()),
    ]
}

impl Stroke {
    /// The stroke as a polyline, with jittered control points.
    fn path(&self, random: &mut Random) -> Vec<Point> {
        let (Line(points) | Curve(points)) = self;
        let jittered = points.iter().map(|&[x, y]| [x + JITTER * bell(random), y + JITTER * bell(random)]).collect();
        match self {
            Line(_) => jittered,
            Curve(_) => smooth(&jittered),
        }
    }
}

/// An approximately normal value with mean 0 and standard deviation 1. It is the scaled sum of four uniform values (total
/// variance ⅓), which needs no logarithm.
fn bell(random: &mut Random) -> f64 {
    const ROOT_3: f64 = 1.732_050_807_568_877_2;
    let sum: f64 = (0..4).map(|_| random.range(-0.5, 0.5)).sum();
    ROOT_3 * sum
}

/// The Catmull–Rom curve through `points`, with [`PIECES`] line segments between each two.
fn smooth(points: &[Point]) -> Vec<Point> {
    let last = points.len() - 1;
    let mut path = vec![points[0]];
    for i in 0..last {
        let [p, q, r, s] = [i.saturating_sub(1), i, i + 1, (i + 2).min(last)].map(|k| points[k]);
        for step in 1..=PIECES {
            let t = step as f64 / PIECES as f64;
            path.push([0, 1].map(|axis| {
                let [p, q, r, s] = [p[axis], q[axis], r[axis], s[axis]];
                let cubic = (3.0 * (q - r) + s - p) * t + (2.0 * p - 5.0 * q + 4.0 * r - s);
                q + 0.5 * t * (cubic * t + (r - p))
            }));
        }
    }
    path
}

/// The affine map from a glyph to its image: a linear map, then a shift.
struct Pose {
    map: [[f64; 2]; 2],
    shift: Point,
}

impl Pose {
    /// A random scale, shear, rotation and shift.
    fn draw(random: &mut Random) -> Self {
        let [sx, sy] = [0, 1].map(|_| HALF_HEIGHT * random.range(SCALE[0], SCALE[1]));
        let shear = random.range(-SHEAR, SHEAR);
        // A rotation without sine or cosine: with t = tan(φ/2), cos φ = (1 − t²) / (1 + t²) and sin φ = 2 t / (1 + t²).
        let t = random.range(-HALF_TURN, HALF_TURN);
        let (cos, sin) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
        let map = [[cos * sx, cos * shear * sx - sin * sy], [sin * sx, sin * shear * sx + cos * sy]];
        let middle = (SIDE - 1) as f64 / 2.0;
        Pose { map, shift: [0, 1].map(|_| middle + random.range(-SHIFT, SHIFT)) }
    }

    /// Maps a point of the glyph to a point of the image, in pixels.
    fn place(&self, [x, y]: Point) -> Point {
        [0, 1].map(|axis| self.map[axis][0] * x + self.map[axis][1] * y + self.shift[axis])
    }
}

/// The column indices of an image as floats.
const COLUMNS: [f64; SIDE] = {
    let mut columns = [0.0; SIDE];
    let mut x = 0;
    while x < SIDE {
        columns[x] = x as f64;
        x += 1;
    }
    columns
};

/// Sets each pixel within the pen's reach of the segment a–b to the smaller of its value and its squared distance from the segment.
#[inline(always)]
fn approach(nearest: &mut [f64; PIXELS], a: Point, b: Point) {
    const REACH: f64 = PEN[1] + SOFTNESS[1] / 2.0;
    // A cast from float to integer saturates, so that a negative coordinate becomes 0.
    let range = |axis: usize| {
        let (low, high) = if a[axis] < b[axis] { (a[axis], b[axis]) } else { (b[axis], a[axis]) };
        [low - REACH, high + REACH + 1.0].map(|end| (end as usize).min(SIDE))
    };
    let along = [b[0] - a[0], b[1] - a[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let ([left, right], [top, bottom]) = (range(0), range(1));
    for y in top..bottom {
        let row = &mut nearest[y * SIDE..][left..right];
        for (pixel, x) in row.iter_mut().zip(&COLUMNS[left..right]) {
            let from = [x - a[0], y as f64 - a[1]];
            let part = if length > 0.0 { (from[0] * along[0] + from[1] * along[1]) / length } else { 0.0 };
            let part = part.clamp(0.0, 1.0);
            let gap = [from[0] - part * along[0], from[1] - part * along[1]];
            let squared = gap[0] * gap[0] + gap[1] * gap[1];
            *pixel = if squared < *pixel { squared } else { *pixel };
        }
    }
}

/// A pen.
struct Pen {
    half: f64,
    softness: f64,
    ink: f64,
}

impl Pen {
    /// A random pen.
    fn draw(random: &mut Random) -> Self {
        let [half, softness, ink] = [PEN, SOFTNESS, INK].map(|[from, to]| random.range(from, to));
        Pen { half, softness, ink }
    }

    /// The value of a pixel at `distance` pixels from the nearest stroke, with noise.
    #[inline(always)]
    fn mark(&self, distance: f64, noise: f64) -> u8 {
        let cover = (0.5 + (self.half - distance) / self.softness).clamp(0.0, 1.0);
        let value = self.ink * cover + noise;
        (255.0 * value.clamp(0.0, 1.0) + 0.5) as u8
    }
}
