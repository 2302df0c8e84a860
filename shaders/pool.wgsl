// Reduces the batch to one value per unit: sum or maximum, in the order of the rows. One thread per quad of units.
// Twin: `pool` in src/device/cpu/update.rs. Uses shared/jobs, shared/elements.
//
// job: m = quads per row, n = units, rows = batch · positions, left = offset of the operand, k = 0 for the sum and 1 for the
// maximum, o[0] = offset of the result

// Each buffer holds all slots of a family, with rows padded to whole quads.
@group(0) @binding(3) var<storage, read> units: array<vec4<f32>>;         // [batch · positions, n] per slot
@group(0) @binding(4) var<storage, read_write> vectors: array<vec4<f32>>; // [n] per slot

@compute @workgroup_size(256)
fn pool(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let element = element(tile_number(group, groups), index);
    if !element.exists { return; }
    let job = element.job;
    let width = quads(job.n);
    var sum = vec4(0.0);
    var most = units[job.left + element.i];
    for (var i = 0u; i < job.rows; i++) {
        let value = units[job.left + i * width + element.i];
        sum += value;
        most = select(most, value, value > most);
    }
    vectors[job.o[0] + element.i] = select(sum, most, vec4(job.k == 1u));
}
