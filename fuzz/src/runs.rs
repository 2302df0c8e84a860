//! `zilch runs`: an input is the files of some runs, a line each. `{` begins a run.json, and with it the next run's folder; `c{` the
//! checkpoint.json of that run; `m` begins a line of its metrics.csv, `l` one of a log; `s` puts a state beside it. The command's options
//! stand in a line that begins with `-`. What `zilch eval` asks of a run.json is asked, too.

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
    /// The program says it on stderr.
    pub(super) fn say(what: &str) {
        assert!(!what.is_empty(), "nothing to say");
    }
}

/// What the program prints.
struct Answer(String);

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Answer(text)
    }
}

fn json(value: &serde_json::Value) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::usage(e.to_string()))
}

/// The most runs of an input.
const MOST: usize = 4;
/// The name of a state, as the checkpoints of inputs have it, and of a log of metrics.
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
        // As many folders as there are runs, so that no empty ones are looked into.
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
        match command::run(&asked(words, &folder.path().join(root), &folder.path().join("x.svg"))) {
            Ok(Answer(text)) => assert!(!text.is_empty(), "an answer without words"),
            Err(error) => assert!(!error.to_string().is_empty(), "a refusal without words"),
        }
    });
}

/// The table, the document or the picture, as the words ask for them; a table where they do not.
fn asked(words: &[u8], root: &Path, picture: &Path) -> RunsArgs {
    let words = String::from_utf8_lossy(words);
    let mut args = RunsArgs { folders: vec![root.to_owned()], sort: None, by: Vec::new(), out: None, json: false };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("--sort", column)) => args.sort = Some(column.to_owned()),
            Some(("--by", names)) => args.by = names.split(',').map(str::to_owned).collect(),
            _ if word == "--json" => args.json = true,
            _ if word == "--out" => args.out = Some(picture.to_owned()),
            _ => {}
        }
    }
    args
}

/// What `zilch eval` asks a record for, and `zilch reproduce` a piece.
fn ask(run: &[u8]) {
    let Ok(run) = serde_json::from_slice::<Value>(run) else { return };
    // What is shown by it is the target of tasks; it looks at the memory that is free, which takes longer than all the rest.
    let _ = serde_json::from_value::<Subset>(run["settings"]["subset"].clone());
    let Some(rule) = run["settings"]["rule"].as_str().and_then(Rule::named) else { return };
    for choice in rule.own {
        let _ = run["settings"]["own"][choice.name].as_str().map(|text| choice.read(text));
    }
}
