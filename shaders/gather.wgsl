// A batch from the resident data set: f(x^lmax) from packed pixels, x^0 from the labels.
// Twin: src/device/cpu/gather.rs. Uses shared/activation (identity unless the input has an activation).

struct Batch {
    base: u32,    // where in `order` the batch begins
    batch: u32,   // rows
    count: u32,   // samples in `order`: rows past it repeat the last one
    pixels: u32,  // n^lmax
    words: u32,   // 32-bit words an image takes
    outputs: u32, // n^0
    input: u32,   // offset of f(x^lmax) in h
    spare: u32,
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> images: array<u32>;      // 4 pixels a word, an image on `words` words
@group(0) @binding(2) var<storage, read> labels: array<u32>;      // a label a sample
@group(0) @binding(3) var<storage, read> order: array<u32>;       // sample numbers
@group(0) @binding(4) var<storage, read> scale: array<f32>;       // v / 255 for v = 0 .. 255, correctly rounded
@group(0) @binding(5) var<storage, read_write> h: array<f32>;     // f(x^lmax) [batch, pixels] at `input`
@group(0) @binding(6) var<storage, read_write> x: array<f32>;     // x^0 [batch, outputs] at 0

@compute @workgroup_size(256)
fn gather(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let i = (group.y * groups.x + group.x) * 256u + local.x;
    let image_threads = take.batch * take.words;
    if i < image_threads {
        let row = i / take.words;
        let word = i % take.words;
        let sample = order[min(take.base + row, take.count - 1u)];
        let packed = images[sample * take.words + word];
        for (var b = 0u; b < 4u; b++) {
            let pixel = 4u * word + b;
            if pixel < take.pixels {
                h[take.input + row * take.pixels + pixel] = f(scale[(packed >> (8u * b)) & 255u]);
            }
        }
    } else if i < image_threads + take.batch * take.outputs {
        let unit = i - image_threads;
        let sample = order[min(take.base + unit / take.outputs, take.count - 1u)];
        x[unit] = select(0.0, 1.0, labels[sample] == unit % take.outputs);
    }
}
