//! Assembles the text of shaders: shaders generated for the launches of a plan, and a few hand-written shaders.

use super::codegen::{Text, drive, entry};
use super::tile::{Cut, TILES, Units};
use crate::lower::Kind;
use crate::plan::activation::Activation;

/// How a kernel accesses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) enum Use {
    /// A uniform buffer with a dynamic offset.
    Uniform,
    /// A read-only storage buffer.
    Read,
    /// A storage buffer that is written.
    Write,
}

use Use::{Read, Uniform, Write};

/// A shader: all inputs from which a pipeline is compiled. Rules with equal shaders share a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) struct Shader {
    /// The name of its entry point.
    pub(in crate::device::gpu) name: &'static str,
    /// The complete WGSL text.
    pub(in crate::device::gpu) source: String,
    /// Bindings 0, 1, … of bind group 0.
    pub(in crate::device::gpu) uses: Vec<Use>,
    /// How a matrix product is divided into work groups; `None` for other kernels.
    pub(in crate::device::gpu) cut: Option<Cut>,
}

const ACTIVATION: &str = include_str!("../../../shaders/shared/activation.wgsl");
const ELEMENTS: &str = include_str!("../../../shaders/shared/elements.wgsl");
const JOBS: &str = include_str!("../../../shaders/shared/jobs.wgsl");
const TILE: &str = include_str!("../../../shaders/shared/tile.wgsl");
const MATRIX_UNITS: &str = include_str!("../../../shaders/shared/units.wgsl");
const EMULATED: &str = include_str!("../../../shaders/shared/emulated.wgsl");
const COOPERATIVE: &str = include_str!("../../../shaders/shared/cooperative.wgsl");
const FRAGMENT_16: &str = include_str!("../../../shaders/shared/fragment16.wgsl");
const FRAGMENT_8: &str = include_str!("../../../shaders/shared/fragment8.wgsl");
const RANDOM: &str = include_str!("../../../shaders/shared/random.wgsl");
const DRAW: &str = include_str!("../../../shaders/draw.wgsl");
const POOL: &str = include_str!("../../../shaders/pool.wgsl");
const WINDOW: &str = include_str!("../../../shaders/window.wgsl");
const REDUCE: &str = include_str!("../../../shaders/reduce.wgsl");

impl Shader {
    /// The shader of a launch.
    pub(in crate::device::gpu) fn of(text: &Text, cut: Option<Cut>) -> Shader {
        let name = entry(text.kind);
        // `enable` must come first. Overrides that are computed from other overrides come last, because naga 30 rejects an override
        // after them. Therefore the text that uses the overrides of shared/cooperative follows that text.
        let (head, core): (&[&str], &[&str]) = match cut {
            None => (&[], &[]),
            Some(Cut::Tile(_)) => (&[], &[TILE]),
            Some(Cut::Units(Units { side: 16, .. })) => (&[FRAGMENT_16], &[COOPERATIVE, MATRIX_UNITS]),
            Some(Cut::Units(_)) => (&[FRAGMENT_8], &[COOPERATIVE, MATRIX_UNITS]),
            Some(Cut::Emulated(Units { side: 16, .. })) => (&["const FRAGMENT = 16u;\n"], &[COOPERATIVE, EMULATED]),
            Some(Cut::Emulated(_)) => (&["const FRAGMENT = 8u;\n"], &[COOPERATIVE, EMULATED]),
        };
        let source = match text.kind {
            Kind::Draw => [JOBS, ELEMENTS, RANDOM, DRAW].concat(),
            Kind::Reduce => [JOBS, REDUCE].concat(),
            Kind::Pool => [JOBS, ELEMENTS, POOL].concat(),
            Kind::FixedMap => [JOBS, ELEMENTS, &text.wgsl, WINDOW].concat(),
            _ if cut.is_none() => [ACTIVATION, JOBS, ELEMENTS, &text.wgsl].concat(),
            _ => {
                let parts = [head, &[ACTIVATION, JOBS, &text.wgsl], core].concat();
                parts.concat().replace("fn KERNEL(", &format!("fn {name}("))
            }
        };
        let storage = text.buffers.iter().map(|(_, written)| if *written { Write } else { Read });
        Shader { name, source, uses: [Uniform, Read, Read].into_iter().chain(storage).collect(), cut }
    }

    /// The shader that gathers a batch and applies `activation` to its inputs.
    pub(in crate::device::gpu) fn gather(activation: Activation) -> Shader {
        let source = include_str!("../../../shaders/gather.wgsl").replace("INPUT(", &format!("{}(", drive(activation)));
        let uses = vec![Uniform, Read, Read, Read, Read, Read, Write, Write, Write];
        Shader { name: "gather", source: [ACTIVATION, RANDOM, &source].concat(), uses, cut: None }
    }

    /// The shader that copies per-example values into a batch and back.
    pub(in crate::device::gpu) fn examples() -> Shader {
        let source = include_str!("../../../shaders/examples.wgsl").into();
        Shader { name: "examples", source, uses: vec![Uniform, Read, Write, Write], cut: None }
    }

    /// The shader that computes energy and classification errors of a batch.
    pub(in crate::device::gpu) fn score() -> Shader {
        let source = include_str!("../../../shaders/score.wgsl").into();
        Shader { name: "score", source, uses: vec![Uniform, Read, Read, Write], cut: None }
    }

    /// The shader that checks weights for NaN and infinity.
    pub(in crate::device::gpu) fn finite() -> Shader {
        let source = [JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")].concat();
        Shader { name: "finite", source, uses: vec![Uniform, Read, Read, Read, Write], cut: None }
    }

    /// The values of the pipeline-overridable constants.
    pub(in crate::device::gpu) fn constants(&self) -> Vec<(&'static str, f64)> {
        self.cut.map(Cut::constants).unwrap_or_default()
    }
}

/// A hash of the text of the matrix-product core and of the list of tiles, in hexadecimal. Tile timings measured under
/// another hash are invalid.
pub(in crate::device::gpu) fn shaders_hash() -> &'static str {
    use sha2::{Digest, Sha256};
    static HASH: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    HASH.get_or_init(|| {
        let mut hash = Sha256::new();
        [JOBS, TILE].iter().for_each(|text| hash.update(text));
        hash.update(format!("{TILES:?}"));
        crate::files::hex(&hash.finalize()[..8])
    })
}

#[cfg(test)]
mod tests;
