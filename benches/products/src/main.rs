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
//! The libraries make the product alone; zilch's kernels also make what follows it (f, f′, ε and x), and every 64 of
//! them gather a batch and predict it once. On small networks zilch's threads share out samples and do not meet
//! between products, as in training; a library's meet at every call.

use clap::Parser;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use zilch::device::Device;
use zilch::device::cpu::threads_of;
use zilch::rules::builder::Chain;
use zilch::{Network, Weights};

#[path = "../../common/mod.rs"]
mod common;
#[path = "../../common/repeated.rs"]
mod repeated;

/// Batch, out and in of θ in the networks S, M and L of docs/performance.md.
const SHAPES: [[usize; 3]; 3] = [[20, 32, 784], [64, 512, 512], [256, 2048, 2048]];
/// Launches of a zilch kernel in one plan, which also gathers a batch and predicts once.
const TIMES: usize = 64;
/// Plans that zilch runs in one call, at most.
const PLANS: usize = 256;
/// Length of a turn, at least.
const TURN: Duration = Duration::from_millis(200);
/// Time before it, in which threads start.
const WARM_UP: Duration = Duration::from_millis(150);

/// The crates, beside zilch itself; other parties are files of BLAS libraries.
const PARTIES: [&str; 4] = ["zilch", "gemm", "faer", "matrixmultiply"];

/// What the name of a party begins with that is a file.
const BLAS: &str = "blas:";
/// Where libraries look for their number of threads.
const THREADS: [&str; 7] = [
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "MATMUL_NUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// Times zilch's matrix products beside those of gemm, faer, matrixmultiply and BLAS libraries, in turns.
#[derive(Parser)]
struct Args {
    /// Threads of every party [default: one a core]; matrixmultiply takes no more than 4
    #[arg(long)]
    threads: Option<usize>,
    /// Turns of each
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// A shared library with cblas_sgemm on 32-bit integers (LP64), such as libopenblas.so.0 or libmkl_rt.so.3; may be
    /// given again. Whether its function is that one cannot be checked
    #[arg(long, value_name = "FILE")]
    blas: Vec<String>,
    /// One turn of one party, at a shape and form by their numbers: prints the seconds of a product
    #[arg(long, hide = true, num_args = 3)]
    one: Option<Vec<String>>,
}

/// One party's product: repeats it so many times, or a few more, and tells how many.
type Product<'a> = Box<dyn FnMut(usize) -> usize + 'a>;

fn main() -> ExitCode {
    let args = Args::parse();
    match if args.one.is_some() { one(&args) } else { all(&args) } {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("zilch-products: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The table, by a process for every turn: threads of some libraries go on spinning when their work is done.
fn all(args: &Args) -> Result<(), String> {
    let threads = threads_of(args.threads).map_err(|e| e.to_string())?;
    let blas = args.blas.iter().map(|file| format!("{BLAS}{file}"));
    let parties: Vec<String> = PARTIES.map(String::from).into_iter().chain(blas).collect();
    let intro = format!("{threads} threads, {} turns; GFLOP/s, medians [quartiles]", args.turns);
    say(&format!("{intro}\n\n| b × n × k | party | NT | NN | TN |\n|---|---|--:|--:|--:|"))?;
    for (number, shape) in SHAPES.into_iter().enumerate() {
        let mut seconds = vec![[const { Vec::new() }; 3]; parties.len()];
        for _ in 0..args.turns {
            for form in 0..3 {
                for (party, seconds) in parties.iter().zip(&mut seconds) {
                    seconds[form].extend(turn(party, number, form, threads)?);
                }
            }
        }
        let [b, n, k] = shape;
        for (party, forms) in parties.iter().zip(seconds) {
            let (name, cells) = (party.trim_start_matches(BLAS), forms.map(|seconds| figure(shape, seconds)));
            say(&format!("| {b} × {n} × {k} | {name} | {} |", cells.join(" | ")))?;
        }
    }
    Ok(())
}

/// Prints a line.
fn say(line: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{line}").map_err(|e| format!("cannot write to stdout: {e}"))
}

/// Seconds of one product of a party, if it has this one.
fn turn(party: &str, shape: usize, form: usize, threads: usize) -> Result<Option<f64>, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut command = Command::new(program);
    command.args(["--threads", &threads.to_string(), "--one", party, &shape.to_string(), &form.to_string()]);
    command.envs(THREADS.map(|name| (name, threads.to_string()))).env("MKL_INTERFACE_LAYER", "LP64");
    let output = command.output().map_err(|e| e.to_string())?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match out.trim() {
        _ if !output.status.success() => Err(format!("a turn of {party} ended with {}: {}", output.status, err.trim())),
        "" => Ok(None),
        seconds => seconds.parse().map(Some).map_err(|_| format!("a turn of {party} printed {seconds:?}, no time")),
    }
}

/// Makes one turn and prints its figure, or nothing for a product that the party does not make.
fn one(args: &Args) -> Result<(), String> {
    let usage = || String::from("--one takes a party, a shape's number and a form's");
    let Some([party, shape, form]) = args.one.as_deref() else { return Err(usage()) };
    let shape = shape.parse().ok().and_then(|i: usize| SHAPES.get(i).copied()).ok_or_else(usage)?;
    let form = form.parse().ok().filter(|form| *form < 3usize).ok_or_else(usage)?;
    let threads = threads_of(args.threads).map_err(|e| e.to_string())?;
    let mut operands = Operands::new(shape);
    let product = match party.as_str() {
        "zilch" => zilch(shape, form, threads)?,
        "gemm" => Some(gemm(&mut operands, form, threads)?),
        "faer" => Some(faer(&mut operands, form, threads)?),
        "matrixmultiply" => Some(matrixmultiply(&mut operands, form)?),
        file => Some(blas(file.strip_prefix(BLAS).ok_or_else(usage)?, &mut operands, form)?),
    };
    if let Some(mut product) = product {
        per_product(&mut product, WARM_UP);
        say(&format!("{:e}", per_product(&mut product, TURN)))?;
    }
    Ok(())
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
    if seconds.is_empty() {
        return "–".into();
    }
    seconds.sort_by(f64::total_cmp);
    let at = |part: usize| (2 * b * n * k) as f64 / seconds[(seconds.len() - 1) * part / 4] / 1e9;
    format!("{:.0} [{:.0}–{:.0}]", at(2), at(3), at(1))
}

/// x [b, k], θ [n, k], y [b, n] and e [b, k], by rows.
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

    /// Some numbers of the product, by plain sums; of what is learnt, the change.
    fn expected(&self, form: usize) -> Vec<f64> {
        let [b, n, k] = self.shape;
        let sum = |len: usize, term: &dyn Fn(usize) -> f32| (0..len).map(|p| f64::from(term(p))).sum();
        let at = |q: usize| {
            let [i, j, u] = self.spot(q);
            match form {
                0 => sum(k, &|p| self.x[i * k + p] * self.theta[j * k + p]),
                1 => sum(n, &|p| self.y[i * n + p] * self.theta[p * k + u]),
                _ => sum(b, &|p| self.y[p * n + j] * self.x[p * k + u]),
            }
        };
        (0..SPOTS).map(at).collect()
    }

    /// The same numbers as they are.
    fn made(&self, form: usize) -> Vec<f64> {
        let [_, n, k] = self.shape;
        let at = |[i, j, u]: [usize; 3]| [self.y[i * n + j], self.e[i * k + u], self.theta[j * k + u]][form];
        (0..SPOTS).map(|q| f64::from(at(self.spot(q)))).collect()
    }

    /// A sample, a row and a column of θ, from the first to the last ones.
    fn spot(&self, q: usize) -> [usize; 3] {
        self.shape.map(|len| q * (len - 1) / (SPOTS - 1))
    }
}

/// Numbers of a product that are checked.
const SPOTS: usize = 16;

/// A party that makes `form` of its operands by `once`, checked before it is timed.
fn party<'a>(
    name: &str,
    operands: &'a mut Operands,
    form: usize,
    once: impl Fn(&mut Operands) + 'a,
) -> Result<Product<'a>, String> {
    let (expected, before) = (operands.expected(form), operands.made(form));
    once(operands);
    let made = operands.made(form);
    for ((made, before), expected) in made.iter().zip(before).zip(expected) {
        let made = if form == 2 { made - before } else { *made };
        // In float32: of θ + change for what is learnt.
        let allowed = 1e-4 * expected.abs() + 1e-7 * if form == 2 { before.abs() } else { expected.abs().max(1e-3) };
        if (made - expected).abs() > allowed || made.is_nan() {
            return Err(format!("{name} makes another product in form {form}: {made:e} instead of {expected:e}"));
        }
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
        // Each operand with the distance between its columns and between its rows.
        let ((m, n, k), out, left, right) = match form {
            0 => ((b, n, k), (y.as_mut_ptr(), 1, ni), (x.as_ptr(), 1, ki), (theta.as_ptr(), ki, 1)),
            1 => ((b, k, n), (e.as_mut_ptr(), 1, ki), (y.as_ptr(), 1, ni), (theta.as_ptr(), 1, ki)),
            _ => ((n, k, b), (theta.as_mut_ptr(), 1, ki), (y.as_ptr(), ni, 1), (x.as_ptr(), 1, ki)),
        };
        let (add, old) = if form == 2 { (true, 1.0) } else { (false, 0.0) };
        // SAFETY: dimensions and strides are those of the slices.
        unsafe {
            gemm::gemm(
                m, n, k, out.0, out.1, out.2, add, left.0, left.1, left.2, right.0, right.1, right.2, old, 1.0, false,
                false, false, par,
            );
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
fn blas<'a>(file: &str, operands: &'a mut Operands, form: usize) -> Result<Product<'a>, String> {
    const ROWS: i32 = 101;
    let (plain, turned) = (111, 112);
    // SAFETY: whoever named the file says that it is a BLAS of 32-bit integers; it is never unloaded.
    let sgemm = unsafe {
        let library = libloading::Library::new(file).map_err(|e| format!("cannot load {file}: {e}"))?;
        let library = Box::leak(Box::new(library));
        *library.get::<Sgemm>(b"cblas_sgemm").map_err(|e| format!("{file} has no cblas_sgemm: {e}"))?
    };
    party(file, operands, form, move |o| {
        let [b, n, k] = o.shape.map(|d| d as i32);
        let Operands { x, theta, y, e, .. } = o;
        // SAFETY: dimensions and strides are those of the slices.
        unsafe {
            match form {
                0 => sgemm(ROWS, plain, turned, b, n, k, 1.0, x.as_ptr(), k, theta.as_ptr(), k, 0.0, y.as_mut_ptr(), n),
                1 => sgemm(ROWS, plain, plain, b, k, n, 1.0, y.as_ptr(), n, theta.as_ptr(), k, 0.0, e.as_mut_ptr(), k),
                _ => sgemm(ROWS, turned, plain, n, k, b, 1.0, y.as_ptr(), n, x.as_ptr(), k, 1.0, theta.as_mut_ptr(), k),
            }
        }
    })
}

/// The kernel in plans that run it again and again; the input's weights give no feedback.
fn zilch([b, n, k]: [usize; 3], form: usize, threads: usize) -> Result<Option<Product<'static>>, String> {
    if form == 1 && n != k {
        return Ok(None);
    }
    let layers = if n == k { vec![n; 3] } else { vec![k, n] };
    let network = Network::new(&layers).map_err(|e| e.to_string())?;
    let op = |chain: &mut Chain| match form {
        0 => chain.predict(0),
        1 => chain.infer(1),
        _ => chain.learn(0),
    };
    let device = Device::open("cpu", Some(threads)).map_err(|e| e.to_string())?;
    let weights = Weights::init(&network, 1);
    let mut session = common::session(&device, &repeated::plan(&network, op, TIMES as u32), b, &weights);
    let order = common::order(PLANS * b);
    Ok(Some(Box::new(move |times| {
        let plans = times.div_ceil(TIMES).min(PLANS);
        session.run(&order[..plans * b]).expect("updates");
        plans * TIMES
    })))
}
