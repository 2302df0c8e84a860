// f and f'; twin of src/device/cpu/activation.rs.
//
// The same polynomials as on the CPU stand in for exp and tanh, so that results do not hang on a
// driver's math library. ACTIVATION is a number of the pipeline: the choice is made at compilation.

// 0 sigmoid, 1 tanh, 2 relu, 3 leaky relu, 4 identity
override ACTIVATION: u32 = 0u;

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

fn f(x: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return 1.0 / (1.0 + exponential(-x)); }
        case 1u: { return hyperbolic_tangent(x); }
        case 2u: { return select(0.0, x, x > 0.0); }
        case 3u: { return select(LEAK * x, x, x > 0.0); }
        default: { return x; }
    }
}

// f'(x) from h = f(x): no activation here needs x itself.
fn f_prime(h: f32) -> f32 {
    switch ACTIVATION {
        case 0u: { return h * (1.0 - h); }
        case 1u: { return 1.0 - h * h; }
        case 2u: { return select(0.0, 1.0, h > 0.0); }
        case 3u: { return select(LEAK, 1.0, h > 0.0); }
        default: { return 1.0; }
    }
}

// A quad at a time.
fn f4(x: vec4<f32>) -> vec4<f32> {
    return vec4(f(x.x), f(x.y), f(x.z), f(x.w));
}

fn f_prime4(h: vec4<f32>) -> vec4<f32> {
    return vec4(f_prime(h.x), f_prime(h.y), f_prime(h.z), f_prime(h.w));
}
