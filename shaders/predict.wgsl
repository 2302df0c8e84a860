// Eq. (5): mu^l = f(x^{l+1}) theta^{l+1}^T + b^{l+1}; with SETTLE also x^l = mu^l and f(x^l).
// Twin: src/device/cpu/predict.rs. Uses shared/activation, shared/jobs, shared/tile.
//
// job: m = batch, n = n^l, k = n^{l+1}; left = f(x^{l+1}) in h, right = theta^{l+1}, out = mu^l and x^l

@group(0) @binding(2) var<storage, read> theta: array<vec4<f32>>;    // theta^{l+1} [n^l, n^{l+1}], all layers
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;     // b^{l+1} [n^l], all layers
@group(0) @binding(4) var<storage, read_write> h: array<vec4<f32>>;  // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(5) var<storage, read_write> mu: array<vec4<f32>>; // mu^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read_write> x: array<vec4<f32>>;  // x^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = true;
const RIGHT_P_CONTIGUOUS = true;
const SETTLE: u32 = 1u;

fn operand(job: Job, right: bool, at: u32) -> vec4<f32> {
    if right { return theta[at]; }
    return h[at];
}

fn store(job: Job, i: u32, q: u32, sums: vec4<f32>) {
    var value = sums;
    if launch.bias == 1u { value += bias[job.bias + q]; }
    let at = i * quads(job.n) + q;
    mu[job.out + at] = value;
    if (job.flags & SETTLE) != 0u {
        x[job.out + at] = value;
        // f(0) need not be 0, and padding has to be.
        h[job.h + at] = select(vec4(0.0), f4(value), inside(q, job.n));
    }
}

@compute @workgroup_size(X, Y)
fn predict(thread: Thread) {
    tile(thread);
}
