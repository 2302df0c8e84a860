// phi of Section 4: a unit fires where eps != 0, or with FEEDBACK where a spike of layer l-1 reaches it, after at
// least t_d silent steps. Twin: src/device/cpu/gate.rs. Uses shared/jobs, shared/elements.
//
// `spike` holds, for each layer and sample, t + 1 of the layer's last spike (0 for none). In one launch a layer
// reads what the one below it fired at t-1 while that one may write t: it fires in only one of the two, for
// t_d >= 1, and either value answers the question "at t-1?" alike.
// job: m quads at out, [batch, n = n^l], k = t, left = spikes of layer l-1, right = those of layer l

@group(0) @binding(2) var<storage, read> eps: array<vec4<f32>>;           // eps^l [batch, n^l], all layers
@group(0) @binding(3) var<storage, read_write> gated: array<vec4<f32>>;   // phi^l * eps^l, likewise
@group(0) @binding(4) var<storage, read_write> quiet: array<vec4<u32>>;   // silent steps up to t_d, likewise
@group(0) @binding(5) var<storage, read_write> spike: array<atomic<u32>>; // [lmax, batch], in numbers

const FIRST: u32 = 1u;
const FEEDBACK: u32 = 2u;
const TEACHER: u32 = 4u; // layer 0, which the teacher drives

@compute @workgroup_size(256)
fn gate(thread: Thread) {
    let element = element(thread);
    if !element.exists { return; }
    let job = element.job;
    let at = job.out + element.i;
    let sample = element.i / quads(job.n);
    let first = (job.flags & FIRST) != 0u;
    let error = eps[at];
    var active_units = error != vec4(0.0);
    if (job.flags & FEEDBACK) != 0u {
        if (job.flags & TEACHER) != 0u {
            active_units = vec4(first);
        } else {
            active_units = vec4(job.k > 0u && atomicLoad(&spike[job.left + sample]) == job.k);
        }
    }
    let silent = select(quiet[at], vec4(launch.td), first);
    let fires = active_units & (silent >= vec4(launch.td));
    gated[at] = select(vec4(0.0), error, fires);
    quiet[at] = select(min(silent + 1u, vec4(launch.td)), vec4(0u), active_units);
    // With FEEDBACK a layer fires as one for a sample; otherwise nothing reads the spikes.
    if (job.flags & FEEDBACK) != 0u && (fires.x || first) {
        atomicStore(&spike[job.right + sample], select(0u, job.k + 1u, fires.x));
    }
}
