// phi of Section 4: a unit fires where eps, or with FEEDBACK its feedback current, is != 0 after at least
// t_d silent steps.
// Twin: src/device/cpu/gate.rs. Uses shared/jobs.
//
// job: m = batch n^l numbers at out

@group(0) @binding(2) var<storage, read> eps: array<f32>;          // eps^l [batch, n^l], all layers
@group(0) @binding(3) var<storage, read_write> gated: array<f32>;  // phi^l * eps^l, likewise
@group(0) @binding(4) var<storage, read_write> quiet: array<u32>;  // silent steps up to t_d, likewise

@group(0) @binding(5) var<storage, read> current: array<f32>;      // eps^{l-1} theta^l, likewise

const FIRST: u32 = 1u;
const FEEDBACK: u32 = 2u;
const ARRIVED: u32 = 4u;

@compute @workgroup_size(256)
fn gate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tile = tile_number(group, groups);
    if tile >= launch.tiles { return; }
    let job = jobs[job_of(tile)];
    let i = (tile - job.first) * 256u + local.x;
    if i >= job.m { return; }
    let at = job.out + i;
    let silent = select(quiet[at], launch.td, (job.flags & FIRST) != 0u);
    let error = eps[at];
    var active_unit = error != 0.0;
    if (job.flags & FEEDBACK) != 0u {
        active_unit = (job.flags & ARRIVED) != 0u && current[at] != 0.0;
    }
    gated[at] = select(0.0, error, active_unit && silent >= launch.td);
    quiet[at] = select(min(silent + 1u, launch.td), 0u, active_unit);
}
