//! Connections that a guest holds as a `connection`: to Redis, MySQL and MQTT servers.
//!
//! The state of such a connection (the selected database, a transaction, a subscription) belongs to the guest, so it is
//! never shared or reused. Instead, the number of connections of an instance and of the application is limited.

use super::{AllowedHosts, Resolve, Server, Unreachable, system_resolver};
use crate::Ctx;
use crate::tape;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

souk_manifest::fixed_limits! {
    /// The fixed limits of connections that a component holds.
    pub(crate) const FIXED_LIMITS = "outbound";

    /// The most connections to Redis, MySQL and MQTT servers that one instance holds.
    pub const MAX_CONNECTIONS: usize = 32, "connections";
    /// The most such connections of the application.
    pub const MAX_ALL_CONNECTIONS: usize = 256, "connections";
    /// How long it may take to connect to one: resolving the name, TLS and login included.
    pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// How long Redis or an MQTT broker may take to answer.
    pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
    /// The longest address of such a server.
    pub const MAX_ADDRESS_BYTES: usize = 4 << 10, bytes;
}

/// The state that the connections of an application share.
#[derive(Clone)]
pub struct Dialer {
    connections: Arc<Semaphore>,
    resolve: Resolve,
    tls: Option<Arc<ClientConfig>>,
}

impl Default for Dialer {
    fn default() -> Self {
        Dialer {
            connections: Arc::new(Semaphore::new(MAX_ALL_CONNECTIONS)),
            resolve: system_resolver(),
            tls: super::tls_config().ok().map(Arc::new),
        }
    }
}

impl Dialer {
    /// The grant of a component that may reach `allowed`.
    pub fn grant(&self, allowed: &AllowedHosts) -> Granted {
        Granted { allowed: allowed.clone(), dialer: self.clone() }
    }
}

/// A component's grant.
#[derive(Clone, Default)]
pub struct Granted {
    allowed: AllowedHosts,
    dialer: Dialer,
}

/// The connections of one instance.
#[derive(Debug)]
pub struct State {
    connections: Arc<Semaphore>,
    /// Shared with the connections that may have a transaction open.
    databases: Arc<()>,
}

impl Default for State {
    fn default() -> Self {
        State { connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)), databases: Arc::default() }
    }
}

impl State {
    /// Whether a connection of the instance may have a transaction open, which another call must not get.
    pub(crate) fn may_hold_transaction(&self) -> bool {
        Arc::strong_count(&self.databases) > 1
    }

    /// A marker that a connection keeps if it may have a transaction open.
    #[cfg(feature = "mysql")]
    pub(crate) fn database(&self) -> Arc<()> {
        self.databases.clone()
    }
}

/// Permission for one connection. It counts for the instance and the application until it is dropped.
pub(crate) struct DialPermit {
    granted: Granted,
    _instance: OwnedSemaphorePermit,
    _application: OwnedSemaphorePermit,
}

/// Why a connection is not even tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server is not on the component's list.
    Denied,
    /// The instance or the application has too many connections.
    TooMany,
}

impl Ctx {
    /// Permission for a connection to `server`. A denial is logged, with the entry that would allow it.
    ///
    /// # Errors
    /// When it is not granted, or too many are open.
    pub(crate) fn dial_permit(&self, server: &Server<'_>) -> Result<DialPermit, Refusal> {
        if tape::unrecorded(self.call.tape.as_deref(), &format!("a connection to {server}")).is_err() {
            return Err(Refusal::Denied);
        }
        let granted = self.grants.outbound.clone();
        if !granted.allowed.allows(server) {
            granted.allowed.denied("a connection", server, &self.call.trace);
            return Err(Refusal::Denied);
        }
        let place = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().map_err(|_| Refusal::TooMany);
        let (instance, application) = (place(&self.outbound.connections)?, place(&granted.dialer.connections)?);
        Ok(DialPermit { granted, _instance: instance, _application: application })
    }
}

impl DialPermit {
    /// Connects to `server`: calls `connect` with each address that the component may reach, until it succeeds.
    ///
    /// # Errors
    /// The reason, for the guest.
    pub(crate) async fn dial<T, E: Display, F>(
        &self,
        server: &Server<'_>,
        connect: impl Fn(IpAddr) -> F,
    ) -> Result<T, String>
    where
        F: Future<Output = Result<T, E>>,
    {
        let connecting = async {
            let mut failed = String::new();
            for ip in server.addresses(&self.granted.allowed, &self.granted.dialer.resolve).await.map_err(why)? {
                match connect(ip).await {
                    Ok(connected) => return Ok(connected),
                    Err(error) => failed = error.to_string(),
                }
            }
            Err(failed)
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(format!("no answer for {CONNECT_TIMEOUT:?}")));
        connected.map_err(|why| format!("cannot connect to {server}: {why}"))
    }

    /// A byte stream to `server` at `ip`, with TLS if `tls` is set; certificates are checked against Mozilla's roots.
    pub(crate) async fn stream(&self, server: &Server<'_>, ip: IpAddr, tls: bool) -> io::Result<Stream> {
        let stream = TcpStream::connect((ip, server.port)).await?;
        stream.set_nodelay(true)?;
        if !tls {
            return Ok(Either::Left(stream));
        }
        let config = self.granted.dialer.tls.clone();
        let config = config.ok_or_else(|| io::Error::other("the TLS library does not support its own defaults"))?;
        let name = ServerName::try_from(server.host.to_owned()).map_err(io::Error::other)?;
        Ok(Either::Right(TlsConnector::from(config).connect(name, stream).await?))
    }
}

/// A connection, with TLS or without.
pub(crate) type Stream = Either<TcpStream, TlsStream<TcpStream>>;

fn why(error: Unreachable) -> String {
    error.to_string()
}
