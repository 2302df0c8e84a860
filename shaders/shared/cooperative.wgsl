// A matrix product on matrix units: takes the place of shared/tile in mixed precision. Uses shared/jobs, and
// shared/units or shared/emulated.
//
// Operands are rounded to float16 where they are staged; products and sums are float32. A workgroup of four subgroups
// makes a tile of 4 x 4 fragments, each subgroup 2 x 2 of them. Where a driver may choose the size of subgroups there are
// four of the largest; of smaller ones there are more then, which do the work of the first four over again, for nothing.
// The order of a sum is the unit's own: what float32 promises of bits does not hold here.
//
// A kernel defines what shared/tile says.

override X: u32 = 128u; // threads: four subgroups, or more
override Y: u32 = 1u;
override AREAS: u32 = 4u; // subgroups there may be

const SHARES = 4u; // subgroups whose results count

const SIDE = 4u * FRAGMENT;     // rows and columns of the tile
const DEPTH = 32u;              // p's staged at a time
const P_PITCH = DEPTH + 8u;     // from one row of an operand that runs along p to the next; whole 16 bytes
const IJ_PITCH = SIDE + 8u;     // from one p of another to the next, likewise
const STAGE = max(SIDE * P_PITCH, DEPTH * IJ_PITCH);

// The left operand, then the right: [SIDE][P_PITCH] if it runs along p, else [DEPTH][IJ_PITCH].
var<workgroup> sh_half: array<Half, 2u * STAGE>;
// [subgroup][FRAGMENT][FRAGMENT] results on their way to memory
var<workgroup> sh_out: array<f32, AREAS * FRAGMENT * FRAGMENT>;

// Stages quad e of an operand; zero outside the matrix.
fn stage(job: Job, right: bool, first: u32, p0: u32, e: u32) {
    let along_p = select(LEFT_P_CONTIGUOUS, RIGHT_P_CONTIGUOUS, right);
    let extent = select(job.m, job.n, right);
    let offset = select(job.left, job.right, right);
    let base = select(0u, STAGE, right);
    var v = vec4(0.0);
    var at = base;
    if along_p {
        let i = e / (DEPTH / 4u);
        let p = e % (DEPTH / 4u);
        at += i * P_PITCH + 4u * p;
        if first + i < extent && p0 / 4u + p < quads(job.k) {
            v = operand(job, right, offset + (first + i) * quads(job.k) + p0 / 4u + p);
        }
    } else {
        let p = e / FRAGMENT;
        let q = e % FRAGMENT;
        at += p * IJ_PITCH + 4u * q;
        if first / 4u + q < quads(extent) && p0 + p < job.k {
            v = operand(job, right, offset + (p0 + p) * quads(extent) + first / 4u + q);
        }
    }
    sh_half[at] = to_half(v.x);
    sh_half[at + 1u] = to_half(v.y);
    sh_half[at + 2u] = to_half(v.z);
    sh_half[at + 3u] = to_half(v.w);
}

// The left fragment whose first row is i and whose first p is p, both of what is staged.
fn left(i: u32, p: u32) -> Left {
    if LEFT_P_CONTIGUOUS { return left_by_rows(i * P_PITCH + p, P_PITCH); }
    return left_by_columns(p * IJ_PITCH + i, IJ_PITCH);
}

// The right fragment whose first p is p and whose first column is j.
fn right(p: u32, j: u32) -> Right {
    if RIGHT_P_CONTIGUOUS { return right_by_columns(STAGE + j * P_PITCH + p, P_PITCH); }
    return right_by_rows(STAGE + p * IJ_PITCH + j, IJ_PITCH);
}

// Takes the fragment that each subgroup has left in sh_out, `down` and `across` of its 2 x 2.
fn take(job: Job, row: u32, col: u32, down: u32, across: u32, thread: u32) {
    workgroupBarrier();
    for (var e = thread; e < SHARES * FRAGMENT * FRAGMENT / 4u; e += X) {
        let share = e / (FRAGMENT * FRAGMENT / 4u);
        let within = e % (FRAGMENT * FRAGMENT / 4u);
        let i = row + (2u * (share / 2u) + down) * FRAGMENT + within / (FRAGMENT / 4u);
        let q = (col + (2u * (share % 2u) + across) * FRAGMENT) / 4u + within % (FRAGMENT / 4u);
        let at = 4u * e;
        if i < job.m && q < quads(job.n) {
            store(job, i, q, vec4(sh_out[at], sh_out[at + 1u], sh_out[at + 2u], sh_out[at + 3u]));
        }
    }
    workgroupBarrier();
}

// One tile, from its number to its last result: the part of thread `index`, in subgroup `subgroup`.
fn tile(own: u32, index: u32, subgroup: u32) {
    // Past the last tile of a folded grid the last one is computed again, and not stored: matrix units want control flow
    // that is provably uniform.
    let number = min(own, launch.tiles - 1u);
    let job = jobs[job_of(number)];
    var mine = job;
    if own > number { mine.m = 0u; }
    let row = (number - job.first) / job.across * SIDE;
    let col = (number - job.first) % job.across * SIDE;
    // Fragments of this subgroup: named, because an array of them cannot be written for Vulkan.
    let share = subgroup % SHARES;
    let i = share / 2u * 2u * FRAGMENT;
    let j = share % 2u * 2u * FRAGMENT;
    let out = subgroup * FRAGMENT * FRAGMENT;
    for (var e = index; e < AREAS * FRAGMENT * FRAGMENT; e += X) { sh_out[e] = 0.0; }
    workgroupBarrier();
    var c00 = results(out);
    var c01 = results(out);
    var c10 = results(out);
    var c11 = results(out);
    for (var p0 = 0u; p0 < job.k; p0 += DEPTH) {
        for (var e = index; e < SIDE * DEPTH / 4u; e += X) {
            stage(job, false, row, p0, e);
            stage(job, true, col, p0, e);
        }
        workgroupBarrier();
        for (var p = 0u; p < DEPTH; p += FRAGMENT) {
            let l0 = left(i, p);
            let l1 = left(i + FRAGMENT, p);
            let r0 = right(p, j);
            let r1 = right(p, j + FRAGMENT);
            c00 = coopMultiplyAdd(l0, r0, c00);
            c01 = coopMultiplyAdd(l0, r1, c01);
            c10 = coopMultiplyAdd(l1, r0, c10);
            c11 = coopMultiplyAdd(l1, r1, c11);
        }
        workgroupBarrier();
    }
    put(c00, out);
    take(mine, row, col, 0u, 0u, index);
    put(c01, out);
    take(mine, row, col, 0u, 1u, index);
    put(c10, out);
    take(mine, row, col, 1u, 0u, index);
    put(c11, out);
    take(mine, row, col, 1u, 1u, index);
}
