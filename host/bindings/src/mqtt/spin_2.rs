//! `fermyon:spin/mqtt@2.0.0`, which SDKs for WASI 0.2 import: the same connections, with synchronous functions.

use super::connection::Connection;
use super::host::Handle;
use super::{Error, Qos};
use crate::Ctx;
use std::sync::Arc;
use wasmtime::component::{HasSelf, Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world mqtt { import fermyon:spin/mqtt@2.0.0; }",
        world: "souk:bindings/mqtt",
        imports: { default: async | trappable },
        with: { "fermyon:spin/mqtt.connection": super::super::host::Handle },
    });
}
pub(super) use generated::fermyon::spin::mqtt as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for Ctx {}

impl wit::HostConnection for Ctx {
    async fn open(
        &mut self,
        address: String,
        username: String,
        password: String,
        keep_alive_interval_in_secs: u64,
    ) -> Answer<Resource<Handle>> {
        let opened = match self.mqtt_permit(&address, username, password, keep_alive_interval_in_secs) {
            Ok((address, permit)) => Connection::open(&address, permit).await,
            Err(error) => Err(error),
        };
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(Arc::new(connection))?),
            Err(error) => Err(error.into()),
        })
    }

    async fn publish(
        &mut self,
        handle: Resource<Handle>,
        topic: String,
        payload: Vec<u8>,
        qos: wit::Qos,
    ) -> Answer<()> {
        let qos = match qos {
            wit::Qos::AtMostOnce => Qos::AtMostOnce,
            wit::Qos::AtLeastOnce => Qos::AtLeastOnce,
            wit::Qos::ExactlyOnce => Qos::ExactlyOnce,
        };
        Ok(self.mqtt(&handle)?.publish(topic, payload, qos).await.map_err(Into::into))
    }

    async fn drop(&mut self, handle: Resource<Handle>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl From<Error> for wit::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidAddress => wit::Error::InvalidAddress,
            Error::TooManyConnections => wit::Error::TooManyConnections,
            Error::ConnectionFailed(text) => wit::Error::ConnectionFailed(text),
            Error::Other(text) => wit::Error::Other(text),
        }
    }
}
