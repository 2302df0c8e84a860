// Copies the values that each training example keeps into the batch before an update, and back to the examples after it.
// One thread per quad. Twin: src/device/cpu/examples.rs.

struct Batch {
    base: u32,  // index in `order` of the batch's first sample
    batch: u32, // samples
    width: u32, // quads per row
    units: u32, // offset of the slot in its buffer, in quads
    back: u32,  // 0: from the examples to the batch; 1: from the batch to the examples
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32, s6: u32, s7: u32,
}

@group(0) @binding(0) var<uniform> take: Batch;
// Rows of `all` and `units` are padded to whole quads.
@group(0) @binding(1) var<storage, read> order: array<u32>;               // sample indices, [updates · batch]
@group(0) @binding(2) var<storage, read_write> all: array<vec4<f32>>;     // values of all examples, [samples, n]
@group(0) @binding(3) var<storage, read_write> units: array<vec4<f32>>;   // the slot [batch, n] at `units`, beside its family's others

@compute @workgroup_size(256)
fn examples(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + index;
    if i >= take.batch * take.width { return; }
    let at = order[take.base + i / take.width] * take.width + i % take.width;
    if take.back == 1u {
        all[at] = units[take.units + i];
    } else {
        units[take.units + i] = all[at];
    }
}
