//! zilch's matrix products beside those of the libraries it could have used, in turns.
//!
//!     cargo run --release --manifest-path benches/products/Cargo.toml -- --blas libopenblas.so.0
//!
//! Three products of one weight matrix θ [n, k] on a batch of b samples, each 2·b·n·k multiplications and additions:
//!
//! | form | kernel | |
//! |---|---|---|
//! | NT | predict | y [b, n] = x θᵀ |
//! | NN | infer | e [b, k] = y θ |
//! | TN | learn | θ += yᵀ x |
//!
//! The libraries make the product alone; zilch's kernels also make what follows it (f, f′, ε and x).

use clap::Parser;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use zilch::device::Device;
use zilch::plan::Op;
use zilch::{Network, Weights};

#[path = "../../common/mod.rs"]
#[allow(dead_code, reason = "shared with the benches, which use more of it")]
mod common;
#[path = "../../common/repeated.rs"]
mod repeated;

/// Batch, out and in of θ in the networks S, M and L of docs/performance.md.
const SHAPES: [[usize; 3]; 3] = [[20, 32, 784], [64, 512, 512], [256, 2048, 2048]];
/// Launches of a zilch kernel in one plan.
const TIMES: usize = 32;
/// Length of a turn, at least.
const TURN: Duration = Duration::from_millis(10);
/// Time before it, in which the threads of the party before may still spin: OpenBLAS's do for some 30 ms.
const WARM_UP: Duration = Duration::from_millis(40);

/// Times zilch's matrix products beside those of gemm, faer, matrixmultiply and BLAS libraries, in turns.
#[derive(Parser)]
struct Args {
    /// Threads of every party [default: one a core]
    #[arg(long)]
    threads: Option<usize>,
    /// Turns of each
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// A shared library with cblas_sgemm, such as libopenblas.so.0 or libmkl_rt.so.2; may be given again
    #[arg(long, value_name = "FILE")]
    blas: Vec<String>,
}

/// One party's product: repeats it so many times, or a few more, and tells how many.
type Product<'a> = Box<dyn FnMut(usize) -> usize + 'a>;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("zilch-products: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = args.threads.unwrap_or(all);
    // SAFETY: no other thread has been started.
    unsafe {
        for name in ["OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "MATMUL_NUM_THREADS"] {
            std::env::set_var(name, threads.to_string());
        }
    }
    let blas: Vec<Blas> = args.blas.iter().map(|file| Blas::open(file)).collect::<Result<_, _>>()?;
    println!("{} threads, {} turns of {} ms; GFLOP/s, medians [quartiles]\n", threads, args.turns, TURN.as_millis());
    println!("| b × n × k | party | NT | NN | TN |\n|---|---|--:|--:|--:|");
    for shape in SHAPES {
        let operands = Operands::new(shape);
        let names: Vec<String> = ["zilch", "gemm", "faer", "matrixmultiply"]
            .map(String::from)
            .into_iter()
            .chain(args.blas.clone())
            .collect();
        let mut cells = vec![Vec::new(); names.len()];
        for form in 0..3 {
            // Every party works on operands of its own, which stay where its last turn left them.
            let mut own: Vec<Operands> = names.iter().map(|_| operands.clone()).collect();
            let mut parties = Vec::new();
            for (i, operands) in own.iter_mut().enumerate() {
                parties.push(match i {
                    0 => zilch(shape, form, threads),
                    1 => gemm(operands, form, threads).map(Some),
                    2 => faer(operands, form, threads).map(Some),
                    3 => matrixmultiply(operands, form).map(Some),
                    _ => blas[i - 4].product(operands, form).map(Some),
                }?);
            }
            for (cell, figures) in cells.iter_mut().zip(in_turns(&mut parties, args.turns.into())) {
                cell.push(figures.map_or("–".into(), |seconds| figure(shape, seconds)));
            }
        }
        let [b, n, k] = shape;
        for (name, cell) in names.iter().zip(cells) {
            println!("| {b} × {n} × {k} | {name} | {} |", cell.join(" | "));
        }
    }
    Ok(())
}

/// Seconds of one product in every turn of each party.
fn in_turns(parties: &mut [Option<Product<'_>>], turns: usize) -> Vec<Option<Vec<f64>>> {
    let mut seconds: Vec<Option<Vec<f64>>> = parties.iter().map(|p| p.as_ref().map(|_| Vec::new())).collect();
    for turn in 0..=turns {
        for (party, seconds) in parties.iter_mut().zip(&mut seconds) {
            if let (Some(product), Some(seconds)) = (party, seconds) {
                per_product(product, WARM_UP);
                let one = per_product(product, TURN);
                // The first turn starts threads.
                if turn > 0 {
                    seconds.push(one);
                }
            }
        }
    }
    seconds
}

/// Seconds of one product, in a turn so long.
fn per_product(product: &mut Product<'_>, turn: Duration) -> f64 {
    let (start, mut made, mut step) = (Instant::now(), 0, 1);
    while start.elapsed() < turn {
        (made, step) = (made + product(step), 2 * step);
    }
    start.elapsed().as_secs_f64() / made as f64
}

/// Median and quartiles.
fn figure([b, n, k]: [usize; 3], mut seconds: Vec<f64>) -> String {
    seconds.sort_by(f64::total_cmp);
    let at = |part: usize| (2 * b * n * k) as f64 / seconds[(seconds.len() - 1) * part / 4] / 1e9;
    format!("{:.0} [{:.0}–{:.0}]", at(2), at(3), at(1))
}

/// x [b, k], θ [n, k], y [b, n] and e [b, k], by rows.
#[derive(Clone)]
struct Operands {
    shape: [usize; 3],
    x: Vec<f32>,
    theta: Vec<f32>,
    y: Vec<f32>,
    e: Vec<f32>,
}

impl Operands {
    fn new(shape: [usize; 3]) -> Self {
        let [b, n, k] = shape;
        // Small, so that what is learnt again and again stays finite.
        let mut state = 1u32;
        let mut random = |len: usize| -> Vec<f32> {
            let next = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 * 2f32.powi(-34) - 2f32.powi(-11)
            };
            (0..len).map(next).collect()
        };
        Operands { shape, x: random(b * k), theta: random(n * k), y: random(b * n), e: random(b * k) }
    }

    /// What the number in the middle of the product has to be, by a plain sum.
    fn expected(&self, form: usize) -> f32 {
        let [b, n, k] = self.shape;
        let (i, j, u) = (b / 2, n / 2, k / 2);
        match form {
            0 => (0..k).map(|p| self.x[i * k + p] * self.theta[j * k + p]).sum(),
            1 => (0..n).map(|p| self.y[i * n + p] * self.theta[p * k + u]).sum(),
            _ => self.theta[j * k + u] + (0..b).map(|p| self.y[p * n + j] * self.x[p * k + u]).sum::<f32>(),
        }
    }

    /// The number in the middle of the product.
    fn made(&self, form: usize) -> f32 {
        let [b, n, k] = self.shape;
        match form {
            0 => self.y[b / 2 * n + n / 2],
            1 => self.e[b / 2 * k + k / 2],
            _ => self.theta[n / 2 * k + k / 2],
        }
    }
}

/// A party that makes `form` of its operands by `once`, checked before it is timed.
fn party<'a>(
    name: &str,
    operands: &'a mut Operands,
    form: usize,
    once: impl Fn(&mut Operands) + 'a,
) -> Result<Product<'a>, String> {
    let expected = operands.expected(form);
    once(operands);
    let off = (operands.made(form) - expected).abs();
    if off.is_nan() || off > 1e-4 * expected.abs().max(1e-7) {
        return Err(format!("{name} makes another product in form {form}: {off:e} off"));
    }
    Ok(Box::new(move |times| {
        (0..times).for_each(|_| once(operands));
        times
    }))
}

fn gemm(operands: &mut Operands, form: usize, threads: usize) -> Result<Product<'_>, String> {
    let par = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    party("gemm", operands, form, move |o| {
        let [b, n, k] = o.shape;
        let ([ni, ki], Operands { x, theta, y, e, .. }) = ([n, k].map(|d| d as isize), o);
        // SAFETY: dimensions and strides are those of the slices.
        unsafe {
            match form {
                0 => gemm::gemm(
                    b,
                    n,
                    k,
                    y.as_mut_ptr(),
                    1,
                    ni,
                    false,
                    x.as_ptr(),
                    1,
                    ki,
                    theta.as_ptr(),
                    ki,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    par,
                ),
                1 => gemm::gemm(
                    b,
                    k,
                    n,
                    e.as_mut_ptr(),
                    1,
                    ki,
                    false,
                    y.as_ptr(),
                    1,
                    ni,
                    theta.as_ptr(),
                    1,
                    ki,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    par,
                ),
                _ => gemm::gemm(
                    n,
                    k,
                    b,
                    theta.as_mut_ptr(),
                    1,
                    ki,
                    true,
                    y.as_ptr(),
                    ni,
                    1,
                    x.as_ptr(),
                    1,
                    ki,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    par,
                ),
            }
        }
    })
}

fn faer(operands: &mut Operands, form: usize, threads: usize) -> Result<Product<'_>, String> {
    use faer::linalg::matmul::matmul;
    use faer::{Accum, MatMut, MatRef, Par};
    let par = if threads > 1 { Par::rayon(threads) } else { Par::Seq };
    party("faer", operands, form, move |o| {
        let [b, n, k] = o.shape;
        let Operands { x, theta, y, e, .. } = o;
        match form {
            0 => {
                let (x, theta) = (MatRef::from_row_major_slice(x, b, k), MatRef::from_row_major_slice(theta, n, k));
                matmul(MatMut::from_row_major_slice_mut(y, b, n), Accum::Replace, x, theta.transpose(), 1.0, par);
            }
            1 => {
                let (y, theta) = (MatRef::from_row_major_slice(y, b, n), MatRef::from_row_major_slice(theta, n, k));
                matmul(MatMut::from_row_major_slice_mut(e, b, k), Accum::Replace, y, theta, 1.0, par);
            }
            _ => {
                let (y, x) = (MatRef::from_row_major_slice(y, b, n), MatRef::from_row_major_slice(x, b, k));
                matmul(MatMut::from_row_major_slice_mut(theta, n, k), Accum::Add, y.transpose(), x, 1.0, par);
            }
        }
    })
}

/// It takes its number of threads from MATMUL_NUM_THREADS.
fn matrixmultiply(operands: &mut Operands, form: usize) -> Result<Product<'_>, String> {
    party("matrixmultiply", operands, form, move |o| {
        let [b, n, k] = o.shape;
        let ([ni, ki], Operands { x, theta, y, e, .. }) = ([n, k].map(|d| d as isize), o);
        // SAFETY: dimensions and strides are those of the slices.
        unsafe {
            use matrixmultiply::sgemm;
            match form {
                0 => sgemm(b, k, n, 1.0, x.as_ptr(), ki, 1, theta.as_ptr(), 1, ki, 0.0, y.as_mut_ptr(), ni, 1),
                1 => sgemm(b, n, k, 1.0, y.as_ptr(), ni, 1, theta.as_ptr(), ki, 1, 0.0, e.as_mut_ptr(), ki, 1),
                _ => sgemm(n, b, k, 1.0, y.as_ptr(), 1, ni, x.as_ptr(), ki, 1, 1.0, theta.as_mut_ptr(), ki, 1),
            }
        }
    })
}

type Sgemm =
    unsafe extern "C" fn(i32, i32, i32, i32, i32, i32, f32, *const f32, i32, *const f32, i32, f32, *mut f32, i32);

/// A BLAS found at run time.
struct Blas {
    file: String,
    sgemm: Sgemm,
    /// Keeps `sgemm` where it is.
    _library: libloading::Library,
}

impl Blas {
    fn open(file: &str) -> Result<Self, String> {
        // SAFETY: a BLAS has no unusual initialisers, and its cblas_sgemm has this type.
        unsafe {
            let library = libloading::Library::new(file).map_err(|e| format!("cannot load {file}: {e}"))?;
            let sgemm = *library.get::<Sgemm>(b"cblas_sgemm").map_err(|e| format!("{file} has no cblas_sgemm: {e}"))?;
            Ok(Blas { file: file.into(), sgemm, _library: library })
        }
    }

    fn product<'a>(&self, operands: &'a mut Operands, form: usize) -> Result<Product<'a>, String> {
        const ROWS: i32 = 101;
        let (plain, turned) = (111, 112);
        let sgemm = self.sgemm;
        party(&self.file, operands, form, move |o| {
            let [b, n, k] = o.shape.map(|d| d as i32);
            let Operands { x, theta, y, e, .. } = o;
            // SAFETY: dimensions and strides are those of the slices.
            unsafe {
                match form {
                    0 => sgemm(
                        ROWS,
                        plain,
                        turned,
                        b,
                        n,
                        k,
                        1.0,
                        x.as_ptr(),
                        k,
                        theta.as_ptr(),
                        k,
                        0.0,
                        y.as_mut_ptr(),
                        n,
                    ),
                    1 => sgemm(
                        ROWS,
                        plain,
                        plain,
                        b,
                        k,
                        n,
                        1.0,
                        y.as_ptr(),
                        n,
                        theta.as_ptr(),
                        k,
                        0.0,
                        e.as_mut_ptr(),
                        k,
                    ),
                    _ => sgemm(
                        ROWS,
                        turned,
                        plain,
                        n,
                        k,
                        b,
                        1.0,
                        y.as_ptr(),
                        n,
                        x.as_ptr(),
                        k,
                        1.0,
                        theta.as_mut_ptr(),
                        k,
                    ),
                }
            }
        })
    }
}

/// The kernel in a plan that runs it again and again; the input's weights give no feedback.
fn zilch([b, n, k]: [usize; 3], form: usize, threads: usize) -> Result<Option<Product<'static>>, String> {
    if form == 1 && n != k {
        return Ok(None);
    }
    let network = Network::new(&[k, n, n]).map_err(|e| e.to_string())?;
    // Where both matrices are alike, that of layer 0, whose errors are not zero.
    let l = usize::from(n != k);
    let op = [Op::Predict(l), Op::Infer(1), Op::Learn(l)][form];
    let device = Device::open("cpu", Some(threads)).map_err(|e| e.to_string())?;
    let weights = Weights::init(&network, 1);
    let mut session = common::session(&device, &repeated::plan(&network, op, TIMES), b, &weights);
    let order = common::order(b);
    Ok(Some(Box::new(move |times| {
        let plans = times.div_ceil(TIMES);
        (0..plans).for_each(|_| session.run(&order).expect("updates"));
        plans * TIMES
    })))
}
