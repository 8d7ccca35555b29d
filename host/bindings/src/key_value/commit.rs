//! Writes to a file that wait at the same time share a transaction (group commit), so the speed of the disk determines
//! the number of fsyncs, not the number of writes.
//!
//! The task that gets the file's write lock writes everything that waits. Each write has a savepoint, so a refused
//! write leaves nothing behind and the others stay. If the whole transaction fails, each write is tried alone: a write
//! for which the disk has no room must not make a deletion in the same group fail, because the deletion frees space. A
//! write whose caller has gone is not begun.

use super::error::StoreError;
use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::collections::VecDeque;
use std::sync::Arc;
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
    /// Whether its caller still waits for the result.
    fn is_wanted(&self) -> bool;
    /// Runs it; possibly a second time, after the first attempt was rolled back.
    fn run(&mut self, tx: &Transaction<'_>) -> Result<(), StoreError>;
    /// Tells the caller that it is on disk, or that it has failed.
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
        // The caller may have gone.
        let _ = caller.send(committed.and_then(|()| result.ok_or(StoreError::Stopping)));
    }
}

/// A caller's wait for the result of its write. Dropping it early takes the write out of the queue, with its values.
pub(super) struct Wait<T> {
    waiting: Arc<Waiting>,
    result: oneshot::Receiver<Result<T, StoreError>>,
    is_over: bool,
}

impl<T> Wait<T> {
    /// The result, if it is there.
    pub(super) fn now(&mut self) -> Option<Result<T, StoreError>> {
        let result = self.result.try_recv().ok()?;
        self.is_over = true;
        Some(result)
    }

    /// Waits for the result.
    pub(super) async fn result(mut self) -> Result<T, StoreError> {
        let result = (&mut self.result).await;
        self.is_over = true;
        result.unwrap_or(Err(StoreError::Stopping))
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        if !self.is_over {
            self.result.close();
            self.waiting.0.lock().retain(|write| write.is_wanted());
        }
    }
}

impl Waiting {
    /// Adds a write to the queue; its result arrives when a task has written it.
    pub(super) fn add<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnMut(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Wait<T> {
        let (caller, result) = oneshot::channel();
        self.0.lock().push_back(Box::new(Typed { work, result: None, caller }));
        Wait { waiting: self.clone(), result, is_over: false }
    }

    /// The number of waiting writes.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Runs the waiting writes; `explain` turns SQLite's errors into ours.
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
            // Each write needs its own error, made from the first, which cannot be cloned.
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

/// Runs all of them in one transaction; returns the result of each.
fn together(writer: &mut Connection, group: &mut [Box<dyn Write>]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
    let tx = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut results = Vec::with_capacity(group.len());
    for write in group {
        tx.prepare_cached("SAVEPOINT one")?.execute([])?;
        let result = write.run(&tx);
        match &result {
            // The disk or the file failed, so the other writes may be affected too.
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
