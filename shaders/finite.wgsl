// Looks for NaN and infinity among the weights and biases, by their bits.
// Twin: Connections::finite in src/device/cpu/weight_matrix.rs. Uses shared/jobs, shared/elements.
//
// job: m quads at left; k = its flag

@group(0) @binding(3) var<storage, read> theta: array<vec4<f32>>;           // weights and biases of all layers
@group(0) @binding(4) var<storage, read_write> flags: array<atomic<u32>>;   // one a job: 1 if not finite

const EXPONENT = vec4<u32>(0x7f800000u);

@compute @workgroup_size(256)
fn finite(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let element = element(tile_number(group, groups), index);
    if !element.exists { return; }
    let at = element.job.left + element.i;
    let bits = bitcast<vec4<u32>>(theta[at]);
    if any((bits & EXPONENT) == EXPONENT) { atomicOr(&flags[element.job.k], 1u); }
}
