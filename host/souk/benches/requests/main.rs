//! Souk compared with native Rust, in one run: `cargo bench --bench requests --features full`.
//!
//! Both servers run as separate processes on loopback, one after the other in rounds, so that a noisy machine disturbs
//! both alike. The native server is what a developer would write by hand: axum with rusqlite, or sqlx for PostgreSQL,
//! cached statements, the same rows and the same JSON. Both have the same profile and the same allocator, and send HTTP
//! requests to the same payment provider, as a real shop does. CPU is the time that the server's process used (user and
//! system), divided by the requests; it excludes the load, PostgreSQL and the provider. Ratios hold on other machines,
//! absolute figures do not. The CPU time of a request on both sides goes to `docs/benchmarks/`, as a table and as a
//! chart ([`chart`]). With the argument `large`, only the rows with much data are measured.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a benchmark may stop

mod bare;
mod chart;
mod large;
mod load;
mod native;
mod observed;
mod remote;
mod server;

use load::{Call, Sample};
use server::{Server, souk};
use souk_test::postgres;
use std::time::Duration;

/// The native server is this binary: it gets the allocator that `souk` has.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Connections that send requests, one request at a time each.
const CONNECTIONS: usize = 16;
/// Rounds; the median of each figure is shown.
const ROUNDS: usize = 5;
/// How long one server is loaded with one kind of request in one round.
const SLOT: Duration = Duration::from_secs(3);
/// How long after its start a server is idle.
const IDLE: Duration = Duration::from_secs(5);

/// What serves the requests on Souk's side.
enum Side {
    /// The tests' probe.
    Probe,
    /// The store on SQLite.
    Store,
    /// The store on PostgreSQL.
    Postgres,
}

struct Row {
    name: &'static str,
    side: Side,
    souk: Call,
    native: Call,
}

/// The rows; the tokens belong to the user on the store, on the store with PostgreSQL, and on the native server.
fn table([ours, on_postgres, native]: [&str; 3]) -> Vec<Row> {
    let probe = |name, path: &str, native: &str| Row {
        name,
        side: Side::Probe,
        souk: Call::get(path),
        native: Call::get(native),
    };
    let store = |name, call: Call| Row { name, side: Side::Store, souk: call.clone(), native: call };
    let by_user =
        |name, call: Call| Row { name, side: Side::Store, souk: call.clone().by(ours), native: call.by(native) };
    vec![
        probe("hello, one sandbox", "/plain/hello", "/hello"),
        probe("hello by wasi:http", "/self/hello", "/hello"),
        probe("link, no database", "/plain/answer/7", "/answer/7"),
        store("404 of the gateway", Call { status: 404, ..Call::get("/api/nothing") }),
        store("GET product by id", Call::get("/api/products/7")),
        store("GET page of 10", Call::get("/api/products?page=2&limit=10")),
        by_user("POST order", Call::post("/api/orders", ORDER)),
        Row {
            name: "POST order, PostgreSQL",
            side: Side::Postgres,
            souk: Call::post("/api/orders", ORDER).by(on_postgres),
            native: Call::post("/postgres/orders", ORDER).by(native),
        },
        by_user("GET orders page", Call::get("/api/orders?page=1&limit=10")),
        store("login", Call::post("/api/auth/login", LOGIN)),
        by_user("verify", Call::post("/api/auth/verify", "")),
    ]
}

/// The body of a new order.
const ORDER: &str = r#"{"items":[{"productId":1,"quantity":2},{"productId":2,"quantity":1}]}"#;

/// A user of both servers.
const LOGIN: &str = r#"{"email":"bench@example.com","password":"Bench123!x"}"#;

/// Registers the user and returns the token.
fn register(server: &Server, body: &str) -> String {
    let answer = load::once(server, &Call::post("/api/auth/register", body));
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|a| a != "--bench");
    match args.next().as_deref() {
        Some("native") => {
            return native::serve(
                &args.next().expect("a database"),
                &args.next().expect("a folder"),
                &args.next().expect("a URL"),
                &args.next().expect("the provider"),
            );
        }
        Some("provider") => return native::provider::serve(&args.next().expect("a folder")),
        Some("observed") => {
            server::build();
            observed::rows(tempfile::tempdir().unwrap().path());
            return;
        }
        // By itself, without the chart.
        Some("large") => {
            server::build();
            large::rows(tempfile::tempdir().unwrap().path());
            return;
        }
        _ => {}
    }
    server::build();
    println!("{CONNECTIONS} connections, {ROUNDS} rounds of {} s a row and server, medians\n", SLOT.as_secs());
    starts();
    let bars = rows();
    let state = tempfile::tempdir().unwrap();
    let (large, observed) = (large::rows(&state.path().join("large")), observed::rows(&state.path().join("observed")));
    chart::write(&bars, &[bare::rows(), large, observed].concat());
    drop(state);
    remote::rows(tempfile::tempdir().unwrap().path());
}

fn starts() {
    println!("{:<28} {:>10} {:>10} {:>10}", "start to first answer", "cold s", "cached s", "idle MiB");
    for (app, path) in [("probe", "/self/hello"), ("store", "/api/products/7")] {
        let state = tempfile::tempdir().unwrap();
        let (cold, server) = Server::timed(souk(app, state.path()), path);
        drop(server);
        let mut cached = Vec::new();
        let mut last = None;
        for _ in 0..5 {
            // One host at a time has the state folder.
            drop(last.take());
            let (took, server) = Server::timed(souk(app, state.path()), path);
            cached.push(took.as_secs_f64());
            last = Some(server);
        }
        // The allocator gives back what the start needed after a second.
        std::thread::sleep(IDLE);
        let idle = last.map_or(0.0, |server| server.rss_mib());
        println!("{app:<28} {:>10.3} {:>10.3} {idle:>10.1}", cold.as_secs_f64(), median(&mut cached));
    }
    println!();
}

fn rows() -> Vec<chart::Bar> {
    let state = tempfile::tempdir().unwrap();
    let database = postgres::Postgres::start_durable();
    let url = database.database();
    let provider = Server::start(native::provider::command(&state.path().join("provider")));
    let with_provider = |folder: &str| {
        let mut command = souk("store", &state.path().join(folder));
        command
            // One customer makes all orders.
            .env("SPIN_VARIABLE_MAX_OPEN_ORDERS", "1000000")
            .env("SPIN_VARIABLE_STRIPE_ENDPOINT_SECRET", native::SECRET)
            .env("SPIN_VARIABLE_STRIPE_SECRET", "sk_benchmark")
            .env("SPIN_VARIABLE_STRIPE_API_URL", format!("http://{}", provider.address));
        command
    };
    let store = Server::start(server::seeded(with_provider("store")));
    let mut command = with_provider("postgres");
    command.env("SPIN_VARIABLE_ORDERS_DATABASE_URL", &url).env("SPIN_VARIABLE_PRODUCTS_DATABASE_URL", &url);
    let on_postgres = Server::start(server::seeded(command));
    let probe = Server::start(souk("probe", &state.path().join("probe")));
    // The native server reads the tables and rows that the store has made.
    let products = state.path().join("store/sqlite/products.db");
    let native = Server::start(native::command(&products, &state.path().join("native"), &url, &provider.address));
    let ours = register(&store, &LOGIN.replace('{', r#"{"name":"Bench","#));
    let on_postgres_token = register(&on_postgres, &LOGIN.replace('{', r#"{"name":"Bench","#));
    let theirs = register(&native, LOGIN);
    let order = load::once(&store, &Call::post("/api/orders", ORDER).by(&ours));
    let order: serde_json::Value = serde_json::from_slice(&order).unwrap();
    let order = order["order"]["id"].as_str().unwrap();
    println!(
        "{:<23} {:<7} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "row", "server", "req/s", "p50 us", "p99 us", "CPU us", "RSS MiB", "x native"
    );
    let mut bars = Vec::new();
    for row in table([&ours, &on_postgres_token, &theirs]) {
        let server = match row.side {
            Side::Probe => &probe,
            Side::Store => &store,
            Side::Postgres => &on_postgres,
        };
        let targets = [("souk", server, &row.souk), ("native", &native, &row.native)];
        let mut samples = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            for (at, (_, server, call)) in targets.iter().enumerate() {
                samples[at].push(load::run(server, call, CONNECTIONS, SLOT));
            }
        }
        let [ours, theirs] = samples.map(|s| Sample::median(&s));
        bars.push(chart::Bar { name: row.name, souk: ours.cpu, native: theirs.cpu });
        for ((name, server, _), sample) in targets.iter().zip([&ours, &theirs]) {
            let ratio = if *name == "souk" { format!("{:.1}", ours.cpu / theirs.cpu) } else { String::new() };
            println!(
                "{:<23} {name:<7} {:>9.0} {:>9.0} {:>9.0} {:>9.1} {:>9.1} {ratio:>9}",
                row.name,
                sample.rate,
                sample.p50,
                sample.p99,
                sample.cpu,
                server.rss_mib()
            );
        }
    }
    println!();
    logins(&store, &ours, "souk");
    logins(&native, &theirs, "native");
    println!();
    let call = Call::events(native::SECRET, order);
    let orders = state.path().join("store/sqlite/orders.db");
    events(&store, &call, &orders, "SELECT count(*) FROM events", "souk");
    events(&native, &call, &state.path().join("native/inbox.db"), "SELECT count(*) FROM seen", "native");
    println!();
    bars
}

/// Measures events of the payment provider: how many are stored per second, and how many are applied per second, in one
/// transaction each. They are stored faster than they are applied, so there is only one slot, and the queue must hold
/// the rest.
fn events(server: &Server, call: &Call, database: &std::path::Path, applied: &str, name: &str) {
    let count =
        || -> u32 { rusqlite::Connection::open(database).unwrap().query_row(applied, [], |r| r.get(0)).unwrap() };
    let sample = load::run(server, call, CONNECTIONS, SLOT);
    let (before, start) = (count(), tokio::time::Instant::now());
    std::thread::sleep(SLOT);
    let applied = f64::from(count() - before) / start.elapsed().as_secs_f64();
    println!(
        "{name:<7} events: {:>6.0} stored/s (p50 {:>5.2} ms, p99 {:>6.2} ms, {:>5.0} us CPU), then {applied:>6.0} applied/s",
        sample.rate,
        sample.p50 / 1e3,
        sample.p99 / 1e3,
        sample.cpu
    );
}

/// Measures `verify` while other clients log in without pause: hashing passwords must not delay other requests.
fn logins(server: &Server, token: &str, name: &str) {
    let (verify, login) = (Call::post("/api/auth/verify", "").by(token), Call::post("/api/auth/login", LOGIN));
    for others in [0, CONNECTIONS] {
        let latencies = load::beside(server, &verify, 1, &login, others, SLOT * 2);
        let at = |percent: usize| latencies[latencies.len() * percent / 100].as_secs_f64() * 1e3;
        println!("{name:<7} verify, {others:>2} others log in: p50 {:>7.2} ms, p99 {:>7.2} ms", at(50), at(99));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
