//! Souk against native Rust, in one sitting: `cargo bench --bench requests`.
//!
//! Both servers run as processes of their own, on loopback, one after the other in rounds, so that a noisy machine
//! disturbs both alike. The native side is what one would write by hand: axum with rusqlite and cached statements, the
//! same rows and the same JSON. CPU is what the server's process used (user and system), by request; the load's own
//! processor time is not in it. Ratios travel to other machines, absolute figures do not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a benchmark may stop

mod load;
mod native;
mod server;

use load::Sample;
use server::{Server, souk};
use std::time::Duration;

/// Connections that send requests, one request at a time each.
const CONNECTIONS: usize = 16;
/// Rounds; the median of each figure is shown.
const ROUNDS: usize = 5;
/// How long one server is loaded with one kind of request in one round.
const SLOT: Duration = Duration::from_secs(3);

struct Row {
    name: &'static str,
    souk: (&'static str, &'static str),
    native: &'static str,
}

const ROWS: &[Row] = &[
    Row { name: "hello, one sandbox", souk: ("probe", "/self/hello"), native: "/hello" },
    Row { name: "link, no database", souk: ("probe", "/answer/7"), native: "/answer/7" },
    Row { name: "GET product by id", souk: ("store", "/api/products/7"), native: "/api/products/7" },
    Row {
        name: "GET page of 10",
        souk: ("store", "/api/products?page=2&limit=10"),
        native: "/api/products?page=2&limit=10",
    },
];

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    if args.next().as_deref() == Some("native") {
        return native::serve(&args.next().expect("a database"));
    }
    server::build();
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s a row and server, medians\n", SLOT.as_secs());
    starts();
    rows();
}

fn starts() {
    println!("{:<28} {:>10} {:>10} {:>10}", "start to first answer", "cold s", "cached s", "idle MiB");
    for (app, path) in [("probe", "/self/hello"), ("store", "/api/products/7")] {
        let state = tempfile::tempdir().unwrap();
        let (cold, server) = Server::timed(souk(app, state.path()), path);
        drop(server);
        let mut cached = Vec::new();
        let mut idle = 0.0;
        for _ in 0..5 {
            let (took, server) = Server::timed(souk(app, state.path()), path);
            cached.push(took.as_secs_f64());
            idle = server.rss_mib();
        }
        println!("{app:<28} {:>10.3} {:>10.3} {idle:>10.1}", cold.as_secs_f64(), median(&mut cached));
    }
    println!();
}

fn rows() {
    let state = tempfile::tempdir().unwrap();
    let store = Server::start(souk("store", &state.path().join("store")));
    let probe = Server::start(souk("probe", &state.path().join("probe")));
    // The native server reads the rows that the migrations of the store have made.
    let native = Server::start(native::command(&state.path().join("store/sqlite/products.db")));
    println!(
        "{:<20} {:<7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "row", "server", "req/s", "p50 us", "p99 us", "CPU us", "RSS MiB", "x native"
    );
    for row in ROWS {
        let server = if row.souk.0 == "store" { &store } else { &probe };
        let targets = [("souk", server, row.souk.1), ("native", &native, row.native)];
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (at, (_, server, path)) in targets.iter().enumerate() {
                samples[at].push(load::run(server, path, CONNECTIONS, SLOT));
            }
        }
        let [ours, theirs] = samples.map(|s| Sample::median(&s));
        for ((name, server, _), sample) in targets.iter().zip([&ours, &theirs]) {
            let ratio = if *name == "souk" { format!("{:.1}", ours.cpu / theirs.cpu) } else { String::new() };
            println!(
                "{:<20} {name:<7} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {ratio:>9}",
                row.name,
                sample.rate,
                sample.p50,
                sample.p99,
                sample.cpu,
                server.rss_mib()
            );
        }
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
