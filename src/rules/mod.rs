//! The learning rules: each turns a network and its options into a [`Plan`].
//!
//! A rule is a file here, with its page of mathematics, its options and its plan, and a line in the list `RULES`. It knows no
//! device. A rule of one's own needs neither: see [`Rule::of`] and `docs/rules.md`.
//!
//! Schedules are decided here, because what may be left out follows from the mathematics:
//!
//! * `full` steps every layer at every t. One product is hoisted: while x^{lmax} is clamped and
//!   θ^{lmax} has not moved, μ^{lmax−1} is what the forward pass made it.
//! * `frontier` leaves out what provably cannot change the update. Under C1 the disturbance climbs one
//!   layer a step (Lemma A.3), so x^l is still y^l for every t < l.

mod bp;
mod brainprop;
pub mod builder;
mod burstccn;
mod burstprop;
mod bursts;
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
use crate::named::Named;
use crate::network::{Init, Network};
use crate::plan::activation::Activation;
pub use crate::plan::{Loss, LrSchedule, Ramp};
use crate::plan::{Op, Plan};
use crate::rules::builder::Chain;
pub use file::RuleFile;
pub use options::{Choice, Coords, MAX_STEPS, Optimizer, Options, Phi, Schedule, Values};

/// Every rule, in the order in which they are listed.
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

/// An option of rules with random feedback weights.
const FEEDBACK_SCALE: Choice = Choice {
    name: "feedback-scale",
    help: "size of random feedback weights, as a multiple of √(6 / (n_in + n_out))",
    values: Values::Number(0.0, 1e3),
    default: 1.0,
};

/// What a rule is: all that the rest of the program needs to know of it.
#[derive(Debug)]
pub struct Definition {
    /// The name on the command line and in files.
    pub name: &'static str,
    /// The name in tables.
    pub title: &'static str,
    /// Where it was published.
    pub source: &'static str,
    /// Which of the options that several rules share it takes: gamma, steps, phi, td, schedule, coords, sigma.
    pub takes: &'static [&'static str],
    /// Its own options.
    pub own: &'static [Choice],
    /// Its own option that takes a share of the weights away at every update, as weight decay does, if it has one.
    pub decay: Option<&'static str>,
    /// Whether its network is not the one that BP would train by the same weights: units of its own, or another forward pass. No
    /// step of BP's is defined there that its own could be compared with.
    pub own_network: bool,
    /// Whether its output says a rate or makes a choice, so that labels mean 0 and 1 to it and nothing else.
    pub rates: bool,
    /// What it can hold the output to.
    pub losses: &'static [Loss],
    /// The activation of its networks, where its units are its own.
    pub activation: Option<Activation>,
    /// How its networks' weights are drawn where nothing is said.
    pub init: Init,
    /// Its γ where none is given.
    pub gamma: f64,
    /// Its number of steps where none is given.
    pub steps: fn(&Network) -> usize,
    /// Its schedule where none is given.
    pub schedule: Schedule,
    /// Its schedules that are worth timing beside each other.
    pub compared: &'static [Schedule],
    /// Whether it trains networks with convolutions.
    pub convolutions: bool,
    /// Whether it trains networks that are no chain: [`Plan::spread`] then makes its plan one on vertices.
    pub graphs: bool,
    /// Its plan of one weight update.
    pub plan: fn(&Network, &Options) -> Result<Plan>,
}

impl Definition {
    /// What a rule without options is, for `..Definition::PLAIN`.
    pub const PLAIN: Definition = Definition {
        name: "",
        title: "",
        source: "",
        takes: &[],
        own: &[],
        decay: None,
        own_network: false,
        rates: false,
        losses: &[Loss::Squared, Loss::CrossEntropy],
        activation: None,
        init: Init::Uniform,
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
    /// SuperSpike, which learns from spikes in time and not from images, and so is none of [`Rule::all`].
    pub const SUPERSPIKE: Rule = Rule(&superspike::SUPERSPIKE);
    /// The four rules of Song et al. (2020), in the paper's order.
    pub const PAPER: [Rule; 4] = [Rule::BP, Rule::IL, Rule::ZIL, Rule::FAZIL];

    /// Every rule that the command line knows.
    pub fn all() -> &'static [Rule] {
        RULES
    }

    /// A rule of one's own.
    pub const fn of(definition: &'static Definition) -> Rule {
        Rule(definition)
    }

    /// The rule of that name.
    pub fn named(name: &str) -> Option<Rule> {
        RULES.iter().copied().find(|rule| rule.name() == name)
    }

    /// Whether it takes one of the options that several rules share.
    pub fn takes(&self, option: &str) -> bool {
        self.0.takes.contains(&option)
    }

    /// The same network with the activation that the rule is made of, if it is made of one.
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
        Rule::named(&name).ok_or_else(|| serde::de::Error::custom(format!("there is no rule {name}")))
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
}

/// The layers that one learning moment works on, before they are turned into ops.
#[derive(Default)]
struct MomentLayers {
    predict: Vec<usize>,
    error: Vec<usize>,
    gate: Vec<usize>,
    infer: Vec<usize>,
    learn: Vec<usize>,
}

impl MomentLayers {
    /// Adds moment t: μ, ε and φ one after the other, then x and θ together.
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

/// The forward pass, and the noise that breaks C1 where it is asked for.
fn prediction(network: &Network, options: &Options) -> Chain {
    let mut p = Chain::new(network, options);
    p.predict_all();
    if options.sigma != 0.0 && network.lmax() > 1 {
        let steps = p.perturb(1..network.lmax(), options.sigma);
        p.plan.moment(crate::plan::Stage::Disturbance, steps);
    }
    p
}

/// The most parts of a network times moments of a plan that has each moment for itself.
const MOST_MOMENTS: usize = 1 << 16;

/// Refuses a plan that has so many moments for themselves, of every layer, that it alone would fill memory.
///
/// # Errors
/// [`Error::Usage`] with both numbers.
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
        "--rule {} with {moments} moments of the {parts} {what} of {network} makes a plan that is too long: moments times layers may \
         be at most {most}; give it less --{named} or fewer --layers",
        options.rule.name()
    )))
}

/// Layers whose μ_t must be computed anew under the full schedule: none at t = 0 when C1 holds, since
/// the forward pass has just made them, and never the input-side one while `hoist` says that θ^{lmax}
/// has not moved since.
fn predicted(network: &Network, t: usize, c1: bool, hoist: bool) -> Vec<usize> {
    let all = if hoist { network.lmax() - 1 } else { network.lmax() };
    if t == 0 && c1 { Vec::new() } else { (0..all).collect() }
}
