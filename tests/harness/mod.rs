//! What the scenarios share: building the test components, running the host, and a client that checks every response.

pub(crate) mod admin;
pub(crate) mod app;
pub(crate) mod build;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod database;
pub(crate) mod disk;
pub(crate) mod host;
pub(crate) mod http2;
pub(crate) mod languages;
pub(crate) mod load;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod queue_gate;
pub(crate) mod raw;
pub(crate) mod recorded;
pub(crate) mod redundant_store;
pub(crate) mod spread;
pub(crate) mod store;
pub(crate) mod stripe;
pub(crate) mod stripe_api;

pub(crate) use app::App;
pub(crate) use client::{Answer, Client};
pub(crate) use host::Host;
pub(crate) use souk_test::random::Random;
pub(crate) use souk_test::{archive, debian, mongodb, nats, postgres, redis};

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take to become true: long enough for a loaded machine, because no scenario measures speed.
pub(crate) const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// Polls `condition` until it gives a value; panics with `what` after [`WAIT_TIMEOUT`].
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < WAIT_TIMEOUT, "timed out waiting until {what}");
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(Duration::from_millis(20));
    }
}

/// What loads a machine runs one at a time: two at once take each other's processor, and good requests time out for that
/// reason.
pub(crate) static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs `action` while another task requests `paths` without pause; each of those requests must get 200.
pub(crate) async fn undisturbed<T>(client: &Client, paths: &[&str], action: impl Future<Output = T>) -> T {
    let done = std::cell::Cell::new(false);
    let bystander = async {
        let mut calls = 0;
        // Even an action that ends at once is checked with at least 20 requests.
        while !done.get() || calls < 20 {
            for path in paths {
                let answer = client.get(path).await;
                assert_eq!(answer.status, 200, "a bystander noticed: {path} answered {answer:?}");
                calls += 1;
            }
        }
    };
    let action = async {
        let value = action.await;
        done.set(true);
        value
    };
    futures::join!(action, bystander).0
}
