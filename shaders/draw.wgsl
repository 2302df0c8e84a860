// Draws random values, uniform in [0, 1) or nearly normal. One thread per quad. Twin: Counter in src/random.rs.
// Uses shared/jobs, shared/elements, shared/random.
//
// job: the result has m quads from offset left, [batch · positions, n]; k = random stream; rows = 1 for nearly normal values

// All slots of a family: [batch · positions, n] per slot, with rows padded to whole quads.
@group(0) @binding(3) var<storage, read_write> units: array<vec4<f32>>;

// sqrt(3) / 2^16: scales the sum of four uniform 16-bit integers, minus its mean, to variance 1.
const BELL = 2.6428997e-5f;

@compute @workgroup_size(256)
fn draw(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let element = element(tile_number(group, groups), index);
    if !element.exists { return; }
    let job = element.job;
    let sample = element.i / quads(job.n);
    let q = element.i % quads(job.n);
    var values = vec4(0.0);
    for (var lane = 0u; lane < 4u; lane++) {
        if 4u * q + lane < job.n {
            let bits = threefry(vec2(now[0], now[1]), vec2(sample * job.n + 4u * q + lane, job.k));
            if job.rows == 1u {
                let halves = (bits & vec2(0xffffu)) + (bits >> vec2(16u));
                values[lane] = f32(i32(halves.x + halves.y) - 131070) * BELL;
            } else {
                values[lane] = f32(bits.x >> 8u) * 5.9604644775390625e-8;
            }
        }
    }
    units[job.left + element.i] = values;
}
