//! One statement on one session.

use super::buffer::Peak;
use super::error::{After, Failure};
use super::parameter::Parameter;
use super::pool::Lease;
use super::value;
use super::{Column, Error, MAX_RESULT_BYTES, ParameterValue, Row};
use futures::StreamExt as _;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{AssertSqlSafe, Either, Executor as _, SqlSafeStr as _, Statement as _};
use std::future::Future;
use std::sync::Arc;

/// Receives the rows of a statement.
pub(super) trait Sink {
    /// The columns, before the first row, and before the statement has run.
    fn columns(&mut self, columns: &[Column]) -> impl Future<Output = Result<(), Stop>> + Send;
    /// A row, and its size in memory in bytes.
    fn row(&mut self, row: Row, weight: usize) -> impl Future<Output = Result<(), Stop>> + Send;
}

/// The receiver wants no more rows.
#[derive(Debug)]
pub(super) struct Stop;

/// Runs `sql` to its end. Returns the number of rows that it affected, as PostgreSQL counts them; for a query, the rows
/// that it returned.
///
/// # Errors
/// When PostgreSQL refuses the statement, or a value cannot be converted. An error in a row is returned only after all
/// rows were read, so that the statement's effect does not depend on it. Only a row or error that takes too much memory
/// ends the statement at once ([`After::Abandoned`]); then it is unknown whether the statement took effect.
pub(super) async fn run(
    lease: &mut Lease,
    sql: &Arc<str>,
    params: &[ParameterValue],
    sink: &mut impl Sink,
) -> Result<u64, Failure> {
    let mut peak = Peak::default();
    let outcome = run_in(lease.session(), sql, params, sink, &mut peak).await;
    if peak.is_large() {
        lease.must_close();
    }
    outcome
}

async fn run_in(
    session: &mut PgConnection,
    sql: &Arc<str>,
    params: &[ParameterValue],
    sink: &mut impl Sink,
    peak: &mut Peak,
) -> Result<u64, Failure> {
    let sql = AssertSqlSafe(sql.clone()).into_sql_str();
    // Without types, so that PostgreSQL reports the types that it expects; sqlx keeps them with the prepared statement.
    let statement = peak.bound(session.prepare_with(sql, &[])).await??;
    let columns: Vec<Column> = statement.columns().iter().map(value::column).collect();
    let (arguments, sent) =
        arguments(&statement, params).map_err(|error| Failure { error, session: After::Untouched })?;
    let stopped =
        |_: Stop| Failure { error: Error::Other("nobody reads the rows".to_owned()), session: After::Abandoned };
    sink.columns(&columns).await.map_err(stopped)?;
    peak.allow_sending(sent);
    let (mut concerned, mut misfit) = (0, None);
    let mut results = session.fetch_many(statement.query_with(arguments));
    while let Some(result) = peak.bound(results.next()).await? {
        // Many rows arrive at once, and converting each can take long, so this lets other tasks of the thread run.
        tokio::task::coop::consume_budget().await;
        match result? {
            Either::Left(done) => concerned += done.rows_affected(),
            Either::Right(_) if misfit.is_some() => {}
            Either::Right(row) => match value::read_row(&row, &columns) {
                Ok((row, weight)) => {
                    peak.count(weight);
                    sink.row(row, weight).await.map_err(stopped)?;
                }
                Err(what) => misfit = Some(what),
            },
        }
    }
    match misfit {
        None => Ok(concerned),
        Some(what) => Err(Failure { error: Error::ValueConversionFailed(what), session: After::Done }),
    }
}

/// The parameters as PostgreSQL is sent them, and their bytes.
fn arguments(
    statement: &sqlx::postgres::PgStatement,
    params: &[ParameterValue],
) -> Result<(PgArguments, usize), Error> {
    let types = match statement.parameters() {
        Some(Either::Left(types)) => types,
        _ => &[],
    };
    if types.len() != params.len() {
        let (wanted, given) = (types.len(), params.len());
        return Err(Error::BadParameter(format!("the statement has {wanted} parameters, and {given} were given")));
    }
    let (mut arguments, mut sent) = (PgArguments::default(), 0);
    for (index, (value, ty)) in params.iter().zip(types).enumerate() {
        let bad = |what: String| Error::BadParameter(format!("parameter ${}: {what}", index + 1));
        let parameter = Parameter::new(value, ty).map_err(bad)?;
        sent += parameter.len();
        sqlx::Arguments::add(&mut arguments, parameter).map_err(|e| bad(e.to_string()))?;
    }
    Ok((arguments, sent))
}

/// Drops the rows.
pub(super) struct DiscardRows;

impl Sink for DiscardRows {
    async fn columns(&mut self, _: &[Column]) -> Result<(), Stop> {
        Ok(())
    }

    async fn row(&mut self, _: Row, _: usize) -> Result<(), Stop> {
        Ok(())
    }
}

/// Keeps the rows, up to [`MAX_RESULT_BYTES`].
#[derive(Debug, Default)]
pub(super) struct CollectRows {
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    pub bytes: usize,
    /// Whether a result that is too large is still read to its end, because stopping would undo the statement.
    pub to_the_end: bool,
}

impl CollectRows {
    /// Whether there were more rows than can be kept.
    pub(super) fn is_too_large(&self) -> bool {
        self.bytes > MAX_RESULT_BYTES
    }
}

impl Sink for CollectRows {
    async fn columns(&mut self, columns: &[Column]) -> Result<(), Stop> {
        self.columns = columns.to_vec();
        Ok(())
    }

    async fn row(&mut self, row: Row, weight: usize) -> Result<(), Stop> {
        if !self.is_too_large() {
            self.bytes += weight;
            self.rows.push(row);
        }
        if self.is_too_large() {
            self.rows = Vec::new();
        }
        if self.is_too_large() && !self.to_the_end { Err(Stop) } else { Ok(()) }
    }
}
