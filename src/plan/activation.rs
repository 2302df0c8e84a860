//! The activation f of Eq. (1) and its derivative f′ of Eq. (4), with the usual names.
//!
//! The devices implement the arithmetic. `shaders/shared/activation.wgsl` and `src/device/cpu/activation.rs` are twins
//! that evaluate the same polynomial.

use crate::named::named;
use std::fmt;

named! {
    /// The activation f. It is applied to every layer but the input (see [`crate::Network`]).
    Activation {
        /// f(x) = 1 / (1 + e⁻ˣ), f′ = f (1 − f): the paper's choice.
        Sigmoid = "sigmoid",
        /// f(x) = tanh x, f′ = 1 − f².
        Tanh = "tanh",
        /// f(x) = max(x, 0), f′ = 1 for x > 0, else 0.
        Relu = "relu",
        /// f(x) = x for x > 0, else 0.01 x; f′ = 1 or 0.01.
        LeakyRelu = "leaky-relu",
        /// f(x) = x, f′ = 1: a linear network.
        Identity = "identity",
        /// f(x) = x between −1 and 1, where f′ = 1, else −1 or 1, where f′ = 0.
        HardTanh = "hard-tanh",
        /// f(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks & Gimpel 2016).
        Gelu = "gelu",
    }
}

impl Activation {
    /// The activations whose f′(x) can be computed from f(x), in the order of the codes in the kernels.
    pub const MONOTONE: [Activation; 6] = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Identity,
        Activation::HardTanh,
    ];

    /// The slope of [`Activation::LeakyRelu`] for negative x.
    pub const LEAK: f64 = 0.01;
}

impl fmt::Display for Activation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
