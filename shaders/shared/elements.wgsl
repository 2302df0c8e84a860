// The prologue of elementwise kernels: a thread a quad, 256 threads a workgroup. Uses shared/jobs.

struct Element {
    job: Job,
    i: u32,        // quad of the job
    exists: bool,  // whether the job has it
}

// The quad of thread `index` of a tile.
fn element(tile: u32, index: u32) -> Element {
    // Past the last tile any job will do: what does not exist is left alone.
    let job = jobs[job_of(min(tile, launch.tiles - 1u))];
    let i = (tile - job.first) * 256u + index;
    return Element(job, i, tile < launch.tiles && i < job.m);
}
