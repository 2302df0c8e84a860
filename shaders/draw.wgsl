// Random numbers, uniform in [0, 1) or bell-shaped, by Threefry-2x32 with 20 rounds (Salmon et al. 2011): integers alone, so the same bits
// on every device. Twin: Counter in src/random.rs. Uses shared/thread, shared/jobs, shared/elements.
//
// job: m quads at left, [batch, n]; k = the stream; rows = 1 for bell-shaped ones

@group(0) @binding(3) var<storage, read_write> units: array<vec4<f32>>; // [batch, n] in padded rows, all populations

const BELL = 2.6428997e-5f; // sqrt(3) / 2^16

fn rotate(x: u32, by: u32) -> u32 {
    return (x << by) | (x >> (32u - by));
}

fn mix(x: vec2<u32>, a: u32, b: u32, c: u32, d: u32) -> vec2<u32> {
    var v = x;
    v.x += v.y; v.y = rotate(v.y, a) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, b) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, c) ^ v.x;
    v.x += v.y; v.y = rotate(v.y, d) ^ v.x;
    return v;
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let last = key.x ^ key.y ^ 0x1bd11bdau;
    var v = counter + key;
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(key.y, last + 1u);
    v = mix(v, 17u, 29u, 16u, 24u) + vec2(last, key.x + 2u);
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(key.x, key.y + 3u);
    v = mix(v, 17u, 29u, 16u, 24u) + vec2(key.y, last + 4u);
    v = mix(v, 13u, 15u, 26u, 6u) + vec2(last, key.x + 5u);
    return v;
}

@compute @workgroup_size(256)
fn draw(thread: Thread) {
    let element = element(thread);
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
