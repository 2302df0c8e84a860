//! A batch from the data set: f(x^{lmax}) from the pixels, x^0 from the labels; twin of `shaders/gather.wgsl`.

use super::activation::f;
use super::real::Real;
use super::state::{Exec, Layer};
use crate::activation::Activation;
use crate::data::Dataset;

/// Row i of the batch is sample `order[i]`: pixels as u8/255 through `drive`, and, into layer 0, the
/// one-hot label as the clamped x^0.
pub(crate) fn gather<T: Real>(
    exec: &Exec,
    data: &Dataset,
    order: &[u32],
    drive: Activation,
    output: &mut Layer<T>,
    input: &mut Layer<T>,
) {
    let pixels = data.images();
    let table: [T; 256] = std::array::from_fn(|v| f(drive, T::pixel(v as u8)));
    let identity = drive == Activation::Identity;
    exec.run(
        #[inline(always)]
        || {
            for (i, &sample) in order.iter().enumerate() {
                let image = pixels.row(sample as usize);
                let image = image.as_slice().unwrap_or_default();
                let row = input.h[0].row_mut(i);
                if identity {
                    for (to, &from) in row.iter_mut().zip(image) {
                        *to = T::pixel(from);
                    }
                } else {
                    for (to, &from) in row.iter_mut().zip(image) {
                        *to = table[usize::from(from)];
                    }
                }
            }
        },
    );
    for (i, &sample) in order.iter().enumerate() {
        let row = output.x.row_mut(i);
        row.fill(T::ZERO);
        row[usize::from(data.labels()[sample as usize])] = T::ONE;
    }
}
