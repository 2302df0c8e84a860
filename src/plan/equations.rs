//! The equation of Song et al. (2020) that an op computes, for listings and shaders.

use super::Plan;
use super::expr::SlotId;

/// The equation of an op, for backpropagation and for predictive coding networks.
struct Equation {
    /// The rules' name for the op.
    op: &'static str,
    /// The keys of the families that it writes.
    writes: &'static [&'static str],
    /// Equation number for rule bp, and for the rules with value nodes and error nodes.
    bp: &'static str,
    pcn: &'static str,
    /// The equation.
    text: &'static str,
}

const EQUATIONS: [Equation; 6] = [
    Equation {
        op: "predict",
        writes: &["mu"],
        bp: "Eq. (1)",
        pcn: "Eq. (5)",
        text: "μ^l ← θ^{l+1} f(x^{l+1}) + b^{l+1}",
    },
    Equation { op: "error", writes: &["eps"], bp: "Eq. (4)", pcn: "Eq. (5)", text: "ε^l ← x^l − μ^l" },
    Equation {
        op: "infer",
        writes: &["x", "dx", "h"],
        bp: "Eq. (7)",
        pcn: "Eq. (7)",
        text: "x^l ← x^l + γ (−ε^l + f′(x^l) ∘ (θ^lᵀ ε^{l−1}))",
    },
    Equation {
        op: "backprop",
        writes: &["eps"],
        bp: "Eq. (4)",
        pcn: "Eq. (4)",
        text: "ε^l ← f′(x^l) ∘ (θ^lᵀ ε^{l−1})",
    },
    Equation {
        op: "learn",
        writes: &["theta"],
        bp: "Eq. (3)",
        pcn: "Eq. (9)",
        text: "θ^{l+1} ← θ^{l+1} + α ε^l f(x^{l+1})ᵀ",
    },
    Equation {
        op: "gate",
        writes: &["phi", "quiet"],
        bp: "Algorithm 2",
        pcn: "Algorithm 2",
        text: "φ^l ∘ ε^l, where φ^l is 1 for units whose ε left 0 after t_d silent moments",
    },
];

/// The rules whose ops are those of the paper. Ops with the same names in other rules are variants.
const PAPER: [&str; 4] = ["bp", "il", "zil", "fazil"];

fn of(plan: &Plan, op: &str, to: SlotId) -> Option<(String, &'static str)> {
    let key = plan.families[plan.slot(to).family.0].key;
    let equation = EQUATIONS.iter().find(|equation| equation.op == op && equation.writes.contains(&key))?;
    let number = if plan.task.rule == "bp" { equation.bp } else { equation.pcn };
    let paper = PAPER.contains(&plan.task.rule.as_str());
    Some((if paper { number.into() } else { format!("after {number}") }, equation.text))
}

/// The number of the equation with which an op of this name writes a slot: "Eq. (7)".
pub fn number(plan: &Plan, op: &str, to: SlotId) -> Option<String> {
    of(plan, op, to).map(|(number, _)| number)
}

/// The number with the equation itself: "Eq. (7), infer: x^l ← …".
pub fn label(plan: &Plan, op: &str, to: SlotId) -> Option<String> {
    of(plan, op, to).map(|(number, text)| format!("{number}, {op}: {text}"))
}
