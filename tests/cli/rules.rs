//! The command line around rules: `rules`, `trace`, probes, optimisers, and refused options.

use crate::program::program;
use crate::repository::repository;
use serde_json::Value;
use std::process::Output;

fn zilch(args: &str) -> Output {
    let output = program().args(args.split_whitespace()).output().expect("zilch runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{args}: {stderr}");
    output
}

/// The output of a run that must succeed.
fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `zilch rules` lists the properties of every rule, as a table and as JSON.
#[test]
fn rules_lists_properties() {
    let table = stdout(&zilch("rules"));
    let rules: Value = serde_json::from_str(&stdout(&zilch("rules --json"))).expect("JSON");
    let rules = rules["rules"].as_array().expect("rules");
    assert!(rules.len() >= 11);
    for rule in rules {
        let (name, properties) = (rule["name"].as_str().expect("a name"), &rule["properties"]);
        assert!(table.lines().any(|l| l.split_whitespace().next() == Some(name)), "{name} in\n{table}");
        assert!(
            !rule["title"].as_str().expect("a title").is_empty()
                && !rule["source"].as_str().expect("a source").is_empty()
        );
        let names = [
            "local_plasticity",
            "weight_transport",
            "derivative",
            "signed_errors",
            "phases",
            "clock",
            "global_signal",
            "partial_autonomy",
            "full_autonomy",
        ];
        for property in names {
            assert!(properties[property]["holds"].is_boolean(), "{name} {property}");
            assert!(!properties[property]["why"].as_str().expect("why").is_empty(), "{name} {property}");
        }
    }
    let holds = |name: &str, property: &str| {
        let rule = rules.iter().find(|r| r["name"] == name).expect("the rule");
        rule["properties"][property]["holds"].as_bool().expect("a verdict")
    };
    // Table 2 of the paper, and properties of three other rules.
    let table2 = [
        ("bp", [false, false, false]),
        ("il", [true, true, false]),
        ("zil", [true, true, false]),
        ("fazil", [true; 3]),
    ];
    for (name, want) in table2 {
        let got = ["local_plasticity", "partial_autonomy", "full_autonomy"].map(|p| holds(name, p));
        assert_eq!(got, want, "{name}");
    }
    assert!(holds("bp", "weight_transport") && !holds("fa", "weight_transport") && holds("brainprop", "global_signal"));
}

/// `zilch trace`: the error climbs one layer per step, φ fires once per layer, and the output is a complete SVG.
#[test]
fn a_trace_shows_the_error_climb() {
    let folder = tempfile::tempdir().expect("a folder");
    let svg = folder.path().join("trace.svg");
    let args = format!("trace --rule fazil --layers 784,9,8,10 --json --out {}", svg.display());
    let trace: Value = serde_json::from_str(&stdout(&zilch(&args))).expect("JSON");
    let cell = |what: &str, l: usize, t: usize| trace[what][l][t].as_f64().expect("a number");
    for (l, t) in (0..3).flat_map(|l| (0..4).map(move |t| (l, t))) {
        assert_eq!(cell("eps", l, t) > 0.0, t >= l, "ε^{l} at t = {t}");
        assert_eq!(cell("spikes", l, t) > 0.0, t == l, "φ^{l} at t = {t}");
    }
    let svg = std::fs::read_to_string(svg).expect("the picture");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    assert!(stdout(&zilch("trace --rule il --steps 3")).contains("t = 3"));
    assert_eq!(zilch("trace --batch 0").status.code(), Some(2));
    assert_eq!(zilch("trace --rule fazil --out /nowhere/at/all.svg").status.code(), Some(1));
}

/// `train --probe` adds columns to metrics.csv and writes curves.svg. The angle is exactly 0 for Z-IL and not for FA.
#[test]
fn probes_are_measured_and_drawn() {
    for (rule, equal) in [("zil", true), ("fa", false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("run");
        let args = format!(
            "train --data digits --layers 784,12,10 --rule {rule} --device cpu --epochs 2 --lr 0.001 --seed 3 \
             --probe alignment,energy,eps --json --out {}",
            out.display()
        );
        let result: Value = serde_json::from_str(&stdout(&zilch(&args))).expect("JSON");
        let angle = result["probes"][1][0]["values"][1].as_f64().expect("the angle of θ^2");
        assert_eq!(angle == 0.0, equal, "{rule}: {angle}");
        let csv = std::fs::read_to_string(out.join("metrics.csv")).expect("metrics.csv");
        let header =
            "epoch,updates,seconds,train_energy,test_error,alignment_1,alignment_2,energy_0,energy_1,eps_0,eps_1";
        assert_eq!(csv.lines().next(), Some(header));
        assert!(csv.lines().count() == 3 && csv.lines().all(|l| l.split(',').count() == 11), "{csv}");
        assert!(std::fs::read_to_string(out.join("curves.svg")).expect("curves.svg").contains("angle to BP"));
    }
}

/// Exactly the rules with their own networks refuse the angle to BP, with exit code 2. The message names the rule and the other probes,
/// which all rules accept.
#[test]
fn angles_to_bp_are_refused_by_rules_with_their_own_networks() {
    for rule in zilch::Rule::all() {
        let name = rule.name();
        let train = format!("train --data digits --layers 784,6,10 --rule {name} --device cpu --updates 2 --probe");
        let angles = zilch(&format!("{train} energy,alignment"));
        assert_eq!(angles.status.code(), Some(if rule.own_network { 2 } else { 0 }), "{name}");
        let stderr = String::from_utf8_lossy(&angles.stderr);
        let wanted = [format!("--rule {name}"), "--probe energy, eps, target".into()];
        assert_eq!(wanted.iter().all(|text| stderr.contains(text)), rule.own_network, "{stderr}");
        stdout(&zilch(&format!("{train} energy,eps,target")));
    }
}

/// Losses, optimisers, learning rates and initial weights from the command line. Options that do not apply are refused with exit code 2.
#[test]
fn optimisers_and_their_refusals() {
    let train = "train --preset paper --data digits --layers 784,12,10 --device cpu --updates 200 --seed 1";
    let mut hashes = std::collections::BTreeSet::new();
    let ways = [
        "",
        "--loss cross-entropy",
        "--optimizer momentum",
        "--optimizer momentum --momentum 0.5",
        "--optimizer adam",
        "--optimizer adam --betas 0.8,0.99",
        "--optimizer adamw",
        "--weight-decay 0.1",
        "--lr-schedule cosine",
        "--lr-schedule step --warmup 20",
        "--init xavier",
        "--init he",
        "--init orthogonal",
    ];
    for way in ways {
        let hash = |rule: &str| {
            let result: Value =
                serde_json::from_str(&stdout(&zilch(&format!("{train} --rule {rule} {way} --json")))).expect("JSON");
            result["weights_sha256"].as_str().expect("a hash").to_owned()
        };
        let bp = hash("bp");
        assert_eq!(bp, hash("zil"), "{way}");
        assert_eq!(bp, hash("fazil"), "{way}");
        hashes.insert(bp);
    }
    assert_eq!(hashes.len(), ways.len(), "every option changes the training");
    for (refused, words) in [
        ("--momentum 0.5", "--momentum is for --optimizer momentum"),
        ("--betas 0.9,0.99", "--betas are for"),
        ("--optimizer adam --betas 0.9", "two numbers"),
        ("--optimizer adam --betas 0.9,1", "0 to 1"),
        ("--warmup 200", "shorter than the run of 200"),
        ("--weight-decay -1", "--weight-decay"),
        ("--rule fa --feedback-scale nonsense", "--feedback-scale takes a number"),
        ("--rule bp --feedback-scale 1", "fa, dfa, frsf, kp"),
        ("--rule rpc --slope up", "--slope takes off or on"),
        ("--rule rpc --loss cross-entropy", "--loss cross-entropy does not apply"),
        ("--rule fa --schedule full", "--schedule (the layers that each moment works on) does not apply"),
        ("--rule fa --coords value", "--coords (the coordinates of error nodes) does not apply"),
    ] {
        let output = zilch(&format!("{train} {refused}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{refused}: {stderr}");
        assert!(stderr.contains(words), "{refused}: {stderr}");
    }
    assert_eq!(zilch(&format!("{train} --init nowhere.safetensors")).status.code(), Some(4));
}

/// A training whose network learns nothing reports it once, with options to try. One that learns does not.
#[test]
fn a_network_at_chance_says_so() {
    let said = |lr: &str| {
        let output = zilch(&format!("train --data digits --layers 784,12,10 --device cpu --epochs 2 --lr {lr}"));
        String::from_utf8_lossy(&output.stderr).matches("has learned nothing").count()
    };
    assert_eq!((said("0.0000001"), said("0.01")), (1, 0));
}

/// The page on custom rules quotes source code that is compiled.
#[test]
fn the_page_on_rules_quotes_the_code() {
    let root = repository();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).expect(path);
    let page = read("docs/rules.md");
    let fa = read("src/rules/fa.rs");
    let body = &fa[fa.find("pub(super) static").expect("the definition")..];
    assert!(page.contains(body.trim()), "docs/rules.md must quote src/rules/fa.rs");
}

/// `zilch evolve` finds a rule, prints it as an equation, and writes a file for `--rule`. Invalid rule files are refused.
#[test]
fn a_rule_is_evolved_and_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("found.json");
    let search = "evolve --data digits --layers 784,16,10 --images 100 --networks 1 --population 6 --generations 3 --seed 4 --json";
    let found = stdout(&zilch(&format!("{search} --out {}", path.display())));
    let file: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(file, serde_json::from_str::<Value>(&std::fs::read_to_string(&path).expect("the file")).expect("JSON"));
    assert!(file["mathematics"].as_str().expect("text").contains("ε hᵀ"), "{file}");
    assert_eq!(file["found"]["generations"].as_array().expect("a list").len(), 3);
    // The search finds the same rule with any number of threads, and another rule with another seed.
    assert_eq!(stdout(&zilch(&format!("{search} --threads 1"))), found);
    assert_ne!(stdout(&zilch(&format!("{search} --seed 5").replacen("--seed 4 ", "", 1))), found);

    let run = |rule: &str| {
        let args =
            format!("train --data digits --layers 784,16,10 --updates 20 --lr 0.01 --device cpu --json --rule {rule}");
        let run: Value = serde_json::from_str(&stdout(&zilch(&args))).expect("JSON");
        run
    };
    let used = run(path.to_str().expect("a path"));
    assert_eq!(used["settings"]["rule"], "local");
    let own = |name: &str| file["own"][name].as_str().expect("a number").parse::<f64>().expect("a number");
    let typed =
        run(&format!("local --gradient {} --error-error {} --oja {}", own("gradient"), own("error-error"), own("oja")));
    assert_eq!(used["weights_sha256"], typed["weights_sha256"]);
    // The command line overrides the file.
    assert_eq!(run(&format!("{} --gradient 0.25", path.display()))["settings"]["own"]["gradient"], "0.25");

    for (text, says) in [
        ("{}", "missing field"),
        ("[", "not a rule file"),
        (r#"{"rule":"local","own":{"gama":"1"}}"#, "no option gama"),
        (r#"{"rule":"local","own":{"oja":"x"}}"#, "--oja takes a number"),
        (r#"{"rule":"lokal","own":{}}"#, "there is no rule \"lokal\"; did you mean local?"),
        (r#"{"rule":"local","own":{},"more":1}"#, "unknown field"),
    ] {
        std::fs::write(&path, text).expect("written");
        let refused = zilch(&format!("train --data digits --rule {}", path.display()));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(4), "{text}: {stderr}");
        assert!(stderr.contains(says), "{text}: {stderr}");
    }
    let missing = zilch("train --data digits --rule /nowhere/at/all.json");
    assert_eq!(missing.status.code(), Some(4), "{}", String::from_utf8_lossy(&missing.stderr));
    let few = zilch("evolve --data digits --images 100000");
    assert_eq!(few.status.code(), Some(2), "{}", String::from_utf8_lossy(&few.stderr));
}

/// `eval` predicts with the rule of the weights, from run.json or `--rule`: its error is that of the training.
#[test]
fn eval_predicts_as_the_rule_does() {
    let folder = tempfile::tempdir().expect("a folder");
    for rule in [
        "ep --free 7",
        "dendrite",
        "burstccn",
        "kh --power 2",
        "ff",
        "dtp",
        "zil",
        "ipc --nodes post --steps 3",
        "mupc --init normal",
    ] {
        let out = folder.path().join(rule.replace(' ', ""));
        let net = if rule == "ff" { "784,20,15,10" } else { "784,20,10" };
        let args = format!(
            "train --data digits --layers {net} --bias --updates 30 --lr 0.01 --mean --device cpu --json --rule {rule} --out {}",
            out.display()
        );
        let run: Value = serde_json::from_str(&stdout(&zilch(&args))).expect("JSON");
        let weights = out.join("weights.safetensors");
        let eval = |more: &str| {
            let args = format!("eval --data digits --device cpu --json --weights {}{more}", weights.display());
            serde_json::from_str::<Value>(&stdout(&zilch(&args))).expect("JSON")
        };
        let last = run["epochs"].as_array().and_then(|e| e.last()).map(|e| e["test_error"].clone());
        let trained = last.unwrap_or_else(|| run["test_error"].clone());
        assert!(trained.is_number(), "{run}");
        let counted = eval("");
        assert_eq!(counted["test_error"], trained, "{rule}");
        assert_eq!(counted["rule"], rule.split(' ').next().expect("a name"));
    }
    // Without a run.json, `eval` uses a forward pass unless `--rule` is given.
    let moved = folder.path().join("moved.safetensors");
    std::fs::copy(folder.path().join("ep--free7").join("weights.safetensors"), &moved).expect("copied");
    let energy = |more: &str| {
        let args = format!("eval --data digits --device cpu --json --weights {}{more}", moved.display());
        serde_json::from_str::<Value>(&stdout(&zilch(&args))).expect("JSON")["energy"].clone()
    };
    assert_ne!(energy(""), energy(" --rule ep"));
}

/// Learning rates per layer, and rules that define their own units.
#[test]
fn rates_per_layer_and_rules_with_their_own_units() {
    let run = |args: &str| {
        let args = format!("train --data digits --layers 784,12,10 --updates 9 --lr 0.01 --device cpu --json {args}");
        serde_json::from_str::<Value>(&stdout(&zilch(&args))).expect("JSON")["weights_sha256"].clone()
    };
    assert_eq!(run("--rule bp"), run("--rule bp --layer-lr 1,1"));
    assert_eq!(run("--rule zil --layer-lr 0.5,2"), run("--rule bp --layer-lr 0.5,2"), "Z-IL stays on BP");
    assert_ne!(run("--rule bp"), run("--rule bp --layer-lr 0.5,2"));
    assert_eq!(run("--rule ff"), run("--rule ff --activation relu"), "its own units are the default");
    for (args, says) in [
        ("--rule bp --layer-lr 1", "each of the 2 layers"),
        ("--rule bp --layer-lr 1,-1", "zero or positive"),
        ("--rule ff --activation tanh", "defines its own units"),
        ("--rule ep --activation relu", "defines its own units"),
        ("--rule ff --layers 784,10", "needs a hidden layer"),
        ("--rule dendrite --loss cross-entropy", "--loss cross-entropy does not apply"),
    ] {
        let args = format!("train --data digits --layers 784,12,10 {args}");
        let args = if args.contains("--layers 784,10") { args.replacen("--layers 784,12,10 ", "", 1) } else { args };
        let refused = zilch(&args);
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(says), "{args}: {stderr}");
    }
}

/// Subsets, held-out images, tasks and normalised pixels: their records, and refused values.
#[test]
fn training_data_can_be_selected() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let run = |args: &str| {
        let args = format!("train --data digits --layers 784,12,10 --batch 10 --lr 0.01 --device cpu --json {args}");
        serde_json::from_str::<Value>(&stdout(&zilch(&args))).expect("JSON")
    };
    // 3 classes of 40 images, without the held-out ones: 12 updates of 10 samples per epoch, limited to 9.
    let out = path("part");
    let part = run(&format!(
        "--classes 7,1,2 --per-class 40 --test-per-class 9 --hold-out 5 --epoch-updates 9 --epochs 2 --probe target --pixels 0.5,0.25 --out {out}"
    ));
    assert_eq!(part["updates"], 18);
    assert_eq!(part["held_out"].as_array().map(Vec::len), Some(2));
    let settings = &part["settings"];
    assert_eq!(settings["subset"], serde_json::json!({"classes": [7, 1, 2], "per_class": 40, "test_per_class": 9}));
    assert_eq!((&settings["hold_out"], &settings["pixels"]), (&serde_json::json!(5), &serde_json::json!([0.5, 0.25])));
    let csv = std::fs::read_to_string(format!("{out}/metrics.csv")).expect("metrics");
    assert!(csv.starts_with("epoch,updates,seconds,train_energy,test_error,held_out_error,target_0\n"), "{csv}");
    let eval = |more: &str| {
        let args = format!("eval --data digits --device cpu --json --weights {out}/weights.safetensors {more}");
        serde_json::from_str::<Value>(&stdout(&zilch(&args))).expect("JSON")
    };
    let counted = eval("--classes 7,1,2 --test-per-class 9");
    assert_eq!(counted["samples"], 27);
    assert_eq!(counted["test_error"], part["epochs"][1]["test_error"], "pixels are scaled as in training");
    assert_ne!(run("--epochs 1 --pixels 0.5,0.25")["weights_sha256"], run("--epochs 1")["weights_sha256"]);
    assert_eq!(run("--epochs 1 --pixels 0,1")["weights_sha256"], run("--epochs 1")["weights_sha256"]);
    let held = run(&format!("--epochs 1 --targets -1,1 --out {}", path("held")));
    assert_eq!(held["settings"]["targets"], serde_json::json!([-1.0, 1.0]));
    assert_ne!(held["weights_sha256"], run("--epochs 1")["weights_sha256"]);
    assert_eq!(run("--epochs 1 --targets 0,1")["weights_sha256"], run("--epochs 1")["weights_sha256"]);
    let weights = path("held/weights.safetensors");
    let counted = serde_json::from_str::<Value>(&stdout(&zilch(&format!(
        "eval --data digits --device cpu --json --weights {weights}"
    ))));
    assert_eq!(
        counted.expect("JSON")["test_error"],
        held["epochs"][0]["test_error"],
        "targets are filed with the weights"
    );
    let plain = run("--updates 1 --init-gain 1")["weights_sha256"].clone();
    assert_eq!(plain, run("--updates 1")["weights_sha256"]);
    assert_ne!(plain, run("--updates 1 --init-gain 2")["weights_sha256"]);
    // One gain per weight matrix, of which there are two.
    assert_eq!(
        run("--updates 1 --init-gain 2")["weights_sha256"],
        run("--updates 1 --init-gain 2,2")["weights_sha256"]
    );
    let of = |gains: &str| run(&format!("--updates 1 --init-gain {gains}"))["weights_sha256"].clone();
    assert!(of("2,1") != of("1,2") && of("2,1") != plain);

    let tasks = path("tasks.json");
    let text = r#"{"tasks": [{"classes": [0, 1], "epochs": 1}, {"labels": [9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "epochs": 2}], "test": "every"}"#;
    std::fs::write(&tasks, text).expect("written");
    let turns = run(&format!("--epochs 4 --epoch-updates 3 --tasks {tasks} --out {}", path("turns")));
    assert_eq!((&turns["updates"], turns["tested"].as_array().map(Vec::len)), (&serde_json::json!(12), Some(4)));
    assert_eq!(turns["settings"]["tasks"]["tasks"][1]["epochs"], 2);
    let csv = std::fs::read_to_string(path("turns/metrics.csv")).expect("metrics");
    assert!(csv.starts_with("epoch,updates,seconds,train_energy,test_error,test_error_1,test_error_2\n"), "{csv}");

    for (code, file, says) in [
        (4, "{}", "not a file of tasks"),
        (4, r#"{"tasks": []}"#, "1 to 10000 tasks"),
        (4, r#"{"tasks": [{"epochs": 0}]}"#, "0 epochs"),
        (4, r#"{"tasks": [{"epochs": 1, "clases": [1]}]}"#, "unknown field"),
        (2, r#"{"tasks": [{"epochs": 1, "classes": [33]}]}"#, "no image of class 33"),
        (2, r#"{"tasks": [{"epochs": 1, "skip": 100000}]}"#, "beyond the first 100000"),
        (2, r#"{"tasks": [{"epochs": 1, "labels": [1]}]}"#, "task 1: 1 label for 10 classes"),
        (2, r#"{"tasks": [{"epochs": 1, "classes": [3], "labels": [10]}]}"#, "task 1: its labels go up to 10"),
        (
            2,
            r#"{"tasks": [{"epochs": 1}, {"epochs": 1, "per_class": 1}]}"#,
            "task 2 shows 10 images, fewer than a --batch",
        ),
    ] {
        std::fs::write(&tasks, file).expect("written");
        let refused = zilch(&format!("train --data digits --layers 784,12,10 --tasks {tasks}"));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(code), "{file}: {stderr}");
        assert!(stderr.contains(says), "{file}: {stderr}");
    }
    for (args, says) in [
        ("--targets 1", "two numbers"),
        ("--targets 1,-1", "the second one larger"),
        ("--targets nan,1", "two numbers"),
        ("--targets -1,1 --loss cross-entropy", "a label means 0 and 1"),
        ("--targets -1,1 --rule ep", "a label means 0 and 1"),
        ("--rule dendrite --mode loud", "takes rates or spikes"),
        ("--pixels 0.5", "a mean and a standard deviation"),
        ("--pixels 0.5,0", "a mean and a standard deviation"),
        ("--classes 1,1", "named twice"),
        ("--per-class 0", "at least one image"),
        ("--hold-out 100000", "leaves at least 1"),
        ("--epoch-updates 0", "at least 1"),
        ("--init-gain -1", "zero or a positive"),
        ("--init-gain 1,1,1,1,1", "one for each of the"),
        ("--tasks /nowhere/tasks.json --classes 1", "cannot be used with"),
        ("--tasks /nowhere/tasks.json", "/nowhere/tasks.json"),
        ("--rule il --discount 2", "takes a number from"),
        ("--rule il --nodes before", "takes pre or post"),
        ("--rule ipc --steps 0", "at least 1"),
        ("--rule il --nudge 0.2", "is for --nudging"),
        ("--rule dtp --activation gelu", "another --activation"),
        ("--rule bp --lr-schedule warm-cosine --warmup 5", "leave --warmup out"),
    ] {
        let refused = zilch(&format!("train --data digits --layers 784,12,12,10 {args}"));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(matches!(refused.status.code(), Some(2 | 4)), "{args}: {stderr}");
        assert!(stderr.contains(says), "{args}: {stderr}");
    }
}

/// `zilch draw` writes units as images into a complete SVG, and refuses invalid arguments.
#[test]
fn receptive_fields_are_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let train = |layers: &str, out: &str| {
        stdout(&zilch(&format!("train --data digits --layers {layers} --updates 2 --device cpu --out {}", path(out))))
    };
    train("784,7,10", "run");
    let (weights, picture) = (path("run/weights.safetensors"), path("units.svg"));
    let said = stdout(&zilch(&format!("draw --weights {weights} --out {picture}")));
    assert!(said.contains("7 units of 784-7-10"), "{said}");
    let svg = std::fs::read_to_string(&picture).expect("a picture");
    // Three images of 28 pixels with lines around them: 88 pixels, times 6, in both directions.
    assert!(
        svg.starts_with("<svg ")
            && svg.contains("width=\"528\" height=\"528\"")
            && svg.contains("data:image/png;base64,iVBOR")
    );
    stdout(&zilch(&format!("draw --weights {weights} --out {picture} --units 1 --rows 14")));
    for (args, says) in [
        (format!("--weights {weights} --rows 5"), "--rows 5 does not divide the 784 inputs"),
        (format!("--weights {weights} --units 0"), "--units must be at least 1"),
        ("--weights /nowhere.safetensors".to_owned(), "/nowhere.safetensors"),
    ] {
        let refused = zilch(&format!("draw --out {} {args}", path("none.svg")));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(matches!(refused.status.code(), Some(1 | 2 | 4)) && stderr.contains(says), "{args}: {stderr}");
        assert!(!folder.path().join("none.svg").exists());
    }
}

/// `zilch plan --after` and `--wgsl` print intermediate results of the lowering. For an unknown pass the message lists all passes.
#[test]
fn plan_prints_passes_and_shaders() {
    let plan = "plan --rule zil --layers 9,8,4";
    assert!(stdout(&zilch(&format!("{plan} --after fuse"))).starts_with("after fuse: "));
    assert!(stdout(&zilch(&format!("{plan} --after sink"))).contains("\nlaunch 1: matrix products"));
    let wgsl = stdout(&zilch(&format!("{plan} --wgsl")));
    for part in ["// shader 1 of ", "// Eq. (5), ", "// Eq. (7), ", "// Eq. (9), ", "@compute"] {
        assert!(wgsl.contains(part), "{part}");
    }
    let unknown = zilch(&format!("{plan} --after dinner"));
    let stderr = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{stderr}");
    for pass in ["unroll_graph", "value_numbering", "speculate"] {
        assert!(stderr.contains(pass), "{pass} is missing in: {stderr}");
    }
    assert_eq!(zilch(&format!("{plan} --after sink --wgsl")).status.code(), Some(2));
    assert_eq!(zilch("plan --rule zil --sigma 0.1 --wgsl").status.code(), Some(2));
}

/// A mark of `zilch rules` stands for what is easier for a brain, in every column.
#[test]
fn marks_have_one_polarity() {
    let table = stdout(&zilch("rules"));
    let rules: Value = serde_json::from_str(&stdout(&zilch("rules --json"))).expect("JSON");
    let heads: Vec<&str> =
        table.lines().next().expect("a header").split("  ").map(str::trim).filter(|head| !head.is_empty()).collect();
    assert_eq!(heads[2..6], ["local", "no transport", "no f′", "unsigned"]);
    let easier = ["local_plasticity", "partial_autonomy", "full_autonomy"];
    let columns = [
        "local_plasticity",
        "weight_transport",
        "derivative",
        "signed_errors",
        "phases",
        "clock",
        "global_signal",
        "partial_autonomy",
        "full_autonomy",
    ];
    for rule in rules["rules"].as_array().expect("rules") {
        let name = rule["name"].as_str().expect("a name");
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("a row");
        let cells: Vec<&str> = line.split_whitespace().rev().take(columns.len()).collect();
        for (column, cell) in columns.iter().zip(cells.into_iter().rev()) {
            let holds = rule["properties"][column]["holds"].as_bool().expect("a verdict");
            let mark = if holds == easier.contains(column) { "✓" } else { "·" };
            assert_eq!(cell, mark, "{name}: {column}");
        }
    }
    let row =
        |name: &str| table.lines().find(|line| line.split_whitespace().next() == Some(name)).expect("a row").to_owned();
    assert!(row("hebb").matches('✓').count() > row("bp").matches('✓').count());
}

/// `--freeze` is `--layer-lr 0` of a matrix: its weights and biases keep their bits under every rule, optimiser and decay, and the others
/// learn.
#[test]
fn frozen_layers_rest() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |args: &str, updates: u32| {
        let out = folder.path().join(format!("{updates}{}", args.replace([' ', ',', '.'], "-")));
        let line = format!(
            "train --data digits --layers 784,14,12,10 --bias --updates {updates} --lr 0.001 --device cpu --out {} {args}",
            out.display()
        );
        stdout(&zilch(&line));
        zilch::network::read_weights(&out.join("weights.safetensors")).expect("weights").1
    };
    let bits = |values: &mut dyn Iterator<Item = &f32>| values.map(|v| v.to_bits()).collect::<Vec<u32>>();
    let decayed = [
        "--rule bp --optimizer adamw --weight-decay 0.1",
        "--rule zil --optimizer momentum --weight-decay 0.1",
        "--rule kp --decay 0.01",
        "--rule fazil --weight-decay 0.1 --optimizer adam",
    ];
    let all = zilch::Rule::all().iter().map(|rule| format!("--rule {}", rule.name()));
    for rule in all.chain(decayed.map(str::to_owned)) {
        let (start, end) = (run(&format!("{rule} --freeze 2"), 1), run(&format!("{rule} --freeze 2"), 5));
        for l in 1..=3 {
            let moved = bits(&mut start.theta[l - 1].iter()) != bits(&mut end.theta[l - 1].iter());
            assert_eq!(moved, l != 2, "{rule}: θ^{l}");
        }
        if !end.bias.is_empty() {
            assert_eq!(bits(&mut start.bias[1].iter()), bits(&mut end.bias[1].iter()), "{rule}: b^2");
        }
    }
    // The words, and the other spelling.
    let sums = |args: &str| run(args, 3).sha256();
    assert_eq!(sums("--rule bp --freeze input"), sums("--rule bp --layer-lr 0,1,1"));
    assert_eq!(sums("--rule bp --freeze 3,output"), sums("--rule bp --layer-lr 0,1,0"));
    assert_eq!(sums("--rule zil --freeze 2"), sums("--rule bp --freeze 2"));
    assert_ne!(sums("--rule bp --freeze 1"), sums("--rule bp"));
    for (args, says) in [
        ("--freeze 4", "from 1 at the output to 3 at the input"),
        ("--freeze 0", "\"0\" given"),
        ("--freeze first", "\"first\" given"),
        ("--freeze 1,2,3", "none is left to learn"),
        ("--freeze 1 --layer-lr 1,1", "each of the 3 layers"),
    ] {
        let refused = zilch(&format!("train --data digits --layers 784,14,12,10 {args}"));
        let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(says), "{args}: {stderr}");
    }
}
