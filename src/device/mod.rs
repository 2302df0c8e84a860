//! What runs plans: the CPU, and any GPU that wgpu can drive.
//!
//! A device knows kernels and no rule. It lowers a [`Plan`](crate::Plan) once, and then makes thousands
//! of weight updates from it.

pub mod cpu;

/// How well a network predicts a set.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Score {
    /// Samples predicted.
    pub samples: u64,
    /// Samples whose largest output is not their label.
    pub errors: u64,
    /// Σ over samples of ½ Σ_i (s_out,i − μ^0_i)².
    pub energy: f64,
}

impl Score {
    /// Share of wrong samples, 0 to 1.
    pub fn error_rate(&self) -> f64 {
        self.errors as f64 / self.samples.max(1) as f64
    }

    /// Energy per sample.
    pub fn mean_energy(&self) -> f64 {
        self.energy / self.samples.max(1) as f64
    }
}
