// The prologue of elementwise kernels: one thread per quad, 256 threads per work group. Uses shared/jobs.

struct Element {
    job: Job,
    i: u32,        // index of the quad within the job
    exists: bool,  // whether the job has that many quads
}

// Finds the quad of thread `index` of a tile.
fn element(tile: u32, index: u32) -> Element {
    // Beyond the last tile the choice of job does not matter: its threads find `exists` false and return.
    let job = jobs[job_of(min(tile, launch.tiles - 1u))];
    let i = (tile - job.first) * 256u + index;
    return Element(job, i, tile < launch.tiles && i < job.m);
}
