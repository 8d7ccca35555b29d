//! The queue file: messages are stored, taken, retried and ended, also across restarts and when it is full.

use super::FileQueue;
use super::statements::{MESSAGE_OVERHEAD_BYTES, OLDEST};
use crate::durable::event::Selection;
use crate::durable::message::{Key, Message, NewMessage, Published, Stats};
use futures::FutureExt as _;
use rusqlite::StatementStatus;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const LIMIT_BYTES: u64 = 64 << 20;
const SOON: i64 = 60_000;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("messages.db");
    (folder, path)
}

fn key(target: &str) -> Key {
    Key { target: target.into(), interface: "n:p/i@1.0.0".into(), function: "f".into() }
}

fn message(arguments: &str) -> NewMessage {
    let (caller, trace) = ("caller".into(), "trace-1".into());
    NewMessage {
        key: key("target"),
        caller,
        trace,
        traceparent: None,
        hops: 1,
        due: None,
        digest: "d".into(),
        arguments: arguments.to_owned(),
    }
}

async fn publish(queue: &FileQueue, arguments: &str) -> String {
    match queue.publish(message(arguments)).await.unwrap() {
        Published::Stored(id) => id,
        other => panic!("it is not stored: {other:?}"),
    }
}

/// Takes all due messages; each would be due again in a minute.
async fn take(queue: &FileQueue) -> Vec<Message> {
    queue.take("target".into(), 1000, |_| SOON).await.unwrap().messages
}

async fn state(queue: &FileQueue, id: &str) -> (String, u32) {
    let event = queue.show(id.to_owned()).await.unwrap().expect("the message is there");
    (event.state, event.attempts)
}

fn is(state: &str, attempts: u32) -> (String, u32) {
    (state.to_owned(), attempts)
}

/// Drops the queue as a crash would, and opens it again.
fn reopen(queue: FileQueue, path: &Path) -> FileQueue {
    drop(queue);
    FileQueue::open(path, LIMIT_BYTES).unwrap()
}

#[tokio::test]
async fn a_message_is_taken_once_with_all_that_was_stored_and_is_gone_when_it_is_delivered() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, r#"{"n":1}"#).await;
    let taken = take(&queue).await;
    let [taken] = taken.as_slice() else { panic!("{taken:?}") };
    assert_eq!((taken.id.as_str(), taken.arguments.as_str(), taken.attempt), (id.as_str(), r#"{"n":1}"#, 1));
    assert_eq!((&taken.key, taken.caller.as_str(), taken.trace.as_str()), (&key("target"), "caller", "trace-1"));
    assert!(take(&queue).await.is_empty(), "it was taken twice");
    queue.ack(taken).await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
}

#[tokio::test]
async fn messages_outlive_the_process_and_what_waited_is_due_at_once() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let fresh = publish(&queue, "{}").await;
    let taken = take(&queue).await.remove(0);
    queue.retry_later(&taken, "not yet", SOON * 60, false).await.unwrap();
    assert!(take(&queue).await.is_empty());
    let queue = reopen(queue, &path);
    let again = take(&queue).await.remove(0);
    assert_eq!((again.id, again.attempt, again.reason.as_deref()), (fresh, 2, Some("not yet")));
}

#[tokio::test]
async fn the_attempt_of_a_message_that_ends_the_host_is_noted_and_it_waits_for_its_pause() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, "{}").await;
    assert_eq!(take(&queue).await.len(), 1);
    let mut queue = reopen(queue, &path);
    let event = queue.show(id.clone()).await.unwrap().unwrap();
    assert_eq!((event.state.as_str(), event.attempts), ("pending", 1));
    assert!(event.reason.unwrap().contains("the host ended"));
    assert!(take(&queue).await.is_empty(), "what may have ended the host is not due at once");
    for attempt in 2..5 {
        queue = reopen(queue, &path);
        let taken = queue.take("target".into(), 1, |_| SOON).await.unwrap().messages;
        assert_eq!(taken.iter().map(|m| m.attempt).collect::<Vec<_>>(), [attempt]);
        queue = reopen(queue, &path);
    }
}

#[tokio::test]
async fn many_who_publish_at_one_time_share_their_transactions() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let before = commits(&path);
    // While another connection locks the file, all of them wait.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut all = futures::future::join_all((0..300).map(|_| publish(&queue, "{}")));
    assert!((&mut all).now_or_never().is_none());
    other.execute_batch("ROLLBACK").unwrap();
    let ids: std::collections::BTreeSet<String> = all.await.into_iter().collect();
    assert_eq!(ids.len(), 300);
    // The log starts again only at a checkpoint, and these are too few pages for one. The first message may have had a
    // transaction of its own.
    let commits = commits(&path) - before;
    assert!((1..=2).contains(&commits), "{commits} transactions for 300 messages");
    assert_eq!(take(&queue).await.len(), 300);
}

/// The transactions in the log of a database: the frames that end one, by SQLite's documented format of the file.
fn commits(path: &Path) -> usize {
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    let word = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let frame = 24 + word(8) as usize;
    let (_, frames) = log.split_at(32);
    // Bytes 4 to 8 of a frame's header: the size of the database after a commit, else 0.
    (0..frames.len() / frame).filter(|i| word(32 + i * frame + 4) != 0).count()
}

#[tokio::test]
async fn a_full_queue_refuses_until_there_is_room_and_can_always_be_emptied() {
    let (_folder, path) = folder();
    let size = 1000;
    let limit = 3 * (size + MESSAGE_OVERHEAD_BYTES);
    let queue = FileQueue::open(&path, limit as u64).unwrap();
    let text = "x".repeat(size);
    for _ in 0..3 {
        publish(&queue, &text).await;
    }
    assert_eq!(queue.publish(message("")).await.unwrap(), Published::Full);
    let taken = take(&queue).await;
    assert_eq!(queue.publish(message(&text)).await.unwrap(), Published::Full, "what is being delivered counts");
    queue.retry_later(&taken[0], &"r".repeat(5000), SOON, false).await.unwrap();
    queue.dead_letter(&taken[1], "dead").await.unwrap();
    assert_eq!(queue.publish(message(&text)).await.unwrap(), Published::Full, "dead letters count");
    queue.ack(&taken[2]).await.unwrap();
    let id = publish(&queue, &text).await;
    // The total survives the process too.
    let path = path.clone();
    drop(queue);
    let queue = FileQueue::open(&path, limit as u64).unwrap();
    assert_eq!(queue.publish(message("")).await.unwrap(), Published::Full);
    assert_eq!(queue.drop(Selection::One(id), 1).await.unwrap().events.len(), 1);
    publish(&queue, &text).await;
}

#[tokio::test]
async fn a_queue_whose_file_fails_answers_so_and_recovers_by_itself() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let kept = publish(&queue, "{}").await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("ALTER TABLE message RENAME TO elsewhere").unwrap();
    let error = queue.publish(message("{}")).await.unwrap_err().to_string();
    assert!(error.contains("the queue of messages"), "{error}");
    queue.take("target".into(), 1, |_| SOON).await.unwrap_err();
    other.execute_batch("ALTER TABLE elsewhere RENAME TO message").unwrap();
    publish(&queue, "{}").await;
    let taken = take(&queue).await;
    assert_eq!((taken.len(), &taken[0].id), (2, &kept), "what was stored before is still there");
}

#[tokio::test]
async fn a_message_too_many_for_the_disk_fails_alone() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    // A disk without room for one of the messages, as SQLite reports it: an error in the middle of the transaction.
    other
        .execute_batch(
            "CREATE TRIGGER unlucky BEFORE INSERT ON message WHEN new.arguments = 'unlucky' BEGIN
                SELECT raise(FAIL, 'no room'); END",
        )
        .unwrap();
    drop(other);
    let all = ["a", "unlucky", "b", "c"].map(|arguments| queue.publish(message(arguments)));
    let outcomes = futures::future::join_all(all).await;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(take(&queue).await.len(), 3);
}

#[tokio::test]
async fn a_message_of_a_caller_that_goes_away_after_it_was_handed_over_is_stored() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let arrivals = queue.arrivals("target");
    // The first poll hands the message to the writer; after the drop, nobody waits for the answer.
    assert!(queue.publish(message("{}")).now_or_never().is_none());
    arrivals.notified().await;
    assert_eq!(take(&queue).await.len(), 1);
}

#[tokio::test]
async fn messages_that_wait_for_the_file_take_limited_memory_and_keep_no_delivery_waiting() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, "{}").await;
    let taken = take(&queue).await;
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut publishing: Vec<_> = (0..40).map(|_| Box::pin(queue.publish(message(&"x".repeat(1 << 20))))).collect();
    let handed_over = publishing.iter_mut().filter_map(|one| one.now_or_never()).count();
    assert_eq!(handed_over, 0, "the file is locked");
    // Those that wait for room are not begun when their callers go away.
    drop(publishing);
    let mut ack = Box::pin(queue.ack(&taken[0]));
    assert!((&mut ack).now_or_never().is_none());
    other.execute_batch("COMMIT").unwrap();
    ack.await.unwrap();
    let stored = queue.stats().await.unwrap().waiting;
    assert!((1..=32).contains(&stored), "{stored}, and {id} was delivered");
}

#[tokio::test]
async fn an_arrival_is_announced_to_a_later_listener_too() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    publish(&queue, "{}").await;
    queue.arrivals("target").notified().await;
    assert!(queue.arrivals("another").notified().now_or_never().is_none());
}

#[tokio::test]
async fn an_uncounted_attempt_does_not_count() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, "{}").await;
    let taken = take(&queue).await.remove(0);
    queue.retry_later(&taken, "overloaded", 0, true).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("pending", 0));
    let taken = queue.take("target".into(), 1, |_| SOON).await.unwrap();
    assert_eq!(taken.messages[0].attempt, 1);
}

#[tokio::test]
async fn the_next_due_time_is_that_of_the_soonest_that_is_left() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    publish(&queue, "1").await;
    publish(&queue, "2").await;
    let first = queue.take("target".into(), 1, |_| SOON).await.unwrap();
    assert!(first.next_due.unwrap() <= super::now(), "another is due already");
    queue.retry_later(&first.messages[0], "", SOON, false).await.unwrap();
    let second = queue.take("target".into(), 1, |_| SOON).await.unwrap();
    assert!(second.next_due.unwrap() > super::now());
    queue.dead_letter(&second.messages[0], "dead").await.unwrap();
    assert_eq!(queue.take("another".into(), 1, |_| SOON).await.unwrap().next_due, None);
}

#[tokio::test]
async fn a_dead_letter_stays_until_an_operator_retries_it_with_new_attempts_or_drops_it() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let (one, two) = (publish(&queue, "1").await, publish(&queue, "2").await);
    for taken in take(&queue).await {
        queue.dead_letter(&taken, "no such thing\u{1b}[2J").await.unwrap();
    }
    let queue = reopen(queue, &path);
    assert!(take(&queue).await.is_empty());
    let dead = queue.list(true, 10).await.unwrap().events;
    assert_eq!(dead.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), [&one, &two]);
    assert!(dead.iter().all(|e| e.due_at.is_none() && e.reason.as_deref() == Some("no such thing\\u{1b}[2J")));
    assert_eq!(queue.retry_now(Selection::One(one.clone()), 10).await.unwrap().events.len(), 1);
    assert_eq!(state(&queue, &one).await, is("pending", 0));
    assert_eq!(queue.retry_now(Selection::Dead, 10).await.unwrap().total, 1);
    for taken in take(&queue).await {
        queue.dead_letter(&taken, "again").await.unwrap();
    }
    assert_eq!(queue.drop(Selection::Dead, 1).await.unwrap().total, 2);
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
    assert!(queue.drop(Selection::One(two), 10).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn a_retry_or_a_drop_by_hand_leaves_a_message_alone_that_is_being_delivered() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, "{}").await;
    let taken = take(&queue).await.remove(0);
    queue.retry_now(Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("delivering", 1));
    assert_eq!(queue.drop(Selection::One(id.clone()), 1).await.unwrap().events[0].state, "delivering");
    assert_eq!(state(&queue, &id).await, is("delivering", 1));
    queue.retry_later(&taken, "late", 0, false).await.unwrap();
    assert_eq!(queue.drop(Selection::One(id), 1).await.unwrap().events[0].state, "pending");
    assert!(queue.list(false, 10).await.unwrap().events.is_empty());
}

#[tokio::test]
async fn messages_for_what_is_gone_are_set_aside_and_come_back_with_it() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let id = publish(&queue, "{}").await;
    assert_eq!(queue.strand_unknown(vec![key("another")]).await.unwrap(), [(key("target"), 1)]);
    assert_eq!(state(&queue, &id).await, is("stranded", 0));
    assert!(take(&queue).await.is_empty());
    let queue = reopen(queue, &path);
    // This process does not deliver to its component, so a retry does not change it.
    queue.retry_now(Selection::One(id.clone()), 1).await.unwrap();
    assert_eq!(state(&queue, &id).await, is("stranded", 0));
    assert_eq!(queue.strand_unknown(vec![key("target")]).await.unwrap(), []);
    let taken = take(&queue).await;
    assert_eq!((taken.len(), taken[0].digest.as_deref()), (1, Some("d")));
    // A message that its function does not take uses up no attempt, and waits for an operator or another version.
    for another_version in [false, true] {
        queue.mark_stranded(&taken[0], "of another type").await.unwrap();
        assert_eq!(state(&queue, &id).await, is("stranded", 0));
        match another_version {
            true => queue.retry_stranded("target".into()).await.unwrap(),
            false => drop(queue.retry_now(Selection::One(id.clone()), 1).await.unwrap()),
        }
        assert_eq!(take(&queue).await.len(), 1);
    }
}

#[tokio::test]
async fn the_statistics_count_each_kind_and_know_the_oldest_that_waits() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let before = super::now();
    publish(&queue, "1").await;
    let dead = take(&queue).await.remove(0);
    queue.dead_letter(&dead, "").await.unwrap();
    assert_eq!(queue.stats().await.unwrap(), Stats { dead: 1, ..Stats::default() });
    publish(&queue, "2").await;
    publish(&queue, "3").await;
    queue.take("target".into(), 1, |_| SOON).await.unwrap();
    let stats = queue.stats().await.unwrap();
    assert_eq!((stats.waiting, stats.dead, stats.stranded), (2, 1, 0));
    assert!((before..=super::now()).contains(&stats.oldest.unwrap()));
}

#[test]
fn the_oldest_message_is_found_without_reading_all_that_wait() {
    let (_folder, path) = folder();
    drop(FileQueue::open(&path, LIMIT_BYTES).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    // All are due ten seconds after they were stored; 500 to 899 were never tried, so they are delayed.
    let fill = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 2000) \
                INSERT INTO message (id, state, attempts, due, stored, bytes, hops, caller, target, interface, \
                function, trace, arguments) SELECT printf('%036d', n), \
                CASE WHEN n < 500 THEN 'dead' ELSE 'pending' END, n >= 900, n + 10000, n, 1, 1, 'c', 't', 'i', 'f', \
                'x', '{}' FROM n";
    file.execute_batch(fill).unwrap();
    let mut oldest = file.prepare(OLDEST).unwrap();
    assert_eq!(oldest.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 900, "a delayed one counts once it is due");
    let steps = oldest.get_status(StatementStatus::VmStep);
    assert!(steps < 100, "{steps} steps");
    file.execute_batch("DELETE FROM message WHERE attempts > 0").unwrap();
    assert_eq!(oldest.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 10_500);
    file.execute_batch("UPDATE message SET state = 'stranded' WHERE state = 'pending'").unwrap();
    assert_eq!(oldest.query_row([], |row| row.get::<_, Option<i64>>(0)).unwrap(), None);
}

#[tokio::test]
async fn the_counts_that_listings_have_follow_every_change_and_begin_with_what_an_older_release_left() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    for n in 0..6 {
        publish(&queue, &n.to_string()).await;
    }
    for dead in take(&queue).await.iter().take(3) {
        queue.dead_letter(dead, "").await.unwrap();
    }
    drop(queue);
    // Release 0.1.0 counted with each listing.
    let file = rusqlite::Connection::open(&path).unwrap();
    let older = "DROP TRIGGER message_counted_in; DROP TRIGGER message_counted_out; DROP TRIGGER message_counted_on; \
                 DROP TABLE counts; DROP INDEX message_dead";
    file.execute_batch(older).unwrap();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    let same = async |queue: &FileQueue, expected: [u64; 3]| {
        let stats = queue.stats().await.unwrap();
        assert_eq!([stats.waiting, stats.dead, stats.stranded], expected);
        let counted = |state: &str| -> u64 {
            let sql = format!("SELECT count(*) FROM message WHERE state IN ({state})");
            file.query_row(&sql, [], |row| row.get::<_, u32>(0)).unwrap().into()
        };
        assert_eq!(["'pending', 'delivering'", "'dead'", "'stranded'"].map(counted), expected);
        let total = async |dead| queue.list(dead, 1).await.unwrap().total;
        assert_eq!((total(false).await, total(true).await), (expected.iter().sum(), expected[1]));
    };
    same(&queue, [3, 3, 0]).await;
    let dead = queue.list(true, 1).await.unwrap().events.remove(0);
    queue.retry_now(Selection::One(dead.id), 1).await.unwrap();
    same(&queue, [4, 2, 0]).await;
    queue.strand_unknown(vec![key("another")]).await.unwrap();
    same(&queue, [0, 2, 4]).await;
    let queue = reopen(queue, &path);
    queue.strand_unknown(vec![key("target")]).await.unwrap();
    // Those whose delivery was interrupted are not due yet.
    let taken = take(&queue).await;
    for message in &taken {
        queue.ack(message).await.unwrap();
    }
    queue.drop(Selection::Dead, 10).await.unwrap();
    same(&queue, [4 - taken.len() as u64, 0, 0]).await;
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_messages() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    let queue = FileQueue::open(&path, LIMIT_BYTES).unwrap();
    publish(&queue, "{}").await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[tokio::test]
async fn a_backup_that_does_not_end_fills_the_queue_and_not_the_disk() {
    let (_folder, path) = folder();
    let queue = FileQueue::open(&path, super::MIN_WAL_BYTES).unwrap();
    let backup = rusqlite::Connection::open(&path).unwrap();
    backup.execute_batch("BEGIN; SELECT count(*) FROM message").unwrap();
    let log = path.with_extension("db-wal");
    let text = "x".repeat(100_000);
    while let Published::Stored(_) = queue.publish(message(&text)).await.unwrap() {
        assert!(std::fs::metadata(&log).unwrap().len() < 5 * super::MIN_WAL_BYTES);
        // Delivered messages free room in the queue, but not in its log.
        for taken in take(&queue).await {
            queue.ack(&taken).await.unwrap();
        }
    }
    assert_eq!(queue.stats().await.unwrap(), Stats::default());
    drop(backup);
    publish(&queue, &text).await;
    assert!(std::fs::metadata(&log).unwrap().len() < super::MIN_WAL_BYTES);
}
