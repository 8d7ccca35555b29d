//! Durable links: an acknowledged call is delivered, whatever happens to the host and the target meanwhile.
//!
//! Most guarantees hold for the queue in a file and for the queue on JetStream, so most scenarios run on both. With
//! `SOUK_HOSTS=3`, the scenarios on JetStream run on three hosts; a queue in a file belongs to one host.
//!
//! `/send/DEED/ID/N` stores an event through a durable link. The handler counts its deliveries under `tries:ID`, and
//! the deliveries that it has finished under `done:ID`.

use crate::harness::app::texts;
use crate::harness::nats::Nats;
use crate::harness::{App, Client, Host, eventually, spread};
use serde_json::{Value, json};
use std::process::Output;

const OUTBOX: &str = "souk-test:rogue/outbox@1.0.0#send";

/// The queue that holds the messages.
pub(super) enum QueueKind {
    /// A file in the state folder.
    File,
    /// A NATS server that only this scenario uses.
    Server(Nats),
    /// The NATS servers that three hosts share.
    Cluster,
}

impl QueueKind {
    /// The queue in the state folder of the only host.
    pub(super) fn file() -> QueueKind {
        QueueKind::File
    }

    /// The queue on JetStream.
    pub(super) fn jetstream() -> QueueKind {
        if spread::enabled() { QueueKind::Cluster } else { QueueKind::Server(Nats::start()) }
    }

    /// The application with its messages in this queue.
    pub(super) fn app(&self) -> App {
        match self {
            QueueKind::File => App::alone("durable"),
            QueueKind::Server(nats) => on(nats),
            QueueKind::Cluster => App::new("durable"),
        }
    }

    /// The application with this additional limit for the target.
    pub(super) fn limited(&self, limit: &str) -> App {
        self.app().append(limit)
    }
}

/// The application on one host, with its messages on these servers.
pub(super) fn on(nats: &Nats) -> App {
    App::alone("durable").on_nats(&nats.url())
}

/// Runs each scenario twice: with the queue in a file, and with the queue on JetStream.
macro_rules! on_both {
    ($($scenario:ident,)*) => {
        mod in_a_file {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::QueueKind::file()).await;
            })*
        }
        mod on_jetstream {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(super::QueueKind::jetstream()).await;
            })*
        }
    };
}

on_both! {
    an_event_is_acknowledged_before_it_is_handled_and_is_handled_once,
    a_handler_that_says_retry_or_traps_gets_the_event_again,
    a_handler_that_is_late_gets_the_event_again,
    a_rejected_event_is_a_dead_letter_that_an_operator_sees_retries_and_drops,
    an_event_that_is_being_delivered_cannot_be_dropped,
    an_event_is_named_by_the_beginning_of_its_id_if_no_other_has_it,
    an_event_that_fails_too_often_is_a_dead_letter_with_its_last_reason,
    an_overloaded_target_uses_up_no_attempts,
    what_was_stored_when_the_host_was_killed_is_delivered_by_the_next_one,
    an_event_that_kills_its_host_each_time_runs_out_of_attempts,
    sigterm_lets_deliveries_finish_and_leaves_the_rest_for_the_next_host,
    an_event_that_is_too_large_is_rejected_and_not_stored,
    a_call_by_hand_without_a_host_stores_the_event_for_the_next_one,
    dead_letters_can_be_dropped_and_retried_without_a_host,
    an_unknown_message_is_an_error_with_and_without_a_host,
}

pub(super) async fn start(app: &App) -> (Host, Client) {
    let host = app.start().await;
    let client = host.client();
    (host, client)
}

pub(super) async fn send(client: &Client, event: &str) {
    assert_eq!(client.get(&format!("/send/{event}")).await.expect(200), "stored");
}

/// The handler's count under `key`.
pub(super) async fn counted(client: &Client, key: &str) -> u32 {
    let value = client.get(&format!("/rogue/key-value-get/default/{key}")).await.expect(200);
    value.as_str().map_or(0, |n| n.parse().unwrap())
}

pub(super) async fn until_done(client: &Client, id: &str) {
    let what = format!("{id} is done");
    eventually(&what, || async { (counted(client, &format!("done:{id}")).await >= 1).then_some(()) }).await;
}

/// Runs `souk events ARGUMENTS`, which must succeed; returns its output.
pub(super) async fn events(app: &App, arguments: &[&str]) -> String {
    let (out, err) = texts(&events_output(app, arguments).await);
    assert!(err.is_empty(), "{out}\n{err}");
    out
}

async fn events_output(app: &App, arguments: &[&str]) -> Output {
    let output = app.souk("events", arguments).await;
    let (out, err) = texts(&output);
    assert!(!err.contains("panicked"), "{out}\n{err}");
    output
}

/// All messages, as `souk events list` shows them.
pub(super) async fn messages(app: &App) -> Vec<Value> {
    let list: Value = serde_json::from_str(&events(app, &["list", "--json"]).await).unwrap();
    list.as_array().unwrap().clone()
}

pub(super) async fn until_no_messages(app: &App) {
    eventually("no message is left", || async { messages(app).await.is_empty().then_some(()) }).await;
}

/// Waits for the only dead letter, and returns it.
pub(super) async fn dead_letter(app: &App) -> Value {
    eventually("there is a dead letter", || async {
        messages(app).await.into_iter().find(|message| message["state"] == "dead")
    })
    .await
}

pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text in {field}: {value}"))
}

async fn an_event_is_acknowledged_before_it_is_handled_and_is_handled_once(kind: QueueKind) {
    let app = kind.app();
    let (_host, client) = start(&app).await;
    // The handler takes far longer than the sender.
    send(&client, "wait/slow/5000").await;
    assert_eq!(counted(&client, "done:slow").await, 0);
    send(&client, "finish/quick/0").await;
    until_done(&client, "quick").await;
    until_done(&client, "slow").await;
    until_no_messages(&app).await;
    assert_eq!((counted(&client, "tries:quick").await, counted(&client, "done:quick").await), (1, 1));
    assert_eq!((counted(&client, "tries:slow").await, counted(&client, "done:slow").await), (1, 1));
}

async fn a_handler_that_says_retry_or_traps_gets_the_event_again(kind: QueueKind) {
    let app = kind.app();
    let (host, client) = start(&app).await;
    send(&client, "retry/later/3").await;
    send(&client, "trap/dead/2").await;
    until_done(&client, "later").await;
    until_done(&client, "dead").await;
    assert_eq!(counted(&client, "tries:later").await, 4);
    assert_eq!(counted(&client, "tries:dead").await, 3);
    host.wait_for_log("try 1 is too early").await;
    until_no_messages(&app).await;
}

async fn a_handler_that_is_late_gets_the_event_again(kind: QueueKind) {
    let app = kind.limited("call_deadline = 2000");
    let (_host, client) = start(&app).await;
    send(&client, "wait/late/600000").await;
    until_done(&client, "late").await;
    assert_eq!(counted(&client, "tries:late").await, 2);
}

async fn a_rejected_event_is_a_dead_letter_that_an_operator_sees_retries_and_drops(kind: QueueKind) {
    let app = kind.app();
    let (host, client) = start(&app).await;
    send(&client, "reject/odd/0").await;
    let dead = dead_letter(&app).await;
    let id = text(&dead, "id");
    assert_eq!(text(&dead, "reason"), "odd is of no use");
    assert_eq!((text(&dead, "caller"), text(&dead, "component")), ("sender", "rogue"));
    assert_eq!((text(&dead, "interface"), text(&dead, "function")), ("souk-test:rogue/events@1.0.0", "handle"));
    assert_eq!((&dead["attempts"], &dead["dueAt"]), (&json!(1), &Value::Null));
    let stored = text(&dead, "storedAt");
    assert!(stored.len() == 24 && stored.ends_with('Z') && stored.contains('T'), "{stored}");
    assert!(dead.get("arguments").is_none(), "a listing has no arguments: {dead}");
    let line = host.wait_for_log("DEAD LETTER").await;
    for fragment in ["ERROR", "rogue", "sender", id, "handle", "odd is of no use", "souk events retry"] {
        assert!(line.contains(fragment), "{fragment} is missing: {line}");
    }
    assert!(!line.contains("xxxx"), "{line}");

    let table = events(&app, &["list", "--dead"]).await;
    let short = table.lines().nth(1).and_then(|line| line.split(' ').next()).unwrap();
    assert!(table.starts_with("ID") && short.len() >= 8 && id.starts_with(short), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100) && table.contains("odd is of no use"), "{table}");
    assert!(events(&app, &["show", short]).await.contains(id));
    let shown: Value = serde_json::from_str(&events(&app, &["show", id, "--json"]).await).unwrap();
    assert_eq!(shown["arguments"], json!({ "id": "odd", "deed": "reject", "note": "" }));
    let shown = events(&app, &["show", id]).await;
    assert!(shown.contains("arguments  {\"id\":\"odd\"") && shown.contains("state      dead"), "{shown}");

    let retried = events(&app, &["retry", id]).await;
    assert!(retried.starts_with("due now: ") && retried.contains(id), "{retried}");
    eventually("it was delivered again", || async { (counted(&client, "tries:odd").await == 2).then_some(()) }).await;
    let dead = dead_letter(&app).await;
    assert_eq!(dead["attempts"], 1, "a retry resets the attempts");
    let dropped = events(&app, &["drop", id]).await;
    assert!(dropped.contains(&format!("dropped: {id} rogue")) && dropped.contains("(dead, 1 attempts)"), "{dropped}");
    assert!(messages(&app).await.is_empty());
}

async fn an_event_that_is_being_delivered_cannot_be_dropped(kind: QueueKind) {
    let app = kind.app();
    let (host, client) = start(&app).await;
    send(&client, "wait/slow/2000").await;
    host.wait_for_log("handling slow").await;
    let waiting = messages(&app).await;
    let id = text(&waiting[0], "id");
    let output = events_output(&app, &["drop", id]).await;
    let (out, err) = texts(&output);
    if output.status.success() {
        panic!("it is dropped, but also applied: {out}");
    }
    assert!(err.contains(id) && err.contains("is being delivered now") && err.contains("fix: "), "{err}");
    until_done(&client, "slow").await;
    until_no_messages(&app).await;
}

async fn an_event_is_named_by_the_beginning_of_its_id_if_no_other_has_it(kind: QueueKind) {
    let app = kind.app();
    let (_host, client) = start(&app).await;
    send(&client, "reject/one/0").await;
    let id = text(&dead_letter(&app).await, "id").to_owned();
    assert!(events(&app, &["show", id.get(..1).unwrap()]).await.contains(&id));
    send(&client, "reject/two/0").await;
    eventually("both are dead", || async {
        let all = messages(&app).await;
        (all.len() == 2 && all.iter().all(|m| m["state"] == "dead")).then_some(())
    })
    .await;
    for deed in ["show", "retry", "drop"] {
        let (out, err) = texts(&events_output(&app, &[deed, id.get(..1).unwrap()]).await);
        assert!(out.is_empty() && err.contains("several messages") && err.contains(&id), "{deed}: {out}{err}");
    }
    let (_, err) = texts(&events_output(&app, &["drop", ""]).await);
    assert!(err.contains("there is no message"), "{err}");
    assert_eq!(messages(&app).await.len(), 2);
    let table = events(&app, &["list", "--dead"]).await;
    for line in table.lines().skip(1) {
        let short = line.split(' ').next().unwrap();
        assert!(events(&app, &["drop", short]).await.contains(short), "{table}");
    }
    assert!(messages(&app).await.is_empty());
}

async fn an_event_that_fails_too_often_is_a_dead_letter_with_its_last_reason(kind: QueueKind) {
    let app = kind.limited("delivery_attempts = 3");
    let (_host, client) = start(&app).await;
    send(&client, "retry/never/1000").await;
    let dead = dead_letter(&app).await;
    assert_eq!(text(&dead, "reason"), "3 attempts failed; the last: try 3 is too early");
    assert_eq!(dead["attempts"], 3);
    assert_eq!(counted(&client, "tries:never").await, 3);
}

async fn an_overloaded_target_uses_up_no_attempts(kind: QueueKind) {
    let app = kind.limited("delivery_attempts = 1\ninstances = 1\nwaiting = 0");
    let (_host, client) = start(&app).await;
    // This call may come while another caller has the instance; then it is refused.
    let hold = eventually("the instance is held", || async {
        (client.get("/rogue/hold/2500").await.status == 200).then_some(())
    });
    let meanwhile = async {
        // The instance is busy once another caller is refused.
        eventually("the target is busy", || async {
            (client.get("/rogue/answer/1").await.status == 503).then_some(())
        })
        .await;
        send(&client, "finish/patient/0").await;
        eventually("a delivery was turned away", || async {
            let all = messages(&app).await;
            all.first().and_then(|m| m["reason"].as_str()).filter(|r| r.contains("overloaded")).map(|_| ())
        })
        .await;
    };
    futures::join!(hold, meanwhile);
    eventually("it is done", || async {
        let answer = client.get("/rogue/key-value-get/default/done:patient").await;
        (answer.status == 200 && answer.json() == "1").then_some(())
    })
    .await;
}

async fn what_was_stored_when_the_host_was_killed_is_delivered_by_the_next_one(kind: QueueKind) {
    let app = kind.limited("deliveries = 1");
    let (host, client) = start(&app).await;
    // When the host is killed, the first event is being delivered and the second one waits behind it.
    send(&client, "wait/first/600000").await;
    host.wait_for_log("handling first").await;
    send(&client, "finish/second/0").await;
    assert_eq!(counted(&client, "tries:second").await, 0);
    drop(host);
    let (_host, client) = start(&app).await;
    until_done(&client, "second").await;
    until_done(&client, "first").await;
    assert_eq!(counted(&client, "tries:second").await, 1);
    assert_eq!(counted(&client, "tries:first").await, 2);
    until_no_messages(&app).await;
}

async fn an_event_that_kills_its_host_each_time_runs_out_of_attempts(kind: QueueKind) {
    let app = kind.limited("delivery_attempts = 2");
    for attempt in 1..=2 {
        let (host, client) = start(&app).await;
        if attempt == 1 {
            send(&client, "wait/poison/600000").await;
        }
        host.wait_for_log("handling poison").await;
        drop(host);
        // The handler waits only on an event's first delivery; another key for its count makes it wait again.
        let output = app
            .call(
                "rogue",
                "souk-test:rogue/deeds@1.0.0#key-value-set",
                Some(json!({
                    "store": "default", "key": "tries:poison", "value": "0"
                })),
            )
            .await;
        assert!(output.status.success(), "{:?}", texts(&output));
    }
    let (host, _client) = start(&app).await;
    let dead = dead_letter(&app).await;
    assert_eq!(text(&dead, "reason"), "2 attempts failed; the last: the host ended during the delivery");
    assert_eq!(host.log_count("handling poison"), 0);
}

async fn sigterm_lets_deliveries_finish_and_leaves_the_rest_for_the_next_host(kind: QueueKind) {
    let app = kind.limited("deliveries = 1");
    let (host, client) = start(&app).await;
    send(&client, "wait/under-way/5000").await;
    host.wait_for_log("handling under-way").await;
    send(&client, "finish/waiting/0").await;
    host.stop().await;
    let left = messages(&app).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((text(&left[0], "state"), &left[0]["attempts"]), ("pending", &json!(0)));
    let (_host, client) = start(&app).await;
    until_done(&client, "waiting").await;
    assert_eq!((counted(&client, "tries:under-way").await, counted(&client, "done:under-way").await), (1, 1));
}

// Only for the queue in a file: a stream has its own limit, which does not include dead letters. `jetstream` tests it.
#[tokio::test]
async fn a_full_queue_asks_callers_to_try_again_and_takes_events_once_there_is_room() {
    let app = QueueKind::file().app();
    let (host, client) = start(&app).await;
    // The handler rejects the events, so they stay in the queue: three of 600 KiB fit into 2 MiB.
    for id in ["a", "b", "c"] {
        send(&client, &format!("note/{id}/614400")).await;
    }
    for _ in 0..5 {
        let message = client.get("/send/note/d/614400").await.expect_unavailable();
        assert_eq!(message, "the message for rogue cannot be stored now; try again later");
    }
    // The log has one line for all refusals.
    let line = host.wait_for_log("the queue is full").await;
    for fragment in ["ERROR", "sender", "rogue", "2097152", "durable_bytes", "souk events list", "fix:"] {
        assert!(line.contains(fragment), "{fragment} is missing: {line}");
    }
    assert_eq!(host.log_count("the queue is full"), 1);
    // A small event still fits, and the outcome of its delivery can still be stored.
    send(&client, "finish/small/0").await;
    until_done(&client, "small").await;
    eventually("all three are dead", || async {
        messages(&app).await.iter().all(|m| m["state"] == "dead").then_some(())
    })
    .await;
    let dropped = events(&app, &["drop", "--all"]).await;
    assert_eq!(dropped.lines().filter(|line| line.starts_with("dropped: ")).count(), 3, "{dropped}");
    send(&client, "note/d/614400").await;
    host.wait_for_log("messages are stored again").await;
}

async fn an_event_that_is_too_large_is_rejected_and_not_stored(kind: QueueKind) {
    let app = kind.app();
    let (_host, client) = start(&app).await;
    let message = client.get("/send/note/huge/1048576").await.expect_failed();
    assert!(message.contains("a message has at most 1048576"), "{message}");
    assert!(messages(&app).await.is_empty());
}

async fn a_call_by_hand_without_a_host_stores_the_event_for_the_next_one(kind: QueueKind) {
    let app = kind.app();
    let arguments = json!({ "id": "by-hand", "deed": "finish" });
    let output = app.call("sender", OUTBOX, Some(arguments)).await;
    assert!(output.status.success(), "{:?}", texts(&output));
    let waiting = messages(&app).await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((text(&waiting[0], "state"), &waiting[0]["attempts"]), ("pending", &json!(0)));
    let (_host, client) = start(&app).await;
    until_done(&client, "by-hand").await;
    assert_eq!(counted(&client, "tries:by-hand").await, 1);
}

async fn dead_letters_can_be_dropped_and_retried_without_a_host(kind: QueueKind) {
    let app = kind.app();
    let (host, client) = start(&app).await;
    send(&client, "reject/one/0").await;
    send(&client, "trap/two/0").await;
    let id = text(&dead_letter(&app).await, "id").to_owned();
    until_done(&client, "two").await;
    host.stop().await;
    assert!(events(&app, &["retry", "--all"]).await.contains(&id));
    assert_eq!(text(&messages(&app).await[0], "state"), "pending");
    assert!(events(&app, &["drop", &id]).await.contains(&id));
    assert_eq!(events(&app, &["list"]).await, "no messages\n");
}

async fn an_unknown_message_is_an_error_with_and_without_a_host(kind: QueueKind) {
    let app = kind.app();
    for running in [true, false] {
        let _host = if running { Some(app.start().await) } else { None };
        for deed in ["show", "retry", "drop"] {
            let output = events_output(&app, &[deed, "no-such-id"]).await;
            let (_, err) = texts(&output);
            assert_eq!(output.status.code(), Some(1), "{err}");
            assert!(err.contains("there is no message no-such-id") && err.contains("fix: "), "{deed}: {err}");
        }
        assert_eq!(events(&app, &["list", "--json"]).await, "[]\n");
    }
}

// For the queue in a file; `jetstream` has the same scenario for messages on NATS.
#[tokio::test]
async fn events_for_a_component_that_is_gone_stay_and_are_shown_and_come_back_with_it() {
    let app = QueueKind::file().app();
    let output = app.call("sender", OUTBOX, Some(json!({ "id": "orphan", "deed": "finish" }))).await;
    assert!(output.status.success(), "{:?}", texts(&output));
    let manifest = std::fs::read_to_string(app.path("spin.toml")).unwrap();
    // The same application, but the component has another name.
    let renamed = manifest.replace("\"rogue\"", "\"renamed\"").replace("[component.rogue", "[component.renamed");
    std::fs::write(app.path("spin.toml"), renamed).unwrap();
    let host = app.start().await;
    let line = host.wait_for_log("which does not exist").await;
    for fragment in ["WARN", "1 stored messages", "handle", "`rogue`", "fix: "] {
        assert!(line.contains(fragment), "{fragment} is missing: {line}");
    }
    let left = messages(&app).await;
    assert_eq!(text(&left[0], "state"), "stranded");
    let output = events_output(&app, &["retry", text(&left[0], "id")]).await;
    let (_, err) = texts(&output);
    assert!(output.status.code() == Some(1) && err.contains("is not there"), "{err}");
    host.stop().await;
    std::fs::write(app.path("spin.toml"), manifest).unwrap();
    let (_host, client) = start(&app).await;
    until_done(&client, "orphan").await;
}
