// Eqs. (3) and (9): theta^{l+1} += alpha eps^l^T f(x^{l+1}), b^{l+1} += alpha sum over the batch of eps^l.
// Twin: src/device/cpu/learn.rs. Uses shared/jobs, shared/tile.
//
// job: m = n^l, n = n^{l+1}, k = batch; left = eps^l or phi * eps^l, right = f(x^{l+1}), out = theta^{l+1}

@group(0) @binding(2) var<storage, read_write> theta: array<f32>;  // theta^{l+1} [n^l, n^{l+1}], all layers
@group(0) @binding(3) var<storage, read_write> bias: array<f32>;   // b^{l+1} [n^l], all layers
@group(0) @binding(4) var<storage, read> h: array<f32>;            // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(5) var<storage, read> eps: array<f32>;          // eps^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read> gated: array<f32>;        // phi^l * eps^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = false;
const RIGHT_P_CONTIGUOUS = false;
const GATED: u32 = 1u;

fn post(job: Job, at: u32) -> f32 {
    if (job.flags & GATED) != 0u { return gated[job.left + at]; }
    return eps[job.left + at];
}

fn load_left(job: Job, i: u32, p: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var r = 0u; r < 4u; r++) {
            if i + r < job.m { v[r] = post(job, p * job.m + i + r); }
        }
    }
    return v;
}

fn load_right(job: Job, p: u32, j: u32) -> vec4<f32> {
    var v = vec4(0.0);
    if p < job.k {
        for (var c = 0u; c < 4u; c++) {
            if j + c < job.n { v[c] = h[job.right + p * job.n + j + c]; }
        }
    }
    return v;
}

fn learn_bias(job: Job, i: u32) {
    var sum = 0.0;
    for (var p = 0u; p < job.k; p++) { sum += post(job, p * job.m + i); }
    bias[job.bias + i] = fma(launch.alpha, sum, bias[job.bias + i]);
}

@compute @workgroup_size(SIDE, SIDE)
fn learn(
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
                let at = job.out + i * job.n + j;
                theta[at] = fma(launch.alpha, line[c], theta[at]);
            }
        }
        if launch.bias == 1u && col == 0u && local.x == 0u && i < job.m { learn_bias(job, i); }
    }
}
