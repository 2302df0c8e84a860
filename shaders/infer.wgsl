// Eq. (7): x^l += gamma (-eps^l + f'(x^l) * (eps^{l-1} theta^l)), and, with BACKPROP, BP's Eq. (4).
// Twin: src/device/cpu/infer.rs. Uses shared/activation, shared/jobs, shared/tile.
//
// job: m = batch, n = n^l, k = n^{l-1}; left = eps^{l-1}, right = theta^l, out = eps^l, x^l and dx^l

@group(0) @binding(2) var<storage, read> theta: array<vec4<f32>>;     // theta^l [n^{l-1}, n^l], all layers
@group(0) @binding(3) var<storage, read_write> h: array<vec4<f32>>;   // f(x^l) [batch, n^l], all layers and halves
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;   // x^l [batch, n^l], all layers
@group(0) @binding(5) var<storage, read_write> dx: array<vec4<f32>>;  // step of x^l [batch, n^l], all layers
@group(0) @binding(6) var<storage, read_write> eps: array<vec4<f32>>; // eps^l [batch, n^l], all layers

const LEFT_P_CONTIGUOUS = true;
const RIGHT_P_CONTIGUOUS = false;
const BACKPROP: u32 = 1u;
const STORE_H: u32 = 2u;
const CARRY: u32 = 4u;

fn operand(job: Job, right: bool, at: u32) -> vec4<f32> {
    if right { return theta[at]; }
    return eps[at];
}

fn store(job: Job, i: u32, q: u32, feedback: vec4<f32>) {
    let at = i * quads(job.n) + q;
    let now = h[job.h + at];
    let slope = f_prime4(now);
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
    if (job.flags & STORE_H) != 0u {
        // A unit that did not move keeps its f(x) bit for bit, whichever kernel computed it. Padding stays 0.
        let after = select(f4(moved), now, step == vec4(0.0));
        h[job.h_out + at] = select(vec4(0.0), after, inside(q, job.n));
    }
}

@compute @workgroup_size(X, Y)
fn infer(thread: Thread) {
    tile(thread);
}
