//! Trains on a wgpu device that the program has opened and keeps using, as a viewer, a game or another engine on the same GPU does.
//!
//!     cargo run --release --example own_device
use std::sync::Arc;
use zilch::device::gpu::GpuDevice;
use zilch::device::{BlockingSession, Device};
use zilch::{Network, Options, Result, Rule, Weights, data::Data};

/// Opens a device and a queue, as any program that renders or computes does.
async fn open() -> Option<(wgpu::Device, wgpu::Queue)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
    let adapter = instance.request_adapter(&wgpu::RequestAdapterOptions::default()).await.ok()?;
    let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
    adapter.request_device(&descriptor).await.ok()
}

fn main() -> Result<()> {
    let Some((device, queue)) = pollster::block_on(open()) else {
        return Err(zilch::Error::NoDevice("no GPU adapter was found".into()));
    };
    // A buffer of this program, which training must not touch.
    let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
    let descriptor = wgpu::BufferDescriptor { label: Some("mine"), size: 16, usage, mapped_at_creation: false };
    let mine = device.create_buffer(&descriptor);
    queue.write_buffer(&mine, 0, &[7; 16]);

    let gpu = Device::from(GpuDevice::from_wgpu(device.clone(), queue.clone(), false)?);
    let network = Network::parse("784,32,10")?;
    let plan = Options { alpha: 0.01, ..Options::new(Rule::ZIL) }.plan(&network)?;
    let data = Arc::new(Data::open("digits")?);
    let weights = Weights::init(&network, 0);
    let mut session: BlockingSession = gpu.session(&plan, 20, &gpu.upload(&data)?, &weights)?;
    session.run(&(0..2000).collect::<Vec<u32>>())?;

    mine.map_async(wgpu::MapMode::Read, .., |mapped| assert!(mapped.is_ok(), "the program's buffer can be read"));
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| zilch::Error::Gpu(e.to_string()))?;
    let kept = mine.get_mapped_range(..).is_ok_and(|bytes| bytes.iter().all(|byte| *byte == 7));
    let changed = !session.weights()?.bit_identical(&weights);
    println!("{}: the weights changed: {changed}; the program's buffer is unchanged: {kept}", gpu.name());
    Ok(())
}
