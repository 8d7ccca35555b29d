//! A host under attack, beside clients that do nothing wrong.
//!
//! Each test runs for 5 seconds, or for `SOUK_LOAD_SECONDS`. It asserts that every good request is served, that memory and
//! descriptors stay below a bound, and that every budget is free again when the attack is over. It only prints times:
//! the 99th percentile of each kind of good requests, alone and under attack.

use super::{ALONE, App, Host, WAIT_TIMEOUT, app};
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// How much memory and how many descriptors an attack may add to what a host used before.
pub(crate) struct Bounds {
    pub mib: u64,
    pub descriptors: usize,
}

/// Whether the attack is a long one.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SOUK_LOAD_SECONDS").is_some()
}

/// How long an attack takes.
pub(crate) fn duration() -> Duration {
    let seconds =
        std::env::var("SOUK_LOAD_SECONDS").ok().map(|text| text.parse().expect("SOUK_LOAD_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Times by the kind of request.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// Sends good requests one after the other for `least`, and 20 at least; `after` is called after each.
async fn ask<G: Future<Output = &'static str>>(
    number: &mut usize,
    least: Duration,
    good: &mut impl FnMut(usize) -> G,
    mut after: impl FnMut(),
) -> Times {
    let (mut times, first, start) = (Times::new(), *number, Instant::now());
    while start.elapsed() < least || *number < first + 20 {
        let asked = Instant::now();
        let kind = good(*number).await;
        times.entry(kind).or_default().push(asked.elapsed());
        *number += 1;
        after();
    }
    times
}

/// Runs `attack`, which must not end, while `good` sends one request after the other, each of which must be served; it
/// returns the kind of its request. Checks [`Bounds`], and prints times and resource use.
pub(crate) async fn endure<G: Future<Output = &'static str>>(
    name: &str,
    app: &App,
    host: &Host,
    bounds: Bounds,
    mut good: impl FnMut(usize) -> G,
    attack: impl Future<Output = ()> + Send + 'static,
) {
    let _alone = ALONE.lock().await;
    let mut number = 0;
    let mut quiet = ask(&mut number, duration() / 5, &mut good, || ()).await;
    let before = (host.rss_bytes(), host.descriptors());
    let attack = tokio::spawn(attack);
    let mut most = before;
    let mut under = ask(&mut number, duration(), &mut good, || {
        most = (most.0.max(host.rss_bytes()), most.1.max(host.descriptors()));
    })
    .await;
    // The attacker's connections are closed with it.
    attack.abort();
    assert!(attack.await.is_err_and(|ended| ended.is_cancelled()), "the attack has ended by itself");
    println!("{name}: memory {} -> {} MiB, descriptors {} -> {}", before.0 / MIB, most.0 / MIB, before.1, most.1);
    for (kind, times) in &mut under {
        let alone = quiet.get_mut(kind).map_or(0.0, |times| p99(times).as_secs_f64() * 1e3);
        let attacked = p99(times).as_secs_f64() * 1e3;
        println!(
            "    {kind}: {} good requests, p99 {attacked:.1} ms under attack and {alone:.1} ms alone",
            times.len()
        );
    }
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
