// Checks weights and biases for NaN and infinity. It tests the bit patterns, because a WGSL compiler may assume that
// neither NaN nor infinity occurs. One thread per quad. Twin: WeightMatrix::finite in src/device/cpu/weight_matrix.rs.
// Uses shared/jobs, shared/elements.
//
// job: m quads from offset left; k = index of its flag

// Per layer W [n_to, n_from], then b [n_to]; padded rows
@group(0) @binding(3) var<storage, read> theta: array<vec4<f32>>;
// 1 if not finite: weights [layers], then biases [layers]
@group(0) @binding(4) var<storage, read_write> flags: array<atomic<u32>>;

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
