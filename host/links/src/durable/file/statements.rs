//! The queue's table and the SQL statements on it. Each runs in a transaction of the writer, or on the reader.
//!
//! The arguments are the last column in a row, so that a listing does not read them. Times are milliseconds since 1970.
//! Triggers keep the total size of all messages and how many there are of each kind, in the same transaction as the
//! messages themselves: they are exact after any crash, and no listing counts messages. An index has the oldest that
//! waits, which metrics ask for every few seconds.

use super::Taken;
use crate::durable::event::{Event, FoundEvents, Selection};
use crate::durable::message::{Key, Message, NewMessage, Stats};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

souk_manifest::fixed_limits! {
    /// The fixed limits of the size of a message.
    pub(crate) const FIXED_LIMITS = "durable: file";

    /// What a message counts for besides its arguments: names, ids, indexes, and a reason of full length.
    pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 2048, bytes;
}

/// `state` is `pending`, `delivering`, `dead` or `stranded`; `bytes` is what counts against the limit.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS message (
    id TEXT PRIMARY KEY, state TEXT NOT NULL DEFAULT 'pending', attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL, stored INTEGER NOT NULL, bytes INTEGER NOT NULL, hops INTEGER NOT NULL,
    caller TEXT NOT NULL, target TEXT NOT NULL, interface TEXT NOT NULL, function TEXT NOT NULL, trace TEXT NOT NULL,
    reason TEXT, arguments TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS message_due ON message (state, target, due);
CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO total VALUES (1, 0);
CREATE TRIGGER IF NOT EXISTS message_in AFTER INSERT ON message BEGIN
    UPDATE total SET bytes = bytes + new.bytes;
END;
CREATE TRIGGER IF NOT EXISTS message_out AFTER DELETE ON message BEGIN
    UPDATE total SET bytes = bytes - old.bytes;
END;
CREATE INDEX IF NOT EXISTS message_dead ON message (id) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS message_oldest
ON message (CASE WHEN attempts = 0 AND reason IS NULL THEN due ELSE stored END)
WHERE state IN ('pending', 'delivering');
CREATE TABLE IF NOT EXISTS counts (
    one INTEGER PRIMARY KEY CHECK (one = 1), waiting INTEGER NOT NULL, dead INTEGER NOT NULL, stranded INTEGER NOT NULL
) STRICT;
INSERT OR IGNORE INTO counts
SELECT 1, count(*) FILTER (WHERE state IN ('pending', 'delivering')), count(*) FILTER (WHERE state = 'dead'),
    count(*) FILTER (WHERE state = 'stranded')
FROM message WHERE NOT EXISTS (SELECT 1 FROM counts);
CREATE TRIGGER IF NOT EXISTS message_counted_in AFTER INSERT ON message BEGIN
    UPDATE counts SET waiting = waiting + (new.state IN ('pending', 'delivering')), dead = dead + (new.state = 'dead'),
        stranded = stranded + (new.state = 'stranded');
END;
CREATE TRIGGER IF NOT EXISTS message_counted_out AFTER DELETE ON message BEGIN
    UPDATE counts SET waiting = waiting - (old.state IN ('pending', 'delivering')), dead = dead - (old.state = 'dead'),
        stranded = stranded - (old.state = 'stranded');
END;
CREATE TRIGGER IF NOT EXISTS message_counted_on AFTER UPDATE OF state ON message
WHEN old.state <> new.state AND (old.state IN ('dead', 'stranded') OR new.state IN ('dead', 'stranded')) BEGIN
    UPDATE counts SET
        waiting = waiting - (old.state IN ('pending', 'delivering')) + (new.state IN ('pending', 'delivering')),
        dead = dead - (old.state = 'dead') + (new.state = 'dead'),
        stranded = stranded - (old.state = 'stranded') + (new.state = 'stranded');
END;";

/// Adds the columns that a queue of release 0.1.0 lacks. That release can still use the file, because it names the
/// columns that it reads and writes.
pub(super) fn bring_up_to_date(connection: &Connection) -> rusqlite::Result<()> {
    for column in ["traceparent", "type"] {
        let there: bool = connection.query_row(
            "SELECT count(*) FROM pragma_table_info('message') WHERE name = ?1",
            [column],
            |row| row.get(0),
        )?;
        if !there {
            connection.execute_batch(&format!("ALTER TABLE message ADD COLUMN {column} TEXT"))?;
        }
    }
    Ok(())
}

/// The reason of a message that was being delivered when its host died.
const INTERRUPTED: &str = "the host ended during the delivery";

/// Makes messages due now that wait for another attempt, and interrupted deliveries pending again. Called at start-up,
/// when no host delivers. An interrupted delivery keeps the pause that was recorded before its attempt began, because
/// it may have been the one that ended the host.
pub(super) fn requeue_interrupted(connection: &Connection, now: i64) -> rusqlite::Result<()> {
    // A message without an attempt or a reason waits because its caller or the manifest delayed it.
    connection.execute(
        "UPDATE message SET due = ?1 WHERE state = 'pending' AND due > ?1 AND (attempts > 0 OR reason IS NOT NULL)",
        [now],
    )?;
    connection
        .execute("UPDATE message SET state = 'pending', reason = ?1 WHERE state = 'delivering'", [INTERRUPTED])?;
    Ok(())
}

/// Stores a message; `false` when the queue would exceed `limit`.
pub(super) fn insert(
    connection: &Connection,
    id: &str,
    message: &NewMessage,
    now: i64,
    limit: u64,
) -> rusqlite::Result<bool> {
    let bytes = message.arguments.len() + MESSAGE_OVERHEAD_BYTES;
    let total: i64 = connection.prepare_cached("SELECT bytes FROM total")?.query_row([], |row| row.get(0))?;
    let bytes = number(bytes);
    if total.saturating_add(bytes) > number(limit) {
        return Ok(false);
    }
    connection
        .prepare_cached(
            "INSERT INTO message (id, due, stored, bytes, hops, caller, target, interface, function, trace, arguments,
                traceparent, type) VALUES (?1, ?12, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?13)",
        )?
        .execute(params![
            id,
            now,
            bytes,
            message.hops,
            &*message.caller,
            &*message.key.target,
            &*message.key.interface,
            &*message.key.function,
            &*message.trace,
            message.arguments,
            message.traceparent,
            message.due.unwrap_or(now).max(now),
            &*message.digest,
        ])?;
    Ok(true)
}

/// Takes up to `most` messages of `target` that are due, and records an attempt of each. `pause` is the time in
/// milliseconds after which a message is due again if this process dies during the attempt.
pub(super) fn take(
    connection: &Connection,
    target: &str,
    now: i64,
    most: usize,
    pause: &dyn Fn(u32) -> i64,
) -> rusqlite::Result<Taken> {
    let mut due = connection.prepare_cached(
        "SELECT id, attempts + 1, interface, function, caller, trace, hops, reason, arguments, traceparent, type
         FROM message WHERE state = 'pending' AND target = ?1 AND due <= ?2 ORDER BY due LIMIT ?3",
    )?;
    let messages = due.query_map(params![target, now, number(most)], |row| {
        Ok(Message {
            id: row.get(0)?,
            attempt: row.get(1)?,
            key: Key {
                target: target.into(),
                interface: row.get::<_, String>(2)?.into(),
                function: row.get::<_, String>(3)?.into(),
            },
            caller: row.get(4)?,
            trace: row.get(5)?,
            hops: row.get(6)?,
            reason: row.get(7)?,
            arguments: row.get(8)?,
            traceparent: row.get(9)?,
            digest: row.get(10)?,
        })
    })?;
    let messages: Vec<Message> = messages.collect::<rusqlite::Result<_>>()?;
    let mut note =
        connection.prepare_cached("UPDATE message SET state = 'delivering', attempts = ?2, due = ?3 WHERE id = ?1")?;
    for message in &messages {
        note.execute(params![message.id, message.attempt, now.saturating_add(pause(message.attempt))])?;
    }
    let next_due = connection
        .prepare_cached("SELECT min(due) FROM message WHERE state = 'pending' AND target = ?1")?
        .query_row([target], |row| row.get(0))?;
    Ok(Taken { messages, next_due })
}

/// Deletes a delivered message.
pub(super) fn delete(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM message WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Makes a message pending again after a failed delivery. With `uncounted`, the attempt does not count.
pub(super) fn postpone(
    connection: &Connection,
    id: &str,
    reason: &str,
    due: i64,
    uncounted: bool,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE message SET state = 'pending', reason = ?2, due = ?3, attempts = max(attempts - ?4, 0)
             WHERE id = ?1 AND state = 'delivering'",
        )?
        .execute(params![id, reason, due, uncounted])?;
    Ok(())
}

/// Sets a message aside, as `dead` or `stranded`. With `uncounted`, the attempt does not count.
pub(super) fn set_aside(
    connection: &Connection,
    id: &str,
    state: &str,
    reason: &str,
    uncounted: bool,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE message SET state = ?2, reason = ?3, attempts = max(attempts - ?4, 0)
             WHERE id = ?1 AND state = 'delivering'",
        )?
        .execute(params![id, state, reason, uncounted])?;
    Ok(())
}

/// Sets messages aside as stranded if their function is not among `known`, and makes stranded messages pending if it
/// is. Returns the functions with stranded messages and the number of those.
pub(super) fn mark_stranded(connection: &Connection, known: &[Key]) -> rusqlite::Result<Vec<(Key, u64)>> {
    let mut waiting = connection.prepare(
        "SELECT target, interface, function, count(*) FROM message WHERE state IN ('pending', 'stranded')
         GROUP BY target, interface, function",
    )?;
    let text = |row: &Row<'_>, column: usize| row.get::<_, String>(column).map(Into::into);
    let waiting = waiting.query_map([], |row| {
        Ok((Key { target: text(row, 0)?, interface: text(row, 1)?, function: text(row, 2)? }, count(row, 3)?))
    })?;
    let mut stranded = Vec::new();
    for waits in waiting.collect::<rusqlite::Result<Vec<(Key, u64)>>>()? {
        let (from, to) = if known.contains(&waits.0) { ("stranded", "pending") } else { ("pending", "stranded") };
        connection.execute(
            "UPDATE message SET state = ?5 WHERE target = ?1 AND interface = ?2 AND function = ?3 AND state = ?4",
            params![&*waits.0.target, &*waits.0.interface, &*waits.0.function, from, to],
        )?;
        if to == "stranded" {
            stranded.push(waits);
        }
    }
    Ok(stranded)
}

const EVENT: &str = "id, state, attempts, caller, target, interface, function, trace, bytes, reason,
    strftime('%Y-%m-%dT%H:%M:%fZ', stored / 1000.0, 'unixepoch'),
    CASE WHEN state IN ('pending', 'delivering') THEN strftime('%Y-%m-%dT%H:%M:%fZ', due / 1000.0, 'unixepoch') END";

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let overhead = u64::try_from(MESSAGE_OVERHEAD_BYTES).unwrap_or_default();
    Ok(Event {
        id: row.get(0)?,
        state: row.get(1)?,
        attempts: row.get(2)?,
        caller: row.get(3)?,
        component: row.get(4)?,
        interface: row.get(5)?,
        function: row.get(6)?,
        trace: row.get(7)?,
        bytes: count(row, 8)?.saturating_sub(overhead),
        reason: row.get(9)?,
        stored_at: row.get(10)?,
        due_at: row.get(11)?,
        arguments: None,
    })
}

/// All messages, or all dead letters; the answer contains the `most` oldest.
pub(super) fn list(connection: &Connection, dead: bool, most: usize) -> rusqlite::Result<FoundEvents> {
    let filter = if dead { "WHERE state = 'dead'" } else { "" };
    let mut rows = connection.prepare_cached(&format!("SELECT {EVENT} FROM message {filter} ORDER BY id LIMIT ?1"))?;
    let events: Vec<Event> = rows.query_map([number(most)], event)?.collect::<rusqlite::Result<_>>()?;
    let total = match events.len() {
        all if all < most => u64::try_from(all).unwrap_or_default(),
        _ => {
            let counted = if dead { "dead" } else { "waiting + dead + stranded" };
            connection.query_row(&format!("SELECT {counted} FROM counts"), [], |row| count(row, 0))?
        }
    };
    Ok(FoundEvents { events, total })
}

/// One message with its arguments.
pub(super) fn show(connection: &Connection, id: &str) -> rusqlite::Result<Option<Event>> {
    connection
        .prepare_cached(&format!("SELECT {EVENT}, arguments FROM message WHERE id = ?1"))?
        .query_row([id], |row| {
            let arguments: String = row.get(12)?;
            Ok(Event { arguments: serde_json::value::RawValue::from_string(arguments).ok(), ..event(row)? })
        })
        .optional()
}

/// The messages that an operator means: one of any state, or all dead letters.
fn meant(connection: &Connection, which: &Selection, most: usize) -> rusqlite::Result<FoundEvents> {
    let Selection::One(id) = which else { return list(connection, true, most) };
    let events: Vec<Event> = show(connection, id)?.into_iter().map(|e| Event { arguments: None, ..e }).collect();
    Ok(FoundEvents { total: 1, events })
}

/// Makes the stranded messages of `target` pending again, because another version of it serves.
pub(super) fn retry_stranded(connection: &Connection, target: &str, now: i64) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE message SET state = 'pending', due = min(due, ?2) WHERE state = 'stranded' AND target = ?1",
        params![target, now],
    )?;
    Ok(())
}

/// Makes messages due now. A dead letter starts again with its first attempt; a stranded message becomes pending if
/// this process `delivers_to` its component. Returns the messages as they were.
pub(super) fn retry(
    connection: &Connection,
    which: &Selection,
    now: i64,
    most: usize,
    delivers_to: impl Fn(&str) -> bool,
) -> rusqlite::Result<FoundEvents> {
    let found = meant(connection, which, most)?;
    let stranded = found.events.iter().any(|event| event.state == "stranded" && delivers_to(&event.component));
    match which {
        Selection::One(id) => connection.execute(
            "UPDATE message SET attempts = CASE state WHEN 'dead' THEN 0 ELSE attempts END, state = 'pending', due = ?2
             WHERE id = ?1 AND (state IN ('pending', 'dead') OR ?3 AND state = 'stranded')",
            params![id, now, stranded],
        )?,
        Selection::Dead => connection
            .execute("UPDATE message SET attempts = 0, state = 'pending', due = ?1 WHERE state = 'dead'", [now])?,
    };
    Ok(found)
}

/// Deletes messages that are not being delivered. Returns them as they were.
pub(super) fn drop(connection: &Connection, which: &Selection, most: usize) -> rusqlite::Result<FoundEvents> {
    let found = meant(connection, which, most)?;
    match which {
        Selection::One(id) => {
            connection.execute("DELETE FROM message WHERE id = ?1 AND state <> 'delivering'", [id])?
        }
        Selection::Dead => connection.execute("DELETE FROM message WHERE state = 'dead'", [])?,
    };
    Ok(found)
}

/// No parameters. Since when the oldest message that waits does so: a delayed one since it is due. The index must be
/// named, because without statistics SQLite prefers the one that has the state first, and reads all that wait.
pub(super) const OLDEST: &str = "SELECT min(CASE WHEN attempts = 0 AND reason IS NULL THEN due ELSE stored END)
    FROM message INDEXED BY message_oldest WHERE state IN ('pending', 'delivering')";

/// How many messages there are in each state, and since when the oldest of those to deliver waits.
pub(super) fn stats(connection: &Connection) -> rusqlite::Result<Stats> {
    let mut counts = connection.prepare_cached("SELECT waiting, dead, stranded FROM counts")?;
    let mut stats = counts.query_row([], |row| {
        Ok(Stats { waiting: count(row, 0)?, dead: count(row, 1)?, stranded: count(row, 2)?, ..Stats::default() })
    })?;
    if stats.waiting > 0 {
        stats.oldest = connection.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    }
    Ok(stats)
}

/// A number as SQLite stores it.
fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A number that is never negative.
fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or_default())
}
