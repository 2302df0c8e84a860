//! The shaders of a plan as readable text. No GPU is needed.

use super::codegen::Labels;
use super::job_table::{Layout, Table};
use super::kernels::Shader;
use super::tile::{Cut, TILES};
use crate::error::{Error, Result};
use crate::lower::Program;
use crate::plan::{Draw, Plan, What};

/// A shader of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedShader {
    /// The name of its entry point.
    pub name: &'static str,
    /// The launches of an update that use it, counted from 1.
    pub launches: Vec<usize>,
    /// The complete WGSL text; comments before each epilogue name its equations.
    pub source: String,
}

impl PrintedShader {
    /// The text of the function that computes an equation, such as "Eq. (7)", with its comments.
    pub fn equation(&self, number: &str) -> Option<&str> {
        let label = self.source.find(&format!("// {number}, "))?;
        let start = self.source[..label].rfind("\n\n").map_or(0, |at| at + 2);
        let end = label + self.source[label..].find("\n}\n")? + 3;
        Some(&self.source[start..end])
    }
}

/// The shaders of a plan's updates without duplicates, in order of first use. A device may choose other tile sizes for
/// matrix products. They change only pipeline constants, not the text.
///
/// # Errors
/// [`Error::Usage`] for a plan that a GPU cannot run; those of [`Plan::check`] and [`Plan::carried`].
pub fn shaders(plan: &Plan, batch: usize) -> Result<Vec<PrintedShader>> {
    let plan = &*crate::device::runnable(plan, batch)?;
    if plan.ops().any(|op| matches!(op.what, What::Draw(Draw::Normal { .. }))) {
        return Err(Error::usage(
            "breaking C1 (sigma > 0) runs on the CPU only, so there are no shaders for it: remove --sigma",
        ));
    }
    let program = Program::new(plan);
    let layout = Layout::new(plan, &program, batch, u64::MAX);
    let table = Table::labelled(plan, &program, &layout, &|_| Cut::Tile(TILES[0]), Labels::Equations);
    let mut shaders: Vec<PrintedShader> = Vec::new();
    for launch in table.launches {
        let Shader { name, source, .. } = Shader::of(&launch.text, launch.cut);
        match shaders.iter_mut().find(|known| known.source == source) {
            Some(known) if known.launches.last() == Some(&(launch.number + 1)) => {}
            Some(known) => known.launches.push(launch.number + 1),
            None => shaders.push(PrintedShader { name, launches: vec![launch.number + 1], source }),
        }
    }
    Ok(shaders)
}
