// Eq. (5): eps^l = x^l - mu^l, or with CARRY eps^l = (eps^l + dx^l) - (mu^l - mu^l at the last eps^l).
// Twin: src/device/cpu/error.rs. Uses shared/jobs, shared/elements.
//
// The subtraction has a launch of its own: mu has then been through memory, and no compiler may merge
// it with the sum that made mu.
// job: m quads at out, [batch, n^l]

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;             // x^l [batch, n^l], all layers
@group(0) @binding(3) var<storage, read> mu: array<vec4<f32>>;            // mu^l [batch, n^l], all layers
@group(0) @binding(4) var<storage, read_write> mu_prev: array<vec4<f32>>; // mu^l at the last eps^l, likewise
@group(0) @binding(5) var<storage, read> dx: array<vec4<f32>>;            // step of x^l, likewise
@group(0) @binding(6) var<storage, read_write> eps: array<vec4<f32>>;     // eps^l, likewise

const CARRY: u32 = 1u;
const MOVED: u32 = 2u;

@compute @workgroup_size(256)
fn error(thread: Thread) {
    let element = element(thread);
    if !element.exists { return; }
    let flags = element.job.flags;
    let at = element.job.out + element.i;
    let now = mu[at];
    if (flags & CARRY) != 0u {
        let step = select(vec4(0.0), dx[at], (flags & MOVED) != 0u);
        // Where mu has not moved the bracket is 0 by choice, not by a subtraction that WGSL would allow a
        // compiler to take apart.
        let before = mu_prev[at];
        eps[at] = (eps[at] + step) - select(now - before, vec4(0.0), now == before);
    } else {
        eps[at] = x[at] - now;
    }
    mu_prev[at] = now;
}
