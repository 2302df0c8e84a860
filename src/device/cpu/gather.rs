//! A batch from the data set: f(x^{lmax}) from the pixels, x^0 from the labels; twin of `shaders/gather.wgsl`.

use super::activation::{f, for_activation};
use super::matrix::PAD;
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
    exec.run(
        #[inline(always)]
        || {
            for (i, &sample) in order.iter().enumerate() {
                let image = pixels.row(sample as usize);
                let image = image.as_slice().unwrap_or_default();
                for (to, &from) in input.h[0].row_mut(i).iter_mut().zip(image) {
                    *to = T::pixel(from);
                }
            }
        },
    );
    if drive != Activation::Identity {
        for_activation!(drive, ACT => exec.blocks(
            [input.h[0].data_mut()],
            [],
            #[inline(always)]
            |[mut h], []| {
                for i in 0..PAD {
                    h[i] = f(ACT, h[i]);
                }
                [h]
            },
        ));
        input.h[0].clear_padding();
    }
    for (i, &sample) in order.iter().enumerate() {
        let row = output.x.row_mut(i);
        row.fill(T::ZERO);
        row[usize::from(data.labels()[sample as usize])] = T::ONE;
    }
}
