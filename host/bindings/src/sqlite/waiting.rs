//! The statements that wait for the writer of a database, and who of their callers leads the next group
//! ([`group`](super::group)).

use super::engine::Collected;
use super::{Error, Value};
use crate::fair::{self, FairQueue};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The result of a statement on the writer.
pub(super) struct Written {
    pub collected: Collected,
    /// How many bytes of the file hold data now, at most; `None` inside a transaction.
    pub bytes_in_use: Option<u64>,
    /// The rowid of a row that the statement inserted.
    pub inserted: Option<i64>,
    /// The number of rows that SQLite counts for the last `INSERT`, `UPDATE` or `DELETE`.
    pub changes: u64,
}

/// A statement with its parameters.
#[derive(Debug)]
pub(super) struct Statement {
    pub sql: String,
    pub params: Vec<Value>,
}

/// The statements that wait for a leader.
#[derive(Default)]
pub(super) struct Waiting(pub(super) Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    /// Whether there is a leader.
    pub(super) led: bool,
    pub(super) members: FairQueue<usize, Member>,
}

/// A statement in the queue.
pub(super) struct Member {
    pub(super) owner: usize,
    pub(super) statement: Place,
    /// Its group has failed: it runs in no other one.
    pub(super) alone: bool,
    pub(super) caller: oneshot::Sender<Reply>,
}

impl fair::Waiting for Member {
    fn has_gone(&self) -> bool {
        self.caller.is_closed()
    }
}

/// Where a statement waits. Who takes it runs it, or knows that nobody does.
pub(super) type Place = Arc<Mutex<Option<Statement>>>;

/// A caller's wait for its answer. Dropping it takes a statement that was not begun out of memory.
pub(super) struct Wait {
    pub(super) statement: Place,
    pub(super) reply: oneshot::Receiver<Reply>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        // First, so that a group that fails does not put it back.
        self.reply.close();
        drop(self.statement.lock().take());
    }
}

/// What a caller that waited gets.
pub(super) enum Reply {
    Done(Result<Written, Error>),
    Lead(Lead),
}

/// What a leader begins with.
pub(super) struct Lead {
    pub(super) statement: Statement,
    pub(super) alone: bool,
    pub(super) leader: Leader,
}

/// The caller that has it leads; dropping it makes the next waiting caller the leader.
pub(super) struct Leader {
    /// `None` after it was passed on.
    waiting: Option<Arc<Waiting>>,
}

impl Leader {
    pub(super) fn of(waiting: &Arc<Waiting>) -> Self {
        Leader { waiting: Some(waiting.clone()) }
    }
}

impl State {
    /// Takes the statement whose turn it is, and whose caller still waits.
    pub(super) fn pop(&mut self) -> Option<(Member, Statement)> {
        while let Some(member) = self.members.pop() {
            let statement = member.statement.lock().take();
            if let Some(statement) = statement {
                return Some((member, statement));
            }
        }
        None
    }
}

impl Waiting {
    pub(super) fn put_back(&self, member: Member, statement: Statement) {
        *member.statement.lock() = Some(statement);
        if member.caller.is_closed() {
            drop(member.statement.lock().take());
            return;
        }
        self.0.lock().members.push(member.owner, member, true);
    }
}

#[cfg(test)]
impl Waiting {
    /// The number of statements in the queue.
    pub(super) fn len(&self) -> usize {
        self.0.lock().members.len()
    }

    /// The number of statements that wait in memory.
    pub(super) fn held(&self) -> usize {
        self.0.lock().members.iter().filter(|member| member.statement.lock().is_some()).count()
    }

    pub(super) fn is_led(&self) -> bool {
        self.0.lock().led
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let Some(waiting) = self.waiting.take() else { return };
        loop {
            let (member, statement) = {
                let mut state = waiting.0.lock();
                let Some(first) = state.pop() else {
                    state.led = false;
                    return;
                };
                first
            };
            let lead = Lead { statement, alone: member.alone, leader: Leader::of(&waiting) };
            match member.caller.send(Reply::Lead(lead)) {
                // This one is still the leader; dropping the copy must not pass it on again.
                Err(Reply::Lead(mut lead)) => lead.leader.waiting = None,
                _ => return,
            }
        }
    }
}
