//! Elementwise mathematics as data: formulas that a rule applies to every unit, sample or connection.
//!
//! An [`Expr`] is evaluated exactly as written. Every node rounds once. No node is reassociated or contracted. A rule
//! writes [`Expr::fma`] where a product and a sum are to be rounded together. The CPU evaluates the flat form,
//! [`Code`], block by block. The GPU shaders are generated from it.
//!
//! ```
//! use zilch::plan::expr::{Expr, SlotId, arriving};
//! let (h, eps) = (Expr::Slot(SlotId(0)), Expr::Slot(SlotId(1)));
//! let dx = Expr::fma(h.clone() * (Expr::Const(1.0) - h), arriving(), -eps); // f′(x) ∘ s − ε, of a sigmoid
//! assert_eq!(dx.to_string(), "fma(#0 · (1 − #0), s, −#1)");
//! ```

use crate::plan::activation::Activation;
use std::fmt;
use std::ops;

/// A slot of a plan: its index in [`crate::Plan::slots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub usize);

/// A parameter of a rule (α, γ): its index in [`crate::Plan::params`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(pub usize);

/// The maximum number of nodes in all formulas of one op. It bounds the size of a shader.
pub const MAX_NODES: usize = 256;

/// Operations on one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unary {
    /// −a
    Neg,
    /// |a|
    Abs,
    /// √a
    Sqrt,
    /// eᵃ, of a within −87 .. 88
    Exp,
    /// 1, 0 or −1
    Sign,
    /// f(a)
    F(Activation),
    /// f′(x) from a = f(x)
    Slope(Activation),
}

/// Operations on two numbers. Comparisons give 1 or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binary {
    /// a + b
    Add,
    /// a − b
    Sub,
    /// a · b
    Mul,
    /// a ÷ b
    Div,
    /// the minimum
    Min,
    /// the maximum
    Max,
    /// a < b
    Less,
    /// a = b
    Equal,
}

/// An elementwise formula: one value from the values at the same index.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// s: the sum that a projection delivers, or Σ_batch post ⊗ pre in a weight update.
    Arriving,
    /// The value of the slot at the start of the step.
    Slot(SlotId),
    /// The same value, but not fused with the arithmetic that produced it where a compiler could contract the two.
    Stored(SlotId),
    /// A parameter of the rule.
    Param(ParamId),
    /// The index of the unit within its population, from 0.
    Unit,
    /// On connections: 1 for a weight, 0 for a bias.
    Weight,
    /// A constant, rounded to the device's precision.
    Const(f64),
    /// An operation on one number.
    Unary(Unary, Box<Expr>),
    /// An operation on two numbers.
    Binary(Binary, Box<[Expr; 2]>),
    /// a · b + c, rounded once.
    Fma(Box<[Expr; 3]>),
    /// The second part if the first is not 0, else the third.
    Select(Box<[Expr; 3]>),
}

/// √(2/π), and the coefficient of x³, in [`Activation::Gelu`].
pub(crate) const GELU: [f64; 2] = [0.797_884_560_802_865_4, 0.044715];

/// tanh(√(2/π) (x + 0.044715 x³))
fn gelu_bend(x: &Expr) -> Expr {
    let cube = Expr::Const(GELU[1]) * (x.clone() * x.clone()) + 1.0;
    Expr::f(Activation::Tanh, (Expr::Const(GELU[0]) * x.clone()) * cube)
}

/// s, see [`Expr::Arriving`].
pub fn arriving() -> Expr {
    Expr::Arriving
}

impl From<f64> for Expr {
    fn from(value: f64) -> Self {
        Expr::Const(value)
    }
}

impl From<SlotId> for Expr {
    fn from(slot: SlotId) -> Self {
        Expr::Slot(slot)
    }
}

impl From<ParamId> for Expr {
    fn from(param: ParamId) -> Self {
        Expr::Param(param)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:ident) => {
        impl<E: Into<Expr>> ops::$trait<E> for Expr {
            type Output = Expr;
            fn $method(self, other: E) -> Expr {
                Expr::binary(Binary::$op, self, other)
            }
        }
    };
}
operator!(Add, add, Add);
operator!(Sub, sub, Sub);
operator!(Mul, mul, Mul);
operator!(Div, div, Div);

impl ops::Neg for Expr {
    type Output = Expr;
    fn neg(self) -> Expr {
        Expr::Unary(Unary::Neg, Box::new(self))
    }
}

impl Expr {
    fn binary(op: Binary, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        Expr::Binary(op, Box::new([a.into(), b.into()]))
    }

    fn unary(op: Unary, a: impl Into<Expr>) -> Expr {
        Expr::Unary(op, Box::new(a.into()))
    }

    /// a · b + c, rounded once.
    pub fn fma(a: impl Into<Expr>, b: impl Into<Expr>, c: impl Into<Expr>) -> Expr {
        Expr::Fma(Box::new([a.into(), b.into(), c.into()]))
    }

    /// f(a)
    pub fn f(activation: Activation, a: impl Into<Expr>) -> Expr {
        match activation {
            Activation::Identity => a.into(),
            _ => Expr::unary(Unary::F(activation), a),
        }
    }

    /// f′(x), computed from h = f(x) where h is sufficient.
    pub fn slope(activation: Activation, x: impl Into<Expr>, h: impl Into<Expr>) -> Expr {
        match activation {
            Activation::Gelu => {
                let x = x.into();
                let bend = gelu_bend(&x);
                let inner = Expr::Const(3.0 * GELU[1]) * (x.clone() * x.clone()) + 1.0;
                let curved =
                    (Expr::Const(0.5 * GELU[0]) * x) * (inner * (Expr::Const(1.0) - bend.clone() * bend.clone()));
                Expr::fma(0.5, bend, curved + 0.5)
            }
            _ => Expr::unary(Unary::Slope(activation), h),
        }
    }

    /// The same formula with f as the identity: f(x) becomes x, and f′ becomes 1.
    pub fn linear(&self, f: Activation) -> Expr {
        self.map(&mut |e| match e {
            Expr::Unary(Unary::F(of), a) if *of == f => Some(a.linear(f)),
            Expr::Unary(Unary::Slope(of), _) if *of == f => Some(Expr::Const(1.0)),
            _ if f == Activation::Gelu && e.bent().is_some() => Some(Expr::Const(1.0)),
            _ => None,
        })
    }

    /// If this is f′(x) of gelu as written by [`Expr::slope`], its x.
    fn bent(&self) -> Option<&Expr> {
        let Expr::Fma(parts) = self else { return None };
        let Expr::Unary(Unary::F(Activation::Tanh), bend) = &parts[1] else { return None };
        let Expr::Binary(Binary::Mul, bend) = &**bend else { return None };
        let Expr::Binary(Binary::Mul, x) = &bend[0] else { return None };
        (*self == Expr::slope(Activation::Gelu, x[1].clone(), 0.0)).then_some(&x[1])
    }

    /// Whether this node occurs only in an f′.
    pub fn is_slope(&self) -> bool {
        match self {
            Expr::Unary(Unary::Slope(_), _) => true,
            Expr::Const(c) => *c == 3.0 * GELU[1],
            _ => false,
        }
    }

    /// √self
    pub fn sqrt(self) -> Expr {
        Expr::unary(Unary::Sqrt, self)
    }

    /// |self|
    pub fn abs(self) -> Expr {
        Expr::unary(Unary::Abs, self)
    }

    /// 1, 0 or −1.
    pub fn sign(self) -> Expr {
        Expr::unary(Unary::Sign, self)
    }

    /// e^self
    pub fn exp(self) -> Expr {
        Expr::unary(Unary::Exp, self)
    }

    /// The minimum of the two.
    pub fn min(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Min, self, other)
    }

    /// The maximum of the two.
    pub fn max(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Max, self, other)
    }

    /// 1 if self < other, else 0.
    pub fn less(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Less, self, other)
    }

    /// 1 if self = other (0 and −0 are equal), else 0.
    pub fn equals(self, other: impl Into<Expr>) -> Expr {
        Expr::binary(Binary::Equal, self, other)
    }

    /// `yes` if self is not 0, else `no`.
    pub fn select(self, yes: impl Into<Expr>, no: impl Into<Expr>) -> Expr {
        Expr::Select(Box::new([self, yes.into(), no.into()]))
    }

    /// The operands.
    pub fn parts(&self) -> &[Expr] {
        match self {
            Expr::Unary(_, a) => std::slice::from_ref(a),
            Expr::Binary(_, ab) => &ab[..],
            Expr::Fma(abc) | Expr::Select(abc) => &abc[..],
            _ => &[],
        }
    }

    /// The same formula with parts replaced: a node becomes `change(node)` if that is `Some`.
    pub fn map(&self, change: &mut dyn FnMut(&Expr) -> Option<Expr>) -> Expr {
        if let Some(new) = change(self) {
            return new;
        }
        match self {
            Expr::Unary(op, a) => Expr::Unary(*op, Box::new(a.map(change))),
            Expr::Binary(op, ab) => Expr::Binary(*op, Box::new([ab[0].map(change), ab[1].map(change)])),
            Expr::Fma(e) => Expr::Fma(Box::new([e[0].map(change), e[1].map(change), e[2].map(change)])),
            Expr::Select(e) => Expr::Select(Box::new([e[0].map(change), e[1].map(change), e[2].map(change)])),
            leaf => leaf.clone(),
        }
    }

    /// Calls `visit` on every node, in pre-order.
    pub fn visit(&self, visit: &mut dyn FnMut(&Expr)) {
        visit(self);
        self.parts().iter().for_each(|part| part.visit(visit));
    }

    /// The slots it reads, without duplicates.
    pub fn slots(&self) -> Vec<SlotId> {
        let mut slots = Vec::new();
        self.visit(&mut |e| {
            if let Expr::Slot(s) | Expr::Stored(s) = e
                && !slots.contains(s)
            {
                slots.push(*s);
            }
        });
        slots
    }

    /// Whether `like` holds for some node.
    pub fn any(&self, like: impl Fn(&Expr) -> bool) -> bool {
        let mut found = false;
        self.visit(&mut |e| found |= like(e));
        found
    }

    /// Whether it is provably non-negative, given which slots are (`slot`) and whether s is (`arriving`).
    pub fn is_never_negative(&self, slot: &dyn Fn(SlotId) -> bool, arriving: bool) -> bool {
        let is = |e: &Expr| e.is_never_negative(slot, arriving);
        match self {
            Expr::Arriving => arriving,
            Expr::Slot(s) | Expr::Stored(s) => slot(*s),
            Expr::Param(_) => false,
            Expr::Unit | Expr::Weight => true,
            Expr::Const(c) => *c >= 0.0,
            Expr::Unary(Unary::Abs | Unary::Sqrt | Unary::Exp | Unary::Slope(_), _) => true,
            Expr::Unary(Unary::F(Activation::Sigmoid | Activation::Relu), _) => true,
            Expr::Unary(Unary::F(_) | Unary::Sign, a) => is(a),
            Expr::Unary(Unary::Neg, _) => false,
            Expr::Binary(Binary::Less | Binary::Equal, _) => true,
            Expr::Binary(Binary::Max, ab) => is(&ab[0]) || is(&ab[1]),
            Expr::Binary(Binary::Sub, _) => false,
            Expr::Binary(_, ab) => is(&ab[0]) && is(&ab[1]),
            Expr::Fma(abc) => abc.iter().all(is),
            Expr::Select(abc) => is(&abc[1]) && is(&abc[2]),
        }
    }

    /// Number of nodes, including leaves.
    pub fn nodes(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_| count += 1);
        count
    }

    /// Number of arithmetic operations. A fused multiply-add counts as two, and so does an f or f′.
    pub fn flops(&self) -> u64 {
        let mut count = 0;
        self.visit(&mut |e| {
            count += match e {
                Expr::Fma(_) | Expr::Unary(Unary::F(_), _) => 2,
                Expr::Unary(Unary::Slope(f), _) => u64::from(*f != Activation::Identity) * 2,
                Expr::Binary(..) | Expr::Unary(Unary::Sqrt | Unary::Exp, _) => 1,
                _ => 0,
            }
        });
        count
    }

    /// Its text, with the given names of slots and parameters.
    pub fn text(&self, slot: &dyn Fn(SlotId) -> String, param: &dyn Fn(ParamId) -> String) -> String {
        let part = |e: &Expr| {
            let text = e.text(slot, param);
            let sum = matches!(e, Expr::Binary(Binary::Add | Binary::Sub | Binary::Less | Binary::Equal, _));
            if sum { format!("({text})") } else { text }
        };
        let list = |es: &[Expr]| es.iter().map(|e| e.text(slot, param)).collect::<Vec<_>>().join(", ");
        match self {
            Expr::Arriving => "s".into(),
            Expr::Unit => "i".into(),
            Expr::Weight => "[weight]".into(),
            Expr::Slot(s) | Expr::Stored(s) => slot(*s),
            Expr::Param(p) => param(*p),
            Expr::Const(c) => format!("{c}"),
            Expr::Unary(Unary::Neg, a) => format!("−{}", part(a)),
            Expr::Unary(Unary::Abs, a) => format!("|{}|", a.text(slot, param)),
            Expr::Unary(Unary::Sqrt, a) => format!("√({})", a.text(slot, param)),
            Expr::Unary(Unary::Exp, a) => format!("exp({})", a.text(slot, param)),
            Expr::Unary(Unary::Sign, a) => format!("sign({})", a.text(slot, param)),
            Expr::Unary(Unary::F(_), a) => format!("f({})", a.text(slot, param)),
            Expr::Unary(Unary::Slope(_), a) => format!("f′[{}]", a.text(slot, param)),
            Expr::Binary(op, ab) => {
                let sign = match op {
                    Binary::Add => "+",
                    Binary::Sub => "−",
                    Binary::Mul => "·",
                    Binary::Div => "÷",
                    Binary::Less => "<",
                    Binary::Equal => "=",
                    Binary::Min => return format!("min({})", list(&ab[..])),
                    Binary::Max => return format!("max({})", list(&ab[..])),
                };
                format!("{} {sign} {}", part(&ab[0]), part(&ab[1]))
            }
            Expr::Fma(e) => format!("fma({})", list(&e[..])),
            Expr::Select(e) => format!("select({})", list(&e[..])),
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text(&|s| format!("#{}", s.0), &|p| format!("${}", p.0)))
    }
}

/// A node of a [`Code`]. Its operands are earlier nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    /// s
    Arriving,
    /// The old value of leaf i.
    Leaf(usize),
    /// Entry i of [`Code::params`].
    Param(usize),
    /// The index of the unit.
    Unit,
    /// 1 for a weight, 0 for a bias.
    Weight,
    /// A constant, as the bits of its float64.
    Const(u64),
    /// An operation on one number.
    Unary(Unary, usize),
    /// An operation on two numbers.
    Binary(Binary, usize, usize),
    /// a · b + c, rounded once.
    Fma(usize, usize, usize),
    /// b if a ≠ 0, else c.
    Select(usize, usize, usize),
}

/// Formulas in flat form, after common subexpression elimination: each distinct node appears once, in evaluation order.
/// A leaf `L` is a slot, or the storage location that a program assigns to it. The first `outs.len()` leaves are the
/// written ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Code<L> {
    /// The written leaves, in the order of the assignments, then those that are only read.
    pub leaves: Vec<L>,
    /// The parameters that it reads.
    pub params: Vec<ParamId>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// For each written leaf, the node with its new value.
    pub outs: Vec<usize>,
}

impl<L: Copy + PartialEq> Code<L> {
    /// Flattens assignments (target, formula). `read` maps a slot to the leaf from which it is read.
    pub fn new(epilogue: &[(L, Expr)], read: &dyn Fn(SlotId) -> L) -> Self {
        let leaves = epilogue.iter().map(|(to, _)| *to).collect();
        let mut code = Code { leaves, params: Vec::new(), nodes: Vec::new(), outs: Vec::new() };
        for (_, expr) in epilogue {
            let out = code.push(expr, read);
            code.outs.push(out);
        }
        code
    }

    fn push(&mut self, expr: &Expr, read: &dyn Fn(SlotId) -> L) -> usize {
        let parts: Vec<usize> = expr.parts().iter().map(|part| self.push(part, read)).collect();
        let node = match expr {
            Expr::Arriving => Node::Arriving,
            Expr::Unit => Node::Unit,
            Expr::Weight => Node::Weight,
            Expr::Slot(slot) | Expr::Stored(slot) => Node::Leaf(index(&mut self.leaves, read(*slot))),
            Expr::Param(param) => Node::Param(index(&mut self.params, *param)),
            Expr::Const(value) => Node::Const(value.to_bits()),
            Expr::Unary(op, _) => Node::Unary(*op, parts[0]),
            Expr::Binary(op, _) => Node::Binary(*op, parts[0], parts[1]),
            Expr::Fma(_) => Node::Fma(parts[0], parts[1], parts[2]),
            Expr::Select(_) => Node::Select(parts[0], parts[1], parts[2]),
        };
        index(&mut self.nodes, node)
    }

    /// Its text, one word per node.
    pub fn text(&self, leaf: &dyn Fn(L) -> String) -> String {
        let nodes: Vec<String> = self.nodes.iter().enumerate().map(|(i, node)| format!("n{i} = {node:?}")).collect();
        let leaves: Vec<String> = self.leaves.iter().map(|l| leaf(*l)).collect();
        format!("{} -> {:?} of leaves {}", nodes.join(", "), self.outs, leaves.join(", "))
    }

    /// Whether the old value of leaf i is read.
    pub fn reads(&self, leaf: usize) -> bool {
        self.nodes.contains(&Node::Leaf(leaf))
    }

    /// Whether s is read.
    pub fn arrives(&self) -> bool {
        self.nodes.contains(&Node::Arriving)
    }

    /// For each node, whether it is 0 in the padding of a row. There s is 0, and so is every leaf for which `padded`
    /// holds.
    pub fn zeros(&self, padded: &dyn Fn(&L) -> bool) -> Vec<bool> {
        use crate::plan::activation::Activation::Sigmoid;
        let mut zero: Vec<bool> = Vec::new();
        for node in &self.nodes {
            let now = match *node {
                Node::Arriving => true,
                Node::Leaf(i) => padded(&self.leaves[i]),
                Node::Const(bits) => f64::from_bits(bits) == 0.0,
                Node::Param(_) | Node::Unit | Node::Weight => false,
                Node::Unary(Unary::Neg | Unary::Abs | Unary::Sqrt | Unary::Sign, a) => zero[a],
                Node::Unary(Unary::F(f), a) => zero[a] && f != Sigmoid,
                Node::Unary(Unary::Exp | Unary::Slope(_), _) => false,
                Node::Binary(Binary::Add | Binary::Sub | Binary::Min | Binary::Max | Binary::Less, a, b) => {
                    zero[a] && zero[b]
                }
                Node::Binary(Binary::Mul, a, b) => zero[a] || zero[b],
                Node::Binary(Binary::Div, a, b) => zero[a] && !zero[b],
                Node::Binary(Binary::Equal, ..) => false,
                Node::Fma(a, b, c) => (zero[a] || zero[b]) && zero[c],
                Node::Select(c, a, b) => zero[b] && (zero[a] || zero[c]),
            };
            zero.push(now);
        }
        zero
    }

    /// Whether both compute the same formulas on leaves in the same order. The leaves themselves are not compared.
    pub fn like<M>(&self, other: &Code<M>) -> bool {
        self.leaves.len() == other.leaves.len()
            && self.params.len() == other.params.len()
            && self.nodes == other.nodes
            && self.outs == other.outs
    }
}

/// The index of `item` in `list`. A new item is appended.
fn index<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}
