//! The options of a rule, and the checks that they make sense together.

use super::Rule;
use super::unroll_graph::unroll_graph;
use crate::error::{Error, Result};
use crate::named::named;
use crate::network::Network;
use crate::plan::augment::Augment;
use crate::plan::{Feed, Images, Loss, LrSchedule, Plan, Ramp, Rates, SlotId, Source, Task};
use crate::words::plain;
use std::borrow::Cow;
use std::collections::BTreeMap;

named! {
    /// The layers that a learning moment works on.
    Schedule {
        /// Every layer at every t: the paper's semantics.
        Full = "full",
        /// Only the layers that can change the weights.
        Frontier = "frontier",
    }
}

named! {
    /// How an error node gets from t to t + 1.
    Coords {
        /// ε is state: ε_{t+1} = (ε_t + Δx_t) − (μ_{t+1} − μ_t), equal to Eq. (5) without its rounding.
        Error = "error",
        /// ε = x − μ is computed anew at every t, as Eq. (5) is written.
        Value = "value",
    }
}

named! {
    /// The signal by which a unit's φ detects the moment t = l.
    Phi {
        /// The unit's error node: ε^l ≠ 0 after t_d silent steps (the paper's φ).
        Error = "error",
        /// The spikes that arrive by feedback: a unit of layer l−1 fired one step before, after t_d silent steps.
        Feedback = "feedback",
    }
}

named! {
    /// The optimiser: how weights follow the direction of a rule.
    Optimizer {
        /// θ ← θ + α Δ, as in the paper.
        Sgd = "sgd",
        /// m ← β m + Δ, θ ← θ + α m, β = 0.9 by default.
        Momentum = "momentum",
        /// Kingma & Ba (2015), β = 0.9, 0.999 by default, ε = 1e-8.
        Adam = "adam",
        /// Adam with weight decay decoupled from the gradient (Loshchilov & Hutter 2019).
        Adamw = "adamw",
    }
}

/// An option that one rule or a few rules define, `--name VALUE`.
#[derive(Debug)]
pub struct Choice {
    /// The name on the command line.
    pub name: &'static str,
    /// The description, in one line.
    pub help: &'static str,
    /// The values it accepts.
    pub values: Values,
    /// The default: a number, or the index of a name.
    pub default: f64,
}

/// The kind of value that an option accepts.
#[derive(Debug)]
pub enum Values {
    /// A number in this range, both ends included.
    Number(f64, f64),
    /// A whole number in this range, both ends included.
    Whole(u32, u32),
    /// One of these names.
    Names(&'static [&'static str]),
}

impl Choice {
    /// The option of this name among those of a rule. Letter cases, hyphens and underscores do not matter.
    pub fn named<'a>(choices: &'a [Choice], name: &str) -> Option<&'a Choice> {
        choices.iter().find(|choice| plain(choice.name) == plain(name))
    }

    /// Parses a value: the number itself, or the index of a name.
    ///
    /// # Errors
    /// [`Error::Usage`] if the option does not accept the value.
    pub fn read(&self, text: &str) -> Result<f64> {
        let value = match self.values {
            Values::Number(low, high) => text.parse::<f64>().ok().filter(|value| (low..=high).contains(value)),
            Values::Whole(low, high) => text.parse::<u32>().ok().filter(|n| (low..=high).contains(n)).map(f64::from),
            Values::Names(names) => names.iter().position(|name| plain(name) == plain(text)).map(|i| i as f64),
        };
        value.ok_or_else(|| Error::usage(format!("--{} takes {}; {text} given", self.name, self.values)))
    }

    /// Formats a value as it is typed.
    pub fn write(&self, value: f64) -> String {
        match self.values {
            Values::Number(..) | Values::Whole(..) => value.to_string(),
            Values::Names(names) => names.get(value as usize).copied().unwrap_or_default().to_owned(),
        }
    }
}

impl std::fmt::Display for Values {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Values::Number(low, high) => write!(out, "a number from {low} to {high}"),
            Values::Whole(low, high) => write!(out, "a whole number from {low} to {high}"),
            Values::Names(names) => out.write_str(&names.join(" or ")),
        }
    }
}

/// A rule and all its options.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Options {
    /// The learning rule.
    pub rule: Rule,
    /// The schedule; `None` is the rule's default (see [`Options::schedule`]).
    pub schedule: Option<Schedule>,
    /// The coordinates of the error nodes.
    pub coords: Coords,
    /// γ of Eq. (7); `None` is the rule's default: 0.1 for IL, 1 for Z-IL (C3).
    pub gamma: Option<f64>,
    /// Inference steps; `None` is the rule's default: t_c = 20 for IL, T = lmax for Fa-Z-IL.
    pub steps: Option<u32>,
    /// The signal that φ of Fa-Z-IL detects.
    pub phi: Phi,
    /// t_d of φ, in steps.
    pub td: u32,
    /// Learning rate α.
    pub alpha: f64,
    /// Average weight changes over the batch instead of summing them; weight decay and optimiser then see the average.
    pub mean: bool,
    /// Standard deviation of the noise on x_0 that breaks C1; 0 keeps C1.
    pub sigma: f64,
    /// Seed of that noise, and of all other random numbers of the rule.
    pub seed: u64,
    /// The loss of the output.
    pub loss: Loss,
    /// The optimiser.
    pub optimizer: Optimizer,
    /// Weight decay λ, of weights and biases; `None` is 0.01 for adamw and 0 for the others.
    pub weight_decay: Option<f64>,
    /// Factor β of momentum, by which the last step is kept; `None` is 0.9.
    pub momentum: Option<f64>,
    /// β₁ and β₂ of adam and adamw; `None` is 0.9 and 0.999.
    pub betas: Option<[f64; 2]>,
    /// The schedule of α over a run.
    pub lr_schedule: LrSchedule,
    /// Factors of α per layer, from the input to the output: θ^{lmax} first, θ^1 last. Empty: all 1. A layer with the factor 0 is
    /// frozen: weight decay does not change it either.
    pub layer_lr: Vec<f64>,
    /// Updates per epoch; 0 if unknown, and the whole run then counts as one epoch.
    pub epoch: u64,
    /// Augmentation of training images, random under `seed`.
    #[serde(skip_serializing_if = "Augment::is_none")]
    pub augment: Augment,
    /// The rule's own options that differ from their defaults.
    pub rule_options: BTreeMap<String, f64>,
}

/// The largest number of inference steps per update.
pub const MAX_STEPS: u32 = 10_000;

impl Options {
    /// The paper's settings: α = 0.001, sums over the batch, t_d = 4, error coordinates.
    pub fn new(rule: Rule) -> Self {
        Options {
            rule,
            schedule: None,
            coords: Coords::Error,
            gamma: None,
            steps: None,
            phi: Phi::Error,
            td: 4,
            alpha: 0.001,
            mean: false,
            sigma: 0.0,
            seed: 0,
            loss: Loss::Squared,
            optimizer: Optimizer::Sgd,
            weight_decay: None,
            momentum: None,
            betas: None,
            lr_schedule: LrSchedule::CONSTANT,
            layer_lr: Vec::new(),
            epoch: 0,
            augment: Augment::NONE,
            rule_options: BTreeMap::new(),
        }
    }

    /// γ, or the rule's default.
    pub fn gamma(&self) -> f64 {
        self.gamma.unwrap_or(self.rule.gamma)
    }

    /// The schedule, or the default: `frontier` where it is exact by proof (BP, IL, Z-IL with
    /// C1), `full` for Fa-Z-IL and wherever C1 is broken.
    pub fn schedule(&self) -> Schedule {
        let default = if self.sigma != 0.0 || self.varied() { Schedule::Full } else { self.rule.schedule };
        self.schedule.unwrap_or(default)
    }

    /// t_c of IL or T of Fa-Z-IL, or the rule's default.
    pub fn steps(&self, network: &Network) -> usize {
        self.steps.map_or_else(|| (self.rule.steps)(network), |s| s as usize)
    }

    /// The value of one of the rule's own options, or its default.
    pub fn rule_option(&self, name: &str) -> f64 {
        let default = || self.rule.rule_options.iter().find(|c| c.name == name).map_or(0.0, |c| c.default);
        self.rule_options.get(name).copied().unwrap_or_else(default)
    }

    /// Whether any of the rule's own options differs from its default.
    pub fn varied(&self) -> bool {
        self.rule_options
            .iter()
            .any(|(name, value)| self.rule.rule_options.iter().any(|c| c.name == name.as_str() && c.default != *value))
    }

    /// α at update n = 1, 2, …
    pub fn rate(&self, n: u64) -> f64 {
        self.lr_schedule.rate(self.alpha, n)
    }

    /// Whether steps are linear in the change, so that applying two changes at once equals applying them one after the other.
    pub fn plain(&self) -> bool {
        self.optimizer == Optimizer::Sgd && self.weight_decay() == 0.0
    }

    /// Whether the optimiser's step depends on the number of steps so far.
    pub fn counts(&self) -> bool {
        matches!(self.optimizer, Optimizer::Adam | Optimizer::Adamw)
    }

    /// λ, or the optimiser's default.
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(if self.optimizer == Optimizer::Adamw { 0.01 } else { 0.0 })
    }

    /// The factor of momentum, β₁ and β₂, or their defaults.
    pub fn averages(&self) -> [f64; 3] {
        let [beta1, beta2] = self.betas.unwrap_or([0.9, 0.999]);
        [self.momentum.unwrap_or(0.9), beta1, beta2]
    }

    /// The same rule with plain steps at the constant rate `alpha`, without weight decay or augmentation: this gives the direction
    /// of the rule's step.
    pub fn direction(&self, alpha: f64) -> Options {
        let mut rule_options = self.rule_options.clone();
        rule_options.extend(self.rule.decay.map(|decay| (decay.to_owned(), 0.0)));
        Options {
            alpha,
            optimizer: Optimizer::Sgd,
            weight_decay: None,
            momentum: None,
            betas: None,
            lr_schedule: LrSchedule::CONSTANT,
            augment: Augment::NONE,
            rule_options,
            ..self.clone()
        }
    }

    /// The plan of one weight update of `network`.
    ///
    /// # Errors
    /// [`Error::Usage`] if an option is out of range, contradicts another, or the rule's plan is invalid.
    pub fn plan(&self, network: &Network) -> Result<Plan> {
        self.check_schedule()?;
        self.plan_of_run(network)
    }

    /// As [`Options::plan`], for a run of yet unknown length: the caller runs [`Options::check_schedule`] later.
    pub(crate) fn plan_of_run(&self, network: &Network) -> Result<Plan> {
        self.check()?;
        if !self.layer_lr.is_empty() && self.layer_lr.len() != network.matrices() {
            return Err(Error::usage(format!(
                "--layer-lr takes a factor for each of the {} layers of weights of {network}; {} given",
                network.matrices(),
                self.layer_lr.len()
            )));
        }
        if let Some(fixed) = self.rule.activation.filter(|fixed| *fixed != network.activation) {
            return Err(Error::usage(format!(
                "--rule {} defines its own units, so --activation {} does not apply (its weights files record {}); remove it",
                self.rule.name(),
                network.activation.name(),
                fixed.name()
            )));
        }
        if let Some([off, on]) = network.targets.filter(|_| self.rule.rates || self.loss != Loss::Squared) {
            let what = match self.loss {
                Loss::CrossEntropy => "--loss cross-entropy".to_owned(),
                Loss::Squared => format!("--rule {}", self.rule.name()),
            };
            return Err(Error::usage(format!(
                "with {what} a label means 0 and 1, so --targets {off},{on} does not apply; remove it"
            )));
        }
        if network.convolves() && !self.rule.convolutions {
            let able: Vec<&str> = Rule::all().iter().filter(|rule| rule.convolutions).map(Rule::name).collect();
            return Err(Error::usage(format!(
                "--rule {} cannot train a network with convolutions yet: choose --layers of plain sizes, or one of these rules: {}",
                self.rule.name(),
                able.join(", ")
            )));
        }
        self.check_graph(network)?;
        log::debug!("planning {} for {network}", self.rule.name());
        let plan = unroll_graph((self.rule.plan)(network, self)?, network, self)?;
        let plan = self.without_changes_of_frozen(plan);
        plan.check()?;
        check_shapes(&plan, network)?;
        if let Cow::Owned(carried) = plan.carried()? {
            carried.check()?;
        }
        Ok(plan)
    }

    /// The task of a plan with these options.
    pub fn task(&self, network: &Network) -> Task {
        Task {
            rule: self.rule.name().to_owned(),
            title: self.title(network),
            network: network.to_string(),
            seed: self.seed,
            rates: Rates {
                alpha: self.alpha,
                schedule: self.lr_schedule,
                averaged: self.mean && self.plain(),
                epoch: self.epoch,
            },
            loss: self.loss,
        }
    }

    /// The feeds of a plan's input and target.
    pub fn feeds(&self, network: &Network, [input, target]: [SlotId; 2]) -> Vec<Feed> {
        let images = Images {
            form: network.grid(network.lmax()),
            scale: network.pixels.clone(),
            activation: network.drive(network.lmax()),
            augment: self.augment,
        };
        vec![
            Feed { slot: input, source: Source::Pixels(images) },
            Feed { slot: target, source: Source::Labels(network.held_to()) },
        ]
    }

    /// The error for a graph under a rule (`who`, as the user knows it) that supports chains only.
    pub fn no_graphs(who: &str) -> Error {
        let able: Vec<&str> = Rule::all().iter().filter(|rule| rule.graphs).map(Rule::name).collect();
        Error::usage(format!(
            "{who} cannot train a network with skips or shared weights yet: choose --layers without them, or one of these rules: {}",
            able.join(", ")
        ))
    }

    /// Refuses a graph if the rule or its schedule supports chains only.
    fn check_graph(&self, network: &Network) -> Result<()> {
        let Some(graph) = network.graph() else { return Ok(()) };
        if !self.rule.graphs {
            return Err(Options::no_graphs(&format!("--rule {}", self.rule.name())));
        }
        if !graph.is_levelled() && self.rule.takes("schedule") && self.schedule() == Schedule::Frontier {
            return Err(Error::usage(
                "the frontier schedule is exact only where each error arrives at its layer in one step, which is not so in this \
                 network: choose the full schedule",
            ));
        }
        Ok(())
    }

    /// The title of a plan: the rule, the network, and the options that the rule takes.
    pub fn title(&self, network: &Network) -> String {
        let mut text = format!("{} of {network} (lmax {})", self.rule.title(), network.lmax());
        if self.rule.takes("schedule") {
            text += &format!(", {} schedule", self.schedule().name());
        }
        if self.rule.takes("coords") {
            text += &format!(", {} coordinates", self.coords.name());
        }
        if self.rule.takes("gamma") {
            text += &format!(", γ = {}", self.gamma());
        }
        text
    }

    fn check(&self) -> Result<()> {
        let positive = |name: &str, value: f64| {
            // Devices compute in float32, where 1e-60 is 0 and 1e60 is infinite.
            if (value as f32).is_finite() && value as f32 > 0.0 {
                Ok(())
            } else {
                Err(Error::usage(format!("{name} must be a positive float32 number; {value:e} given")))
            }
        };
        positive("--lr", self.alpha)?;
        positive("--gamma", self.gamma())?;
        if let Some(bad) = self.layer_lr.iter().find(|f| !((**f as f32).is_finite() && **f >= 0.0)) {
            return Err(Error::usage(format!("--layer-lr takes factors that are zero or positive; {bad} given")));
        }
        if self.td == 0 || self.td > MAX_STEPS {
            return Err(Error::usage(format!("--td must lie in 1 to {MAX_STEPS}; {} given", self.td)));
        }
        if self.steps.is_some_and(|s| s > MAX_STEPS) {
            return Err(Error::usage(format!("--steps may be at most {MAX_STEPS}; {} given", self.steps.unwrap_or(0))));
        }
        const SHARED: [&str; 7] = ["gamma", "steps", "phi", "td", "schedule", "coords", "sigma"];
        if let Some(bad) = self.rule.takes.iter().find(|name| !SHARED.contains(*name)) {
            let (rule, shared) = (self.rule.name(), SHARED.join(", "));
            return Err(Error::usage(format!(
                "the rule {rule} takes \"{bad}\", but the shared options are {shared}; list a rule's own option in `own`"
            )));
        }
        let defaults = Options::new(self.rule);
        for (name, given) in [
            ("gamma", self.gamma.is_some()),
            ("steps", self.steps.is_some()),
            ("phi", self.phi != defaults.phi),
            ("td", self.td != defaults.td),
        ] {
            if given && !self.rule.takes(name) {
                return Err(self.refused(name));
            }
        }
        if !(self.sigma.is_finite() && self.sigma >= 0.0) {
            return Err(Error::usage(format!("sigma must be zero or positive; {} given", self.sigma)));
        }
        if self.sigma != 0.0 && (!self.rule.takes("sigma") || self.schedule() == Schedule::Frontier) {
            return Err(Error::usage("breaking C1 (sigma > 0) needs il, zil or fazil with the full schedule"));
        }
        if !self.rule.losses.contains(&self.loss) {
            let (rule, loss) = (self.rule.name(), self.loss.name());
            return Err(Error::usage(format!(
                "--rule {rule} defines its own output error, so --loss {loss} does not apply; remove it"
            )));
        }
        self.check_own()?;
        self.check_optimizer()?;
        Ok(())
    }

    fn check_own(&self) -> Result<()> {
        for (name, &value) in &self.rule_options {
            let Some(choice) = self.rule.rule_options.iter().find(|c| c.name == name.as_str()) else {
                return Err(self.refused(name));
            };
            let fits = match choice.values {
                Values::Number(low, high) => (low..=high).contains(&value),
                Values::Whole(low, high) => value.fract() == 0.0 && (f64::from(low)..=f64::from(high)).contains(&value),
                Values::Names(names) => value.fract() == 0.0 && (0.0..names.len() as f64).contains(&value),
            };
            if !fits {
                return Err(Error::usage(format!("--{name} takes {}; {value} given", choice.values)));
            }
        }
        Ok(())
    }

    fn check_optimizer(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what));
        let (optimizer, decay) = (self.optimizer, self.weight_decay());
        if !((decay as f32).is_finite() && decay >= 0.0) {
            return refuse(format!("--weight-decay must be zero or a positive float32 number; {decay:e} given"));
        }
        if self.momentum.is_some() && optimizer != Optimizer::Momentum {
            return refuse(format!(
                "--momentum is for --optimizer momentum, but the optimiser is {}",
                optimizer.name()
            ));
        }
        if self.betas.is_some() && !matches!(optimizer, Optimizer::Adam | Optimizer::Adamw) {
            return refuse(format!(
                "--betas are for --optimizer adam and adamw, but the optimiser is {}",
                optimizer.name()
            ));
        }
        if let Some(bad) = self.averages().into_iter().find(|b| !(0.0..1.0).contains(b)) {
            return refuse(format!("--momentum and --betas must lie in 0 to 1, 1 excluded; {bad} given"));
        }
        Ok(())
    }

    /// Checks that the schedule of the learning rate fits the number of updates.
    ///
    /// # Errors
    /// [`Error::Usage`] if it does not.
    pub(crate) fn check_schedule(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::usage(what));
        let LrSchedule { ramp, warmup, total } = self.lr_schedule;
        if ramp == Ramp::WarmCosine && warmup > 0 {
            return refuse("--lr-schedule warm-cosine includes a warm-up; leave --warmup out".into());
        }
        if total > 0 && warmup >= total {
            return refuse(format!("--warmup of {warmup} updates must be shorter than the run of {total} updates"));
        }
        if ramp != Ramp::Constant && total == 0 {
            return refuse(format!(
                "--lr-schedule {} needs to know the number of updates of the whole run",
                ramp.name()
            ));
        }
        Ok(())
    }

    /// The error of a training in which an update produced NaN or infinity in θ^l or b^l.
    pub fn diverged(&self, network: &Network, update: u64, (layer, what): (usize, &'static str)) -> Error {
        let mut advice = ". Try a smaller --lr".to_owned();
        if self.rule.takes("gamma") {
            advice += " or --gamma";
        }
        if !self.mean {
            advice += ", or --mean";
        }
        if self.rule.takes("phi") && self.phi == Phi::Error && self.schedule() == Schedule::Full {
            advice += "; or --phi feedback: with --phi error a unit whose ε is exactly 0 at its moment, as in deep or saturated layers, \
                       fires later, when its ε is no longer the gradient";
        }
        let of = if network.graph().is_some() { "matrix" } else { "layer" };
        Error::Diverged { update, layer, of, what, advice }
    }

    /// The error for an option that the rule does not take; it lists the rules that do.
    pub fn refused(&self, name: &str) -> Error {
        let has = |rule: &&Rule| rule.takes(name) || rule.rule_options.iter().any(|c| c.name == name);
        let rules: Vec<&str> = Rule::all().iter().filter(has).map(Rule::name).collect();
        let what = match name {
            "gamma" => "the integration step of inference",
            "steps" => "inference steps: t_c of il and rpc, T of others",
            "schedule" => "the layers that each moment works on",
            "coords" => "the coordinates of error nodes",
            "phi" => "the signal that φ of fazil detects",
            "td" => "t_d of φ of fazil",
            _ => "",
        };
        let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
        let of = if rules.is_empty() { "no rule".to_owned() } else { rules.join(", ") };
        Error::usage(format!(
            "--{name}{what} does not apply to --rule {}; remove it ({of} take{} it)",
            self.rule.name(),
            if rules.len() == 1 { "s" } else { "" }
        ))
    }
}

/// Checks that a plan has the weights, inputs and outputs of its network.
fn check_shapes(plan: &Plan, network: &Network) -> Result<()> {
    let refuse = |why: String| Err(Error::usage(format!("the plan of {} cannot run: {why}", plan.task.rule)));
    let layers = [("input", plan.input(), network.inputs()), ("target", plan.target(), network.outputs())];
    for (what, slot, wanted) in layers.into_iter().chain([("output", plan.output, network.outputs())]) {
        if plan.width(slot) != wanted {
            return refuse(format!("its {what} is not a slot of {wanted} units"));
        }
    }
    let wrong = |l: &usize| plan.matrix(*l).is_none_or(|([to, from], _)| (to, from) != network.shape(*l));
    match (1..=network.matrices().max(plan.matrices())).find(|l| *l > network.matrices() || wrong(l)) {
        Some(l) if plan.theta(l).is_some() => refuse(format!(
            "{} starts as θ^{l} but has another shape",
            plan.slot(plan.theta(l).unwrap_or(SlotId(0))).symbol
        )),
        Some(l) => refuse(format!("it has no slot that starts as θ^{l}")),
        None => Ok(()),
    }
}
