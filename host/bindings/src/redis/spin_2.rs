//! `fermyon:spin/redis@2.0.0`, which SDKs for WASI 0.2 import: the same connections, with synchronous functions.

use super::connection::Connection;
use super::host::Handle;
use super::{Error, RedisParameter, RedisResult};
use crate::Ctx;
use std::sync::Arc;
use wasmtime::component::{HasSelf, Linker, Resource};

#[allow(unreachable_pub, reason = "generated")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/fermyon-spin@2.0.0",
        inline: "package souk:bindings; world redis { import fermyon:spin/redis@2.0.0; }",
        world: "souk:bindings/redis",
        imports: { default: async | trappable },
        with: { "fermyon:spin/redis.connection": super::super::host::Handle },
    });
}
pub(super) use generated::fermyon::spin::redis as wit;

pub(super) fn add_to_linker(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Ctx, HasSelf<Ctx>>(linker, |ctx| ctx)
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl wit::Host for Ctx {}

impl wit::HostConnection for Ctx {
    async fn open(&mut self, address: String) -> Answer<Resource<Handle>> {
        let opened = match self.redis_permit(&address) {
            Ok((address, permit)) => Connection::open(&address, permit).await,
            Err(error) => Err(error),
        };
        Ok(match opened {
            Ok(connection) => Ok(self.table.push(Arc::new(connection))?),
            Err(error) => Err(error.into()),
        })
    }

    async fn publish(&mut self, handle: Resource<Handle>, channel: String, payload: Vec<u8>) -> Answer<()> {
        Ok(self.redis(&handle)?.publish(&channel, &payload).await.map_err(Into::into))
    }

    async fn get(&mut self, handle: Resource<Handle>, key: String) -> Answer<Option<Vec<u8>>> {
        Ok(self.redis(&handle)?.get(&key).await.map_err(Into::into))
    }

    async fn set(&mut self, handle: Resource<Handle>, key: String, value: Vec<u8>) -> Answer<()> {
        Ok(self.redis(&handle)?.set(&key, &value).await.map_err(Into::into))
    }

    async fn incr(&mut self, handle: Resource<Handle>, key: String) -> Answer<i64> {
        Ok(self.redis(&handle)?.incr(&key).await.map_err(Into::into))
    }

    async fn del(&mut self, handle: Resource<Handle>, keys: Vec<String>) -> Answer<u32> {
        Ok(self.redis(&handle)?.del(&keys).await.map_err(Into::into))
    }

    async fn sadd(&mut self, handle: Resource<Handle>, key: String, values: Vec<String>) -> Answer<u32> {
        Ok(self.redis(&handle)?.sadd(&key, &values).await.map_err(Into::into))
    }

    async fn smembers(&mut self, handle: Resource<Handle>, key: String) -> Answer<Vec<String>> {
        Ok(self.redis(&handle)?.smembers(&key).await.map_err(Into::into))
    }

    async fn srem(&mut self, handle: Resource<Handle>, key: String, values: Vec<String>) -> Answer<u32> {
        Ok(self.redis(&handle)?.srem(&key, &values).await.map_err(Into::into))
    }

    async fn execute(
        &mut self,
        handle: Resource<Handle>,
        command: String,
        arguments: Vec<wit::RedisParameter>,
    ) -> Answer<Vec<wit::RedisResult>> {
        let arguments = arguments.into_iter().map(Into::into).collect();
        let results = self.redis(&handle)?.execute(&command, arguments).await;
        Ok(results.map(|results| results.into_iter().map(Into::into).collect()).map_err(Into::into))
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
            Error::TypeError => wit::Error::TypeError,
            Error::Other(text) => wit::Error::Other(text),
        }
    }
}

impl From<wit::RedisParameter> for RedisParameter {
    fn from(parameter: wit::RedisParameter) -> Self {
        match parameter {
            wit::RedisParameter::Int64(number) => RedisParameter::Int64(number),
            wit::RedisParameter::Binary(bytes) => RedisParameter::Binary(bytes),
        }
    }
}

impl From<RedisResult> for wit::RedisResult {
    fn from(result: RedisResult) -> Self {
        match result {
            RedisResult::Nil => wit::RedisResult::Nil,
            RedisResult::Status(status) => wit::RedisResult::Status(status),
            RedisResult::Int64(number) => wit::RedisResult::Int64(number),
            RedisResult::Binary(bytes) => wit::RedisResult::Binary(bytes),
        }
    }
}
