// A batch from the resident data set: the inputs from packed pixels, through INPUT (a function of shared/activation), and
// the targets from the labels; and what this update's numbers are. Twin: src/device/cpu/gather.rs.
//
// Rows of h and x are padded with zeros to whole quads, as those of the packed images are.

struct Batch {
    base: u32,    // where in `order` the batch begins
    batch: u32,   // rows
    count: u32,   // samples in `order`: rows past it repeat the last one
    pixels: u32,  // n^lmax
    words: u32,   // 32-bit words an image takes, and quads a row of h
    outputs: u32, // n^0
    input: u32,   // offset of the inputs in their buffer, in quads
    numbers: u32, // words of this update's numbers, in `all` from base / batch * numbers on
    goal: u32,    // offset of the targets in their buffer, in quads
    off: f32,     // what the output is held to at other classes than the label's
    on: f32,      // and at the label's
    s1: u32,
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> images: array<u32>;        // 4 pixels a word, an image on `words` words
@group(0) @binding(2) var<storage, read> labels: array<u32>;        // a label a sample
@group(0) @binding(3) var<storage, read> order: array<u32>;         // sample numbers
@group(0) @binding(4) var<storage, read> scale: array<f32>;         // (v / 255 - mean) / sd for v = 0 .. 255, made on the host
@group(0) @binding(5) var<storage, read> all: array<u32>;           // the numbers of each update of a submission
@group(0) @binding(6) var<storage, read_write> now: array<u32>;     // those of this one
@group(0) @binding(7) var<storage, read_write> h: array<vec4<f32>>; // inputs [batch, pixels] at `input`
@group(0) @binding(8) var<storage, read_write> x: array<vec4<f32>>; // targets [batch, outputs] at `goal`

const LANES = vec4<u32>(0u, 1u, 2u, 3u);

@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let i = (group.y * groups.x + group.x) * 256u + index;
    if i < take.numbers { now[i] = all[take.base / take.batch * take.numbers + i]; }
    let image_threads = take.batch * take.words;
    let width = (take.outputs + 3u) / 4u;
    if i < image_threads {
        let word = i % take.words;
        let sample = order[min(take.base + i / take.words, take.count - 1u)];
        let bytes = (vec4(images[sample * take.words + word]) >> (8u * LANES)) & vec4(255u);
        let pixels = INPUT(vec4(scale[bytes.x], scale[bytes.y], scale[bytes.z], scale[bytes.w]));
        // f(0) need not be 0, and padding has to be.
        h[take.input + i] = select(vec4(0.0), pixels, vec4(4u * word) + LANES < vec4(take.pixels));
    } else if i < image_threads + take.batch * width {
        let unit = i - image_threads;
        let sample = order[min(take.base + unit / width, take.count - 1u)];
        let column = vec4(unit % width * 4u) + LANES;
        let held = select(vec4(take.off), vec4(take.on), vec4(labels[sample]) == column);
        x[take.goal + unit] = select(vec4(0.0), held, column < vec4(take.outputs));
    }
}
