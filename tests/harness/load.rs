//! A host under attack, beside clients that do nothing wrong.
//!
//! Each test runs for 5 seconds, or for `LOAD_SECONDS`. It asserts that every good request is served, that memory and
//! descriptors stay below a bound, and that every budget is free again when the attack is over. It only prints times:
//! the 99th percentile of good requests, alone and under attack.

use super::{App, Host, WAIT_TIMEOUT, app};
use serde_json::Value;
use std::future::Future;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// How much memory and how many descriptors an attack may add to what a host used before.
pub(crate) struct Bounds {
    pub mib: u64,
    pub descriptors: usize,
}

fn duration() -> Duration {
    let seconds = std::env::var("LOAD_SECONDS").ok().map(|text| text.parse().expect("LOAD_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Runs `attack`, which must not end, while `good` sends one request after the other, each of which must be served.
/// Checks [`Bounds`], and prints times and resource use.
pub(crate) async fn endure<G: Future<Output = ()>>(
    name: &str,
    app: &App,
    host: &Host,
    bounds: Bounds,
    mut good: impl FnMut(usize) -> G,
    attack: impl Future<Output = ()> + Send + 'static,
) {
    let mut quiet = Vec::new();
    let start = Instant::now();
    while start.elapsed() < duration() / 5 || quiet.len() < 20 {
        let asked = Instant::now();
        good(quiet.len()).await;
        quiet.push(asked.elapsed());
    }
    let before = (host.rss_bytes(), host.descriptors());
    let (mut under, mut most) = (Vec::new(), before);
    let attack = tokio::spawn(attack);
    let start = Instant::now();
    while start.elapsed() < duration() || under.len() < 20 {
        let asked = Instant::now();
        good(quiet.len() + under.len()).await;
        under.push(asked.elapsed());
        most = (most.0.max(host.rss_bytes()), most.1.max(host.descriptors()));
    }
    // The attacker's connections are closed with it.
    attack.abort();
    assert!(attack.await.is_err_and(|ended| ended.is_cancelled()), "the attack has ended by itself");
    let (quiet, attacked) = (p99(&mut quiet), p99(&mut under));
    println!(
        "{name}: {} good requests, p99 {:.1} ms under attack and {:.1} ms alone; memory {} -> {} MiB, descriptors {} -> {}",
        under.len(),
        attacked.as_secs_f64() * 1e3,
        quiet.as_secs_f64() * 1e3,
        before.0 / MIB,
        most.0 / MIB,
        before.1,
        most.1,
    );
    assert!(
        most.0 <= before.0 + bounds.mib * MIB,
        "the host has grown from {} to {} MiB",
        before.0 / MIB,
        most.0 / MIB
    );
    assert!(most.1 <= before.1 + bounds.descriptors, "descriptors have grown from {} to {}", before.1, most.1);
    assert_eq!(host.log_count("panicked"), 0);
    expect_free(app).await;
}

/// Waits until all budgets that requests draw on are free again.
async fn expect_free(app: &App) {
    // Good clients may still hold a few connections, and idle instances hold memory.
    let free = |used: &Value| {
        let name = used["name"].as_str().unwrap();
        let most = if name.contains("connections") { 64 } else { 0 };
        name == "application_memory" || used["taken"].as_u64().unwrap() <= most
    };
    let mut taken = String::new();
    let start = Instant::now();
    while start.elapsed() < WAIT_TIMEOUT {
        let output = app.souk("limits", &["--json"]).await;
        let (out, err) = app::texts(&output);
        let uses: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{err}"));
        assert!(uses.len() >= 6, "{out}");
        let lines: Vec<_> = uses.iter().filter(|used| !free(used)).map(ToString::to_string).collect();
        taken = lines.join("\n");
        if taken.is_empty() {
            return;
        }
    }
    panic!("these are still taken:\n{taken}");
}

fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// Raises this process's limit on open descriptors to its hard limit, and returns it.
pub(crate) fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum }).unwrap();
    now.maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap())
}
