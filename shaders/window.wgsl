// Fixed maps over grids and their transposes: patches (im2col), average pooling, max pooling, flattening, and selection of a range of
// units. One thread per quad of the result; every value is computed by itself. Twin: src/device/cpu/fixed_maps.rs.
// Uses shared/jobs, shared/elements, and the generated functions `sent` (operand), `decides` (forward input) and `put` (result).
//
// Forward, the operand lies on the grid and the result has one row per sample and window position. Backward, the operand has one row
// per sample and window position and the result lies on the grid.
//
// job: m = quads of the result, n = its columns; k = 0 patches, 1 average, 2 maximum, 3 range of units, plus 4 if backward;
// left = offset of the operand; right = offset of the forward input, for a maximum backward; o[0] = offset of the result;
// o[1..3] = channels, height and width of the grid; o[4], o[5] = height and width of the window; o[6] = stride; o[7] = padding;
// o[8], o[9] = rows and columns of window positions; o[10] = 1 if the grid is an image in one row [channel, y, x], 0 if it has a row
// [channel] per position; o[11] = columns of the operand; o[12] = first unit of the range, whose length is o[5]

const PATCHES = 0u;
const AVERAGE = 1u;
const MAXIMUM = 2u;
const PART = 3u;
const BACK = 4u;

// A position of a sample: on the grid, or of a window.
struct Place {
    sample: u32,
    y: u32,
    x: u32,
}

fn sent_number(job: Job, row: u32, column: u32) -> f32 {
    return sent(job.left + row * quads(job.o[11]) + column / 4u)[column % 4u];
}

// Row and column of a value of the grid.
fn on_grid(job: Job, at: Place, channel: u32) -> vec2<u32> {
    let place = at.y * job.o[3] + at.x;
    let places = job.o[2] * job.o[3];
    return select(vec2(at.sample * places + place, channel), vec2(at.sample, channel * places + place), job.o[10] == 1u);
}

fn grid_number(job: Job, at: Place, channel: u32) -> f32 {
    let where_ = on_grid(job, at, channel);
    return sent_number(job, where_.x, where_.y);
}

// A value of the forward input, read in the backward pass.
fn decider(job: Job, at: Place, channel: u32) -> f32 {
    let where_ = on_grid(job, at, channel);
    let columns = select(job.o[1], job.n, job.o[10] == 1u);
    return decides(job.right + where_.x * quads(columns) + where_.y / 4u)[where_.y % 4u];
}

// Value `column` of the patch at a window position; columns are [row, column, channel] with the channel fastest.
fn patch_number(job: Job, at: Place, column: u32) -> f32 {
    let tap = column / job.o[1];
    let y = at.y * job.o[6] + tap / job.o[5];
    let x = at.x * job.o[6] + tap % job.o[5];
    let padding = job.o[7];
    if y < padding || x < padding || y >= job.o[2] + padding || x >= job.o[3] + padding { return 0.0; }
    return grid_number(job, Place(at.sample, y - padding, x - padding), column % job.o[1]);
}

fn pooled(job: Job, at: Place, channel: u32) -> f32 {
    let start = Place(at.sample, at.y * job.o[6], at.x * job.o[6]);
    var sum = 0.0;
    var most = grid_number(job, start, channel);
    for (var ky = 0u; ky < job.o[4]; ky++) {
        for (var kx = 0u; kx < job.o[5]; kx++) {
            let value = grid_number(job, Place(at.sample, start.y + ky, start.x + kx), channel);
            sum += value;
            // NaN counts as the maximum, so that it propagates.
            most = select(most, value, value > most || value != value);
        }
    }
    return select(most, sum * share(job), job.k == AVERAGE);
}

fn share(job: Job) -> f32 {
    return 1.0 / f32(job.o[4] * job.o[5]);
}

// Whether a position of the grid holds the first maximum of a window.
fn is_first(job: Job, at: Place, window: vec2<u32>, channel: u32) -> bool {
    let own = decider(job, at, channel);
    var first = true;
    for (var ky = 0u; ky < job.o[4]; ky++) {
        for (var kx = 0u; kx < job.o[5]; kx++) {
            let other = Place(at.sample, window.x * job.o[6] + ky, window.y * job.o[6] + kx);
            let value = decider(job, other, channel);
            let earlier = other.y < at.y || (other.y == at.y && other.x < at.x);
            first = first && !(value > own) && !(earlier && value == own);
        }
    }
    return first;
}

// Index of the first window that contains row or column `at` of the grid.
fn first_above(job: Job, at: u32, kernel: u32) -> u32 {
    let end = at + job.o[7] + 1u;
    return (max(end, kernel) - kernel + job.o[6] - 1u) / job.o[6];
}

// The gradient of a value of the grid: a sum over the windows that contain it, in row-major order.
fn back_number(job: Job, at: Place, channel: u32) -> f32 {
    let how = job.k - BACK;
    let last = min((vec2(at.y, at.x) + job.o[7]) / job.o[6] + 1u, vec2(job.o[8], job.o[9]));
    var sum = 0.0;
    for (var oy = first_above(job, at.y, job.o[4]); oy < last.x; oy++) {
        for (var ox = first_above(job, at.x, job.o[5]); ox < last.y; ox++) {
            let tap = (at.y + job.o[7] - oy * job.o[6]) * job.o[5] + at.x + job.o[7] - ox * job.o[6];
            let column = select(channel, tap * job.o[1] + channel, how == PATCHES);
            let error = sent_number(job, (at.sample * job.o[8] + oy) * job.o[9] + ox, column);
            var counts = true;
            if how == MAXIMUM { counts = is_first(job, at, vec2(oy, ox), channel); }
            sum += select(0.0, error, counts);
        }
    }
    if how == AVERAGE { sum *= share(job); }
    return sum;
}

// The range of o[5] units from o[12] on, and its transpose.
fn part_number(job: Job, row: u32, column: u32) -> f32 {
    if job.k == PART { return sent_number(job, row, job.o[12] + column); }
    if column < job.o[12] || column >= job.o[12] + job.o[5] { return 0.0; }
    return sent_number(job, row, column - job.o[12]);
}

fn number(job: Job, row: u32, column: u32) -> f32 {
    if job.k % BACK == PART { return part_number(job, row, column); }
    if job.k < BACK {
        let place = row % (job.o[8] * job.o[9]);
        let at = Place(row / (job.o[8] * job.o[9]), place / job.o[9], place % job.o[9]);
        if job.k == PATCHES { return patch_number(job, at, column); }
        return pooled(job, at, column);
    }
    let places = job.o[2] * job.o[3];
    if job.o[10] == 1u {
        let place = column % places;
        return back_number(job, Place(row, place / job.o[3], place % job.o[3]), column / places);
    }
    let place = row % places;
    return back_number(job, Place(row / places, place / job.o[3], place % job.o[3]), column);
}

@compute @workgroup_size(256)
fn carry(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let element = element(tile_number(group, groups), index);
    if !element.exists { return; }
    let job = element.job;
    let row = element.i / quads(job.n);
    let q = element.i % quads(job.n);
    var values = vec4(0.0);
    for (var lane = 0u; lane < 4u; lane++) {
        if 4u * q + lane < job.n { values[lane] = number(job, row, 4u * q + lane); }
    }
    put(job.o[0] + element.i, values);
}
