// A tiled matrix product, c[i, j] = sum over p of left[i, p] · right[p, j], shape [m, n] with p < k: the core of predict, infer and
// learn. Uses shared/jobs.
//
// A work group of X x Y threads computes a tile of 4·Y·DOWN rows by 4·X·ACROSS columns. A thread computes DOWN x ACROSS register
// tiles of 4 x 4 of it. They lie 4·Y rows and 4·X columns apart, so that neighbouring threads read and write neighbouring quads.
//
// A kernel that uses it defines
//   LEFT_P_CONTIGUOUS, RIGHT_P_CONTIGUOUS   whether an operand is contiguous along p, or along i or j
//   operand(job, right, at)                 quad `at` of the left or right operand
//   store(job, i, q, sums)                  stores c[i, 4q .. 4q+3]; values from column n on are 0
// Every result is one sum over p = 0, 1, ... in order, for every tile size: the bits do not depend on the tile.

override X: u32 = 16u;      // threads along a row of the tile
override Y: u32 = 16u;      // threads along a column of the tile
override DOWN: u32 = 1u;    // register tiles of a thread, 1 or 2 in each direction
override ACROSS: u32 = 1u;
override DEPTH: u32 = 16u;  // values of p staged at a time, a multiple of 8

override THREADS: u32 = X * Y;
override LEFT: u32 = Y * DOWN;    // quads of the left operand at one p
override RIGHT: u32 = X * ACROSS; // quads of the right operand at one p

// Staged quads: [DEPTH][LEFT + 1] of the left operand along i, then [DEPTH][RIGHT + 1] of the right operand along j. The padding
// by one avoids bank conflicts between threads that store a transposed block. This must stay the only workgroup variable: another
// one of 4 bytes before it would move the quads off the 16-byte boundaries that 128-bit reads need.
var<workgroup> sh_quads: array<vec4<f32>, DEPTH * (LEFT + RIGHT + 2u)>;

// A register tile of 4 x 4 results, one row per quad. The rows are named members, because an array with a variable index would not
// stay in registers.
struct Block { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

// The register tiles of a thread. Those beyond DOWN x ACROSS stay 0 and are optimised away.
struct Sums { b00: Block, b01: Block, b10: Block, b11: Block }

// The (i or j, p) coordinate, in quads, of the 4 x 4 block that thread `e` fetches from an operand that is contiguous along p. Two
// threads read 32 contiguous bytes, the smallest memory transaction.
fn block_of(e: u32, width: u32) -> vec2<u32> {
    return vec2(e / 2u % width, e / 2u / width * 2u + e % 2u);
}

// Fetches what this thread stages of one operand from p0 on: up to four quads along i or j, 0 outside the matrix. An operand
// that is contiguous along p is read in a block of 4 x 4 and transposed here. From the other kind a thread takes quads that
// lie THREADS apart in the staged order.
fn fetch(job: Job, right: bool, first: u32, p0: u32, e: u32) -> mat4x4<f32> {
    let along_p = select(LEFT_P_CONTIGUOUS, RIGHT_P_CONTIGUOUS, right);
    let width = select(LEFT, RIGHT, right);
    let extent = select(job.m, job.n, right);
    let offset = select(job.left, job.right, right);
    var v = mat4x4<f32>();
    if along_p {
        let block = block_of(e, width);
        let pitch = quads(job.k);
        let i = first + 4u * block.x;
        let p = p0 / 4u + block.y;
        let at = offset + i * pitch + p;
        if 4u * e >= width * DEPTH || p >= pitch { return v; }
        if i < extent { v[0] = operand(job, right, at); }
        if i + 1u < extent { v[1] = operand(job, right, at + pitch); }
        if i + 2u < extent { v[2] = operand(job, right, at + 2u * pitch); }
        if i + 3u < extent { v[3] = operand(job, right, at + 3u * pitch); }
        return transpose(v);
    }
    let pitch = quads(extent);
    let step = THREADS / width;
    let q = first / 4u + e % width;
    let p = p0 + e / width;
    let at = offset + p * pitch + q;
    if q >= pitch { return v; }
    if p < job.k { v[0] = operand(job, right, at); }
    if THREADS < width * DEPTH && p + step < job.k { v[1] = operand(job, right, at + step * pitch); }
    if 2u * THREADS < width * DEPTH && p + 2u * step < job.k { v[2] = operand(job, right, at + 2u * step * pitch); }
    if 3u * THREADS < width * DEPTH && p + 3u * step < job.k { v[3] = operand(job, right, at + 3u * step * pitch); }
    return v;
}

// Writes what `fetch` returned to workgroup memory.
fn stage(right: bool, v: mat4x4<f32>, e: u32) {
    let along_p = select(LEFT_P_CONTIGUOUS, RIGHT_P_CONTIGUOUS, right);
    let width = select(LEFT, RIGHT, right);
    let base = select(0u, DEPTH * (LEFT + 1u), right);
    let pitch = width + 1u;
    if along_p {
        let block = block_of(e, width);
        let at = base + 4u * block.y * pitch + block.x;
        if 4u * e >= width * DEPTH { return; }
        sh_quads[at] = v[0];
        sh_quads[at + pitch] = v[1];
        sh_quads[at + 2u * pitch] = v[2];
        sh_quads[at + 3u * pitch] = v[3];
        return;
    }
    let at = base + e / width * pitch + e % width;
    let step = THREADS / width * pitch;
    sh_quads[at] = v[0];
    if THREADS < width * DEPTH { sh_quads[at + step] = v[1]; }
    if 2u * THREADS < width * DEPTH { sh_quads[at + 2u * step] = v[2]; }
    if 3u * THREADS < width * DEPTH { sh_quads[at + 3u * step] = v[3]; }
}

fn plus(b: Block, left: vec4<f32>, right: vec4<f32>) -> Block {
    return Block(
        fma(vec4(left.x), right, b.r0),
        fma(vec4(left.y), right, b.r1),
        fma(vec4(left.z), right, b.r2),
        fma(vec4(left.w), right, b.r3),
    );
}

// Computes the register tiles of a thread. It fetches the operands of the next round while it sums this one, to hide latency.
fn product(job: Job, row: u32, col: u32, thread: u32) -> Sums {
    let y = thread / X;
    let x = thread % X;
    let other = (thread + THREADS / 2u) % THREADS;
    let right_base = DEPTH * (LEFT + 1u);
    var sums = Sums();
    var left = fetch(job, false, row, 0u, thread);
    var right = fetch(job, true, col, 0u, other);
    for (var p0 = 0u; p0 < job.k; p0 += DEPTH) {
        stage(false, left, thread);
        stage(true, right, other);
        workgroupBarrier();
        left = fetch(job, false, row, p0 + DEPTH, thread);
        right = fetch(job, true, col, p0 + DEPTH, other);
        for (var p = 0u; p < DEPTH; p++) {
            let at_left = p * (LEFT + 1u) + y;
            let at_right = right_base + p * (RIGHT + 1u) + x;
            let l0 = sh_quads[at_left];
            let r0 = sh_quads[at_right];
            sums.b00 = plus(sums.b00, l0, r0);
            if ACROSS == 2u { sums.b01 = plus(sums.b01, l0, sh_quads[at_right + X]); }
            if DOWN == 2u {
                let l1 = sh_quads[at_left + Y];
                sums.b10 = plus(sums.b10, l1, r0);
                if ACROSS == 2u { sums.b11 = plus(sums.b11, l1, sh_quads[at_right + X]); }
            }
        }
        workgroupBarrier();
    }
    return sums;
}

fn store_block(job: Job, i: u32, q: u32, b: Block) {
    if q >= quads(job.n) { return; }
    if i < job.m { store(job, i, q, b.r0); }
    if i + 1u < job.m { store(job, i + 1u, q, b.r1); }
    if i + 2u < job.m { store(job, i + 2u, q, b.r2); }
    if i + 3u < job.m { store(job, i + 3u, q, b.r3); }
}

// Computes and stores one tile. KERNEL is replaced by the kernel's name.
//
// Built-in values are separate parameters in every kernel. If they were members of one struct, `index` would make `group` count as
// non-uniform, and WGSL allows barriers in uniform control flow only.
@compute @workgroup_size(X, Y)
fn KERNEL(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let number = tile_number(group, groups);
    if number >= launch.tiles { return; }
    let job = jobs[job_of(number)];
    let row = (number - job.first) / job.across * 4u * LEFT;
    let col = (number - job.first) % job.across * 4u * RIGHT;
    let sums = product(job, row, col, index);
    let i = row + 4u * (index / X);
    let q = col / 4u + index % X;
    store_block(job, i, q, sums.b00);
    if ACROSS == 2u { store_block(job, i, q + X, sums.b01); }
    if DOWN == 2u { store_block(job, i + 4u * Y, q, sums.b10); }
    if DOWN == 2u && ACROSS == 2u { store_block(job, i + 4u * Y, q + X, sums.b11); }
}
