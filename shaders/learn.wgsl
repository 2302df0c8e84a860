// Eqs. (3) and (9): theta^{l+1} += alpha eps^l^T f(x^{l+1}), b^{l+1} += alpha sum over the batch of eps^l.
// Twin: src/device/cpu/learn.rs. Uses shared/jobs, shared/tile.
//
// job: m = n^l, n = n^{l+1}, k = batch; left = eps^l or phi * eps^l, right = f(x^{l+1}), out = theta^{l+1}

@group(0) @binding(2) var<storage, read_write> theta: array<vec4<f32>>; // theta^{l+1} [n^l, n^{l+1}], all layers
@group(0) @binding(3) var<storage, read_write> bias: array<vec4<f32>>;  // b^{l+1} [n^l], all layers
@group(0) @binding(4) var<storage, read> h: array<vec4<f32>>;           // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(5) var<storage, read> eps: array<vec4<f32>>;         // eps^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read> gated: array<vec4<f32>>;       // phi^l * eps^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = false;
const RIGHT_P_CONTIGUOUS = false;
const GATED: u32 = 1u;

fn operand(job: Job, right: bool, at: u32) -> vec4<f32> {
    if right { return h[at]; }
    if (job.flags & GATED) != 0u { return gated[at]; }
    return eps[at];
}

fn store(job: Job, i: u32, q: u32, sums: vec4<f32>) {
    let at = job.out + i * quads(job.n) + q;
    theta[at] = fma(vec4(launch.alpha), sums, theta[at]);
    // The thread that has column 0 of rows i .. i+3 makes their biases too.
    if launch.bias == 1u && q == 0u && i % 4u == 0u { learn_bias(job, i / 4u); }
}

fn learn_bias(job: Job, q: u32) {
    var sum = vec4(0.0);
    for (var p = 0u; p < job.k; p++) { sum += operand(job, false, job.left + p * quads(job.m) + q); }
    bias[job.bias + q] = fma(vec4(launch.alpha), sum, bias[job.bias + q]);
}

@compute @workgroup_size(X, Y)
fn learn(thread: Thread) {
    tile(thread);
}
