//! The interface's functions. Each is a thin wrapper of [`Connection`] and [`RowStream`](super::RowStream).
//!
//! `execute` is a synchronous function of the interface, so its instance waits until it returns; the host's threads do
//! not. `execute-async` lets the instance go on.

use super::bindings::spin::sqlite::sqlite as wit;
use super::error::{is_rejected, name_of};
use super::stream::{Counted, Unread};
use super::value::weight;
use super::{Connection, Error, MAX_CONNECTIONS, QueryResult, RowResult, State, Value};
use crate::call::CallContext;
use crate::producer::Producer;
use crate::tape::{self, Tape};
use crate::trace::Span;
use crate::{Ctx, Grants, pending};
use std::sync::Arc;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, FutureReader, HasData, Resource, ResourceTable, StreamReader};

/// The names of functions in recordings.
const EXECUTE: &str = "spin:sqlite/sqlite#execute";
const LAST_ROW: &str = "spin:sqlite/sqlite#last-insert-rowid";
const CHANGES: &str = "spin:sqlite/sqlite#changes";

/// A guest's `connection` in the resource table; shared with the guest's pending calls.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Handle = Arc<Connection>;

/// Names the binding to wasmtime.
pub(super) struct Sqlite;

impl HasData for Sqlite {
    type Data<'a> = View<'a>;
}

/// The parts of a store that the binding uses.
pub(super) struct View<'a> {
    pub table: &'a mut ResourceTable,
    pub grants: &'a Arc<Grants>,
    pub state: &'a mut State,
    /// The call's span.
    pub span: &'a Span,
    /// The call's id in the log.
    pub trace: &'a str,
    /// The call's tape, if it is recorded or replayed.
    pub tape: Option<&'a Tape>,
}

impl View<'_> {
    /// The parts of `ctx`.
    pub(super) fn of(ctx: &mut Ctx) -> View<'_> {
        let CallContext { span, tape, trace, .. } = &ctx.call;
        View { table: &mut ctx.table, grants: &ctx.grants, state: &mut ctx.sqlite, span, trace, tape: tape.as_deref() }
    }

    pub(super) fn open_label(&mut self, label: &str) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        let Some(database) = self.grants.sqlite.get(label) else {
            let entry = format!("it to sqlite_databases of [component.{}]", self.grants.component);
            self.grants.denials.refused(&format!("the database {label:?}"), &entry, self.trace);
            return Ok(Err(Error::AccessDenied));
        };
        if self.state.connections >= MAX_CONNECTIONS {
            return Ok(Err(Error::Io(format!(
                "{MAX_CONNECTIONS} connections are open; drop those that are not in use"
            ))));
        }
        let connection =
            Connection::new(database.clone(), self.grants.sqlite.share().clone(), self.state.transactions.clone());
        let handle = self.table.push(Arc::new(connection))?;
        self.state.connections += 1;
        Ok(Ok(handle))
    }

    pub(super) fn connection(&self, handle: &Resource<Handle>) -> wasmtime::Result<Handle> {
        Ok(self.table.get(handle)?.clone())
    }

    /// Runs one statement and returns its whole result.
    pub(super) async fn run(
        &mut self,
        handle: &Resource<Handle>,
        sql: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        let connection = self.connection(handle)?;
        let mut crossing = self.grants.boundaries.sqlite.open(self.span);
        crossing.statement(&sql);
        let asked = tape::asked(self.tape, EXECUTE, || format!("{sql:?} {params:?}"));
        let result = tape::over(asked, connection.execute(sql, params)).await?;
        if let Ok(result) = &result {
            crossing.rows(result.rows.len());
        }
        crossing.close_with(&result, name_of);
        report_rejected(self.grants, &result, self.trace);
        Ok(result)
    }

    pub(super) fn close(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        self.state.connections = self.state.connections.saturating_sub(1);
        Ok(())
    }
}

/// Logs a statement that SQLite rejected, as it does where the statement does not fit the tables.
fn report_rejected<T>(grants: &Grants, result: &Result<T, Error>, trace: &str) {
    if let Err(Error::Io(why)) = result
        && is_rejected(why)
    {
        grants.denials.rejected("SQLite", why, &grants.hidden, trace);
    }
}

impl wit::Host for View<'_> {}

impl wit::HostConnection for View<'_> {
    fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        self.open_label(&label)
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        sql: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<QueryResult, Error>> {
        self.run(&handle, sql, params).await
    }

    fn last_insert_rowid(&mut self, handle: Resource<Handle>) -> wasmtime::Result<i64> {
        let connection = self.connection(&handle)?;
        tape::now(tape::asked(self.tape, LAST_ROW, String::new), || connection.last_insert_rowid())
    }

    fn changes(&mut self, handle: Resource<Handle>) -> wasmtime::Result<u64> {
        let connection = self.connection(&handle)?;
        tape::now(tape::asked(self.tape, CHANGES, String::new), || connection.changes())
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.close(handle)
    }
}

/// The result of `execute-async`: columns, rows, and how the statement ended.
type Rows = (Vec<String>, StreamReader<RowResult>, FutureReader<Result<(), Error>>);

impl wit::HostConnectionWithStore<Ctx> for Sqlite {
    async fn open_async(
        store: &Accessor<Ctx, Self>,
        label: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        store.with(|mut store| store.get().open_label(&label))
    }

    async fn execute_async(
        store: &Accessor<Ctx, Self>,
        handle: Resource<Handle>,
        sql: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<Rows, Error>> {
        let _call = pending::begin(store, sql.len() + weight(&params))?;
        let (connection, mut crossing, grants, trace) = store.with(|mut store| {
            let view = store.get();
            tape::unrecorded(view.tape, "spin:sqlite/sqlite#execute-async")?;
            let crossing = view.grants.boundaries.sqlite.open(view.span);
            wasmtime::error::Ok((view.connection(&handle)?, crossing, view.grants.clone(), view.trace.to_owned()))
        })?;
        crossing.statement(&sql);
        let begun = connection.query_stream(sql, params).await;
        crossing.close_with(&begun, name_of);
        report_rejected(&grants, &begun, &trace);
        let mut rows = match begun {
            Ok(rows) => rows,
            Err(e) => return Ok(Err(e)),
        };
        let columns = rows.take_columns();
        store.with(|mut store| {
            let unread = match Unread::take(&store.get().state.unread, rows.bytes()) {
                Ok(unread) => unread,
                Err(e) => return Ok(Err(e)),
            };
            let Some(held) = grants.budget.hold(rows.bytes() as u64) else {
                return Ok(Err(Error::Io(grants.budget.no_room_for_rows(rows.bytes()))));
            };
            let (end, ended) = if rows.is_ready() {
                (None, FutureReader::new(&mut store, async { wasmtime::error::Ok(Ok(())) })?)
            } else {
                let (end, ended) = oneshot::channel();
                // A stream that the guest drops before its end counts as successful.
                let ended = async { wasmtime::error::Ok(ended.await.unwrap_or(Ok(()))) };
                (Some(end), FutureReader::new(&mut store, ended)?)
            };
            let producer = Producer::new(Counted { rows, _unread: unread, _held: held }, end);
            Ok(Ok((columns, StreamReader::new(&mut store, producer)?, ended)))
        })
    }

    async fn last_insert_rowid_async(store: &Accessor<Ctx, Self>, handle: Resource<Handle>) -> wasmtime::Result<i64> {
        store.with(|mut store| wit::HostConnection::last_insert_rowid(&mut store.get(), handle))
    }

    async fn changes_async(store: &Accessor<Ctx, Self>, handle: Resource<Handle>) -> wasmtime::Result<u64> {
        store.with(|mut store| wit::HostConnection::changes(&mut store.get(), handle))
    }
}
