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

/// Why a Redis server cannot be used: a mistake in the table of a trigger.
#[derive(Debug)]
pub struct RedisError {
    /// The component of the trigger.
    pub component: Arc<str>,
    /// The line of the trigger.
    pub line: usize,
    /// What is wrong. It names the server without its password.
    pub message: String,
    /// What would fix it.
    pub fix: &'static str,
}

const UNREACHABLE_FIX: &str = "start the server, or correct `address` of [[trigger.redis]]: host and port, user and \
                               password, `rediss://` for TLS";

impl Listening {
    /// Subscribes to `channels` and passes their messages on until `stop`.
    ///
    /// # Errors
    /// When servers do not answer, or refuse: all of them. Then no connection is kept.
    pub async fn start(channels: &[Channel], stop: CancellationToken) -> Result<Self, Vec<RedisError>> {
        let memory_kib = Arc::new(Semaphore::new(MAX_HELD_KIB));
        let (connections, messages) = (TaskTracker::new(), TaskTracker::new());
        let mut servers: Vec<(&Channel, ChannelsByName)> = Vec::new();
        for channel in channels {
            let known = servers.iter_mut().find(|(first, _)| first.server.is_same(&channel.server));
            let by_name = match known {
                Some((_, by_name)) => by_name,
                None => {
                    servers.push((channel, BTreeMap::new()));
                    let Some((_, by_name)) = servers.last_mut() else { continue };
                    by_name
                }
            };
            by_name.entry(channel.name.clone()).or_default().push(channel.clone());
        }
        let (mut opened, mut errors) = (Vec::new(), Vec::new());
        for (first, channels) in servers {
            let server = &first.server;
            let error = |message, fix| RedisError { component: first.component(), line: first.line, message, fix };
            let Some(held) = first.application().hold(CONNECTION_BYTES as u64) else {
                let message = format!(
                    "Redis at {server}: the application has no memory for the {} MiB that are read ahead",
                    CONNECTION_BYTES >> 20
                );
                errors.push(error(message, "raise `application_memory` under [application.tool.souk.limits]"));
                continue;
            };
            let served = Served { memory_kib: memory_kib.clone(), messages: messages.clone(), channels, _held: held };
            match Connection::open(server, served).await {
                Ok(connection) => opened.push(connection),
                Err(why) => errors.push(error(format!("Redis at {server}: {why}"), UNREACHABLE_FIX)),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        for connection in opened {
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
