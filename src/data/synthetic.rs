//! Generation of synthetic images on several threads. Each image depends only on its index.

use crate::error::Result;
use crate::memory;
use ndarray::Array2;
use std::sync::{Mutex, PoisonError};

/// Images per work item of a thread.
const AT_A_TIME: usize = 100;

/// The number of threads to generate images on.
pub(super) fn threads() -> usize {
    // The allocator does not return the address space of finished threads. If address space is limited, only the
    // calling thread generates images.
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    if memory::address_space().is_some() { 1 } else { cores() }
}

/// Generates `count` images of `N` pixels with the indices `first`, `first` + 1, …. The result has shape [count, N].
pub(super) fn images<const N: usize>(
    (first, count): (u64, usize),
    threads: usize,
    image: impl Fn(u64) -> [u8; N] + Sync,
) -> Result<Array2<u8>> {
    memory::check(|| format!("generating {count} images"), (count * N) as u64, "take a smaller set, from a folder")?;
    let mut images = Array2::<u8>::zeros((count, N));
    if let Some(pixels) = images.as_slice_mut() {
        let parts = Mutex::new(pixels.chunks_mut(AT_A_TIME * N).enumerate());
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        memory::on_threads(threads, || {
            while let Some((part, rows)) = next() {
                for (i, row) in rows.chunks_exact_mut(N).enumerate() {
                    row.copy_from_slice(&image(first + (part * AT_A_TIME + i) as u64));
                }
            }
        });
    }
    Ok(images)
}
