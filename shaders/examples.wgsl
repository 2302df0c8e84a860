// What each training example has for itself: put into a batch before its update, and back after it. A thread a quad. Twin:
// src/device/cpu/examples.rs.

struct Batch {
    base: u32,  // where in `order` the batch begins
    batch: u32, // rows
    width: u32, // quads a row
    units: u32, // offset of the slot in its buffer, in quads
    back: u32,  // 1 for the way back
    s1: u32, s2: u32, s3: u32, s4: u32, s5: u32, s6: u32, s7: u32,
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> order: array<u32>;               // sample numbers
@group(0) @binding(2) var<storage, read_write> all: array<vec4<f32>>;     // [samples, n] in padded rows
@group(0) @binding(3) var<storage, read_write> units: array<vec4<f32>>;   // [batch, n] in padded rows, all populations

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
