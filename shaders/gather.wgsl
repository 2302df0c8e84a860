// Gathers a batch from the resident data set. Inputs are numbers, or unpacked from pixels, augmented if the plan asks for it, and
// scaled; they are passed through INPUT (an activation of shared/activation). Targets are real values or made from the labels. The
// kernel also copies this update's parameters to `now`. One thread per quad. Twins: src/device/cpu/gather.rs, src/plan/augment.rs.
// Uses shared/activation, shared/random.
//
// Rows of h and x are padded with zeros to whole quads, and each packed image to whole words.

struct Batch {
    base: u32,    // index of the batch's first sample in `order`
    batch: u32,   // samples
    count: u32,   // length of `order`: rows beyond it repeat the last sample
    pixels: u32,  // n^lmax
    words: u32,   // 32-bit words per image, and quads per row of h
    outputs: u32, // n^0
    input: u32,   // offset of the inputs in their buffer, in quads
    numbers: u32, // words per update in `all`; those of this update begin at base / batch * numbers
    goal: u32,    // offset of the targets in their buffer, in quads
    off: f32,     // target of all other classes
    on: f32,      // target of the label's class
    plane: u32,   // number of pixels with the same mean and sd: one channel, or all
    rows: u32,    // height of an image
    cols: u32,    // width of an image
    flags: u32,   // bit 0: each image is mirrored with probability 1/2; bit 1: inputs are numbers; bit 2: targets are real values
    crop: u32,    // width of the zero border from which an image of the original size is cropped
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> images: array<u32>;        // [samples, words], 4 pixels (bytes) per word; or bits of numbers [samples, 4 words]
@group(0) @binding(2) var<storage, read> labels: array<u32>;        // [samples]; or bits of real targets, [samples, quads of outputs * 4]
@group(0) @binding(3) var<storage, read> order: array<u32>;         // sample indices, [count]
@group(0) @binding(4) var<storage, read> scale: array<f32>;         // (v / 255 - mean) / sd of byte v, [scales, 256]
@group(0) @binding(5) var<storage, read> all: array<u32>;           // random key and parameters, [updates, numbers]
@group(0) @binding(6) var<storage, read_write> now: array<u32>;     // those of this update only, [numbers]
@group(0) @binding(7) var<storage, read_write> h: array<vec4<f32>>; // inputs [batch, pixels] at `input`
@group(0) @binding(8) var<storage, read_write> x: array<vec4<f32>>; // targets [batch, outputs] at `goal`

const LANES = vec4<u32>(0u, 1u, 2u, 3u);
const AUGMENT = 0xffffffffu; // random stream of the augmentation
const MIRRORED = 1u;
const NUMBERS = 2u;
const VALUES = 4u;

// The augmentation of an image: whether it is mirrored, and the offset of the crop within the bordered image.
struct View {
    mirrored: bool,
    down: u32,
    right: u32,
}

// Draws the augmentation of row `row` of the batch from the update's random key.
fn view(row: u32) -> View {
    let numbers = take.base / take.batch * take.numbers;
    let bits = threefry(vec2(all[numbers], all[numbers + 1u]), vec2(row, AUGMENT));
    let places = 2u * take.crop + 1u;
    return View((take.flags & MIRRORED) != 0u && (bits.x >> 31u) == 1u, ((bits.y >> 16u) * places) >> 16u, ((bits.y & 0xffffu) * places) >> 16u);
}

// Pixel `column` of the augmented image; `column` counts [channels, rows, cols] in row-major order.
fn changed(sample: u32, seen: View, column: u32) -> u32 {
    let row = column / take.cols;
    let x0 = column % take.cols;
    let y = row % take.rows + seen.down;
    let x = select(x0, take.cols - 1u - x0, seen.mirrored) + seen.right;
    if y < take.crop || y >= take.crop + take.rows || x < take.crop || x >= take.crop + take.cols { return 0u; }
    let byte = (row / take.rows * take.rows + y - take.crop) * take.cols + x - take.crop;
    return (images[sample * take.words + byte / 4u] >> (8u * (byte % 4u))) & 255u;
}

// The four pixels from `column` on, 0 .. 255; 0 beyond the end of the image.
fn quad(sample: u32, row: u32, column: u32) -> vec4<u32> {
    var bytes = (vec4(images[sample * take.words + column / 4u]) >> (8u * LANES)) & vec4(255u);
    if (take.flags & MIRRORED) != 0u || take.crop > 0u {
        let seen = view(row);
        for (var lane = 0u; lane < 4u; lane++) {
            if column + lane < take.pixels { bytes[lane] = changed(sample, seen, column + lane); }
        }
    }
    return bytes;
}

// The inputs of a sample from `column` on, before f.
fn inputs(sample: u32, row: u32, column: u32) -> vec4<f32> {
    if (take.flags & NUMBERS) != 0u {
        let first = 4u * sample * take.words + column;
        return bitcast<vec4<f32>>(vec4(images[first], images[first + 1u], images[first + 2u], images[first + 3u]));
    }
    let at = quad(sample, row, column)
        + vec4(channel(column), channel(column + 1u), channel(column + 2u), channel(column + 3u));
    return vec4(scale[at.x], scale[at.y], scale[at.z], scale[at.w]);
}

// Offset in `scale` of a pixel's table of 256 values.
fn channel(column: u32) -> u32 {
    return 256u * (min(column, take.pixels - 1u) / take.plane);
}

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
        let column = 4u * word;
        let pixels = INPUT(inputs(sample, i / take.words, column));
        // f(0) may differ from 0, but the padding must be 0.
        h[take.input + i] = select(vec4(0.0), pixels, vec4(4u * word) + LANES < vec4(take.pixels));
    } else if i < image_threads + take.batch * width {
        let unit = i - image_threads;
        let sample = order[min(take.base + unit / width, take.count - 1u)];
        let column = vec4(unit % width * 4u) + LANES;
        if (take.flags & VALUES) != 0u {
            let first = 4u * (sample * width + unit % width);
            x[take.goal + unit] = bitcast<vec4<f32>>(vec4(labels[first], labels[first + 1u], labels[first + 2u], labels[first + 3u]));
            return;
        }
        let held = select(vec4(take.off), vec4(take.on), vec4(labels[sample]) == column);
        x[take.goal + unit] = select(vec4(0.0), held, column < vec4(take.outputs));
    }
}
