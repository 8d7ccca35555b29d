//! Redis triggers: a component gets the messages of a channel, as in Spin.
//!
//! Delivery is at most once, as with Redis' publish and subscribe: a message is lost if it is published while there is
//! no connection, or if its component fails. The log says so. Use a durable link for messages that must not be lost.
//! The host reconnects for as long as it runs ([`connection`]).
//!
//! **Bounds.** A server ends a connection that is not read, so messages are taken at once, and dropped if there is no
//! memory for them ([`MAX_HELD_KIB`], and the limit `application_memory`). A message that is too large is dropped as it
//! comes, and what the client reads ahead has a bound ([`inflow`]). The component's instances bound the concurrent calls.

mod channel;
mod connection;
mod dial;
mod inflow;

pub use channel::{Channel, message_handler};

use channel::Served;
use connection::Connection;
use inflow::CONNECTION_BYTES;
use souk_manifest::RedisUrl;
use souk_manifest::limits::FixedLimit;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

souk_manifest::fixed_limits! {
    /// The fixed limits of Redis triggers.
    pub(crate) const FIXED_LIMITS = "redis triggers";

    /// The most memory for messages that wait for an instance or are in one; further messages are dropped.
    const MAX_HELD_KIB: usize = 128 * 1024, KiB;
}

/// Every fixed limit of Redis triggers.
pub(crate) fn fixed_limits() -> Vec<FixedLimit> {
    [FIXED_LIMITS, channel::FIXED_LIMITS, connection::FIXED_LIMITS, inflow::FIXED_LIMITS].concat()
}

/// The components that get the messages of each channel of a server.
type ChannelsByName = BTreeMap<Arc<str>, Vec<Channel>>;

/// The subscriptions of an application.
pub struct Listening {
    connections: TaskTracker,
    messages: TaskTracker,
    stop: CancellationToken,
}

/// Why a Redis server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// It does not answer, or refuses.
    #[error(
        "Redis at {server}: {why}\n  fix: start the server, or correct `address` of [[trigger.redis]] in line {line}: host \
         and port, user and password, `rediss://` for TLS"
    )]
    Unreachable {
        /// The server, without a password.
        server: String,
        /// What the client or the server says.
        why: String,
        /// The line of the trigger.
        line: usize,
    },
    /// The application has no memory left for what is read from it.
    #[error(
        "Redis at {server}: the application has no memory for the {} MiB that are read ahead\n  fix: raise \
         `application_memory` under [application.tool.souk.limits] in the manifest",
        CONNECTION_BYTES >> 20
    )]
    Memory {
        /// The server, without a password.
        server: String,
    },
}

impl Listening {
    /// Subscribes to `channels` and passes their messages on until `stop`.
    ///
    /// # Errors
    /// When a server does not answer, or refuses.
    pub async fn start(channels: &[Channel], stop: CancellationToken) -> Result<Self, RedisError> {
        let memory_kib = Arc::new(Semaphore::new(MAX_HELD_KIB));
        let (connections, messages) = (TaskTracker::new(), TaskTracker::new());
        let mut servers: Vec<(&RedisUrl, usize, ChannelsByName)> = Vec::new();
        for channel in channels {
            let known = servers.iter_mut().find(|(server, ..)| server.is_same(&channel.server));
            let by_name = match known {
                Some((.., by_name)) => by_name,
                None => {
                    servers.push((&channel.server, channel.line, BTreeMap::new()));
                    let Some((.., by_name)) = servers.last_mut() else { continue };
                    by_name
                }
            };
            by_name.entry(channel.name.clone()).or_default().push(channel.clone());
        }
        for (server, line, channels) in servers {
            let first = channels.values().flatten().next();
            let held = first.map(|channel| channel.application().hold(CONNECTION_BYTES as u64));
            let Some(held) = held.flatten() else { return Err(RedisError::Memory { server: server.to_string() }) };
            let served = Served { memory_kib: memory_kib.clone(), messages: messages.clone(), channels, _held: held };
            let connection = Connection::open(server, served).await.map_err(|why| RedisError::Unreachable {
                server: server.to_string(),
                why: why.to_string(),
                line,
            })?;
            connections.spawn(connection.run(stop.clone()));
        }
        Ok(Listening { connections, messages, stop })
    }

    /// Waits until it is stopped, then up to `timeout` for the messages in progress.
    pub async fn finish(self, timeout: Duration) {
        self.stop.cancelled().await;
        self.connections.close();
        self.connections.wait().await;
        self.messages.close();
        if tokio::time::timeout(timeout, self.messages.wait()).await.is_err() {
            tracing::error!(
                "{} messages of Redis are lost: they were in progress when the limit `drain` was over",
                self.messages.len()
            );
        }
    }
}
