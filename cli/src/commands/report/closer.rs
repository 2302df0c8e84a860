//! A closer look at one run: what its network confuses, its weights, and its activity. The run.json names the data; what
//! cannot be opened is said on the page.

use crate::commands::args::TrainArgs;
use crate::commands::confusion::Confusion;
use crate::commands::train;
use ndarray::{Array2, s};
use std::path::Path;
use std::sync::Arc;
use zilch::data::{Data, Set};
use zilch::device::BlockingSession;
use zilch::device::cpu::CpuDevice;
use zilch::files::{Links, read_bounded, shown as quoted};
use zilch::network::read_weights;
use zilch::train::{METRICS_FILE, WEIGHTS_FILE, parse_metrics};
use zilch::{Error, Network, Options, Result, Rule, Schedule, Weights};
use zilch_cli::runs::Run;
use zilch_lab::draw::{heat, receptive_fields};
use zilch_lab::settings::shown;

/// The maximum number of units whose weights are drawn, and whose activity is.
const UNITS: usize = 100;
const COLUMNS: usize = 256;
/// The maximum number of classes of which a sample is drawn.
const CLASSES: usize = 20;
/// The largest size of a metrics.csv in bytes.
const MOST_BYTES: u64 = 1 << 26;

/// What is known of a run. An error says why a part is missing.
pub(crate) struct Look {
    /// The folder of the run.
    pub(crate) title: String,
    pub(crate) confusion: std::result::Result<Confusion, String>,
    pub(crate) weights: std::result::Result<String, String>,
    /// What the image of the weights needs to be understood.
    pub(crate) weights_note: &'static str,
    pub(crate) activity: std::result::Result<Vec<Layer>, String>,
    /// The probes over epochs, if the run has any.
    pub(crate) curves: Option<std::result::Result<String, String>>,
}

/// The activity of a layer.
pub(crate) struct Layer {
    pub(crate) title: String,
    pub(crate) svg: std::result::Result<String, String>,
}

impl Look {
    /// Looks at a run. It reads the weights and the data, and predicts the test set on the CPU.
    pub(crate) fn at(run: &Run) -> Look {
        let title = run.folder.display().to_string();
        let read =
            read_weights(&run.folder.join(WEIGHTS_FILE)).map_err(|e| format!("its weights cannot be read ({e})"));
        let (weights, weights_note) = match &read {
            Ok((network, weights)) => fields(network, weights),
            Err(why) => (Err(why.clone()), ""),
        };
        let answers = read.and_then(|(network, weights)| answers(run, &network, &weights).map_err(|e| e.to_string()));
        let (confusion, activity) = match answers {
            Ok((confusion, activity)) => (Ok(confusion), activity),
            Err(why) => {
                let why = format!("the confusion matrix and the activity need the network and its data: {why}");
                (Err(why.clone()), Err(why))
            }
        };
        Look { title, confusion, weights, weights_note, activity, curves: probes(run) }
    }

    /// The reasons why parts are missing, each once.
    pub(crate) fn missing(&self) -> Vec<String> {
        let parts = [self.confusion.as_ref().err(), self.weights.as_ref().err(), self.activity.as_ref().err()];
        let curves = self.curves.as_ref().and_then(|curves| curves.as_ref().err());
        let mut all: Vec<String> = parts.into_iter().chain([curves]).flatten().cloned().collect();
        all.dedup();
        all
    }
}

/// The weights of the first layer as images, and a note.
fn fields(network: &Network, weights: &Weights) -> (std::result::Result<String, String>, &'static str) {
    let Some(theta) = weights.theta.last() else { return (Err("there is no layer of weights".into()), "") };
    if network.graph().is_some() {
        return (Err("the weights of a network with skip connections are not drawn".into()), "");
    }
    let side = |n: usize| Some(n.isqrt()).filter(|side| side * side == n);
    let (inputs, grid) = (theta.ncols(), network.grid(network.lmax()));
    let channels = grid.map_or(1, |grid| grid.channels);
    let rows = match grid {
        // The kernel of a convolution, or a layer that reads the whole image.
        Some(grid) if inputs != grid.channels * grid.height * grid.width => {
            side(inputs / channels.max(1)).filter(|side| side * side * channels == inputs).map(|side| side * channels)
        }
        Some(grid) => Some(grid.channels * grid.height),
        None => side(inputs),
    };
    let note = if channels > 1 { "Channels are one below the other." } else { "" };
    // Inputs that are not an image are drawn as one row.
    let drawn = receptive_fields(theta, rows.unwrap_or(1), UNITS).map_err(|e| e.to_string());
    (drawn, note)
}

/// What the network answers: its confusions and its activity.
type Answers = (Confusion, std::result::Result<Vec<Layer>, String>);

fn answers(run: &Run, network: &Network, weights: &Weights) -> Result<Answers> {
    if run.arguments.is_empty() {
        return Err(Error::usage("its run.json has no \"arguments\", which name the data"));
    }
    let args = train::arguments_of(&run.arguments, &run.started_in)?;
    if args.tasks.is_some() {
        return Err(Error::usage("it trains on several tasks in turn, which have no common test set"));
    }
    let data = Arc::new(opened(run, &args)?);
    data.fits(network)?;
    let plan = options(run, network)?.plan(network)?;
    let session = CpuDevice::new(None)?.session(&plan, 1, Arc::clone(&data), weights)?;
    let mut session = BlockingSession::from(session);
    let confusion =
        Confusion::of(&mut session, network, &data.test)?.ok_or_else(|| Error::usage("its targets are not classes"))?;
    Ok((confusion, activity(&mut session, &data)))
}

/// The rule of the run with its own options, which may take part in its prediction. The others concern learning only.
fn options(run: &Run, network: &Network) -> Result<Options> {
    let name = run.setting("rule").as_str().unwrap_or_default();
    let rule =
        Rule::named(name).ok_or_else(|| Error::usage(format!("this version has no rule \"{}\"", quoted(name))))?;
    let mut options = Options::new(rule);
    // A prediction is the same with every schedule, and only the full one is exact on every graph.
    options.schedule = network.graph().and(Some(Schedule::Full)).filter(|_| rule.takes("schedule"));
    for choice in rule.rule_options {
        // An option with the name of another setting has a prefix.
        let recorded = run.settings.get(&format!("own {}", choice.name)).unwrap_or(run.setting(choice.name));
        if let Some(text) = recorded.as_str() {
            options.rule_options.insert(choice.name.to_owned(), choice.read(text)?);
        }
    }
    Ok(options)
}

/// The data of the run: the subset that it was trained and tested on.
fn opened(run: &Run, args: &TrainArgs) -> Result<Data> {
    let spec = args.data.as_deref().unwrap_or_default();
    let data = Data::open(spec)?;
    let recorded = run.setting("data_sha256");
    let differs = |(name, sum): &&(String, String)| recorded.get(name).is_some_and(|then| then != sum.as_str());
    if let Some((name, _)) = data.checksums.iter().find(differs) {
        let why = format!("its file {name} is not the one that the run was trained on: their SHA-256 differ");
        return Err(Error::data(Path::new(spec), why));
    }
    Ok(shown(data, args.subset.subset(), args.hold_out)?.0)
}

/// The activity of each layer for the first test sample of each class.
fn activity(session: &mut BlockingSession, data: &Data) -> std::result::Result<Vec<Layer>, String> {
    let labels = data.test.labels();
    let first = |class: usize| labels.iter().position(|label| usize::from(*label) == class);
    let samples: Vec<u32> = (0..data.test.classes()).filter_map(first).take(CLASSES).map(|i| i as u32).collect();
    let layers = session.as_cpu_mut().and_then(|session| session.activities(Set::Test, &samples));
    let layers = layers.ok_or("this network keeps no activity per layer in its forward pass")?;
    let hidden = layers.len().saturating_sub(1);
    let layer = |(l, values): (usize, Array2<f64>)| {
        let n = values.ncols();
        let some = if n > COLUMNS { format!(", the first {COLUMNS} of") } else { String::new() };
        let name = match l {
            0 => "output".to_owned(),
            l => format!("hidden layer {}", hidden + 1 - l),
        };
        let shown: Array2<f64> = values.slice(s![.., ..n.min(COLUMNS)]).to_owned();
        Layer { title: format!("{name}{some} ({n} units)"), svg: heat(&shown).map_err(|e| e.to_string()) }
    };
    // Layers are counted from the output; a reader begins at the input.
    Ok(layers.into_iter().enumerate().map(layer).rev().collect())
}

/// The probes of a run over epochs, if it has any.
fn probes(run: &Run) -> Option<std::result::Result<String, String>> {
    let bytes = read_bounded(&run.folder.join(METRICS_FILE), MOST_BYTES, Links::Refused).ok()?;
    let rows = parse_metrics(std::str::from_utf8(&bytes).ok()?).ok()?;
    if rows.iter().all(|row| row.probed.is_empty()) {
        return None;
    }
    let (metrics, probed) = rows.into_iter().map(|row| (row.metrics, row.probed)).unzip::<_, _, Vec<_>, Vec<_>>();
    Some(train::curves(&metrics, &probed).map_err(|e| e.to_string()))
}
