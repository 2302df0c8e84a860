//! `zilch info`

use super::args::InfoArgs;
use super::{Answer, json};
use serde_json::{Value, json};
use zilch::Result;
use zilch::device::gpu::{AdapterSummary, TuneFile, adapters, install_advice};
use zilch::files::counted;
use zilch::measure::host::Host;

pub(crate) fn run(args: &InfoArgs) -> Result<Answer> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (host, adapters) = (Host::new(threads), adapters());
    let tuned = TuneFile::open();
    if args.json {
        return Ok(json(&json!({ "host": host, "adapters": adapters, "tune": tune_json(&tuned, &adapters) }))?.into());
    }
    let mut text = format!(
        "zilch {}\nCPU       {} ({}), {}, {}\nproducts  {}\n",
        host.zilch,
        host.cpu,
        host.system,
        counted(host.cores, "thread"),
        host.simd,
        host.products
    );
    for adapter in &adapters {
        text += &describe(adapter);
    }
    text += &describe_tuned(&tuned, &adapters);
    if adapters.is_empty() {
        text += &format!("GPU       none found. {}\n", install_advice());
    }
    Ok(text.into())
}

/// The tune file, and the number of products it holds for each adapter.
fn tune_json(tuned: &Result<TuneFile>, adapters: &[AdapterSummary]) -> Value {
    match tuned {
        Err(error) => json!({ "error": error.to_string() }),
        Ok(file) => json!({
            "file": file.path().map(|p| p.display().to_string()),
            "products": adapters.iter().map(|a| file.holds(a)).collect::<Vec<_>>(),
        }),
    }
}

fn describe_tuned(tuned: &Result<TuneFile>, adapters: &[AdapterSummary]) -> String {
    let file = match tuned {
        Err(error) => return format!("tiles     {error}\n"),
        Ok(file) => file,
    };
    let Some(path) = file.path() else { return "tiles     default: there is no folder for a tune file\n".into() };
    let mut text = format!("tiles     {}\n", path.display());
    for adapter in adapters {
        text += &format!("\x20 measured  for {} products of {}\n", file.holds(adapter), adapter.name);
    }
    text
}

fn describe(a: &AdapterSummary) -> String {
    let mib = |bytes: u64| bytes >> 20;
    let yes = |b: bool| if b { "yes" } else { "no" };
    let software = if a.software { ", emulated on the CPU: its times say nothing about GPUs" } else { "" };
    let matrices = if a.cooperative_matrix.is_empty() { "none".into() } else { a.cooperative_matrix.join(" ") };
    format!(
        "GPU       {} ({}{software})\n\
         \x20 driver    {} {} {}\n\
         \x20 limits    {} MiB per buffer, {} MiB per binding (the largest matrix), {} KiB workgroup memory, {} threads per work group, {} storage buffers\n\
         \x20 features  timestamps {}, float16 {}, subgroups of {} to {}, cooperative matrices {matrices}\n",
        a.name,
        a.kind,
        a.backend,
        a.driver,
        a.driver_info,
        mib(a.max_buffer),
        mib(a.max_binding),
        a.workgroup_memory >> 10,
        a.workgroup_threads,
        a.storage_buffers,
        yes(a.timestamps),
        yes(a.float16),
        a.subgroup.0,
        a.subgroup.1,
    )
}
