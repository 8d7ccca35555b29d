//! Random sequences of actions by customers, an administrator and the payment provider, compared with a small model:
//! after each sequence the store must agree with the model, to the cent.
//!
//! Each sequence has its own customers and products, so one host serves all sequences. `MODEL_SEQUENCES=500` runs 500
//! of them on each database. A sequence's seed is its number: `MODEL_FIRST=17 MODEL_SEQUENCES=1` runs only number 17. A
//! failed sequence is shrunk before it is shown.

mod books;
mod steps;

use crate::harness::database::Database;
use crate::harness::store::Shop;
use books::Books;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;

/// The number of sequences on each database without `MODEL_SEQUENCES`.
const SEQUENCES: u64 = 100;
/// How many sequences run in parallel.
const AT_ONCE: usize = 4;

#[test]
fn the_store_agrees_with_the_model_on_sqlite() {
    sequences(Database::Sqlite);
}

#[test]
fn the_store_agrees_with_the_model_on_postgres() {
    sequences(Database::Postgres);
}

fn sequences(database: Database) {
    let runtime = Runtime::new().unwrap();
    let (shop, admin, stranger) = runtime.block_on(async {
        let shop = Shop::of(database.configure(crate::harness::App::store())).await;
        let (admin, stranger) = (shop.admin().await, shop.customer().await);
        (shop, admin, stranger)
    });
    let given = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().expect("a number"));
    let next = AtomicU64::new(given("MODEL_FIRST").unwrap_or(0));
    let end = next.load(Ordering::Relaxed) + given("MODEL_SEQUENCES").unwrap_or(SEQUENCES);
    let play = |number: u64| {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let config = Config { cases: 1, max_shrink_iters: 150, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new_with_rng(config, random).run(&steps::sequence(), |steps| {
            runtime.block_on(async {
                let mut books = Books::open(&shop, &admin, &stranger).await;
                for step in &steps {
                    books.play(step).await;
                }
                books.compare().await;
            });
            Ok(())
        });
        if let Err(e) = outcome {
            panic!("sequence {number} on {database:?} (again: MODEL_FIRST={number} MODEL_SEQUENCES=1): {e}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    play(number);
                }
            });
        }
    });
    for loud in ["panicked", "trap", "internal error"] {
        assert_eq!(shop.host.log_count(loud), 0, "{loud:?} in the log");
    }
    runtime.block_on(shop.host.stop());
}
