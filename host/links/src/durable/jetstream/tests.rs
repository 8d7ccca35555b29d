//! The queue on JetStream, with a real nats-server: messages are stored, taken, swept and ended.

use super::message::Stored;
use super::note::{Note, State};
use super::operator::PAGE;
use super::pending::MAX_ACK_PENDING_FOR_DELAYED;
use super::sweep::Stalled;
use super::{JetStreamQueue, Sent, streams};
use crate::durable::event::Selection;
use crate::durable::message::{Key, NewMessage, Published, Stats};
use crate::durable::now;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::stream::{Config, StorageType};
use futures::StreamExt as _;
use souk_manifest::NatsConfig;
use souk_nats::Nats;
use souk_test::nats::Nats as Server;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const LIMIT_BYTES: u64 = 64 << 20;

async fn connect(server: &Server) -> Nats {
    let servers = server.url().split(',').map(|url| url.parse().unwrap()).collect();
    Nats::connect(&NatsConfig { servers, ..NatsConfig::default() }, "an app").await.unwrap()
}

/// The application's components.
fn target() -> BTreeSet<String> {
    BTreeSet::from(["target".to_owned()])
}

async fn open(server: &Server) -> JetStreamQueue {
    JetStreamQueue::open(connect(server).await, LIMIT_BYTES, target()).await.unwrap()
}

fn message(arguments: &str) -> NewMessage {
    NewMessage {
        key: Key { target: "target".into(), interface: "n:p/i@1.0.0".into(), function: "f".into() },
        caller: "caller".into(),
        trace: "trace-1".into(),
        traceparent: None,
        hops: 1,
        due: None,
        digest: "d".into(),
        arguments: arguments.to_owned(),
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

async fn publish(queue: &JetStreamQueue, arguments: &str) -> String {
    match queue.publish(message(arguments), soon()).await.unwrap() {
        Published::Stored(id) => id,
        other => panic!("it is not stored: {other:?}"),
    }
}

/// Takes a message as a worker does.
async fn take(queue: &JetStreamQueue) -> async_nats::jetstream::Message {
    let consumer = queue.consumer("target").await.unwrap();
    let mut messages = consumer.fetch().max_messages(1).messages().await.unwrap();
    messages.next().await.expect("a message").unwrap()
}

/// Makes the next message a dead letter, as a worker does.
async fn bury(queue: &JetStreamQueue, reason: &str) {
    let taken = take(queue).await;
    let read = Stored::read(&taken.subject, taken.headers.as_ref().unwrap(), taken.payload.clone());
    let dead = Stored { attempts: 3, reason: Some(reason.to_owned()), ..read };
    let subject = dead.dead_subject(queue.shared.nats.subjects());
    let sequence = taken.info().unwrap().stream_sequence;
    let message_id = format!("{}.{sequence}", dead.id);
    let sent = queue.send(subject, dead.headers(&message_id), dead.arguments.clone(), soon()).await;
    assert_eq!(sent.unwrap(), Sent::Stored);
    taken.double_ack_with(AckKind::Term).await.unwrap();
    // The server has confirmed the end, and may delete the message a moment later.
    while queue.shared.durable.get_raw_message(sequence).await.is_ok() {
        tokio::task::yield_now().await;
    }
    queue.shared.capacity.refresh_if_full();
}

async fn state(queue: &JetStreamQueue, id: &str) -> (String, u32) {
    let event = queue.show(id).await.unwrap().expect("the message is there");
    (event.state, event.attempts)
}

fn is(state: &str, attempts: u32) -> (String, u32) {
    (state.to_owned(), attempts)
}

#[tokio::test]
async fn a_message_is_stored_with_all_that_belongs_to_it_and_is_gone_when_it_is_delivered() {
    let server = Server::start();
    let queue = open(&server).await;
    let before = now();
    let id = publish(&queue, r#"{"n":1}"#).await;
    assert_eq!(state(&queue, &id).await, is("pending", 0));
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.dead, stats.stranded), (1, 0, 0));
    assert!((before..=now()).contains(&stats.oldest.unwrap()));
    let taken = take(&queue).await;
    assert_eq!(&taken.payload[..], br#"{"n":1}"#);
    assert_eq!(state(&queue, &id).await, is("delivering", 1));
    let event = queue.show(&id).await.unwrap().unwrap();
    assert_eq!(
        (event.caller.as_str(), event.component.as_str(), event.trace.as_str()),
        ("caller", "target", "trace-1")
    );
    assert_eq!((event.interface.as_str(), event.function.as_str(), event.bytes), ("n:p/i@1.0.0", "f", 7));
    assert_eq!((event.arguments.unwrap().get(), event.due_at), (r#"{"n":1}"#, None));
    assert!(event.stored_at.len() == 24 && event.stored_at.ends_with('Z'), "{}", event.stored_at);
    taken.double_ack().await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
    assert!(queue.show(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_message_that_is_sent_twice_is_stored_once() {
    let server = Server::start();
    let queue = open(&server).await;
    let stored = Stored::new(uuid::Uuid::now_v7().to_string(), message("{}"));
    for _ in 0..2 {
        let subject = stored.durable_subject(queue.shared.nats.subjects());
        let sent = queue.send(subject, stored.headers(&stored.id), stored.arguments.clone(), soon()).await;
        assert_eq!(sent.unwrap(), Sent::Stored);
    }
    assert_eq!(queue.stats().await.unwrap().waiting, 1);
}

#[tokio::test]
async fn a_full_stream_refuses_until_there_is_room_and_can_always_be_emptied() {
    let server = Server::start();
    let queue = JetStreamQueue::open(connect(&server).await, 8000, target()).await.unwrap();
    let text = "x".repeat(2000);
    let id = publish(&queue, &text).await;
    publish(&queue, &text).await;
    publish(&queue, &text).await;
    assert_eq!(queue.publish(message(&text), soon()).await.unwrap(), Published::Full);
    // The dead letters have room of their own.
    bury(&queue, "no").await;
    publish(&queue, &text).await;
    assert_eq!(queue.publish(message(&text), soon()).await.unwrap(), Published::Full);
    let error = queue.retry_now(&Selection::One(id.clone()), 1).await.unwrap_err();
    assert!(error.to_string().contains("souk_an_20app_durable is full"), "{error}");
    assert_eq!(state(&queue, &id).await, is("dead", 3), "it stays where it was");
    let waiting = queue.list(false, 10).await.unwrap().events.pop().unwrap();
    assert_eq!(queue.drop(&Selection::One(waiting.id), 1).await.unwrap().total, 1);
    queue.retry_now(&Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("pending", 0));
}

#[tokio::test]
async fn a_message_longer_than_the_server_takes_is_refused_with_the_limit() {
    let server = Server::start_with("max_payload: 64KB");
    let queue = open(&server).await;
    let answer = queue.publish(message(&"x".repeat(65536)), soon()).await.unwrap();
    // The limit leaves room for the headers of a dead letter.
    assert_eq!(answer, Published::TooLarge(65536 - 1024 - 256));
    assert_eq!(queue.stats().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn while_nats_is_away_nothing_is_stored_and_afterwards_it_is_again() {
    let mut server = Server::start();
    let queue = open(&server).await;
    let kept = publish(&queue, "1").await;
    server.kill(0);
    let error = queue.publish(message("2"), soon()).await.unwrap_err();
    assert!(error.to_string().contains("NATS"), "{error}");
    server.resume(0);
    let mut outage = queue.shared.nats.outage();
    outage.wait_for(|now| *now == souk_nats::Outage::None).await.unwrap();
    let later = publish(&queue, "3").await;
    let found = queue.list(false, 10).await.unwrap();
    let found: Vec<_> = found.events.into_iter().map(|event| event.id).collect();
    assert!(found.contains(&kept) && found.contains(&later), "{found:?}");
}

#[tokio::test]
async fn a_message_that_has_failed_shows_why_and_until_when_it_waits_and_can_be_retried_now() {
    let server = Server::start();
    let queue = open(&server).await;
    let id = publish(&queue, "{}").await;
    let taken = take(&queue).await;
    let due = now() + 3_600_000;
    let note = Note { attempts: 1, reason: Some("too early".to_owned()), due: Some(due), ..Note::default() };
    queue.shared.notes.put(&id, &note).await.unwrap();
    taken.double_ack_with(AckKind::Nak(Some(Duration::from_secs(3600)))).await.unwrap();
    let event = queue.show(&id).await.unwrap().unwrap();
    assert_eq!((event.state.as_str(), event.attempts, event.reason.as_deref()), ("pending", 1, Some("too early")));
    assert!(event.due_at.unwrap() > event.stored_at);
    let retried = queue.retry_now(&Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!((retried.total, retried.events[0].attempts), (1, 1));
    assert_eq!(queue.stats().await.unwrap().waiting, 1, "the old one is gone");
    let again = take(&queue).await;
    let read = Stored::read(&again.subject, again.headers.as_ref().unwrap(), again.payload.clone());
    assert_eq!((read.id.as_str(), read.attempts, read.reason.as_deref()), (id.as_str(), 1, Some("too early")));
    assert_eq!(again.info().unwrap().delivered, 1);
    assert_eq!(state(&queue, &id).await, is("delivering", 2));
}

#[tokio::test]
async fn a_message_that_is_being_delivered_again_or_is_for_nobody_here_is_shown_as_that_and_left_alone() {
    let server = Server::start();
    let queue = open(&server).await;
    let id = publish(&queue, "{}").await;
    let _taken = take(&queue).await;
    let note = |state| Note { state, attempts: 2, ..Note::default() };
    queue.shared.notes.put(&id, &note(State::Delivering)).await.unwrap();
    queue.retry_now(&Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("delivering", 2));
    queue.shared.notes.put(&id, &note(State::Stranded)).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("stranded", 2));
    // A message that no version here takes is tried once more when an operator retries it.
    queue.retry_now(&Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("pending", 2));
    let _taken = take(&queue).await;
    for at in [State::Delivering, State::Held] {
        queue.shared.notes.put(&id, &Note { state: at, attempts: 2, ..Note::default() }).await.unwrap();
        let found = queue.drop(&Selection::One(id.clone()), 1).await.unwrap();
        assert_eq!(found.events[0].state, "delivering");
        assert!(queue.show(&id).await.unwrap().is_some(), "{at:?}");
    }
    let note = Note { state: State::Stranded, attempts: 2, ..Note::default() };
    queue.shared.notes.put(&id, &note).await.unwrap();
    assert_eq!(queue.drop(&Selection::One(id.clone()), 1).await.unwrap().total, 1);
    assert!(queue.show(&id).await.unwrap().is_none());
    assert_eq!(queue.shared.notes.get(&id).await.unwrap(), None);
}

#[tokio::test]
async fn a_dead_letter_stays_until_an_operator_retries_it_with_attempts_anew_or_drops_it() {
    let server = Server::start();
    let queue = open(&server).await;
    let (one, two) = (publish(&queue, "1").await, publish(&queue, "2").await);
    bury(&queue, "no such thing\u{1b}[2J").await;
    bury(&queue, "no such thing\u{1b}[2J").await;
    assert_eq!(queue.stats().await.unwrap(), Stats { dead: 2, ..Stats::default() });
    let dead = queue.list(true, 10).await.unwrap().events;
    assert_eq!(dead.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), [&one, &two]);
    assert!(dead.iter().all(|e| e.due_at.is_none() && e.reason.as_deref() == Some("no such thing\\u{1b}[2J")));
    assert_eq!(queue.retry_now(&Selection::One(one.clone()), 10).await.unwrap().events[0].attempts, 3);
    assert_eq!(state(&queue, &one).await, is("pending", 0));
    assert_eq!(queue.retry_now(&Selection::Dead, 10).await.unwrap().total, 1);
    assert_eq!(queue.list(true, 10).await.unwrap().total, 0);
    // It dies once more, under the same id.
    bury(&queue, "again").await;
    bury(&queue, "again").await;
    let listed = queue.list(false, 1).await.unwrap();
    assert_eq!((listed.events.len(), listed.total), (1, 2));
    assert_eq!(queue.drop(&Selection::Dead, 1).await.unwrap().total, 2);
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
    assert_eq!(queue.drop(&Selection::One(two), 10).await.unwrap().total, 0);
}

#[tokio::test]
async fn messages_of_a_component_that_has_left_the_application_are_stranded_until_it_is_back() {
    let server = Server::start();
    let queue = open(&server).await;
    let (one, two) = (publish(&queue, "1").await, publish(&queue, "2").await);
    let taken = take(&queue).await;
    let without = JetStreamQueue::open(connect(&server).await, LIMIT_BYTES, BTreeSet::new()).await.unwrap();
    assert_eq!(without.stats().await.unwrap(), Stats { stranded: 2, ..Stats::default() });
    for id in [&one, &two] {
        assert_eq!(state(&without, id).await.0, "stranded");
        without.retry_now(&Selection::One(id.clone()), 1).await.unwrap();
    }
    assert!(without.list(false, 10).await.unwrap().events.iter().all(|e| e.state == "stranded" && e.due_at.is_none()));
    let others = BTreeSet::from(["other".to_owned(), "target".to_owned()]);
    let with = JetStreamQueue::open(connect(&server).await, LIMIT_BYTES, others).await.unwrap();
    let stats = with.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.stranded), (2, 0));
    assert_eq!((state(&with, &one).await, state(&with, &two).await), (is("delivering", 1), is("pending", 0)));
    let mut other = message("3");
    other.key.target = "other".into();
    with.publish(other, soon()).await.unwrap();
    let other =
        JetStreamQueue::open(connect(&server).await, LIMIT_BYTES, BTreeSet::from(["other".to_owned()])).await.unwrap();
    let rest = other.stats().await.unwrap();
    assert_eq!((rest.waiting, rest.stranded), (1, 2));
    assert!(rest.oldest > stats.oldest, "{rest:?}, {stats:?}");
    assert_eq!(without.drop(&Selection::One(two), 1).await.unwrap().total, 1);
    taken.double_ack().await.unwrap();
    assert_eq!(other.stats().await.unwrap().stranded, 0);
}

#[tokio::test]
async fn messages_are_listed_without_their_arguments_and_done_with_page_by_page() {
    let server = Server::start();
    let queue = open(&server).await;
    let large = format!("{:?}", "x".repeat(100_000));
    let waiting = publish(&queue, &large).await;
    for entry in queue.waiting(10).await.unwrap() {
        assert!(entry.stored.arguments.is_empty());
        assert_eq!(entry.event().bytes, 100_002);
    }
    assert_eq!(queue.show(&waiting).await.unwrap().unwrap().arguments.unwrap().get(), large);
    let count = 2 * PAGE + 1;
    bury(&queue, "no").await;
    for at in 1..count {
        let dead = Stored { attempts: 1, ..Stored::new(uuid::Uuid::now_v7().to_string(), message(&at.to_string())) };
        let subject = dead.dead_subject(queue.shared.nats.subjects());
        queue.send(subject, dead.headers(&dead.id), dead.arguments.clone(), soon()).await.unwrap();
    }
    assert!(queue.dead_letters(10).await.unwrap().iter().all(|entry| entry.stored.arguments.is_empty()));
    let done = queue.retry_now(&Selection::Dead, 3).await.unwrap();
    assert_eq!((done.total, done.events.len(), done.events[0].bytes), (count as u64, 3, 100_002));
    assert_eq!((queue.stats().await.unwrap().waiting, queue.stats().await.unwrap().dead), (count as u64, 0));
    assert_eq!(queue.show(&waiting).await.unwrap().unwrap().arguments.unwrap().get(), large, "the copy is complete");
}

#[tokio::test]
async fn an_id_that_is_none_finds_nothing() {
    let server = Server::start();
    let queue = open(&server).await;
    publish(&queue, "1").await;
    for id in [">", "*", "no-such-id", "0198ad3e-0000-7000-8000-000000000000"] {
        assert!(queue.show(id).await.unwrap().is_none(), "{id}");
        assert_eq!(queue.drop(&Selection::One(id.to_owned()), 1).await.unwrap().total, 0, "{id}");
    }
    assert_eq!(queue.stats().await.unwrap().waiting, 1);
}

#[tokio::test]
async fn hosts_that_start_together_make_the_streams_once_and_limits_follow_the_last() {
    let server = Server::start();
    assert!(JetStreamQueue::find(connect(&server).await, LIMIT_BYTES, target()).await.unwrap().is_none());
    let all = futures::future::join_all((0..8).map(|_| open(&server))).await;
    publish(&all[0], "1").await;
    assert_eq!(all[7].stats().await.unwrap().waiting, 1);
    let larger = JetStreamQueue::open(connect(&server).await, 2 * LIMIT_BYTES, target()).await.unwrap();
    assert_eq!(
        larger.shared.durable.get_info().await.unwrap().config.max_bytes,
        (2 * LIMIT_BYTES + souk_nats::stream_capacity::SLACK_BYTES) as i64
    );
    assert_eq!(larger.stats().await.unwrap().waiting, 1);
    assert!(JetStreamQueue::find(connect(&server).await, LIMIT_BYTES, target()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_stream_that_cannot_be_what_it_must_is_refused_with_the_fix() {
    let server = Server::start();
    let nats = connect(&server).await;
    let name = nats.subjects().stream(streams::DURABLE);
    let subjects = vec![nats.subjects().durable_all()];
    let config = Config { name, subjects, storage: StorageType::Memory, ..Config::default() };
    nats.jetstream().create_stream(config).await.unwrap();
    let error = JetStreamQueue::open(nats, LIMIT_BYTES, target()).await.err().unwrap().to_string();
    assert!(error.contains("souk_an_20app_durable") && error.contains("in memory"), "{error}");
    assert!(error.contains("fix: ") && error.contains("nats stream rm souk_an_20app_durable"), "{error}");
}

#[tokio::test]
async fn more_copies_than_servers_are_refused_with_the_fix() {
    let server = Server::start();
    let config =
        NatsConfig { servers: vec![server.url().parse().unwrap()], replicas: Some(3), ..NatsConfig::default() };
    let nats = Nats::connect(&config, "an app").await.unwrap();
    let error = JetStreamQueue::open(nats, LIMIT_BYTES, target()).await.err().unwrap().to_string();
    assert!(error.contains("set `replicas` under [nats]"), "{error}");
}

#[tokio::test]
async fn streams_that_a_server_has_lost_are_made_again() {
    let server = Server::start();
    let queue = open(&server).await;
    let context = &queue.shared.context;
    context.delete_stream(queue.shared.nats.subjects().stream(streams::DURABLE)).await.unwrap();
    queue.publish(message("1"), Instant::now() + Duration::from_millis(200)).await.unwrap_err();
    queue.make_streams(Duration::ZERO).await.unwrap();
    publish(&queue, "2").await;
    take(&queue).await.double_ack().await.unwrap();
}

/// A server that is killed has synced what it stored, and not that it was deleted.
#[tokio::test]
async fn messages_that_a_server_has_found_again_after_their_end_are_delivered_again() {
    let mut server = Server::start();
    let queue = open(&server).await;
    let mut ids = vec![publish(&queue, "1").await, publish(&queue, "2").await];
    let folder = server.messages_folder(0, &queue.shared.nats.subjects().stream(streams::DURABLE));
    let stored: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    let stored: Vec<_> = stored.into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    take(&queue).await.double_ack().await.unwrap();
    take(&queue).await.double_ack().await.unwrap();
    assert_eq!(queue.stats().await.unwrap().waiting, 0);
    let mut outage = queue.shared.nats.outage();
    server.stop(0);
    outage.wait_for(|now| *now != souk_nats::Outage::None).await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    for (bytes, path) in stored {
        std::fs::write(path, bytes).unwrap();
    }
    server.resume(0);
    outage.wait_for(|now| *now == souk_nats::Outage::None).await.unwrap();
    assert_eq!(queue.stats().await.unwrap().waiting, 2);
    let mut still = Stalled::default();
    assert_eq!(queue.sweep("target", None, &mut still, 100).await.unwrap(), 0, "they may be about to go");
    assert_eq!(queue.sweep("target", None, &mut still, 100).await.unwrap(), 2);
    let mut again = Vec::new();
    for _ in 0..2 {
        let taken = take(&queue).await;
        again.push(Stored::read(&taken.subject, taken.headers.as_ref().unwrap(), taken.payload.clone()).id);
        // A message that is being delivered is not swept.
        assert_eq!(queue.sweep("target", Some(Duration::from_secs(3600)), &mut still, 100).await.unwrap(), 0);
        assert_eq!(queue.sweep("target", Some(Duration::from_secs(3600)), &mut still, 100).await.unwrap(), 0);
        taken.double_ack().await.unwrap();
    }
    again.sort_unstable();
    ids.sort_unstable();
    assert_eq!(again, ids);
    assert_eq!(queue.stats().await.unwrap().waiting, 0);
}

#[tokio::test]
async fn the_number_of_messages_that_have_not_ended_is_known_for_a_moment_and_bounds_delayed_ones() {
    let server = Server::start();
    let queue = open(&server).await;
    let (target, nobody) = ("target".into(), "nobody".into());
    assert_eq!(ack_pending(&queue, &nobody).await, 0, "it has no consumer");
    publish(&queue, "1").await;
    publish(&queue, "2").await;
    let first = take(&queue).await;
    take(&queue).await;
    assert_eq!(ack_pending(&queue, &target).await, 2);
    first.double_ack().await.unwrap();
    // It is asked for again.
    let start = Instant::now();
    while ack_pending(&queue, &target).await != 1 {
        assert!(start.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let delayed = NewMessage { due: Some(now() + 3_600_000), ..message("3") };
    assert!(matches!(queue.publish(delayed.clone(), soon()).await.unwrap(), Published::Stored(_)));
    queue.shared.pending.set(&target, MAX_ACK_PENDING_FOR_DELAYED);
    let error = queue.publish(delayed.clone(), soon()).await.unwrap_err();
    assert!(error.to_string().contains("`target`"), "{error}");
    publish(&queue, "at once").await;
    queue.shared.pending.set(&target, MAX_ACK_PENDING_FOR_DELAYED - 1);
    assert!(matches!(queue.publish(delayed, soon()).await.unwrap(), Published::Stored(_)));
}

async fn ack_pending(queue: &JetStreamQueue, component: &Arc<str>) -> usize {
    queue.shared.pending.of(&queue.shared.durable, component).await
}

/// With a limit of two messages for each sweep.
#[tokio::test]
async fn a_message_that_nobody_delivers_is_found_behind_more_delayed_ones_than_one_sweep_checks() {
    let server = Server::start();
    let queue = open(&server).await;
    for number in 0..5 {
        let id = publish(&queue, &number.to_string()).await;
        take(&queue).await;
        let note = Note { attempts: 1, due: Some(now() + 3_600_000), ..Note::default() };
        queue.shared.notes.put(&id, &note).await.unwrap();
    }
    let forgotten = publish(&queue, "5").await;
    take(&queue).await;
    let (mut stalled, mut resent) = (Stalled::default(), Vec::new());
    for _ in 0..7 {
        resent.push(queue.sweep("target", Some(Duration::ZERO), &mut stalled, 2).await.unwrap());
        // Between these are sweeps of what has ended.
        assert_eq!(queue.sweep("target", None, &mut stalled, 2).await.unwrap(), 0);
    }
    // The third comes to it, the fourth to the end, and the seventh to it again.
    assert_eq!(resent, [0, 0, 0, 0, 0, 0, 1]);
    let again = take(&queue).await;
    let read = Stored::read(&again.subject, again.headers.as_ref().unwrap(), again.payload.clone());
    assert_eq!(read.id, forgotten);
}

#[test]
fn a_single_server_that_names_a_leader_is_no_cluster() {
    for (answer, clustered) in [
        (r#"{"leader":"NAX4KQ"}"#, false),
        (r#"{"name":"","leader":"NAX4KQ","replicas":[]}"#, false),
        (r#"{"name":"shop","leader":"one","replicas":[]}"#, true),
    ] {
        let cluster = serde_json::from_str(answer).unwrap();
        assert_eq!(streams::is_clustered(Some(&cluster)), clustered, "{answer}");
    }
    assert!(!streams::is_clustered(None));
}
