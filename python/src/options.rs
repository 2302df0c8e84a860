//! Conversion of the Python arguments for a network and its rule to the types of zilch.

use crate::custom::CustomRule;
use crate::error::{OrRaise, usage};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use zilch::named::Named;
use zilch::network::{Init, Pixels};
use zilch::rules::{Defaults, LrSchedule, Preset, Values};
use zilch::{Activation, Network, Options, Plan, Rule};

/// Extracts a value of type `T`, or returns a usage error that names the option.
fn get<T>(option: &str, value: &Bound<'_, PyAny>, wanted: &str) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py>,
{
    value.extract::<T>().map_err(|_| usage(value.py(), format!("{option} takes {wanted}; {value} given")))
}

/// Extracts an enumeration variant by its name on the command line and in files, or by another name that it has.
fn named<T: Named>(option: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let name: String = get(option, value, "a name")?;
    T::read(&name).ok_or_else(|| {
        let all = || T::all().iter().map(Named::name).collect::<Vec<_>>().join(", ");
        let meant =
            T::nearest(&name).map_or_else(|| format!("it takes {}", all()), |near| format!("did you mean {near}?"));
        usage(value.py(), format!("{option}: there is no \"{name}\"; {meant}"))
    })
}

/// Extracts an unsigned integer.
fn whole(option: &str, value: &Bound<'_, PyAny>) -> PyResult<u32> {
    get(option, value, "a whole number")
}

/// Extracts a float.
fn number(option: &str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    get(option, value, "a number")
}

/// The rule of a name, or a custom rule.
pub(crate) fn rule(value: &Bound<'_, PyAny>) -> PyResult<Rule> {
    if let Ok(own) = value.cast::<CustomRule>() {
        return Ok(own.get().rule());
    }
    let name: String = get("rule", value, "a name, or a custom rule (zilch_pc.rules)")?;
    Rule::read(&name).ok_or_else(|| usage(value.py(), Rule::unknown(&name)))
}

/// The validated arguments of a network.
pub(crate) struct Parsed {
    pub(crate) network: Network,
    pub(crate) options: Options,
    /// Default batch size of `fit`: samples per update.
    pub(crate) batch: usize,
    pub(crate) init: Init,
    pub(crate) gain: Vec<f64>,
    /// The plan of one update.
    pub(crate) plan: Plan,
}

/// The network of a list of sizes, input first, or of a string in the notation of the command line.
pub(crate) fn layers(given: &Bound<'_, PyAny>) -> PyResult<Network> {
    let network = match given.extract::<String>() {
        Ok(notation) => Network::parse(&notation),
        Err(_) => Network::new(&get::<Vec<usize>>("layers", given, "sizes, input first")?),
    };
    network.or_raise(given.py())
}

/// Parses layers, a rule and named options.
pub(crate) fn read(
    py: Python<'_>,
    layers: &Bound<'_, PyAny>,
    of: &Bound<'_, PyAny>,
    seed: u64,
    options: &Bound<'_, PyDict>,
) -> PyResult<Parsed> {
    let rule = rule(of)?;
    let preset = options.get_item("preset")?.filter(|value| !value.is_none());
    let defaults = rule.defaults(preset.map_or(Ok(Preset::Recommended), |value| named("preset", &value))?);
    let mut draft = Draft::new(rule, &defaults, self::layers(layers)?, seed);
    for (name, value) in options {
        if !value.is_none() && name.ne("preset")? {
            set(&mut draft, name.extract::<String>()?.as_str(), &value)?;
        }
    }
    if options.get_item("lr")?.is_none_or(|lr| lr.is_none()) {
        draft.options.alpha = defaults.rate(draft.options.optimizer, draft.options.mean, draft.batch);
    }
    let Draft { network, mut options, batch, init, gain, freeze } = draft;
    options.freeze(&network, &freeze).or_raise(py)?;
    // The plan is built here, so that errors are reported when the network is created and not at the first update.
    let mut trial = options.clone();
    trial.lr_schedule.total = trial.lr_schedule.total.max(1 << 20);
    let plan = py.detach(|| trial.plan(&network)).map_err(|e| crate::error::raise(py, e))?;
    if plan.streaming {
        return Err(usage(
            py,
            format!("{} learns from a continuous stream, and arrays have no time axis", rule.name()),
        ));
    }
    if gain.len() > 1 && gain.len() != network.matrices() {
        let (given, all) = (gain.len(), network.matrices());
        return Err(usage(
            py,
            format!("init_gain takes one number, or one for each of the {all} weight matrices; {given} given"),
        ));
    }
    Ok(Parsed { network, options, batch, init, gain, plan })
}

/// The arguments before validation.
struct Draft {
    network: Network,
    options: Options,
    batch: usize,
    init: Init,
    gain: Vec<f64>,
    freeze: Vec<String>,
}

/// Every shared option, as [`set`] knows it.
const SHARED: [&str; 26] = [
    "activation",
    "augment",
    "betas",
    "bias",
    "coords",
    "freeze",
    "gamma",
    "init",
    "init_gain",
    "input_activation",
    "layer_lr",
    "loss",
    "lr",
    "lr_schedule",
    "mean",
    "momentum",
    "optimizer",
    "phi",
    "pixels",
    "schedule",
    "sigma",
    "steps",
    "targets",
    "td",
    "warmup",
    "weight_decay",
];

/// The names of all options: the shared ones, and those of single rules.
#[pyfunction]
pub(crate) fn option_names() -> Vec<String> {
    let own = Rule::all().iter().flat_map(|rule| rule.rule_options).map(|choice| choice.name.replace('-', "_"));
    SHARED.into_iter().map(str::to_owned).chain(own).collect()
}

impl Draft {
    /// The defaults of a rule.
    fn new(rule: Rule, defaults: &Defaults, network: Network, seed: u64) -> Draft {
        let network = network.with_activation(defaults.activation).with_bias(defaults.bias);
        let options = Options { seed, ..defaults.options(rule, network.matrices()) };
        let gain = defaults.init_gain(network.matrices());
        Draft { network, options, batch: defaults.batch, init: defaults.init, gain, freeze: Vec::new() }
    }
}

/// Sets one option.
fn set(draft: &mut Draft, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let Draft { network, options, batch, init, gain, freeze } = draft;
    match name {
        "batch" => *batch = get(name, value, "a number of samples above 0")?,
        "lr" => options.alpha = number(name, value)?,
        "mean" => options.mean = get(name, value, "True or False")?,
        "gamma" => options.gamma = Some(number(name, value)?),
        "steps" => options.steps = Some(whole(name, value)?),
        "schedule" => options.schedule = Some(named(name, value)?),
        "coords" => options.coords = named(name, value)?,
        "phi" => options.phi = named(name, value)?,
        "td" => options.td = whole(name, value)?,
        "sigma" => options.sigma = number(name, value)?,
        "loss" => options.loss = named(name, value)?,
        "optimizer" => options.optimizer = named(name, value)?,
        "weight_decay" => options.weight_decay = Some(number(name, value)?),
        "momentum" => options.momentum = Some(number(name, value)?),
        "betas" => options.betas = Some(get(name, value, "two numbers")?),
        "lr_schedule" => options.lr_schedule = LrSchedule { ramp: named(name, value)?, ..options.lr_schedule },
        "warmup" => options.lr_schedule.warmup = get(name, value, "a whole number of updates")?,
        "layer_lr" => options.layer_lr = get(name, value, "a list of numbers")?,
        "freeze" => {
            // One or several, as l or as words.
            let word = |value: &Bound<'_, PyAny>| value.str().map(|text| text.to_string());
            let several = value.cast::<PyString>().is_err() && value.hasattr("__iter__")?;
            *freeze = match several {
                true => value.try_iter()?.map(|one| word(&one?)).collect::<PyResult<_>>()?,
                false => vec![word(value)?],
            };
        }
        "activation" => network.activation = named::<Activation>(name, value)?,
        "bias" => network.bias = get(name, value, "True or False")?,
        "input_activation" => network.input_activation = get(name, value, "True or False")?,
        "pixels" => network.pixels = Some(pixels(network, name, value)?),
        "augment" => {
            let text: String = get(name, value, "a string like \"flip,crop4\"")?;
            options.augment = text.parse().map_err(|e| usage(value.py(), format!("{name}: {e}")))?;
        }
        "targets" => network.targets = Some(get(name, value, "two numbers")?),
        "init" => *init = named(name, value)?,
        "init_gain" => {
            let one = || number(name, value).map(|gain| vec![gain]);
            *gain = one().or_else(|_| get(name, value, "a number, or a list of numbers"))?;
        }
        _ => return set_own(options, name, value),
    }
    let finite = |pair: Option<[f32; 2]>| pair.is_none_or(|pair| pair.iter().all(|v| v.is_finite()));
    if !finite(network.targets) || network.targets.is_some_and(|[off, on]| off >= on) {
        return Err(usage(value.py(), "targets takes two finite numbers, the smaller one first"));
    }
    if gain.iter().any(|gain| !gain.is_finite()) {
        return Err(usage(value.py(), format!("init_gain takes finite numbers; {value} given")));
    }
    Ok(())
}

/// The mean and standard deviation that scale pixels, per channel.
fn pixels(network: &Network, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Pixels> {
    let wanted = "a finite mean and a finite standard deviation above 0, or the means of all channels followed by their standard deviations";
    let scale = Pixels::new(&get::<Vec<f32>>(name, value, wanted)?);
    let scale = scale.ok_or_else(|| usage(value.py(), format!("{name} takes {wanted}; {value} given")))?;
    scale.check(network).or_raise(value.py())?;
    Ok(scale)
}

/// Sets an option that only some rules have.
fn set_own(options: &mut Options, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let typed = name.replace('_', "-");
    let Some(choice) = options.rule.rule_options.iter().find(|choice| choice.name == typed) else {
        let elsewhere = Rule::all().iter().any(|rule| rule.rule_options.iter().any(|choice| choice.name == typed));
        let error = if elsewhere {
            options.refused(&typed)
        } else {
            zilch::Error::usage(format!("there is no option \"{name}\""))
        };
        return Err(crate::error::raise(value.py(), error));
    };
    let text = match (&choice.values, value.extract::<f64>()) {
        (Values::Number(..) | Values::Whole(..), Ok(number)) => number.to_string(),
        _ => value.str()?.to_string(),
    };
    let read = choice.read(&text).map_err(|e| crate::error::raise(value.py(), e))?;
    options.rule_options.insert(typed, read);
    Ok(())
}

/// The units of the hidden layers that are recommended for a rule, the layer next to the input first.
#[pyfunction]
pub(crate) fn hidden(rule: &Bound<'_, PyAny>) -> PyResult<Vec<usize>> {
    // A custom rule of Python holds the rule of the core.
    let rule = rule.getattr("_core").unwrap_or_else(|_| rule.clone());
    Ok(self::rule(&rule)?.defaults(Preset::Recommended).hidden.to_vec())
}

/// The built-in rules: names, titles, sources, and their rule options with defaults.
#[pyfunction]
pub(crate) fn rules(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let entry = |rule: &Rule| -> PyResult<Bound<'_, PyDict>> {
        let about = PyDict::new(py);
        about.set_item("name", rule.name())?;
        about.set_item("title", rule.title())?;
        about.set_item("source", rule.source)?;
        about.set_item("takes", rule.takes.to_vec())?;
        let own = PyDict::new(py);
        for choice in rule.rule_options {
            own.set_item(choice.name.replace('-', "_"), choice.write(choice.default))?;
        }
        about.set_item("options", own)?;
        Ok(about)
    };
    Rule::all().iter().map(entry).collect()
}
