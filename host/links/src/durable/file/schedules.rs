//! The cursors of schedules: a table beside the messages. One transaction stores a call and moves its cursor.

use super::FileQueue;
use super::commit::MustSurvive;
use super::statements;
use crate::durable::message::{NewMessage, Published, QueueError};
use crate::durable::now;
use crate::durable::schedule::Cursor;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::sync::atomic::Ordering;

/// `fired` is a time in milliseconds since 1970.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS schedule (id TEXT PRIMARY KEY, fired INTEGER NOT NULL, timetable TEXT NOT NULL) STRICT;";

impl FileQueue {
    /// The cursor of the schedule `id`.
    pub(in crate::durable) async fn cursor(&self, id: String) -> Result<Option<Cursor>, QueueError> {
        self.read(move |connection| read(connection, &id)).await
    }

    /// Moves the cursor of the schedule `id` from `from` to `fired`, and stores `message` in the same transaction. Does
    /// nothing and returns no cursor when the cursor is not at `from` any more, or when there is no room for the
    /// message.
    pub(in crate::durable) async fn swap_cursor(
        &self,
        id: String,
        from: Option<Cursor>,
        fired: i64,
        timetable: String,
        message: Option<(String, NewMessage)>,
    ) -> Result<(Option<Cursor>, Published), QueueError> {
        let limit = self.limit;
        let bytes = message.as_ref().map_or(0, |(_, message)| message.arguments.len());
        let arrivals = message.as_ref().map(|(_, message)| self.arrivals(&message.key.target));
        let log_full = self.writer.log_full();
        let swap = move |connection: &Connection| {
            let stored = Published::Stored(id.clone());
            if read(connection, &id)? != from {
                return Ok((None, stored));
            }
            if let Some((message_id, message)) = &message {
                let full = log_full.load(Ordering::Relaxed);
                if full || !statements::insert(connection, message_id, message, now(), limit)? {
                    return Ok((None, Published::Full));
                }
            }
            connection
                .prepare_cached("INSERT OR REPLACE INTO schedule (id, fired, timetable) VALUES (?1, ?2, ?3)")?
                .execute(params![id, fired, timetable])?;
            Ok((read(connection, &id)?, stored))
        };
        let wake = move |_: &(Option<Cursor>, Published)| arrivals.iter().for_each(|arrivals| arrivals.notify_one());
        self.writer.write(MustSurvive::Power, bytes, swap, wake).await
    }
}

fn read(connection: &Connection, id: &str) -> rusqlite::Result<Option<Cursor>> {
    connection
        .prepare_cached("SELECT fired, timetable FROM schedule WHERE id = ?1")?
        .query_row([id], |row| {
            let fired: i64 = row.get(0)?;
            Ok(Cursor { fired, timetable: row.get(1)?, revision: u64::try_from(fired).unwrap_or_default() })
        })
        .optional()
}
