//! `zilch runs`. An input is the files of some runs, one item per line. The first characters say what a line is: `{` a run.json, which
//! starts a new run; `c{` the checkpoint.json of that run; `m` a line of its metrics.csv; `l` a line of its log; `s` an empty state file;
//! `-` the options of the command. The target also reads from each run.json what `zilch eval` reads.

use super::arguments::args;
use super::scratch::Scratch;
use args::RunsArgs;
use serde_json::Value;
use std::path::Path;
use zilch::data::tasks::Subset;
use zilch::train::checkpoint::CHECKPOINT_FILE;
use zilch::train::{METRICS_FILE, RUN_FILE, parse_metrics};
use zilch::{Error, Result, Rule};

#[allow(dead_code, reason = "the program uses the rest")]
#[path = "../../cli/src/commands/table.rs"]
mod table;

#[path = "../../cli/src/commands/runs.rs"]
mod command;

mod progress {
    /// Takes the place of the function that prints to stderr.
    pub(super) fn say(what: &str) {
        assert!(!what.is_empty(), "an empty message");
    }
}

/// The output of the command.
struct Answer(String);

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Answer(text)
    }
}

fn json(value: &serde_json::Value) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::usage(e.to_string()))
}

/// The maximum number of runs in an input.
const MOST: usize = 4;
/// The name of the state file, as in the checkpoints of the seeds, and of the metrics log.
const STATE: &str = "state-8.safetensors";
const LOG: &str = "metrics-8.csv";

thread_local! {
    static FOLDER: Scratch = Scratch::new();
}

/// The files of a run.
#[derive(Default)]
struct Files<'a> {
    run: Option<&'a [u8]>,
    checkpoint: Option<&'a [u8]>,
    metrics: Vec<u8>,
    log: Vec<u8>,
    state: bool,
}

pub fn run(bytes: &[u8]) {
    let mut words: &[u8] = &[];
    let mut runs: [Files<'_>; MOST] = Default::default();
    let mut there = 0;
    for line in bytes.split(|b| *b == b'\n') {
        let last = there.clamp(1, MOST) - 1;
        match line {
            [b'{', ..] if there < MOST => {
                runs[there].run = Some(line);
                there += 1;
                ask(line);
            }
            [b'c', rest @ ..] => runs[last].checkpoint = Some(rest),
            [b'm', rest @ ..] => runs[last].metrics.extend(rest.iter().chain(b"\n")),
            [b'l', rest @ ..] => runs[last].log.extend(rest.iter().chain(b"\n")),
            [b's', ..] => runs[last].state = true,
            [b'-', ..] => words = line,
            _ => {}
        }
    }
    FOLDER.with(|folder| {
        // One root per number of runs, so that the command finds no folders of other inputs.
        let root = format!("of-{there}");
        for (i, files) in runs[..there].iter().enumerate() {
            let put = |name: &str, bytes: Option<&[u8]>| folder.put(&format!("{root}/{i}/{name}"), bytes);
            put(RUN_FILE, files.run);
            put(CHECKPOINT_FILE, files.checkpoint);
            for (name, text) in [(METRICS_FILE, &files.metrics), (LOG, &files.log)] {
                put(name, (!text.is_empty()).then_some(text.as_slice()));
                let _ = std::str::from_utf8(text).map(parse_metrics);
            }
            put(STATE, files.state.then_some(b"state"));
        }
        match command::run(&arguments(words, &folder.path().join(root), &folder.path().join("x.svg"))) {
            Ok(Answer(text)) => assert!(!text.is_empty(), "empty output"),
            Err(error) => assert!(!error.to_string().is_empty(), "an error without a message"),
        }
    });
}

/// The arguments of the command from the line of options.
fn arguments(words: &[u8], root: &Path, picture: &Path) -> RunsArgs {
    let words = String::from_utf8_lossy(words);
    let mut args =
        RunsArgs { folders: vec![root.to_owned()], sort: None, by: Vec::new(), out: None, csv: false, json: false };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("--sort", column)) => args.sort = Some(column.to_owned()),
            Some(("--by", names)) => args.by = names.split(',').map(str::to_owned).collect(),
            _ if word == "--json" => args.json = true,
            _ if word == "--csv" => args.csv = true,
            _ if word == "--out" => args.out = Some(picture.to_owned()),
            _ => {}
        }
    }
    args
}

/// Reads from a run.json what `zilch eval` reads.
fn ask(run: &[u8]) {
    let Ok(run) = serde_json::from_slice::<Value>(run) else { return };
    // The subset is not applied: the target `tasks` does that, and it checks the free memory, which is slow.
    let _ = serde_json::from_value::<Subset>(run["settings"]["subset"].clone());
    let Some(rule) = run["settings"]["rule"].as_str().and_then(Rule::named) else { return };
    for choice in rule.rule_options {
        let _ = run["settings"]["own"][choice.name].as_str().map(|text| choice.read(text));
    }
}
