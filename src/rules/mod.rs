//! The learning rules: each turns a network and its options into a [`Plan`].
//!
//! A rule is one file of this folder and one line of the list `RULES`. The file has the rule's mathematics, its options and its plan.
//! It knows no device. A custom rule needs neither: see [`Rule::of`] and `docs/rules.md`.
//!
//! Rules decide what a schedule means, because the mathematics says what may be skipped:
//!
//! * `full` steps every layer at every t. It hoists one product: while x^{lmax} is clamped and
//!   θ^{lmax} has not moved, μ^{lmax−1} keeps its value from the forward pass.
//! * `frontier` skips what provably cannot change the update. Under C1 the disturbance climbs one
//!   layer per step (Lemma A.3), so x^l is still y^l for every t < l.

mod bp;
mod brainprop;
pub mod builder;
mod burstccn;
mod burstprop;
mod bursts;
mod defaults;
mod dendrite;
mod dendrite_spikes;
mod dfa;
mod dtp;
mod ep;
mod epc;
mod fa;
mod fazil;
mod ff;
mod file;
mod freeze;
mod frsf;
mod hebb;
mod il;
mod ipc;
mod kh;
mod kp;
mod local;
mod mupc;
mod options;
mod rpc;
mod settle;
pub mod superspike;
mod unroll_graph;
mod usf;
mod zil;

use crate::error::{Error, Result};
use crate::files::shown;
use crate::named::Named;
use crate::network::{Init, Network};
use crate::plan::activation::Activation;
pub use crate::plan::{Loss, LrSchedule, Ramp};
use crate::plan::{Op, Plan};
use crate::rules::builder::Chain;
pub use defaults::{Defaults, Learning, Preset};
pub use file::RuleFile;
pub use options::{Choice, Coords, MAX_STEPS, Optimizer, Options, Phi, Schedule, Values};

/// Every rule, in the order of listings.
const RULES: &[Rule] = &[
    Rule(&bp::BP),
    Rule(&il::IL),
    Rule(&zil::ZIL),
    Rule(&fazil::FAZIL),
    Rule(&fa::FA),
    Rule(&dfa::DFA),
    Rule(&usf::USF),
    Rule(&frsf::FRSF),
    Rule(&kp::KP),
    Rule(&rpc::RPC),
    Rule(&ipc::IPC),
    Rule(&epc::EPC),
    Rule(&mupc::MUPC),
    Rule(&brainprop::BRAINPROP),
    Rule(&ep::EP),
    Rule(&dtp::DTP),
    Rule(&dendrite::DENDRITE),
    Rule(&burstprop::BURSTPROP),
    Rule(&burstccn::BURSTCCN),
    Rule(&hebb::HEBB),
    Rule(&hebb::OJA),
    Rule(&kh::KH),
    Rule(&ff::FF),
    Rule(&local::LOCAL),
];

/// The option of rules with random feedback weights.
const FEEDBACK_SCALE: Choice = Choice {
    name: "feedback-scale",
    help: "size of random feedback weights, as a multiple of √(6 / (n_in + n_out))",
    values: Values::Number(0.0, 1e3),
    default: 1.0,
};

/// The definition of a rule: everything that the rest of the program needs to know about it.
#[derive(Debug)]
pub struct Definition {
    /// The name on the command line and in files.
    pub name: &'static str,
    /// The name in tables.
    pub title: &'static str,
    /// The publication.
    pub source: &'static str,
    /// The shared options that the rule takes: gamma, steps, phi, td, schedule, coords, sigma.
    pub takes: &'static [&'static str],
    /// The rule's own options.
    pub rule_options: &'static [Choice],
    /// The name of the rule's own option that shrinks the weights at every update, as weight decay does, if there is one.
    pub decay: Option<&'static str>,
    /// Whether the rule's network differs from BP's network with the same weights: its own kind of unit, or another forward pass. BP
    /// then defines no step to compare the rule's step with.
    pub own_network: bool,
    /// Whether the output is a rate or a choice, so that a label means 0 and 1 and other targets are refused.
    pub rates: bool,
    /// The losses that the rule supports.
    pub losses: &'static [Loss],
    /// The activation of the rule's networks, if the rule fixes it.
    pub activation: Option<Activation>,
    /// The default distribution of initial weights.
    pub init: Init,
    /// Settings with which the rule learns.
    pub recommended: Defaults,
    /// The default γ.
    pub gamma: f64,
    /// The default number of steps.
    pub steps: fn(&Network) -> usize,
    /// The default schedule.
    pub schedule: Schedule,
    /// The schedules that are worth comparing for speed.
    pub compared: &'static [Schedule],
    /// Whether the rule trains networks with convolutions.
    pub convolutions: bool,
    /// Whether the rule trains graphs; its plan on a chain is then unrolled over the graph's vertices.
    pub graphs: bool,
    /// Constructs the plan of one weight update.
    pub plan: fn(&Network, &Options) -> Result<Plan>,
}

impl Definition {
    /// The defaults of a rule without options, for `..Definition::PLAIN`.
    pub const PLAIN: Definition = Definition {
        name: "",
        title: "",
        source: "",
        takes: &[],
        rule_options: &[],
        decay: None,
        own_network: false,
        rates: false,
        losses: &[Loss::Squared, Loss::CrossEntropy],
        activation: None,
        init: Init::Uniform,
        recommended: Defaults::RECOMMENDED,
        gamma: 1.0,
        steps: Network::lmax,
        schedule: Schedule::Frontier,
        compared: &[Schedule::Frontier],
        convolutions: false,
        graphs: false,
        plan: |_, options| Err(Error::usage(format!("the rule {} has no plan", options.rule.name()))),
    };
}

/// A learning rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule(&'static Definition);

impl Rule {
    /// Backpropagation in an ANN (Eqs. 1–4).
    pub const BP: Rule = RULES[0];
    /// Inference learning in a PCN (Algorithm 1).
    pub const IL: Rule = RULES[1];
    /// Zero-divergence inference learning (conditions C1–C3).
    pub const ZIL: Rule = RULES[2];
    /// Fully autonomous Z-IL (Algorithm 2).
    pub const FAZIL: Rule = RULES[3];
    /// SuperSpike. It learns from spike trains and not from images, so [`Rule::all`] leaves it out.
    pub const SUPERSPIKE: Rule = Rule(&superspike::SUPERSPIKE);
    /// The four rules of Song et al. (2020), in the paper's order.
    pub const PAPER: [Rule; 4] = [Rule::BP, Rule::IL, Rule::ZIL, Rule::FAZIL];

    /// Every rule that the command line knows.
    pub fn all() -> &'static [Rule] {
        RULES
    }

    /// A custom rule.
    pub const fn of(definition: &'static Definition) -> Rule {
        Rule(definition)
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Rule> {
        RULES.iter().copied().find(|rule| rule.name() == name)
    }

    /// The message about a word that names no rule.
    pub fn unknown(word: &str) -> String {
        let meant = <Rule as Named>::nearest(word).map(|name| format!("; did you mean {name}?"));
        let all = || format!("; the rules are {}", RULES.iter().map(Rule::name).collect::<Vec<_>>().join(", "));
        format!("there is no rule \"{}\"{}", shown(word), meant.unwrap_or_else(all))
    }

    /// Whether the rule takes this shared option.
    pub fn takes(&self, option: &str) -> bool {
        self.0.takes.contains(&option)
    }

    /// The same network with the rule's activation, if the rule fixes one.
    pub fn suited(&self, network: Network) -> Network {
        let activation = self.activation.unwrap_or(network.activation);
        network.with_activation(activation)
    }

    /// The name used on the command line and in files.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The name used in tables.
    pub fn title(&self) -> &'static str {
        self.0.title
    }
}

impl std::ops::Deref for Rule {
    type Target = Definition;
    fn deref(&self) -> &Definition {
        self.0
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Rule {}

impl serde::Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Rule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Rule::read(&name).ok_or_else(|| serde::de::Error::custom(Rule::unknown(&name)))
    }
}

impl Named for Rule {
    fn all() -> &'static [Self] {
        RULES
    }

    fn name(&self) -> &'static str {
        self.0.name
    }

    fn help(&self) -> &'static str {
        self.0.title
    }

    fn kind() -> &'static str {
        "Rule"
    }

    fn title(&self) -> &'static str {
        self.0.title
    }
}

/// The layers that each phase of one learning moment works on.
#[derive(Default)]
struct MomentLayers {
    predict: Vec<usize>,
    error: Vec<usize>,
    gate: Vec<usize>,
    infer: Vec<usize>,
    learn: Vec<usize>,
}

impl MomentLayers {
    /// Adds moment t: first μ, then ε, then φ; last x and θ together.
    fn add(self, p: &mut Chain, t: usize, learn: &mut dyn FnMut(&mut Chain, usize) -> Op) {
        let mut steps = vec![self.predict.iter().map(|&l| p.predict(l)).collect()];
        if !self.error.is_empty() {
            steps.extend(p.errors(self.error));
        }
        if p.options.phi == Phi::Feedback {
            steps.push(self.gate.iter().map(|&l| p.gate_feedback(l)).collect());
            steps.push(self.gate.iter().map(|&l| p.spikes(l)).collect());
        } else {
            steps.push(self.gate.iter().map(|&l| p.gate(l)).collect());
        }
        let infer: Vec<Op> = self.infer.iter().map(|&l| p.infer(l)).collect();
        let learn = self.learn.iter().map(|&l| learn(p, l));
        steps.push(infer.into_iter().chain(learn).collect());
        p.learning(t, steps);
    }
}

/// The forward pass, followed by the noise that breaks C1 if `sigma` is set.
fn prediction(network: &Network, options: &Options) -> Chain {
    let mut p = Chain::new(network, options);
    p.predict_all();
    if options.sigma != 0.0 && network.lmax() > 1 {
        let steps = p.perturb(1..network.lmax(), options.sigma);
        p.plan.moment(crate::plan::Stage::Disturbance, steps);
    }
    p
}

/// The limit on the parts of a network times the moments that a plan spells out.
const MOST_MOMENTS: usize = 1 << 16;

/// Refuses a plan that would fill memory because it spells out every layer of every moment.
///
/// # Errors
/// [`Error::Usage`], which names both counts.
fn check_moments(network: &Network, options: &Options, moments: usize, named: &str) -> Result<()> {
    let (parts, most) = (network.parts(), MOST_MOMENTS);
    if moments.saturating_mul(parts) <= most {
        return Ok(());
    }
    let what = match (network.graph(), network.convolves()) {
        (Some(_), _) => "layers, sums and windows",
        (None, true) => "layers of weights and windows",
        (None, false) => "layers of weights",
    };
    Err(Error::usage(format!(
        "--rule {} with {moments} moments and the {parts} {what} of {network} gives a plan that is too long: their product may be at \
         most {most}; lower --{named} or give fewer --layers",
        options.rule.name()
    )))
}

/// The layers whose μ_t the full schedule has to compute. At t = 0 under C1 there are none, since the forward pass
/// has just computed them. With `hoist` the layer next to the input is left out, because θ^{lmax} has not moved since.
fn predicted(network: &Network, t: usize, c1: bool, hoist: bool) -> Vec<usize> {
    let all = if hoist { network.lmax() - 1 } else { network.lmax() };
    if t == 0 && c1 { Vec::new() } else { (0..all).collect() }
}
