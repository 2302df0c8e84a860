//! `zilch report` and `--live`: the page is valid HTML, holds the right numbers and nothing from outside, says what is missing, and
//! is served on loopback while training runs.

use crate::program::program;
use html5ever::tendril::TendrilSink;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Exit code, stdout and stderr.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("zilch starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains("panicked") && !err.contains("panicked"), "{out}{err}");
    (output.status.code(), out, err)
}

fn done(dir: &Path, words: &[&str]) -> String {
    let (code, out, err) = run(program().current_dir(dir).args(words));
    assert_eq!(code, Some(0), "{words:?}: {out}{err}");
    out
}

/// The page in a folder, which must be valid HTML.
fn report(dir: &Path, words: &[&str]) -> Page {
    done(dir, &[&["report"], words].concat());
    let text = fs::read_to_string(dir.join("report.html")).expect("a page");
    Page::parse(&text)
}

/// A parsed page.
struct Page {
    source: String,
    document: Handle,
}

/// An element: its name, its attributes and the text in it.
#[derive(Debug)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    text: String,
}

impl Page {
    fn parse(source: &str) -> Page {
        let dom = html5ever::parse_document(RcDom::default(), Default::default()).one(source);
        assert!(dom.errors.borrow().is_empty(), "{:?} in {source}", dom.errors.borrow());
        let page = Page { source: source.to_owned(), document: dom.document };
        page.is_self_contained();
        page
    }

    /// Nothing is loaded from outside, and there is no script but the one that renews a served page.
    fn is_self_contained(&self) {
        for Element { name, attributes, text } in self.elements() {
            assert!(!["link", "iframe", "object", "embed", "base", "form"].contains(&name.as_str()), "<{name}>");
            for (key, value) in &attributes {
                assert!(!key.starts_with("on"), "{key} of <{name}> is a script");
                let loads = ["src", "href", "xlink:href", "action", "srcset", "data"].contains(&key.as_str());
                assert!(!loads || value.starts_with("data:image/png;base64,"), "<{name} {key}={value}>");
                assert!(!value.contains("url("), "<{name} {key}={value}>");
            }
            assert!(name != "style" || !(text.contains("url(") || text.contains("@import")), "{text}");
            assert!(name != "script" || text.contains("fetch(\"/main\""), "{text}");
        }
        assert!(!self.source.contains("http://") && !self.source.contains("https://"), "an address is in the page");
    }

    fn elements(&self) -> Vec<Element> {
        fn text(node: &Handle) -> String {
            match &node.data {
                NodeData::Text { contents } => contents.borrow().to_string(),
                _ => node.children.borrow().iter().map(text).collect(),
            }
        }
        fn walk(node: &Handle, all: &mut Vec<Element>) {
            if let NodeData::Element { name, attrs, .. } = &node.data {
                let attribute = |a: &html5ever::Attribute| (a.name.local.to_string(), a.value.to_string());
                let attributes = attrs.borrow().iter().map(attribute).collect();
                all.push(Element { name: name.local.to_string(), attributes, text: text(node) });
            }
            node.children.borrow().iter().for_each(|child| walk(child, all));
        }
        let mut all = Vec::new();
        walk(&self.document, &mut all);
        all
    }

    fn texts(&self, name: &str) -> Vec<String> {
        self.elements().into_iter().filter(|e| e.name == name).map(|e| e.text.trim().to_owned()).collect()
    }

    /// Checks that the text of the page holds these.
    fn says(&self, words: &[&str]) {
        let text = self.texts("main").concat();
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }
}

/// The report has the numbers of `runs` and `eval`, and the commands, for two settings with two seeds each.
#[test]
fn a_report_is_one_page_with_the_right_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    for lr in ["0.01", "0.02"] {
        let words = "train --data digits --layers 784,12,10 --epochs 2 --epoch-updates 60 --seeds 2 --probe alignment --device cpu";
        let words: Vec<&str> = words.split(' ').chain(["--lr", lr, "--out", lr]).collect();
        done(dir, &words);
    }
    let page = report(dir, &["0.01", "0.02"]);
    let runs: Value = serde_json::from_str(&done(dir, &["runs", "0.01", "0.02", "--json"])).expect("JSON");
    for group in runs["groups"].as_array().expect("groups") {
        let number = |name: &str| 100.0 * group[name].as_f64().expect("a number");
        page.says(&[&format!("{:.2} ± {:.2} %", number("mean"), number("sd")), &format!("{:.2} %", number("min"))]);
    }
    page.says(&["zilch train --data digits", "--lr 0.02", "--seed 1", "784-12-10"]);
    assert!(!page.source.contains("What is missing"), "nothing is missing");
    // The best run of each group is looked at: its confusion matrix is that of eval.
    let titles: Vec<String> = page.texts("h2").into_iter().filter(|h| h.starts_with("A closer look at")).collect();
    assert_eq!(titles.len(), 2, "{titles:?}");
    let best = titles[0].trim_start_matches("A closer look at ");
    let weights = format!("{best}/weights.safetensors");
    let eval: Value = serde_json::from_str(&done(
        dir,
        &["eval", "--weights", &weights, "--data", "digits", "--json", "--device", "cpu"],
    ))
    .expect("JSON");
    let cells: Vec<u64> = page
        .elements()
        .iter()
        .filter(|e| e.name == "td" && e.attributes.iter().any(|(key, value)| key == "style" && value.contains("rgba")))
        .map(|e| e.text.parse().unwrap_or(0))
        .take(100)
        .collect();
    let wanted: Vec<u64> = eval["confusion"]
        .as_array()
        .expect("rows")
        .iter()
        .flat_map(|row| {
            row.as_array().expect("a row").iter().take(10).map(|n| n.as_u64().expect("a count")).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(cells, wanted);
    let wrong: u64 = (0..100).filter(|i| i / 10 != i % 10).map(|i| wanted[i]).sum();
    assert_eq!((&eval["errors"], &eval["samples"]), (&json!(wrong), &json!(wanted.iter().sum::<u64>())));
    // Curves, probes, weights and two layers of activity: the SVGs and their images are in the page.
    let count = |name: &str| page.elements().iter().filter(|e| e.name == name).count();
    assert_eq!((count("svg"), count("image")), (1 + 2 * 4, 2 * 3));
    page.says(&[
        "test error (%)",
        "angle to BP's step (°)",
        "hidden layer 1 (12 units)",
        "output (10 units)",
        "(2 runs)",
    ]);
    // The same by class: the error of each class is that of its row.
    for class in eval["classes"].as_array().expect("classes") {
        page.says(&[&format!("{:.2} %", 100.0 * class["error"].as_f64().expect("a share"))]);
    }
}

/// Text from outside is text, whatever it holds.
#[test]
fn text_from_outside_is_escaped() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let evil = "<script>alert(1)<!--\"'&amp;";
    let settings = |lr: &str| {
        json!({ "layers": [784, 10], "rule": evil, "seed": 1, "lr": lr, "data": "</svg><img src=x onerror=alert(1)>",
                "own": { "<script>x": "<b>\u{7}\u{1b}[31m" } })
    };
    for (i, lr) in [evil, "]]><svg onload=alert(1)>"].iter().enumerate() {
        let run = dir.join(format!("runs/{evil}{i}"));
        fs::create_dir_all(&run).expect("made");
        let why = "training diverged: <iframe src=//x>";
        let record = json!({ "settings": settings(lr), "updates": 3, "seconds": 1.0, "arguments": ["--data=<i>", evil],
                             "stopped": (i == 1).then_some(why) });
        fs::write(run.join("run.json"), record.to_string()).expect("written");
        let metrics = "epoch,updates,seconds,train_energy,test_error\n1,3,1,1.5,0.25\n2,6,2,NaN,0.125\n";
        fs::write(run.join("metrics.csv"), metrics).expect("written");
        fs::write(run.join("weights.safetensors"), evil).expect("written");
    }
    fs::create_dir_all(dir.join("runs/<script>y")).expect("made");
    fs::write(dir.join("runs/<script>y/run.json"), "<script>").expect("written");
    let page = report(dir, &["runs"]);
    assert_eq!(page.texts("script"), [""; 0], "no script");
    assert!(page.elements().iter().all(|e| !["img", "b", "i"].contains(&e.name.as_str())));
    page.says(&[evil, "<b>", "onerror=alert(1)", "<iframe src=//x>", "diverged", "<script>y"]);
}

/// Everything that is missing is said, and the rest is there.
#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let words = "train --data digits --layers 784,5,10 --epochs 1 --epoch-updates 20 --device cpu --out runs/";
    let train = |name: &str, lr: &str| {
        let words = format!("{words}{name} --lr {lr}");
        done(dir, &words.split(' ').collect::<Vec<_>>());
    };
    train("lost", "0.01");
    train("moved", "0.02");
    train("other", "0.03");
    fs::remove_file(dir.join("runs/lost/weights.safetensors")).expect("removed");
    let change = |name: &str, edit: &dyn Fn(&mut Value)| {
        let path = dir.join(format!("runs/{name}/run.json"));
        let mut record: Value = serde_json::from_slice(&fs::read(&path).expect("there")).expect("JSON");
        edit(&mut record);
        fs::write(path, record.to_string()).expect("written");
    };
    change("moved", &|record| record["arguments"] = json!(["--data=gone/away", "--layers=784,5,10"]));
    change("other", &|record| record["settings"]["data_sha256"]["t10k-images-idx3-ubyte"] = json!("0".repeat(64)));
    fs::create_dir_all(dir.join("runs/broken")).expect("made");
    fs::write(dir.join("runs/broken/run.json"), "{").expect("written");
    let page = report(dir, &["runs"]);
    page.says(&[
        "What is missing",
        "runs/broken/run.json is left out",
        "its weights cannot be read",
        "gone/away",
        "SHA-256 differ",
    ]);
    let images = page.elements().iter().filter(|e| e.name == "image").count();
    assert_eq!(images, 2, "the weights of the two others");

    // No run at all, an unknown setting, and a page that cannot be written.
    fs::create_dir(dir.join("empty")).expect("made");
    for (words, code, says) in [
        (&["report", "empty"][..], 4, "no run"),
        (&["report", "none"], 4, "not a folder"),
        (&["report", "runs", "--by", "speed"], 2, "\"speed\""),
        (&["report", "runs", "--out", "no/where.html"], 1, "where.html"),
        (&["report", "runs", "--live=70000"], 2, "70000"),
    ] {
        let (got, _, err) = run(program().current_dir(dir).args(words));
        assert_eq!(got, Some(code), "{words:?}: {err}");
        assert!(err.contains(says), "{words:?}: {err}");
    }
}

/// A process that serves a page, ended when dropped.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(command: &mut Command) -> Served {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("zilch starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines();
        let line = lines.find_map(|line| line.ok().filter(|line| line.contains("http://"))).expect("an address");
        let (_, rest) = line.split_once("http://").expect("an address");
        let address = rest.split('/').next().expect("a host").to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        // The rest of stderr is read, so that the process never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Served { child, address }
    }

    fn ask(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address))
    }

    /// The page, as soon as it holds this.
    fn page_with(&self, word: &str) -> Page {
        let begun = Instant::now();
        loop {
            let (head, body) = self.get("/");
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            if body.contains(word) {
                return Page::parse(&body);
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{word} is missing in {body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The page of a training shows its epochs while it runs, on loopback only, and ends with it.
#[test]
fn a_training_can_be_watched() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let words = "train --data digits --layers 784,8,10 --updates 100000000 --epoch-updates 20 --device cpu --threads 1 --live=0 --out run";
    let served = Served::start(program().current_dir(dir).args(words.split(' ')));
    let page = served.page_with(" epochs, ");
    page.says(&["of 100000000 updates", "under way", "zilch train --data digits", "784-8-10"]);
    let page = served.page_with("<svg");
    page.says(&["test error (%)"]);
    let (_, part) = served.get("/main");
    assert!(part.contains("<svg") && !part.contains("<html"), "{part}");
    // A request from a page of another site is refused, and so is anything but a request for this page.
    let (head, _) = served.ask("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    for (request, status) in [
        (format!("GET /run.json HTTP/1.1\r\nHost: {}\r\n\r\n", served.address), "404"),
        (format!("POST / HTTP/1.1\r\nHost: {}\r\n\r\n", served.address), "405"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(100)), "400"),
    ] {
        let (head, _) = served.ask(&request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {head}");
    }
    // Its port is in use now.
    let port = served.address.rsplit(':').next().expect("a port");
    let (code, _, err) = run(program().current_dir(dir).args(["train", "--data", "digits", "--live", port]));
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("in use") && err.contains("--live=0"), "{err}");
    let mut served = served;
    #[cfg(unix)]
    {
        let sent = Command::new("kill").args(["-INT", &served.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        assert_eq!(served.child.wait().expect("the end").code(), Some(130));
        assert!(TcpStream::connect(&served.address).is_err(), "the page ends with the run");
    }
    let _ = served.child.kill();
}

/// `--live` changes no bit, and is not among the arguments that a run keeps.
#[test]
fn watching_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let train = |out: &str, more: &[&str]| -> Value {
        let words = "train --data digits --layers 784,6,10 --updates 60 --epoch-updates 20 --device cpu --json --out";
        let words: Vec<&str> = words.split(' ').chain([out]).chain(more.iter().copied()).collect();
        serde_json::from_str(&done(dir, &words)).expect("JSON")
    };
    let (alone, watched) = (train("alone", &[]), train("watched", &["--live=0"]));
    assert_eq!((&alone["weights_sha256"], &alone["settings"]), (&watched["weights_sha256"], &watched["settings"]));
    assert!(
        watched["arguments"]
            .as_array()
            .is_some_and(|words| words.len() == alone["arguments"].as_array().map_or(0, Vec::len))
    );
    assert_eq!(alone["epochs"].as_array().map(Vec::len), Some(3));
}

/// All seeds are on one page, with their mean.
#[test]
fn seeds_are_watched_on_one_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = "train --data digits --layers 784,8,10 --epochs 3 --epoch-updates 40 --seeds 500 --device cpu --threads 1 --live=0";
    let served = Served::start(program().current_dir(folder.path()).args(words.split(' ')));
    let page = served.page_with("seed 2");
    page.says(&["seed 0", "seed 1", "finished"]);
    served.page_with("band: mean");
}

/// A served report shows runs that came after its start. Ctrl-C is its regular end.
#[test]
fn a_served_report_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    fs::create_dir(dir.join("runs")).expect("made");
    let mut served = Served::start(program().current_dir(dir).args(["report", "--live=0", "runs"]));
    served.page_with("There is no run yet.");
    let words = "train --data digits --layers 784,5,10 --epochs 1 --epoch-updates 20 --device cpu --out runs/first";
    done(dir, &words.split(' ').collect::<Vec<_>>());
    served.page_with("runs/first").says(&["784-5-10", "zilch report DIR"]);
    fs::remove_dir_all(dir.join("runs")).expect("removed");
    served.page_with("this is not a folder");
    #[cfg(unix)]
    {
        let sent = Command::new("kill").args(["-INT", &served.child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        assert_eq!(served.child.wait().expect("the end").code(), Some(0));
    }
    let _ = served.child.kill();
}

/// Another program's port is named.
#[test]
fn a_port_in_use_is_refused() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, err) = run(program().args(["report", &format!("--live={port}")]).arg(folder.path()));
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains(&port) && err.contains("in use"), "{err}");
}
