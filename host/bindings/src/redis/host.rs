//! `spin:redis@3.0.0`: each function is a thin wrapper of [`Connection`].

use super::bindings::spin::redis::redis as wit;
use super::commands::Commands;
use super::connection::{Address, Connection};
use super::{Error, RedisParameter, RedisResult};
use crate::outbound::{DialPermit, Refusal};
use crate::{Ctx, pending};
use std::sync::Arc;
use wasmtime::component::{Accessor, HasSelf, Resource};

/// A guest's `connection` in the resource table; shared with the guest's pending calls.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Handle = Arc<Connection>;

/// An answer for a guest, or a trap.
pub(super) type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Ctx {
    /// Permission for a connection to `address`.
    pub(super) fn redis_permit(&self, address: &str) -> Result<(Address, DialPermit), Error> {
        let address = Address::parse(address).ok_or(Error::InvalidAddress)?;
        let permit = self.dial_permit(&address.server()).map_err(|refusal| match refusal {
            Refusal::Denied => Error::InvalidAddress,
            Refusal::TooMany => Error::TooManyConnections,
        })?;
        Ok((address, permit))
    }

    /// The connection behind a guest's handle, for the commands of its call.
    pub(super) fn redis(&self, handle: &Resource<Handle>) -> wasmtime::Result<Commands> {
        let (boundary, span) = (self.grants.boundaries.redis.clone(), self.call.span.clone());
        Ok(Commands::new(self.table.get(handle)?.clone(), boundary, span))
    }
}

type Guest = Accessor<Ctx, HasSelf<Ctx>>;

fn connection(guest: &Guest, handle: &Resource<Handle>) -> wasmtime::Result<Commands> {
    guest.with(|mut access| access.get().redis(handle))
}

/// The bytes that these arguments take.
fn weight(arguments: &[RedisParameter]) -> usize {
    let bytes = arguments.iter().map(|argument| match argument {
        RedisParameter::Binary(bytes) => bytes.len(),
        RedisParameter::Int64(_) => 0,
    });
    bytes.sum::<usize>() + size_of_val(arguments)
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
        let (address, permit) = match guest.with(|mut access| access.get().redis_permit(&address)) {
            Ok(permit) => permit,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match Connection::open(&address, permit).await {
            Ok(connection) => Ok(guest.with(|mut access| access.get().table.push(Arc::new(connection)))?),
            Err(error) => Err(error),
        })
    }

    async fn publish(guest: &Guest, handle: Resource<Handle>, channel: String, payload: Vec<u8>) -> Answer<()> {
        let _call = pending::begin(guest, channel.len() + payload.len())?;
        Ok(connection(guest, &handle)?.publish(&channel, &payload).await)
    }

    async fn get(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<Option<Vec<u8>>> {
        let _call = pending::begin(guest, key.len())?;
        Ok(connection(guest, &handle)?.get(&key).await)
    }

    async fn set(guest: &Guest, handle: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        let _call = pending::begin(guest, key.len() + value.len())?;
        Ok(connection(guest, &handle)?.set(&key, &value).await)
    }

    async fn incr(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<i64> {
        let _call = pending::begin(guest, key.len())?;
        Ok(connection(guest, &handle)?.incr(&key).await)
    }

    async fn del(guest: &Guest, handle: Resource<Handle>, keys: Vec<String>) -> Answer<u32> {
        let _call = pending::begin(guest, pending::texts(&keys))?;
        Ok(connection(guest, &handle)?.del(&keys).await)
    }

    async fn sadd(guest: &Guest, handle: Resource<Handle>, key: String, values: Vec<String>) -> Answer<u32> {
        let _call = pending::begin(guest, key.len() + pending::texts(&values))?;
        Ok(connection(guest, &handle)?.sadd(&key, &values).await)
    }

    async fn smembers(guest: &Guest, handle: Resource<Handle>, key: String) -> Answer<Vec<String>> {
        let _call = pending::begin(guest, key.len())?;
        Ok(connection(guest, &handle)?.smembers(&key).await)
    }

    async fn srem(guest: &Guest, handle: Resource<Handle>, key: String, values: Vec<String>) -> Answer<u32> {
        let _call = pending::begin(guest, key.len() + pending::texts(&values))?;
        Ok(connection(guest, &handle)?.srem(&key, &values).await)
    }

    async fn execute(
        guest: &Guest,
        handle: Resource<Handle>,
        command: String,
        arguments: Vec<RedisParameter>,
    ) -> Answer<Vec<RedisResult>> {
        let _call = pending::begin(guest, command.len() + weight(&arguments))?;
        Ok(connection(guest, &handle)?.execute(&command, arguments).await)
    }
}
