//! Loops compiled for the vector unit that is found when the program runs.

use super::element::Element;
use pulp::{Arch, Simd, WithSimd};

/// A loop to be compiled for the vector unit.
struct Loop<F>(F);

impl<F: FnMut() -> R, R> WithSimd for Loop<F> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) -> R {
        (self.0)()
    }
}

/// Runs `body`, an `#[inline(always)]` closure, compiled for the vector unit.
///
/// Not `Arch::dispatch` itself: that takes the closure as `FnOnce`, and a closure that could be called again
/// then runs through a shim that is not inlined, and is compiled without the vector unit.
#[inline(always)]
pub(crate) fn vector<R>(arch: Arch, body: impl FnMut() -> R) -> R {
    arch.dispatch(Loop(body))
}

/// Float32 numbers of a vector of this machine.
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

/// A vector's worth of numbers: as a value, it can alias nothing, and loops over it become vector code.
pub(crate) type Block<T> = [T; BLOCK];
/// Numbers of a block.
pub(crate) const BLOCK: usize = 16;

/// Runs an elementwise loop over equally long slices, compiled for the vector unit: `body` gets a block of
/// each and returns the new blocks of those written.
#[inline(always)]
pub(crate) fn blocks<T: Element, const W: usize, const R: usize>(
    arch: Arch,
    write: [&mut [T]; W],
    read: [&[T]; R],
    body: impl Fn([Block<T>; W], [Block<T>; R]) -> [Block<T>; W],
) {
    let mut write = write.map(|s| s.as_chunks_mut::<BLOCK>().0);
    let read = read.map(|s| s.as_chunks::<BLOCK>().0);
    vector(
        arch,
        #[inline(always)]
        || {
            let blocks = write[0].len();
            assert!(write.iter().all(|w| w.len() == blocks) && read.iter().all(|r| r.len() == blocks));
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
