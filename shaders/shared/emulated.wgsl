// Emulates the matrix-unit functions that shared/cooperative calls, on any adapter. Tests use it to run the rest of
// shared/cooperative without matrix units. The constant FRAGMENT, 8 or 16, is prepended to this file.

alias Half = f32; // rounded to float16

// An operand fragment is not copied. It is described by the offset of its first value in sh_half, its row stride and
// its column stride.
struct Left { at: u32, row: u32, column: u32 }
struct Right { at: u32, row: u32, column: u32 }

// Thread t of 32 holds the accumulators t, t + 32, ... of a fragment, in row-major order.
const HELD = FRAGMENT * FRAGMENT / 32u;
struct Results { v: array<f32, HELD> }

var<private> lane: u32;

fn to_half(v: f32) -> Half {
    return unpack2x16float(pack2x16float(vec2(v, 0.0))).x;
}

fn left_by_rows(at: u32, pitch: u32) -> Left { return Left(at, pitch, 1u); }
fn left_by_columns(at: u32, pitch: u32) -> Left { return Left(at, 1u, pitch); }
fn right_by_rows(at: u32, pitch: u32) -> Right { return Right(at, pitch, 1u); }
fn right_by_columns(at: u32, pitch: u32) -> Right { return Right(at, 1u, pitch); }

fn results(at: u32) -> Results {
    var c = Results();
    for (var e = 0u; e < HELD; e++) { c.v[e] = sh_out[at + lane + 32u * e]; }
    return c;
}

fn put(c: Results, at: u32) {
    for (var e = 0u; e < HELD; e++) { sh_out[at + lane + 32u * e] = c.v[e]; }
}

// Replaces the WGSL built-in function of this name: c + l · r, summed over p in order.
fn coopMultiplyAdd(l: Left, r: Right, c: Results) -> Results {
    var d = c;
    for (var e = 0u; e < HELD; e++) {
        let i = (lane + 32u * e) / FRAGMENT;
        let j = (lane + 32u * e) % FRAGMENT;
        for (var p = 0u; p < FRAGMENT; p++) {
            let left = sh_half[l.at + i * l.row + p * l.column];
            d.v[e] = fma(left, sh_half[r.at + p * r.row + j * r.column], d.v[e]);
        }
    }
    return d;
}

// KERNEL is replaced by the kernel's name.
@compute @workgroup_size(X, Y)
fn KERNEL(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    lane = index % 32u;
    tile(tile_number(group, groups), index, index / 32u);
}
