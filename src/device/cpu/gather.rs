//! Assembles a mini-batch from the data set: f(x^{lmax}) from pixels, x^0 from labels. Twin of `shaders/gather.wgsl`.

use super::activation::{f, for_activation};
use super::element::Element;
use super::matrix::{PANEL, zero_padding};
use super::parallel::{Parallel, numbers};
use super::product::prefetch;
use super::storage::Shard;
use super::vector::{BLOCK, blocks, vector};
use crate::data::Dataset;
use crate::plan::activation::Activation;
use crate::plan::augment::{Augment, View};
use crate::plan::{Pixels, Plan};
use crate::random::Counter;

/// Image augmentation, with the random numbers of the update.
#[derive(Clone, Copy)]
pub(crate) struct Changed {
    pub(crate) augment: Augment,
    /// Channels, rows and columns of an image.
    pub(crate) grid: [usize; 3],
    pub(crate) counter: Counter,
}

/// Fills the input and target slots; row i of the batch is sample `order[i]`. Inputs are pixels u8 / 255, normalised by the plan's mean
/// and standard deviation, then passed through the input layer's f. Targets are `on` at the label and `off` elsewhere. The images of
/// `next`, the following batch, are prefetched meanwhile. `changed` is the augmentation, if any.
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
    let drive = images.activation;
    let scales = images.scale.as_ref().map(Pixels::pairs);
    let by_channel = images.scale.as_ref().filter(|scale| scale.pairs().len() > 1);
    let pixels = data.images().as_slice().unwrap_or_default();
    let first = shard.samples.start;
    let view = |row: usize| changed.map(|c| (c.augment.view(c.counter, first + row), c.grid));
    let input = &mut shard.slots[input];
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
                        // A panel of u8 pixels is half a cache line, so every line is prefetched, some of them twice.
                        prefetch(pixels[*sample as usize * shape.cols + piece.q * PANEL..].as_ptr());
                    }
                    let (rows, after) = std::mem::take(&mut rest).split_at_mut(piece.rows.len());
                    rest = after;
                    let width = (shape.cols - piece.q * PANEL).min(PANEL);
                    // In a short last batch the rows beyond it keep their old values.
                    let samples = order.iter().enumerate().skip(piece.rows.start);
                    for (row, (i, sample)) in rows.iter_mut().zip(samples) {
                        let image = &pixels[*sample as usize * shape.cols..][..shape.cols];
                        let mut seen = [0; PANEL];
                        let image = changed_part(image, view(i), piece.q * PANEL, &mut seen[..width]);
                        numbers_of(image, &mut row[..width]);
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
    let target = &mut shard.slots[target];
    let [off, on] = held_to.map(|v| T::from_f64(f64::from(v)));
    target.data_mut().fill(T::ZERO);
    for (i, &sample) in order.iter().enumerate() {
        let label = usize::from(data.labels()[sample as usize]);
        if off != T::ZERO {
            (0..plan.outputs()).for_each(|j| target.set(i, j, off));
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
