//! Applications in this process, on one thread, and requests to them over a connection in memory.
//!
//! The client writes the same bytes each time and reads into one buffer, so that all it costs is its part of the
//! connection. Where the requests of a row begin and end is marked so that `strace` and `callgrind` see it.

use souk::app::{App, Seeds, add_examples};
use souk::http::{Edge, serve_connection};
use souk::readiness::Readiness;
use souk_manifest::state::StateFolder;
use souk_manifest::{HostValues, LoadOptions};
use souk_test::allocations::allocations;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::sync::CancellationToken;

/// The first argument of a process that serves and asks.
pub(crate) const COMMAND: &str = "serve-and-ask";

/// The folder in which marks are looked for; it does not exist.
pub(crate) const MARKS: &str = "/souk-costs";

/// The requests before those that count: instances are made, statements prepared, tables grown.
const WARM_UP: usize = 50;

/// What is asked: the row's name, the application, and the path.
pub(crate) const ROWS: [(&str, &str, &str); 3] = [
    ("hello", "probe", "/self/hello"),
    ("404 of the gateway", "store", "/api/nothing"),
    ("GET product by id", "store", "/api/products/7"),
];

/// The manifest of an application.
pub(crate) fn manifest(app: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match app {
        "store" => root.join("spin.toml"),
        app => root.join("tests/apps").join(app).join("spin.toml"),
    }
}

/// Asks each row `requests` times; applications keep their state in `state`. Prints a row's allocations, one a line: the
/// median over its requests, so that what a thread beside does now and then does not count.
pub(crate) fn run(requests: usize, state: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for app in ["probe", "store"] {
            let edge = edge(app, &state.join(app)).await;
            for (row, _, path) in ROWS.iter().filter(|(_, of, _)| *of == app) {
                let (stream, served) = tokio::io::duplex(256 * 1024);
                let peer = ([127, 0, 0, 1], 1).into();
                tokio::spawn(serve_connection(edge.clone(), served, peer, CancellationToken::new()));
                let median = Client::new(stream, path).ask(requests).await;
                println!("{row}: {median}");
            }
        }
    });
}

async fn edge(app: &str, state: &Path) -> Arc<Edge> {
    let state = StateFolder::open(state).unwrap();
    let manifest = souk_manifest::read(&LoadOptions { manifest: manifest(app), ..LoadOptions::default() }).unwrap();
    let host = HostValues { url: "http://127.0.0.1:3000".into(), secrets: state.secrets() };
    let application = manifest.fill_in(&host).unwrap().application;
    let examples = application.clone();
    let app = App::start_counted(application, &state).await.unwrap();
    app.seed(Seeds::default()).await.unwrap();
    if examples.components.values().any(|component| component.seed.is_some()) {
        add_examples(&examples, &state).await.unwrap();
    }
    // It looks at nothing any more: its questions would be counted.
    let draining = CancellationToken::new();
    draining.cancel();
    Edge::new(app.clone(), Readiness::start(&app, &state, draining), false)
}

struct Client {
    stream: DuplexStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    fn new(stream: DuplexStream, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:3000\r\naccept: */*\r\n\r\n").into_bytes();
        Client { stream, request, buffer: vec![0; 256 * 1024] }
    }

    async fn ask(mut self, requests: usize) -> usize {
        let mut counts = Vec::with_capacity(requests);
        let length = self.first().await;
        for _ in 0..WARM_UP {
            self.next(length).await;
        }
        mark("begin");
        for _ in 0..requests {
            let before = allocations();
            self.next(length).await;
            counts.push(allocations() - before);
        }
        mark("end");
        counts.sort_unstable();
        counts[counts.len() / 2]
    }

    /// The first request; how long each response is.
    async fn first(&mut self) -> usize {
        self.stream.write_all(&self.request).await.unwrap();
        let mut read = 0;
        loop {
            let more = self.stream.read(&mut self.buffer[read..]).await.unwrap();
            assert_ne!(more, 0, "the connection was closed");
            read += more;
            let text = String::from_utf8_lossy(&self.buffer[..read]);
            let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            let whole = head.len() + 4 + length.parse::<usize>().unwrap();
            if read == whole {
                return whole;
            }
        }
    }

    async fn next(&mut self, length: usize) {
        self.stream.write_all(&self.request).await.unwrap();
        self.stream.read_exact(&mut self.buffer[..length]).await.unwrap();
    }
}

/// Marks a place in what the process does: by its name for `callgrind`, by a system call for `strace`.
#[inline(never)]
pub(crate) fn mark(what: &str) {
    let _ = Path::new(MARKS).join(what).metadata();
}
