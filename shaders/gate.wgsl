// phi of Section 4: a unit fires where eps != 0, or with FEEDBACK where a spike of layer l-1 reaches it, after at
// least t_d silent steps. Twin: src/device/cpu/gate.rs. Uses shared/jobs.
//
// `spike` holds, for each layer and sample, t + 1 of the layer's last spike (0 for none). In one launch a layer
// reads what the one below it fired at t-1 while that one may write t: it fires in only one of the two, for
// t_d >= 1, and either value answers the question "at t-1?" alike.
// job: m = batch n^l numbers at out, n = n^l, k = t, left = spikes of layer l-1, right = those of layer l

@group(0) @binding(2) var<storage, read> eps: array<f32>;               // eps^l [batch, n^l], all layers
@group(0) @binding(3) var<storage, read_write> gated: array<f32>;       // phi^l * eps^l, likewise
@group(0) @binding(4) var<storage, read_write> quiet: array<u32>;       // silent steps up to t_d, likewise
@group(0) @binding(5) var<storage, read_write> spike: array<atomic<u32>>; // [lmax, batch]

const FIRST: u32 = 1u;
const FEEDBACK: u32 = 2u;
const TEACHER: u32 = 4u; // layer 0, which the teacher drives

@compute @workgroup_size(256)
fn gate(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let tile = tile_number(group, groups);
    if tile >= launch.tiles { return; }
    let job = jobs[job_of(tile)];
    let i = (tile - job.first) * 256u + local.x;
    if i >= job.m { return; }
    let at = job.out + i;
    let sample = i / job.n;
    let first = (job.flags & FIRST) != 0u;
    let error = eps[at];
    var active_unit = error != 0.0;
    if (job.flags & FEEDBACK) != 0u {
        if (job.flags & TEACHER) != 0u {
            active_unit = first;
        } else {
            active_unit = job.k > 0u && atomicLoad(&spike[job.left + sample]) == job.k;
        }
    }
    let silent = select(quiet[at], launch.td, first);
    let fires = active_unit && silent >= launch.td;
    gated[at] = select(0.0, error, fires);
    quiet[at] = select(min(silent + 1u, launch.td), 0u, active_unit);
    // With FEEDBACK a layer fires as one for a sample; otherwise nothing reads the spikes.
    if (job.flags & FEEDBACK) != 0u && (fires || first) {
        atomicStore(&spike[job.right + sample], select(0u, job.k + 1u, fires));
    }
}
