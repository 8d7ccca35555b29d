//! The store under load while its components are replaced: no request fails, and none has to be repeated.
//!
//! By default the scenario takes five seconds, with 60 requests a second and three deployments. With
//! `SOUK_SWAP_SECONDS=60` it takes a minute, with 500 requests a second, if the machine can answer them, and 20
//! deployments. It prints how long reads took.

use super::deploy::{deploy, versions};
use crate::harness::redundant_store::Load;
use crate::harness::{App, Random};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

/// The maximum of concurrent requests: a machine that cannot keep the pace gets fewer requests and is not overloaded.
const MAX_REQUESTS: usize = 64;

/// The same component with other bytes: it gets a custom section at its end.
fn with_section(mut file: Vec<u8>, number: u64) -> Vec<u8> {
    let name = b"swap";
    file.extend([0, 1 + name.len() as u8 + 8, name.len() as u8]);
    file.extend(name);
    file.extend(number.to_le_bytes());
    file
}

/// The 99th percentile in milliseconds.
fn p99(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() * 99 / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_of_the_store_are_replaced_under_load_and_no_request_fails_or_is_made_again() {
    let (rate, seconds, swaps) = match std::env::var("SOUK_SWAP_SECONDS") {
        Ok(seconds) => (500, seconds.parse::<usize>().expect("whole seconds"), 20),
        Err(_) => (60, 5, 3),
    };
    let app = App::store_alone();
    let host = app.start().await;
    let load = Load::new(vec![host.client()]).await;
    let start = Instant::now();
    let customers = tokio::spawn(Arc::clone(&load).run_within(rate, MAX_REQUESTS));
    let between = rate as usize * seconds / (swaps + 1);
    load.wait_for_more(between * 8 / 10, between / 20).await;
    let (mut random, mut windows): (_, Vec<(Instant, Instant)>) = (Random::new(20), Vec::new());
    for swap in 0..swaps {
        let all = versions(&app).await;
        let active: Vec<_> = all.iter().filter(|version| version["state"] == "active").collect();
        let version = active[random.below(active.len())];
        let (component, digest) = (version["component"].as_str().unwrap(), version["digest"].as_str().unwrap());
        let file = std::fs::read(app.state().join("versions/files").join(digest).with_extension("wasm")).unwrap();
        let path = app.path("swap.wasm");
        std::fs::write(&path, with_section(file, swap as u64)).unwrap();
        let begun = Instant::now();
        let said = deploy(&app, &[component, path.to_str().unwrap()]).await;
        assert!(said.contains("serves; version"), "{said}");
        windows.push((begun, Instant::now()));
        load.wait_for_more(between * 8 / 10, between / 20).await;
    }
    load.end();
    customers.await.unwrap();
    let (read, ordered, again) = (load.read.load(SeqCst), load.ordered.load(SeqCst), load.retries.load(SeqCst));
    let took = load.latencies();
    let is_beside =
        |(begun, took): &&(Instant, Duration)| windows.iter().any(|(a, b)| *begun <= *b && *begun + *took >= *a);
    let beside: Vec<Duration> = took.iter().filter(is_beside).map(|(_, took)| *took).collect();
    let quiet: Vec<Duration> = took.iter().filter(|one| !is_beside(one)).map(|(_, took)| *took).collect();
    println!(
        "{read} reads, {ordered} orders in {:.1} s, {swaps} swaps; p99 of {} reads beside a swap {:.1} ms, of {} others {:.1} ms",
        start.elapsed().as_secs_f64(),
        beside.len(),
        p99(beside.clone()),
        quiet.len(),
        p99(quiet.clone())
    );
    assert_eq!((load.failures(), again), (Vec::new(), 0));
    load.check_orders().await;
    assert_eq!(versions(&app).await.iter().filter(|version| version["state"] == "previous").count().min(1), 1);
    host.stop().await;
}
