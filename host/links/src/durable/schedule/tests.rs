//! Schedules on both kinds of queue, checked at times that the tests choose.

use super::cursors::{Cursors, Fired};
use super::{MAX_CLOCK_SKEW, RETRY_INTERVAL, ScheduleRunner, Scheduled, call_due};
use crate::durable::message::{Published, QueueError};
use crate::durable::queue::Queue;
use crate::durable::{FileQueue, JetStreamQueue, millis, now};
use crate::test_log::Log;
use futures::future::join_all;
use souk_manifest::{Missed, NatsConfig, Schedule, Timetable};
use souk_nats::Nats;
use souk_test::nats::Nats as Server;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use wit_types::{STRING, U64, async_func};

const LIMIT_BYTES: u64 = 64 << 20;
const HOUR: i64 = 3_600_000;
/// A whole hour.
const START: i64 = 500_000 * HOUR;

fn scheduled(name: &str, missed: Missed) -> Scheduled {
    let schedule = Schedule {
        name: name.to_owned(),
        interface: souk_manifest::DependencyName::parse("n:p/i").unwrap(),
        function: "f".to_owned(),
        timetable: Timetable::Every(Duration::from_secs(3600)),
        missed,
        line: 1,
    };
    Scheduled::for_tests(schedule, &async_func(&[("id", STRING), ("due", U64)], None))
}

fn file(folder: &Path) -> Queue {
    Queue::File(FileQueue::open(&folder.join("messages.db"), LIMIT_BYTES).unwrap())
}

async fn connect(server: &Server) -> Nats {
    let servers = server.url().split(',').map(|url| url.parse().unwrap()).collect();
    Nats::connect(&NatsConfig { servers, ..NatsConfig::default() }, "an app").await.unwrap()
}

async fn jetstream(server: &Server) -> Queue {
    let components = BTreeSet::from(["target".to_owned()]);
    Queue::JetStream(JetStreamQueue::open(connect(server).await, LIMIT_BYTES, components).await.unwrap())
}

/// The calls that are stored, by schedule and due time in hours since [`START`].
async fn calls(queue: &Queue) -> Vec<(String, i64)> {
    let mut calls = Vec::new();
    for event in queue.list(false, 10_000).await.unwrap().events {
        let shown = queue.show(event.id.clone()).await.unwrap().unwrap();
        let arguments: serde_json::Value = serde_json::from_str(shown.arguments.unwrap().get()).unwrap();
        assert_eq!(arguments["id"], event.id.as_str());
        let due = &arguments["due"];
        let due = due.as_i64().or_else(|| due.as_str()?.parse().ok()).unwrap();
        calls.push((event.caller, (due - START) / HOUR));
    }
    calls.sort();
    calls
}

fn of(name: &str, hours: impl IntoIterator<Item = i64>) -> Vec<(String, i64)> {
    hours.into_iter().map(|hour| (format!("schedule {name}"), hour)).collect()
}

async fn each_due_time_is_called_for_once_from_the_first_look_on(queue: &Queue) {
    let cursors = Cursors::open(queue).await.unwrap();
    let hourly = scheduled("hourly", Missed::All);
    assert_eq!(call_due(&cursors, &hourly, false, START + 1).await.unwrap(), Some(START + HOUR));
    assert_eq!(calls(queue).await, []);
    for hour in 1..=3 {
        let now = START + hour * HOUR;
        assert_eq!(call_due(&cursors, &hourly, true, now).await.unwrap(), Some(now + HOUR));
        // Another host checks too, and this one again.
        let other = Cursors::open(queue).await.unwrap();
        assert_eq!(call_due(&other, &hourly, false, now + 1).await.unwrap(), Some(now + HOUR));
        assert_eq!(calls(queue).await, of("hourly", 1..=hour));
    }
}

async fn after_a_stop_what_was_missed_is_skipped_called_once_or_caught_up(queue: &Queue) {
    for (name, missed) in [("skips", Missed::Skip), ("last", Missed::Last), ("all", Missed::All)] {
        let cursors = Cursors::open(queue).await.unwrap();
        call_due(&cursors, &scheduled(name, missed), false, START).await.unwrap();
        // Hours later another process checks for the first time.
        let late = START + 3 * HOUR + HOUR / 2;
        let next = call_due(&Cursors::open(queue).await.unwrap(), &scheduled(name, missed), false, late).await.unwrap();
        assert_eq!(next, Some(START + 4 * HOUR));
    }
    assert_eq!(calls(queue).await, [of("all", 1..=3), of("last", [3])].concat());
}

async fn a_schedule_that_was_changed_has_missed_nothing_under_its_new_timetable(queue: &Queue) {
    let cursors = Cursors::open(queue).await.unwrap();
    let mut changed = scheduled("changed", Missed::All);
    call_due(&cursors, &changed, false, START).await.unwrap();
    changed.schedule.timetable = Timetable::cron("*/10 * * * *").unwrap();
    let next = call_due(&cursors, &changed, false, START + 5 * HOUR + 1).await.unwrap();
    assert_eq!((next, calls(queue).await), (Some(START + 5 * HOUR + HOUR / 6), vec![]));
}

#[tokio::test]
async fn in_a_file_each_due_time_is_called_for_once() {
    let folder = tempfile::tempdir().unwrap();
    let queue = file(folder.path());
    each_due_time_is_called_for_once_from_the_first_look_on(&queue).await;
}

#[tokio::test]
async fn in_a_file_what_was_missed_is_as_the_manifest_says() {
    let folder = tempfile::tempdir().unwrap();
    after_a_stop_what_was_missed_is_skipped_called_once_or_caught_up(&file(folder.path())).await;
    let folder = tempfile::tempdir().unwrap();
    a_schedule_that_was_changed_has_missed_nothing_under_its_new_timetable(&file(folder.path())).await;
}

#[tokio::test]
async fn due_times_are_logged_as_left_out_only_once_they_are() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::capture());
    let path = folder.path().join("messages.db");
    let (last, late) = (scheduled("last", Missed::Last), START + 3 * HOUR + HOUR / 2);
    let full = Queue::File(FileQueue::open(&path, 1).unwrap());
    let cursors = Cursors::open(&full).await.unwrap();
    call_due(&cursors, &last, false, START).await.unwrap();
    for _ in 0..2 {
        let error = call_due(&cursors, &last, true, late).await.unwrap_err();
        assert!(matches!(error, QueueError::Full(_)), "{error}");
        assert_eq!(log.count("are left out"), 0, "the call for the last one is not stored yet");
    }
    drop((cursors, full));
    let queue = file(folder.path());
    let cursors = Cursors::open(&queue).await.unwrap();
    for _ in 0..2 {
        assert_eq!(call_due(&cursors, &last, true, late).await.unwrap(), Some(START + 4 * HOUR));
        assert_eq!(log.count("are left out"), 1);
    }
    assert_eq!(calls(&queue).await, of("last", [3]));
}

#[tokio::test]
async fn a_file_without_room_keeps_the_due_time_for_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("messages.db");
    let full = Queue::File(FileQueue::open(&path, 1).unwrap());
    let hourly = scheduled("hourly", Missed::Skip);
    let cursors = Cursors::open(&full).await.unwrap();
    call_due(&cursors, &hourly, false, START).await.unwrap();
    let error = call_due(&cursors, &hourly, true, START + HOUR).await.unwrap_err();
    assert!(matches!(error, QueueError::Full(_)), "{error}");
    drop((cursors, full));
    let queue = file(folder.path());
    call_due(&Cursors::open(&queue).await.unwrap(), &hourly, true, START + HOUR + 1).await.unwrap();
    assert_eq!(calls(&queue).await, of("hourly", [1]));
}

#[tokio::test]
async fn on_jetstream_each_due_time_is_called_for_once() {
    let server = Server::start();
    each_due_time_is_called_for_once_from_the_first_look_on(&jetstream(&server).await).await;
}

#[tokio::test]
async fn on_jetstream_what_was_missed_is_as_the_manifest_says() {
    let server = Server::start();
    let queue = jetstream(&server).await;
    after_a_stop_what_was_missed_is_skipped_called_once_or_caught_up(&queue).await;
    let before = calls(&queue).await;
    let cursors = Cursors::open(&queue).await.unwrap();
    let mut changed = scheduled("changed", Missed::All);
    call_due(&cursors, &changed, false, START).await.unwrap();
    changed.schedule.timetable = Timetable::cron("*/10 * * * *").unwrap();
    call_due(&cursors, &changed, false, START + 5 * HOUR).await.unwrap();
    assert_eq!(calls(&queue).await, before);
}

#[tokio::test]
async fn a_host_that_dies_between_the_message_and_the_cursor_leaves_one_call() {
    let server = Server::start();
    let queue = jetstream(&server).await;
    let Queue::JetStream(streams) = &queue else { unreachable!() };
    let hourly = scheduled("hourly", Missed::All);
    let cursors = Cursors::open(&queue).await.unwrap();
    call_due(&cursors, &hourly, false, START).await.unwrap();
    let (id, message) = hourly.message(START + HOUR).unwrap();
    let stored = streams.schedules().await.unwrap().store(id.clone(), message, START + HOUR).await.unwrap();
    assert_eq!(stored, Published::Stored(id));
    call_due(&cursors, &hourly, false, START + HOUR + 1).await.unwrap();
    assert_eq!(calls(&queue).await, of("hourly", [1]));
    assert_eq!(call_due(&cursors, &hourly, true, START + HOUR + 2).await.unwrap(), Some(START + 2 * HOUR));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_of_several_hosts_that_look_at_the_same_time_makes_the_call() {
    let server = Server::start();
    let hosts = [jetstream(&server).await, jetstream(&server).await, jetstream(&server).await];
    let names: Vec<String> = (0..20).map(|at| format!("s{at}")).collect();
    let schedules: Vec<Scheduled> = names.iter().map(|name| scheduled(name, Missed::All)).collect();
    for now in [START, START + HOUR, START + 2 * HOUR] {
        join_all(hosts.iter().map(|queue| async {
            let cursors = Cursors::open(queue).await.unwrap();
            join_all(schedules.iter().map(|scheduled| call_due(&cursors, scheduled, false, now))).await
        }))
        .await;
    }
    let mut wanted: Vec<_> = names.iter().flat_map(|name| of(name, [1, 2])).collect();
    wanted.sort();
    assert_eq!(calls(&hosts[0]).await, wanted);
}

#[tokio::test]
async fn a_schedule_whose_record_is_unreadable_does_not_keep_the_others_from_being_called() {
    let server = Server::start();
    let queue = jetstream(&server).await;
    let schedules = ["broken", "hourly"].map(|name| Arc::new(scheduled(name, Missed::All)));
    let mut runner = ScheduleRunner::new(queue.clone(), schedules.to_vec());
    // Makes the stream of the cursors.
    let cursors = Cursors::open(&queue).await.unwrap();
    let nats = connect(&server).await;
    let write = async |record: &'static str| {
        let subject = nats.subjects().schedule("target", "broken");
        nats.jetstream().publish(subject, record.into()).await.unwrap().await.unwrap();
    };
    write("nonsense").await;
    let error = call_due(&cursors, &schedules[0], false, now()).await.unwrap_err();
    assert!(matches!(error, QueueError::Cursor(_)) && error.to_string().contains("broken"), "{error}");
    let before = now();
    let pause = runner.turn().await.unwrap();
    assert!(pause <= RETRY_INTERVAL, "{pause:?}");
    let [broken, hourly] = &runner.watched[..] else { unreachable!() };
    assert!(!broken.known && broken.next.unwrap() >= before + millis(RETRY_INTERVAL));
    assert!(hourly.known && cursors.read(&hourly.scheduled).await.unwrap().is_some());
    // It works again once its record is one.
    write(r#"{"fired":0,"timetable":"another"}"#).await;
    runner.watched[0].next = Some(0);
    runner.turn().await.unwrap();
    assert!(runner.watched[0].known);
    assert_eq!(calls(&queue).await, []);
}

#[test]
fn a_call_that_is_not_stored_says_why() {
    assert!(Fired::refused(&Published::Stored("id".to_owned())).is_none());
    assert!(matches!(Fired::refused(&Published::Full), Some(Fired::Full)));
    assert!(matches!(Fired::refused(&Published::TooLarge(100)), Some(Fired::TooLarge(100))));
    let error = QueueError::TooLarge(100);
    assert!(error.to_string().contains("100 bytes") && error.fix().contains("max_payload"), "{error}");
}

#[tokio::test]
async fn a_clock_that_is_off_is_known_by_that_of_the_server() {
    let server = Server::start();
    let Queue::JetStream(queue) = jetstream(&server).await else { unreachable!() };
    let schedules = queue.schedules().await.unwrap();
    assert_eq!(schedules.clock_offset(now).await.unwrap(), 0);
    let off = 10 * millis(MAX_CLOCK_SKEW);
    let ahead = schedules.clock_offset(|| now() + off).await.unwrap();
    let behind = schedules.clock_offset(|| now() - off).await.unwrap();
    assert!(ahead > millis(MAX_CLOCK_SKEW) && behind < -millis(MAX_CLOCK_SKEW), "{ahead} {behind}");
    assert_eq!(QueueError::Clock(-7000).to_string(), "this host's clock is 7000 ms behind that of the NATS servers");
}
