//! One connection to a Redis server, with subscriptions to all channels of that server. It reconnects whenever the
//! connection is lost.
//!
//! When a server disappears without closing the connection (a crashed machine, a broken network), an unanswered ping
//! shows it.

use super::channel::Served;
use super::dial::dial;
use super::inflow::{Ahead, Inflow};
use crate::durable::LogThrottle;
use backon::{BackoffBuilder as _, ExponentialBuilder};
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{RedisError, RedisResult};
use souk_manifest::RedisUrl;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

souk_manifest::fixed_limits! {
    /// The fixed limits of connections.
    pub(crate) const FIXED_LIMITS = "redis triggers";

    /// How long a server may take to accept a connection and the subscriptions to its channels.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How often a server is asked whether it is still there.
    const PING_INTERVAL: Duration = Duration::from_secs(10);
    /// How long the server may take to answer a ping before the host reconnects.
    const PING_TIMEOUT: Duration = Duration::from_secs(5);
    /// The pause before the first attempt to reconnect; it doubles with each failure.
    const MIN_PAUSE: Duration = Duration::from_millis(100);
    /// The longest such pause. Jitter makes every pause up to twice as long.
    const MAX_PAUSE: Duration = Duration::from_secs(5);
}

/// The pauses between attempts to connect. Jitter keeps hosts from all reconnecting at the same time.
const PAUSES: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(MIN_PAUSE).with_max_delay(MAX_PAUSE).without_max_times().with_jitter();

/// Why a connection failed.
#[derive(Debug)]
pub(super) enum ConnectionError {
    /// The client or the server reported an error.
    Redis(RedisError),
    /// The server did not answer in time.
    Timeout,
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectionError::Redis(error) => error.fmt(f),
            ConnectionError::Timeout => f.write_str("the server did not answer in time"),
        }
    }
}

/// A connection with its subscriptions.
pub(super) struct Connection {
    server: RedisUrl,
    served: Served,
    pubsub: Subscribed,
}

/// The two halves of the client, and how much of what it has read is not passed on.
type Subscribed = (PubSubSink, PubSubStream, Arc<Ahead>);

impl Connection {
    /// Connects to `server` and subscribes to the channels of `served`.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub(super) async fn open(server: &RedisUrl, served: Served) -> Result<Self, ConnectionError> {
        let pubsub = subscribe(server, &served).await?;
        Ok(Connection { server: server.clone(), served, pubsub })
    }

    /// Passes messages on until `stop`, or until all channels have ended: a server that a reload no longer names may go
    /// away.
    pub(super) async fn run(self, stop: CancellationToken) {
        let all_ended = self.served.all_ended();
        tokio::select! {
            () = all_ended => {}
            () = self.run_on(stop) => {}
        }
    }

    async fn run_on(mut self, stop: CancellationToken) {
        let dropped = LogThrottle::default();
        loop {
            let lost = self.read(&dropped);
            let Some(why) = stop.run_until_cancelled(lost).await else { return };
            tracing::warn!(server = %self.server, "the connection to Redis at {} is lost: {why}", self.server);
            if stop.run_until_cancelled(self.reconnect()).await.is_none() {
                return;
            }
            tracing::warn!(
                server = %self.server,
                "Redis at {} is connected again; messages that were published meanwhile are lost",
                self.server
            );
        }
    }

    /// Passes messages on until the connection is lost; returns why it was lost.
    async fn read(&mut self, dropped: &LogThrottle) -> ConnectionError {
        let (sink, stream, ahead) = &mut self.pubsub;
        let mut ticks = interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        // Concurrent with the messages: waiting for the answer to a ping must not delay them.
        let pings = async {
            let mut subscribed: BTreeSet<Arc<str>> = self.served.channels.keys().cloned().collect();
            loop {
                ticks.tick().await;
                let current = self.served.names();
                for ended in subscribed.difference(&current) {
                    if let Err(error) = sink.unsubscribe(&**ended).await {
                        return ConnectionError::Redis(error);
                    }
                }
                subscribed = current;
                match timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return ConnectionError::Redis(error),
                    Err(_) => return ConnectionError::Timeout,
                }
            }
        };
        let messages = async {
            while let Some(message) = ahead.next(stream).await {
                self.served.take(&message, dropped);
            }
        };
        tokio::select! {
            why = pings => why,
            () = messages => ConnectionError::Redis((redis::ErrorKind::Io, "the server closed the connection").into()),
        }
    }

    /// Connects again, for as long as it takes.
    async fn reconnect(&mut self) {
        let throttle = LogThrottle::default();
        for pause in PAUSES.build() {
            sleep(pause).await;
            match subscribe(&self.server, &self.served).await {
                Ok(pubsub) => {
                    self.pubsub = pubsub;
                    return;
                }
                Err(why) => throttle.failed(|_| {
                    tracing::warn!(server = %self.server, "Redis at {} does not answer: {why}", self.server);
                }),
            }
        }
    }
}

/// Connects and subscribes to the channels.
async fn subscribe(server: &RedisUrl, served: &Served) -> Result<Subscribed, ConnectionError> {
    let subscribed = async {
        let ahead = Arc::<Ahead>::default();
        let (read, write) = tokio::io::split(dial(server).await?);
        let checked = tokio::io::join(Inflow::new(read, ahead.clone()), write);
        let (mut sink, stream) = PubSub::new(server.connection_info().redis_settings(), checked).await?.split();
        for channel in served.names() {
            sink.subscribe(&*channel).await?;
        }
        RedisResult::Ok((sink, stream, ahead))
    };
    match timeout(CONNECT_TIMEOUT, subscribed).await {
        Ok(subscribed) => subscribed.map_err(ConnectionError::Redis),
        Err(_) => Err(ConnectionError::Timeout),
    }
}
