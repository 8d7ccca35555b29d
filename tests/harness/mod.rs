//! What the scenarios share: building the test components, running the host, and a client that checks every response.

pub(crate) mod admin;
pub(crate) mod app;
pub(crate) mod build;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod door;
pub(crate) mod host;
pub(crate) mod http2;
pub(crate) mod languages;
pub(crate) mod load;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod raw;
pub(crate) mod recorded;
pub(crate) mod spread;
pub(crate) mod store;
pub(crate) mod stripe;
pub(crate) mod stripe_api;
pub(crate) mod town;

pub(crate) use app::App;
pub(crate) use client::{Answer, Client};
pub(crate) use host::Host;
pub(crate) use souk_test::random::Random;
pub(crate) use souk_test::{archive, debian, mongodb, nats, postgres, redis};

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to become true: long enough for a loaded machine, since no scenario is about speed.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until `condition` gives a value, asking again and again; panics with `what` after [`WAIT_TIMEOUT`].
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < WAIT_TIMEOUT, "waited in vain until {what}");
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

/// Runs `deed` while `paths` are called without pause; each of those calls must answer 200.
pub(crate) async fn undisturbed<T>(client: &Client, paths: &[&str], deed: impl Future<Output = T>) -> T {
    let done = std::cell::Cell::new(false);
    let bystander = async {
        let mut calls = 0;
        // A deed that is over at once must not make this a check of nothing.
        while !done.get() || calls < 20 {
            for path in paths {
                let answer = client.get(path).await;
                assert_eq!(answer.status, 200, "a bystander noticed: {path} answered {answer:?}");
                calls += 1;
            }
        }
    };
    let deed = async {
        let value = deed.await;
        done.set(true);
        value
    };
    futures::join!(deed, bystander).0
}
