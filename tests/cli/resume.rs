//! `--resume`: a killed or interrupted run ends with the weights of an uninterrupted one, and says how to continue.

use crate::program::program;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use zilch::random::{Random, Stream};
use zilch::train::checkpoint::{CHECKPOINT_FILE, sealed};

fn zilch(args: &str) -> Command {
    let mut command = program();
    command.args(args.split_whitespace()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The SHA-256 of the final weights of a run.
fn ended(output: &std::process::Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["weights_sha256"].as_str().expect("a sum").to_owned()
}

/// A run that is killed repeatedly at random times ends with the same weights. No kill leaves an unreadable checkpoint. `ZILCH_KILLS` is
/// the number of kills.
#[test]
fn kills_cost_nothing_but_time() {
    let kills: u64 = std::env::var("ZILCH_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let run = "train --data digits --layers 784,20,10 --rule zil --optimizer adam --lr 0.001 --batch 50 --updates 2400 --device cpu --json";
    let whole = ended(&zilch(run).output().expect("runs"));
    let mut random = Random::new(5, Stream::Test, 5);
    let (mut loaded, mut kill) = (0, 0);
    while kill < kills {
        let args = if out.join(CHECKPOINT_FILE).exists() {
            // The checkpoint must be readable, whenever the last process was killed.
            loaded += 1;
            format!("train --resume {} --json", out.display())
        } else {
            let _ = std::fs::remove_dir_all(&out);
            format!("{run} --checkpoint-every 3 --out {}", out.display())
        };
        let mut child = zilch(&args).spawn().expect("runs");
        std::thread::sleep(std::time::Duration::from_millis(20 + random.below(400)));
        child.kill().expect("killed, or already over");
        let output = child.wait_with_output().expect("the end");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("damaged") && !stderr.contains("not the manifest"), "kill {kill}: {stderr}");
        // A run that finished before the kill is removed and started again.
        if output.status.success() {
            std::fs::remove_dir_all(&out).expect("removed");
        } else {
            kill += 1;
        }
    }
    println!("{kill} kills, and {loaded} checkpoints loaded");
    let rest = if out.join(CHECKPOINT_FILE).exists() {
        zilch(&format!("train --resume {} --json", out.display())).output()
    } else {
        let _ = std::fs::remove_dir_all(&out);
        zilch(&format!("{run} --checkpoint-every 500 --out {}", out.display())).output()
    };
    assert_eq!(ended(&rest.expect("runs")), whole, "after {loaded} resumptions");
    let mut names: Vec<String> =
        std::fs::read_dir(&out).expect("there").map(|e| e.expect("one").file_name().to_string_lossy().into()).collect();
    names.retain(|name| !name.starts_with(".zilch-"));
    names.sort();
    assert_eq!(names, ["best.safetensors", "metrics.csv", "run.json", "weights.safetensors"]);
}

/// Ctrl-C writes a checkpoint without `--checkpoint-every`, and the message says how to continue.
#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_continue() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("run");
    let run = "train --data digits --layers 784,30,10 --rule il --batch 50 --lr 0.002 --updates 4000 --epoch-updates 100 --device cpu --json";
    let whole = ended(&zilch(run).output().expect("runs"));
    let mut child = zilch(&format!("{run} --out {}", out.display())).spawn().expect("runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    let mut stderr = String::new();
    while !stderr.contains("\nepoch   3") {
        stderr += &format!("{}\n", lines.next().expect("more output"));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    stderr.extend(lines);
    let output = child.wait_with_output().expect("the end");
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains(&format!("Continue with: zilch train --resume {}", out.display())), "{stderr}");
    let refuses = |args: &str, says: &str| {
        let output = zilch(args).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(says), "{args}: {stderr}");
    };
    let dir = out.display();
    refuses(&format!("train --resume {dir} --lr 0.5"), "--lr is given");
    refuses("train --resume /nowhere", "there is no such folder");
    refuses("train --checkpoint-every 5 --data digits", "add --out DIR");
    refuses(
        &format!("train --data digits --checkpoint-every 5x --out {dir}"),
        "neither a number of updates nor a time",
    );
    // The settings of the run must not have changed.
    let manifest = out.join(CHECKPOINT_FILE);
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let edited = text.replacen("\"batch\":50", "\"batch\":51", 1);
    std::fs::write(&manifest, &edited).expect("written");
    refuses(&format!("train --resume {dir}"), "it was edited");
    let edited = sealed(serde_json::from_str(&edited).expect("JSON"));
    std::fs::write(&manifest, edited.to_string()).expect("written");
    refuses(&format!("train --resume {dir}"), "batch changed");
    std::fs::write(&manifest, &text).expect("written");
    // Two processes in one folder would remove each other's state files.
    let folder_lock = std::fs::File::open(&out).expect("a folder");
    if folder_lock.try_lock().is_ok() {
        refuses(&format!("train --resume {dir}"), "another zilch is writing");
        folder_lock.unlock().expect("unlocked");
    }
    // A contradictory progress is reported.
    for (from, to, says) in [("\"within\":", "\"within\":9", "contradict"), ("\"epoch\":", "\"epoch\":1", "contradict")]
    {
        let edited = sealed(serde_json::from_str(&text.replacen(from, to, 1)).expect("JSON"));
        std::fs::write(&manifest, edited.to_string()).expect("written");
        refuses(&format!("train --resume {dir}"), says);
    }
    std::fs::write(&manifest, &text).expect("written");
    let rest = zilch(&format!("train --resume {dir} --threads 2 --json")).output().expect("runs");
    assert_eq!(ended(&rest), whole);
    refuses(&format!("train --resume {dir}"), "there is no checkpoint here");
}

/// `--resume --epochs N` changes the length of a run, also over a second interruption. The weights, the rows of metrics.csv and the settings
/// are those of a run that had this length from the start. Where the learning rate depends on the length it is refused, and a refusal
/// changes nothing.
#[test]
fn a_resumed_run_may_be_given_more_epochs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let json = |name: &str, file: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(at(name).join(file)).expect(file)).expect("JSON")
    };
    let run = "train --data digits --layers 784,16,10 --rule zil --optimizer adam --lr 0.001 --batch 50 --epoch-updates 20 --device cpu";
    let stopped = |args: &str| {
        let output = zilch(&format!("{args} --max-time 1s")).output().expect("runs");
        assert_eq!(output.status.code(), Some(130), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let refuses = |name: &str, epochs: u64, says: &str| {
        let before = std::fs::read(at(name).join(CHECKPOINT_FILE)).expect("the manifest");
        let args = format!("train --resume {} --epochs {epochs}", at(name).display());
        let output = zilch(&args).output().expect("runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(says), "{args}: {stderr}");
        assert_eq!(std::fs::read(at(name).join(CHECKPOINT_FILE)).expect("the manifest"), before);
    };
    let done = |name: &str| json(name, CHECKPOINT_FILE)["progress"]["epoch"].as_u64().expect("a number");
    let dir = at("run").display().to_string();
    stopped(&format!("{run} --epochs 1000000 --out {dir}"));
    assert!(done("run") > 1);
    refuses("run", 1, "less than this run has trained");
    stopped(&format!("train --resume {dir} --epochs 2000000"));
    assert_eq!(json("run", "run.json")["settings"]["length"]["epochs"], 2_000_000);
    // A run.json that a crash has lost is written anew.
    std::fs::remove_file(at("run").join("run.json")).expect("removed");
    let epochs = done("run") + 3;
    let rest = ended(&zilch(&format!("train --resume {dir} --epochs {epochs} --json")).output().expect("runs"));
    let whole = format!("{run} --epochs {epochs} --json --out {}", at("whole").display());
    assert_eq!(rest, ended(&zilch(&whole).output().expect("runs")));
    assert_eq!(json("run", "run.json")["settings"], json("whole", "run.json")["settings"]);
    // Only the seconds differ.
    let rows = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(at(name).join("metrics.csv")).expect("metrics.csv");
        let values = |line: &str| {
            let kept = line.split(',').enumerate().filter(|(column, _)| *column != 2);
            kept.map(|(_, value)| value).collect::<Vec<_>>().join(",")
        };
        text.lines().map(values).collect()
    };
    assert_eq!(rows("run"), rows("whole"));
    assert_eq!(rows("run").len() as u64, epochs + 1);
    stopped(&format!("{run} --epochs 1000000 --lr-schedule cosine --out {}", at("cosine").display()));
    refuses("cosine", 2_000_000, "depends on the length");
    stopped(&format!("{run} --updates 100000000 --out {}", at("counted").display()));
    refuses("counted", 2_000_000, "a length in --updates");
}
