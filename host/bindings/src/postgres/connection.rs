//! A guest's connection: its state between statements, and the choice of the session for the next one.

use super::error::{After, Failure, failed};
use super::pool::{Lease, Pool};
use super::run::{CollectRows, DiscardRows, Sink, run};
use super::statement::{Effect, Statement};
use super::stream::{RowStream, Unread};
use super::{
    Address, CACHED_STATEMENT_BYTES, Error, MAX_RESULT_BYTES, MAX_STATEMENT_BYTES, MAX_TRANSACTIONS, ParameterValue,
    RowSet, UnreadRows,
};
use crate::outbound::AllowedHosts;
use crate::session::{Session, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, MutexGuard};

/// A guest's connection. It runs its statements one at a time, in order.
pub struct Connection {
    pool: Arc<Pool>,
    allowed: AllowedHosts,
    session: Mutex<Session<Lease>>,
    unread: UnreadRows,
}

/// Counts a transaction that is about to begin, so that transactions that begin at the same time cannot exceed the
/// limit.
struct Begins(Arc<AtomicUsize>);

impl Begins {
    fn take(transactions: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let before = transactions.fetch_add(1, Ordering::AcqRel);
        let place = Begins(transactions.clone());
        if before < MAX_TRANSACTIONS {
            return Ok(place);
        }
        Err(Error::Other(format!(
            "{MAX_TRANSACTIONS} transactions of this instance are open; end one before the next begins"
        )))
    }
}

impl Drop for Begins {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let State::Open(lease) = self.session.get_mut().set(State::Idle) {
            lease.roll_back();
        }
    }
}

impl Connection {
    /// A connection through `pool` that may reach what `allowed` allows. `transactions` counts the open transactions of
    /// its instance, and `unread` the unread rows in the instance's streams.
    pub(super) fn new(
        pool: Arc<Pool>,
        allowed: AllowedHosts,
        transactions: Arc<AtomicUsize>,
        unread: UnreadRows,
    ) -> Self {
        Connection { pool, allowed, session: Mutex::new(Session::new(transactions)), unread }
    }

    /// Its address.
    pub(super) fn address(&self) -> &Address {
        self.pool.address()
    }

    /// Identifies its pool: the same for all connections of one pool, and different for others.
    pub(super) fn pool_key(&self) -> *const Pool {
        Arc::as_ptr(&self.pool)
    }

    /// Connects, if the pool has no connection to the address yet, so that opening a wrong address fails at once.
    ///
    /// # Errors
    /// The reason why there is no connection.
    pub async fn check(&self) -> Result<(), Error> {
        if self.pool.is_cold() {
            self.pool.lease(&self.allowed).await?.release();
        }
        Ok(())
    }

    /// Runs one statement and returns its whole result.
    ///
    /// # Errors
    /// When PostgreSQL refuses the statement, when a value cannot be converted, and when the result is larger than
    /// [`MAX_RESULT_BYTES`].
    pub async fn query(&self, sql: String, params: Vec<ParameterValue>) -> Result<RowSet, Error> {
        let statement = check(&sql)?;
        let session = self.session.lock().await;
        let kept = self.keep(session, statement, sql.into(), params).await?;
        Ok(RowSet { columns: kept.columns, rows: kept.rows })
    }

    /// Runs one statement and returns its rows as they arrive. Only a query outside a transaction is really streamed.
    /// The rows of every other statement are read completely first, so that its effect never depends on whether the
    /// guest reads its rows, and so that the guest can run the transaction's next statement while it reads them.
    ///
    /// # Errors
    /// As [`query`](Self::query), but without a limit on the size of a streamed result. Also when the instance's other
    /// streams have too many unread bytes.
    pub async fn query_stream(&self, sql: String, params: Vec<ParameterValue>) -> Result<RowStream, Error> {
        let statement = check(&sql)?;
        let session = self.session.lock().await;
        if !statement.is_read_only || !matches!(session.state(), State::Idle) {
            let kept = self.keep(session, statement, sql.into(), params).await?;
            return RowStream::ready(kept, Unread::new(self.unread.clone()));
        }
        drop(session);
        let lease = self.lease(statement, &sql).await?;
        let sql: Arc<str> = sql.into();
        let unread = || Unread::new(self.unread.clone());
        match RowStream::begin(lease, sql.clone(), params.clone(), unread()).await {
            Err(Failure { session: After::Stale, .. }) => {
                let lease = self.lease(statement, &sql).await?;
                RowStream::begin(lease, sql, params, unread()).await.map_err(|failure| failure.error)
            }
            begun => begun.map_err(|failure| failure.error),
        }
    }

    /// Runs one statement and returns the number of rows that it affected.
    ///
    /// # Errors
    /// When PostgreSQL refuses the statement, or a value cannot be converted.
    pub async fn execute(&self, sql: String, params: Vec<ParameterValue>) -> Result<u64, Error> {
        let statement = check(&sql)?;
        let session = self.session.lock().await;
        self.run(session, statement, sql.into(), params, &mut DiscardRows).await
    }

    async fn keep(
        &self,
        session: MutexGuard<'_, Session<Lease>>,
        statement: Statement,
        sql: Arc<str>,
        params: Vec<ParameterValue>,
    ) -> Result<CollectRows, Error> {
        let to_the_end = !statement.is_read_only || !matches!(session.state(), State::Idle);
        let mut kept = CollectRows { to_the_end, ..CollectRows::default() };
        let outcome = self.run(session, statement, sql, params, &mut kept).await;
        if kept.is_too_large() {
            return Err(failed(&format!(
                "the result is larger than {} MiB; read it in pages, or as a stream outside a transaction",
                MAX_RESULT_BYTES >> 20
            )));
        }
        outcome.map(|_| kept)
    }

    /// A session for `statement`, from the pool.
    async fn lease(&self, statement: Statement, sql: &str) -> Result<Lease, Error> {
        let mut lease = self.pool.lease(&self.allowed).await?;
        mark(&mut lease, statement, sql);
        Ok(lease)
    }

    async fn run(
        &self,
        mut session: MutexGuard<'_, Session<Lease>>,
        statement: Statement,
        sql: Arc<str>,
        params: Vec<ParameterValue>,
        sink: &mut impl Sink,
    ) -> Result<u64, Error> {
        let _begins = match (session.state(), statement.effect) {
            (State::Idle, Effect::Begins) => Some(Begins::take(session.transactions())?),
            _ => None,
        };
        // The transaction counts as lost until the statement has ended, because dropping this future loses it.
        let (inside, mut lease) = match session.set(State::Lost) {
            State::Open(mut lease) => {
                mark(&mut lease, statement, &sql);
                (true, lease)
            }
            State::Idle => {
                session.set(State::Idle);
                (false, self.lease(statement, &sql).await?)
            }
            State::Lost if statement.effect == Effect::RollsBack => {
                session.set(State::Idle);
                return Ok(0);
            }
            State::Lost => {
                let lost = "the transaction was lost with its session; run ROLLBACK before the next statement";
                return Err(Error::ConnectionFailed(lost.to_owned()));
            }
        };
        let mut outcome = run(&mut lease, &sql, &params, sink).await;
        if !inside && matches!(&outcome, Err(Failure { session: After::Stale, .. })) {
            // The statement has not run; a new session prepares it again.
            drop(lease);
            lease = self.lease(statement, &sql).await?;
            outcome = run(&mut lease, &sql, &params, sink).await;
        }
        let ends = statement.ends();
        let still_inside = match &outcome {
            Ok(_) | Err(Failure { session: After::Done, .. }) => match statement.effect {
                Effect::Begins => true,
                Effect::Ends | Effect::RollsBack => false,
                Effect::None | Effect::Stays => inside,
            },
            Err(Failure { session: After::Untouched, .. }) => inside,
            // A COMMIT that fails ends the transaction, but one that PostgreSQL cannot parse does not: ask PostgreSQL.
            Err(Failure { session: After::Refused | After::Stale, .. }) if inside && statement.may_end() => {
                match lease.is_aborted().await {
                    Ok(aborted) => aborted,
                    Err(_) => {
                        lease.died();
                        if ends {
                            session.set(State::Idle);
                        }
                        return outcome.map_err(|failure| failure.error);
                    }
                }
            }
            Err(Failure { session: After::Refused | After::Stale, .. }) => inside,
            Err(Failure { session: after @ (After::Gone | After::Abandoned), .. }) => {
                if *after == After::Gone {
                    lease.died();
                }
                if ends || !inside {
                    session.set(State::Idle);
                }
                return outcome.map_err(|failure| failure.error);
            }
        };
        if matches!(&outcome, Err(Failure { session: After::Stale, .. })) {
            lease.must_close();
        }
        if still_inside {
            session.set(State::Open(lease));
        } else {
            session.set(State::Idle);
            lease.release();
        }
        outcome.map_err(|failure| failure.error)
    }
}

/// Marks a session with what the statement will leave in it.
fn mark(lease: &mut Lease, statement: Statement, sql: &str) {
    // A long statement would stay among the prepared ones, so it counts as a trace too.
    if statement.leaves_traces || sql.len() > CACHED_STATEMENT_BYTES {
        lease.must_close();
    }
}

fn check(sql: &str) -> Result<Statement, Error> {
    if sql.len() > MAX_STATEMENT_BYTES {
        return Err(failed(&format!("the statement is longer than {MAX_STATEMENT_BYTES} bytes")));
    }
    if sql.contains('\0') {
        // A zero byte would end the text in the protocol's message, and the server would misread the rest.
        return Err(failed("the statement has a zero byte"));
    }
    let statement = Statement::of(sql);
    if statement.is_copy {
        return Err(failed("COPY is not available: the interface has no way to give or take its data"));
    }
    Ok(statement)
}
