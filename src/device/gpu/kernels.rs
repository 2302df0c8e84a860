//! Shaders as text: the generated ones of a plan's launches, and the few that are written by hand.

use super::codegen::{Text, drive, entry};
use super::tile::{Cut, TILES, Units};
use crate::lower::Kind;
use crate::plan::activation::Activation;

/// How a kernel uses a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) enum Use {
    /// A uniform, found by a dynamic offset.
    Uniform,
    /// Storage that is only read.
    Read,
    /// Storage that is written.
    Write,
}

use Use::{Read, Uniform, Write};

/// A shader: what makes a pipeline. The same shader is the same pipeline object, for every rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::device::gpu) struct Shader {
    /// Its entry point.
    pub(in crate::device::gpu) name: &'static str,
    /// The whole text.
    pub(in crate::device::gpu) source: String,
    /// Bindings 0, 1, … of group 0.
    pub(in crate::device::gpu) uses: Vec<Use>,
    /// How its products are cut up, if it makes any.
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
        // `enable` comes before everything else; overrides made of others come last (naga 30 fails on one after
        // them), so that what uses those of shared/cooperative stands behind it.
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

    /// The gathering of a batch, whose inputs pass through `activation`.
    pub(in crate::device::gpu) fn gather(activation: Activation) -> Shader {
        let source = include_str!("../../../shaders/gather.wgsl").replace("INPUT(", &format!("{}(", drive(activation)));
        let uses = vec![Uniform, Read, Read, Read, Read, Read, Write, Write, Write];
        Shader { name: "gather", source: [ACTIVATION, RANDOM, &source].concat(), uses, cut: None }
    }

    /// What each training example has for itself, to and fro.
    pub(in crate::device::gpu) fn examples() -> Shader {
        let source = include_str!("../../../shaders/examples.wgsl").into();
        Shader { name: "examples", source, uses: vec![Uniform, Read, Write, Write], cut: None }
    }

    /// The energy and errors of a batch.
    pub(in crate::device::gpu) fn score() -> Shader {
        let source = include_str!("../../../shaders/score.wgsl").into();
        Shader { name: "score", source, uses: vec![Uniform, Read, Read, Write], cut: None }
    }

    /// The look for NaN and infinity.
    pub(in crate::device::gpu) fn finite() -> Shader {
        let source = [JOBS, ELEMENTS, include_str!("../../../shaders/finite.wgsl")].concat();
        Shader { name: "finite", source, uses: vec![Uniform, Read, Read, Read, Write], cut: None }
    }

    /// The values of its pipeline-overridable constants.
    pub(in crate::device::gpu) fn constants(&self) -> Vec<(&'static str, f64)> {
        self.cut.map(Cut::constants).unwrap_or_default()
    }
}

/// A hash of the products' core and of the tiles, in hexadecimal: times of others say nothing about these.
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
