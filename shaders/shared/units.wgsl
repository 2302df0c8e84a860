// The matrix-unit functions that shared/cooperative calls, as wgpu's cooperative matrices. Uses shared/fragment8 or shared/fragment16.

alias Half = f16;

fn to_half(v: f32) -> Half {
    return f16(v);
}

// These four functions load a staged fragment, row-major or column-major. Its first value is at `at`; `pitch` is the
// stride in values.
fn left_by_rows(at: u32, pitch: u32) -> Left { return coopLoadT<Left>(&sh_half[at], pitch); }
fn left_by_columns(at: u32, pitch: u32) -> Left { return coopLoad<Left>(&sh_half[at], pitch); }
fn right_by_rows(at: u32, pitch: u32) -> Right { return coopLoadT<Right>(&sh_half[at], pitch); }
fn right_by_columns(at: u32, pitch: u32) -> Right { return coopLoad<Right>(&sh_half[at], pitch); }

// `results` loads the accumulators of a fragment from `at` of sh_out, row-major; `put` stores them there.
fn results(at: u32) -> Results { return coopLoadT<Results>(&sh_out[at], FRAGMENT); }
fn put(c: Results, at: u32) { coopStoreT(c, &sh_out[at], FRAGMENT); }

// KERNEL is replaced by the kernel's name.
@compute @workgroup_size(X, Y)
fn KERNEL(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_id) subgroup: u32,
) {
    tile(tile_number(group, groups), index, subgroup);
}
