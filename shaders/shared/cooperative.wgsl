// A matrix product on matrix units: replaces shared/tile in mixed precision. Uses shared/jobs, and shared/units or
// shared/emulated.
//
// Operands are rounded to float16 when they are staged; products and accumulators are float32. A work group computes a
// tile of 4 x 4 fragments with four subgroups, each of which computes 2 x 2 fragments. A work group has enough threads
// for four subgroups of the largest size that the driver may choose. If the driver chooses a smaller size, the
// additional subgroups repeat the work of the first four, and their results are ignored. The matrix unit chooses the
// order of summation, so results are not bit-reproducible, unlike those in float32.
//
// A kernel defines the constants and functions that shared/tile lists.

override X: u32 = 128u; // threads: four subgroups of the largest size
override Y: u32 = 1u;
override AREAS: u32 = 4u; // maximum number of subgroups per work group

const SHARES = 4u; // subgroups whose results are stored

const SIDE = 4u * FRAGMENT;     // rows and columns of the tile
const DEPTH = 32u;              // values of p staged at a time
const P_PITCH = DEPTH + 8u;     // stride of i or j in an operand contiguous along p, in values; a multiple of 16 bytes
const IJ_PITCH = SIDE + 8u;     // stride of p in an operand contiguous along i or j, in values; a multiple of 16 bytes
const STAGE = max(SIDE * P_PITCH, DEPTH * IJ_PITCH);

// The left operand, then the right one: [SIDE][P_PITCH] if contiguous along p, else [DEPTH][IJ_PITCH].
var<workgroup> sh_half: array<Half, 2u * STAGE>;
// Accumulators of one fragment per subgroup before they are stored, [AREAS][FRAGMENT][FRAGMENT].
var<workgroup> sh_out: array<f32, AREAS * FRAGMENT * FRAGMENT>;

// Stages quad e of an operand; 0 outside the matrix.
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

// The left fragment from row i and depth p of the staged block.
fn left(i: u32, p: u32) -> Left {
    if LEFT_P_CONTIGUOUS { return left_by_rows(i * P_PITCH + p, P_PITCH); }
    return left_by_columns(p * IJ_PITCH + i, IJ_PITCH);
}

// The right fragment from depth p and column j of the staged block.
fn right(p: u32, j: u32) -> Right {
    if RIGHT_P_CONTIGUOUS { return right_by_columns(STAGE + j * P_PITCH + p, P_PITCH); }
    return right_by_rows(STAGE + p * IJ_PITCH + j, IJ_PITCH);
}

// Stores fragment (down, across) of the 2 x 2 fragments of each subgroup, which is in sh_out.
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

// Computes tile `own`. `index` is the index of this thread in the work group, `subgroup` that of its subgroup.
fn tile(own: u32, index: u32, subgroup: u32) {
    // Work groups beyond the last tile of a folded grid compute the last tile again and do not store it: matrix units
    // require provably uniform control flow, and an early return would make it non-uniform.
    let number = min(own, launch.tiles - 1u);
    let job = jobs[job_of(number)];
    var mine = job;
    if own > number { mine.m = 0u; }
    let row = (number - job.first) / job.across * SIDE;
    let col = (number - job.first) % job.across * SIDE;
    // The four accumulators of a subgroup are separate variables, because an array of them cannot be translated to
    // SPIR-V.
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
