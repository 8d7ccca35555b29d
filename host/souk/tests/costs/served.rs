//! Runs applications in this process, on one thread, and sends them requests over an in-memory connection.
//!
//! The client writes the same bytes each time and reads into one buffer, so that it costs almost nothing besides its
//! part of the connection. The start and end of a row's requests are marked in a way that `strace` and `callgrind` can
//! see.

use souk::app::{App, Seeds, add_examples};
use souk::http::{Edge, serve_connection};
use souk::readiness::Readiness;
use souk_bindings::boundary::Boundaries;
use souk_bindings::trace::Tracer;
use souk_manifest::state::StateFolder;
use souk_manifest::{HostValues, LoadOptions};
use souk_test::allocations::allocations;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

/// The first argument of a process that serves and sends requests.
pub(crate) const COMMAND: &str = "serve-and-ask";

/// The folder of the marks; it does not exist.
pub(crate) const MARKS: &str = "/souk-costs";

/// The requests before the counted ones: they create instances, prepare statements and grow tables.
const WARM_UP: usize = 50;

/// A kind of request.
pub(crate) struct Row {
    pub name: &'static str,
    /// The application that it is sent to.
    pub app: &'static str,
    method: &'static str,
    path: &'static str,
    /// JSON; empty for no body.
    body: &'static str,
    /// Whether a registered user sends it.
    by_user: bool,
    /// Whether everything happens on the serving thread. Other threads sometimes handle several requests at once, which
    /// otherwise happens once per request.
    pub on_one_thread: bool,
    /// Whether its instructions are nearly the same in each run.
    pub is_steady: bool,
}

impl Row {
    const fn get(name: &'static str, app: &'static str, path: &'static str) -> Self {
        Row { name, app, method: "GET", path, body: "", by_user: false, on_one_thread: true, is_steady: true }
    }
}

/// All rows; rows of the same application are together.
pub(crate) const ROWS: [Row; 10] = [
    Row::get("hello", "probe", "/plain/hello"),
    Row::get("hello by wasi:http", "probe", "/self/hello"),
    Row::get("link", "probe", "/plain/answer/7"),
    Row::get("404 of the gateway", "store", "/api/nothing"),
    Row::get("GET product by id", "store", "/api/products/7"),
    Row::get("GET page of 10", "store", "/api/products?page=2&limit=10"),
    // One of two numbers 3 % apart.
    Row { is_steady: false, ..Row::get("GET a static document", "store", "/api/openapi.json") },
    Row { method: "POST", by_user: true, ..Row::get("verify", "store", "/api/auth/verify") },
    Row {
        method: "POST",
        body: r#"{"items":[{"productId":1,"quantity":2},{"productId":2,"quantity":1}]}"#,
        by_user: true,
        on_one_thread: false,
        is_steady: false,
        ..Row::get("POST order", "store", "/api/orders")
    },
    // Up to 5 % apart from run to run.
    Row { by_user: true, is_steady: false, ..Row::get("GET page of orders", "store", "/api/orders?page=1&limit=10") },
];

/// How far the host observes its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// Not at all: what the requests cost by themselves.
    Off,
    /// With metrics alone, as a host that nobody listens to.
    Measured,
    /// With metrics and a trace of each request, as a host whose console is open.
    Traced,
}

impl Observed {
    /// All of them.
    pub(crate) const ALL: [Observed; 3] = [Observed::Off, Observed::Measured, Observed::Traced];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Observed::Off => "off",
            Observed::Measured => "measured",
            Observed::Traced => "traced",
        }
    }

    /// The one with this name.
    pub(crate) fn named(name: &str) -> Self {
        Observed::ALL.into_iter().find(|observed| observed.name() == name).expect("off, measured or traced")
    }

    fn boundaries(self) -> Boundaries {
        match self {
            Observed::Off => Boundaries::off(),
            Observed::Measured => Boundaries::measured().unwrap(),
            Observed::Traced => {
                let tracer = Tracer::sampled(1.0, true);
                let boundaries = Boundaries::measured().unwrap().traced(tracer.clone());
                // A host that has run for a while keeps as many traces as it may, and drops one for each new one.
                let before = boundaries.requests("", "");
                (0..TRACES).for_each(|_| before.open(&tracer.root(None)).close(None));
                boundaries
            }
        }
    }
}

/// More traces than a host keeps.
const TRACES: usize = 2_000;

/// The manifest of an application.
pub(crate) fn manifest(app: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match app {
        "store" => root.join("spin.toml"),
        app => root.join("tests/apps").join(app).join("spin.toml"),
    }
}

/// Sends `requests` requests of each row to applications that keep their state in `state` and are `observed`. Prints each row's allocations, one
/// per line: the median over its requests, so that occasional work of other threads does not count.
pub(crate) fn run(requests: usize, state: &Path, observed: Observed) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for app in ["probe", "store"] {
            let edge = edge(app, &state.join(app), observed).await;
            let user = if app == "store" { register(&edge).await } else { String::new() };
            for row in ROWS.iter().filter(|row| row.app == app) {
                let user = if row.by_user { format!("authorization: Bearer {user}\r\n") } else { String::new() };
                let median = Client::new(&edge, row.method, row.path, &user, row.body).ask(requests).await;
                println!("{}: {median}", row.name);
            }
        }
    });
}

/// Registers a user and returns the token.
async fn register(edge: &Arc<Edge>) -> String {
    let process = std::process::id();
    let body = format!(r#"{{"name":"Costs","email":"costs-{process}@example.com","password":"Costs123!x"}}"#);
    let mut client = Client::new(edge, "POST", "/api/auth/register", "", &body);
    let length = client.next().await;
    let text = std::str::from_utf8(&client.buffer[..length]).unwrap();
    let (_, token) = text.split_once(r#""token":""#).unwrap_or_else(|| panic!("no token: {text}"));
    token.split('"').next().unwrap().to_owned()
}

async fn edge(app: &str, state: &Path, observed: Observed) -> Arc<Edge> {
    let state = StateFolder::open(state).unwrap();
    // One customer makes all orders.
    let orders = (app == "store").then(|| ("max_open_orders".to_owned(), "1000000".to_owned()));
    let variables = orders.into_iter().collect();
    let options = LoadOptions { manifest: manifest(app), variables, ..LoadOptions::default() };
    let manifest = souk_manifest::read(&options).unwrap();
    let host = HostValues { url: "http://127.0.0.1:3000".into(), secrets: state.secrets() };
    let application = manifest.fill_in(&host).unwrap().application;
    let examples = application.clone();
    let app = App::start_counted(application, &state, observed.boundaries()).await.unwrap();
    app.seed(Seeds::default()).await.unwrap();
    if examples.components.values().any(|component| component.seed.is_some()) {
        add_examples(&examples, &state).await.unwrap();
    }
    // Stops the readiness checks: they would be counted.
    let draining = CancellationToken::new();
    draining.cancel();
    Edge::new(app.clone(), Readiness::start(&app, &state, draining), false)
}

struct Client {
    stream: DuplexStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Where the last response had its length: the next one has it there too, and looking for it would cost more than some
    /// of what is counted.
    length_at: usize,
}

impl Client {
    /// A separate connection, with one request that is sent repeatedly; `fields` are lines of its head.
    fn new(edge: &Arc<Edge>, method: &str, path: &str, fields: &str, body: &str) -> Self {
        let (stream, served) = tokio::io::duplex(256 * 1024);
        let peer = ([127, 0, 0, 1], 1).into();
        tokio::spawn(serve_connection(edge.clone(), served, peer, CancellationToken::new()));
        let content = match body.len() {
            0 => String::new(),
            length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
        };
        let head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:3000\r\naccept: */*\r\n{fields}{content}\r\n");
        Client { stream, request: (head + body).into_bytes(), buffer: vec![0; 256 * 1024], length_at: 0 }
    }

    async fn ask(mut self, requests: usize) -> usize {
        let mut counts = Vec::with_capacity(requests);
        for _ in 0..WARM_UP {
            self.next().await;
        }
        mark("begin");
        for _ in 0..requests {
            let before = allocations();
            self.next().await;
            counts.push(allocations() - before);
        }
        mark("end");
        counts.sort_unstable();
        counts[counts.len() / 2]
    }

    /// Sends one request and returns the response's length. Nothing here allocates.
    async fn next(&mut self) -> usize {
        self.stream.write_all(&self.request).await.unwrap();
        let (mut read, mut whole) = (0, None);
        while whole != Some(read) {
            let more = self.stream.read(&mut self.buffer[read..]).await.unwrap();
            assert_ne!(more, 0, "the connection was closed");
            read += more;
            whole = whole.or_else(|| self.length(read));
        }
        read
    }

    /// How long the response is that has begun, once its head is there.
    fn length(&mut self, read: usize) -> Option<usize> {
        let response = &self.buffer[..read];
        if response.get(self.length_at..).is_none_or(|rest| !rest.starts_with(FIELD)) {
            let found = |wanted: &[u8]| response.windows(wanted.len()).position(|part| part == wanted);
            found(b"\r\n\r\n")?;
            self.length_at = found(FIELD).expect("a length");
        }
        let rest = &response[self.length_at + FIELD.len()..];
        let digits = rest.iter().position(|byte| *byte == b'\r')?;
        let content = std::str::from_utf8(&rest[..digits]).unwrap().parse::<usize>().unwrap();
        let mut ends = rest[digits..].windows(4).position(|end| end == b"\r\n\r\n")? + 4;
        ends += self.length_at + FIELD.len() + digits;
        Some(ends + content)
    }
}

/// What stands before a length.
const FIELD: &[u8] = b"\r\ncontent-length: ";

/// Marks a place in the run: by its name for `callgrind`, and by a system call for `strace`.
#[inline(never)]
pub(crate) fn mark(what: &str) {
    let _ = Path::new(MARKS).join(what).metadata();
}
