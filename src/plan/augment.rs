//! Data augmentation of training images: random mirroring, and random crops from a zero-padded image.
//!
//! The augmentation of an image depends only on (seed, update, index in the batch). The random numbers are those that
//! devices generate ([`Counter`]). They are the same on every device, for any number of threads, and in a resumed run.
//! Twin: `shaders/gather.wgsl`.

use crate::error::{Error, Result};
use crate::plan::Grid;
use crate::random::Counter;
use std::fmt;
use std::str::FromStr;

/// The random stream of augmentation. The streams of rules count from 0.
const STREAM: u32 = u32::MAX;
/// The largest padding. It allows a crop position to be drawn from 16 bits.
const MAX_BORDER: u32 = 1024;

/// Augmentation of training images. Test images are never changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Augment {
    /// Mirror left to right with probability ½.
    pub flip: bool,
    /// Zero padding around an image, in pixels. The padded image is cropped to its original size at a random position.
    /// The padding consists of pixels of value 0, which are normalized like all others.
    pub crop: u32,
}

impl Augment {
    /// No augmentation.
    pub const NONE: Augment = Augment { flip: false, crop: 0 };

    /// Whether there is no augmentation.
    pub fn is_none(&self) -> bool {
        *self == Augment::NONE
    }

    /// The channels, rows and columns of the images: from the data, or from the network if the data do not specify
    /// them.
    ///
    /// # Errors
    /// [`Error::Usage`] if images are to be augmented, and they have no rows and columns or are not larger than the
    /// padding.
    pub(crate) fn grid(self, [channels, rows, cols]: [usize; 3], form: Option<Grid>) -> Result<[usize; 3]> {
        let known = form.map(|grid| [grid.channels, grid.height, grid.width]);
        let grid = if rows > 1 { [channels, rows, cols] } else { known.unwrap_or([channels, rows, cols]) };
        let [_, rows, cols] = grid;
        if self.is_none() || (rows > 1 && cols > 1 && (self.crop as usize) < rows.min(cols)) {
            return Ok(grid);
        }
        if rows == 1 || cols == 1 {
            let what = match known {
                Some(_) => format!("these have {rows}×{cols} pixels; remove the option"),
                None => format!(
                    "each sample here is a row of {} values; if they are images, begin --layers with their size, as in \
                     28x28; otherwise remove --augment",
                    rows * cols
                ),
            };
            return Err(Error::usage(format!("--augment {self} needs images with rows and columns, but {what}")));
        }
        Err(Error::usage(format!(
            "--augment crop{} could leave nothing of an image of {rows}×{cols} pixels; the padding must be at most {}",
            self.crop,
            rows.min(cols) - 1
        )))
    }

    /// The augmentation of the image at index `place` of an update's batch.
    pub(crate) fn view(self, counter: Counter, place: usize) -> View {
        let [first, second] = counter.words(STREAM, place as u32);
        let places = 2 * self.crop + 1;
        let border = self.crop as usize;
        // Each offset is drawn from 16 bits, so that its probability is within 2⁻¹⁶ of a uniform one.
        let [down, right] = [second >> 16, second & 0xffff].map(|bits| ((bits * places) >> 16) as usize);
        View { mirrored: self.flip && first >> 31 == 1, down, right, border }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flip, self.crop) {
            (false, 0) => out.write_str("none"),
            (true, 0) => out.write_str("flip"),
            (false, crop) => write!(out, "crop{crop}"),
            (true, crop) => write!(out, "flip,crop{crop}"),
        }
    }
}

impl serde::Serialize for Augment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Augment {
    type Err = Error;

    /// Parses "flip", "crop4", "flip,crop4" and "none".
    fn from_str(text: &str) -> Result<Augment> {
        let refuse = |why: String| Err(Error::usage(why));
        let mut augment = Augment::NONE;
        if text.trim() == "none" {
            return Ok(augment);
        }
        for word in text.split(',').map(str::trim) {
            let border = word.strip_prefix("crop").map(str::parse::<u32>);
            let twice = match (word, border) {
                ("flip", _) => std::mem::replace(&mut augment.flip, true),
                (_, Some(Ok(border @ 1..=MAX_BORDER))) => std::mem::replace(&mut augment.crop, border) > 0,
                (_, Some(_)) => {
                    return refuse(format!("crop takes a padding of 1 to {MAX_BORDER} pixels, as in crop4"));
                }
                _ => return refuse("expected flip, crop with a number of pixels, or both, as in flip,crop4".into()),
            };
            if twice {
                return refuse(format!("{word} repeats an earlier word; give flip and crop once each"));
            }
        }
        Ok(augment)
    }
}

/// The augmentation of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    mirrored: bool,
    /// Position of the crop in the padded image.
    down: usize,
    right: usize,
    border: usize,
}

impl View {
    /// Copies the pixels from `start` of the augmented image, as many as `to` holds.
    #[inline(always)]
    pub(crate) fn copy(self, image: &[u8], [_, rows, cols]: [usize; 3], start: usize, to: &mut [u8]) {
        let mut done = 0;
        // One run within a row at a time.
        while done < to.len() {
            let (row, x) = ((start + done) / cols, (start + done) % cols);
            let run = (cols - x).min(to.len() - done);
            let part = &mut to[done..done + run];
            done += run;
            let (channel, y) = (row / rows, row % rows + self.down);
            if y < self.border || y >= self.border + rows {
                part.fill(0);
                continue;
            }
            let from = &image[(channel * rows + y - self.border) * cols..][..cols];
            self.copy_run(from, x, part);
        }
    }

    /// Copies the pixels from `x` of an augmented row.
    #[inline(always)]
    fn copy_run(self, from: &[u8], x: usize, to: &mut [u8]) {
        let (cols, run) = (from.len() as isize, to.len() as isize);
        let moved = self.right as isize - self.border as isize;
        // The source column of the run's first pixel, and the range of its pixels that lie inside the row.
        let first = if self.mirrored { cols - 1 - x as isize } else { x as isize } + moved;
        let (low, high) = if self.mirrored { (first - cols + 1, first + 1) } else { (-first, cols - first) };
        let [low, high] = [low, high].map(|i| i.clamp(0, run));
        to[..low as usize].fill(0);
        to[high as usize..].fill(0);
        let inside = &mut to[low as usize..high as usize];
        match (low < high, self.mirrored) {
            (false, _) => {}
            (true, false) => inside.copy_from_slice(&from[(first + low) as usize..(first + high) as usize]),
            (true, true) => {
                let back = from[(first - high + 1) as usize..=(first - low) as usize].iter().rev();
                inside.iter_mut().zip(back).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        for text in ["flip", "crop4", "flip,crop4", "none", "crop1024"] {
            assert_eq!(text.parse::<Augment>().expect(text).to_string(), text);
        }
        assert_eq!(" crop2 , flip".parse::<Augment>().expect("words"), Augment { flip: true, crop: 2 });
        for text in
            ["", "flip,", "crop", "crop0", "crop1025", "crop-1", "cropx", "flip,flip", "crop1,crop2", "none,flip"]
        {
            assert!(text.parse::<Augment>().is_err(), "{text}");
        }
    }

    /// Every crop position is drawn about equally often, and half of the images are mirrored.
    #[test]
    fn views_are_fair_and_their_own() {
        let augment = Augment { flip: true, crop: 2 };
        let mut count = [[0u32; 25]; 2];
        for update in 0..500 {
            for place in 0..20 {
                let view = augment.view(Counter::new(7, update), place);
                count[usize::from(view.mirrored)][5 * view.down + view.right] += 1;
            }
        }
        // The expected count is 200 of 10,000 draws, with a standard deviation of 14.
        assert!(count.iter().flatten().all(|n| (130..270).contains(n)), "{count:?}");
    }

    /// Compares a view pixel by pixel with its definition, copied in pieces of any size.
    #[test]
    fn a_view_is_cut_out_of_the_image_with_its_border() {
        let grid = [2, 4, 5];
        let image: Vec<u8> = (1..=40).collect();
        for (mirrored, down, right) in [(false, 0, 0), (true, 2, 1), (false, 4, 3), (true, 0, 4), (true, 2, 2)] {
            let view = View { mirrored, down, right, border: 2 };
            let want: Vec<u8> = (0..40usize)
                .map(|i| {
                    let (channel, y, x) = (i / 20, i / 5 % 4, i % 5);
                    let x = if mirrored { 4 - x } else { x };
                    match ((y + down).checked_sub(2), (x + right).checked_sub(2)) {
                        (Some(y @ 0..4), Some(x @ 0..5)) => image[channel * 20 + y * 5 + x],
                        _ => 0,
                    }
                })
                .collect();
            for piece in [1, 3, 16, 40] {
                let mut got = vec![9; 40];
                for (i, to) in got.chunks_mut(piece).enumerate() {
                    view.copy(&image, grid, i * piece, to);
                }
                assert_eq!(got, want, "{view:?} in pieces of {piece}");
            }
        }
    }
}
