//! Other words for options and their values: synonyms, letter cases, and the most similar word to suggest.
//!
//! These tables are the only place for synonyms. The command line, settings files, rule files and Python read them.

/// Other names of options. An option keeps its own meaning where a command has one of that name.
pub const OPTIONS: &[(&str, &[&str])] = &[
    ("activation", &["act", "activation-function", "nonlinearity"]),
    ("augment", &["augmentation"]),
    ("batch", &["batch-size", "minibatch", "bs"]),
    ("bias", &["biases", "use-bias"]),
    ("checkpoint-every", &["save-every", "checkpoint-interval"]),
    ("classes", &["class"]),
    ("config", &["config-file", "settings"]),
    ("coords", &["coordinates"]),
    ("data", &["dataset", "data-dir", "data-path"]),
    ("device", &["devices"]),
    ("devices", &["device"]),
    ("epochs", &["epoch", "n-epochs", "num-epochs", "max-epochs"]),
    ("gamma", &["inference-lr", "inference-rate"]),
    ("hold-out", &["validation", "val"]),
    ("init", &["initialization", "initialisation", "weight-init"]),
    ("init-gain", &["gain"]),
    ("layers", &["network", "net", "architecture", "arch", "layer-sizes", "sizes"]),
    ("loss", &["criterion", "loss-function", "objective"]),
    ("lr", &["learning-rate", "alpha", "eta", "step-size"]),
    ("lr-schedule", &["scheduler", "lr-scheduler", "learning-rate-schedule"]),
    ("max-time", &["time-limit", "timeout"]),
    ("mean", &["average"]),
    ("optimizer", &["optimiser", "optim", "opt"]),
    ("out", &["output", "out-dir", "output-dir", "save"]),
    ("patience", &["early-stopping"]),
    ("probe", &["probes"]),
    ("rule", &["rules", "learning-rule", "algorithm", "algo"]),
    ("rules", &["rule", "learning-rules", "algorithms"]),
    ("seed", &["random-seed", "random-state", "rng-seed"]),
    ("seeds", &["n-seeds", "num-seeds"]),
    ("steps", &["inference-steps", "n-steps", "num-steps"]),
    ("threads", &["n-threads", "num-threads", "n-jobs", "jobs"]),
    ("updates", &["iterations", "iters", "num-updates", "max-updates"]),
    ("warmup", &["warmup-updates", "warmup-steps"]),
    ("weight-decay", &["wd", "decay"]),
    ("weights", &["model", "weights-file"]),
];

/// What to write instead of options that other programs have and zilch has not.
pub const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["hidden", "hidden-size", "hidden-sizes", "hidden-layers", "hidden-layer-sizes", "units", "neurons", "width"],
        "write all layers, input first, as in --layers 784,32,32,10",
    ),
    (
        &["inputs", "outputs", "input-size", "output-size", "depth", "num-layers"],
        "write all layers, input first, as in --layers 784,32,32,10",
    ),
    (&["gpu", "cuda"], "choose the device by --device gpu"),
    (&["cpu"], "choose the device by --device cpu"),
    (&["no-bias"], "write --bias=false"),
    (&["shuffle"], "samples are shuffled unless --no-shuffle is given"),
    (&["sum", "no-mean"], "write --mean=false"),
    (&["normalize", "normalise", "normalization"], "write the mean and the standard deviation, as in --pixels 0.5,0.5"),
    (&["beta1", "beta2"], "write both, as in --betas 0.9,0.999"),
    (&["test", "test-data"], "the test set lies in the folder of --data"),
    (&["verbose", "debug", "log-level"], "set the environment variable RUST_LOG=debug"),
];

/// A name, and what people also call it.
type Others = (&'static str, &'static [&'static str]);

/// Other names of values, by the kind of value ([`crate::named::Named::kind`]).
pub const VALUES: &[(&str, &[Others])] = &[
    (
        "Rule",
        &[
            ("bp", &["backprop", "back-propagation", "bprop"]),
            ("il", &["pc", "pcn", "predictive-coding", "inference-learning"]),
            ("zil", &["zero-divergence-il", "zero-divergence-inference-learning"]),
            ("fazil", &["fully-autonomous-zil"]),
            ("fa", &["feedback-alignment"]),
            ("dfa", &["direct-feedback-alignment"]),
            ("usf", &["sign-symmetry", "sign-concordant-feedback"]),
            ("rpc", &["relaxed-predictive-coding"]),
            ("ipc", &["incremental-pc", "incremental-predictive-coding"]),
            ("epc", &["error-based-pc", "error-based-predictive-coding"]),
            ("mupc", &["depth-mupc", "mu-pc"]),
            ("brainprop", &["q-agrel"]),
            ("ep", &["eq-prop", "equilibrium-prop"]),
            ("dtp", &["target-prop", "target-propagation", "difference-target-prop"]),
            ("dendrite", &["dendrites"]),
            ("burstccn", &["bursting-cortico-cortical-networks"]),
            ("hebb", &["hebbian"]),
            ("oja", &["ojas-rule"]),
        ],
    ),
    (
        "Activation",
        &[
            ("sigmoid", &["logistic"]),
            ("leaky-relu", &["lrelu", "leaky"]),
            ("hard-tanh", &["htanh"]),
            ("identity", &["linear", "none"]),
        ],
    ),
    (
        "Loss",
        &[
            ("squared", &["mse", "l2", "squared-error", "mean-squared-error"]),
            ("cross-entropy", &["ce", "xent", "nll", "softmax", "categorical-cross-entropy"]),
        ],
    ),
    ("Optimizer", &[("sgd", &["gd", "plain"]), ("momentum", &["sgd-momentum", "sgdm"])]),
    (
        "Init",
        &[
            ("xavier", &["glorot", "xavier-uniform", "glorot-uniform"]),
            ("he", &["kaiming", "he-normal", "kaiming-normal"]),
            ("orthogonal", &["ortho"]),
            ("normal", &["gaussian", "standard-normal"]),
        ],
    ),
    (
        "Ramp",
        &[
            ("constant", &["none", "fixed"]),
            ("cosine", &["cos", "cosine-annealing"]),
            ("step", &["steps", "multi-step"]),
        ],
    ),
    ("Precision", &[("float32", &["fp32", "f32", "single"]), ("mixed", &["amp", "fp16", "float16", "half"])]),
    ("Coords", &[("error", &["errors", "eps"]), ("value", &["values", "x"])]),
];

/// The Jaro-Winkler similarity from which a word is suggested for another one.
const ALIKE: f64 = 0.85;

/// A word in small letters, without spaces, hyphens and underscores. Two spellings with the same result are the same word.
pub fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// The other names of a value.
pub fn of_value(kind: &str, name: &str) -> &'static [&'static str] {
    let values = VALUES.iter().find(|(of, _)| *of == kind).map_or(&[][..], |(_, values)| values);
    others(values, name)
}

/// The other names of an option.
pub fn of_option(name: &str) -> &'static [&'static str] {
    others(OPTIONS, name)
}

fn others(table: &'static [(&'static str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    table.iter().find(|(of, _)| *of == name).map_or(&[], |(_, others)| others)
}

/// What to write instead of an option that does not exist, if the tables know.
pub fn instead(name: &str) -> Option<&'static str> {
    let word = plain(name);
    INSTEAD.iter().find(|(names, _)| names.iter().any(|name| plain(name) == word)).map(|(_, advice)| *advice)
}

/// The name whose spelling is most similar to `word`. `names` are pairs: a spelling, and the name to suggest for it.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    let word = plain(word);
    let how = names.map(|(spelling, name)| (strsim::jaro_winkler(&word, &plain(spelling)), name));
    how.filter(|(how, _)| *how >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

/// The option that `word` means: one of `names`, or one of which it is another name. Case and underscores do not matter.
pub fn option<'a>(word: &str, names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let word = plain(word);
    let same = |name: &&str| plain(name) == word;
    let other = |name: &&str| of_option(name).iter().any(|other| plain(other) == word);
    names.clone().find(same).or_else(|| names.clone().find(other))
}

/// The option with the name or synonym that is most similar to an unknown word.
pub fn similar_option<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let spellings = |name: &'a str| {
        std::iter::once(name).chain(of_option(name).iter().copied()).map(move |spelling| (spelling, name))
    };
    nearest(word, names.flat_map(spellings))
}

/// The advice about an option that does not exist: what to write instead, or the most similar of `names` after `hyphens`, as it is
/// typed; else nothing.
pub fn advice<'a>(word: &str, names: impl Iterator<Item = &'a str>, hyphens: &str) -> Option<String> {
    let meant = || similar_option(word, names).map(|name| format!("did you mean {hyphens}{name}?"));
    instead(word).map(str::to_owned).or_else(meant)
}
