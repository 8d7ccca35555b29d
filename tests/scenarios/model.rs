//! Random sequences of what customers, an administrator and the payment provider do, against a model that fits on a
//! page: the store must agree with it after each sequence, to the cent.
//!
//! Each sequence has customers and products of its own, so one host serves all of them. `MODEL_SEQUENCES=500` runs as
//! many per database; the seed of a sequence is its number, and `MODEL_FIRST=17 MODEL_SEQUENCES=1` runs number 17 alone.
//! A sequence that fails is shrunk before it is shown.

mod books;
mod steps;

use crate::harness::database::Database;
use crate::harness::store::Shop;
use books::Books;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;

/// Sequences in each database where `MODEL_SEQUENCES` does not say.
const SEQUENCES: u64 = 100;
/// Sequences at one time.
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
