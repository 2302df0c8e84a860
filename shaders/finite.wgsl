// Looks for NaN and infinity among the weights and biases, by their bits.
// Twin: Params::finite in src/device/cpu/state.rs. Uses shared/jobs.
//
// job: m numbers at left, in bias if BIAS, else in theta; out = its flag

@group(0) @binding(2) var<storage, read> theta: array<f32>;                 // all layers
@group(0) @binding(3) var<storage, read> bias: array<f32>;                  // all layers
@group(0) @binding(4) var<storage, read_write> flags: array<atomic<u32>>;   // one a job: 1 if not finite

const BIAS: u32 = 1u;

@compute @workgroup_size(256)
fn finite(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tile = tile_number(group, groups);
    if tile >= launch.tiles { return; }
    let job = jobs[job_of(tile)];
    let i = (tile - job.first) * 256u + local.x;
    if i >= job.m { return; }
    var bits = 0u;
    if (job.flags & BIAS) != 0u {
        bits = bitcast<u32>(bias[job.left + i]);
    } else {
        bits = bitcast<u32>(theta[job.left + i]);
    }
    if (bits & 0x7f800000u) == 0x7f800000u { atomicOr(&flags[job.out], 1u); }
}
