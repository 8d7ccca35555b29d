//! Schedules and delayed calls: each due time has exactly one call, whatever happens to the hosts. A kill may repeat the
//! call that it meets, with the same id.
//!
//! The scenarios kill hosts for ten seconds, or for `SOUK_SCHEDULES_SECONDS`.

use super::durable::events;
use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Client, build, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

fn app() -> App {
    build::schedule_guests();
    App::alone("schedules")
}

/// A schedule of `ticker` with this name and these other keys.
pub(super) fn schedule(name: &str, keys: &str) -> String {
    let call = "souk-test:ticks/ticks@1.0.0#tick";
    format!("\n[[component.ticker.tool.souk.schedule]]\nname = \"{name}\"\ncall = \"{call}\"\n{keys}\n")
}

/// The due times for which `ticker` was called, with the number of calls for each. A call that came twice fails the
/// test: only a kill may repeat the call that it meets.
pub(super) async fn seen(client: &Client) -> BTreeMap<i64, usize> {
    let keys = keys(client).await;
    let again = again(&keys);
    assert!(again.is_empty(), "delivered twice: {again:?}");
    times(&keys)
}

/// The calls that came again with the id of an earlier one.
fn again(keys: &[String]) -> Vec<&String> {
    keys.iter().filter(|key| key.starts_with("again-")).collect()
}

async fn keys(client: &Client) -> Vec<String> {
    let seen = eventually("ticker says what it has seen", || async {
        let answer = client.try_get("/seen").await.ok()?;
        (answer.status == 200).then(|| answer.json())
    });
    serde_json::from_value(seen.await).unwrap()
}

fn times(keys: &[String]) -> BTreeMap<i64, usize> {
    let mut times = BTreeMap::new();
    for key in keys.iter().filter(|key| !key.starts_with("again-")) {
        *times.entry(key.split_once('-').unwrap().0.parse().unwrap()).or_default() += 1;
    }
    times
}

/// Milliseconds since 1970.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn until_seen(client: &Client, time: i64) {
    let keys = until_called(client, time).await;
    assert!(again(&keys).is_empty(), "delivered twice: {keys:?}");
}

async fn until_called(client: &Client, time: i64) -> Vec<String> {
    eventually("a later time is seen", || async {
        let keys = keys(client).await;
        times(&keys).last_key_value().is_some_and(|(last, _)| *last >= time).then_some(keys)
    })
    .await
}

/// Kills the host again and again, at due times and between them. A kill comes as soon as `ticker` has stored that it
/// was called, so the host may not know yet that the call succeeded: it makes that one again, with the same id.
async fn no_due_time_is_lost_or_comes_twice(app: App) {
    let app = app.append(&schedule("often", "every = \"1s\"\nmissed = \"all\""));
    let mut host = app.start().await;
    const KILLS: usize = 3;
    for _ in 0..KILLS {
        until_called(&host.client(), now()).await;
        drop(host);
        host = app.start().await;
    }
    let keys = until_called(&host.client(), now()).await;
    assert!(again(&keys).len() <= KILLS, "more calls came again than kills can explain: {keys:?}");
    let times = times(&keys);
    let first = *times.first_key_value().unwrap().0;
    for (at, (time, calls)) in times.iter().enumerate() {
        assert_eq!((*time, *calls), (first + at as i64 * 1000, 1), "{times:?}");
    }
    let (out, _) = texts(&app.souk("doctor", &[]).await);
    assert!(out.contains("often (every 1s)"), "{out}");
}

#[tokio::test]
async fn a_host_that_is_killed_again_and_again_calls_for_each_due_time_in_a_file() {
    no_due_time_is_lost_or_comes_twice(app()).await;
}

#[tokio::test]
async fn a_host_that_is_killed_again_and_again_calls_for_each_due_time_on_jetstream() {
    let nats = Nats::start();
    no_due_time_is_lost_or_comes_twice(app().on_nats(&nats.url())).await;
}

/// A delayed call survives the kill of its host, and comes when it is due and not before.
async fn a_delayed_call_waits_through_a_kill(app: App) {
    let host = app.start().await;
    let due = host.client().get("/far/600000").await.expect(200).as_i64().unwrap();
    let soon = host.client().get("/soon/3000").await.expect(200).as_i64().unwrap();
    drop(host);
    let host = app.start().await;
    let client = host.client();
    until_seen(&client, soon).await;
    assert!(now() >= soon, "it came before it was due");
    assert_eq!(seen(&client).await.keys().copied().collect::<Vec<_>>(), [soon]);
    let waiting: Value = eventually("one message waits", || async {
        let list: Value = serde_json::from_str(&events(&app, &["list", "--json"]).await).unwrap();
        (list.as_array().unwrap().len() == 1).then(|| list[0].clone())
    })
    .await;
    assert_eq!((&waiting["state"], &waiting["attempts"]), (&"pending".into(), &0.into()), "{waiting}");
    let shown = chrono_millis(waiting["dueAt"].as_str().unwrap());
    assert_eq!(shown, due, "{waiting}");
    let output = app.souk("events", &["wait", "--timeout", "30s"]).await;
    assert!(output.status.success(), "`events wait` must not wait for a message that is not due: {output:?}");
    // An operator can deliver it at once.
    events(&app, &["retry", waiting["id"].as_str().unwrap()]).await;
    until_seen(&client, due).await;
}

/// The milliseconds of `2026-01-02T03:04:05.678Z`.
fn chrono_millis(text: &str) -> i64 {
    (humantime::parse_rfc3339(text).unwrap().duration_since(UNIX_EPOCH).unwrap()).as_millis() as i64
}

#[tokio::test]
async fn a_call_that_its_caller_delays_waits_through_a_kill_in_a_file() {
    a_delayed_call_waits_through_a_kill(app()).await;
}

#[tokio::test]
async fn a_call_that_its_caller_delays_waits_through_a_kill_on_jetstream() {
    let nats = Nats::start();
    a_delayed_call_waits_through_a_kill(app().on_nats(&nats.url())).await;
}

#[tokio::test]
async fn a_link_can_delay_all_its_calls() {
    let app = app().replace("deliver_at = \"due\"", "after = \"2s\"");
    let host = app.start().await;
    let start = now();
    let due = host.client().get("/calm/0").await.expect(200).as_i64().unwrap();
    until_seen(&host.client(), due).await;
    assert!(now() >= start + 2000, "it came at once");
}

#[tokio::test]
async fn an_invalid_schedule_or_delay_is_refused_with_its_line_and_fix() {
    for (app, fragments) in [
        (
            app().append(&schedule("odd", "every = \"1s\"").replace("#tick", "#tock")),
            [
                "component `ticker`",
                "the schedule `odd` calls",
                "does not export",
                "name one of souk-test:ticks/ticks@1.0.0#tick",
            ],
        ),
        (
            app().append(&schedule("odd", "every = \"1s\"").replace("ticks@1.0.0#tick", "look@1.0.0#seen")),
            ["component `ticker`", "the schedule `odd` cannot call", "seen", "let it take nothing"],
        ),
        (
            app().replace("deliver_at = \"due\"", "deliver_at = \"dew\""),
            ["component `later`", "no function has the parameter `dew`", "souk-test:ticks/ticks@1.0.0", "type `u64`"],
        ),
        (
            app().replace("deliver_at = \"due\"", "deliver_at = \"id\""),
            ["component `later`", "the parameter `id`, which is no `u64`", "tick", "milliseconds since 1970"],
        ),
    ] {
        let error = app.start_fails().await;
        for fragment in fragments {
            assert!(error.contains(fragment), "{fragment}: {error}");
        }
    }
}

/// How long the scenarios kill hosts.
fn length() -> Duration {
    let seconds = std::env::var("SOUK_SCHEDULES_SECONDS").map(|seconds| seconds.parse().expect("whole seconds"));
    Duration::from_secs(seconds.unwrap_or(10))
}

/// A thousand schedules on three hosts, one of which is killed every five seconds: each schedule is called once for
/// each due time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_a_thousand_schedules_on_killed_hosts_is_called_once_for_each_due_time() {
    const SCHEDULES: usize = 1000;
    const PERIOD: i64 = 3000;
    let nats = Nats::start();
    let mut schedules = String::new();
    for number in 0..SCHEDULES {
        write!(schedules, "{}", schedule(&format!("s{number}"), "every = \"3s\"\nmissed = \"all\"")).unwrap();
    }
    let config = format!("[nats]\nservers = [{:?}]\n[key_value_store.default]\ntype = \"nats\"\n", nats.url());
    let app = app().append(&schedules).file("runtime-config.toml", config);
    let start = async |host: usize| app.start_at("127.0.0.1:0", &format!("state-{host}"), &[]).await;
    let mut hosts = Vec::new();
    for host in 0..3 {
        hosts.push(Some(start(host).await));
    }
    let kill_until = Instant::now() + length();
    let mut victim = 0;
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    tick.tick().await;
    while Instant::now() < kill_until {
        tick.tick().await;
        hosts[victim] = None;
        hosts[victim] = Some(start(victim).await);
        victim = (victim + 1) % hosts.len();
    }
    let (client, until) = (hosts[0].as_ref().unwrap().client(), now());
    let complete = |times: &BTreeMap<i64, usize>| {
        let passed = times.iter().filter(|(time, _)| **time <= until);
        times.last_key_value().is_some_and(|(last, _)| *last >= until - until % PERIOD)
            && passed.clone().skip(1).all(|(_, calls)| *calls == SCHEDULES)
    };
    let keys = eventually("all due times until now are seen", || async {
        let keys = keys(&client).await;
        complete(&times(&keys)).then_some(keys)
    })
    .await;
    let mut all = times(&keys);
    let again = again(&keys).len();
    all.retain(|time, _| *time <= until);
    println!("{} due times of {SCHEDULES} schedules; {again} calls were delivered twice", all.len());
    // Some schedules may have been set up only after the first due time.
    let first = all.pop_first().unwrap();
    assert!(first.1 <= SCHEDULES, "{all:?}");
    for (at, (time, calls)) in all.iter().enumerate() {
        assert_eq!((*time, *calls), (first.0 + (at as i64 + 1) * PERIOD, SCHEDULES), "{all:?}");
    }
    drop(hosts);
}
