//! What it costs to observe the host: the CPU time of a request on a host that nobody looks at, on one whose metrics are
//! read every second, on one that keeps a trace of every request for its console, and on one that also exports all traces
//! and metrics to a collector. `cargo bench --bench requests --features full -- observed` measures only this.
//!
//! The collector is this process, so its time does not count; converting and sending the spans is the host's work, and
//! does. Spans that the host drops because they come faster than it can send them cost less than those that it sends, so
//! the table has their share.
//!
//! An order costs more here than beside the native server: its payment provider is the sandbox, in the host itself.

use crate::load::{self, Call, Sample};
use crate::server::{Server, souk};
use crate::{CONNECTIONS, LOGIN, ORDER, ROUNDS, SLOT, register};
use axum::Router;
use souk_test::ports;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// How often the metrics are read.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Who looks at a host, from nobody to a collector.
const OBSERVERS: [&str; 4] = ["nobody", "metrics read", "all traces kept", "all traces exported"];

/// A host, and what reads its metrics.
struct Observed {
    probe: Server,
    store: Server,
    token: String,
    /// The addresses of the administration listeners.
    admin: Vec<String>,
    _scraper: Option<Scraper>,
}

/// Measures and prints the rows; returns them as text for the table in `docs/benchmarks/`.
pub(crate) fn rows(state: &Path) -> String {
    let collector = collector();
    let hosts: Vec<Observed> =
        (0..OBSERVERS.len()).map(|at| start(at, &collector, &state.join(at.to_string()))).collect();
    let probe = |call: Call| (true, false, call);
    let store = |call: Call| (false, false, call);
    let by_user = |call: Call| (false, true, call);
    let table = [
        ("hello by wasi:http", probe(Call::get("/self/hello"))),
        ("link by wasi:http", probe(Call::get("/answer/7"))),
        ("GET product by id", store(Call::get("/api/products/7"))),
        ("GET page of 10", store(Call::get("/api/products?page=2&limit=10"))),
        ("POST order, sandbox", by_user(Call::post("/api/orders", ORDER))),
        ("GET orders page", by_user(Call::get("/api/orders?page=1&limit=10"))),
        ("verify", by_user(Call::post("/api/auth/verify", ""))),
    ];
    let mut text = format!(
        "\n## Observed\n\nCPU of a request in microseconds, by who looks. The payment provider of an order is the sandbox, \
         in the host itself.\n\n| row | {} |\n",
        OBSERVERS.join(" | ")
    );
    text += "|---|---|---|---|---|\n";
    println!(
        "{:<20} {:>16} {:>16} {:>22} {:>22}",
        "CPU us, by observer", OBSERVERS[0], OBSERVERS[1], OBSERVERS[2], OBSERVERS[3]
    );
    for (name, (on_probe, with_token, call)) in table {
        let mut samples: Vec<Vec<Sample>> = hosts.iter().map(|_| Vec::new()).collect();
        for _ in 0..ROUNDS {
            for (host, samples) in hosts.iter().zip(&mut samples) {
                let call = if with_token { call.clone().by(&host.token) } else { call.clone() };
                let server = if on_probe { &host.probe } else { &host.store };
                samples.push(load::run(server, &call, CONNECTIONS, SLOT));
            }
        }
        let cpu: Vec<f64> = samples.iter().map(|samples| Sample::median(samples).cpu).collect();
        let cells: Vec<String> =
            cpu.iter().map(|one| format!("{one:.1} ({:+.1} %)", (one / cpu[0] - 1.0) * 100.0)).collect();
        println!("{name:<20} {:>16} {:>16} {:>22} {:>22}", format!("{:.1}", cpu[0]), cells[1], cells[2], cells[3]);
        writeln!(text, "| {name} | {:.1} | {} |", cpu[0], cells[1..].join(" | ")).unwrap();
    }
    let (lost, spans) =
        hosts[3].admin.iter().map(|admin| spans(admin)).fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    let dropped = format!("Of the exported {spans:.0} spans, {:.1} % were dropped.", lost / spans * 100.0);
    println!("{dropped}\n");
    writeln!(text, "\n{dropped}").unwrap();
    text
}

/// Starts the probe and the store with the observer at this place of [`OBSERVERS`].
fn start(observer: usize, collector: &str, state: &Path) -> Observed {
    let mut admin = Vec::new();
    let mut command = |app: &str| {
        let mut command = souk(app, &state.join(app));
        if observer > 0 {
            let address = format!("127.0.0.1:{}", ports::free());
            command.args(["--admin", &address]);
            admin.push(address);
        }
        match observer {
            1 => command.env("OTEL_TRACES_SAMPLER", "always_off"),
            3 => command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector),
            _ => &mut command,
        };
        // One customer makes all orders.
        command.env("SPIN_VARIABLE_MAX_OPEN_ORDERS", "1000000");
        Server::start(command)
    };
    let (probe, store) = (command("probe"), command("store"));
    let token = register(&store, &LOGIN.replace('{', r#"{"name":"Bench","#));
    load::once(&store, &Call::post("/api/orders", ORDER).by(&token));
    let scraper = (observer > 0).then(|| Scraper::start(admin.clone()));
    Observed { probe, store, token, admin, _scraper: scraper }
}

/// The URL of a collector that takes everything.
fn collector() -> String {
    let (told, url) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(format!("http://{}", listener.local_addr().unwrap())).unwrap();
            // The body is read to its end, so that the connection serves the next request too.
            let taken = |_: bytes::Bytes| async { "" };
            axum::serve(listener, Router::new().fallback(taken)).await.unwrap();
        });
    });
    url.recv().unwrap()
}

/// Reads the metrics of hosts until it is dropped.
struct Scraper {
    /// Its end ends the thread.
    _alive: mpsc::Sender<()>,
}

impl Scraper {
    fn start(addresses: Vec<String>) -> Self {
        let (alive, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            while ended.recv_timeout(SCRAPE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                addresses.iter().for_each(|address| drop(metrics(address)));
            }
        });
        Scraper { _alive: alive }
    }
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

/// How many spans the host has dropped, and how many there were: one for each measured call.
fn spans(address: &str) -> (f64, f64) {
    let text = metrics(address);
    let sum = |fits: fn(&str) -> bool| -> f64 {
        let value = |line: &str| {
            line.rsplit_once(' ').and_then(|(name, value)| fits(name).then(|| value.parse::<f64>().unwrap()))
        };
        text.lines().filter(|line| !line.starts_with('#')).filter_map(value).sum()
    };
    (sum(|name| name == "souk_export_lost_spans_total"), sum(|name| name.contains("_duration_seconds_count")))
}
