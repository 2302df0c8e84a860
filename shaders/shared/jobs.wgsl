// One launch works on several slots at once: its jobs, and which of them a workgroup serves.
// Twin of the tables in src/device/gpu/job_table.rs.
//
// Rows of every array are padded with zeros to whole quads, of four numbers. Offsets count quads.

struct Job {
    m: u32,       // rows of the result, or quads of an elementwise job
    n: u32,       // columns of the result
    k: u32,       // length of the sums
    left: u32,    // offset of the left operand
    right: u32,   // offset of the right operand
    bias: u32,    // offset of the biases that a prediction adds, or NONE
    rows: u32,    // of an elementwise job on connections: the quads of the matrix, before those of the biases
    variant: u32, // which operands and ends of this launch's
    first: u32,   // first tile of this job within the launch
    across: u32,  // tiles in a row of tiles
    o: array<u32, 14>, // offsets of the slots that the ends touch
}

struct Launch {
    first: u32,  // first job
    jobs: u32,   // number of jobs
    tiles: u32,  // number of tiles of all jobs
    flags: u32,  // meaning by kernel
}

const NONE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> launch: Launch;
@group(0) @binding(1) var<storage, read> jobs: array<Job>;
// Of this update: two words that random numbers are keyed by, then the bits of the rule's numbers.
@group(0) @binding(2) var<storage, read> now: array<u32>;

// Number i of the rule's (alpha, gamma, ...).
fn param(i: u32) -> vec4<f32> {
    return vec4(bitcast<f32>(now[i + 2u]));
}

// Quads that n numbers take.
fn quads(n: u32) -> u32 {
    return (n + 3u) / 4u;
}

// Which numbers of the quad `q` of a row lie among its n, and are not padding.
fn inside(q: u32, n: u32) -> vec4<bool> {
    return vec4(4u * q) + vec4(0u, 1u, 2u, 3u) < vec4(n);
}

// The tile of this workgroup, of `groups` in all; past the last one in the final row of a folded grid.
fn tile_number(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// The job that a tile belongs to. Every thread looks it up: from the workgroup's own number it is uniform, as barriers demand.
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
