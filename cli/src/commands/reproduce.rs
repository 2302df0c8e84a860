//! `zilch reproduce`

use super::args::{Experiment, ReproduceArgs};
use super::progress::{Progress, say};
use super::shell::quoted;
use super::signals::{self, Leave};
use super::{Answer, stop_flag, train};
use serde::Serialize;
use serde_json::json;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use zilch::data::Data;
use zilch::device::cpu::threads_of;
use zilch::files::printable;
use zilch::measure::host::{Host, peak_memory};
use zilch::{Error, Result};
use zilch_lab::identify_page::{IDENTIFY_TITLE, identify_page};
use zilch_lab::lenet::{LENET_TITLE, lenet_page};
use zilch_lab::museum::{MUSEUM_TITLE, museum};
use zilch_lab::page::{PAGE_TITLE, Record, figure3_svg, load, page, today};
use zilch_lab::pcx::{PCX_TITLE, pcx_page};
use zilch_lab::piece::Piece;
use zilch_lab::prospective_page::{PROSPECTIVE_TITLE, prospective_page, prospective_svg};
use zilch_lab::superspike::{SUPERSPIKE_TITLE, superspike_page, superspike_svg};
use zilch_lab::{
    Context, Folder, family, figure3, identify, lenet, pcx, prospective, superspike, table2, table3, table4, write_text,
};

pub(crate) fn run(args: &ReproduceArgs) -> Result<Answer> {
    let path = page_path(&args.out)?;
    if args.experiment == Experiment::Page && args.out.exists() && !args.out.is_dir() {
        return Err(Error::data(&args.out, "this is no folder; --out takes the folder of the results"));
    }
    if args.experiment != Experiment::Page {
        // Spikes are no images: that experiment makes its own.
        if args.experiment == Experiment::Superspike && args.data.is_some() {
            return Err(Error::usage("reproduce superspike makes its own spikes and takes no --data; leave it out"));
        }
        let own = (args.experiment == Experiment::Superspike).then_some(OsStr::new("digits"));
        let data = Arc::new(Data::open(own.or(args.data.as_deref()).ok_or_else(no_data)?)?);
        let stop = stop_flag();
        // Every piece is written whole when it is done, and none is lost but those under way.
        let why = format!("interrupted; what is finished is kept. Go on with: {}", again());
        signals::free(Leave { why, ..Leave::default() });
        let runner = Runner { args, data, stop };
        let wanted = |e: Experiment| args.experiment == e || args.experiment == Experiment::All;
        let work = || {
            if wanted(Experiment::Table2) {
                runner.experiment("table2", |context, _| table2::run(context))?;
            }
            if wanted(Experiment::Figure3) {
                runner.experiment("figure3", figure3::run)?;
            }
            if wanted(Experiment::Table3) {
                runner.experiment("table3", |context, _| table3::run(context))?;
            }
            if wanted(Experiment::Table4) {
                runner.experiment("table4", |context, _| table4::run(context))?;
            }
            if args.experiment == Experiment::Family {
                runner.experiment("family", |context, folder| {
                    let data = Arc::clone(&context.data);
                    let train = |piece: &Piece| train::by_command(piece, &data, context.stop);
                    family::run(context, folder, &train)
                })?;
            }
            if args.experiment == Experiment::Prospective {
                runner.experiment("prospective", |context, folder| {
                    let data = Arc::clone(&context.data);
                    let train = |piece: &Piece| train::by_command(piece, &data, context.stop);
                    prospective::run(context, folder, &train)
                })?;
            }
            if args.experiment == Experiment::Pcx {
                runner.experiment(&pcx::record_name(&runner.data.name), |context, folder| {
                    let data = Arc::clone(&context.data);
                    let train = |piece: &Piece| train::by_command(piece, &data, context.stop);
                    pcx::run(context, folder, &train, args.seeds)
                })?;
            }
            if args.experiment == Experiment::Lenet {
                runner.experiment(&lenet::record_name(&runner.data.name), |context, folder| {
                    let data = Arc::clone(&context.data);
                    let train = |piece: &Piece| train::by_command(piece, &data, context.stop);
                    lenet::run(context, folder, &train, args.seeds)
                })?;
            }
            if args.experiment == Experiment::Identify {
                runner.experiment("identify", identify::run)?;
            }
            if args.experiment == Experiment::Superspike {
                runner.experiment("superspike", superspike::run)?;
            }
            Ok(())
        };
        match work() {
            Err(Error::Interrupted(why)) => {
                return Err(Error::Interrupted(format!("{why}. Go on with: {}", again())));
            }
            other => other?,
        }
    }
    if let Some(record) = load::<Vec<figure3::Outcome>>(&args.out, "figure3")? {
        for (name, svg) in figure3_svg(&record.results)? {
            write_text(&args.out.join(name), &svg)?;
        }
    }
    if let Some(record) = load::<prospective::Prospective>(&args.out, "prospective")? {
        for (name, svg) in prospective_svg(&record.results)? {
            write_text(&args.out.join(name), &svg)?;
        }
    }
    if let Some(record) = load::<superspike::SuperSpike>(&args.out, "superspike")? {
        for (name, svg) in superspike_svg(&record.results)? {
            write_text(&args.out.join(name), &svg)?;
        }
    }
    let (mut shown, mut made) = (None, 0);
    for (experiment, name, title, text) in [
        (Experiment::Family, "museum.md", MUSEUM_TITLE, museum(&args.out)?),
        (Experiment::Prospective, "prospective.md", PROSPECTIVE_TITLE, prospective_page(&args.out)?),
        (Experiment::Pcx, "pcx.md", PCX_TITLE, pcx_page(&args.out)?),
        (Experiment::Lenet, "lenet.md", LENET_TITLE, lenet_page(&args.out)?),
        (Experiment::Superspike, "superspike.md", SUPERSPIKE_TITLE, superspike_page(&args.out)?),
        (Experiment::Identify, "identify.md", IDENTIFY_TITLE, identify_page(&args.out)?),
    ] {
        let Some(text) = text else { continue };
        let at = args.out.with_file_name(name);
        refuse_foreign(&at, title)?;
        let text = printable(&text).into_owned();
        write_text(&at, &text)?;
        say(&format!("written: {}", at.display()));
        made += 1;
        if args.experiment == experiment {
            shown = Some(text);
        }
    }
    if let Some(text) = shown {
        return Ok(text.into());
    }
    // Results of others only.
    let song =
        ["table2", "figure3", "table3", "table4"].iter().any(|name| args.out.join(format!("{name}.json")).exists());
    if made > 0 && !song {
        return Ok(String::new().into());
    }
    let text = printable(&page(&args.out)?).into_owned();
    write_text(&path, &text)?;
    say(&format!("written: {} and the results in {}", path.display(), args.out.display()));
    Ok(text.into())
}

/// The page of the results in `out`: beside the folder, under its name with `.md`.
fn page_path(out: &Path) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        return Err(Error::usage(format!("--out needs the name of a folder of its own; {} given", out.display())));
    };
    let mut name = name.to_owned();
    name.push(".md");
    let path = out.with_file_name(name);
    refuse_foreign(&path, PAGE_TITLE)?;
    Ok(path)
}

/// Refuses to replace a file that is no page of ours.
fn refuse_foreign(path: &Path, title: &str) -> Result<()> {
    // What is no regular file is refused where it is written.
    if !path.is_file() {
        return Ok(());
    }
    let mut first = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(title.len() as u64).read_to_end(&mut first));
    if read.is_ok() && first != title.as_bytes() {
        return Err(Error::usage(format!(
            "the page of these results would replace {}, which is none; choose another --out",
            path.display()
        )));
    }
    Ok(())
}

fn no_data() -> Error {
    Error::usage(
        "reproduce needs --data DIR, a folder with the four files of the MNIST database (train-images-idx3-ubyte, \
         train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, plain or .gz), or --data digits \
         for the built-in synthetic set",
    )
}

/// The command that goes on with what was interrupted: the same again.
fn again() -> String {
    std::env::args_os().map(quoted).collect::<Vec<_>>().join(" ")
}

struct Runner<'a> {
    args: &'a ReproduceArgs,
    data: Arc<Data>,
    stop: Arc<AtomicBool>,
}

impl Runner<'_> {
    /// Runs one experiment in its own folder and writes its record beside that.
    fn experiment<T: Serialize>(&self, name: &str, work: impl Fn(&Context<'_>, &Folder) -> Result<T>) -> Result<T> {
        let (args, data) = (self.args, &self.data);
        let checksums: Vec<&String> = data.checksums.iter().map(|(_, sum)| sum).collect();
        let identity = json!({ "experiment": name, "quick": args.quick, "data_sha256": checksums });
        let threads = threads_of(args.threads)?;
        let folder = Folder::open(&args.out.join(name), &identity)?;
        say(&format!("{name} on {} with {threads} threads", data.name));
        let progress = Progress::new(1000, name);
        let watch = |part: f64, _: &str| progress.at((part * 1000.0) as u64);
        let context = Context { data: Arc::clone(data), quick: args.quick, threads, stop: &self.stop, watch: &watch };
        let start = Instant::now();
        let results = work(&context, &folder)?;
        progress.done();
        let host = serde_json::to_value(Host::new(threads)).map_err(|e| Error::usage(e.to_string()))?;
        let record = Record {
            experiment: name.into(),
            quick: args.quick,
            data: data.name.clone(),
            data_sha256: data.checksums.clone(),
            host,
            date: today(),
            wall_seconds: start.elapsed().as_secs_f64(),
            peak_mib: peak_memory(),
            results,
        };
        let text = serde_json::to_string(&record).map_err(|e| Error::usage(e.to_string()))?;
        write_text(&args.out.join(format!("{name}.json")), &(text + "\n"))?;
        Ok(record.results)
    }
}
