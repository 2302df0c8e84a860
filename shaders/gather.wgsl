// A batch from the resident data set: the inputs from packed pixels, changed where that is asked for, through INPUT (a function of
// shared/activation), and the targets from the labels; and what this update's numbers are. Twins: src/device/cpu/gather.rs,
// src/plan/augment.rs. Uses shared/activation, shared/random.
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
    plane: u32,   // pixels that have one scale: those of a channel, or all
    rows: u32,    // of an image
    cols: u32,
    flip: u32,    // 1 where images are mirrored half of the time
    crop: u32,    // pixels of 0 around them, before they are cut to their size again
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> images: array<u32>;        // 4 pixels a word, an image on `words` words
@group(0) @binding(2) var<storage, read> labels: array<u32>;        // a label a sample
@group(0) @binding(3) var<storage, read> order: array<u32>;         // sample numbers
@group(0) @binding(4) var<storage, read> scale: array<f32>;         // (v / 255 - mean) / sd for v = 0 .. 255, for each scale, made on the host
@group(0) @binding(5) var<storage, read> all: array<u32>;           // the numbers of each update of a submission
@group(0) @binding(6) var<storage, read_write> now: array<u32>;     // those of this one
@group(0) @binding(7) var<storage, read_write> h: array<vec4<f32>>; // inputs [batch, pixels] at `input`
@group(0) @binding(8) var<storage, read_write> x: array<vec4<f32>>; // targets [batch, outputs] at `goal`

const LANES = vec4<u32>(0u, 1u, 2u, 3u);
const AUGMENT = 0xffffffffu; // the stream of these random numbers

// What an image gets: whether it is mirrored, and where it is cut out of itself with its border.
struct View {
    mirrored: bool,
    down: u32,
    right: u32,
}

// Of the image in row `row` of a batch, by the update's key.
fn view(row: u32) -> View {
    let numbers = take.base / take.batch * take.numbers;
    let bits = threefry(vec2(all[numbers], all[numbers + 1u]), vec2(row, AUGMENT));
    let places = 2u * take.crop + 1u;
    return View(take.flip == 1u && (bits.x >> 31u) == 1u, ((bits.y >> 16u) * places) >> 16u, ((bits.y & 0xffffu) * places) >> 16u);
}

// Pixel `column` of the changed image.
fn changed(sample: u32, seen: View, column: u32) -> u32 {
    let row = column / take.cols;
    let x0 = column % take.cols;
    let y = row % take.rows + seen.down;
    let x = select(x0, take.cols - 1u - x0, seen.mirrored) + seen.right;
    if y < take.crop || y >= take.crop + take.rows || x < take.crop || x >= take.crop + take.cols { return 0u; }
    let byte = (row / take.rows * take.rows + y - take.crop) * take.cols + x - take.crop;
    return (images[sample * take.words + byte / 4u] >> (8u * (byte % 4u))) & 255u;
}

// Four pixels from `column` on, in bytes; those beyond the image are 0.
fn quad(sample: u32, row: u32, column: u32) -> vec4<u32> {
    var bytes = (vec4(images[sample * take.words + column / 4u]) >> (8u * LANES)) & vec4(255u);
    if take.flip == 1u || take.crop > 0u {
        let seen = view(row);
        for (var lane = 0u; lane < 4u; lane++) {
            if column + lane < take.pixels { bytes[lane] = changed(sample, seen, column + lane); }
        }
    }
    return bytes;
}

// Where the scale of a pixel begins.
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
        let at = quad(sample, i / take.words, column)
            + vec4(channel(column), channel(column + 1u), channel(column + 2u), channel(column + 3u));
        let pixels = INPUT(vec4(scale[at.x], scale[at.y], scale[at.z], scale[at.w]));
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
