// Fragments of 16 x 16 x 16 on a matrix unit: float16 operands, float32 accumulators. This file must come first in a
// shader, because `enable` directives must precede all declarations; shared/units follows later.

enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT = 16u;
alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Results = coop_mat16x16<f32, C>;
