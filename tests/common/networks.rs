//! Graphs used by several groups of tests.

/// A residual MLP: skip connections over one to three levels, a layer with two inputs, and a skip connection from the input.
pub(crate) const SKIPS: &str = "20=in,17=a,17,17+a=b,17,17+b+a=c,9+in:9+a:9,4";
/// Two residual blocks of convolutions, the second with a stride and a convolution on its skip connection.
pub(crate) const BLOCKS: &str = "2x8x7,5c3p1=a,5c3p1,5c3p1+a=b,7c3s2p1,7c3p1+b:7c1s2,a2,9,4";
/// An unrolled recurrence over the rows of an image, with shared weights.
pub(crate) const RECURRENT: &str = "4x6=in,in.0:11~u,11~w+in.1:11~u,11~w+in.2:11~u,11~w+in.3:11~u,4";
