//! Assembles a mini-batch from the data set: f(x^{lmax}) from pixels or numbers, x^0 from labels or real values. Twin of `shaders/gather.wgsl`.

use super::activation::{f, for_activation};
use super::element::Element;
use super::matrix::{Matrix, PANEL, zero_padding};
use super::parallel::{Parallel, numbers};
use super::product::prefetch;
use super::storage::Shard;
use super::vector::{BLOCK, blocks, vector};
use crate::data::{Dataset, Inputs, Targets};
use crate::plan::activation::Activation;
use crate::plan::augment::{Augment, View};
use crate::plan::{Images, Pixels, Plan};
use crate::random::Counter;

/// Image augmentation, with the random numbers of the update.
#[derive(Clone, Copy)]
pub(crate) struct Changed {
    pub(crate) augment: Augment,
    /// Channels, rows and columns of an image.
    pub(crate) grid: [usize; 3],
    pub(crate) counter: Counter,
}

/// The rows of a data set from which inputs are filled.
trait Rows<T> {
    /// Prefetches the values of a sample from column `start` on.
    fn prefetch(&self, sample: usize, start: usize);

    /// Copies the values of a sample from column `start` on to row `i` of the batch.
    fn copy(&self, i: usize, sample: usize, start: usize, row: &mut [T]);
}

/// Pixels, with their augmentation.
struct PixelRows<'a> {
    pixels: &'a [u8],
    cols: usize,
    /// The first sample of the shard.
    first: usize,
    changed: Option<Changed>,
}

impl<T: Element> Rows<T> for PixelRows<'_> {
    #[inline(always)]
    fn prefetch(&self, sample: usize, start: usize) {
        // A panel of u8 pixels is half a cache line, so every line is prefetched, some of them twice.
        prefetch(self.pixels[sample * self.cols + start..].as_ptr());
    }

    #[inline(always)]
    fn copy(&self, i: usize, sample: usize, start: usize, row: &mut [T]) {
        let image = &self.pixels[sample * self.cols..][..self.cols];
        let view = self.changed.map(|c| (c.augment.view(c.counter, self.first + i), c.grid));
        let mut seen = [0; PANEL];
        numbers_of(changed_part(image, view, start, &mut seen[..row.len()]), row);
    }
}

/// Numbers, which are used as they are.
struct NumberRows<'a> {
    numbers: &'a [f32],
    cols: usize,
}

impl<T: Element> Rows<T> for NumberRows<'_> {
    #[inline(always)]
    fn prefetch(&self, sample: usize, start: usize) {
        prefetch(self.numbers[sample * self.cols + start..].as_ptr());
    }

    #[inline(always)]
    fn copy(&self, _i: usize, sample: usize, start: usize, row: &mut [T]) {
        let numbers = &self.numbers[sample * self.cols + start..][..row.len()];
        row.iter_mut().zip(numbers).for_each(|(to, from)| *to = T::from_f64(f64::from(*from)));
    }
}

/// Fills the input and target slots; row i of the batch is sample `order[i]`. Inputs are numbers, or pixels u8 / 255, normalised by the
/// plan's mean and standard deviation; they are passed through the input layer's f. Targets are real values, or `on` at the label and
/// `off` elsewhere. The inputs of `next`, the following batch, are prefetched meanwhile. `changed` is the augmentation, if any.
pub(crate) fn gather<T: Element>(
    exec: &Parallel,
    data: &Dataset,
    (order, next): (&[u32], &[u32]),
    plan: &Plan,
    (input, target): (usize, usize),
    changed: Option<Changed>,
    shard: &mut Shard<T>,
) {
    let (Some((_, images)), Some((_, held_to))) = (plan.images(), plan.labels()) else { return };
    let (cols, first) = (shard.slots[input].cols, shard.samples.start);
    match data.inputs() {
        Inputs::Pixels(pixels) => {
            let rows = PixelRows { pixels: pixels.as_slice().unwrap_or_default(), cols, first, changed };
            fill_inputs(exec, &rows, (order, next), images, &mut shard.slots[input]);
        }
        Inputs::Numbers(numbers) => {
            let rows = NumberRows { numbers: numbers.as_slice().unwrap_or_default(), cols };
            fill_inputs(exec, &rows, (order, next), images, &mut shard.slots[input]);
        }
    }
    fill_targets(data.targets(), order, (held_to, plan.outputs()), &mut shard.slots[target]);
}

fn fill_inputs<T: Element>(
    exec: &Parallel,
    values: &(impl Rows<T> + Sync),
    (order, next): (&[u32], &[u32]),
    images: &Images,
    input: &mut Matrix<T>,
) {
    let drive = images.activation;
    let scales = images.scale.as_ref().map(Pixels::pairs);
    let by_channel = images.scale.as_ref().filter(|scale| scale.pairs().len() > 1);
    let shape = input.shape();
    exec.share(shape, 8 * numbers(shape), std::slice::from_mut(&mut input.lines), |band, writes| {
        let h = &mut *writes[0];
        let mut rest = h.as_chunks_mut::<PANEL>().0;
        vector(
            exec.arch,
            #[inline(always)]
            || {
                for piece in band.pieces() {
                    for sample in next.iter().skip(piece.rows.start).take(piece.rows.len()) {
                        values.prefetch(*sample as usize, piece.q * PANEL);
                    }
                    let (rows, after) = std::mem::take(&mut rest).split_at_mut(piece.rows.len());
                    rest = after;
                    let width = (shape.cols - piece.q * PANEL).min(PANEL);
                    // In a short last batch the rows beyond it keep their old values.
                    let samples = order.iter().enumerate().skip(piece.rows.start);
                    for (row, (i, sample)) in rows.iter_mut().zip(samples) {
                        values.copy(i, *sample as usize, piece.q * PANEL, &mut row[..width]);
                        if let Some(scale) = by_channel {
                            scale_part(scale, scale.plane(shape.cols), piece.q * PANEL, &mut row[..width]);
                        }
                    }
                }
            },
        );
        if let Some([scale]) = scales {
            let [mean, sd] = scale.map(|v| T::from_f64(f64::from(v)));
            blocks(
                exec.arch,
                [&mut *h],
                [],
                #[inline(always)]
                |[mut h], []| {
                    for i in 0..BLOCK {
                        h[i] = (h[i] - mean) / sd;
                    }
                    [h]
                },
            );
        }
        if drive != Activation::Identity {
            for_activation!(drive, ACT => blocks(
                exec.arch,
                [&mut *h],
                [],
                #[inline(always)]
                |[mut h], []| {
                    for i in 0..BLOCK {
                        h[i] = f(ACT, h[i]);
                    }
                    [h]
                },
            ));
        }
        if drive != Activation::Identity || scales.is_some() {
            zero_padding(band, h);
        }
    });
}

fn fill_targets<T: Element>(
    targets: &Targets,
    order: &[u32],
    (held_to, outputs): ([f32; 2], usize),
    target: &mut Matrix<T>,
) {
    let labels = match targets {
        Targets::Labels(labels) => labels,
        Targets::Values(values) => {
            target.data_mut().fill(T::ZERO);
            for (i, &sample) in order.iter().enumerate() {
                target.fill_row(i, values.row(sample as usize));
            }
            return;
        }
    };
    let [off, on] = held_to.map(|v| T::from_f64(f64::from(v)));
    target.data_mut().fill(T::ZERO);
    for (i, &sample) in order.iter().enumerate() {
        let label = usize::from(labels[sample as usize]);
        if off != T::ZERO {
            (0..outputs).for_each(|j| target.set(i, j, off));
        }
        target.set(i, label, on);
    }
}

/// Converts pixels to u8 / 255.
#[inline(always)]
fn numbers_of<T: Element>(image: &[u8], row: &mut [T]) {
    let (blocks, last) = image.as_chunks::<BLOCK>();
    let (to, rest) = row.as_chunks_mut::<BLOCK>();
    for (to, from) in to.iter_mut().zip(blocks) {
        // Blocks by value cannot alias, so the loop vectorises.
        let (from, mut numbers) = (*from, [T::ZERO; BLOCK]);
        for j in 0..BLOCK {
            numbers[j] = T::pixel(from[j]);
        }
        *to = numbers;
    }
    rest.iter_mut().zip(last).for_each(|(to, from)| *to = T::pixel(*from));
}

/// The `seen.len()` pixels of an image from `start` on: the image's own, or augmented ones in `seen`.
#[inline(always)]
fn changed_part<'a>(image: &'a [u8], view: Option<(View, [usize; 3])>, start: usize, seen: &'a mut [u8]) -> &'a [u8] {
    let Some((view, grid)) = view else { return &image[start..start + seen.len()] };
    view.copy(image, grid, start, seen);
    seen
}

/// Normalises the values of an image from index `start` on, each by the mean and standard deviation of its channel. A channel has
/// `plane` values.
#[inline(always)]
fn scale_part<T: Element>(scale: &Pixels, plane: usize, start: usize, row: &mut [T]) {
    let mut rest = row;
    let mut at = start;
    while !rest.is_empty() {
        let channel = at / plane;
        let run = ((channel + 1) * plane - at).min(rest.len());
        let (part, after) = rest.split_at_mut(run);
        let [mean, sd] = scale.pairs()[channel].map(|v| T::from_f64(f64::from(v)));
        part.iter_mut().for_each(|v| *v = (*v - mean) / sd);
        (rest, at) = (after, at + run);
    }
}
