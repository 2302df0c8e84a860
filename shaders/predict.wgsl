// Eq. (5): mu^l = f(x^{l+1}) theta^{l+1}^T + b^{l+1}; with SETTLE also x^l = mu^l and f(x^l).
// Twin: src/device/cpu/predict.rs. Uses shared/activation, shared/jobs, shared/tile.
//
// job: m = batch, n = n^l, k = n^{l+1}; left = f(x^{l+1}) in h, right = theta^{l+1}, out = mu^l and x^l

@group(0) @binding(2) var<storage, read> theta: array<f32>;        // theta^{l+1} [n^l, n^{l+1}], all layers
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // b^{l+1} [n^l], all layers
@group(0) @binding(4) var<storage, read_write> h: array<f32>;      // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(5) var<storage, read_write> mu: array<f32>;     // mu^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read_write> x: array<f32>;      // x^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = true;
const RIGHT_P_CONTIGUOUS = true;
const SETTLE: u32 = 1u;

fn load_left(job: Job, i: u32, p: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var r = 0u; r < 4u; r++) {
            if i + r < job.m { v[r] = h[job.left + (i + r) * job.k + p]; }
        }
    }
    return v;
}

fn load_right(job: Job, p: u32, j: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var c = 0u; c < 4u; c++) {
            if j + c < job.n { v[c] = theta[job.right + (j + c) * job.k + p]; }
        }
    }
    return v;
}

@compute @workgroup_size(SIDE, SIDE)
fn predict(
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
            if i < job.m && j < job.n {
                var value = line[c];
                if launch.bias == 1u { value += bias[job.bias + j]; }
                let at = i * job.n + j;
                mu[job.out + at] = value;
                if (job.flags & SETTLE) != 0u {
                    x[job.out + at] = value;
                    h[job.h + at] = f(value);
                }
            }
        }
    }
}
