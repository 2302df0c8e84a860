// Fragments of 8 x 8 x 8 on a matrix unit: float16 operands, float32 accumulators. This text comes first in a shader, because of
// `enable`; shared/units follows later.

enable f16;
enable wgpu_cooperative_matrix;

const FRAGMENT = 8u;
alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Results = coop_mat8x8<f32, C>;
