//! The page of `--live`: a server on the loopback address, and what it knows of a training that runs.

use super::report::page::{Page, Under};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zilch::train::{EpochRow, Event};
use zilch::{Error, Result, memory};
use zilch_cli::runs::{Epoch, Metric, Run, State, flat, group};

/// The longest request in bytes, and the most headers.
const LONGEST: usize = 16 << 10;
const HEADERS: usize = 64;
/// The time in which a request must arrive, and in which an answer must be taken.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections at one time. A browser opens several, some of them in advance.
const CONNECTIONS: usize = 16;

/// Makes the page: the whole document, or only its changing part.
type Make = Arc<dyn Fn(bool) -> String + Send + Sync>;

/// A server of one page, on 127.0.0.1 only. It ends when it is dropped.
pub(crate) struct Server {
    at: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves the page that `make` makes on this port; 0 is any free one.
    pub(crate) fn start(port: u16, make: impl Fn(bool) -> String + Send + Sync + 'static) -> Result<Server> {
        let refused = |error: std::io::Error| {
            let why = match error.kind() {
                ErrorKind::AddrInUse => {
                    let other = port.checked_add(1).unwrap_or(port - 1);
                    format!(
                        "port {port} of this machine is in use; choose another, as in --live={other}, or --live=0 for any free one"
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!(
                        "port {port} may not be opened by this user; choose one above 1023, or --live=0 for any free one"
                    )
                }
                _ => format!("port {port} of this machine cannot be opened ({error}); --live=0 takes any free one"),
            };
            Error::usage(format!("--live: {why}"))
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(refused)?;
        let at = listener.local_addr().map_err(refused)?;
        let over = Arc::new(AtomicBool::new(false));
        let (ends, make): (_, Make) = (Arc::clone(&over), Arc::new(make));
        let work = move || accept(&listener, &ends, &make);
        let thread = memory::start("live", work)
            .map_err(|e| Error::usage(format!("--live needs a thread, and the system cannot start one ({e})")))?;
        Ok(Server { at, over, thread: Some(thread) })
    }

    /// The address for a browser.
    pub(crate) fn address(&self) -> String {
        format!("http://{}/", self.at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // A connection wakes the thread, which waits for one. If none can be made, the thread ends with the process.
        if TcpStream::connect_timeout(&self.at, PATIENCE).is_ok() {
            let _ = self.thread.take().map(JoinHandle::join);
        }
    }
}

fn accept(listener: &TcpListener, over: &AtomicBool, make: &Make) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        // A connection that the system could not accept, or one too many, is dropped: the browser asks again.
        let Ok(stream) = stream else { continue };
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (make, count) = (Arc::clone(make), Arc::clone(&open));
        let work = move || {
            // An error means that the browser has gone.
            let _ = answer(stream, &make);
            count.fetch_sub(1, Ordering::Relaxed);
        };
        if memory::start("page", work).is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Reads one request and answers it.
fn answer(mut stream: TcpStream, make: &Make) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let (status, kind, body) = match read(&mut stream)? {
        Some(request) => reply(&request, make),
        None => plain("400 Bad Request", "this is not a request for a page"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}

/// What is asked for: the method, the path and the host.
struct Request {
    method: String,
    path: String,
    host: String,
}

/// The request; `None` if it is malformed, too long or too slow.
fn read(stream: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let begun = Instant::now();
    let (mut bytes, mut part) = (Vec::new(), [0; 1024]);
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() || bytes.len() > LONGEST {
            return Ok(None);
        }
        stream.set_read_timeout(Some(left))?;
        let n = stream.read(&mut part)?;
        bytes.extend_from_slice(part.get(..n).unwrap_or_default());
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => {
                let host = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("host"));
                let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
                return Ok(Some(Request {
                    method: text(request.method),
                    path: text(request.path),
                    host: text(host.and_then(|host| std::str::from_utf8(host.value).ok())),
                }));
            }
            Ok(httparse::Status::Partial) if n > 0 => {}
            _ => return Ok(None),
        }
    }
}

type Reply = (&'static str, &'static str, String);

fn plain(status: &'static str, text: &str) -> Reply {
    (status, "text/plain", text.to_owned() + "\n")
}

fn reply(request: &Request, make: &Make) -> Reply {
    // A page of another site whose name leads to this machine must not read the report.
    let name = request.host.rsplit_once(':').map_or(request.host.as_str(), |(name, _)| name);
    if !["127.0.0.1", "localhost"].contains(&name) {
        return plain("403 Forbidden", "this page is for 127.0.0.1 only");
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => ("200 OK", "text/html", make(true)),
        ("GET", "/main") => ("200 OK", "text/html", make(false)),
        ("GET", _) => plain("404 Not Found", "there is only one page, /"),
        _ => plain("405 Method Not Allowed", "this page can only be read"),
    }
}

/// A training that is watched: one run, or one per seed.
pub(crate) struct Live {
    server: Server,
    runs: Arc<Mutex<Vec<Watched>>>,
}

/// A run as it is known during training.
struct Watched {
    run: Run,
    under: Under,
}

fn lock(runs: &Mutex<Vec<Watched>>) -> MutexGuard<'_, Vec<Watched>> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Opens the port. The page is empty until a run begins.
    pub(crate) fn start(port: u16) -> Result<Live> {
        let runs = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&runs);
        let server = Server::start(port, move |whole| {
            // Copies are drawn, so that a training never waits for a drawing.
            let (runs, under): (Vec<Run>, Vec<Under>) =
                lock(&seen).iter().map(|watched: &Watched| (watched.run.clone(), watched.under)).unzip();
            let groups = group(&runs, &[]);
            let title = "a training".to_owned();
            let progress = under.last().copied();
            let page = Page { title, runs: &runs, groups: &groups, skipped: &[], looks: &[], live: true, progress };
            if whole { page.document() } else { page.main() }
        })?;
        Ok(Live { server, runs })
    }

    /// The address for a browser.
    pub(crate) fn address(&self) -> String {
        self.server.address()
    }

    /// Begins a run: its folder or a name for it, its settings and arguments, and the epochs of an earlier part of it.
    pub(crate) fn begin(
        &self,
        folder: PathBuf,
        settings: &Value,
        (arguments, chance, total): (&[OsString], f64, u64),
        rows: &[EpochRow],
    ) {
        let run = Run {
            folder,
            settings: flat(settings.as_object().cloned().unwrap_or_default()),
            epochs: rows.iter().map(epoch).collect(),
            metric: rows.last().map_or(Metric::Fraction, |row| Metric::of(&row.metrics)),
            updates: rows.last().map_or(0, |row| row.metrics.updates),
            seconds: rows.last().map_or(0.0, |row| row.metrics.seconds),
            state: State::UnderWay,
            goes_on: false,
            date: Some(jiff::Timestamp::now()),
            arguments: arguments.to_vec(),
            started_in: PathBuf::new(),
            chance: Some(chance),
        };
        let under = Under { done: run.updates, total };
        lock(&self.runs).push(Watched { run, under });
    }

    /// Takes in an event of the last run.
    pub(crate) fn see(&self, event: &Event<'_>) {
        let mut runs = lock(&self.runs);
        let Some(Watched { run, under }) = runs.last_mut() else { return };
        match event {
            Event::Updates(done, _, seconds) => {
                (run.updates, run.seconds, under.done) = (*done, *seconds, *done);
            }
            Event::Epoch(row) => {
                run.epochs.push(epoch(row));
                run.metric = Metric::of(&row.metrics);
            }
            Event::Reopened { .. } => {}
        }
    }

    /// Ends the last run, with the reason if it did not finish.
    pub(crate) fn end(&self, stopped: Option<&Error>) {
        if let Some(Watched { run, .. }) = lock(&self.runs).last_mut() {
            run.state = stopped.map_or(State::Finished, |error| State::Stopped(error.to_string()));
        }
    }
}

fn epoch(row: &EpochRow) -> Epoch {
    let metrics = &row.metrics;
    Epoch { epoch: metrics.epoch, train_energy: metrics.train_energy, test_error: metrics.test_error }
}
