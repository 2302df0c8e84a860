//! `zilch evolve`

use super::args::EvolveArgs;
use super::progress::say;
use super::{Answer, json, signals, stop_flag};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use zilch::data::Data;
use zilch::device::cpu::threads_of;
use zilch::network::read_layers;
use zilch::rules::RuleFile;
use zilch::{Error, Options, Result};
use zilch_lab::search::{Generation, Search};
use zilch_lab::shell::{quoted, quoted_path};

pub(crate) fn run(args: &EvolveArgs) -> Result<Answer> {
    let base = Search::new()?;
    let search = Search {
        network: read_layers(&args.layers)?.with_activation(args.activation),
        options: Options { alpha: args.lr, ..base.options.clone() },
        images: args.images,
        batch: args.batch,
        networks: args.networks,
        population: args.population,
        generations: args.generations,
        seed: args.seed,
        threads: threads_of(args.threads)?,
        ..base
    };
    // Checks before the search, which may take hours, that its result can be written.
    if let Some(path) = &args.out {
        if path.extension().is_none_or(|extension| extension != "json") {
            return Err(Error::usage(format!("--out takes a file that ends in .json; {} given", path.display())));
        }
        if path.exists() && RuleFile::read(path).is_err() {
            return Err(Error::usage(format!(
                "--out {} exists and is not a rule file; choose another file",
                path.display()
            )));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        if !folder.is_dir() {
            return Err(Error::usage(format!("--out {}: there is no folder {}", path.display(), folder.display())));
        }
    }
    let data = Data::read(&args.data, &args.reading.reading())?;
    if data.train.kind().values {
        return Err(Error::usage("evolve compares rules by their errors on classes, and these data have real targets"));
    }
    let stop = stop_flag();
    say(&format!(
        "{} on {}: {} generations of {} rules, {} networks each",
        search.network, data.name, search.generations, search.population, search.networks
    ));
    let generations = search.run(&data, &stop, &mut |g, generation| {
        // After the first generation a signal must not discard the result.
        signals::hold();
        say(&line(g, generation, &search));
    })?;
    let found = generations.last().map(|g| g.mean.clone()).unwrap_or_default();
    let first: Vec<f64> = search.coefficients.iter().map(|c| c.start).collect();
    let stopped = stop.load(Ordering::Relaxed);
    let fresh = AtomicBool::new(false);
    let errors = search.compare(&[found.clone(), first], &data, &fresh)?;
    let own = search.options(&found).rule_options;
    let mathematics = search.mathematics(&found);
    let history = json!({
        "data": data.name,
        "layers": search.network.to_json(),
        "activation": search.network.activation,
        "lr": args.lr,
        "images": search.images,
        "batch": search.batch,
        "networks": search.networks,
        "population": search.population,
        "seed": search.seed,
        "test_error": errors[0],
        "test_error_of_the_first": errors[1],
        "generations": generations,
    });
    let file = RuleFile {
        rule: search.options.rule,
        rule_options: own.iter().map(|(name, value)| (name.clone(), format!("{value:.6}"))).collect(),
        mathematics: mathematics.clone(),
        found: history,
    };
    let written = args.out.as_ref().map_or(Ok(()), |path| file.write(path));
    let completed = file.found["generations"].as_array().map_or(0, Vec::len);
    let interrupted = stopped.then(|| Error::Interrupted(format!("interrupted after {completed} generations")));
    let failure = written.err().or(interrupted);
    if args.json {
        return Ok(Answer { text: json(&file)?, failure });
    }
    let mut text = format!(
        "{mathematics}\ntest error {:.2} % on new images and weights; the initial rule {:.2} %\n",
        100.0 * errors[0],
        100.0 * errors[1]
    );
    if let Some(path) = &args.out {
        text += &format!(
            "to train with it: zilch train --rule {} --layers {} --activation {} --init xavier --batch {} --lr {}\n",
            quoted_path(path),
            quoted(&args.layers),
            args.activation.name(),
            args.batch,
            args.lr
        );
    }
    Ok(Answer { text, failure })
}

fn line(g: usize, generation: &Generation, search: &Search) -> String {
    let numbers: Vec<String> =
        search.coefficients.iter().zip(&generation.mean).map(|(c, mean)| format!("{} {mean:.4}", c.name)).collect();
    let [best, median, first] = generation.errors.map(|e| 100.0 * e);
    format!(
        "generation {:>3} · best {best:.2} % · median {median:.2} % · initial rule {first:.2} % · {}",
        g + 1,
        numbers.join(" · ")
    )
}
