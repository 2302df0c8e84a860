// Activations f and derivatives f'. Twins: src/device/cpu/activation.rs and math.rs.
//
// exp and tanh are the same polynomials as on the CPU, so that results do not depend on a driver's math library. f' is
// computed from h = f(x). The exception is gelu, whose f' is an expression of x in the plan (Expr::slope).

const LEAK: f32 = 0.01;

// e^x = 2^n e^r with |r| <= ln(2)/2, e^r by its Taylor series to r^7.
fn exponential(v: f32) -> f32 {
    let x = clamp(v, -87.0, 88.0);
    let n = round(x * 1.4426950408889634);
    let r = fma(n, 2.1219444e-4, fma(n, -0.693359375, x));
    var p = 1.0 / 5040.0;
    p = fma(p, r, 1.0 / 720.0);
    p = fma(p, r, 1.0 / 120.0);
    p = fma(p, r, 1.0 / 24.0);
    p = fma(p, r, 1.0 / 6.0);
    p = fma(p, r, 0.5);
    p = fma(p, r, 1.0);
    p = fma(p, r, 1.0);
    return p * bitcast<f32>((i32(n) + 127) << 23u);
}

fn hyperbolic_tangent(x: f32) -> f32 {
    let size = abs(x);
    let s = x * x;
    var p = -1382.0 / 155925.0;
    p = fma(p, s, 62.0 / 2835.0);
    p = fma(p, s, -17.0 / 315.0);
    p = fma(p, s, 2.0 / 15.0);
    p = fma(p, s, -1.0 / 3.0);
    let small = fma(p * s, x, x);
    let large = 1.0 - 2.0 / (exponential(2.0 * size) + 1.0);
    return select(select(large, -large, x < 0.0), small, size < 0.25);
}

fn sigmoid(x: f32) -> f32 {
    return 1.0 / (1.0 + exponential(-x));
}

// e^x of each lane of a quad.
fn exp4(x: vec4<f32>) -> vec4<f32> {
    return vec4(exponential(x.x), exponential(x.y), exponential(x.z), exponential(x.w));
}

fn f_sigmoid(x: vec4<f32>) -> vec4<f32> {
    return vec4(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
}

fn slope_sigmoid(h: vec4<f32>) -> vec4<f32> {
    return h * (1.0 - h);
}

fn f_tanh(x: vec4<f32>) -> vec4<f32> {
    return vec4(hyperbolic_tangent(x.x), hyperbolic_tangent(x.y), hyperbolic_tangent(x.z), hyperbolic_tangent(x.w));
}

fn slope_tanh(h: vec4<f32>) -> vec4<f32> {
    return 1.0 - h * h;
}

fn f_relu(x: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), x, x > vec4(0.0));
}

fn slope_relu(h: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), vec4(1.0), h > vec4(0.0));
}

fn f_leaky_relu(x: vec4<f32>) -> vec4<f32> {
    return select(LEAK * x, x, x > vec4(0.0));
}

fn slope_leaky_relu(h: vec4<f32>) -> vec4<f32> {
    return select(vec4(LEAK), vec4(1.0), h > vec4(0.0));
}

fn f_identity(x: vec4<f32>) -> vec4<f32> {
    return x;
}

fn slope_identity(h: vec4<f32>) -> vec4<f32> {
    return vec4(1.0);
}

fn f_hard_tanh(x: vec4<f32>) -> vec4<f32> {
    return clamp(x, vec4(-1.0), vec4(1.0));
}

fn slope_hard_tanh(h: vec4<f32>) -> vec4<f32> {
    return select(vec4(0.0), vec4(1.0), abs(h) < vec4(1.0));
}

fn f_gelu(x: vec4<f32>) -> vec4<f32> {
    return 0.5 * x * (1.0 + f_tanh(0.7978845608028654 * x * (1.0 + 0.044715 * (x * x))));
}
