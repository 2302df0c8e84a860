// One launch computes several slots, with one job per slot. This file defines the job table and finds the job of a work
// group. Twin: the tables in src/device/gpu/job_table.rs.
//
// Rows of every array are padded with zeros to whole quads of four values. Offsets are counted in quads.

struct Job {
    m: u32,       // rows of the result; for an elementwise job, number of quads
    n: u32,       // columns of the result
    k: u32,       // inner dimension of a product; other kernels give it another meaning
    left: u32,    // offset of the left operand
    right: u32,   // offset of the right operand
    bias: u32,    // offset of the biases that a forward product adds, or NONE
    rows: u32,    // elementwise on connections: quads of the matrix, behind which the biases lie; on units: positions
    variant: u32, // index of the generated operands and epilogue of this job
    first: u32,   // index of its first tile within the launch
    across: u32,  // tiles per row of tiles
    o: array<u32, 14>, // offsets of the slots that the epilogue reads and writes
}

struct Launch {
    first: u32,  // index of its first job in `jobs`
    jobs: u32,   // number of jobs
    tiles: u32,  // number of tiles of all jobs
    flags: u32,  // unused
}

const NONE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> launch: Launch;
@group(0) @binding(1) var<storage, read> jobs: array<Job>; // jobs of all launches of a program
// This update's random key (two words), then the bits of the rule's parameters as float32: [2 + parameters].
@group(0) @binding(2) var<storage, read> now: array<u32>;

// Parameter i of the rule (alpha, gamma, ...), in all four lanes.
fn param(i: u32) -> vec4<f32> {
    return vec4(bitcast<f32>(now[i + 2u]));
}

// Number of quads for n values.
fn quads(n: u32) -> u32 {
    return (n + 3u) / 4u;
}

// Which lanes of quad `q` of a row hold one of its n values, and not padding.
fn inside(q: u32, n: u32) -> vec4<bool> {
    return vec4(4u * q) + vec4(0u, 1u, 2u, 3u) < vec4(n);
}

// The tile of this work group. In the last row of a grid folded to two dimensions it may lie beyond the last tile.
fn tile_number(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// The index of the job that a tile belongs to. Every thread does this search. The result depends only on the id of the
// work group, so it is uniform, as barriers require.
fn job_of(tile: u32) -> u32 {
    var j = launch.first;
    let end = launch.first + launch.jobs;
    loop {
        if j + 1u >= end || jobs[j + 1u].first > tile {
            break;
        }
        j += 1u;
    }
    return j;
}
