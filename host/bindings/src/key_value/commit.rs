//! Writes to a file that wait at one time share a transaction (group commit): the number of fsyncs follows the disk and not
//! the number of writes.
//!
//! Whoever gets the file's write lock takes all that wait with it. Each write has a savepoint, so one that is refused leaves
//! nothing and the others stay. Where the transaction as a whole fails, each is tried alone: one that the disk has no room
//! for must not fail the deletion beside it, which makes room. A write whose caller has gone is not begun.

use super::error::StoreError;
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::collections::VecDeque;
use tokio::sync::oneshot;

souk_manifest::fixed_limits! {
    /// The fixed limits of group commits.
    pub(crate) const FIXED_LIMITS = "key-value: file";

    /// The most writes of one transaction.
    const MAX_GROUP: usize = 256, "writes";
}

/// The writes that wait.
#[derive(Default)]
pub(super) struct Waiting(Mutex<VecDeque<Box<dyn Write>>>);

/// One write.
trait Write: Send {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool;
    /// Does it, perhaps a second time, after the first was rolled back.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError>;
    /// Tells the caller: it is on disk, or has failed.
    fn finish(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Typed<T, W> {
    work: W,
    result: Option<T>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W: FnMut(&Transaction<'_>) -> Result<T, StoreError> + Send> Write for Typed<T, W> {
    fn is_wanted(&self) -> bool {
        !self.caller.is_closed()
    }

    fn run(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError> {
        self.result = Some((self.work)(tx)?);
        Ok(())
    }

    fn finish(self: Box<Self>, committed: Result<(), StoreError>) {
        let Typed { result, caller, .. } = *self;
        // Nobody may be left to hear it.
        let _ = caller.send(committed.and_then(|()| result.ok_or(StoreError::Stopping)));
    }
}

impl Waiting {
    /// Lets a write wait; its result comes when somebody has written it.
    pub(super) fn add<T: Send + 'static>(
        &self,
        work: impl FnMut(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> oneshot::Receiver<Result<T, StoreError>> {
        let (caller, result) = oneshot::channel();
        self.0.lock().push_back(Box::new(Typed { work, result: None, caller }));
        result
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Writes what waits; `explain` says what an error of SQLite means.
    pub(super) fn write(
        &self,
        writer: &mut Connection,
        room: Result<(), StoreError>,
        explain: impl Fn(StoreError, &Connection) -> StoreError,
    ) {
        let mut group: Vec<Box<dyn Write>> = {
            let mut waiting = self.0.lock();
            let count = waiting.len().min(MAX_GROUP);
            waiting.drain(..count).collect()
        };
        group.retain(|write| write.is_wanted());
        if let Err(full) = room {
            // One error for each: it is made of the first, which nobody can copy.
            for write in group {
                write.finish(Err(match full {
                    StoreError::LogFull => StoreError::LogFull,
                    _ => StoreError::Full,
                }));
            }
            return;
        }
        if group.len() > 1 {
            match together(writer, &mut group) {
                Ok(results) => {
                    for (write, result) in group.into_iter().zip(results) {
                        write.finish(result.map_err(|error| explain(error, writer)));
                    }
                    return;
                }
                Err(error) => tracing::debug!(%error, "a group of writes failed, and each is tried alone"),
            }
        }
        for mut write in group {
            let written = alone(writer, &mut *write);
            write.finish(written.map_err(|error| explain(error, writer)));
        }
    }
}

fn alone(writer: &mut Connection, write: &mut dyn Write) -> Result<(), StoreError> {
    let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write.run(&tx)?;
    tx.commit()?;
    Ok(())
}

/// All of them in one transaction; what became of each.
fn together(writer: &mut Connection, group: &mut [Box<dyn Write>]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(group.len());
    for write in group {
        tx.prepare_cached("SAVEPOINT one")?.execute([])?;
        let result = write.run(&tx);
        match &result {
            // The disk, or the file: nothing is known of the others.
            Err(StoreError::Database(_)) => {
                result?;
                continue;
            }
            Err(_) => drop(tx.prepare_cached("ROLLBACK TO one")?.execute([])?),
            Ok(()) => {}
        }
        tx.prepare_cached("RELEASE one")?.execute([])?;
        results.push(result);
    }
    tx.commit()?;
    Ok(results)
}
