//! The commands of a call on a guest's connection. Each is measured, and is a span of the call's trace: with the command's
//! name, but never with keys and values.

use super::connection::Connection;
use super::{Error, RedisParameter, RedisResult};
use crate::boundary::Boundary;
use crate::trace::{Span, operation};
use ::redis::{Arg, Cmd, FromRedisValue, Value, cmd};
use std::sync::Arc;

/// A connection, for the commands of one call.
pub(super) struct Commands {
    connection: Arc<Connection>,
    boundary: Boundary,
    /// The call's span.
    span: Span,
}

impl Commands {
    pub(super) fn new(connection: Arc<Connection>, boundary: Boundary, span: Span) -> Self {
        Commands { connection, boundary, span }
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut crossing = self.boundary.open(&self.span);
        crossing.name(|| name(command));
        let answer = self.connection.send(command).await;
        crossing.close_with(&answer, name_of);
        answer
    }

    pub(super) async fn publish(&self, channel: &str, payload: &[u8]) -> Result<(), Error> {
        self.send(cmd("PUBLISH").arg(channel).arg(payload)).await
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.send(cmd("GET").arg(key)).await
    }

    pub(super) async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.send(cmd("SET").arg(key).arg(value)).await
    }

    pub(super) async fn incr(&self, key: &str) -> Result<i64, Error> {
        self.send(cmd("INCRBY").arg(key).arg(1)).await
    }

    pub(super) async fn del(&self, keys: &[String]) -> Result<u32, Error> {
        self.send(cmd("DEL").arg(keys)).await
    }

    pub(super) async fn sadd(&self, key: &str, values: &[String]) -> Result<u32, Error> {
        self.send(cmd("SADD").arg(key).arg(values)).await
    }

    pub(super) async fn smembers(&self, key: &str) -> Result<Vec<String>, Error> {
        self.send(cmd("SMEMBERS").arg(key)).await
    }

    pub(super) async fn srem(&self, key: &str, values: &[String]) -> Result<u32, Error> {
        self.send(cmd("SREM").arg(key).arg(values)).await
    }

    pub(super) async fn execute(
        &self,
        command: &str,
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>, Error> {
        let mut command = cmd(command);
        for argument in arguments {
            match argument {
                RedisParameter::Int64(number) => command.arg(number),
                RedisParameter::Binary(bytes) => command.arg(bytes),
            };
        }
        let mut results = Vec::new();
        append(&mut results, self.send(&command).await?)?;
        Ok(results)
    }
}

/// The name of a command: a guest may send any, so only the first word of it is shown.
fn name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(Arg::Simple(name)) => operation(&String::from_utf8_lossy(name)),
        _ => String::new(),
    }
}

/// The error's name in metrics and traces.
fn name_of(error: &Error) -> &'static str {
    match error {
        Error::InvalidAddress => "invalid-address",
        Error::TooManyConnections => "too-many-connections",
        Error::TypeError => "type-error",
        Error::Other(_) => "other",
    }
}

/// An answer of any form as a flat list, as in Spin.
fn append(results: &mut Vec<RedisResult>, answer: Value) -> Result<(), Error> {
    match answer {
        Value::Nil => results.push(RedisResult::Nil),
        Value::Int(number) => results.push(RedisResult::Int64(number)),
        Value::BulkString(bytes) => results.push(RedisResult::Binary(bytes)),
        Value::SimpleString(status) => results.push(RedisResult::Status(status)),
        Value::Okay => results.push(RedisResult::Status("OK".to_owned())),
        Value::Array(values) | Value::Set(values) => {
            for value in values {
                append(results, value)?;
            }
        }
        Value::ServerError(error) => return Err(Error::Other(error.to_string())),
        // These occur only in the newer protocol.
        _ => return Err(Error::Other("an answer that the interface has no form for".to_owned())),
    }
    Ok(())
}
