//! A guest's connection: it chooses the engine for each statement, and keeps the state between statements.

use super::database::{Database, Writer};
use super::engine::Collected;
use super::error::Stop;
use super::group::Change;
use super::statement::Kind;
use super::stream::RowStream;
use super::waiting::{Statement, Written};
use super::{Error, MEMORY_PAUSE, MEMORY_TRIES, QueryResult, Share, Value};
use crate::session::{Session, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::{Mutex, MutexGuard};

/// A guest's connection. It runs its statements one at a time, in order.
pub struct Connection {
    database: Arc<Database>,
    share: Share,
    session: Mutex<Session<Writer>>,
    last_insert_rowid: AtomicI64,
    changes: AtomicU64,
}

/// The result of trying a statement on this thread.
enum Answer {
    Here(Collected),
    /// The statement is a read that takes too long for this thread.
    Long,
}

impl Connection {
    /// A connection to `database` for a component with this `share`; `transactions` counts its instance's open
    /// transactions.
    pub fn new(database: Arc<Database>, share: Share, transactions: Arc<AtomicUsize>) -> Self {
        Connection {
            database,
            share,
            session: Mutex::new(Session::new(transactions)),
            last_insert_rowid: AtomicI64::new(0),
            changes: AtomicU64::new(0),
        }
    }

    /// Runs one statement and returns its whole result.
    ///
    /// # Errors
    /// When SQLite refuses the statement, with SQLite's message; and when the result is larger than
    /// [`MAX_RESULT_BYTES`](super::MAX_RESULT_BYTES).
    pub async fn execute(&self, sql: String, params: Vec<Value>) -> Result<QueryResult, Error> {
        let kind = Kind::of(&sql)?;
        match self.try_here(kind, &sql, &params).await? {
            Ok(Answer::Here(collected)) => Ok(collected.result),
            Ok(Answer::Long) => Ok(self.read_long(sql, params).await?.result),
            Err(session) => Ok(self.write(session, kind, sql, params).await?.result),
        }
    }

    /// Runs one statement and returns its rows as they are read. Only a read outside a transaction is really streamed.
    /// Other rows (of `RETURNING`, or of a read within a transaction) are read completely first, so that the guest can
    /// run the transaction's next statement while it reads them.
    ///
    /// # Errors
    /// As [`execute`](Self::execute), but the size of a streamed result is not limited, unless
    /// [`STREAM_READERS`](super::STREAM_READERS) other results are being streamed from the database.
    pub async fn query_stream(&self, sql: String, params: Vec<Value>) -> Result<RowStream, Error> {
        let kind = Kind::of(&sql)?;
        match self.try_here(kind, &sql, &params).await? {
            Ok(Answer::Here(collected)) => Ok(RowStream::ready(collected)),
            Ok(Answer::Long) => {
                if let Some(share) = self.share.stream()
                    && let Some((mut reader, run)) = self.database.stream_reader().await?
                {
                    reader.keep(share);
                    return RowStream::scan(reader, run, sql, params).await;
                }
                // The other streams may be read slowly; a result that fits in memory need not wait for them.
                Ok(RowStream::ready(self.read_long(sql, params).await?))
            }
            Err(session) => Ok(RowStream::ready(self.write(session, kind, sql, params).await?)),
        }
    }

    /// Reads on a blocking thread, to the end. If memory runs out, it tries again: another statement may have used it,
    /// and may end soon.
    async fn read_long(&self, sql: String, params: Vec<Value>) -> Result<Collected, Error> {
        for _ in 1..MEMORY_TRIES {
            let _share = self.share.statement(self.database.label()).await?;
            match self.database.read_long(self.share.owner(), sql.clone(), params.clone()).await? {
                Err(Stop::NoMemory) => tokio::time::sleep(MEMORY_PAUSE).await,
                outcome => return outcome.map_err(Stop::of_whole),
            }
        }
        let _share = self.share.statement(self.database.label()).await?;
        self.database.read_long(self.share.owner(), sql, params).await?.map_err(Stop::of_whole)
    }

    /// The rowid of this connection's last insert, or 0.
    pub fn last_insert_rowid(&self) -> i64 {
        self.last_insert_rowid.load(Ordering::Acquire)
    }

    /// The rows that this connection's last `INSERT`, `UPDATE` or `DELETE` changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Runs the statement on this thread if it is a read; otherwise returns the session for [`write`](Self::write).
    async fn try_here(
        &self,
        kind: Kind,
        sql: &str,
        params: &[Value],
    ) -> Result<Result<Answer, MutexGuard<'_, Session<Writer>>>, Error> {
        let mut session = self.session.lock().await;
        let (outcome, inside) = match session.state() {
            State::Lost if kind == Kind::Rollback => {
                session.set(State::Idle);
                return Ok(Ok(Answer::Here(Collected::empty())));
            }
            State::Lost => {
                return Err(Error::Io(
                    "the transaction ended because a statement of it was cancelled or failed; run ROLLBACK before the \
                     next statement"
                        .to_owned(),
                ));
            }
            _ if !kind.may_read() => return Ok(Err(session)),
            State::Open(writer) => (writer.read_inline(sql, params), true),
            State::Idle => (self.database.read_inline(sql, params).await, false),
        };
        match outcome {
            Ok(collected) => Ok(Ok(Answer::Here(collected))),
            Err(Stop::Failed(e)) => Err(e),
            Err(Stop::Overflow | Stop::NoMemory) if !inside => Ok(Ok(Answer::Long)),
            Err(Stop::Unknown)
                if !inside
                    && (kind == Kind::Read || self.database.is_read(self.share.owner(), sql.to_owned()).await?) =>
            {
                Ok(Ok(Answer::Long))
            }
            Err(Stop::Overflow | Stop::Unknown | Stop::NoMemory | Stop::Writes | Stop::Cancelled) => Ok(Err(session)),
        }
    }

    /// Runs a statement on the writer, and keeps the writer when the statement leaves a transaction open.
    async fn write(
        &self,
        mut session: MutexGuard<'_, Session<Writer>>,
        kind: Kind,
        sql: String,
        params: Vec<Value>,
    ) -> Result<Collected, Error> {
        // Passes on when the statement has ended.
        let mut _leader = None;
        // The transaction counts as lost until the statement has ended, because dropping this future loses it.
        let (writer, sql, params) = match session.state() {
            State::Open(_) => match session.set(State::Lost) {
                State::Open(writer) => (writer, sql, params),
                _ => return Err(Error::InvalidConnection),
            },
            _ if kind.counts_changes() => match self.database.change(&self.share, Statement { sql, params }).await? {
                Change::Done(written) => return Ok(self.note(kind, written)),
                Change::Alone(writer, statement, leader) => {
                    _leader = Some(leader);
                    (writer, statement.sql, statement.params)
                }
            },
            _ => (self.database.writer(self.share.owner()).await?, sql, params),
        };
        let _share = self.share.statement(self.database.label()).await?;
        let (writer, ended) = writer.write(sql, params).await?;
        if writer.in_transaction() {
            session.set(State::Open(writer));
        } else if ended.lost_transaction {
            // The rest of the transaction must not be committed statement by statement.
            session.set(State::Lost);
        } else {
            session.set(State::Idle);
        }
        Ok(self.note(kind, ended.outcome?))
    }

    /// Keeps what the guest may ask about its last statement.
    fn note(&self, kind: Kind, written: Written) -> Collected {
        if let Some(bytes) = written.bytes_in_use {
            self.database.note_size(bytes);
        }
        if kind.may_insert()
            && let Some(rowid) = written.inserted
        {
            self.last_insert_rowid.store(rowid, Ordering::Release);
        }
        if kind.counts_changes() {
            self.changes.store(written.changes, Ordering::Release);
        }
        written.collected
    }
}
