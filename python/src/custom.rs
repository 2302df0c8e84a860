//! Custom rules in Python: expressions with overloaded operators, and the chain of layers on which a plan is built.

use crate::error::{OrRaise, keep, usage};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pyclass::CompareOp;
use pyo3::types::{PyList, PyTuple};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use zilch::plan::expr::{Expr as Formula, MAX_NODES, SlotId};
use zilch::plan::locality::{COLUMNS, Column, Verdict};
use zilch::plan::{
    Connection, Direction, Domain, Draw, Initial, Moment, Op as Operation, Plan, Reduction, Stage, Value, What as Kind,
};
use zilch::rules::builder::op as op_of;
use zilch::rules::{Choice, Definition, Values};
use zilch::{Activation, Network, Options, Rule};

/// The layers of the network on which the locality of rules is analysed, as in `zilch rules`.
const ANALYSED: &str = "16,12,10,8,6";

/// The Python functions of custom rules. The key is the address of the rule's definition.
static PLANS: Mutex<BTreeMap<usize, Py<PyAny>>> = Mutex::new(BTreeMap::new());

/// Returns a `'static` copy of a string, as needed for the names of rules, slots and ops. Equal strings are leaked only once.
fn leak(text: &str) -> &'static str {
    static KNOWN: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(text.to_owned()).or_insert_with(|| Box::leak(text.to_owned().into_boxed_str()))
}

// ---------------------------------------------------------------------------------------------------------------------
// Expressions

/// An elementwise expression: computes one value from the values of slots at the same position.
#[pyclass(frozen, module = "zilch_pc._core", from_py_object)]
#[derive(Clone)]
pub(crate) struct Expr {
    formula: Formula,
    /// The id of the chain whose slots the expression reads; 0 if it reads none.
    of: u64,
    nodes: usize,
}

impl Expr {
    /// An expression of one node.
    fn leaf(formula: Formula, of: u64) -> Expr {
        Expr { formula, of, nodes: 1 }
    }

    /// Combines parts into an expression. All parts must belong to the same chain, and together be within the size
    /// limit.
    fn combine<const N: usize>(
        py: Python<'_>,
        parts: [Expr; N],
        make: impl FnOnce([Formula; N]) -> Formula,
    ) -> PyResult<Expr> {
        let of = parts.iter().map(|part| part.of).max().unwrap_or(0);
        if parts.iter().any(|part| part.of != 0 && part.of != of) {
            return Err(usage(py, "this expression reads slots of two plans; it may read the slots of one plan only"));
        }
        let size: usize = parts.iter().map(|part| part.nodes).sum();
        // The node limit of an op, times a margin because shared subexpressions are counted several times here.
        if size > 16 * MAX_NODES {
            return Err(usage(
                py,
                format!("an op may have {MAX_NODES} nodes, but this expression has {size}: split it"),
            ));
        }
        let formula = make(parts.map(|part| part.formula));
        // The nodes are counted again, since some constructors add nodes; f′ of gelu is an example.
        let nodes = formula.nodes();
        Ok(Expr { formula, of, nodes })
    }

    /// Converts a float or an expression.
    fn read(value: &Bound<'_, PyAny>) -> PyResult<Expr> {
        if let Ok(expr) = value.cast::<Expr>() {
            return Ok(expr.get().clone());
        }
        match value.extract::<f64>() {
            Ok(number) => Ok(Expr::leaf(Formula::Const(number), 0)),
            Err(_) => Err(PyTypeError::new_err(format!(
                "an expression consists of slots, numbers and other expressions, not of {}",
                value.get_type().name()?
            ))),
        }
    }

    /// The slot, if the expression is a slot of the chain `of`.
    fn slot(&self, py: Python<'_>, of: u64) -> PyResult<SlotId> {
        match self.formula {
            Formula::Slot(slot) if self.of == of => Ok(slot),
            Formula::Slot(_) => Err(usage(py, "this slot belongs to another plan")),
            _ => Err(usage(py, format!("a slot is needed here, such as p.eps(1); {} is not a slot", self.__repr__()))),
        }
    }

    /// Combines the expression with another operand.
    fn with(&self, other: &Bound<'_, PyAny>, make: impl FnOnce(Formula, Formula) -> Formula) -> PyResult<Expr> {
        Expr::combine(other.py(), [self.clone(), Expr::read(other)?], |[a, b]| make(a, b))
    }
}

#[pymethods]
impl Expr {
    fn __add__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a + b)
    }
    fn __radd__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| b + a)
    }
    fn __sub__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a - b)
    }
    fn __rsub__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| b - a)
    }
    fn __mul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a * b)
    }
    fn __rmul__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| b * a)
    }
    fn __truediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a / b)
    }
    fn __rtruediv__(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| b / a)
    }
    fn __neg__(&self, py: Python<'_>) -> PyResult<Expr> {
        Expr::combine(py, [self.clone()], |[a]| -a)
    }
    fn __abs__(&self, py: Python<'_>) -> PyResult<Expr> {
        Expr::combine(py, [self.clone()], |[a]| a.abs())
    }
    /// The square root.
    fn sqrt(&self, py: Python<'_>) -> PyResult<Expr> {
        Expr::combine(py, [self.clone()], |[a]| a.sqrt())
    }
    /// The exponential function.
    fn exp(&self, py: Python<'_>) -> PyResult<Expr> {
        Expr::combine(py, [self.clone()], |[a]| a.exp())
    }
    /// The sign: 1, 0 or −1.
    fn sign(&self, py: Python<'_>) -> PyResult<Expr> {
        Expr::combine(py, [self.clone()], |[a]| a.sign())
    }
    /// The smaller of the two values.
    fn min(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a.min(b))
    }
    /// The larger of the two values.
    fn max(&self, other: &Bound<'_, PyAny>) -> PyResult<Expr> {
        self.with(other, |a, b| a.max(b))
    }
    /// An activation function of the expression, by name.
    fn f(&self, py: Python<'_>, activation: &str) -> PyResult<Expr> {
        let activation = activation_of(py, activation)?;
        Expr::combine(py, [self.clone()], |[a]| Formula::f(activation, a))
    }
    fn __richcmp__(&self, other: &Bound<'_, PyAny>, how: CompareOp) -> PyResult<Expr> {
        self.with(other, |a, b| match how {
            CompareOp::Lt => a.less(b),
            CompareOp::Gt => b.less(a),
            CompareOp::Le => b.less(a).select(0.0, 1.0),
            CompareOp::Ge => a.less(b).select(0.0, 1.0),
            CompareOp::Eq => a.equals(b),
            CompareOp::Ne => a.equals(b).select(0.0, 1.0),
        })
    }
    fn __bool__(&self) -> PyResult<bool> {
        Err(PyTypeError::new_err(
            "an expression has no truth value, since the device computes it later: write select(condition, yes, no) instead of if, and, or",
        ))
    }
    fn __hash__(&self) -> PyResult<isize> {
        Err(PyTypeError::new_err("expressions are not hashable: give assignments as a list of (slot, expression)"))
    }
    fn __repr__(&self) -> String {
        self.formula.to_string()
    }
}

fn activation_of(py: Python<'_>, name: &str) -> PyResult<Activation> {
    Activation::from_name(&name.replace('_', "-")).ok_or_else(|| {
        let known: Vec<&str> = Activation::ALL.iter().map(|a| a.name()).collect();
        usage(py, format!("there is no activation \"{name}\"; the activations are {}", known.join(", ")))
    })
}

/// s, the input of an op: the result of a matrix product, an outer product, a reduction or a random draw.
#[pyfunction]
pub(crate) fn arriving() -> Expr {
    Expr::leaf(Formula::Arriving, 0)
}

/// A constant as an expression.
#[pyfunction]
pub(crate) fn constant(value: f64) -> Expr {
    Expr::leaf(Formula::Const(value), 0)
}

/// The index of a unit within its layer, from 0.
#[pyfunction]
pub(crate) fn unit() -> Expr {
    Expr::leaf(Formula::Unit, 0)
}

/// In an op on weights: 1 for a weight, 0 for a bias.
#[pyfunction]
pub(crate) fn weight() -> Expr {
    Expr::leaf(Formula::Weight, 0)
}

/// a · b + c with one rounding (fused multiply-add).
#[pyfunction]
pub(crate) fn fma(a: &Bound<'_, PyAny>, b: &Bound<'_, PyAny>, c: &Bound<'_, PyAny>) -> PyResult<Expr> {
    let parts = [Expr::read(a)?, Expr::read(b)?, Expr::read(c)?];
    Expr::combine(a.py(), parts, |[a, b, c]| Formula::fma(a, b, c))
}

/// `yes` if `condition` is not 0, else `no`.
#[pyfunction]
pub(crate) fn select(condition: &Bound<'_, PyAny>, yes: &Bound<'_, PyAny>, no: &Bound<'_, PyAny>) -> PyResult<Expr> {
    let parts = [Expr::read(condition)?, Expr::read(yes)?, Expr::read(no)?];
    Expr::combine(condition.py(), parts, |[c, yes, no]| c.select(yes, no))
}

// ---------------------------------------------------------------------------------------------------------------------
// Ops and plans

/// The input of an op: how s is computed, and over which domain.
#[pyclass(frozen, module = "zilch_pc._core", from_py_object)]
#[derive(Clone)]
pub(crate) struct What {
    kind: Kind,
    of: u64,
}

/// An op of a plan.
#[pyclass(frozen, module = "zilch_pc._core", from_py_object)]
#[derive(Clone)]
pub(crate) struct Op {
    op: Operation,
    of: u64,
}

#[pymethods]
impl Op {
    fn __repr__(&self) -> String {
        let assigned: Vec<String> =
            self.op.epilogue.iter().map(|assign| format!("#{} ← {}", assign.to.0, assign.expr)).collect();
        format!("{}: {}", self.op.name, assigned.join(", "))
    }
}

/// The builder of a plan on a chain of layers: 0 is the output, lmax the input.
#[pyclass(frozen, module = "zilch_pc._core")]
pub(crate) struct Chain {
    /// `None` once the plan is finished.
    chain: Mutex<Option<zilch::rules::builder::Chain>>,
    /// The unique id. Expressions and ops store it to identify their chain.
    id: u64,
}

impl Chain {
    /// Runs `work` on the builder, unless the plan is finished.
    fn with<T>(&self, py: Python<'_>, work: impl FnOnce(&mut zilch::rules::builder::Chain) -> T) -> PyResult<T> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *chain {
            Some(chain) => Ok(work(chain)),
            None => Err(usage(py, "this plan is finished already: the function of a rule must not keep its builder")),
        }
    }

    /// Checks that layer `l` is at least `least` and at most lmax − `less`.
    fn layer(&self, py: Python<'_>, l: usize, least: usize, less: usize) -> PyResult<usize> {
        let most = self.with(py, |p| p.lmax())?.saturating_sub(less);
        if (least..=most).contains(&l) {
            Ok(l)
        } else {
            Err(usage(
                py,
                format!(
                    "there is no layer {l} for this call: give {least} to {most} (0 is the output, {} the input)",
                    most + less
                ),
            ))
        }
    }

    /// A slot of the chain as an expression.
    fn slot(&self, py: Python<'_>, make: impl FnOnce(&mut zilch::rules::builder::Chain) -> SlotId) -> PyResult<Expr> {
        Ok(Expr::leaf(Formula::Slot(self.with(py, make)?), self.id))
    }

    /// An op of the chain.
    fn wrap(&self, op: Operation) -> Op {
        Op { op, of: self.id }
    }

    /// Converts the epilogue of an op: a list of (slot, expression).
    fn assignments(&self, epilogue: &Bound<'_, PyAny>) -> PyResult<Vec<(SlotId, Formula)>> {
        let py = epilogue.py();
        let mut list = Vec::new();
        for end in epilogue.try_iter()? {
            let end = end?;
            let pair = end.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2);
            let Some(pair) = pair else {
                return Err(usage(py, "the assignments of an op are a list of (slot, expression)"));
            };
            let to = Expr::read(&pair.get_item(0)?)?.slot(py, self.id)?;
            list.push((to, self.own(py, Expr::read(&pair.get_item(1)?)?)?));
        }
        Ok(list)
    }

    /// The formula of an expression, unless it reads slots of another plan.
    fn own(&self, py: Python<'_>, expr: Expr) -> PyResult<Formula> {
        if expr.of == 0 || expr.of == self.id {
            Ok(expr.formula)
        } else {
            Err(usage(py, "this expression reads slots of another plan"))
        }
    }

    /// Converts steps: a list of lists of ops.
    fn steps(&self, steps: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<Operation>>> {
        let py = steps.py();
        let step = |step: Bound<'_, PyAny>| -> PyResult<Vec<Operation>> {
            let ops = step.extract::<Vec<Op>>().map_err(|_| usage(py, "steps are a list of lists of ops"))?;
            match ops.iter().all(|op| op.of == self.id) {
                true => Ok(ops.into_iter().map(|op| op.op).collect()),
                false => Err(usage(py, "this op belongs to another plan")),
            }
        };
        steps.try_iter()?.map(|one| step(one?)).collect()
    }

    /// The slot of weights and the index of its projection.
    fn weights(&self, py: Python<'_>, weights: &Expr) -> PyResult<(SlotId, usize)> {
        let slot = weights.slot(py, self.id)?;
        match self.with(py, |p| p.plan.slot(slot).home)? {
            Domain::Connections(projection) => Ok((slot, projection)),
            _ => Err(usage(py, "weights are needed here, such as p.theta(1); this is a slot of units")),
        }
    }

    /// An op input that belongs to this chain.
    fn what(&self, kind: Kind) -> What {
        What { kind, of: self.id }
    }
}

#[pymethods]
impl Chain {
    /// The index of the input layer, which is the number of weight matrices.
    #[getter]
    fn lmax(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |p| p.lmax())
    }
    /// The number of units of layer l.
    fn n(&self, py: Python<'_>, l: usize) -> PyResult<usize> {
        let l = self.layer(py, l, 0, 0)?;
        self.with(py, |p| p.network.n(l))
    }
    /// The value of an option of the rule.
    fn option(&self, py: Python<'_>, name: &str) -> PyResult<f64> {
        let typed = name.replace('_', "-");
        self.with(py, |p| {
            let has = p.options.rule.rule_options.iter().any(|choice| choice.name == typed);
            has.then(|| p.options.rule_option(&typed))
        })?
        .ok_or_else(|| usage(py, format!("the rule has no option \"{name}\": declare it in rule(…, options=…)")))
    }
    /// The number of inference steps: the option `steps`, or the rule's default.
    #[getter]
    fn inference_steps(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |p| p.options.steps(&p.network))
    }

    /// x^l, the value nodes; on layer 0 the target.
    fn x(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        self.slot(py, |p| p.x(l))
    }
    /// f(x^l), which layer l sends to the next layer.
    fn h(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        self.slot(py, |p| p.h(l))
    }
    /// μ^l, the prediction.
    fn mu(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        self.slot(py, |p| p.mu(l))
    }
    /// ε^l, the error nodes.
    fn eps(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        self.slot(py, |p| p.eps(l))
    }
    /// θ^l, the weights from layer l to layer l − 1.
    fn theta(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 1, 0)?;
        self.slot(py, |p| p.theta(l))
    }
    /// f′(x^l) as an expression.
    fn slope(&self, py: Python<'_>, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        let formula = self.with(py, |p| p.slope(l))?;
        let nodes = formula.nodes();
        Ok(Expr { formula, of: self.id, nodes })
    }
    /// f of an expression, where f is the activation of layer l.
    fn f(&self, py: Python<'_>, l: usize, a: &Bound<'_, PyAny>) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        let drive = self.with(py, |p| p.drive(l))?;
        Expr::combine(py, [Expr::read(a)?], |[a]| Formula::f(drive, a))
    }
    /// The learning rate α.
    #[getter]
    fn alpha(&self, py: Python<'_>) -> PyResult<Expr> {
        Ok(Expr::leaf(Formula::Param(self.with(py, |p| p.alpha)?), self.id))
    }
    /// The step size of inference, γ.
    #[getter]
    fn gamma(&self, py: Python<'_>) -> PyResult<Expr> {
        Ok(Expr::leaf(Formula::Param(self.with(py, |p| p.gamma)?), self.id))
    }
    /// 1 ÷ the batch size.
    #[getter]
    fn share(&self, py: Python<'_>) -> PyResult<Expr> {
        Ok(Expr::leaf(Formula::Param(self.with(py, |p| p.plan.param("share", Value::Share))?), self.id))
    }

    /// A custom slot with one value per sample and unit of layer l.
    fn units(&self, py: Python<'_>, name: &str, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        let name = leak(name);
        self.slot(py, |p| p.units(name, name, l))
    }
    /// A custom slot with one value per sample, at layer l.
    fn sample(&self, py: Python<'_>, name: &str, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        let name = leak(name);
        self.slot(py, |p| p.sample(name, l))
    }
    /// A persistent custom slot with one value per unit of layer l, shared by all samples; initially 0.
    fn vector(&self, py: Python<'_>, name: &str, l: usize) -> PyResult<Expr> {
        let l = self.layer(py, l, 0, 0)?;
        let name = leak(name);
        self.slot(py, |p| {
            let known = p.plan.find(name, l);
            known.unwrap_or_else(|| p.plan.keep(name, format!("{name}^{l}"), Domain::Vector(l), Initial::Zero))
        })
    }
    /// A persistent custom slot with one value per weight of `weights`; initially 0.
    fn beside(&self, py: Python<'_>, name: &str, weights: &Expr) -> PyResult<Expr> {
        let (_, at) = self.weights(py, weights)?;
        let name = leak(name);
        self.slot(py, |p| {
            let known = p.plan.find(name, at);
            known.unwrap_or_else(|| {
                p.plan.keep(name, format!("{name}^{}", at + 1), Domain::Connections(at), Initial::Zero)
            })
        })
    }
    /// B^l, fixed random weights of the shape of θ^l, uniform in ± scale √(6 / (n_in + n_out)).
    #[pyo3(signature = (l, scale = 1.0))]
    fn feedback(&self, py: Python<'_>, l: usize, scale: f64) -> PyResult<Expr> {
        let l = self.layer(py, l, 1, 0)?;
        self.slot(py, |p| {
            let known = p.plan.find("feedback", l - 1);
            known.unwrap_or_else(|| p.feedback(l, scale))
        })
    }
    /// Random weights from one layer directly to another. `index` keys their random values.
    #[pyo3(signature = (from_layer, to_layer, scale = 1.0, index = 0))]
    fn connect(&self, py: Python<'_>, from_layer: usize, to_layer: usize, scale: f64, index: u64) -> PyResult<Expr> {
        let from = self.layer(py, from_layer, 0, 0)?;
        let to = self.layer(py, to_layer, 0, 0)?;
        self.slot(py, |p| {
            let kind = Connection::Dense { bias: false };
            let projection = p.plan.project(format!("layer {from} to {to} directly"), from, to, kind);
            p.random(projection, format!("B^{from}→{to}"), scale, index)
        })
    }

    /// s = W h at layer l. W is θ^{l+1} or `weights`; h is f(x) of the source layer or the slot `sent`.
    #[pyo3(signature = (l, weights = None, sent = None))]
    fn forward(&self, py: Python<'_>, l: usize, weights: Option<&Expr>, sent: Option<&Expr>) -> PyResult<What> {
        let l = self.layer(py, l, 0, 1)?;
        let theta = self.theta(py, l + 1)?;
        let (weights, projection) = self.weights(py, weights.unwrap_or(&theta))?;
        let from = match sent {
            Some(sent) => sent.slot(py, self.id)?,
            None => self.with(py, |p| p.h(p.plan.projections[projection].from))?,
        };
        Ok(self.what(Kind::Send { projection, weights: Some(weights), direction: Direction::Forward, from }))
    }
    /// s = Wᵀ ε at layer l. W is θ^l or other `weights` from layer l, such as B^l; ε is that of the target layer or the slot `sent`.
    #[pyo3(signature = (l, weights = None, sent = None))]
    fn backward(&self, py: Python<'_>, l: usize, weights: Option<&Expr>, sent: Option<&Expr>) -> PyResult<What> {
        let l = self.layer(py, l, 1, 0)?;
        let theta = self.theta(py, l)?;
        let (weights, projection) = self.weights(py, weights.unwrap_or(&theta))?;
        let from = match sent {
            Some(sent) => sent.slot(py, self.id)?,
            None => self.with(py, |p| p.eps(p.plan.projections[projection].to))?,
        };
        Ok(self.what(Kind::Send { projection, weights: Some(weights), direction: Direction::Backward, from }))
    }
    /// No input: an elementwise op over the domain of `slot`.
    fn each(&self, py: Python<'_>, slot: &Expr) -> PyResult<What> {
        let slot = slot.slot(py, self.id)?;
        let home = self.with(py, |p| p.plan.slot(slot).home)?;
        Ok(self.what(Kind::Map(home)))
    }
    /// s = Σ over the batch of post ⊗ pre, an outer product with the shape of `weights`.
    fn change(&self, py: Python<'_>, weights: &Expr, post: &Expr, pre: &Expr) -> PyResult<What> {
        let (_, projection) = self.weights(py, weights)?;
        let (post, pre) = (post.slot(py, self.id)?, pre.slot(py, self.id)?);
        Ok(self.what(Kind::OuterProduct { projection, post, pre }))
    }
    /// s = a reduction of a slot over the units of each sample: "sum", "squares", "max", "argmax", or "top" with k.
    #[pyo3(signature = (slot, how, k = 1))]
    fn reduce(&self, py: Python<'_>, slot: &Expr, how: &str, k: u32) -> PyResult<What> {
        let from = slot.slot(py, self.id)?;
        let how = match how {
            "sum" => Reduction::Sum,
            "squares" => Reduction::Squares,
            "max" => Reduction::Max,
            "argmax" => Reduction::Argmax,
            "top" => Reduction::Top(k),
            _ => {
                return Err(usage(
                    py,
                    format!("there is no reduction \"{how}\"; the reductions are sum, squares, max, argmax, top"),
                ));
            }
        };
        Ok(self.what(Kind::Reduce { from, how }))
    }
    /// s = random values: "uniform" in [0, 1), or nearly normal ("bell") with mean 0 and variance 1.
    #[pyo3(signature = (how = "uniform", stream = 0))]
    fn draw(&self, py: Python<'_>, how: &str, stream: u32) -> PyResult<What> {
        match how {
            "uniform" => Ok(self.what(Kind::Draw(Draw::Uniform { stream }))),
            "bell" => Ok(self.what(Kind::Draw(Draw::Bell { stream }))),
            _ => Err(usage(py, format!("there is no draw \"{how}\"; the draws are uniform, bell"))),
        }
    }
    /// An op: its name, its input, and its epilogue [(slot, expression), …].
    fn op(&self, py: Python<'_>, name: &str, what: &What, epilogue: &Bound<'_, PyAny>) -> PyResult<Op> {
        if what.of != self.id {
            return Err(usage(py, "the input of this op belongs to another plan"));
        }
        Ok(self.wrap(op_of(leak(name), what.kind.clone(), self.assignments(epilogue)?)))
    }

    /// The forward pass: μ from the input to the output, and x = μ in hidden layers.
    fn predict_all(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |p| p.predict_all())
    }
    /// μ^l ← θ^{l+1} f(x^{l+1}) + b.
    fn predict(&self, py: Python<'_>, l: usize) -> PyResult<Op> {
        let l = self.layer(py, l, 0, 1)?;
        Ok(self.wrap(self.with(py, |p| p.predict(l))?))
    }
    /// x^l ← μ^l.
    fn settle(&self, py: Python<'_>, l: usize) -> PyResult<Op> {
        let l = self.layer(py, l, 1, 1)?;
        Ok(self.wrap(self.with(py, |p| p.settle(l))?))
    }
    /// The steps that compute ε^l ← x^l − μ^l; ε^0 is that of the loss.
    fn errors(&self, py: Python<'_>, layers: Vec<usize>) -> PyResult<Vec<Vec<Op>>> {
        for l in &layers {
            self.layer(py, *l, 0, 1)?;
        }
        let steps = self.with(py, |p| p.errors(layers))?;
        Ok(steps.into_iter().map(|ops| ops.into_iter().map(|op| self.wrap(op)).collect()).collect())
    }
    /// x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (θ^lᵀ ε^{l−1})).
    fn infer(&self, py: Python<'_>, l: usize) -> PyResult<Op> {
        let l = self.layer(py, l, 1, 1)?;
        Ok(self.wrap(self.with(py, |p| p.infer(l))?))
    }
    /// x^l ← x^l + dx, where dx may use the input s. In error coordinates ε is updated by the same step.
    fn move_by(&self, py: Python<'_>, l: usize, what: &What, dx: &Bound<'_, PyAny>) -> PyResult<Op> {
        let l = self.layer(py, l, 1, 1)?;
        let dx = self.own(py, Expr::read(dx)?)?;
        if what.of != self.id {
            return Err(usage(py, "the input of this op belongs to another plan"));
        }
        Ok(self.wrap(self.with(py, |p| p.move_by(l, what.kind.clone(), dx))?))
    }
    /// θ^{l+1} ← θ^{l+1} + α ε^l f(x^{l+1})ᵀ by the network's optimiser. `post` replaces ε by another slot of layer l.
    #[pyo3(signature = (l, post = None))]
    fn learn(&self, py: Python<'_>, l: usize, post: Option<&Expr>) -> PyResult<Op> {
        let l = self.layer(py, l, 0, 1)?;
        let post = post.map(|post| post.slot(py, self.id)).transpose()?;
        Ok(self.wrap(self.with(py, |p| match post {
            Some(post) => p.learn_from(l, post),
            None => p.learn(l),
        })?))
    }
    /// The epilogue that updates `weights` along `change` by the network's optimiser: [(slot, expression), …].
    #[pyo3(signature = (weights, change = None))]
    fn descend<'py>(
        &self,
        py: Python<'py>,
        weights: &Expr,
        change: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let (slot, _) = self.weights(py, weights)?;
        let change = match change {
            Some(change) => self.own(py, Expr::read(change)?)?,
            None => Formula::Arriving,
        };
        let epilogue = self.with(py, |p| p.descend(slot, change))?;
        let list = PyList::empty(py);
        for (to, formula) in epilogue {
            let nodes = formula.nodes();
            list.append((Expr::leaf(Formula::Slot(to), self.id), Expr { formula, of: self.id, nodes }))?;
        }
        Ok(list)
    }
    /// A backward pass: computes ε^0 at t = 0, runs the op back(l) at t = l, and updates every θ at t = lmax.
    fn backward_pass(&self, py: Python<'_>, back: &Bound<'_, PyAny>) -> PyResult<()> {
        let lmax = self.lmax(py)?;
        self.with(py, |p| {
            let errors = p.errors([0]);
            p.learning(0, errors);
        })?;
        for l in 1..lmax {
            let op = back.call1((l,))?;
            let steps = self.steps(PyList::new(py, [PyList::new(py, [op])?])?.as_any())?;
            self.with(py, |p| p.learning(l, steps))?;
        }
        self.with(py, |p| {
            let learn = (0..lmax).map(|l| p.learn(l)).collect();
            p.learning(lmax, vec![learn]);
        })
    }
    /// Adds learning steps at time t, repeated `times` times.
    #[pyo3(signature = (t, steps, times = 1))]
    fn learning(&self, py: Python<'_>, t: usize, steps: &Bound<'_, PyAny>, times: u32) -> PyResult<()> {
        self.moment(py, Stage::Learning(t), steps, times)
    }
    /// Adds prediction steps, which evaluation also runs.
    #[pyo3(signature = (steps, times = 1))]
    fn predicting(&self, py: Python<'_>, steps: &Bound<'_, PyAny>, times: u32) -> PyResult<()> {
        self.moment(py, Stage::Prediction, steps, times)
    }
}

impl Chain {
    fn moment(&self, py: Python<'_>, stage: Stage, steps: &Bound<'_, PyAny>, times: u32) -> PyResult<()> {
        let steps: Vec<Vec<Operation>> = self.steps(steps)?.into_iter().filter(|ops| !ops.is_empty()).collect();
        self.with(py, |p| p.plan.moments.push(Moment { stage, steps, times }))
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Rules

/// A rule that is defined by a Python function.
#[pyclass(frozen, module = "zilch_pc._core")]
pub(crate) struct CustomRule(&'static Definition);

impl CustomRule {
    pub(crate) fn rule(&self) -> Rule {
        Rule::of(self.0)
    }
}

thread_local! {
    /// Whether the function of a custom rule is running on this thread.
    static PLANNING: Cell<bool> = const { Cell::new(false) };
}

/// Refuses calls that could deadlock inside the function of a custom rule. A network may hold its lock while it waits
/// for this function.
pub(crate) fn refuse_in_plan(py: Python<'_>) -> PyResult<()> {
    match PLANNING.get() {
        true => Err(usage(py, "the function of a rule may use no network: read what it needs before it is called")),
        false => Ok(()),
    }
}

/// Builds the plan of a custom rule by calling its function.
fn plan(network: &Network, options: &Options) -> zilch::Result<Plan> {
    static NEXT_ID: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let id = NEXT_ID.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Python::attach(|py| {
        refuse_in_plan(py).map_err(keep)?;
        let chain = zilch::rules::builder::Chain::new(network, options);
        let build = || -> PyResult<Option<zilch::rules::builder::Chain>> {
            let definition: &Definition = &options.rule;
            let plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
            let function = plans.get(&(std::ptr::from_ref(definition) as usize)).map(|f| f.clone_ref(py));
            drop(plans);
            let function = function.ok_or_else(|| usage(py, "this rule has no function"))?;
            let chain = Py::new(py, Chain { chain: Mutex::new(Some(chain)), id })?;
            PLANNING.set(true);
            let called = function.call1(py, (chain.clone_ref(py),));
            PLANNING.set(false);
            called?;
            let mut chain = chain.get().chain.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(chain.take())
        };
        match build() {
            Ok(Some(chain)) => Ok(chain.plan),
            Ok(None) => {
                Err(zilch::Error::usage("the builder of the plan was taken while the function of the rule ran"))
            }
            Err(error) => Err(keep(error)),
        }
    })
}

#[pymethods]
impl CustomRule {
    /// A rule with this name. `options` are (name, default, least, most).
    #[new]
    fn new(
        py: Python<'_>,
        name: &str,
        title: &str,
        function: Py<PyAny>,
        options: Vec<(String, f64, f64, f64)>,
        takes: Vec<String>,
        gamma: f64,
    ) -> PyResult<CustomRule> {
        let word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !word || Rule::named(name).is_some() {
            return Err(usage(
                py,
                format!("a rule needs a name of letters, digits, - and _ that no built-in rule has; \"{name}\" given"),
            ));
        }
        let own = options.into_iter().map(|(name, default, low, high)| {
            let values = Values::Number(low, high);
            if !(low <= default && default <= high) {
                return Err(usage(py, format!("option {name}: the default {default} is not within {low} to {high}")));
            }
            Ok(Choice { name: leak(&name.replace('_', "-")), help: "an option of a custom rule", values, default })
        });
        let own: Vec<Choice> = own.collect::<PyResult<_>>()?;
        let takes: Vec<&'static str> = takes.iter().map(|name| leak(name)).collect();
        let definition: &'static Definition = Box::leak(Box::new(Definition {
            name: leak(name),
            title: leak(title),
            source: "a custom rule",
            takes: Box::leak(takes.into_boxed_slice()),
            rule_options: Box::leak(own.into_boxed_slice()),
            gamma,
            convolutions: true,
            graphs: true,
            plan,
            ..Definition::PLAIN
        }));
        let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(std::ptr::from_ref(definition) as usize, function);
        Ok(CustomRule(definition))
    }

    #[getter]
    fn name(&self) -> &'static str {
        self.0.name
    }
}

/// The locality properties of a rule's plan, as in `zilch rules`: (property, short heading, heading, whether a table marks it,
/// whether it holds, why).
#[pyfunction]
pub(crate) fn locality<'py>(py: Python<'py>, rule: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let rule = crate::options::rule(rule)?;
    let properties = py.detach(|| {
        let network = rule.suited(Network::parse(ANALYSED)?);
        zilch::Result::Ok(Options::new(rule).plan(&network)?.properties())
    });
    let properties = properties.or_raise(py)?;
    let row = |(column, (_, verdict)): (&Column, (&str, &Verdict))| {
        let marked = column.marks(verdict);
        (column.name, column.short, column.heading, marked, verdict.holds, verdict.why.as_str()).into_bound_py_any(py)
    };
    COLUMNS.iter().zip(properties.list()).map(row).collect()
}
