// Reduces units to one value per sample: sum, maximum, index of the first maximum, k-th largest value, or sum of
// squares. One thread per sample. A thread reads the positions in order, and the units of each position in order. The
// kernel also reduces the rows of a weight matrix; each row then takes the place of a sample. Twin: `reduce` in
// src/device/cpu/job.rs. Uses shared/jobs.
//
// job: m = samples, n = units, rows = positions, left = offset of the operand, k = 0 sum, 1 maximum, 2 index of the first maximum,
// 3 k-th largest, 4 sum of squares; o[0] = offset of the result, o[1] = the k of the k-th largest. A job takes ceil(m / 64) work groups.

// Each buffer holds all slots of a family, with rows padded to whole quads.
@group(0) @binding(3) var<storage, read> units: array<f32>;         // [samples · positions, n] per slot
@group(0) @binding(4) var<storage, read_write> samples: array<f32>; // [samples] per slot

// Counts the values of the sample at `at` that are not less than `value`.
fn reaching(at: u32, rows: u32, n: u32, value: f32) -> u32 {
    var reach = 0u;
    for (var row = 0u; row < rows; row++) {
        for (var p = 0u; p < n; p++) { reach += select(0u, 1u, units[at + 4u * row * quads(n) + p] >= value); }
    }
    return reach;
}

@compute @workgroup_size(64)
fn reduce(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile = tile_number(group, groups);
    if tile >= launch.tiles { return; }
    let job = jobs[job_of(tile)];
    let i = (tile - job.first) * 64u + index;
    if i >= job.m { return; }
    let width = quads(job.n);
    let at = 4u * (job.left + i * job.rows * width);
    var sum = 0.0;
    var best = units[at];
    var least = best;
    var first = 0u;
    for (var row = 0u; row < job.rows; row++) {
        for (var j = 0u; j < job.n; j++) {
            let value = units[at + 4u * row * width + j];
            sum += select(value, value * value, job.k == 4u);
            if value > best { best = value; first = row * job.n + j; }
            least = min(least, value);
        }
    }
    var result = sum;
    if job.k == 1u { result = best; }
    if job.k == 2u { result = f32(first); }
    if job.k == 3u {
        // The k-th largest is the largest v such that at least k values of the sample are >= v. A sample with fewer than k values
        // gives its least value.
        result = least;
        var found = false;
        for (var row = 0u; row < job.rows; row++) {
            for (var j = 0u; j < job.n; j++) {
                let value = units[at + 4u * row * width + j];
                let reach = reaching(at, job.rows, job.n, value);
                if reach >= job.o[1] && (!found || value > result) {
                    result = value;
                    found = true;
                }
            }
        }
    }
    samples[4u * job.o[0] + i] = result;
}
