// Looks for NaN and infinity among the weights and biases, by their bits.
// Twin: Params::finite in src/device/cpu/state.rs. Uses shared/jobs, shared/elements.
//
// job: m quads at left, in bias if BIAS, else in theta; out = its flag

@group(0) @binding(2) var<storage, read> theta: array<vec4<f32>>;           // all layers
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;            // all layers
@group(0) @binding(4) var<storage, read_write> flags: array<atomic<u32>>;   // one a job: 1 if not finite

const BIAS: u32 = 1u;
const EXPONENT = vec4<u32>(0x7f800000u);

@compute @workgroup_size(256)
fn finite(thread: Thread) {
    let element = element(thread);
    if !element.exists { return; }
    let at = element.job.left + element.i;
    var bits = vec4(0u);
    if (element.job.flags & BIAS) != 0u {
        bits = bitcast<vec4<u32>>(bias[at]);
    } else {
        bits = bitcast<vec4<u32>>(theta[at]);
    }
    if any((bits & EXPONENT) == EXPONENT) { atomicOr(&flags[element.job.out], 1u); }
}
