//! `spin:mqtt@3.0.0`: each function is a thin wrapper of [`Connection`].

use super::bindings::spin::mqtt::mqtt as wit;
use super::connection::{Address, Connection};
use super::{Error, Qos};
use crate::Ctx;
use crate::outbound::{DialPermit, Refusal};
use std::sync::Arc;
use wasmtime::component::{Accessor, HasSelf, Resource};

/// A guest's `connection` in the resource table; shared with the guest's pending calls.
#[allow(unreachable_pub, reason = "generated code names it in public items")]
pub type Handle = Arc<Connection>;

impl Ctx {
    /// Permission for a connection to `address`.
    pub(super) fn mqtt_permit(
        &self,
        address: &str,
        user: String,
        password: String,
        keep_alive: u64,
    ) -> Result<(Address, DialPermit), Error> {
        let address = Address::parse(address, user, password, keep_alive).ok_or(Error::InvalidAddress)?;
        let server = address.url.server();
        let permit = self.dial_permit(&server).map_err(|refusal| match refusal {
            Refusal::Denied => Error::ConnectionFailed(format!("{server} is not granted to this component")),
            Refusal::TooMany => Error::TooManyConnections,
        })?;
        Ok((address, permit))
    }

    /// The connection behind a guest's handle.
    pub(super) fn mqtt(&self, handle: &Resource<Handle>) -> wasmtime::Result<Handle> {
        Ok(self.table.get(handle)?.clone())
    }
}

type Guest = Accessor<Ctx, HasSelf<Ctx>>;
type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl wit::Host for Ctx {}

impl wit::HostConnection for Ctx {
    fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl wit::HostConnectionWithStore<Ctx> for HasSelf<Ctx> {
    async fn open(
        guest: &Guest,
        address: String,
        username: String,
        password: String,
        keep_alive_interval_in_secs: u64,
    ) -> Answer<Resource<Handle>> {
        let permit = guest
            .with(|mut access| access.get().mqtt_permit(&address, username, password, keep_alive_interval_in_secs));
        let (address, permit) = match permit {
            Ok(permit) => permit,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match Connection::open(&address, permit).await {
            Ok(connection) => Ok(guest.with(|mut access| access.get().table.push(Arc::new(connection)))?),
            Err(error) => Err(error),
        })
    }

    async fn publish(guest: &Guest, handle: Resource<Handle>, topic: String, payload: Vec<u8>, qos: Qos) -> Answer<()> {
        let _call = crate::pending::begin(guest, topic.len() + payload.len())?;
        let connection = guest.with(|mut access| access.get().mqtt(&handle))?;
        Ok(connection.publish(topic, payload, qos).await)
    }
}
