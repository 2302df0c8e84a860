//! `zilch evolve`

use super::args::EvolveArgs;
use super::progress::say;
use super::{Answer, json, stop_flag};
use serde_json::json;
use zilch::data::Data;
use zilch::device::cpu::threads_of;
use zilch::files::RuleFile;
use zilch::search::{Generation, Search};
use zilch::{Network, Options, Result};

pub(crate) fn run(args: &EvolveArgs) -> Result<Answer> {
    let base = Search::new()?;
    let search = Search {
        network: Network::parse(&args.layers)?.with_activation(args.activation),
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
    let data = Data::open(&args.data)?;
    let stop = stop_flag();
    say(&format!(
        "{} on {}: {} generations of {} rules, {} networks each",
        search.network, data.name, search.generations, search.population, search.networks
    ));
    let generations = search.run(&data, &stop, &mut |g, generation| say(&line(g, generation, &search)))?;
    let found = generations.last().map(|g| g.mean.clone()).unwrap_or_default();
    let first: Vec<f64> = search.coefficients.iter().map(|c| c.start).collect();
    let errors = search.compare(&[found.clone(), first], &data, &stop)?;
    let own = search.options(&found).own;
    let mathematics = search.mathematics(&found);
    let history = json!({
        "data": data.name,
        "layers": search.network.input_first(),
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
        own: own.iter().map(|(name, value)| (name.clone(), format!("{value:.6}"))).collect(),
        mathematics: mathematics.clone(),
        found: history,
    };
    if let Some(path) = &args.out {
        file.write(path)?;
    }
    if args.json {
        return Ok(json(&file)?.into());
    }
    let mut text = format!(
        "{mathematics}\ntest error {:.2} % on new images and weights; the rule it began with {:.2} %\n",
        100.0 * errors[0],
        100.0 * errors[1]
    );
    if let Some(path) = &args.out {
        text += &format!("zilch train --rule {} uses it\n", path.display());
    }
    Ok(text.into())
}

fn line(g: usize, generation: &Generation, search: &Search) -> String {
    let numbers: Vec<String> =
        search.coefficients.iter().zip(&generation.mean).map(|(c, mean)| format!("{} {mean:.4}", c.name)).collect();
    let [best, median, first] = generation.errors.map(|e| 100.0 * e);
    format!(
        "generation {:>3} · best {best:.2} % · median {median:.2} % · the first rule {first:.2} % · {}",
        g + 1,
        numbers.join(" · ")
    )
}
