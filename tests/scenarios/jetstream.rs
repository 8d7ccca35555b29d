//! Durable links on JetStream: scenarios with several hosts, a NATS server that is killed and restarts, and a cluster.
//! `durable` has the scenarios for both kinds of queue.

use super::durable::{QueueKind, counted, events, messages, on, send, start, text, until_done, until_no_messages};
use crate::harness::app::texts;
use crate::harness::database::query_number;
use crate::harness::nats::Nats;
use crate::harness::store::{STRIPE_SECRET, Shop, cents};
use crate::harness::{App, eventually, queue, stripe};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// The log line of a host that has lost its connection.
const LOST: &str = "calls to other hosts fail until NATS is connected again";

/// When NATS is killed.
enum Kills {
    /// This many kills, each after the same number of events.
    Times(usize),
    /// A kill in this interval, while this many events a second are sent.
    Each(Duration, u32),
}

/// The number of events, and when NATS is killed.
fn size() -> (usize, Kills) {
    match std::env::var("SOUK_DURABLE_MESSAGES") {
        Ok(count) => (count.parse().expect("a whole number"), Kills::Each(Duration::from_secs(5), 200)),
        Err(_) => (500, Kills::Times(3)),
    }
}

/// Orders are paid and payment pages expire while NATS is killed again and again: every acknowledged event is applied
/// exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_that_is_killed_again_and_again_loses_no_event_and_none_is_applied_twice() {
    let (count, kills) = size();
    let mut nats = Nats::start();
    // A restarted server delivers a message again only after the longest time that a call may take.
    let app = App::store_alone().variable("open_access", true);
    let app =
        app.replace("[component.orders.tool.souk.limits]", "[component.orders.tool.souk.limits]\ncall_deadline = 5000");
    let shop = Shop::of(app.on_nats(&nats.url())).await;
    let mut orders = Vec::new();
    for _ in 0..count / 50 {
        let made = shop.order("", &[(1, 2)]).await;
        orders.push((text(&made["order"], "id").to_owned(), cents(&made["order"]["totalAmount"])));
    }
    let events: Vec<Value> = (0..count)
        .map(|at| {
            let (id, cents) = &orders[at % orders.len()];
            match at / orders.len() {
                0 => stripe::charge_succeeded(id, *cents),
                _ => stripe::checkout_session_expired(id),
            }
        })
        .collect();
    let told = AtomicUsize::new(0);
    // The test repeats an event until it is acknowledged, as the provider does.
    let start = Instant::now();
    let tell = |(at, event): (usize, &Value)| {
        let (client, event, told) = (shop.client.clone(), event.clone(), &told);
        let begin = match kills {
            Kills::Times(_) => start,
            Kills::Each(_, rate) => start + Duration::from_secs(at as u64) / rate,
        };
        async move {
            tokio::time::sleep_until(begin.into()).await;
            eventually("an event is acknowledged", || async {
                (stripe::deliver(&client, STRIPE_SECRET, &event).await.status == 200).then_some(())
            })
            .await;
            told.fetch_add(1, SeqCst);
        }
    };
    let telling = futures::stream::iter(events.iter().enumerate()).map(tell).buffer_unordered(8).collect::<Vec<_>>();
    let killing = async {
        let mut killed = 0;
        let mut kill = async || {
            tokio::task::block_in_place(|| nats.kill(0));
            killed += 1;
            eventually("its end is noticed", || async { (shop.host.log_count(LOST) >= killed).then_some(()) }).await;
            tokio::task::block_in_place(|| nats.resume(0));
        };
        match kills {
            Kills::Times(times) => {
                for time in 1..=times {
                    let enough = time * count / (times + 1);
                    eventually("more events are acknowledged", || async {
                        (told.load(SeqCst) >= enough).then_some(())
                    })
                    .await;
                    kill().await;
                }
            }
            Kills::Each(period, _) => {
                let mut tick = tokio::time::interval_at((Instant::now() + period).into(), period);
                while told.load(SeqCst) < count {
                    tick.tick().await;
                    kill().await;
                }
            }
        }
        println!("NATS was killed {killed} times");
    };
    futures::join!(telling, killing);
    let applied = async || query_number(&shop.app, "SELECT count(*) FROM events").await;
    eventually("all are applied", || async { (applied().await == count as i64).then_some(()) }).await;
    eventually("nothing waits", || async { messages(&shop.app).await.is_empty().then_some(()) }).await;
    assert_eq!(applied().await, count as i64);
    let captured = query_number(&shop.app, "SELECT CAST(coalesce(sum(amount_cents), 0) AS BIGINT) FROM charges").await;
    assert_eq!(captured, orders.iter().map(|(_, cents)| *cents as i64).sum::<i64>());
    assert_eq!(query_number(&shop.app, "SELECT count(*) FROM charges").await, orders.len() as i64);
    assert_eq!(queue::dead(&shop.app).await, 0);
    assert!(shop.host.log().iter().all(|line| !line.contains("panicked")));
}

#[tokio::test]
async fn deliveries_continue_after_an_outage_of_nats_and_finished_ones_are_not_repeated() {
    let mut nats = Nats::start();
    let app = on(&nats);
    let (host, client) = start(&app).await;
    send(&client, "wait/slow/1500").await;
    host.wait_for_log("handling slow").await;
    nats.kill(0);
    let message = client.get("/send/finish/lost/0").await.expect_unavailable();
    assert_eq!(message, "the message for rogue cannot be stored now; try again later");
    let line = host.wait_for_log("cannot be stored").await;
    assert!(line.contains("the connection to NATS is lost") && line.contains("fix: "), "{line}");
    // The delivery ends while the host cannot report it to NATS.
    until_done(&client, "slow").await;
    nats.resume(0);
    eventually("events are stored again", || async {
        (client.get("/send/finish/later/0").await.status == 200).then_some(())
    })
    .await;
    until_done(&client, "later").await;
    until_no_messages(&app).await;
    assert_eq!((counted(&client, "tries:slow").await, counted(&client, "done:slow").await), (1, 1));
    // The caller got an error that asks for a retry, but the event may have been stored.
    assert!(counted(&client, "tries:lost").await <= 1);
}

#[tokio::test]
async fn an_event_of_a_host_that_is_killed_goes_to_another() {
    let nats = Nats::start();
    let app = on(&nats);
    let (one, client) = start(&app).await;
    send(&client, "wait/moving/600000").await;
    one.wait_for_log("handling moving").await;
    // The handler on the other host has its own count, so it waits, too.
    let other = app.start_at("127.0.0.1:0", "state-1", &[]).await;
    drop(one);
    other.wait_for_log("handling moving").await;
    let seen = messages(&app).await;
    assert_eq!((text(&seen[0], "state"), &seen[0]["attempts"]), ("delivering", &json!(2)), "{seen:?}");
    assert_eq!(text(&seen[0], "reason"), "the host ended during the delivery");
}

#[tokio::test]
async fn an_acknowledged_event_survives_a_kill_of_nats_before_its_delivery() {
    let mut nats = Nats::start();
    let app = on(&nats);
    // No host runs the target.
    let sender = app.start_at("127.0.0.1:0", "state", &["--only", "sender"]).await;
    send(&sender.client(), "finish/early/0").await;
    nats.kill(0);
    sender.wait_for_log("the connection to NATS is lost").await;
    nats.resume(0);
    let seen = eventually("it is there again", || async { messages(&app).await.pop() }).await;
    assert_eq!((text(&seen, "state"), &seen["attempts"]), ("pending", &json!(0)), "{seen}");
    let target = app.start_at("127.0.0.1:0", "state-1", &["--only", "front,rogue"]).await;
    let client = target.client();
    until_done(&client, "early").await;
    until_no_messages(&app).await;
    assert_eq!((counted(&client, "tries:early").await, counted(&client, "done:early").await), (1, 1));
}

#[tokio::test]
async fn an_event_that_a_full_host_could_not_begin_before_it_was_killed_has_used_up_no_attempt() {
    let nats = Nats::start();
    let app = on(&nats).append("delivery_attempts = 1\ninstances = 1\nwaiting = 0");
    let app = app.replace("delivery_backoff = 20", "delivery_backoff = 600000");
    let app = app.replace("delivery_backoff_most = 100", "delivery_backoff_most = 600000");
    let (one, client) = start(&app).await;
    let holding = tokio::spawn({
        let client = client.clone();
        // This call may come while the test checks whether the instance is busy; then it is refused.
        async move {
            loop {
                client.get("/rogue/hold/600000").await;
            }
        }
    });
    eventually("the target is busy", || async { (client.get("/rogue/answer/1").await.status == 503).then_some(()) })
        .await;
    send(&client, "finish/turned-away/0").await;
    eventually("a delivery was turned away", || async {
        let all = messages(&app).await;
        all.first().and_then(|m| m["reason"].as_str()).filter(|r| r.contains("overloaded")).map(|_| ())
    })
    .await;
    let other = app.start_at("127.0.0.1:0", "state-1", &[]).await;
    holding.abort();
    drop(one);
    // If the refusal had used up the only attempt, the event would be a dead letter. The test does not call the target
    // meanwhile, because it has only one instance.
    until_no_messages(&app).await;
    assert_eq!(counted(&other.client(), "done:turned-away").await, 1);
}

#[tokio::test]
async fn an_event_that_waits_for_its_next_attempt_still_waits_when_nats_was_started_again() {
    let mut nats = Nats::start();
    let app = on(&nats)
        .replace("delivery_backoff = 20", "delivery_backoff = 3600000")
        .replace("delivery_backoff_most = 100", "delivery_backoff_most = 3600000");
    let (host, client) = start(&app).await;
    send(&client, "retry/patient/1").await;
    let waits = eventually("it has failed once", || async {
        messages(&app).await.pop().filter(|waits| waits["reason"] == "try 1 is too early")
    })
    .await;
    nats.kill(0);
    host.wait_for_log("the connection to NATS is lost").await;
    nats.resume(0);
    host.wait_for_log("NATS is connected again").await;
    let jetstream = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let notes = jetstream.get_stream("souk_durable_notes").await.unwrap();
    let subject = format!("souk.durable.note.{}", text(&waits, "id"));
    let note = eventually("it has come before its time", || async {
        let note = notes.get_last_raw_message_by_subject(&subject).await.expect("it waits");
        let note: Value = serde_json::from_slice(&note.payload).unwrap();
        (note["uncounted"] != json!(0)).then_some(note)
    })
    .await;
    assert_eq!((text(&note, "state"), &note["attempts"]), ("waiting", &json!(1)), "{note}");
    let still = messages(&app).await.pop().unwrap();
    assert_eq!((&still["state"], &still["attempts"], &still["dueAt"]), (&json!("pending"), &json!(1), &waits["dueAt"]));
    assert_eq!(counted(&client, "tries:patient").await, 1);
}

#[tokio::test]
async fn a_host_whose_connection_broke_takes_no_more_events_than_it_has_room_for() {
    let nats = Nats::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (way, port, cut) = (listener.local_addr().unwrap(), nats.port(0), Arc::new(Notify::new()));
    tokio::spawn({
        let cut = cut.clone();
        async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let cut = cut.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        () = cut.notified() => {}
                    }
                });
            }
        }
    });
    let app = App::alone("durable").append("deliveries = 1");
    let app = app.file("runtime-config.toml", format!("[nats]\nservers = [\"nats://{way}\"]\n"));
    let (host, client) = start(&app).await;
    cut.notify_waiters();
    host.wait_for_log("NATS is connected again").await;
    send(&client, "wait/first/600000").await;
    host.wait_for_log("handling first").await;
    send(&client, "wait/second/600000").await;
    let states: Vec<_> = messages(&app).await.iter().map(|message| text(message, "state").to_owned()).collect();
    assert_eq!(states, ["delivering", "pending"]);
}

#[tokio::test]
async fn events_for_a_component_that_has_left_the_application_are_stranded() {
    let nats = Nats::start();
    let app = on(&nats);
    let sender = app.start_at("127.0.0.1:0", "state", &["--only", "sender"]).await;
    send(&sender.client(), "finish/left/0").await;
    assert_eq!(text(&messages(&app).await[0], "state"), "pending");
    sender.stop().await;
    // An application with the same name, but without these components.
    let other = App::inline(
        "spin_manifest_version = 2\n[application]\nname = \"durable\"\n[[trigger.http]]\nroute = \"/...\"\ncomponent = \
         \"other\"\n[component.other]\nsource = \"other.wasm\"\n",
    );
    let seen = messages(&other.on_nats(&nats.url())).await;
    assert_eq!((seen.len(), text(&seen[0], "state"), &seen[0]["dueAt"]), (1, "stranded", &json!(null)), "{seen:?}");
}

#[tokio::test]
async fn two_hosts_share_the_events() {
    let nats = Nats::start();
    let app = on(&nats).append("deliveries = 1");
    let (one, client) = start(&app).await;
    let other = app.start_at("127.0.0.1:0", "state-1", &[]).await;
    // Each host delivers one event at a time.
    send(&client, "wait/first/600000").await;
    send(&client, "wait/second/600000").await;
    let on_each = [one.wait_for_log("handling ").await, other.wait_for_log("handling ").await];
    assert!(on_each.iter().any(|line| line.contains("handling first")), "{on_each:?}");
    assert!(on_each.iter().any(|line| line.contains("handling second")), "{on_each:?}");
}

#[tokio::test]
async fn an_event_that_waits_for_its_next_attempt_can_be_retried_now_by_any_host() {
    let kind = QueueKind::jetstream();
    let app = kind
        .app()
        .replace("delivery_backoff = 20", "delivery_backoff = 3600000")
        .replace("delivery_backoff_most = 100", "delivery_backoff_most = 3600000");
    let (host, client) = start(&app).await;
    send(&client, "retry/patient/1").await;
    let waiting = eventually("it has failed once", || async {
        let waiting = messages(&app).await.pop()?;
        (waiting["reason"] == "try 1 is too early").then_some(waiting)
    })
    .await;
    assert_eq!((text(&waiting, "state"), &waiting["attempts"]), ("pending", &json!(1)));
    assert!(text(&waiting, "dueAt") > text(&waiting, "storedAt"), "{waiting}");
    let id = text(&waiting, "id");
    assert!(events(&app, &["retry", id]).await.contains(id));
    until_done(&client, "patient").await;
    until_no_messages(&app).await;
    assert_eq!(counted(&client, "tries:patient").await, 2);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_each_of_its_servers_in_turn_loses_no_event() {
    let mut nats = Nats::cluster();
    let app = on(&nats);
    let (_host, client) = start(&app).await;
    let mut sent = Vec::new();
    for node in 0..3 {
        tokio::task::block_in_place(|| nats.kill(node));
        for n in 0..10 {
            let id = format!("{node}-{n}");
            eventually("an event is stored", || async {
                (client.get(&format!("/send/finish/{id}/0")).await.status == 200).then_some(())
            })
            .await;
            sent.push(id);
        }
        tokio::task::block_in_place(|| nats.resume(node));
    }
    for id in &sent {
        until_done(&client, id).await;
    }
    until_no_messages(&app).await;
}

#[tokio::test]
async fn a_full_stream_asks_callers_to_try_again_and_takes_events_once_dead_letters_are_dropped() {
    let nats = Nats::start();
    let app = on(&nats);
    let (host, client) = start(&app).await;
    // The handler rejects the events, so they become dead letters: three of 600 KiB fit into 2 MiB. Three more stay in
    // the stream of messages.
    let mut stored = 0;
    let refused = loop {
        let answer = client.get(&format!("/send/note/n{stored}/614400")).await;
        if answer.status != 200 {
            break answer;
        }
        stored += 1;
        assert!(stored <= 6, "more than there is room for");
    };
    assert_eq!(refused.expect_unavailable(), "the message for rogue cannot be stored now; try again later");
    let line = host.wait_for_log("the queue is full").await;
    for fragment in ["ERROR", "sender", "rogue", "2097152", "durable_bytes", "souk events list", "fix:"] {
        assert!(line.contains(fragment), "{fragment} is missing: {line}");
    }
    eventually("all events that fit are dead letters", || async { (dead(&app).await == stored.min(3)).then_some(()) })
        .await;
    // A small event still fits, and the outcome of its delivery can still be stored.
    send(&client, "finish/small/0").await;
    until_done(&client, "small").await;
    events(&app, &["drop", "--all"]).await;
    eventually("the rest are dead too", || async {
        messages(&app).await.iter().all(|message| message["state"] == "dead").then_some(())
    })
    .await;
    send(&client, "note/again/614400").await;
    host.wait_for_log("messages are stored again").await;
}

#[tokio::test]
async fn a_server_without_jetstream_is_named_with_the_fix() {
    let nats =
        Nats::start_with("accounts { PLAIN { users: [ { user: plain, password: plain } ] } }\nno_auth_user: plain");
    let message = on(&nats).start_fails().await;
    for fragment in ["durable links on NATS", "JetStream not enabled", "fix: ", "nats-server -js", "account"] {
        assert!(message.contains(fragment), "{fragment} is missing:\n{message}");
    }
}

#[tokio::test]
async fn events_can_be_listed_on_a_machine_without_a_host() {
    let nats = Nats::start();
    let app = on(&nats);
    let (host, client) = start(&app).await;
    send(&client, "reject/odd/0").await;
    eventually("it is dead", || async { (dead(&app).await == 1).then_some(()) }).await;
    host.stop().await;
    // Without the host's state folder; the command line names the servers.
    let elsewhere = App::alone("durable");
    let listed = events(&elsewhere, &["list", "--nats", &nats.url(), "--json"]).await;
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.len(), text(&listed[0], "state")), (1, "dead"), "{listed:?}");
}

#[tokio::test]
async fn a_host_without_durable_messages_needs_no_jetstream_and_says_what_its_user_lacks_to_see_them() {
    let nats = Nats::start_with(
        "authorization { users: [ { user: all, password: a }, { user: few, password: f, permissions: { publish: { deny: \
         [\"$JS.API.>\"] } } } ] }",
    );
    let login = |user: &str| format!("[nats]\nservers = [\"nats://{user}@127.0.0.1:{}\"]\n", nats.port(0));
    let app = App::alone("durable").file("runtime-config.toml", login("few:f")).file("all.toml", login("all:a"));
    let all = app.path("all.toml");
    let refused = async || {
        let output = app.souk("events", &["list"]).await;
        let (_, error) = texts(&output);
        assert!(!output.status.success(), "{error}");
        for fragment in ["may not publish to `$JS.API.STREAM.INFO.souk_durable_durable`", "fix: give the host's user"] {
            assert!(error.contains(fragment), "{fragment} is missing: {error}");
        }
    };
    let front = app.start_at("127.0.0.1:0", "state", &["--only", "front"]).await;
    refused().await;
    front.stop().await;
    // Without a host, the command itself connects to NATS.
    refused().await;
    // A host whose user has the permission sees the messages of other hosts, even if it started before them.
    let full = ["--runtime-config-file", all.to_str().unwrap(), "--only"];
    let front = app.start_at("127.0.0.1:0", "state", &[full[0], full[1], full[2], "front"]).await;
    assert_eq!(messages(&app).await.len(), 0);
    let rest = app.start_at("127.0.0.1:0", "state-1", &[full[0], full[1], full[2], "sender,rogue"]).await;
    send(&rest.client(), "reject/odd/0").await;
    eventually("it is dead", || async { (dead(&app).await == 1).then_some(()) }).await;
    front.stop().await;
}

/// The number of dead letters.
async fn dead(app: &App) -> usize {
    messages(app).await.iter().filter(|message| message["state"] == "dead").count()
}
