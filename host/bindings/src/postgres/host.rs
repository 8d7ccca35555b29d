//! The interface's functions. Each is a thin wrapper of [`Connection`] and [`RowStream`](super::RowStream).
//!
//! `query` and `execute` are synchronous functions of the interface, so their instance waits until they return; the
//! host's threads do not. The functions with `-async` in their names let the instance go on.

use super::address::set_ca_root;
use super::bindings::spin::postgres::postgres as wit;
use super::error::{name_of, rejection};
use super::parameter::weight;
use super::{Address, AddressError, Column, Connection, Error, ParameterValue, Row, RowSet, State, UnreadRows};
use crate::boundary::Crossing;
use crate::producer::Producer;
use crate::tape::{self, Tape};
use crate::trace::Span;
use crate::{Ctx, Grants, pending};
use std::sync::Arc;
use tokio::sync::oneshot;
use wasmtime::component::{Accessor, FutureReader, HasData, Resource, ResourceTable, StreamReader};

/// The names of functions in recordings.
const OPEN: &str = "spin:postgres/postgres#open";
const QUERY: &str = "spin:postgres/postgres#query";
const EXECUTE: &str = "spin:postgres/postgres#execute";

/// A guest's `connection` in the resource table; shared with the guest's pending calls.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Handle = Arc<Connection>;

/// A guest's `connection-builder` in the resource table.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Builder = Result<Address, AddressError>;

/// Names the binding to wasmtime.
pub(super) struct Postgres;

impl HasData for Postgres {
    type Data<'a> = View<'a>;
}

/// The parts of a store that the binding uses.
pub(super) struct View<'a> {
    pub table: &'a mut ResourceTable,
    pub grants: &'a Arc<Grants>,
    pub state: &'a mut State,
    /// The call's trace id, for the log.
    pub trace: &'a str,
    /// The call's span.
    pub span: &'a Span,
    /// The call's tape, if it is recorded or replayed.
    pub tape: Option<&'a Tape>,
}

impl View<'_> {
    /// The parts of `ctx`.
    pub(super) fn of(ctx: &mut Ctx) -> View<'_> {
        View {
            table: &mut ctx.table,
            grants: &ctx.grants,
            state: &mut ctx.postgres,
            trace: &ctx.call.trace,
            span: &ctx.call.span,
            tape: ctx.call.tape.as_deref(),
        }
    }
}

fn bad(e: &AddressError) -> Error {
    Error::BadParameter(e.to_string())
}

impl View<'_> {
    /// A connection that has not connected yet. It counts from here on, so that connections that are opened at the same
    /// time cannot exceed the limit.
    pub(super) fn new_connection(&mut self, address: &Builder) -> Result<Handle, Error> {
        let address = address.as_ref().map_err(bad)?;
        self.state.admit(address)?;
        let state = &self.state;
        let transactions = state.transactions.clone();
        let unread = UnreadRows { bytes: state.unread.clone(), memory: self.grants.budget.clone() };
        let connection = self.grants.postgres.connection(address, transactions, unread, self.trace)?;
        let connection = Arc::new(connection);
        self.state.connections.push(Arc::downgrade(&connection));
        Ok(connection)
    }

    pub(super) async fn open_text(&mut self, address: &str) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        self.open_address(&Address::parse(address)).await
    }

    async fn open_address(&mut self, address: &Builder) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        let connection = match self.new_connection(address) {
            Ok(connection) => connection,
            Err(e) => return Ok(Err(e)),
        };
        match tape::over(tape::asked(self.tape, OPEN, String::new), connection.check()).await? {
            Ok(()) => Ok(Ok(self.table.push(connection)?)),
            Err(e) => Ok(Err(e)),
        }
    }

    pub(super) fn connection(&self, handle: &Resource<Handle>) -> wasmtime::Result<Handle> {
        Ok(self.table.get(handle)?.clone())
    }

    /// The connection, and the crossing of `statement`, which begins on it.
    fn crossing(&self, handle: &Resource<Handle>, statement: &str) -> wasmtime::Result<(Handle, Crossing)> {
        let connection = self.connection(handle)?;
        let mut crossing = self.grants.boundaries.postgres.open(self.span);
        crossing.statement(statement);
        Ok((connection, crossing))
    }
}

impl wit::Host for View<'_> {}

impl wit::HostConnectionBuilder for View<'_> {
    fn new(&mut self, address: String) -> wasmtime::Result<Resource<Builder>> {
        Ok(self.table.push(Address::parse(&address))?)
    }

    fn set_ca_root(&mut self, builder: Resource<Builder>, certificate: String) -> wasmtime::Result<Result<(), Error>> {
        let address = match self.table.get_mut(&builder)? {
            Ok(address) => address,
            Err(e) => return Ok(Err(bad(e))),
        };
        Ok(set_ca_root(address, &certificate).map_err(|e| bad(&e)))
    }

    async fn build(&mut self, builder: Resource<Builder>) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        let address = self.table.get(&builder)?.clone();
        self.open_address(&address).await
    }

    fn drop(&mut self, builder: Resource<Builder>) -> wasmtime::Result<()> {
        drop(self.table.delete(builder)?);
        Ok(())
    }
}

impl wit::HostConnection for View<'_> {
    async fn open(&mut self, address: String) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        self.open_text(&address).await
    }

    async fn query(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<RowSet, Error>> {
        self.run_query(&handle, statement, params).await
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        self.run(&handle, statement, params).await
    }

    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl View<'_> {
    /// Runs one statement and returns its rows.
    pub(super) async fn run_query(
        &mut self,
        handle: &Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<RowSet, Error>> {
        let (connection, mut crossing) = self.crossing(handle, &statement)?;
        let asked = tape::asked(self.tape, QUERY, || format!("{statement:?} {params:?}"));
        let result = tape::over(asked, connection.query(statement, params)).await?;
        if let Ok(result) = &result {
            crossing.rows(result.rows.len());
        }
        crossing.close_with(&result, name_of);
        report_rejected(self.grants, &result, self.trace);
        Ok(result)
    }

    /// Runs one statement and returns the number of rows that it changed.
    pub(super) async fn run(
        &mut self,
        handle: &Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let (connection, mut crossing) = self.crossing(handle, &statement)?;
        let asked = tape::asked(self.tape, EXECUTE, || format!("{statement:?} {params:?}"));
        let result = tape::over(asked, connection.execute(statement, params)).await?;
        if let Ok(rows) = &result {
            crossing.rows(*rows);
        }
        crossing.close_with(&result, name_of);
        report_rejected(self.grants, &result, self.trace);
        Ok(result)
    }
}

/// Logs a statement that PostgreSQL rejected, as it does where the statement does not fit the tables.
fn report_rejected<T>(grants: &Grants, result: &Result<T, Error>, trace: &str) {
    if let Some(why) = result.as_ref().err().and_then(rejection) {
        grants.denials.rejected("PostgreSQL", why, &grants.hidden, trace);
    }
}

/// The result of `query-async`: columns, rows, and how the statement ended.
type Rows = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>);

async fn open_async(
    store: &Accessor<Ctx, Postgres>,
    address: Builder,
) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
    let connection = match store.with(|mut store| store.get().new_connection(&address)) {
        Ok(connection) => connection,
        Err(e) => return Ok(Err(e)),
    };
    let tape = store.with(|mut store| store.data_mut().call.tape.clone());
    match tape::over(tape::asked(tape.as_deref(), OPEN, String::new), connection.check()).await? {
        Ok(()) => Ok(Ok(store.with(|mut store| store.get().table.push(connection))?)),
        Err(e) => Ok(Err(e)),
    }
}

impl wit::HostConnectionBuilderWithStore<Ctx> for Postgres {
    async fn build_async(
        store: &Accessor<Ctx, Self>,
        builder: Resource<Builder>,
    ) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        let address = store.with(|mut store| wasmtime::error::Ok(store.get().table.get(&builder)?.clone()))?;
        open_async(store, address).await
    }
}

impl wit::HostConnectionWithStore<Ctx> for Postgres {
    async fn open_async(
        store: &Accessor<Ctx, Self>,
        address: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, Error>> {
        open_async(store, Address::parse(&address)).await
    }

    async fn query_async(
        store: &Accessor<Ctx, Self>,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<Rows, Error>> {
        let _call = pending::begin(store, statement.len() + weight(&params))?;
        let (connection, crossing, grants, trace) = store.with(|mut store| {
            let view = store.get();
            tape::unrecorded(view.tape, "spin:postgres/postgres#query-async")?;
            let (connection, crossing) = view.crossing(&handle, &statement)?;
            wasmtime::error::Ok((connection, crossing, view.grants.clone(), view.trace.to_owned()))
        })?;
        let begun = connection.query_stream(statement, params).await;
        crossing.close_with(&begun, name_of);
        report_rejected(&grants, &begun, &trace);
        let mut rows = match begun {
            Ok(rows) => rows,
            Err(e) => return Ok(Err(e)),
        };
        let columns = rows.take_columns();
        store.with(|mut store| {
            let (end, ended) = if rows.is_ready() {
                (None, FutureReader::new(&mut store, async { wasmtime::error::Ok(Ok(())) })?)
            } else {
                let (end, ended) = oneshot::channel();
                // A stream that the guest drops before its end counts as successful.
                let ended = async { wasmtime::error::Ok(ended.await.unwrap_or(Ok(()))) };
                (Some(end), FutureReader::new(&mut store, ended)?)
            };
            let producer = Producer::new(rows, end);
            Ok(Ok((columns, StreamReader::new(&mut store, producer)?, ended)))
        })
    }

    async fn execute_async(
        store: &Accessor<Ctx, Self>,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let _call = pending::begin(store, statement.len() + weight(&params))?;
        let (connection, mut crossing, grants, trace) = store.with(|mut store| {
            let view = store.get();
            let (connection, crossing) = view.crossing(&handle, &statement)?;
            wasmtime::error::Ok((connection, crossing, view.grants.clone(), view.trace.to_owned()))
        })?;
        let tape = store.with(|mut store| store.data_mut().call.tape.clone());
        let asked = tape::asked(tape.as_deref(), EXECUTE, || format!("{statement:?} {params:?}"));
        let result = tape::over(asked, connection.execute(statement, params)).await?;
        if let Ok(rows) = &result {
            crossing.rows(*rows);
        }
        crossing.close_with(&result, name_of);
        report_rejected(&grants, &result, &trace);
        Ok(result)
    }
}
