//! zilch trains predictive coding networks and shows that they learn what backpropagation learns, to the last bit.
//!
//! It implements the learning rules of Song, Lukasiewicz, Xu & Bogacz, "Can the Brain Do Backpropagation? — Exact
//! Implementation of Backpropagation in Predictive Coding Networks" (NeurIPS 2020), and of the family around it, on the
//! CPU and, through wgpu, on Vulkan, Metal and DX12. A custom rule is a function that returns a plan: `docs/rules.md`.
//!
//! ```
//! use std::sync::{Arc, atomic::AtomicBool};
//! use zilch::data::Data;
//! use zilch::device::Device;
//! use zilch::train::{Length, Training};
//! use zilch::{Network, Options, Rule};
//!
//! fn main() -> zilch::Result<()> {
//!     let data = Arc::new(Data::open("digits")?); // or a folder with the four MNIST files
//!     let device = Device::open("cpu", None)?; // or "gpu", "auto", part of an adapter's name
//!     let train = |rule| {
//!         let options = Options { alpha: 0.01, ..Options::new(rule) };
//!         let training = Training { options, ..Training::new(Network::parse("784,32,32,10")?, Length::Updates(300)) };
//!         training.run(&device, &data, &AtomicBool::new(false), &mut |_event| {})
//!     };
//!     let (bp, zil) = (train(Rule::BP)?, train(Rule::ZIL)?);
//!     assert!(zil.weights.bit_identical(&bp.weights));
//!     Ok(())
//! }
//! ```
//!
//! # The mathematics in a page
//!
//! Layers are numbered from the output, l = 0, to the input, l = lmax. Layer l has n^l units. The weight matrix θ^{l+1}
//! [n^l, n^{l+1}] connects layer l+1 to layer l. f is the activation. A mini-batch is a matrix with one row per sample;
//! the equations are written for one sample.
//!
//! **An ANN with backpropagation.** y^l are the value nodes, δ^l the error terms, α the learning rate.
//!
//! ```text
//! (1)  y^l = θ^{l+1} f(y^{l+1}),   y^{lmax} = s_in
//! (2)  E = ½ Σ (s_out − y^0)²
//! (3)  Δθ^{l+1} = −α ∂E/∂θ^{l+1} = α δ^l f(y^{l+1})ᵀ
//! (4)  δ^0 = s_out − y^0,   δ^l = f′(y^l) ∘ (θ^lᵀ δ^{l−1})
//! ```
//!
//! **A predictive coding network.** Every layer predicts the layer below it: μ^l is the prediction of the value nodes
//! x^l, and the error nodes ε^l hold the difference. With input and target clamped, inference moves the value nodes down
//! the gradient of the energy F (integration step γ), and learning moves the weights down its gradient too.
//!
//! ```text
//! (5)  μ^l_t = θ^{l+1} f(x^{l+1}_t),   ε^l_t = x^l_t − μ^l_t
//! (6)  F_t = ½ Σ_l Σ_i (ε^l_{i,t})²
//! (7)  x^l_{t+1} = x^l_t + γ (−ε^l_t + f′(x^l_t) ∘ (θ^lᵀ ε^{l−1}_t)),   0 < l < lmax
//! (8)  ε^0_t = s_out − μ^0_t
//! (9)  Δθ^{l+1} = −α ∂F/∂θ^{l+1} = α ε^l_t f(x^{l+1}_t)ᵀ
//! ```
//!
//! **Time.** The moments of inference are t = 0, 1, 2, … Each moment first computes μ_t and ε_t (and φ_t).
//! Then (7) and (9) *both read values of time t, and are committed together*: Δx^l reads the old θ^l although
//! Δθ^l belongs to the same moment. An update that moved θ first would not be backpropagation.
//!
//! **Why Z-IL is backpropagation.** Three conditions: C1, the value nodes start at their predictions, x_0 = μ_0;
//! C2, θ^{l+1} learns at t = l, and only then; C3, γ = 1. Under C1 every ε but ε^0 is 0 at t = 0, and the
//! disturbance climbs one layer per moment: ε^l_t = 0 and x^l_t = y^l for all t < l (Lemma A.3). The step from
//! t = l−1 to l then adds γ f′(y^l) ∘ (θ^lᵀ ε^{l−1}_{l−1}) to a layer at rest, while μ^l cannot yet have moved. So
//! ε^l_l = γ^l δ^l (Theorem 3.1), and (9) at t = l is γ^l times (3), and equal to it for γ = 1 (Theorem 3.2).
//! Fa-Z-IL replaces the clock of C2 by a function φ of each unit, which fires when the unit's error first differs from 0.
//! That is at t = l, unless ε^l_l is exactly 0, as where f′ = 0. Such a unit fires late (`src/rules/fazil.rs`).
//!
//! **Why to the last bit.** In float32 x^l = μ^l + δ^l is rounded, and subtracting μ^l again does not return δ^l
//! exactly. This is the small divergence that the paper's own code shows. In *error coordinates* ε is the state:
//!
//! ```text
//! ε^l_{t+1} = (ε^l_t + Δx^l_t) − (μ^l_{t+1} − μ^l_t)
//! ```
//!
//! This equals (5) in exact arithmetic. At t = l it reads (0 + δ^l) − (μ^l − μ^l) = δ^l, and nothing is rounded. The
//! rules run the same kernels on the same values, so the results have the same bits. [`Coords::Value`] is (5) as written.
//!
//! # Which file holds which equation
//!
//! A rule is a [`Plan`]: the [`plan::Op`]s of one weight update, as data. A device executes ops and knows no rule. The ops
//! of these equations, each with its formula as an [`plan::Expr`], are constructed in `src/rules/builder.rs`:
//!
//! | equation | constructor | op |
//! | --- | --- | --- |
//! | (1), (5) μ | [`rules::builder::Chain::predict`], [`rules::builder::Chain::settle`] | matrix product, forward; elementwise |
//! | (5) ε, (8) | [`rules::builder::Chain::error`] | elementwise |
//! | (4), (7) | [`rules::builder::Chain::backprop`], [`rules::builder::Chain::infer`] | matrix product, backward, with an epilogue |
//! | (3), (9) | [`rules::builder::Chain::learn`] | outer product summed over the batch; the optimiser is its epilogue |
//! | φ of Section 4 | [`rules::builder::Chain::gate`], [`rules::builder::Chain::gate_feedback`] | elementwise |
//!
//! | what | CPU | GPU |
//! | --- | --- | --- |
//! | matrix products | `src/device/cpu/product.rs`, `change.rs` | `shaders/shared/tile.wgsl`, `cooperative.wgsl` |
//! | epilogues, elementwise ops | `src/device/cpu/fused_kernels.rs`, else `evaluate.rs` | generated: `src/device/gpu/codegen.rs` |
//! | im2col, pooling, flattening | `src/device/cpu/fixed_maps.rs` | `shaders/window.wgsl` |
//! | reductions, random numbers | `src/device/cpu/job.rs` | `shaders/reduce.wgsl`, `shaders/draw.wgsl` |
//! | s_in, s_out | `src/device/cpu/gather.rs` | `shaders/gather.wgsl` |
//! | (2), (6) at t = 0 | `src/device/cpu/score.rs` | `shaders/score.wgsl` |
//! | f, f′ | `src/device/cpu/activation.rs` | `shaders/shared/activation.wgsl` |
//!
//! | rule | file | mathematics |
//! | --- | --- | --- |
//! | BP | `src/rules/bp.rs` | (1)–(4) |
//! | IL | `src/rules/il.rs` | Algorithm 1, and what the `frontier` schedule may skip |
//! | Z-IL | `src/rules/zil.rs` | C1–C3, Lemma A.3, Theorems 3.1 and 3.2 |
//! | Fa-Z-IL | `src/rules/fazil.rs` | Algorithm 2, φ, and late spikes |
//! | others | `src/rules/` | the module comment of each |
//!
//! [`lower`] turns a plan into kernel launches. `docs/decisions.md` records the reasons of the design.
#![deny(unsafe_code)]

pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod lower;
pub mod measure;
pub mod memory;
pub mod named;
pub mod network;
pub mod plan;
pub mod random;
pub mod rules;
pub mod statistics;
pub mod train;
pub mod words;

pub use error::{Error, Result};
pub use network::{Network, Weights};
pub use plan::Plan;
pub use plan::activation::Activation;
pub use rules::{Coords, Options, Rule, Schedule};

/// The Rust example of the README, compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
