// Eq. (7): x^l += gamma (-eps^l + f'(x^l) * (eps^{l-1} theta^l)), and, with BACKPROP, BP's Eq. (4).
// Twin: src/device/cpu/infer.rs. Uses shared/activation, shared/jobs, shared/tile.
//
// job: m = batch, n = n^l, k = n^{l-1}; left = eps^{l-1}, right = theta^l, out = eps^l, x^l and dx^l

@group(0) @binding(2) var<storage, read> theta: array<f32>;        // theta^l [n^{l-1}, n^l], all layers
@group(0) @binding(3) var<storage, read_write> h: array<f32>;      // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(4) var<storage, read_write> x: array<f32>;      // x^l [batch, n^l], all layers
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;     // step of x^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read_write> eps: array<f32>;    // eps^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = true;
const RIGHT_P_CONTIGUOUS = false;
const BACKPROP: u32 = 1u;
const STORE_H: u32 = 2u;
const CARRY: u32 = 4u;

fn load_left(job: Job, i: u32, p: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var r = 0u; r < 4u; r++) {
            if i + r < job.m { v[r] = eps[job.left + (i + r) * job.k + p]; }
        }
    }
    return v;
}

fn load_right(job: Job, p: u32, j: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var c = 0u; c < 4u; c++) {
            if j + c < job.n { v[c] = theta[job.right + p * job.n + j + c]; }
        }
    }
    return v;
}

fn infer_unit(job: Job, at: u32, feedback: f32) {
    let now = h[job.h + at];
    let slope = f_prime(now);
    if (job.flags & BACKPROP) != 0u {
        eps[job.out + at] = slope * feedback;
        return;
    }
    let error = eps[job.out + at];
    let step = launch.gamma * fma(slope, feedback, -error);
    let moved = x[job.out + at] + step;
    x[job.out + at] = moved;
    dx[job.out + at] = step;
    if (job.flags & CARRY) != 0u { eps[job.out + at] = error + step; }
    // A unit that did not move keeps its f(x) bit for bit, whichever kernel computed it.
    if (job.flags & STORE_H) != 0u { h[job.h_out + at] = select(f(moved), now, step == 0.0); }
}

@compute @workgroup_size(SIDE, SIDE)
fn infer(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tile = tile_number(group, groups);
    if tile >= launch.tiles { return; }
    if local.x == 0u && local.y == 0u { sh_job = job_of(tile); }
    let job = jobs[workgroupUniformLoad(&sh_job)];
    let row = (tile - job.first) / job.across * 4u * SIDE;
    let col = (tile - job.first) % job.across * 4u * SIDE;
    let sums = product(job, row, col, local.xy);
    for (var r = 0u; r < 4u; r++) {
        let i = row + 4u * local.y + r;
        let line = sums_row(sums, r);
        for (var c = 0u; c < 4u; c++) {
            let j = col + 4u * local.x + c;
            if i < job.m && j < job.n { infer_unit(job, i * job.n + j, line[c]); }
        }
    }
}
