//! `spin:mysql@3.0.0`: each function is a thin wrapper of [`Connection`].

use super::address::Address;
use super::bindings::spin::mysql::mysql as wit;
use super::connection::Rows as Read;
use super::{Column, Connection, Error, ParameterValue, Row};
use crate::boundary::Crossing;
use crate::outbound::{DialPermit, Refusal};
use crate::pending::PendingCall;
use crate::producer::{Batch, Producer, Source};
use crate::{Ctx, pending};
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime::component::{Accessor, FutureReader, HasSelf, Resource, StreamReader};

/// A guest's `connection` in the resource table; shared with the guest's pending calls.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Handle = Arc<Connection>;

impl Ctx {
    /// Permission for a connection to `address`, and the marker of a possible transaction that the connection keeps.
    pub(super) fn mysql_permit(&self, address: &str) -> Result<(Address, DialPermit, Arc<()>), Error> {
        let address = Address::parse(address).map_err(Error::BadParameter)?;
        let server = address.url.server();
        let permit = self.dial_permit(&server).map_err(|refusal| {
            Error::ConnectionFailed(match refusal {
                Refusal::Denied => format!("{server} is not granted to this component"),
                Refusal::TooMany => "too many connections are open; drop those that are not in use".to_owned(),
            })
        })?;
        Ok((address, permit, self.outbound.database()))
    }

    /// The connection behind a guest's handle, and the crossing of `statement`, which begins on it.
    pub(super) fn mysql(&self, handle: &Resource<Handle>, statement: &str) -> wasmtime::Result<(Handle, Crossing)> {
        let connection = self.table.get(handle)?.clone();
        let mut crossing = self.grants.boundaries.mysql.open(&self.call.span);
        crossing.statement(statement);
        Ok((connection, crossing))
    }
}

/// Runs a statement whose crossing has begun.
pub(super) async fn run(
    (connection, mut crossing): (Handle, Crossing),
    statement: String,
    params: Vec<ParameterValue>,
) -> Result<Read, Error> {
    let result = connection.query(statement, params).await;
    if let Ok(read) = &result {
        crossing.rows(read.rows.len());
    }
    crossing.close_with(&result, name_of);
    result
}

/// The error's name in metrics and traces.
fn name_of(error: &Error) -> &'static str {
    match error {
        Error::ConnectionFailed(_) => "connection-failed",
        Error::BadParameter(_) => "bad-parameter",
        Error::QueryFailed(_) => "query-failed",
        Error::ValueConversionFailed(_) => "value-conversion-failed",
        Error::Other(_) => "other",
    }
}

type Guest = Accessor<Ctx, HasSelf<Ctx>>;
type Answer<T> = wasmtime::Result<Result<T, Error>>;

/// Rows that the guest has not read yet. They count as memory of the instance until it has, or drops the stream.
struct Unread {
    rows: std::vec::IntoIter<Row>,
    _held: PendingCall,
}

impl Source for Unread {
    type Item = Row;
    type Error = Error;

    fn poll_batch(&mut self, _: &mut Context<'_>, wanted: usize) -> Poll<Batch<Self>> {
        let batch: Vec<_> = self.rows.by_ref().take(wanted).collect();
        Poll::Ready((!batch.is_empty()).then_some(Ok(batch)))
    }

    fn is_done(&self) -> bool {
        self.rows.len() == 0
    }
}

/// The result of `query`: columns, rows, and how the statement ended, which is already known.
type Rows = (Vec<Column>, StreamReader<Row>, FutureReader<Result<(), Error>>);

/// The bytes that these parameters take.
fn weight(params: &[ParameterValue]) -> usize {
    let bytes = params.iter().map(|param| match param {
        ParameterValue::Str(text) => text.len(),
        ParameterValue::Binary(bytes) => bytes.len(),
        _ => 0,
    });
    bytes.sum::<usize>() + size_of_val(params)
}

impl wit::Host for Ctx {}

impl wit::HostConnection for Ctx {
    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl wit::HostConnectionWithStore<Ctx> for HasSelf<Ctx> {
    async fn open(guest: &Guest, address: String) -> Answer<Resource<Handle>> {
        let (address, permit, database) = match guest.with(|mut access| access.get().mysql_permit(&address)) {
            Ok(permit) => permit,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match Connection::open(&address, permit, database).await {
            Ok(connection) => Ok(guest.with(|mut access| access.get().table.push(Arc::new(connection)))?),
            Err(error) => Err(error),
        })
    }

    async fn query(
        guest: &Guest,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Answer<Rows> {
        let _call = pending::begin(guest, statement.len() + weight(&params))?;
        let begun = guest.with(|mut access| access.get().mysql(&handle, &statement))?;
        let rows = match run(begun, statement, params).await {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error)),
        };
        let held = match pending::begin(guest, rows.bytes) {
            Ok(held) => held,
            Err(error) => return Ok(Err(Error::QueryFailed(format!("the rows were not kept: {error}")))),
        };
        let unread = Unread { rows: rows.rows.into_iter(), _held: held };
        guest.with(|mut store| {
            let ended = FutureReader::new(&mut store, async { wasmtime::error::Ok(Ok(())) })?;
            Ok(Ok((rows.columns, StreamReader::new(&mut store, Producer::new(unread, None))?, ended)))
        })
    }

    async fn execute(
        guest: &Guest,
        handle: Resource<Handle>,
        statement: String,
        params: Vec<ParameterValue>,
    ) -> Answer<()> {
        let _call = pending::begin(guest, statement.len() + weight(&params))?;
        let begun = guest.with(|mut access| access.get().mysql(&handle, &statement))?;
        Ok(run(begun, statement, params).await.map(drop))
    }
}
