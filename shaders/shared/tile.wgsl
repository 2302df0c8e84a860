// A matrix product by tiles of 4·SIDE x 4·SIDE, 4 x 4 results a thread: the core of predict, infer and learn.
//
// A kernel that uses it defines
//   load_left(job, i, p)  -> left  (i..i+3, p)   four rows of one column
//   load_right(job, p, j) -> right (p, j..j+3)   four columns of one row
// with zero outside, and says along which index its operands lie contiguous.
// Every result is one sum over p = 0, 1, ... in order, whatever SIDE: the tile does not show in the bits.

override SIDE: u32 = 16u; // threads a side: 16 for large products, 8 for small
const DEPTH: u32 = 16u;   // p's staged at a time

// [DEPTH][SIDE] of four rows, and of four columns: 8 KiB together at SIDE 16
var<workgroup> sh_left: array<vec4<f32>, DEPTH * SIDE>;
var<workgroup> sh_right: array<vec4<f32>, DEPTH * SIDE>;
var<workgroup> sh_job: u32;

struct Sums { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

// (position along the 4-wide index, p) of staged entry e
fn entry(e: u32, p_contiguous: bool) -> vec2<u32> {
    return select(vec2(e % SIDE, e / SIDE), vec2(e / DEPTH, e % DEPTH), p_contiguous);
}

fn product(job: Job, row: u32, col: u32, local: vec2<u32>) -> Sums {
    let thread = local.y * SIDE + local.x;
    var sums = Sums(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    for (var p0 = 0u; p0 < job.k; p0 += DEPTH) {
        for (var e = thread; e < DEPTH * SIDE; e += SIDE * SIDE) {
            let l = entry(e, LEFT_P_CONTIGUOUS);
            sh_left[l.y * SIDE + l.x] = load_left(job, row + 4u * l.x, p0 + l.y);
            let r = entry(e, RIGHT_P_CONTIGUOUS);
            sh_right[r.y * SIDE + r.x] = load_right(job, p0 + r.y, col + 4u * r.x);
        }
        workgroupBarrier();
        for (var p = 0u; p < DEPTH; p++) {
            let a = sh_left[p * SIDE + local.y];
            let b = sh_right[p * SIDE + local.x];
            sums.r0 = fma(vec4(a.x), b, sums.r0);
            sums.r1 = fma(vec4(a.y), b, sums.r1);
            sums.r2 = fma(vec4(a.z), b, sums.r2);
            sums.r3 = fma(vec4(a.w), b, sums.r3);
        }
        workgroupBarrier();
    }
    return sums;
}

// Results of row 4·local.y + r
fn sums_row(sums: Sums, r: u32) -> vec4<f32> {
    switch r {
        case 0u: { return sums.r0; }
        case 1u: { return sums.r1; }
        case 2u: { return sums.r2; }
        default: { return sums.r3; }
    }
}
