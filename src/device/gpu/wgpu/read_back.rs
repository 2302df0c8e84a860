//! Read-back of buffers, and waiting for the device.

use super::Inner;
use crate::error::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Timeout after which a device is considered hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// The result of mapping a buffer: wgpu's callback sets it, and the future [`Mapped`] returns it.
#[derive(Default)]
struct Outcome {
    result: Option<std::result::Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct Mapped(Arc<Mutex<Outcome>>);

impl Future for Mapped {
    type Output = std::result::Result<(), wgpu::BufferAsyncError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                outcome.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Inner {
    /// Waits until all submitted work is done. In a browser this returns at once; there the wait takes place when the
    /// mapping of a buffer is awaited.
    pub(super) fn wait(&self) -> Result<()> {
        let poll = wgpu::PollType::Wait { submission_index: None, timeout: Some(PATIENCE) };
        let answer = self.device.poll(poll);
        self.check()?;
        answer
            .map(|_| ())
            .map_err(|e| Error::Gpu(format!("{} did not answer for {} s ({e})", self.summary.name, PATIENCE.as_secs())))
    }

    /// Creates a buffer for read-back: a copy can write it and the host can map it.
    pub(super) fn readable(&self, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size: bytes.next_multiple_of(8).max(16),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Waits for the device, then returns the first `bytes` of a read-back buffer.
    pub(super) async fn map(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>> {
        let mapped = Mapped::default();
        let outcome = mapped.clone();
        buffer.map_async(wgpu::MapMode::Read, .., move |result| {
            let mut outcome = outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.result = Some(result);
            if let Some(waker) = outcome.waker.take() {
                waker.wake();
            }
        });
        self.wait()?;
        let failed = |why: String| Error::Gpu(format!("{}: the read-back of results failed: {why}", self.summary.name));
        mapped.await.map_err(|e| failed(e.to_string()))?;
        let view = buffer.get_mapped_range(..).map_err(|e| failed(e.to_string()))?;
        let contents = view[..bytes as usize].to_vec();
        drop(view);
        buffer.unmap();
        Ok(contents)
    }

    /// Reads back `bytes` of `buffer` from `offset`.
    pub(super) async fn read(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let to = self.readable(bytes);
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("read") });
        encoder.copy_buffer_to_buffer(buffer, offset, &to, 0, bytes);
        self.queue.submit([encoder.finish()]);
        self.map(&to, bytes).await
    }
}
