//! Loops compiled for the vector instruction set that is detected at run time.

use super::element::Element;
use pulp::{Arch, Simd, WithSimd};

/// A loop in the form that pulp dispatches.
struct Loop<F>(F);

impl<F: FnMut() -> R, R> WithSimd for Loop<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}

/// Runs `body`, an `#[inline(always)]` closure, compiled for the detected vector instruction set.
///
/// `Arch::dispatch` takes the closure as `FnOnce`. A closure that is not consumed by the call would run through a shim
/// that is not inlined, and would be compiled without vector instructions. [`Loop`] avoids that.
#[inline(always)]
pub(crate) fn vector<R>(arch: Arch, body: impl FnMut() -> R) -> R {
    arch.dispatch(Loop(body))
}

/// Float32 SIMD lanes of this machine.
pub(crate) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    static LANES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *LANES.get_or_init(|| Arch::new().dispatch(Lanes))
}

/// A block of values that a loop handles at once. Blocks are passed by value and cannot alias, so the compiler
/// vectorises the loop.
pub(crate) type Block<T> = [T; BLOCK];
/// Values per block.
pub(crate) const BLOCK: usize = 16;

/// Whole blocks of slices. (This function does not depend on the body of a loop, so it is compiled once, not once per kernel.)
fn chunks_mut<T, const W: usize>(slices: [&mut [T]; W]) -> [&mut [Block<T>]; W] {
    slices.map(|slice| slice.as_chunks_mut().0)
}

/// The same for slices that are read.
fn chunks<T, const R: usize>(slices: [&[T]; R]) -> [&[Block<T>]; R] {
    slices.map(|slice| slice.as_chunks().0)
}

/// Runs an elementwise loop over slices of equal length, compiled for the vector unit. `body` gets one block of each
/// slice and returns the new blocks of the written slices.
#[inline(always)]
pub(crate) fn blocks<T: Element, const W: usize, const R: usize>(
    arch: Arch,
    write: [&mut [T]; W],
    read: [&[T]; R],
    body: impl Fn([Block<T>; W], [Block<T>; R]) -> [Block<T>; W],
) {
    let write = chunks_mut(write);
    let read = chunks(read);
    vector(
        arch,
        #[inline(always)]
        || {
            let blocks = write[0].len();
            for i in 0..W {
                assert!(write[i].len() == blocks);
            }
            for i in 0..R {
                assert!(read[i].len() == blocks);
            }
            for b in 0..blocks {
                let mut old = [[T::ZERO; BLOCK]; W];
                for i in 0..W {
                    old[i] = write[i][b];
                }
                let mut with = [[T::ZERO; BLOCK]; R];
                for i in 0..R {
                    with[i] = read[i][b];
                }
                let new = body(old, with);
                for i in 0..W {
                    write[i][b] = new[i];
                }
            }
        },
    );
}
