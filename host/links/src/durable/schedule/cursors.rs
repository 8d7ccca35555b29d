//! The cursor of each schedule: how far it has come. It is kept where the messages are: in the queue's file, or in a
//! stream that the hosts share.
//!
//! Both support compare-and-swap. In the file, one transaction stores the message and moves the cursor. On JetStream
//! that is not possible: the host first stores the message, under an id by which the stream recognises duplicates for
//! two minutes, and then moves the cursor. If it dies in between, the next host stores the message again under the same
//! id. So no due time is lost, and none is called twice.

use super::scheduled::Scheduled;
use crate::durable::jetstream::Schedules;
use crate::durable::message::{NewMessage, Published, QueueError};
use crate::durable::{FileQueue, Queue};

/// How far a schedule has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::durable) struct Cursor {
    /// The last due time that was called or left out.
    pub(in crate::durable) fired: i64,
    /// Its timetable at that time, as text.
    pub(in crate::durable) timetable: String,
    /// What a swap compares: the time itself in a file, the sequence of the message in a stream.
    pub(in crate::durable) revision: u64,
}

/// Where the cursors are.
pub(super) enum Cursors {
    File(FileQueue),
    JetStream(Box<Schedules>),
}

/// The result of making a call.
pub(super) enum Fired {
    /// Its message is stored and the cursor moved.
    Done(Cursor),
    /// Another host was faster.
    Taken,
    /// There is no room for its message.
    Full,
    /// Its message is longer than NATS accepts, which is this many bytes.
    TooLarge(usize),
}

impl Fired {
    /// Why a message is not stored; `None` when it is.
    pub(super) fn refused(published: &Published) -> Option<Self> {
        match published {
            Published::Stored(_) => None,
            Published::Full => Some(Fired::Full),
            Published::TooLarge(most) => Some(Fired::TooLarge(*most)),
        }
    }
}

impl Cursors {
    pub(super) async fn open(queue: &Queue) -> Result<Self, QueueError> {
        Ok(match queue {
            Queue::File(queue) => Cursors::File(queue.clone()),
            Queue::JetStream(queue) => Cursors::JetStream(Box::new(queue.schedules().await?)),
        })
    }

    /// By how many milliseconds this host's clock is ahead of the NATS servers' clock; always 0 for a single host.
    pub(super) async fn clock_offset(&self) -> Result<i64, QueueError> {
        match self {
            Cursors::File(_) => Ok(0),
            Cursors::JetStream(schedules) => schedules.clock_offset(crate::durable::now).await,
        }
    }

    pub(super) async fn read(&self, scheduled: &Scheduled) -> Result<Option<Cursor>, QueueError> {
        match self {
            Cursors::File(queue) => queue.cursor(scheduled.id.clone()).await,
            Cursors::JetStream(schedules) => schedules.cursor(scheduled.component(), &scheduled.schedule.name).await,
        }
    }

    /// Moves the cursor from `from` to `fired`; `None` when it is not at `from` any more.
    pub(super) async fn swap(
        &self,
        scheduled: &Scheduled,
        from: Option<&Cursor>,
        fired: i64,
    ) -> Result<Option<Cursor>, QueueError> {
        let timetable = scheduled.schedule.timetable.to_string();
        match self {
            Cursors::File(queue) => queue
                .swap_cursor(scheduled.id.clone(), from.cloned(), fired, timetable, None)
                .await
                .map(|(cursor, _)| cursor),
            Cursors::JetStream(schedules) => {
                schedules.swap_cursor(scheduled.component(), &scheduled.schedule.name, from, fired, timetable).await
            }
        }
    }

    /// Stores the `message` for the time `due` under `id`, and moves the cursor there.
    pub(super) async fn fire(
        &self,
        scheduled: &Scheduled,
        from: &Cursor,
        due: i64,
        id: String,
        message: NewMessage,
    ) -> Result<Fired, QueueError> {
        let published = match self {
            Cursors::File(queue) => {
                let (id_of, timetable) = (scheduled.id.clone(), scheduled.schedule.timetable.to_string());
                let swapped = queue.swap_cursor(id_of, Some(from.clone()), due, timetable, Some((id, message))).await?;
                return Ok(match swapped {
                    (Some(cursor), _) => Fired::Done(cursor),
                    (None, published) => Fired::refused(&published).unwrap_or(Fired::Taken),
                });
            }
            Cursors::JetStream(schedules) => schedules.store(id, message, due).await?,
        };
        if let Some(refused) = Fired::refused(&published) {
            return Ok(refused);
        }
        Ok(self.swap(scheduled, Some(from), due).await?.map_or(Fired::Taken, Fired::Done))
    }
}
