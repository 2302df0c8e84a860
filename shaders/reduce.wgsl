// A number a sample out of a number a unit: sum, maximum, number of the first maximum, k-th largest, sum of squares; a thread a sample,
// place after place, unit after unit. Twin: `reduce` in src/device/cpu/job.rs. Uses shared/jobs.
//
// job: m = batch, n = units, rows = places, left = what is reduced, k = how, o[0] = the result, o[1] = the k of the k-th largest;
// a launch has one workgroup of 64 samples after another for each job

@group(0) @binding(3) var<storage, read> units: array<f32>;         // [batch places, n] in padded rows, all populations
@group(0) @binding(4) var<storage, read_write> samples: array<f32>; // [batch], all populations

// How many numbers of a sample are as large as this one.
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
        // The largest of those that at least k others, itself among them, reach.
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
