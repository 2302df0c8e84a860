//! Runs job tables with wgpu on Vulkan, Metal and DX12. No other module uses wgpu.

mod adapter;
mod bindings;
mod examples;
mod mixed;
mod pipeline;
mod predict;
mod read_back;
mod score;
mod session;
mod submit;

pub use adapter::{adapters_async, install_advice};
pub use session::GpuSession;

use crate::data::{Data, Dataset, Inputs, Targets};
use crate::device::Regression;
use crate::device::gpu::AdapterSummary;
use crate::device::gpu::job_table::{QUAD, quads};
use crate::device::gpu::kernels::Shader;
use crate::error::{Error, Result};
use crate::plan::{Kind, Plan};
use mixed::Products;
use pipeline::Pipeline;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// An open GPU.
#[derive(Clone)]
pub struct GpuDevice(Arc<Inner>);

/// The state that all sessions on a device share.
#[derive(Clone)]
pub struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    summary: AdapterSummary,
    limits: wgpu::Limits,
    /// Maximum size of the parameters in one buffer, in bytes.
    room: u64,
    /// Whether shaders keep wgpu's run-time checks.
    checked: bool,
    products: Products,
    pipelines: Arc<Mutex<HashMap<Shader, Arc<Pipeline>>>>,
    /// The first failure that wgpu reported, until [`Inner::check`] returns it.
    fault: Arc<Mutex<Option<Fault>>>,
}

impl std::ops::Deref for GpuDevice {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A failure that wgpu reported through a callback.
#[derive(Debug, Clone)]
enum Fault {
    OutOfMemory(String),
    Lost(String),
    Other(String),
}

impl GpuDevice {
    /// Opens the adapter whose name contains `name`, or the first one. `checked` keeps the shaders' run-time checks, which releases
    /// leave out.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when there is no such adapter, or it cannot be opened.
    pub async fn open_async(name: Option<&str>, checked: bool) -> Result<Self> {
        let adapter = adapter::choose(name).await?;
        Self::from_adapter(&adapter, checked, Products::Float32).await
    }

    /// Opens the same adapter again after this device was lost. Sessions and data of the old device are not valid on the new one.
    ///
    /// # Errors
    /// [`Error::NoDevice`] when the adapter is no longer available or cannot be opened.
    pub async fn reopen_async(&self) -> Result<Self> {
        let adapter = adapter::same(&self.summary).await?;
        Ok(Self::from_adapter(&adapter, self.checked, self.products).await?.with_room(self.room))
    }

    /// The same device with at most `bytes` of parameters per buffer. Larger weights are distributed over several
    /// buffers, with the same results. This is for tests; by default the limit is the largest buffer that a kernel can
    /// bind.
    pub fn with_room(&self, bytes: u64) -> Self {
        GpuDevice(Arc::new(Inner { room: bytes.min(self.bindable()), ..Inner::clone(self) }))
    }

    /// Destroys the device as a driver's reset does: every later operation on it fails. This is for tests of recovery.
    pub fn lose(&self) {
        record(&self.fault, Fault::Lost("it was destroyed on purpose".into()));
        self.device.destroy();
    }

    async fn from_adapter(adapter: &wgpu::Adapter, checked: bool, products: Products) -> Result<Self> {
        let summary = adapter::summary(adapter);
        let timestamps = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("zilch"),
            required_features: timestamps | products.features(),
            required_limits: adapter.limits(),
            experimental_features: products.experimental(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::NoDevice(format!("{} cannot be opened: {e}", summary.name)))?;
        Ok(Self::of(device, queue, summary, checked, products))
    }

    /// Uses a device that the caller has opened. The caller may continue to use it, with its own buffers. zilch
    /// replaces the device's callbacks for uncaptured errors and for loss. `checked` is as for [`GpuDevice::open`].
    ///
    /// # Errors
    /// [`Error::Limit`] when the device was opened with limits below WebGPU's defaults for storage buffers, workgroup memory or threads.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue, checked: bool) -> Result<Self> {
        let summary = adapter::describe(device.adapter_info(), &device.limits(), device.features(), &[]);
        let (has, least) = (device.limits(), wgpu::Limits::default());
        for (what, has, needed) in [
            (
                "storage buffers of a kernel",
                has.max_storage_buffers_per_shader_stage,
                least.max_storage_buffers_per_shader_stage,
            ),
            (
                "bytes of workgroup memory",
                has.max_compute_workgroup_storage_size,
                least.max_compute_workgroup_storage_size,
            ),
            (
                "threads of a work group",
                has.max_compute_invocations_per_workgroup,
                least.max_compute_invocations_per_workgroup,
            ),
        ] {
            if has < needed {
                return Err(Error::Limit {
                    what: "zilch on a device opened by its caller".into(),
                    needed: needed.into(),
                    available: has.into(),
                    unit: what,
                    holder: summary.name,
                    advice: "open the device with the limits of its adapter".into(),
                });
            }
        }
        Ok(Self::of(device, queue, summary, checked, Products::Float32))
    }

    /// Builds the shared state around an open device.
    fn of(
        device: wgpu::Device,
        queue: wgpu::Queue,
        summary: AdapterSummary,
        checked: bool,
        products: Products,
    ) -> Self {
        let fault = Arc::new(Mutex::new(None));
        let (on_error, on_loss) = (Arc::clone(&fault), Arc::clone(&fault));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            record(
                &on_error,
                match error {
                    wgpu::Error::OutOfMemory { source } => Fault::OutOfMemory(source.to_string()),
                    other => Fault::Other(other.to_string()),
                },
            );
        }));
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                record(&on_loss, Fault::Lost(message));
            }
        });
        let limits = device.limits();
        let pipelines = Arc::new(Mutex::new(HashMap::new()));
        let mut inner = Inner { device, queue, summary, limits, room: 0, checked, products, pipelines, fault };
        inner.room = inner.bindable();
        GpuDevice(Arc::new(inner))
    }

    /// Uploads a data set: images are packed to four pixels per word, and each image is padded to whole words. Numbers and real
    /// targets are padded to whole quads.
    ///
    /// # Errors
    /// [`Error::Limit`] when the images exceed what the device can bind; [`Error::Gpu`] when it is out of memory.
    pub fn upload(&self, data: &Data) -> Result<Arc<GpuData>> {
        let upload = Arc::new(GpuData { train: self.upload_set(&data.train)?, test: self.upload_set(&data.test)? });
        self.check()?;
        Ok(upload)
    }

    fn upload_set(&self, set: &Dataset) -> Result<GpuSet> {
        let words = set.pixels().div_ceil(4);
        Ok(GpuSet {
            samples: set.len(),
            pixels: set.pixels(),
            classes: set.classes(),
            form: set.form(),
            kind: set.kind(),
            regression: Regression::of(set),
            words,
            images: self.upload_inputs(set.inputs(), words)?,
            labels: self.upload_targets(set.targets())?,
        })
    }

    fn upload_inputs(&self, inputs: &Inputs, words: usize) -> Result<wgpu::Buffer> {
        let advice = "use fewer or smaller samples, or the CPU device";
        let bytes = |per_word: u64| inputs.dim().0 as u64 * words as u64 * per_word;
        match inputs {
            Inputs::Pixels(images) => {
                self.fits("the images of the data set", bytes(4), advice)?;
                let mut packed = vec![0u8; bytes(4) as usize];
                for (to, image) in packed.chunks_exact_mut(4 * words).zip(images.outer_iter()) {
                    for (to, from) in to.iter_mut().zip(image) {
                        *to = *from;
                    }
                }
                Ok(self.filled("images", &packed))
            }
            Inputs::Numbers(numbers) => {
                self.fits("the inputs of the data set", bytes(16), advice)?;
                Ok(self.filled("images", bytemuck::cast_slice(&session::padded(numbers.view()))))
            }
        }
    }

    fn upload_targets(&self, targets: &Targets) -> Result<wgpu::Buffer> {
        let advice = "use fewer samples, or the CPU device";
        match targets {
            Targets::Labels(labels) => {
                let labels: Vec<u32> = labels.iter().map(|&l| u32::from(l)).collect();
                Ok(self.filled("labels", bytemuck::cast_slice(&labels)))
            }
            Targets::Values(values) => {
                let bytes = QUAD * values.nrows() as u64 * quads(values.ncols());
                self.fits("the targets of the data set", bytes, advice)?;
                Ok(self.filled("labels", bytemuck::cast_slice(&session::padded(values.view()))))
            }
        }
    }
}

fn record(fault: &Mutex<Option<Fault>>, new: Fault) {
    log::error!("{new:?}");
    fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(new);
}

impl Inner {
    /// The properties and limits of the adapter.
    pub fn summary(&self) -> &AdapterSummary {
        &self.summary
    }

    /// Whether the device supports timestamp queries.
    pub fn has_timestamps(&self) -> bool {
        self.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    /// Returns an error if wgpu has reported a failure since the last call.
    fn check(&self) -> Result<()> {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        // A lost device stays lost; any other failure is returned once.
        let fault = if let Some(Fault::Lost(_)) = &*fault { fault.clone() } else { fault.take() };
        let name = &self.summary.name;
        match fault {
            None => Ok(()),
            Some(Fault::OutOfMemory(why)) => Err(Error::Gpu(format!(
                "{name} is out of memory ({why}); choose smaller --layers, a smaller --batch, or the CPU device"
            ))),
            Some(Fault::Lost(why)) => Err(Error::Gpu(format!(
                "{name} was lost ({why}): its driver reset it, or it was removed. Try again, or use the CPU device"
            ))),
            Some(Fault::Other(why)) => Err(Error::Gpu(format!("{name} failed: {why}"))),
        }
    }

    /// Bytes of the largest buffer that a kernel can use.
    fn bindable(&self) -> u64 {
        // Kernels use 32-bit indices, even if a device can bind larger buffers.
        let addressable = 4 * u64::from(u32::MAX);
        self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size).min(addressable)
    }

    /// Refuses an array that exceeds the maximum size of a buffer or binding.
    fn fits(&self, what: &str, bytes: u64, advice: &str) -> Result<()> {
        self.fits_in(self.bindable(), what, bytes, advice)
    }

    /// Refuses an array that is larger than `available` bytes.
    fn fits_in(&self, available: u64, what: &str, bytes: u64, advice: &str) -> Result<()> {
        if bytes <= available {
            return Ok(());
        }
        let (one, unit) = if available < 1 << 20 { (1, "bytes") } else { (1 << 20, "MiB") };
        Err(Error::Limit {
            what: format!("{what} in one buffer"),
            needed: bytes.div_ceil(one),
            available: available / one,
            unit,
            holder: self.summary.name.clone(),
            advice: advice.into(),
        })
    }

    /// Creates a zero-filled storage buffer of `bytes`. It has at least one quad, because kernels also bind buffers
    /// that they do not use.
    fn buffer(&self, label: &str, bytes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.next_multiple_of(4).max(16),
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// Creates a storage buffer with these contents.
    fn filled(&self, label: &str, contents: &[u8]) -> wgpu::Buffer {
        let buffer = self.buffer(label, contents.len() as u64);
        self.write(&buffer, contents);
        buffer
    }

    /// Writes the contents of a new buffer, unless the device has failed. After a failure the buffer may be invalid;
    /// the next [`Inner::check`] returns the failure.
    fn write(&self, buffer: &wgpu::Buffer, contents: &[u8]) {
        if self.fault.lock().unwrap_or_else(PoisonError::into_inner).is_none() && !contents.is_empty() {
            self.queue.write_buffer(buffer, 0, contents);
        }
    }

    /// Creates a uniform buffer of records at multiples of the dynamic-offset stride.
    fn uniforms<T: bytemuck::Pod>(&self, label: &str, records: &[T]) -> wgpu::Buffer {
        let stride = self.uniform_stride() as usize;
        let mut contents = vec![0u8; stride * records.len().max(1)];
        for (to, record) in contents.chunks_exact_mut(stride).zip(records) {
            to[..size_of::<T>()].copy_from_slice(bytemuck::bytes_of(record));
        }
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = contents.len() as u64;
        let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        self.write(&buffer, &contents);
        buffer
    }

    /// Stride of uniform records in bytes.
    fn uniform_stride(&self) -> u32 {
        self.limits.min_uniform_buffer_offset_alignment.max(64)
    }
}

/// A data set in GPU memory.
#[derive(Debug)]
pub struct GpuData {
    train: GpuSet,
    test: GpuSet,
}

impl GpuData {
    /// Refuses a network whose inputs or outputs do not match the inputs and targets of the data.
    fn fits(&self, plan: &Plan) -> Result<()> {
        plan.check_kind(self.train.kind)?;
        let (network, inputs, outputs) = (&plan.task.network, plan.inputs(), plan.outputs());
        for set in [&self.train, &self.test] {
            if set.pixels != inputs || set.classes > outputs || (set.kind.values && set.classes != outputs) {
                return Err(Error::usage(format!(
                    "the data have {} pixels and {} classes; the network {network} has {inputs} inputs and {outputs} outputs",
                    set.pixels, set.classes,
                )));
            }
        }
        Ok(())
    }
}

/// The images and labels of one set in GPU memory.
#[derive(Debug)]
struct GpuSet {
    samples: usize,
    /// Pixels per image.
    pixels: usize,
    /// Labels lie in 0 .. classes. The number of columns of real targets.
    classes: usize,
    /// What inputs and targets are.
    kind: Kind,
    /// For the error of real targets.
    regression: Option<Regression>,
    /// Channels, rows and columns of an image.
    form: [usize; 3],
    /// 32-bit words per image.
    words: usize,
    /// [samples, words], four pixels per word; or [samples, 4 · words] numbers.
    images: wgpu::Buffer,
    /// [samples], one u32 per label; or [samples, 4 · quads] real targets.
    labels: wgpu::Buffer,
}
