//! What a request costs with much data: a catalogue of 1,000,000 products, and a customer with 200,000 orders, each
//! compared with the same store with little data. The benchmark writes the rows into the databases of a store that has
//! run once, so the store's triggers count them. It measures only Souk: the native server counts its rows again for
//! each page, as a first version would.

use crate::load::{self, Call, Sample};
use crate::server::{Server, souk};
use crate::{CONNECTIONS, LOGIN, ORDER, ROUNDS, SLOT, median, register};
use rusqlite::Connection;
use std::fmt::Write as _;
use std::path::Path;

/// How many products the large catalogue has beyond the examples.
const PRODUCTS: u32 = 1_000_000;
/// How many orders the customer of the large store has.
const ORDERS: u32 = 200_000;

/// One kind of request to both stores.
struct Row {
    name: &'static str,
    few: Call,
    many: Call,
}

/// Measures and prints the rows; returns them as text for the table in `docs/benchmarks/`.
pub(crate) fn rows(state: &Path) -> String {
    let (few, token) = start(&state.join("few"));
    let (many, owner) = start(&state.join("many"));
    drop(many);
    fill(&state.join("many"));
    let many = Server::start(souk("store", &state.join("many")));
    let page = |path: &str| Call::get(path);
    let orders = Call::get("/api/orders?page=1&limit=10");
    let rows = [
        Row {
            name: "page of 10 of 1,000,000 products",
            few: page("/api/products?page=2&limit=10"),
            many: page("/api/products?page=2&limit=10"),
        },
        Row {
            name: "page of 10 from the middle of them",
            few: page("/api/products?page=2&limit=10"),
            many: page("/api/products?page=50000&limit=10"),
        },
        Row { name: "page of 10 of 200,000 orders", few: orders.clone().by(&token), many: orders.by(&owner) },
    ];
    let mut table = String::from(
        "\n## With much in the database\n\n| row | req/s with few | req/s with many | times slower |\n|---|---|---|---|\n",
    );
    println!("{:<36} {:>9} {:>9} {:>7}", "with much in the database", "few", "many", "times");
    for Row { name, few: call, many: large } in rows {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            before.push(load::run(&few, &call, CONNECTIONS, SLOT));
            after.push(load::run(&many, &large, CONNECTIONS, SLOT));
        }
        let (before, after) = (Sample::median(&before).rate, Sample::median(&after).rate);
        println!("{name:<36} {before:>9.0} {after:>9.0} {:>7.2}", before / after);
        writeln!(table, "| {name} | {before:.0} | {after:.0} | {:.2} |", before / after).unwrap();
    }
    let product = Call::get("/api/products/7");
    let pages = Call::get("/api/products?page=50000&limit=10");
    let p99 = |others| {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let latencies = load::beside(&many, &product, CONNECTIONS, &pages, others, SLOT);
                latencies[latencies.len() * 99 / 100].as_secs_f64() * 1e3
            })
            .collect();
        median(&mut rounds)
    };
    let (alone, beside) = (p99(0), p99(CONNECTIONS));
    let result = format!(
        "The p99 of GET product by id over 1,000,000 products, {CONNECTIONS} clients: {alone:.2} ms alone, {beside:.2} ms \
         ({:.1} times) while {CONNECTIONS} more clients page through them without pause.",
        beside / alone
    );
    println!("{result}\n");
    writeln!(table, "\n{result}").unwrap();
    table
}

/// A store with a page of orders of one customer, and the customer's token.
fn start(state: &Path) -> (Server, String) {
    let server = Server::start(souk("store", state));
    let token = register(&server, &LOGIN.replace('{', r#"{"name":"Bench","#));
    let order = Call::post("/api/orders", ORDER).by(&token);
    (0..10).for_each(|_| drop(load::once(&server, &order)));
    (server, token)
}

/// Writes the rows into the databases of a store that is not running.
fn fill(state: &Path) {
    let open = |file: &str| Connection::open(state.join("sqlite").join(file)).unwrap();
    let numbers =
        |rows: u32| format!("WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})");
    let insert = "INSERT INTO products (name, price_cents) SELECT 'Product ' || n, 100 + n % 10000 FROM n";
    open("products.db").execute_batch(&format!("BEGIN; {} {insert}; COMMIT;", numbers(PRODUCTS))).unwrap();
    let id = "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || \
              hex(randomblob(2)) || '-' || hex(randomblob(6)))";
    let insert = format!(
        "INSERT INTO orders (id, owner, currency, total_cents, total_items) \
         SELECT {id}, (SELECT owner FROM orders LIMIT 1), 'usd', 100 + n, 1 FROM n"
    );
    open("orders.db").execute_batch(&format!("BEGIN; {} {insert}; COMMIT;", numbers(ORDERS))).unwrap();
}
