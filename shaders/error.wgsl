// Eq. (5): eps^l = x^l - mu^l, or with CARRY eps^l = (eps^l + dx^l) - (mu^l - mu^l at the last eps^l).
// Twin: src/device/cpu/error.rs. Uses shared/jobs.
//
// The subtraction has a launch of its own: mu has then been through memory, and no compiler may merge
// it with the sum that made mu.
// job: m = batch n^l numbers at out

@group(0) @binding(2) var<storage, read> x: array<f32>;             // x^l [batch, n^l], all layers
@group(0) @binding(3) var<storage, read> mu: array<f32>;            // mu^l [batch, n^l], all layers
@group(0) @binding(4) var<storage, read_write> mu_prev: array<f32>; // mu^l at the last eps^l, likewise
@group(0) @binding(5) var<storage, read> dx: array<f32>;            // step of x^l, likewise
@group(0) @binding(6) var<storage, read_write> eps: array<f32>;     // eps^l, likewise

const CARRY: u32 = 1u;
const MOVED: u32 = 2u;

@compute @workgroup_size(256)
fn error(
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
    let now = mu[at];
    if (job.flags & CARRY) != 0u {
        let step = select(0.0, dx[at], (job.flags & MOVED) != 0u);
        // Where mu has not moved the bracket is 0 by choice, not by a subtraction that WGSL would allow a
        // compiler to take apart.
        let before = mu_prev[at];
        eps[at] = (eps[at] + step) - select(now - before, 0.0, now == before);
    } else {
        eps[at] = x[at] - now;
    }
    mu_prev[at] = now;
}
