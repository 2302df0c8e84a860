//! The activation f of Eq. (1) and its derivative f′ of Eq. (4), as the field names them.
//!
//! The arithmetic itself belongs to the devices: `shaders/shared/activation.wgsl` and
//! `src/device/cpu/activation.rs` are twins, made of the same polynomial.

use std::fmt;

/// The activation f. It is applied to every layer but the input (see [`crate::Network`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// f(x) = 1 / (1 + e⁻ˣ), f′ = f (1 − f): the paper's choice.
    Sigmoid,
    /// f(x) = tanh x, f′ = 1 − f².
    Tanh,
    /// f(x) = max(x, 0), f′ = 1 for x > 0, else 0.
    Relu,
    /// f(x) = x for x > 0, else 0.01 x; f′ = 1 or 0.01.
    LeakyRelu,
    /// f(x) = x, f′ = 1: a linear network.
    Identity,
    /// f(x) = x between −1 and 1, where f′ = 1, else −1 or 1, where f′ = 0.
    HardTanh,
    /// f(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016).
    Gelu,
}

impl Activation {
    /// Every activation.
    pub const ALL: [Activation; 7] = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Identity,
        Activation::HardTanh,
        Activation::Gelu,
    ];

    /// Those whose f′(x) is known from f(x), in the order of the codes the kernels use.
    pub const MONOTONE: [Activation; 6] = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Identity,
        Activation::HardTanh,
    ];

    /// The slope of [`Activation::LeakyRelu`] left of zero.
    pub const LEAK: f64 = 0.01;

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::LeakyRelu => "leaky-relu",
            Activation::Identity => "identity",
            Activation::HardTanh => "hard-tanh",
            Activation::Gelu => "gelu",
        }
    }

    /// f(x), as the CPU computes it.
    pub fn of(self, x: f32) -> f32 {
        crate::device::cpu::f(self, x)
    }

    /// The activation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
