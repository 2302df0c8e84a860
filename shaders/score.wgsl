// Energy and classification errors of a batch of predictions, summed over each work group of 64 samples. One thread per sample. Real
// targets have no classification errors.
// Twin: src/device/cpu/score.rs.

struct Batch {
    base: u32,    // index of the batch's first sample
    batch: u32,   // samples
    count: u32,   // samples of the set: rows beyond it do not count
    outputs: u32, // n^0
    out: u32,     // index in `partial` of the first work group
    pitch: u32,   // row stride of mu, in values
    mu: u32,      // offset of mu^0 in its buffer, in values
    entropy: u32, // 1 for cross-entropy, 0 for squared error
    off: f32,     // target of every class but the label's
    on: f32,      // target of the label's class
    values: u32,  // 1 for real targets, 0 for labels
    s1: u32,
}

@group(0) @binding(0) var<uniform> take: Batch;
@group(0) @binding(1) var<storage, read> labels: array<u32>;              // [count], or bits of real targets [count, pitch]
@group(0) @binding(2) var<storage, read> mu: array<f32>;                  // mu^0 [batch, outputs] at `mu`, with row stride `pitch`
@group(0) @binding(3) var<storage, read_write> partial: array<vec2<u32>>; // (bits of the energy, errors) per work group

var<workgroup> sh_energy: array<f32, 64>;
var<workgroup> sh_errors: array<u32, 64>;

@compute @workgroup_size(64)
fn score(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let row = group.x * 64u + local.x;
    var energy = 0.0;
    var wrong = 0u;
    if row < take.batch && take.base + row < take.count && take.values == 1u {
        for (var j = 0u; j < take.outputs; j++) {
            let difference = bitcast<f32>(labels[(take.base + row) * take.pitch + j]) - mu[take.mu + row * take.pitch + j];
            energy += 0.5 * difference * difference;
        }
    } else if row < take.batch && take.base + row < take.count {
        let label = labels[take.base + row];
        var best = 0u;
        let at = take.mu + row * take.pitch;
        var top = mu[at];
        var finite = true;
        for (var j = 0u; j < take.outputs; j++) {
            let value = mu[at + j];
            let difference = select(take.off, take.on, j == label) - value;
            if take.entropy == 0u { energy += 0.5 * difference * difference; }
            if value > top { top = value; best = j; }
            // Tests the bits: a WGSL compiler may assume that NaN does not occur.
            finite = finite && (bitcast<u32>(value) & 0x7f800000u) != 0x7f800000u;
        }
        if take.entropy == 1u {
            // -log softmax; subtracting the largest output keeps exp from overflowing.
            var sum = 0.0;
            for (var j = 0u; j < take.outputs; j++) { sum += exp(mu[at + j] - top); }
            energy = log(sum) - (mu[at + label] - top);
        }
        wrong = select(1u, 0u, best == label && finite);
    }
    sh_energy[local.x] = energy;
    sh_errors[local.x] = wrong;
    for (var width = 32u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if local.x < width {
            sh_energy[local.x] += sh_energy[local.x + width];
            sh_errors[local.x] += sh_errors[local.x + width];
        }
    }
    if local.x == 0u { partial[take.out + group.x] = vec2(bitcast<u32>(sh_energy[0]), sh_errors[0]); }
}
